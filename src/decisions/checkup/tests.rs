use std::path::{Path, PathBuf};

use super::facts::*;
use super::{Area, Finding, Grade, has_problem, host};
use crate::decisions::report::Failure;
use crate::words::config::{Config, Isolation, Network, Verdict};
use crate::words::control::RoundHealth;
use crate::words::diagnostic::{Diagnostic, Severity};

mod at_the_edge;
mod standing;

fn failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        help: Some("way out".to_owned()),
    }
}

#[track_caller]
fn is(finding: &Finding, grade: Grade, words: &str) {
    assert_eq!(finding.grade, grade, "{finding:?}");
    assert!(finding.found.contains(words), "{words}: {finding:?}");
    assert!(!finding.found.contains("  "), "{finding:?}");
    if grade > Grade::Ok {
        let help = finding.help.as_deref().unwrap_or_default();
        assert!(!help.is_empty(), "{finding:?}");
    }
}

#[test]
fn a_configuration_is_as_good_as_the_worst_in_it() {
    let mut facts = Configured::default();
    is(
        &host::configuration(&facts),
        Grade::Ok,
        "every key has its default",
    );
    facts.path = Some("instanced.yaml".to_owned());
    is(&host::configuration(&facts), Grade::Ok, "instanced.yaml");
    let warning = Diagnostic {
        severity: Severity::Warning,
        ..Diagnostic::of_file("instanced.yaml", "is odd", None)
    };
    facts.diagnostics.push(warning);
    is(
        &host::configuration(&facts),
        Grade::Warning,
        "1 warning: instanced.yaml:1:1: is odd",
    );
    let error = Diagnostic::of_file("instanced.yaml", "is wrong", None);
    facts.diagnostics.push(error);
    is(
        &host::configuration(&facts),
        Grade::Problem,
        "1 error: instanced.yaml:1:1: is wrong",
    );
}

fn source(manifests: Seen<Manifests>, repository: Option<Seen<()>>) -> Finding {
    host::source(&SourceFacts {
        named: "instances.d".to_owned(),
        manifests,
        repository,
    })
}

#[test]
fn a_source_that_answers_is_not_yet_one_that_can_be_used() {
    let some = |sound, unsound: &[&str]| {
        Ok(Manifests {
            sound,
            unsound: unsound.iter().map(|name| (*name).to_owned()).collect(),
            revision: "dir:ab".to_owned(),
        })
    };
    is(
        &source(some(2, &[]), None),
        Grade::Ok,
        "2 instances of instances.d at dir:ab",
    );
    is(
        &source(some(0, &[]), None),
        Grade::Warning,
        "no manifest in instances.d",
    );
    is(
        &source(some(1, &["bob"]), None),
        Grade::Warning,
        "cannot be used: bob",
    );
    is(&source(Err(failure("gone")), None), Grade::Problem, "gone");
    is(
        &source(some(1, &[]), Some(Ok(()))),
        Grade::Ok,
        "1 instance of",
    );
    is(
        &source(Err(failure("x")), Some(Ok(()))),
        Grade::Note,
        "answers",
    );
    is(
        &source(some(1, &[]), Some(Err(failure("denied")))),
        Grade::Warning,
        "denied; what was",
    );
    is(
        &source(Err(failure("x")), Some(Err(failure("denied")))),
        Grade::Problem,
        "denied",
    );
}

fn docker() -> EngineFacts {
    EngineFacts {
        name: "Docker".to_owned(),
        version: "20.10.24".to_owned(),
        api: "1.41".to_owned(),
        storage: "overlay2".to_owned(),
        cgroup: "2".to_owned(),
        live_restore: Some(false),
        security: vec!["seccomp".to_owned()],
        ..EngineFacts::default()
    }
}

#[test]
fn an_engine_must_be_able_to_limit() {
    let room = |bytes| {
        Some(Room {
            bytes,
            inodes: None,
        })
    };
    let all = host::engine(&Ok(docker()), room(40 << 30));
    assert_eq!(all.len(), 1);
    is(
        &all[0],
        Grade::Ok,
        "Docker 20.10.24, API 1.41, overlay2, cgroup 2, no live-restore, 40 GiB for images",
    );
    let worst = |change: &dyn Fn(&mut EngineFacts)| {
        let mut facts = docker();
        change(&mut facts);
        host::engine(&Ok(facts), None).pop().unwrap()
    };
    let found = worst(&|facts| facts.unlimited = vec!["memory", "processes"]);
    is(&found, Grade::Problem, "cannot limit memory, processes");
    is(
        &worst(&|facts| facts.name = "Podman".into()),
        Grade::Warning,
        "Podman is not Docker",
    );
    is(
        &worst(&|facts| facts.security = vec!["apparmor".into()]),
        Grade::Warning,
        "seccomp",
    );
    is(
        &worst(&|facts| facts.warnings = vec!["No swap".into()]),
        Grade::Note,
        "No swap",
    );
    let little = host::engine(&Ok(docker()), room(1 << 30)).pop().unwrap();
    is(&little, Grade::Warning, "1.0 GiB are left for images");
    is(
        &host::engine(&Err(failure("away")), None)[0],
        Grade::Problem,
        "away",
    );
}

