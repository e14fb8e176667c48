//! The daemon's own look at the health of instances whose image has no check: a task for each, started and
//! stopped as the observation says, their verdicts in one table.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::decisions::change;
use crate::decisions::probe::Judgement;
use crate::doors::probe::Target;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Generation, Health, Observed, Phase};
use crate::words::quantity::Span;
use crate::words::spec::{HealthProbe, Spec};
use crate::words::watch::HealthResult;

/// So many results of each row are kept, as many as Docker keeps of its own checks.
const KEPT: usize = 5;

/// What the probes say now, by the engine's id of a generation. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Verdicts(Arc<Mutex<BTreeMap<String, Verdict>>>);

/// What a row of probes says.
#[derive(Debug, Clone)]
struct Verdict {
    /// Which row: one that was stopped may still have a word on its tongue.
    row: u64,
    /// The start that it is about.
    started: Option<jiff::Timestamp>,
    health: Health,
    /// What came of the last probes, oldest first.
    log: VecDeque<HealthResult>,
}

impl Verdicts {
    /// Fills in the health of generations that the engine does not check. Of one that was started anew since it was
    /// probed nothing is known yet: what was said of the run before says nothing of this one.
    pub fn overlay(&self, observed: &mut Observed) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in observed.instances.values_mut().flatten() {
            if generation.phase == Phase::Running && generation.health.is_none() {
                generation.health = known.get(&generation.id).map(|verdict| {
                    if verdict.started == generation.started {
                        verdict.health
                    } else {
                        Health::Starting
                    }
                });
            }
        }
    }

    /// What came of the last probes of a generation, oldest first.
    pub fn log(&self, generation: &str) -> Vec<HealthResult> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = known.get(generation).map(|verdict| verdict.log.iter());
        log.into_iter().flatten().cloned().collect()
    }

    fn begin(&self, generation: &str, row: u64, started: Option<jiff::Timestamp>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = Verdict {
            row,
            started,
            health: Health::Starting,
            log: VecDeque::with_capacity(KEPT),
        };
        known.insert(generation.to_owned(), verdict);
    }

    /// Whether it is another verdict than before.
    fn note(&self, generation: &str, row: u64, health: Health, result: HealthResult) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(verdict) = known.get_mut(generation).filter(|known| known.row == row) else {
            return false;
        };
        if verdict.log.len() == KEPT {
            verdict.log.pop_front();
        }
        verdict.log.push_back(result);
        std::mem::replace(&mut verdict.health, health) != health
    }

    fn forget(&self, generation: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(generation);
    }
}

/// What is probed, and how; another one of these is another row of probes.
#[derive(Debug, Clone, PartialEq)]
struct Subject {
    instance: InstanceName,
    started: Option<jiff::Timestamp>,
    target: Target,
    probe: HealthProbe,
}

/// One task for each generation that is probed.
#[derive(Debug)]
pub struct Probes {
    verdicts: Verdicts,
    /// Told when a verdict changes.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
    /// How many rows were begun.
    rows: u64,
    followed: BTreeMap<String, (Subject, tokio::task::AbortHandle)>,
}

impl Probes {
    /// Probes of nobody yet. `changed` is told when a verdict changes.
    pub fn new(changed: Arc<Notify>) -> Self {
        Self {
            verdicts: Verdicts::default(),
            changed,
            tasks: JoinSet::new(),
            rows: 0,
            followed: BTreeMap::new(),
        }
    }

    /// What they say.
    pub fn verdicts(&self) -> Verdicts {
        self.verdicts.clone()
    }

    /// Probes those that run now, and nobody else. `observed` is as the engine says it or overlaid.
    pub fn follow(&mut self, desired: &Desired, observed: &Observed) {
        let mut wanted: BTreeMap<String, Subject> = BTreeMap::new();
        for (name, generations) in &observed.instances {
            for generation in generations {
                let checked =
                    generation.health.is_some() && !self.followed.contains_key(&generation.id);
                if checked {
                    continue;
                }
                if let Some(subject) = subject(name, generation, desired.spec(name)) {
                    wanted.insert(generation.id.clone(), subject);
                }
            }
        }
        self.followed.retain(|id, (subject, task)| {
            let stays = wanted.get(id) == Some(subject);
            if !stays {
                task.abort();
                self.verdicts.forget(id);
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for (id, subject) in wanted {
            if self.followed.contains_key(&id) {
                continue;
            }
            self.rows += 1;
            self.verdicts.begin(&id, self.rows, subject.started);
            let row = Row {
                number: self.rows,
                id: id.clone(),
                subject: subject.clone(),
                verdicts: self.verdicts.clone(),
                changed: Arc::clone(&self.changed),
            };
            let task = self.tasks.spawn(row.run());
            self.followed.insert(id, (subject, task));
        }
    }
}

/// How a generation is probed; `None` when it is not.
fn subject(
    name: &InstanceName,
    generation: &Generation,
    desired: Option<&Spec>,
) -> Option<Subject> {
    let record = match &generation.applied {
        Applied::Spec(spec) => Some(spec.as_ref()),
        Applied::Newer(_) | Applied::Unreadable(_) => None,
    };
    let spec = change::in_effect(record?, desired);
    let probe = spec.health.clone()?;
    let address = generation
        .address
        .filter(|_| generation.phase == Phase::Running)?;
    Some(Subject {
        instance: name.clone(),
        started: generation.started,
        target: Target::of(spec, address)?,
        probe,
    })
}

/// The probes of one generation.
struct Row {
    number: u64,
    id: String,
    subject: Subject,
    verdicts: Verdicts,
    changed: Arc<Notify>,
}

impl Row {
    /// Probes until nobody wants to know any more.
    async fn run(self) {
        let Subject {
            instance,
            started,
            target,
            probe,
        } = &self.subject;
        let began = Instant::now();
        let before = started.map_or(Duration::ZERO, |started| {
            let ran = jiff::Timestamp::now().duration_since(started);
            Duration::try_from(ran).unwrap_or_default()
        });
        let mut judgement = Judgement::default();
        loop {
            let asked = target.ask().await;
            let age = (before + began.elapsed()).as_millis();
            let age = Span(u64::try_from(age).unwrap_or(u64::MAX));
            judgement = judgement.after(asked.is_ok(), age, probe);
            let result = HealthResult {
                at: jiff::Timestamp::now(),
                passed: asked.is_ok(),
                output: asked.as_ref().err().cloned().unwrap_or_default(),
            };
            let (id, health) = (&self.id, judgement.health());
            if self.verdicts.note(id, self.number, health, result) {
                if let Err(why) = &asked {
                    let at = target.address;
                    tracing::warn!(%instance, %at, why, "unhealthy: its probe fails");
                } else {
                    tracing::info!(%instance, "healthy");
                }
                self.changed.notify_one();
            }
            tokio::time::sleep(judgement.pause(age, probe).into()).await;
        }
    }
}

#[cfg(test)]
mod tests;
