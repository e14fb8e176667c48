//! The deterministic simulation: the daemon's rounds on the fake engine, in virtual time, with everything
//! that may go wrong, from a seed. `tests/README.md` says how to replay one, docs/decisions/0015 what is
//! promised and how the bounds come about.

// Numbers are small, times rise, and what a case is made of are switches.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::struct_excessive_bools,
    clippy::unchecked_time_subtraction,
    clippy::needless_range_loop,
    clippy::similar_names
)]

mod support;

mod simulation {
    pub mod bugs;
    pub mod case;
    pub mod daemon;
    pub mod dice;
    pub mod ending;
    pub mod engine;
    pub mod hands;
    pub mod happening;
    pub mod notes;
    pub mod paper;
    pub mod run;
    pub mod stage;
    pub mod witness;
}

use simulation::bugs::BUGS;
use simulation::case::play;
use simulation::run;

/// So many cases run, unless `INSTANCED_SIM_CASES` says otherwise: what takes three minutes without optimisation.
/// `make soak` plays 500,000.
const CASES: u64 = 20_000;
/// Within so many cases a planted bug must be found.
const CASES_A_BUG: u64 = 4_000;

#[test]
fn every_case_keeps_every_promise() {
    if let Some(seed) = run::seed() {
        let verdict = play(seed, None, true);
        run::say(&verdict.trace.join("\n"));
        assert_eq!(verdict.broken, None, "seed {seed}");
        return;
    }
    let first = run::number("INSTANCED_SIM_FIRST").unwrap_or(0);
    let cases = run::number("INSTANCED_SIM_CASES").unwrap_or(CASES);
    let tally = run::all(first, cases);
    run::say(&tally.to_string());
    assert!(tally.broken.is_empty(), "{}", tally.told());
    assert_eq!(tally.cases, cases);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..50 {
        assert_eq!(play(seed, None, true).trace, play(seed, None, true).trace);
    }
}

#[test]
fn every_planted_bug_is_caught() {
    if run::seed().is_some() {
        return;
    }
    let found = run::hunt(&BUGS, CASES_A_BUG);
    for found in &found {
        run::say(&found.to_string());
    }
    let missed: Vec<_> = found.iter().filter(|found| found.seed.is_none()).collect();
    assert!(
        missed.is_empty(),
        "not found within {CASES_A_BUG} cases: {missed:?}"
    );
    // It is the mistake that was found, and nothing else: without it, the same cases are sound.
    let last = found.iter().filter_map(|found| found.seed).max();
    let sound = run::all(0, last.unwrap_or(0) + 1);
    assert!(sound.broken.is_empty(), "{}", sound.told());
}
