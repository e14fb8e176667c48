//! What rounds remember: behind one trait, so that a round can be run over the store, and over a notebook in
//! memory by the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::memory::{Memory, blocking};
use crate::doors::engine::settings::EngineNotes;
use crate::doors::store::{Store, StoreError};
use crate::words::act::Act;
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::overrides::Overrides;
use crate::words::secret::{SecretName, SecretValue};

/// What was done to each instance, oldest first.
pub type Acts = BTreeMap<InstanceName, Vec<Act>>;

/// Keeps what no container can tell.
pub trait Notebook: Clone + Send + Sync + 'static {
    /// What a round at `now` needs to know.
    fn read(&self, now: jiff::Timestamp)
    -> impl Future<Output = Result<Memory, StoreError>> + Send;

    /// What was done to each instance.
    fn acts(&self) -> impl Future<Output = Result<Acts, StoreError>> + Send;

    /// Keeps what was done to these instances, in place of what was there, and adds what is over to their history. Once
    /// polled, both are done even if the future is dropped.
    fn put_acts(
        &self,
        acts: Acts,
        over: Vec<(InstanceName, Entry)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Adds to what was ever done to instances, for people.
    fn note_history(
        &self,
        entries: Vec<(InstanceName, Entry)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps which instances are protected, and which are known not to be.
    fn put_protection(
        &self,
        protected: BTreeSet<InstanceName>,
        released: BTreeSet<InstanceName>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that an instance is about to be removed, and forgets what is too old to count.
    fn note_removal(
        &self,
        name: InstanceName,
        at: jiff::Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps what stands between an instance and its manifest.
    fn set_overrides(
        &self,
        name: InstanceName,
        overrides: Overrides,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What was noted of the engine.
    fn engine_notes(&self) -> impl Future<Output = Result<Option<EngineNotes>, StoreError>> + Send;

    /// Notes what the engine said that lasts.
    fn put_engine_notes(
        &self,
        notes: EngineNotes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A generated secret.
    fn secret(
        &self,
        instance: InstanceName,
        name: SecretName,
    ) -> impl Future<Output = Result<Option<SecretValue>, StoreError>> + Send;

    /// Keeps a generated secret.
    fn put_secret(
        &self,
        instance: InstanceName,
        name: SecretName,
        value: SecretValue,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Notebook for Arc<Store> {
    async fn read(&self, now: jiff::Timestamp) -> Result<Memory, StoreError> {
        blocking(self, move |store| Memory::read(store, now)).await
    }

    async fn acts(&self) -> Result<Acts, StoreError> {
        blocking(self, Store::acts).await
    }

    async fn put_acts(
        &self,
        acts: Acts,
        over: Vec<(InstanceName, Entry)>,
    ) -> Result<(), StoreError> {
        blocking(self, move |store| {
            let acts = store.put_acts(&acts);
            let history = if over.is_empty() {
                Ok(())
            } else {
                store.note_history(&over)
            };
            acts.and(history)
        })
        .await
    }

    async fn note_history(&self, entries: Vec<(InstanceName, Entry)>) -> Result<(), StoreError> {
        blocking(self, move |store| store.note_history(&entries)).await
    }

    async fn put_protection(
        &self,
        protected: BTreeSet<InstanceName>,
        released: BTreeSet<InstanceName>,
    ) -> Result<(), StoreError> {
        blocking(self, move |store| {
            store.set_protected(&protected)?;
            store.set_released(&released)
        })
        .await
    }

    async fn note_removal(
        &self,
        name: InstanceName,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        blocking(self, move |store| {
            store.forget_removals_before(Memory::window_start(at))?;
            store.note_removal(&name, at)
        })
        .await
    }

    async fn set_overrides(
        &self,
        name: InstanceName,
        overrides: Overrides,
    ) -> Result<(), StoreError> {
        blocking(self, move |store| store.set_overrides(&name, &overrides)).await
    }

    async fn engine_notes(&self) -> Result<Option<EngineNotes>, StoreError> {
        blocking(self, Store::engine_notes).await
    }

    async fn put_engine_notes(&self, notes: EngineNotes) -> Result<(), StoreError> {
        blocking(self, move |store| store.put_engine_notes(&notes)).await
    }

    async fn secret(
        &self,
        instance: InstanceName,
        name: SecretName,
    ) -> Result<Option<SecretValue>, StoreError> {
        blocking(self, move |store| store.secret(&instance, &name)).await
    }

    async fn put_secret(
        &self,
        instance: InstanceName,
        name: SecretName,
        value: SecretValue,
    ) -> Result<(), StoreError> {
        blocking(self, move |store| {
            store.put_secret(&instance, &name, &value)
        })
        .await
    }
}
