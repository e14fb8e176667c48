//! The fake engine on stage: every call may be refused, hang, lose its reply or be cut off on either side,
//! and every changing one is shown to the witness first.

mod ill;
mod misread;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use instanced::doors::engine::containers::{
    ChangeContainers, Container, Draft, DraftFile, ImageFacts, NetworkFacts, OnProgress,
    ReadContainers, Summary, Touched,
};
use instanced::doors::engine::{EngineError, ErrorClass};
use instanced::words::manifest::Restart;
use instanced::words::observed::{Limits, Phase};

use super::bugs::Bug;
use super::paper::IMAGES;
use super::stage::Stage;
use super::witness::{Deed, Shall};

/// One connection to the engine of a case.
#[derive(Clone)]
pub struct Calls {
    pub stage: Arc<Stage>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Well,
    Refused(ErrorClass),
    /// It is done, and nobody hears.
    LostReply,
    /// Never answered: the caller's limit ends it, and it was not done.
    Hangs(Duration),
    /// Never answered, but done at once.
    HangsDone(Duration),
}

/// Lets others go first: also a place to die.
pub async fn pause() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Calls {
    fn fate(&self, call: &str, changes: bool) -> Fate {
        let mut scene = self.stage.scene();
        if scene.weather.calls == 0 {
            return Fate::Well;
        }
        let often = scene.weather.calls;
        let often = if changes { often } else { often.div_ceil(4) };
        if !scene.dice.permille(often) {
            return Fate::Well;
        }
        let limit = Duration::from_secs(scene.dice.between(5, 120) as u64);
        match scene.dice.below(10) {
            0..=4 => {
                let mut classes = vec![
                    ErrorClass::Away,
                    ErrorClass::Conflict,
                    ErrorClass::Retry,
                    ErrorClass::Permanent,
                ];
                if matches!(call, "create" | "pull" | "put_files" | "start") {
                    classes.push(ErrorClass::Gone);
                }
                Fate::Refused(scene.dice.pick(&classes))
            }
            5..=7 => Fate::LostReply,
            8 => Fate::Hangs(limit),
            _ => Fate::HangsDone(limit),
        }
    }

    async fn call<T>(
        &self,
        call: &str,
        subject: &str,
        deed: Option<Deed<'_>>,
        does: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        pause().await;
        self.stage.catch_up();
        let now = self.stage.now();
        if let Some(deed) = deed {
            self.stage
                .scene()
                .witness
                .look_at(deed, &self.stage.fake, now);
        } else {
            self.stage.scene().witness.reads += 1;
        }
        if let Some(answer) = self.ill(call, subject, deed.is_some()).await {
            return answer;
        }
        let fate = self.fate(call, deed.is_some());
        let error = |class| EngineError::new(format!("{call} {subject}"), class, "so it happened");
        let result = match fate {
            Fate::Well => does.await,
            Fate::Refused(class) => Err(error(class)),
            Fate::LostReply => {
                self.unheard(deed, does.await);
                Err(error(ErrorClass::Away))
            }
            Fate::Hangs(limit) => {
                tokio::time::sleep(limit).await;
                Err(error(ErrorClass::Away))
            }
            Fate::HangsDone(limit) => {
                self.unheard(deed, does.await);
                tokio::time::sleep(limit).await;
                Err(error(ErrorClass::Away))
            }
        };
        self.told(call, subject, fate, &result);
        if let (Fate::Well, Some(deed), Ok(_)) = (fate, deed, &result) {
            self.done(deed);
        }
        // An update that is refused for good, or cannot be read back, makes a new container necessary.
        let limits = matches!(deed, Some(Deed::SetLimits(..))) || call == "inspect";
        let for_good = matches!(
            fate,
            Fate::Refused(ErrorClass::Permanent | ErrorClass::Conflict)
        );
        if let Some(life) = self.stage.scene().witness.lives.get_mut(subject)
            && limits
            && for_good
        {
            life.excused = true;
        }
        pause().await;
        result
    }

    fn told<T>(&self, call: &str, subject: &str, fate: Fate, result: &Result<T, EngineError>) {
        self.stage.tell(|| {
            let name = subject.trim_start_matches('0');
            match (fate, result) {
                (Fate::Well, Ok(_)) => format!("    {call} {name}"),
                (Fate::Well, Err(error)) => {
                    format!("    {call} {name}: {:?} {}", error.class, error.detail)
                }
                (fate, _) => format!("    {call} {name}: {fate:?}"),
            }
        });
    }

    fn unheard<T>(&self, deed: Option<Deed<'_>>, result: Result<T, EngineError>) {
        if let (Some(deed), Ok(_)) = (deed, result) {
            self.done(deed);
        }
    }

    /// What a call that came through leads to.
    fn done(&self, deed: Deed<'_>) {
        let now = self.stage.now();
        let fake = &self.stage.fake;
        let mut scene = self.stage.scene();
        match deed {
            Deed::Create(draft) => {
                let id = fake.glimpse(|all| {
                    let mut named = all.filter(|g| g.facts.name == draft.name);
                    named.next().map(|g| g.facts.id.clone())
                });
                if let Some(id) = id {
                    let wall = scene.wall(now);
                    scene.witness.created(&id, draft, fake, wall);
                }
            }
            Deed::Start(id) => {
                let fresh = fake.glimpse(|mut all| {
                    all.any(|g| {
                        // The fake's own clock is a counter; ours has not told it the time of day yet.
                        let counted = g
                            .facts
                            .started
                            .is_some_and(|at| at.as_second() < 1_000_000_000);
                        g.facts.id == id && g.facts.phase == Phase::Running && counted
                    })
                });
                if fresh {
                    scene.came_up(id, fake, now, false);
                } else if scene.calm {
                    // It was paused, and its check goes on.
                    scene.mends(id, now);
                }
            }
            // Its policy is its manifest's again.
            Deed::SetLimits(id, _) => {
                if let Some(life) = scene.witness.lives.get_mut(id) {
                    life.at_rest = false;
                }
            }
            Deed::Stop(id) => {
                let slot = scene.witness.lives.get(id).map(|life| life.slot);
                let still = slot.is_some_and(|slot| {
                    matches!(scene.witness.shall_of(slot), Some(Shall::Still(_)))
                });
                if let Some(life) = scene.witness.lives.get_mut(id) {
                    life.at_rest |= still;
                }
            }
            _ => {}
        }
    }

    fn bug(&self) -> Option<Bug> {
        self.stage.scene().bug
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }
}

