//! Rounds: look, then perform, and remember what a later round must know.
//!
//! A [`Converger`] is what goes on between rounds of one process: how long something has been absent or
//! unwell, what failed and when it is tried again. What must outlive the process is the [`Notebook`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chain::failure;
use super::clock::Clock;
use super::failures::{Failures, Waiting};
use super::memory::Memory;
use super::notebook::{Acts, Notebook};
use super::round::{self, Ask, Known, View};
use crate::decisions::plan::{ABSENCE, Action, Reason, Step};
use crate::decisions::remedy;
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::doors::engine::{Engine, ErrorClass, Secrets};
use crate::words::act::{Act, Cause, Deed};
use crate::words::config::Reconcile;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Health, Observed, Phase};
use crate::words::overrides::Frozen;

/// How long to wait before an engine that is away is asked again.
pub const ENGINE_RETRY: Duration = Duration::from_secs(2);
/// How soon the next of a rollout are looked at.
const ROLLOUT_STEP: Duration = Duration::from_secs(1);
/// So many acts of an instance are kept.
const ACTS_KEPT: usize = 50;

/// A run of a container: its id, and when it was started.
type Run = (String, Option<jiff::Timestamp>);

/// Runs the rounds of one fleet on one engine.
pub struct Converger<E, N> {
    policy: Reconcile,
    pub(super) engine: E,
    notebook: N,
    clock: Clock,
    /// From 0 to 1, to spread retries of many instances.
    jitter: Box<dyn Fn() -> f64 + Send>,
    /// Read once: nobody else writes them while this process has the store.
    acts: Option<Arc<Acts>>,
    /// Containers that stood when this process first looked.
    baseline: Option<BTreeSet<String>>,
    absent_since: BTreeMap<InstanceName, Instant>,
    /// What manifests said of `protect` in rounds that could not note it.
    unnoted: BTreeMap<InstanceName, bool>,
    unwell_since: BTreeMap<InstanceName, Instant>,
    /// Since when what counts as unwell has been in one and the same run: its container, and its start.
    runs_since: BTreeMap<InstanceName, (Run, Instant)>,
    failures: Failures,
    /// Who waited for another try when this process looked last.
    waiting: Waiting,
    refreshed: Option<Instant>,
}

