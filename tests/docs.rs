//! What docs/json.md says of plans, snapshots, tokens, checks and instances is all that they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use instanced::daemon::control::description;
use serde_json::Value;

/// The variants of an enum of ours, as they are written in JSON.
fn variants(file: &str, name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(file)).expect("a source");
    let start = text
        .find(&format!("pub enum {name} {{"))
        .unwrap_or_else(|| panic!("{file} has no {name}"));
    let body = &text[start..];
    let body = &body[..body.find("\n}").expect("the enum ends")];
    body.lines()
        .skip(1)
        .filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase))
        .map(|line| {
            let end = line[4..].find(|c: char| !c.is_alphanumeric());
            snake(&line[4..end.map_or(line.len(), |end| end + 4)])
        })
        .collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The fields of a struct of ours.
fn fields(file: &str, name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(file)).expect("a source");
    let start = text
        .find(&format!("pub struct {name} {{"))
        .unwrap_or_else(|| panic!("{file} has no {name}"));
    let body = &text[start..];
    let body = &body[..body.find("\n}").expect("the struct ends")];
    let lines = body
        .lines()
        .filter_map(|line| line.strip_prefix("    pub "));
    lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect()
}

#[test]
fn every_key_of_a_snapshot_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/json.md")).expect("docs/json.md");
    let (_, section) = docs.split_once("## A snapshot").expect("its section");
    let section = &section[..section.find("\n## ").expect("the next section")];
    let mut missing = Vec::new();
    for (file, name, least) in [
        ("src/words/snapshot.rs", "FleetSnapshot", 10),
        ("src/words/snapshot.rs", "Remembered", 5),
        ("src/words/observed.rs", "Observed", 5),
        ("src/words/observed.rs", "Foreign", 2),
        ("src/words/observed.rs", "Generation", 13),
        ("src/words/observed.rs", "Limits", 5),
        ("src/words/observed.rs", "Drift", 3),
        ("src/words/overrides.rs", "Overrides", 4),
        ("src/words/act.rs", "Act", 8),
    ] {
        let all = fields(file, name);
        assert!(all.len() >= least, "only {all:?} of {name} were found");
        for field in all {
            if !section.contains(&format!("`{field}`")) {
                missing.push(format!("{name}: {field}"));
            }
        }
    }
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}

#[test]
fn every_key_of_a_token_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/json.md")).expect("docs/json.md");
    let (_, section) = docs
        .split_once("## `instanced token list`")
        .expect("its section");
    let section = &section[..section.find("\n## ").expect("the next section")];
    let mut missing = Vec::new();
    for (file, name, least) in [
        ("src/words/token.rs", "TokenRecord", 10),
        ("src/words/token.rs", "ListedToken", 2),
        ("src/words/control.rs", "IssueToken", 4),
        ("src/words/control.rs", "RotateToken", 2),
        ("src/words/control.rs", "AskTicket", 4),
    ] {
        let all = fields(file, name);
        assert!(all.len() >= least, "only {all:?} of {name} were found");
        for field in all {
            // Its fields stand among the others.
            let is_flat = name == "ListedToken" && field == "record";
            if !is_flat && !section.contains(&format!("`{field}`")) {
                missing.push(format!("{name}: {field}"));
            }
        }
    }
    for kind in variants("src/words/token.rs", "TokenKind") {
        if kind != "bearer" && !section.contains(&format!("`{kind}`")) {
            missing.push(format!("kind: {kind}"));
        }
    }
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}

#[test]
fn every_word_of_a_checkup_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/json.md")).expect("docs/json.md");
    let (_, section) = docs
        .split_once("## `instanced doctor`")
        .expect("its section");
    let section = &section[..section.find("\n## ").expect("the next section")];
    let file = "src/decisions/checkup.rs";
    let mut words = variants(file, "Area");
    words.extend(variants(file, "Grade"));
    assert_eq!(words.len(), 19, "{words:?}");
    words.retain(|word| !section.contains(&format!("| `{word}` |")));
    assert!(words.is_empty(), "docs/json.md lacks {words:?}");
    for field in fields(file, "Finding") {
        assert!(section.contains(&format!("\"{field}\"")), "{field}");
    }
}

