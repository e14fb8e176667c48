//! Rounds: look, then perform, and remember what a later round must know.
//!
//! A [`Converger`] is what goes on between rounds of one process: how long something has been absent or
//! unwell, what failed and when it is tried again. What must outlive the process is the [`Notebook`]'s.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::failures::{Failures, Waiting};
use super::journal::Journal;
use super::memory::Memory;
use super::notebook::Notebook;
use super::round::{self, Ask, Known, View};
use super::spells::Spells;
use super::steps::{InFlight, Running, StepResult, Steps, Work};
use crate::decisions::event::PlannedFor;
use crate::decisions::plan::{ABSENCE, Action, Reason, Step};
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::doors::engine::Engine;
use crate::words::config::Reconcile;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;

mod perform;
mod remembered;

use perform::failed;
use remembered::protection;

/// How long to wait before an engine that is away is asked again.
pub const ENGINE_RETRY: Duration = Duration::from_secs(2);
/// How soon an instance is looked at again whose state the engine did not report.
const UNOBSERVED_RETRY: Duration = Duration::from_secs(30);
/// How soon the next of a rollout are looked at.
const ROLLOUT_STEP: Duration = Duration::from_secs(1);

/// Runs the rounds of one fleet on one engine.
pub struct Converger<E, N> {
    policy: Reconcile,
    pub(super) engine: Arc<E>,
    notebook: N,
    clock: Clock,
    /// From 0 to 1, to spread retries of many instances.
    jitter: Box<dyn Fn() -> f64 + Send>,
    journal: Journal,
    /// Containers that stood when this process first looked.
    baseline: Option<HashSet<String>>,
    /// Instances that the engine did not report in the first look.
    not_seen_yet: BTreeSet<InstanceName>,
    spells: Spells,
    /// What manifests said of `protect` in rounds that could not note it.
    unnoted: BTreeMap<InstanceName, bool>,
    failures: Failures,
    /// Who waited for another try when this process looked last.
    waiting: Waiting,
    refreshed: Option<Instant>,
    /// Whether it was asked what an earlier process noted of the engine.
    recalled: bool,
    steps: Steps,
    /// Steps that ended beside the rounds and are not concluded yet.
    unconcluded: VecDeque<(Running, StepResult)>,
    /// What came of those that are, until somebody takes it.
    late: VecDeque<LateStep>,
    /// So many steps act at the same time, whichever rounds began them.
    slots: Arc<Semaphore>,
    /// Is given each step as it ends.
    observer: StepObserver,
}

/// A step that has ended beside the rounds.
#[derive(Debug, Clone)]
pub struct LateStep {
    /// Whose.
    pub instance: InstanceName,
    /// When it began: reports that say that it is running name the same moment.
    pub since: jiff::Timestamp,
    /// What came of it; nothing for one that was withdrawn.
    pub report: Option<StepReport>,
}

/// Is given each step that was tried as it ends, with what it was planned for.
pub type StepObserver = Box<dyn Fn(&StepReport, &PlannedFor) + Send>;

