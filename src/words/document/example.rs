//! A valid value of a field, out of its schema: what a person writes in place of one of the wrong type.

use serde_json::{Map, Value, json};

use super::Segment;
use super::suggest::{alternatives, nodes_at};
use super::yaml;

/// Levels of mappings within an example.
const DEPTH_MAX: usize = 4;
/// So many examples of one field are shown.
const SHOWN: usize = 2;

/// The help for the field at `path`, whose value does not fit; `text` is the value as the file has it.
pub(super) fn help<'t>(
    schema: &Value,
    path: &[Segment],
    value: Option<&Value>,
    text: impl Fn() -> Option<&'t str>,
) -> Option<String> {
    let nodes = nodes_at(schema, path);
    let unfolded = alternatives(schema, nodes.clone());
    let key = path.iter().rev().find_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    })?;
    let is_item = matches!(path.last(), Some(Segment::Index(_)));
    let written = |example: &Value| {
        if is_item {
            flow(example)
        } else {
            format!("{}: {}", flow(&Value::String(key.to_owned())), flow(example))
        }
    };
    match value {
        Some(Value::Number(_) | Value::Bool(_)) if unfolded.iter().any(|node| is_any_text(node)) => {
            let text = text().map_or_else(|| value.map(Value::to_string), |t| Some(t.to_owned()));
            return text.map(|text| format!("quote it: `{}`", quoted(&text)));
        }
        Some(Value::Array(items)) if unfolded.iter().any(|node| is_open_map(node)) => {
            if let Some((name, value)) = items.first().and_then(Value::as_str).and_then(|item| item.split_once('=')) {
                let mapping = json!({ name: value });
                return Some(format!("write a mapping: `{}`", written(&mapping)));
            }
        }
        _ => {}
    }
    let examples = nodes.iter().map(|node| examples(schema, node, 0));
    let examples = examples.into_iter().find(|found| !found.is_empty())?;
    let shown: Vec<_> = examples.iter().take(SHOWN).map(|e| format!("`{}`", written(e))).collect();
    Some(format!("such as {}", shown.join(" or ")))
}

fn has_type(node: &Value, name: &str) -> bool {
    match node.get("type") {
        Some(Value::String(is)) => is == name,
        Some(Value::Array(any)) => any.iter().any(|is| is == name),
        _ => false,
    }
}

/// Whether the schema takes any text.
fn is_any_text(node: &Value) -> bool {
    has_type(node, "string") && ["enum", "const", "pattern", "format"].iter().all(|key| node.get(key).is_none())
}

/// Whether the schema takes a mapping with names of the person's own.
fn is_open_map(node: &Value) -> bool {
    has_type(node, "object") && node.get("properties").is_none()
}

/// Valid values, by the schema: those that it names, or one that is made of those of its parts.
pub(super) fn examples(root: &Value, node: &Value, depth: usize) -> Vec<Value> {
    if let Some(Value::Array(named)) = node.get("examples") {
        return named.clone();
    }
    if let Some(only) = node.get("const") {
        return vec![only.clone()];
    }
    if let Some(Value::Array(any)) = node.get("enum") {
        return any.clone();
    }
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    let below = |node: &Value| examples(root, node, depth + 1);
    let one = |node: &Value| below(node).into_iter().next();
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map(below).unwrap_or_default();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(any)) = node.get(key) {
            let found: Vec<_> = any.iter().flat_map(below).collect();
            if !found.is_empty() {
                return found;
            }
        }
    }
    if has_type(node, "boolean") {
        return vec![json!(true), json!(false)];
    }
    if has_type(node, "integer") {
        let least = node.get("minimum").and_then(Value::as_u64).unwrap_or(0);
        return vec![json!(least.max(1))];
    }
    if has_type(node, "array") {
        let item = node.get("items").and_then(one);
        return item.map(|item| json!([item])).into_iter().collect();
    }
    let Some(Value::Object(properties)) = node.get("properties") else {
        return Vec::new();
    };
    let required: Vec<_> = node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut object = Map::new();
    for (key, of) in properties {
        let is_next = if required.is_empty() { object.is_empty() } else { required.contains(&key.as_str()) };
        if is_next && let Some(value) = one(of) {
            object.insert(key.clone(), value);
        }
    }
    if object.is_empty() { Vec::new() } else { vec![Value::Object(object)] }
}

/// A value as YAML on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{}: {}", flow(&Value::String(key.clone())), flow(value))
            };
            let pairs: Vec<_> = map.iter().map(pair).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        plain => plain.to_string(),
    }
}

/// JSON's quotes are YAML's.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Whether a text needs no quotes, not even within brackets.
fn is_plain(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '@' | ':' | '-' | '+');
    text.chars().all(fine)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && matches!(yaml::load(text), Ok((Value::String(read), _)) if read == text)
}
