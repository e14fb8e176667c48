//! What is said of a round that left instances unhealthy.

use super::*;

#[test]
fn a_round_that_left_unhealthy_ones_is_never_called_done() {
    let (old, new) = (spec("alice", "{}"), spec("alice", "env: { A: b }"));
    let ill = |name: &str, starting, last_line: Option<&str>| Unhealthy {
        instance: name.parse().expect("a name"),
        starting,
        reason: "it ends by itself".to_owned(),
        last_line: last_line.map(str::to_owned),
    };
    let mut done = Reconciled {
        report: Report {
            steps: vec![StepReport {
                step: replace("alice", &old, new),
                outcome: Outcome::Done,
                millis: 12_345,
                failure: None,
            }],
            unchanged: 5,
            ..Report::default()
        },
        unhealthy: vec![
            ill("alice", false, Some("no such\x1b file")),
            ill("bob", true, None),
        ],
        looked_at: 6,
    };
    assert_snapshot!(report::draw(&done).plain());
    // Twice in a row: nothing is done, and nothing is healthy.
    done.report.steps.clear();
    let told = report::summary(&done);
    assert!(told.contains("1 unhealthy, 1 starting"), "{told}");
    assert!(
        !told.contains("No changes") && !told.contains("Done"),
        "{told}"
    );
}
