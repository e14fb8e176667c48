//! What can be seen of a host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::decisions::report::Failure;
use crate::words::control::RoundHealth;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;

/// Something looked for, or why it could not be seen.
pub type Seen<T> = Result<T, Failure>;

/// The configuration, as it was found.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// The file, as a person would name it; none where there is none.
    pub path: Option<String>,
    /// What is wrong with it, warnings among it. With an error in it every key has its default in what follows.
    pub diagnostics: Vec<Diagnostic>,
}

/// What the source holds.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// How many instances are desired.
    pub sound: usize,
    /// The names of manifests that cannot be used.
    pub unsound: Vec<String>,
    /// The revision.
    pub revision: String,
}

/// Where manifests come from.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    /// As a person would name it.
    pub named: String,
    /// What is in it; of a repository, as it was fetched last.
    pub manifests: Seen<Manifests>,
    /// Whether the repository answers, where it is one.
    pub repository: Option<Seen<()>>,
}

/// The container engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// `Docker`, `Podman` …
    pub name: String,
    /// Its version.
    pub version: String,
    /// The newest version of its API.
    pub api: String,
    /// Where it was reached.
    pub address: String,
    /// How it stores images and containers: `overlay2` …
    pub storage: String,
    /// `1` or `2`.
    pub cgroup: String,
    /// Whether containers live on while it restarts; `None` where it does not say.
    pub live_restore: Option<bool>,
    /// Limits that it cannot set.
    pub unlimited: Vec<&'static str>,
    /// Security options that it has: `seccomp`, `apparmor` …
    pub security: Vec<String>,
    /// What it warns of itself.
    pub warnings: Vec<String>,
    /// Where it keeps images, where that is on this host.
    pub root: Option<PathBuf>,
    /// Its time.
    pub time: Option<jiff::Timestamp>,
    /// Whether everybody may write to its socket.
    pub open_socket: bool,
}

/// The first process of an instance, as the kernel shows it. What is `None` was not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSeen {
    /// The instance.
    pub instance: InstanceName,
    /// Capabilities that its manifest adds, without `CAP_`.
    pub cap_add: Vec<String>,
    /// What a security module confines it by: `docker-default (enforce)`, `unconfined`.
    pub profile: Option<String>,
    /// Its seccomp mode: 0 is none, 2 a filter.
    pub seccomp: Option<u8>,
    /// Whether it can gain no privileges.
    pub no_new_privs: Option<bool>,
    /// The capabilities that it has or may get, a bit each.
    pub capabilities: Option<u64>,
}

/// A network of the name that is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSeen {
    /// Where containers on it can reach each other: why, and the way out.
    pub open_because: Option<String>,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free bytes, for whoever is not root.
    pub bytes: u64,
    /// Free inodes; `None` where the file system has no fixed number of them.
    pub inodes: Option<u64>,
}

/// A path, and who may do what with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathFacts {
    /// The path.
    pub path: PathBuf,
    /// Its mode, without its kind; none where it is not there.
    pub mode: Option<u32>,
    /// Whose it is.
    pub owner: u32,
    /// Whether we may read it.
    pub readable: bool,
}

/// A daemon that answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonFacts {
    /// Its process.
    pub pid: Option<u64>,
    /// Its version, where it says so.
    pub version: Option<String>,
    /// Whether it was given the same configuration and source as this command.
    pub is_same: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not.
    pub reason: Option<String>,
    /// The revision that the fleet is kept as.
    pub revision: String,
    /// Whether its rounds complete.
    pub rounds: RoundHealth,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFacts {
    /// There is none yet.
    Absent,
    /// The daemon has it open.
    Held {
        /// Bytes on the disk.
        bytes: u64,
    },
    /// It was opened.
    Opened {
        /// Bytes on the disk.
        bytes: u64,
        /// How many tokens it holds.
        tokens: usize,
    },
    /// It was not opened, as it is another user's and would become ours.
    Others {
        /// Whose.
        owner: u32,
    },
    /// It cannot be opened.
    Broken(Failure),
}

/// An address that the daemon listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// The key in `instanced.yaml`.
    pub key: &'static str,
    /// The address.
    pub at: SocketAddr,
    /// Whether somebody takes connections there.
    pub taken: bool,
}

/// What came of asking the listener, as Traefik asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthAnswer {
    /// An HTTP status.
    Status(u16),
    /// None: why.
    None(String),
    /// It was not asked: why.
    Unasked(String),
}

/// A container that looks like Traefik.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySeen {
    /// Its name.
    pub container: String,
    /// Whether it stands on the host's network.
    pub on_host: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What the listener answered from in there; `Err` says why nobody looked.
    pub answer: Result<AuthAnswer, String>,
}

/// The listener, as it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFacts {
    /// `traefik.auth_url`, or what it is by default.
    pub url: String,
    /// What it answers to this host.
    pub here: AuthAnswer,
    /// What it answers where Traefik is a container.
    pub proxies: Vec<ProxySeen>,
    /// What it answers to an instance, where that could be looked at: its container, and the answer.
    pub instance: Option<(String, AuthAnswer)>,
    /// Whether a daemon runs at all.
    pub daemon_runs: bool,
}

/// A router, as Traefik's API tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterSeen {
    /// Its name, without the provider.
    pub name: String,
    /// Whether it is served.
    pub enabled: bool,
    /// What is wrong with it.
    pub errors: Vec<String>,
    /// Who told Traefik of it.
    pub provider: String,
}

/// What Traefik says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraefikSeen {
    /// Its version, where it tells.
    pub version: Option<String>,
    /// All routers whose names begin as ours do.
    pub routers: Vec<RouterSeen>,
}

/// The edge.
#[derive(Debug, Clone)]
pub struct TraefikFacts {
    /// `traefik.api`.
    pub api: Option<String>,
    /// What it says.
    pub seen: Option<Seen<TraefikSeen>>,
    /// The routers that the running instances should have.
    pub expected: Vec<String>,
    /// What routers of ours are called, up to their generation.
    pub stems: Vec<String>,
    /// `docker`, `file`: by whom Traefik is told.
    pub provider: &'static str,
}

/// The time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockFacts {
    /// By how many milliseconds the engine's clock is ahead of ours.
    pub engine_ahead_millis: Option<i64>,
    /// Whether the system says that its clock is kept by a server; `None` where it does not say.
    pub is_synchronised: Option<bool>,
}

/// A name that clients look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFacts {
    /// The name.
    pub host: String,
    /// What it resolves to, and whether each is an address of this host.
    pub addresses: Vec<(IpAddr, bool)>,
}
