//! The engine itself restarts, is killed, is away or hangs, while manifests change. On an engine of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::Container;
use super::lab::{Lab, SOON, tiny};
use super::own_engine::{Containers, OwnEngine};
use super::random::long_or_short;
use super::said::{check, eventually};
use super::tokens::Ledger;

/// These run: one for each restart policy that lets a container run on, and two that are edited all the time.
const STEADY: [(&str, &str); 3] = [
    ("always", "restart: always"),
    ("on-failure", "restart: on-failure"),
    ("never", "restart: \"no\""),
];
const EDITED: [&str; 2] = ["busy", "busier"];
/// Stopped by their manifests after they had run.
const STOPPED: [&str; 2] = ["stopped", "stopped-too"];

struct Scene {
    // Dropped before its engine, which it cleans up on.
    lab: Lab,
    engine: OwnEngine,
    ledger: Ledger,
    open: BTreeSet<String>,
    edits: u32,
}

impl Scene {
    fn begin(name: &str, containers: Containers) -> Self {
        let engine = OwnEngine::start(name, containers);
        let mut lab = Lab::on(
            engine.engine(),
            name,
            "reconcile: { resync: 5s, replace: { max_unavailable: 100% } }\n",
        );
        for (name, more) in STEADY {
            lab.save(name, &tiny("0", more));
        }
        for name in EDITED.into_iter().chain(STOPPED) {
            lab.save(name, &tiny("0", ""));
        }
        lab.launch();
        let mut ledger = Ledger::default();
        let all = STEADY
            .map(|(name, _)| name)
            .into_iter()
            .chain(EDITED)
            .chain(STOPPED);
        let open: BTreeSet<String> = all.map(str::to_owned).collect();
        for name in &open {
            lab.runs_with(name, "0");
            ledger
                .issue(&lab, name, "engine")
                .expect("a token is issued");
        }
        for name in STOPPED {
            lab.save(name, &tiny("0", "state: stopped"));
        }
        let scene = Self {
            lab,
            engine,
            ledger,
            open,
            edits: 0,
        };
        scene.stopped_stand_still();
        scene
    }

    fn stopped_stand_still(&self) -> Vec<Container> {
        let stand = |name: &&str| {
            eventually(&format!("{name} stands still"), SOON, || {
                let found = self.lab.containers()?.remove(*name).unwrap_or_default();
                match <[Container; 1]>::try_from(found) {
                    Ok([one]) if !one.running && one.restart() == "no" => Ok(one),
                    Ok([one]) => Err(format!("{}, restart {}", one.told(), one.restart())),
                    Err(others) => Err(super::lab::told(&others)),
                }
            })
        };
        STOPPED.iter().map(stand).collect()
    }

    /// Does something to the engine while manifests change, and waits until all is healed.
    fn shaken(&mut self, what: &str, shake: impl FnOnce(&mut OwnEngine, &Lab, &Ledger)) {
        self.lab.note(what);
        let Self {
            lab,
            engine,
            ledger,
            open,
            edits,
        } = self;
        check("engine", what, || {
            let stopped: Vec<_> = STOPPED
                .iter()
                .filter_map(|name| lab.containers().ok()?.remove(*name))
                .collect();
            let over = AtomicBool::new(false);
            let source = lab.path("fleet/instances.d");
            std::thread::scope(|scope| {
                let under_load = scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        *edits += 1;
                        for name in EDITED {
                            let path = source.join(format!("{name}.yaml"));
                            std::fs::write(path, tiny(&edits.to_string(), "")).expect("a manifest");
                        }
                        std::thread::sleep(Duration::from_millis(700));
                    }
                });
                // A failure in here must not leave the other thread running.
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    std::thread::sleep(Duration::from_secs(2));
                    shake(engine, lab, ledger);
                    std::thread::sleep(Duration::from_secs(1));
                }));
                over.store(true, Ordering::Relaxed);
                under_load.join().expect("it only writes");
                if let Err(panic) = result {
                    std::panic::resume_unwind(panic);
                }
            });
            for name in EDITED {
                lab.runs_with(name, &edits.to_string());
            }
            for (name, _) in STEADY {
                lab.runs_with(name, "0");
            }
            eventually("no token is lost", SOON, || ledger.kept(lab, open));
            eventually(
                "nothing is pending, nothing foreign was touched",
                SOON,
                || {
                    let said = lab.instanced(&["reconcile", "--dry-run", "--detailed-exitcode"]);
                    match said.code {
                        Some(0) => lab.nothing_forbidden(),
                        _ => Err(format!("changes are pending: {said}")),
                    }
                },
            );
            lab.alive();
            for (before, now) in stopped.iter().flatten().zip(STOPPED) {
                let found = lab.containers().expect("the engine answers").remove(now);
                let now = &found.expect("it stands")[0];
                let same = before.id == now.id && before.started_at == now.started_at;
                assert!(
                    same,
                    "{} was revived: it is now {}",
                    before.told(),
                    now.told()
                );
            }
        });
        self.stopped_stand_still();
    }
}

