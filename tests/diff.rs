//! `instanced diff` on a real git repository: what a pull request would do, from its objects alone.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A repository with a fleet in a directory below its top.
struct Lab(TempDir);

struct Said {
    code: Option<i32>,
    stdout: String,
    all: String,
}

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().expect("a directory"));
        lab.git(&["init", "--quiet", "--initial-branch", "main"]);
        lab.write(
            "host/instanced.yaml",
            "source: { dir: ../fleet/instances.d }\n",
        );
        lab
    }

    fn path(&self, relative: &str) -> std::path::PathBuf {
        self.0.path().join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("below the lab")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .current_dir(self.0.path())
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args([
                "-c",
                "commit.gpgsign=false",
                "-c",
                "core.hooksPath=/dev/null",
            ])
            .args(arguments)
            .output()
            .expect("git is there");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn commit(&self, tag: &str) {
        self.git(&["add", "--all", "fleet"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", tag]);
        self.git(&["tag", tag]);
    }

    /// The first revision: five instances.
    fn begin(&self) {
        self.write(
            "fleet/fleet.yaml",
            "defaults: { template: mcp-http, image: \"acme/x:1\" }\n",
        );
        for name in ["alice", "bob", "carol", "dave", "erin"] {
            self.write(&format!("fleet/instances.d/{name}.yaml"), "{}\n");
        }
        self.write("fleet/instances.d/erin.yaml", "protect: true\n");
        self.commit("one");
    }

    fn diff(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
            .current_dir(self.path("host"))
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .args(["--config", "instanced.yaml", "diff"])
            .args(arguments)
            .output()
            .expect("the binary runs");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        Said {
            code: output.status.code(),
            all: format!("{stdout}{stderr}"),
            stdout,
        }
    }

    fn effects(&self, arguments: &[&str]) -> Vec<(String, String)> {
        let said = self.diff(&[arguments, &["--format", "json"]].concat());
        let told: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.all));
        let all = told["comparison"]["differences"]
            .as_array()
            .expect("a list");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        all.iter()
            .map(|d| (text(&d["instance"]), text(&d["effect"])))
            .collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn each_change_is_told_with_what_it_does() {
    let lab = Lab::new();
    lab.begin();
    let fleet = |name: &str, text: &str| lab.write(&format!("fleet/instances.d/{name}.yaml"), text);
    fleet("alice", "image: acme/x:2\n");
    fleet("bob", "resources: { memory: 2GiB }\n");
    fleet("carol", "owner: me@example.com\n");
    std::fs::remove_file(lab.path("fleet/instances.d/dave.yaml")).expect("it is there");
    std::fs::remove_file(lab.path("fleet/instances.d/erin.yaml")).expect("it is there");
    fleet("frank", "state: stopped\n");
    lab.commit("two");
    // What is not committed is no part of any revision.
    fleet("alice", "image: acme/x:3\n");
    fleet("ghost", "{}\n");

    let told = lab.effects(&["--base", "one"]);
    let expected = [
        ("alice", "replaced"),
        ("bob", "in_place"),
        ("carol", "nothing"),
        ("dave", "removed"),
        ("erin", "kept"),
        ("frank", "added"),
    ];
    assert_eq!(told, pairs(&expected));

    let said = lab.diff(&["--base", "one", "--detailed-exitcode"]);
    assert_eq!(said.code, Some(2), "{}", said.all);
    for words in [
        "(sessions end)",
        "-image: acme/x:1",
        "+image: acme/x:2",
        "sessions end on 2 instances",
        "+owner: me@example.com",
    ] {
        assert!(said.all.contains(words), "no `{words}`: {}", said.all);
    }
    let said = lab.diff(&["--base", "two", "--head", "two", "--detailed-exitcode"]);
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(
        said.all.contains("the same for all 4 instances"),
        "{}",
        said.all
    );
    // The other way round, what came goes.
    let back = lab.effects(&["--base", "two", "--head", "one"]);
    assert!(
        back.contains(&("frank".to_owned(), "removed".to_owned())),
        "{back:?}"
    );
}

#[test]
fn a_comment_for_a_pull_request() {
    let lab = Lab::new();
    lab.begin();
    lab.write(
        "fleet/fleet.yaml",
        "defaults: { template: mcp-http, image: \"acme/x:1\", env: { A: \"```\" } }\n",
    );
    lab.commit("two");
    let said = lab.diff(&["--base", "one", "--format", "markdown", "--color", "always"]);
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(!said.stdout.contains('\u{1b}'), "{}", said.stdout);
    assert_eq!(said.stdout.matches("| `~` |").count(), 5, "{}", said.stdout);
    assert!(
        said.stdout.contains("\n````diff\n"),
        "a fence that holds: {}",
        said.stdout
    );
}

#[test]
fn what_is_wrong_with_a_revision_is_told_at_its_place() {
    let lab = Lab::new();
    lab.begin();
    lab.write("fleet/instances.d/alice.yaml", "colour: red\n");
    std::os::unix::fs::symlink("alice.yaml", lab.path("fleet/instances.d/zoe.yaml"))
        .expect("a link");
    lab.commit("two");
    lab.write("fleet/instances.d/alice.yaml", "something: else\n");
    let said = lab.diff(&["--base", "one"]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    for words in [
        "alice.yaml:1:1",
        "| colour: red",
        "held, its manifest cannot be used",
        "a symbolic link",
    ] {
        assert!(said.all.contains(words), "no `{words}`: {}", said.all);
    }
    // The next revision may mend it.
    lab.write("fleet/instances.d/alice.yaml", "{}\n");
    std::fs::remove_file(lab.path("fleet/instances.d/zoe.yaml")).expect("it is there");
    lab.commit("three");
    let said = lab.diff(&["--base", "two"]);
    assert!(
        said.all.contains("cannot be used, so they count as new"),
        "{}",
        said.all
    );

    lab.write("fleet/fleet.yaml", "defaults: [\n");
    lab.commit("four");
    let said = lab.diff(&["--base", "three"]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    assert!(
        said.all.contains("at HEAD,") && said.all.contains("fleet.yaml:"),
        "{}",
        said.all
    );
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_way_out() {
    let lab = Lab::new();
    lab.begin();
    let refused = |arguments: &[&str], words: &str| {
        let said = lab.diff(arguments);
        assert_eq!(said.code, Some(1), "{}", said.all);
        assert!(said.all.contains(words), "no `{words}`: {}", said.all);
    };
    refused(
        &["--base", "nowhere"],
        "there is no revision `nowhere` here; fetch it first",
    );
    refused(&["--base=--upload-pack=x"], "there is no revision");
    refused(
        &["--base", "one", "--instances", "elsewhere"],
        "neither one nor HEAD has manifests",
    );
    let outside = tempfile::tempdir().expect("a directory");
    let dir = outside.path().join("instances.d").display().to_string();
    refused(
        &["--base", "one", "--instances", &dir],
        "is in no git repository",
    );
}

#[test]
fn a_policy_from_the_revision_itself_is_pointed_out() {
    let lab = Lab::new();
    lab.begin();
    let config = lab.path("fleet/instanced.yaml");
    std::fs::write(&config, "source: { dir: instances.d }\n").expect("a file");
    lab.commit("two");
    let config = config.display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
        .current_dir(Path::new("/"))
        .args(["--config", &config, "diff", "--base", "one"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("give --config a file of the host's"),
        "{said}"
    );
}
