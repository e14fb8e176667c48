//! What a held manifest still decides: who loses access, and who wins a collision.
//!
//! A held instance gains nothing from its manifest, but it loses at once what the manifest takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::words::diagnostic::{Diagnostic, Severity};
use crate::words::manifest::{Auth, TokenPart};
use crate::words::name::{EndpointName, HostName, InstanceName};
use crate::words::observed::{Applied, Observed, Phase};
use crate::words::origin::Origins;
use crate::words::route::Endpoint;
use crate::words::spec::{Spec, VolumeSource};

use super::Desired;

/// The most access that a held manifest allows. What was known before is cut down to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLimit {
    /// Every endpoint of the manifest, with its guard where that can be read; `None` where nothing is known.
    pub endpoints: Option<BTreeMap<EndpointName, Option<Auth>>>,
    /// Every token that the manifest grants; `None` where nothing is known.
    pub tokens: Option<Vec<TokenPart>>,
    /// The endpoints that policy denies.
    pub denied: BTreeSet<EndpointName>,
}

impl AccessLimit {
    /// The limit of a manifest that resolves, but is held.
    pub fn of(spec: &Spec) -> Self {
        let endpoints = spec.endpoints.iter();
        Self {
            endpoints: Some(
                endpoints
                    .map(|(name, endpoint)| (name.clone(), Some(endpoint.auth)))
                    .collect(),
            ),
            tokens: Some(spec.tokens.clone()),
            denied: BTreeSet::new(),
        }
    }

    /// Returns the limit that allows what both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let endpoints = match (self.endpoints, other.endpoints) {
            (Some(mut ours), Some(theirs)) => {
                ours.retain(|name, auth| match theirs.get(name) {
                    Some(Some(other)) if auth.is_some_and(|auth| auth != *other) => false,
                    Some(other) => {
                        *auth = auth.or(*other);
                        true
                    }
                    None => false,
                });
                Some(ours)
            }
            (ours, theirs) => ours.or(theirs),
        };
        let tokens = match (self.tokens, other.tokens) {
            (Some(ours), Some(theirs)) => {
                Some(ours.iter().filter_map(|t| least(t, &theirs)).collect())
            }
            (ours, theirs) => ours.or(theirs),
        };
        Self {
            endpoints,
            tokens,
            denied: self.denied.into_iter().chain(other.denied).collect(),
        }
    }

    /// Whether an endpoint that is guarded so keeps its route and its guard. Another guard than the manifest's is
    /// too much for the one or the other client, except that a manifest opens nothing while it is held.
    pub fn keeps(&self, endpoint: &EndpointName, auth: Auth) -> bool {
        if self.denied.contains(endpoint) {
            return false;
        }
        let Some(endpoints) = &self.endpoints else {
            return true;
        };
        match endpoints.get(endpoint) {
            None => false,
            Some(None | Some(Auth::None)) => true,
            Some(Some(wanted)) => *wanted == auth,
        }
    }

    /// The part of these grants that remains, with the earlier of two ends.
    pub fn grants(&self, known: &[TokenPart]) -> Vec<TokenPart> {
        match &self.tokens {
            Some(wanted) => known.iter().filter_map(|t| least(t, wanted)).collect(),
            None => known.to_vec(),
        }
    }

    /// A running generation's spec with the routes that remain; `None` where all of them do.
    pub fn routes(&self, spec: &Spec) -> Option<Spec> {
        let keeps = |(name, endpoint): &(&EndpointName, &Endpoint)| self.keeps(name, endpoint.auth);
        if spec.endpoints.iter().all(|entry| keeps(&entry)) {
            return None;
        }
        let kept = spec.endpoints.iter().filter(keeps);
        Some(Spec {
            endpoints: kept.map(|(n, e)| (n.clone(), e.clone())).collect(),
            ..spec.clone()
        })
    }
}

/// The grant as long as both sides allow it; `None` where `others` lacks its hash.
fn least(grant: &TokenPart, others: &[TokenPart]) -> Option<TokenPart> {
    let mut same = others.iter().filter(|other| other.hash == grant.hash);
    let first = same.next()?;
    // A hash that is listed twice is valid until the later end.
    let end = same.fold(first.expires, |end, other| Some(end?.max(other.expires?)));
    let expires = match (grant.expires, end) {
        (Some(known), Some(end)) => Some(known.min(end)),
        (known, end) => known.or(end),
    };
    Some(TokenPart {
        expires,
        ..grant.clone()
    })
}

/// Something that one instance alone can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A host name.
    Host(HostName),
    /// A volume, by its name on the engine.
    Volume(String),
    /// One of the places that `policy.max_instances` allows.
    Place,
}

/// A sound manifest that is held because others claim the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Contested {
    /// What the instance is, if it wins.
    pub spec: Arc<Spec>,
    /// Where that comes from.
    pub origins: Origins,
    /// Everything that others claim, too.
    pub claims: BTreeSet<Claim>,
}

/// The limit on instances, where there are more manifests.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceLimit {
    /// How many instances may be.
    pub most: usize,
    /// The error of each manifest, should it be one too many.
    pub too_many: BTreeMap<InstanceName, Diagnostic>,
}

