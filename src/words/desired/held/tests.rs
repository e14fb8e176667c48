use super::*;
use crate::words::config::Config;
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::observed::{Generation, Phase};
use crate::words::resolve::resolve;

fn desired(config: &Config, files: &[(&str, &str)]) -> Desired {
    let file = |(stem, more): &(&str, &str)| {
        SourceFile::of_text(
            &format!("i/{stem}.yaml"),
            format!("template: mcp-http\nimage: x:1\n{more}"),
        )
    };
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: files.iter().map(file).collect(),
        ..Snapshot::default()
    };
    resolve(&snapshot, config).unwrap()
}

/// A fleet in which these run as their manifests, each by itself, say.
fn observed(phase: Phase, files: &[(&str, &str)]) -> Observed {
    let generation = |file: &(&str, &str)| {
        let alone = desired(&Config::default(), &[*file]);
        let spec = &alone.specs[file.0];
        let generation = Generation {
            phase,
            ..Generation::running(spec)
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
        // Both have it: the one that was started first, else the first by name.
        let mut twice = observed(phase, &[("team-vic", ""), CLAIMS]);
        assert_eq!(of(&twice), ["team-vic"], "{phase:?}");
        start(&mut twice, "vic", 1);
        assert_eq!(of(&twice), ["vic"], "{phase:?}");
        start(&mut twice, "team-vic", 0);
        assert_eq!(of(&twice), ["team-vic"], "{phase:?}");
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
    // An earlier release made it: today nobody may call a volume so.
    let mut has = observed(
        Phase::Running,
        &[("a", "volumes: [{ name: x, target: /x }]\n")],
    );
    let Applied::Spec(spec) = &mut has.instances.get_mut("a").unwrap()[0].applied else {
        panic!("a record");
    };
    Arc::make_mut(spec).volumes[0].source = VolumeSource::Name("b-vol-c".to_owned());
    let other = ("a-vol-b", "volumes: [{ name: c, target: /x }]\n");
    let config = Config::default();
    assert!(admitted(&config, &[other], &has).is_empty());
    assert_eq!(
        admitted(&config, &[other], &Observed::default()),
        ["a-vol-b"]
    );
    let mut desired = desired(&config, &[other]);
    desired.admit_incumbents(&has);
    assert_eq!(
        desired.unreadable["a-vol-b"][0].to_string(),
        "i/a-vol-b.yaml:1:1: volumes[0].name: the engine would take it for a volume of the instance a (choose another \
         name, or remove a first: this instance waits until no container of a has it)"
    );
}

fn start(observed: &mut Observed, name: &str, second: i64) {
    let generation = &mut observed.instances.get_mut(name).unwrap()[0];
    generation.started = Some(jiff::Timestamp::from_second(second).unwrap());
}

/// The attack: two new files beside a victim that is held, kept or unreadable.
const ABC: (&str, &str) = (
    "abc",
    "endpoints: { mcp-zed: { port: 8080, path: /mcp, auth: none }, mcp: null }\n",
);

#[test]
fn a_host_stays_with_a_running_instance_whatever_its_manifest_says() {
    let config = Config::default();
    let victim = ("zed-abc", "");
    for phase in [Phase::Running, Phase::Restarting, Phase::Exited(1)] {
        let known = observed(phase, &[victim]);
        let mut unreadable = known.clone();
        unreadable.instances.get_mut("zed-abc").unwrap()[0].applied =
            Applied::Unreadable("no label".to_owned());
        let mut unobserved = known.clone();
        unobserved.instances.clear();
        unobserved
            .unobserved
            .insert(victim.0.parse().unwrap(), "no answer".to_owned());
        for observed in [&known, &unreadable, &unobserved] {
            for files in [
                &[ABC][..],
                &[ABC, ("zed-abc", "memroy: 1G\n")],
                &[ABC, victim, victim],
                &[
                    ABC,
                    ("zed-abc", "endpoints: { mcp: null, api: { port: 1 } }\n"),
                ],
            ] {
                // What else there is goes on.
                let all = [files, &[("other", "")]].concat();
                let admitted = admitted(&config, &all, observed);
                assert!(!admitted.contains(&"abc".to_owned()), "{files:?}");
                assert!(admitted.contains(&"other".to_owned()), "{files:?}");
                let mut desired = desired(&config, &all);
                desired.admit_incumbents(observed);
                assert!(desired.access_limits["abc"].denied.contains("mcp-zed"));
            }
        }
        let mut held = desired(&config, &[ABC]);
        held.admit_incumbents(&known);
        assert_eq!(
            held.unreadable["abc"][0].to_string(),
            "i/abc.yaml:1:1: endpoints.mcp-zed: the host name mcp-zed-abc.mcp.localhost belongs to the instance zed-abc, \
             whose container has it (choose another name, or remove zed-abc first: this instance waits until no container \
             of zed-abc has it)"
        );
    }
    // Without a container of the victim there is nobody to defend.
    assert_eq!(admitted(&config, &[ABC], &Observed::default()), ["abc"]);
}

#[test]
fn of_two_that_have_a_host_the_younger_loses_it_though_it_has_no_manifest() {
    let mut both = observed(Phase::Running, &[("zed-abc", ""), ABC]);
    start(&mut both, "zed-abc", 1);
    start(&mut both, "abc", 2);
    let mut desired = desired(&Config::default(), &[]);
    desired.admit_incumbents(&both);
    assert!(desired.access_limits["abc"].denied.contains("mcp-zed"));
    assert!(!desired.access_limits.contains_key("zed-abc"));
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
