//! Single rounds, and what the engine is asked in them: a proxy between the two writes it down.

use std::time::Duration;

use super::daemon::Daemon;
use super::lab::{Lab, tiny};
use super::proxy::Proxy;
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);
/// A watching daemon leaves a file alone that changed so lately: it may still be written.
const QUIET: Duration = Duration::from_secs(3);

/// A manifest that uses as much as it can of what an instance may say.
const RICH: &str = "\
owner: e2e@example.com
env: { LANG: C.UTF-8, EMPTY: '' }
secrets: { api_key: { from_file: SECRET } }
restart: on-failure
volumes: [ { name: data, target: /data } ]
labels: { team: qa }
health: { endpoint: mcp, path: /, expect: 200-499, interval: 2s, timeout: 1s, retries: 2 }
security: { user: \"1000:1000\", read_only: true, tmpfs: { /tmp: 16MiB } }
";

/// A fleet of every kind: a browser, one that uses everything, one that stands still.
fn fill(lab: &Lab) {
    std::fs::create_dir(lab.path("secrets")).expect("a new directory");
    let secret = lab.path("secrets").join("key");
    std::fs::write(&secret, "s3cret").expect("a secret");
    lab.save("browser", "{}");
    lab.save(
        "rich",
        &tiny(&RICH.replace("SECRET", &secret.display().to_string())),
    );
    lab.save("still", &tiny("state: stopped"));
}

#[test]
fn reconciling_twice_changes_nothing_the_second_time() {
    let lab = Lab::open("twice");
    let proxy = Proxy::start(&lab, "");
    fill(&lab);
    check(
        "rounds",
        "a dry run shows what would be, and makes no changing call",
        || {
            lab.instanced(&["reconcile", "--dry-run"])
                .expect_code(0)
                .expect_words(&["browser", "rich"]);
            lab.instanced(&["reconcile", "--dry-run", "--detailed-exitcode"])
                .expect_code(2);
            assert_eq!(proxy.changes_since(0), Vec::<String>::new());
            assert!(
                proxy.count() > 0,
                "the dry run did not ask the engine at all"
            );
        },
    );
    check("rounds", "reconcile makes the fleet", || {
        lab.instanced(&["reconcile"]).expect_code(0);
        lab.container("browser").expect("it runs");
        lab.container("rich").expect("it runs");
        assert_eq!(
            lab.containers("still"),
            [],
            "a new manifest that says stopped creates nothing yet"
        );
        assert_ne!(
            proxy.changes_since(0),
            Vec::<String>::new(),
            "the proxy saw nothing"
        );
    });
    check("rounds", "reconciling again makes no changing call", || {
        let before = proxy.count();
        lab.instanced(&["reconcile"]).expect_code(0);
        lab.instanced(&["reconcile", "--dry-run", "--detailed-exitcode"])
            .expect_code(0);
        assert!(
            proxy.count() > before,
            "the second round did not ask the engine at all"
        );
        assert_eq!(proxy.changes_since(before), Vec::<String>::new());
    });
    check(
        "rounds",
        "nor does a daemon that starts beside it, through all its rounds",
        || {
            std::thread::sleep(QUIET);
            let before = proxy.count();
            let daemon = Daemon::start(&lab);
            lab.instanced(&["reconcile"]).expect_code(0);
            std::thread::sleep(Duration::from_secs(3));
            assert_eq!(proxy.changes_since(before), Vec::<String>::new());
            assert_eq!(daemon.terminate().0.code(), Some(0));
            assert_eq!(
                proxy.changes_since(before),
                Vec::<String>::new(),
                "SIGTERM changes nothing"
            );
        },
    );
}

#[test]
fn an_engine_that_goes_away_is_told_once_and_comes_back() {
    let lab = Lab::open("away");
    let mut proxy = Proxy::start(&lab, "reconcile: { resync: 1s }\n");
    lab.save("one", &tiny(""));
    let mut daemon = Daemon::start(&lab);
    let one = eventually("one runs", SOON, || lab.container("one"));
    let before = lab.log().len();
    check(
        "engine away",
        "the daemon keeps running, and says it once",
        || {
            proxy.stop();
            lab.save("two", &tiny(""));
            std::thread::sleep(Duration::from_secs(8));
            assert!(daemon.runs(), "the daemon ended");
            let log = lab.log();
            let aborted: Vec<_> = log[before..]
                .lines()
                .filter(|line| line.contains("round aborted"))
                .collect();
            assert_eq!(
                aborted.len(),
                1,
                "told {} times:\n{}",
                aborted.len(),
                &log[before..]
            );
            let loud = log[before..]
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR"))
                .count();
            assert!(
                loud <= 2,
                "the lost events and the aborted round, but nothing again:\n{}",
                &log[before..]
            );
        },
    );
    check(
        "engine away",
        "status goes on answering, and a token can be issued",
        || {
            lab.status("one").expect("a status without an engine");
            lab.instanced(&["token", "issue", "one", "--label", "away"])
                .expect_code(0);
        },
    );
    check(
        "engine away",
        "it recovers, and does what was asked meanwhile",
        || {
            proxy.resume();
            eventually("two runs", SOON, || lab.container("two"));
            assert_eq!(
                lab.container("one").as_ref(),
                Ok(&one),
                "what ran was not touched"
            );
        },
    );
}

#[test]
fn instances_that_end_at_once_are_told_and_never_called_done() {
    check("rounds", "instances that end at once", || {
        let lab = Lab::open("crash");
        for name in ["one", "two", "three"] {
            lab.save(name, &tiny("command: [--no-such-option]"));
        }
        for _ in 0..2 {
            let said = lab.instanced(&["reconcile", "--timeout", "60s"]);
            let all = said.all();
            said.expect_code(1)
                .expect_words(&["unhealthy", "its last line"]);
            assert!(
                !all.contains("Done:") && !all.contains("No changes"),
                "{all}"
            );
        }
        let said = lab
            .instanced(&["reconcile", "--no-wait"])
            .expect_code(0)
            .all();
        assert!(
            !said.contains("Done:") && !said.contains("No changes."),
            "{said}"
        );
    });
}
