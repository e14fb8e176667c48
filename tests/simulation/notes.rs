//! A notebook in memory: it survives the daemon, and its calls may fail before or after they took.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use instanced::daemon::memory::Memory;
use instanced::daemon::notebook::{Acts, Notebook};
use instanced::doors::engine::settings::EngineNotes;
use instanced::doors::store::StoreError;
use instanced::words::history::Entry;
use instanced::words::name::InstanceName;
use instanced::words::overrides::Overrides;
use instanced::words::secret::{FingerprintKey, SecretName, SecretValue};

use super::bugs::Bug;
use super::engine::pause;
use super::paper::{NAMES, slot_of};
use super::stage::Stage;

/// What is written.
#[derive(Clone)]
pub struct Pages {
    key: u8,
    acts: Acts,
    removals: BTreeSet<(jiff::Timestamp, InstanceName)>,
    protected: BTreeSet<InstanceName>,
    released: BTreeSet<InstanceName>,
    overrides: BTreeMap<InstanceName, Overrides>,
    secrets: BTreeMap<(InstanceName, SecretName), SecretValue>,
    images: Option<EngineNotes>,
    writes: usize,
}

#[derive(Clone)]
pub struct Notes {
    stage: Arc<Stage>,
    pages: Arc<Mutex<Pages>>,
}

impl Notes {
    pub fn new(stage: Arc<Stage>) -> Self {
        let pages = Pages {
            key: 1,
            acts: Acts::new(),
            removals: BTreeSet::new(),
            protected: BTreeSet::new(),
            released: BTreeSet::new(),
            overrides: BTreeMap::new(),
            secrets: BTreeMap::new(),
            images: None,
            writes: 0,
        };
        Self {
            stage,
            pages: Arc::new(Mutex::new(pages)),
        }
    }

    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("nobody panics while writing")
    }

    /// The state directory is gone; the next one has another key.
    pub fn burn(&self) {
        let key = self.pages().key + 1;
        *self.pages() = Pages {
            key,
            ..Self::new(Arc::clone(&self.stage)).pages().clone()
        };
    }

    /// Whose containers these are: the id of the state directory.
    pub fn author(&self) -> String {
        format!("author-{}", self.pages().key)
    }

    /// How often something was written.
    pub fn writes(&self) -> usize {
        self.pages().writes
    }

    pub fn overrides_of(&self, name: &InstanceName) -> Overrides {
        self.pages()
            .overrides
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// Removals that still count, or lie ahead because a clock went back.
    pub fn noted_removals(&self) -> usize {
        let since = Memory::window_start(self.stage.wall());
        let pages = self.pages();
        pages.removals.iter().filter(|(at, _)| *at >= since).count()
    }

    async fn call<T>(&self, does: impl FnOnce(&mut Pages) -> T + Send) -> Result<T, StoreError> {
        pause().await;
        self.stage.catch_up();
        let (fails, took) = {
            let mut scene = self.stage.scene();
            let often = scene.weather.notes;
            let fails = often > 0 && scene.dice.permille(often);
            (fails, fails && scene.dice.percent(40))
        };
        let result = if fails {
            if took {
                does(&mut self.pages());
            }
            {
                let witness = &mut self.stage.scene().witness;
                witness.forgetful = true;
                if let Some(round) = &mut witness.round {
                    round.unnoted = true;
                }
            }
            self.stage
                .tell(|| format!("    the notebook fails (written: {took})"));
            Err(StoreError::Insecure {
                path: PathBuf::from("state"),
                why: "fails".to_owned(),
                remedy: "wait".to_owned(),
            })
        } else {
            Ok(does(&mut self.pages()))
        };
        pause().await;
        result
    }

    async fn write(&self, does: impl FnOnce(&mut Pages) + Send) -> Result<(), StoreError> {
        self.call(|pages| {
            pages.writes += 1;
            does(pages);
        })
        .await
    }

    fn has(&self, bug: Bug) -> bool {
        self.stage.scene().bug == Some(bug)
    }
}

impl Notebook for Notes {
    async fn read(&self, now: jiff::Timestamp) -> Result<Memory, StoreError> {
        let since = Memory::window_start(now);
        let mut memory = self
            .call(|pages| Memory {
                key: Some(FingerprintKey::new([pages.key; 32])),
                removals: pages
                    .removals
                    .iter()
                    .filter(|(at, _)| *at >= since)
                    .map(|(at, name)| (name.clone(), *at))
                    .collect(),
                protected: pages.protected.clone(),
                released: pages.released.clone(),
                overrides: pages.overrides.clone(),
                author: Some(format!("author-{}", pages.key)),
            })
            .await?;
        if let Some(round) = &mut self.stage.scene().witness.round {
            for (name, overrides) in &memory.overrides {
                let slot = slot_of(name.as_str()).expect("one of ours");
                round.overrides[slot] = overrides.clone();
            }
        }
        if self.has(Bug::IgnoresSuspension) {
            for overrides in memory.overrides.values_mut() {
                overrides.suspended = None;
            }
        }
        if self.has(Bug::IgnoresProtect) {
            memory.protected.clear();
            memory.released = NAMES.iter().map(|n| n.parse().expect("a name")).collect();
        }
        Ok(memory)
    }

    async fn acts(&self) -> Result<Acts, StoreError> {
        if self.has(Bug::ForgetsActs) {
            return Ok(Acts::new());
        }
        self.call(|pages| pages.acts.clone()).await
    }

    /// It is for people, and nobody looks.
    async fn note_history(&self, _: Vec<(InstanceName, Entry)>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn put_acts(&self, acts: Acts, _: Vec<(InstanceName, Entry)>) -> Result<(), StoreError> {
        self.write(|pages| pages.acts.extend(acts)).await
    }

    async fn put_protection(
        &self,
        protected: BTreeSet<InstanceName>,
        released: BTreeSet<InstanceName>,
    ) -> Result<(), StoreError> {
        self.write(|pages| {
            pages.protected = protected;
            pages.released = released;
        })
        .await
    }

    async fn note_removal(
        &self,
        name: InstanceName,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        if self.has(Bug::ForgetsRemovals) {
            return Ok(());
        }
        self.write(|pages| {
            let since = Memory::window_start(at);
            pages.removals.retain(|(at, _)| *at >= since);
            pages.removals.insert((at, name));
        })
        .await
    }

    async fn set_overrides(
        &self,
        name: InstanceName,
        overrides: Overrides,
    ) -> Result<(), StoreError> {
        self.write(|pages| {
            pages.overrides.insert(name, overrides);
        })
        .await
    }

    async fn engine_notes(&self) -> Result<Option<EngineNotes>, StoreError> {
        pause().await;
        Ok(self.pages().images.clone())
    }

    async fn put_engine_notes(&self, notes: EngineNotes) -> Result<(), StoreError> {
        pause().await;
        let mut pages = self.pages();
        pages.writes += 1;
        pages.images = Some(notes);
        Ok(())
    }

    async fn secret(
        &self,
        instance: InstanceName,
        name: SecretName,
    ) -> Result<Option<SecretValue>, StoreError> {
        self.call(|pages| pages.secrets.get(&(instance, name)).cloned())
            .await
    }

    async fn put_secret(
        &self,
        instance: InstanceName,
        name: SecretName,
        value: SecretValue,
    ) -> Result<(), StoreError> {
        self.write(|pages| {
            pages.secrets.insert((instance, name), value);
        })
        .await
    }
}
