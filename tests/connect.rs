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
