//! Git never runs what a repository says. Each attack here would write a file, the canary, if anything of it ran.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use instanced::doors::source::git::Repository;

use super::lab::Lab;
use super::scene::{BINARY, Scene, answer, read};

/// Settings that have git start a program, in a repository that looks like a partial clone.
fn hostile_config(evil: &str) -> String {
    format!(
        "[core]\n\trepositoryformatversion = 1\n\tbare = false\n\tworktree = ..\n\tsshCommand = {evil}\n\tfsmonitor = {evil}\n\tpager = {evil}\n\
         [extensions]\n\tpartialClone = origin\n\
         [remote \"origin\"]\n\turl = ssh://evil.example/x\n\tpromisor = true\n\
         [diff]\n\texternal = {evil}\n[gpg]\n\tprogram = {evil}\n[credential]\n\thelper = {evil}\n"
    )
}

#[test]
fn a_commit_that_looks_like_a_repository_is_none() {
    let scene = Scene::new();
    let lab = &scene.lab;
    lab.write("infra/HEAD", "ref: refs/heads/main\n");
    lab.write("infra/config", &hostile_config(&scene.evil()));
    lab.write("infra/objects/.keep", "");
    // An object that is not there has git ask for it.
    lab.write("infra/refs/heads/main", &format!("{}\n", "1".repeat(40)));
    let head = lab.commit("a trap");

    assert_eq!(scene.run(&["validate"]).code, Some(0));
    scene.assert_nothing_ran("validate");
    scene.run(&["status"]);
    scene.assert_nothing_ran("status");
    let compared = scene.run(&["diff", "--base", &scene.head]);
    assert_eq!(compared.code, Some(0), "{}", compared.all);
    scene.assert_nothing_ran("diff");
    scene.run(&["reconcile", "--dry-run"]);
    scene.assert_nothing_ran("reconcile --dry-run");
    // There is no engine, so the first round ends early; of which commit it is, is known all the same.
    let (aborted, status) = scene.serve("round aborted", &[]);
    scene.assert_nothing_ran("serve");
    assert!(aborted.contains(&head[..12]), "{aborted}");
    let expected = format!("commit {} by Ada Lovelace", &head[..12]);
    assert!(status.stdout.contains(&expected), "{}", status.all);
}

