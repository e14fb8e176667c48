use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::words::config::{Config, ProviderConfig, Verdict};
use crate::words::desired::{AccessLimit, Snapshot, SourceFile};
use crate::words::manifest::Restart;
use crate::words::name::EndpointName;
use crate::words::observed::Limits;
use crate::words::origin::Origins;
use crate::words::resolve::{denied_endpoints, resolve};

fn spec_with(config: &Config, manifest: &str) -> Spec {
    let file = SourceFile::of_text("instances.d/alice.yaml", manifest);
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: vec![file],
        ..Snapshot::default()
    };
    let mut desired = resolve(&snapshot, config).expect("no fleet.yaml");
    Arc::unwrap_or_clone(desired.specs.remove("alice").expect("a sound manifest"))
}

fn by_files() -> Config {
    let mut config = Config::default();
    config.traefik.provider = ProviderConfig::File(PathBuf::from("/dynamic"));
    config
}

fn spec(manifest: &str) -> Spec {
    spec_with(&by_files(), manifest)
}

/// A generation that runs, at 10.0.0.<number>.
fn generation(number: u64, record: &Spec) -> Generation {
    let last = u8::try_from(number).expect("small");
    let record = Arc::new(record.clone());
    Generation {
        id: format!("id-{number}"),
        name: format!("alice-g{number}"),
        number,
        address: Some(at(last)),
        limits: Limits {
            restart: Restart::No,
            ..Limits::of(&record)
        },
        ..Generation::running(&record)
    }
}

