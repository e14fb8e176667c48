use super::*;
use crate::words::config::Verdict;
use crate::words::quantity::Span;
use std::sync::Arc;

fn file(path: &str, text: &str) -> SourceFile {
    let name = path.rsplit('/').next().unwrap();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    SourceFile {
        path: path.to_owned(),
        stem: stem.to_owned(),
        content: Content::Text(text.to_owned()),
    }
}

fn source(fleet: Option<&str>, manifests: &[(&str, &str)]) -> Snapshot {
    Snapshot {
        revision: "r".to_owned(),
        commit: None,
        fleet: fleet.map(|text| file("fleet.yaml", text)),
        manifests: manifests
            .iter()
            .map(|(name, text)| file(&format!("i/{name}"), text))
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
            "`root` is no numeric user (write \"1000\" or \"1000:1000\")",
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
    assert_eq!(desired.diagnostics.len(), 2);
    assert!(!desired.has_errors());

    let mut config = Config::default();
    config.policy.auth_none = Verdict::Deny;
    config.policy.images.latest = Verdict::Allow;
    config.policy.images.require_digest = true;
    config.policy.images.allow = vec!["ghcr.io/*".to_owned()];
    let told = said_with(&config, text);
    assert_eq!(told.len(), 3, "{told:#?}");
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

/// Image references that no engine takes, as people write them, and what is said.
const MISTAKES: [(&str, &str, &str); 8] = [
    (
        "\"ghcr.io/AcmeCorp/mcp:1.2\"",
        "the repository `AcmeCorp/mcp` has capitals",
        "write `ghcr.io/acmecorp/mcp:1.2`",
    ),
    (
        "\"x:\"",
        "`x:` has a `:` and no tag",
        "write a tag, such as `x:1`",
    ),
    (
        "x:${TAG}",
        "`x:${TAG}` has a variable, and none is filled in here",
        "write the name and the tag themselves, such as `acme/mcp-server:3`",
    ),
    (
        "x@sha256:123",
        "`sha256:123` is no digest",
        "write `x@sha256:` and 64 hexadecimal digits in lower case, as `docker images --digests` prints them",
    ),
    ("-x:1", "`-x:1` begins with `-`", "write `x:1`"),
    (
        "http://ghcr.io/x/y:1",
        "`http://ghcr.io/x/y:1` is a URL, and an image has no scheme",
        "write `ghcr.io/x/y:1`",
    ),
    ("“x:1”", "`“x:1”` has typographic quotes", "write `x:1`"),
    (
        "\"x:1 \"",
        "`x:1 ` begins or ends with a space",
        "write `x:1`",
    ),
];

#[test]
fn an_image_that_is_no_reference_is_an_error_at_its_place() {
    for (image, message, help) in MISTAKES {
        let text = format!("owner: a\nimage: {image}\n");
        let desired = resolved(None, &[("a.yaml", &text), ("b.yaml", "{}")]);
        assert_eq!(
            told_of(&desired),
            [format!("i/a.yaml:2:8: image: {message} ({help})")],
            "{image}"
        );
        assert!(desired.specs.contains_key("b") && desired.unreadable.contains_key("a"));

        for (fleet, field, column) in [
            (
                format!("defaults:\n  image: {image}\n"),
                "defaults.image",
                10,
            ),
            (
                format!("templates:\n  own: {{ image: {image} }}\n"),
                "templates.own.image",
                17,
            ),
        ] {
            let snapshot = source(Some(&fleet), &[("a.yaml", "{}")]);
            // Within brackets, YAML reads a `:` before a bracket as a key's.
            let Err(told) = resolve(&snapshot, &Config::default()) else {
                panic!("{fleet} is sound");
            };
            if !image.contains('$') {
                let told: Vec<_> = told.iter().map(ToString::to_string).collect();
                assert_eq!(
                    told,
                    [format!(
                        "fleet.yaml:2:{column}: {field}: {message} ({help})"
                    )],
                    "{fleet}"
                );
            }
        }
    }
}

fn told_of(desired: &Desired) -> Vec<String> {
    desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn references_that_engines_take_stay_sound() {
    let hex = "0123456789abcdef".repeat(4);
    for image in [
        "localhost/instanced/browser:1".to_owned(),
        "localhost:5000/x:1".to_owned(),
        "registry.example.com:5000/acme/x:V1".to_owned(),
        format!("x@sha256:{hex}"),
        format!("ghcr.io/acme/x:1@sha256:{hex}"),
    ] {
        assert_eq!(one(&format!("image: '{image}'")).image, image);
    }
}

#[test]
fn a_spec_that_was_recorded_before_there_was_a_grammar_is_read_and_clamped() {
    let spec = one("health: { interval: 10s }\n");
    let mut recorded = serde_json::to_value(&spec).unwrap();
    recorded["image"] = "ghcr.io/AcmeCorp/mcp:${TAG}".into();
    recorded["owner"] = "a\u{1b}[31m\nb".into();
    recorded["endpoints"]["mcp"]["path"] = "/mcp?k=${KEY}".into();
    recorded["health"]["interval"] = "0s".into();
    recorded["health"]["timeout"] = "3650d".into();
    recorded["health"]["retries"] = 65_535.into();
    recorded["health"]["start_period"] = "3650d".into();
    let read: Spec = serde_json::from_value(recorded).unwrap();
    assert_eq!(read.image, "ghcr.io/AcmeCorp/mcp:${TAG}");
    let health = read.health.unwrap();
    assert_eq!(
        (
            health.interval,
            health.timeout,
            health.retries,
            health.start_period
        ),
        (Span::secs(1), Span::secs(300), 100, Span::secs(3_600))
    );
}

#[test]
fn durations_and_counts_have_bounds() {
    for (text, wanted) in [
        (
            "health: { timeout: 3650d }",
            "1:20: health.timeout: 3650d is not from 1s to 5m (3s is the default)",
        ),
        (
            "health: { timeout: 1ms }",
            "1:20: health.timeout: 1ms is not from 1s to 5m (3s is the default)",
        ),
        (
            "health: { interval: 0s }",
            "1:21: health.interval: 0s is not from 1s to 1h (10s is the default)",
        ),
        (
            "health: { interval: 2h }",
            "1:21: health.interval: 2h is not from 1s to 1h (10s is the default)",
        ),
        (
            "health: { retries: 101 }",
            "1:20: health.retries: 101 is not from 1 to 100 (3 is the default)",
        ),
        (
            "health: { start_period: 61m }",
            "1:25: health.start_period: 1h1m is not from 0s to 1h (20s is the default)",
        ),
        (
            "resources: { memory: 100t }",
            "1:22: resources.memory: 100TiB is not from 6MiB to 64TiB (512MiB is the default)",
        ),
        (
            "resources: { pids: 5000000 }",
            "1:20: resources.pids: 5000000 is not from 1 to 4194304 (256 is the default)",
        ),
        (
            "resources: { cpus: 9000 }",
            "1:20: resources.cpus: 9000 is not from 0.01 to 8192 (1 is the default)",
        ),
        (
            "security: { tmpfs: { /x: 100t } }",
            "1:26: security.tmpfs./x: 100TiB is not from 0 to 64TiB (name a size that the host has, such as 256MiB)",
        ),
    ] {
        assert_eq!(said(text), [format!("i/a.yaml:{wanted}")], "{text}");
        let fleet = format!("defaults: {{ {text} }}");
        let told = resolve(&source(Some(&fleet), &[]), &Config::default()).unwrap_err();
        assert_eq!(
            (told.len(), told[0].place.path.as_str()),
            (1, "fleet.yaml"),
            "{told:?}"
        );
    }
    // Several at once.
    assert_eq!(
        said("health: { interval: 0s, timeout: 1d, retries: 200 }\nresources: { cpus: 9000 }")
            .len(),
        4
    );
}

#[test]
fn a_path_that_clients_expand_or_terminals_obey_is_an_error() {
    for (path, wanted) in [
        ("/mcp?k=${AWS_SECRET_ACCESS_KEY}", "has a query"),
        ("/mcp/$HOME", "has `$`"),
        ("/mcp\\e[2J", "U+001B"),
        ("/a b", "write `%20`"),
        ("//evil.example/", "another host"),
    ] {
        let told = said(&format!("endpoints: {{ mcp: {{ path: \"{path}\" }} }}"));
        assert!(
            !told.is_empty() && told[0].starts_with("i/a.yaml:1:27: endpoints.mcp.path: "),
            "{told:?}"
        );
        assert!(
            told.iter().any(|line| line.contains(wanted)),
            "{path}: {told:?}"
        );
        assert!(!said(&format!("health: {{ path: \"{path}\" }}")).is_empty() || path.contains('?'));
    }
    assert_eq!(
        one("health: { path: '/health?full=1' }")
            .health
            .unwrap()
            .path,
        "/health?full=1"
    );
}

#[test]
fn what_cannot_be_seen_is_an_error_at_its_place() {
    let hash = "0123456789abcdef".repeat(4);
    for (text, wanted) in [
        ("owner: \"a\\e[31m\"".to_owned(), "1:8: owner: U+001B"),
        (
            "owner: \"a\\nb\"".to_owned(),
            "1:8: owner: U+000A, the end of a line",
        ),
        ("owner: \"a\\u202Eb\"".to_owned(), "1:8: owner: U+202E"),
        ("owner: a\u{202e}b".to_owned(), "1:8: owner: U+202E"),
        ("owner: \"a\\x9Bb\"".to_owned(), "1:8: owner: U+009B"),
        ("env: { A: \"\\0\" }".to_owned(), "1:11: env.A: U+0000"),
        ("env: { A: \"\\u2066\" }".to_owned(), "1:11: env.A: U+2066"),
        (
            "env: { \"A\\e\": b }".to_owned(),
            "1:8: env.A\\u{1b}: U+001B",
        ),
        (
            "labels: { a: \"\\x7F\" }".to_owned(),
            "1:14: labels.a: U+007F",
        ),
        (
            "command: [\"\\e]0;x\"]".to_owned(),
            "1:11: command[0]: U+001B",
        ),
        (
            format!("tokens: [{{ label: \"a\\nb\", hash: \"blake3:{hash}\" }}]"),
            "1:19: tokens[0].label: U+000A",
        ),
    ] {
        let told = said(&text);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(
            told[0].starts_with(&format!("i/a.yaml:{wanted}")) && told[0].ends_with(')'),
            "{told:?}"
        );
    }
    let spec = one(
        "env: { A: \"a\\nb\\tc\", B: \"שלום\\u200F\" }\ncommand: [\"-c\", \"a\\nb\"]\nowner: Zoë\n",
    );
    assert_eq!(spec.env["A"], "a\nb\tc");
    let fleet = "templates: { x: { image: x:1, description: \"a\\e\" } }";
    let told = resolve(&source(Some(fleet), &[]), &Config::default()).unwrap_err();
    assert!(
        told[0]
            .to_string()
            .starts_with("fleet.yaml:1:44: templates.x.description: U+001B"),
        "{told:?}"
    );
}

#[test]
fn a_text_for_the_container_is_as_the_file_has_it() {
    let written = "{ VER: 3.10, SHA: 1234567e8, PLUS: +15550100, HEX: 0x1F, ON: TRUE, LONG: 99999999999999999999, \
                   INF: 1e999, NAN: .nan, OCT: 0o17, NEG: -0, ZERO: 007, TEXT: \"3.10\" }";
    let wanted = [
        ("HEX", "0x1F"),
        ("INF", "1e999"),
        ("LONG", "99999999999999999999"),
        ("NAN", ".nan"),
        ("NEG", "-0"),
        ("OCT", "0o17"),
        ("ON", "TRUE"),
        ("PLUS", "+15550100"),
        ("SHA", "1234567e8"),
        ("TEXT", "3.10"),
        ("VER", "3.10"),
        ("ZERO", "007"),
    ];
    let texts = |map: &BTreeMap<String, String>| -> Vec<(String, String)> {
        map.clone().into_iter().collect()
    };
    let wanted: Vec<_> = wanted
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .into();
    let spec = one(&format!(
        "env: {written}\nlabels: {written}\nsecurity: {{ user: 1000 }}\n"
    ));
    assert_eq!(texts(&spec.env), wanted);
    assert_eq!(texts(&spec.labels), wanted);
    assert_eq!(spec.security.uid, 1000);

    // By an alias, by merge keys, and through every layer.
    let spec =
        one("env: &e { A: 1.10, B: 2.20 }\nlabels: { <<: [{ C: 3.30 }, *e], B: own, A: 4.40 }\n");
    let labels: Vec<_> = spec
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["A=4.40", "B=own", "C=3.30"]);
    let fleet =
        "defaults: { env: { A: 1.10 } }\ntemplates: { own: { image: x:1, env: { B: 0x1F } } }\n";
    let desired = resolved(
        Some(fleet),
        &[("a.yaml", "template: own\nenv: { C: TRUE, D: null }\n")],
    );
    let env: Vec<_> = desired.specs["a"]
        .env
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(env, ["A=1.10", "B=0x1F", "C=TRUE"]);
}

#[test]
fn all_faults_of_a_file_are_reported_at_once() {
    let text = "image: ghcr.io/Acme/x:1\nenv: { INSTANCE_ID: x, 'A=B': c }\nendpoints:\n  X: { port: 1 }\n  \
                Y: { port: 1 }\n  mcp: { path: mcp }\nhealth: { expect: [200], interval: 0s }\nowner: [a]\n\
                restart: sometimes\nvolumes: [{ host: srv, target: /x }]\ntokens: [{ label: x }]\n";
    let told = said(text);
    let places: Vec<_> = told
        .iter()
        .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        [
            "i/a.yaml:1:8",
            "i/a.yaml:2:8",
            "i/a.yaml:2:24",
            "i/a.yaml:4:3",
            "i/a.yaml:5:3",
            "i/a.yaml:6:16",
            "i/a.yaml:7:11",
            "i/a.yaml:7:36",
            "i/a.yaml:8:1",
            "i/a.yaml:9:10",
            "i/a.yaml:10:19",
            "i/a.yaml:11:10",
        ],
        "{told:#?}"
    );
}

#[test]
fn the_place_of_a_key_is_the_key() {
    for (text, wanted) in [
        (
            "env: { \"1\": a, INSTANCE_ID: b }",
            "1:16: env.INSTANCE_ID: ",
        ),
        ("env: { \"\": a }", "1:8: env.: `` is no name of a variable"),
        (
            "labels: { \"1\": a, instanced.x: b }",
            "1:19: labels.instanced.x: ",
        ),
        (
            "security: { tmpfs: { tmp: 1m } }",
            "1:22: security.tmpfs.tmp: no absolute path (write `/tmp`)",
        ),
        (
            "0x1F: a",
            "1:1: 0x1F: the key `0x1F` is no string (quote it: \"0x1F\")",
        ),
        (
            "env: { TRUE: a }",
            "1:8: env.TRUE: the key `TRUE` is no string (quote it: \"TRUE\")",
        ),
        (
            "secrets: { 'a b': { from_file: /run/secrets/x } }",
            "1:12: secrets.a b: ",
        ),
    ] {
        let told = said(text);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(
            told[0].starts_with(&format!("i/a.yaml:{wanted}")),
            "{told:?}"
        );
    }
}

#[test]
fn what_other_programs_leave_is_recognised() {
    for (text, wanted) in [
        (
            "image: x:1\n<<<<<<< HEAD\nowner: a\n=======\nowner: b\n>>>>>>> main\n",
            "2:1: an unresolved merge conflict (keep one side",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "1:1: a pointer of git LFS, not the file itself (fetch it with `git lfs pull`",
        ),
        (
            "image: x:1\nowner:\u{a0}alice\n",
            "2:7: a non-breaking space (U+00A0), which YAML takes for a letter (replace it",
        ),
        ("\u{a0}owner: alice\n", "1:1: a non-breaking space (U+00A0)"),
        (
            "environment: { A: b }",
            "1:1: environment: unknown key `environment` (Compose's key; here it is `env`)",
        ),
        (
            "mem_limit: 1g",
            "1:1: mem_limit: unknown key `mem_limit` (Compose's key; here it is `resources.memory`)",
        ),
        (
            "env: [A=1]",
            "1:1: env: found a list, expected a mapping (write a mapping: `env: { A: \"1\" }`)",
        ),
        (
            "command: [--port, 8080]",
            "1:19: command[1]: found integer `8080`, expected a string (quote it: `\"8080\"`)",
        ),
    ] {
        let told = said(text);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(
            told[0].starts_with(&format!("i/a.yaml:{wanted}")),
            "{told:?}"
        );
    }
}

#[test]
fn a_name_that_is_proposed_is_no_other_files() {
    let one = |files: &[(&str, &str)], of: &str| {
        let desired = resolved(None, files);
        let told = desired
            .diagnostics
            .iter()
            .find(|d| d.place.path == format!("i/{of}"));
        told.map(|d| d.help.clone().unwrap_or_default())
            .unwrap_or_default()
    };
    let alone = one(&[("alice (1).yaml", "{}")], "alice (1).yaml");
    assert!(
        alone.ends_with("rename it, such as alice-1.yaml"),
        "{alone}"
    );
    let copy = one(
        &[("alice (1).yaml", "{}"), ("alice.yaml", "{}")],
        "alice (1).yaml",
    );
    assert!(
        copy.contains("a copy of alice.yaml? Remove it, or rename it to alice-1.yaml"),
        "{copy}"
    );
    let taken = one(
        &[
            ("alice (1).yaml", "{}"),
            ("alice-1.yaml", "{}"),
            ("alice-1-2.yml", "{}"),
        ],
        "alice (1).yaml",
    );
    assert!(taken.ends_with("such as alice-1-3.yaml"), "{taken}");
    let capitals = one(&[("Alice.yaml", "{}"), ("alice.yaml", "{}")], "Alice.yaml");
    assert!(capitals.ends_with("such as alice-2.yaml"), "{capitals}");
    assert!(one(&[("Alice.yaml", "{}")], "Alice.yaml").ends_with("such as alice.yaml"));
    assert!(one(&[("€.yaml", "{}")], "€.yaml").ends_with("such as alice.yaml"));
}

#[test]
fn an_ending_in_capitals_is_reported_and_its_instance_held() {
    let desired = resolved(
        None,
        &[("alice.YAML", "{}"), ("bob.Yml", "{}"), ("bob.yaml", "{}")],
    );
    assert!(desired.unreadable.contains_key("alice") && desired.specs.contains_key("bob"));
    assert_eq!(
        told_of(&desired),
        [
            "i/alice.YAML:1:1: the file's name ends with `.YAML`, not with `.yaml` (rename it to alice.yaml)",
            "i/bob.Yml:1:1: the file's name ends with `.Yml`, not with `.yaml` (there is another file for bob: remove this one)",
        ]
    );
}