impl<E: Engine + 'static, N: Notebook> Converger<E, N> {
    /// A converger that knows nothing yet.
    pub fn new(
        policy: Reconcile,
        engine: E,
        notebook: N,
        clock: Clock,
        jitter: impl Fn() -> f64 + Send + 'static,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(policy.parallelism.max(1)));
        Self {
            policy,
            engine: Arc::new(engine),
            notebook,
            clock,
            jitter: Box::new(jitter),
            journal: Journal::default(),
            baseline: None,
            not_seen_yet: BTreeSet::new(),
            spells: Spells::default(),
            unnoted: BTreeMap::new(),
            failures: Failures::default(),
            waiting: Waiting::new(),
            refreshed: None,
            recalled: false,
            steps: Steps::default(),
            unconcluded: VecDeque::new(),
            late: VecDeque::new(),
            slots,
            observer: Box::new(|_, _| {}),
        }
    }

    /// Steps that take longer than `patience` go on beside the rounds; without this, a round waits for all of its steps.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.steps.set_patience(patience);
        self
    }

    /// Steps run in tasks of their own, what is in progress is shown in `shared`, and `observer` is given each step as it
    /// ends.
    #[must_use]
    pub fn in_background(
        mut self,
        launch: fn(Work) -> Work,
        shared: InFlight,
        observer: StepObserver,
    ) -> Self {
        self.steps.set_launch(launch);
        self.steps.share(shared);
        self.observer = observer;
        self
    }

    /// Looks at the fleet and plans. `watched` is a round of the daemon's own, which waits where a person
    /// who asks for a round would not.
    ///
    /// # Errors
    /// A report that says why the round was aborted.
    pub async fn look(
        &mut self,
        mut desired: Desired,
        ask: Ask,
        watched: bool,
    ) -> Result<View, Box<Report>> {
        self.conclude_ended().await;
        let (now, moment) = (self.clock.now(), Instant::now());
        self.spells.end_absence(&desired);
        let stored = |error| Box::new(round::store_failed(&error));
        let first = !std::mem::replace(&mut self.recalled, true);
        let known = async {
            if first {
                // Before all else: it is wanted as soon as the engine has listed.
                self.recall().await;
            }
            let memory = self.notebook.read(now).await?;
            let acts = self.journal.read(&self.notebook).await?;
            Ok((memory, acts))
        };
        // Neither waits for the other: most of a round is waiting for the engine.
        let (known, observed) = tokio::join!(known, round::observe(&*self.engine, &desired));
        let (mut memory, mut acts) = known.map_err(|error| {
            self.unnoted.extend(protection(&desired));
            stored(error)
        })?;
        self.journal.know(&acts);
        self.note_protection(&mut memory, &desired).await;
        let observed = observed.map_err(|error| round::engine_failed(&desired, error))?;
        desired.admit_incumbents(&observed);
        if self.withdraw(&desired, &memory).await {
            acts = self.journal.read(&self.notebook).await.map_err(stored)?;
        }
        self.refuse_strangers(&desired, &observed, &memory)?;
        self.spells.note(&desired, &observed, now, moment);
        let (absent_for, waiting) = if watched {
            (
                self.spells.absent_for(moment),
                self.failures.waiting(&desired),
            )
        } else {
            (BTreeMap::new(), Waiting::new())
        };
        self.waiting = waiting;
        let ask = Ask {
            absent_for,
            unwell_for: self.spells.unwell_for(),
            waiting: self.waiting.keys().cloned().collect(),
            in_progress: self.steps.since(),
            ..ask
        };
        let known = Known {
            policy: &self.policy,
            memory: &memory,
            acts: &acts,
            keep: Some(&self.notebook),
            now,
        };
        let view = round::decide(&*self.engine, desired, observed, &known, &ask).await?;
        self.freeze(&view, &memory, &acts, now).await;
        Ok(view)
    }

    /// Another daemon of the same manager name would undo what this one does, and this one its work.
    fn refuse_strangers(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        memory: &Memory,
    ) -> Result<(), Box<Report>> {
        let all = || observed.instances.values().flatten();
        let Some(baseline) = &mut self.baseline else {
            self.baseline = Some(all().map(|g| g.id.clone()).collect());
            self.not_seen_yet = observed.unobserved.keys().cloned().collect();
            return Ok(());
        };
        // What the engine was silent about at first was there at first.
        self.not_seen_yet.retain(|name| {
            let generations = observed.instances.get(name).into_iter().flatten();
            baseline.extend(generations.map(|g| g.id.clone()));
            observed.unobserved.contains_key(name)
        });
        let standing: HashSet<&String> = all().map(|g| &g.id).collect();
        // Of those that the engine says nothing of just now, any may be among them.
        if observed.unobserved.is_empty() {
            baseline.retain(|id| standing.contains(id));
        }
        let stranger = all().find(|generation| {
            let is_ours = generation.author.is_none() || generation.author == memory.author;
            !is_ours && !baseline.contains(&generation.id)
        });
        let Some(stranger) = stranger else {
            return Ok(());
        };
        let message = format!(
            "another daemon works under the same manager name: it made {}; nothing is done until it is gone",
            stranger.name
        );
        let help = "stop one of the two, or give it a manager of its own in instanced.yaml; then \
                    restart this daemon, and it takes the container as its own";
        let help = Some(help.to_owned());
        Err(round::aborted(desired, Failure { message, help }))
    }

    /// Performs the plan of the view that was looked at last. Steps run beside each other, none stops another, and one
    /// that is slow goes on beside the rounds: its outcome is then [`Outcome::Running`], and [`ended`](Self::ended) says
    /// what came of it. A round that a person asks for (`watched` is false) waits for no earlier failure.
    pub async fn perform(
        &mut self,
        view: &View,
        watched: bool,
        shutdown: &CancellationToken,
    ) -> Report {
        self.steps.forget_slow();
        self.tidy(&view.observed.leftovers).await;
        let mut notes: Vec<String> = view.observed.ground.iter().cloned().collect();
        let ground = self.prepare(view).await.err();
        let mut waiting = std::mem::take(&mut self.waiting);
        if !watched {
            waiting.clear();
        }
        let ground = |step: &Step| ground.as_ref().filter(|_| round::needs_ground(step));
        let tried = |step: &&Step| {
            step.action != Action::Held
                && !waiting.contains_key(&step.instance)
                && ground(step).is_none()
        };
        let tried: Vec<&Step> = view.plan.steps.iter().filter(tried).collect();
        let begun = self
            .journal
            .begin(&tried, view, self.clock.now(), &self.notebook);
        if let Err(failure) = begun.await {
            notes.push(format!(
                "failed to record what is done; a restart forgets it: {}",
                failure.message
            ));
        }
        let (mut reports, mut begun) = (Vec::new(), BTreeSet::new());
        for step in &view.plan.steps {
            if shutdown.is_cancelled() && step.action != Action::Held {
                continue;
            }
            let not_tried = match (&step.reason, ground(step), waiting.get(&step.instance)) {
                (Reason::InProgress { since }, ..) => {
                    Some((Outcome::Running { since: *since }, None))
                }
                _ if step.action == Action::Held => Some((Outcome::Held, None)),
                // It was never begun, so nothing came of it.
                (_, Some(error), _) => Some(failed(error)),
                (_, None, Some((until, last))) => Some((
                    Outcome::Waiting {
                        until: *until,
                        last: last.clone(),
                    },
                    None,
                )),
                (_, None, None) => self.note_removal(step).await,
            };
            if let Some((outcome, failure)) = not_tried {
                reports.push(self.not_tried(step, view, outcome, failure));
                continue;
            }
            self.begin(step, view, shutdown);
            begun.insert(step.instance.clone());
        }
        let done = self.wait_for(begun, view).await;
        reports.extend(done);
        reports.sort_by(|a, b| a.step.instance.cmp(&b.step.instance));
        self.note_engine().await;
        let (desired, now) = (&view.desired, self.clock.now());
        self.failures
            .note(&reports, &view.only, desired, now, &self.jitter);
        let has_step = |name: &&InstanceName| view.plan.steps.iter().any(|s| s.instance == **name);
        // A round of some says nothing of the others.
        let unchanged = match &view.only[..] {
            [] => view.plan.unchanged,
            only => only.iter().filter(|name| !has_step(name)).count(),
        };
        Report {
            revision: view.plan.revision.clone(),
            commit: view.plan.commit.clone(),
            commit_issue: view.desired.commit_issue.clone(),
            steps: reports,
            unchanged,
            diagnostics: view.desired.diagnostics.clone(),
            notes,
            ..Report::default()
        }
    }

    // ---- what failed ----

    /// How long until a round is due if nothing happens.
    pub fn next_due(&self, report: &Report) -> Duration {
        let now = self.clock.now();
        let mut next = Duration::from(self.policy.resync);
        if report.aborted.is_some() {
            // Whatever is due cannot be tried before a round comes through.
            return next.min(ENGINE_RETRY);
        }
        let margin = Duration::from_millis(10);
        let in_progress = self.steps.since();
        let waits = |name: &InstanceName| !in_progress.contains_key(name);
        if let Some(due) = self.failures.next(waits) {
            next = next.min(due + margin);
        }
        for step in &report.steps {
            next = next.min(match &step.step.reason {
                Reason::JustVanished => ABSENCE + Duration::from_millis(100),
                Reason::Unobserved { .. } => UNOBSERVED_RETRY,
                Reason::RolloutWaits { .. } | Reason::TakingOver => ROLLOUT_STEP,
                Reason::BackingOff { until, .. } => {
                    let left = Duration::try_from(until.duration_since(now));
                    left.unwrap_or_default() + margin
                }
                _ => continue,
            });
        }
        if let Some(left) = self.spells.next() {
            next = next.min(left + margin);
        }
        next
    }

    /// Asks the registries for images that should always be the newest, when that is due; what failed comes of it. This
    /// belongs beside the rounds: it waits for pulls that steps have begun.
    pub fn refresh(
        &mut self,
        desired: &Desired,
    ) -> Option<impl Future<Output = Vec<String>> + Send + use<E, N>> {
        let every = Duration::from(self.policy.image_refresh);
        let last = *self.refreshed.get_or_insert_with(Instant::now);
        if last.elapsed() < every {
            return None;
        }
        self.refreshed = Some(Instant::now());
        let images: BTreeSet<String> = desired
            .specs
            .values()
            .filter(|spec| spec.pull == crate::words::manifest::Pull::Always)
            .map(|spec| spec.image.clone())
            .collect();
        let engine = Arc::clone(&self.engine);
        (!images.is_empty()).then_some(async move {
            let failed = engine.refresh(&images).await;
            failed.iter().map(ToString::to_string).collect()
        })
    }
}
