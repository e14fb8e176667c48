//! Commits, and how the fleet stands to its source.

use insta::assert_snapshot;

use super::now;
use crate::decisions::plan::Plan;
use crate::decisions::report::Report;
use crate::decisions::settled::Reconciled;
use crate::decisions::source::{Behind, SourceStatus};
use crate::face::plan::PlanView;
use crate::face::{report, status};
use crate::words::commit::Commit;
use crate::words::name::InstanceName;

fn commit(id: &str, author: &str, subject: &str, committed: &str) -> Commit {
    Commit {
        id: id.repeat(10),
        author: Some(author.to_owned()),
        committed: committed.parse().unwrap(),
        subject: subject.to_owned(),
        changed_since: false,
    }
}

#[test]
fn the_source_is_told_with_how_far_behind_it_the_fleet_is() {
    let mut source = SourceStatus {
        source: "instances.d in git@git.example.com:team/fleet.git, branch main".to_owned(),
        revision: "git:5b3e5b3e5b3e".to_owned(),
        commit: Some(commit(
            "5b3e",
            "Ada Lovelace <ada@example.com>",
            "Give bob more memory",
            "2026-11-20T07:00:00Z",
        )),
        fetched: Some("2026-11-20T11:48:00Z".parse().unwrap()),
        ..SourceStatus::default()
    };
    let mut drawn = status::draw_source(&source, now());
    source.behind = Some(Behind {
        commits: Some(1),
        rewritten: true,
        why: "alice: the image is gone; and 2 more".to_owned(),
    });
    source.newest = Some(commit(
        "9d1f",
        "Eve <eve@example.com>",
        "Quick fix",
        "2026-11-20T11:40:00Z",
    ));
    source.fetch_failure = Some("cannot fetch git@…: connection refused".to_owned());
    drawn += status::draw_source(&source, now());
    source = SourceStatus {
        source: "/srv/fleet/instances.d".to_owned(),
        revision: "dir:0123456789ab".to_owned(),
        ..SourceStatus::default()
    };
    drawn += status::draw_source(&source, now());
    assert_snapshot!(drawn.plain());
}

#[test]
fn a_plan_and_a_report_begin_with_their_commit() {
    let commit = commit(
        "5b3e",
        "Ada <ada@example.com>",
        "More",
        "2026-11-20T07:00:00Z",
    )
    .with_changes();
    let plan = Plan {
        commit: Some(commit.clone()),
        ..Plan::default()
    };
    let manifest_of = |_: &InstanceName| String::new();
    let view = PlanView {
        manifest_of: &manifest_of,
        whole: false,
    };
    let report = Report {
        commit: Some(commit),
        ..Report::default()
    };
    let done = Reconciled {
        report,
        ..Reconciled::default()
    };
    let begin = "commit 5b3e5b3e5b3e+uncommitted\n\nNo changes";
    for drawn in [view.draw(&plan), report::draw(&done)] {
        let drawn = drawn.plain();
        assert!(drawn.starts_with(begin), "{drawn}");
    }
}
