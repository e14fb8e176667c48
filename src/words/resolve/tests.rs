use super::*;
use crate::words::config::Verdict;
use std::sync::Arc;

mod names;
mod policy;

fn source(fleet: Option<&str>, manifests: &[(&str, &str)]) -> Snapshot {
    Snapshot {
        revision: "r".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: fleet.map(|text| SourceFile::of_text("fleet.yaml", text)),
        manifests: manifests
            .iter()
            .map(|(name, text)| SourceFile::of_text(&format!("i/{name}"), *text))
            .collect(),
    }
}

fn resolved(fleet: Option<&str>, manifests: &[(&str, &str)]) -> Desired {
    resolve(&source(fleet, manifests), &Config::default()).unwrap()
}

fn one(text: &str) -> Spec {
    let mut desired = resolved(None, &[("a.yaml", text)]);
    assert_eq!(desired.diagnostics, [], "{text}");
    Arc::unwrap_or_clone(desired.specs.remove("a").unwrap())
}

/// Everything said of one manifest, a line each.
fn said(text: &str) -> Vec<String> {
    said_with(&Config::default(), text)
}

fn said_with(config: &Config, text: &str) -> Vec<String> {
    let snapshot = source(None, &[("a.yaml", text)]);
    let desired = resolve(&snapshot, config).unwrap();
    desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_built_in_template_is_a_sound_manifest() {
    for template in template::built_in() {
        let document = Document::parse(template.name, template.text).unwrap();
        let (manifest, problems) = document.decode::<Manifest>();
        assert_eq!(problems, [], "{}", template.name);
        assert!(manifest.is_some());
    }
}

#[test]
fn an_empty_mapping_is_an_instance_of_the_default_template() {
    let spec = one("{}");
    assert_eq!(spec.template, "playwright-browser@1");
    assert_eq!(spec.image, "localhost/instanced/browser:1");
    assert!(spec.security.read_only);
    assert_eq!(spec.resources.memory.to_string(), "1GiB");
    let hosts: Vec<_> = spec.endpoints.values().map(|e| e.host.as_str()).collect();
    assert_eq!(hosts, ["mcp-a.mcp.localhost", "vnc-a.mcp.localhost"]);
}

#[test]
fn later_layers_win_and_maps_merge_deeply() {
    let fleet = "defaults: { resources: { memory: 2GiB, pids: 99 }, env: { A: d, B: d } }\n\
                 templates:\n  own:\n    image: own:1\n    resources: { pids: 7 }\n    env: { B: t, C: t }\n";
    let desired = resolved(
        Some(fleet),
        &[
            ("a.yaml", "template: own\nenv: { C: m }\n"),
            ("b.yaml", "resources: { memory: 3GiB }"),
        ],
    );
    assert_eq!(desired.diagnostics, []);
    let own = &desired.specs["a"];
    // The fleet's own template stands above the fleet's defaults, the manifest above both.
    assert_eq!(
        (
            own.resources.memory.to_string().as_str(),
            own.resources.pids
        ),
        ("2GiB", 7)
    );
    let env: Vec<_> = own.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=d", "B=t", "C=m"]);
    // A built-in template stands below the fleet's defaults.
    let built_in = &desired.specs["b"];
    assert_eq!(built_in.resources.memory.to_string(), "3GiB");
    assert_eq!(built_in.resources.pids, 99);
}

#[test]
fn null_takes_away_what_a_layer_below_says() {
    let spec = one("endpoints: { vnc: null }\nvnc: null\nscreen: null\n");
    assert_eq!(spec.endpoints.len(), 1);
    assert!(spec.secrets.is_empty() && spec.screen.is_none());
}

#[test]
fn a_screen_that_people_open_by_links_has_a_second_password() {
    let secrets = |text: &str| -> Vec<String> {
        let secrets = one(text).secrets.into_keys();
        secrets.map(|name| name.to_string()).collect()
    };
    let both = ["vnc_password", "vnc_view_password"];
    assert_eq!(secrets("{}"), both[..1]);
    assert_eq!(secrets("endpoints: { vnc: { auth: bearer } }"), both[..1]);
    assert_eq!(secrets("endpoints: { vnc: { auth: ticket } }"), both);
    let named = "vnc: { view_password: { from_file: /run/secrets/look } }";
    assert_eq!(secrets(named), both);
    // Without VNC there is nothing to ask for one.
    assert_eq!(
        secrets("endpoints: { vnc: { auth: ticket } }\nvnc: null"),
        both[..0]
    );
}

#[test]
fn a_ticket_where_it_opens_nothing_is_a_warning() {
    let text = "endpoints: { mcp: { auth: ticket }, vnc: { auth: ticket } }";
    let told = said(text);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("endpoints.mcp.auth: no MCP client gets in by a ticket"));

    let mut config = Config::default();
    config.public.scheme = crate::words::config::Scheme::Http;
    assert_eq!(said_with(&config, text).len(), 1, "localhost is safe");
    config.domain = "example.com".parse().unwrap();
    let told = said_with(&config, text);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[2].contains("browsers keep no session of example.com"));
}

