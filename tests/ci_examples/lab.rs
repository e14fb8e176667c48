//! A repository of manifests with a pull request, as a runner checks it out, and stand-ins for what needs the network.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::memory::Memory;
use instanced::daemon::round::{self, Ask};
use instanced::daemon::site::Site;
use instanced::daemon::snapshots;
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::files::load_config;
use instanced::doors::store::Store;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::support::fake_containers::FakeContainers;

/// The rules, as the host and CI have them.
const RULES: &str = "domain: example.com\n\
                     policy: { images: { allow: [\"localhost/instanced/browser:*\", \"acme/*\"] } }\n";

/// What a program said, on both streams, and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub all: String,
}

/// A repository, a clone of it that stands on the pull request, and a directory of programs.
pub struct Lab(TempDir);

impl Lab {
    /// With these manifests changed by the pull request.
    pub fn with(changes: &[(&str, &str)]) -> Self {
        let lab = Self(tempfile::tempdir().expect("a directory"));
        for dir in ["bin", "temp", "home"] {
            std::fs::create_dir(lab.path(dir)).expect("a directory");
        }
        let origin = lab.path("origin");
        lab.git(
            Path::new("/"),
            &[
                "init",
                "--quiet",
                "--initial-branch",
                "main",
                &shown(&origin),
            ],
        );
        lab.write("origin/ci/instanced.yaml", RULES);
        lab.write(
            "origin/fleet.yaml",
            "defaults: { template: mcp-http, image: \"acme/x:1\" }\n",
        );
        for name in ["alice", "bob"] {
            lab.write(&format!("origin/instances.d/{name}.yaml"), "{}\n");
        }
        lab.commit("what stands");
        lab.git(&origin, &["switch", "--quiet", "--create", "change"]);
        for (path, text) in changes {
            lab.write(&format!("origin/{path}"), text);
        }
        lab.commit("what is under review");
        // The base has gone on meanwhile, which is no part of the change.
        lab.git(&origin, &["switch", "--quiet", "main"]);
        lab.write("origin/instances.d/newcomer.yaml", "{}\n");
        lab.commit("somebody else's");
        let work = lab.path("work");
        lab.git(
            Path::new("/"),
            &["clone", "--quiet", &shown(&origin), &shown(&work)],
        );
        lab.git(&work, &["checkout", "--quiet", "--detach", "origin/change"]);
        lab.stand_in("gh", "cp \"$7\" \"$LAB/comment.md\"");
        lab.stand_in("curl", "for last; do case $last in body@*) cp \"${last#body@}\" \"$LAB/comment.md\";; esac; done");
        // It builds nothing; from then on there is a binary.
        let binary = env!("CARGO_BIN_EXE_instanced");
        lab.stand_in(
            "cargo",
            &format!(
                "echo \"cargo in $PWD\" >>\"$LAB/calls\"\nln -s '{binary}' \"$LAB/bin/instanced\""
            ),
        );
        lab
    }

    /// The same with a snapshot of the base's fleet, in a branch as the README says.
    pub async fn with_snapshot(changes: &[(&str, &str)]) -> Self {
        let lab = Self::with(changes);
        let text = lab.snapshot().await;
        lab.write("snapshot.json", &text);
        let (host, work) = (lab.path("host"), lab.path("work"));
        lab.git(
            Path::new("/"),
            &[
                "clone",
                "--quiet",
                &shown(&lab.path("origin")),
                &shown(&host),
            ],
        );
        lab.program("host-bin/instanced", "cp \"$LAB/snapshot.json\" \"$3\"");
        for script in from_readme() {
            let said = Self::run(
                lab.command("sh")
                    .current_dir(&host)
                    .args(["-eu", "-c", &script])
                    .env(
                        "PATH",
                        format!(
                            "{}:/usr/local/bin:/usr/bin:/bin",
                            lab.path("host-bin").display()
                        ),
                    ),
            );
            assert_eq!(said.code, Some(0), "{script}\n{}", said.all);
        }
        lab.git(&work, &["fetch", "--quiet"]);
        lab
    }

