//! Bytes in, what is said of them out; and what must hold of all that is said.

use instanced::doors::files::decode;
use instanced::face::diagnostics::{draw, github, junit, sarif};
use instanced::words::config::Config;
use instanced::words::desired::{Content, Desired, Snapshot, SourceFile};
use instanced::words::diagnostic::Diagnostic;
use instanced::words::lines;
use instanced::words::resolve::resolve;

/// A file with these bytes, as the doors read it.
pub fn file(path: &str, bytes: &[u8]) -> SourceFile {
    let name = path.rsplit('/').next().expect("a path has a name");
    SourceFile {
        path: path.to_owned(),
        stem: name.trim_end_matches(".yaml").to_owned(),
        content: match decode(bytes.to_vec()) {
            Ok(text) => Content::Text(text),
            Err(problem) => Content::Unreadable(problem.unreadable()),
        },
    }
}

/// A source with these manifests.
pub fn source(manifests: &[(&str, &str)]) -> Snapshot {
    let file = |(name, text): &(&str, &str)| file(&format!("i/{name}.yaml"), text.as_bytes());
    Snapshot {
        revision: "r".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: None,
        manifests: manifests.iter().map(file).collect(),
    }
}

/// What is desired of one manifest, `i/a.yaml`.
pub fn desired(bytes: &[u8]) -> Desired {
    let mut snapshot = source(&[]);
    snapshot.manifests = vec![file("i/a.yaml", bytes)];
    resolve(&snapshot, &Config::default()).expect("there is no fleet.yaml")
}

/// Everything that is said of one manifest, a line each.
pub fn said(bytes: &[u8]) -> Vec<String> {
    let desired = desired(bytes);
    desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// What holds whatever stands in a file: nothing panics, what is said is the same twice, stands within the file, and
/// can be drawn in every format. Panics where it does not.
pub fn hold_promises(bytes: &[u8]) {
    let desired = desired(bytes);
    assert_eq!(desired, self::desired(bytes), "not the same twice");
    assert_eq!(
        desired.specs.is_empty(),
        desired.unreadable.contains_key("a"),
        "neither a spec nor a reason"
    );
    check(&desired.diagnostics, "i/a.yaml", bytes);
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: Some(file("fleet.yaml", bytes)),
        manifests: vec![file("i/a.yaml", b"{}")],
    };
    let told = match resolve(&snapshot, &Config::default()) {
        Ok(desired) => desired.diagnostics,
        Err(diagnostics) => diagnostics,
    };
    let of_fleet: Vec<_> = told
        .into_iter()
        .filter(|d| d.place.path == "fleet.yaml")
        .collect();
    check(&of_fleet, "fleet.yaml", bytes);
}

fn check(diagnostics: &[Diagnostic], path: &str, bytes: &[u8]) {
    let text =
        decode(bytes.to_vec()).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned());
    let lengths: Vec<usize> = lines::of(&text).map(|line| line.chars().count()).collect();
    for diagnostic in diagnostics {
        let place = &diagnostic.place;
        assert_eq!(place.path, path);
        let length = lengths.get(place.line - 1).copied();
        let length = length.or((place.line == 1).then_some(0));
        let length = length.unwrap_or_else(|| panic!("no such line: {diagnostic}"));
        assert!(
            (1..=length + 1).contains(&place.column),
            "no such column: {diagnostic}"
        );
        assert!(
            place.width >= 1 && place.column + place.width <= length + 2,
            "too wide: {diagnostic:?}"
        );
        assert!(
            !diagnostic.message.trim().is_empty(),
            "no words: {diagnostic:?}"
        );
        assert!(
            diagnostic.message.chars().count() <= 300,
            "too many words: {diagnostic}"
        );
    }
    drawn(diagnostics, &text);
}

fn drawn(diagnostics: &[Diagnostic], text: &str) {
    let human = draw(diagnostics, |_| Some(text.to_owned()));
    assert_eq!(human.is_empty(), diagnostics.is_empty());

    let json = serde_json::to_string(diagnostics).expect("plain data");
    let read: Vec<Diagnostic> = serde_json::from_str(&json).expect("JSON of our own");
    assert_eq!(read, diagnostics);

    let report = sarif::render(diagnostics).to_string();
    let report: serde_json::Value = serde_json::from_str(&report).expect("SARIF is JSON");
    let results = report["runs"][0]["results"].as_array();
    assert_eq!(results.map(Vec::len), Some(diagnostics.len()));

    let commands = github::render(diagnostics);
    assert_eq!(commands.lines().count(), diagnostics.len(), "{commands}");
    assert!(
        commands.lines().all(|line| line.starts_with("::")),
        "{commands}"
    );

    let report = junit::render(diagnostics, &[]);
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(report.chars().all(allowed), "no XML: {report:?}");
    let mut reader = quick_xml::Reader::from_str(&report);
    let mut depth = 0;
    loop {
        use quick_xml::events::Event;
        match reader.read_event().expect("JUnit is XML") {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{report}");
}
