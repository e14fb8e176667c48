//! The daemon's figures as a scraper gets them, after rounds in which something of everything happened.

use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::forward_auth::SharedTable;
use instanced::daemon::metrics::{Form, Metrics};
use instanced::decisions::plan::{Action, Reason, Step};
use instanced::decisions::report::{Failure, Missing, Outcome, Report, StepReport};
use instanced::decisions::source::SourceStatus;
use instanced::words::commit::Commit;

/// All of them, in a form.
pub fn figures(form: Form) -> String {
    let metrics = Metrics::new(
        SharedTable::default(),
        Arc::default(),
        Arc::default(),
        Arc::default(),
    );
    let step = Step {
        instance: "alice".parse().expect("a name"),
        action: Action::Held,
        reason: Reason::Protected,
        changes: Vec::new(),
        ends_sessions: false,
    };
    let held = StepReport {
        step,
        outcome: Outcome::Held,
        millis: 1,
        failure: None,
    };
    let report = Report {
        steps: vec![held],
        ..Report::default()
    };
    let away = Failure {
        message: "the engine does not answer".to_owned(),
        help: None,
    };
    let away = Report::aborted(away).for_want_of(Missing::Engine);
    metrics.count(&report, Duration::from_millis(7), true);
    metrics.count(&away, Duration::from_secs(70), true);
    let source = SourceStatus {
        revision: "git:5b3e5b3e5b3e".to_owned(),
        commit: Some(Commit {
            id: "5b3e".repeat(10),
            author: Some("Ada \"the\\first\"\n <ada@example.com>".to_owned()),
            committed: jiff::Timestamp::UNIX_EPOCH,
            subject: String::new(),
            changed_since: false,
        }),
        ..SourceStatus::default()
    };
    form.write(metrics.encode(&source).expect("figures"))
}
