//! Names of files that are no instance's.

use super::grammar::told_of;
use super::*;

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
