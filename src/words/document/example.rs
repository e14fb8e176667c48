//! A valid value of a field, out of its schema: what a person writes in place of one of the wrong type.

use serde_json::{Map, Value, json};

use super::Segment;
use super::suggest::{alternatives, nodes_at};
use super::yaml::{self, Loaded};

/// Levels of a schema that are looked into for an example, references among them.
const DEPTH_MAX: usize = 16;
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
            format!(
                "{}: {}",
                flow(&Value::String(key.to_owned())),
                flow(example)
            )
        }
    };
    match value {
        Some(Value::Number(_) | Value::Bool(_))
            if unfolded.iter().any(|node| is_any_text(node)) =>
        {
            let text = text().map_or_else(|| value.map(Value::to_string), |t| Some(t.to_owned()));
            return text.map(|text| format!("quote it: `{}`", quoted(&text)));
        }
        Some(Value::Array(items)) if unfolded.iter().any(|node| is_open_map(node)) => {
            if let Some((name, value)) = items
                .first()
                .and_then(Value::as_str)
                .and_then(|item| item.split_once('='))
            {
                let mapping = json!({ name: value });
                return Some(format!("write a mapping: `{}`", written(&mapping)));
            }
        }
        _ => {}
    }
    let examples = examples_at(schema, path);
    if examples.is_empty() {
        return None;
    }
    let shown: Vec<_> = examples
        .iter()
        .take(SHOWN)
        .map(|e| format!("`{}`", written(e)))
        .collect();
    Some(format!("such as {}", shown.join(" or ")))
}

