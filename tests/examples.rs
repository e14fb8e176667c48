//! What we hand out as an example is valid: the starter fleet, and the examples.

use std::path::Path;
use std::process::Command;

/// Runs `validate` with a configuration of the repository, with the repository as working directory.
fn validates(config: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--config", config, "validate"])
        .output()
        .expect("the binary runs");
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(
        output.status.success(),
        "{config}: {}\n{said}",
        output.status
    );
    assert!(
        !said.contains("warning"),
        "{config} is valid, but not without a warning:\n{said}"
    );
}

#[test]
fn the_starter_fleet_is_valid() {
    validates("instanced.yaml");
}

#[test]
fn the_examples_are_valid() {
    validates("examples/instanced.yaml");
}

#[test]
fn the_examples_are_all_told_in_their_readme() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let readme = std::fs::read_to_string(examples.join("README.md")).expect("examples/README.md");
    for entry in std::fs::read_dir(examples.join("instances.d")).expect("examples/instances.d") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name in UTF-8");
        assert!(
            readme.contains(&name),
            "examples/README.md does not tell of {name}"
        );
    }
}
