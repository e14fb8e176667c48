//! An engine of containers in memory: deterministic, and as honest as `tests/contract.rs` can make it.
//!
//! Clones share one world, like connections to one engine. Time is a counter. A test can refuse or lose the
//! reply of any call, edit from outside, and read the journals of changing and of reading calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use instanced::doors::engine::containers::{
    ChangeContainers, Container, Draft, DraftFile, ImageFacts, Joined, MountSource, NetworkFacts,
    OnProgress, ReadContainers, Summary, Touched,
};
use instanced::doors::engine::settings::ImageConfig;
use instanced::doors::engine::{EngineError, ErrorClass};
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Limits, Phase};
use tokio::sync::Notify;

mod life;
mod made;
mod outside;
mod world;

use world::{Event, World};

/// The fake engine.
#[derive(Clone, Default)]
pub struct FakeContainers {
    world: Arc<Mutex<World>>,
    happened: Arc<Notify>,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is refused with an error of this class, and nothing is done.
    Refuse(ErrorClass),
    /// It is done, but the answer never comes: an error of class `Away`.
    LoseReply,
}

type Labels = [(String, String)];

impl FakeContainers {
    /// An engine with these images and one isolated network.
    pub fn new(images: &[&str], network: &str) -> Self {
        let fake = Self::default();
        let mut world = fake.world();
        for image in images {
            world
                .images
                .insert((*image).to_owned(), world::image_id(image));
        }
        world.add_network("bridge", false, &BTreeMap::new());
        world.add_network(network, true, &BTreeMap::new());
        drop(world);
        fake
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .expect("no test panics while it holds the world")
    }

    /// Returns where the test does not let this call stall.
    async fn stalled(&self, call: &str, subject: &str) {
        let is_this = |stall: &(String, String)| stall.0 == call && subject.contains(&stall.1);
        loop {
            let happened = self.happened.notified();
            if !self.world().stalls.iter().any(is_this) {
                return;
            }
            happened.await;
        }
    }

    /// One call: faults, then the journal (changing calls only), then the deed.
    fn call<T>(
        &self,
        call: &str,
        subject: &str,
        changes: bool,
        deed: impl FnOnce(&mut World) -> Result<T, (ErrorClass, String)>,
    ) -> Result<T, EngineError> {
        let mut world = self.world();
        let subject = world.name_of(subject);
        let operation = format!("{call} {subject}");
        let fault = world.cut(changes).or_else(|| world.next_fault(call));
        if changes {
            let note = match fault {
                Some(Fault::Refuse(_)) => " (refused)",
                Some(Fault::LoseReply) => " (reply lost)",
                None => "",
            };
            world.journal.push(format!("{operation}{note}"));
        } else if call != "changed" {
            world.reads.push(operation.clone());
        }
        let result = match fault {
            Some(Fault::Refuse(class)) => {
                Err(EngineError::new(operation, class, "refused by the test"))
            }
            Some(Fault::LoseReply) => {
                // Whatever came of it, nobody hears.
                let _unheard = deed(&mut world);
                Err(EngineError::new(
                    operation,
                    ErrorClass::Away,
                    "the reply was lost",
                ))
            }
            None => deed(&mut world)
                .map_err(|(class, detail)| EngineError::new(operation, class, detail)),
        };
        drop(world);
        if changes {
            self.happened.notify_waiters();
        }
        result
    }
}

