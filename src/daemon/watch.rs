//! Watching instances: what they use, and what they write, from one generation to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, poll_fn};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::decisions::log::Told;
use crate::doors::engine::{EngineError, ErrorClass, GenerationLog, Watch};
use crate::words::name::InstanceName;
use crate::words::redact::Redactor;
use crate::words::secret::SecretValue;
use crate::words::watch::{AskLog, Counters, LogLine, Usage};

/// An earlier look that is no longer the moment before.
const STALE: Duration = Duration::from_secs(300);
/// What was seen lately is good enough for whoever does not ask for now.
const RECENT: Duration = Duration::from_secs(90);
/// How often to look for whoever asks next.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// Between two looks, where there was none before: shorter, and what is told is chance.
const BETWEEN: Duration = Duration::from_millis(300);
/// How long an engine may take to tell.
const LOOK_MAX: Duration = Duration::from_secs(4);
/// Lines that may wait for whoever reads them.
const LINES_MAX: usize = 256;
/// How often it is looked whether a next generation writes.
const NEXT_GENERATION: Duration = Duration::from_secs(1);
/// How long an instance may be away until its log has ended: a replacement stands still for a moment.
const GONE: Duration = Duration::from_secs(15);

/// Tells what instances use: of processor time, since they were looked at before.
#[derive(Debug, Default)]
pub struct Sampler {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last look at each, by its id.
    looks: HashMap<String, Look>,
    /// When somebody last looked only so that others need not wait.
    kept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    when: Instant,
    counters: Counters,
    usage: Usage,
}

impl Sampler {
    /// What these generations use, by their ids, as far as they run: as it was seen lately, and where nobody has, now.
    pub async fn recent<E: Watch>(
        &self,
        engine: &E,
        generations: &[String],
    ) -> BTreeMap<String, Usage> {
        let (mut seen, mut missing) = (BTreeMap::new(), Vec::new());
        {
            let known = self.known();
            for id in generations {
                let look = known.looks.get(id);
                let is_enough =
                    |look: &&Look| look.when.elapsed() < RECENT && look.usage.cpu.is_some();
                match look.filter(is_enough) {
                    Some(look) => drop(seen.insert(id.clone(), look.usage)),
                    None => missing.push(id.clone()),
                }
            }
        }
        seen.extend(self.now(engine, &missing).await);
        seen
    }

    /// What they use now. An engine looks once a second, and so may take as long.
    pub async fn now<E: Watch>(
        &self,
        engine: &E,
        generations: &[String],
    ) -> BTreeMap<String, Usage> {
        if generations.is_empty() {
            return BTreeMap::new();
        }
        let look = async || {
            let looking = Box::pin(engine.counters(generations));
            tokio::time::timeout(LOOK_MAX, looking)
                .await
                .unwrap_or_default()
        };
        let first = look().await;
        let usage = self.note(&first);
        if usage.values().all(|usage| usage.cpu.is_some()) {
            return usage;
        }
        tokio::time::sleep(BETWEEN).await;
        let second = look().await;
        if second.is_empty() {
            return usage;
        }
        self.note(&second)
    }

    /// Looks for whoever asks next, beside what goes on, unless that was done lately.
    pub fn keep<E: Watch + 'static>(self: &Arc<Self>, engine: E, generations: Vec<String>) {
        let mut known = self.known();
        known.looks.retain(|id, _| generations.contains(id));
        let is_due = known.kept.is_none_or(|then| then.elapsed() > KEEP_EVERY);
        if !is_due || generations.is_empty() {
            return;
        }
        known.kept = Some(Instant::now());
        let sampler = Arc::clone(self);
        tokio::spawn(async move { sampler.now(&engine, &generations).await });
    }

    /// Takes note of a look, and says what was used since the one before.
    fn note(&self, counters: &BTreeMap<String, Counters>) -> BTreeMap<String, Usage> {
        let (mut known, when) = (self.known(), Instant::now());
        let mut told = BTreeMap::new();
        for (id, now) in counters {
            let before = known.looks.get(id);
            let before = before.filter(|look| look.when.elapsed() < STALE);
            let usage = now.usage(before.map(|look| &look.counters));
            told.insert(id.clone(), usage);
            let look = Look {
                when,
                counters: *now,
                usage,
            };
            known.looks.insert(id.clone(), look);
        }
        told
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an instance has written; with `follow` also what it will, in this generation and the next ones, until it is gone
/// or `ended` is cancelled.
///
/// # Errors
/// When the engine does not answer, or has nothing of the instance.
pub async fn log<E: Watch + Send + Sync + 'static>(
    engine: E,
    instance: InstanceName,
    ask: AskLog,
    ended: CancellationToken,
) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
    let told = Told::new(ask, jiff::Timestamp::now());
    let Some(first) = engine.log(&instance, ask).await? else {
        let operation = format!("read the log of `{instance}`");
        let detail = "the engine has no container of it";
        return Err(EngineError::new(operation, ErrorClass::Gone, detail));
    };
    if !ask.follow {
        let generation = first.generation;
        let redactor = redactor(&engine, &first.id).await?;
        let lines = first.written.map_ok(move |written| LogLine {
            instance: instance.clone(),
            generation,
            at: written.at,
            stream: written.stream,
            line: redactor.line(&written.line).into_owned(),
        });
        return Ok(lines.boxed());
    }
    let (sender, mut receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let gone = sender.clone();
        tokio::select! {
            ended = follow(&engine, &instance, first, told, &sender) => {
                if let Err(error) = ended {
                    // Whoever reads may be gone.
                    let _ = sender.send(Err(error)).await;
                }
            }
            () = gone.closed() => {}
            () = ended.cancelled() => {}
        }
    });
    Ok(poll_fn(move |cx| receiver.poll_recv(cx)).boxed())
}

