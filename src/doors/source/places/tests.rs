use std::os::unix::fs::symlink;

use super::*;

fn meaning(dir: &Path, path: &Path) -> Meaning {
    Places::of(dir).meaning(path)
}

fn files<const N: usize>(paths: [PathBuf; N]) -> Meaning {
    Meaning::Files(paths.into())
}

/// A real directory to play in.
fn top() -> (tempfile::TempDir, PathBuf) {
    let guard = tempfile::tempdir().unwrap();
    let top = guard.path().canonicalize().unwrap();
    (guard, top)
}

#[test]
fn a_plain_directory_and_its_parent_are_watched() {
    let (_guard, top) = top();
    let dir = top.join("instances.d");
    fs::create_dir(&dir).unwrap();
    let places = Places::of(&dir);
    assert_eq!(
        places.directories().collect::<Vec<_>>(),
        [top.as_path(), &dir]
    );
    assert_eq!(
        places.meaning(&dir.join("alice.yaml")),
        files([dir.join("alice.yaml")])
    );
    assert_eq!(
        places.meaning(&dir.join(".alice.yaml.swp")),
        Meaning::Nothing
    );
    assert_eq!(
        places.meaning(&top.join("fleet.yaml")),
        files([top.join("fleet.yaml")])
    );
    assert_eq!(places.meaning(&top.join("other.yaml")), Meaning::Nothing);
    assert_eq!(places.meaning(&dir), Meaning::Turn);
}

#[test]
fn a_directory_that_is_not_there_is_waited_for_where_it_would_appear() {
    let (_guard, top) = top();
    let dir = top.join("a/instances.d");
    assert_eq!(meaning(&dir, &top.join("a")), Meaning::Turn);
    fs::create_dir(top.join("a")).unwrap();
    assert_eq!(meaning(&dir, &dir), Meaning::Turn);
    assert_eq!(
        meaning(&dir, &top.join("a/fleet.yaml")),
        files([top.join("a/fleet.yaml")])
    );
}

#[test]
fn every_link_on_the_way_is_watched() {
    let (_guard, top) = top();
    fs::create_dir_all(top.join("releases/7/instances.d")).unwrap();
    symlink("releases/7", top.join("current")).unwrap();
    let dir = top.join("current/instances.d");
    let real = top.join("releases/7/instances.d");
    assert_eq!(meaning(&dir, &top.join("current")), Meaning::Turn);
    assert_eq!(meaning(&dir, &real), Meaning::Turn);
    assert_eq!(
        meaning(&dir, &real.join("alice.yaml")),
        files([dir.join("alice.yaml")])
    );
}

#[test]
fn a_manifest_that_is_a_link_is_watched_where_it_leads() {
    let (_guard, top) = top();
    let dir = top.join("instances.d");
    fs::create_dir_all(dir.join("..2026")).unwrap();
    fs::write(dir.join("..2026/alice.yaml"), "{}").unwrap();
    symlink("..2026", dir.join("..data")).unwrap();
    symlink("..data/alice.yaml", dir.join("alice.yaml")).unwrap();
    let alice = dir.join("alice.yaml");
    assert_eq!(meaning(&dir, &dir.join("..data")), Meaning::Turn);
    assert_eq!(meaning(&dir, &alice), Meaning::Turn);
    assert_eq!(
        meaning(&dir, &dir.join("..2026/alice.yaml")),
        files([alice.clone()])
    );
    assert_eq!(
        Places::of(&dir).files(),
        [alice, top.join("fleet.yaml"), top.join("fleet.yml")].into()
    );
}

#[test]
fn a_loop_of_links_ends() {
    let (_guard, top) = top();
    symlink("b", top.join("a")).unwrap();
    symlink("a", top.join("b")).unwrap();
    assert_eq!(meaning(&top.join("a"), &top.join("b")), Meaning::Turn);
}

#[test]
fn another_directory_by_the_same_name_is_another_place() {
    let (_guard, top) = top();
    let dir = top.join("instances.d");
    fs::create_dir(&dir).unwrap();
    let places = Places::of(&dir);
    assert_eq!(places, Places::of(&dir));
    fs::rename(&dir, top.join("old")).unwrap();
    fs::create_dir(&dir).unwrap();
    assert_ne!(places, Places::of(&dir));
}
