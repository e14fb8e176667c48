//! The source goes away and comes back, in every way that happens to directories. Nothing is removed meanwhile,
//! and what changed while it was away is done when it is back.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::engine::Container;
use super::lab::{Lab, SOON, tiny};
use super::random::long_or_short;
use super::said::{Said, check, eventually, run};
use super::tokens::Ledger;

const FLEET: [&str; 5] = ["amber", "birch", "cedar", "delta", "ember"];
/// Long enough for a round that believed the absence, twice over.
fn longer_than_an_absence() -> Duration {
    Duration::from_secs(long_or_short(30, 7))
}

/// A lab whose source is a git checkout, with a fleet that runs.
struct Scene {
    lab: Lab,
    ledger: Ledger,
    standing: Vec<(String, String)>,
    turn: u32,
}

impl Scene {
    fn begin(name: &str) -> Self {
        // The guard keeps more than a single one, and a mount, of which no event tells, is noticed sooner.
        let config = "reconcile: { resync: 1s, prune: { min: 1 } }\n";
        let mut lab = Lab::open(name, config);
        for name in FLEET {
            lab.save(name, &tiny("0", ""));
        }
        lab.launch();
        for name in FLEET {
            lab.runs_with(name, "0");
        }
        let mut scene = Self {
            lab,
            ledger: Ledger::default(),
            standing: Vec::new(),
            turn: 0,
        };
        for name in FLEET {
            scene
                .ledger
                .issue(&scene.lab, name, "moved")
                .expect("a token is issued");
        }
        scene.git(&["init", "--quiet", "--initial-branch", "main"]);
        scene.git(&["add", "--all"]);
        scene.git(&["commit", "--quiet", "--message", "the fleet"]);
        scene.standing = scene.stand().expect("all run");
        scene
    }

    fn git(&self, arguments: &[&str]) -> Said {
        let at = self.lab.path("fleet");
        run("git", |command| {
            command.args(["-c", "user.name=soak", "-c", "user.email=soak@example.com"]);
            command.args(arguments).current_dir(at);
        })
        .expect_code(0)
    }

    fn instances(&self) -> PathBuf {
        self.lab.path("fleet/instances.d")
    }

    /// Which containers run, and since when; an error where not exactly the fleet runs.
    fn stand(&self) -> Result<Vec<(String, String)>, String> {
        let told = |one: Container| (one.id, one.started_at);
        FLEET
            .iter()
            .map(|name| self.lab.one(name).map(told))
            .collect()
    }

    /// While it is away for long, not a single container is touched, and clients are let in.
    fn while_away(&mut self, what: &str) {
        self.lab.note(&format!("away: {what}"));
        std::thread::sleep(longer_than_an_absence());
        self.as_before(what);
    }

    fn as_before(&mut self, what: &str) {
        let now = self.stand().unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(now, self.standing, "{what}: containers were touched");
        let open = FLEET.map(str::to_owned).into();
        self.ledger
            .kept(&self.lab, &open)
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        self.lab
            .nothing_forbidden()
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        self.lab.alive();
    }

    /// It is back: nothing is touched but what then changes.
    fn back(&mut self, what: &str) {
        self.turn += 1;
        let value = self.turn.to_string();
        self.lab.note(&format!("back: {what}"));
        self.lab.save(FLEET[0], &tiny(&value, ""));
        let first = self.lab.runs_with(FLEET[0], &value);
        self.standing[0] = (first.id, first.started_at);
        self.as_before(what);
        self.git(&["commit", "--quiet", "--all", "--message", what]);
    }
}

