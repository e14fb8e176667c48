//! Who may reach which endpoint, kept up to date for the `ForwardAuth` listener.
//!
//! An instance keeps its guards for as long as it stands: one whose manifest is broken, or that a guard of
//! the prune keeps alive, still answers its clients.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::daemon::forward_auth::SharedTable;
use crate::decisions::access::{AccessTable, Guard};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::spec::Spec;
use crate::words::token::TokenRecord;

/// The guards of every instance, and the table made from them and the tokens.
#[derive(Debug, Default)]
pub struct Guards {
    by_instance: Mutex<BTreeMap<InstanceName, Vec<Guard>>>,
    table: SharedTable,
}

impl Guards {
    /// The table that the listener reads.
    pub fn table(&self) -> SharedTable {
        SharedTable::clone(&self.table)
    }

    /// Takes in what is desired and, once known, what stands. The table follows with
    /// [`publish`](Self::publish).
    pub fn update(&self, desired: &Desired, observed: Option<&Observed>) {
        let mut known = self
            .by_instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(observed) = observed {
            known.retain(|name, _| desired.names(name) || observed.instances.contains_key(name));
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

    /// Makes the table anew. Without tokens nobody is let in: a revocation may be among what is not known.
    pub fn publish(&self, tokens: Option<&[TokenRecord]>) {
        let table = tokens.map(|tokens| {
            let known = self
                .by_instance
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let table = AccessTable::build(known.values().flatten().cloned(), tokens);
            for host in table.ambiguous() {
                tracing::warn!(%host, "two endpoints claim this host name: neither opens");
            }
            std::sync::Arc::new(table)
        });
        self.table.store(table);
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