/// The keys of a schema, and of what stands in it; not of other schemas that it names.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|inner| keys(inner, found));
        }
        Value::Array(all) => all.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

#[test]
fn every_key_and_word_of_how_instances_stand_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/json.md")).expect("docs/json.md");
    let description: Value =
        serde_json::from_str(&description::text()).expect("the description is JSON");
    let schemas = &description["components"]["schemas"];
    let section = |command: &str| {
        let start = format!("## `instanced {command}`");
        let (_, section) = docs.split_once(&start).expect("its section");
        &section[..section.find("\n## ").expect("the next section")]
    };
    let mut missing = Vec::new();
    for (command, schema, least) in [
        ("status", "SourceStatus", 7),
        ("status", "Behind", 3),
        ("status", "InstanceStatus", 13),
        ("status", "EndpointStatus", 3),
        ("status", "Usage", 6),
        ("status", "NextRemedy", 2),
        ("status", "InstanceDetail", 20),
        ("status", "HealthResult", 3),
        ("logs", "LogLine", 5),
        ("history", "Entry", 11),
    ] {
        let section = section(command);
        let mut all = BTreeSet::new();
        keys(&schemas[schema], &mut all);
        assert!(all.len() >= least, "only {all:?} of {schema} were found");
        all.retain(|key| !section.contains(&format!("`{key}`")));
        missing.extend(all.into_iter().map(|key| format!("{schema}: {key}")));
    }
    for (command, file, name, least) in [
        ("status", "src/decisions/status.rs", "InstancePhase", 9),
        ("status", "src/words/observed.rs", "Health", 3),
        ("status", "src/words/manifest.rs", "Auth", 3),
        ("logs", "src/words/watch.rs", "LogStream", 2),
        ("history", "src/words/act.rs", "Cause", 5),
        ("history", "src/words/history.rs", "EntryResult", 3),
    ] {
        let all = variants(file, name);
        assert!(all.len() >= least, "only {all:?} of {name} were found");
        let section = section(command);
        let unsaid = all
            .iter()
            .filter(|word| !section.contains(&format!("`{word}`")));
        missing.extend(unsaid.map(|word| format!("{name}: {word}")));
    }
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}

#[test]
fn every_word_of_a_plan_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/json.md")).expect("docs/json.md");
    let mut missing = Vec::new();
    for (file, name, least) in [
        ("src/decisions/plan.rs", "Action", 8),
        ("src/decisions/plan.rs", "Reason", 25),
        ("src/words/origin.rs", "Origin", 8),
        ("src/decisions/report.rs", "Outcome", 4),
    ] {
        let all = variants(file, name);
        assert!(all.len() >= least, "only {all:?} of {name} were found");
        for word in all {
            if !docs.contains(&format!("| `{word}` |")) {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}

/// Every claim of docs/security.md names tests, and they exist.
#[test]
fn every_claim_about_security_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/security.md")).expect("docs/security.md");
    let sources = sources(root, &["src", "tests"]);
    let table = docs
        .split("| against | by | shown by |")
        .nth(1)
        .expect("the table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| "));
    let mut claims = 0;
    for row in rows {
        let shown_by = row
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let exists = if name.contains('/') {
                root.join(name).is_file()
            } else {
                sources.contains(&format!("fn {name}("))
            };
            assert!(exists, "there is no test {name}: {row}");
        }
        claims += 1;
    }
    assert!(claims > 30, "{claims} claims");
}

/// All Rust sources below these directories, as one text.
fn sources(root: &Path, directories: &[&str]) -> String {
    let mut left: Vec<_> = directories.iter().map(|name| root.join(name)).collect();
    let mut all = String::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            all += &fs::read_to_string(&path).expect("a source");
        }
    }
    all
}