/// Valid values of the field at `path`.
fn examples_at(schema: &Value, path: &[Segment]) -> Vec<Value> {
    if let Some((Segment::Index(_), list)) = path.split_last() {
        let lists = examples_at(schema, list).into_iter();
        let items: Vec<_> = lists.filter_map(|list| list.get(0).cloned()).collect();
        if !items.is_empty() {
            return items;
        }
    }
    let nodes = nodes_at(schema, path).into_iter();
    let mut found = nodes.map(|node| examples(schema, node, 0));
    found.find(|found| !found.is_empty()).unwrap_or_default()
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
    has_type(node, "string")
        && ["enum", "const", "pattern", "format"]
            .iter()
            .all(|key| node.get(key).is_none())
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
    // A default that is a mapping is long, and its parts are described.
    let default = node.get("default").filter(|default| match default {
        Value::Null | Value::Object(_) => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
    if let Some(default) = default {
        return vec![default.clone()];
    }
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    let below = |node: &Value| examples(root, node, depth + 1);
    let one = |node: &Value| below(node).into_iter().next();
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let target = target
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
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
    let required: Vec<_> = node
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut object = Map::new();
    for (key, of) in properties {
        let is_next = if required.is_empty() {
            object.is_empty()
        } else {
            required.contains(&key.as_str())
        };
        if is_next && let Some(value) = one(of) {
            object.insert(key.clone(), value);
        }
    }
    if object.is_empty() {
        Vec::new()
    } else {
        vec![Value::Object(object)]
    }
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
    let fine =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '@' | ':' | '-' | '+');
    text.chars().all(fine)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-'))
        && !text.ends_with(':')
        && matches!(yaml::load(text), Ok(Loaded { value: Value::String(read), .. }) if read == text)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::de::DeserializeOwned;

    use super::super::Document;
    use super::*;
    use crate::words::config::Config;
    use crate::words::manifest::{Manifest, TemplateHead};

    /// The examples of every field below `path`, with its path.
    fn walk(root: &Value, path: &mut Vec<Segment>, found: &mut Vec<(Vec<Segment>, Vec<Value>)>) {
        for node in alternatives(root, nodes_at(root, path)) {
            let named = node.get("properties").and_then(Value::as_object);
            let mut below: Vec<_> = named
                .into_iter()
                .flatten()
                .map(|(key, _)| Segment::Key(key.clone()))
                .collect();
            if node.get("items").is_some() {
                below.push(Segment::Index(0));
            }
            if is_open_map(node) {
                // A name that is valid here.
                let examples = examples_at(root, path);
                let map = examples
                    .first()
                    .and_then(Value::as_object)
                    .expect("an example of the map");
                below.extend(map.keys().map(|key| Segment::Key(key.clone())));
            }
            for segment in below {
                path.push(segment);
                found.push((path.clone(), examples_at(root, path)));
                walk(root, path, found);
                path.pop();
            }
        }
    }

    fn wrapped(path: &[Segment], example: &Value) -> Value {
        path.iter()
            .rev()
            .fold(example.clone(), |below, segment| match segment {
                Segment::Key(key) => json!({ key: below }),
                Segment::Index(_) => json!([below]),
            })
    }

    fn each_field_has_a_valid_example<T: DeserializeOwned + JsonSchema>(least: usize) {
        let schema = schemars::schema_for!(T);
        let validator = jsonschema::validator_for(schema.as_value()).expect("a schema");
        let mut found = Vec::new();
        walk(schema.as_value(), &mut Vec::new(), &mut found);
        assert!(found.len() >= least, "only {} fields", found.len());
        for (path, examples) in found {
            let field = super::super::dotted(&path);
            assert_ne!(examples, [] as [Value; 0], "{field} has no example");
            for example in examples.iter().take(SHOWN) {
                let wrapped = wrapped(&path, example);
                let text = flow(&wrapped);
                let document = Document::parse("x.yaml", &text).expect("YAML of our own");
                assert_eq!(document.value(), &wrapped, "{text}");
                let (_, told) = document.decode::<T>();
                let about: Vec<_> = told
                    .iter()
                    .filter(|found| found.field.starts_with(&field))
                    .collect();
                assert!(
                    about
                        .iter()
                        .all(|found| found.message.starts_with("missing field")),
                    "{text}: {about:?}"
                );
                let at: Vec<_> = path
                    .iter()
                    .map(|segment| match segment {
                        Segment::Key(key) => format!("/{}", key.replace('/', "~1")),
                        Segment::Index(index) => format!("/{index}"),
                    })
                    .collect();
                let at = at.concat();
                let errors = validator.iter_errors(&wrapped);
                let errors: Vec<_> = errors
                    .filter(|e| e.instance_path().to_string().starts_with(&at))
                    .map(|e| e.to_string())
                    .collect();
                assert!(
                    errors.iter().all(|e| e.contains("is a required property")),
                    "{text}: {errors:?}"
                );
            }
        }
    }

    #[test]
    fn every_field_has_an_example_that_is_valid() {
        each_field_has_a_valid_example::<Manifest>(60);
        each_field_has_a_valid_example::<TemplateHead>(2);
        each_field_has_a_valid_example::<Config>(60);
    }

    #[test]
    fn a_wrong_type_is_answered_with_a_valid_value() {
        let said = |text: &str| {
            let document = Document::parse("x.yaml", text).expect("YAML of our own");
            let (_, told) = document.decode::<Manifest>();
            told.iter()
                .map(|found| found.help.clone().unwrap_or_default())
                .collect::<Vec<_>>()
        };
        for (text, help) in [
            (
                "health: { expect: [200] }",
                "such as `expect: \"200\"` or `expect: 200-399`",
            ),
            (
                "health: { interval: [] }",
                "such as `interval: 30s` or `interval: 5m`",
            ),
            ("env: [A=1, B=2]", "write a mapping: `env: { A: \"1\" }`"),
            ("env: [A]", "such as `env: { LOG_LEVEL: debug }`"),
            ("env: { A: [] }", "such as `A: debug`"),
            ("command: [--port, 8080]", "quote it: `\"8080\"`"),
            ("command: [--mode, 0x1F]", "quote it: `\"0x1F\"`"),
            ("command: /bin/x", "such as `command: [--port, \"8080\"]`"),
            ("owner: 3.10", "quote it: `\"3.10\"`"),
            ("owner: [a]", "such as `owner: alice@example.com`"),
            ("image: 5", "such as `image: ghcr.io/acme/mcp-server:3`"),
            ("resources: 1GiB", "such as `resources: { memory: 1GiB }`"),
            (
                "protect: maybe",
                "such as `protect: true` or `protect: false`",
            ),
            ("entrypoint: [[]]", "such as `/usr/bin/server`"),
            (
                "volumes: [data]",
                "such as `{ name: profile, target: /home/mcp/profile }`",
            ),
            (
                "tokens: [{ label: ci }]",
                "such as `hash: blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef`",
            ),
        ] {
            assert_eq!(said(text), [help], "{text}");
        }
    }
}
