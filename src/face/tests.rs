//! What people see, as snapshots: each is looked at before it is accepted.

use std::sync::Arc;

use insta::assert_snapshot;
use jiff::Timestamp;

use super::clients::PLACEHOLDER;
use super::connect::Connection;
use super::plan::PlanView;
use super::{diagnostics, report, tokens};
use crate::decisions::change;
use crate::decisions::plan::{Action, Plan, Reason, Retired, Step};
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::decisions::settled::{Reconciled, Unhealthy};
use crate::decisions::status::{InstancePhase, InstanceStatus, endpoints};
use crate::words::config::Config;
use crate::words::control::VncPasswords;
use crate::words::desired::{Desired, Snapshot, SourceFile};
use crate::words::diagnostic::Diagnostic;
use crate::words::manifest::Auth;
use crate::words::name::InstanceName;
use crate::words::observed::{Health, Phase};
use crate::words::origin::{Origin, Origins};
use crate::words::resolve::resolve;
use crate::words::secret::{FingerprintKey, SecretValue};
use crate::words::spec::Spec;
use crate::words::token::{ListedToken, TOKEN_RANDOM_BYTES, Token, TokenKind, TokenRecord};
use crate::words::watch::Usage;

mod formats;
pub(super) mod hostile;
mod source;
mod standing;
mod unhealthy;

const BROKEN: &str = "\
resources:
  memory: 1 gigabyte
  memroy: 1GiB
endpoints:
  mcp: { port: 8080, path: /mcp, auth: bearer }
restart: sometimes
";

fn desired(files: &[(&str, &str)]) -> Desired {
    let manifests = files
        .iter()
        .map(|(stem, text)| SourceFile::of_text(&format!("instances.d/{stem}.yaml"), *text))
        .collect();
    let snapshot = Snapshot {
        revision: "r1".to_owned(),
        manifests,
        ..Snapshot::default()
    };
    resolve(&snapshot, &Config::default()).unwrap()
}

fn spec(stem: &str, text: &str) -> Arc<Spec> {
    let name: InstanceName = stem.parse().unwrap();
    let mut desired = desired(&[(stem, text)]);
    assert!(!desired.has_errors(), "{:#?}", desired.diagnostics);
    desired.specs.remove(&name).unwrap()
}

/// A spec with a secret of this value.
fn secretive(stem: &str, text: &str, value: &str) -> Arc<Spec> {
    let mut spec = spec(stem, text);
    let print = FingerprintKey::new([7; 32]).print(&SecretValue::new(value.into()));
    for secret in Arc::make_mut(&mut spec).secrets.values_mut() {
        secret.print = Some(print.clone());
    }
    spec
}

fn generation(instance: &str, number: u64) -> Retired {
    Retired {
        id: format!("{number:064x}"),
        name: format!("mcp-default-{instance}-g{number}"),
        number,
    }
}

fn step(instance: &str, action: Action, reason: Reason) -> Step {
    let ends_sessions = matches!(
        action,
        Action::Replace { .. } | Action::Stop { .. } | Action::Remove { .. }
    );
    let instance = instance.parse().unwrap();
    Step {
        instance,
        action,
        reason,
        changes: Vec::new(),
        ends_sessions,
    }
}

fn replace(instance: &str, old: &Spec, new: Arc<Spec>) -> Step {
    let mut changes = change::replacing(old, &new, &Origins::default());
    for change in &mut changes {
        if change.origin == Origin::Nobody && change.new.is_some() {
            change.origin = Origin::Manifest;
        }
    }
    let retire = vec![generation(instance, 3)];
    let action = Action::Replace {
        retire,
        generation: 4,
        spec: new,
    };
    Step {
        changes,
        ..step(instance, action, Reason::Changed)
    }
}

fn held(instance: &str, reason: Reason) -> Step {
    step(instance, Action::Held, reason)
}

fn prune_blocked() -> Reason {
    Reason::PruneBlocked {
        id: "4f1c09a2".to_owned(),
        removals: 2,
        fleet: 9,
        emptied: false,
    }
}

fn unreadable() -> Reason {
    Reason::Unreadable {
        diagnostics: desired(&[("bob", BROKEN)]).diagnostics,
    }
}

