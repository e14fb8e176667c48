//! What is wrong between files: with policy, with the fleet's templates, with one another. Each is told at its place,
//! and between two manifests at both.

use instanced::words::config::{Config, Verdict};
use instanced::words::label;
use instanced::words::quantity::{Bytes, Cpus};
use instanced::words::resolve::{resolve, resolve_on};

use super::lab::{file, source};

/// Everything that is said of some manifests, and who has a spec all the same.
fn told(config: &Config, manifests: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let desired = resolve(&source(manifests), config).expect("there is no fleet.yaml");
    let said = desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    (
        said,
        desired.specs.keys().map(ToString::to_string).collect(),
    )
}

fn lenient() -> Config {
    let mut config = Config::default();
    config.policy.host_paths.allow = vec!["/srv/*".to_owned(), "/srv".to_owned()];
    config
}

#[test]
fn two_endpoints_with_one_host_name_are_errors_at_both() {
    let (said, sound) = told(
        &Config::default(),
        &[
            (
                "a-b",
                "endpoints:\n  vnc: null\n  mcp: null\n  x: { port: 1 }\n",
            ),
            ("b", "endpoints:\n  x-a: { port: 1 }\n"),
            ("c", "{}"),
        ],
    );
    let way_out = "(rename the endpoint or the instance)";
    assert_eq!(
        said,
        [
            format!(
                "i/a-b.yaml:4:3: endpoints.x: the host name x-a-b.mcp.localhost is also that of x-a of b {way_out}"
            ),
            format!(
                "i/b.yaml:2:3: endpoints.x-a: the host name x-a-b.mcp.localhost is also that of x of a-b {way_out}"
            ),
        ]
    );
    assert_eq!(sound, ["c"]);
}

#[test]
fn a_directory_of_the_host_that_two_write_to_is_a_warning_at_both() {
    let (said, sound) = told(
        &lenient(),
        &[
            ("a", "volumes:\n- host: /srv/x\n  target: /x\n"),
            (
                "b",
                "volumes:\n- { name: p, target: /p }\n- { host: /srv/./x/, target: /y }\n",
            ),
            (
                "c",
                "volumes: [{ host: /srv/x, target: /x, read_only: true }]\n",
            ),
            ("d", "volumes: [{ host: /srv/xy, target: /x }]\n"),
        ],
    );
    let way_out = "(two browsers on one profile destroy it: give each a directory of its own, or `read_only: true`)";
    assert_eq!(
        said,
        [
            format!(
                "i/a.yaml:2:9: volumes[0].host: `/srv/x` is also written to by b (/srv/x) {way_out}"
            ),
            format!(
                "i/b.yaml:3:11: volumes[1].host: `/srv/x` is also written to by a (/srv/x) {way_out}"
            ),
        ]
    );
    assert_eq!(sound, ["a", "b", "c", "d"], "a warning holds nobody");
}

#[test]
fn a_directory_within_one_that_another_writes_to_is_a_warning_at_both() {
    let (said, _) = told(
        &lenient(),
        &[
            ("a", "volumes: [{ host: /srv, target: /x }]\n"),
            ("b", "volumes: [{ host: /srv/b/c, target: /x }]\n"),
        ],
    );
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with(
        "i/a.yaml:1:19: volumes[0].host: `/srv` is also written to by b (/srv/b/c) ("
    ));
    assert!(said[1].starts_with(
        "i/b.yaml:1:19: volumes[0].host: `/srv/b/c` is also written to by a (/srv) ("
    ));
}

#[test]
fn many_on_one_directory_are_counted() {
    let mut config = lenient();
    config.policy.max_instances = 5000;
    let names: Vec<String> = (0..2000).map(|number| format!("i{number:04}")).collect();
    let text = "volumes: [{ host: /srv/x, target: /x }]\n";
    let manifests: Vec<_> = names.iter().map(|name| (name.as_str(), text)).collect();
    let (said, _) = told(&config, &manifests);
    assert_eq!(said.len(), 2000);
    assert!(
        said[0].contains("by i0001 (/srv/x), i0002 (/srv/x), i0003 (/srv/x) and 1996 more ("),
        "{}",
        said[0]
    );
}

