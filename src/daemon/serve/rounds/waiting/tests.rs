use std::collections::BTreeMap;

use super::*;
use crate::decisions::plan::{Action, Plan, Step};
use crate::decisions::report::{Failure, Missing, Outcome, StepReport};
use crate::decisions::saved::SavedPlan;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Order;

fn alice() -> InstanceName {
    "alice".parse().unwrap()
}

fn asked(order: Option<Order>) -> (AskedRound, oneshot::Receiver<Report>) {
    let (reply, report) = oneshot::channel();
    let orders = order.map(|order| (alice(), order)).into_iter();
    let ask = Ask {
        names: vec![alice()],
        orders: orders.collect::<BTreeMap<_, _>>(),
        ..Ask::default()
    };
    let wait = None;
    (AskedRound { ask, wait, reply }, report)
}

/// A round that found an earlier step of alice.
fn overtaken() -> Report {
    let since = jiff::Timestamp::UNIX_EPOCH;
    let step = Step {
        instance: alice(),
        action: Action::Held,
        reason: Reason::InProgress { since },
        changes: Vec::new(),
        ends_sessions: false,
    };
    let told = StepReport {
        step,
        outcome: Outcome::Running { since },
        millis: 0,
        failure: None,
    };
    Report {
        steps: vec![told],
        ..Report::default()
    }
}

#[test]
fn a_restart_comes_after_a_pull_and_a_stop_withdraws_it() {
    let (mut waiting, in_flight) = (Waiting::default(), InFlight::default());
    in_flight.pretend(&alice(), Some(false));
    for order in [Order::Restart, Order::Recreate] {
        assert!(waiting.ask(asked(Some(order)).0, &in_flight).is_none());
    }
    // The store has what a stop or a suspension says.
    assert!(waiting.ask(asked(None).0, &in_flight).is_some());
    assert!(waiting.next_deferred(&in_flight).is_none());
    in_flight.pretend(&alice(), None);
    for order in [Order::Restart, Order::Recreate] {
        let next = waiting.next_deferred(&in_flight).unwrap();
        assert_eq!(next.ask.orders[&alice()], order);
    }
}

#[test]
fn an_order_that_a_step_overtakes_is_carried_out_after_it() {
    for order in [None, Some(Order::Restart)] {
        let (mut waiting, in_flight) = (Waiting::default(), InFlight::default());
        let (asked, mut answer) = asked(order);
        let asked = waiting.ask(asked, &in_flight).unwrap();
        // It began after the order came, and ended before the round did.
        in_flight.pretend(&alice(), None);
        waiting.take(asked, overtaken(), &in_flight);
        waiting.answer();
        assert!(answer.try_recv().is_err(), "nothing was done for it yet");
        let again = waiting.next_deferred(&in_flight).unwrap();
        waiting.take(again, Report::default(), &in_flight);
        assert!(answer.try_recv().is_ok());
    }
}

#[test]
fn who_asks_for_no_more_than_a_round_learns_what_came_of_a_pull() {
    let (mut waiting, in_flight) = (Waiting::default(), InFlight::default());
    in_flight.pretend(&alice(), Some(false));
    let (asked, mut answer) = asked(None);
    let asked = waiting.ask(asked, &in_flight).unwrap();
    let report = overtaken();
    let mut done = report.steps[0].clone();
    done.outcome = Outcome::Done;
    waiting.take(asked, report, &in_flight);
    in_flight.pretend(&alice(), None);
    assert!(waiting.next_deferred(&in_flight).is_none());
    waiting.end_step(&LateStep {
        instance: alice(),
        since: jiff::Timestamp::UNIX_EPOCH,
        report: Some(done.clone()),
    });
    assert_eq!(answer.try_recv().unwrap().steps, [done]);
}

#[test]
fn a_saved_plan_that_does_not_fit_is_no_round_that_fails() {
    let refused = Report::aborted(Failure {
        message: "the fleet has moved".to_owned(),
        help: None,
    });
    let (desired, observed) = (Desired::default(), Observed::default());
    let at = jiff::Timestamp::UNIX_EPOCH;
    let saved = SavedPlan::new(Plan::default(), &desired, &observed, at);
    let of_a_plan = Ask {
        expect: Some(saved),
        ..Ask::default()
    };
    assert!(is_refused(&of_a_plan, &refused));
    assert!(!is_refused(&Ask::default(), &refused));
    assert!(!is_refused(&of_a_plan, &Report::default()));
    let away = refused.for_want_of(Missing::Engine);
    assert!(!is_refused(&of_a_plan, &away), "that is one");
}
