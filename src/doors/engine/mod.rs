//! The engine as the daemon sees it: it speaks of instances, not of containers.
//!
//! [`Observe`] only reads; a dry run is handed nothing more. [`Engine`] also performs. An engine that runs
//! containers one by one (Docker, Podman) is [`fleet::Fleet`] over the calls in [`containers`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use crate::decisions::plan::Step;
use crate::decisions::report::FailureKind;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::secret::{SecretName, SecretValue};
use crate::words::watch::{AskLog, Counters, HealthResult, PullProgress};
use containers::Written;
use settings::EngineNotes;

pub mod containers;
pub mod docker;
pub mod draft;
mod drift;
pub mod fleet;
pub mod settings;
pub mod slot;
mod traefik;

/// The values of one instance's secrets.
pub type Secrets = BTreeMap<SecretName, SecretValue>;

/// What an engine can tell.
pub trait Observe: Send + Sync {
    /// Everything of ours, foreign things that hold our names, and the ids of the images in `images`.
    fn observe(
        &self,
        images: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Observed, EngineError>> + Send;

    /// What is wrong with what all instances stand on, as [`Observed::ground`] tells it. A first look that found nothing
    /// wrong may have believed what an earlier process noted; this has asked.
    fn ground(&self) -> impl Future<Output = Result<Option<String>, EngineError>> + Send;

    /// Reads a secret back from the newest generation of an instance; `None` when it has none.
    fn read_secret(
        &self,
        instance: &InstanceName,
        secret: &SecretName,
    ) -> impl Future<Output = Result<Option<SecretValue>, EngineError>> + Send;
}

/// What an engine shows of instances to whoever watches them. Nothing is decided by it.
pub trait Watch: Observe {
    /// What the newest generation of an instance has written, and with `follow` what it writes until it ends; `None`
    /// when it has none.
    fn log(
        &self,
        instance: &InstanceName,
        ask: AskLog,
    ) -> impl Future<Output = Result<Option<GenerationLog>, EngineError>> + Send;

    /// What these generations use, by the engine's id of each, as far as they run and the engine tells.
    fn counters(
        &self,
        generations: &[String],
    ) -> impl Future<Output = BTreeMap<String, Counters>> + Send;

    /// The values of the secrets that a generation was given, by the engine's id of it.
    fn secrets(
        &self,
        generation: &str,
    ) -> impl Future<Output = Result<Vec<SecretValue>, EngineError>> + Send;

    /// What the engine's health check of a generation said lately, oldest first; nothing where it has none.
    fn health_log(
        &self,
        generation: &str,
    ) -> impl Future<Output = Result<Vec<HealthResult>, EngineError>> + Send;
}

/// What one generation writes.
pub struct GenerationLog {
    /// Its number.
    pub generation: u64,
    /// The engine's id of it.
    pub id: String,
    /// Its lines.
    pub written: Written,
}

/// An engine that can also act.
pub trait Engine: Observe {
    /// Makes what all instances stand on (the network), and checks that it isolates as configured.
    fn prepare(&self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes what [`Observed::leftovers`] names.
    fn tidy(&self, leftovers: &[String]) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Brings what a step needs from a registry onto this machine. It touches nothing of the instance, so it may
    /// be cancelled at any time.
    fn fetch(&self, step: &Step) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The progress of a pull of this image, while there is one.
    fn pulling(&self, image: &str) -> Option<PullProgress>;

    /// Performs one step; [`fetch`](Self::fetch) came before. Whatever was there before an error is still
    /// consistent: the next round plans from what is found.
    fn perform(
        &self,
        step: &Step,
        secrets: &Secrets,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Asks the registries of these images for what their references name now. Tells what failed.
    fn refresh(&self, images: &BTreeSet<String>) -> impl Future<Output = Vec<EngineError>> + Send;

    /// What an earlier process noted need not be asked again.
    fn recall(&self, notes: EngineNotes);

    /// What is to be noted for the next process, if it is other than what was recalled or told last.
    fn news(&self) -> Option<EngineNotes>;

    /// Waits for a change of our instances that happened after `cursor`, then returns the cursor to wait
    /// from next. Ends with an error when the engine went away.
    fn changed(
        &self,
        cursor: &mut Option<String>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// What went wrong with an engine's call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {detail}")]
pub struct EngineError {
    /// What was tried, with its subject: `create container instanced-default-alice-g1`.
    pub operation: String,
    /// What became of it.
    pub class: ErrorClass,
    /// The engine's words.
    pub detail: String,
    /// The way out, where one can be named.
    pub help: Option<String>,
    /// What the container wrote last, without its secrets. For a person who asks about this instance: it goes into no
    /// reason, no history, no log and no notice.
    pub output: Vec<String>,
}

/// What an engine's error means for who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The engine does not answer. Nothing is known.
    Away,
    /// The thing is not there (any more).
    Gone,
    /// A name is taken, or the state does not allow it now.
    Conflict,
    /// Trying again later may work.
    Retry,
    /// The subject is refused as it is: trying again without a change will not work.
    Permanent,
    /// A registry does not give it to this user.
    Denied,
    /// A registry asks to wait: another try comes later than after other failures.
    RateLimited,
    /// The call did not end within its limit. Whether it took effect is not known.
    Stalled,
}

impl ErrorClass {
    /// Whether the call may have taken effect without anybody hearing of it.
    pub fn is_unclear(self) -> bool {
        matches!(self, Self::Away | Self::Stalled)
    }

    /// Its name in reports, status and logs.
    pub fn kind(self) -> FailureKind {
        match self {
            Self::Away => FailureKind::Away,
            Self::Gone => FailureKind::NotFound,
            Self::Conflict | Self::Permanent => FailureKind::Refused,
            Self::Retry => FailureKind::Failed,
            Self::Denied => FailureKind::Denied,
            Self::RateLimited => FailureKind::RateLimited,
            Self::Stalled => FailureKind::Stalled,
        }
    }
}

impl EngineError {
    /// An error with the engine's words.
    pub fn new(operation: impl Into<String>, class: ErrorClass, detail: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            class,
            detail: detail.into(),
            help: None,
            output: Vec::new(),
        }
    }

    /// With a way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
