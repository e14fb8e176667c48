//! What is wrong between instances, though each is right by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::words::config::Config;
use crate::words::diagnostic::Problem;
use crate::words::name::{HostName, InstanceName};
use crate::words::spec::Spec;

/// Problems by instance. Both sides of a conflict have one: neither was there first.
pub(super) fn problems(
    specs: &BTreeMap<InstanceName, Arc<Spec>>,
    config: &Config,
) -> Vec<(InstanceName, Problem)> {
    let mut problems = Vec::new();
    let mut hosts: BTreeMap<&HostName, Vec<(&InstanceName, &str)>> = BTreeMap::new();
    for (name, spec) in specs {
        for (endpoint, route) in &spec.endpoints {
            hosts
                .entry(&route.host)
                .or_default()
                .push((name, endpoint.as_str()));
        }
    }
    for (host, users) in hosts.iter().filter(|(_, users)| users.len() > 1) {
        for (name, endpoint) in users {
            let others: Vec<_> = users
                .iter()
                .filter(|(n, _)| n != name)
                .map(|(n, e)| format!("{e} of {n}"))
                .collect();
            let message = format!(
                "the host name {host} is also that of {}",
                others.join(" and ")
            );
            let problem = Problem::error(&["endpoints", endpoint], message)
                .with_help("rename the endpoint or the instance");
            problems.push(((*name).clone(), problem));
        }
    }
    // Those that come last by name are over the limit: adding one never takes away an earlier one's place
    // unless it sorts before, and what runs already is only held.
    for name in specs.keys().skip(config.policy.max_instances) {
        let message = format!("more than {} instances", config.policy.max_instances);
        let problem = Problem::error(&[], message)
            .with_help("policy.max_instances in instanced.yaml sets the limit");
        problems.push((name.clone(), problem));
    }
    problems
}