    /// What `instanced snapshot` writes on a host where what stands was made.
    async fn snapshot(&self) -> String {
        let loaded = load_config(Some(&self.path("origin/ci/instanced.yaml")), &self.path(""));
        let mut config = loaded.expect("the rules are sound").config;
        config.source.dir = self.path("origin/instances.d");
        let site = Site {
            config,
            config_path: None,
            state: self.path("state"),
            warnings: Vec::new(),
        };
        let (manager, network) = (site.config.manager.clone(), site.config.network.clone());
        let engine = FakeContainers::new(&["acme/x:1"], &network.name);
        let fleet = Fleet::new(engine.clone(), manager.clone(), network.clone());
        let store = Arc::new(Store::open(&site.state, Duration::ZERO).expect("the store"));
        let policy = site.config.reconcile.clone();
        let mut converger =
            Converger::new(policy, fleet, Arc::clone(&store), Clock::system(), || 0.5);
        let source = round::read_source(&site).expect("a source");
        let desired = round::desired(&source, &site).expect("it is sound");
        let view = converger
            .look(desired, Ask::default(), false)
            .await
            .expect("a look");
        converger
            .perform(&view, false, &CancellationToken::new())
            .await;
        let now = jiff::Timestamp::now();
        let memory = Memory::read(&store, now).expect("the store");
        let acts = store.acts().expect("the store");
        let taken = snapshots::record(
            &Fleet::new(engine, manager, network),
            &site,
            &memory,
            acts,
            now,
        )
        .await;
        serde_json::to_string(&taken.expect("a snapshot")).expect("a snapshot")
    }

    /// A path of the lab's.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    /// A file of the lab's; nothing where there is none.
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    /// Writes a file.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("below the lab")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// A program that notes how it was called, and then does this.
    fn stand_in(&self, name: &str, does: &str) {
        let does = format!("echo \"{name} $*\" >>\"$LAB/calls\"\n{does}");
        self.program(&format!("bin/{name}"), &does);
    }

    /// A program of the lab's.
    pub fn program(&self, path: &str, does: &str) {
        self.write(path, &format!("#!/bin/sh\nset -eu\n{does}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(path), mode).expect("a file of ours");
    }

    /// Puts the binary on PATH.
    pub fn install(&self) {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_instanced"), self.path("bin/instanced"))
            .expect("a link");
    }

    /// A program in the clone, with nothing of this process's environment but what is named.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("work"))
            .env_clear()
            .env("LAB", self.path(""))
            .env("HOME", self.path("home"))
            .env(
                "PATH",
                format!(
                    "{}:/usr/local/bin:/usr/bin:/bin",
                    self.path("bin").display()
                ),
            )
            .envs(IDENTITY);
        command
    }

    /// Runs it to its end.
    pub fn run(command: &mut Command) -> Said {
        let output = command.output().expect("the program runs");
        let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        Said {
            code: output.status.code(),
            all: said.concat(),
        }
    }

    /// Git, somewhere.
    pub fn git(&self, dir: &Path, arguments: &[&str]) -> String {
        let said = Self::run(self.command("git").current_dir(dir).args(arguments));
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.all);
        said.all.trim().to_owned()
    }

    fn commit(&self, message: &str) {
        let origin = self.path("origin");
        self.git(&origin, &["add", "--all"]);
        self.git(
            &origin,
            &["commit", "--quiet", "--allow-empty", "--message", message],
        );
    }
}

/// Who commits, whatever this machine says of it.
const IDENTITY: [(&str, &str); 6] = [
    ("GIT_AUTHOR_NAME", "test"),
    ("GIT_AUTHOR_EMAIL", "test@example.com"),
    ("GIT_COMMITTER_NAME", "test"),
    ("GIT_COMMITTER_EMAIL", "test@example.com"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
];

/// What the README has a person and a timer type on the host; twice for the timer.
fn from_readme() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/README.md");
    let readme = std::fs::read_to_string(path).expect("the README");
    let blocks = readme.split("```sh\n").skip(1);
    let script = |block: &str| block.split("```").next().unwrap_or_default().to_owned();
    let scripts: Vec<String> = blocks.map(script).collect();
    let [once, timer] = &scripts[..] else {
        panic!("the README has {} scripts", scripts.len());
    };
    assert!(timer.contains("instanced snapshot"), "{timer}");
    vec![once.clone(), timer.clone(), timer.clone()]
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
