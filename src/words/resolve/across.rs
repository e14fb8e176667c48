//! What is wrong between instances, though each is right by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::words::config::Config;
use crate::words::desired::Claim;
use crate::words::diagnostic::Problem;
use crate::words::name::{HostName, InstanceName};
use crate::words::spec::{Spec, VolumeSource};
use crate::words::token::TokenHash;

/// How many others are named.
const NAMED_MAX: usize = 3;

/// The help of a manifest that is one too many.
pub(super) const TOO_MANY_HELP: &str = "policy.max_instances in instanced.yaml sets the limit";

type Specs = BTreeMap<InstanceName, Arc<Spec>>;
/// Problems by instance, each with what of the instance's is claimed by others.
type Told = BTreeMap<InstanceName, Vec<(Problem, Option<Claim>)>>;
/// Instances that have the same, each with its items of it: indexes of a list.
type Sharers<'s> = BTreeMap<&'s InstanceName, Vec<usize>>;

/// Problems by instance. Both sides of a conflict have one, with what they claim: files alone do not say who was
/// there first, [`Desired::admit_incumbents`](crate::words::desired::Desired::admit_incumbents) does.
pub(super) fn problems(specs: &Specs, config: &Config) -> Told {
    let mut told = Told::new();
    hosts(specs, &mut told);
    host_paths(specs, &mut told);
    tokens(specs, &mut told);
    // Those that come last by name are over the limit: adding one never takes away an earlier one's place
    // unless it sorts before, and what runs already is only held.
    for name in specs.keys().skip(config.policy.max_instances) {
        let message = too_many(config);
        let problem = Problem::error(&[], message).with_help(TOO_MANY_HELP);
        tell(&mut told, name, problem, Some(Claim::Place));
    }
    told
}

fn tell(told: &mut Told, name: &InstanceName, problem: Problem, claim: Option<Claim>) {
    let known = told.entry(name.clone()).or_default();
    known.push((problem, claim));
}

/// The error of a manifest that is one too many.
pub(super) fn too_many(config: &Config) -> String {
    format!("more than {} instances", config.policy.max_instances)
}

/// `x of a, x of b and 5 more`, of so many. No more are made than are named: each of many sharers names the others.
fn listed(others: impl Iterator<Item = String>, count: usize) -> String {
    let named: Vec<_> = others.take(NAMED_MAX).collect();
    match count.saturating_sub(named.len()) {
        0 => match named.split_last() {
            Some((last, before)) if !before.is_empty() => {
                format!("{} and {last}", before.join(", "))
            }
            _ => named.concat(),
        },
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn hosts(specs: &Specs, told: &mut Told) {
    let mut hosts: BTreeMap<&HostName, Vec<(&InstanceName, &str)>> = BTreeMap::new();
    for (name, spec) in specs {
        for (endpoint, route) in &spec.endpoints {
            let users = hosts.entry(&route.host).or_default();
            users.push((name, endpoint.as_str()));
        }
    }
    for (host, users) in hosts.iter().filter(|(_, users)| users.len() > 1) {
        for (name, endpoint) in users {
            // An instance has no two endpoints of one name, so no two with one host name.
            let others = users.iter().filter(|(n, _)| n != name);
            let others = listed(others.map(|(n, e)| format!("{e} of {n}")), users.len() - 1);
            let message = format!("the host name {host} is also that of {others}");
            let problem = Problem::error(&["endpoints", endpoint], message)
                .with_help("rename the endpoint or the instance");
            let claim = Claim::Host((*host).clone());
            tell(told, name, problem, Some(claim));
        }
    }
}

/// Directories of the host that several instances write to. A warning: a shared directory of downloads is what
/// somebody may want, a browser's profile that two write to is lost, and only a person knows which it is.
fn host_paths(specs: &Specs, told: &mut Told) {
    let mut writers: BTreeMap<String, Sharers<'_>> = BTreeMap::new();
    for (name, spec) in specs {
        for (index, volume) in spec.volumes.iter().enumerate() {
            if let VolumeSource::Host(path) = &volume.source
                && !volume.read_only
            {
                let writers = writers.entry(path.clone()).or_default();
                writers.entry(name).or_default().push(index);
            }
        }
    }
    for (path, users) in &writers {
        let within = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let below = writers
            .range(within.clone()..)
            .filter(|(other, _)| *other != path);
        let below = below.take_while(|(other, _)| other.starts_with(&within));
        let above = Path::new(path).ancestors().skip(1);
        let above = above.filter_map(|dir| writers.get_key_value(dir.to_str()?));
        let related = above.chain(below.take(NAMED_MAX + 1));
        let related: Vec<_> = std::iter::once((path, users)).chain(related).collect();
        for (name, indexes) in users {
            let others = related.iter().flat_map(|(path, users)| {
                let others = users.keys().filter(|other| *other != name);
                others.map(move |other| format!("{other} ({path})"))
            });
            let of = |users: &Sharers<'_>| users.len() - usize::from(users.contains_key(name));
            let count = related.iter().map(|(_, users)| of(users)).sum();
            let named = listed(others, count);
            if named.is_empty() {
                continue;
            }
            let message = format!("`{path}` is also written to by {named}");
            for index in indexes {
                let at = ["volumes", &index.to_string(), "host"];
                let problem = Problem::error(&at, message.as_str()).as_warning().with_help(
                    "two browsers on one profile destroy it: give each a directory of its own, or `read_only: true`",
                );
                tell(told, name, problem, None);
            }
        }
    }
}

/// A token opens one instance. One hash in two manifests is mostly a copied line. Each manifest has one warning for a
/// hash, at the first token that has it.
fn tokens(specs: &Specs, told: &mut Told) {
    let mut hashes: BTreeMap<TokenHash, Sharers<'_>> = BTreeMap::new();
    for (name, spec) in specs {
        for (index, token) in spec.tokens.iter().enumerate() {
            let sharers = hashes.entry(token.hash).or_default();
            sharers.entry(name).or_default().push(index);
        }
    }
    for sharers in hashes.values() {
        for (name, indexes) in sharers {
            let Some((first, again)) = indexes.split_first() else {
                continue;
            };
            let count = again.len() + sharers.len() - 1;
            if count == 0 {
                continue;
            }
            let here = again.iter().map(|index| format!("tokens[{index}] here"));
            let others = sharers.keys().filter(|other| *other != name);
            let others = listed(here.chain(others.map(ToString::to_string)), count);
            let message = format!("the same token as {others}");
            let problem = Problem::error(&["tokens", &first.to_string(), "hash"], message)
                .as_warning()
                .with_help(
                    "who has it opens all of them, and losing it loses all: grant each its own",
                );
            tell(told, name, problem, None);
        }
    }
}
