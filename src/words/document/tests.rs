use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, JsonSchema, PartialEq, Default)]
#[serde(default)]
struct Sample {
    memory: Option<u16>,
    nested: Option<Nested>,
    list: Vec<Nested>,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq, Default)]
#[serde(default)]
struct Nested {
    port: Option<u16>,
    path: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    StopFirst,
    StartFirst,
}

fn problems(text: &str) -> Vec<String> {
    match Document::parse("a.yaml", text) {
        Ok(document) => document
            .decode::<Sample>()
            .1
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(diagnostic) => vec![diagnostic.to_string()],
    }
}

#[test]
fn every_problem_is_told_with_its_place() {
    let text = "memry: 1\nnested:\n  port: many\n  pth: x\nlist:\n- port: 1\n- port: no\n- {path: []}\n- port: -1\n";
    assert_eq!(
        problems(text),
        [
            "a.yaml:1:1: memry: unknown key `memry` (did you mean `memory`?)",
            "a.yaml:3:9: nested.port: found string \"many\", expected a whole number from 0 to 65535 (such as `port: 1`)",
            "a.yaml:4:3: nested.pth: unknown key `pth` (did you mean `path`?)",
            "a.yaml:7:9: list[1].port: found string \"no\", expected a whole number from 0 to 65535 (such as `port: 1`)",
            "a.yaml:8:4: list[2].path: found a list, expected a string",
            "a.yaml:9:9: list[3].port: found integer `-1`, expected a whole number from 0 to 65535 (such as `port: 1`)",
        ]
    );
}

#[test]
fn what_is_sound_is_decoded_beside_what_is_not() {
    let document = Document::parse("a.yaml", "memory: 5\nnested: {port: x, path: /p}\n").unwrap();
    let (value, diagnostics) = document.decode::<Sample>();
    assert_eq!(diagnostics.len(), 1);
    let value: Sample = value.unwrap();
    assert_eq!(value.memory, Some(5));
    assert_eq!(value.nested.unwrap().path.as_deref(), Some("/p"));
}

#[test]
fn a_near_value_is_suggested() {
    assert_eq!(
        problems("mode: stop-frist\n"),
        [
            "a.yaml:1:7: mode: unknown value `stop-frist`, expected `stop-first` or `start-first` \
          (did you mean `stop-first`?)"
        ]
    );
}

#[test]
fn merge_keys_and_anchors_are_resolved_and_placed() {
    let text = "nested: &n\n  port: x\nlist:\n- <<: *n\n  path: /a\n";
    assert_eq!(
        problems(text),
        [
            "a.yaml:2:9: list[0].port: found string \"x\", expected a whole number from 0 to 65535 (such as `port: 1`)",
            "a.yaml:2:9: nested.port: found string \"x\", expected a whole number from 0 to 65535 (such as `port: 1`)",
        ]
    );
}

#[test]
fn broken_yaml_is_one_clear_error() {
    for (text, wanted) in [
        ("a: [1\n", "a.yaml:"),
        (
            "memory: 1\n---\nmemory: 2\n",
            "a.yaml:2:1: more than one YAML document",
        ),
        (
            "memory: 1\nmemory: 2\n",
            "a.yaml:2:1: memory: `memory` is written twice here, first on line 1",
        ),
        ("1: x\n", "the key `1` is no string (quote it: \"1\")"),
        ("memory: !x 1\n", "the tag `!x` means nothing here"),
        ("nested:\n\tport: 1\n", "not with tabs"),
        ("memory: .nan\n", "a.yaml:1:9: memory: not a finite number"),
    ] {
        let told = problems(text);
        assert_eq!(told.len(), 1, "{text:?}: {told:?}");
        assert!(told[0].contains(wanted), "{text:?}: {told:?}");
    }
}

#[test]
fn hostile_yaml_ends_in_an_error_and_soon() {
    let laughs = (0..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let alias = format!("*a{n}");
        format!(
            "{text}a{}: &a{} [{}]\n",
            n + 1,
            n + 1,
            [alias.as_str(); 9].join(",")
        )
    });
    assert!(problems(&laughs)[0].contains("unfold to too much"));
    assert!(problems(&"[".repeat(1000))[0].contains("levels deep"));
    assert!(problems(&"x".repeat(LENGTH_MAX + 1))[0].contains("bytes long"));
}

#[test]
fn a_file_of_comments_is_null() {
    assert_eq!(
        Document::parse("a.yaml", "# nothing yet\n")
            .unwrap()
            .value(),
        &Value::Null
    );
}
