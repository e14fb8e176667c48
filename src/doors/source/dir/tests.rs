use std::os::unix::fs::symlink;

use super::*;

/// A directory `instances.d` in a directory of its own.
fn source() -> (tempfile::TempDir, PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("instances.d");
    fs::create_dir(&dir).unwrap();
    (top, dir)
}

fn text(text: &str) -> Content {
    Content::Text(text.to_owned())
}

fn read_all(dir: &Path) -> Result<Snapshot, SourceError> {
    read(dir, "instances.d", &BTreeSet::new())
}

/// Stems and contents of a snapshot's manifests.
fn manifests(snapshot: &Snapshot) -> Vec<(&str, &Content)> {
    snapshot
        .manifests
        .iter()
        .map(|file| (file.stem.as_str(), &file.content))
        .collect()
}

#[test]
fn manifests_are_read_sorted_and_everything_else_is_left_alone() {
    let (_top, dir) = source();
    for name in [
        "bob.yml",
        "alice.yaml",
        ".hidden.yaml",
        "#alice.yaml#",
        "#x.yaml",
        ".#alice.yaml",
        "alice.yaml~",
        ".alice.yaml.swp",
        "README.md",
        ".yaml",
        "carol.yaml.tmp",
        "4913",
    ] {
        fs::write(dir.join(name), name).unwrap();
    }
    fs::create_dir(dir.join("sub.yaml")).unwrap();
    let snapshot = read_all(&dir).unwrap();
    assert_eq!(
        manifests(&snapshot),
        [("alice", &text("alice.yaml")), ("bob", &text("bob.yml"))]
    );
    assert_eq!(snapshot.manifests[1].path, "instances.d/bob.yml");
    assert_eq!(snapshot.fleet, None);
}

#[test]
fn an_ending_in_capitals_is_not_passed_over() {
    let (_top, dir) = source();
    for name in ["alice.YAML", "bob.Yml", ".carol.YAML", "dave.YAML~"] {
        fs::write(dir.join(name), name).unwrap();
    }
    let snapshot = read_all(&dir).unwrap();
    let paths: Vec<_> = snapshot
        .manifests
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["instances.d/alice.YAML", "instances.d/bob.Yml"]);
}

#[test]
fn a_fleets_own_file_in_capitals_is_not_passed_over() {
    let (top, dir) = source();
    fs::write(top.path().join("Fleet.yaml"), "defaults: {}").unwrap();
    let path = |snapshot: Snapshot| snapshot.fleet.map(|file| file.path);
    assert_eq!(path(read_all(&dir).unwrap()).as_deref(), Some("Fleet.yaml"));
    let snapshot = read_all(&dir).unwrap();
    let config = crate::words::config::Config::default();
    let told = crate::words::resolve::resolve(&snapshot, &config).unwrap_err();
    assert_eq!(
        told[0].to_string(),
        "Fleet.yaml:1:1: the fleet's own file is not called `Fleet.yaml` (rename it to fleet.yaml)"
    );
    // One that is there counts.
    fs::write(top.path().join("fleet.yml"), "defaults: {}").unwrap();
    assert_eq!(path(read_all(&dir).unwrap()).as_deref(), Some("fleet.yml"));
}

#[test]
fn the_fleets_own_file_stands_beside_the_directory() {
    let (top, dir) = source();
    fs::write(dir.join("fleet.yaml"), "an instance called fleet").unwrap();
    fs::write(top.path().join("fleet.yml"), "defaults: {}").unwrap();
    let snapshot = read_all(&dir).unwrap();
    let fleet = snapshot.fleet.unwrap();
    assert_eq!(
        (fleet.path.as_str(), fleet.content),
        ("fleet.yml", text("defaults: {}"))
    );
    let shown = |shown_as| {
        let snapshot = read(&dir, shown_as, &BTreeSet::new()).unwrap();
        snapshot.fleet.unwrap().path
    };
    assert_eq!(shown("a/instances.d"), "a/fleet.yml");
    assert_eq!(shown("."), "../fleet.yml");
    assert_eq!(shown("/a/instances.d/"), "/a/fleet.yml");

    fs::write(top.path().join("fleet.yaml"), "").unwrap();
    assert!(matches!(read_all(&dir), Err(SourceError::TwoFleets { .. })));
}

