//! Steps in progress. They run beside each other, and a step that takes long goes on beside the rounds: no instance
//! waits for the registry, the engine's answer or the start of another one.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::decisions::event::{PlannedFor, action_name, generation};
use crate::decisions::plan::{Action, Step};
use crate::decisions::status::{FailedOutput, StepInProgress};
use crate::doors::engine::slot::with_slot;
use crate::doors::engine::{Engine, EngineError, ErrorClass, Secrets};
use crate::words::manifest::ReplaceOrder;
use crate::words::name::InstanceName;
use crate::words::watch::PullProgress;

/// A step that has run for so long goes on beside the rounds, and gives its place to another.
pub const SLOW: Duration = Duration::from_secs(3);
/// How long a step may take once its image is there. Each call has a limit of its own below this.
const STEP_LIMIT: Duration = Duration::from_secs(300);
/// How long one may take that also waits until the new generation is ready.
const SWAP_LIMIT: Duration = Duration::from_secs(600);

/// A step as a future, which ends with its name and what came of it.
pub type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A step that has ended.
pub struct Ended {
    /// Whose.
    pub instance: InstanceName,
    /// What came of it.
    pub result: StepResult,
}

/// What came of a step.
pub enum StepResult {
    /// It is done.
    Done,
    /// It failed.
    Failed(EngineError),
    /// It was given up before anything of the instance was touched.
    Withdrawn,
}

/// One step in progress.
pub(super) struct Running {
    pub(super) step: Step,
    pub(super) planned_for: PlannedFor,
    pub(super) since: jiff::Timestamp,
    pub(super) began: Instant,
    stage: Arc<Stage>,
}

/// How far a step is. It acts or is withdrawn, never both: whoever withdraws one knows that it ends at once.
#[derive(Default)]
struct Stage {
    now: AtomicU8,
    withdrawn: CancellationToken,
}

impl Stage {
    /// It waits for its image or its slot. Nothing of the instance was touched.
    const WAITING: u8 = 0;
    /// It changes the instance.
    const ACTING: u8 = 1;
    /// It was given up while it waited.
    const WITHDRAWN: u8 = 2;

    /// Whether it may act from now on.
    fn act(&self) -> bool {
        self.leave_waiting(Self::ACTING)
    }

    /// Gives it up, unless it acts already. Says whether it is given up.
    fn withdraw(&self) -> bool {
        let withdrawn = self.leave_waiting(Self::WITHDRAWN);
        if withdrawn {
            self.withdrawn.cancel();
        }
        withdrawn
    }

    fn is_acting(&self) -> bool {
        self.now.load(Ordering::SeqCst) == Self::ACTING
    }

    fn leave_waiting(&self, to: u8) -> bool {
        let left = self
            .now
            .compare_exchange(Self::WAITING, to, Ordering::SeqCst, Ordering::SeqCst);
        left.is_ok() || left == Err(to)
    }
}

/// The steps in progress of one fleet.
pub(super) struct Steps {
    running: FuturesUnordered<Work>,
    known: BTreeMap<InstanceName, Running>,
    slow: (
        mpsc::UnboundedSender<InstanceName>,
        mpsc::UnboundedReceiver<InstanceName>,
    ),
    /// Where steps run: in this task, or in tasks of their own.
    launch: fn(Work) -> Work,
    /// After how long one goes on beside the rounds; never, for a command that makes one round.
    patience: Option<Duration>,
    shared: InFlight,
}

/// What is in progress, for status and orders. Clones share it.
#[derive(Clone, Default)]
pub struct InFlight {
    steps: Arc<Mutex<BTreeMap<InstanceName, Shown>>>,
    outputs: Arc<Mutex<BTreeMap<InstanceName, FailedOutput>>>,
}

#[derive(Clone)]
struct Shown {
    since: jiff::Timestamp,
    action: &'static str,
    image: Option<String>,
    stage: Arc<Stage>,
    pulling: Arc<dyn Fn() -> Option<PullProgress> + Send + Sync>,
}

