//! Watching instances: what they use, and what they write, from one generation to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, poll_fn};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::doors::engine::{EngineError, ErrorClass, GenerationLog, Watch};
use crate::words::name::InstanceName;
use crate::words::watch::{AskLog, Counters, LogLine, Usage};

/// An earlier look that is no longer the moment before.
const STALE: Duration = Duration::from_secs(60);
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

/// Tells what instances use: of processor time, since it was asked last.
#[derive(Debug, Default)]
pub struct Sampler {
    before: Mutex<HashMap<String, Counters>>,
}

impl Sampler {
    /// What these generations use, by their ids; nothing of one that does not run.
    pub async fn usage<E: Watch>(
        &self,
        engine: &E,
        generations: &[String],
    ) -> BTreeMap<String, Usage> {
        if generations.is_empty() {
            return BTreeMap::new();
        }
        let look = async || {
            let looking = Box::pin(engine.counters(generations));
            tokio::time::timeout(LOOK_MAX, looking).await
        };
        let Ok(mut now) = look().await else {
            return BTreeMap::new();
        };
        if !now.iter().all(|(id, now)| self.knows(id, now)) {
            self.note(&now);
            tokio::time::sleep(BETWEEN).await;
            now = look().await.unwrap_or(now);
        }
        let before = self.before().clone();
        self.note(&now);
        now.into_iter()
            .map(|(id, now)| {
                let usage = now.usage(before.get(&id));
                (id, usage)
            })
            .collect()
    }

    fn knows(&self, id: &str, now: &Counters) -> bool {
        let age = self
            .before()
            .get(id)
            .map(|before| now.at.duration_since(before.at));
        age.is_some_and(|age| age.as_millis() > 100 && age.unsigned_abs() < STALE)
    }

    /// In place of what was noted: what is gone is forgotten.
    fn note(&self, now: &BTreeMap<String, Counters>) {
        let mut before = self.before();
        before.retain(|id, _| now.contains_key(id));
        before.extend(now.iter().map(|(id, now)| (id.clone(), *now)));
    }

    fn before(&self) -> MutexGuard<'_, HashMap<String, Counters>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
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
    let Some(first) = engine.log(&instance, ask).await? else {
        let operation = format!("read the log of `{instance}`");
        let detail = "the engine has no container of it";
        return Err(EngineError::new(operation, ErrorClass::Gone, detail));
    };
    if !ask.follow {
        let generation = first.generation;
        let lines = first.written.map_ok(move |written| LogLine {
            instance: instance.clone(),
            generation,
            at: written.at,
            stream: written.stream,
            line: written.line,
        });
        return Ok(lines.boxed());
    }
    let (sender, mut receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let gone = sender.clone();
        tokio::select! {
            told = follow(&engine, &instance, first, &sender) => {
                if let Err(error) = told {
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

async fn follow<E: Watch>(
    engine: &E,
    instance: &InstanceName,
    first: GenerationLog,
    sender: &mpsc::Sender<Result<LogLine, EngineError>>,
) -> Result<(), EngineError> {
    let (began, mut told) = (jiff::Timestamp::now(), None);
    let mut next = Some(first);
    let mut away = Duration::ZERO;
    while away < GONE {
        if let Some(mut log) = next {
            away = Duration::ZERO;
            while let Some(written) = log.written.try_next().await? {
                // The engine tells again what was written at the moment from which on it was asked.
                if written.at.is_some() && written.at <= told {
                    continue;
                }
                told = written.at.or(told);
                let line = LogLine {
                    instance: instance.clone(),
                    generation: log.generation,
                    at: written.at,
                    stream: written.stream,
                    line: written.line,
                };
                if sender.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
            }
        } else {
            away += NEXT_GENERATION;
        }
        tokio::time::sleep(NEXT_GENERATION).await;
        let ask = AskLog {
            tail: None,
            since: told.or(Some(began)),
            follow: true,
        };
        next = engine.log(instance, ask).await?;
    }
    Ok(())
}