#[test]
fn a_file_that_cannot_be_read_is_still_a_manifest() {
    let (_top, dir) = source();
    symlink("nowhere", dir.join("alice.yaml")).unwrap();
    fs::write(dir.join("bob.yaml"), b"\xff").unwrap();
    fs::write(dir.join("carol.yaml"), "").unwrap();
    let snapshot = read_all(&dir).unwrap();
    let found = manifests(&snapshot);
    assert!(matches!(found[0], ("alice", Content::Unreadable(why)) if why.why.contains("nowhere")));
    assert!(matches!(found[1], ("bob", Content::Unreadable(why)) if why.why.contains("byte 0")));
    assert_eq!(found[2], ("carol", &text("")));
}

#[test]
fn a_file_that_is_being_written_is_not_opened() {
    let (top, dir) = source();
    fs::write(dir.join("alice.yaml"), "half").unwrap();
    fs::write(dir.join("bob.yaml"), "whole").unwrap();
    let unsettled = [dir.join("alice.yaml"), top.path().join("fleet.yaml")].into();
    let snapshot = read(&dir, "instances.d", &unsettled).unwrap();
    assert_eq!(
        manifests(&snapshot),
        [("alice", &Content::BeingWritten), ("bob", &text("whole"))]
    );
    let fleet = snapshot
        .fleet
        .expect("away for the moment of its replacement only");
    assert_eq!(fleet.content, Content::BeingWritten);
}

#[test]
fn a_source_that_is_not_there_is_an_error_with_its_path_and_never_an_empty_one() {
    let (top, dir) = source();
    let missing = read_all(&top.path().join("missing")).unwrap_err();
    assert!(matches!(missing, SourceError::Missing { .. }));
    assert!(
        missing.to_string().contains("/missing is missing; make it"),
        "{missing}"
    );
    let file = dir.join("alice.yaml");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        read_all(&file),
        Err(SourceError::NotDirectory { .. })
    ));
    assert!(matches!(
        read_all(&file.join("x")),
        Err(SourceError::NotDirectory { .. })
    ));
    let refused = listing_error(&dir, io::ErrorKind::PermissionDenied.into());
    assert!(matches!(refused, SourceError::List { .. }));
}

#[test]
fn a_revision_names_the_files_and_what_they_hold() {
    let (top, dir) = source();
    let revision = || read_all(&dir).unwrap().revision;
    let mut seen = BTreeSet::new();
    assert!(seen.insert(revision()));
    fs::write(dir.join("alice.yaml"), "{}").unwrap();
    assert!(seen.insert(revision()));
    let here = revision();
    assert!(!seen.insert(here.clone()), "reading again changes nothing");
    assert_eq!(here.len(), "dir:".len() + 12);
    fs::rename(dir.join("alice.yaml"), dir.join("bob.yaml")).unwrap();
    assert!(seen.insert(revision()));
    fs::write(dir.join("bob.yaml"), "").unwrap();
    assert!(seen.insert(revision()));
    fs::write(top.path().join("fleet.yaml"), "").unwrap();
    assert!(seen.insert(revision()));
    fs::rename(dir.join("bob.yaml"), dir.join("alice.yaml")).unwrap();
    fs::write(dir.join("alice.yaml"), "{}").unwrap();
    fs::remove_file(top.path().join("fleet.yaml")).unwrap();
    assert_eq!(revision(), here, "equal files are the same revision");
}

#[test]
fn more_than_a_source_may_have_is_not_read() {
    let (_top, dir) = source();
    let first = dir.join("a0.yaml");
    fs::write(&first, vec![b'#'; 1 << 20]).unwrap();
    // One file on disk, with many names.
    for number in 1..16 {
        fs::hard_link(&first, dir.join(format!("a{number}.yaml"))).unwrap();
    }
    assert_eq!(read_all(&dir).unwrap().manifests.len(), 16);
    symlink("a0.yaml", dir.join("b.yaml")).unwrap();
    assert_eq!(
        read_all(&dir).unwrap_err().to_string(),
        "the 17 manifests of instances.d and fleet.yaml have 17825792 bytes together, more than the limit of 16777216; shorten them, or split the fleet over several sources, with a manager each"
    );
}

