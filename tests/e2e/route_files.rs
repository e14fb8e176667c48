//! `traefik.provider: { file: DIR }`: routes as files, and containers that know nothing of them.

use std::path::PathBuf;
use std::time::Duration;

use super::daemon::Daemon;
use super::edge::Edge;
use super::lab::{Lab, tiny};
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);
/// The header that the middleware of the lab's own sets.
const HEADER: &str = "referrer-policy";

fn configure(lab: &Lab, middlewares: &str) {
    let dir = lab.path("dynamic").display().to_string();
    let keys = format!("middlewares: [{middlewares}], provider: {{ file: {dir} }}");
    lab.configure_edge(&keys, "");
}

fn file(lab: &Lab, name: &str) -> PathBuf {
    let name = format!("instanced-{}-{name}.yaml", lab.manager);
    lab.path("dynamic").join(name)
}

#[test]
fn a_changed_route_touches_no_container_and_routes_outlive_the_daemon() {
    let lab = Lab::open("files");
    let edge = Edge::start_by_files(&lab, "dynamic");
    configure(&lab, "security-headers@file");
    lab.save("alice", &tiny("endpoints: { mcp: { auth: none } }"));
    lab.save("bob", &tiny(""));

    check(
        "route files",
        "one command brings instances up, and leads to them once they answer",
        || {
            lab.instanced(&["reconcile"]).expect_code(0);
            assert!(file(&lab, "alice").exists() && file(&lab, "bob").exists());
            // bob's guard is asked of the daemon, which is not there yet.
            edge.becomes(200, "mcp-alice", "/screen", SOON);
        },
    );
    let daemon = Daemon::start(&lab);
    let alice = lab.container("alice").expect("it runs");
    edge.becomes(200, "mcp-alice", "/screen", SOON);
    let answer = edge.get("mcp-alice", "/screen", &[]);
    assert!(answer.head.contains(HEADER), "{}", answer.head);

    let daemon = check(
        "route files",
        "a changed middleware rewrites the route, the container runs on",
        || {
            assert_eq!(daemon.terminate().0.code(), Some(0));
            configure(&lab, "");
            let daemon = Daemon::start(&lab);
            eventually("the header is gone", SOON, || {
                let answer = edge.get("mcp-alice", "/screen", &[]);
                let gone = answer.status == 200 && !answer.head.contains(HEADER);
                gone.then_some(()).ok_or_else(|| answer.head.clone())
            });
            assert_eq!(lab.container("alice").as_ref(), Ok(&alice), "id and start");
            daemon
        },
    );
    check(
        "route files",
        "so does a changed guard in a manifest",
        || {
            lab.save("alice", &tiny(""));
            edge.becomes(401, "mcp-alice", "/screen", SOON);
            assert_eq!(lab.container("alice").as_ref(), Ok(&alice));
            lab.instanced(&["reconcile", "--dry-run", "--detailed-exitcode"])
                .expect_code(0);
        },
    );
    check(
        "route files",
        "a stopped daemon leaves the routes standing",
        || {
            let text = std::fs::read_to_string(file(&lab, "alice")).expect("a file");
            lab.save("alice", &tiny("endpoints: { mcp: { auth: none } }"));
            edge.becomes(200, "mcp-alice", "/screen", SOON);
            assert_eq!(daemon.terminate().0.code(), Some(0));
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(edge.get("mcp-alice", "/screen", &[]).status, 200);
            assert_ne!(
                std::fs::read_to_string(file(&lab, "alice")).ok(),
                Some(text)
            );
        },
    );
}

#[test]
fn files_go_with_their_instances_and_nothing_else_does() {
    let lab = Lab::open("files-go");
    let edge = Edge::start_by_files(&lab, "dynamic");
    configure(&lab, "");
    lab.save("alice", &tiny("endpoints: { mcp: { auth: none } }"));
    lab.save("bob", &tiny(""));
    let daemon = Daemon::start(&lab);
    edge.becomes(200, "mcp-alice", "/screen", SOON);
    edge.becomes(401, "mcp-bob", "/mcp", SOON);
    check(
        "route files",
        "a deleted manifest takes its file away, and nothing else",
        || {
            let foreign = lab.path("dynamic").join("instanced-somebody-x.yaml");
            std::fs::write(
                &foreign,
                "http: { routers: { x: { rule: 'Host(`x`)', service: noop@internal } } }\n",
            )
            .expect("a file");
            lab.delete("alice");
            eventually("the file goes", SOON, || {
                (!file(&lab, "alice").exists())
                    .then_some(())
                    .ok_or_else(|| "it is there".to_owned())
            });
            edge.becomes(404, "mcp-alice", "/screen", SOON);
            assert!(file(&lab, "bob").exists() && foreign.exists());
        },
    );
    check("route files", "a stopped instance has none", || {
        lab.save("bob", &tiny("state: stopped"));
        eventually("the file goes", SOON, || {
            (!file(&lab, "bob").exists())
                .then_some(())
                .ok_or_else(|| "it is there".to_owned())
        });
    });
    check(
        "route files",
        "a directory that is not there is told with the way out",
        || {
            drop(daemon);
            let keys = format!("provider: {{ file: {} }}", lab.path("nowhere").display());
            lab.configure_edge(&keys, "");
            lab.save("bob", &tiny(""));
            lab.instanced(&["reconcile"])
                .expect_code(1)
                .expect_words(&["nowhere", "traefik.provider.file"]);
            lab.container("bob").expect("it runs all the same");
        },
    );
}
