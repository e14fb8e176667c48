//! A git repository as the source: what is merged is what runs, and nothing that goes wrong with a repository removes
//! an instance. The repositories are real, the engine is the fake one, whose promises the contract suite holds.

#[path = "git_source/calls.rs"]
mod calls;
#[path = "git_source/daemon.rs"]
mod daemon;
#[path = "git_source/followed.rs"]
mod followed;
#[path = "git_source/hostile.rs"]
mod hostile;
#[path = "git_source/lab.rs"]
mod lab;
#[path = "git_source/limits.rs"]
mod limits;
#[path = "git_source/reviewed.rs"]
mod reviewed;
#[path = "git_source/scene.rs"]
mod scene;
#[path = "git_source/signatures.rs"]
mod signatures;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use instanced::daemon::round::Ask;
use instanced::decisions::plan::Reason;
use instanced::decisions::report::{Outcome, Report};
use instanced::doors::source::dir;
use instanced::doors::source::git::checkout::CheckoutReader;
use instanced::words::commit::Commit;
use instanced::words::quantity::Span;
use lab::Lab;

const THREE: [&str; 3] = ["alice", "bob", "carol"];

/// A report without failures, of a round that did nothing to any instance.
#[track_caller]
fn assert_untouched(report: &Report) {
    let touched: Vec<_> = report
        .steps
        .iter()
        .filter(|step| step.outcome != Outcome::Held)
        .collect();
    assert!(touched.is_empty(), "{touched:#?}");
    assert_eq!(report.aborted, None);
}

