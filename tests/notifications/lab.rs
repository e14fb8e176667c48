//! A store, and rounds that say what they came to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::notices::{self, NoticeCounts, Notices};
use instanced::decisions::plan::{Action, Reason, Step};
use instanced::decisions::report::{Failure, Missing, Outcome, Report, StepReport};
use instanced::doors::store::Store;
use instanced::words::config::{Notify, Receiver};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Lab {
    dir: TempDir,
    pub config: Notify,
    running: Option<Running>,
}

struct Running {
    notices: Notices,
    counts: Arc<NoticeCounts>,
    tasks: JoinSet<()>,
    end: CancellationToken,
}

impl Lab {
    pub fn new(urls: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let webhooks = urls.iter().map(|url| Receiver {
            url: (*url).to_owned(),
            secret_file: dir.path().join("secret"),
            ca_file: None,
        });
        let config = Notify {
            webhooks: webhooks.collect(),
            ..Notify::default()
        };
        let lab = Self {
            dir,
            config,
            running: None,
        };
        lab.write("secret", SECRET);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    pub async fn try_start(&mut self) -> Result<(), Failure> {
        let store = Store::open(&self.path("state"), PATIENCE).expect("the store");
        let (store, counts) = (Arc::new(store), Arc::<NoticeCounts>::default());
        let (mut tasks, end) = (JoinSet::new(), CancellationToken::new());
        let manager = "default".parse().expect("a name");
        let whom = (&self.config, &manager);
        let notices =
            notices::start(whom, &store, None, Arc::clone(&counts), &mut tasks, &end).await?;
        self.running = Some(Running {
            notices: notices.expect("somebody is told"),
            counts,
            tasks,
            end,
        });
        Ok(())
    }

    pub async fn start(&mut self) {
        self.try_start().await.expect("a sound configuration");
    }

    /// Ends everything as the daemon does.
    pub async fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.end.cancel();
        while running.tasks.join_next().await.is_some() {}
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub fn counts(&self) -> &NoticeCounts {
        &self.running().counts
    }

    /// What a round came to.
    pub fn note(&self, report: &Report) {
        self.running().notices.note(report, Vec::new());
    }

    async fn until(
        &self,
        figure: impl Fn(&NoticeCounts) -> u64,
        wanted: impl Fn(u64) -> bool,
    ) -> u64 {
        let since = Instant::now();
        loop {
            let now = figure(self.counts());
            if wanted(now) {
                return now;
            }
            assert!(since.elapsed() < PATIENCE, "{:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_delivered(&self, least: u64) {
        self.until(NoticeCounts::delivered, |now| now >= least)
            .await;
        // It is out of the store, too, once nothing waits.
        self.until(NoticeCounts::waiting, |now| now == 0).await;
    }

    pub async fn until_failed(&self, least: u64) {
        self.until(NoticeCounts::failed, |now| now >= least).await;
    }

    pub async fn until_waiting(&self, many: u64) -> u64 {
        self.until(NoticeCounts::waiting, |now| now == many).await
    }
}

/// A round in which these are frozen.
pub fn frozen(names: &[&str]) -> Report {
    let steps = names.iter().map(|name| StepReport {
        step: Step {
            instance: name.parse().expect("a name"),
            action: Action::Held,
            reason: Reason::Frozen {
                fields: vec!["env.LANG".to_owned()],
            },
            changes: Vec::new(),
            ends_sessions: false,
        },
        outcome: Outcome::Held,
        millis: 0,
        failure: None,
    });
    Report {
        steps: steps.collect(),
        ..Report::default()
    }
}

/// A round in which all is well.
pub fn well() -> Report {
    Report::default()
}

/// A round without an engine.
pub fn away() -> Report {
    let failure = Failure {
        message: "the engine does not answer".to_owned(),
        help: None,
    };
    Report::aborted(failure).for_want_of(Missing::Engine)
}
