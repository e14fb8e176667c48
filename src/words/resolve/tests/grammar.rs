//! The grammar of what people write, and what they are told where they break it.

use super::*;
use crate::words::config::Verdict;
use crate::words::quantity::Span;

/// Without the warning that the screen of another image is open: no test here is about it.
fn config() -> Config {
    let mut config = Config::default();
    config.policy.auth_none = Verdict::Allow;
    config
}

fn resolved(fleet: Option<&str>, manifests: &[(&str, &str)]) -> Desired {
    resolve(&source(fleet, manifests), &config()).unwrap()
}

fn one(text: &str) -> Spec {
    let mut desired = resolved(None, &[("a.yaml", text)]);
    assert_eq!(desired.diagnostics, [], "{text}");
    Arc::unwrap_or_clone(desired.specs.remove("a").unwrap())
}

fn said(text: &str) -> Vec<String> {
    said_with(&config(), text)
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

pub(super) fn told_of(desired: &Desired) -> Vec<String> {
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
