use super::*;
use crate::decisions::plan::{Action, Reason, Step};
use crate::decisions::report::Failure;
use crate::decisions::source::Behind;
use crate::words::commit::Commit;

fn metrics() -> Metrics {
    Metrics::new(
        SharedTable::default(),
        Arc::default(),
        Arc::default(),
        Arc::default(),
    )
}

fn told(action: Action, reason: Reason, outcome: Outcome) -> StepReport {
    let step = Step {
        instance: "alice".parse().unwrap(),
        action,
        reason,
        changes: Vec::new(),
        ends_sessions: false,
    };
    StepReport {
        step,
        outcome,
        millis: 1,
        failure: None,
    }
}

fn remove(outcome: Outcome) -> StepReport {
    let targets = Vec::new();
    told(Action::Remove { targets }, Reason::Orphaned, outcome)
}

fn failure() -> Failure {
    Failure {
        message: "no".to_owned(),
        help: None,
    }
}

fn stands(phase: InstancePhase, health: Option<Health>) -> InstanceStatus {
    InstanceStatus {
        revision: None,
        next_try: None,
        next: None,
        in_progress: None,
        usage: None,
        name: "alice".parse().unwrap(),
        phase,
        reason: String::new(),
        health,
        generation: None,
        image: None,
        owner: None,
        started: None,
        endpoints: Vec::new(),
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "no {line} in\n{text}");
    }
}

#[test]
fn rounds_steps_and_the_source_are_counted_and_no_instance_is_named() {
    let metrics = metrics();
    let report = Report {
        steps: vec![
            remove(Outcome::Done),
            remove(Outcome::Failed(failure())),
            told(Action::Held, Reason::Protected, Outcome::Held),
        ],
        unchanged: 3,
        ..Report::default()
    };
    metrics.count(&report, Duration::from_millis(30), true);
    metrics.count(&Report::aborted(failure()), Duration::from_millis(3), true);
    metrics.stand(&[
        stands(InstancePhase::Running, Some(Health::Healthy)),
        stands(InstancePhase::Held, Some(Health::Unhealthy)),
    ]);
    let mut source = SourceStatus {
        revision: "git:0".to_owned(),
        ..SourceStatus::default()
    };
    metrics.encode(&source).unwrap();
    source.revision = "git:5b3e5b3e5b3e".to_owned();
    source.commit = Some(Commit {
        id: "5b3e".repeat(10),
        author: Some("Ada \"the first\" <ada@example.com>".to_owned()),
        committed: jiff::Timestamp::UNIX_EPOCH,
        subject: String::new(),
        changed_since: false,
    });
    source.behind = Some(Behind {
        commits: Some(2),
        rewritten: false,
        why: String::new(),
    });
    let text = metrics.encode(&source).unwrap();
    has(
        &text,
        &[
            "instanced_rounds_total{result=\"failed\"} 1",
            "instanced_rounds_total{result=\"aborted\"} 1",
            "instanced_round_duration_seconds_bucket{le=\"0.1\"} 2",
            "instanced_steps_total{action=\"remove\",outcome=\"done\"} 1",
            "instanced_steps_total{action=\"remove\",outcome=\"failed\"} 1",
            "instanced_instances{phase=\"running\"} 1",
            "instanced_instances{phase=\"held\"} 1",
            "instanced_instances_unhealthy 1",
            "instanced_instances_held{reason=\"protected\"} 1",
            "instanced_engine_reachable 1",
            "instanced_source_behind_commits 2",
            "instanced_source_fetch_ok 1",
            "instanced_source_revision{revision=\"git:5b3e5b3e5b3e\",author=\"Ada \\\"the first\\\" <ada@example.com>\"} 1",
        ],
    );
    assert!(
        !text.contains("alice") && !text.contains("git:0\""),
        "{text}"
    );
}

#[test]
fn what_an_alert_looks_at_is_there_from_the_start() {
    let text = metrics().encode(&SourceStatus::default()).unwrap();
    has(
        &text,
        &[
            concat!(
                "instanced_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "instanced_rounds_total{result=\"aborted\"} 0",
            "instanced_steps_total{action=\"replace\",outcome=\"failed\"} 0",
            "instanced_instances{phase=\"failed\"} 0",
            "instanced_instances_unhealthy 0",
            "instanced_instances_held{reason=\"frozen\"} 0",
            "instanced_instances_held{reason=\"prune_blocked\"} 0",
            "instanced_engine_reachable 0",
            "instanced_round_completed_timestamp_seconds 0",
            "instanced_store_errors_total{operation=\"write\"} 0",
            "instanced_auth_ready 0",
            "instanced_auth_requests_total{name=\"\",reason=\"wrong_token\"} 0",
        ],
    );
}

#[test]
fn an_engine_that_is_away_is_told_and_what_was_known_of_holds_stays() {
    let metrics = metrics();
    let held = Report {
        steps: vec![told(Action::Held, Reason::Protected, Outcome::Held)],
        ..Report::default()
    };
    metrics.count(&held, Duration::ZERO, true);
    metrics.stand(&[stands(InstancePhase::Held, None)]);
    let away = Report::aborted(failure()).for_want_of(Missing::Engine);
    metrics.count(&away, Duration::ZERO, true);
    let text = metrics.encode(&SourceStatus::default()).unwrap();
    has(
        &text,
        &[
            "instanced_engine_reachable 0",
            "instanced_instances{phase=\"held\"} 0",
            "instanced_instances{phase=\"unknown\"} 1",
            "instanced_instances_held{reason=\"protected\"} 1",
        ],
    );
    // A round for some instances saw no other.
    metrics.count(&Report::default(), Duration::ZERO, false);
    let text = metrics.encode(&SourceStatus::default()).unwrap();
    has(
        &text,
        &[
            "instanced_engine_reachable 1",
            "instanced_instances_held{reason=\"protected\"} 1",
        ],
    );
}

#[test]
fn what_is_in_progress_is_held() {
    let metrics = metrics();
    let since = jiff::Timestamp::UNIX_EPOCH;
    let running = Outcome::Running { since };
    let steps = vec![
        told(Action::Held, Reason::InProgress { since }, running.clone()),
        remove(running),
    ];
    let report = Report {
        steps,
        ..Report::default()
    };
    metrics.count(&report, Duration::ZERO, true);
    let text = metrics.encode(&SourceStatus::default()).unwrap();
    let line = r#"instanced_instances_held{reason="in_progress"} 2"#;
    assert!(text.contains(line), "{text}");
}
