//! What the daemon remembers between rounds and runs, as one round needs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::decisions::guard;
use crate::doors::store::{Store, StoreError};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
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
        let window = jiff::SignedDuration::from_millis(
            i64::try_from(guard::WINDOW.0).expect("ten minutes fit"),
        );
        let since = now.saturating_sub(window).unwrap_or(now);
        Ok(Self {
            key: Some(store.fingerprint_key()?),
            removals: store.removals_since(since)?,
            protected: store.protected()?,
        })
    }

    /// Keeps in mind which instances are protected: a manifest that is gone cannot say it any more.
    pub fn remember_protected(
        store: &Store,
        known: &BTreeSet<InstanceName>,
        desired: &Desired,
    ) -> Result<(), StoreError> {
        let mut protected = known.clone();
        for (name, spec) in &desired.specs {
            if spec.protect {
                protected.insert(name.clone());
            } else {
                protected.remove(name);
            }
        }
        if protected == *known {
            Ok(())
        } else {
            store.set_protected(&protected)
        }
    }
}
