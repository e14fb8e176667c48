//! What is merged is what runs: a repository, the daemon that follows it, and the real engine.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::daemon::Daemon;
use super::engine;
use super::lab::{Lab, tiny};
use super::said::{Said, check, eventually, run};

const SOON: Duration = Duration::from_secs(60);

/// A working tree that pushes to the repository that the lab's daemon follows.
struct Team<'l>(&'l Lab);

impl<'l> Team<'l> {
    fn new(lab: &'l Lab) -> Self {
        let team = Self(lab);
        fs::create_dir(lab.path("work")).expect("a new directory");
        let upstream = lab.path("upstream.git").display().to_string();
        team.git(&[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch",
            "main",
            &upstream,
        ]);
        team.git(&["init", "--quiet", "--initial-branch", "main"]);
        team.git(&["remote", "add", "upstream", &upstream]);
        lab.configure("");
        let path = lab.path("instanced.yaml");
        let text = fs::read_to_string(&path).expect("instanced.yaml");
        let git = "source: { git: { url: upstream.git, branch: main, interval: 1h } }";
        let text = text.replace("source: { dir: instances.d }", git);
        fs::write(path, text).expect("instanced.yaml");
        team
    }

    fn git(&self, arguments: &[&str]) -> Said {
        run("git", |command| {
            command
                .current_dir(self.0.path("work"))
                .args([
                    "-c",
                    "user.name=Ada Lovelace",
                    "-c",
                    "user.email=ada@example.com",
                ])
                .args([
                    "-c",
                    "core.hooksPath=/dev/null",
                    "-c",
                    "commit.gpgsign=false",
                ])
                .args(arguments);
        })
        .expect_code(0)
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.0.path("work/instances.d").join(format!("{name}.yaml"))
    }

