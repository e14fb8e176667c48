//! The deterministic simulation: the daemon's rounds on the fake engine, in virtual time, with everything
//! that may go wrong, from a seed. `tests/README.md` says how to replay one, docs/decisions/0015 what is
//! promised and how the bounds come about.

// Clippy's pedantry is for the product; a story with many characters is told more plainly without these.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::format_push_string,
    clippy::items_after_statements,
    clippy::match_same_arms,
    clippy::needless_range_loop,
    clippy::redundant_closure_for_method_calls,
    clippy::semicolon_if_nothing_returned,
    clippy::similar_names,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    clippy::unchecked_time_subtraction,
    clippy::zero_sized_map_values
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

/// So many cases run, unless `INSTANCED_SIM_CASES` says otherwise.
const CASES: u64 = 5_000;
/// Within so many cases a planted bug must be found.
const CASES_A_BUG: u64 = 4_000;

#[test]
fn every_case_keeps_every_promise() {
    if let Some(seed) = run::number("INSTANCED_SIM_SEED") {
        let verdict = play(seed, None, true);
        let trace = verdict.trace.join("\n");
        run::say(&format!("{trace}\nseed {seed}: {:?}", verdict.broken));
        assert_eq!(verdict.broken, None, "seed {seed}");
        return;
    }
    let first = run::number("INSTANCED_SIM_FIRST").unwrap_or(0);
    let cases = run::number("INSTANCED_SIM_CASES").unwrap_or(CASES);
    let tally = run::all(first, cases);
    run::say(&format!("{tally}"));
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
    let found = run::hunt(&BUGS, CASES_A_BUG);
    let missed: Vec<_> = found.iter().filter(|found| found.seed.is_none()).collect();
    assert!(
        missed.is_empty(),
        "not found within {CASES_A_BUG} cases: {missed:?}"
    );
    for found in &found {
        run::say(&format!("{found:?}"));
        // It is the mistake that is found, and nothing else.
        for seed in 0..=found.seed.expect("seen above") {
            let verdict = play(seed, None, false);
            assert_eq!(verdict.broken, None, "seed {seed} without {:?}", found.bug);
        }
    }
}
