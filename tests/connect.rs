//! `instanced connect --client`: what is put into the files of MCP clients, seen from outside. There is no engine; the
//! daemon knows what is desired all the same.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

#[allow(dead_code)] // A part of it is used here.
#[path = "edge/lab.rs"]
mod lab;
#[path = "support/process.rs"]
mod process;

use lab::{Daemon, Lab};

/// A running daemon, and a home for whoever connects.
struct Desk {
    lab: Lab,
    _daemon: Daemon,
}

impl Desk {
    fn new() -> Self {
        let lab = Lab::new();
        fs::create_dir(lab.path("home")).unwrap();
        let daemon = Daemon::start(&lab, &[]);
        Self {
            lab,
            _daemon: daemon,
        }
    }

    fn connect(&self, arguments: &[&str]) -> Output {
        let mut command = self
            .lab
            .command(&[&["connect", "alice"], arguments].concat());
        command
            .env("HOME", self.lab.path("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CODEX_HOME");
        command.output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> (String, String) {
        let said = self.connect(arguments);
        let (out, err) = texts(&said);
        assert!(said.status.success(), "{arguments:?}: {out}{err}");
        (out, err)
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let said = self.connect(arguments);
        let (out, err) = texts(&said);
        assert_eq!(said.status.code(), Some(1), "{arguments:?}: {out}{err}");
        assert_eq!(out, "");
        err
    }

    fn home(&self, file: &str) -> std::path::PathBuf {
        self.lab.path("home").join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.home(file)).unwrap()
    }
}

fn texts(said: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&said.stdout), text(&said.stderr))
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

const URL: &str = "https://mcp-alice.mcp.localhost/mcp";

#[test]
fn what_is_written_is_what_is_printed_and_the_second_time_changes_nothing() {
    let desk = Desk::new();
    for (client, file) in [
        ("vscode", ".config/Code/User/mcp.json"),
        ("cursor", ".cursor/mcp.json"),
        ("codex", ".codex/config.toml"),
        ("windsurf", ".codeium/windsurf/mcp_config.json"),
        ("gemini-cli", ".gemini/settings.json"),
    ] {
        let (printed, told) = desk.done(&["--client", client]);
        assert!(
            told.contains(&desk.home(file).display().to_string()),
            "{told}"
        );
        let (out, told) = desk.done(&["--client", client, "--write"]);
        assert_eq!(out, "");
        assert!(
            told.contains("Created") && told.contains("--remove"),
            "{told}"
        );
        assert_eq!(desk.read(file), printed);
        assert!(
            printed.contains(URL) && !printed.contains("<TOKEN>"),
            "{printed}"
        );
        assert_eq!(mode(&desk.home(file)), 0o600);
        let before = desk.home(file).metadata().unwrap();
        let (_, told) = desk.done(&["--client", client, "--write"]);
        assert!(told.contains("nothing was written"), "{told}");
        let after = desk.home(file).metadata().unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
        let (_, told) = desk.done(&["--client", client, "--remove"]);
        assert!(told.contains("Removed alice"), "{told}");
        assert!(!desk.read(file).contains("alice"));
    }
}

#[test]
fn files_are_what_other_parsers_take_them_for() {
    let desk = Desk::new();
    fs::create_dir(desk.home(".codex")).unwrap();
    let codex = "# mine\nmodel = \"x\"\n\n[mcp_servers.other]\nurl = \"o\" # theirs\n";
    fs::write(desk.home(".codex/config.toml"), codex).unwrap();
    desk.done(&["--client", "codex", "--write"]);
    assert!(desk.read(".codex/config.toml").starts_with(codex));
    desk.done(&["--client", "cursor", "--write"]);
    let program = "import json, sys, tomllib\n\
                   with open(sys.argv[1], 'rb') as f: toml = tomllib.load(f)\n\
                   with open(sys.argv[2], 'rb') as f: print(json.dumps([toml, json.load(f)]))";
    let said = Command::new("python3")
        .args(["-c", program])
        .arg(desk.home(".codex/config.toml"))
        .arg(desk.home(".cursor/mcp.json"))
        .output()
        .expect("this needs python3");
    let says: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let codex = json!({ "model": "x", "mcp_servers": {
        "other": { "url": "o" },
        "alice": { "url": URL, "bearer_token_env_var": "INSTANCED_ALICE_TOKEN" },
    }});
    let cursor = json!({ "mcpServers": { "alice": {
        "url": URL, "headers": { "Authorization": "Bearer ${env:INSTANCED_ALICE_TOKEN}" },
    }}});
    assert_eq!(says, json!([codex, cursor]));
}

