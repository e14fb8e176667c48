//! One hostile text in every place that comes from outside, through every output.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::decisions::checkup::Area;
use crate::decisions::compare::{Comparison, Difference, Effect};
use crate::decisions::source::{Behind, SourceStatus};
use crate::decisions::status::{EndpointStatus, InstanceDetail};
use crate::face::output::{Color, Format, Output};
use crate::face::text::{Lines, is_control, neutral_json};
use crate::face::{checkup, comparison, diff, history, status};
use crate::words::act::Cause;
use crate::words::commit::Commit;
use crate::words::diagnostic::{Place, Severity};
use crate::words::history::{Entry, EntryResult};
use crate::words::watch::HealthResult;

/// Ends of lines, commands of a terminal in both forms, a command of CI systems at a line's beginning and within a line,
/// text that runs backwards, HTML and Markdown.
pub const HOSTILE: &str = "x\n::error::pwn\r\n  ::add-mask::pwn\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{7f}\
    \u{202e}\u{2066}\u{200f}\u{2028}\u{feff}##[add-mask]pwn##vso[x]pwn</summary><img src=pwn>`` | @pwn\n";

/// That nothing in it controls its reader.
#[track_caller]
pub fn assert_neutral(text: &str, what: &str) {
    let found = text.chars().find(|c| is_control(*c) && *c != '\n');
    assert_eq!(found, None, "{what}: {text:?}");
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{what}: {line:?}");
    }
    assert!(
        !text.contains("##[") && !text.contains("##vso["),
        "{what}: {text:?}"
    );
    assert!(text.contains("pwn"), "{what} shows nothing of it: {text:?}");
}

#[track_caller]
fn assert_lines(lines: &Lines, what: &str) {
    assert_neutral(&lines.plain(), what);
    // Of styles there are ours alone.
    for code in lines.as_str().split('\u{1b}').skip(1) {
        let (code, _) = code.split_once('m').unwrap_or_default();
        let is_style =
            code.starts_with('[') && code[1..].bytes().all(|b| b.is_ascii_digit() || b == b';');
        assert!(is_style, "{what}: {code:?}");
    }
}

fn hostile() -> String {
    HOSTILE.to_owned()
}

fn commit() -> Commit {
    Commit {
        id: "5b3e".repeat(10),
        author: Some(hostile()),
        committed: now(),
        subject: hostile(),
        changed_since: false,
    }
}

fn diagnostic() -> Diagnostic {
    Diagnostic {
        place: Place {
            path: hostile(),
            line: 1,
            column: 1,
            width: 1,
        },
        severity: Severity::Error,
        field: hostile(),
        message: hostile(),
        help: Some(hostile()),
    }
}

fn change() -> change::Change {
    change::Change {
        field: hostile(),
        old: Some(json!({ HOSTILE: HOSTILE })),
        new: Some(json!([HOSTILE, "y"])),
        origin: Origin::Manifest,
    }
}

fn hostile_spec() -> Arc<Spec> {
    let mut spec = spec("alice", "owner: x");
    let inner = Arc::make_mut(&mut spec);
    inner.owner = Some(hostile());
    inner.image = hostile();
    inner.env = [(hostile(), hostile())].into_iter().collect();
    inner.labels = [(hostile(), hostile())].into_iter().collect();
    inner.command = Some(vec![hostile()]);
    spec
}

#[test]
fn diagnostics_in_every_format() {
    let all = [diagnostic(), diagnostic()];
    // With the file's line, and without.
    let with = diagnostics::draw(&all, |_| Some(format!("a: {HOSTILE}")));
    assert_lines(&with, "drawn");
    assert_lines(&diagnostics::draw(&all, |_| None), "in lines");
    assert_neutral(&diagnostics::junit::render(&all, &[hostile()]), "junit");
    let sarif = diagnostics::sarif::render(&all).to_string();
    assert_neutral(&neutral_json(&sarif), "sarif");
    let github = diagnostics::github::render(&all);
    assert_eq!(github.lines().count(), all.len(), "{github}");
    for line in github.lines() {
        assert!(line.starts_with("::error file=x%0A%3A%3Aerror"), "{line}");
        assert!(!line.contains(is_control), "{line:?}");
    }
}

#[test]
fn plans_and_rounds() {
    let mut create = step(
        "alice",
        Action::Create {
            generation: 1,
            discard: Vec::new(),
            spec: hostile_spec(),
        },
        Reason::Missing,
    );
    create.changes = vec![change()];
    let mut replaced = replace("bob", &spec("bob", "{}"), spec("bob", "owner: y"));
    replaced.changes = vec![change()];
    let unreadable = held(
        "carol",
        Reason::Unreadable {
            diagnostics: vec![diagnostic()],
        },
    );
    let steps = vec![create, replaced, unreadable];
    let plan = Plan {
        commit: Some(commit()),
        steps: steps.clone(),
        ..Plan::default()
    };
    let manifest_of = |_: &InstanceName| hostile();
    for whole in [false, true] {
        let view = PlanView {
            manifest_of: &manifest_of,
            whole,
        };
        assert_lines(&view.draw(&plan), "plan");
    }
    let failed = |step| StepReport {
        step,
        outcome: Outcome::Failed(failure(HOSTILE, HOSTILE)),
        millis: 1,
        failure: None,
    };
    let done = Reconciled {
        report: Report {
            commit: Some(commit()),
            steps: steps.into_iter().map(failed).collect(),
            routes: vec![failure(HOSTILE, HOSTILE)],
            ..Report::default()
        },
        unhealthy: vec![Unhealthy {
            instance: "alice".parse().unwrap(),
            starting: false,
            reason: hostile(),
            last_line: Some(hostile()),
        }],
        looked_at: 1,
    };
    assert_lines(&report::draw(&done), "report");
    assert_neutral(
        &neutral_json(&serde_json::to_string(&done).unwrap()),
        "report as JSON",
    );
}

