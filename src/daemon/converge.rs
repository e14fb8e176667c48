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

use super::chain::failure;
use super::clock::Clock;
use super::failures::{Failures, Waiting, digest};
use super::journal::{Concluded, Journal};
use super::memory::Memory;
use super::notebook::{Acts, Notebook};
use super::round::{self, Ask, Known, View};
use super::spells::Spells;
use super::steps::{InFlight, Job, Running, StepResult, Steps, Work};
use crate::decisions::event::PlannedFor;
use crate::decisions::plan::{ABSENCE, Action, Reason, Step};
use crate::decisions::remedy;
use crate::decisions::report::{Failure, FailureKind, Outcome, Report, StepReport};
use crate::doors::engine::{Engine, EngineError, ErrorClass, Secrets};
use crate::words::config::Reconcile;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Frozen;

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
    late: VecDeque<(InstanceName, Option<StepReport>)>,
    /// Is given each step as it ends.
    observer: StepObserver,
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
        Self {
            policy,
            engine: Arc::new(engine),
            notebook,
            clock,
            jitter: Box::new(jitter),
            journal: Journal::default(),
            baseline: None,
            spells: Spells::default(),
            unnoted: BTreeMap::new(),
            failures: Failures::default(),
            waiting: Waiting::new(),
            refreshed: None,
            recalled: false,
            steps: Steps::default(),
            unconcluded: VecDeque::new(),
            late: VecDeque::new(),
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
        let (mut memory, acts) = known.map_err(|error| {
            self.unnoted.extend(protection(&desired));
            stored(error)
        })?;
        self.journal.know(&acts);
        self.note_protection(&mut memory, &desired).await;
        let observed = observed.map_err(|error| round::engine_failed(&desired, error))?;
        desired.admit_incumbents(&observed);
        self.withdraw(&desired, &memory);
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

    /// Tells the engine what an earlier process noted. Without that it is asked again.
    async fn recall(&self) {
        match self.notebook.engine_notes().await {
            Ok(Some(notes)) => self.engine.recall(notes),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                "what was noted of the engine cannot be read, so it is asked again: {}",
                super::chain::chain(&error)
            ),
        }
    }

    /// Notes for the next process what the engine said that lasts. What is lost of it is asked again.
    async fn note_engine(&self) {
        let Some(notes) = self.engine.news() else {
            return;
        };
        if let Err(error) = self.notebook.put_engine_notes(notes).await {
            tracing::debug!(
                "what the engine said cannot be noted, so the next process asks again: {}",
                super::chain::chain(&error)
            );
        }
    }

    /// Keeps who is protected: a manifest that is gone cannot say it any more. What the store does not take is kept
    /// in mind: no fleet stands still for it.
    async fn note_protection(&mut self, memory: &mut Memory, desired: &Desired) {
        let earlier = self.unnoted.iter().map(|(name, protect)| (name, *protect));
        let now = desired
            .specs
            .iter()
            .map(|(name, spec)| (name, spec.protect));
        // Of one that an earlier round could not note, its manifest may say otherwise by now.
        let earlier = earlier.filter(|(name, _)| !desired.specs.contains_key(*name));
        if memory.learn_protection(earlier.chain(now)) {
            let (protected, released) = (memory.protected.clone(), memory.released.clone());
            let kept = self.notebook.put_protection(protected, released);
            if let Err(error) = kept.await {
                tracing::warn!(
                    "who is protected could not be kept, so a restart may forget it: {}",
                    super::chain::chain(&error)
                );
                self.unnoted.extend(protection(desired));
                return;
            }
        }
        self.unnoted.clear();
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
            return Ok(());
        };
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

    /// Keeps in mind what was frozen, so that it stays so when its acts are old.
    async fn freeze(&self, view: &View, memory: &Memory, acts: &Acts, now: jiff::Timestamp) {
        for step in &view.plan.steps {
            let Reason::Frozen { fields } = &step.reason else {
                continue;
            };
            let mut overrides = memory
                .overrides
                .get(&step.instance)
                .cloned()
                .unwrap_or_default();
            let Some(spec) = view.desired.specs.get(&step.instance) else {
                continue;
            };
            let spec = spec.digest();
            let acts = acts.get(&step.instance).map_or(&[][..], Vec::as_slice);
            let holds = |f: &Frozen| f.spec == spec && !remedy::has_thawed(f, acts);
            if overrides.frozen.as_ref().is_some_and(holds) {
                continue;
            }
            let fields = fields.clone();
            overrides.frozen = Some(Frozen {
                since: now,
                spec,
                fields,
            });
            let kept = self
                .notebook
                .set_overrides(step.instance.clone(), overrides);
            if let Err(error) = kept.await {
                // The acts say the same for ten minutes more.
                tracing::warn!(instance = %step.instance, "what was frozen could not be kept: {}",
                    super::chain::chain(&error));
            }
        }
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
        self.steps.begin_round();
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
        let slots = Arc::new(Semaphore::new(self.policy.parallelism.max(1)));
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
                let step = step.clone();
                let report = StepReport {
                    step,
                    outcome,
                    millis: 0,
                    failure,
                };
                reports.push(report);
                continue;
            }
            self.begin(step, view, &slots, shutdown);
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

    /// What a crash left harms nothing but tidiness, so it delays no round, and the next one tries again.
    async fn tidy(&self, leftovers: &[String]) {
        match within(self.steps.patience(), self.engine.tidy(leftovers)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "failed to remove leftover secrets; retrying next round");
            }
            None => tracing::warn!("removing leftover secrets takes long; retrying next round"),
        }
    }

    /// Makes what new generations stand on, where one is to be made.
    async fn prepare(&self, view: &View) -> Result<(), EngineError> {
        if !view.plan.steps.iter().any(round::needs_ground) {
            return Ok(());
        }
        match within(self.steps.patience(), self.engine.prepare()).await {
            Some(prepared) => prepared,
            None => Err(EngineError::new(
                "prepare the network",
                ErrorClass::Stalled,
                "the engine does not answer in time",
            )
            .with_help("nothing is created meanwhile; other steps continue")),
        }
    }

    /// A removal is noted before it happens: after a crash in between it still counts. Says why it may not happen.
    async fn note_removal(&self, step: &Step) -> Option<(Outcome, Option<FailureKind>)> {
        if step.reason != Reason::Orphaned {
            return None;
        }
        let noted = self
            .notebook
            .note_removal(step.instance.clone(), self.clock.now());
        let error = noted.await.err()?;
        Some((Outcome::Failed(failure(&error)), Some(FailureKind::Failed)))
    }

    fn begin(
        &mut self,
        step: &Step,
        view: &View,
        slots: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) {
        let secrets = view.sealed.values.get(&step.instance);
        let job = Job {
            step: step.clone(),
            secrets: secrets.cloned().unwrap_or_else(Secrets::new),
            planned_for: PlannedFor {
                revision: view.plan.revision.clone(),
                commit: view.plan.commit.clone(),
                digest: digest(&view.desired, &step.instance),
            },
            since: self.clock.now(),
            slots: Arc::clone(slots),
            shutdown: shutdown.clone(),
        };
        self.steps.begin(&self.engine, job);
    }

    /// Until each of these steps has ended or is slow. Concludes those that ended.
    async fn wait_for(&mut self, begun: BTreeSet<InstanceName>, view: &View) -> Vec<StepReport> {
        let mut waited_for = begun.clone();
        let mut concluded = Vec::new();
        while let Some((running, result)) = self.steps.next_of(&mut waited_for).await {
            if begun.contains(&running.step.instance) {
                concluded.push(self.report(running, result));
            } else {
                // One of an earlier round.
                self.unconcluded.push_back((running, result));
            }
        }
        concluded.sort_by(|a, b| a.report.step.instance.cmp(&b.report.step.instance));
        self.journal.conclude(&concluded, &self.notebook).await;
        self.conclude_ended().await;
        let mut reports: Vec<StepReport> = concluded
            .into_iter()
            .filter(|concluded| !concluded.withdrawn)
            .map(|concluded| concluded.report)
            .collect();
        let in_progress = self.steps.since();
        let slow = view.plan.steps.iter().filter(|step| {
            begun.contains(&step.instance) && in_progress.contains_key(&step.instance)
        });
        reports.extend(slow.map(|step| {
            let since = in_progress[&step.instance];
            StepReport {
                step: step.clone(),
                outcome: Outcome::Running { since },
                millis: 0,
                failure: None,
            }
        }));
        reports
    }

    /// What came of a step, told to whoever observes.
    fn report(&self, running: Running, result: StepResult) -> Concluded {
        let millis = u64::try_from(running.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps
            .keep_output(&running.step, &result, self.clock.now());
        let (mut unclear, mut withdrawn) = (false, false);
        let (outcome, failure) = match result {
            StepResult::Done => (Outcome::Done, None),
            StepResult::Failed(error) => {
                unclear = may_pass(&running.step, error.class);
                failed(&error)
            }
            StepResult::Withdrawn => {
                withdrawn = true;
                (Outcome::Held, None)
            }
        };
        let report = StepReport {
            step: running.step,
            outcome,
            millis,
            failure,
        };
        if !withdrawn {
            (self.observer)(&report, &running.planned_for);
        }
        Concluded {
            report,
            planned_for: running.planned_for,
            unclear,
            withdrawn,
        }
    }

    /// Until a step that goes on beside the rounds has ended, and what came of it; `None` within for one that was
    /// withdrawn. Pending while there is none. Nothing is lost when this is dropped while it waits.
    pub async fn ended(&mut self) -> (InstanceName, Option<StepReport>) {
        loop {
            if let Some(ended) = self.late.pop_front() {
                return ended;
            }
            if self.unconcluded.is_empty() {
                let ended = self.steps.next().await;
                self.unconcluded.push_back(ended);
            }
            self.conclude_ended().await;
        }
    }

    /// Notes what came of steps that ended beside the rounds. No new step of theirs begins before that.
    async fn conclude_ended(&mut self) {
        while let Some((running, result)) = self.unconcluded.pop_front() {
            let concluded = self.report(running, result);
            let now = self.clock.now();
            self.failures.note_late(&concluded, now, &self.jitter);
            let name = concluded.report.step.instance.clone();
            let report = (!concluded.withdrawn).then(|| concluded.report.clone());
            self.late.push_back((name, report));
            self.journal.conclude(&[concluded], &self.notebook).await;
            self.note_engine().await;
        }
    }

    /// Ends what goes on, for a process that ends: pulls are given up, and steps that change something may end.
    pub async fn finish(&mut self, report: &mut Report) {
        self.steps.withdraw(|_, _| false);
        while self.has_steps() {
            let (name, ended) = self.ended().await;
            match ended {
                Some(ended) => report.conclude(&ended),
                None => report.give_up(&name),
            }
        }
    }

    /// Whether a step goes on beside the rounds.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty() || !self.unconcluded.is_empty() || !self.late.is_empty()
    }

    /// Gives up steps that still wait for their image and that nobody wants any more.
    fn withdraw(&self, desired: &Desired, memory: &Memory) {
        self.steps.withdraw(|name, planned_for| {
            let manifest = desired.origins.get(name).map(|origins| &origins.manifest);
            let set_aside = memory.overrides.get(name).is_some_and(|said| {
                let stopped = said.stopped.as_ref();
                said.suspended.is_some()
                    || stopped.is_some_and(|stopped| Some(&stopped.manifest) == manifest)
            });
            !set_aside && digest(desired, name) == planned_for.digest
        });
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

    /// Images whose registries are to be asked now whether there is a newer one: those with `pull: always`, when that
    /// is due.
    pub fn due_for_refresh(&mut self, desired: &Desired) -> Option<BTreeSet<String>> {
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
        (!images.is_empty()).then_some(images)
    }

    /// Asks the registries for images that should always be the newest, when that is due. Returns what failed.
    pub async fn refresh_images(&mut self, desired: &Desired) -> Vec<String> {
        let Some(images) = self.due_for_refresh(desired) else {
            return Vec::new();
        };
        let failed = self.engine.refresh(&images).await;
        failed.iter().map(ToString::to_string).collect()
    }
}

/// What the manifests say of `protect`.
fn protection(desired: &Desired) -> impl Iterator<Item = (InstanceName, bool)> + '_ {
    let specs = desired.specs.iter();
    specs.map(|(name, spec)| (name.clone(), spec.protect))
}

/// An update that failed for a moment says nothing of what the engine can: no container is replaced for it.
fn may_pass(step: &Step, class: ErrorClass) -> bool {
    let passing =
        class.is_unclear() || matches!(class, ErrorClass::Retry | ErrorClass::RateLimited);
    matches!(step.action, Action::Update { .. }) && passing
}

fn failed(error: &EngineError) -> (Outcome, Option<FailureKind>) {
    let kind = error.class.kind();
    (Outcome::Failed(error.clone().into()), Some(kind))
}

/// What comes of it in time; `None` when that has passed.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        None => Some(work.await),
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
    }
}