#[test]
fn equal_meaning_is_equal_spec() {
    let one_way = one("resources: { memory: 1024MiB, cpus: 1.0 }\nrestart: 'no'\n");
    let other = one("restart: no\nresources: { cpus: 1, memory: 1GiB }\n");
    assert_eq!(one_way, other);
    assert_eq!(
        serde_json::to_string(&one_way).unwrap(),
        serde_json::to_string(&other).unwrap()
    );
}

#[test]
fn a_spec_reads_back_from_its_own_text() {
    let spec =
        one("secrets: { k: { from_file: /run/secrets/k } }\nvolumes: [{ name: p, target: /p }]\n");
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
}

#[test]
#[allow(clippy::too_many_lines)]
fn each_mistake_has_its_place_and_its_way_out() {
    for (manifest, wanted) in [
        ("memroy: 1", "i/a.yaml:1:1: memroy: unknown key `memroy`"),
        (
            "image: ''",
            "i/a.yaml:1:8: image: template `playwright-browser@1` names no image",
        ),
        (
            "template: nope",
            "i/a.yaml:1:11: template: no template `nope` (known: playwright-browser, mcp-http)",
        ),
        (
            "template: mcp-http",
            "names no image (name one, such as `image: acme/mcp-server:3`)",
        ),
        (
            "endpoints: { x: {} }",
            "i/a.yaml:1:14: endpoints.x: no port",
        ),
        (
            "endpoints: { x: { port: 0 } }",
            "endpoints.x.port: found integer `0`",
        ),
        (
            "endpoints: { X: { port: 1 } }",
            "i/a.yaml:1:14: endpoints.X: `X` is no DNS label",
        ),
        (
            "endpoints: { mcp: { path: mcp } }",
            "`mcp` does not begin with `/` (write `/mcp`)",
        ),
        (
            "screen: { width: 1 }",
            "i/a.yaml:1:18: screen.width: 1 is not from 320 to 7680",
        ),
        (
            "screen: { depth: 8 }",
            "8 bits a pixel is neither 16 nor 24",
        ),
        (
            "resources: { memory: lots }",
            "`lots` is no size; write 512MiB",
        ),
        (
            "resources: { memory: 1k }",
            "resources.memory: 1KiB is not from 6MiB to 64TiB",
        ),
        ("resources: { cpus: 0 }", "`0` is no number of processors"),
        (
            "labels: { traefik.enable: x }",
            "i/a.yaml:1:11: labels.traefik.enable: `traefik.enable` is reserved",
        ),
        (
            "env: { INSTANCE_ID: x }",
            "i/a.yaml:1:8: env.INSTANCE_ID: INSTANCE_ID is set by the daemon",
        ),
        (
            "security: { user: root }",
            "`root` is no numeric user (write \"1000\" or \"1000:1000\"; `docker run --rm --entrypoint id IMAGE NAME` shows the numbers",
        ),
        (
            "security: { user: \"0:1000\" }",
            "i/a.yaml:1:19: security.user: user 0, which is root, is not allowed here (allowed: 1-4294967294; the host's operator sets policy.users.uids",
        ),
        (
            "security: { user: \"1000:0\" }",
            "security.user: group 0, which is root, is not allowed here (allowed: 1-4294967294; the host's operator sets policy.users.gids",
        ),
        ("security: { user: \"00\" }", "`00` is no numeric user"),
        ("security: { user: \"+0\" }", "`+0` is no numeric user"),
        (
            "volumes: [{ host: /srv/../var/run/docker.sock, target: /x }]",
            "volumes[0].host: `/var/run/docker.sock` leads to an engine's socket",
        ),
        (
            "volumes: [{ host: /run/., target: /x }]",
            "volumes[0].host: `/run` leads to the engine's own files (/run/docker)",
        ),
        (
            "volumes: [{ host: \"/srv/\\n\", target: /x }]",
            "volumes[0].host: U+000A, the end of a line",
        ),
        (
            "volumes: [{ name: a, target: //run/./secrets/x }]",
            "no place where it could be mounted",
        ),
        (
            "volumes: [{ name: a, target: /run }]",
            "neither above nor below /run/secrets",
        ),
        (
            "security: { tmpfs: { /run/secrets/: 1MiB } }",
            "no place where it could be mounted",
        ),
        (
            "labels: { Traefik.Enable: \"true\" }",
            "`Traefik.Enable` is reserved",
        ),
        (
            "volumes: [{ target: /x }]",
            "i/a.yaml:1:11: volumes[0]: neither or both of `name` and `host`",
        ),
        (
            "volumes: [{ name: a, target: x }]",
            "no place where it could be mounted",
        ),
        (
            "volumes: [{ name: bob-g1-secrets, target: /x }]",
            "volumes[0].name: the engine would take `bob-g1-secrets` for the secrets of another instance",
        ),
        (
            "volumes: [{ host: /srv, target: /x }]",
            "`/srv` is not allowed here (the host's operator allows it under policy.host_paths.allow",
        ),
        (
            "secrets: { k: { from_file: /etc/shadow } }",
            "`/etc/shadow` is not allowed here",
        ),
        (
            "secrets: { k: { from_file: /run/secrets/../../etc/shadow } }",
            "is not allowed here",
        ),
        (
            "secrets: { k: { from_env: HOME } }",
            "`env:HOME` is not allowed here",
        ),
        (
            "secrets: { vnc_password: { from_file: /run/secrets/x } }",
            "write it under vnc.password",
        ),
        (
            "secrets: { vnc_view_password: { from_file: /run/secrets/x } }\nendpoints: { vnc: { auth: ticket } }",
            "write it under vnc.view_password",
        ),
        (
            "vnc: { view_password: { from_file: /etc/shadow } }",
            "vnc.view_password.from_file: `/etc/shadow` is not allowed here",
        ),
        (
            "security: { cap_add: [CAP_SYS_ADMIN] }",
            "`SYS_ADMIN` is not allowed here",
        ),
        (
            "tokens: [{ label: x, hash: abc }]",
            "no token hash: write `blake3:`",
        ),
        (
            "health: { endpoint: x }",
            "no endpoint `x` (known: mcp, vnc)",
        ),
        (
            "replace: start-first\nvolumes: [{ name: p, target: /p }]",
            "start-first with a writable volume at /p",
        ),
        ("restart: sometimes", "unknown value `sometimes`"),
    ] {
        let told = said(manifest);
        assert_eq!(told.len(), 1, "{manifest}: {told:#?}");
        assert!(told[0].contains(wanted), "{manifest}: {told:#?}");
    }
}

