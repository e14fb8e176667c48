//! Two specs compared, field by field, and what each difference does to a container.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::words::observed::{Drift, Limits};
use crate::words::origin::{Origin, Origins};
use crate::words::route::Provider;
use crate::words::spec::Spec;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its path: `resources.memory`.
    pub field: String,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it shall be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Who changed it: which layer says the new value, or that somebody did outside.
    pub origin: Origin,
}

/// What a difference does to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: the daemon alone uses the field.
    Nothing,
    /// It starts or stops; compared against what the engine says, not against the record.
    Lifecycle,
    /// It changes in place; compared against what the engine says, not against the record.
    InPlace,
    /// Its route is written anew, where a file carries it; a label cannot change.
    Reroute,
    /// A new generation takes over.
    Replace,
}

/// The fields that only the daemon uses, or only people read.
const DAEMON_ONLY: [&str; 8] = [
    "owner", "template", "protect", "pull", "replace", "tokens", "health", "name",
];

fn effect(path: &[&str]) -> Effect {
    match path {
        ["state", ..] => Effect::Lifecycle,
        ["resources", "memory" | "cpus" | "pids"] | ["restart"] => Effect::InPlace,
        // Another place for the same value is the same container; an endpoint's path is for people and
        // clients, and no route has it.
        ["secrets", _, "from", ..] | ["endpoints", _, "path"] => Effect::Nothing,
        [first, ..] if DAEMON_ONLY.contains(first) => Effect::Nothing,
        // The other provider is other labels.
        ["edge", "provider"] => Effect::Replace,
        // What the container itself is told of its hosts is `allowed_hosts`.
        ["edge" | "endpoints", ..] => Effect::Reroute,
        _ => Effect::Replace,
    }
}

/// The differences between what a generation was made from and what it shall be that make a new generation
/// necessary.
pub fn replacing(old: &Spec, new: &Spec, origins: &Origins) -> Vec<Change> {
    let new = with_known_prints(old, new);
    let by_file = [old, &*new].map(|spec| spec.edge.provider) == [Provider::File; 2];
    between(old, &new, origins, &|path| match effect(path) {
        Effect::Replace => true,
        Effect::Reroute => !by_file,
        Effect::Nothing | Effect::Lifecycle | Effect::InPlace => false,
    })
}

/// The settings by which a generation runs and is served now: those desired, where they change nothing of its
/// container; else those that it was made from, as its replacement may still fail.
pub fn in_effect<'a>(record: &'a Spec, desired: Option<&'a Spec>) -> &'a Spec {
    desired
        .filter(|desired| replacing(record, desired, &Origins::default()).is_empty())
        .unwrap_or(record)
}

/// All differences of two specs.
pub fn all(old: &Spec, new: &Spec, origins: &Origins) -> Vec<Change> {
    between(old, new, origins, &|_| true)
}

/// Whether any of these changes a container while it runs.
pub fn is_in_place(changes: &[Change]) -> bool {
    changes.iter().any(|change| {
        let path: Vec<&str> = change.field.split('.').collect();
        effect(&path) == Effect::InPlace
    })
}

/// What was changed by hand, and goes back to what the record says.
pub fn drifted(drift: &[Drift]) -> Vec<Change> {
    let change = |drift: &Drift| Change {
        field: drift.field.clone(),
        old: drift.found.clone(),
        new: drift.recorded.clone(),
        origin: Origin::Outside,
    };
    drift.iter().map(change).collect()
}