/// What removes a generation's secrets from its output. Output that cannot be redacted is not shown.
pub async fn redactor<E: Watch>(engine: &E, generation: &str) -> Result<Redactor, EngineError> {
    let values = engine.secrets(generation).await?;
    Ok(Redactor::new(values.iter().map(SecretValue::expose)))
}

async fn follow<E: Watch>(
    engine: &E,
    instance: &InstanceName,
    first: GenerationLog,
    mut told: Told,
    sender: &mpsc::Sender<Result<LogLine, EngineError>>,
) -> Result<(), EngineError> {
    let mut next = Some(first);
    let mut away = Duration::ZERO;
    while away < GONE {
        if let Some(mut log) = next {
            away = Duration::ZERO;
            let redactor = redactor(engine, &log.id).await?;
            while let Some(written) = log.written.try_next().await? {
                if !told.is_new(written.at) {
                    continue;
                }
                let line = LogLine {
                    instance: instance.clone(),
                    generation: log.generation,
                    at: written.at,
                    stream: written.stream,
                    line: redactor.line(&written.line).into_owned(),
                };
                if sender.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
            }
        } else {
            away += NEXT_GENERATION;
        }
        tokio::time::sleep(NEXT_GENERATION).await;
        next = engine.log(instance, told.again()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::doors::engine::Observe;
    use crate::doors::engine::containers::WrittenLine;
    use crate::words::observed::Observed;
    use crate::words::secret::SecretName;
    use crate::words::watch::{HealthResult, LogStream};

    /// Half a processor is used all the time; `gone` does not run.
    #[derive(Default)]
    struct Busy {
        asked: AtomicU64,
    }

    impl Observe for Busy {
        async fn observe(&self, _: &BTreeSet<String>) -> Result<Observed, EngineError> {
            Ok(Observed::default())
        }
        async fn ground(&self) -> Result<Option<String>, EngineError> {
            Ok(None)
        }
        async fn read_secret(
            &self,
            _: &InstanceName,
            _: &SecretName,
        ) -> Result<Option<SecretValue>, EngineError> {
            Ok(None)
        }
    }

    impl Watch for Busy {
        async fn log(
            &self,
            _: &InstanceName,
            _: AskLog,
        ) -> Result<Option<GenerationLog>, EngineError> {
            let written = |line: &str| {
                Ok(WrittenLine {
                    at: None,
                    stream: LogStream::Stdout,
                    line: line.to_owned(),
                })
            };
            let written = ["PEM-LINE-1", "key aHVudGVyMiEKUEVNLUxJTkUtMQ==", "hello"].map(written);
            Ok(Some(GenerationLog {
                generation: 1,
                id: "a".to_owned(),
                written: futures_util::stream::iter(written).boxed(),
            }))
        }
        async fn counters(&self, generations: &[String]) -> BTreeMap<String, Counters> {
            let second = self.asked.fetch_add(1, Ordering::Relaxed);
            let counters = Counters {
                at: jiff::Timestamp::from_second(i64::try_from(second).unwrap()).unwrap(),
                cpu_nanos: second * 500_000_000,
                memory: 1,
                memory_limit: None,
                network_received: 0,
                network_sent: 0,
                pids: 1,
            };
            let running = generations.iter().filter(|id| *id != "gone");
            running.map(|id| (id.clone(), counters)).collect()
        }
        async fn secrets(&self, _: &str) -> Result<Vec<SecretValue>, EngineError> {
            Ok(vec![SecretValue::new(b"hunter2!\nPEM-LINE-1".to_vec())])
        }
        async fn health_log(&self, _: &str) -> Result<Vec<HealthResult>, EngineError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn no_secret_is_in_a_log() {
        let told = |follow| async move {
            let ask = AskLog {
                follow,
                ..AskLog::default()
            };
            let name = "alice".parse().unwrap();
            let lines = log(Busy::default(), name, ask, CancellationToken::new()).await;
            let lines = lines.unwrap().take(3);
            lines.map_ok(|line| line.line).try_collect::<Vec<_>>().await
        };
        for follow in [false, true] {
            let lines = told(follow).await.unwrap();
            assert_eq!(lines[0], "[redacted]");
            assert!(!lines[1].contains("aHVudGVy"), "{lines:?}");
            assert_eq!(lines[2], "hello");
        }
    }

    #[tokio::test]
    async fn the_first_look_is_two_and_lately_seen_is_good_enough() {
        let (engine, sampler) = (Busy::default(), Sampler::default());
        let ids = ["a".to_owned(), "gone".to_owned()];
        let asked = || engine.asked.load(Ordering::Relaxed);
        let first = sampler.now(&engine, &ids).await;
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(first["a"].cpu, Some(0.5));
        assert_eq!(asked(), 2);
        assert_eq!(sampler.now(&engine, &ids).await["a"].cpu, Some(0.5));
        assert_eq!(asked(), 3);
        // Nobody is asked for what is known already, and only for what is not.
        assert_eq!(sampler.recent(&engine, &ids[..1]).await["a"].cpu, Some(0.5));
        assert_eq!(asked(), 3);
        let more = [ids[0].clone(), "b".to_owned()];
        let recent = sampler.recent(&engine, &more).await;
        assert_eq!(recent.len(), 2);
        assert!(asked() > 3);
    }
}