#[test]
fn volumes_of_one_name_are_each_instances_own() {
    let text = "volumes: [{ name: profile, target: /p }]\n";
    let (said, _) = told(&Config::default(), &[("a", text), ("b", text)]);
    assert_eq!(said, [] as [String; 0]);
    let manager = Config::default().manager;
    let name = |instance: &str, volume: &str| {
        label::instance_volume(&manager, &instance.parse().expect("a name"), volume)
    };
    assert_ne!(name("a", "profile"), name("b", "profile"));
    // The two ways to one name.
    assert_eq!(name("a", "b-vol-c"), name("a-vol-b", "c"));
    assert_eq!(name("a", "vol-c"), name("a-vol", "c"));
    let (said, sound) = told(
        &Config::default(),
        &[
            ("a", "volumes: [{ name: b-vol-c, target: /p }]\n"),
            ("a-vol-b", "volumes:\n- target: /p\n  name: c\n"),
            ("b", "volumes:\n- target: /p\n  name: vol-c\n"),
        ],
    );
    let way_out = "(choose a name that has no `-vol-` in it and does not start with `vol-`)";
    let message = |name: &str| {
        format!(
            "volumes[0].name: the engine could take `{name}` for a volume of another instance {way_out}"
        )
    };
    assert_eq!(
        said,
        [
            format!("i/a.yaml:1:19: {}", message("b-vol-c")),
            format!("i/b.yaml:3:9: {}", message("vol-c")),
        ]
    );
    assert_eq!(sound, ["a-vol-b"]);
}

#[test]
fn a_template_that_is_not_there_is_told_with_the_nearest() {
    let mut snapshot = source(&[
        ("a", "owner: x\ntemplate: playwrigt-browser\n"),
        ("b", "template: metabse\n"),
    ]);
    snapshot.fleet = Some(file(
        "fleet.yaml",
        b"templates: { metabase: { image: m:1 } }\n",
    ));
    let desired = resolve(&snapshot, &Config::default()).expect("a sound fleet.yaml");
    let said: Vec<_> = desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "i/a.yaml:2:11: template: no template `playwrigt-browser` (did you mean `playwright-browser`?)",
            "i/b.yaml:1:11: template: no template `metabse` (did you mean `metabase`?)",
        ]
    );
}

#[test]
fn a_variable_that_a_template_needs_is_told_at_the_manifest() {
    let mut snapshot = source(&[
        ("a", "template: m\nenv:\n  OTHER: x\n"),
        ("b", "template: m\n"),
    ]);
    snapshot.fleet = Some(file(
        "fleet.yaml",
        b"templates: { m: { image: m:1, required_env: [URL] } }\n",
    ));
    let desired = resolve(&snapshot, &Config::default()).expect("a sound fleet.yaml");
    let said: Vec<_> = desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    let wanted = "env: template `m` needs URL (write `env: { URL: … }`)";
    assert_eq!(
        said,
        [
            format!("i/a.yaml:2:1: {wanted}"),
            format!("i/b.yaml:1:1: {wanted}")
        ]
    );
}

