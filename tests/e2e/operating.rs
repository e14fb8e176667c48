//! What an operator sees and types: status, logs, top and history, of the running daemon and without one.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::daemon::Daemon;
use super::lab::{BINARY, Lab, tiny};
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);

fn actions(lab: &Lab, name: &str) -> Vec<String> {
    let told = lab.instanced(&["history", name, "--format", "json"]);
    let told = told.expect_code(0).json();
    let entries = told.as_array().expect("entries").iter();
    entries
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("action"), text("result"))
        })
        .collect()
}

#[test]
fn an_operator_sees_what_runs_what_it_does_and_what_was_done_to_it() {
    let lab = Lab::open("operating");
    lab.save("talks", &tiny("owner: e2e@example.com"));
    lab.save("works", &tiny(""));
    lab.save("still", &tiny("state: stopped"));
    let daemon = Daemon::start(&lab);
    eventually("both run", SOON, || {
        for name in ["talks", "works"] {
            lab.container(name)?;
        }
        Ok::<_, String>(())
    });
    status_tells_what_they_use(&lab);
    let daemon = a_log_goes_on(&lab, daemon);
    words_are_written_down(&lab);
    what_is_gone_keeps_its_history(&lab);
    daemon.terminate();
    without_a_daemon(&lab);
}

fn status_tells_what_they_use(lab: &Lab) {
    check(
        "operating",
        "status tells what they use, and by which revision they are",
        || {
            // An engine that is busy with others may not tell at once.
            let told = eventually("usage is told", SOON, || {
                let told = lab.instanced(&["status", "--format", "json"]).json();
                let all = told["instances"].as_array().expect("instances");
                let is_told = |one: &serde_json::Value| {
                    let usage = &one["usage"];
                    usage["memory"].as_u64().is_some_and(|bytes| bytes > 0)
                        && usage["pids"].as_u64().is_some_and(|pids| pids > 0)
                        && usage["cpu"].as_f64().is_some()
                };
                match all.iter().filter(|one| is_told(one)).count() {
                    2 => Ok(told),
                    _ => Err(told.to_string()),
                }
            });
            let revision = told["source"]["revision"].as_str().expect("a revision");
            let all = told["instances"].as_array().expect("instances");
            let one = |name: &str| all.iter().find(|one| one["name"] == name).expect("it");
            for name in ["talks", "works"] {
                assert_eq!(one(name)["revision"], revision, "{told}");
            }
            assert!(one("still")["usage"].is_null(), "{told}");
            lab.instanced(&["status", "--wide"])
                .expect_code(0)
                .expect_words(&[
                    "talks",
                    "running",
                    "e2e@example.com",
                    "mcp-talks.mcp.localhost",
                ]);
            lab.instanced(&["top", "--once"])
                .expect_code(0)
                .expect_words(&["talks", "works", "PIDS"]);
        },
    );
}

fn a_log_goes_on(lab: &Lab, daemon: Daemon) -> Daemon {
    check(
        "operating",
        "a followed log goes on with the next daemon and in the next generation",
        || {
            let mut following = Command::new(BINARY)
                .arg("--config")
                .arg(lab.path("instanced.yaml"))
                .args(["logs", "talks", "works", "--follow", "--format", "json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program");
            let (sender, lines) = mpsc::channel();
            let out = BufReader::new(following.stdout.take().expect("piped"));
            std::thread::spawn(move || {
                for line in out.lines().map_while(Result::ok) {
                    let line: serde_json::Value =
                        serde_json::from_str(&line).expect("a line of JSON");
                    let told = format!(
                        "{} g{}",
                        line["instance"].as_str().unwrap_or(""),
                        line["generation"]
                    );
                    if sender.send(told).is_err() {
                        return;
                    }
                }
            });
            let until = |wanted: &str| loop {
                let told = lines
                    .recv_timeout(SOON)
                    .unwrap_or_else(|_| panic!("no line of {wanted}"));
                if told == wanted {
                    return;
                }
            };
            until("talks g1");
            assert_eq!(daemon.terminate().0.code(), Some(0));
            let daemon = Daemon::start(lab);
            lab.instanced(&["recreate", "talks"]).expect_code(0);
            until("talks g2");
            following.kill().expect("a child of ours");
            following.wait().expect("a child of ours");
            daemon
        },
    )
}

fn words_are_written_down(lab: &Lab) {
    check(
        "operating",
        "words of an operator and what followed are in the history",
        || {
            for order in ["suspend", "resume", "stop"] {
                lab.instanced(&[order, "works"]).expect_code(0);
                if order != "resume" {
                    lab.instanced(&[order, "works"])
                        .expect_code(0)
                        .expect_words(&["`works` is so already: an operator"]);
                    // Whoever forgets a suspension is told.
                    let held = lab
                        .instanced(&["doctor"])
                        .all()
                        .contains("works is held: an operator");
                    assert_eq!(held, order == "suspend", "{order}");
                }
            }
            lab.instanced(&["start", "works"]).expect_code(0);
            let done = [
                "create done",
                "suspend done",
                "resume done",
                "stop done",
                "start done",
            ];
            assert_eq!(actions(lab, "works"), done);
            assert_eq!(actions(lab, "talks"), ["create done", "replace done"]);
            lab.instanced(&["status", "talks"])
                .expect_code(0)
                .expect_words(&["g2", "replace g2", "an operator asks for it"]);
            nobody_is_named_and_the_nearest_is(lab);
        },
    );
}

/// With a daemon and without.
fn nobody_is_named_and_the_nearest_is(lab: &Lab) {
    for command in [
        "suspend", "resume", "stop", "history", "logs", "status", "top", "connect",
    ] {
        lab.instanced(&[command, "tlaks"])
            .expect_code(1)
            .expect_words(&["`tlaks`", "did you mean `talks`?", "instanced status"]);
    }
}

fn what_is_gone_keeps_its_history(lab: &Lab) {
    check(
        "operating",
        "an instance that is gone keeps its history",
        || {
            lab.delete("works");
            eventually("it is removed", SOON, || {
                match lab.containers("works").as_slice() {
                    [] => Ok(()),
                    left => Err(format!("{} left", left.len())),
                }
            });
            eventually("its end is told", SOON, || {
                match actions(lab, "works").last().map(String::as_str) {
                    Some("remove done") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        },
    );
}

fn without_a_daemon(lab: &Lab) {
    check(
        "operating",
        "without a daemon the same is read from engine and store",
        || {
            lab.instanced(&["status"])
                .expect_code(0)
                .expect_words(&["talks", "running", "g2", "dir:"]);
            lab.instanced(&["status", "talks", "--usage"])
                .expect_code(0)
                .expect_words(&["replace g2", "memory"]);
            // The engine takes seconds to say what they use: whoever wants that asks for it.
            let usage = |more: &[&str]| {
                let told = lab.instanced(&[&["status", "--format", "json"], more].concat());
                let told = told.expect_code(0).json();
                let all = told["instances"].as_array().expect("instances").iter();
                all.filter(|one| !one["usage"].is_null()).count()
            };
            assert_eq!(usage(&[]), 0);
            assert_eq!(usage(&["--usage"]), 1);
            lab.instanced(&["logs", "talks", "--tail", "1"])
                .expect_code(0)
                .expect_words(&["tiny: serving"]);
            lab.instanced(&["top", "--once"])
                .expect_code(0)
                .expect_words(&["talks"]);
            assert_eq!(actions(lab, "talks"), ["create done", "replace done"]);
            nobody_is_named_and_the_nearest_is(lab);
        },
    );
}
