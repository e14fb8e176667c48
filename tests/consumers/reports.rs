//! SARIF and `JUnit`, read by their schemas and by programs that people use.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{broken_fleet, instanced, run, tool, validated};

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn sound_fleet() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(instanced(dir.path(), &["init"]).code, Some(0));
    dir
}

#[test]
fn json_is_as_its_schema_says() {
    let sound = sound_fleet();
    let schema = instanced(sound.path(), &["schema", "validation"]).stdout;
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let sound = instanced(sound.path(), &["validate", "--format", "json"]).stdout;
    let broken = instanced(broken_fleet().path(), &["validate", "--format", "json"]).stdout;
    let mut number = 0;
    for text in [sound, broken] {
        let mut report: Value = serde_json::from_str(&text).expect("JSON");
        let wrong: Vec<_> = validator
            .iter_errors(&report)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(wrong, [] as [String; 0], "{text}");
        number += report["diagnostics"].as_array().expect("a list").len();
        report["more"] = true.into();
        assert!(!validator.is_valid(&report), "the schema is closed");
    }
    assert!(
        number > 3,
        "the broken fleet has more than {number} problems"
    );
}

#[test]
fn sarif_is_as_its_schema_says() {
    let schema = tool("node/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
    let mut schema: Value =
        serde_json::from_str(&std::fs::read_to_string(schema).expect("a schema")).expect("JSON");
    // The pattern of a key that we do not write is no regular expression.
    for of in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][of]["properties"]["language"];
        language.as_object_mut().expect("a key").remove("pattern");
    }
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let sound = sound_fleet();
    let sound = instanced(sound.path(), &["validate", "--format", "sarif"]).stdout;
    let broken = validated(broken_fleet().path(), "sarif").0;
    for text in [sound, broken] {
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let wrong: Vec<_> = validator
            .iter_errors(&report)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(wrong, [] as [String; 0], "{text}");
    }
    assert!(!validator.is_valid(&serde_json::json!({ "version": "2.1.0" })));
}

#[test]
fn sarif_tools_finds_each_problem_at_its_line() {
    let dir = broken_fleet();
    let (report, all) = validated(dir.path(), "sarif");
    let report = file(dir.path(), "report.sarif", &report);
    let csv = dir.path().join("report.csv");
    let said = run(Command::new(tool("bin/sarif"))
        .args(["csv", "--output"])
        .arg(&csv)
        .arg(&report));
    assert_eq!(said.code, Some(0), "{}", said.all);
    let csv = std::fs::read_to_string(csv).expect("a table");
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), all.len(), "{csv}");
    let colour = rows.iter().find(|row| row.contains("colour"));
    let colour = colour.unwrap_or_else(|| panic!("{csv}"));
    for part in ["instanced", "error", "instances.d/bob.yaml", ",2"] {
        assert!(colour.contains(part), "no {part}: {colour}");
    }
    let errors = all.iter().filter(|d| d["severity"] == "error").count();
    let said = run(Command::new(tool("bin/sarif")).arg("summary").arg(&report));
    assert!(
        said.all.contains(&format!("error: {errors}")),
        "{}",
        said.all
    );
    // Its own way to fail a job: with the number of errors.
    let said = run(Command::new(tool("bin/sarif"))
        .args(["--check", "error", "summary"])
        .arg(&report));
    assert_eq!(said.code, i32::try_from(errors).ok(), "{}", said.all);
}

/// Reads a report as its users do, by the schema first.
const READ: &str = r#"
import json, sys
from lxml import etree
from junitparser import JUnitXml
schema = etree.XMLSchema(etree.parse(sys.argv[1]))
schema.assertValid(etree.parse(sys.argv[2]))
report = JUnitXml.fromfile(sys.argv[2])
cases = {case.name: [r.text for r in case.result] for suite in report for case in suite}
report.update_statistics()
print(json.dumps({"tests": report.tests, "failures": report.failures, "cases": cases}))
"#;

fn read(dir: &Path, text: &str) -> Value {
    let report = file(dir, "report.xml", text);
    let said = run(Command::new(tool("bin/python"))
        .args(["-c", READ])
        .arg(tool("junit.xsd"))
        .arg(report));
    assert_eq!(said.code, Some(0), "{}\n{text}", said.all);
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn junit_is_as_its_schema_says_and_junitparser_finds_each_file() {
    let dir = broken_fleet();
    let (report, _) = validated(dir.path(), "junit");
    let told = read(dir.path(), &report);
    assert_eq!(told["tests"], 6, "{told}");
    assert_eq!(told["failures"], 4, "{told}");
    assert_eq!(
        told["cases"]["instances.d/sound.yaml"],
        serde_json::json!([])
    );
    let bob = told["cases"]["instances.d/bob.yaml"][0]
        .as_str()
        .expect("a text");
    assert!(bob.contains("instances.d/bob.yaml:2:1"), "{bob}");
    assert!(bob.contains("instances.d/bob.yaml:3:"), "{bob}");

    let sound = sound_fleet();
    let report = instanced(sound.path(), &["validate", "--format", "junit"]).stdout;
    let told = read(sound.path(), &report);
    assert_eq!(
        (&told["tests"], &told["failures"]),
        (&Value::from(2), &Value::from(0))
    );
}