#[test]
fn each_policy_that_is_broken_is_told_at_its_field() {
    let mut config = Config::default();
    let policy = &mut config.policy;
    policy.images.allow = vec!["ghcr.io/*".to_owned()];
    policy.images.latest = Verdict::Deny;
    policy.auth_none = Verdict::Deny;
    policy.resources.memory = Some(Bytes::mib(2048));
    policy.resources.cpus = Some(Cpus(1_500_000_000));
    policy.resources.pids = Some(1000);
    policy.resources.shm = Some(Bytes::mib(256));
    let operator = |key: &str| {
        format!("(the host's operator allows it under policy.{key}.allow in instanced.yaml)")
    };
    let limit = |key: &str| {
        format!(
            "(the host's operator sets the limit under policy.resources.{key} in instanced.yaml)"
        )
    };
    for (text, wanted) in [
        ("owner: x\nimage: acme/x:1\n", format!("2:8: image: `acme/x:1` is not allowed here {}", operator("images"))),
        ("image: ghcr.io/x:latest\n", "1:8: image: `ghcr.io/x:latest` names no fixed version (name a tag that stays, or a digest)".to_owned()),
        ("image: ghcr.io/x\n", "1:8: image: `ghcr.io/x` names no fixed version (name a tag that stays, or a digest)".to_owned()),
        ("image: ghcr.io/x:1\nvolumes:\n- target: /x\n  host: /etc\n", format!("4:9: volumes[0].host: `/etc` is not allowed here {}", operator("host_paths"))),
        ("image: ghcr.io/x:1\nsecrets:\n  k: { from_file: /etc/shadow }\n", format!("3:19: secrets.k.from_file: `/etc/shadow` is not allowed here {}", operator("secrets"))),
        ("image: ghcr.io/x:1\nsecrets:\n  k: { from_env: HOME }\n", format!("3:18: secrets.k.from_env: `env:HOME` is not allowed here {}", operator("secrets"))),
        ("image: ghcr.io/x:1\nsecurity: { cap_add: [net_admin] }\n", format!("2:13: security.cap_add: `NET_ADMIN` is not allowed here {}", operator("cap_add"))),
        ("image: ghcr.io/x:1\nendpoints:\n  mcp:\n    auth: none\n", "4:11: endpoints.mcp.auth: everyone whom the network lets through may use it (`auth: bearer` guards it for clients, `auth: ticket` for people; policy.auth_none says what is allowed)".to_owned()),
        ("image: ghcr.io/x:1\nresources: { memory: 3g }\n", format!("2:22: resources.memory: 3GiB is more than the 2GiB that are allowed here {}", limit("memory"))),
        ("image: ghcr.io/x:1\nresources: { cpus: 2 }\n", format!("2:20: resources.cpus: 2 is more than the 1.5 that are allowed here {}", limit("cpus"))),
        ("image: ghcr.io/x:1\nresources: { pids: 1001 }\n", format!("2:20: resources.pids: 1001 is more than the 1000 that are allowed here {}", limit("pids"))),
        ("image: ghcr.io/x:1\nresources: { shm: 1g }\n", format!("2:19: resources.shm: 1GiB is more than the 256MiB that are allowed here {}", limit("shm"))),
        ("image: ghcr.io/x:1\nlabels:\n  traefik.enable: true\n", "3:3: labels.traefik.enable: `traefik.enable` is reserved (labels under traefik. and instanced. are the daemon's own)".to_owned()),
        ("image: ghcr.io/x:1\nreplace: start-first\nvolumes: [{ name: p, target: /p }]\n", "2:10: replace: start-first with a writable volume at /p (two generations would write to it at once: use stop-first)".to_owned()),
        ("image: ghcr.io/x:1\ntokens:\n- label: x\n  hash: blake3:abc\n", "4:9: tokens[0].hash: no token hash: write `blake3:` and 64 hexadecimal digits, as `instanced token hash` prints (such as `hash: blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef`)".to_owned()),
    ] {
        // Nobody knows whether another image's screen asks for a password.
        let text = if text.contains("endpoints:") {
            format!("{text}  vnc: null\n")
        } else {
            format!("{text}endpoints: {{ vnc: null }}\n")
        };
        let (said, sound) = told(&config, &[("a", &text)]);
        assert_eq!(said, [format!("i/a.yaml:{wanted}")], "{text}");
        assert!(sound.is_empty(), "{text}");
    }
    config.policy.images.require_digest = true;
    let text = "image: ghcr.io/x:1\nendpoints: { vnc: null }\n";
    let (said, _) = told(&config, &[("a", text)]);
    assert_eq!(
        said,
        [
            "i/a.yaml:1:8: image: `ghcr.io/x:1` has no digest (write image@sha256:…; policy.images.require_digest demands it)"
        ]
    );
    let digest = format!(
        "image: ghcr.io/x@sha256:{}\nendpoints: {{ vnc: null }}\n",
        "0".repeat(64)
    );
    let (said, _) = told(&config, &[("a", digest.as_str())]);
    assert_eq!(said, [] as [String; 0]);
}

