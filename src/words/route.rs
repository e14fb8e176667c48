//! Routes: which host name leads to which port of an instance, and through what. Data; an engine's
//! adapter renders them to Traefik labels, another one to something else.

use serde::{Deserialize, Serialize};

use super::manifest::Auth;
use super::name::HostName;

/// The path that Traefik asks at, with or without `/<endpoint>-<name>` behind it.
pub const CHECK_PATH: &str = "/auth/mcp-bearer-check";

/// One endpoint as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The port inside the container.
    pub port: u16,
    /// The path that clients open; no part of the route.
    pub path: String,
    /// Who may reach it.
    pub auth: Auth,
    /// `<endpoint>-<name>.<domain>`.
    pub host: HostName,
}

/// What every route of a fleet goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Traefik's entry points.
    pub entrypoints: Vec<String>,
    /// TLS at the edge.
    pub tls: Tls,
    /// Where Traefik asks for a verdict; `/<endpoint>-<name>` is appended.
    pub auth_url: String,
    /// The file, as Traefik sees it, with the certificate of who signs for that address; none for plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ca: Option<String>,
    /// Browser origins that may call bearer endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Middlewares of the operator's own, before ours.
    pub middlewares: Vec<String>,
    /// How Traefik learns of the routes.
    #[serde(default, skip_serializing_if = "Provider::is_labels")]
    pub provider: Provider,
}

/// How Traefik learns of routes. Where files are written is no part of it: a directory that moves changes
/// no container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// From the containers' labels.
    #[default]
    Labels,
    /// From a file for each instance.
    File,
}

impl Provider {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
    fn is_labels(&self) -> bool {
        *self == Self::Labels
    }
}

/// TLS of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Plain HTTP.
    Off,
    /// The edge's own certificates.
    On,
    /// Certificates from this resolver.
    Resolver(String),
}
