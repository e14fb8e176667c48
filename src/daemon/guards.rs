//! Who may reach which endpoint, kept up to date for the `ForwardAuth` listener.
//!
//! An instance keeps its guards for as long as it stands: one whose manifest is broken, or that a guard of
//! the prune keeps alive, still answers its clients. They are in the store as well, so that a daemon that has
//! just started answers before it has read a source or seen an engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::forward_auth::{AuthCounts, EdgeTable, SharedTable};
use super::uses::Uses;
use crate::decisions::access::Guard;
use crate::doors::store::{Store, StoreError};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::spec::Spec;
use crate::words::token::TokenRecord;

/// The guards of each instance.
pub type ByInstance = BTreeMap<InstanceName, Vec<Guard>>;

/// The guards of every instance, and the table made from them and the tokens.
#[derive(Debug)]
pub struct Guards {
    known: Mutex<Known>,
    table: SharedTable,
    counts: Arc<AuthCounts>,
    uses: Arc<Uses>,
}

#[derive(Debug, Default)]
struct Known {
    /// None until something is known: of endpoints that may be there nobody can say that they are not.
    guards: Option<ByInstance>,
    /// What the store has of them.
    kept: Option<ByInstance>,
}

impl Guards {
    /// For a listener that reads `table`.
    pub fn new(table: SharedTable, counts: Arc<AuthCounts>, uses: Arc<Uses>) -> Self {
        Self {
            known: Mutex::default(),
            table,
            counts,
            uses,
        }
    }

    /// Takes in what the store has: what was known when a daemon last looked. Says whether one ever did: until then
    /// nobody can say who may pass.
    pub fn recall(&self, store: &Store) -> Result<bool, StoreError> {
        let Some(kept) = store.guards()? else {
            return Ok(false);
        };
        let mut known = self.locked();
        known.guards = Some(kept.clone());
        known.kept = Some(kept);
        Ok(true)
    }

    /// Puts into the store what it does not have yet.
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let guards = {
            let known = self.locked();
            match &known.guards {
                Some(guards) if known.kept.as_ref() != Some(guards) => guards.clone(),
                _ => return Ok(()),
            }
        };
        store.set_guards(&guards)?;
        self.locked().kept = Some(guards);
        Ok(())
    }

    /// Takes in what is desired and, once known, what stands. The table follows with
    /// [`publish`](Self::publish).
    pub fn update(&self, desired: &Desired, observed: Option<&Observed>) {
        let mut known = self.locked();
        let known = known.guards.get_or_insert_default();
        if let Some(observed) = observed {
            known.retain(|name, _| desired.names(name) || observed.has(name));
            for (name, generations) in &observed.instances {
                if let Some(Applied::Spec(spec)) = generations.last().map(|g| &g.applied) {
                    known.entry(name.clone()).or_insert_with(|| guards_of(spec));
                }
            }
        }
        for (name, spec) in &desired.specs {
            known.insert(name.clone(), guards_of(spec));
        }
    }

    /// Makes the table anew, once endpoints are known. Without tokens nobody is let in: a revocation may be among
    /// what is not known.
    pub fn publish(&self, tokens: Option<&[TokenRecord]>) {
        let known = self.locked();
        let table = tokens.zip(known.guards.as_ref()).map(|(tokens, guards)| {
            self.counts.keep(|name| guards.contains_key(name));
            let guards = guards.values().flatten().cloned();
            let table = EdgeTable::build(guards, tokens, &self.uses, &self.counts);
            for host in table.access().ambiguous() {
                tracing::warn!(%host, "two endpoints claim this host name: neither opens");
            }
            Arc::new(table)
        });
        self.table.store(table);
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        // A panic in between leaves what was known before, or after.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn guards_of(spec: &Spec) -> Vec<Guard> {
    spec.endpoints
        .iter()
        .map(|(endpoint, route)| Guard {
            instance: spec.name.clone(),
            endpoint: endpoint.clone(),
            host: route.host.clone(),
            auth: route.auth,
            grants: spec.tokens.clone(),
        })
        .collect()
}