#[test]
fn a_token_is_written_only_where_it_is_given_and_where_nobody_shares_it() {
    let desk = Desk::new();
    fs::write(desk.lab.path("token"), "mcp_secret\n").unwrap();
    for client in ["zed", "claude-desktop"] {
        let told = desk.refused(&["--client", client, "--write"]);
        assert!(
            told.contains("--token-file") && told.contains("token issue alice"),
            "{told}"
        );
    }
    let (_, told) = desk.done(&["--client", "zed", "--write", "--token-file", "token"]);
    assert!(!told.contains("mcp_secret"), "{told}");
    assert!(
        desk.read(".config/zed/settings.json")
            .contains("Bearer mcp_secret")
    );
    assert_eq!(mode(&desk.home(".config/zed/settings.json")), 0o600);

    let (dir, file) = (desk.home(".cursor"), desk.home(".cursor/mcp.json"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "{}").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (_, told) = desk.done(&["--client", "cursor", "--write", "--token-file", "token"]);
    assert!(
        told.contains("warning") && told.contains("chmod 600"),
        "{told}"
    );
    assert_eq!(mode(&file), 0o644);

    let project = ["--client", "cursor", "--scope", "project", "--write"];
    let told = desk.refused(&[&project[..], &["--token-file", "token"]].concat());
    assert!(told.contains("shared"), "{told}");
    assert!(!desk.lab.path(".cursor").exists());
    desk.done(&project);
    let written = fs::read_to_string(desk.lab.path(".cursor/mcp.json")).unwrap();
    assert!(
        written.contains("${env:INSTANCED_ALICE_TOKEN}"),
        "{written}"
    );
    assert_eq!(mode(&desk.lab.path(".cursor/mcp.json")), 0o644);
}

#[test]
fn what_cannot_be_parsed_is_told_with_its_place_and_stays() {
    let desk = Desk::new();
    fs::create_dir(desk.home(".cursor")).unwrap();
    let broken = "{\n  \"mcpServers\": {\n    \"a\": {} \"b\": {}\n  }\n}\n";
    fs::write(desk.home(".cursor/mcp.json"), broken).unwrap();
    let told = desk.refused(&["--client", "cursor", "--write"]);
    let place = format!("{}:3:", desk.home(".cursor/mcp.json").display());
    assert!(
        told.contains(&place) && told.contains("nothing was written"),
        "{told}"
    );
    assert_eq!(desk.read(".cursor/mcp.json"), broken);
    assert_eq!(fs::read_dir(desk.home(".cursor")).unwrap().count(), 1);
}

#[test]
fn a_link_of_somebody_s_dotfiles_stays_one() {
    let desk = Desk::new();
    fs::create_dir(desk.home(".cursor")).unwrap();
    fs::write(desk.home("dotfiles.json"), "{ \"mcpServers\": {} }\n").unwrap();
    symlink("../dotfiles.json", desk.home(".cursor/mcp.json")).unwrap();
    desk.done(&["--client", "cursor", "--write"]);
    assert!(desk.home(".cursor/mcp.json").is_symlink());
    assert!(desk.read("dotfiles.json").contains(URL));
}

#[test]
fn claude_code_s_own_file_is_left_to_it() {
    let desk = Desk::new();
    let (printed, _) = desk.done(&["--client", "claude-code"]);
    assert!(
        printed.starts_with("claude mcp add --transport http alice "),
        "{printed}"
    );
    let told = desk.refused(&["--client", "claude-code", "--write"]);
    assert!(
        told.contains("claude mcp add") && told.contains("--scope project"),
        "{told}"
    );
    desk.done(&["--client", "claude-code", "--write", "--scope", "project"]);
    let written = fs::read_to_string(desk.lab.path(".mcp.json")).unwrap();
    assert!(written.contains("${INSTANCED_ALICE_TOKEN}"), "{written}");
    assert_eq!(fs::read_dir(desk.lab.path("home")).unwrap().count(), 0);
    let told = desk.refused(&["--client", "json", "--write"]);
    assert!(told.contains("no client"), "{told}");
}

#[test]
fn a_program_is_told_what_was_done() {
    let desk = Desk::new();
    let tell = |arguments: &[&str]| -> Value {
        let (out, _) = desk.done(&[&["--format", "json"], arguments].concat());
        serde_json::from_str(&out).unwrap()
    };
    let file = desk.home(".codex/config.toml").display().to_string();
    let shown = tell(&["--client", "codex"]);
    assert_eq!(shown["file"], file);
    assert!(
        shown["snippet"]
            .as_str()
            .unwrap()
            .starts_with("[mcp_servers.alice]")
    );
    let write = ["--client", "codex", "--write"];
    let told = tell(&write);
    let undo = "instanced connect alice --client codex --remove";
    let expected = |change| {
        json!({
            "client": "codex", "file": file, "change": change, "servers": ["alice"],
            "variables": ["INSTANCED_ALICE_TOKEN"], "undo": undo,
        })
    };
    assert_eq!(told, expected("created"));
    assert_eq!(tell(&write), expected("unchanged"));
    fs::write(
        desk.home(".codex/config.toml"),
        "[mcp_servers.alice]\nurl = \"old\"\n",
    )
    .unwrap();
    assert_eq!(tell(&write), expected("replaced"));
    assert_eq!(
        tell(&["--client", "codex", "--remove"])["change"],
        "removed"
    );
    assert_eq!(
        tell(&["--client", "codex", "--remove"])["change"],
        "unchanged"
    );
    let object = tell(&["--client", "json"]);
    assert_eq!(object["mcpServers"]["alice"]["url"], URL);
}

#[test]
fn what_is_gone_can_be_taken_out() {
    let desk = Desk::new();
    fs::create_dir(desk.home(".cursor")).unwrap();
    let text = "{\n  \"mcpServers\": {\n    \"gone\": { \"url\": \"x\" }\n  }\n}\n";
    fs::write(desk.home(".cursor/mcp.json"), text).unwrap();
    let mut command = desk
        .lab
        .command(&["connect", "gone", "--client", "cursor", "--remove"]);
    let said = command.env("HOME", desk.lab.path("home")).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(!desk.read(".cursor/mcp.json").contains("gone"));
}

#[test]
fn a_file_that_its_client_ignores_is_mended_or_refused() {
    let desk = Desk::new();
    let dir = desk.home(".config/Claude");
    fs::create_dir_all(&dir).unwrap();
    let file = ".config/Claude/claude_desktop_config.json";
    fs::write(desk.lab.path("token"), "mcp_secret\n").unwrap();
    let write = [
        "--client",
        "claude-desktop",
        "--write",
        "--token-file",
        "token",
    ];
    for broken in ["{\n  // mine\n  \"a\": 1\n}\n", "{\n  \"a\": 1,\n}\n"] {
        fs::write(desk.home(file), broken).unwrap();
        let told = desk.refused(&write);
        assert!(
            told.contains(":2:") && told.contains("Claude Desktop ignores"),
            "{told}"
        );
        assert_eq!(desk.read(file), broken);
    }
    fs::write(desk.home(file), "\u{feff}{ \"mcpServers\": null }\n").unwrap();
    let (_, told) = desk.done(&write);
    assert!(told.contains("byte order mark"), "{told}");
    let says: Value = serde_json::from_str(&desk.read(file)).unwrap();
    assert_eq!(says["mcpServers"]["alice"]["command"], "npx");
    desk.done(&write);
}

/// Runs it with its output to a device that is always full.
fn to_a_full_disk(lab: &Lab, arguments: &[&str]) -> Output {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    lab.command(arguments).stdout(full).output().unwrap()
}

#[test]
fn a_token_that_could_not_be_written_out_is_none() {
    let with_daemon = Desk::new();
    let without = Lab::new();
    for lab in [&with_daemon.lab, &without] {
        for format in ["human", "json"] {
            let issue = [
                "--format", format, "token", "issue", "alice", "--label", "laptop",
            ];
            let said = to_a_full_disk(lab, &issue);
            assert_eq!(said.status.code(), Some(1), "{said:?}");
            let told = texts(&said).1;
            assert!(
                told.contains("cannot write the output") && told.contains("revoked"),
                "{told}"
            );
            assert_eq!(lab.json(&["token", "list"]), json!([]));
        }
        // Its label is free.
        let token = lab.token("laptop");
        let id = token.split('_').nth(1).unwrap().to_owned();
        let said = to_a_full_disk(lab, &["token", "rotate", &id]);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let list = lab.json(&["token", "list"]);
        let ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["id"])
            .collect();
        assert_eq!(ids, [&json!(id)]);
    }
}

