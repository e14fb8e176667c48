//! What a held manifest still decides: who loses access, and who wins a collision.
//!
//! A held instance gains nothing from its manifest, but it loses at once what the manifest takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::words::diagnostic::{Diagnostic, Place, Severity};
use crate::words::manifest::{Auth, TokenPart};
use crate::words::name::{EndpointName, HostName, InstanceName};
use crate::words::observed::{Applied, Observed};
use crate::words::origin::Origins;
use crate::words::route::Endpoint;
use crate::words::spec::{Spec, VolumeSource};

use super::Desired;
use super::owners::{Owners, was_started};

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
    /// Decides by what exists who has a host name or a volume: an instance keeps what a started generation of it has,
    /// whatever its manifest says and whether there is one. Whoever else claims it is held. A collision of newcomers
    /// holds both. Deciding twice changes nothing.
    pub fn admit_incumbents(&mut self, observed: &Observed) {
        let owners = Owners::of(observed);
        let contested = std::mem::take(&mut self.contested);
        for (name, contest) in contested {
            let wins = |claim: &Claim| match claim {
                Claim::Place => has_generation(observed, &name),
                claim => owners.owner(claim) == Some(&name),
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
        self.hold_newcomers(&owners);
        self.take_away(observed, &owners);
        self.refuse_newcomers(observed);
        self.diagnostics.sort();
        self.diagnostics.dedup();
    }

    /// Holds each instance that claims what another has. Their manifests need not collide: that of the other may be
    /// gone, or held itself.
    fn hold_newcomers(&mut self, owners: &Owners<'_>) {
        let lost = self.specs.iter().filter_map(|(name, spec)| {
            let claims = claims_of(spec);
            let lost: Vec<_> = claims
                .filter_map(|(field, claim)| {
                    let other = owners.other(&claim, name)?;
                    Some((self.lost(name, field, &claim, other), claim))
                })
                .collect();
            (!lost.is_empty()).then(|| (name.clone(), lost))
        });
        let lost: Vec<_> = lost.collect();
        for (name, lost) in lost {
            let (errors, claims): (_, Vec<_>) = lost.into_iter().unzip();
            let denied = self.specs[&name].endpoints.iter();
            let denied = denied.filter(|(_, e)| claims.contains(&Claim::Host(e.host.clone())));
            let limit = AccessLimit {
                denied: denied.map(|(endpoint, _)| endpoint.clone()).collect(),
                ..AccessLimit::default()
            };
            self.contest(&name, claims);
            self.hold(&name, errors);
            self.limit(&name, limit);
        }
    }

    /// Why an instance is held that claims what another has.
    fn lost(
        &self,
        name: &InstanceName,
        field: String,
        claim: &Claim,
        other: &InstanceName,
    ) -> Diagnostic {
        let message = match claim {
            Claim::Host(host) => {
                format!(
                    "the host name {host} belongs to the instance {other}, whose container has it"
                )
            }
            Claim::Volume(_) | Claim::Place => {
                format!("the engine would take it for a volume of the instance {other}")
            }
        };
        let path = self.paths.get(name).map_or(name.as_str(), String::as_str);
        Diagnostic {
            place: Place::start_of(path),
            severity: Severity::Error,
            field,
            message,
            help: Some(format!(
                "choose another name, or remove {other} first: this instance waits until no container of {other} has it"
            )),
        }
    }

    /// Two generations that run already may have one host name. The younger loses access and route.
    fn take_away(&mut self, observed: &Observed, owners: &Owners<'_>) {
        for (name, generations) in &observed.instances {
            if self.specs.contains_key(name) {
                continue;
            }
            let mut denied = BTreeSet::new();
            for generation in generations {
                if let Applied::Spec(spec) = &generation.applied {
                    let lost = spec.endpoints.iter().filter(|(_, endpoint)| {
                        let claim = Claim::Host(endpoint.host.clone());
                        owners.owner(&claim).is_some_and(|owner| owner != name)
                    });
                    denied.extend(lost.map(|(endpoint, _)| endpoint.clone()));
                }
            }
            if !denied.is_empty() {
                let limit = AccessLimit {
                    denied,
                    ..AccessLimit::default()
                };
                self.limit(name, limit);
            }
        }
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

/// Whether a generation of it was ever started.
fn has_generation(observed: &Observed, name: &InstanceName) -> bool {
    let mut generations = observed.instances.get(name).into_iter().flatten();
    generations.any(was_started)
}

/// What a spec claims for its instance alone, with the field that says so.
fn claims_of(spec: &Spec) -> impl Iterator<Item = (String, Claim)> {
    let hosts = spec.endpoints.iter().map(|(name, endpoint)| {
        let claim = Claim::Host(endpoint.host.clone());
        (format!("endpoints.{name}"), claim)
    });
    let volumes = spec.volumes.iter().enumerate();
    let volumes = volumes.filter_map(|(index, volume)| match &volume.source {
        VolumeSource::Name(own) => {
            let claim = Claim::Volume(volume_name(&spec.name, own));
            Some((format!("volumes[{index}].name"), claim))
        }
        VolumeSource::Host(_) => None,
    });
    hosts.chain(volumes)
}

/// The part of a volume's name on the engine that holds its instance's.
pub fn volume_name(instance: &InstanceName, volume: &str) -> String {
    format!("{instance}-vol-{volume}")
}

#[cfg(test)]
mod tests;