#[track_caller]
fn held<'r>(report: &'r Report, name: &str) -> &'r Reason {
    let told = report
        .steps
        .iter()
        .find(|told| told.step.instance.as_str() == name);
    let told = told.unwrap_or_else(|| panic!("no step for {name}: {report:#?}"));
    assert_eq!(told.outcome, Outcome::Held, "{told:#?}");
    &told.step.reason
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_merged_is_what_runs_with_the_commit_to_prove_it() {
    let mut lab = Lab::new();
    let first = lab.begin(&THREE).await;
    assert_eq!(lab.running(), ["alice-g1", "bob-g1", "carol-g1"]);
    let status = lab.status();
    assert_eq!(status.commit.as_ref().map(|c| &c.id), Some(&first));
    assert_eq!(status.behind, None, "all of it is there");

    lab.write("instances.d/bob.yaml", "env: { A: \"1\" }\n");
    let second = lab.commit("Give bob a variable");
    lab.sync().await.expect("a fetch");
    let waiting = lab.status().behind.expect("its round is yet to come");
    assert_eq!(waiting.commits, Some(1), "{waiting:?}");
    let differences = lab.diff("applied", "HEAD").comparison.differences;
    let names: Vec<_> = differences.iter().map(|d| d.instance.as_str()).collect();
    assert_eq!(names, ["bob"], "what is not made yet");

    let report = lab.round().await;
    assert_eq!(lab.running(), ["alice-g1", "bob-g2", "carol-g1"]);
    let Commit {
        id,
        author,
        subject,
        changed_since,
        ..
    } = report.commit.expect("it is of a commit");
    assert_eq!(id, second);
    assert_eq!(author.as_deref(), Some("Ada Lovelace <ada@example.com>"));
    assert_eq!(subject, "Give bob a variable");
    assert!(!changed_since);
    assert_eq!(report.revision, format!("git:{}", &second[..12]));
    assert_eq!(lab.status().behind, None);
    assert_eq!(lab.mirror().applied().unwrap(), Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn news_are_fetched_at_an_interval() {
    let mut lab = Lab::new();
    lab.follow(|git| git.interval = Span(50));
    lab.begin(&THREE).await;
    lab.news().await;
    lab.write("instances.d/bob.yaml", "env: { A: \"1\" }\n");
    let second = lab.commit("nobody says so");
    lab.news().await;
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(second));
    assert_eq!(lab.running(), ["alice-g1", "bob-g2", "carol-g1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_changes_nothing() {
    let mut lab = Lab::new();
    let first = lab.begin(&THREE).await;
    lab.write("instances.d/bob.yaml", "env: { A: \"1\" }\n");
    lab.commit("not to be had");
    fs::rename(lab.upstream(), lab.path("away")).unwrap();

    let said = lab.sync().await.unwrap_err().to_string();
    assert!(
        said.starts_with("cannot fetch ") && said.contains("upstream"),
        "{said}"
    );
    assert_untouched(&lab.round().await);
    let status = lab.status();
    assert_eq!(status.fetch_failure.as_ref(), Some(&said));
    assert_eq!(status.commit.map(|c| c.id), Some(first.clone()));

    // A daemon that starts meanwhile keeps the fleet as it was known.
    lab.restart();
    lab.sync().await.unwrap_err();
    let report = lab.round().await;
    assert_untouched(&report);
    assert_eq!(report.commit.map(|c| c.id), Some(first));
    assert_eq!(lab.running().len(), 3);

    fs::rename(lab.path("away"), lab.upstream()).unwrap();
    lab.sync().await.expect("it is back");
    lab.round().await;
    assert_eq!(lab.running(), ["alice-g1", "bob-g2", "carol-g1"]);
    assert_eq!(lab.status().fetch_failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_fetched_yet_is_told_with_the_reason() {
    let mut lab = Lab::new();
    let report = lab.round().await;
    let told = report.aborted.expect("there is nothing to go by").message;
    assert!(
        told.contains("couldn't find remote ref") || told.contains("is not in"),
        "{told}"
    );
    assert_eq!(lab.running(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_rewritten_history_the_tree_counts_under_the_guards() {
    let mut lab = Lab::new();
    lab.begin(&["alice", "bob", "carol", "dave", "erin"]).await;
    // One that it drops goes, as any single one does.
    lab.remove("instances.d/erin.yaml");
    lab.git(&[
        "commit",
        "--quiet",
        "--all",
        "--amend",
        "--message",
        "another root",
    ]);
    lab.push_by_force();
    lab.sync().await.expect("a fetch");
    let behind = lab.status().behind.expect("its round is yet to come");
    assert!(behind.rewritten, "{behind:?}");
    let report = lab.round().await;
    assert_eq!(
        lab.running(),
        ["alice-g1", "bob-g1", "carol-g1", "dave-g1"],
        "{report:#?}"
    );

    // Many that it drops wait for a person.
    for name in ["bob", "carol", "dave"] {
        lab.remove(&format!("instances.d/{name}.yaml"));
    }
    lab.git(&[
        "commit",
        "--quiet",
        "--all",
        "--amend",
        "--message",
        "a third root",
    ]);
    lab.push_by_force();
    lab.sync().await.expect("a fetch");
    let report = lab.round().await;
    assert_untouched(&report);
    assert!(matches!(held(&report, "bob"), Reason::PruneBlocked { .. }));
    assert_eq!(lab.running().len(), 4);
    let behind = lab.status().behind.expect("the removals wait");
    assert!(
        behind.why.contains("bob") && behind.why.ends_with("and 2 more"),
        "{behind:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_and_an_emptied_repository_remove_nothing() {
    let mut lab = Lab::new();
    lab.begin(&THREE).await;
    lab.git(&["push", "--quiet", "upstream", "HEAD:refs/heads/other"]);
    lab.git(&["push", "--quiet", "upstream", ":refs/heads/main"]);
    let said = lab.sync().await.unwrap_err().to_string();
    assert!(
        said.starts_with("branch main is not in ") && !said.contains("empty"),
        "{said}"
    );
    assert_untouched(&lab.round().await);

    fs::remove_dir_all(lab.upstream()).unwrap();
    lab.make_upstream();
    let said = lab.sync().await.unwrap_err().to_string();
    assert!(
        said.starts_with("branch main is not in ") && said.ends_with(", which is empty"),
        "{said}"
    );
    assert_untouched(&lab.round().await);
    assert_eq!(lab.running().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_directory_removes_nothing_and_a_person_may_confirm_it() {
    let mut lab = Lab::new();
    lab.begin(&THREE).await;
    for name in THREE {
        lab.remove(&format!("instances.d/{name}.yaml"));
    }
    lab.write("README.md", "nothing here\n");
    lab.commit("all gone");
    lab.sync().await.expect("a fetch");
    let report = lab.round().await;
    assert_untouched(&report);
    let Reason::PruneBlocked { id, emptied, .. } = held(&report, "alice").clone() else {
        panic!("{report:#?}");
    };
    assert!(emptied);
    let confirmed = Ask {
        confirm_prune: Some(id),
        ..Ask::default()
    };
    lab.round_for(confirmed).await;
    assert_eq!(lab.running(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_never_was_is_mistyped() {
    let mut lab = Lab::new();
    lab.write("instance.d/alice.yaml", "{}\n");
    lab.commit("a slip");
    lab.sync().await.expect("a fetch");
    let told = lab.round().await.aborted.expect("nothing to go by").message;
    assert!(
        told.starts_with("there is no instances.d at git:"),
        "{told}"
    );
    assert!(
        told.ends_with("source.git.path names the directory of manifests"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_directorys_place_is_refused() {
    let mut lab = Lab::new();
    let first = lab.begin(&THREE).await;
    let mut commits = 0;
    for (what, make) in [
        ("a submodule", Lab::submodule as fn(&Lab, &str)),
        ("a symbolic link", Lab::link_to_outside),
        ("a file", |lab: &Lab, path: &str| {
            lab.write(
                path, "{}
",
            );
            lab.git(&["add", path]);
        }),
    ] {
        lab.git(&[
            "rm",
            "--quiet",
            "-r",
            "--force",
            "--ignore-unmatch",
            "instances.d",
        ]);
        let _ = fs::remove_dir_all(lab.path("work/instances.d"));
        make(&lab, "instances.d");
        lab.commit_index(what);
        commits += 1;
        lab.sync().await.expect("a fetch");
        let report = lab.round().await;
        assert_untouched(&report);
        assert_eq!(report.commit.map(|c| c.id), Some(first.clone()), "{what}");
        let status = lab.status();
        let behind = status.behind.expect("what was fetched is not used");
        assert_eq!(behind.commits, Some(commits));
        let expected = format!("instances.d is {what} at git:");
        assert!(behind.why.starts_with(&expected), "{behind:?}");
        assert_eq!(status.newest.expect("it is told").subject, what);
    }
    // A daemon that starts meanwhile goes on from what was in use.
    lab.restart();
    lab.sync().await.expect("a fetch");
    assert_untouched(&lab.round().await);
    assert_eq!(lab.running().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_are_no_files_hold_their_instances() {
    let mut lab = Lab::new();
    lab.begin(&["alice", "bob", "carol", "dave"]).await;
    for name in ["alice", "bob"] {
        lab.git(&["rm", "--quiet", &format!("instances.d/{name}.yaml")]);
    }
    lab.submodule("instances.d/alice.yaml");
    lab.link_to_outside("instances.d/bob.yaml");
    lab.write("instances.d/carol.yaml", "colour: red\n");
    lab.write("instances.d/dave.yaml", &"#".repeat(2 << 20));
    // None of these is a manifest.
    lab.write("instances.d/README.md", "hello\n");
    lab.write("instances.d/.hidden.yaml", "{}\n");
    lab.write("instances.d/folder.yaml/x.yaml", "{}\n");
    lab.git(&[
        "add",
        "instances.d/carol.yaml",
        "instances.d/dave.yaml",
        "instances.d/README.md",
    ]);
    lab.git(&[
        "add",
        "--force",
        "instances.d/.hidden.yaml",
        "instances.d/folder.yaml",
    ]);
    lab.commit_index("four that cannot be read");
    lab.sync().await.expect("a fetch");
    let report = lab.round().await;
    assert_untouched(&report);
    for (name, why) in [
        ("alice", "a submodule"),
        ("bob", "a symbolic link"),
        ("carol", "colour"),
        ("dave", "longer than"),
    ] {
        let reason = held(&report, name);
        let Reason::Unreadable { diagnostics } = reason else {
            panic!("{name}: {reason:?}");
        };
        let told = diagnostics[0].to_string();
        assert!(told.contains(why), "{name}: {told}");
    }
    assert_eq!(report.steps.len(), 4, "{report:#?}");
    assert_eq!(lab.running().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_git_left_is_swept_and_a_broken_mirror_is_made_anew() {
    let mut lab = Lab::new();
    lab.begin(&THREE).await;
    let mirror = lab.path("state/source.git");
    let head = lab
        .find("state/source.git/refs", "head")
        .expect("a loose reference");
    let mut left = vec![head.with_extension("lock")];
    for name in [
        "packed-refs.lock",
        "shallow.lock",
        "HEAD.lock",
        "config.lock",
    ] {
        left.push(mirror.join(name));
    }
    left.push(mirror.join("objects/pack/tmp_pack_x1"));
    for file in &left {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "left").unwrap();
    }
    lab.write("instances.d/bob.yaml", "env: { A: \"1\" }\n");
    lab.commit("a change");
    lab.sync().await.expect("a fetch");
    for file in left {
        assert!(!file.exists(), "{}", file.display());
    }
    lab.round().await;
    assert_eq!(lab.running(), ["alice-g1", "bob-g2", "carol-g1"]);

    fs::write(mirror.join("HEAD"), "").unwrap();
    lab.restart();
    lab.sync().await.expect("a fetch into a new mirror");
    assert_untouched(&lab.round().await);
    assert_eq!(lab.status().behind, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_address_is_told_to_nobody() {
    let mut lab = Lab::new();
    lab.follow(|git| git.url = "http://ada:hunter2@127.0.0.1:1/fleet.git".to_owned());
    let said = lab.sync().await.unwrap_err().to_string();
    assert!(
        said.starts_with("cannot fetch http://127.0.0.1:1/fleet.git: "),
        "{said}"
    );
    let status = serde_json::to_string(&lab.status()).unwrap();
    let config = fs::read_to_string(lab.path("state/source.git/config")).unwrap();
    for told in [said, status, config] {
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_commits_steers_no_terminal() {
    let mut lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.git(&["add", "--all"]);
    let author = "Eve \u{1b}[2J <eve@example.com>";
    lab.git(&[
        "commit",
        "--quiet",
        "--author",
        author,
        "--message",
        "red \u{1b}[31m",
    ]);
    lab.push_by_force();
    lab.sync().await.expect("a fetch");
    let commit = lab.round().await.commit.expect("a commit");
    assert!(!format!("{commit}").contains('\u{1b}'), "{commit:?}");
}

#[test]
fn a_checkout_is_read_again_when_it_has_changed() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    let dir = lab.path("work/instances.d");
    let mut reader = CheckoutReader::default();
    let mut read = |dir: &Path| {
        let snapshot = dir::read(dir, "instances.d", &BTreeSet::new()).expect("a directory");
        let snapshot = reader.read(dir, snapshot);
        assert_eq!(snapshot.commit_issue, None);
        snapshot
            .commit
            .map(|commit| (commit.id, commit.changed_since))
    };
    assert_eq!(read(&dir), None, "there is no commit yet");
    let id = lab.commit("one");
    assert_eq!(read(&dir), Some((id.clone(), false)));
    lab.write("instances.d/bob.yaml", "{}\n");
    assert_eq!(read(&dir), Some((id.clone(), true)));
    assert_eq!(read(&dir), Some((id, true)));
    let id = lab.commit("two");
    assert_eq!(read(&dir), Some((id, false)));
    let outside = tempfile::tempdir().unwrap();
    assert_eq!(read(outside.path()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_noted_stops_no_round() {
    let mut lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.commit("one");
    lab.sync().await.expect("a fetch");
    let head = lab.find("state/source.git/refs", "head");
    // As on a full disk: git cannot write the reference.
    let lock = head
        .expect("a loose reference")
        .with_file_name("current.lock");
    fs::write(lock, "").unwrap();
    let report = lab.round().await;
    assert_eq!(report.aborted, None);
    assert_eq!(lab.running(), ["alice-g1"]);
}
