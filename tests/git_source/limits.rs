//! A commit that is larger than a source may be is refused before it is read.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::Command;

use super::assert_untouched;
use super::lab::Lab;

/// Puts so many names of one object into the index.
fn names_of_one(lab: &Lab, count: usize, length: usize) {
    fs::write(lab.path("blob"), vec![b'#'; length]).expect("a file");
    let id = lab.git(&["hash-object", "-w", "../blob"]);
    let mut entries = String::new();
    for number in 0..count {
        let _ = writeln!(entries, "100644 {id}\tinstances.d/n{number}.yaml");
    }
    fs::write(lab.path("entries"), entries).expect("a file");
    let made = Command::new("git")
        .current_dir(lab.path("work"))
        .args(["update-index", "--add", "--index-info"])
        .stdin(File::open(lab.path("entries")).expect("a file"))
        .status();
    assert!(made.expect("git is there").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_names_for_one_long_file_are_refused() {
    for (count, length, words) in [
        (
            1_499,
            1 << 20,
            [
                "the 1500 manifests of instances.d at git:",
                "more than the limit of 16777216",
            ],
        ),
        (
            10_000,
            3,
            ["has 10001 manifests", "more than the limit of 10000"],
        ),
    ] {
        let mut lab = Lab::new();
        let first = lab.begin(&["alice"]).await;
        names_of_one(&lab, count, length);
        lab.commit_index("many names");
        lab.sync().await.expect("a fetch");
        let report = lab.round().await;
        assert_untouched(&report);
        assert_eq!(report.commit.map(|commit| commit.id), Some(first));
        let behind = lab.status().behind.expect("what was fetched is not used");
        for words in words {
            assert!(behind.why.contains(words), "{behind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_any_length_is_cut() {
    let mut lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.git(&["add", "--all"]);
    fs::write(lab.path("message"), "word ".repeat(1 << 20)).expect("a file");
    lab.git(&["commit", "--quiet", "--file", "../message"]);
    lab.push_by_force();
    lab.sync().await.expect("a fetch");
    let commit = lab.round().await.commit.expect("a commit");
    assert_eq!(commit.subject.chars().count(), 240);
}
