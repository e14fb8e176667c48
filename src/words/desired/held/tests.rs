use super::*;
use crate::words::config::Config;
use crate::words::desired::{Content, Snapshot, SourceFile};
use crate::words::observed::{Generation, Limits};
use crate::words::resolve::resolve;

fn desired(config: &Config, files: &[(&str, &str)]) -> Desired {
    let file = |(stem, more): &(&str, &str)| SourceFile {
        path: format!("i/{stem}.yaml"),
        stem: (*stem).to_owned(),
        content: Content::Text(format!("template: mcp-http\nimage: x:1\n{more}")),
    };
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: None,
        manifests: files.iter().map(file).collect(),
    };
    resolve(&snapshot, config).unwrap()
}

/// A fleet in which these run as their manifests, each by itself, say.
fn observed(phase: Phase, files: &[(&str, &str)]) -> Observed {
    let generation = |file: &(&str, &str)| {
        let alone = desired(&Config::default(), &[*file]);
        let spec = &alone.specs[file.0];
        let generation = Generation {
            id: file.0.to_owned(),
            name: format!("{}-g1", file.0),
            number: 1,
            applied: Applied::Spec(Arc::clone(spec)),
            phase,
            health: None,
            image_id: String::new(),
            address: None,
            started: None,
            limits: Limits::of(spec),
            drift: Vec::new(),
            author: None,
            restarts: 0,
        };
        (spec.name.clone(), vec![generation])
    };
    Observed {
        instances: files.iter().map(generation).collect(),
        ..Observed::default()
    }
}

/// The instances that are not held, once the engine was asked.
fn admitted(config: &Config, files: &[(&str, &str)], observed: &Observed) -> Vec<String> {
    let mut desired = desired(config, files);
    desired.admit_incumbents(observed);
    let once = desired.clone();
    desired.admit_incumbents(observed);
    assert_eq!(once, desired, "deciding twice changes nothing");
    for name in desired.specs.keys() {
        assert!(desired.origins.contains_key(name));
        assert!(!desired.unreadable.contains_key(name));
        assert!(!desired.access_limits.contains_key(name));
    }
    for name in desired.unreadable.keys() {
        assert!(desired.access_limits.contains_key(name));
    }
    desired.specs.keys().map(ToString::to_string).collect()
}

const CLAIMS: (&str, &str) = ("vic", "endpoints: { mcp-team: { port: 1 } }\n");

#[test]
fn a_host_stays_with_the_instance_that_has_it() {
    let (config, files) = (Config::default(), [("team-vic", ""), CLAIMS]);
    let of = |observed: &Observed| admitted(&config, &files, observed);
    for phase in [Phase::Running, Phase::Restarting, Phase::Exited(1)] {
        let plain = ("vic", "");
        let both = [("team-vic", ""), plain];
        assert_eq!(of(&observed(phase, &both)), ["team-vic"], "{phase:?}");
        assert_eq!(of(&observed(phase, &[CLAIMS])), ["vic"], "{phase:?}");
        // Neither can have been there first.
        let twice = [("team-vic", ""), CLAIMS];
        assert!(of(&observed(phase, &twice)).is_empty(), "{phase:?}");
    }
    assert!(of(&Observed::default()).is_empty());
    // A container that was never started counts for nothing.
    let never = observed(Phase::Created, &[("team-vic", "")]);
    assert!(of(&never).is_empty());
    // What a third has, its manifest gone, is neither's.
    let third = Observed {
        instances: [(
            "third".parse().unwrap(),
            observed(Phase::Running, &[CLAIMS]).instances["vic"].clone(),
        )]
        .into(),
        ..Observed::default()
    };
    assert!(of(&third).is_empty());
}

#[test]
fn a_volume_stays_with_the_instance_that_has_it() {
    let victim = ("a", "volumes: [{ name: b-vol-c, target: /x }]\n");
    let other = ("a-vol-b", "volumes: [{ name: c, target: /x }]\n");
    let (config, files) = (Config::default(), [victim, other]);
    let has = observed(Phase::Running, &[victim]);
    assert_eq!(admitted(&config, &files, &has), ["a"]);
    assert!(admitted(&config, &files, &Observed::default()).is_empty());
}

#[test]
fn newcomers_take_no_place_of_an_instance_that_exists() {
    let mut config = Config::default();
    config.policy.max_instances = 2;
    let files = [("aa", ""), ("ab", ""), ("zoe", ""), ("zora", "")];
    let exist = observed(Phase::Running, &[("zoe", "")]);
    assert_eq!(admitted(&config, &files, &exist), ["aa", "zoe"]);
    let exist = observed(Phase::Running, &[("zoe", ""), ("zora", "")]);
    assert_eq!(admitted(&config, &files, &exist), ["zoe", "zora"]);
    assert_eq!(
        admitted(&config, &files, &Observed::default()),
        ["aa", "ab"]
    );
}

#[test]
fn the_loser_has_an_error_and_the_winner_a_warning() {
    let files = [("team-vic", ""), CLAIMS];
    let mut desired = desired(&Config::default(), &files);
    desired.admit_incumbents(&observed(Phase::Running, &[("team-vic", "")]));
    let found = desired.diagnostics.iter();
    let found: Vec<_> = found.map(|d| (d.place.path.as_str(), d.severity)).collect();
    assert_eq!(
        found,
        [
            ("i/team-vic.yaml", Severity::Warning),
            ("i/vic.yaml", Severity::Error)
        ]
    );
}

#[test]
fn two_limits_allow_what_both_allow() {
    let limit = |text: &str| {
        let all = desired(&Config::default(), &[("a", text)]);
        AccessLimit::of(&all.specs["a"])
    };
    let unknown = AccessLimit::default();
    let bearer = limit("endpoints: { api: { port: 1 } }\n");
    let open = limit("endpoints: { api: { port: 1, auth: none } }\n");
    let (api, mcp) = ("api".parse().unwrap(), "mcp".parse().unwrap());
    assert!(unknown.keeps(&api, Auth::Bearer) && unknown.keeps(&api, Auth::None));
    assert!(bearer.keeps(&api, Auth::Bearer) && !bearer.keeps(&api, Auth::None));
    assert!(
        open.keeps(&api, Auth::Bearer),
        "a held manifest loosens nothing"
    );
    let both = bearer.clone().and(open);
    assert!(!both.keeps(&api, Auth::Bearer) && both.keeps(&mcp, Auth::Bearer));
    assert_eq!(unknown.clone().and(bearer.clone()), bearer);
    let denied = AccessLimit {
        denied: [api.clone()].into(),
        ..unknown
    };
    assert!(!denied.and(bearer).keeps(&api, Auth::Bearer));
}