type Labels = [(String, String)];

impl ReadContainers for Calls {
    fn engine(&self) -> Option<String> {
        self.stage.fake.engine()
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<Summary>, EngineError> {
        let does = async {
            let (now, wall) = (self.stage.now(), self.stage.wall());
            self.stage
                .scene()
                .witness
                .count(&self.stage.fake, now, wall);
            self.stage.fake.list(labels).await
        };
        let mut all = self.call("list", "", None, does).await?;
        for summary in &mut all {
            let name = summary.name.clone();
            self.misread_labels(&name, &mut summary.labels);
        }
        Ok(all)
    }

    async fn inspect(&self, container: &str) -> Result<Option<Container>, EngineError> {
        let does = self.stage.fake.inspect(container);
        let mut found = self.call("inspect", container, None, does).await?;
        if let Some(found) = &mut found {
            self.misread(found);
        }
        Ok(found)
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.call("image", reference, None, self.stage.fake.image(reference))
            .await
    }

    fn open_because(&self) -> Option<String> {
        self.stage.fake.open_because()
    }

    async fn networks(&self, name: &str) -> Result<Vec<NetworkFacts>, EngineError> {
        self.call("networks", name, None, self.stage.fake.networks(name))
            .await
    }

    async fn volumes(&self, labels: &Labels) -> Result<Vec<String>, EngineError> {
        self.call("volumes", "", None, self.stage.fake.volumes(labels))
            .await
    }

    async fn volume(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        self.call("volume", name, None, self.stage.fake.volume(name))
            .await
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        let does = self.stage.fake.read_file(container, path);
        self.call("read_file", container, None, does).await
    }

    async fn logs(&self, container: &str, tail: usize) -> Result<Vec<String>, EngineError> {
        let does = self.stage.fake.logs(container, tail);
        self.call("logs", container, None, does).await
    }

    async fn cursor(&self) -> Result<String, EngineError> {
        self.stage.fake.cursor().await
    }

    /// The stream of events breaks off now and then.
    async fn changed(&self, labels: &Labels, cursor: &mut String) -> Result<Touched, EngineError> {
        let breaks = {
            let mut scene = self.stage.scene();
            let often = scene.weather.calls;
            often > 0 && scene.dice.permille(often)
        };
        if breaks {
            return Err(EngineError::new(
                "events",
                ErrorClass::Away,
                "the stream broke off",
            ));
        }
        self.stage.fake.changed(labels, cursor).await
    }
}

impl ChangeContainers for Calls {
    async fn create_network(
        &self,
        name: &str,
        isolated: bool,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let does = self.stage.fake.create_network(name, isolated, labels);
        self.call(
            "create_network",
            name,
            Some(Deed::CreateNetwork(name)),
            does,
        )
        .await
    }

