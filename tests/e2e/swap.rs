//! `start-first` through a real Traefik: a client that comes every 20 ms while generations change and other
//! containers come and go. No attempt may fail, whichever provider carries the routes, with and without
//! Traefik's API.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::daemon::Daemon;
use super::edge::Edge;
use super::engine::{TINY, TINY_CHECKED, docker};
use super::lab::{Lab, tiny};
use super::said::{check, eventually};
use super::visitor::Visitor;

const SOON: Duration = Duration::from_secs(60);
const SWAPS: u32 = 2;

/// A manifest whose generation `n` takes a while to listen, as a browser does.
fn manifest(image: &str, n: u32) -> String {
    format!(
        "replace: start-first\nimage: {image}\n\
         env: {{ TINY_SLOW_START_MS: 600, ROUND: {n} }}\n\
         health: {{ interval: 1s, timeout: 1s, start_period: 10s }}\n"
    )
}

fn save(lab: &Lab, text: &str) {
    let rest: Vec<_> = text.lines().filter(|l| !l.starts_with("image:")).collect();
    let image = text
        .lines()
        .find(|l| l.starts_with("image:"))
        .unwrap_or_default();
    let whole = tiny(&rest.join("\n")).replace(&format!("image: {TINY}"), image);
    lab.save("alice", &whole);
}

fn issue(lab: &Lab) -> String {
    lab.instanced(&["token", "issue", "alice", "--label", "visitor"])
        .expect_code(0)
        .stdout
        .split_ascii_whitespace()
        .find(|word| word.starts_with("mcp_"))
        .expect("a token")
        .to_owned()
}

/// Containers that come and go beside, each with a route of its own where labels are read.
struct Crowd(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Crowd {
    fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, manager) = (Arc::clone(&stop), lab.manager.clone());
        let work = move || {
            let network = super::lab::network();
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("{manager}-crowd-{n}");
                let (owner, rule) = (
                    format!("instanced.manager={manager}"),
                    format!("traefik.http.routers.{name}.rule=Host(`{name}.localhost`)"),
                );
                docker(&[
                    "run",
                    "--detach",
                    "--name",
                    &name,
                    "--network",
                    &network,
                    "--label",
                    &owner,
                    "--label",
                    "traefik.enable=true",
                    "--label",
                    &rule,
                    TINY,
                ]);
                docker(&["rm", "--force", &name]);
            }
        };
        Self(stop, Some(std::thread::spawn(work)))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(work) = self.1.take() {
            work.join().expect("it runs docker only");
        }
    }
}

fn swaps(name: &str, image: &str, by_files: bool, api: bool) {
    let lab = Lab::open(name);
    let mut keys = "middlewares: [security-headers@file]".to_owned();
    if by_files {
        let _ = write!(
            keys,
            ", provider: {{ file: {} }}",
            lab.path("dynamic").display()
        );
    }
    if api {
        let _ = write!(keys, ", api: \"http://{}\"", lab.api);
    }
    lab.configure_edge(&keys, "");
    let edge = if by_files {
        Edge::start_by_files(&lab, "dynamic")
    } else {
        Edge::start(&lab)
    };
    let _daemon = Daemon::start(&lab);
    save(&lab, &manifest(image, 0));
    eventually("alice runs", SOON, || lab.container("alice"));
    let token = issue(&lab);
    edge.becomes(401, "mcp-alice", "/mcp", SOON);
    let crowd = Crowd::start(&lab);
    let visitor = Visitor::start(lab.http, "mcp-alice", &token);
    let how = format!(
        "{}, {}",
        if by_files { "files" } else { "labels" },
        if api { "traefik.api" } else { "no API" }
    );
    check(
        "swap",
        &format!("{how}: {SWAPS} swaps, other containers come and go, no attempt fails"),
        || {
            for n in 1..=SWAPS {
                let old = lab.container("alice").expect("one runs");
                save(&lab, &manifest(image, n));
                eventually("the new generation is alone", SOON, || {
                    let new = lab.container("alice")?;
                    let other = new.id != old.id;
                    other.then_some(()).ok_or_else(|| "the old one".to_owned())
                });
            }
            std::thread::sleep(Duration::from_millis(500));
            let counts = visitor.stop();
            tell(&format!(
                "{how}: {} attempts over {SWAPS} swaps, {} failed, the slowest took {} ms",
                counts.attempts,
                counts.failed.len(),
                counts.slowest
            ));
            assert!(counts.attempts > 100, "{counts:?}");
            assert_eq!(counts.failed, [] as [&str; 0], "of {}", counts.attempts);
        },
    );
    drop(crowd);
}

/// A figure, whatever the harness captures.
fn tell(figure: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "     swap: {figure}");
}

#[test]
fn no_attempt_fails_with_labels_and_the_api() {
    swaps("swap-la", TINY_CHECKED, false, true);
}

#[test]
fn no_attempt_fails_with_labels_alone() {
    swaps("swap-l", TINY_CHECKED, false, false);
}

#[test]
fn no_attempt_fails_with_files_and_the_api() {
    swaps("swap-fa", TINY, true, true);
}

#[test]
fn no_attempt_fails_with_files_alone() {
    swaps("swap-f", TINY, true, false);
}

#[test]
fn a_generation_that_never_becomes_healthy_leaves_the_old_one_serving() {
    let lab = Lab::open("swap-ill");
    let keys = format!("api: \"http://{}\"", lab.api);
    lab.configure_edge(&keys, "");
    let edge = Edge::start(&lab);
    let _daemon = Daemon::start(&lab);
    save(&lab, &manifest(TINY_CHECKED, 0));
    let old = eventually("alice runs", SOON, || lab.container("alice"));
    let token = issue(&lab);
    edge.becomes(401, "mcp-alice", "/mcp", SOON);
    let visitor = Visitor::start(lab.http, "mcp-alice", &token);
    check(
        "swap",
        "a new generation that ends at once is removed and tried again, and status shows its last lines",
        || {
            let ill = "replace: start-first\nimage: IMAGE\nenv: { TINY_EXIT_AFTER_MS: 300 }";
            save(&lab, &ill.replace("IMAGE", TINY_CHECKED));
            eventually("it is tried twice", SOON, || {
                let log = lab.log();
                let failed: Vec<_> = log.lines().filter(|l| l.contains("step failed")).collect();
                if failed.len() < 2 {
                    return Err(format!("{} times", failed.len()));
                }
                Ok(())
            });
            assert!(
                !lab.log().contains("tiny: serving"),
                "output is for people who ask"
            );
            lab.instanced(&["status", "alice"])
                .expect_words(&["tiny: serving"]);
            eventually("the old one is left alone", SOON, || {
                let now = lab.container("alice")?;
                (now == old).then_some(()).ok_or_else(|| format!("{now:?}"))
            });
            let (phase, reason) = lab.status("alice").expect("a status");
            assert_eq!(phase, "failed", "{reason}");
            let counts = visitor.stop();
            tell(&format!(
                "an ill generation: {} attempts, {} failed",
                counts.attempts,
                counts.failed.len()
            ));
            assert_eq!(counts.failed, [] as [&str; 0], "of {}", counts.attempts);
        },
    );
}
