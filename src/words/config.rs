//! `instanced.yaml`: what belongs to the host and its operator. Every key has a default.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::name::{HostName, ManagerName};
use super::quantity::{Bytes, Cpus, Share, Span};

pub use control::{Access, AdminToken, Control};
pub use notices::{Notify, Receiver};
pub use source::{Follow, GitSource, Signers, Source, Webhook};
pub use users::{IdRange, UserPolicy};

mod control;
mod notices;
mod source;
pub mod users;

/// The daemon's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Whose containers: two daemons on one engine need two names.
    pub manager: ManagerName,
    /// Instances stand at `<endpoint>-<name>.<domain>`.
    pub domain: HostName,
    /// How clients see the edge; used in URLs and in the hosts that servers answer.
    pub public: Public,
    /// Where manifests come from.
    pub source: Source,
    /// Which container engine.
    pub engine: EngineConfig,
    /// The network that instances stand on.
    pub network: Network,
    /// Where the daemon listens.
    pub listen: Listen,
    /// Who may use the control API.
    pub control: Control,
    /// What routes go through.
    pub traefik: Traefik,
    /// Who may ask for verdicts, and whose forwarded addresses are believed.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Browser origins that may call MCP endpoints, such as `https://app.example.com`.
    #[schemars(extend("examples" = [["https://app.example.com"]]))]
    pub origins: Vec<String>,
    /// When and how far to converge.
    pub reconcile: Reconcile,
    /// What manifests may ask for.
    pub policy: Policy,
    /// Who is told when something needs a person.
    pub notify: Notify,
    /// The store and the control socket; default `/var/lib/instanced` for root, else below
    /// `$XDG_STATE_HOME`.
    #[schemars(extend("examples" = ["/var/lib/instanced"]))]
    pub state: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            manager: "default".parse().expect("a DNS label"),
            domain: "mcp.localhost".parse().expect("a host name"),
            public: Public::default(),
            source: Source::default(),
            engine: EngineConfig::default(),
            network: Network::default(),
            listen: Listen::default(),
            control: Control::default(),
            traefik: Traefik::default(),
            trusted_proxies: ["127.0.0.0/8", "::1/128"]
                .map(|n| n.parse().expect("a network"))
                .into(),
            origins: Vec::new(),
            reconcile: Reconcile::default(),
            policy: Policy::default(),
            notify: Notify::default(),
            state: None,
        }
    }
}

/// The edge as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Public {
    /// `https` or `http`.
    pub scheme: Scheme,
    /// The port that clients connect to; default 443 or 80.
    #[schemars(extend("examples" = [8443]))]
    pub port: Option<u16>,
}

impl Default for Public {
    fn default() -> Self {
        Self {
            scheme: Scheme::Https,
            port: None,
        }
    }
}

impl Public {
    /// The host as a URL has it: with the port, unless it is the scheme's own.
    pub fn authority(&self, host: &HostName) -> String {
        match self.port {
            Some(port) if port != self.scheme.port() => format!("{host}:{port}"),
            _ => host.to_string(),
        }
    }

    /// A URL on `host`.
    pub fn url(&self, host: &HostName, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority(host))
    }
}

/// A URL's scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// Plain.
    Http,
}

impl Scheme {
    /// The port that a URL need not name.
    pub fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

/// Which container engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct EngineConfig {
    /// Docker, or Podman by Docker's API.
    pub docker: DockerConfig,
}

/// Docker's API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct DockerConfig {
    /// `unix:///path`; default: `DOCKER_HOST`, then the usual sockets.
    #[schemars(extend("examples" = ["unix:///run/docker.sock"]))]
    pub host: Option<String>,
}

/// The network that instances stand on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Network {
    /// Its name; created if absent.
    pub name: String,
    /// Whether neighbours can reach each other.
    pub isolation: Isolation,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            name: "mcp_instances".into(),
            isolation: Isolation::Strict,
        }
    }
}

/// Whether instances can reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// They cannot. Traefik stands on the host's network.
    Strict,
    /// They can: for local development with Traefik in a container on the same bridge.
    Shared,
}

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Listen {
    /// For Traefik's `ForwardAuth`.
    #[schemars(with = "String")]
    pub auth: SocketAddr,
    /// For the control API, figures and webhooks. From elsewhere than this host it needs `control.tokens`.
    #[schemars(with = "String")]
    pub admin: SocketAddr,
    /// Names under which clients reach `listen.admin`, beside IP addresses and `localhost`. A request for another
    /// name needs an admin token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["instanced.example.com"])]
    pub admin_hosts: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            auth: ([127, 0, 0, 1], 9180).into(),
            admin: ([127, 0, 0, 1], 9181).into(),
            admin_hosts: Vec::new(),
        }
    }
}

