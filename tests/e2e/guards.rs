//! Nothing is lost by an emptied or half-gone source.

use std::time::Duration;

use super::daemon::Daemon;
use super::engine::Container;
use super::lab::{Lab, tiny};
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);
/// An absence counts after 5 s; by then a round that believed it would have removed.
const LONGER_THAN_AN_ABSENCE: Duration = Duration::from_secs(8);
const FLEET: [&str; 4] = ["one", "two", "three", "four"];

fn all(lab: &Lab) -> [Container; 4] {
    FLEET.map(|name| eventually(name, SOON, || lab.container(name)))
}

#[test]
fn an_emptied_or_half_gone_source_removes_nothing() {
    let lab = Lab::open("guards");
    // Two of four are many.
    lab.configure("reconcile: { prune: { min: 1 } }\n");
    for name in FLEET {
        lab.save(name, &tiny(""));
    }
    let daemon = Daemon::start(&lab);
    let before = all(&lab);
    check("guards", "an emptied source removes nothing", || {
        for name in FLEET {
            lab.delete(name);
        }
        std::thread::sleep(LONGER_THAN_AN_ABSENCE);
        assert_eq!(all(&lab), before);
    });
    check("guards", "neither does a source that is gone", || {
        let (here, away) = (lab.path("instances.d"), lab.path("away"));
        std::fs::rename(&here, &away).expect("a rename");
        std::thread::sleep(LONGER_THAN_AN_ABSENCE);
        assert_eq!(all(&lab), before);
        std::fs::rename(&away, &here).expect("a rename");
    });
    check(
        "guards",
        "of a half-gone one, none goes until a person confirms",
        || {
            for name in &FLEET[..2] {
                lab.save(name, &tiny(""));
            }
            std::thread::sleep(LONGER_THAN_AN_ABSENCE);
            assert_eq!(all(&lab), before);
            lab.instanced(&["reconcile"]).expect_code(3).expect_words(&[
                "three",
                "four",
                "--confirm-prune",
            ]);
        },
    );
    check(
        "guards",
        "a single one goes, when the others are back",
        || {
            lab.save(FLEET[2], &tiny(""));
            eventually("four goes", SOON, || {
                let left = lab.containers(FLEET[3]);
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{left:?}"))
                }
            });
            for (name, old) in FLEET.iter().zip(&before).take(3) {
                assert_eq!(lab.container(name).as_ref(), Ok(old));
            }
        },
    );
    assert_eq!(daemon.terminate().0.code(), Some(0));
}

#[test]
fn a_deletion_that_is_taken_back_within_five_seconds_is_none() {
    let lab = Lab::open("absence");
    lab.save("one", &tiny(""));
    lab.save("two", &tiny(""));
    let _daemon = Daemon::start(&lab);
    let one = eventually("one runs", SOON, || lab.container("one"));
    check(
        "guards",
        "an editor that deletes and writes anew costs nothing",
        || {
            for _ in 0..3 {
                lab.delete("one");
                std::thread::sleep(Duration::from_secs(2));
                lab.save("one", &tiny(""));
                std::thread::sleep(Duration::from_secs(1));
            }
            std::thread::sleep(LONGER_THAN_AN_ABSENCE);
            assert_eq!(lab.container("one").as_ref(), Ok(&one));
        },
    );
}
