//! Images for what is to be created: each is fetched once a round, however many need it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{Mutex as Gate, OwnedSemaphorePermit, Semaphore};

use super::super::containers::{ChangeContainers, Draft};
use super::super::{EngineError, ErrorClass};
use super::Fleet;
use crate::doors::engine::slot::with_slot;
use crate::words::label;
use crate::words::manifest::Pull;
use crate::words::reference::registry;
use crate::words::spec::Spec;
use crate::words::watch::PullProgress;

/// Whether Traefik makes routes of a container's labels.
const ENABLE: &str = "traefik.enable";
/// Pulls from one registry at the same time.
const PULLS: usize = 4;
/// A pull that takes longer gives its place to another: one that stalls delays no other image.
const SLOW: Duration = Duration::from_secs(3);

/// The pulls of a fleet, shared among its clones.
#[derive(Default)]
pub(super) struct Pulls {
    gates: Mutex<HashMap<String, Arc<Gate<Option<Pulled>>>>>,
    /// Places for pulls, by registry.
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// How far those are that go on, by reference.
    progress: Arc<Mutex<BTreeMap<String, PullProgress>>>,
}

/// A pull that goes on: it is no longer shown once this is dropped.
struct Shown {
    reference: String,
    progress: Arc<Mutex<BTreeMap<String, PullProgress>>>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.reference);
    }
}

/// What became of the last pull of a reference.
struct Pulled {
    round: u64,
    result: Result<(), EngineError>,
}

impl Pulls {
    /// Pulls, unless that was done already in this round; then the same came of it. Who comes while it goes on
    /// waits for it.
    async fn once(
        &self,
        reference: &str,
        round: u64,
        pull: impl Future<Output = Result<(), EngineError>>,
    ) -> Result<(), EngineError> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(gates.entry(reference.to_owned()).or_default())
        };
        let mut last = gate.lock().await;
        if let Some(pulled) = last.as_ref().filter(|pulled| pulled.round == round) {
            return pulled.result.clone();
        }
        let result = pull.await;
        *last = Some(Pulled {
            round,
            result: result.clone(),
        });
        result
    }
}

impl Pulls {
    /// Until there is a place for a pull from the registry of this reference.
    async fn place(&self, reference: &str) -> OwnedSemaphorePermit {
        let places = {
            let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let places = all.entry(registry(reference).to_owned());
            Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(PULLS))))
        };
        places.acquire_owned().await.expect("it is never closed")
    }

    pub(super) fn of(&self, reference: &str) -> Option<PullProgress> {
        let all = self.progress.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.get(reference).copied()
    }
}

impl<C: ChangeContainers> Fleet<C> {
    /// Makes sure that the image of `spec` is there, as its `pull` says.
    pub(super) async fn fetch_image(&self, spec: &Spec) -> Result<(), EngineError> {
        if spec.pull != Pull::Always && self.has_image(&spec.image).await? {
            return Ok(());
        }
        if spec.pull == Pull::Never {
            let operation = format!("find image {}", spec.image);
            let detail = "the engine does not have it, and `pull: never` forbids to fetch it";
            return Err(EngineError::new(operation, ErrorClass::Permanent, detail)
                .with_help("build or pull it, or write `pull: missing`"));
        }
        self.pull(&spec.image).await
    }

    /// Refuses an image that would make routes of its own, as one does that was committed from a container: it has
    /// the labels by which clients were led there, and would be led to with them, past the guard of its own routes.
    pub(super) async fn refuse_routes(&self, draft: &Draft) -> Result<(), EngineError> {
        if draft
            .labels
            .get(ENABLE)
            .is_none_or(|enable| enable != "true")
        {
            return Ok(());
        }
        let known = self.seen.image(&draft.image).flatten();
        let id = match known {
            Some(id) => Some(id),
            None => self.look_at_image(self.seen.now(), &draft.image).await?,
        };
        let configs = self.configs(id.into_iter().collect()).await?;
        let mut labels = configs.values().flat_map(|config| config.labels.keys());
        let routes = |key: &&String| label::is_of_traefik(key) && !draft.labels.contains_key(*key);
        let Some(label) = labels.find(routes) else {
            return Ok(());
        };
        let detail = format!(
            "it carries labels of Traefik's own, such as `{label}`, so clients of other instances could be led to this one"
        );
        let help = "an image that was committed from a container has that container's labels; build it from a Dockerfile, \
                    or without labels: docker export CONTAINER | docker import - IMAGE";
        let operation = format!("use image {}", draft.image);
        Err(EngineError::new(operation, ErrorClass::Permanent, detail).with_help(help))
    }

    /// Pulls all of these, a few at a time. Tells what failed.
    pub(super) async fn pull_all(&self, images: &BTreeSet<String>) -> Vec<EngineError> {
        let pulls: Vec<_> = images.iter().map(|image| self.pull(image)).collect();
        let mut done = stream::iter(pulls).buffer_unordered(PULLS);
        let mut failed = Vec::new();
        while let Some(pulled) = done.next().await {
            failed.extend(pulled.err());
        }
        failed
    }

    async fn pull(&self, reference: &str) -> Result<(), EngineError> {
        let pull = async {
            let place = self.pulls.place(reference).await;
            let shown = Shown {
                reference: reference.to_owned(),
                progress: Arc::clone(&self.pulls.progress),
            };
            let on_progress = |progress: PullProgress| {
                let mut all = shown
                    .progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                all.insert(shown.reference.clone(), progress);
            };
            let pull = Box::pin(self.containers.pull(reference, &on_progress));
            let pulled = with_slot(place, Some(SLOW), pull).await;
            self.seen.mark_images();
            pulled
        };
        self.pulls.once(reference, self.seen.round(), pull).await
    }

    /// Only presence is taken from what was seen; an absence is asked about anew.
    async fn has_image(&self, reference: &str) -> Result<bool, EngineError> {
        if self.seen.image(reference).flatten().is_some() {
            return Ok(true);
        }
        let moment = self.seen.now();
        Ok(self.look_at_image(moment, reference).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_stalls_takes_no_place_of_another() {
        let pulls = Pulls::default();
        let began = tokio::time::Instant::now();
        let stalled = async {
            for _ in 0..PULLS {
                let place = pulls.place("r.example.com/a:1").await;
                tokio::spawn(with_slot(place, Some(SLOW), std::future::pending::<()>()));
            }
        };
        stalled.await;
        drop(pulls.place("other.example.com/a:1").await);
        drop(pulls.place("a:1").await);
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(pulls.place("r.example.com/b:1").await);
        assert!(began.elapsed() <= SLOW + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_a_pull_goes_on_waits_for_it() {
        let (pulls, count) = (Pulls::default(), AtomicUsize::new(0));
        let pull = |reference: &'static str, round| {
            pulls.once(reference, round, async {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(EngineError::new("pull", ErrorClass::Retry, "slow"))
            })
        };
        let (first, second, other) = tokio::join!(pull("a", 1), pull("a", 1), pull("b", 1));
        assert_eq!(count.load(Ordering::Relaxed), 2, "one for each reference");
        for result in [first, second, other] {
            assert_eq!(result.expect_err("refused").detail, "slow");
        }
        let _ = tokio::join!(pull("a", 1), pull("a", 2));
        assert_eq!(count.load(Ordering::Relaxed), 3, "a new round asks anew");
    }
}
