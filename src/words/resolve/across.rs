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
type Told = Vec<(InstanceName, Problem, Option<Claim>)>;

/// Problems by instance. Both sides of a conflict have one, with what they claim: files alone do not say who was
/// there first, [`Desired::admit_incumbents`](crate::words::desired::Desired::admit_incumbents) does.
pub(super) fn problems(specs: &Specs, config: &Config) -> Told {
    let mut told = Vec::new();
    hosts(specs, &mut told);
    host_paths(specs, &mut told);
    tokens(specs, &mut told);
    // Those that come last by name are over the limit: adding one never takes away an earlier one's place
    // unless it sorts before, and what runs already is only held.
    for name in specs.keys().skip(config.policy.max_instances) {
        let message = too_many(config);
        let problem = Problem::error(&[], message).with_help(TOO_MANY_HELP);
        told.push((name.clone(), problem, Some(Claim::Place)));
    }
    told
}

/// The error of a manifest that is one too many.
pub(super) fn too_many(config: &Config) -> String {
    format!("more than {} instances", config.policy.max_instances)
}

/// `x of a, x of b and 5 more`
fn listed(others: impl Iterator<Item = String>) -> String {
    let mut others = others.peekable();
    let named: Vec<_> = others.by_ref().take(NAMED_MAX).collect();
    match others.count() {
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
            let others = users.iter().filter(|(n, _)| n != name);
            let others = listed(others.map(|(n, e)| format!("{e} of {n}")));
            let message = format!("the host name {host} is also that of {others}");
            let problem = Problem::error(&["endpoints", endpoint], message)
                .with_help("rename the endpoint or the instance");
            let claim = Claim::Host((*host).clone());
            told.push(((*name).clone(), problem, Some(claim)));
        }
    }
}

/// Directories of the host that several instances write to. A warning: a shared directory of downloads is what
/// somebody may want, a browser's profile that two write to is lost, and only a person knows which it is.
fn host_paths(specs: &Specs, told: &mut Told) {
    let mut writers: BTreeMap<String, Vec<(&InstanceName, usize)>> = BTreeMap::new();
    for (name, spec) in specs {
        for (index, volume) in spec.volumes.iter().enumerate() {
            if let VolumeSource::Host(path) = &volume.source
                && !volume.read_only
            {
                writers.entry(path.clone()).or_default().push((name, index));
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
        let related: Vec<_> = above.chain(below.take(NAMED_MAX + 1)).collect();
        for (name, index) in users {
            let same = users.iter().map(|(other, _)| (other, path));
            let related = related
                .iter()
                .flat_map(|(path, users)| users.iter().map(move |(other, _)| (other, *path)));
            let mut others = same.chain(related).filter(|(other, _)| other != &name);
            let named = listed(
                others
                    .by_ref()
                    .map(|(other, path)| format!("{other} ({path})")),
            );
            if named.is_empty() {
                continue;
            }
            let message = format!("`{path}` is also written to by {named}");
            let at = ["volumes", &index.to_string(), "host"];
            let problem = Problem::error(&at, message).as_warning().with_help(
                "two browsers on one profile destroy it: give each a directory of its own, or `read_only: true`",
            );
            told.push(((*name).clone(), problem, None));
        }
    }
}

/// A token opens one instance. One hash in two manifests is mostly a copied line.
fn tokens(specs: &Specs, told: &mut Told) {
    let mut hashes: BTreeMap<TokenHash, Vec<(&InstanceName, usize)>> = BTreeMap::new();
    for (name, spec) in specs {
        for (index, token) in spec.tokens.iter().enumerate() {
            hashes.entry(token.hash).or_default().push((name, index));
        }
    }
    for users in hashes.values().filter(|users| users.len() > 1) {
        for (name, index) in users {
            let others = users.iter().filter(|user| *user != &(*name, *index));
            let others = listed(others.map(|(other, index)| {
                if other == name {
                    format!("tokens[{index}] here")
                } else {
                    format!("{other}")
                }
            }));
            let message = format!("the same token as {others}");
            let problem = Problem::error(&["tokens", &index.to_string(), "hash"], message)
                .as_warning()
                .with_help(
                    "who has it opens all of them, and losing it loses all: grant each its own",
                );
            told.push(((*name).clone(), problem, None));
        }
    }
}
