//! What goes on inside containers and around the engine while nobody calls: for the simulation, which looks
//! at everything and edits anything. An edit of what is gone is none.

use std::collections::btree_map;

use super::world::{Held, Volume};
use super::{BTreeMap, Container, Draft, FakeContainers, Health, Phase, Restart};

/// One container, and what it was made from.
pub struct Glimpse<'w> {
    /// As the engine reports it.
    pub facts: &'w Container,
    /// What it was made from.
    pub draft: &'w Draft,
}

/// All containers, one after the other.
pub struct Glimpses<'w>(btree_map::Values<'w, String, Held>);

impl<'w> Iterator for Glimpses<'w> {
    type Item = Glimpse<'w>;

    fn next(&mut self) -> Option<Glimpse<'w>> {
        let held = self.0.next()?;
        Some(Glimpse {
            facts: &held.facts,
            draft: &held.draft,
        })
    }
}

impl FakeContainers {
    /// Looks at all containers, whoever's, without copying them.
    pub fn glimpse<R>(&self, look: impl FnOnce(Glimpses<'_>) -> R) -> R {
        look(Glimpses(self.world().containers.values()))
    }

    /// Changes what the engine reports of a container, and tells it as an event. False when it is gone.
    pub fn touch(&self, container: &str, edit: impl FnOnce(&mut Container)) -> bool {
        let told = self.adjust(container, edit);
        if told {
            self.world().tell(container);
            self.happened.notify_waiters();
        }
        told
    }

    /// The same without an event: what a call of ours is about to tell anyway.
    pub fn adjust(&self, container: &str, edit: impl FnOnce(&mut Container)) -> bool {
        let mut world = self.world();
        let Ok(held) = world.held(container) else {
            return false;
        };
        edit(&mut held.facts);
        true
    }

    /// The main process ended, whatever the restart policy says.
    pub fn end(&self, container: &str, status: i64) {
        // Gone is ended.
        let _ = self.world().end(container, status);
        self.happened.notify_waiters();
    }

    /// Comes up without anybody's call. False when it cannot.
    pub fn come_up(&self, container: &str) -> bool {
        let up = self.world().start(container).is_ok();
        self.happened.notify_waiters();
        up
    }

    /// The engine goes down with all that runs, and comes up again with what its restart policies revive:
    /// what ran, unless its policy is `no`, and what was ever started with `always`. Returns what it revived.
    pub fn restart_engine(&self) -> Vec<String> {
        let mut revived = Vec::new();
        let mut world = self.world();
        let ids: Vec<String> = world.containers.keys().cloned().collect();
        for id in ids {
            let facts = &world.containers[&id].facts;
            let ran = matches!(
                facts.phase,
                Phase::Running | Phase::Paused | Phase::Restarting
            );
            let again = match facts.limits.restart {
                Restart::Always => facts.phase != Phase::Created,
                Restart::UnlessStopped | Restart::OnFailure => ran,
                Restart::No => false,
            };
            if ran {
                world.end(&id, 143).expect("it is there");
            }
            if again && world.start(&id).is_ok() {
                revived.push(id);
            }
        }
        drop(world);
        self.happened.notify_waiters();
        revived
    }

    /// The id of an image here.
    pub fn image_now(&self, reference: &str) -> Option<String> {
        self.world().images.get(reference).cloned()
    }

    /// An image goes, here and from its registry.
    pub fn forget_image(&self, reference: &str) {
        self.untag_image(reference);
        self.world().registry.remove(reference);
    }

    /// Whether a container has a file with something in it.
    pub fn has_file(&self, container: &str, path: &str) -> bool {
        let file = self.world().file(container, path);
        file.is_ok_and(|file| !file.content.expose().is_empty())
    }

    /// A volume of somebody's, or one that a crash of long ago left.
    pub fn leave_volume(&self, name: &str, labels: BTreeMap<String, String>) {
        let volume = Volume {
            labels,
            files: BTreeMap::new(),
            owner: None,
        };
        self.world()
            .volumes
            .entry(name.to_owned())
            .or_insert(volume);
    }

    /// Names of all volumes with whether they have a label of this key.
    pub fn volume_names(&self, key: &str) -> Vec<(String, bool)> {
        let world = self.world();
        let all = world.volumes.iter();
        all.map(|(name, volume)| (name.clone(), volume.labels.contains_key(key)))
            .collect()
    }

    /// A health check says something of one that runs.
    pub fn verdict(&self, container: &str, health: Health) {
        let runs = self.glimpse(|mut all| {
            all.any(|g| g.facts.id == container && g.facts.phase == Phase::Running)
        });
        if runs {
            self.touch(container, |facts| facts.health = Some(health));
        }
    }
}
