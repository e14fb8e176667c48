//! Limits: the access that a broken manifest still allows, read leniently and never used to allow more, and how many
//! instances there may be.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde_json::Value;

use crate::words::bounds;
use crate::words::config::Config;
use crate::words::desired::{AccessLimit, Desired, InstanceLimit, Snapshot, SourceFile};
use crate::words::diagnostic::{Diagnostic, Problem, Severity};
use crate::words::document::Document;
use crate::words::manifest::{Auth, Manifest, TokenPart};
use crate::words::name::{EndpointName, InstanceName};
use crate::words::spec::Spec;

use super::fleet::merge;
use super::{Fleet, across, parse, policy, template, without_nulls};

/// The limit of a manifest that is YAML, but does not resolve. Without its layers below (an unknown template, or a
/// `fleet.yaml` that cannot be used) only what the manifest itself says in whole counts.
pub(super) fn of_broken(document: &Document, fleet: Option<&Fleet>) -> AccessLimit {
    let Value::Object(top) = document.value() else {
        return AccessLimit::default();
    };
    let base = fleet.and_then(|fleet| {
        let reference = match top.get("template") {
            None => fleet
                .default_template
                .as_deref()
                .unwrap_or(template::DEFAULT),
            Some(reference) => reference.as_str()?,
        };
        fleet.base(reference).ok()
    });
    let is_whole = |key: &str| base.is_some() || key == "tokens" && top.contains_key(key);
    let mut merged = base.as_ref().map_or_else(
        || Value::Object(serde_json::Map::new()),
        |base| base.merged.clone(),
    );
    merge(&mut merged, document.value().clone());
    let merged = without_nulls(merged);
    AccessLimit {
        endpoints: is_whole("endpoints").then(|| endpoints(&merged["endpoints"])),
        tokens: is_whole("tokens").then(|| tokens(&merged["tokens"])),
        denied: BTreeSet::new(),
    }
}

/// Manifests beyond `policy.max_instances` that are resolved all the same, and once more as many as it allows: who of
/// them keeps a place, the engine decides.
const NEWCOMERS_MAX: usize = 100;

/// Refuses a source whose manifests would come to more than may be in memory at a time, before any is resolved.
pub(super) fn check_size(
    snapshot: &Snapshot,
    fleet: &Fleet,
    config: &Config,
) -> Result<(), Diagnostic> {
    let count = snapshot.manifests.len();
    let most = config.policy.max_instances;
    if let Some(first) = snapshot.manifests.get(2 * most + NEWCOMERS_MAX) {
        let message = format!("{count} manifests where {most} instances are allowed; none is read");
        let help = "remove manifests, or split the fleet over several sources; policy.max_instances in instanced.yaml sets the limit";
        return Err(Diagnostic::of_file(&first.path, message, Some(help)));
    }
    let unfolded = fleet.unfolded.saturating_mul(count);
    if let Some(file) = snapshot
        .fleet
        .as_ref()
        .filter(|_| unfolded > bounds::SOURCE_UNFOLDED_MAX)
    {
        let most = bounds::SOURCE_UNFOLDED_MAX;
        let message = format!(
            "{} bytes with its aliases unfolded, for each of {count} manifests, are more than the limit of {most} bytes",
            fleet.unfolded
        );
        let help = "write it with fewer aliases, or split the fleet over several sources";
        return Err(Diagnostic::of_file(&file.path, message, Some(help)));
    }
    Ok(())
}

/// The limit on instances with an error for each manifest, where there are too many of them.
pub(super) fn instances(
    desired: &Desired,
    files: &BTreeMap<InstanceName, &SourceFile>,
    config: &Config,
) -> Option<InstanceLimit> {
    let most = config.policy.max_instances;
    if desired.specs.len() <= most {
        return None;
    }
    let error = |file: &SourceFile| {
        Diagnostic::of_file(
            &file.path,
            across::too_many(config),
            Some(across::TOO_MANY_HELP),
        )
    };
    let too_many = files.iter().map(|(name, file)| (name.clone(), error(file)));
    Some(InstanceLimit {
        most,
        too_many: too_many.collect(),
    })
}

/// The limits on access of each manifest, where `fleet.yaml` cannot be used: nothing else is known of any instance.
pub fn access_limits(snapshot: &Snapshot) -> BTreeMap<InstanceName, AccessLimit> {
    let fleet = Fleet::read(snapshot.fleet.as_ref())
        .ok()
        .map(|(fleet, _)| fleet);
    let mut desired = Desired::default();
    for file in &snapshot.manifests {
        let (Ok(name), Ok(document)) = (file.stem.parse::<InstanceName>(), parse(file)) else {
            continue;
        };
        desired.limit(&name, of_broken(&document, fleet.as_ref()));
    }
    desired.access_limits
}

/// The endpoints of a spec, of a running generation say, that policy denies.
pub fn denied_endpoints(spec: &Spec, config: &Config) -> BTreeSet<EndpointName> {
    let allowed = policy::Allowed::by(config);
    denied(&policy::problems(
        spec,
        &Manifest::default(),
        config,
        &allowed,
    ))
}

/// Every endpoint by name. A guard that cannot be read limits nothing.
fn endpoints(value: &Value) -> BTreeMap<EndpointName, Option<Auth>> {
    let endpoints = value.as_object().into_iter().flatten();
    let read = endpoints.filter_map(|(name, part)| {
        let auth = match part.get("auth") {
            None => Some(Auth::default()),
            Some(auth) => serde_json::from_value(auth.clone()).ok(),
        };
        Some((name.parse().ok()?, auth))
    });
    read.collect()
}

/// The tokens that can be read. A line that cannot be read grants nothing.
fn tokens(value: &Value) -> Vec<TokenPart> {
    let tokens = value.as_array().into_iter().flatten();
    let read = tokens.filter_map(|token| serde_json::from_value(token.clone()).ok());
    read.collect()
}

/// The endpoints that these problems of policy are about.
pub(super) fn denied(problems: &[Problem]) -> BTreeSet<EndpointName> {
    let errors = problems.iter().filter(|p| p.severity == Severity::Error);
    let endpoints = errors.filter_map(|problem| match problem.path.as_slice() {
        [key, name, ..] if key == "endpoints" => name.parse().ok(),
        _ => None,
    });
    endpoints.collect()
}

/// Tokens that a manifest still grants, and that open nothing any more.
pub(super) fn expired(spec: &Spec, today: Date) -> Vec<Problem> {
    let over = |(index, token): (usize, &TokenPart)| {
        let expires = token.expires.filter(|day| *day <= today)?;
        let message = format!(
            "the token `{}` has opened nothing since {expires}",
            token.label
        );
        let problem = Problem::error(&["tokens", &index.to_string(), "expires"], message);
        Some(
            problem
                .as_warning()
                .with_help("remove it, or grant another one in its place"),
        )
    };
    spec.tokens.iter().enumerate().filter_map(over).collect()
}
