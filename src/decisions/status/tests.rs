use super::super::plan::{Action, Step};
use super::super::remedy::Remedy;
use super::super::report::{Failure, StepReport};
use super::*;
use crate::words::act::Cause;
use crate::words::config::Config;
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::resolve::resolve;

const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_000_000, 0);

fn desired(manifests: &[(&str, &str)]) -> Desired {
    let file = |(stem, more): &(&str, &str)| {
        SourceFile::of_text(
            &format!("instances.d/{stem}.yaml"),
            format!("template: mcp-http\nimage: x:1\n{more}"),
        )
    };
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: manifests.iter().map(file).collect(),
        ..Snapshot::default()
    };
    resolve(&snapshot, &Config::default()).expect("no fleet.yaml")
}

/// One of an instance `a`, started so many seconds ago.
fn generation(
    desired: &Desired,
    phase: Phase,
    health: Option<Health>,
    (ago, restarts): (i64, u32),
) -> Generation {
    let spec = &desired.specs["a"];
    Generation {
        phase,
        health,
        started: Some(NOW - jiff::SignedDuration::from_secs(ago)),
        restarts,
        ..Generation::running(spec)
    }
}

fn told(outcome: Outcome, reason: Reason) -> Report {
    let step = Step {
        instance: "a".parse().expect("a name"),
        action: Action::Held,
        reason,
        changes: Vec::new(),
        ends_sessions: false,
    };
    Report {
        steps: vec![StepReport {
            step,
            outcome,
            millis: 0,
            failure: None,
        }],
        ..Report::default()
    }
}

/// How `a` stands.
fn stands(desired: &Desired, seen: Option<Generation>, report: &Report) -> InstanceStatus {
    let mut observed = Observed::default();
    if let Some(generation) = seen {
        let name = "a".parse().expect("a name");
        observed.instances.insert(name, vec![generation]);
    }
    let mut all = status(desired, &observed, report, &Config::default().public, NOW);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn one_that_is_not_well_says_why() {
    let desired = desired(&[("a", "")]);
    let of = |phase, health, run| {
        let seen = generation(&desired, phase, health, run);
        let one = stands(&desired, Some(seen), &Report::default());
        (one.phase, one.reason)
    };
    let well = (InstancePhase::Running, String::new());
    let (healthy, unhealthy) = (Some(Health::Healthy), Some(Health::Unhealthy));
    assert_eq!(of(Phase::Running, healthy, (100, 0)), well);
    assert_eq!(
        of(Phase::Running, unhealthy, (100, 0)),
        (
            InstancePhase::Unhealthy,
            "its health check fails".to_owned()
        )
    );
    // One that ends and is restarted, over and over, runs for most of the time: it is no more well for that.
    let loops = (
        InstancePhase::Unhealthy,
        "it ends by itself; the engine has restarted it 9 times".to_owned(),
    );
    assert_eq!(of(Phase::Restarting, None, (3, 9)), loops);
    assert_eq!(of(Phase::Running, None, (3, 9)), loops);
    assert_eq!(of(Phase::Running, None, (100, 9)), well);
}

#[test]
fn one_that_shall_stand_still_is_not_waited_for() {
    let nothing = Report::default();
    let stopped = desired(&[("a", "state: stopped")]);
    assert_eq!(
        stands(&stopped, None, &nothing).phase,
        InstancePhase::Stopped
    );
    let runs = desired(&[("a", "")]);
    assert_eq!(stands(&runs, None, &nothing).phase, InstancePhase::Pending);
    // An operator stopped it a moment ago: the round that did it is the last one.
    let by_operator = Reason::StoppedByOperator { since: NOW };
    let done = told(Outcome::Done, by_operator.clone());
    let ended = generation(&runs, Phase::Exited(0), None, (9, 0));
    let one = stands(&runs, Some(ended), &done);
    assert_eq!(
        (one.phase, one.reason),
        (InstancePhase::Stopped, by_operator.to_string())
    );
    // Somebody started it by hand since.
    let up = generation(&runs, Phase::Running, None, (9, 0));
    assert_eq!(stands(&runs, Some(up), &done).phase, InstancePhase::Running);
}

#[test]
fn what_is_tried_again_says_when() {
    let desired = desired(&[("a", "")]);
    let until = NOW + jiff::SignedDuration::from_secs(60);
    let failure = Failure {
        message: "no".to_owned(),
        help: None,
    };
    let waits = Outcome::Waiting {
        until,
        last: failure,
    };
    let backs_off = Reason::BackingOff {
        tried: 2,
        until,
        why: "it is not well".to_owned(),
    };
    for report in [told(waits, Reason::Missing), told(Outcome::Held, backs_off)] {
        let one = stands(&desired, None, &report);
        assert_eq!(one.next_try, Some(until));
    }
    let held = told(Outcome::Held, Reason::Protected);
    assert_eq!(stands(&desired, None, &held).next_try, None);
}

#[test]
fn a_round_of_one_instance_forgets_nothing_of_the_others() {
    let name = |text: &str| text.parse().expect("a name");
    let mut earlier = told(Outcome::Held, Reason::Protected);
    earlier.steps.push(earlier.steps[0].clone());
    earlier.steps[1].step.instance = name("b");
    let done = Report::default();
    let known = done.beside(&earlier, &[name("a")]);
    let names: Vec<_> = known.steps.iter().map(|told| &told.step.instance).collect();
    assert_eq!(names, [&name("b")], "a is as it should be now");
    assert_eq!(done.beside(&earlier, &[]).steps, [], "all were looked at");
}

#[test]
fn one_that_is_not_well_says_what_comes_next() {
    let desired = desired(&[("a", "")]);
    let name: InstanceName = "a".parse().expect("a name");
    let next = |health, unwell_secs: u64, overrides: Overrides| {
        let seen = generation(&desired, Phase::Running, Some(health), (500, 0));
        let mut all = [stands(&desired, Some(seen), &Report::default())];
        let restarted = Act {
            at: NOW - jiff::SignedDuration::from_secs(100),
            deed: Deed::Restart,
            cause: Cause::Health,
            generation: 1,
            spec: String::new(),
            fields: Vec::new(),
            revision: String::new(),
            served: None,
            done: Some(true),
        };
        let acts = BTreeMap::from([(name.clone(), vec![restarted])]);
        let overrides = BTreeMap::from([(name.clone(), overrides)]);
        let unwell = BTreeMap::from([(name.clone(), Duration::from_secs(unwell_secs))]);
        note_next(&mut all, &acts, &overrides, &unwell, NOW);
        let next = all[0].next?;
        Some((next.remedy, next.at.as_second() - NOW.as_second()))
    };
    let nothing = Overrides::default;
    assert_eq!(
        next(Health::Unhealthy, 20, nothing()),
        Some((Remedy::Recreate, 40))
    );
    let resumed = Overrides {
        resumed: Some(NOW - jiff::SignedDuration::from_secs(50)),
        ..nothing()
    };
    assert_eq!(
        next(Health::Unhealthy, 20, resumed),
        Some((Remedy::Restart, 40))
    );
    assert_eq!(next(Health::Healthy, 20, nothing()), None);
}
