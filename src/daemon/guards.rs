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
use crate::words::desired::{AccessLimit, Desired, Owners, Snapshot, first_label};
use crate::words::manifest::Auth;
use crate::words::name::{HostName, InstanceName};
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
    /// Who has a host name, by its first label, as the engine said last.
    owners: BTreeMap<String, InstanceName>,
    /// Host names that two endpoints claim, and that were logged.
    ambiguous: BTreeSet<HostName>,
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
        self.update_locked(&mut self.locked(), desired, observed);
    }

    /// Takes in what a round saw of the engine. Files that were read since that round began count more than what it
    /// desires: they may have taken a grant away meanwhile. Both happen under one lock, so that no table is ever made
    /// of what is desired no more.
    pub fn update_seen(
        &self,
        desired: &Desired,
        observed: &Observed,
        newer: Option<(&Snapshot, &Config)>,
    ) {
        let mut known = self.locked();
        let newer = newer.map(|(snapshot, config)| (snapshot, resolve(snapshot, config)));
        match newer {
            None => self.update_locked(&mut known, desired, Some(observed)),
            Some((_, Ok(mut newer))) => {
                newer.admit_incumbents(observed);
                self.update_locked(&mut known, &newer, Some(observed));
            }
            Some((snapshot, Err(_))) => {
                self.update_locked(&mut known, desired, Some(observed));
                self.limit_locked(&mut known, &access_limits(snapshot));
            }
        }
    }

    fn update_locked(&self, known: &mut Known, desired: &Desired, observed: Option<&Observed>) {
        let before = grants(known.guards.as_ref());
        let taken = known.taken();
        if let Some(observed) = observed {
            known.note_owners(observed);
        }
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
            let mut admitted = guards_of(spec);
            if observed.is_none() {
                // Files do not say who has a host name. Whoever was known to have it keeps it until the engine was asked.
                let is_free = |holder: Option<&InstanceName>| holder.is_none_or(|h| h == name);
                admitted.retain(|guard| is_free(taken.get(label(guard))));
            }
            guards.insert(name.clone(), admitted);
        }
        if observed.is_some() {
            displace(guards, desired);
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
        self.limit_locked(&mut self.locked(), limits);
    }

    fn limit_locked(&self, known: &mut Known, limits: &BTreeMap<InstanceName, AccessLimit>) {
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
        let mut known = self.locked();
        let mut ambiguous = None;
        let table = tokens.zip(known.guards.as_ref()).map(|(tokens, guards)| {
            self.counts.keep(|name| guards.contains_key(name));
            let guards = guards.values().flatten().cloned();
            let retired = retired.union(&known.revoked).copied();
            let table = EdgeTable::build(guards, tokens, &self.uses, &self.counts);
            let table = table.with_retired(retired);
            ambiguous = Some(table.access().ambiguous().iter().cloned().collect());
            Arc::new(table)
        });
        self.table.store(table);
        if let Some(ambiguous) = ambiguous {
            known.note_ambiguous(ambiguous);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        // A panic in between leaves what was known before, or after.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Who has a host name, by its first label: as the engine said last, else as is known of guards.
    fn taken(&self) -> BTreeMap<String, InstanceName> {
        let mut taken = self.owners.clone();
        for guard in self.guards.iter().flat_map(BTreeMap::values).flatten() {
            let entry = taken.entry(label(guard).to_owned());
            entry.or_insert_with(|| guard.instance.clone());
        }
        taken
    }

    /// Takes in what the engine says. An instance of which it does not say what it has keeps what it had.
    fn note_owners(&mut self, observed: &Observed) {
        let owners = Owners::of(observed);
        let mut now = owners.hosts();
        for (label, name) in std::mem::take(&mut self.owners) {
            if owners.is_unknown(&name) {
                now.entry(label).or_insert(name);
            }
        }
        self.owners = now;
    }

    /// Logs host names that two endpoints claim, once as long as that lasts.
    fn note_ambiguous(&mut self, ambiguous: BTreeSet<HostName>) {
        for host in ambiguous.difference(&self.ambiguous) {
            tracing::warn!(%host, "two endpoints claim this host name: neither opens");
        }
        self.ambiguous = ambiguous;
    }

    /// Remembers the grants that are no more.
    fn note_revoked(&mut self, before: &BTreeSet<TokenHash>) {
        let now = grants(self.guards.as_ref());
        self.revoked.extend(before.difference(&now));
        self.revoked.retain(|hash| !now.contains(hash));
    }
}

/// The part of a guard's host that names endpoint and instance.
fn label(guard: &Guard) -> &str {
    first_label(guard.host.as_str())
}

/// What is admitted has its host names alone: guards of an instance that never had a container give way.
fn displace(guards: &mut ByInstance, desired: &Desired) {
    let admitted = desired.specs.keys().filter_map(|name| guards.get(name));
    let admitted: BTreeSet<String> = admitted
        .flatten()
        .map(|guard| label(guard).to_owned())
        .collect();
    let held = guards.iter_mut();
    for (_, guards) in held.filter(|(name, _)| !desired.specs.contains_key(*name)) {
        guards.retain(|guard| !admitted.contains(label(guard)));
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
