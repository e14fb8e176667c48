//! Two specs compared, field by field, and what each difference does to a container.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::words::spec::Spec;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its path: `resources.memory`.
    pub field: String,
    /// What the generation was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What a difference does to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: the daemon alone uses the field.
    Nothing,
    /// It starts or stops; compared against what the engine says, not against the record.
    Lifecycle,
    /// A new generation takes over.
    Replace,
}

/// The fields that only the daemon uses, or only people read.
const DAEMON_ONLY: [&str; 8] = [
    "owner", "template", "protect", "pull", "replace", "tokens", "health", "name",
];

fn effect(field: &str) -> Effect {
    let (first, rest) = field.split_once('.').unwrap_or((field, ""));
    match first {
        "state" => Effect::Lifecycle,
        // Another place for the same value is the same container.
        "secrets" if rest.ends_with(".from") || rest.contains(".from.") => Effect::Nothing,
        // The path is for people and clients; no route has it.
        "endpoints" if rest.ends_with(".path") => Effect::Nothing,
        _ if DAEMON_ONLY.contains(&first) => Effect::Nothing,
        _ => Effect::Replace,
    }
}

/// The differences between what a generation was made from and what it shall be that make a new generation
/// necessary.
pub fn replacing(old: &Spec, new: &Spec) -> Vec<Change> {
    between(&comparable(old), &comparable(&with_known_prints(old, new)))
        .into_iter()
        .filter(|change| effect(&change.field) == Effect::Replace)
        .collect()
}

/// All differences of two specs.
pub fn all(old: &Spec, new: &Spec) -> Vec<Change> {
    between(&comparable(old), &comparable(new))
}

/// `new`, but a secret whose print cannot be compared counts as the one that is there: a print under
/// another key, or none, says nothing about the value.
fn with_known_prints(old: &Spec, new: &Spec) -> Spec {
    let mut new = new.clone();
    for (name, secret) in &mut new.secrets {
        let Some(was) = old.secrets.get(name).and_then(|s| s.print.as_ref()) else {
            continue;
        };
        if secret
            .print
            .as_ref()
            .is_none_or(|print| print.key != was.key)
        {
            secret.print = Some(was.clone());
        }
    }
    new
}

fn comparable(spec: &Spec) -> Value {
    serde_json::to_value(spec).expect("a spec has string keys and finite numbers only")
}

fn between(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(&mut String::new(), Some(old), Some(new), &mut changes);
    changes
}

/// Goes down mappings; lists and scalars are compared whole.
fn walk(field: &mut String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (old_map, new_map) = (
        old.and_then(Value::as_object),
        new.and_then(Value::as_object),
    );
    let descend = match (old_map, new_map) {
        (Some(_), Some(_)) => true,
        // A whole mapping came or went: told by its fields at the top, as one where it is an entry.
        (Some(map), None) | (None, Some(map)) => field.is_empty() && !map.is_empty(),
        (None, None) => false,
    };
    if !descend {
        changes.push(Change {
            field: field.clone(),
            old: old.cloned(),
            new: new.cloned(),
        });
        return;
    }
    let keys: std::collections::BTreeSet<&String> = old_map
        .into_iter()
        .chain(new_map)
        .flat_map(serde_json::Map::keys)
        .collect();
    for key in keys {
        let length = field.len();
        if length > 0 {
            field.push('.');
        }
        field.push_str(key);
        walk(
            field,
            old_map.and_then(|m| m.get(key)),
            new_map.and_then(|m| m.get(key)),
            changes,
        );
        field.truncate(length);
    }
}
