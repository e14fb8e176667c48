//! Our figures, and what `examples/observability` makes of them, read by Prometheus' own programs.

#[path = "../observability/figures.rs"]
mod figures;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use instanced::daemon::metrics::Form;
use serde_json::Value;

use super::{REPOSITORY, Said, run, tool};

fn example(name: &str) -> PathBuf {
    Path::new(REPOSITORY)
        .join("examples/observability")
        .join(name)
}

/// On PATH, or as `scripts/tools.sh --only promtool` brings it.
fn promtool(arguments: &[&str]) -> Command {
    let mut command = match Command::new("promtool").arg("--version").output() {
        Ok(_) => Command::new("promtool"),
        Err(_) => Command::new(tool("prometheus/usr/bin/promtool")),
    };
    command.args(arguments);
    command
}

/// What a program says of a text that it reads from its standard input.
fn reads(mut command: Command, text: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    Said {
        code: output.status.code(),
        all: format!("{stdout}{stderr}"),
        stdout,
    }
}

#[test]
fn figures_are_sound_and_named_as_the_field_names_them() {
    let text = figures::figures(Form::Text);
    let said = reads(promtool(&["check", "metrics"]), &text);
    assert_eq!((said.code, said.all.trim()), (Some(0), ""), "{text}");
    // It would tell.
    let unsuited = text.replace("instanced_rounds_total", "instanced_rounds");
    let said = reads(promtool(&["check", "metrics"]), &unsuited);
    assert_eq!(said.code, Some(3), "{}", said.all);
}

/// What Prometheus asks for, read by the strictest parser that there is of it.
#[test]
fn figures_are_open_metrics() {
    let python = || {
        let program = "import sys\n\
             from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
             for family in read(sys.stdin.read()): print(family.type, family.name, len(family.samples))";
        let mut command = Command::new(tool("bin/python"));
        command.args(["-c", program]);
        command
    };
    let text = figures::figures(Form::OpenMetrics);
    let said = reads(python(), &text);
    assert_eq!(said.code, Some(0), "{}\n{text}", said.all);
    for line in [
        "counter instanced_rounds 4",
        "info instanced_build 1",
        "gauge instanced_source_revision 1",
    ] {
        assert!(said.stdout.lines().any(|l| l == line), "{}", said.stdout);
    }
    let said = reads(python(), &figures::figures(Form::Text));
    assert_eq!(said.code, Some(1), "the text format is no OpenMetrics");
}

#[test]
fn the_scrape_file_and_the_alerts_are_sound() {
    let config = example("prometheus.yml");
    let said = run(&mut promtool(&[
        "check",
        "config",
        &config.display().to_string(),
    ]));
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(said.all.contains("rules found"), "{}", said.all);
}

/// When each fires, and when it does not.
#[test]
fn alerts_fire_when_they_should_and_else_not() {
    let tests = example("rules_test.yml").display().to_string();
    let said = run(&mut promtool(&["test", "rules", &tests]));
    assert_eq!(said.code, Some(0), "{}", said.all);
}

#[test]
fn every_query_of_the_dashboard_is_well_formed() {
    let dashboard = fs::read_to_string(example("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let mut number = 0;
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let marks = dashboard["annotations"]["list"].as_array().expect("a list");
    for text in targets.chain(marks).filter_map(|one| one["expr"].as_str()) {
        number += 1;
        let text = text.replace("$__rate_interval", "5m");
        let text = Value::from(text);
        writeln!(
            rules,
            "      - record: query_{number}\n        expr: {text}"
        )
        .expect("a text");
    }
    assert!(number > 30, "only {number}");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rules.yml");
    fs::write(&path, rules).expect("a file");
    let said = run(&mut promtool(&[
        "check",
        "rules",
        &path.display().to_string(),
    ]));
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(
        said.all.contains(&format!("{number} rules found")),
        "{}",
        said.all
    );
}
