//! How instances stand, as people read it.

use std::time::Duration;

use super::*;
use crate::decisions::remedy::{NextRemedy, Remedy};
use crate::decisions::status::InstanceDetail;
use crate::face::status;
use crate::face::top::{self, Look};
use crate::words::act::Cause;
use crate::words::commit::Commit;
use crate::words::history::{Entry, EntryResult};
use crate::words::watch::HealthResult;

#[test]
fn the_status_table() {
    let all = [
        instance("alice", InstancePhase::Running, Some(Health::Healthy), ""),
        instance("bob", InstancePhase::Held, None, &unreadable().to_string()),
        instance(
            "carol-long-name",
            InstancePhase::Unhealthy,
            Some(Health::Unhealthy),
            "",
        ),
        instance("dora", InstancePhase::Pending, None, ""),
        instance(
            "erin",
            InstancePhase::Failed,
            None,
            "cannot pull the image `acme/mcp:9`",
        ),
    ];
    assert_snapshot!(status::draw(&all, false, now()).plain());
    assert_snapshot!(
        "the_wide_status_table",
        status::draw(&all, true, now()).plain()
    );
}

#[test]
fn an_engine_that_is_away_is_told_once() {
    let why = "connect to the container engine: no such file or directory";
    let unknown = |name| instance(name, InstancePhase::Unknown, None, why);
    let told = |all: &[_]| {
        let drawn = status::draw(all, false, now()).plain();
        let below = drawn.lines().skip_while(|line| !line.is_empty()).skip(1);
        below.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&[unknown("alice")]), [format!("! alice: {why}")]);
    let held = instance("carol", InstancePhase::Held, None, "it is protected");
    assert_eq!(
        told(&[unknown("alice"), unknown("bob"), held]),
        [
            format!("! 2 instances: {why}"),
            "! carol: it is protected".to_owned()
        ]
    );
}

#[test]
fn what_comes_next_for_one_that_is_not_well_is_told_in_both() {
    let why = "its health check fails";
    let mut one = instance(
        "alice",
        InstancePhase::Unhealthy,
        Some(Health::Unhealthy),
        why,
    );
    one.next = Some(NextRemedy {
        remedy: Remedy::Restart,
        at: now() + jiff::SignedDuration::from_secs(42),
        tried: 0,
    });
    let by = one
        .next
        .map(|next| next.at.strftime("%H:%M:%S").to_string());
    let told = format!(
        "restarted if it is not well by {} UTC",
        by.unwrap_or_default()
    );
    let drawn = status::draw(&[one.clone()], false, now()).plain();
    assert!(
        drawn.contains(&format!("✗ alice: {why}; {told}\n")),
        "{drawn}"
    );
    let detail = InstanceDetail {
        status: one,
        container: None,
        help: None,
        suspended: None,
        stopped: None,
        frozen: None,
        failed_output: None,
        health_log: Vec::new(),
        history: Vec::new(),
    };
    let drawn = status::draw_one(&detail, now()).plain();
    let line = drawn.lines().find(|line| line.starts_with("next "));
    let line = line.unwrap_or_else(|| panic!("{drawn}"));
    assert!(line.ends_with(&format!("{told} (in 42s)")), "{line}");
}

fn entry(at: &str, action: &str, result: EntryResult) -> Entry {
    Entry {
        at: at.parse().unwrap(),
        action: action.to_owned(),
        cause: Cause::Desired,
        reason: "its image changed".to_owned(),
        generation: Some(4),
        fields: vec!["image".to_owned()],
        revision: "git:5b3e5b3e5b3e".to_owned(),
        commit: Some(Commit {
            id: "5b3e".repeat(10),
            author: Some("Ada Lovelace <ada@example.com>".to_owned()),
            committed: "2026-11-20T09:00:00Z".parse().unwrap(),
            subject: "The next browser".to_owned(),
            changed_since: false,
        }),
        result,
        millis: Some(3_210),
    }
}

#[test]
fn one_in_full() {
    let mut status = instance(
        "alice",
        InstancePhase::Unhealthy,
        Some(Health::Unhealthy),
        "",
    );
    status.next_try = Some(now() + jiff::SignedDuration::from_secs(42));
    let failed = EntryResult::Failed {
        failure: "cannot pull the image\u{1b}[2J".to_owned(),
    };
    let by_crash = Entry {
        reason: String::new(),
        commit: None,
        millis: None,
        ..entry("2026-11-20T09:16:00Z", "restart", EntryResult::Unknown)
    };
    let checked = |at: &str, passed, output: &str| HealthResult {
        at: at.parse().unwrap(),
        passed,
        output: output.to_owned(),
    };
    let detail = InstanceDetail {
        status,
        container: Some("instanced-default-alice-g4".to_owned()),
        help: Some("see `instanced logs alice`".to_owned()),
        suspended: Some("2026-11-20T09:10:00Z".parse().unwrap()),
        stopped: None,
        frozen: None,
        failed_output: None,
        health_log: vec![
            checked("2026-11-20T09:14:00Z", true, "ok"),
            checked("2026-11-20T09:14:30Z", false, "curl: (7) refused"),
            checked("2026-11-20T09:15:00Z", false, "curl: (7) refused\nagain"),
        ],
        history: vec![
            entry("2026-11-20T09:14:00Z", "replace", failed),
            entry("2026-11-20T09:15:00Z", "replace", EntryResult::Done),
            by_crash,
        ],
    };
    assert_snapshot!(status::draw_one(&detail, now()).plain());
}

#[test]
fn what_instances_use() {
    let mut all = [
        instance("alice", InstancePhase::Running, Some(Health::Healthy), ""),
        instance("bob", InstancePhase::Running, Some(Health::Healthy), ""),
        instance("dora", InstancePhase::Pending, None, ""),
    ];
    let before = Look::of(&all, &[], Duration::ZERO);
    assert_snapshot!("the_first_look", top::draw(&before, None).plain());
    if let Some(usage) = &mut all[1].usage {
        usage.cpu = Some(1.5);
        usage.network_received += 3 << 20;
    }
    let look = Look::of(&all, &[], Duration::from_secs(2));
    assert_snapshot!("the_next_look", top::draw(&look, Some(&before)).plain());
}