    /// Merges manifests under a message, and returns the commit's id.
    fn merge(&self, manifests: &[(&str, &str)], message: &str) -> String {
        fs::create_dir_all(self.0.path("work/instances.d")).expect("a directory");
        for (name, text) in manifests {
            fs::write(self.manifest(name), text).expect("a manifest");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.git(&["push", "--quiet", "upstream", "main"]);
        self.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned()
    }

    /// Asks over the control socket.
    fn ask(&self, method: &str, path: &str) -> Said {
        run("curl", |command| {
            command
                .args(["--silent", "--show-error", "--unix-socket"])
                .arg(self.0.path("state/control.sock"))
                .args(["--request", method, &format!("http://localhost{path}")]);
        })
    }

    /// Has the daemon fetch, and tells what it answers.
    fn sync(&self) -> Said {
        self.ask("POST", "/v1/sync")
    }

    /// Listens to events, from when it returns.
    fn listen(&self) -> Events {
        let mut child = Command::new("curl")
            .args(["--silent", "--no-buffer", "--unix-socket"])
            .arg(self.0.path("state/control.sock"))
            .arg("http://localhost/v1/events")
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is there");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("text");
        assert!(first.contains("from now on"), "{first}");
        Events { child, lines }
    }

    /// The change is told with its commit, as it happens and in the figures.
    fn assert_told(&self, events: Events, second: &str) {
        let told = events.told();
        let step = told.iter().find(|event| event["event"] == "step");
        let step = step.unwrap_or_else(|| panic!("no step is told: {told:#?}"));
        assert_eq!(
            (&step["instance"], &step["action"]),
            (&"two".into(), &"replace".into())
        );
        assert_eq!(step["outcome"], "done", "{step:#}");
        assert_eq!(step["commit"]["id"], second, "{step:#}");
        let names: Vec<_> = told
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert_eq!(names, ["fetched", "step", "round", "applied"]);
        let figures = self.ask("GET", "/metrics").stdout;
        let author = "author=\"Ada Lovelace <ada@example.com>\"} 1";
        let row = format!(
            "instanced_source_revision{{revision=\"git:{}\",{author}",
            &second[..12]
        );
        assert!(figures.contains(&row), "no {row} in\n{figures}");
    }

    fn source(&self) -> serde_json::Value {
        let said = self.0.instanced(&["--format", "json", "status"]);
        said.json()["source"].clone()
    }

    fn until_at(&self, id: &str) {
        eventually("the whole fleet is at the commit", SOON, || {
            let source = self.source();
            let there = source["commit"]["id"] == id && source["behind"].is_null();
            if there {
                Ok(())
            } else {
                Err(source.to_string())
            }
        });
    }
}

/// A stream of events.
struct Events {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Events {
    /// What was told up to a commit that the whole fleet is at.
    fn told(mut self) -> Vec<serde_json::Value> {
        let mut told = Vec::new();
        for line in &mut self.lines {
            let line = line.expect("text");
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let last = event["event"] == "applied";
            told.push(event);
            if last {
                break;
            }
        }
        told
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_merged_is_what_runs() {
    let lab = Lab::open("git");
    let team = Team::new(&lab);
    let first = team.merge(&[("one", &tiny("")), ("two", &tiny(""))], "two of them");
    check(
        "git",
        "a dry run fetches, and leaves nothing behind",
        || {
            lab.instanced(&["reconcile", "--dry-run"])
                .expect_code(0)
                .expect_words(&[
                    "by Ada Lovelace <ada@example.com>: two of them",
                    "2 to create",
                ]);
            assert!(!lab.path("state").exists());
        },
    );
    let daemon = Daemon::start(&lab);
    let one = eventually("one", SOON, || lab.container("one"));
    eventually("two", SOON, || lab.container("two"));
    team.until_at(&first);

    check(
        "git",
        "a commit is made at once when somebody says so",
        || {
            let events = team.listen();
            let second = team.merge(
                &[("two", &tiny("env: { A: \"1\" }"))],
                "Give two a variable",
            );
            let said = team.sync().json();
            assert!(
                said["commit"]["id"] == second || said["newest"]["id"] == second,
                "{said:#}"
            );
            team.until_at(&second);
            team.assert_told(events, &second);
            let two = lab.container("two").expect("it runs");
            assert!(two.name.ends_with("-g2"), "{}", two.name);
            let log = lab.log();
            let revision = format!("\"revision\":\"git:{}\"", &second[..12]);
            let line = log
                .lines()
                .find(|line| line.contains("\"action\":\"replace\"") && line.contains(&revision))
                .unwrap_or_else(|| panic!("no line tells the replacement:\n{log}"));
            assert!(line.contains("Ada Lovelace <ada@example.com>"), "{line}");
        },
    );

    check(
        "git",
        "a fleet whose repository is gone is healed, and nothing removed",
        || {
            fs::rename(lab.path("upstream.git"), lab.path("away")).expect("a rename");
            assert!(team.sync().stdout.contains("cannot fetch"));
            engine::must(&["rm", "--force", &one.id]);
            eventually("one comes back", SOON, || {
                let again = lab.container("one")?;
                if again.id == one.id {
                    Err("not yet".to_owned())
                } else {
                    Ok(())
                }
            });
            lab.container("two").expect("it runs on");
            let told = team.source();
            assert!(told["fetch_failure"].is_string(), "{told:#}");
            fs::rename(lab.path("away"), lab.path("upstream.git")).expect("a rename");
        },
    );

    check(
        "git",
        "a revert is the way back, and a round without a daemon goes it",
        || {
            daemon.kill();
            team.git(&["revert", "--no-edit", "HEAD"]);
            team.git(&["push", "--quiet", "upstream", "main"]);
            lab.instanced(&["reconcile", "--dry-run"]).expect_words(&[
                "two",
                "replace",
                "Revert \"Give two a variable\"",
            ]);
            lab.instanced(&["reconcile"])
                .expect_code(0)
                .expect_words(&["two", "replaced"]);
            let two = lab.container("two").expect("it runs");
            assert!(two.name.ends_with("-g3"), "{}", two.name);
            let told = team.source();
            assert!(told["behind"].is_null(), "{told:#}");
        },
    );
}
