use super::*;
use crate::decisions::access::{AccessPolicy, AuthRequest, Header, Reason, Visitor, decide};
use crate::words::desired::{Content, SourceFile};
use crate::words::observed::Generation;

/// Two instances whose names and endpoints can make the same host.
const TEAM_VIC: &str =
    "tokens:\n- { label: a, hash: HASH-stays }\n- { label: b, hash: HASH-goes }\n";

struct Bench {
    guards: Guards,
    table: SharedTable,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        Self::under(Config::default())
    }

    fn under(config: Config) -> Self {
        let table = SharedTable::default();
        let guards = Guards::new(
            Arc::clone(&table),
            Arc::default(),
            Arc::default(),
            &config.policy,
        );
        Self {
            guards,
            table,
            config,
        }
    }

    fn desired(&self, files: &[(&str, &str)]) -> Desired {
        resolve(&source(None, files), &self.config).unwrap()
    }

    /// A round: first the files alone, then with the engine.
    fn round(&self, files: &[(&str, &str)], observed: &Observed) -> Desired {
        let mut desired = self.desired(files);
        self.guards.update(&desired, None);
        desired.admit_incumbents(observed);
        self.guards.update(&desired, Some(observed));
        desired
    }

    /// Whose endpoint a token opens at a host.
    fn asked(&self, host: &str, token: &str) -> Result<String, Reason> {
        self.guards.publish(Some(&[]), &BTreeSet::new());
        let table = self.table.load();
        let table = table.as_deref().map(EdgeTable::access);
        let (host, bearer) = (format!("{host}.mcp.localhost"), format!("Bearer {token}"));
        let request = AuthRequest {
            peer: [127, 0, 0, 1].into(),
            method: "GET",
            path: "/auth/mcp-bearer-check",
            authorization: Header::Once(bearer.as_bytes()),
            forwarded_host: Header::Once(host.as_bytes()),
            forwarded_uri: Header::Absent,
            origin: Header::Absent,
            visitor: &Visitor::default,
        };
        let policy = AccessPolicy::new(&["127.0.0.0/8".parse().unwrap()], &[]);
        match decide(&policy, table, &request, Timestamp::now()) {
            crate::decisions::access::Verdict::Allow(pass) => Ok(pass.instance.to_string()),
            verdict => Err(verdict.reason().unwrap()),
        }
    }

    fn opens(&self, host: &str, token: &str) -> bool {
        self.asked(host, token).is_ok()
    }
}

fn source(fleet: Option<&str>, files: &[(&str, &str)]) -> Snapshot {
    let file = |stem: &str, text: String| SourceFile {
        path: format!("i/{stem}.yaml"),
        stem: stem.trim_end_matches('2').to_owned(),
        content: Content::Text(text),
    };
    let hashed = |text: &str| {
        let words = text.split_inclusive([' ', '\n']);
        let word = |word: &str| match word.trim_end().strip_prefix("HASH-") {
            Some(token) => format!("\"{}\" ", TokenHash::of(token.as_bytes())),
            None => word.to_owned(),
        };
        words.map(word).collect::<String>()
    };
    let manifest = |(stem, more): &(&str, &str)| {
        let text = match more.strip_prefix('!') {
            Some(text) => text.to_owned(),
            None => format!("template: mcp-http\nimage: x:1\n{}", hashed(more)),
        };
        file(stem, text)
    };
    Snapshot {
        revision: "r".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: fleet.map(|text| file("fleet", text.to_owned())),
        manifests: files.iter().map(manifest).collect(),
    }
}

fn running(desired: &Desired, names: &[&str]) -> Observed {
    let generation = |name: &&str| {
        let spec = &desired.specs[*name];
        let generation = Generation::running(spec);
        (spec.name.clone(), vec![generation])
    };
    Observed {
        instances: names.iter().map(generation).collect(),
        ..Observed::default()
    }
}