#[test]
#[allow(clippy::too_many_lines)] // One line a key.
fn a_key_outside_of_the_list_is_named_with_its_remedy() {
    let scene = Scene::new();
    let config = scene.lab.path("work/.git/config");
    let usual = fs::read_to_string(&config).expect("a configuration");
    let included = scene.lab.path("included");
    let evil = scene.evil();
    fs::write(&included, format!("[core]\n\tfsmonitor = {evil}\n")).expect("a file");
    scene.lab.write(".gitattributes", "* filter=x diff=x\n");
    for (more, key) in [
        (
            format!("[core]\n\tsshCommand = {evil}\n"),
            "core.sshcommand",
        ),
        (format!("[core]\n\tfsmonitor = {evil}\n"), "core.fsmonitor"),
        (format!("[core]\n\tpager = {evil}\n"), "core.pager"),
        (
            format!("[core]\n\thooksPath = {}\n", scene.lab.path("").display()),
            "core.hookspath",
        ),
        (
            format!("[include]\n\tpath = {}\n", included.display()),
            "include.path",
        ),
        (
            format!(
                "[includeIf \"gitdir:/\"]\n\tpath = {}\n",
                included.display()
            ),
            "includeif.gitdir:/.path",
        ),
        (format!("[diff]\n\texternal = {evil}\n"), "diff.external"),
        (
            format!("[diff \"x\"]\n\ttextconv = {evil}\n"),
            "diff.x.textconv",
        ),
        (
            format!("[filter \"x\"]\n\tclean = {evil}\n"),
            "filter.x.clean",
        ),
        (format!("[gpg]\n\tprogram = {evil}\n"), "gpg.program"),
        (
            format!("[credential]\n\thelper = {evil}\n"),
            "credential.helper",
        ),
        (
            format!("[uploadpack]\n\tpackObjectsHook = {evil}\n"),
            "uploadpack.packobjectshook",
        ),
        (format!("[alias]\n\tlog = !{evil}\n"), "alias.log"),
        (
            "[remote \"origin\"]\n\tpromisor = true\n".to_owned(),
            "remote.origin.promisor",
        ),
        (
            format!("[submodule \"x\"]\n\tupdate = !{evil}\n"),
            "submodule.x.update",
        ),
    ] {
        fs::write(&config, format!("{usual}{more}")).expect("a file");
        let issue = scene.issue();
        assert!(
            issue.contains(&format!("`{key}` can make git run a program"))
                && issue.contains(".git/config"),
            "{key}: {issue}"
        );
        let refused = Repository::of(&scene.lab.path("work/infra/instances.d"), "instances.d");
        let refused = refused.expect_err(key).to_string();
        assert!(refused.contains(&format!("`{key}`")), "{key}: {refused}");
        scene.assert_nothing_ran(key);
    }
    // The same for people, with the remedy.
    let (line, status) = scene.serve("commit is not read", &[]);
    assert!(line.contains("`submodule.x.update`"), "{line}");
    let status = status.stdout;
    assert!(
        status.contains("! the source's commit is not read: `submodule.x.update`")
            && status.contains("help: remove it (git config --file "),
        "{status}"
    );
    fs::remove_file(scene.lab.path("work/.gitattributes")).expect("a file");
    let checked = scene.run(&["validate", "--strict"]);
    assert_eq!(checked.code, Some(0), "no file is wrong: {}", checked.all);
    assert!(
        checked.all.contains("`submodule.x.update`"),
        "{}",
        checked.all
    );
    let compared = scene.run(&["diff", "--base", &scene.head]);
    assert_eq!(compared.code, Some(1));
    assert!(
        compared.all.contains("`submodule.x.update`"),
        "{}",
        compared.all
    );

    // Configuration of one worktree counts, too.
    fs::write(&config, &usual).expect("a file");
    let of_worktree = scene.lab.path("work/.git/config.worktree");
    fs::write(&of_worktree, format!("[core]\n\tfsmonitor = {evil}\n")).expect("a file");
    assert!(scene.issue().contains("core.fsmonitor"));
    fs::remove_file(of_worktree).expect("a file");
    assert_eq!(
        scene.read().commit.map(|commit| commit.id),
        Some(scene.head.clone())
    );
    scene.assert_nothing_ran("a configuration");
}

#[test]
fn hooks_and_replacements_of_a_checkout_have_no_effect() {
    let scene = Scene::new();
    let hooks = scene.lab.path("work/.git/hooks");
    fs::create_dir_all(&hooks).expect("a directory");
    for name in [
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "fsmonitor-watchman",
    ] {
        fs::copy(scene.lab.path("evil.sh"), hooks.join(name)).expect("a file");
    }
    scene.lab.write("infra/instances.d/bob.yaml", "{}\n");
    let second = scene.lab.commit("two");
    // Objects of another commit under the name of this one.
    scene.lab.git(&["replace", &second, &scene.head]);
    let commit = scene.read().commit.expect("a commit");
    assert_eq!((commit.id, commit.subject.as_str()), (second, "two"));
    assert!(!commit.changed_since);
    scene.assert_nothing_ran("a hook");
}

/// A bare repository in the working tree of another, as a commit could hold it.
fn planted(scene: &Scene) -> PathBuf {
    let planted = scene.lab.path("work/infra/planted");
    scene
        .lab
        .git(&["clone", "--quiet", "--bare", ".", "infra/planted"]);
    planted
}

