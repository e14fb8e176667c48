use super::*;
use crate::decisions::plan::{Action, Reason, Step};
use crate::decisions::source::Behind;
use crate::words::diagnostic::Diagnostic;
use crate::words::observed::Health;

const PATIENCE: Patience = Patience {
    after: Duration::from_secs(300),
    remind: Duration::from_secs(3_600),
};

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn told(name: &str, reason: Reason, outcome: Outcome) -> StepReport {
    let step = Step {
        instance: name.parse().unwrap(),
        action: Action::Held,
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

fn held(name: &str, reason: Reason) -> StepReport {
    told(name, reason, Outcome::Held)
}

fn round(steps: Vec<StepReport>) -> Report {
    Report {
        steps,
        ..Report::default()
    }
}

fn stands(name: &str, phase: InstancePhase) -> InstanceStatus {
    InstanceStatus {
        revision: None,
        next_try: None,
        next: None,
        in_progress: None,
        usage: None,
        name: name.parse().unwrap(),
        phase,
        reason: String::new(),
        health: (phase == InstancePhase::Unhealthy).then_some(Health::Unhealthy),
        generation: None,
        image: None,
        owner: None,
        started: None,
        endpoints: Vec::new(),
    }
}

fn failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        help: Some("mend it".to_owned()),
    }
}

fn unreadable() -> Reason {
    let problem = Diagnostic::of_file(
        "instances.d/alice.yaml",
        "no YAML".to_owned(),
        Some("mend it"),
    );
    Reason::Unreadable {
        diagnostics: vec![problem],
    }
}

fn fleet(report: &Report) -> Seen {
    Seen::of(report, &[], Some(&SourceStatus::default()))
}

/// What is told, in short: `began instance.held alice`.
fn short(notices: &[Notice]) -> Vec<String> {
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    notices
        .iter()
        .map(|notice| {
            let state = word(serde_json::to_value(notice.state).unwrap());
            let kind = word(serde_json::to_value(notice.subject.kind).unwrap());
            let name = notice.subject.instance.as_ref().map(ToString::to_string);
            format!("{state} {kind} {}", name.unwrap_or_default())
                .trim()
                .to_owned()
        })
        .collect()
}

fn kinds(seen: &Seen) -> Vec<(Kind, String)> {
    let all = seen.troubles.keys();
    all.map(|subject| {
        let name = subject.instance.as_ref().map(ToString::to_string);
        (subject.kind, name.unwrap_or_default())
    })
    .collect()
}

#[test]
fn what_an_operator_did_and_what_passes_needs_nobody() {
    let since = at(0);
    let prunes = |removals| Reason::PruneBlocked {
        id: "abc".to_owned(),
        removals,
        fleet: 10,
        emptied: false,
    };
    let report = round(vec![
        held("a", Reason::Suspended { since }),
        held("b", Reason::StoppedByOperator { since }),
        held("c", Reason::JustVanished),
        held("d", Reason::Protected),
        held("e", Reason::TakingOver),
        held("f", unreadable()),
        held("g", Reason::Frozen { fields: Vec::new() }),
        held(
            "h",
            Reason::BackingOff {
                tried: 3,
                until: since,
                why: "it is not well".to_owned(),
            },
        ),
        held("i", prunes(7)),
        held("j", prunes(7)),
        told("k", Reason::Missing, Outcome::Failed(failure("no image"))),
        told("l", Reason::Missing, Outcome::Done),
    ]);
    let standing = [
        // Suspended, and not well: left alone on purpose.
        stands("a", InstancePhase::Held),
        stands("m", InstancePhase::Unhealthy),
        stands("n", InstancePhase::Running),
    ];
    let seen = Seen::of(&report, &standing, Some(&SourceStatus::default()));
    let expected = [
        (Kind::Held, "f"),
        (Kind::Frozen, "g"),
        (Kind::Unhealthy, "h"),
        (Kind::Unhealthy, "m"),
        (Kind::Failed, "k"),
        (Kind::PruneBlocked, ""),
    ];
    assert_eq!(kinds(&seen), expected.map(|(k, n)| (k, n.to_owned())));
    let subject = |kind| seen.troubles.keys().find(|s| s.kind == kind).unwrap();
    let prune = &seen.troubles[subject(Kind::PruneBlocked)];
    assert!(
        prune.reason.starts_with("2 removals wait (i, j): "),
        "{prune:?}"
    );
    assert_eq!(
        prune.help.as_deref(),
        Some("instanced reconcile --confirm-prune abc")
    );
    assert_eq!(
        seen.troubles[subject(Kind::Held)].help.as_deref(),
        Some("mend it")
    );
}