#[test]
fn a_commit_that_collides_neither_takes_a_host_nor_keeps_a_revoked_grant_open() {
    let bench = Bench::new();
    let before = bench.desired(&[("team-vic", TEAM_VIC), ("vic", "")]);
    let observed = running(&before, &["team-vic", "vic"]);
    bench.round(&[("team-vic", TEAM_VIC), ("vic", "")], &observed);
    assert!(bench.opens("mcp-team-vic", "stays") && bench.opens("mcp-team-vic", "goes"));

    // One commit: vic claims the host, and a grant of team-vic goes.
    let vic = "endpoints: { mcp-team: { port: 8080 } }\ntokens:\n- { label: x, hash: HASH-mine }\n";
    let less = "tokens:\n- { label: a, hash: HASH-stays }\n";
    let files = [("team-vic", less), ("vic", vic)];
    let contested = bench.desired(&files);
    assert!(
        contested.specs.is_empty(),
        "files alone do not say who was first"
    );
    bench.guards.update(&contested, None);
    assert_eq!(
        bench.asked("mcp-team-vic", "goes"),
        Err(Reason::RetiredToken),
        "before the engine was asked"
    );
    assert!(bench.opens("mcp-team-vic", "stays"));

    let desired = bench.round(&files, &observed);
    assert_eq!(
        desired
            .specs
            .keys()
            .map(InstanceName::as_str)
            .collect::<Vec<_>>(),
        ["team-vic"]
    );
    assert!(desired.has_errors() && desired.unreadable.contains_key("vic"));
    assert_eq!(
        bench.asked("mcp-team-vic", "stays"),
        Ok("team-vic".to_owned())
    );
    assert_eq!(bench.asked("mcp-team-vic", "mine"), Err(Reason::WrongToken));
    assert!(
        !bench.opens("mcp-vic", "mine"),
        "a held manifest grants nothing"
    );
    // The incumbent is served as ever: its manifest may grant.
    let more = "tokens:\n- { label: a, hash: HASH-new }\n";
    bench.round(&[("team-vic", more), ("vic", vic)], &observed);
    assert!(bench.opens("mcp-team-vic", "new") && !bench.opens("mcp-team-vic", "stays"));
}

#[test]
fn whatever_holds_an_instance_a_grant_that_its_manifest_takes_away_is_gone() {
    let full = "tokens:\n- { label: a, hash: HASH-stays }\n- { label: b, hash: HASH-goes }\n\
                endpoints: { api: { port: 9000 } }\n";
    let less = "tokens:\n- { label: a, hash: HASH-stays }\n- { label: c, hash: HASH-new }\n";
    for (what, broken) in [
        ("an unknown key", "memroy: 1G\n"),
        ("a value of the wrong type", "resources: [1]\n"),
        ("policy", "volumes: [{ host: /etc, target: /x }]\n"),
        ("an unknown guard of a new endpoint", "env: { A: [1] }\n"),
    ] {
        let bench = Bench::new();
        let observed = running(&bench.desired(&[("alice", full)]), &["alice"]);
        bench.round(&[("alice", full)], &observed);
        assert!(bench.opens("mcp-alice", "goes") && bench.opens("api-alice", "stays"));
        let desired = bench.round(&[("alice", &format!("{less}{broken}"))], &observed);
        assert!(desired.specs.is_empty(), "{what}");
        assert_eq!(
            bench.asked("mcp-alice", "goes"),
            Err(Reason::RetiredToken),
            "{what}"
        );
        assert!(bench.opens("mcp-alice", "stays"), "{what}");
        assert!(
            !bench.opens("mcp-alice", "new"),
            "{what}: a held manifest grants nothing"
        );
        assert_eq!(
            bench.asked("api-alice", "stays"),
            Err(Reason::Unknown),
            "{what}"
        );
        // What was taken away once does not come back by a file that says nothing.
        bench.round(&[("alice", "!{ no: [yaml")], &observed);
        assert!(!bench.opens("mcp-alice", "goes"), "{what}");
    }
}