impl InFlight {
    fn with<T>(&self, call: impl FnOnce(&mut BTreeMap<InstanceName, Shown>) -> T) -> T {
        call(&mut self.steps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the last generation of an instance wrote that failed and was removed.
    pub fn failed_output(&self, name: &InstanceName) -> Option<FailedOutput> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.get(name).cloned()
    }

    fn keep_output(&self, name: &InstanceName, output: Option<FailedOutput>) {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        match output {
            Some(output) => outputs.insert(name.clone(), output),
            None => outputs.remove(name),
        };
    }

    /// Since when which instances have a step in progress.
    pub fn since(&self) -> BTreeMap<InstanceName, jiff::Timestamp> {
        self.with(|all| {
            let since = all.iter().map(|(name, shown)| (name.clone(), shown.since));
            since.collect()
        })
    }

    /// Whether a step is changing this instance now.
    pub fn is_acting(&self, name: &InstanceName) -> bool {
        self.with(|all| {
            let shown = all.get(name);
            shown.is_some_and(|shown| shown.stage.is_acting())
        })
    }

    /// Whether an instance has a step in progress.
    pub fn has(&self, name: &InstanceName) -> bool {
        self.with(|all| all.contains_key(name))
    }

    /// Shows a step of an instance that waits for its image, or acts; none for `None`.
    #[cfg(test)]
    pub fn pretend(&self, name: &InstanceName, acts: Option<bool>) {
        self.with(|all| all.remove(name));
        let Some(acts) = acts else { return };
        let shown = Shown {
            since: jiff::Timestamp::UNIX_EPOCH,
            action: "replace",
            image: None,
            stage: Arc::default(),
            pulling: Arc::new(|| None),
        };
        assert!(!acts || shown.stage.act());
        self.with(|all| all.insert(name.clone(), shown));
    }

    /// The step in progress of an instance, with the progress of its pull.
    pub fn of(&self, name: &InstanceName) -> Option<StepInProgress> {
        let shown = self.with(|all| all.get(name).cloned())?;
        let fetching = !shown.stage.is_acting();
        let pull = fetching.then(|| (shown.pulling)()).flatten();
        Some(StepInProgress {
            action: shown.action.to_owned(),
            since: shown.since,
            image: shown.image.filter(|_| pull.is_some()),
            pull,
        })
    }
}

/// What one step needs beside its engine.
pub(super) struct Job {
    pub(super) step: Step,
    pub(super) secrets: Secrets,
    pub(super) planned_for: PlannedFor,
    pub(super) since: jiff::Timestamp,
    /// So many act at the same time.
    pub(super) slots: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            running: FuturesUnordered::new(),
            known: BTreeMap::new(),
            slow: mpsc::unbounded_channel(),
            launch: |work| work,
            patience: None,
            shared: InFlight::default(),
        }
    }
}

impl Steps {
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// What steps of earlier rounds said of being slow concerns no later round.
    pub(super) fn forget_slow(&mut self) {
        while self.slow.1.try_recv().is_ok() {}
    }

    pub(super) fn set_launch(&mut self, launch: fn(Work) -> Work) {
        self.launch = launch;
    }

    pub(super) fn share(&mut self, shared: InFlight) {
        self.shared = shared;
    }

    /// Keeps what a failed generation wrote for whoever asks about its instance, until one succeeds.
    pub(super) fn keep_output(&self, step: &Step, result: &StepResult, at: jiff::Timestamp) {
        let lines = match result {
            StepResult::Done => &[][..],
            StepResult::Failed(error) if !error.output.is_empty() => &error.output,
            StepResult::Failed(_) | StepResult::Withdrawn => return,
        };
        let output = (!lines.is_empty()).then(|| FailedOutput {
            generation: generation(&step.action).unwrap_or(0),
            at,
            lines: lines.to_vec(),
        });
        self.shared.keep_output(&step.instance, output);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Since when which instances have a step in progress.
    pub(super) fn since(&self) -> BTreeMap<InstanceName, jiff::Timestamp> {
        let since = self.known.iter();
        since
            .map(|(name, running)| (name.clone(), running.since))
            .collect()
    }

    /// Withdraws steps that do not act yet, if what they were planned for is not wanted any more. Those that it names
    /// end at once.
    pub(super) fn withdraw(
        &self,
        is_wanted: impl Fn(&InstanceName, &PlannedFor) -> bool,
    ) -> BTreeSet<InstanceName> {
        let all = self.known.iter();
        let unwanted = all.filter(|(name, running)| !is_wanted(name, &running.planned_for));
        let withdrawn = unwanted.filter(|(_, running)| running.stage.withdraw());
        withdrawn.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn begin<E: Engine + 'static>(&mut self, engine: &Arc<E>, job: Job) {
        let instance = job.step.instance.clone();
        let running = Running {
            step: job.step.clone(),
            planned_for: job.planned_for.clone(),
            since: job.since,
            began: Instant::now(),
            stage: Arc::default(),
        };
        let image = image(&job.step).map(str::to_owned);
        let pulling = {
            let (engine, image) = (Arc::clone(engine), image.clone());
            move || engine.pulling(image.as_deref()?)
        };
        let shown = Shown {
            since: job.since,
            action: action_name(&job.step.action),
            image,
            stage: Arc::clone(&running.stage),
            pulling: Arc::new(pulling),
        };
        self.shared.with(|all| all.insert(instance.clone(), shown));
        let slow = self
            .patience
            .map(|patience| (patience, self.slow.0.clone()));
        let work = run(Arc::clone(engine), job, Arc::clone(&running.stage), slow);
        self.known.insert(instance, running);
        self.running.push((self.launch)(Box::pin(work)));
    }

    /// Until one of them has ended; for ever while there is none.
    pub(super) async fn next(&mut self) -> (Running, StepResult) {
        loop {
            let Some(ended) = self.running.next().await else {
                std::future::pending::<()>().await;
                continue;
            };
            self.shared.with(|all| all.remove(&ended.instance));
            if let Some(running) = self.known.remove(&ended.instance) {
                return (running, ended.result);
            }
        }
    }

    /// Until one of these has ended, or all of them that are left are slow.
    pub(super) async fn next_of(
        &mut self,
        waited_for: &mut BTreeSet<InstanceName>,
    ) -> Option<(Running, StepResult)> {
        while !waited_for.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.running.next() => {
                    self.shared.with(|all| all.remove(&ended.instance));
                    waited_for.remove(&ended.instance);
                    if let Some(running) = self.known.remove(&ended.instance) {
                        return Some((running, ended.result));
                    }
                }
                Some(slow) = self.slow.1.recv() => {
                    waited_for.remove(&slow);
                }
            }
        }
        None
    }
}

