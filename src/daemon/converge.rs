//! Rounds: look, then perform, and remember what a later round must know.
//!
//! A [`Converger`] is what goes on between rounds of one process: how long something has been absent or
//! unwell, what failed and when it is tried again. What must outlive the process is the [`Notebook`]'s.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chain::failure;
use super::clock::Clock;
use super::failures::{Failures, Waiting};
use super::journal::Journal;
use super::memory::Memory;
use super::notebook::{Acts, Notebook};
use super::round::{self, Ask, Known, View};
use super::spells::Spells;
use crate::decisions::plan::{ABSENCE, Action, Reason, Step};
use crate::decisions::remedy;
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::doors::engine::{Engine, ErrorClass, Secrets};
use crate::words::config::Reconcile;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Frozen;

/// How long to wait before an engine that is away is asked again.
pub const ENGINE_RETRY: Duration = Duration::from_secs(2);
/// How soon the next of a rollout are looked at.
const ROLLOUT_STEP: Duration = Duration::from_secs(1);

/// Runs the rounds of one fleet on one engine.
pub struct Converger<E, N> {
    policy: Reconcile,
    pub(super) engine: E,
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
            journal: Journal::default(),
            baseline: None,
            spells: Spells::default(),
            unnoted: BTreeMap::new(),
            failures: Failures::default(),
            waiting: Waiting::new(),
            refreshed: None,
            recalled: false,
        }
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
        let now = self.clock.now();
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
        let (known, observed) = tokio::join!(known, round::observe(&self.engine, &desired));
        let (mut memory, acts) = known.map_err(|error| {
            self.unnoted.extend(protection(&desired));
            stored(error)
        })?;
        self.journal.know(&acts);
        self.note_protection(&mut memory, &desired).await;
        let observed = observed.map_err(|error| round::engine_failed(&desired, error))?;
        desired.admit_incumbents(&observed);
        self.refuse_strangers(&desired, &observed, &memory)?;
        self.spells.note(&desired, &observed, now);
        let (absent_for, waiting) = if watched {
            (self.spells.absent_for(), self.failures.waiting(&desired))
        } else {
            (BTreeMap::new(), Waiting::new())
        };
        self.waiting = waiting;
        let ask = Ask {
            absent_for,
            unwell_for: self.spells.unwell_for(),
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
        baseline.retain(|id| standing.contains(id));
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
        let ground = if view.plan.steps.iter().any(round::needs_ground) {
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
                && !(ground.is_err() && round::needs_ground(step))
        };
        let tried: Vec<&Step> = view.plan.steps.iter().filter(tried).collect();
        let begun = self
            .journal
            .begin(&tried, view, self.clock.now(), &self.notebook);
        if let Err(failure) = begun.await {
            notes.push(format!(
                "what is done cannot be noted, so a restart would forget it: {}",
                failure.message
            ));
        }
        let ground = ground.err();
        let this = &*self;
        let steps = view.plan.steps.iter().map(|step| {
            let ground = ground.as_ref().filter(|_| round::needs_ground(step));
            let waiting = waiting.get(&step.instance);
            async move {
                if shutdown.is_cancelled() && step.action != Action::Held {
                    return None;
                }
                let (since, mut unclear) = (Instant::now(), false);
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
                let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
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
        self.journal.conclude(&done, view, &self.notebook).await;
        self.note_engine().await;
        let steps: Vec<StepReport> = done.into_iter().map(|(report, _)| report).collect();
        let (desired, now) = (&view.desired, self.clock.now());
        self.failures
            .note(&steps, &view.only, desired, now, &self.jitter);
        let has_step = |name: &&InstanceName| view.plan.steps.iter().any(|s| s.instance == **name);
        // A round of some says nothing of the others.
        let unchanged = match &view.only[..] {
            [] => view.plan.unchanged,
            only => only.iter().filter(|name| !has_step(name)).count(),
        };
        Report {
            revision: view.plan.revision.clone(),
            commit: view.plan.commit.clone(),
            steps,
            unchanged,
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
        if let Some(left) = self.spells.next() {
            next = next.min(left + margin);
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

/// An update that failed for a moment says nothing of what the engine can: no container is replaced for it.
fn may_pass(step: &Step, class: Option<ErrorClass>) -> bool {
    let passing = matches!(class, Some(ErrorClass::Away | ErrorClass::Retry));
    matches!(step.action, Action::Update { .. }) && passing
}