fn failure(message: &str, help: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn draw_plan(steps: Vec<Step>, whole: bool) -> String {
    let plan = Plan {
        revision: "r1".to_owned(),
        commit: None,
        steps,
        unchanged: 5,
    };
    let manifest_of = |name: &InstanceName| format!("instances.d/{name}.yaml");
    let drawn = PlanView {
        manifest_of: &manifest_of,
        whole,
    }
    .draw(&plan);
    drawn.plain()
}

#[test]
fn problems_of_several_files() {
    let found = desired(&[
        ("Bad_Name", "{}"),
        ("alice", "image: acme/mcp:latest\n"),
        ("bob", BROKEN),
        ("carol", ""),
        ("dave", "template: [\n"),
    ]);
    let read = |path: &str| match path {
        "instances.d/alice.yaml" => Some("image: acme/mcp:latest\n".to_owned()),
        "instances.d/bob.yaml" => Some(BROKEN.to_owned()),
        "instances.d/dave.yaml" => Some("template: [\n".to_owned()),
        _ => None,
    };
    assert_snapshot!(diagnostics::draw(&found.diagnostics, read).plain());
}

#[test]
fn a_place_that_is_no_longer_there_is_told_in_a_line() {
    let found = desired(&[("bob", BROKEN)]);
    let drawn = diagnostics::draw(&found.diagnostics[..1], |_| Some("a: 1".to_owned()));
    assert_snapshot!(drawn.plain());
}

#[test]
fn a_plan_with_every_action() {
    let old = spec("alice", "resources: { shm: 128MiB }");
    let erin = spec("erin", "{}");
    let steps = vec![
        replace("alice", &old, spec("alice", "resources: { shm: 256MiB }")),
        step(
            "bob",
            Action::Create {
                generation: 1,
                spec: spec("bob", "owner: bob@example.com"),
                discard: vec![],
            },
            Reason::Missing,
        ),
        step(
            "carol",
            Action::Remove {
                targets: vec![generation("carol", 2)],
            },
            Reason::Orphaned,
        ),
        step(
            "dora",
            Action::Remove {
                targets: vec![generation("dora", 6)],
            },
            Reason::Superseded,
        ),
        step(
            "erin",
            Action::Start {
                target: generation("erin", 1),
                spec: erin,
            },
            Reason::NotRunning {
                phase: Phase::Exited(137),
            },
        ),
        step(
            "frank",
            Action::Stop {
                target: generation("frank", 8),
            },
            Reason::NotStopped,
        ),
    ];
    assert_snapshot!(draw_plan(steps, false));
}

#[test]
fn a_plan_with_everything_that_can_hold_an_instance() {
    let why = "/run/secrets/key: permission denied".to_owned();
    let holder = "container `web`".to_owned();
    let name = "mcp-default-heidi-g1".to_owned();
    let steps = vec![
        held("bob", unreadable()),
        held("carol", Reason::SecretUnreadable { why }),
        held("grace", Reason::MadeByNewer { version: 3 }),
        held("heidi", Reason::NameTaken { name, holder }),
        held("ivan", Reason::Protected),
        held("judy", Reason::PruneDisabled),
        held("kim", prune_blocked()),
        held("leo", prune_blocked()),
        held("mallory", Reason::JustVanished),
    ];
    assert_snapshot!(draw_plan(steps, false));
}

#[test]
fn a_diff_of_many_fields_shows_no_secret_and_no_hash() {
    let manifest = "secrets: { api_key: { from_file: /run/secrets/a } }\nenv: { LANG: C }\n";
    let old = secretive("alice", manifest, "one");
    let changed = "\
secrets: { api_key: { from_file: /run/secrets/b }, other: { from_file: /run/secrets/c } }
env: { LANG: C.UTF-8, DEBUG: pw:api }
screen: { width: 1600 }
command: [serve, --headless]
labels: { team: qa }
";
    let new = secretive("alice", changed, "two");
    let image = Reason::ImageMoved {
        from: "sha256:0123456789abcdef".into(),
        to: "sha256:fedcba9876543210".into(),
    };
    let moved = Action::Replace {
        retire: vec![generation("bob", 1)],
        generation: 2,
        spec: new.clone(),
    };
    let create = Action::Create {
        generation: 1,
        spec: new.clone(),
        discard: vec![],
    };
    let steps = vec![
        replace("alice", &old, new),
        step("bob", moved, image),
        step("carol", create, Reason::Missing),
    ];
    let drawn = draw_plan(steps, false);
    assert!(
        !drawn.contains(
            FingerprintKey::new([7; 32])
                .print(&SecretValue::new(b"two".into()))
                .hash
                .as_str()
        )
    );
    assert_snapshot!(drawn);
}

#[test]
fn nothing_to_do() {
    assert_snapshot!(draw_plan(vec![], false), @"No changes. 5 instances up to date.");
}

#[test]
fn a_round_that_went_well_in_part() {
    let told = |step, outcome, millis| StepReport {
        step,
        outcome,
        millis,
        failure: None,
    };
    let old = spec("alice", "{}");
    let create = |name| Action::Create {
        generation: 1,
        spec: spec(name, "{}"),
        discard: vec![],
    };
    let pull = failure(
        "cannot pull the image `acme/mcp:9`: manifest unknown",
        "check the reference; `docker pull acme/mcp:9` tells more",
    );
    let until = now();
    let waiting = Outcome::Waiting {
        until,
        last: failure("did not start within 60s", "see its logs"),
    };
    let report = Report {
        revision: "r1".to_owned(),
        steps: vec![
            told(
                replace("alice", &old, spec("alice", "env: { A: b }")),
                Outcome::Done,
                12_345,
            ),
            told(
                step("bob", create("bob"), Reason::Missing),
                Outcome::Failed(pull),
                3_210,
            ),
            told(held("carol", unreadable()), Outcome::Held, 0),
            told(
                step(
                    "dora",
                    Action::Remove {
                        targets: vec![generation("dora", 2)],
                    },
                    Reason::Orphaned,
                ),
                Outcome::Done,
                640,
            ),
            told(step("erin", create("erin"), Reason::Missing), waiting, 0),
            told(held("kim", prune_blocked()), Outcome::Held, 0),
            told(held("leo", prune_blocked()), Outcome::Held, 0),
        ],
        unchanged: 5,
        ..Report::default()
    };
    let done = Reconciled {
        report,
        ..Reconciled::default()
    };
    assert_snapshot!(report::draw(&done).plain());
}

fn instance(
    name: &str,
    phase: InstancePhase,
    health: Option<Health>,
    reason: &str,
) -> InstanceStatus {
    let spec = spec(name, "owner: team-qa");
    let runs = matches!(phase, InstancePhase::Running | InstancePhase::Unhealthy);
    InstanceStatus {
        name: name.parse().unwrap(),
        phase,
        reason: reason.to_owned(),
        health,
        generation: (phase != InstancePhase::Pending).then_some(4),
        image: Some(spec.image.clone()),
        owner: spec.owner.clone(),
        started: runs.then(|| "2026-11-20T09:15:00Z".parse().unwrap()),
        revision: runs.then(|| "git:5b3e5b3e5b3e".to_owned()),
        next_try: None,
        next: None,
        in_progress: None,
        usage: runs.then_some(Usage {
            cpu: Some(0.034),
            memory: 312 << 20,
            memory_limit: Some(1 << 30),
            network_received: 5 << 20,
            network_sent: 1 << 20,
            pids: 84,
        }),
        endpoints: endpoints(&spec, &Config::default().public),
    }
}

#[test]
fn how_to_connect() {
    let alice = instance("alice", InstancePhase::Running, Some(Health::Healthy), "");
    let connection = Connection {
        instance: &alice,
        vnc: VncPasswords {
            password: Some("k3v9x0qa".to_owned()),
            view_password: None,
        },
    };
    assert_snapshot!(connection.draw(PLACEHOLDER).plain());
    let text = serde_json::to_string_pretty(&connection.json()).unwrap();
    assert_snapshot!("how_to_connect_as_json", text);
}

#[test]
fn how_to_connect_where_people_open_links() {
    let mut alice = instance("alice", InstancePhase::Running, Some(Health::Healthy), "");
    for endpoint in &mut alice.endpoints {
        endpoint.auth = Auth::Ticket;
    }
    let connection = Connection {
        instance: &alice,
        vnc: VncPasswords {
            password: Some("k3v9x0qa".to_owned()),
            view_password: Some("h4w2y7rb".to_owned()),
        },
    };
    assert_snapshot!(connection.draw(PLACEHOLDER).plain());
}

#[test]
fn the_token_list() {
    let record = |byte, label: &str, expires: Option<&str>| {
        let token = Token::from_random(&[byte; TOKEN_RANDOM_BYTES]);
        TokenRecord {
            id: token.id().to_owned(),
            instance: "alice".parse().unwrap(),
            label: label.to_owned(),
            hash: token.hash(),
            created: "2026-11-01T08:00:00Z".parse().unwrap(),
            expires: expires.map(|at| at.parse().unwrap()),
            endpoints: vec![],
            kind: TokenKind::Bearer,
            session_seconds: None,
            successor: None,
        }
    };
    let all = [
        record(1, "laptop", None),
        record(2, "ci", Some("2027-02-18T12:00:00Z")),
        record(3, "Müllers Rechner", Some("2026-11-10T00:00:00Z")),
    ];
    let listed = |records: &[TokenRecord]| {
        let uses = ["2026-11-19T07:05:59Z"].into_iter().map(Some);
        let uses = uses.chain(std::iter::repeat(None));
        let listed = records.iter().zip(uses).map(|(record, at)| ListedToken {
            record: record.clone(),
            last_used: at.map(|at| at.parse().unwrap()),
        });
        listed.collect::<Vec<_>>()
    };
    assert_snapshot!(tokens::draw(&listed(&all), now()).plain());
    assert_snapshot!("issued", tokens::issued(&all[1]).plain());
    let mut replaced = record(4, "phone", Some("2026-11-21T08:00:00Z"));
    let scoped = TokenRecord {
        endpoints: vec!["mcp".parse().unwrap(), "sse".parse().unwrap()],
        created: now(),
        ..record(5, "phone", None)
    };
    replaced.successor = Some(scoped.id.clone());
    assert_snapshot!("rotated", tokens::rotated(&replaced, &scoped).plain());
    let session = TokenRecord {
        kind: TokenKind::Session,
        endpoints: vec!["vnc".parse().unwrap()],
        ..record(6, "Ada", Some("2026-11-21T08:00:00Z"))
    };
    let all = listed(&[replaced, scoped, session]);
    assert_snapshot!(
        "the_token_list_with_sessions",
        tokens::draw(&all, now()).plain()
    );
}