#[test]
fn a_network_isolates_as_it_was_asked_to() {
    let strict = Network::default();
    let shared = Network {
        isolation: Isolation::Shared,
        ..Network::default()
    };
    let one = |isolated: bool| NetworkSeen {
        open_because: (!isolated).then(|| "it was made by hand".to_owned()),
    };
    for (wanted, found, grade, words) in [
        (&strict, vec![], Grade::Ok, "is made when"),
        (
            &strict,
            vec![one(true)],
            Grade::Ok,
            "mcp_instances isolates",
        ),
        (
            &strict,
            vec![one(false)],
            Grade::Problem,
            "it was made by hand",
        ),
        (&shared, vec![one(false)], Grade::Ok, "is there"),
        (
            &shared,
            vec![one(true), one(true)],
            Grade::Problem,
            "2 networks",
        ),
    ] {
        is(&host::network(wanted, &Ok(found)), grade, words);
    }
    is(
        &host::network(&strict, &Err(failure("away"))),
        Grade::Note,
        "not known",
    );
}

#[test]
fn a_daemon_must_be_ready_and_the_same() {
    let ready = DaemonFacts {
        pid: Some(7),
        version: Some("1".to_owned()),
        is_same: true,
        ready: true,
        reason: None,
        revision: "dir:ab".to_owned(),
        rounds: RoundHealth::default(),
    };
    let told = |facts: DaemonFacts| host::daemon(&Ok(Some(facts)), "1");
    is(
        &told(ready.clone()),
        Grade::Ok,
        "ready (process 7), the fleet is kept as dir:ab",
    );
    let other = DaemonFacts {
        version: Some("2".to_owned()),
        ..ready.clone()
    };
    is(&told(other), Grade::Warning, "version 2, this command 1");
    let another = DaemonFacts {
        is_same: false,
        ..ready.clone()
    };
    is(&told(another), Grade::Warning, "another configuration");
    let not_yet = |reason: Option<&str>| DaemonFacts {
        ready: false,
        reason: reason.map(str::to_owned),
        ..ready.clone()
    };
    let ill = told(not_yet(Some("the engine is away")));
    is(
        &ill,
        Grade::Problem,
        "not ready (process 7): the engine is away",
    );
    let stopped = DaemonFacts {
        rounds: RoundHealth {
            failing_since: Some(jiff::Timestamp::UNIX_EPOCH),
            reason: Some("inspect image x: invalid reference format".to_owned()),
            ..RoundHealth::default()
        },
        ..ready.clone()
    };
    is(
        &told(stopped),
        Grade::Problem,
        "no round completes since 1970-01-01 00:00:00 UTC (process 7): inspect image x",
    );
    is(
        &told(not_yet(None)),
        Grade::Warning,
        "in its first round (process 7)",
    );
    is(&host::daemon(&Ok(None), "1"), Grade::Warning, "none runs");
    is(
        &host::daemon(&Err(failure("denied")), "1"),
        Grade::Problem,
        "denied",
    );
}

#[test]
fn a_store_opens_or_somebody_has_it() {
    for (facts, grade, words) in [
        (StoreFacts::Absent, Grade::Ok, "none yet"),
        (
            StoreFacts::Held { bytes: 3 << 20 },
            Grade::Ok,
            "open, 3.0 MiB",
        ),
        (
            StoreFacts::Opened {
                bytes: 900,
                tokens: 1,
            },
            Grade::Ok,
            "1 token, 900 bytes",
        ),
        (StoreFacts::Others { owner: 7 }, Grade::Note, "user 7"),
        (
            StoreFacts::Broken(failure("damaged")),
            Grade::Problem,
            "damaged",
        ),
    ] {
        is(&host::store(&facts), grade, words);
    }
}

fn path(path: &str, mode: Option<u32>, owner: u32, readable: bool) -> PathFacts {
    PathFacts {
        path: PathBuf::from(path),
        mode,
        owner,
        readable,
    }
}

