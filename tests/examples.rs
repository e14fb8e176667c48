//! What we hand out as an example is valid: the starter fleet, and the examples.

use std::path::{Path, PathBuf};
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

/// The files below a directory that a person writes, by path.
fn written(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        // Workflows and compose files are written for others to read.
        if path.is_dir() && !path.ends_with("ci") && !path.ends_with("docker") {
            written(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
}

/// Every file names its schema in its first line, and the schema is there and the one of its kind.
fn name_their_schemas(files: &[PathBuf]) {
    for path in files {
        let kind = match path.file_name().and_then(|name| name.to_str()) {
            Some("instanced.yaml") => "config",
            Some("fleet.yaml") => "fleet",
            _ => "manifest",
        };
        let text = std::fs::read_to_string(path).expect("a file of ours");
        let first = text.lines().next().unwrap_or_default();
        let named = first.strip_prefix("# yaml-language-server: $schema=");
        let named = named.unwrap_or_else(|| panic!("{} names no schema", path.display()));
        let schema = path.parent().expect("a directory").join(named);
        let shipped = std::fs::read_to_string(&schema);
        let shipped = shipped.unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
        let (done, said) = instanced(Path::new("/"), &["schema", kind]);
        assert!(done, "{said}");
        assert!(
            shipped == said,
            "{} is not what `instanced schema {kind}` says: write it anew",
            schema.display()
        );
    }
}

#[test]
fn every_file_that_is_shipped_names_its_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("instanced.yaml")];
    for dir in ["examples", "instances.d"] {
        written(&root.join(dir), &mut files);
    }
    assert!(files.len() >= 8, "only {files:?} were found");
    name_their_schemas(&files);
}

#[test]
fn every_file_that_init_writes_names_its_schema() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(instanced(dir.path(), &["init"]).0);
    let mut files = Vec::new();
    written(dir.path(), &mut files);
    assert_eq!(files.len(), 3, "{files:?}");
    name_their_schemas(&files);
}

fn instanced(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
        .current_dir(dir)
        .env_remove("INSTANCED_CONFIG")
        .args(arguments)
        .output()
        .expect("the binary runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

#[test]
fn what_init_writes_is_valid_and_nothing_is_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (done, said) = instanced(dir.path(), &["init", "a fleet"]);
    assert!(
        done && said.contains("cd 'a fleet' && instanced validate"),
        "{said}"
    );
    let fleet = dir.path().join("a fleet");
    let (valid, said) = instanced(&fleet, &["validate", "--strict"]);
    assert!(valid && said.contains("1 manifest is valid"), "{said}");

    let mine = "owner: me\n";
    std::fs::write(fleet.join("instances.d/example.yaml"), mine).expect("a file of ours");
    std::fs::remove_file(fleet.join("fleet.yaml")).expect("it was written");
    let (done, said) = instanced(&fleet, &["init"]);
    assert!(
        done && said.contains("kept    instances.d/example.yaml"),
        "{said}"
    );
    assert!(said.contains("created fleet.yaml"), "{said}");
    let text = std::fs::read_to_string(fleet.join("instances.d/example.yaml"));
    assert_eq!(text.expect("it is there"), mine);

    std::fs::write(dir.path().join("file"), "").expect("a file");
    let (done, said) = instanced(dir.path(), &["init", "file"]);
    assert!(
        !done && said.contains("cannot write file/instanced.yaml"),
        "{said}"
    );
}