#[test]
fn what_keeps_a_round_from_anything_has_a_kind_each() {
    for (missing, kind) in [
        (Some(Missing::Engine), Kind::EngineAway),
        (Some(Missing::Source), Kind::SourceFailing),
        (Some(Missing::Store), Kind::Aborted),
        (None, Kind::Aborted),
    ] {
        let report = Report {
            aborted_by: missing,
            ..Report::aborted(failure("no"))
        };
        assert_eq!(kinds(&fleet(&report)), [(kind, String::new())]);
    }
    let mut source = SourceStatus {
        fetch_failure: Some("no route to host".to_owned()),
        behind: Some(Behind {
            commits: Some(2),
            rewritten: false,
            why: "alice: no image".to_owned(),
        }),
        ..SourceStatus::default()
    };
    let seen = Seen::of(&Report::default(), &[], Some(&source));
    assert_eq!(
        kinds(&seen)
            .iter()
            .map(|(kind, _)| *kind)
            .collect::<Vec<_>>(),
        [Kind::Behind, Kind::SourceFailing]
    );
    let behind = seen.troubles.values().next().unwrap();
    assert_eq!(
        behind.reason,
        "the fleet is 2 commits behind: alice: no image"
    );
    source.behind.as_mut().unwrap().rewritten = true;
    let seen = Seen::of(&Report::default(), &[], Some(&source));
    let behind = seen.troubles.values().next().unwrap();
    assert!(behind.reason.contains("history"), "{behind:?}");
}

#[test]
fn it_is_told_once_when_it_has_lasted_now_and_then_and_once_when_it_is_over() {
    let (bad, good) = (
        fleet(&round(vec![held("alice", unreadable())])),
        fleet(&round(Vec::new())),
    );
    let mut book = Book::default();
    let mut note = |seen: &Seen, now| short(&book.note(seen, &PATIENCE, at(now)));
    let nothing: [String; 0] = [];
    assert_eq!(note(&bad, 0), nothing);
    assert_eq!(note(&bad, 299), nothing);
    assert_eq!(note(&bad, 300), ["began instance.held alice"]);
    assert_eq!(note(&bad, 301), nothing);
    assert_eq!(note(&bad, 3_899), nothing);
    assert_eq!(note(&bad, 3_900), ["lasts instance.held alice"]);
    assert_eq!(note(&bad, 3_901), nothing);
    assert_eq!(note(&good, 3_902), ["over instance.held alice"]);
    assert_eq!(note(&good, 9_000), nothing);
    // What passes before it was told is never told.
    assert_eq!(note(&bad, 9_100), nothing);
    assert_eq!(note(&good, 9_300), nothing);
    assert_eq!(note(&bad, 9_400), nothing);
    assert_eq!(note(&bad, 9_699), nothing);
}

#[test]
fn what_does_not_pass_by_itself_is_told_at_once() {
    let frozen = held("alice", Reason::Frozen { fields: Vec::new() });
    let seen = fleet(&round(vec![frozen]));
    let mut book = Book::default();
    let told = book.note(&seen, &PATIENCE, at(0));
    assert_eq!(short(&told), ["began instance.frozen alice"]);
    assert_eq!(book.next(&PATIENCE), Some(at(3_600)));
}

#[test]
fn what_is_due_is_told_without_a_round() {
    let seen = fleet(&round(vec![held("alice", unreadable())]));
    let mut book = Book::default();
    assert_eq!(book.next(&PATIENCE), None);
    book.note(&seen, &PATIENCE, at(0));
    assert_eq!(book.next(&PATIENCE), Some(at(300)));
    assert_eq!(short(&book.tell(&PATIENCE, at(300))).len(), 1);
    assert_eq!(book.tell(&PATIENCE, at(301)), []);
}

#[test]
fn a_round_that_saw_nothing_ends_nothing() {
    let frozen = held("alice", Reason::Frozen { fields: Vec::new() });
    let mut book = Book::default();
    book.note(&fleet(&round(vec![frozen])), &PATIENCE, at(0));
    let away = Report::aborted(failure("away")).for_want_of(Missing::Engine);
    assert_eq!(book.note(&fleet(&away), &PATIENCE, at(10)), []);
    let told = book.note(&fleet(&away), &PATIENCE, at(310));
    assert_eq!(short(&told), ["began engine.away"]);
    // A source that cannot be read says nothing of the engine.
    let unread = Report::aborted(failure("unread")).for_want_of(Missing::Source);
    assert_eq!(book.note(&fleet(&unread), &PATIENCE, at(320)), []);
    let told = book.note(&fleet(&round(Vec::new())), &PATIENCE, at(330));
    assert_eq!(
        short(&told),
        ["over instance.frozen alice", "over engine.away"]
    );
    // Nor does one whose source could not be asked of the source.
    let behind = SourceStatus {
        fetch_failure: Some("no".to_owned()),
        ..SourceStatus::default()
    };
    let behind = Seen::of(&round(Vec::new()), &[], Some(&behind));
    book.note(&behind, &PATIENCE, at(400));
    assert_eq!(book.note(&behind, &PATIENCE, at(700)).len(), 1);
    let blind = Seen::of(&round(Vec::new()), &[], None);
    assert_eq!(book.note(&blind, &PATIENCE, at(710)), []);
    assert_eq!(
        short(&book.note(&fleet(&round(Vec::new())), &PATIENCE, at(720))),
        ["over source.failing"]
    );
}