#[test]
fn no_part_of_a_repository_lies_in_a_working_tree() {
    let scene = Scene::new();
    let planted = planted(&scene);
    let inner = scene.lab.path("work/infra/inner");
    let instances = inner.join("instances.d");
    fs::create_dir_all(&instances).expect("a directory");
    fs::write(instances.join("alice.yaml"), "{}\n").expect("a file");
    let dot_git = inner.join(".git");
    let refused = |what: &str| {
        let issue = read(&instances).commit_issue;
        let issue = issue
            .unwrap_or_else(|| panic!("{what} was read"))
            .to_string();
        assert!(
            issue.contains("where a commit can write"),
            "{what}: {issue}"
        );
    };
    fs::write(&dot_git, "gitdir: ../planted\n").expect("a file");
    refused("a .git file");
    fs::remove_file(&dot_git).expect("a file");
    symlink("../planted", &dot_git).expect("a link");
    refused("a .git link");
    fs::remove_file(&dot_git).expect("a link");

    let real = scene.lab.path("work/.git");
    fs::create_dir(&dot_git).expect("a directory");
    fs::copy(real.join("HEAD"), dot_git.join("HEAD")).expect("a file");
    fs::write(dot_git.join("commondir"), "../../planted\n").expect("a file");
    refused("a commondir");

    // Objects that are borrowed, and links within the repository's own directory.
    let alternates = real.join("objects/info/alternates");
    fs::create_dir_all(real.join("objects/info")).expect("a directory");
    let borrowed = planted.join("objects");
    fs::write(&alternates, format!("{}\n", borrowed.display())).expect("a file");
    let issue = scene.issue();
    assert!(issue.contains("where a commit can write"), "{issue}");
    fs::remove_file(alternates).expect("a file");
    fs::rename(real.join("objects"), scene.lab.path("work/objects")).expect("a move");
    symlink("../objects", real.join("objects")).expect("a link");
    let issue = scene.issue();
    assert!(issue.contains("where a commit can write"), "{issue}");
}

#[test]
fn worktrees_submodules_and_separate_directories_are_read() {
    let scene = Scene::new();
    let lab = &scene.lab;
    let id = |dir: &str| {
        let snapshot = read(&lab.path(dir));
        assert_eq!(snapshot.commit_issue, None, "{dir}");
        snapshot
            .commit
            .map(|commit| (commit.id, commit.changed_since))
    };
    let clean = Some((scene.head.clone(), false));
    lab.git(&["worktree", "add", "--quiet", "../tree", "HEAD"]);
    assert_eq!(id("tree/infra/instances.d"), clean);
    lab.git(&["submodule", "--quiet", "add", "../upstream.git", "sub"]);
    assert_eq!(id("work/sub/infra/instances.d"), clean);
    lab.git(&[
        "clone",
        "--quiet",
        "--separate-git-dir",
        "../apart.git",
        "../upstream.git",
        "../apart",
    ]);
    assert_eq!(id("apart/infra/instances.d"), clean);
    lab.git(&["clone", "--quiet", "--shared", ".", "../shared"]);
    assert_eq!(id("shared/infra/instances.d"), clean);
}

#[test]
fn another_users_checkout_is_refused_as_git_does_and_says_how_it_is_trusted() {
    let us = rustix::process::geteuid();
    // Only root makes files another's. What decides is tested beside the code, too.
    if !us.is_root() {
        return;
    }
    let scene = Scene::new();
    let top = scene.lab.path("work");
    std::os::unix::fs::chown(&top, Some(12_345), None).expect("root may");
    let home = scene.lab.path("home");
    fs::create_dir(&home).expect("a directory");
    let daemon = |words: &str| {
        let none = scene.lab.path("none");
        scene.serve(words, &[("HOME", &home), ("XDG_CONFIG_HOME", &none)])
    };
    let (line, refused) = daemon("commit is not read");
    assert!(line.contains("safe.directory"), "{line}");
    let refused = refused.stdout;
    assert!(
        refused.contains("it belongs to user 12345")
            && refused.contains("git config --global --add safe.directory "),
        "{refused}"
    );
    let real = top.canonicalize().expect("a directory");
    let trusted = format!("[safe]\n\tdirectory = {}\n", real.display());
    fs::write(home.join(".gitconfig"), trusted).expect("a file");
    let (_, trusted) = daemon("round aborted");
    assert!(
        trusted.stdout.contains("by Ada Lovelace"),
        "{}",
        trusted.all
    );
}

