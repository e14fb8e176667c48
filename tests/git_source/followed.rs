//! What is followed: a branch, a tag or a commit, and a directory in it.

use std::fs;

use super::THREE;
use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_followed_where_it_moves_and_a_commit_never_does() {
    let mut lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    let first = lab.commit("one");
    lab.git(&["tag", "--annotate", "--message", "the first", "live"]);
    lab.push_by_force();
    lab.write("instances.d/bob.yaml", "{}\n");
    let second = lab.commit("two");

    lab.follow(|git| (git.branch, git.tag) = (None, Some("live".to_owned())));
    lab.sync().await.expect("a fetch");
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(first.clone()));
    lab.git(&["tag", "--force", "live", "main"]);
    lab.push_by_force();
    lab.sync().await.expect("a fetch");
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(second.clone()));

    let pinned = first.clone();
    lab.follow(|git| (git.tag, git.commit) = (None, Some(pinned)));
    lab.sync().await.expect("a fetch");
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(first));
    // What is here already is not asked for again.
    fs::rename(lab.upstream(), lab.path("away")).unwrap();
    lab.sync().await.expect("it is known");
    fs::rename(lab.path("away"), lab.upstream()).unwrap();

    lab.follow(|git| git.commit = Some("0".repeat(40)));
    let said = lab.sync().await.unwrap_err().to_string();
    assert!(
        said.starts_with(&format!("commit {} is not in ", "0".repeat(40))),
        "{said}"
    );

    lab.follow(|git| git.commit = None);
    lab.sync().await.expect("the default branch");
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_branch_or_path_does_not_go_on_from_the_one_before() {
    let mut lab = Lab::new();
    lab.begin(&THREE).await;
    lab.follow(|git| git.branch = Some("nowhere".to_owned()));
    let said = lab.sync().await.unwrap_err().to_string();
    assert!(said.starts_with("branch nowhere is not in "), "{said}");
    let told = lab
        .round()
        .await
        .aborted
        .expect("nothing is known of it")
        .message;
    assert_eq!(told, said);
    assert_eq!(lab.running().len(), 3, "and nothing was removed");

    lab.write("hosts/berlin/instances.d/alice.yaml", "{}\n");
    lab.write("hosts/berlin/fleet.yaml", "defaults: { owner: berlin }\n");
    lab.commit("another host");
    lab.follow(|git| {
        git.branch = Some("main".to_owned());
        git.path = "hosts/berlin/instances.d".to_owned();
    });
    lab.sync().await.expect("a fetch");
    let desired = lab.desired().expect("a fleet");
    let alice = desired.spec(&"alice".parse().unwrap()).expect("alice");
    assert_eq!(alice.owner.as_deref(), Some("berlin"), "its own fleet.yaml");
}
