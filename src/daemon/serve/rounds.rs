//! The loop that runs rounds, and tells what came of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::daemon::attended::Attended;
use crate::daemon::chain::chain;
use crate::daemon::clock::{Clock, jitter};
use crate::daemon::converge::{Converger, ENGINE_RETRY};
use crate::daemon::events::Events;
use crate::daemon::guards::Guards;
use crate::daemon::metrics::Metrics;
use crate::daemon::notices::Notices;
use crate::daemon::operate::AskedRound;
use crate::daemon::probes::Probes;
use crate::daemon::round::{self, Ask};
use crate::daemon::routes::Routes;
use crate::daemon::site::{ActError, Acting, Site};
use crate::daemon::source::Source;
use crate::daemon::spells::Unwell;
use crate::daemon::standing;
use crate::daemon::tokens::Tokens;
use crate::daemon::watch::Sampler;
use crate::decisions::event;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, Missing, Outcome, Report};
use crate::decisions::source::being_written;
use crate::decisions::status::{InstanceStatus, status};
use crate::doors::engine::Engine;
use crate::doors::engine::docker::Docker;
use crate::doors::engine::fleet::Fleet;
use crate::doors::sole::Sole;
use crate::doors::store::Store;
use crate::words::desired::Desired;
use crate::words::diagnostic::Severity;
use crate::words::resolve::access_limits;

/// How long to wait before routes that could not be written are tried again.
const ROUTES_RETRY: Duration = Duration::from_secs(5);
/// Several engine events in a row make one round.
const EVENTS_COALESCE: Duration = Duration::from_millis(100);
/// How long a round may go on once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(8);

/// The loop that runs rounds.
pub(super) struct Rounds {
    pub(super) site: Site,
    pub(super) store: Arc<Store>,
    pub(super) guards: Arc<Guards>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) source: Source,
    pub(super) last: Arc<ArcSwap<Report>>,
    /// For how long instances have not been well, for whoever asks.
    pub(super) unwell: Arc<Unwell>,
    pub(super) asked: mpsc::Receiver<AskedRound>,
    pub(super) author: String,
    /// Absent, like the converger, until the engine was reached for the first time.
    pub(super) sole: Option<Sole>,
    pub(super) converger: Option<Converger<Attended<Fleet<Docker>>, Arc<Store>>>,
    /// A round is due: something happened on the engine, or a probe says something else.
    pub(super) engine_due: Arc<Notify>,
    pub(super) probes: Probes,
    /// What instances use, for whoever asks.
    pub(super) sampler: Arc<Sampler>,
    /// Where files carry them.
    pub(super) routes: Option<Routes>,
    /// To the engine's events.
    pub(super) listening: JoinSet<()>,
    /// What happens here, for whoever listens to us.
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    /// To those who are told when something needs a person.
    pub(super) notices: Option<Notices>,
    /// What was said already and still holds: it is not said again every round.
    pub(super) told: BTreeSet<String>,
    /// How all instances stand, where the round that runs has seen all of them.
    pub(super) standing: Option<Vec<InstanceStatus>>,
    pub(super) shutdown: CancellationToken,
}

impl Rounds {
    pub(super) async fn run(&mut self) {
        let mut asked: Option<AskedRound> = None;
        tokio::select! {
            () = self.source.ready() => {}
            () = self.shutdown.cancelled() => {}
        }
        while !self.shutdown.is_cancelled() {
            let ask = asked.as_ref().map(|asked| asked.ask.clone());
            let shutdown = self.shutdown.clone();
            let began = Instant::now();
            let report = tokio::select! {
                report = self.round(ask) => report,
                // Calls in flight may finish, a pull of minutes may not: what it left, the next start mends.
                () = async {
                    shutdown.cancelled().await;
                    tokio::time::sleep(GRACE).await;
                } => {
                    tracing::warn!("stopping in the middle of a round");
                    return;
                }
            };
            let whole = asked
                .as_ref()
                .is_none_or(|asked| asked.ask.names.is_empty());
            let next = self.next_due(&report);
            self.metrics.count(&report, began.elapsed(), whole);
            let standing = self.standing.take();
            if let Some(standing) = &standing {
                self.metrics.stand(standing);
            }
            self.tell(&report);
            if whole {
                self.source.note(&report);
                if let Some(notices) = &self.notices {
                    notices.note(&report, standing.unwrap_or_default());
                }
            }
            let names = asked.as_ref().map_or(&[][..], |asked| &asked.ask.names);
            let known = report.beside(&self.last.load(), names);
            self.last.store(Arc::new(known));
            if let Some(AskedRound { reply, .. }) = asked.take() {
                // Whoever asked may be gone; the round was run all the same.
                let _ = reply.send(report);
            }
            asked = self.wait(next).await;
        }
    }