#[test]
fn uncommitted_changes_are_nobodys() {
    let scene = Scene::new();
    let committed = |what: &str, expected: bool| {
        let commit = scene.read().commit.expect("a commit");
        assert_eq!(commit.id, scene.lab.git(&["rev-parse", "HEAD"]), "{what}");
        assert_eq!(!commit.changed_since, expected, "{what}");
        assert_eq!(commit.author.is_some(), expected, "{what}");
    };
    let write = |name: &str, text: &str| scene.lab.write(name, text);
    committed("a clean tree", true);
    write("README.md", "not of the source\n");
    write("infra/instances.d/notes.txt", "neither\n");
    committed("other files", true);
    write("infra/instances.d/alice.yaml", "{}\r\n");
    committed("other ends of lines", true);
    write("infra/instances.d/alice.yaml", "env: { A: \"1\" }\n");
    committed("a change", false);
    let shown = scene.read().commit.expect("a commit").to_string();
    assert_eq!(shown, format!("commit {}+uncommitted", &scene.head[..12]));
    write("infra/instances.d/alice.yaml", "{}\n");
    committed("the same as before", true);
    write("infra/fleet.yaml", "defaults: { owner: me }\n");
    committed("a fleet.yaml", false);
    symlink(
        "alice.yaml",
        scene.lab.path("work/infra/instances.d/bob.yaml"),
    )
    .expect("a link");
    committed("a link", false);
    scene.lab.commit("two");
    committed("what was committed", true);
    let link = scene.lab.path("work/infra/instances.d/bob.yaml");
    fs::remove_file(&link).expect("a link");
    symlink("./alice.yaml", &link).expect("a link");
    committed("another link to the same file", false);
    fs::remove_file(&link).expect("a link");
    committed("a file that is gone", false);
}

#[test]
fn a_hooks_environment_leads_to_no_other_repository() {
    let scene = Scene::new();
    let other = Lab::new();
    other.write("infra/instances.d/zoe.yaml", "{}\n");
    other.commit("another repository");
    let of_hook = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        let git_dir = other.path("work/.git");
        command
            .env("GIT_DIR", &git_dir)
            .env("GIT_WORK_TREE", other.path("work"))
            .env("GIT_INDEX_FILE", git_dir.join("index"))
            .env("GIT_OBJECT_DIRECTORY", git_dir.join("objects"))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.fsmonitor")
            .env("GIT_CONFIG_VALUE_0", scene.evil())
            .env("GIT_EXTERNAL_DIFF", scene.evil());
        answer(&mut command)
    };
    let git_dir = other.path("work/.git");
    let (line, _) = scene.serve("round aborted", &[("GIT_DIR", &git_dir)]);
    assert!(line.contains(&scene.head[..12]), "{line}");
    let compared = of_hook(&["diff", "--base", "HEAD"]);
    assert_eq!(compared.code, Some(0), "{}", compared.all);
    let refused = of_hook(&["diff", "--base", "nowhere"]);
    assert!(
        refused.all.contains("GIT_DIR is set, as in a hook"),
        "{}",
        refused.all
    );
    scene.assert_nothing_ran("a hook's environment");
}

#[test]
fn a_hook_that_cannot_read_the_push_says_what_to_do() {
    let scene = Scene::new();
    let lab = &scene.lab;
    let install = |hooks: &str, name: &str, script: &str| {
        let file = lab.path(hooks).join(name);
        fs::create_dir_all(lab.path(hooks)).expect("a directory");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    let config = lab.path("instanced.yaml").display().to_string();
    let run = format!("'{BINARY}' --config '{config}'");

    // Before a commit, git names an index. What is checked is the working tree.
    install(
        "work/.git/hooks",
        "pre-commit",
        &format!("{run} validate && {run} diff --base HEAD"),
    );
    lab.write("infra/instances.d/bob.yaml", "{}\n");
    lab.git(&["add", "--all"]);
    let hooks = ["-c", "core.hooksPath=.git/hooks"];
    lab.git(&[&hooks[..], &["commit", "--quiet", "--message", "two"]].concat());

    // Before a push is accepted, its objects are kept apart.
    let of_bare = format!("'{BINARY}' --instances instances.d");
    install(
        "upstream.git/hooks",
        "pre-receive",
        &format!("read old new ref\n{of_bare} diff --base \"$old\" --head \"$new\""),
    );
    let pushed = answer(
        Command::new("git")
            .current_dir(lab.path("work"))
            .env_remove("INSTANCED_CONFIG")
            .args(["push", "upstream", "main"]),
    );
    assert_ne!(pushed.code, Some(0), "{}", pushed.all);
    let words = pushed.all.replace("remote: ", "").replace('\n', " ");
    assert!(
        words.contains("is in no git repository")
            && words.contains("in a hook before a push is accepted")
            && words.contains("git --work-tree=COPY checkout NEW_ID -- ."),
        "{}",
        pushed.all
    );
}
