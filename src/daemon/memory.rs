//! What the daemon remembers between rounds and runs, as one round needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decisions::guard;
use crate::doors::store::{Store, StoreError};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::overrides::Overrides;
use crate::words::secret::FingerprintKey;

/// One round's view of the store. Without a store, everything is empty and secrets are not compared.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The key of fingerprints.
    pub key: Option<FingerprintKey>,
    /// Removals of the last ten minutes.
    pub removals: Vec<(InstanceName, jiff::Timestamp)>,
    /// Instances whose last manifest said `protect: true`.
    pub protected: BTreeSet<InstanceName>,
    /// Instances whose last manifest did not.
    pub released: BTreeSet<InstanceName>,
    /// What operators said, and what was frozen.
    pub overrides: BTreeMap<InstanceName, Overrides>,
    /// The id of the state directory.
    pub author: Option<String>,
}

/// Runs a store's call where it may block.
pub async fn blocking<T: Send + 'static>(
    store: &Arc<Store>,
    call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = Arc::clone(store);
    match tokio::task::spawn_blocking(move || call(&store)).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

impl Memory {
    /// Reads what a round at `now` needs.
    pub fn read(store: &Store, now: jiff::Timestamp) -> Result<Self, StoreError> {
        let since = Self::window_start(now);
        Ok(Self {
            key: Some(store.fingerprint_key()?),
            removals: store.removals_since(since)?,
            protected: store.protected()?,
            released: store.released()?,
            overrides: store.overrides()?,
            author: Some(store.author()?),
        })
    }

    /// Since when removals count.
    pub fn window_start(now: jiff::Timestamp) -> jiff::Timestamp {
        let window = i64::try_from(guard::WINDOW.0).expect("ten minutes fit");
        now.saturating_sub(jiff::SignedDuration::from_millis(window))
            .unwrap_or(now)
    }

    /// Which instances are protected and which are known not to be, where that is news: a manifest that is
    /// gone cannot say it any more, and what a container records may be older than what its last manifest
    /// said.
    pub fn protection(
        &self,
        desired: &Desired,
    ) -> Option<(BTreeSet<InstanceName>, BTreeSet<InstanceName>)> {
        let knows = |name: &InstanceName, protect: bool| {
            self.protected.contains(name) == protect && self.released.contains(name) != protect
        };
        if desired
            .specs
            .iter()
            .all(|(name, spec)| knows(name, spec.protect))
        {
            return None;
        }
        let (mut protected, mut released) = (self.protected.clone(), self.released.clone());
        for (name, spec) in &desired.specs {
            let (now, before) = if spec.protect {
                (&mut protected, &mut released)
            } else {
                (&mut released, &mut protected)
            };
            before.remove(name);
            now.insert(name.clone());
        }
        Some((protected, released))
    }

    /// Which of what stands is protected. Of one that the store never heard of, its container tells.
    pub fn protected_of(&self, observed: &Observed) -> BTreeSet<InstanceName> {
        let recorded = observed.instances.iter().filter(|(name, generations)| {
            !self.released.contains(*name)
                && generations
                    .iter()
                    .any(|g| matches!(&g.applied, Applied::Spec(spec) if spec.protect))
        });
        recorded
            .map(|(name, _)| name.clone())
            .chain(self.protected.iter().cloned())
            .collect()
    }
}
