//! The YAML server that editors use, on what `init` writes and on the examples: keys are completed and explained.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{REPOSITORY, instanced, run, tool};

/// What it says of these places of a file, line and column from 0.
fn ask(file: &Path, places: &[&str]) -> Value {
    let said = run(Command::new("node")
        .arg(Path::new(REPOSITORY).join("tests/consumers/editor.mjs"))
        .arg(tool(
            "node/node_modules/yaml-language-server/bin/yaml-language-server",
        ))
        .arg(file)
        .args(places));
    assert_eq!(said.code, Some(0), "{}", said.all);
    serde_json::from_str(&said.stdout).expect("JSON")
}

/// The keys of an object in a schema of ours, with what they mean.
fn keys(schema: &Value) -> Vec<(String, String)> {
    let properties = schema["properties"].as_object().expect("keys");
    let described = properties.iter().map(|(key, of)| {
        let text = of["description"].as_str().unwrap_or_default();
        (key.clone(), text.to_owned())
    });
    described.collect()
}

fn schema(kind: &str) -> Value {
    serde_json::from_str(&instanced(Path::new("/"), &["schema", kind]).stdout).expect("a schema")
}

/// Every key that the file does not have yet is offered, and explained where the schema does.
#[track_caller]
fn offers(place: &Value, keys: &[(String, String)], has: &[&str]) {
    let offered = place["completes"].as_object().expect("completions");
    for (key, description) in keys {
        if has.contains(&key.as_str()) {
            continue;
        }
        let told = offered.get(key);
        let told = told.unwrap_or_else(|| panic!("`{key}` is not offered, only {offered:?}"));
        assert_eq!(told.as_str(), Some(description.as_str()), "{key}");
        assert!(!description.is_empty(), "{key} is not explained");
    }
}

fn fleet() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(instanced(dir.path(), &["init"]).code, Some(0));
    dir
}

#[test]
fn keys_of_a_manifest_are_completed_and_explained() {
    let dir = fleet();
    let file = dir.path().join("instances.d/example.yaml");
    let text = std::fs::read_to_string(&file).expect("what init wrote");
    let lines = text.lines().count();
    std::fs::write(&file, format!("{text}resources:\n  memory: 1GiB\n  \n\n")).expect("a file");
    let places = [
        format!("{}:0", lines + 3),
        format!("{}:2", lines + 2),
        format!("{}:3", lines + 1),
    ];
    let told = ask(&file, &places.each_ref().map(String::as_str));
    assert_eq!(told["problems"], Value::Array(Vec::new()), "{told}");
    let schema = schema("manifest");
    offers(
        &told["places"][0],
        &keys(&schema),
        &["owner", "screen", "resources"],
    );
    let resources = &schema["definitions"]["ResourcesPart"];
    offers(&told["places"][1], &keys(resources), &["memory"]);
    let hover = told["places"][2]["hover"].as_str().expect("a text");
    assert!(hover.contains("Memory, with no swap beyond it."), "{hover}");
}

#[test]
fn keys_of_the_other_files_are_too() {
    for (name, kind, has) in [
        (
            "instanced.yaml",
            "config",
            &["manager", "domain", "public", "traefik", "source"][..],
        ),
        ("fleet.yaml", "fleet", &["defaults"]),
    ] {
        let dir = fleet();
        let file = dir.path().join(name);
        let text = std::fs::read_to_string(&file).expect("what init wrote");
        let lines = text.lines().count();
        std::fs::write(&file, format!("{text}\n")).expect("a file");
        let told = ask(&file, &[&format!("{lines}:0")]);
        assert_eq!(told["problems"], Value::Array(Vec::new()), "{name}: {told}");
        offers(&told["places"][0], &keys(&schema(kind)), has);
    }
}

#[test]
fn a_wrong_key_is_underlined_and_the_examples_are_sound() {
    let dir = fleet();
    let file = dir.path().join("instances.d/example.yaml");
    let text = std::fs::read_to_string(&file).expect("what init wrote");
    std::fs::write(&file, format!("{text}colour: red\n")).expect("a file");
    let told = ask(&file, &[]);
    assert_eq!(
        told["problems"][0], "Property colour is not allowed.",
        "{told}"
    );

    let root = Path::new(REPOSITORY);
    let mut files: Vec<PathBuf> = [
        "instanced.yaml",
        "examples/instanced.yaml",
        "examples/fleet.yaml",
    ]
    .map(|name| root.join(name))
    .to_vec();
    for dir in ["instances.d", "examples/instances.d"] {
        let entries = std::fs::read_dir(root.join(dir)).expect("a directory of ours");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    assert!(files.len() >= 8, "only {files:?} were found");
    for file in files {
        let told = ask(&file, &[]);
        assert_eq!(
            told["problems"],
            Value::Array(Vec::new()),
            "{}",
            file.display()
        );
    }
}
