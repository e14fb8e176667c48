//! A snapshot of the fleet: what a dry run must know of engine and store where it can reach neither. Taken on the
//! host, read in CI.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::act::Act;
use super::desired::Desired;
use super::name::{InstanceName, ManagerName};
use super::observed::{Applied, Observed};
use super::overrides::Overrides;
use super::secret::{SecretName, SecretSource, SecretSpec};

/// The form of snapshot that this version writes and reads.
pub const FORMAT: u32 = 1;

/// What stood on the engine and in the store at one moment. No secret's value is in it, only keyed hashes.
///
/// A new field, here or below, needs `#[serde(default)]` with the value that stood for its absence, or another format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetSnapshot {
    /// The form of this record.
    pub format: u32,
    /// The version of instanced that wrote it.
    pub version: String,
    /// When it was taken; a plan made from it is a plan of that moment.
    pub taken: jiff::Timestamp,
    /// Whose fleet it is.
    pub manager: ManagerName,
    /// Names what the host's configuration says of instances and plans.
    pub rules: String,
    /// What could not be recorded.
    pub notes: Vec<String>,
    /// What the engine said.
    pub observed: Observed,
    /// What the store said.
    pub remembered: Remembered,
    /// The secrets of what was desired on the host, as they were read there.
    pub secrets: BTreeMap<InstanceName, BTreeMap<SecretName, SecretSpec>>,
    /// Instances with a secret that could not be read on the host; why.
    pub secrets_unreadable: BTreeMap<InstanceName, String>,
}

/// What the store knows that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// What operators said, and what was frozen.
    pub overrides: BTreeMap<InstanceName, Overrides>,
    /// What was done lately, oldest first.
    pub acts: BTreeMap<InstanceName, Vec<Act>>,
    /// Removals of the last ten minutes.
    pub removals: Vec<(InstanceName, jiff::Timestamp)>,
    /// Instances whose last manifest said `protect: true`.
    pub protected: BTreeSet<InstanceName>,
    /// Instances whose last manifest did not.
    pub released: BTreeSet<InstanceName>,
}

impl FleetSnapshot {
    /// What a look would have observed that desires this: an observation holds the images that were asked for.
    pub fn observed_for(&self, desired: &Desired) -> Observed {
        let mut observed = self.observed.clone();
        let wanted: BTreeSet<&str> = desired.specs.values().map(|s| s.image.as_str()).collect();
        observed
            .images
            .retain(|reference, _| wanted.contains(reference.as_str()));
        observed
    }

    /// Notes in `desired` what its secrets were on the host, and returns whose could not be read there. A secret
    /// that comes from another place than the host knew stays without a print, and counts as unchanged.
    pub fn seal(&self, desired: &mut Desired) -> BTreeMap<InstanceName, String> {
        let mut unreadable = BTreeMap::new();
        for (name, spec) in &mut desired.specs {
            let Some(known) = self.secrets.get(name).filter(|_| !spec.secrets.is_empty()) else {
                continue;
            };
            let mut unread = false;
            for (secret, wanted) in &mut std::sync::Arc::make_mut(spec).secrets {
                if let Some(known) = known.get(secret).filter(|known| known.from == wanted.from) {
                    wanted.print.clone_from(&known.print);
                    unread |= known.print.is_none() && known.from != SecretSource::Generated;
                }
            }
            if let Some(why) = self.secrets_unreadable.get(name).filter(|_| unread) {
                unreadable.insert(name.clone(), why.clone());
            }
        }
        unreadable
    }
}

/// Instances with a secret that cannot be told from the one that its container has: none is known of it, or only
/// one under another key. It counts as unchanged.
pub fn uncompared<'a>(desired: &'a Desired, observed: &Observed) -> Vec<&'a InstanceName> {
    let specs = desired.specs.iter();
    let blind = specs.filter(|(name, spec)| {
        let newest = observed.instances.get(*name).and_then(|all| all.last());
        let Some(Applied::Spec(made)) = newest.map(|generation| &generation.applied) else {
            return false;
        };
        // The value of a generated one is nothing that a manifest says.
        let said = spec
            .secrets
            .iter()
            .filter(|(_, s)| s.from != SecretSource::Generated);
        said.into_iter().any(|(secret, wanted)| {
            let was = made
                .secrets
                .get(secret)
                .and_then(|made| made.print.as_ref());
            let now = wanted.print.as_ref();
            was.is_some_and(|was| now.is_none_or(|now| now.key != was.key))
        })
    });
    blind.map(|(name, _)| name).collect()
}