impl<E: Engine, N: Notebook> Converger<E, N> {
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
            engine,
            notebook,
            clock,
            jitter: Box::new(jitter),
            acts: None,
            baseline: None,
            absent_since: BTreeMap::new(),
            unnoted: BTreeMap::new(),
            unwell_since: BTreeMap::new(),
            runs_since: BTreeMap::new(),
            failures: Failures::default(),
            waiting: Waiting::new(),
            refreshed: None,
        }
    }

    /// Looks at the fleet and plans. `watched` is a round of the daemon's own, which waits where a person
    /// who asks for a round would not.
    ///
    /// # Errors
    /// A report that says why the round was aborted.
    pub async fn look(
        &mut self,
        desired: Desired,
        ask: Ask,
        watched: bool,
    ) -> Result<View, Box<Report>> {
        let now = self.clock.now();
        // Before anything that may fail: one that was back for a round that came to nothing was back.
        self.absent_since.retain(|name, _| !desired.names(name));
        let stored = |error| Box::new(round::store_failed(&error));
        let known = async {
            let memory = self.notebook.read(now).await?;
            let acts = match &self.acts {
                Some(acts) => Arc::clone(acts),
                None => Arc::new(self.notebook.acts().await?),
            };
            Ok((memory, acts))
        };
        // Neither waits for the other: most of a round is waiting for the engine.
        let (known, observed) = tokio::join!(known, round::observe(&self.engine, &desired));
        let (mut memory, acts) = known.map_err(|error| {
            self.unnoted.extend(protection(&desired));
            stored(error)
        })?;
        self.acts = Some(Arc::clone(&acts));
        self.note_protection(&mut memory, &desired).await;
        let observed = observed.map_err(|error| round::aborted(&desired, error.into()))?;
        self.refuse_strangers(&desired, &observed, &memory)?;
        self.note_time(&desired, &observed, now);
        let (absent_for, waiting) = if watched {
            (elapsed(&self.absent_since), self.failures.waiting(&desired))
        } else {
            (BTreeMap::new(), Waiting::new())
        };
        self.waiting = waiting;
        let ask = Ask {
            absent_for,
            unwell_for: elapsed(&self.unwell_since),
            waiting: self.waiting.keys().cloned().collect(),
            ..ask
        };
        let known = Known {
            policy: &self.policy,
            memory: &memory,
            acts: &acts,
            keep: Some(&self.notebook),
            now,
        };
        let view = round::decide(&self.engine, desired, observed, &known, &ask).await?;
        self.freeze(&view, &memory, now).await;
        Ok(view)
    }

    /// Keeps who is protected: a manifest that is gone cannot say it any more. What the store does not take is kept
    /// in mind: no fleet stands still for it.
    async fn note_protection(&mut self, memory: &mut Memory, desired: &Desired) {
        let earlier = self.unnoted.iter().map(|(name, protect)| (name, *protect));
        let now = desired.specs.iter().map(|(name, spec)| (name, spec.protect));
        // Of one that an earlier round could not note, its manifest may say otherwise by now.
        let earlier = earlier.filter(|(name, _)| !desired.specs.contains_key(*name));
        if memory.learn_protection(earlier.chain(now)) {
            let (protected, released) = (memory.protected.clone(), memory.released.clone());
            let kept = self.notebook.put_protection(protected, released);
            if let Err(error) = kept.await {
                tracing::warn!("who is protected could not be kept, so a restart may forget it: {}",
                    super::chain::chain(&error));
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
        baseline.retain(|id| all().any(|g| g.id == *id));
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

    /// Since when what is absent or not well has been so.
    fn note_time(&mut self, desired: &Desired, observed: &Observed, now: jiff::Timestamp) {
        let moment = Instant::now();
        let orphans = observed
            .instances
            .keys()
            .filter(|name| !desired.names(name));
        renew(&mut self.absent_since, orphans, moment);
        let newest = observed.instances.iter().filter_map(|(name, generations)| {
            let newest = generations.iter().rfind(|g| g.phase != Phase::Created)?;
            desired.specs.contains_key(name).then_some((name, newest))
        });
        let unwell: Vec<_> = newest
            .filter(|(_, newest)| remedy::is_unwell(newest, now))
            .collect();
        let runs = unwell.iter().map(|(name, newest)| {
            let run = (newest.id.clone(), newest.started);
            let before = self.runs_since.get(*name).filter(|(known, _)| *known == run);
            let since = before.map_or(moment, |(_, since)| *since);
            ((*name).clone(), (run, since))
        });
        self.runs_since = runs.collect();
        // A clock that was set back says of one that has long settled that it started just now.
        let settled = |(name, newest): &(&InstanceName, &Generation)| {
            let (_, since) = &self.runs_since[*name];
            newest.phase == Phase::Running
                && newest.health != Some(Health::Unhealthy)
                && moment.duration_since(*since) >= remedy::SETTLED_AGAIN
        };
        let unwell = unwell.iter().filter(|each| !settled(each));
        renew(&mut self.unwell_since, unwell.map(|(name, _)| *name), moment);
    }

    /// Keeps in mind what was frozen, so that it stays so when its acts are old.
    async fn freeze(&self, view: &View, memory: &Memory, now: jiff::Timestamp) {
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
            if overrides.frozen.as_ref().is_some_and(|f| f.spec == spec) {
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

    /// Performs the plan of the view that was looked at last. Steps run beside each other, and none stops
    /// another. A round that a person asks for (`watched` is false) waits for no earlier failure.
    pub async fn perform(
        &mut self,
        view: &View,
        watched: bool,
        shutdown: &CancellationToken,
    ) -> Report {
        if let Err(error) = self.engine.tidy(&view.observed.leftovers).await {
            // It harms nothing but tidiness, and the next round tries again.
            tracing::warn!(%error, "what a crash left of old secrets is still there");
        }
        let mut notes: Vec<String> = view.observed.ground.iter().cloned().collect();
        let ground = if view.plan.steps.iter().any(needs_ground) {
            self.engine.prepare().await.map_err(Failure::from)
        } else {
            Ok(())
        };
        let mut waiting = std::mem::take(&mut self.waiting);
        if !watched {
            waiting.clear();
        }
        let tried = |step: &&Step| {
            step.action != Action::Held
                && !waiting.contains_key(&step.instance)
                && !(ground.is_err() && needs_ground(step))
        };
        let tried: Vec<&Step> = view.plan.steps.iter().filter(tried).collect();
        if let Err(failure) = self.begin(&tried, view).await {
            notes.push(format!(
                "what is done cannot be noted, so a restart would forget it: {}",
                failure.message
            ));
        }
        let ground = ground.err();
        let this = &*self;
        let steps = view.plan.steps.iter().map(|step| {
            let ground = ground.as_ref().filter(|_| needs_ground(step));
            let waiting = waiting.get(&step.instance);
            async move {
                if shutdown.is_cancelled() && step.action != Action::Held {
                    return None;
                }
                let (began, mut unclear) = (Instant::now(), false);
                let outcome = match (&step.action, ground, waiting) {
                    (Action::Held, _, _) => Outcome::Held,
                    (_, Some(failure), _) => {
                        // It was never begun, so nothing came of it.
                        unclear = true;
                        Outcome::Failed(failure.clone())
                    }
                    (_, None, Some((until, last))) => Outcome::Waiting {
                        until: *until,
                        last: last.clone(),
                    },
                    (_, None, None) => match this.perform_one(step, view).await {
                        Ok(()) => Outcome::Done,
                        Err((failure, class)) => {
                            unclear = may_pass(step, class);
                            Outcome::Failed(failure)
                        }
                    },
                };
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let step = step.clone();
                let report = StepReport {
                    step,
                    outcome,
                    millis,
                };
                Some((report, unclear))
            }
        });
        let parallelism = self.policy.parallelism.max(1);
        let done = futures_util::stream::iter(steps).buffer_unordered(parallelism);
        let mut done: Vec<(StepReport, bool)> = done.filter_map(std::future::ready).collect().await;
        done.sort_by(|(a, _), (b, _)| a.step.instance.cmp(&b.step.instance));
        self.conclude(&done).await;
        let steps: Vec<StepReport> = done.into_iter().map(|(report, _)| report).collect();
        let (desired, now) = (&view.desired, self.clock.now());
        self.failures
            .note(&steps, &view.only, desired, now, &self.jitter);
        Report {
            revision: view.plan.revision.clone(),
            steps,
            unchanged: view.plan.unchanged,
            diagnostics: view.desired.diagnostics.clone(),
            notes,
            ..Report::default()
        }
    }

    async fn perform_one(
        &self,
        step: &Step,
        view: &View,
    ) -> Result<(), (Failure, Option<ErrorClass>)> {
        if step.reason == Reason::Orphaned {
            // Noted before it happens: after a crash in between it still counts.
            let noted = self
                .notebook
                .note_removal(step.instance.clone(), self.clock.now());
            noted.await.map_err(|error| (failure(&error), None))?;
        }
        let none = Secrets::new();
        let secrets = view.sealed.values.get(&step.instance).unwrap_or(&none);
        let performed = self.engine.perform(step, secrets).await;
        performed.map_err(|error| {
            let class = error.class;
            (error.into(), Some(class))
        })
    }

    // ---- what was done ----

    /// Notes what is about to be done: after a crash in between it still counts.
    async fn begin(&mut self, steps: &[&Step], view: &View) -> Result<(), Failure> {
        if steps.is_empty() {
            return Ok(());
        }
        let (now, known) = (self.clock.now(), self.known_acts());
        let mut begun = Acts::new();
        for step in steps {
            let mut acts = known.get(&step.instance).cloned().unwrap_or_default();
            let Some(act) = act(step, view, remedy::cause(step, &acts), now) else {
                continue;
            };
            acts.push(act);
            let surplus = acts.len().saturating_sub(ACTS_KEPT);
            acts.drain(..surplus);
            begun.insert(step.instance.clone(), acts);
        }
        self.keep(begun).await
    }

    /// Notes what came of it, unless that is unclear.
    async fn conclude(&mut self, steps: &[(StepReport, bool)]) {
        let known = self.known_acts();
        let mut concluded = Acts::new();
        for (report, unclear) in steps {
            let done = match report.outcome {
                // What it ends is a replacement that a crash broke off, and that came to nothing.
                Outcome::Done => report.step.reason != Reason::NeverHealthy,
                Outcome::Failed(_) if !unclear => false,
                Outcome::Failed(_) | Outcome::Held | Outcome::Waiting { .. } => continue,
            };
            let Some(mut acts) = known.get(&report.step.instance).cloned() else {
                continue;
            };
            if let Some(last) = acts.last_mut().filter(|act| act.done.is_none()) {
                last.done = Some(done);
                concluded.insert(report.step.instance.clone(), acts);
            }
        }
        if let Err(failure) = self.keep(concluded).await {
            tracing::warn!("what was done could not be noted: {}", failure.message);
        }
    }

    fn known_acts(&self) -> Arc<Acts> {
        self.acts.clone().unwrap_or_default()
    }

    /// In memory first: a store that fails must not make this process forget.
    async fn keep(&mut self, changed: Acts) -> Result<(), Failure> {
        if changed.is_empty() {
            return Ok(());
        }
        let mut acts = self.known_acts();
        Arc::make_mut(&mut acts).extend(changed.clone());
        self.acts = Some(acts);
        let kept = self.notebook.put_acts(changed).await;
        kept.map_err(|error| failure(&error))
    }

    // ---- what failed ----

    /// How long until a round is due if nothing happens.
    pub fn next_due(&self, report: &Report) -> Duration {
        let (now, moment) = (self.clock.now(), Instant::now());
        let mut next = Duration::from(self.policy.resync);
        if report.aborted.is_some() {
            // Whatever is due cannot be tried before a round comes through.
            return next.min(ENGINE_RETRY);
        }
        let margin = Duration::from_millis(10);
        if let Some(due) = self.failures.next() {
            next = next.min(due + margin);
        }
        for step in &report.steps {
            next = next.min(match &step.step.reason {
                Reason::JustVanished => ABSENCE + Duration::from_millis(100),
                Reason::RolloutWaits { .. } | Reason::TakingOver => ROLLOUT_STEP,
                Reason::BackingOff { until, .. } => {
                    let left = Duration::try_from(until.duration_since(now));
                    left.unwrap_or_default() + margin
                }
                _ => continue,
            });
        }
        for since in self.unwell_since.values() {
            let left = remedy::PATIENCE.saturating_sub(moment.duration_since(*since));
            if !left.is_zero() {
                next = next.min(left + margin);
            }
        }
        next
    }

    /// Asks the registries for images that shall always be the newest, when it is time. Tells what failed.
    pub async fn refresh_images(&mut self, desired: &Desired) -> Vec<String> {
        let every = Duration::from(self.policy.image_refresh);
        let last = *self.refreshed.get_or_insert_with(Instant::now);
        if last.elapsed() < every {
            return Vec::new();
        }
        self.refreshed = Some(Instant::now());
        let images: BTreeSet<String> = desired
            .specs
            .values()
            .filter(|spec| spec.pull == crate::words::manifest::Pull::Always)
            .map(|spec| spec.image.clone())
            .collect();
        let failed = self.engine.refresh(&images).await;
        failed.iter().map(ToString::to_string).collect()
    }
}

/// What the manifests say of `protect`.
fn protection(desired: &Desired) -> impl Iterator<Item = (InstanceName, bool)> + '_ {
    let specs = desired.specs.iter();
    specs.map(|(name, spec)| (name.clone(), spec.protect))
}

fn needs_ground(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Create { .. } | Action::Replace { .. } | Action::Start { .. }
    )
}

/// An update that failed for a moment says nothing of what the engine can: no container is replaced for it.
fn may_pass(step: &Step, class: Option<ErrorClass>) -> bool {
    let passing = matches!(class, Some(ErrorClass::Away | ErrorClass::Retry));
    matches!(step.action, Action::Update { .. }) && passing
}

fn digest(view: &View, name: &InstanceName) -> Option<String> {
    let spec = view.desired.specs.get(name);
    spec.map(crate::words::spec::Spec::digest)
}

/// What is about to be done, for the notebook; `None` for a held step.
fn act(step: &Step, view: &View, cause: Cause, at: jiff::Timestamp) -> Option<Act> {
    let (deed, generation) = match &step.action {
        Action::Create { generation, .. } => (Deed::Create, *generation),
        Action::Replace { generation, .. } => (Deed::Replace, *generation),
        Action::Start { target, .. } => (Deed::Start, target.number),
        Action::Stop { target } => (Deed::Stop, target.number),
        Action::Update { target, .. } => (Deed::Update, target.number),
        Action::Restart { target } => (Deed::Restart, target.number),
        // The remains of an earlier generation: nothing happens to the instance.
        Action::Remove { .. } if step.reason != Reason::Orphaned => return None,
        Action::Remove { targets } => (Deed::Remove, targets.last().map_or(0, |t| t.number)),
        Action::Held => return None,
    };
    Some(Act {
        at,
        deed,
        cause,
        generation,
        spec: digest(view, &step.instance).unwrap_or_default(),
        fields: step.changes.iter().map(|c| c.field.clone()).collect(),
        revision: view.plan.revision.clone(),
        done: None,
    })
}

/// Names that are still there keep their moment, new ones get this one.
fn renew<'n>(
    since: &mut BTreeMap<InstanceName, Instant>,
    names: impl Iterator<Item = &'n InstanceName>,
    moment: Instant,
) {
    let names: BTreeSet<&InstanceName> = names.collect();
    since.retain(|name, _| names.contains(name));
    for name in names {
        since.entry(name.clone()).or_insert(moment);
    }
}

fn elapsed(since: &BTreeMap<InstanceName, Instant>) -> BTreeMap<InstanceName, Duration> {
    let moment = Instant::now();
    since
        .iter()
        .map(|(name, since)| (name.clone(), moment.duration_since(*since)))
        .collect()
}