    /// Until a round is due. An asked one comes with who asked.
    async fn wait(&mut self, next: Duration) -> Option<AskedRound> {
        let engine_due = Arc::clone(&self.engine_due);
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            asked = self.asked.recv() => asked,
            () = self.source.changed() => None,
            () = async {
                engine_due.notified().await;
                tokio::time::sleep(EVENTS_COALESCE).await;
            } => None,
            () = tokio::time::sleep(next) => {
                if let Err(error) = self.source.rearm() {
                    tracing::warn!("{}", chain(&error));
                }
                None
            }
        }
    }

    async fn round(&mut self, asked: Option<Ask>) -> Report {
        let note = match &asked {
            Some(_) => self.source.sync().await,
            None => None,
        };
        let mut report = self.round_as_known(asked).await;
        report.notes.extend(note);
        report.notes.extend(self.source.polls());
        report
    }

    async fn round_as_known(&mut self, asked: Option<Ask>) -> Report {
        let read = tokio::task::block_in_place(|| self.source.read(&self.site));
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => return *round::source_failed(&error),
        };
        let desired = match round::desired(&snapshot, &self.site) {
            Ok(desired) => desired,
            Err(report) => {
                // Verdicts go on from what was known, without what the manifests revoke.
                self.guards.limit(&access_limits(&snapshot));
                self.publish().await;
                return *report;
            }
        };
        self.guards.update(&desired, None);
        self.publish().await;
        match Box::pin(self.round_on_engine(desired, asked)).await {
            Ok(report) => report,
            Err(report) => *report,
        }
    }

    async fn round_on_engine(
        &mut self,
        desired: Desired,
        asked: Option<Ask>,
    ) -> Result<Report, Box<Report>> {
        let watched = asked.is_none();
        self.connect().map_err(|error| match error {
            ActError::Engine(error) => round::engine_failed(&desired, error),
            error @ ActError::Sole(_) => round::aborted(&desired, error.into()),
        })?;
        let converger = self.converger.as_mut().expect("connected just now");
        let mut notes = converger.refresh_images(&desired).await;
        let ask = asked.unwrap_or_default();
        let view = converger.look(desired, ask, watched).await?;
        self.unwell.note(&view.unwell_for);
        self.guards.update(&view.desired, Some(&view.observed));
        self.publish().await;
        self.probes.follow(&view.desired, &view.observed);
        if let Ok(engine) = self.site.observer() {
            self.sampler
                .keep(engine, standing::all_running(&view.observed));
        }
        let converger = self.converger.as_mut().expect("connected just now");
        let engine = converger.engine.clone();
        let perform = Box::pin(converger.perform(&view, watched, &self.shutdown));
        let mut report = match &mut self.routes {
            Some(routes) => routes.beside(&engine, &view, perform).await,
            None => perform.await,
        };
        report.notes.append(&mut notes);
        if view.only.is_empty() {
            let (public, now) = (&self.site.config.public, jiff::Timestamp::now());
            // Probes of what came up since the round before have begun by now: it is not well yet.
            let mut observed = view.observed.clone();
            self.probes.verdicts().overlay(&mut observed);
            self.standing = Some(status(&view.desired, &observed, &report, public, now));
        }
        Ok(report)
    }

    /// How long until a round is due if nothing happens.
    fn next_due(&self, report: &Report) -> Duration {
        let next = match &self.converger {
            Some(converger) => converger.next_due(report),
            None => ENGINE_RETRY,
        };
        if report.routes.is_empty() {
            next
        } else {
            next.min(ROUTES_RETRY)
        }
    }

    /// Makes the table anew, and puts into the store what a later start shall know of it.
    async fn publish(&self) {
        let (tokens, guards) = (Arc::clone(&self.tokens), Arc::clone(&self.guards));
        let store = Arc::clone(&self.store);
        let publish = move || {
            // What went wrong is told where the table is made.
            let _ = tokens.refresh(jiff::Timestamp::now());
            guards.keep(&store)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(publish).await {
            tracing::warn!(
                "who may pass could not be kept for the next start: {}",
                chain(&error)
            );
        }
    }

    /// Connects at need: an engine that is away at start is waited for.
    fn connect(&mut self) -> Result<(), ActError> {
        if self.converger.is_none() {
            let acting = self.site.engine(&self.author)?;
            self.act_on(acting);
        }
        Ok(())
    }

    pub(super) fn act_on(&mut self, Acting { fleet, sole }: Acting) {
        let (listening, due) = (fleet.clone(), Arc::clone(&self.engine_due));
        self.listening
            .spawn(async move { listen(listening, due).await });
        self.sole = Some(sole);
        self.converger = Some(Converger::new(
            self.site.config.reconcile.clone(),
            Attended::new(fleet, self.probes.verdicts()),
            Arc::clone(&self.store),
            Clock::system(),
            jitter,
        ));
    }

    /// Logs what is new in a report.
    fn tell(&mut self, report: &Report) {
        let mut now_told = BTreeSet::new();
        let mut news = report.clone();
        news.steps.retain(|step| match &step.outcome {
            Outcome::Held if is_being_written(&step.step.reason) => false,
            Outcome::Held => {
                let key = format!("{} {}", step.step.instance, step.step.reason);
                let new = !self.told.contains(&key);
                now_told.insert(key);
                new
            }
            Outcome::Done | Outcome::Failed(_) | Outcome::Waiting { .. } => true,
        });
        if is_settling(report) {
            // The next round is due as soon as it has settled.
            news.aborted = None;
        } else if let Some(failure) = &report.aborted {
            if self.told.contains(&failure.message) {
                news.aborted = None;
            }
            now_told.insert(failure.message.clone());
        }
        for note in &report.notes {
            if !self.told.contains(note) {
                tracing::warn!("{note}");
            }
            now_told.insert(note.clone());
        }
        for Failure { message, help } in &report.routes {
            if !self.told.contains(message) {
                tracing::error!(help = help.as_deref(), "{message}");
            }
            now_told.insert(message.clone());
        }
        for diagnostic in &report.diagnostics {
            let text = diagnostic.to_string();
            if !self.told.contains(&text) {
                let revision = report.revision.as_str();
                match diagnostic.severity {
                    Severity::Error => tracing::error!(revision, "{text}"),
                    Severity::Warning => tracing::warn!(revision, "{text}"),
                    Severity::Note => tracing::debug!(revision, "{text}"),
                }
            }
            now_told.insert(text);
        }
        self.told = now_told;
        round::log(&news);
        for event in event::of_round(report, &news, jiff::Timestamp::now()) {
            self.events.tell(event);
        }
    }
}

/// Held for a moment, as every file is that was just saved.
fn is_being_written(reason: &Reason) -> bool {
    matches!(reason, Reason::Unreadable { diagnostics } if being_written(diagnostics))
}

/// Broken off for a `fleet.yaml` that was just saved, and for nothing else.
fn is_settling(report: &Report) -> bool {
    report.aborted_by == Some(Missing::Source)
        && !report.diagnostics.is_empty()
        && being_written(&report.diagnostics)
}

/// Makes a round due for every change on the engine, and after every loss of its events.
async fn listen(engine: Fleet<Docker>, due: Arc<Notify>) {
    let mut cursor = None;
    let mut away = false;
    loop {
        match engine.changed(&mut cursor).await {
            Ok(()) => away = false,
            Err(error) => {
                if !away {
                    tracing::warn!(%error, "the engine's events broke off; listening again");
                }
                away = true;
                tokio::time::sleep(ENGINE_RETRY).await;
            }
        }
        due.notify_one();
    }
}
