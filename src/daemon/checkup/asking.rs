//! The listener asked as Traefik asks it, for a request without a token: from here, and from where Traefik stands.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use tokio::net::TcpStream;

use super::aside;
use crate::daemon::chain::chain;
use crate::decisions::checkup::facts::{AuthAnswer, ProxySeen};
use crate::doors::engine::docker::Proxy;
use crate::doors::web::{self, Get};
use crate::doors::{host, tls};

/// How long the listener may take.
const WITHIN: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// The address, as Traefik has it.
    pub(super) url: String,
    /// The host that the client would have asked for: nobody's.
    pub(super) host: String,
    /// The file with who signs for the listener.
    pub(super) authority: Option<PathBuf>,
}

impl Asking {
    /// Asks.
    pub(super) async fn ask(&self) -> AuthAnswer {
        match tokio::time::timeout(WITHIN, self.answer()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => AuthAnswer::None(why),
            Err(_) => AuthAnswer::None(format!("no answer within {} s", WITHIN.as_secs())),
        }
    }

    async fn answer(&self) -> Result<AuthAnswer, String> {
        let uri: Uri = self.url.parse().map_err(|_| "that is no URL".to_owned())?;
        let is_tls = uri.scheme_str() == Some("https");
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        if is_tls && self.authority.is_none() {
            let why = "it speaks TLS, and traefik.auth_ca names nobody who signs for it";
            return Ok(AuthAnswer::Unasked(why.to_owned()));
        }
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let request = Get {
            host: authority.as_str(),
            path: uri.path(),
            headers: &[
                ("X-Forwarded-Method", "GET"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", &self.host),
                ("X-Forwarded-Uri", "/"),
            ],
            within: WITHIN,
            body_max: 0,
        };
        let answered = match &self.authority {
            Some(file) if is_tls => {
                let stream = tls::trusting(stream, host, file).await;
                let stream = stream.map_err(|error| error.to_string())?;
                web::over(stream, request).await
            }
            _ => web::over(stream, request).await,
        };
        let (status, _) = answered.map_err(|error| chain(&error))?;
        Ok(AuthAnswer::Status(status))
    }

    /// Asks from within a container, where that can be done without changing anything.
    pub(super) async fn ask_within(&self, proxy: &Proxy, is_local: bool) -> ProxySeen {
        let answer = if proxy.on_host {
            Err("it stands on the host's network".to_owned())
        } else if !is_local || proxy.pid == 0 {
            Err("the engine is elsewhere".to_owned())
        } else {
            let (asking, pid) = (self.clone(), proxy.pid);
            let entered =
                aside(move || host::in_network_of(pid, move || async move { asking.ask().await }));
            match entered.await {
                Some(Ok(answer)) => Ok(answer),
                Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    Err("only root may look from there".to_owned())
                }
                Some(Err(error)) => Err(error.to_string()),
                None => Err("it was broken off".to_owned()),
            }
        };
        ProxySeen {
            container: proxy.name.clone(),
            on_host: proxy.on_host,
            addresses: proxy.addresses.clone(),
            answer,
        }
    }
}