#[test]
fn a_guard_that_a_held_manifest_tightens_or_loosens_lets_nobody_new_in() {
    let bench = Bench::new();
    let bearer = "tokens:\n- { label: a, hash: HASH-a }\n";
    let observed = running(&bench.desired(&[("alice", bearer)]), &["alice"]);
    bench.round(&[("alice", bearer)], &observed);
    let looser = format!("{bearer}endpoints: {{ mcp: {{ auth: none }} }}\nwrong: 1\n");
    bench.round(&[("alice", &looser)], &observed);
    assert!(bench.opens("mcp-alice", "a") && !bench.opens("mcp-alice", "b"));
    let tighter = format!("{bearer}endpoints: {{ mcp: {{ auth: ticket }} }}\nwrong: 1\n");
    bench.round(&[("alice", &tighter)], &observed);
    // No endpoint has the grant any more.
    assert_eq!(bench.asked("mcp-alice", "a"), Err(Reason::RetiredToken));
    assert_eq!(bench.asked("mcp-alice", "b"), Err(Reason::Unknown));
}

#[test]
fn a_manifest_that_is_no_yaml_keeps_what_was_known_but_what_policy_denies() {
    let open = "endpoints: { mcp: { auth: none }, api: { port: 9000 } }\n\
                tokens:\n- { label: a, hash: HASH-a }\n";
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::time::Duration::ZERO).unwrap();
    let before = Bench::new();
    let observed = running(&before.desired(&[("alice", open)]), &["alice"]);
    before.round(&[("alice", open)], &observed);
    assert!(before.opens("api-alice", "a"));
    assert_eq!(before.asked("mcp-alice", "a"), Err(Reason::WrongEndpoint));
    before.guards.keep(&store).unwrap();

    // Policy is tightened, and the daemon restarts. Its manifest is no YAML meanwhile.
    let mut config = Config::default();
    config.policy.auth_none = Verdict::Deny;
    for text in ["!{ no: [yaml", open] {
        let after = Bench::under(config.clone());
        assert!(after.guards.recall(&store).unwrap());
        let files = source(None, &[("alice", text)]);
        after.guards.take_in(&files, &after.config);
        assert_eq!(
            after.asked("mcp-alice", "a"),
            Err(Reason::Unknown),
            "{text}"
        );
        assert!(after.opens("api-alice", "a"), "{text}");
    }
}

#[test]
fn what_was_revoked_while_no_daemon_ran_opens_nothing_before_the_first_round() {
    let less = "tokens:\n- { label: a, hash: HASH-stays }\n";
    for fleet in [None, Some("- no fleet\n")] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), std::time::Duration::ZERO).unwrap();
        let before = Bench::new();
        before.round(&[("alice", TEAM_VIC)], &Observed::default());
        before.guards.keep(&store).unwrap();
        let after = Bench::new();
        after.guards.recall(&store).unwrap();
        let files = source(fleet, &[("alice", less)]);
        after.guards.take_in(&files, &after.config);
        assert!(after.opens("mcp-alice", "stays"), "{fleet:?}");
        assert_eq!(
            after.asked("mcp-alice", "goes"),
            Err(Reason::RetiredToken),
            "{fleet:?}"
        );
        after.guards.keep(&store).unwrap();
        // Known to the next daemon, too.
        let since = Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let retired = store.retired_since(since).unwrap();
        assert!(retired.contains(&TokenHash::of(b"goes")));
    }
}

#[test]
fn a_container_s_record_brings_no_grant_back() {
    let bench = Bench::new();
    // Nothing is known but the container, which was made when `goes` was valid.
    let observed = running(&bench.desired(&[("alice", TEAM_VIC)]), &["alice"]);
    bench.round(&[("alice", "!{ no: [yaml")], &observed);
    assert_eq!(bench.asked("mcp-alice", "goes"), Err(Reason::WrongToken));
    assert_eq!(bench.asked("mcp-alice", "stays"), Err(Reason::WrongToken));
}

