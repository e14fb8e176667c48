//! Who may reach which endpoint, kept up to date for the `ForwardAuth` listener.
//!
//! A held instance still answers its clients, so its guards stay. They only ever shrink: what its manifest takes away
//! is gone at once, and what its manifest adds waits until it is held no more. The guards are in the store as well, so
//! that a daemon that has just started answers before it has seen an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::forward_auth::{AuthCounts, EdgeTable, SharedTable};
use super::uses::Uses;
use crate::decisions::access::Guard;
use crate::doors::store::{Store, StoreError};
use crate::words::config::{Config, Policy, Verdict};
use crate::words::desired::{AccessLimit, Desired, Snapshot};
use crate::words::manifest::Auth;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::resolve::{access_limits, resolve};
use crate::words::spec::Spec;
use crate::words::token::{TokenHash, TokenRecord};

/// The guards of each instance.
pub type ByInstance = BTreeMap<InstanceName, Vec<Guard>>;

/// The guards of every instance, and the table made from them and the tokens.
#[derive(Debug)]
pub struct Guards {
    known: Mutex<Known>,
    table: SharedTable,
    counts: Arc<AuthCounts>,
    uses: Arc<Uses>,
    /// Whether policy denies endpoints that everybody may use.
    denies_open: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// None until something is known: of endpoints that may be there nobody can say that they are not.
    guards: Option<ByInstance>,
    /// What the store has of them.
    kept: Option<ByInstance>,
    /// Grants that were taken away, and are not in the store yet.
    revoked: BTreeSet<TokenHash>,
}

impl Guards {
    /// For a listener that reads `table`, under this policy.
    pub fn new(
        table: SharedTable,
        counts: Arc<AuthCounts>,
        uses: Arc<Uses>,
        policy: &Policy,
    ) -> Self {
        Self {
            known: Mutex::default(),
            table,
            counts,
            uses,
            denies_open: policy.auth_none == Verdict::Deny,
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
        let (guards, revoked) = {
            let known = self.locked();
            let guards = known.guards.clone();
            let news = guards.filter(|guards| known.kept.as_ref() != Some(guards));
            (news, known.revoked.clone())
        };
        if !revoked.is_empty() {
            store.retire(&revoked, Timestamp::now())?;
            self.locked().revoked.retain(|hash| !revoked.contains(hash));
        }
        if let Some(guards) = guards {
            store.set_guards(&guards)?;
            self.locked().kept = Some(guards);
        }
        Ok(())
    }

    /// Takes in what is desired and, once known, what exists. The table follows with
    /// [`publish`](Self::publish).
    pub fn update(&self, desired: &Desired, observed: Option<&Observed>) {
        let mut known = self.locked();
        let before = grants(known.guards.as_ref());
        let guards = known.guards.get_or_insert_default();
        if let Some(observed) = observed {
            guards.retain(|name, _| desired.names(name) || observed.has(name));
            for (name, generations) in &observed.instances {
                if let Some(Applied::Spec(spec)) = generations.last().map(|g| &g.applied) {
                    // A record is as old as its container: what it grants may have been revoked since.
                    let without_grants = || {
                        guards_of(&Spec {
                            tokens: Vec::new(),
                            ..(**spec).clone()
                        })
                    };
                    guards.entry(name.clone()).or_insert_with(without_grants);
                }
            }
        }
        self.restrict(guards, |name| desired.access_limits.get(name));
        for (name, spec) in &desired.specs {
            guards.insert(name.clone(), guards_of(spec));
        }
        known.note_revoked(&before);
    }

    /// Takes in the files of a source, before the engine was asked.
    pub fn take_in(&self, snapshot: &Snapshot, config: &Config) {
        match resolve(snapshot, config) {
            Ok(desired) => self.update(&desired, None),
            Err(_) => self.limit(&access_limits(snapshot)),
        }
    }

    /// Takes in the most access that manifests allow, where `fleet.yaml` cannot be used.
    pub fn limit(&self, limits: &BTreeMap<InstanceName, AccessLimit>) {
        let mut known = self.locked();
        let before = grants(known.guards.as_ref());
        if let Some(guards) = &mut known.guards {
            self.restrict(guards, |name| limits.get(name));
        }
        known.note_revoked(&before);
    }

    /// Cuts guards down to these limits, and to policy.
    fn restrict<'l>(
        &self,
        guards: &mut ByInstance,
        limit: impl Fn(&InstanceName) -> Option<&'l AccessLimit>,
    ) {
        for (name, guards) in guards {
            guards.retain(|guard| !(self.denies_open && guard.auth == Auth::None));
            let Some(limit) = limit(name) else {
                continue;
            };
            guards.retain(|guard| limit.keeps(&guard.endpoint, guard.auth));
            for guard in guards {
                guard.grants = limit.grants(&guard.grants);
            }
        }
    }

    /// Makes the table anew, once endpoints are known. Without tokens nobody is let in: a revocation may be among
    /// what is not known. `retired` are hashes of tokens that were valid lately.
    pub fn publish(&self, tokens: Option<&[TokenRecord]>, retired: &BTreeSet<TokenHash>) {
        let known = self.locked();
        let table = tokens.zip(known.guards.as_ref()).map(|(tokens, guards)| {
            self.counts.keep(|name| guards.contains_key(name));
            let guards = guards.values().flatten().cloned();
            let retired = retired.union(&known.revoked).copied();
            let table = EdgeTable::build(guards, tokens, &self.uses, &self.counts);
            let table = table.with_retired(retired);
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

impl Known {
    /// Remembers the grants that are no more.
    fn note_revoked(&mut self, before: &BTreeSet<TokenHash>) {
        let now = grants(self.guards.as_ref());
        self.revoked.extend(before.difference(&now));
        self.revoked.retain(|hash| !now.contains(hash));
    }
}

fn grants(guards: Option<&ByInstance>) -> BTreeSet<TokenHash> {
    let guards = guards.into_iter().flat_map(BTreeMap::values).flatten();
    guards
        .flat_map(|guard| guard.grants.iter().map(|grant| grant.hash))
        .collect()
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

#[cfg(test)]
mod tests;