#[test]
fn one_that_is_tried_anew_is_not_well_yet() {
    let seen = |phase| Seen::of(&round(Vec::new()), &[stands("alice", phase)], None);
    let mut book = Book::default();
    let mut note = |phase, now| short(&book.note(&seen(phase), &PATIENCE, at(now)));
    let nothing: [String; 0] = [];
    assert_eq!(note(InstancePhase::Unhealthy, 0), nothing);
    assert_eq!(note(InstancePhase::Starting, 100), nothing);
    assert_eq!(note(InstancePhase::Unhealthy, 200), nothing);
    // The time in which it started counts, too.
    assert_eq!(
        note(InstancePhase::Unhealthy, 300),
        ["began instance.unhealthy alice"]
    );
    assert_eq!(note(InstancePhase::Starting, 310), nothing);
    assert_eq!(
        note(InstancePhase::Running, 320),
        ["over instance.unhealthy alice"]
    );
}

#[test]
fn what_was_told_outlives_the_process_and_a_clock_that_is_set_back() {
    let frozen = || held("alice", Reason::Frozen { fields: Vec::new() });
    let seen = fleet(&round(vec![frozen(), held("bob", unreadable())]));
    let mut book = Book::default();
    book.note(&seen, &PATIENCE, at(0));
    let kept = serde_json::to_string(&book.told()).unwrap();
    assert!(kept.contains("alice") && !kept.contains("bob"), "{kept}");
    let mut book: Book = serde_json::from_str(&kept).unwrap();
    assert_eq!(book.note(&seen, &PATIENCE, at(10)), []);
    // Set back by a day: a reminder is due an hour after that, and not a day later.
    assert_eq!(book.note(&seen, &PATIENCE, at(-86_400)), []);
    let told = book.note(&seen, &PATIENCE, at(-86_400 + 3_600));
    assert_eq!(
        short(&told),
        ["began instance.held bob", "lasts instance.frozen alice"]
    );
}

#[test]
fn no_fleet_fills_the_memory() {
    let many = (0..FOLLOWED_MAX + 10).map(|n| {
        let frozen = Reason::Frozen { fields: Vec::new() };
        held(&format!("i{n}"), frozen)
    });
    let mut book = Book::default();
    let told = book.note(&fleet(&round(many.collect())), &PATIENCE, at(0));
    assert_eq!(told.len(), FOLLOWED_MAX);
    let long = Failure {
        message: "ä".repeat(10_000),
        help: None,
    };
    let seen = fleet(&Report::aborted(long));
    let words = seen.troubles.values().next().unwrap();
    assert_eq!(words.reason.chars().count(), TEXT_MAX + 1);
}

#[test]
fn letters_of_one_receiver_do_not_grow_without_end_and_touch_no_other_s() {
    let letter = |to: &str, n: usize| Letter {
        id: format!("msg_{n}"),
        to: to.to_owned(),
        at: at(0),
        body: "{}".to_owned(),
    };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.add(letter("a", 0)), 0);
    let gone: usize = (0..300).map(|n| ledger.add(letter("b", n))).sum();
    assert_eq!(gone, 100);
    assert_eq!(ledger.next("a").unwrap().id, "msg_0");
    assert_eq!(ledger.next("b").unwrap().id, "msg_100");
    ledger.remove("b", "msg_100");
    assert_eq!(ledger.next("b").unwrap().id, "msg_101");
    ledger.keep(&["a".to_owned()]);
    assert_eq!((ledger.letters.len(), ledger.next("b")), (1, None));
}

#[test]
fn a_notice_is_written_as_its_contract_says() {
    let notice = Notice {
        state: State::Began,
        subject: Subject {
            kind: Kind::Frozen,
            instance: Some("alice".parse().unwrap()),
        },
        since: at(0),
        words: Words {
            reason: "it was replaced".to_owned(),
            help: None,
        },
    };
    let body = notice.body(&"default".parse().unwrap(), at(5));
    assert_eq!(
        body,
        "{\"type\":\"instance.frozen\",\"timestamp\":\"1970-01-12T13:46:45Z\",\"data\":{\"state\":\"began\",\
         \"manager\":\"default\",\"instance\":\"alice\",\"since\":\"1970-01-12T13:46:40Z\",\
         \"reason\":\"it was replaced\"}}"
    );
}