impl ReadContainers for FakeContainers {
    fn engine(&self) -> Option<String> {
        let world = self.world();
        (!world.is_vague).then(|| "fake 1".to_owned())
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<Summary>, EngineError> {
        self.call("list", "containers", false, |world| {
            let all = world.containers.values();
            let listed = all.filter(|held| world::has(&held.facts.labels, labels));
            let listed = listed.map(|held| Summary {
                image: world.vouched(held),
                ..summary(&held.facts)
            });
            Ok(listed.collect())
        })
    }

    async fn inspect(&self, container: &str) -> Result<Option<Container>, EngineError> {
        self.call("inspect", container, false, |world| {
            Ok(world.held(container).ok().map(|held| held.facts.clone()))
        })
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.call(
            "image",
            reference,
            false,
            |world| Ok(world.image(reference)),
        )
    }

    fn open_because(&self) -> Option<String> {
        None
    }

    async fn networks(&self, name: &str) -> Result<Vec<NetworkFacts>, EngineError> {
        self.call("networks", name, false, |world| {
            Ok(world.networks_named(name))
        })
    }

    async fn volumes(&self, labels: &Labels) -> Result<Vec<String>, EngineError> {
        self.call("volumes", "all", false, |world| {
            let ours = world
                .volumes
                .iter()
                .filter(|(_, volume)| world::has(&volume.labels, labels));
            Ok(ours.map(|(name, _)| name.clone()).collect())
        })
    }

    async fn volume(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        self.call("volume", name, false, |world| {
            let volume = world.volumes.get(name);
            Ok(volume.map(|volume| volume.labels.clone()))
        })
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        self.call("read_file", container, false, |world| {
            let found = world.file(container, path)?;
            Ok(found.content.expose().to_vec())
        })
    }

    async fn logs(&self, container: &str, tail: usize) -> Result<Vec<String>, EngineError> {
        self.call("logs", container, false, |world| {
            let lines = &world.held(container)?.log;
            Ok(lines[lines.len().saturating_sub(tail)..].to_vec())
        })
    }

    async fn cursor(&self) -> Result<String, EngineError> {
        self.call("cursor", "events", false, |world| {
            Ok(world.events.len().to_string())
        })
    }

    async fn changed(&self, labels: &Labels, cursor: &mut String) -> Result<Touched, EngineError> {
        loop {
            let happened = self.happened.notified();
            let touched = self.call("changed", "containers", false, |world| {
                let since = cursor.parse().expect("a cursor of ours");
                *cursor = world.events.len().to_string();
                Ok(world.touched(since, labels))
            })?;
            if touched != Touched::default() {
                return Ok(touched);
            }
            happened.await;
        }
    }
}

/// As a list tells it.
fn summary(facts: &Container) -> Summary {
    let runs = matches!(facts.phase, Phase::Running | Phase::Paused);
    let joined = |(name, id): (&String, &Option<String>)| {
        let (id, address) = (id.clone(), facts.addresses.get(name).copied());
        (name.clone(), Joined { id, address })
    };
    Summary {
        networks: facts.settings.networks.iter().map(joined).collect(),
        id: facts.id.clone(),
        name: facts.name.clone(),
        labels: facts.labels.clone(),
        phase: facts.phase,
        health: facts.health.filter(|_| runs),
        image_id: facts.image_id.clone(),
        image: None,
    }
}

impl ChangeContainers for FakeContainers {
    async fn create_network(
        &self,
        name: &str,
        isolated: bool,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        self.call("create_network", name, true, |world| {
            if !world.networks_named(name).is_empty() {
                return Err((ErrorClass::Conflict, "the name is taken".to_owned()));
            }
            world.add_network(name, isolated, labels);
            Ok(())
        })
    }

    async fn pull(&self, reference: &str, _: &OnProgress<'_>) -> Result<(), EngineError> {
        self.stalled("pull", reference).await;
        let pulled = self.call("pull", reference, true, |world| {
            let found = world.registry.get(reference).cloned();
            let id = found.ok_or((ErrorClass::Gone, "not found: manifest unknown".to_owned()))?;
            world.images.insert(reference.to_owned(), id);
            world.events.push(Event::Images);
            Ok(())
        });
        pulled.map_err(|error| error.with_help("check the name"))
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        self.call("create_volume", name, true, |world| {
            let volume = world
                .volumes
                .entry(name.to_owned())
                .or_insert_with(|| world::Volume {
                    labels: labels.clone(),
                    files: BTreeMap::new(),
                    owner: None,
                });
            if labels
                .iter()
                .all(|(key, value)| volume.labels.get(key) == Some(value))
            {
                return Ok(());
            }
            Err((
                ErrorClass::Conflict,
                "the name is taken by a volume of another".to_owned(),
            ))
        })
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.call("remove_volume", name, true, |world| {
            if world.containers.values().any(|held| held.mounts(name)) {
                return Err((ErrorClass::Conflict, "volume is in use".to_owned()));
            }
            world.volumes.remove(name);
            Ok(())
        })
    }

    async fn create(&self, draft: &Draft) -> Result<String, EngineError> {
        self.stalled("create", &draft.name).await;
        let created = self.call("create", &draft.name, true, |world| world.create(draft));
        created.map_err(|error| match error.class {
            ErrorClass::Gone => error.with_help("check the name"),
            _ => error,
        })
    }

    async fn put_files(
        &self,
        container: &str,
        directory: &str,
        files: &[DraftFile],
    ) -> Result<(), EngineError> {
        self.call("put_files", container, true, |world| {
            world.put_files(container, directory, files)
        })
    }

    async fn own_volume(
        &self,
        container: &str,
        path: &str,
        owner: (u32, u32),
    ) -> Result<bool, EngineError> {
        self.call("own_volume", container, true, |world| {
            world.own_volume(container, path, owner)
        })
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.call("start", container, true, |world| world.start(container))
    }

    async fn stop(&self, container: &str, _: u32) -> Result<(), EngineError> {
        self.call("stop", container, true, |world| {
            if world.held(container).is_ok() {
                world.end(container, 0)?;
            }
            Ok(())
        })
    }

    async fn set_restart(&self, container: &str, restart: Restart) -> Result<(), EngineError> {
        self.call("set_restart", container, true, |world| {
            world.held(container)?.facts.limits.restart = restart;
            world.tell(container);
            Ok(())
        })
    }

    async fn set_limits(&self, container: &str, limits: &Limits) -> Result<(), EngineError> {
        self.call("set_limits", container, true, |world| {
            world.held(container)?.facts.limits = *limits;
            world.tell(container);
            Ok(())
        })
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        self.call("remove", container, true, |world| {
            let Ok(held) = world.held(container) else {
                return Ok(());
            };
            if matches!(
                held.facts.phase,
                Phase::Running | Phase::Paused | Phase::Restarting
            ) {
                return Err((
                    ErrorClass::Conflict,
                    "cannot remove a running container".to_owned(),
                ));
            }
            world.take_away(container);
            Ok(())
        })
    }
}