#[test]
fn more_manifests_than_a_source_may_have_are_counted_and_not_read() {
    let (_top, dir) = source();
    for number in 0..10_001 {
        fs::write(dir.join(format!("a{number}.yaml")), "").unwrap();
    }
    let said = read_all(&dir).unwrap_err().to_string();
    assert!(
        said.contains("has 10001 manifests, more than the limit of 10000;"),
        "{said}"
    );
}

#[test]
fn a_fleet_yaml_that_applies_to_too_many_is_not_read() {
    let (top, dir) = source();
    fs::write(top.path().join("fleet.yaml"), vec![b'#'; 1 << 20]).unwrap();
    for number in 0..128 {
        fs::write(dir.join(format!("a{number}.yaml")), "").unwrap();
    }
    assert_eq!(read_all(&dir).unwrap().manifests.len(), 128);
    fs::write(dir.join("b.yaml"), "").unwrap();
    let said = read_all(&dir).unwrap_err().to_string();
    assert!(
        said.starts_with(
            "fleet.yaml has 1048576 bytes and applies to 129 manifests of instances.d"
        ),
        "{said}"
    );
}

#[test]
fn a_link_leads_to_a_yaml_file_below_its_own_directory_or_is_not_read() {
    let (top, dir) = source();
    let secret = top.path().join("secret.yaml");
    fs::write(&secret, "t0ken").unwrap();
    fs::create_dir(dir.join(".git")).unwrap();
    fs::write(dir.join(".git/config.yaml"), "t0ken").unwrap();
    fs::write(dir.join("notes.txt"), "t0ken").unwrap();
    fs::write(dir.join("real.yaml"), "{}").unwrap();
    fs::create_dir(dir.join("..2026")).unwrap();
    fs::write(dir.join("..2026/mounted.yaml"), "{}").unwrap();
    symlink("..2026", dir.join("..data")).unwrap();
    for (name, to) in [
        ("mounted", "..data/mounted.yaml"),
        ("same", "real.yaml"),
        ("back", "../instances.d/real.yaml"),
    ] {
        symlink(to, dir.join(format!("{name}.yaml"))).unwrap();
    }
    let refused = [
        ("absolute", secret.to_str().unwrap()),
        ("environment", "/proc/self/environ"),
        ("git", ".git/config.yaml"),
        ("kernel", "/sys/kernel/mm/transparent_hugepage/enabled"),
        ("null", "/dev/null"),
        ("other", "notes.txt"),
        ("relative", "../secret.yaml"),
        ("twice", "relative.yaml"),
        ("own", "/proc/self/cwd/Cargo.toml"),
    ];
    for (name, to) in refused {
        symlink(to, dir.join(format!("{name}.yaml"))).unwrap();
    }
    symlink("/proc/self/environ", top.path().join("fleet.yaml")).unwrap();
    // The directory itself may be reached through a link, which its operator made.
    let by_link = top.path().join("current");
    symlink("instances.d", &by_link).unwrap();
    for dir in [dir, by_link] {
        let snapshot = read_all(&dir).unwrap();
        for (name, content) in manifests(&snapshot) {
            let is_refused = refused.iter().any(|(refused, _)| *refused == name);
            match content {
                Content::Text(text) => assert!(!is_refused && text == "{}", "{name}: {text}"),
                Content::Unreadable(why) => {
                    assert!(
                        is_refused && why.why.contains("a symbolic link"),
                        "{name}: {why:?}"
                    );
                }
                Content::BeingWritten => panic!("{name}"),
            }
        }
        assert_eq!(snapshot.manifests.len(), refused.len() + 4);
        let fleet = snapshot.fleet.unwrap().content;
        assert!(matches!(fleet, Content::Unreadable(_)), "{fleet:?}");
    }
}
