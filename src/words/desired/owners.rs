//! Who has a host name or a volume: the instance with a started generation that was made with it, whatever its
//! manifest says now, and whether there is one.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Generation, Observed, Phase};
use crate::words::spec::{Spec, VolumeSource};

use super::{Claim, volume_name};

/// Since when an instance has something: the least has it. Without a time it comes after those with one.
type Since<'o> = (bool, Option<Timestamp>, &'o InstanceName);

/// What started generations have.
///
/// A host counts by its first label, `<endpoint>-<name>`: routers and verdicts are named by it, also where the domain
/// has changed.
#[derive(Debug, Default)]
pub struct Owners<'o> {
    hosts: HashMap<&'o str, Since<'o>>,
    volumes: HashMap<String, Since<'o>>,
    /// Instances of which it is not known what they have.
    unknown: Vec<&'o InstanceName>,
}

impl<'o> Owners<'o> {
    /// Where several have one thing, the one that was started first has it, else the first by name.
    pub fn of(observed: &'o Observed) -> Self {
        let mut owners = Self {
            unknown: observed.unobserved.keys().collect(),
            ..Self::default()
        };
        for (name, generations) in &observed.instances {
            for generation in generations.iter().filter(|g| was_started(g)) {
                let since = (generation.started.is_none(), generation.started, name);
                match &generation.applied {
                    Applied::Spec(spec) => owners.add(spec, since),
                    Applied::Newer(_) | Applied::Unreadable(_) => owners.unknown.push(name),
                }
            }
        }
        owners
    }

    fn add(&mut self, spec: &'o Spec, since: Since<'o>) {
        let earlier = |known: &mut Since<'o>| *known = since.min(*known);
        for endpoint in spec.endpoints.values() {
            let entry = self.hosts.entry(first_label(endpoint.host.as_str()));
            entry.and_modify(earlier).or_insert(since);
        }
        for volume in &spec.volumes {
            if let VolumeSource::Name(own) = &volume.source {
                let entry = self.volumes.entry(volume_name(&spec.name, own));
                entry.and_modify(earlier).or_insert(since);
            }
        }
    }

    /// The instance that has it, as far as that is known.
    pub fn owner(&self, claim: &Claim) -> Option<&'o InstanceName> {
        let since = match claim {
            Claim::Host(host) => self.hosts.get(first_label(host.as_str())),
            Claim::Volume(volume) => self.volumes.get(volume),
            Claim::Place => None,
        };
        since.map(|(.., name)| *name)
    }

    /// Another instance than `name` that has it, or may have it.
    pub fn other(&self, claim: &Claim, name: &InstanceName) -> Option<&'o InstanceName> {
        match self.owner(claim) {
            Some(owner) => (owner != name).then_some(owner),
            None if self.unknown.contains(&name) => None,
            None => {
                let mut unknown = self.unknown.iter();
                unknown.find(|other| may_have(other, claim)).copied()
            }
        }
    }

    /// Every first label of a host with the instance that has it.
    pub fn hosts(&self) -> BTreeMap<String, InstanceName> {
        let hosts = self.hosts.iter();
        hosts
            .map(|(label, (.., name))| ((*label).to_owned(), (*name).clone()))
            .collect()
    }

    /// Whether it is not known what an instance has.
    pub fn is_unknown(&self, name: &InstanceName) -> bool {
        self.unknown.contains(&name)
    }
}

/// Whether a generation was ever started. What it does just now does not count: an instance that restarts loses
/// nothing.
pub fn was_started(generation: &Generation) -> bool {
    generation.phase != Phase::Created
}

/// The label of a host that names endpoint and instance.
pub fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

fn may_have(name: &InstanceName, claim: &Claim) -> bool {
    match claim {
        Claim::Host(host) => {
            let endpoint = first_label(host.as_str()).strip_suffix(name.as_str());
            endpoint.is_some_and(|endpoint| endpoint.ends_with('-'))
        }
        Claim::Volume(volume) => volume.starts_with(&volume_name(name, "")),
        Claim::Place => false,
    }
}