#[test]
fn the_name_of_a_file_begins_no_line_of_any_output() {
    let lab = Lab::new();
    lab.write(
        "instances.d/x\n::error file=y::pwn\u{1b}[2J\u{202e}.yaml",
        "{}\n",
    );
    for format in ["human", "json", "sarif", "junit", "github"] {
        let said = lab.run(&["--format", format, "validate"]);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let (out, err) = texts(&said);
        for line in out.lines().chain(err.lines()) {
            let ours = format == "github" && line.starts_with("::error file=instances.d/x%0A");
            assert!(
                ours || !line.trim_start().starts_with("::"),
                "{format}: {line}"
            );
            assert!(
                !line.contains(['\u{1b}', '\u{202e}', '\r']),
                "{format}: {line:?}"
            );
        }
        assert!(
            out.contains("pwn") || err.contains("pwn"),
            "{format}: {out}{err}"
        );
    }
    for command in [
        &["reconcile", "--dry-run"][..],
        &["status"],
        &["reconcile"],
        &["doctor"],
    ] {
        let (out, err) = texts(&lab.run(command));
        for line in out.lines().chain(err.lines()) {
            assert!(!line.trim_start().starts_with("::"), "{command:?}: {line}");
            assert!(
                !line.contains(['\u{1b}', '\u{202e}', '\r']),
                "{command:?}: {line:?}"
            );
        }
    }
}

#[test]
fn a_configuration_that_is_found_is_named_and_ours() {
    let lab = Lab::new();
    let found = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_instanced"));
        command.args(arguments).current_dir(lab.path("."));
        let said = command.env_remove("INSTANCED_CONFIG").output().unwrap();
        (said.status.code(), texts(&said).1)
    };
    let (code, told) = found(&["validate"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("configuration: instanced.yaml"), "{told}");
    let (_, told) = found(&["reconcile", "--dry-run"]);
    assert!(told.contains("configuration: instanced.yaml"), "{told}");
    fs::set_permissions(lab.path("instanced.yaml"), Permissions::from_mode(0o666)).unwrap();
    let (code, told) = found(&["validate"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("every user can write to it") && told.contains("--config"),
        "{told}"
    );
    assert!(lab.run(&["validate"]).status.success());
}