/// Where the limits are other than the spec's. `made` is the spec that they were last made from: a limit
/// that it says, too, was changed by hand.
pub fn limits(found: &Limits, spec: &Spec, made: &Spec, origins: &Origins) -> Vec<Change> {
    type Field = (&'static str, fn(&Limits) -> Value);
    let wanted = Limits::of(spec);
    let made = Limits::of(made);
    let fields: [Field; 5] = [
        ("resources.memory", |limits| json!(limits.memory)),
        ("resources.memory_swap", |limits| json!(limits.memory_swap)),
        ("resources.cpus", |limits| json!(limits.cpus)),
        ("resources.pids", |limits| json!(limits.pids)),
        ("restart", |limits| json!(limits.restart)),
    ];
    let told = |value: Value| (!value.is_null()).then_some(value);
    let differ = fields
        .iter()
        .filter(|(_, get)| get(found) != get(&wanted))
        // Without swap the two are one limit, and told once.
        .filter(|(field, _)| {
            *field != "resources.memory_swap"
                || found.memory == wanted.memory && found.memory != found.memory_swap
        });
    differ
        .map(|(field, get)| {
            let by_hand = get(&made) == get(&wanted);
            Change {
                field: (*field).to_owned(),
                old: told(get(found)),
                new: told(get(&wanted)),
                origin: if by_hand {
                    Origin::Outside
                } else {
                    origins.of(field)
                },
            }
        })
        .collect()
}

/// `new`, but a secret whose print cannot be compared counts as the one that is there: a print under
/// another key, or none, says nothing about the value.
fn with_known_prints<'s>(old: &Spec, new: &'s Spec) -> Cow<'s, Spec> {
    let mut new = Cow::Borrowed(new);
    for (name, was) in &old.secrets {
        let Some(was) = &was.print else { continue };
        let print = new.secrets.get(name).map(|secret| secret.print.as_ref());
        if print.is_some_and(|print| print.is_none_or(|print| print.key != was.key)) {
            let secrets = &mut new.to_mut().secrets;
            secrets
                .entry(name.clone())
                .and_modify(|secret| secret.print = Some(was.clone()));
        }
    }
    new
}

/// A field of a spec, in the form in which fields are compared and told; `None` for nothing.
fn comparable(field: &impl Serialize) -> Option<Value> {
    let value = serde_json::to_value(field);
    let value = value.expect("a spec has string keys and finite numbers only");
    (!value.is_null()).then_some(value)
}

/// The fields in which two specs differ, by name. Of a big fleet, most differ in one or two.
fn differing(old: &Spec, new: &Spec) -> Vec<(&'static str, Option<Value>, Option<Value>)> {
    let mut differing = Vec::new();
    macro_rules! compare {
        ($($field:ident)*) => {
            // Names them all, so that none is forgotten.
            let Spec { $($field: _),* } = old;
            $(if old.$field != new.$field {
                let name = stringify!($field);
                differing.push((name, comparable(&old.$field), comparable(&new.$field)));
            })*
        };
    }
    // In the order in which changes are told.
    compare! {
        allowed_hosts command edge endpoints entrypoint env health image labels name network owner protect
        pull replace resources restart screen secrets security state template tokens volumes
    }
    differing
}

fn between(
    old: &Spec,
    new: &Spec,
    origins: &Origins,
    counts: &dyn Fn(&[&str]) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (field, old, new) in differing(old, new) {
        walk(&[field], old, new, counts, &mut changes);
    }
    for change in &mut changes {
        change.origin = origins.of(&change.field);
    }
    changes
}

/// Goes down mappings; lists and scalars are compared whole.
fn walk(
    path: &[&str],
    old: Option<Value>,
    new: Option<Value>,
    counts: &dyn Fn(&[&str]) -> bool,
    changes: &mut Vec<Change>,
) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Value::Object(mut old)), Some(Value::Object(mut new))) => {
            let keys: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
            for key in keys {
                let path = [path, &[key.as_str()]].concat();
                walk(&path, old.remove(&key), new.remove(&key), counts, changes);
            }
        }
        (old, new) => {
            if counts(path) {
                changes.push(Change {
                    field: path.join("."),
                    old,
                    new,
                    origin: Origin::Nobody,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_a_secrets_name_hides_no_change() {
        assert_eq!(
            effect(&["secrets", "x.from.y", "print", "hash"]),
            Effect::Replace
        );
        assert_eq!(effect(&["secrets", "x", "from", "file"]), Effect::Nothing);
    }

    #[test]
    fn every_field_that_the_container_has_replaces_it() {
        for field in ["image", "env", "volumes", "security", "network"] {
            assert_eq!(effect(&[field, "x"]), Effect::Replace, "{field}");
        }
        assert_eq!(effect(&["edge", "provider"]), Effect::Replace);
        assert_eq!(effect(&["allowed_hosts"]), Effect::Replace);
    }

    #[test]
    fn what_is_of_the_route_alone_reroutes() {
        for path in [
            &["edge", "middlewares"][..],
            &["edge", "tls"],
            &["edge", "auth_url"],
            &["endpoints", "mcp"],
            &["endpoints", "mcp", "port"],
            &["endpoints", "mcp", "auth"],
        ] {
            assert_eq!(effect(path), Effect::Reroute, "{path:?}");
        }
    }
}