#[test]
fn without_a_limit_an_instance_may_ask_for_much() {
    let text = "resources: { memory: 1t, cpus: 512, pids: 4000000, shm: 1t }\n";
    let (said, sound) = told(&Config::default(), &[("a", text)]);
    assert_eq!((said.len(), sound.len()), (0, 1));
}

#[test]
fn too_many_instances_are_told_at_those_that_come_last() {
    let mut config = Config::default();
    config.policy.max_instances = 1;
    let (said, sound) = told(&config, &[("a", "{}"), ("b", "{}")]);
    assert_eq!(
        said,
        [
            "i/b.yaml:1:1: more than 1 instances (policy.max_instances in instanced.yaml sets the limit)"
        ]
    );
    assert_eq!(sound, ["a"]);
}

const HASH: &str = "blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_token_that_is_over_is_a_warning_on_the_day() {
    let text = format!("tokens:\n- label: ci\n  hash: \"{HASH}\"\n  expires: 2026-11-27\n");
    let snapshot = source(&[("a", text.as_str())]);
    let said = |today: Option<&str>| {
        let today = today.map(|day| day.parse().expect("a day"));
        let desired =
            resolve_on(&snapshot, &Config::default(), today).expect("there is no fleet.yaml");
        assert!(desired.specs.contains_key("a"), "a warning holds nobody");
        desired
            .diagnostics
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(said(None), [] as [String; 0]);
    assert_eq!(said(Some("2026-11-26")), [] as [String; 0]);
    assert_eq!(
        said(Some("2026-11-27")),
        [
            "i/a.yaml:4:12: tokens[0].expires: the token `ci` has opened nothing since 2026-11-27 (remove it, or grant \
          another one in its place)"
        ]
    );
}

#[test]
fn one_token_in_two_manifests_is_a_warning_at_both() {
    let text = format!("tokens: [{{ label: ci, hash: \"{HASH}\" }}]\n");
    let (said, sound) = told(
        &Config::default(),
        &[("a", text.as_str()), ("b", text.as_str()), ("c", "{}")],
    );
    let way_out = "(who has it opens all of them, and losing it loses all: grant each its own)";
    assert_eq!(
        said,
        [
            format!("i/a.yaml:1:29: tokens[0].hash: the same token as b {way_out}"),
            format!("i/b.yaml:1:29: tokens[0].hash: the same token as a {way_out}"),
        ]
    );
    assert_eq!(sound.len(), 3);
}

#[test]
fn what_does_not_decode_is_told_with_what_is_wrong_beside_it() {
    let text = "image: acme/x:latest\ntemplate: mcp-htp\nresources: { memory: lots }\n";
    let (said, sound) = told(&Config::default(), &[("a", text)]);
    let words = [
        "i/a.yaml:1:8: image: `acme/x:latest` names no fixed version",
        "i/a.yaml:2:11: template: no template `mcp-htp`",
        "i/a.yaml:3:22: resources.memory: `lots` is no size",
    ];
    assert_eq!(said.len(), words.len(), "{said:#?}");
    for (line, begin) in said.iter().zip(words) {
        assert!(line.starts_with(begin), "{said:#?}");
    }
    assert_eq!(sound, [] as [String; 0]);
}
