//! Keeps the house tidy: what ARCHITECTURE.md promises of the code's shape, and the compiler does not see.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. A module imports from its own floor and from below.
const FLOORS: [&str; 5] = ["words", "decisions", "doors", "daemon", "face"];

/// Crates of the outside, and the one room that may name each.
const DOORS: &[(&str, &str)] = &[
    ("bollard", "doors/engine/docker"),
    ("sled", "doors/store"),
    ("notify", "doors/source"),
    ("rcgen", "doors/tls"),
    ("tokio_rustls", "doors/tls"),
    ("governor", "daemon/forward_auth/limiter"),
    ("lru", "daemon/forward_auth/limiter"),
    ("listenfd", "face/cli/serve"),
    ("sd_notify", "doors/systemd"),
    ("clap_mangen", "face/cli/man"),
    ("hmac", "doors/sign"),
    ("sha2", "doors/sign"),
    ("base64", "doors/sign"),
    ("rustls_native_certs", "doors/tls"),
    ("prometheus_client", "daemon/metrics"),
    ("clap", "face/"),
    ("jsonc_parser", "face/clients/jsonc"),
    ("toml_edit", "face/clients/toml"),
    ("annotate_snippets", "face/diagnostics"),
    ("tracing_subscriber", "face/telemetry"),
];

/// The files that may start a program, and which. Git is started in one place, which closes its environment.
const PROGRAMS: &[(&str, &str)] = &[
    ("doors/source/git/command.rs", "\"git\""),
    // A test, which runs itself.
    ("daemon/tokens/kills.rs", "std::env::current_exe("),
];

/// Longer files want to be two.
const LINES_MAX: usize = 500;

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .expect("below src")
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "only {} sources found", found.len());
    found
}

/// Lines of code that are no comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

#[test]
fn modules_import_from_below_only() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some(floor) = FLOORS
            .iter()
            .position(|f| name.starts_with(&format!("{f}/")))
        else {
            continue;
        };
        for (line, code) in code(&text) {
            for above in &FLOORS[floor + 1..] {
                if code.contains(&format!("crate::{above}::")) {
                    wrong.push(format!("src/{name}:{line} imports from `{above}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether it names the crate, and not one whose name ends so.
fn names(code: &str, outside: &str) -> bool {
    code.match_indices(&format!("{outside}::"))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn each_outside_crate_has_one_door() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, code) in code(body) {
            for (outside, door) in DOORS.iter().copied() {
                if names(code, outside) && !name.starts_with(door) {
                    wrong.push(format!(
                        "src/{name}:{line} names `{outside}`, whose door is {door}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_are_started_where_it_is_allowed_and_git_in_one_place() {
    let (mut wrong, mut found) = (Vec::new(), Vec::new());
    for (name, text) in sources() {
        if name.ends_with("tests.rs") || name.contains("tests/") {
            continue;
        }
        let body = text.split("#[cfg(test)]\nmod tests").next();
        for (line, code) in code(body.unwrap_or_default()) {
            for (at, start) in code.match_indices("Command::new(") {
                let program = code[at + start.len()..].split([')', ',']).next();
                let started = (name.as_str(), program.unwrap_or_default());
                if PROGRAMS.contains(&started) {
                    found.push(started.1.to_owned());
                } else {
                    wrong.push(format!("src/{name}:{line} starts {}", started.1));
                }
            }
            // A new way to start one belongs into this test.
            let others = [
                "posix_spawn",
                "execve(",
                "CommandExt",
                "process::Command as",
            ];
            if let Some(other) = others.iter().find(|other| code.contains(**other)) {
                wrong.push(format!("src/{name}:{line} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    found.retain(|program| program == "\"git\"");
    assert_eq!(found.len(), 1, "git is called in one place");
}

#[test]
fn the_lower_floors_are_pure() {
    let outside = [
        "std::fs",
        "std::net::Tcp",
        "std::env",
        "tokio::",
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "getrandom::",
    ];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if !name.starts_with("words/") && !name.starts_with("decisions/") || name.contains("tests")
        {
            continue;
        }
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, code) in code(body) {
            if let Some(thing) = outside.iter().find(|thing| code.contains(**thing)) {
                wrong.push(format!("src/{name}:{line} uses {thing}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_can_be_held_in_the_head() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}