impl Desired {
    /// Decides collisions between manifests by what exists: an instance keeps what a generation of it already has,
    /// and no new manifest takes that away. A collision of newcomers, or of two that have it, holds both. Deciding
    /// twice changes nothing.
    pub fn admit_incumbents(&mut self, observed: &Observed) {
        let contested = std::mem::take(&mut self.contested);
        for (name, contest) in contested {
            let wins = |claim: &Claim| match claim {
                Claim::Place => has_generation(observed, &name),
                claim => holders(observed, claim).eq([&name]),
            };
            if !contest.claims.iter().all(wins) {
                self.contested.insert(name, contest);
                continue;
            }
            // The loser's error says what to change; the winner's becomes a warning.
            let lost = self.unreadable.remove(&name).unwrap_or_default();
            self.diagnostics.retain(|known| !lost.contains(known));
            self.diagnostics
                .extend(lost.into_iter().map(|diagnostic| Diagnostic {
                    severity: Severity::Warning,
                    ..diagnostic
                }));
            self.access_limits.remove(&name);
            self.specs.insert(name.clone(), contest.spec);
            self.origins.insert(name, contest.origins);
        }
        self.refuse_newcomers(observed);
        self.diagnostics.sort();
        self.diagnostics.dedup();
    }

    /// Incumbents may have taken places that newcomers had by their names.
    fn refuse_newcomers(&mut self, observed: &Observed) {
        let Some(instance_limit) = &self.instance_limit else {
            return;
        };
        let excess = self.specs.len().saturating_sub(instance_limit.most);
        let newcomers = self.specs.keys().rev();
        let newcomers = newcomers.filter(|name| !has_generation(observed, name));
        let refused: Vec<_> = newcomers.take(excess).cloned().collect();
        for name in refused {
            let error = self
                .instance_limit
                .as_ref()
                .and_then(|p| p.too_many.get(&name));
            let errors = error.cloned().into_iter().collect();
            let claims = [Claim::Place];
            self.contest(&name, claims);
            self.hold(&name, errors);
        }
    }

    /// Remembers what a sound manifest was, and what others claim of it, before it is held.
    pub fn contest(&mut self, name: &InstanceName, claims: impl IntoIterator<Item = Claim>) {
        if let Some(contest) = self.contested.get_mut(name) {
            contest.claims.extend(claims);
        } else if let (Some(spec), Some(origins)) = (self.specs.get(name), self.origins.get(name)) {
            let contest = Contested {
                spec: Arc::clone(spec),
                origins: origins.clone(),
                claims: claims.into_iter().collect(),
            };
            self.contested.insert(name.clone(), contest);
        }
    }

    /// Leaves an instance as it is, for these reasons. Its sound manifest still limits access.
    pub fn hold(&mut self, name: &InstanceName, diagnostics: Vec<Diagnostic>) {
        let limit = self
            .specs
            .remove(name)
            .map(|spec| AccessLimit::of(&spec))
            .unwrap_or_default();
        self.limit(name, limit);
        self.origins.remove(name);
        self.diagnostics.extend(diagnostics.iter().cloned());
        let known = self.unreadable.entry(name.clone()).or_default();
        known.extend(diagnostics);
    }

    /// Limits a held instance's access further.
    pub fn limit(&mut self, name: &InstanceName, limit: AccessLimit) {
        let earlier = self.access_limits.remove(name).unwrap_or_default();
        self.access_limits.insert(name.clone(), earlier.and(limit));
    }
}

/// Whether a generation of it was ever started. What it does just now does not count: an instance that restarts
/// loses nothing.
fn has_generation(observed: &Observed, name: &InstanceName) -> bool {
    let mut generations = observed.instances.get(name).into_iter().flatten();
    generations.any(|g| g.phase != Phase::Created)
}

/// The instances of which a generation has what is claimed.
fn holders<'o>(observed: &'o Observed, claim: &Claim) -> impl Iterator<Item = &'o InstanceName> {
    let has = |spec: &Spec| match claim {
        Claim::Host(host) => spec.endpoints.values().any(|e| e.host == *host),
        Claim::Volume(volume) => spec.volumes.iter().any(|v| match &v.source {
            VolumeSource::Name(own) => volume_name(&spec.name, own) == *volume,
            VolumeSource::Host(_) => false,
        }),
        Claim::Place => false,
    };
    let instances = observed.instances.iter();
    instances.filter_map(move |(name, generations)| {
        let mut started = generations.iter().filter(|g| g.phase != Phase::Created);
        let is_holder = started.any(|g| match &g.applied {
            Applied::Spec(spec) => has(spec),
            Applied::Newer(_) | Applied::Unreadable(_) => false,
        });
        is_holder.then_some(name)
    })
}

/// The part of a volume's name on the engine that holds its instance's.
pub fn volume_name(instance: &InstanceName, volume: &str) -> String {
    format!("{instance}-vol-{volume}")
}

#[cfg(test)]
mod tests;