/// Fetches, then performs. Says so when it is slow, whatever it waits for: its image, its slot or the engine.
async fn run<E: Engine>(
    engine: Arc<E>,
    job: Job,
    stage: Arc<Stage>,
    slow: Option<(Duration, mpsc::UnboundedSender<InstanceName>)>,
) -> Ended {
    let instance = job.step.instance.clone();
    let patience = slow.as_ref().map(|(patience, _)| *patience);
    let work = async {
        let place = tokio::select! {
            biased;
            () = stage.withdrawn.cancelled() => return StepResult::Withdrawn,
            () = job.shutdown.cancelled() => return StepResult::Withdrawn,
            ready = make_ready(&*engine, &job) => match ready {
                Ok(place) => place,
                Err(error) => return StepResult::Failed(error),
            },
        };
        if !stage.act() {
            return StepResult::Withdrawn;
        }
        let limit = limit(&job.step);
        let acts = timeout(limit, engine.perform(&job.step, &job.secrets));
        match with_slot(place, patience, acts).await {
            Ok(Ok(())) => StepResult::Done,
            Ok(Err(error)) => StepResult::Failed(error),
            Err(_) => StepResult::Failed(overdue(&job.step, limit)),
        }
    };
    let mut work = pin!(work);
    let result = match slow {
        None => work.await,
        Some((patience, slow)) => {
            tokio::select! {
                biased;
                result = &mut work => result,
                () = sleep(patience) => {
                    // Nobody may wait for it any more.
                    let _ = slow.send(instance.clone());
                    work.await
                }
            }
        }
    };
    Ended { instance, result }
}

/// The image first, then a slot: no step takes another one's slot while its registry stalls.
async fn make_ready<E: Engine>(engine: &E, job: &Job) -> Result<OwnedSemaphorePermit, EngineError> {
    engine.fetch(&job.step).await?;
    let slot = Arc::clone(&job.slots).acquire_owned().await;
    Ok(slot.expect("it is never closed"))
}

/// How long a step may take.
fn limit(step: &Step) -> Duration {
    match &step.action {
        Action::Replace { spec, .. } if spec.replace == ReplaceOrder::StartFirst => SWAP_LIMIT,
        // It may go on with such a swap.
        Action::Remove { .. } => SWAP_LIMIT,
        _ => STEP_LIMIT,
    }
}

fn overdue(step: &Step, limit: Duration) -> EngineError {
    let operation = format!("{} {}", action_name(&step.action), step.instance);
    let detail = format!("not finished within {} s", limit.as_secs());
    EngineError::new(operation, ErrorClass::Stalled, detail).with_help(
        "the next try starts from what the engine then reports; the log names the calls that took long",
    )
}

/// The image that a step needs.
fn image(step: &Step) -> Option<&str> {
    match &step.action {
        Action::Create { spec, .. } | Action::Replace { spec, .. } => Some(&spec.image),
        Action::Start { .. }
        | Action::Stop { .. }
        | Action::Update { .. }
        | Action::Restart { .. }
        | Action::Remove { .. }
        | Action::Held => None,
    }
}
