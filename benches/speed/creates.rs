//! Fresh instances brought up, against the engine's own best.

use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;

use crate::bare::{Bare, body_of};
use crate::lab::Lab;
use crate::report::{Pairs, Row, at, sorted};
use crate::tell;

const INSTANCES: usize = 40;
const MOST: f64 = 1.15;
/// How many at a time the bare client tries.
const PARALLELISM: [usize; 4] = [1, 2, 4, 8];
/// Runs of each parallelism, to find the fastest.
const SCOUTS: usize = 2;
/// Runs of ours and of the fastest.
const TURNS: usize = 7;

/// All rows.
pub async fn measure(mut lab: Lab) -> Vec<Row> {
    lab.grow_to(INSTANCES);
    let bare = lab.bare();
    tell(format_args!(
        "{INSTANCES} fresh instances, ours and bare, by turns"
    ));
    // The network is there from here on, and what ours makes is known.
    ours(&lab, "warm").await;
    let made = bare.list_and_inspect().await;
    let bodies: Vec<_> = made.iter().map(body_of).collect();
    assert_eq!(bodies.len(), INSTANCES, "all were made");
    bare.remove_all().await;

    let mut medians = Vec::new();
    for parallelism in PARALLELISM {
        let mut runs = Vec::new();
        for _ in 0..SCOUTS {
            runs.push(bare_run(&bare, &bodies, parallelism).await.as_secs_f64());
        }
        medians.push((at(&sorted(runs.into_iter()), 0.0), parallelism));
    }
    let best = medians.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let (_, best) = *best.expect("there are some");
    let scouted: Vec<_> = medians
        .iter()
        .map(|(took, parallelism)| format!("{parallelism}: {took:.2} s"))
        .collect();

    let mut pairs = Pairs::default();
    for turn in 0..TURNS {
        let mut took = [Duration::ZERO; 2];
        for which in [turn % 2, (turn + 1) % 2] {
            took[which] = if which == 0 {
                let took = ours(&lab, &format!("turn-{turn}")).await;
                bare.remove_all().await;
                took
            } else {
                bare_run(&bare, &bodies, best).await
            };
        }
        pairs.add(took[0], took[1]);
    }
    let (figure, note) = pairs.ratio(&format!("bare, {best} at a time"));
    vec![Row {
        what: format!("{INSTANCES} fresh instances created and started"),
        figure,
        unit: "x",
        limit: Some(MOST),
        command: "benches/speed: creates",
        note: format!(
            "{note}; bare at its best, at a time: {}",
            scouted.join(", ")
        ),
    }]
}

/// One round of a process whose state directory is new.
async fn ours(lab: &Lab, state: &str) -> Duration {
    let began = Instant::now();
    let store = lab.store(state);
    let (report, _) = lab.round(&mut lab.process(&store)).await;
    let took = began.elapsed();
    assert!(
        report.steps.len() == INSTANCES && !report.has_failures() && !report.has_held(),
        "not all came up: {report:?}"
    );
    took
}

async fn bare_run(
    bare: &Bare,
    bodies: &[(String, ContainerCreateBody)],
    parallelism: usize,
) -> Duration {
    let began = Instant::now();
    bare.create_and_start(bodies, parallelism).await;
    let took = began.elapsed();
    bare.remove_all().await;
    took
}
