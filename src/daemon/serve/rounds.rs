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
use crate::daemon::converge::{Converger, ENGINE_RETRY, LateStep};
use crate::daemon::events::Events;
use crate::daemon::metrics::Metrics;
use crate::daemon::notebook::Notebook;
use crate::daemon::notices::Notices;
use crate::daemon::operate::AskedRound;
use crate::daemon::probes::Probes;
use crate::daemon::round::{self, Ask};
use crate::daemon::round_health::SharedRoundHealth;
use crate::daemon::routes::Routes;
use crate::daemon::site::{ActError, Acting, Site};
use crate::daemon::source::Source;
use crate::daemon::spells::Unwell;
use crate::daemon::standing;
use crate::daemon::steps::{self, InFlight, Work};
use crate::daemon::watch::Sampler;
use crate::decisions::event::{self, PlannedFor};
use crate::decisions::report::{Report, StepReport};
use crate::decisions::status::{InstanceStatus, note_in_progress, status};
use crate::doors::engine::Engine;
use crate::doors::engine::docker::Docker;
use crate::doors::engine::fleet::Fleet;
use crate::doors::sole::Sole;
use crate::doors::store::Store;
use crate::words::desired::Desired;

mod access;
mod due;
mod told;
mod waiting;

pub(super) use access::Access;
pub(super) use due::Due;
pub(super) use waiting::Waiting;
use waiting::{conclude, is_refused, refuse};

/// How long to wait before routes that could not be written are tried again.
const ROUTES_RETRY: Duration = Duration::from_secs(5);
/// How long a round may go on once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(8);

/// The loop that runs rounds.
pub(super) struct Rounds {
    pub(super) site: Site,
    pub(super) store: Arc<Store>,
    /// Who may reach which endpoint.
    pub(super) access: Arc<Access>,
    pub(super) source: Source,
    pub(super) last: Arc<ArcSwap<Report>>,
    /// For how long instances have not been well, for whoever asks.
    pub(super) unwell: Arc<Unwell>,
    pub(super) asked: mpsc::Receiver<AskedRound>,
    pub(super) author: String,
    /// Absent, like the converger, until the engine was reached for the first time.
    pub(super) sole: Option<Sole>,
    pub(super) converger: Option<Converger<Attended<Fleet<Docker>>, Arc<Store>>>,
    pub(super) due: Due,
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
    /// Steps in progress, for whoever asks.
    pub(super) in_flight: InFlight,
    /// Whoever waits.
    pub(super) waiting: Waiting,
    /// When the next round is due if nothing happens.
    pub(super) next: Instant,
    /// Registries that are asked for newer images.
    pub(super) refresh: Refresh,
    /// Whether rounds complete.
    pub(super) health: SharedRoundHealth,
    pub(super) shutdown: CancellationToken,
}

