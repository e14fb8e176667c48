//! The daemon's own look at an instance: one request to its address, as its health probe says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::web::{self, Get};
use crate::words::manifest::StatusRange;
use crate::words::name::EndpointName;
use crate::words::quantity::Span;
use crate::words::spec::{HealthProbe, Spec};

/// What is asked, and which answers mean well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    host: String,
    path: String,
    within: Duration,
    expect: StatusRange,
}

impl Target {
    /// What is asked of a generation at `address`; `None` where nothing of it can be asked.
    pub fn of(spec: &Spec, address: IpAddr) -> Option<Self> {
        let probe = probe_of(spec);
        let endpoint = spec.endpoints.get(&probe.endpoint)?;
        // As the edge forwards it: a server may answer nobody else.
        let host = endpoint.host.to_string();
        let with_port = format!("{host}:");
        let forwarded = spec
            .allowed_hosts
            .iter()
            .find(|allowed| **allowed == host || allowed.starts_with(&with_port));
        Some(Self {
            address: SocketAddr::new(address, endpoint.port),
            host: forwarded.cloned().unwrap_or(host),
            path: probe.path,
            within: probe.timeout.into(),
            expect: probe.expect,
        })
    }

    /// Asks once; what is wrong, where something is.
    pub async fn ask(&self) -> Result<(), String> {
        let request = Get {
            host: &self.host,
            path: &self.path,
            headers: &[],
            within: self.within,
            body_max: 0,
        };
        match web::get(self.address, request).await {
            Ok((status, _)) if (self.expect.first..=self.expect.last).contains(&status) => Ok(()),
            Ok((status, _)) => Err(format!("status {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The probe of a spec. One that names none is well when its endpoint `mcp`, else its first, answers at all.
pub fn probe_of(spec: &Spec) -> HealthProbe {
    let mcp: EndpointName = "mcp".parse().expect("an endpoint's name");
    let first = || spec.endpoints.keys().next().cloned();
    spec.health.clone().unwrap_or_else(|| HealthProbe {
        endpoint: if spec.endpoints.contains_key(&mcp) {
            mcp
        } else {
            first().unwrap_or(mcp)
        },
        path: "/".to_owned(),
        expect: StatusRange {
            first: 100,
            last: 599,
        },
        interval: Span::secs(10),
        timeout: Span::secs(3),
        retries: 3,
        start_period: Span::secs(20),
    })
}
