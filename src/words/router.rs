//! The routers of one generation as Traefik knows them: data. One provider renders them to labels, another to a
//! file, so both say the same.
//!
//! Every name ends in the generation and the priority rises with it: two generations never carry one
//! router with different settings, and the newer one wins while both stand.

use super::manifest::Auth;
use super::name::{EndpointName, HostName, ManagerName};
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
    /// What browsers are told of pages of other origins; before the guard, as a preflight carries no token.
    pub cors: Option<Cors>,
    /// The name of the middleware that reads requests whole; after the guard, so that strangers fill no memory.
    pub whole_requests: Option<String>,
    /// The port inside the container.
    pub port: u16,
}

/// A verdict that Traefik asks for before each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Where: it names the endpoint, which no client can change.
    pub address: String,
    /// The file, as Traefik sees it, with the certificate of who signs for that address.
    pub ca: Option<String>,
    /// Whom it is for: clients with a bearer token, or people with a ticket.
    pub by: Guarded,
}

/// Has Traefik read a request's body before it passes the request on.
///
/// Traefik sends the body while it waits for the answer. A server that answers as soon as it has the body, as MCP's
/// event streams do, can be faster than Traefik notices that it has sent everything; Traefik then cuts the
/// connection, and the client sees a stream that ended without a response (traefik/traefik#11767, golang/go#40747).
/// Of Traefik's middlewares only `retry` reads a request whole and leaves the answer a stream. It repeats nothing
/// here: no server answers [`Self::STATUS`], and failures of the network are left to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeRequests;

impl WholeRequests {
    /// The least with which `retry` reads a body.
    pub const ATTEMPTS: u32 = 2;
    /// The status that would be tried again.
    pub const STATUS: &str = "599";
    /// MCP's requests are POSTs.
    pub const NON_IDEMPOTENT: bool = true;
    /// A request whose connection broke may have been carried out.
    pub const NO_RETRY_ON_NETWORK_ERROR: bool = true;
    /// Larger bodies are passed on as they come, in bytes.
    pub const MAX_BODY_SIZE: u32 = 2 << 20;
}

/// How an endpoint is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// By a token in `Authorization`.
    Bearer,
    /// By a ticket in a link, then a cookie.
    Ticket,
}

/// What a browser may do for a page of another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The middleware's name.
    pub id: String,
    /// The origins of such pages.
    pub origins: Vec<String>,
}

impl Cors {
    /// What MCP's streamable HTTP transport uses.
    pub const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "OPTIONS"];
    /// What its clients send.
    pub const REQUEST_HEADERS: [&str; 6] = [
        "Authorization",
        "Content-Type",
        "Accept",
        "Mcp-Session-Id",
        "Mcp-Protocol-Version",
        "Last-Event-ID",
    ];
    /// What a page may read of an answer.
    pub const EXPOSED_HEADERS: [&str; 3] = ["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"];
    /// For how many seconds a browser need not ask again.
    pub const MAX_AGE: u32 = 600;
}

impl ForwardAuth {
    /// Whether the client's own `X-Forwarded-*` would be believed.
    pub const TRUST_FORWARD_HEADER: bool = false;
    /// The largest answer that Traefik reads, in bytes.
    pub const MAX_RESPONSE_BODY_SIZE: u32 = 4096;

    /// What of the client's request is shown to the verdict.
    pub fn request_headers(&self) -> &'static [&'static str] {
        match self.by {
            Guarded::Bearer => &["Authorization", "Origin", "User-Agent"],
            Guarded::Ticket => &[
                "Cookie",
                "Origin",
                "User-Agent",
                "Sec-Fetch-Dest",
                "Sec-Purpose",
            ],
        }
    }

    /// What of the verdict goes on to the container. Whatever opens the endpoint is listed so that Traefik takes
    /// it away; cookies that are not ours come back in the verdict.
    pub fn response_headers(&self) -> &'static [&'static str] {
        match self.by {
            Guarded::Bearer => &["X-MCP-Instance-Id", "Authorization"],
            Guarded::Ticket => &["X-MCP-Instance-Id", "Authorization", "Cookie"],
        }
    }

    /// Whether a redirect is the client's as it stands: only a ticket's verdict redirects.
    pub fn preserves_location(&self) -> bool {
        self.by == Guarded::Ticket
    }
}

impl Router {
    /// Its rule.
    pub fn rule(&self) -> String {
        format!("Host(`{}`)", self.host)
    }
}

/// The ids of the routers of `spec`, up to their generation. A beginning would not do: of two managers `a` and `a-b`, one
/// might have an endpoint that is called `b`.
pub fn stems(manager: &ManagerName, spec: &Spec) -> Vec<String> {
    let endpoints = spec.endpoints.keys();
    endpoints
        .map(|endpoint| stem(manager, endpoint, spec))
        .collect()
}

fn stem(manager: &ManagerName, endpoint: &EndpointName, spec: &Spec) -> String {
    format!("instanced-{manager}-{endpoint}-{}-g", spec.name)
}

/// The routers of a generation of `spec`, one for each endpoint.
pub fn routers(manager: &ManagerName, spec: &Spec, generation: u64) -> Vec<Router> {
    let router = |(endpoint, route): (&EndpointName, &super::route::Endpoint)| {
        let id = format!("{}{generation}", stem(manager, endpoint, spec));
        let by = match route.auth {
            Auth::Bearer => Some(Guarded::Bearer),
            Auth::Ticket => Some(Guarded::Ticket),
            Auth::None => None,
        };
        let origins = &spec.edge.origins;
        let cors = (route.auth == Auth::Bearer && !origins.is_empty()).then(|| Cors {
            id: format!("{id}-cors"),
            origins: origins.clone(),
        });
        let forward_auth = by.map(|by| ForwardAuth {
            address: format!("{}/{endpoint}-{}", spec.edge.auth_url, spec.name),
            ca: spec.edge.auth_ca.clone(),
            by,
        });
        let mut middlewares = spec.edge.middlewares.clone();
        middlewares.extend(cors.as_ref().map(|cors| cors.id.clone()));
        middlewares.extend(forward_auth.as_ref().map(|_| id.clone()));
        // Of clients with a token alone: nobody else's requests are held in memory, and pages need it not.
        let whole_requests = (by == Some(Guarded::Bearer)).then(|| format!("{id}-whole"));
        middlewares.extend(whole_requests.clone());
        Router {
            id,
            host: route.host.clone(),
            entrypoints: spec.edge.entrypoints.clone(),
            priority: PRIORITY_BASE + generation,
            middlewares,
            tls: spec.edge.tls.clone(),
            forward_auth,
            cors,
            whole_requests,
            port: route.port,
        }
    };
    spec.endpoints.iter().map(router).collect()
}