/// Registries that are asked for newer images, beside the rounds.
#[derive(Default)]
pub(super) struct Refresh {
    running: JoinSet<Vec<String>>,
    /// What failed the last time.
    failed: Vec<String>,
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
            let access = Arc::clone(&self.access);
            let report = tokio::select! {
                report = self.round(ask) => report,
                () = access.follow() => unreachable!("it never returns"),
                // Calls in flight may finish: what is left, the next start completes.
                () = async {
                    shutdown.cancelled().await;
                    tokio::time::sleep(GRACE).await;
                } => {
                    tracing::warn!("stopping in the middle of a round");
                    return;
                }
            };
            self.note(report, asked.take(), began.elapsed());
            asked = self.wait().await;
        }
        self.finish().await;
    }

    /// Everything that follows from a round.
    fn note(&mut self, report: Report, asked: Option<AskedRound>, took: Duration) {
        let asked = match asked {
            Some(asked) if is_refused(&asked.ask, &report) => return refuse(asked, report),
            asked => asked,
        };
        let whole = asked
            .as_ref()
            .is_none_or(|asked| asked.ask.names.is_empty());
        self.next = Instant::now() + self.next_due(&report);
        self.metrics.count(&report, took, whole);
        let standing = self.standing.take();
        if let Some(standing) = &standing {
            self.metrics.stand(standing);
        }
        self.tell(&report);
        self.health.note(&report, jiff::Timestamp::now());
        if whole {
            self.source.note(&report);
            if let Some(notices) = &self.notices {
                notices.note(&report, standing.unwrap_or_default());
            }
        }
        let names = asked.as_ref().map_or(&[][..], |asked| &asked.ask.names);
        let known = report.beside(&self.last.load(), names);
        self.last.store(Arc::new(known));
        if let Some(asked) = asked {
            self.waiting.take(asked, report, &self.in_flight);
        }
    }

    /// Takes the end of a step that went on beside the rounds.
    fn end_step(&mut self, ended: &LateStep) {
        if let Some(step) = &ended.report {
            self.metrics.count_step(step);
        }
        let mut last = Report::clone(&self.last.load());
        conclude(&mut last, ended);
        self.last.store(Arc::new(last));
        self.waiting.end_step(ended);
    }

    /// Until a round is due. An asked one comes with who asked.
    async fn wait(&mut self) -> Option<AskedRound> {
        loop {
            if let Some(asked) = self.waiting.next_deferred(&self.in_flight) {
                return Some(asked);
            }
            let until = self.waiting.until();
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = passes(until) => self.waiting.answer(),
                asked = self.asked.recv() => {
                    let asked = self.waiting.ask(asked?, &self.in_flight);
                    if asked.is_some() {
                        return asked;
                    }
                }
                () = self.source.changed() => return None,
                () = self.due.passed() => return None,
                ended = ended(&mut self.converger) => {
                    self.end_step(&ended);
                    // What it led to is looked at, and what it kept waiting is done.
                    self.due.notify().notify_one();
                }
                Some(refreshed) = self.refresh.running.join_next() => {
                    self.refresh.failed = refreshed.unwrap_or_default();
                    return None;
                }
                () = tokio::time::sleep_until(self.next) => {
                    if let Err(error) = self.source.rearm() {
                        tracing::warn!(error = chain(&error), "failed to watch the source again");
                    }
                    return None;
                }
            }
        }
    }

    /// Steps that are changing an instance may end; then it stops.
    async fn finish(&mut self) {
        let Some(converger) = &mut self.converger else {
            return;
        };
        let ending = async {
            while converger.has_steps() {
                converger.ended().await;
            }
        };
        if tokio::time::timeout(GRACE, ending).await.is_err() {
            tracing::warn!("stopping in the middle of a step; the next start completes it");
        }
    }

    async fn round(&mut self, asked: Option<Ask>) -> Report {
        let note = match &asked {
            Some(_) => self.source.sync().await,
            None => None,
        };
        if asked.is_none() {
            self.due.begin_round();
        }
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
                self.access.take_read(&snapshot, None).await;
                return *report;
            }
        };
        self.access.take_read(&snapshot, Some(&desired)).await;
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
        self.refresh(&desired);
        let converger = self.converger.as_mut().expect("connected just now");
        let ask = asked.unwrap_or_default();
        let looked = converger.look(desired, ask, watched).await;
        // Whoever waits for what ended before this round waits no longer than for its look.
        let late: Vec<LateStep> = std::iter::from_fn(|| converger.take_ended()).collect();
        for ended in &late {
            self.end_step(ended);
        }
        if !watched && !late.is_empty() {
            // What it led to concerns others, too.
            self.due.notify().notify_one();
        }
        let view = looked?;
        self.unwell.note(&view.unwell_for);
        self.access.take_seen(&view.desired, &view.observed).await;
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
        report.notes.extend(self.refresh.failed.iter().cloned());
        if view.only.is_empty() {
            let (public, now) = (&self.site.config.public, jiff::Timestamp::now());
            // Probes of what came up since the round before have begun by now: it is not well yet.
            let mut observed = view.observed.clone();
            self.probes.verdicts().overlay(&mut observed);
            let mut standing = status(&view.desired, &observed, &report, public, now);
            note_in_progress(&mut standing, |name| self.in_flight.of(name));
            self.standing = Some(standing);
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

    /// Has registries asked for newer images, when it is time. No round waits for them.
    fn refresh(&mut self, desired: &Desired) {
        let converger = self.converger.as_mut().expect("connected just now");
        if !self.refresh.running.is_empty() {
            return;
        }
        if let Some(asking) = converger.refresh(desired) {
            self.refresh.running.spawn(asking);
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
        let (listening, due) = (fleet.clone(), self.due.notify());
        self.listening
            .spawn(async move { listen(listening, due).await });
        self.sole = Some(sole);
        let events = self.events.clone();
        let observer = move |step: &StepReport, planned_for: &PlannedFor| {
            round::log_step(step, planned_for);
            events.tell(event::of_step(step, planned_for, jiff::Timestamp::now()));
        };
        let converger = Converger::new(
            self.site.config.reconcile.clone(),
            Attended::new(fleet, self.probes.verdicts()),
            Arc::clone(&self.store),
            Clock::system(),
            jitter,
        );
        self.converger = Some(converger.with_patience(steps::SLOW).in_background(
            own_task,
            self.in_flight.clone(),
            Box::new(observer),
        ));
    }
}

/// What came of the next step that ends beside the rounds; nothing ever, before the engine was reached.
async fn ended<E: Engine + 'static, N: Notebook>(
    converger: &mut Option<Converger<E, N>>,
) -> LateStep {
    match converger {
        Some(converger) => converger.ended().await,
        None => std::future::pending().await,
    }
}

/// Until this moment; for ever where there is none.
async fn passes(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A task of its own for a step: it goes on whatever the rounds wait for, and ends with the daemon.
fn own_task(work: Work) -> Work {
    let mut task = JoinSet::new();
    task.spawn(work);
    Box::pin(async move {
        match task.join_next().await.expect("one was spawned") {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    })
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