/// What goes on without an engine: clients are let in, `status` answers, tokens are listed.
fn answers_meanwhile(lab: &Lab, ledger: &Ledger, open: &BTreeSet<String>) {
    eventually("clients are let in without an engine", SOON, || {
        ledger.kept(lab, open)
    });
    let said = lab.inside(
        "timeout",
        &[
            "20",
            super::daemon::BINARY,
            "--config",
            &lab.path("instanced.yaml").display().to_string(),
            "status",
        ],
    );
    assert!(
        matches!(said.code, Some(0 | 3)),
        "status does not answer without an engine: {said}"
    );
}

#[test]
fn an_engine_whose_containers_run_on_restarts_and_dies() {
    for _ in 0..long_or_short(3, 1) {
        let mut scene = Scene::begin("engine-live", Containers::RunOn);
        scene.shaken("restarted, with live-restore", |engine, _, _| {
            engine.terminate();
            engine.launch(Containers::RunOn);
        });
        scene.shaken("killed, with live-restore", |engine, _, _| {
            engine.kill();
            engine.launch(Containers::RunOn);
        });
    }
}

#[test]
fn an_engine_that_hangs_or_is_away_is_waited_for() {
    let away = Duration::from_secs(long_or_short(60, 20));
    let hang = Duration::from_secs(long_or_short(40, 10));
    for _ in 0..long_or_short(3, 1) {
        let mut scene = Scene::begin("engine-away", Containers::RunOn);
        let open = scene.open.clone();
        scene.shaken("hanging", |engine, lab, ledger| {
            engine.freeze();
            std::thread::sleep(hang / 2);
            answers_meanwhile(lab, ledger, &open);
            std::thread::sleep(hang / 2);
            engine.thaw();
        });
        scene.shaken("away", |engine, lab, ledger| {
            engine.terminate();
            std::thread::sleep(away / 2);
            answers_meanwhile(lab, ledger, &open);
            std::thread::sleep(away / 2);
            engine.launch(Containers::RunOn);
        });
    }
}

#[test]
fn an_engine_whose_containers_end_with_it_revives_none_that_is_stopped() {
    for _ in 0..long_or_short(3, 1) {
        let mut scene = Scene::begin("engine-plain", Containers::EndWithIt);
        // They come back by their own policy, as they should: foreign containers are the engine's to restart.
        scene.lab.bystanders.expect_restarts();
        scene.shaken("restarted, without live-restore", |engine, _, _| {
            engine.terminate();
            engine.launch(Containers::EndWithIt);
        });
        scene.shaken("killed, without live-restore", |engine, _, _| {
            engine.kill();
            engine.launch(Containers::EndWithIt);
        });
        scene.lab.kill();
        scene
            .lab
            .note("the daemon is away while the engine restarts");
        scene.engine.terminate();
        scene.engine.launch(Containers::EndWithIt);
        scene.lab.launch();
        scene.shaken("restarted without a daemon", |_, _, _| ());
    }
}
