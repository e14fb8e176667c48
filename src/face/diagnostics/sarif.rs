//! Diagnostics as SARIF 2.1.0, which code scanners' dashboards read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::words::diagnostic::{Diagnostic, Severity};

/// The rule of what concerns a whole file.
const FILE: &str = "file";

/// One run with all of them.
pub fn render(diagnostics: &[Diagnostic]) -> Value {
    let rules: BTreeSet<&str> = diagnostics.iter().map(rule).collect();
    let rules: Vec<Value> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "instanced",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// The key of the file's first level, so that what is wrong with `resources` is one rule.
fn rule(diagnostic: &Diagnostic) -> &str {
    let field = diagnostic.field.as_str();
    let end = field.find(['.', '[']).unwrap_or(field.len());
    if end == 0 { FILE } else { &field[..end] }
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let place = &diagnostic.place;
    json!({
        "ruleId": rule(diagnostic),
        "level": level,
        "message": { "text": super::told(diagnostic) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&place.path) },
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endColumn": place.column + place.width,
            },
        } }],
    })
}

/// A path as a reference: what has a meaning in one, or is no ASCII, is escaped.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_reference() {
        assert_eq!(
            uri("instances.d/a b:ü.yaml"),
            "instances.d/a%20b%3A%C3%BC.yaml"
        );
    }
}
