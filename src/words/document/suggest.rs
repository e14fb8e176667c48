//! Words for a person out of decoder errors: what was expected, the nearest known key.

use serde_json::Value;

use super::Segment;

/// Nobody means a longer name by another one. Comparing two takes time and memory by the product of their lengths.
const COMPARED_MAX: usize = 100;

/// Names as decoders give them, and as people say them.
const PLAIN_WORDS: [(&str, &str); 13] = [
    ("expected u8", "expected a whole number from 0 to 255"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number"),
    ("expected u64", "expected a whole number"),
    (
        "expected a nonzero u16",
        "expected a whole number from 1 to 65535",
    ),
    ("expected a nonzero u32", "expected a whole number above 0"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a mapping"),
    ("expected a boolean", "expected true or false"),
    ("invalid type: ", "found "),
    ("invalid value: ", "found "),
    ("found sequence", "found a list"),
    ("found map", "found a mapping"),
];

/// Keys of a service in a Compose file, and where a manifest has the same; with a value where it is not the same one.
const OF_COMPOSE: [(&str, &str); 16] = [
    ("environment", "env"),
    ("healthcheck", "health"),
    ("ports", "endpoints: { mcp: { port: 8080 } }"),
    ("expose", "endpoints: { mcp: { port: 8080 } }"),
    ("user", "security.user"),
    ("cap_add", "security.cap_add"),
    ("read_only", "security.read_only"),
    ("tmpfs", "security.tmpfs"),
    ("shm_size", "resources.shm"),
    ("mem_limit", "resources.memory"),
    ("memory", "resources.memory"),
    ("cpus", "resources.cpus"),
    ("pids_limit", "resources.pids"),
    ("pull_policy", "pull"),
    ("deploy", "resources"),
    ("entry_point", "entrypoint"),
];

/// A decoder's message as message and way out.
pub(super) fn reword(message: &str) -> (String, Option<String>) {
    // serde_json appends a place in its own text, which is not the person's file.
    let mut words = message
        .split(" at line ")
        .next()
        .unwrap_or(message)
        .to_owned();
    if let Some((before, after)) = words.split_once("expected struct ") {
        let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
        let plain = format!("{before}expected a mapping {rest}");
        plain.trim_end().clone_into(&mut words);
    }
    for (from, to) in PLAIN_WORDS {
        if let Some(stem) = words.strip_suffix(from) {
            words = format!("{stem}{to}");
        } else if words.starts_with(from) {
            words = words.replacen(from, to, 1);
        }
    }
    let help = words.starts_with("unknown variant").then(|| {
        let mut quoted = words.split('`').skip(1).step_by(2);
        let given = quoted.next().unwrap_or_default().to_owned();
        nearest(&given, quoted).map(|near| format!("did you mean `{near}`?"))
    });
    (
        words.replacen("unknown variant", "unknown value", 1),
        help.flatten(),
    )
}

/// The key that a decoder missed, where that is what it says.
pub(super) fn missing_key(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// Message and way out for a key that the schema does not know.
pub(super) fn unknown_key(schema: &Value, path: &[Segment]) -> (String, Option<String>) {
    let Some((Segment::Key(key), parents)) = path.split_last() else {
        return ("unexpected".to_owned(), None);
    };
    let message = format!("unknown key `{key}`");
    let keys = keys_at(schema, parents);
    let ours = OF_COMPOSE.iter().find(|(theirs, _)| theirs == key);
    let is_known = |field: &str| {
        let mut path = parents.to_vec();
        path.extend(field.split('.').map(|key| Segment::Key(key.to_owned())));
        !nodes_at(schema, &path).is_empty()
    };
    if let Some((_, ours)) =
        ours.filter(|(_, ours)| is_known(ours.split(':').next().unwrap_or(ours)))
    {
        return (message, Some(format!("Compose's key; here it is `{ours}`")));
    }
    let help = match nearest(key, keys.iter().map(String::as_str)) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if keys.is_empty() => None,
        None => Some(format!("known here: {}", keys.join(", "))),
    };
    (message, help)
}

/// The candidate that was most likely meant.
pub fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_short = |name: &str| name.len() <= COMPARED_MAX;
    candidates
        .filter(|candidate| is_short(given) && is_short(candidate))
        .map(|candidate| (strsim::damerau_levenshtein(given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The keys that a mapping at `path` may have.
fn keys_at(schema: &Value, path: &[Segment]) -> Vec<String> {
    alternatives(schema, nodes_at(schema, path))
        .into_iter()
        .filter_map(|node| node.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().cloned())
        .collect()
}

/// The schemas of what stands at `path`.
pub(super) fn nodes_at<'s>(schema: &'s Value, path: &[Segment]) -> Vec<&'s Value> {
    let below = |node: &'s Value, segment: &Segment| match segment {
        Segment::Key(key) => {
            let named = node.get("properties").and_then(|p| p.get(key));
            // A mapping whose keys have a grammar has one pattern.
            let pattern = || node.get("patternProperties")?.as_object()?.values().next();
            let open = || node.get("additionalProperties").filter(|of| of.is_object());
            named.or_else(pattern).or_else(open)
        }
        Segment::Index(_) => node.get("items"),
    };
    path.iter().fold(vec![schema], |nodes, segment| {
        let nodes = alternatives(schema, nodes).into_iter();
        nodes.filter_map(|node| below(node, segment)).collect()
    })
}

/// Follows references and unfolds `anyOf`, `oneOf` and `allOf`.
pub(super) fn alternatives<'a>(root: &'a Value, nodes: Vec<&'a Value>) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for mut node in nodes {
        while let Some(name) = node.get("$ref").and_then(Value::as_str) {
            let Some(target) = name.strip_prefix('#').and_then(|p| root.pointer(p)) else {
                break;
            };
            node = target;
        }
        found.push(node);
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(options) = node.get(key).and_then(Value::as_array) {
                found.extend(alternatives(root, options.iter().collect()));
            }
        }
    }
    found
}
