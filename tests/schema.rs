//! `instanced schema` and the parser say the same of the same files: an editor that trusts the schema is not told
//! otherwise by `validate`.

use std::path::{Path, PathBuf};

use instanced::words::config::Config;
use instanced::words::desired::{Snapshot, SourceFile};
use instanced::words::document::Document;
use instanced::words::resolve::resolve;
use instanced::words::schema::{Kind, schema};
use serde_json::Value;

/// Sound manifests.
const GOOD: [&str; 27] = [
    "{}",
    "template: playwright-browser",
    "template: mcp-http@1\nimage: acme/x:1",
    "owner: alice@example.com\nprotect: true\nstate: stopped",
    "image: acme/x:1\nentrypoint: [/x]\ncommand: [a, b]",
    "env: { A: text, B: 1, C: true, D: 1.5 }",
    "env: { A: null }",
    "labels: { team: qa, tier: 2 }",
    "screen: { width: 1920, height: 1080, depth: 24 }",
    "resources: { memory: 1GiB, cpus: 1.5, pids: 512, shm: 256m }",
    "resources: { memory: 1073741824 }",
    "resources: null",
    "endpoints: { mcp: { port: 8080, path: /mcp, auth: bearer } }",
    "endpoints: { vnc: { auth: none } }",
    "endpoints: { vnc: null }",
    "vnc: { password: { from_file: /run/secrets/vnc } }",
    "secrets: { api_key: { from_file: /run/secrets/key } }",
    "health: { endpoint: mcp, path: /, expect: 200-499, interval: 10s, timeout: 3s, retries: 3, start_period: 20s }",
    "health: { expect: 400 }",
    "health: { path: \"/health?full=1\" }",
    "image: \"localhost:5000/acme/x:V1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "endpoints: { mcp: { path: \"/a/%C3%BC;b=c\" } }",
    "restart: on-failure\nreplace: start-first\npull: never",
    "restart: \"no\"",
    "volumes: [{ name: profile, target: /home/mcp/profile }]",
    "security: { user: \"1000\", read_only: true, tmpfs: { /tmp: 256MiB } }",
    "tokens: [{ label: ci, hash: \"blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\", expires: 2027-01-01 }]",
];

/// Manifests that break the form; what breaks a policy or another file, no schema can know.
const BAD: [&str; 50] = [
    "[mcp-http]",
    "screen: [800, 600]",
    "volumes: [[profile]]",
    "colour: red",
    "- a",
    "owner: [a]",
    "state: paused",
    "image: 5",
    "entrypoint: /x",
    "env: [A=1]",
    "env: { A: [1] }",
    "screen: { width: wide }",
    "screen: { colour: 1 }",
    "resources: { memory: lots }",
    "resources: { memory: -1 }",
    "resources: { cpus: many }",
    "resources: { pids: 1.5 }",
    "resources: 1GiB",
    "endpoints: { mcp: { port: 0 } }",
    "endpoints: { mcp: { port: 70000 } }",
    "endpoints: { mcp: { auth: basic } }",
    "endpoints: { Mcp: { port: 80 } }",
    "endpoints: [mcp]",
    "secrets: { api_key: { from: x } }",
    "secrets: { api_key: plain }",
    "health: { interval: often }",
    "health: { expect: fine }",
    "restart: sometimes",
    "pull: often",
    "volumes: { name: profile }",
    "volumes: [{ name: profile, target: /x, mode: ro }]",
    "tokens: [{ label: ci, hash: \"md5:00\" }]",
    "protect: maybe",
    "image: ghcr.io/AcmeCorp/mcp:1.2",
    "image: \"x:\"",
    "image: \"x:${TAG}\"",
    "image: x@sha256:123",
    "image: -x:1",
    "image: http://ghcr.io/x/y:1",
    "image: “x:1”",
    "image: \"x:1 \"",
    "image: a//b",
    "endpoints: { mcp: { path: mcp } }",
    "endpoints: { mcp: { path: \"/mcp?k=${AWS_SECRET_ACCESS_KEY}\" } }",
    "endpoints: { mcp: { path: /$HOME } }",
    "endpoints: { mcp: { path: //x } }",
    "health: { path: \"/a b\" }",
    "health: { retries: 101 }",
    "screen: { width: 100 }",
    "screen: { height: 5000 }",
];

fn validator(kind: Kind) -> jsonschema::Validator {
    jsonschema::validator_for(schema(kind).as_value()).expect("a schema")
}

fn value(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML of our own")
}

/// What the parser says of a manifest: its errors of form.
fn errors(text: &str) -> Vec<String> {
    let manifest = SourceFile::of_text("instances.d/a.yaml", text);
    let snapshot = Snapshot {
        revision: String::new(),
        manifests: vec![manifest],
        ..Snapshot::default()
    };
    let mut config = Config::default();
    config.policy.secrets.allow = vec!["/run/secrets/*".to_owned()];
    let desired = resolve(&snapshot, &config).expect("no fleet.yaml, none that is wrong");
    let errors = desired.diagnostics.iter().filter(|d| d.is_error());
    errors.map(ToString::to_string).collect()
}

#[test]
fn schema_and_parser_agree_on_sound_manifests() {
    let validator = validator(Kind::Manifest);
    for text in GOOD {
        assert_eq!(errors(text), [] as [String; 0], "{text}");
        let said: Vec<_> = validator
            .iter_errors(&value(text))
            .map(|e| e.to_string())
            .collect();
        assert_eq!(said, [] as [String; 0], "{text}");
    }
}

#[test]
fn schema_and_parser_agree_on_what_is_wrong() {
    let validator = validator(Kind::Manifest);
    for text in BAD {
        assert_ne!(errors(text), [] as [String; 0], "the parser takes {text}");
        assert!(!validator.is_valid(&value(text)), "the schema takes {text}");
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn everything_that_is_shipped_is_as_its_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("instanced.yaml")];
    for dir in ["examples", "instances.d"] {
        files(&root.join(dir), &mut all);
    }
    let mut seen = 0;
    for path in all {
        let name = path.file_name().expect("a file").to_string_lossy();
        let kind = match &*name {
            "instanced.yaml" => Kind::Config,
            "fleet.yaml" => Kind::Fleet,
            _ if path
                .parent()
                .is_some_and(|dir| dir.ends_with("instances.d")) =>
            {
                Kind::Manifest
            }
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).expect("a file of ours");
        let validator = validator(kind);
        let said: Vec<_> = validator
            .iter_errors(&value(&text))
            .map(|e| e.to_string())
            .collect();
        assert_eq!(said, [] as [String; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen > 5, "only {seen} files were found");
}

#[test]
fn every_key_of_a_manifest_is_described() {
    let schema = schema(Kind::Manifest);
    let properties = schema.as_value()["properties"].as_object().expect("keys");
    for (key, of) in properties {
        assert!(of["description"].is_string(), "{key} has no description");
    }
}

#[test]
fn schema_and_parser_agree_on_the_limits_of_policy() {
    let validator = validator(Kind::Config);
    let parsed = |text: &str| {
        let document = Document::parse("instanced.yaml", text).expect("YAML of our own");
        document.decode::<Config>()
    };
    let good = "policy: { resources: { memory: 8GiB, cpus: 4, pids: 4096, shm: 1GiB } }\n";
    let (config, told) = parsed(good);
    assert_eq!(told, []);
    let limits = config.expect("a configuration").policy.resources;
    assert_eq!(
        (limits.memory.map(|m| m.0), limits.pids),
        (Some(8 << 30), Some(4096))
    );
    assert!(validator.is_valid(&value(good)));
    for bad in [
        "policy: { resources: { memroy: 8GiB } }\n",
        "policy: { resources: { memory: lots } }\n",
        "policy: { resources: { pids: -1 } }\n",
        "policy: { resources: [8GiB] }\n",
    ] {
        assert_ne!(parsed(bad).1, [], "the parser takes {bad}");
        assert!(!validator.is_valid(&value(bad)), "the schema takes {bad}");
    }
}
