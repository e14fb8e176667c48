//! The routers of one generation as Traefik knows them: data. One provider renders them to labels, another to a
//! file, so both say the same.
//!
//! Every name ends in the generation and the priority rises with it: two generations never carry one
//! router with different settings, and the newer one wins while both stand.

use super::manifest::Auth;
use super::name::{HostName, ManagerName};
use super::route::Tls;
use super::spec::Spec;

/// Below it are the priorities that Traefik gives by a rule's length.
const PRIORITY_BASE: u64 = 1_000;

/// One router with its service and, where it is guarded, its middleware. All three have the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// `instanced-<manager>-<endpoint>-<instance>-g<generation>`.
    pub id: String,
    /// The host that it routes.
    pub host: HostName,
    /// Traefik's entry points.
    pub entrypoints: Vec<String>,
    /// Above that of every older generation.
    pub priority: u64,
    /// In this order: the operator's, then ours.
    pub middlewares: Vec<String>,
    /// TLS at the edge.
    pub tls: Tls,
    /// Who is asked before each request.
    pub forward_auth: Option<ForwardAuth>,
    /// The port inside the container.
    pub port: u16,
}

/// A verdict that Traefik asks for before each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Where: it names the endpoint, which no client can change.
    pub address: String,
}

impl ForwardAuth {
    /// Whether the client's own `X-Forwarded-*` would be believed.
    pub const TRUST_FORWARD_HEADER: bool = false;
    /// What of the client's request is shown to the verdict.
    pub const REQUEST_HEADERS: [&str; 3] = ["Authorization", "Origin", "User-Agent"];
    /// What of the verdict goes on to the container. The bearer is listed so that Traefik takes it away.
    pub const RESPONSE_HEADERS: [&str; 2] = ["X-MCP-Instance-Id", "Authorization"];
    /// The largest answer that Traefik reads, in bytes.
    pub const MAX_RESPONSE_BODY_SIZE: u32 = 4096;
}

impl Router {
    /// Its rule.
    pub fn rule(&self) -> String {
        format!("Host(`{}`)", self.host)
    }
}

/// The routers of a generation of `spec`, one for each endpoint.
pub fn routers(manager: &ManagerName, spec: &Spec, generation: u64) -> Vec<Router> {
    let router = |(endpoint, route): (&super::name::EndpointName, &super::route::Endpoint)| {
        let id = format!("instanced-{manager}-{endpoint}-{}-g{generation}", spec.name);
        let mut middlewares = spec.edge.middlewares.clone();
        let forward_auth = (route.auth == Auth::Bearer).then(|| {
            middlewares.push(id.clone());
            ForwardAuth {
                address: format!("{}/{endpoint}-{}", spec.edge.auth_url, spec.name),
            }
        });
        Router {
            id,
            host: route.host.clone(),
            entrypoints: spec.edge.entrypoints.clone(),
            priority: PRIORITY_BASE + generation,
            middlewares,
            tls: spec.edge.tls.clone(),
            forward_auth,
            port: route.port,
        }
    };
    spec.endpoints.iter().map(router).collect()
}
