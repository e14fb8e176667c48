//! Rounds over instances that run as they shall.

use crate::lab::Lab;
use crate::report::{Pairs, Row};
use crate::tell;

/// Sizes of the fleet, ascending: it grows.
const FLEETS: [usize; 3] = [10, 100, 400];
const FIRST_MOST: f64 = 1.2;
const LATER_MOST: f64 = 1.2;
/// Not measured: pages, the engine's caches, the first connection.
const WARM_UP: usize = 3;

/// How many pairs of a fleet of this size are taken: small fleets are quick and noisy.
fn turns(fleet: usize, quick: usize) -> usize {
    (quick * 10 / fleet).clamp(25, quick)
}

/// All rows.
pub async fn measure(mut lab: Lab) -> Vec<Row> {
    let store = lab.store("state");
    let mut rows = Vec::new();
    for fleet in FLEETS {
        tell(format_args!(
            "a fleet of {fleet} comes up, and rounds find it so"
        ));
        lab.grow_to(fleet);
        lab.settle(&mut lab.process(&store)).await;

        let first = first_rounds(&lab, &store, turns(fleet, 100)).await;
        rows.push(row(
            fleet,
            "first round",
            FIRST_MOST,
            first.ratio("list + inspects"),
        ));
        let later = later_rounds(&lab, &store, turns(fleet, 400)).await;
        rows.push(row(
            fleet,
            "later round",
            LATER_MOST,
            later.ratio("one list"),
        ));
    }
    rows
}

fn row(fleet: usize, which: &str, limit: f64, (figure, note): (f64, String)) -> Row {
    Row {
        what: format!("{which}, nothing to do, {fleet} instances"),
        figure,
        unit: "x",
        limit: Some(limit),
        command: "benches/speed: rounds",
        note,
    }
}

/// Each by a process that knows nothing yet, and each against a client that was connected just now.
async fn first_rounds(
    lab: &Lab,
    store: &std::sync::Arc<instanced::doors::store::Store>,
    turns: usize,
) -> Pairs {
    let mut pairs = Pairs::default();
    for turn in 0..WARM_UP + turns {
        let ours = async || lab.idle_round(&mut lab.process(store)).await;
        let other = async || {
            let began = std::time::Instant::now();
            lab.bare().list_and_inspect().await;
            began.elapsed()
        };
        let pair = in_turns(turn, ours, other).await;
        if turn >= WARM_UP {
            pairs.add_round(pair.0.round, pair.0.files, pair.1);
        }
    }
    pairs
}

/// All by one process, which hears the engine's events.
async fn later_rounds(
    lab: &Lab,
    store: &std::sync::Arc<instanced::doors::store::Store>,
    turns: usize,
) -> Pairs {
    let mut process = lab.process(store);
    let listening = process.listen();
    let bare = lab.bare();
    // Until it is heard that somebody listens, all is looked at anew.
    for _ in 0..WARM_UP {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        lab.idle_round(&mut process).await;
    }
    let mut pairs = Pairs::default();
    for turn in 0..turns {
        let ours = async || lab.idle_round(&mut process).await;
        let other = async || {
            let began = std::time::Instant::now();
            bare.list().await;
            began.elapsed()
        };
        let pair = in_turns(turn, ours, other).await;
        pairs.add_round(pair.0.round, pair.0.files, pair.1);
    }
    listening.abort();
    pairs
}

/// Now the one first, now the other.
async fn in_turns<A, B>(
    turn: usize,
    mut ours: impl AsyncFnMut() -> A,
    mut other: impl AsyncFnMut() -> B,
) -> (A, B) {
    if turn.is_multiple_of(2) {
        let ours = ours().await;
        (ours, other().await)
    } else {
        let other = other().await;
        (ours().await, other)
    }
}