/// What routes go through.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Traefik {
    /// Traefik's entry points.
    pub entrypoints: Vec<String>,
    /// `true`, `false`, or `{ cert_resolver: NAME }`.
    pub tls: TlsConfig,
    /// The `ForwardAuth` address as Traefik reaches it; default: `listen.auth`.
    #[schemars(extend("examples" = ["http://127.0.0.1:9180/auth/mcp-bearer-check"]))]
    pub auth_url: Option<String>,
    /// The file from which Traefik reads who signs for the `ForwardAuth` listener; the daemon writes it. With it
    /// the listener speaks TLS, and HTTP/2.
    #[schemars(extend("examples" = ["/run/instanced/auth-ca.pem"]))]
    pub auth_ca: Option<PathBuf>,
    /// Middlewares of the operator's own, before ours.
    #[schemars(extend("examples" = [["ratelimit@file"]]))]
    pub middlewares: Vec<String>,
    /// `labels`, or `{ file: DIR }`.
    pub provider: ProviderConfig,
    /// Traefik's API, such as `http://127.0.0.1:8080`: lets a swap see what Traefik serves.
    #[schemars(extend("examples" = ["http://127.0.0.1:8080"]))]
    pub api: Option<String>,
}

/// How Traefik learns of the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderConfig {
    /// From the containers' labels, through the engine's socket.
    #[default]
    Labels,
    /// From one file for each instance in this directory, which Traefik's file provider watches.
    File(#[schemars(extend("examples" = ["/etc/traefik/dynamic"]))] PathBuf),
}

impl Default for Traefik {
    fn default() -> Self {
        Self {
            entrypoints: vec!["websecure".into()],
            tls: TlsConfig::Plain(true),
            auth_url: None,
            auth_ca: None,
            middlewares: Vec::new(),
            provider: ProviderConfig::Labels,
            api: None,
        }
    }
}

/// TLS of the routers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TlsConfig {
    /// On, with the edge's own certificates, or off.
    Plain(bool),
    /// With certificates from a resolver.
    Resolver {
        /// The resolver's name in Traefik's static configuration.
        #[schemars(extend("examples" = ["letsencrypt"]))]
        cert_resolver: String,
    },
}

impl<'de> Deserialize<'de> for TlsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Resolver {
            cert_resolver: String,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TlsConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or { cert_resolver: NAME }")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<TlsConfig, E> {
                Ok(TlsConfig::Plain(on))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TlsConfig, A::Error> {
                let Resolver { cert_resolver } =
                    Resolver::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(TlsConfig::Resolver { cert_resolver })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// When and how far to converge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Reconcile {
    /// A round is due at least this often.
    pub resync: Span,
    /// How many steps at once.
    pub parallelism: usize,
    /// How often an image with `pull: always` is asked of its registry.
    pub image_refresh: Span,
    /// How far removals may go.
    pub prune: Prune,
    /// How a change of many rolls out.
    pub replace: Rollout,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            resync: Span::secs(60),
            parallelism: 8,
            image_refresh: Span::secs(3_600),
            prune: Prune::default(),
            replace: Rollout::default(),
        }
    }
}

/// How a change of many rolls out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Rollout {
    /// How much of the fleet may be without service at a time because it is replaced; at least one.
    pub max_unavailable: Share,
    /// So many new generations that fail stop the rollout.
    pub halt_after_failures: usize,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_unavailable: Share::Percent(10),
            halt_after_failures: 2,
        }
    }
}

/// How far removals may go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Prune {
    /// Whether orphans are removed at all.
    pub enabled: bool,
    /// So many instances may go within ten minutes without confirmation, however small the fleet is.
    pub min: u64,
    /// How much of the fleet may go within ten minutes without confirmation.
    pub max: Share,
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            enabled: true,
            min: 3,
            max: Share::Percent(20),
        }
    }
}

/// What manifests may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// Images.
    pub images: ImagePolicy,
    /// Directories of the host that may be mounted, as globs. Engine sockets and the daemon's own files never are.
    pub host_paths: Allowed,
    /// The users and groups that an instance may be.
    pub users: UserPolicy,
    /// Files (globs) and variables (`env:GLOB`) that may be secrets.
    pub secrets: Allowed,
    /// An MCP endpoint without a guard.
    pub auth_none: Verdict,
    /// Capabilities that may be added.
    pub cap_add: Allowed,
    /// What one instance may use at most.
    pub resources: ResourcePolicy,
    /// How many instances at most.
    pub max_instances: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            images: ImagePolicy::default(),
            host_paths: Allowed::default(),
            users: UserPolicy::default(),
            secrets: Allowed {
                allow: vec!["/run/secrets/*".into()],
            },
            auth_none: Verdict::Warn,
            cap_add: Allowed::default(),
            resources: ResourcePolicy::default(),
            max_instances: 200,
        }
    }
}

/// What one instance may use at most; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ResourcePolicy {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [4096]))]
    pub pids: Option<u32>,
    /// Shared memory (`/dev/shm`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm: Option<Bytes>,
}

/// Which images manifests may name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ImagePolicy {
    /// References, as globs.
    pub allow: Vec<String>,
    /// A tag `latest`, or none.
    pub latest: Verdict,
    /// Whether a digest must be given.
    pub require_digest: bool,
}

impl Default for ImagePolicy {
    fn default() -> Self {
        Self {
            allow: vec!["*".into()],
            latest: Verdict::Warn,
            require_digest: false,
        }
    }
}

/// A list of what is allowed; nothing else is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Allowed {
    /// Globs.
    #[schemars(extend("examples" = [["/srv/*"]]))]
    pub allow: Vec<String>,
}

/// What policy says of something that is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Fine.
    Allow,
    /// Fine, and told.
    Warn,
    /// An error.
    Deny,
}
