//! Steps in progress. They run beside each other, and a step that takes long goes on beside the rounds: no instance
//! waits for the registry, the engine's answer or the start of another one.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::decisions::event::{PlannedFor, action_name, generation};
use crate::decisions::plan::{Action, Step};
use crate::decisions::status::{FailedOutput, StepInProgress};
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
    cancel: CancellationToken,
    acting: Arc<AtomicBool>,
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
    acting: Arc<AtomicBool>,
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
            shown.is_some_and(|shown| shown.acting.load(Ordering::SeqCst))
        })
    }

    /// The step in progress of an instance, with the progress of its pull.
    pub fn of(&self, name: &InstanceName) -> Option<StepInProgress> {
        let shown = self.with(|all| all.get(name).cloned())?;
        let fetching = !shown.acting.load(Ordering::SeqCst);
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
    /// So many of a round run at the same time.
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
    pub(super) fn begin_round(&mut self) {
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

    /// Withdraws steps that still wait for their image, if what they were planned for is not wanted any more.
    pub(super) fn withdraw(&self, is_wanted: impl Fn(&InstanceName, &PlannedFor) -> bool) {
        for (name, running) in &self.known {
            let acts = running.acting.load(Ordering::SeqCst);
            if !acts && !is_wanted(name, &running.planned_for) {
                running.cancel.cancel();
            }
        }
    }

    pub(super) fn begin<E: Engine + 'static>(&mut self, engine: &Arc<E>, job: Job) {
        let instance = job.step.instance.clone();
        let running = Running {
            step: job.step.clone(),
            planned_for: job.planned_for.clone(),
            since: job.since,
            began: Instant::now(),
            cancel: CancellationToken::new(),
            acting: Arc::default(),
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
            acting: Arc::clone(&running.acting),
            pulling: Arc::new(pulling),
        };
        self.shared.with(|all| all.insert(instance.clone(), shown));
        let slow = self
            .patience
            .map(|patience| (patience, self.slow.0.clone()));
        let work = run(
            Arc::clone(engine),
            job,
            running.cancel.clone(),
            Arc::clone(&running.acting),
            slow,
        );
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

/// Fetches, then performs. Gives its slot back when it is slow.
async fn run<E: Engine>(
    engine: Arc<E>,
    job: Job,
    cancel: CancellationToken,
    acting: Arc<AtomicBool>,
    slow: Option<(Duration, mpsc::UnboundedSender<InstanceName>)>,
) -> Ended {
    let instance = job.step.instance.clone();
    let permit = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        () = job.shutdown.cancelled() => None,
        permit = Arc::clone(&job.slots).acquire_owned() => permit.ok(),
    };
    let Some(permit) = permit.filter(|_| !job.shutdown.is_cancelled()) else {
        let result = StepResult::Withdrawn;
        return Ended { instance, result };
    };
    let work = async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return StepResult::Withdrawn,
            () = job.shutdown.cancelled() => return StepResult::Withdrawn,
            fetched = engine.fetch(&job.step) => if let Err(error) = fetched {
                return StepResult::Failed(error);
            },
        }
        acting.store(true, Ordering::SeqCst);
        if cancel.is_cancelled() {
            return StepResult::Withdrawn;
        }
        let limit = limit(&job.step);
        match timeout(limit, engine.perform(&job.step, &job.secrets)).await {
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
                    drop(permit);
                    // Nobody may wait for it any more.
                    let _ = slow.send(instance.clone());
                    work.await
                }
            }
        }
    };
    Ended { instance, result }
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
