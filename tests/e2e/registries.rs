//! A registry that stalls, denies or limits beside a fleet that goes on.

use std::time::Duration;

use super::bad_registry::BadRegistry;
use super::daemon::Daemon;
use super::lab::{Lab, tiny};
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);

fn from(registry: &BadRegistry, fault: &str) -> String {
    let image = registry.image(fault);
    format!("template: mcp-http\nimage: \"{image}\"\nentrypoint: [/tiny]\n")
}

#[test]
fn a_registry_that_stalls_takes_nothing_from_the_others() {
    let lab = Lab::open("registries");
    let registry = BadRegistry::start();
    lab.save("good", &tiny(""));
    lab.save("stuck", &from(&registry, "stalls"));
    let daemon = Daemon::start(&lab);
    check(
        "registries",
        "status shows the pull and how far it is",
        || {
            eventually("it is pulling", SOON, || match lab.status("stuck")? {
                (phase, reason) if phase == "pulling" && reason.contains("0 of 1 layers") => Ok(()),
                (phase, reason) => Err(format!("{phase}: {reason}")),
            });
            lab.instanced(&["doctor"]).expect_words(&["stuck: pulling"]);
        },
    );
    check(
        "registries",
        "orders, changes and removals of others do not wait",
        || {
            eventually("good runs", SOON, || lab.container("good"));
            let before = lab.container("good").expect("it runs");
            lab.instanced(&["restart", "good"]).expect_code(0);
            lab.save("good", &tiny("env: { LOOK: \"2\" }"));
            eventually("good is replaced", SOON, || match lab.container("good") {
                Ok(now) if now.id != before.id => Ok(()),
                other => Err(format!("{other:?}")),
            });
            lab.save("late", &tiny(""));
            eventually("a new one comes up", SOON, || lab.container("late"));
            lab.delete("late");
            eventually("and goes", SOON, || match lab.containers("late").len() {
                0 => Ok(()),
                more => Err(format!("{more} containers")),
            });
            let (phase, _) = lab.status("stuck").expect("a status");
            assert_eq!(phase, "pulling");
            assert_eq!(registry.stalled(), 1, "one pull, and not one a round");
        },
    );
    check("registries", "a pull ends when its manifest goes", || {
        lab.delete("stuck");
        eventually("the step is withdrawn", SOON, || {
            match lab.log().matches("step withdrawn").count() {
                1 => Ok(()),
                times => Err(format!(
                    "logged {times} times; {}",
                    lab.instanced(&["status"])
                )),
            }
        });
        lab.save("stuck", &from(&registry, "stalls"));
        eventually("it is pulled anew", SOON, || match registry.stalled() {
            2 => Ok(()),
            downloads => Err(format!("{downloads} downloads")),
        });
        lab.delete("stuck");
    });
    check(
        "registries",
        "each refusal has its kind, and none holds the others",
        || {
            for fault in ["denied", "limited", "unknown", "broken"] {
                lab.save(fault, &from(&registry, fault));
            }
            for (fault, words) in [
                ("denied", "denied"),
                ("limited", "pull rate limit"),
                ("unknown", "manifest unknown"),
                ("broken", "500"),
            ] {
                eventually(fault, SOON, || match lab.status(fault)? {
                    (phase, reason) if phase == "failed" && reason.contains(words) => Ok(()),
                    (phase, reason) => Err(format!("{phase}: {reason}")),
                });
            }
            let log = lab.log();
            for kind in ["denied", "rate limited", "not found", "failed"] {
                assert!(log.contains(kind), "no failure of kind {kind}");
            }
            let before = lab.container("good").expect("it runs");
            lab.save("good", &tiny("env: { LOOK: \"3\" }"));
            eventually("good is replaced beside all of them", SOON, || {
                match lab.container("good") {
                    Ok(now) if now.id != before.id => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            // It asked once, and then waits for a minute at least.
            let asked = registry.asked();
            assert!(asked < 60, "{asked} questions to a registry that refuses");
        },
    );
    assert_eq!(daemon.terminate().0.code(), Some(0));
}
