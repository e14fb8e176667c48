//! The calls of an engine that runs containers one by one, normalised. One method is one thing that
//! happens; sequences of them are [`super::fleet`]'s. Docker's adapter and the fake of the tests implement
//! this, and one contract suite runs on both.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::EngineError;
use super::settings::{ImageConfig, Settings};
use crate::words::manifest::Restart;
use crate::words::observed::{Health, Limits, Phase};
use crate::words::watch::{AskLog, Counters, HealthResult, LogStream, PullProgress};

/// Reading calls.
pub trait ReadContainers: Send + Sync {
    /// The engine that answered last, with its version, where it is one whose promises are known. No call.
    fn engine(&self) -> Option<String>;

    /// All containers, running or not, that carry all of `labels` (key and value); without labels everybody's.
    /// One call, however many there are.
    fn list(
        &self,
        labels: &[(String, String)],
    ) -> impl Future<Output = Result<Vec<Summary>, EngineError>> + Send;

    /// Everything about one container, by id or name; `None` when it is not there.
    fn inspect(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<Option<Container>, EngineError>> + Send;

    /// The image under a reference or id; `None` when the engine does not have it.
    fn image(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<Option<ImageFacts>, EngineError>> + Send;

    /// Why containers on every network can reach each other, whatever it was made with; `None` where its own facts
    /// count. Costs no call.
    fn open_because(&self) -> Option<String>;

    /// Networks of exactly this name (an engine may have several).
    fn networks(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<NetworkFacts>, EngineError>> + Send;

    /// Names of volumes that carry all of `labels`.
    fn volumes(
        &self,
        labels: &[(String, String)],
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// The labels of a volume; `None` when it is not there.
    fn volume(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<BTreeMap<String, String>>, EngineError>> + Send;

    /// One regular file of a container, running or not. `Gone` when it has none.
    fn read_file(
        &self,
        container: &str,
        path: &str,
    ) -> impl Future<Output = Result<Vec<u8>, EngineError>> + Send;

    /// The last `tail` lines that a container has written, on either stream. Its own words: nothing is known of
    /// what is in them.
    fn logs(
        &self,
        container: &str,
        tail: usize,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// Where the engine's stream of events ends now: an opaque cursor to wait from.
    fn cursor(&self) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Waits until something happens after `cursor`, moves the cursor past it and tells what it touched:
    ///
    /// - a container with all of `labels`: create, start, die, stop, kill, destroy, rename, pause, update, oom,
    ///   a verdict of its health check, a network joined or left;
    /// - any image: pulled, loaded, tagged, untagged, deleted;
    /// - any network: made, removed.
    ///
    /// Several events at once are one return. May be cancelled: nothing is lost. Whoever lists first and waits
    /// later misses what happened between, so have the cursor first. An error says that events may have been
    /// lost: list.
    fn changed(
        &self,
        labels: &[(String, String)],
        cursor: &mut String,
    ) -> impl Future<Output = Result<Touched, EngineError>> + Send;
}

/// Calls that show what a container does, for whoever watches it. Nothing is decided by them.
pub trait WatchContainers: ReadContainers {
    /// What a container has written, and with `follow` what it writes until it ends. Ends with an error when the
    /// engine goes away.
    fn follow_log(
        &self,
        container: &str,
        ask: AskLog,
    ) -> impl Future<Output = Result<Written, EngineError>> + Send;

    /// What a container uses now; `None` when it does not run.
    fn counters(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<Option<Counters>, EngineError>> + Send;

    /// What the engine's health check of a container said lately, oldest first.
    fn health_log(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<Vec<HealthResult>, EngineError>> + Send;
}

/// A line as a container wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLine {
    /// When, where the engine says so.
    pub at: Option<jiff::Timestamp>,
    /// On which stream.
    pub stream: LogStream,
    /// The line, without its end.
    pub line: String,
}

/// What a container has written and writes, line by line.
pub type Written = BoxStream<'static, Result<WrittenLine, EngineError>>;

/// Is given how far a pull is, each time that changes.
pub type OnProgress<'a> = dyn Fn(PullProgress) + Send + Sync + 'a;

/// Changing calls. Removing or stopping what is gone already is a success.
pub trait ChangeContainers: ReadContainers {
    /// Makes a bridge network. With `isolated`, containers on it cannot reach each other.
    fn create_network(
        &self,
        name: &str,
        isolated: bool,
        labels: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Pulls an image, and reports how far it is. May be cancelled.
    fn pull(
        &self,
        reference: &str,
        progress: &OnProgress<'_>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes a volume, or finds it made already with the same labels.
    fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a volume.
    fn remove_volume(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Creates a container and returns its id. It is not started.
    fn create(&self, draft: &Draft) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Puts files into a directory of a created container, before it starts.
    fn put_files(
        &self,
        container: &str,
        directory: &str,
        files: &[DraftFile],
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Gives the volume at a path of a created container to a user and group, where the volume is empty. `false`
    /// where the engine writes nothing into the container, as its root can only be read.
    fn own_volume(
        &self,
        container: &str,
        path: &str,
        owner: (u32, u32),
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Starts a container, or lets a paused one go on; one that runs already is a success.
    fn start(&self, container: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Stops a container within `grace_secs`, then kills it.
    fn stop(
        &self,
        container: &str,
        grace_secs: u32,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Sets the restart policy.
    fn set_restart(
        &self,
        container: &str,
        restart: Restart,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Sets everything that changes in place. Whether it was done, [`ReadContainers::inspect`] tells: some
    /// engines say yes and do nothing.
    fn set_limits(
        &self,
        container: &str,
        limits: &Limits,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a container that does not run, with its anonymous volumes.
    fn remove(&self, container: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// What a list tells of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// Its name, without a leading slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub phase: Phase,
    /// What its health check says, as far as a list tells that.
    pub health: Option<Health>,
    /// The id of its image, as the list writes it.
    pub image_id: String,
    /// The reference that it was created with, if the engine vouches that it leads to that image now. `None` says
    /// nothing: not every engine looks.
    pub image: Option<String>,
    /// The networks that it joined, by name.
    pub networks: BTreeMap<String, Joined>,
}

/// A network that a container joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// Its id, as far as the engine tells it.
    pub id: Option<String>,
    /// The container's address on it, while it runs.
    pub address: Option<IpAddr>,
}

/// What events were about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Ids of containers. Some may be foreign: who looks at them anew learns nothing new.
    pub containers: BTreeSet<String>,
    /// Whether references to images may lead elsewhere now.
    pub images: bool,
    /// Names of networks that were made or removed.
    pub networks: BTreeSet<String>,
}

/// An image as the engine reported it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    /// Its id.
    pub id: String,
    /// What it says about containers made from it.
    pub config: ImageConfig,
    /// Whether its id is a digest of that, so that it says the same for ever.
    pub is_fixed: bool,
}

/// A container as the engine reported it.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without a leading slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub phase: Phase,
    /// What its health check says; `None` where it has none.
    pub health: Option<Health>,
    /// The id of its image.
    pub image_id: String,
    /// Its addresses by network name, while it runs.
    pub addresses: BTreeMap<String, IpAddr>,
    /// When it was started last; `None` when never.
    pub started: Option<jiff::Timestamp>,
    /// What it may use, and its restart policy.
    pub limits: Limits,
    /// How often the engine restarted it by itself since it was started last.
    pub restarts: u32,
    /// Everything else that a draft decides.
    pub settings: Settings,
}

/// A network as the engine reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// Its id.
    pub id: String,
    /// `bridge`, `host` …
    pub driver: String,
    /// Where containers on it can reach each other for what it was made with: why, and the way out.
    pub open_because: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A container to be created, complete: nothing is left to the engine's taste.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// The image's reference.
    pub image: String,
    /// In place of the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's command.
    pub command: Option<Vec<String>>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host name.
    pub hostname: String,
    /// `uid:gid`.
    pub user: String,
    /// Bytes of memory, swap included.
    pub memory: u64,
    /// Billionths of a processor.
    pub nano_cpus: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of `/dev/shm`.
    pub shm: u64,
    /// Restart policy.
    pub restart: Restart,
    /// Capabilities beyond none; all others are dropped.
    pub cap_add: Vec<String>,
    /// Whether the root file system can only be read.
    pub read_only: bool,
    /// Memory file systems: path to bytes.
    pub tmpfs: BTreeMap<String, u64>,
    /// What is mounted.
    pub mounts: Vec<DraftMount>,
    /// The network's name.
    pub network: String,
    /// Seconds between TERM and KILL.
    pub stop_grace_secs: u32,
}

/// Something to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftMount {
    /// A volume's name or a directory of the host.
    pub source: MountSource,
    /// Where.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A named volume.
    Volume(String),
    /// A directory of the host, which must exist.
    Host(String),
}

/// A file to be put into a container.
#[derive(Debug, Clone)]
pub struct DraftFile {
    /// Its name within the directory.
    pub name: String,
    /// What it holds.
    pub content: crate::words::secret::SecretValue,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