#[test]
fn who_may_read_and_write_is_judged_one_by_one() {
    let state = |mode, owner| path("/s", Some(mode), owner, true);
    let good = host::permissions(&state(0o700, 5), None, &[], false, 5);
    is(&good[0], Grade::Ok, "/s 0700");
    let absent = host::permissions(&path("/s", None, 0, false), None, &[], false, 5);
    is(&absent[0], Grade::Ok, "is made when");
    let judge = |state, socket, secrets: &[PathFacts], open| {
        let all = host::permissions(&state, socket, secrets, open, 5);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    };
    is(
        &judge(state(0o770, 5), None, &[], false),
        Grade::Problem,
        "can write /s (mode 0770)",
    );
    is(
        &judge(state(0o750, 5), None, &[], false),
        Grade::Warning,
        "can look into /s",
    );
    is(
        &judge(state(0o700, 6), None, &[], false),
        Grade::Problem,
        "belongs to user 6",
    );
    let socket = path("/s/c", Some(0o666), 5, true);
    is(
        &judge(state(0o700, 5), Some(&socket), &[], false),
        Grade::Warning,
        "control socket",
    );
    is(
        &judge(state(0o700, 5), None, &[], true),
        Grade::Warning,
        "engine's socket",
    );
    for (secret, grade, words) in [
        (path("/k", None, 0, false), Grade::Problem, "not there"),
        (
            path("/k", Some(0o600), 6, false),
            Grade::Problem,
            "user 5 cannot read",
        ),
        (
            path("/k", Some(0o644), 5, true),
            Grade::Warning,
            "everybody can read",
        ),
        (path("/k", Some(0o600), 5, true), Grade::Ok, "1 secret file"),
    ] {
        is(
            &judge(state(0o700, 5), None, &[secret], false),
            grade,
            words,
        );
    }
}

#[test]
fn room_runs_out_in_bytes_and_in_inodes() {
    for (bytes, inodes, grade) in [
        (10 << 30, Some(1_000_000), Grade::Ok),
        (10 << 30, None, Grade::Ok),
        (10 << 30, Some(3), Grade::Warning),
        (100 << 20, None, Grade::Warning),
        (1 << 20, None, Grade::Problem),
    ] {
        let found = host::disk(Path::new("/s"), &Ok(Room { bytes, inodes }));
        is(&found, grade, "/s");
    }
    is(
        &host::disk(Path::new("/s"), &Err(failure("io"))),
        Grade::Problem,
        "io",
    );
}

#[test]
fn a_port_is_the_daemon_s_or_free() {
    let port = |taken| PortFacts {
        key: "listen.auth",
        at: "127.0.0.1:9180".parse().unwrap(),
        taken,
    };
    is(
        &host::ports(&[port(true)], true)[0],
        Grade::Ok,
        "taken by the daemon",
    );
    is(
        &host::ports(&[port(false)], false)[0],
        Grade::Ok,
        "127.0.0.1:9180 free",
    );
    let taken = &host::ports(&[port(true)], false)[0];
    is(
        taken,
        Grade::Problem,
        "127.0.0.1:9180 (listen.auth) is taken",
    );
    assert!(taken.help.as_deref().unwrap().contains("sport = :9180"));
}

#[test]
fn clocks_may_differ_by_what_asking_takes() {
    let clock = |ahead, synchronised| {
        host::clock(ClockFacts {
            engine_ahead_millis: ahead,
            is_synchronised: synchronised,
        })
    };
    is(&clock(Some(200), Some(true)), Grade::Ok, "agrees");
    is(&clock(Some(-1_900), None), Grade::Ok, "agrees");
    is(&clock(None, None), Grade::Ok, "alone");
    is(&clock(Some(65_000), None), Grade::Warning, "65 s ahead of");
    is(
        &clock(Some(-65_000), Some(false)),
        Grade::Warning,
        "65 s behind",
    );
    is(&clock(Some(0), Some(false)), Grade::Note, "nothing keeps");
}

#[test]
fn a_domain_is_no_problem_of_this_host() {
    let leads = |host: &str, to: &[(&str, bool)]| {
        let addresses = to
            .iter()
            .map(|(ip, is_local)| (ip.parse().unwrap(), *is_local));
        host::domain(&DomainFacts {
            host: host.to_owned(),
            addresses: addresses.collect(),
        })
    };
    is(
        &leads("mcp-x.a", &[("192.0.2.1", true)]),
        Grade::Ok,
        "leads to this host",
    );
    is(
        &leads("mcp-x.a", &[("192.0.2.1", false)]),
        Grade::Note,
        "leads to 192.0.2.1",
    );
    is(
        &leads("mcp-x.a", &[]),
        Grade::Note,
        "cannot resolve mcp-x.a",
    );
    is(
        &leads("mcp-x.mcp.localhost", &[]),
        Grade::Ok,
        "its own machine",
    );
}

#[test]
fn what_is_loosened_is_told() {
    let mut config = Config::default();
    is(&host::policy(&config, &[])[0], Grade::Ok, "strict");
    let open = host::policy(&config, &["mcp of bob".to_owned()]);
    is(&open[0], Grade::Warning, "mcp of bob");
    config.network.isolation = Isolation::Shared;
    config.policy.images.latest = Verdict::Allow;
    let all = host::policy(&config, &[]);
    is(&all[0], Grade::Warning, "isolation is shared");
    is(&all[1], Grade::Note, "any image");
}

#[test]
fn only_problems_make_it_a_failure() {
    let all = [
        Area::Clock.ok("x"),
        Area::Clock.note("x", "y"),
        Area::Clock.warning("x", "y"),
    ];
    assert!(!has_problem(&all));
    assert!(has_problem(&[Area::Clock.problem("x", "y")]));
    is(&Area::Clock.silent(8), Grade::Warning, "within 8 s");
}