#[test]
fn a_second_manifest_of_one_name_adds_nothing_and_takes_away() {
    let bench = Bench::new();
    let observed = running(&bench.desired(&[("alice", TEAM_VIC)]), &["alice"]);
    bench.round(&[("alice", TEAM_VIC)], &observed);
    let second = "tokens:\n- { label: a, hash: HASH-goes }\n- { label: c, hash: HASH-new }\n";
    let desired = bench.round(&[("alice", TEAM_VIC), ("alice2", second)], &observed);
    assert!(desired.specs.is_empty());
    assert!(bench.opens("mcp-alice", "goes"), "both grant it");
    assert!(!bench.opens("mcp-alice", "stays") && !bench.opens("mcp-alice", "new"));
    // One is left: what it grants opens again, and is no longer known as removed.
    bench.round(&[("alice", TEAM_VIC)], &observed);
    assert!(bench.opens("mcp-alice", "stays"));
}

/// Claims the host of `zed-abc` for everybody.
const ABC: (&str, &str) = (
    "abc",
    "endpoints: { mcp-zed: { port: 8080, path: /mcp, auth: none }, mcp: null }\n",
);
const ZED: (&str, &str) = ("zed-abc", "tokens:\n- { label: a, hash: HASH-mine }\n");

#[test]
fn a_newcomer_opens_no_host_of_a_running_instance_whatever_holds_that_one() {
    let gone: &[(&str, &str)] = &[ABC];
    let broken = &[
        ABC,
        (
            "zed-abc",
            "memroy: 1G\ntokens:\n- { label: a, hash: HASH-mine }\n",
        ),
    ];
    let twice = &[
        ABC,
        ZED,
        ("zed-abc2", "tokens:\n- { label: a, hash: HASH-mine }\n"),
    ];
    let no_yaml = &[ABC, ("zed-abc", "!{ no: [yaml")];
    for files in [gone, broken, twice, no_yaml] {
        let bench = Bench::new();
        let observed = running(&bench.desired(&[ZED]), &["zed-abc"]);
        bench.round(&[ZED], &observed);
        assert!(bench.opens("mcp-zed-abc", "mine"));
        // Access follows the files before the engine was asked.
        bench.guards.update(&bench.desired(files), None);
        assert!(bench.opens("mcp-zed-abc", "mine"), "{files:?}");
        for _ in 0..2 {
            bench.round(files, &observed);
            assert_eq!(bench.asked("mcp-zed-abc", "mine"), Ok("zed-abc".to_owned()));
            assert!(bench.guards.locked().ambiguous.is_empty());
        }
        // The duplicate goes: nothing of it is left.
        bench.round(&[ZED, ABC], &observed);
        assert!(bench.opens("mcp-zed-abc", "mine"), "{files:?}");
        // The victim goes, also from the engine: now the host is free.
        bench.round(&[ABC], &Observed::default());
        let guards = bench.guards.locked().guards.clone().unwrap();
        let held: Vec<_> = guards.iter().map(|(n, g)| (n.as_str(), g.len())).collect();
        assert_eq!(held, [("abc", 1)], "{files:?}");
    }
}

#[test]
fn after_a_restart_a_newcomer_takes_no_host_before_the_engine_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::time::Duration::ZERO).unwrap();
    let before = Bench::new();
    let observed = running(&before.desired(&[ZED]), &["zed-abc"]);
    before.round(&[ZED], &observed);
    before.guards.keep(&store).unwrap();
    let after = Bench::new();
    after.guards.recall(&store).unwrap();
    after.guards.take_in(&source(None, &[ABC]), &after.config);
    assert!(after.opens("mcp-zed-abc", "mine"));
}

#[test]
fn of_two_that_run_with_one_host_the_older_opens() {
    let bench = Bench::new();
    let zed = running(&bench.desired(&[ZED]), &["zed-abc"]);
    let mut both = running(&bench.desired(&[ABC]), &["abc"]);
    both.instances.extend(zed.instances);
    for (name, second) in [("zed-abc", 1), ("abc", 2)] {
        let generation = &mut both.instances.get_mut(name).unwrap()[0];
        generation.started = Some(Timestamp::from_second(second).unwrap());
    }
    for files in [&[ABC, ZED][..], &[ABC, ZED, ("zed-abc2", ZED.1)]] {
        bench.round(&[ZED], &both);
        bench.round(files, &both);
        assert_eq!(bench.asked("mcp-zed-abc", "mine"), Ok("zed-abc".to_owned()));
    }
}
