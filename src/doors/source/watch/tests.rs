use notify::event::{DataChange, Flag, MetadataKind, RemoveKind};

use super::*;

/// A watch's inside and the places of an empty directory, without a real watch.
fn shared() -> (tempfile::TempDir, Shared, Places, PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().canonicalize().unwrap().join("instances.d");
    fs::create_dir(&dir).unwrap();
    let places = Places::of(&dir);
    (top, Shared::new(), places, dir)
}

#[test]
fn lost_events_mean_that_anything_may_have_happened() {
    let (_top, shared, places, _dir) = shared();
    shared.note(
        &places,
        Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)),
    );
    assert!(shared.state().turned);
    assert!(shared.state().settling.due(shared.now()).is_some());
    let (_top, shared, places, _dir) = self::shared();
    shared.note(&places, Err(notify::Error::generic("read failed")));
    assert!(shared.state().turned);
}

#[test]
fn our_own_reading_and_other_files_call_for_nothing() {
    let (_top, shared, places, dir) = shared();
    let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
    let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
    shared.note(
        &places,
        Ok(Event::new(open).add_path(dir.join("alice.yaml"))),
    );
    shared.note(&places, Ok(Event::new(open).add_path(dir.clone())));
    shared.note(
        &places,
        Ok(Event::new(write).add_path(dir.join("notes.txt"))),
    );
    assert!(!shared.state().turned);
    assert_eq!(shared.state().settling.due(shared.now()), None);
}

#[test]
fn a_fleet_file_that_goes_is_waited_for() {
    let (_top, shared, places, dir) = shared();
    let fleet = beside(&dir).join("fleet.yaml");
    let remove = EventKind::Remove(RemoveKind::File);
    shared.note(&places, Ok(Event::new(remove).add_path(fleet.clone())));
    assert!(
        shared
            .state()
            .settling
            .unsettled(shared.now())
            .contains(&fleet)
    );
    shared.note(
        &places,
        Ok(Event::new(remove).add_path(dir.join("alice.yaml"))),
    );
    assert_eq!(
        shared.state().settling.unsettled(shared.now()),
        [fleet].into()
    );
}

#[test]
fn events_say_what_became_of_the_file() {
    let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    let renamed = |mode| EventKind::Modify(ModifyKind::Name(mode));
    assert_eq!(classify(write), Some(FileEvent::Written));
    assert_eq!(classify(data), Some(FileEvent::Writing));
    assert_eq!(classify(mode), Some(FileEvent::Altered));
    assert_eq!(
        classify(EventKind::Create(CreateKind::File)),
        Some(FileEvent::Writing)
    );
    assert_eq!(classify(renamed(RenameMode::To)), Some(FileEvent::Written));
    assert_eq!(classify(renamed(RenameMode::From)), Some(FileEvent::Gone));
}

#[tokio::test]
async fn a_fleet_file_that_was_just_saved_is_waited_for() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("instances.d");
    fs::create_dir(&dir).unwrap();
    let watch = Watch::new(&dir).unwrap();
    // Without one there is nothing to wait for.
    watch.fleet_settled(Duration::from_secs(60)).await;
    fs::write(top.path().join("fleet.yaml"), "defaults: {}").unwrap();
    let watch = Watch::new(&dir).unwrap();
    assert_eq!(watch.unsettled().len(), 1);
    // Nor is it waited for ever.
    watch.fleet_settled(Duration::from_millis(10)).await;
    assert_eq!(watch.unsettled().len(), 1);
    watch.fleet_settled(Duration::from_secs(60)).await;
    assert_eq!(watch.unsettled(), BTreeSet::new());
}
