//! Files that are small and unfold to much, and sources with much of one kind: time and memory follow the length.
//!
//! Without their bounds these take minutes, gigabytes or the process.

use std::fmt::Write as _;

use instanced::words::config::Config;
use instanced::words::diagnostic::Diagnostic;
use instanced::words::resolve::resolve;

use super::lab::{file, hold_promises, said, source};

const HASH: &str = "blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Lines `NAME0: 1`, `NAME1: 1` and so on.
fn numbers(indent: &str, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = writeln!(text, "{indent}n{number}: {number}.10");
    }
    text
}

/// What is said of a source whose manifests have these names and one text.
fn told(config: &Config, names: &[String], text: &str) -> Vec<Diagnostic> {
    let manifests: Vec<_> = names.iter().map(|name| (name.as_str(), text)).collect();
    match resolve(&source(&manifests), config) {
        Ok(desired) => desired.diagnostics,
        Err(diagnostics) => diagnostics,
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("i{number:05}")).collect()
}

/// So many texts in one.
fn many(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().concat()
}

#[test]
fn an_image_of_thousands_of_schemes_is_refused() {
    for text in [
        "://".repeat(3_500),
        "://".repeat(300_000),
        "-://".repeat(200_000),
    ] {
        let said = said(format!("template: mcp-http\nimage: '{text}'\n").as_bytes());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("longest image reference"), "{said:?}");
    }
}

#[test]
fn a_short_file_unfolds_to_a_few_of_its_length() {
    let text = format!(
        "command: [&a {}{}]\n",
        "x".repeat(2_500),
        ",*a ".repeat(780)
    );
    hold_promises(text.as_bytes());
    let said = said(text.as_bytes());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("the file's aliases unfold to too much (write it with fewer aliases"),
        "{said:?}"
    );
    // A list of such texts, and what each merge key takes along.
    let merges = many(200, |n| format!("l{n}: {{ <<: *e }}\n"));
    let text = format!("env: &e {{ A: {} }}\n{merges}", "x".repeat(2_000));
    assert!(super::lab::said(text.as_bytes())[0].contains("unfold to too much"));
}

#[test]
fn a_manifest_may_repeat_its_own_mappings() {
    let text = "env: &e { A: some text, B: some other text }\nlabels: *e\n";
    assert_eq!(said(text.as_bytes()), [] as [String; 0]);
    let variables = numbers("  ", 900);
    let text = format!("env: &e\n{variables}labels: *e\nendpoints: {{ vnc: null }}\n");
    assert_eq!(said(text.as_bytes()), [] as [String; 0]);
}

#[test]
fn what_all_manifests_take_of_the_fleet_is_bounded() {
    let env = many(1_000, |n| format!("v{n:03}: {},", "x".repeat(240)));
    let mut config = Config::default();
    config.policy.max_instances = 10_000;
    for (count, is_refused) in [(10, false), (600, true)] {
        let names = names(count);
        let manifests: Vec<_> = names.iter().map(|name| (name.as_str(), "{}")).collect();
        let mut snapshot = source(&manifests);
        snapshot.fleet = Some(file(
            "fleet.yaml",
            format!("defaults: {{ env: {{ {env} }} }}\n").as_bytes(),
        ));
        let told = resolve(&snapshot, &config);
        assert_eq!(told.is_err(), is_refused, "{count}");
        if let Err(told) = told {
            let said = told[0].to_string();
            assert!(said.starts_with("fleet.yaml:1:1: "), "{said}");
            assert!(said.contains("for each of 600 manifests"), "{said}");
        }
    }
}

#[test]
fn far_more_manifests_than_instances_are_not_resolved() {
    let mut config = Config::default();
    config.policy.max_instances = 10;
    let resolved = told(&config, &names(120), "{}");
    assert_eq!(resolved.len(), 110);
    let refused = told(&config, &names(121), "{}");
    let said: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with(
            "i/i00120.yaml:1:1: 121 manifests where 10 instances are allowed; none is read (remove"
        ),
        "{said:?}"
    );
}

#[test]
fn equal_tokens_are_one_warning_for_each_manifest() {
    let token = format!("&t {{ label: x, hash: \"{HASH}\" }}");
    let text = format!(
        "endpoints: {{ vnc: null }}\ntokens: [{token}{}]\n",
        ", *t".repeat(40)
    );
    let found = said(text.as_bytes());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains(
            "tokens[0].hash: the same token as tokens[1] here, tokens[2] here, tokens[3] here and 37 more ("
        ),
        "{found:?}"
    );
    // Many manifests with one token, each written out a thousand times.
    let token = format!("- {{ label: x, hash: \"{HASH}\" }}\n");
    let text = format!(
        "endpoints: {{ vnc: null }}\ntokens:\n{}",
        token.repeat(1_000)
    );
    let found = told(&Config::default(), &names(60), &text);
    assert_eq!(found.len(), 60);
    assert!(
        found[0].message.ends_with("tokens[3] here and 1055 more"),
        "{:?}",
        found[0]
    );
}

