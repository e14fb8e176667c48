//! What a review shows is what a checkout holds, and nothing else of the machine that it runs on.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::scene::{Scene, answer};

#[test]
fn a_link_shows_nothing_of_the_file_that_it_leads_to() {
    let scene = Scene::new();
    fs::write(scene.lab.path("secret.yaml"), "s3cret\n").expect("a file");
    let dir = scene.lab.path("work/infra/instances.d");
    symlink("../../../secret.yaml", dir.join("bob.yaml")).expect("a link");
    symlink("/proc/self/environ", dir.join("carol.yaml")).expect("a link");
    for format in ["human", "json", "sarif", "junit", "github"] {
        let mut command = scene.command(&["validate", "--format", format]);
        let said = answer(command.env("LEAK", "s3cret"));
        assert_eq!(said.code, Some(1), "{}", said.all);
        assert!(said.all.contains("a symbolic link"), "{}", said.all);
        assert!(!said.all.contains("s3cret"), "{}", said.all);
    }
}

#[test]
fn a_link_above_the_manifests_is_no_way_to_the_same_fleet() {
    let scene = Scene::new();
    let lab = &scene.lab;
    lab.write("infra2/instances.d/alice.yaml", "owner: eve@example.com\n");
    let copied = lab.commit("a copy that nothing reads yet");
    lab.git(&["rm", "-r", "--quiet", "infra"]);
    symlink("infra2", lab.path("work/infra")).expect("a link");
    let turned = lab.commit("the link");
    let refused = |said: super::scene::Answer, words: &str| {
        assert_eq!(said.code, Some(1), "{}", said.all);
        assert!(said.all.contains(words), "no `{words}`: {}", said.all);
    };
    let above = "work/infra: a symbolic link in the working tree of a repository";
    refused(scene.run(&["diff", "--base", "HEAD~1"]), above);
    // The same by a link outside of the repository, and from a working directory that a shell reached by the link.
    symlink("work/infra", lab.path("current")).expect("a link");
    let by_operator = ["--instances", "current/instances.d"];
    let compare = ["diff", "--base", "HEAD~1"];
    refused(scene.run(&[&by_operator[..], &compare].concat()), above);
    let mut command = Command::new(env!("CARGO_BIN_EXE_instanced"));
    command
        .arg("--config")
        .arg(lab.path("instanced.yaml"))
        .args(["--instances", "instances.d", "diff", "--base", "HEAD~1"])
        .current_dir(lab.path("work/infra"))
        .env("PWD", lab.path("work/infra"));
    refused(answer(&mut command), above);

    // The checkout has a directory again: the revision that had the link is refused, as the base and as the head.
    fs::remove_file(lab.path("work/infra")).expect("a link");
    lab.write("infra/instances.d/alice.yaml", "{}\n");
    lab.commit("a directory");
    for (base, head) in [(&turned, &copied), (&copied, &turned)] {
        let said = scene.run(&["diff", "--base", base, "--head", head]);
        refused(said, "infra is a symbolic link at git:");
    }
    let said = scene.run(&["diff", "--base", &copied]);
    assert_eq!(said.code, Some(0), "{}", said.all);

    // What an operator links to, outside of every working tree, is compared.
    fs::remove_file(lab.path("current")).expect("a link");
    symlink("work", lab.path("current")).expect("a link");
    let by_operator = ["--instances", "current/infra/instances.d"];
    let said = scene.run(&[&by_operator[..], &["diff", "--base", &copied]].concat());
    assert_eq!(said.code, Some(0), "{}", said.all);
}

#[test]
fn attributes_that_change_a_checkout_are_an_error() {
    let line = "*.png filter=lfs\n*.yaml working-tree-encoding=ASCII//TRANSLIT\n";
    for at in ["", "infra/", "infra/instances.d/"] {
        let scene = Scene::new();
        let lab = &scene.lab;
        let name = format!("{at}.gitattributes");
        lab.write(&name, "*.png filter=lfs\n* text=auto\n");
        lab.commit("attributes of other files");
        for arguments in [&["validate", "--strict"][..], &["diff", "--base", "HEAD"]] {
            let said = scene.run(arguments);
            assert_eq!(said.code, Some(0), "{}", said.all);
        }
        lab.write(&name, line);
        lab.commit("an encoding");
        let dir = lab.path("work/infra/instances.d").display().to_string();
        for arguments in [
            &["validate"][..],
            &["validate", &dir],
            &["diff", "--base", "HEAD~1"],
        ] {
            let said = scene.run(arguments);
            assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.all);
            for words in [&format!("{name}:2"), "`working-tree-encoding`", "*.png"] {
                assert!(said.all.contains(words), "no `{words}`: {}", said.all);
            }
        }
        // The change that removes it is compared.
        lab.git(&["rm", "--quiet", &name]);
        lab.commit("no attributes");
        let said = scene.run(&["diff", "--base", "HEAD~1"]);
        assert_eq!(said.code, Some(0), "{}", said.all);
    }
}

#[test]
fn a_configuration_that_nobody_named_is_not_the_manifests_own_unnoticed() {
    let scene = Scene::new();
    let lab = &scene.lab;
    let config = "\
source: { dir: infra/instances.d }
engine: { docker: { host: unix:///nonexistent/docker.sock } }
state: ../state
";
    lab.write("instanced.yaml", config);
    lab.commit("a policy of its own");
    let run = |arguments: &[&str]| {
        answer(
            Command::new(env!("CARGO_BIN_EXE_instanced"))
                .args(arguments)
                .current_dir(lab.path("work"))
                .env_remove("INSTANCED_CONFIG")
                .env("NO_COLOR", "1"),
        )
    };
    let words = "the configuration is part of the repository of the manifests";
    for (arguments, code) in [
        (&["validate"][..], Some(0)),
        (&["validate", "--strict"], Some(1)),
        (&["diff", "--base", "HEAD~1"], Some(0)),
        (&["reconcile", "--dry-run"], Some(1)),
        (&["doctor"], Some(1)),
    ] {
        let said = run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.all);
        assert!(said.all.contains(words), "{arguments:?}: {}", said.all);
        assert!(said.all.contains("--config"), "{arguments:?}: {}", said.all);
    }
    // Named, it is a choice. One outside of the repository is no commit's.
    let named = run(&["--config", "instanced.yaml", "validate", "--strict"]);
    assert_eq!(named.code, Some(0), "{}", named.all);
    // A link in the repository is a commit's, too.
    fs::rename(lab.path("work/instanced.yaml"), lab.path("other.yaml")).expect("a file");
    symlink("../other.yaml", lab.path("work/instanced.yaml")).expect("a link");
    let linked = run(&["validate", "--strict"]);
    assert!(linked.all.contains(words), "{}", linked.all);
    fs::remove_file(lab.path("work/instanced.yaml")).expect("a link");
    let outside = answer(
        Command::new(env!("CARGO_BIN_EXE_instanced"))
            .args(["validate", "--strict"])
            .current_dir(lab.path(""))
            .env_remove("INSTANCED_CONFIG"),
    );
    assert_eq!(outside.code, Some(0), "{}", outside.all);
}
