//! Steps that go on beside the rounds: stalled pulls, and what is asked for meanwhile.

use futures_util::FutureExt as _;
use instanced::daemon::orders;
use instanced::daemon::steps::{InFlight, SLOW};
use instanced::words::history::EntryResult;
use instanced::words::name::InstanceName;
use instanced::words::overrides::Order;
use std::sync::Mutex;
use tokio::time::Instant;

use super::*;

const OTHER: &str = "r.example.com/x:2";

type Rounds = Converger<Fleet<FakeContainers>, Arc<Store>>;

fn alice() -> InstanceName {
    "alice".parse().expect("a name")
}

/// Alice runs, her new image stalls, and the step goes on beside the rounds.
async fn stalled() -> (Lab, Arc<Store>, Rounds, Report) {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.engine.publish_image(OTHER, "sha256:other");
    lab.engine.stall("pull", "");
    lab.write("alice", &format!("image: {OTHER}"));
    let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
    let store = Arc::new(store);
    let mut rounds = lab.converger_with(&store).with_patience(SLOW);
    let report = one(&lab, &mut rounds, Ask::default()).await;
    assert!(matches!(outcome(&report, "alice"), Outcome::Running { .. }));
    (lab, store, rounds, report)
}

async fn one(lab: &Lab, rounds: &mut Rounds, ask: Ask) -> Report {
    let desired = lab.desired().expect("manifests of our own");
    let view = rounds.look(desired, ask, false).await.expect("a look");
    let shutdown = CancellationToken::new();
    rounds.perform(&view, false, &shutdown).await
}

#[tokio::test(start_paused = true)]
async fn a_stop_or_a_suspension_withdraws_a_pull_and_is_carried_out_in_its_own_round() {
    for (order, left) in [
        (Order::Stop, vec![]),
        (Order::Suspend, vec!["instanced-default-alice-g1"]),
    ] {
        let (lab, store, mut rounds, mut before) = stalled().await;
        let now = jiff::Timestamp::now();
        let taken = orders::take(&lab.site, &store, &alice(), order, now).await;
        let report = one(&lab, &mut rounds, taken.expect("a known instance").ask).await;
        let expected = if order == Order::Stop {
            Outcome::Done
        } else {
            Outcome::Held
        };
        assert_eq!(*outcome(&report, "alice"), expected, "{order:?}");
        assert_eq!(lab.running(), left, "{order:?}");
        let ended = rounds.take_ended().expect("the pull was withdrawn");
        assert!(ended.report.is_none());
        before.withdraw(&ended.instance, ended.since);
        assert!(before.steps.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_late_step_came_to_is_written_down_even_if_nobody_waits_for_it() {
    let (lab, store, mut rounds, _) = stalled().await;
    lab.engine.let_go();
    let dropped = rounds.ended().now_or_never();
    assert!(dropped.is_none(), "the store takes its time");
    // The call that was begun ends all the same.
    for _ in 0..100 {
        let history = store.history(&alice()).expect("the store");
        if history.iter().any(|e| e.generation == Some(2)) {
            let replaced = history.last().expect("one at least");
            assert_eq!(replaced.result, EntryResult::Done);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the history does not have it");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_step_is_not_taken_for_that_of_a_later_one() {
    let (lab, _, mut rounds, mut first) = stalled().await;
    lab.engine.let_go();
    let dropped = rounds.ended().now_or_never();
    assert!(dropped.is_none(), "the store takes its time");
    // Somebody asks for a round, which begins another step of the same instance.
    let again = "r.example.com/x:3";
    lab.engine.publish_image(again, "sha256:again");
    lab.engine.stall("pull", "");
    lab.write("alice", &format!("image: {again}"));
    let mut second = one(&lab, &mut rounds, Ask::default()).await;
    let ended = rounds.take_ended().expect("the first one has ended");
    let told = ended.report.as_ref().expect("it was not withdrawn");
    second.conclude(told, ended.since);
    assert!(matches!(outcome(&second, "alice"), Outcome::Running { .. }));
    first.conclude(told, ended.since);
    assert_eq!(*outcome(&first, "alice"), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn stalled_pulls_keep_neither_the_round_nor_anybody_behind_them() {
    let names: Vec<String> = (0..60).map(|n| format!("a{n:02}")).collect();
    let mut lab = Lab::new(&[("zed", "{}")]);
    for name in &names {
        lab.write(name, &format!("image: r.example.com/{name}:1"));
    }
    lab.site.config.reconcile.parallelism = 2;
    lab.engine.stall("pull", "");
    let mut rounds = lab.converger().with_patience(SLOW);
    let began = Instant::now();
    let report = one(&lab, &mut rounds, Ask::default()).await;
    let took = began.elapsed();
    assert!(took <= SLOW + Duration::from_millis(100), "{took:?}");
    assert_eq!(*outcome(&report, "zed"), Outcome::Done);
    assert!(matches!(outcome(&report, "a59"), Outcome::Running { .. }));
}

#[tokio::test]
async fn a_step_that_fails_before_it_begins_is_told_to_whoever_observes() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.engine.remove_network("mcp_instances");
    lab.engine.add_open_network("mcp_instances");
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let observer: instanced::daemon::converge::StepObserver = Box::new(move |step, planned_for| {
        let mut seen = seen.lock().expect("nobody panics");
        seen.push((step.clone(), planned_for.revision.clone()));
    });
    let rounds = lab.converger();
    let mut rounds = rounds.in_background(|work| work, InFlight::default(), observer);
    let report = one(&lab, &mut rounds, Ask::default()).await;
    let told = told.lock().expect("nobody panics");
    assert_eq!(*told, [(report.steps[0].clone(), report.revision.clone())]);
}
