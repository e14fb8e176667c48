//! The workflows of `examples/ci`, by the services' own schemas and by the pre-commit program.

use std::path::Path;
use std::process::Command;

use super::{REPOSITORY, Said, run, tool};

fn example(name: &str) -> std::path::PathBuf {
    Path::new(REPOSITORY).join("examples/ci").join(name)
}

fn check(arguments: &[&str], path: &Path) -> Said {
    run(Command::new(tool("bin/check-jsonschema"))
        .args(arguments)
        .arg(path))
}

#[test]
fn the_services_schemas_know_every_key_of_the_workflows() {
    let github = ["--builtin-schema", "vendor.github-workflows"];
    let gitlab = [
        "--builtin-schema",
        "vendor.gitlab-ci",
        "--data-transform",
        "gitlab-ci",
    ];
    for (arguments, name, key) in [
        (&github[..], "github-actions.yml", "runs-on:"),
        (&gitlab[..], "gitlab-ci.yml", "artifacts:"),
    ] {
        let path = example(name);
        let said = check(arguments, &path);
        assert_eq!(said.code, Some(0), "{}", said.all);
        // It does look.
        let text = std::fs::read_to_string(&path).expect("an example");
        let broken = tempfile::tempdir().expect("a directory");
        let broken = broken.path().join(name);
        std::fs::write(&broken, text.replace(key, "colour:")).expect("a file");
        assert_eq!(check(arguments, &broken).code, Some(1), "{name}");
    }
}

#[test]
fn pre_commit_runs_the_hook() {
    let dir = tempfile::tempdir().expect("a directory");
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_instanced"), bin.join("instanced"))
        .expect("a link");
    let fleet = dir.path().join("fleet");
    std::fs::create_dir_all(fleet.join("instances.d")).expect("a directory");
    std::fs::copy(
        example("pre-commit-config.yaml"),
        fleet.join(".pre-commit-config.yaml"),
    )
    .expect("a copy");
    let pre_commit = tool("bin/pre-commit");
    let in_fleet = |program: &Path, arguments: &[&str]| {
        run(Command::new(program)
            .current_dir(&fleet)
            .args(arguments)
            .env_remove("INSTANCED_CONFIG")
            .env("HOME", dir.path())
            .env(
                "PATH",
                format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()),
            ))
    };
    let git = |arguments: &[&str]| {
        let said = in_fleet(Path::new("git"), arguments);
        assert_eq!(said.code, Some(0), "{}", said.all);
    };
    let said = in_fleet(&pre_commit, &["validate-config"]);
    assert_eq!(said.code, Some(0), "{}", said.all);
    git(&["init", "--quiet"]);
    let write = |text: &str| {
        std::fs::write(fleet.join("instances.d/alice.yaml"), text).expect("a manifest");
        git(&["add", "--all"]);
        in_fleet(&pre_commit, &["run", "--color", "never"])
    };
    let said = write("{}\n");
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(said.all.contains("Passed"), "{}", said.all);
    let said = write("colour: red\n");
    assert_eq!(said.code, Some(1), "{}", said.all);
    assert!(
        said.all.contains("instances.d/alice.yaml:1:1"),
        "{}",
        said.all
    );
}
