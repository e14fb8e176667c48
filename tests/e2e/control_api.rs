//! The control API as its description says: the official schemathesis asks a real daemon with real instances, in every
//! way that the description allows and in many that it does not.

use std::fs;
use std::process::Command;
use std::time::Duration;

use instanced::words::token::TokenHash;

use super::daemon::Daemon;
use super::lab::{Lab, REPOSITORY, tiny};
use super::said::{check, eventually};

const TOKEN: &str = "an-admin-token-of-the-tests-own";

/// What is not asked, and why: events and logs that are followed never end by themselves (tests/control.rs has them), and
/// what is used now takes the engine a second each time.
const HOOKS: &str = "\
import json
import schemathesis


@schemathesis.hook
def map_query(ctx, query):
    if query and 'follow' in query:
        query['follow'] = 'false'
    if query and query.get('usage') == 'now':
        query['usage'] = 'recent'
    return query


@schemathesis.deserializer('application/x-ndjson')
def lines(ctx, response):
    # A log's schema is that of its lines; without a line there is nothing to be wrong.
    lines = [json.loads(line) for line in response.text.splitlines()]
    return lines[-1] if lines else json.loads(EXAMPLE)


EXAMPLE = '{\"instance\": \"a\", \"generation\": 1, \"stream\": \"stdout\", \"line\": \"\"}'
";

/// 422 is ours for what can be read and cannot be meant, such as a token that has expired already.
const SETTINGS: &str = "\
[checks.positive_data_acceptance]
expected-statuses = [\"2xx\", \"401\", \"403\", \"404\", \"409\", \"422\", \"5xx\"]
";

#[test]
fn the_api_is_what_its_description_says() {
    let lab = Lab::open("control-api");
    let hash = TokenHash::of(TOKEN.as_bytes());
    lab.configure(&format!(
        "control: {{ tokens: [ {{ label: tests, hash: \"{hash}\", access: full }} ] }}\n"
    ));
    for name in ["one", "two"] {
        lab.save(name, &tiny("owner: e2e@example.com"));
    }
    let _daemon = Daemon::start(&lab);
    eventually("both run", Duration::from_secs(60), || {
        let said = lab.instanced(&["status", "--format", "json"]);
        match said.stdout.matches("\"running\"").count() {
            2.. => Ok(()),
            _ => Err(said.to_string()),
        }
    });
    fs::write(lab.path("hooks.py"), HOOKS).expect("hooks");
    fs::write(lab.path("schemathesis.toml"), SETTINGS).expect("settings");
    check("control API", "schemathesis finds nothing to say", || {
        let program = format!("{REPOSITORY}/.tools/bin/schemathesis");
        let asked = Command::new(&program)
            .current_dir(lab.path(""))
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("PYTHONPATH", lab.path(""))
            .args(["run", &format!("http://{}/v1/openapi.json", lab.admin)])
            .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
            .args(["--exclude-path", "/v1/events", "--mode", "all"])
            .args(["--phases", "examples,coverage,fuzzing"])
            .args(["--max-examples", "12", "--seed", "1", "--no-color"])
            .args(["--generation-database", "none", "--request-timeout", "60"])
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; scripts/tools.sh brings it"));
        let told = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(asked.status.success(), "{told}");
        // It found our calls, and made them; the description itself it has read by then.
        assert!(told.contains("26 selected / 27 total"), "{told}");
    });
    check("control API", "and the daemon is as well as before", || {
        lab.instanced(&["status"]).expect_code(0);
        let log = fs::read_to_string(lab.path("daemon.log")).expect("its log");
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains(TOKEN), "a token is in the log");
    });
}