#[test]
fn every_mistake_of_a_manifest_is_told_at_once() {
    let told = said(
        "screen: { width: 1, depth: 3 }\nlabels: { instanced.x: y }\nresources: { memory: 1k }\n",
    );
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn an_empty_file_is_unfinished_and_held() {
    let desired = resolved(
        None,
        &[("a.yaml", ""), ("b.yaml", "# later\n"), ("c.yaml", "{}")],
    );
    assert_eq!(desired.unreadable.len(), 2);
    assert!(desired.specs.contains_key("c"));
}

#[test]
fn a_file_whose_stem_is_no_name_is_told_and_spoils_nothing() {
    let desired = resolved(None, &[("Alice_1.yaml", "{}"), ("bob.yaml", "{}")]);
    assert_eq!(desired.specs.len(), 1);
    assert!(
        desired.diagnostics[0]
            .to_string()
            .contains("i/Alice_1.yaml:1:1: `Alice_1` is no DNS label")
    );
}

#[test]
fn a_name_in_capitals_is_no_absence() {
    let files = [("Alice.yaml", "{}"), ("Bob.yaml", "{}"), ("bob.yaml", "{}")];
    let desired = resolved(None, &files);
    assert!(desired.unreadable.contains_key("alice"), "she is held");
    assert!(desired.specs.contains_key("bob"), "he has a manifest");
    assert_eq!((desired.specs.len(), desired.unreadable.len()), (1, 1));
    assert_eq!(desired.diagnostics.len(), 2, "{:?}", desired.diagnostics);
}

#[test]
fn two_manifests_of_one_name_hold_it() {
    let desired = resolved(None, &[("a.yaml", "{}"), ("a.yml", "{}")]);
    assert!(desired.specs.is_empty());
    assert!(desired.unreadable.contains_key("a"));
}

#[test]
fn one_host_name_for_two_endpoints_holds_both_instances() {
    let desired = resolved(
        None,
        &[
            (
                "a-b.yaml",
                "template: mcp-http\nimage: x:1\nendpoints: { mcp: null, x: { port: 1 } }",
            ),
            (
                "b.yaml",
                "template: mcp-http\nimage: x:1\nendpoints: { mcp: null, x-a: { port: 1 } }",
            ),
            ("c.yaml", "{}"),
        ],
    );
    assert_eq!(desired.specs.len(), 1);
    let told: Vec<_> = desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("i/a-b.yaml:3:25: endpoints.x: the host name x-a-b.mcp.localhost is also that of x-a of b"), "{told:#?}");
}