#[test]
fn a_change_in_a_terminal_and_on_a_pull_request() {
    let difference = |spec, changes| Difference {
        instance: "alice".parse().unwrap(),
        effect: Effect::Replaced,
        changes,
        ends_sessions: true,
        spec,
    };
    let comparison = Comparison {
        base: hostile(),
        head: hostile(),
        differences: vec![
            difference(Some(hostile_spec()), vec![]),
            difference(None, vec![change()]),
        ],
        unchanged: 1,
        prune_blocked: true,
    };
    assert_lines(&comparison::draw(&comparison), "diff");
    let markdown = comparison::markdown(&comparison);
    assert_lines(&markdown, "markdown");
    // All of it is in fences or spans of code.
    let (mut fence, mut outside) = (None::<String>, String::new());
    for line in markdown.plain().lines() {
        match &fence {
            Some(end) if line == end => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = line.strip_suffix("diff").map(str::to_owned),
            None => {
                for (place, part) in line.split("```").enumerate() {
                    if place % 2 == 0 {
                        outside += part;
                    }
                }
                outside.push('\n');
            }
        }
    }
    assert!(
        !outside.contains("pwn") && outside.contains("</details>"),
        "{outside}"
    );
    assert_lines(&diff::of_new(&hostile_spec(), HOSTILE, true), "a new spec");
}

#[test]
fn how_instances_stand() {
    let mut one = instance("alice", InstancePhase::Held, None, HOSTILE);
    one.image = Some(hostile());
    one.owner = Some(hostile());
    one.revision = Some(hostile());
    one.endpoints = vec![EndpointStatus {
        name: hostile(),
        url: hostile(),
        auth: Auth::Bearer,
    }];
    assert_lines(&status::draw(&[one.clone()], true, now()), "status");
    let entry = |result| Entry {
        at: now(),
        action: hostile(),
        cause: Cause::Desired,
        reason: hostile(),
        generation: Some(1),
        fields: vec![hostile()],
        revision: hostile(),
        commit: Some(commit()),
        result,
        millis: None,
    };
    let mut entries = vec![
        entry(EntryResult::Failed { failure: hostile() }),
        entry(EntryResult::Done),
    ];
    entries[1].commit = None;
    assert_lines(&history::draw(&entries), "history");
    let detail = InstanceDetail {
        container: Some(hostile()),
        help: Some(hostile()),
        suspended: None,
        stopped: None,
        frozen: None,
        failed_output: None,
        health_log: vec![HealthResult {
            at: now(),
            passed: false,
            output: hostile(),
        }],
        history: entries,
        status: one.clone(),
    };
    assert_lines(&status::draw_one(&detail, now()), "one in full");
    assert_neutral(
        &neutral_json(&serde_json::to_string(&detail).unwrap()),
        "one as JSON",
    );
    let source = SourceStatus {
        source: hostile(),
        revision: hostile(),
        commit: Some(commit()),
        behind: Some(Behind {
            commits: None,
            rewritten: false,
            why: hostile(),
        }),
        newest: Some(commit()),
        fetch_failure: Some(hostile()),
        ..SourceStatus::default()
    };
    assert_lines(&status::draw_source(&source, now()), "source");
    let connection = Connection {
        instance: &one,
        vnc: VncPasswords {
            password: Some(hostile()),
            view_password: Some(hostile()),
        },
    };
    assert_lines(&connection.draw(PLACEHOLDER), "connect");
    let findings = [Area::Engine.problem(hostile(), hostile())];
    assert_lines(&checkup::draw(&findings), "doctor");
}

#[test]
fn tokens_and_links() {
    let token = Token::from_random(&[1; TOKEN_RANDOM_BYTES]);
    let record = TokenRecord {
        id: token.id().to_owned(),
        instance: "alice".parse().unwrap(),
        label: hostile(),
        hash: token.hash(),
        created: now(),
        expires: None,
        endpoints: vec![],
        kind: TokenKind::Bearer,
        session_seconds: None,
        successor: None,
    };
    let listed = ListedToken {
        record: record.clone(),
        last_used: None,
    };
    assert_lines(&tokens::draw(&[listed], now()), "token list");
    assert_lines(&tokens::issued(&record), "token issue");
    assert_lines(&tokens::rotated(&record, &record), "token rotate");
}

#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn whatever_the_writer_is_given() {
    for format in [Format::Human, Format::Json] {
        let written = Written::default();
        let streams =
            [written.clone(), written.clone()].map(|it| -> Box<dyn Write> { Box::new(it) });
        let mut out = Output::with(format, Color::Never, streams);
        out.fail(&failure(HOSTILE, HOSTILE));
        out.warn(HOSTILE);
        out.say(HOSTILE);
        out.result(HOSTILE);
        out.json(&json!({ HOSTILE: [HOSTILE] }));
        out.json_line(&json!({ HOSTILE: HOSTILE }));
        assert_neutral(&written.text(), "the writer");
    }
}
