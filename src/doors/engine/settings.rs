//! What a container is set to, normalised: what engines write in several ways is one value here, and what an
//! engine adds by itself is nothing. Pure.
//!
//! Here is what a draft and its image decide. What an adapter settles alike for every container (no devices, no
//! published ports, no privileges) it compares itself, and tells only what is otherwise: [`Settings::beside`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::containers::NetworkFacts;
use crate::words::observed::Drift;
use crate::words::quantity::Span;

/// What a container is set to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The entry point; empty when there is none.
    pub entrypoint: Vec<String>,
    /// The command; empty when there is none.
    pub command: Vec<String>,
    /// Environment, without what engines add to every container.
    pub env: BTreeMap<String, String>,
    /// Host name.
    pub hostname: String,
    /// `uid:gid`.
    pub user: String,
    /// Where its process starts; `/` when nobody says.
    pub working_dir: String,
    /// Bytes of `/dev/shm`.
    pub shm: u64,
    /// Capabilities that it has.
    pub capabilities: BTreeSet<String>,
    /// Whether the root file system can only be read.
    pub read_only: bool,
    /// Memory file systems by path.
    pub tmpfs: BTreeMap<String, Tmpfs>,
    /// What is mounted, by path.
    pub mounts: BTreeMap<String, Mounted>,
    /// Names of the networks that it joined, with their ids as far as the engine tells them.
    pub networks: BTreeMap<String, Option<String>>,
    /// Its health check, where it has one.
    pub health_check: Option<HealthCheck>,
    /// Seconds between TERM and KILL; `None` when the engine does not tell.
    pub stop_grace_secs: Option<u32>,
    /// What asks it to stop.
    pub stop_signal: String,
    /// What no draft says and what is there all the same, or the other way round.
    pub beside: Vec<Drift>,
}

/// A memory file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Bytes; 0 is no bound.
    pub size: u64,
    /// Whether nothing in it is executed, no device and no set-user-id.
    pub hardened: bool,
}

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// What.
    pub source: MountedSource,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountedSource {
    /// A named volume.
    Volume(String),
    /// A directory of the host.
    Host(String),
    /// A volume without a name of its own, made for this container.
    Anonymous,
    /// Something else, in the engine's words.
    Other(String),
}

/// A health check that the engine makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run: `CMD` and a program's words, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// How often.
    pub interval: Span,
    /// How long it may take.
    pub timeout: Span,
    /// How long after the start failures do not count.
    pub start_period: Span,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// What an image says about containers made from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The entry point; empty when there is none.
    pub entrypoint: Vec<String>,
    /// The command; empty when there is none.
    pub command: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where its process starts; `/` when it does not say.
    pub working_dir: String,
    /// Paths that become anonymous volumes.
    pub volumes: BTreeSet<String>,
    /// Its health check, where it has one.
    pub health_check: Option<HealthCheck>,
    /// What asks it to stop.
    pub stop_signal: String,
}

/// The form of [`EngineNotes`] that this version makes. It rises when the same image or network comes to another value:
/// what was noted in another form is no longer known.
pub const NOTES_FORM_NOW: u32 = 2;

/// What an engine said that lasts, as one process notes it for the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineNotes {
    /// The engine that said so, with its version. What another one says is asked anew.
    pub engine: String,
    /// By image id; only of images whose id is a digest of what they say.
    pub configs: BTreeMap<String, ImageConfig>,
    /// The fleet's network, where there is one of its name. What it was made with never changes.
    #[serde(default)]
    pub network: Option<NetworkFacts>,
}
