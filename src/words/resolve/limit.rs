//! The access that a broken manifest still allows: read leniently, and never used to allow more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::words::desired::AccessLimit;
use crate::words::diagnostic::{Problem, Severity};
use crate::words::document::Document;
use crate::words::manifest::{Auth, TokenPart};
use crate::words::name::EndpointName;

use super::{Fleet, merge, template, without_nulls};

/// The limit of a manifest that is YAML, but does not resolve. Without its layers below (an unknown template, or a
/// `fleet.yaml` that cannot be used) only what the manifest itself says in whole counts.
pub(super) fn of_broken(document: &Document, fleet: Option<&Fleet>) -> AccessLimit {
    let Value::Object(top) = document.value() else {
        return AccessLimit::default();
    };
    let base = fleet.and_then(|fleet| {
        let reference = match top.get("template") {
            None => fleet.default_template.as_deref().unwrap_or(template::DEFAULT),
            Some(reference) => reference.as_str()?,
        };
        fleet.base(reference).ok()
    });
    let is_whole = |key: &str| base.is_some() || key == "tokens" && top.contains_key(key);
    let mut merged = base
        .as_ref()
        .map_or_else(|| Value::Object(serde_json::Map::new()), |base| base.merged.clone());
    merge(&mut merged, document.value().clone());
    let merged = without_nulls(merged);
    AccessLimit {
        endpoints: is_whole("endpoints").then(|| endpoints(&merged["endpoints"])),
        tokens: is_whole("tokens").then(|| tokens(&merged["tokens"])),
        denied: BTreeSet::new(),
    }
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
