//! Those for whom our output is made can read it: the readers of SARIF and `JUnit`, the services' own schemas of
//! workflows, the pre-commit program, an editor's YAML server, Prometheus' programs. All of them real, none of them
//! ours.
//!
//! Needs what `scripts/tools.sh` brings, also with `--only node`, `--only junit` and `--only promtool`:
//! `scripts/test.sh consumers`.

#[path = "consumers/annotations.rs"]
mod annotations;
#[path = "consumers/editor.rs"]
mod editor;
#[path = "consumers/prometheus.rs"]
mod prometheus;
#[path = "consumers/reports.rs"]
mod reports;
#[path = "consumers/workflows.rs"]
mod workflows;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// What a program said, and how it ended.
struct Said {
    code: Option<i32>,
    stdout: String,
    all: String,
}

fn run(command: &mut Command) -> Said {
    let output = command
        .env("NO_COLOR", "1")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    Said {
        code: output.status.code(),
        all: format!("{stdout}{stderr}"),
        stdout,
    }
}

/// Something that `scripts/tools.sh` brings. What is missing fails: a check that is skipped is none.
fn tool(relative: &str) -> PathBuf {
    let tools = std::env::var_os("INSTANCED_TOOLS");
    let tools = tools.map_or_else(|| Path::new(REPOSITORY).join(".tools"), PathBuf::from);
    let path = tools.join(relative);
    assert!(
        path.exists(),
        "{} is missing: run scripts/test.sh consumers",
        path.display()
    );
    path
}

fn instanced(dir: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instanced"));
    command
        .current_dir(dir)
        .env_remove("INSTANCED_CONFIG")
        .args(arguments);
    run(&mut command)
}

/// A fleet in which much is wrong, in names and words that must be escaped, and something is sound.
fn broken_fleet() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let manifests = dir.path().join("instances.d");
    std::fs::create_dir(&manifests).expect("a directory");
    for (name, text) in [
        ("sound.yaml", "{}\n"),
        (
            "bob.yaml",
            "owner: me@example.com\ncolour: red\nresources: { memory: lots }\n",
        ),
        ("quotes.yaml", "\"<&>'\\\"%::,\\u0007\": 1\n"),
        ("ümlaut, 100%.yaml", "{}\n"),
        ("torn.yaml", "screen: { width\n"),
        ("latest.yaml", "image: localhost/instanced/browser:latest\n"),
    ] {
        std::fs::write(manifests.join(name), text).expect("a manifest");
    }
    dir
}

/// What `validate` says of it in a format, and as JSON what is to be found in it.
fn validated(dir: &Path, format: &str) -> (String, Vec<serde_json::Value>) {
    let said = instanced(dir, &["validate", "--format", format]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    let told = instanced(dir, &["validate", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    let all = told["diagnostics"].as_array().expect("a list").clone();
    assert!(all.len() >= 5, "{all:?}");
    (said.stdout, all)
}
