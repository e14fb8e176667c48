//! The source as the daemon follows it: a directory that is watched, or a repository that is fetched.

use std::time::Duration;

use super::chain::chain;
use super::events::Events;
use super::follow::{Follower, Syncer};
use super::site::Site;
use crate::decisions::report::Report;
use crate::doors::source::git::checkout::CheckoutReader;
use crate::doors::source::{SourceError, Watch};
use crate::words::desired::Snapshot;

/// For how long a first round waits for whoever writes to `fleet.yaml`.
const SETTLING: Duration = Duration::from_secs(10);

/// A source that is followed.
pub enum Source {
    /// A directory; perhaps a checkout.
    Directory {
        /// Says when it has changed.
        watch: Box<Watch>,
        /// Reads its commit.
        checkout: CheckoutReader,
    },
    /// A repository.
    Repository(Box<Follower>),
}

impl Source {
    /// Begins to follow the source of a site.
    ///
    /// # Errors
    /// When a directory cannot be watched, or git not be run.
    pub fn follow(site: &Site, events: &Events) -> Result<Self, SourceError> {
        Ok(match site.mirror() {
            Some(mirror) => Self::Repository(Box::new(Follower::new(mirror, events.clone())?)),
            None => Self::Directory {
                watch: Box::new(Watch::new(site.source_dir())?),
                checkout: CheckoutReader::default(),
            },
        })
    }

    /// Who has a repository asked.
    pub fn syncer(&self) -> Option<Syncer> {
        match self {
            Self::Directory { .. } => None,
            Self::Repository(follower) => Some(follower.syncer()),
        }
    }

    /// Returns once a first round has something to read, or will tell why it has not.
    pub async fn ready(&self) {
        match self {
            Self::Directory { watch, .. } => watch.fleet_settled(SETTLING).await,
            Self::Repository(follower) => follower.ready().await,
        }
    }

    /// Has a repository asked for news, for somebody who waits. Returns what they should know.
    pub async fn sync(&self) -> Option<String> {
        let syncer = self.syncer()?;
        let error = syncer.sync().await.err()?;
        Some(format!("{error}; what was known stays"))
    }

    /// Returns when a round is due because of it. Nothing is lost when it is dropped before that.
    pub async fn changed(&mut self) {
        match self {
            Self::Directory { watch, .. } => watch.changed().await,
            Self::Repository(follower) => follower.changed().await,
        }
    }

    /// Why changes of a directory are noticed late, where the system gives no watch.
    pub fn polls(&self) -> Option<String> {
        let Self::Directory { watch, .. } = self else {
            return None;
        };
        let why = chain(watch.polls()?);
        Some(format!("the source is polled every 2 s: {why}"))
    }

    /// Reads it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When nothing is known of what is desired.
    pub fn read(&mut self, site: &Site) -> Result<Snapshot, SourceError> {
        match self {
            Self::Directory { watch, checkout } => {
                let snapshot = watch.read(&site.source_shown())?;
                Ok(checkout.read(site.source_dir(), snapshot))
            }
            Self::Repository(follower) => Ok(follower.read()?),
        }
    }

    /// To be called now and then: a mount changes without an event.
    ///
    /// # Errors
    /// When a directory cannot be watched any more.
    pub fn rearm(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Directory { watch, .. } => watch.rearm(),
            Self::Repository(_) => Ok(()),
        }
    }

    /// Takes note of what a round over the whole fleet came to.
    pub fn note(&self, report: &Report) {
        if let Self::Repository(follower) = self {
            follower.note(report);
        }
    }
}
