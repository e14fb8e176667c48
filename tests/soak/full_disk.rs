//! The disk with the state directory is full: nothing that was told is lost, the failure is told, and when there is
//! room again the daemon goes on by itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use super::lab::{Lab, SOON, tiny};
use super::random::long_or_short;
use super::said::{check, eventually, run};
use super::tokens::Ledger;

/// Several times what the store needs.
const DISK: &str = "size=16m,mode=0700";
/// So many records do not fit into what the store's files have left when the disk becomes full.
const TRIES: u32 = 60;

/// A small disk of its own, until dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir_all(&at).expect("a new directory");
        run("mount", |command| {
            command.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(&at);
        })
        .expect_code(0);
        Self(at)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Until not a byte fits.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("room for a file");
        for size in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", |command| {
            command.arg("--lazy").arg(&self.0);
        });
    }
}

struct Scene {
    // Unmounted before the lab's directory goes.
    disk: Disk,
    lab: Lab,
    ledger: Ledger,
    open: BTreeSet<String>,
    turn: u32,
}

impl Scene {
    fn begin() -> Self {
        let config = "reconcile: { resync: 2s, prune: { max: 100% } }\n";
        let mut lab = Lab::open("full-disk", config);
        let disk = Disk::mount(lab.path("state"));
        let fleet = ["amber", "birch", "cedar"];
        for name in fleet {
            lab.save(name, &tiny("0", ""));
        }
        lab.launch();
        let mut ledger = Ledger::default();
        for name in fleet {
            lab.runs_with(name, "0");
            for n in 0..3 {
                ledger
                    .issue(&lab, name, &format!("before-{n}"))
                    .expect("a token is issued");
            }
            ledger
                .revoke(&lab, ledger.live.len() - 1)
                .expect("a token is revoked");
        }
        let open = fleet.map(str::to_owned).into();
        Self {
            lab,
            disk,
            ledger,
            open,
            turn: 0,
        }
    }

    /// Fills the disk, and lets everything happen that wants to write.
    fn fill(&mut self, what: &str) {
        self.turn += 1;
        let (value, turn) = (self.turn.to_string(), self.turn);
        self.lab.note(&format!("full: {what}"));
        let before = self.lab.log().len();
        self.disk.fill();
        self.lab.save("amber", &tiny(&value, ""));
        self.lab.save("birch", &tiny(&value, "protect: true"));
        self.lab.save("extra", &tiny(&value, ""));
        let lab = &self.lab;
        let ledger = &mut self.ledger;
        let tokens = until_refused(lab, "tokens", |n| {
            ledger.issue(lab, "cedar", &format!("full-{turn}-{n}"))
        });
        assert!(tokens, "the disk is not full: {TRIES} tokens were taken");
        // These go by another way to the disk. A store that has been full before may have room of its own left.
        let orders = until_refused(lab, "orders", |n| {
            let order = if n % 2 == 0 { "suspend" } else { "resume" };
            accepted(lab, order)
        });
        assert!(
            orders || turn > 1,
            "the disk is not full: {TRIES} orders were taken"
        );
        let revoked = self.ledger.live[0].clone();
        if self.lab.instanced(&["token", "revoke", &revoked.id]).code == Some(0) {
            self.ledger.revoked.push(self.ledger.live.remove(0));
        } else {
            // It may have been written, or not.
            self.ledger.live.remove(0);
        }
        eventually("clients are let in meanwhile", SOON, || {
            self.ledger.kept(&self.lab, &self.open)
        });
        eventually("the daemon tells that the disk is full", SOON, || {
            let log = self.lab.log();
            let told = log[before..].lines().any(|line| {
                line.contains("o space left") && (line.contains("ERROR") || line.contains("WARN"))
            });
            told.then_some(())
                .ok_or_else(|| "its log has no word of it".to_owned())
        });
    }

    /// There is room again: all that was asked for is done, and nothing that was told is lost.
    fn freed(&mut self, what: &str) {
        let value = self.turn.to_string();
        self.lab.note(&format!("freed: {what}"));
        self.disk.free();
        for name in ["amber", "birch", "extra"] {
            self.lab.runs_with(name, &value);
        }
        eventually("no token is lost", SOON, || {
            self.ledger.kept(&self.lab, &self.open)
        });
        eventually("orders are taken again", SOON, || {
            accepted(&self.lab, "resume")
        });
        let label = format!("after-{}", self.turn);
        self.ledger
            .issue(&self.lab, "amber", &label)
            .expect("tokens are issued again");
        fs::remove_file(self.lab.manifest("extra")).expect("it was there");
        eventually("what has no manifest goes", SOON, || {
            let left = self.lab.containers()?.remove("extra");
            left.map_or(Ok(()), |left| Err(super::lab::told(&left)))
        });
        eventually("no token is lost", SOON, || {
            self.ledger.kept(&self.lab, &self.open)
        });
        self.lab.nothing_forbidden().expect("after a full disk");
        self.lab.alive();
    }
}

/// Asks again and again, until the disk takes no more; says whether it came to that. The refusal must tell why.
fn until_refused(lab: &Lab, what: &str, mut ask: impl FnMut(u32) -> Result<(), String>) -> bool {
    let refusal = (0..TRIES).find_map(|n| ask(n).err().map(|why| (n, why)));
    let Some((n, why)) = refusal else {
        lab.note(&format!("{what}: {TRIES} were taken"));
        return false;
    };
    lab.note(&format!("{what}: {n} were taken, then: {why}"));
    assert!(
        why.contains("o space left"),
        "the refusal does not tell why: {why}"
    );
    true
}

/// Gives an order over `cedar`, which is written down and changes nothing.
fn accepted(lab: &Lab, order: &str) -> Result<(), String> {
    let said = lab.instanced(&[order, "cedar"]);
    match said.code {
        Some(0 | 3) => Ok(()),
        _ => Err(said.to_string()),
    }
}

#[test]
fn a_full_state_disk_loses_nothing_and_is_recovered_from() {
    let mut scene = Scene::begin();
    for _ in 0..long_or_short(10, 1) {
        check(
            "full disk",
            "filled and freed under a running daemon",
            || {
                scene.fill("under a running daemon");
                scene.freed("under a running daemon");
            },
        );
        check("full disk", "killed and started while it is full", || {
            scene.fill("before a kill");
            scene.lab.note("kill -9");
            scene.lab.kill();
            scene.lab.launch();
            std::thread::sleep(std::time::Duration::from_secs(3));
            // Without its store it may refuse to start, and say so: whoever starts it tries again.
            if scene.lab.ended_for("o space left") {
                scene.disk.free();
                scene.lab.launch();
                File::create(scene.disk.ballast()).expect("room for a file");
            }
            scene.freed("after a kill");
        });
    }
}