#[test]
fn a_thousand_tokens_that_others_have_are_a_hundred_warnings_and_hold_nobody() {
    let mut tokens = String::new();
    for number in 0..1_000 {
        let _ = writeln!(tokens, "- {{ label: x, hash: \"blake3:{number:064x}\" }}");
    }
    let text = format!("endpoints: {{ vnc: null }}\ntokens:\n{tokens}");
    let found = told(&Config::default(), &names(20), &text);
    assert_eq!(found.len(), 20 * 101);
    assert!(
        found.iter().all(|found| !found.is_error()),
        "{:?}",
        found[0]
    );
}

#[test]
fn ten_thousand_misnamed_files_are_each_told() {
    let mut config = Config::default();
    config.policy.max_instances = 10_000;
    let names: Vec<_> = (0..10_000)
        .map(|number| format!("A_ {number:05}"))
        .collect();
    let found = told(&config, &names, "{}");
    assert_eq!(found.len(), 10_000);
    let copies: Vec<_> = (0..10_000)
        .map(|number| format!("a (copy {number:05})"))
        .collect();
    assert_eq!(told(&config, &copies, "{}").len(), 10_000);
}

#[test]
fn a_mapping_of_a_hundred_thousand_numbers_is_read_in_one_pass() {
    let text = format!("env:\n{}", numbers("  ", 50_000));
    let found = said(text.as_bytes());
    assert!(
        found[0].contains("50000 is not from 0 to 1000"),
        "{}",
        found[0]
    );
    let layers = "*x,".repeat(90_000);
    let text = format!("labels: &x {{}}\nenv: {{ <<: [{layers} {{ A: 1.10 }}] }}\n");
    assert!(said(text.as_bytes())[0].contains("more than 1000 mappings are merged"));
}

#[test]
fn a_long_key_is_not_repeated_for_each_thing_below_it() {
    let key = "k".repeat(300_000);
    let keys = many(20_000, |n| format!("a{n}: b, "));
    // A key that nobody knows, and one of a mapping with keys of the person's own.
    let found = said(format!("? {key}\n: {{ {keys} }}\n").as_bytes());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("unknown key `kkk"));
    let marks = "\"\\u202e\",".repeat(60_000);
    let found = said(format!("? {key}\n: [{marks}]\n").as_bytes());
    assert!(
        found
            .iter()
            .any(|said| said.contains("more than 100 mistakes")),
        "{}",
        found.len()
    );
}

#[test]
fn names_of_any_length_are_compared_with_others_soon() {
    let long = |letter: &str| letter.repeat(100_000);
    let mut snapshot = source(&[("a", &format!("template: {}\n", long("a")))]);
    let fleet = format!("templates: {{ ? {} : {{ image: m:1 }} }}\n", long("b"));
    snapshot.fleet = Some(file("fleet.yaml", fleet.as_bytes()));
    let desired = resolve(&snapshot, &Config::default()).expect("a sound fleet.yaml");
    assert!(desired.diagnostics[0].message.starts_with("no template"));
    let found = said(format!("state: {}\n", long("a`")).as_bytes());
    assert_eq!(found.len(), 1);
}

#[test]
fn what_is_compared_with_all_others_is_counted_first() {
    let volumes = "{ host: /x, target: /x },".repeat(40_000);
    let found = said(format!("volumes: [{volumes}]\nendpoints: {{ vnc: null }}\n").as_bytes());
    assert!(
        found
            .iter()
            .any(|said| said.contains("40000 is not from 0 to 64")),
        "{found:?}"
    );
    for (text, count) in [
        (
            format!("command: [{}]\n", "x,".repeat(1_001)),
            "1001 is not from 0 to 1000",
        ),
        (
            format!("entrypoint: [{}]\n", "x,".repeat(1_001)),
            "1001 is not from 0 to 1000",
        ),
    ] {
        let found = said(text.as_bytes());
        assert!(found.iter().any(|said| said.contains(count)), "{found:?}");
    }
    let tmpfs = many(65, |n| format!("/data/{n}: 1MiB,"));
    let found = said(format!("security: {{ tmpfs: {{ {tmpfs} }} }}\n").as_bytes());
    assert!(
        found[0].contains("security.tmpfs: 66 is not from 0 to 64"),
        "{found:?}"
    );
}
