//! Unified diffs of specs, as YAML lines. A secret shows neither its value nor its hash.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use similar::TextDiff;

use super::style::{Label, paint};
use super::text::Lines;
use crate::decisions::beyond_template;
use crate::decisions::change::Change;
use crate::words::origin::Origin;
use crate::words::spec::Spec;

/// What a reader of a new instance wants to see in any case, in this order. What differs from its template is shown, too.
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

/// A unified diff of the fields that changed, between two named sides, each with who changed it. Field by
/// field: nothing is alike between two of them that a diff of the whole could hold on to.
pub fn of_changes(changes: &[Change], old: &str, new: &str) -> Lines {
    let fields = without_prints(changes);
    let sides = fields.iter().map(|(field, (old, new, origin))| {
        let (mut old, mut new) = (side(field, old.as_ref()), side(field, new.as_ref()));
        let told = if new.is_empty() { &mut old } else { &mut new };
        annotate(told, *origin);
        (old, new)
    });
    unified(sides, old, new)
}

/// Says behind the first line of a field who changed it.
fn annotate(text: &mut String, origin: Origin) {
    let end = text.find('\n').unwrap_or(text.len());
    // Within a block of text a comment would be a part of it.
    if !text[..end].ends_with(['|', '>']) {
        text.insert_str(end, &format!("  # {origin}"));
    }
}

/// A unified diff from nothing to a spec; `whole` shows every field, else the telling ones.
pub fn of_new(spec: &Spec, new: &str, whole: bool) -> Lines {
    let fields = shown(spec, whole);
    let place = |field: &str| TELLING.iter().position(|telling| *telling == field);
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_by_key(|(field, _)| place(field).unwrap_or(TELLING.len()));
    let sides = fields
        .into_iter()
        .map(|(field, value)| (String::new(), side(field, Some(value))));
    unified(sides, "/dev/null", new)
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
    if let Some(cpus) = fields.get_mut("resources").and_then(|r| r.get_mut("cpus")) {
        unquote(cpus);
    }
    let mut beyond = beyond_template::fields(spec);
    fields.retain(|field, value| {
        let is_telling = whole || TELLING.contains(&field.as_str());
        beyond.remove(field).is_some() || is_telling && !is_empty(value)
    });
    // What the template has, and this instance has not.
    fields.extend(beyond);
    fields
}

/// A number that a spec keeps as text, as people write it.
fn unquote(value: &mut Value) {
    let number = value
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    if let Some(number @ Value::Number(_)) = number {
        *value = number;
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

type Sides = (Option<Value>, Option<Value>, Origin);

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
    let origin = change.origin;
    let mut sides = (change.old.clone(), change.new.clone(), origin);
    if change.field == "resources.cpus" {
        sides.0.iter_mut().chain(&mut sides.1).for_each(unquote);
    }
    if change.field.split('.').next() != Some("secrets") {
        return (change.field.clone(), sides);
    }
    if let Some(at) = change.field.rfind(".print") {
        let told = |side: Option<Value>, what: &str| side.map(|_| Value::from(what));
        let sides = (told(sides.0, "(value)"), told(sides.1, "(changed)"), origin);
        return (change.field[..at].to_owned(), sides);
    }
    let bare = |side: Option<Value>| {
        side.map(|mut value| {
            remove_prints(&mut value);
            value
        })
    };
    (change.field.clone(), (bare(sides.0), bare(sides.1), origin))
}

fn remove_prints(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.remove("print");
        map.values_mut().for_each(remove_prints);
    }
}

/// One side of a field as YAML, under its dotted path; nothing where it has none.
fn side(field: &str, value: Option<&Value>) -> String {
    value.map_or_else(String::new, |value| {
        yaml(&Value::Object(Map::from_iter([(
            field.to_owned(),
            value.clone(),
        )])))
    })
}

/// A value as YAML; strings of a spec cannot fail to be written.
pub fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// One hunk of all these pairs of texts, one below the other.
fn unified(texts: impl Iterator<Item = (String, String)>, old: &str, new: &str) -> Lines {
    let (mut lines, mut old_lines, mut new_lines) = (Lines::new(), 0, 0);
    for (old_text, new_text) in texts {
        for change in TextDiff::from_lines(&old_text, &new_text).iter_all_changes() {
            old_lines += usize::from(change.old_index().is_some());
            new_lines += usize::from(change.new_index().is_some());
            let line = format!("{}{}", change.tag(), change.value().trim_end_matches('\n'));
            lines.line(painted(&line));
        }
    }
    let range = |lines: usize| format!("{},{lines}", usize::from(lines > 0));
    let mut drawn = Lines::new();
    drawn.line(paint(Label::Subject, format!("--- {old}")));
    drawn.line(paint(Label::Subject, format!("+++ {new}")));
    let place = format!("@@ -{} +{} @@", range(old_lines), range(new_lines));
    drawn.line(paint(Label::Faint, place));
    drawn += lines;
    drawn
}

fn painted(line: &str) -> String {
    match line.as_bytes().first() {
        Some(b'+') => paint(Label::Added, line).to_string(),
        Some(b'-') => paint(Label::Removed, line).to_string(),
        _ => line.to_owned(),
    }
}
