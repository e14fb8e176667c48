//! The daemon is killed at random moments while manifests change at random.

use std::time::Duration;

use super::fleet::Fleet;
use super::lab::{Lab, SOON};
use super::random::{Random, long_or_short};
use super::said::{check, eventually};
use super::tokens::Ledger;

/// Removals go: this scenario is about kills, and guards have scenarios of their own. The rollout's brake takes
/// seconds for each instance, which only the long form has.
fn config() -> String {
    let brake = long_or_short("10%", "100%");
    format!("reconcile: {{ prune: {{ max: 100% }}, replace: {{ max_unavailable: {brake} }} }}\n")
}

#[test]
fn a_daemon_that_is_killed_at_random_moments_loses_nothing() {
    let seed = Random::seed();
    let rounds: u32 = std::env::var("INSTANCED_SOAK_ROUNDS")
        .map_or(long_or_short(200, 12), |said| {
            said.parse().expect("a number")
        });
    check(
        "kills",
        &format!("INSTANCED_SOAK_SEED={seed}, {rounds} rounds"),
        || (),
    );
    // Edits follow from the seed alone. Which tokens there are depends on the moment, so that is drawn apart.
    let (mut random, mut moments) = (Random::of(seed), Random::of(seed ^ 0x5eed));
    let mut lab = Lab::open("kills", &config());
    let mut fleet = Fleet::begin(&lab, &mut random);
    let mut ledger = Ledger::default();
    lab.launch();
    settled(&mut lab, &mut fleet, &ledger, "the first fleet");
    for n in 0..3 {
        let name = fleet.any_usable(&mut random).expect("there are five");
        ledger
            .issue(&lab, name, &format!("first-{n}"))
            .expect("a token is issued");
    }
    for round in 0..rounds {
        lab.note(&format!("round {round}"));
        let mut removing = false;
        for _ in 0..=random.below(3) {
            fleet.edit(&lab, &mut random, &mut removing);
            std::thread::sleep(Duration::from_millis(moments.below(500)));
        }
        token_by_chance(&lab, &mut ledger, &fleet, &mut moments, round);
        std::thread::sleep(Duration::from_millis(moments.below(1_500)));
        lab.note("kill -9");
        lab.kill();
        if random.chance(30) {
            fleet.edit(&lab, &mut random, &mut removing);
        }
        if moments.chance(20) {
            // Twice in a row, the second time while it starts.
            lab.launch();
            std::thread::sleep(Duration::from_millis(moments.below(400)));
            lab.note("kill -9, while it starts");
            lab.kill();
        }
        lab.launch();
        settled(
            &mut lab,
            &mut fleet,
            &ledger,
            &format!("round {round} of seed {seed}"),
        );
    }
}

/// Half of the rounds something happens to tokens; what fails has not happened, or is not known.
fn token_by_chance(lab: &Lab, ledger: &mut Ledger, fleet: &Fleet, random: &mut Random, round: u32) {
    let draw = random.below(100);
    if draw < 35
        && let Some(name) = fleet.any_usable(random)
    {
        // Refused where no round has seen its manifest yet.
        if let Err(why) = ledger.issue(lab, name, &format!("round-{round}")) {
            lab.note(&format!("no token: {why}"));
        }
    } else if draw < 50 && !ledger.live.is_empty() {
        let at = any_of(ledger, random);
        // Refused for one that was rotated before.
        if let Err(why) = ledger.rotate(lab, at) {
            lab.note(&format!("not rotated: {why}"));
        }
    } else if draw < 65 && !ledger.live.is_empty() {
        let at = any_of(ledger, random);
        let revoked = ledger.revoke(lab, at);
        revoked.expect("a daemon that runs revokes a token that is there");
    }
}

fn any_of(ledger: &Ledger, random: &mut Random) -> usize {
    let at = random.below(u64::try_from(ledger.live.len()).expect("a few"));
    usize::try_from(at).expect("a few")
}

/// Waits until the fleet is as desired, with everything else as it must be.
fn settled(lab: &mut Lab, fleet: &mut Fleet, ledger: &Ledger, when: &str) {
    let edits = fleet.edits.join("\n  ");
    check(
        "kills",
        &format!("{when}: {} edits", fleet.edits.len()),
        || {
            eventually(
                &format!("the fleet is as desired after\n  {edits}\n"),
                SOON,
                || {
                    fleet.stands(lab)?;
                    let said = lab.instanced(&["reconcile", "--dry-run", "--detailed-exitcode"]);
                    match said.code {
                        Some(0 | 3) => Ok(()),
                        _ => Err(format!("changes are pending: {said}")),
                    }?;
                    // What a plan without steps may still tidy up.
                    lab.nothing_forbidden()?;
                    fleet.stands(lab)
                },
            );
            eventually("no token is lost", SOON, || ledger.kept(lab, &fleet.open()));
            lab.alive();
        },
    );
    fleet.settle(lab);
}