#[test]
fn a_name_too_long_for_its_endpoint_is_told() {
    let name = format!("{}.yaml", "x".repeat(60));
    let desired = resolved(None, &[(name.as_str(), "{}")]);
    assert!(desired.specs.is_empty());
    assert!(
        desired.diagnostics[0]
            .message
            .contains("64 characters, a DNS label at most 63")
    );
}

#[test]
fn a_fleet_file_with_an_error_says_nothing_of_anyone() {
    for (fleet, wanted) in [
        (
            "default: {}",
            "fleet.yaml:1:1: default: unknown key `default` (known here: defaults, templates)",
        ),
        ("defaults: { memroy: 1 }", "defaults.memroy: unknown key"),
        (
            "defaults: { template: nope }",
            "fleet.yaml:1:23: defaults.template: no template `nope`",
        ),
        (
            "templates: { mcp-http: {} }",
            "`mcp-http` is the name of a built-in template",
        ),
        (
            "templates: { x: { template: y } }",
            "a template stands on no other template",
        ),
        (
            "templates: { x: { descripton: y } }",
            "unknown key `descripton`",
        ),
        ("[]", "expected a mapping with `defaults` and `templates`"),
        ("a: [", "fleet.yaml:1:"),
    ] {
        let snapshot = source(Some(fleet), &[("a.yaml", "{}")]);
        let told = resolve(&snapshot, &Config::default()).unwrap_err();
        assert_eq!(told.len(), 1, "{fleet}: {told:#?}");
        assert!(told[0].to_string().contains(wanted), "{fleet}: {}", told[0]);
    }
}

#[test]
fn a_template_demands_its_variables() {
    let fleet = "templates: { m: { image: m:1, required_env: [URL], description: x } }";
    let desired = resolved(
        Some(fleet),
        &[
            ("a.yaml", "template: m"),
            ("b.yaml", "{template: m, env: {URL: x}}"),
        ],
    );
    assert!(desired.specs.contains_key("b"));
    assert!(
        desired.diagnostics[0]
            .to_string()
            .contains("template `m` needs URL (write `env: { URL: … }`)")
    );
}

#[test]
fn policy_decides_over_tags_and_unguarded_endpoints() {
    let text = "image: acme/x\nendpoints: { mcp: { auth: none } }\n";
    let desired = resolved(None, &[("a.yaml", text)]);
    assert!(desired.specs.contains_key("a"), "warnings hold nothing");
    // The tag, the endpoint, and the screen of an image that nobody here knows.
    assert_eq!(desired.diagnostics.len(), 3);
    assert!(!desired.has_errors());

    let mut config = Config::default();
    config.policy.auth_none = Verdict::Deny;
    config.policy.images.latest = Verdict::Allow;
    config.policy.images.require_digest = true;
    config.policy.images.allow = vec!["ghcr.io/*".to_owned()];
    let told = said_with(&config, text);
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn the_fleet_has_a_limit() {
    let mut config = Config::default();
    config.policy.max_instances = 1;
    let snapshot = source(None, &[("a.yaml", "{}"), ("b.yaml", "{}")]);
    let desired = resolve(&snapshot, &config).unwrap();
    assert!(desired.specs.contains_key("a"));
    assert!(desired.unreadable.contains_key("b"));
}

#[test]
fn a_public_port_is_part_of_the_allowed_host() {
    let mut config = Config::default();
    config.public.port = Some(8443);
    let snapshot = source(None, &[("a.yaml", "{}")]);
    let desired = resolve(&snapshot, &config).unwrap();
    assert_eq!(
        desired.specs["a"].allowed_hosts[0],
        "mcp-a.mcp.localhost:8443"
    );
}

mod grammar;