    async fn pull(&self, reference: &str, progress: &OnProgress<'_>) -> Result<(), EngineError> {
        assert!(IMAGES.contains(&reference), "no manifest names {reference}");
        let does = self.stage.fake.pull(reference, progress);
        self.call("pull", reference, Some(Deed::Pull), does).await
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let does = self.stage.fake.create_volume(name, labels);
        self.call("create_volume", name, Some(Deed::CreateVolume(name)), does)
            .await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        if self.has(Bug::LeavesVolumes) {
            return Ok(());
        }
        let does = self.stage.fake.remove_volume(name);
        self.call("remove_volume", name, Some(Deed::RemoveVolume(name)), does)
            .await
    }

    async fn create(&self, draft: &Draft) -> Result<String, EngineError> {
        let does = self.stage.fake.create(draft);
        self.call("create", &draft.name, Some(Deed::Create(draft)), does)
            .await
    }

    async fn put_files(
        &self,
        container: &str,
        directory: &str,
        files: &[DraftFile],
    ) -> Result<(), EngineError> {
        if self.has(Bug::StartsWithoutSecrets) {
            return Ok(());
        }
        let does = self.stage.fake.put_files(container, directory, files);
        self.call(
            "put_files",
            container,
            Some(Deed::PutFiles(container)),
            does,
        )
        .await
    }

    async fn own_volume(
        &self,
        container: &str,
        path: &str,
        owner: (u32, u32),
    ) -> Result<bool, EngineError> {
        let does = self.stage.fake.own_volume(container, path, owner);
        self.call("own_volume", container, None, does).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        if self.lies(container) {
            return Ok(());
        }
        let does = self.stage.fake.start(container);
        let done = self.call("start", container, Some(Deed::Start(container)), does);
        self.believed(done.await)
    }

    async fn stop(&self, container: &str, grace_secs: u32) -> Result<(), EngineError> {
        if self.lies(container) {
            return Ok(());
        }
        let does = self.stage.fake.stop(container, grace_secs);
        let done = self.call("stop", container, Some(Deed::Stop(container)), does);
        self.believed(done.await)
    }

    async fn set_restart(&self, container: &str, restart: Restart) -> Result<(), EngineError> {
        if self.lies(container) {
            return Ok(());
        }
        if self.has(Bug::StopsWithoutPolicy) {
            return Ok(());
        }
        let does = self.stage.fake.set_restart(container, restart);
        let deed = Deed::SetRestart(container);
        self.call("set_restart", container, Some(deed), does).await
    }

    async fn set_limits(&self, container: &str, limits: &Limits) -> Result<(), EngineError> {
        if self.lies(container) {
            return Ok(());
        }
        let does = self.stage.fake.set_limits(container, limits);
        let deed = Deed::SetLimits(container, limits);
        self.call("set_limits", container, Some(deed), does).await
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        if self.lies(container) {
            return Ok(());
        }
        let does = self.stage.fake.remove(container);
        let done = self.call("remove", container, Some(Deed::Remove(container)), does);
        self.believed(done.await)
    }
}
