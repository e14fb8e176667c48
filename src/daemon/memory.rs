//! What the daemon remembers between rounds and runs, as one round needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decisions::guard;
use crate::doors::store::{Store, StoreError};
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

    /// Learns which instances are protected, and which are known not to be: a manifest that is gone cannot say
    /// it any more, and what a container records may be older than what its last manifest said. Later ones of
    /// `said` count more. Returns whether any of it is news.
    pub fn learn_protection<'a>(
        &mut self,
        said: impl Iterator<Item = (&'a InstanceName, bool)>,
    ) -> bool {
        let mut news = false;
        for (name, protect) in said {
            let (now, before) = if protect {
                (&mut self.protected, &mut self.released)
            } else {
                (&mut self.released, &mut self.protected)
            };
            news |= before.remove(name);
            if !now.contains(name) {
                now.insert(name.clone());
                news = true;
            }
        }
        news
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