fn at(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn stands(generation: u64, last: u8) -> Standing {
    Standing {
        generation,
        address: at(last),
    }
}

#[test]
fn a_first_generation_is_led_to_once_it_answers() {
    let spec = spec("{}");
    let all = [generation(1, &spec)];
    let routing = route(Some(&spec), &all, None);
    assert!(
        matches!(routing, Routing::Due { lead, gone_meanwhile: false }
            if lead.generation == 1 && lead.address == at(1)),
        "{routing:?}"
    );
}

#[test]
fn a_changed_guard_is_said_at_once_of_the_generation_that_is_led_to() {
    let old = spec("{}");
    let new = spec("endpoints: { mcp: { auth: none } }");
    let all = [generation(1, &old)];
    let routing = route(Some(&new), &all, Some(stands(1, 1)));
    assert!(
        matches!(routing, Routing::Said(lead) if std::ptr::eq(lead.spec, &raw const new)),
        "{routing:?}"
    );
}

#[test]
fn what_needs_a_new_container_is_not_said_of_the_old_one() {
    let old = spec("{}");
    let new = spec("image: acme/other:2\nendpoints: { mcp: { port: 9000 } }");
    let all = [generation(1, &old)];
    assert_eq!(route(Some(&new), &all, Some(stands(1, 1))), Routing::Kept);
    // But an address that is another's by now must not stay.
    let routing = route(Some(&new), &all, Some(stands(1, 9)));
    assert!(
        matches!(routing, Routing::Due { lead, gone_meanwhile: true } if lead.spec.endpoints["mcp"].port == 8080),
        "{routing:?}"
    );
}

#[test]
fn an_instance_whose_manifest_is_broken_keeps_its_file() {
    let all = [generation(1, &spec("{}"))];
    assert_eq!(route(None, &all, Some(stands(1, 1))), Routing::Kept);
}

#[test]
fn the_old_one_is_led_to_until_the_new_one_is_well() {
    let spec = spec("replace: start-first");
    let mut all = [generation(1, &spec), generation(2, &spec)];
    for health in [Health::Starting, Health::Unhealthy] {
        all[1].health = Some(health);
        assert_eq!(route(Some(&spec), &all, Some(stands(1, 1))), Routing::Kept);
    }
    all[1].health = Some(Health::Healthy);
    let routing = route(Some(&spec), &all, Some(stands(1, 1)));
    assert!(
        matches!(routing, Routing::Due { lead, gone_meanwhile: false } if lead.generation == 2),
        "{routing:?}"
    );
}

#[test]
fn a_route_to_one_that_stopped_goes_before_the_new_one_answers() {
    let spec = spec("{}");
    let mut all = [generation(1, &spec), generation(2, &spec)];
    all[0].phase = Phase::Exited(0);
    let routing = route(Some(&spec), &all, Some(stands(1, 1)));
    assert!(
        matches!(
            routing,
            Routing::Due {
                gone_meanwhile: true,
                ..
            }
        ),
        "{routing:?}"
    );
}

#[test]
fn one_that_does_not_run_has_no_file() {
    let spec = spec("{}");
    assert_eq!(route(Some(&spec), &[], Some(stands(1, 1))), Routing::Gone);
    let mut all = [generation(1, &spec)];
    all[0].phase = Phase::Exited(0);
    assert_eq!(route(Some(&spec), &all, Some(stands(1, 1))), Routing::Gone);
}

#[test]
fn what_carries_its_routes_in_labels_has_no_file() {
    let labels = spec_with(&Config::default(), "{}");
    let all = [generation(1, &labels)];
    assert_eq!(route(Some(&spec("{}")), &all, None), Routing::Gone);
}

#[test]
fn what_a_newer_version_made_is_left_alone() {
    let spec = spec("{}");
    let mut all = [generation(1, &spec)];
    all[0].applied = Applied::Newer(9);
    assert_eq!(route(Some(&spec), &all, Some(stands(1, 1))), Routing::Kept);
}

fn replacing(old: &Spec, new: &Spec) -> Vec<change::Change> {
    change::replacing(old, new, &Origins::default())
}

#[test]
fn with_files_routes_replace_nothing_and_with_labels_they_do() {
    let change = |config: &Config| {
        let new = "endpoints: { mcp: { auth: none } }";
        replacing(&spec_with(config, "{}"), &spec_with(config, new))
    };
    assert_eq!(change(&by_files()), []);
    assert_eq!(change(&Config::default()).len(), 1);
    let mut elsewhere = by_files();
    elsewhere.traefik.middlewares = vec!["x@file".to_owned()];
    assert_eq!(replacing(&spec("{}"), &spec_with(&elsewhere, "{}")), []);
    // What the container is told of its own hosts is another matter, and so is the other provider.
    elsewhere.domain = "example.com".parse().expect("a host");
    let fields: Vec<_> = replacing(&spec("{}"), &spec_with(&elsewhere, "{}"))
        .into_iter()
        .map(|change| change.field)
        .collect();
    assert_eq!(fields, ["allowed_hosts"]);
    let other = replacing(&spec_with(&Config::default(), "{}"), &spec("{}"));
    assert_eq!(other[0].field, "edge.provider");
}

#[test]
fn the_file_of_a_held_instance_loses_what_policy_or_its_manifest_takes_away() {
    let record =
        spec("template: mcp-http\nimage: x:1\nendpoints: { api: { port: 9000, auth: none } }\n");
    let mut strict = by_files();
    strict.policy.auth_none = Verdict::Deny;
    assert_eq!(denied_endpoints(&record, &by_files()), BTreeSet::new());
    let denied = denied_endpoints(&record, &strict);
    let names: Vec<_> = denied.iter().map(EndpointName::as_str).collect();
    assert_eq!(names, ["api"]);

    let generations = [generation(1, &record)];
    let stands = Some(Standing {
        generation: 1,
        address: at(1),
    });
    assert_eq!(route(None, &generations, stands), Routing::Kept);
    let limit = AccessLimit {
        denied,
        ..AccessLimit::default()
    };
    let limited = limit.routes(&record).expect("one endpoint goes");
    let Routing::Said(lead) = route(Some(&limited), &generations, stands) else {
        panic!("the file is not written anew");
    };
    let names: Vec<_> = lead
        .spec
        .endpoints
        .keys()
        .map(EndpointName::as_str)
        .collect();
    assert_eq!(names, ["mcp"]);
    // Nothing to take away: the file stays as it is.
    assert_eq!(AccessLimit::of(&record).routes(&record), None);
    let nothing = AccessLimit {
        endpoints: Some(BTreeMap::new()),
        ..AccessLimit::default()
    };
    let limited = nothing.routes(&record).expect("all endpoints go");
    assert_eq!(route(Some(&limited), &generations, stands), Routing::Gone);
}
