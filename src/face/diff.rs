//! Unified diffs of specs, as YAML lines. A secret shows neither its value nor its hash.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use similar::TextDiff;

use super::style::{Label, paint};
use crate::decisions::change::Change;
use crate::words::spec::Spec;

/// What a reader of a new instance wants to see; the rest is the template's and the host's.
const TELLING: [&str; 14] = [
    "template",
    "owner",
    "state",
    "image",
    "entrypoint",
    "command",
    "env",
    "secrets",
    "screen",
    "resources",
    "endpoints",
    "volumes",
    "labels",
    "protect",
];

/// A unified diff of the fields that changed, between two named sides.
pub fn of_changes(changes: &[Change], old: &str, new: &str) -> String {
    let changes = without_prints(changes);
    let old_text = side(
        changes
            .iter()
            .filter_map(|(field, (old, _))| Some((field, old.as_ref()?))),
    );
    let new_text = side(
        changes
            .iter()
            .filter_map(|(field, (_, new))| Some((field, new.as_ref()?))),
    );
    unified(&old_text, &new_text, old, new)
}

/// A unified diff from nothing to a spec; `whole` shows every field, else the telling ones.
pub fn of_new(spec: &Spec, new: &str, whole: bool) -> String {
    let fields = shown(spec, whole);
    unified("", &yaml(&Value::Object(fields)), "/dev/null", new)
}

/// The fields of a spec that are worth showing, without secrets' hashes and what is empty.
pub fn shown(spec: &Spec, whole: bool) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(spec) else {
        return Map::new();
    };
    if let Some(Value::Object(secrets)) = fields.get_mut("secrets") {
        for secret in secrets.values_mut() {
            if let Some(map) = secret.as_object_mut() {
                map.remove("print");
            }
        }
    }
    fields.retain(|_, value| !is_empty(value));
    if !whole {
        fields.retain(|field, _| TELLING.contains(&field.as_str()));
    }
    fields
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

type Sides = (Option<Value>, Option<Value>);

/// The changes by field, with a secret's changed hash told as what it means.
fn without_prints(changes: &[Change]) -> BTreeMap<String, Sides> {
    let mut shown = BTreeMap::new();
    for change in changes {
        let (field, sides) = redacted(change);
        shown.entry(field).or_insert(sides);
    }
    shown
}

fn redacted(change: &Change) -> (String, Sides) {
    let sides = (change.old.clone(), change.new.clone());
    if change.field.split('.').next() != Some("secrets") {
        return (change.field.clone(), sides);
    }
    if let Some(at) = change.field.rfind(".print") {
        let told = |side: Option<Value>, what: &str| side.map(|_| Value::from(what));
        let sides = (told(sides.0, "(value)"), told(sides.1, "(changed)"));
        return (change.field[..at].to_owned(), sides);
    }
    let bare = |side: Option<Value>| {
        side.map(|mut value| {
            remove_prints(&mut value);
            value
        })
    };
    (change.field.clone(), (bare(sides.0), bare(sides.1)))
}

fn remove_prints(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.remove("print");
        map.values_mut().for_each(remove_prints);
    }
}

/// One side's fields as YAML, a dotted path each.
fn side<'c>(fields: impl Iterator<Item = (&'c String, &'c Value)>) -> String {
    let fields = fields.map(|(field, value)| (field.clone(), value.clone()));
    let fields: Map<String, Value> = fields.collect();
    if fields.is_empty() {
        String::new()
    } else {
        yaml(&Value::Object(fields))
    }
}

/// A value as YAML; strings of a spec cannot fail to be written.
pub fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

fn unified(old_text: &str, new_text: &str, old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old_text, new_text);
    let mut unified = diff.unified_diff();
    let text = unified.context_radius(3).header(old, new).to_string();
    let lines: Vec<String> = text.lines().map(painted).collect();
    lines.join("\n") + "\n"
}

fn painted(line: &str) -> String {
    match line.as_bytes().first() {
        _ if line.starts_with("+++") || line.starts_with("---") => {
            paint(Label::Subject, line).to_string()
        }
        Some(b'@') => paint(Label::Faint, line).to_string(),
        Some(b'+') => paint(Label::Added, line).to_string(),
        Some(b'-') => paint(Label::Removed, line).to_string(),
        _ => line.to_owned(),
    }
}
