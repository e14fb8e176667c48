//! Diagnostics for programs that read them.

use super::*;

fn ill() -> Vec<Diagnostic> {
    let mut all = desired(&[
        ("a", "colour: red\nresources: { memory: lots }\n"),
        ("b", "template: mcp-http\nimage: x:latest\n"),
    ])
    .diagnostics;
    // What came from a file may hold what a format gives a meaning to.
    all[0].message += "; 100% <&> \"now\",\nor: never\u{1b}";
    all
}

#[test]
fn diagnostics_for_github() {
    assert_snapshot!(diagnostics::github::render(&ill()));
}

#[test]
fn diagnostics_as_sarif() {
    let sarif = diagnostics::sarif::render(&ill());
    assert_snapshot!(serde_json::to_string_pretty(&sarif).unwrap());
}

#[test]
fn diagnostics_as_junit() {
    let sound = ["instances.d/b.yaml", "instances.d/c.yaml"].map(str::to_owned);
    assert_snapshot!(diagnostics::junit::render(&ill(), &sound));
}