#[test]
fn a_source_that_is_moved_away_or_hidden_costs_nothing() {
    let mut scene = Scene::begin("moved");
    let (here, elsewhere) = (scene.instances(), scene.lab.path("elsewhere"));
    check("moved", "moved away and back", || {
        fs::rename(&here, &elsewhere).expect("a rename");
        scene.while_away("moved away");
        fs::rename(&elsewhere, &here).expect("a rename");
        scene.back("moved back");
    });
    check("moved", "an empty directory is mounted over it", || {
        fs::create_dir(&elsewhere).expect("a new directory");
        let mounted = Mounted::over(&elsewhere, &here);
        scene.while_away("hidden by an empty mount");
        drop(mounted);
        scene.back("the mount is gone");
        fs::remove_dir(&elsewhere).expect("an empty directory");
    });
    check(
        "moved",
        "the daemon is killed while it is away, and starts without it",
        || {
            fs::rename(&here, &elsewhere).expect("a rename");
            scene.lab.kill();
            scene.lab.launch();
            let open: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
            eventually("the daemon answers without a source", SOON, || {
                scene.ledger.kept(&scene.lab, &open)
            });
            std::thread::sleep(longer_than_an_absence());
            let now = scene
                .stand()
                .unwrap_or_else(|why| panic!("started without a source: {why}"));
            assert_eq!(
                now, scene.standing,
                "started without a source: containers were touched"
            );
            fs::rename(&elsewhere, &here).expect("a rename");
            scene.back("moved back under a new daemon");
        },
    );
}

#[test]
fn a_source_that_is_deleted_and_restored_costs_nothing() {
    let mut scene = Scene::begin("restored");
    let (here, elsewhere) = (scene.instances(), scene.lab.path("elsewhere"));
    check("restored", "replaced by an empty directory", || {
        fs::rename(&here, &elsewhere).expect("a rename");
        fs::create_dir(&here).expect("a new directory");
        scene.while_away("an empty one in its place");
        fs::remove_dir(&here).expect("an empty directory");
        fs::rename(&elsewhere, &here).expect("a rename");
        scene.back("the empty one is gone");
    });
    check("restored", "deleted and checked out again", || {
        fs::remove_dir_all(&here).expect("the source");
        scene.while_away("deleted");
        scene.git(&["checkout", "--quiet", "--", "."]);
        scene.back("checked out again");
    });
    check(
        "restored",
        "another branch and back, without manifests",
        || {
            scene.git(&["checkout", "--quiet", "--orphan", "bare"]);
            scene.git(&["rm", "--quiet", "-r", "--force", "."]);
            scene.git(&["commit", "--quiet", "--allow-empty", "--message", "nothing"]);
            scene.while_away("a branch without manifests");
            scene.git(&["checkout", "--quiet", "main"]);
            scene.back("the first branch again");
        },
    );
}

/// One by one, with a kill in between: what went before still counts, and all comes back from git.
#[test]
fn a_slow_rm_takes_one_and_a_checkout_brings_it_back() {
    let mut scene = Scene::begin("slow-rm");
    check(
        "moved",
        "a slow rm of all takes one, and the guard keeps the others",
        || {
            for (n, name) in FLEET.iter().enumerate().skip(1) {
                scene.lab.note(&format!("rm {name}"));
                fs::remove_file(scene.lab.manifest(name)).expect("it was there");
                if n == 1 {
                    eventually("a single one goes", SOON, || {
                        let left = scene.lab.containers()?.remove(*name);
                        left.map_or(Ok(()), |left| Err(super::lab::told(&left)))
                    });
                    scene.lab.kill();
                    scene.lab.launch();
                }
                std::thread::sleep(longer_than_an_absence() / 2);
            }
            std::thread::sleep(longer_than_an_absence());
            for (n, name) in FLEET.iter().enumerate().filter(|(n, _)| *n != 1) {
                let one = scene.lab.one(name).expect("the guard keeps it");
                assert_eq!(
                    (one.id, one.started_at),
                    scene.standing[n],
                    "{name} was touched"
                );
            }
            let said = scene.lab.instanced(&["reconcile"]);
            said.expect_code(3).expect_words(&["--confirm-prune"]);
        },
    );
    check("moved", "what is checked out again heals all", || {
        scene.git(&["checkout", "--quiet", "--", "."]);
        let back = scene.lab.runs_with(FLEET[1], "0");
        scene.standing[1] = (back.id, back.started_at);
        scene.back("after a slow rm");
    });
}

/// A directory that is mounted over another until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn over(from: &std::path::Path, at: &std::path::Path) -> Self {
        run("mount", |command| {
            command.arg("--bind").args([from, at]);
        })
        .expect_code(0);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", |command| {
            command.arg("--lazy").arg(&self.0);
        });
    }
}
