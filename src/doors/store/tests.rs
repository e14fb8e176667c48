use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::doors::engine::settings::{IMAGE_FORM_NOW, ImageConfig};
use crate::words::token::{TokenHash, TokenKind};

fn open(dir: &Path) -> Store {
    Store::open(dir, Duration::from_secs(5)).unwrap()
}

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn token(id: u8) -> TokenRecord {
    TokenRecord {
        id: format!("id{id:06}"),
        instance: "alice".parse().unwrap(),
        label: format!("label {id}"),
        hash: TokenHash::of(&[id]),
        created: at(0),
        expires: id.is_multiple_of(2).then(|| at(i64::from(id))),
        endpoints: Vec::new(),
        kind: TokenKind::Bearer,
        session_seconds: None,
        successor: None,
    }
}

/// As no version of ours would write it.
fn put_raw(store: &Store, value: &[u8]) {
    let put = |opened: &Opened| {
        opened.tokens.insert("id000009", value).unwrap();
        Ok(())
    };
    store.reading(put).unwrap();
}

fn name(n: u8) -> InstanceName {
    format!("i{n}").parse().unwrap()
}

fn secret_name() -> SecretName {
    "vnc_password".parse().unwrap()
}

#[derive(Debug, Clone)]
enum Operation {
    Insert(u8),
    Remove(u8),
    PutSecret(u8, Vec<u8>),
    RemoveSecret(u8),
    NoteRemoval(u8, i64),
    Forget(i64),
    Protect(BTreeSet<u8>),
    /// The first comes new, with the second as it was to be replaced: a rotation.
    Rotate(u8, u8),
    /// The first comes new, the second goes: a redemption.
    Redeem(u8, u8),
    /// Several go: a sweep.
    Sweep(BTreeSet<u8>),
    NoteUses(BTreeMap<u8, i64>),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..6_u8).prop_map(Operation::Insert),
        (0..6_u8).prop_map(Operation::Remove),
        (0..3_u8, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(n, v)| Operation::PutSecret(n, v)),
        (0..3_u8).prop_map(Operation::RemoveSecret),
        (0..3_u8, -5..20_i64).prop_map(|(n, t)| Operation::NoteRemoval(n, t)),
        (-5..20_i64).prop_map(Operation::Forget),
        prop::collection::btree_set(0..5_u8, 0..4).prop_map(Operation::Protect),
        (0..6_u8, 0..6_u8).prop_map(|(new, old)| Operation::Rotate(new, old)),
        (0..6_u8, 0..6_u8).prop_map(|(new, old)| Operation::Redeem(new, old)),
        prop::collection::btree_set(0..6_u8, 0..4).prop_map(Operation::Sweep),
        prop::collection::btree_map(0..7_u8, -5..20_i64, 0..4).prop_map(Operation::NoteUses),
    ]
}

/// What the store should hold.
#[derive(Debug, Default)]
struct Model {
    tokens: BTreeMap<String, TokenRecord>,
    uses: BTreeMap<String, jiff::Timestamp>,
    secrets: BTreeMap<u8, Vec<u8>>,
    removals: BTreeSet<(i64, InstanceName)>,
    protected: BTreeSet<InstanceName>,
}

impl Model {
    fn apply(&mut self, store: &Store, operation: Operation) {
        match operation {
            Operation::Insert(n) => {
                let (token, is_new) = (token(n), !self.tokens.contains_key(&token(n).id));
                assert_eq!(store.insert_token(&token).is_ok(), is_new);
                // One that is there may have been replaced since.
                self.tokens.entry(token.id.clone()).or_insert(token);
            }
            Operation::Remove(n) => {
                let was = self.tokens.remove(&token(n).id).is_some();
                self.uses.remove(&token(n).id);
                assert_eq!(store.remove_token(&token(n).id).unwrap(), was);
            }
            Operation::PutSecret(n, value) => {
                let secret = SecretValue::new(value.clone());
                store.put_secret(&name(n), &secret_name(), &secret).unwrap();
                self.secrets.insert(n, value);
            }
            Operation::RemoveSecret(n) => {
                let was = self.secrets.remove(&n).is_some();
                assert_eq!(store.remove_secret(&name(n), &secret_name()).unwrap(), was);
            }
            Operation::NoteRemoval(n, second) => {
                store.note_removal(&name(n), at(second)).unwrap();
                self.removals.insert((second, name(n)));
            }
            Operation::Forget(second) => {
                let before = self.removals.len();
                self.removals.retain(|(t, _)| *t >= second);
                let forgotten = store.forget_removals_before(at(second)).unwrap();
                assert_eq!(forgotten, before - self.removals.len());
            }
            Operation::Protect(names) => {
                self.protected = names.into_iter().map(name).collect();
                store.set_protected(&self.protected).unwrap();
            }
            Operation::Rotate(new, old) => {
                let replaced = TokenRecord {
                    successor: Some(token(new).id),
                    ..token(old)
                };
                self.change(
                    store,
                    &TokenChange {
                        insert: vec![token(new)],
                        replace: vec![replaced],
                        remove: vec![],
                    },
                );
            }
            Operation::Redeem(new, old) => self.change(
                store,
                &TokenChange {
                    insert: vec![token(new)],
                    replace: vec![],
                    remove: vec![token(old).id],
                },
            ),
            Operation::Sweep(ids) => self.change(
                store,
                &TokenChange {
                    remove: ids.into_iter().map(|n| token(n).id).collect(),
                    ..TokenChange::default()
                },
            ),
            Operation::NoteUses(uses) => {
                let uses = uses.into_iter().map(|(n, t)| (token(n).id, at(t)));
                let uses: BTreeMap<_, _> = uses.collect();
                store.note_uses(&uses).unwrap();
                self.uses.extend(uses);
                self.uses.retain(|id, _| self.tokens.contains_key(id));
            }
        }
    }

    /// It happens whole where what is new is new, what changes is there, and nothing is named twice; else not
    /// at all.
    fn change(&mut self, store: &Store, change: &TokenChange) {
        let ids = |tokens: &[TokenRecord]| -> Vec<String> {
            tokens.iter().map(|token| token.id.clone()).collect()
        };
        let (new, mut there) = (ids(&change.insert), ids(&change.replace));
        there.extend(change.remove.clone());
        let fits = new.iter().all(|id| !self.tokens.contains_key(id))
            && there.iter().all(|id| self.tokens.contains_key(id));
        assert_eq!(store.change_tokens(change).is_ok(), fits);
        if !fits {
            return;
        }
        for token in change.insert.iter().chain(&change.replace) {
            self.tokens.insert(token.id.clone(), token.clone());
        }
        for id in &change.remove {
            self.tokens.remove(id);
            self.uses.remove(id);
        }
    }

    fn check(&self, store: &Store) {
        let tokens: Vec<_> = self.tokens.values().cloned().collect();
        assert_eq!(store.tokens().unwrap(), tokens);
        assert_eq!(store.uses().unwrap(), self.uses);
        for n in 0..3 {
            let kept = store.secret(&name(n), &secret_name()).unwrap();
            let expected = self.secrets.get(&n).cloned().map(SecretValue::new);
            assert!(kept == expected, "the secret of i{n}");
        }
        for since in [-10, 0, 7] {
            let expected: Vec<_> = self
                .removals
                .iter()
                .filter(|(t, _)| *t >= since)
                .map(|(t, name)| (name.clone(), at(*t)))
                .collect();
            assert_eq!(store.removals_since(at(since)).unwrap(), expected);
        }
        assert_eq!(store.protected().unwrap(), self.protected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_store_agrees_with_a_map_when_reopened_at_every_step(
        operations in prop::collection::vec(operation(), 1..20)
    ) {
        let dir = TempDir::new().unwrap();
        let mut model = Model::default();
        let key = *open(dir.path()).fingerprint_key().unwrap().bytes();
        for operation in operations {
            let store = open(dir.path());
            model.check(&store);
            model.apply(&store, operation);
            model.check(&store);
        }
        let store = open(dir.path());
        model.check(&store);
        prop_assert_eq!(*store.fingerprint_key().unwrap().bytes(), key);
    }
}

#[test]
fn only_the_owner_can_read_what_is_kept() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("new/state");
    let store = open(&state);
    store.insert_token(&token(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("store")), 0o700);
    for file in ["holder", "seal", "store/db", "store/conf"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused_with_the_remedy() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let error = Store::open(dir.path(), Duration::ZERO)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("0770") && error.contains("chmod 0700"),
        "{error}"
    );
}

#[test]
fn who_comes_second_is_told_who_was_first() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let error = Store::open(dir.path(), Duration::from_millis(60)).unwrap_err();
    let StoreError::Held { holder, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(holder.pid, std::process::id());
    assert!(holder.seen);
    assert!(
        error
            .to_string()
            .contains(&format!("process {} (`", std::process::id())),
        "{error}"
    );
    drop(first);
    open(dir.path());
}

#[test]
fn who_comes_second_waits_for_the_first_to_leave() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let path = dir.path().to_owned();
    let second = thread::spawn(move || Store::open(&path, Duration::from_secs(20)).map(drop));
    thread::sleep(Duration::from_millis(50));
    drop(first);
    second.join().unwrap().unwrap();
}

#[test]
fn after_a_write_that_failed_the_files_are_opened_anew_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.insert_token(&token(1)).unwrap();
    for id in 2..5 {
        store.failed.store(true, Ordering::SeqCst);
        store.insert_token(&token(id)).unwrap();
    }
    // Not even opened anew: the next one who asks does it.
    store.opened.write().unwrap().take();
    assert_eq!(store.tokens().unwrap().len(), 4);
    drop(store);
    assert_eq!(open(dir.path()).tokens().unwrap().len(), 4);
    assert!(!dir.path().join("room").exists());
}

#[test]
fn a_damaged_token_is_an_error_that_names_it_and_it_can_still_be_removed() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.insert_token(&token(1)).unwrap();
    put_raw(&store, b"\x01{\"id\":");
    let error = store.tokens().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("id000009"), "{error}");
    assert!(store.remove_token("id000009").unwrap());
    assert_eq!(store.tokens().unwrap(), [token(1)]);
}

#[test]
fn a_record_of_a_later_version_is_not_misread() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    put_raw(&store, b"\x02anything");
    assert!(matches!(
        store.tokens().unwrap_err(),
        StoreError::Later { form: 2, .. }
    ));
    put_raw(&store, b"");
    assert!(matches!(
        store.tokens().unwrap_err(),
        StoreError::Length { length: 0, .. }
    ));
}

#[test]
fn a_damaged_file_is_an_error_and_never_an_empty_or_a_crashed_store() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for n in 0..20 {
        store.insert_token(&token(n)).unwrap();
    }
    drop(store);
    fs::write(dir.path().join("store/conf"), b"not what sled wrote").unwrap();
    // Children of other tests have the lock's file open, too, until they run a program of their own.
    let error = Store::open(dir.path(), Duration::from_secs(5)).unwrap_err();
    assert!(
        matches!(error, StoreError::Open { .. } | StoreError::Damaged { .. }),
        "{error}"
    );
}

const CHILD_DIR: &str = "INSTANCED_TEST_STORE_DIR";

/// Not a test of its own: what the killed process of the next test runs.
#[test]
fn child_that_inserts_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = open(Path::new(&dir));
    let start = store.tokens().unwrap().len();
    for n in start.. {
        let token = TokenRecord {
            id: format!("t{n:06}"),
            ..token(1)
        };
        store.insert_token(&token).unwrap();
        // Acknowledged: a line in a file of its own, one write a line.
        let mut acknowledged = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(Path::new(&dir).join("acknowledged"))
            .unwrap();
        std::io::Write::write_all(&mut acknowledged, format!("{}\n", token.id).as_bytes()).unwrap();
        if n % 3 == 0 {
            let secret = SecretValue::new(vec![7; 300]);
            store.put_secret(&name(1), &secret_name(), &secret).unwrap();
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_writes_loses_no_acknowledged_token() {
    let dir = TempDir::new().unwrap();
    let acknowledged = dir.path().join("acknowledged");
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "doors::store::tests::child_that_inserts_until_killed",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = fs::metadata(&acknowledged).map_or(0, |file| file.len());
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::metadata(&acknowledged).map_or(0, |file| file.len()) < before + 24 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the child ended by itself"
            );
            assert!(Instant::now() < deadline, "the child wrote nothing");
            thread::sleep(Duration::from_millis(1));
        }
        // Another moment of a write each round.
        thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = open(dir.path());
        let kept: BTreeSet<String> = store
            .tokens()
            .unwrap()
            .into_iter()
            .map(|token| token.id)
            .collect();
        let told = fs::read_to_string(&acknowledged).unwrap();
        assert!(told.lines().count() >= 3);
        for id in told.lines() {
            assert!(
                kept.contains(id),
                "round {round}: {id} was acknowledged and is lost"
            );
        }
        drop(store);
    }
}

/// A copy of a closed store, with `change` made to sled's log.
fn damaged_copy(base: &Path, change: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    for file in ["seal", "store/conf", "store/db"] {
        fs::copy(base.join(file), dir.path().join(file)).unwrap();
    }
    let log = dir.path().join("store/db");
    let mut bytes = fs::read(&log).unwrap();
    change(&mut bytes);
    fs::write(log, bytes).unwrap();
    dir
}

#[test]
fn wherever_a_byte_rots_no_token_is_lost_or_brought_back_in_silence() {
    let base = TempDir::new().unwrap();
    let store = open(base.path());
    for n in 0..12 {
        store.insert_token(&token(n)).unwrap();
    }
    store.remove_token(&token(3).id).unwrap();
    let expected = store.tokens().unwrap();
    drop(store);
    let length = fs::metadata(base.path().join("store/db")).unwrap().len();
    let length = usize::try_from(length).unwrap();
    let mut noticed = 0;
    for at in (0..length).step_by(length / 120) {
        let copy = damaged_copy(base.path(), |bytes| bytes[at] ^= 0x55);
        match Store::open(copy.path(), Duration::ZERO).and_then(|store| store.tokens()) {
            Ok(tokens) => assert_eq!(tokens, expected, "byte {at}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 20, "the damage was real: noticed {noticed} times");
}

#[test]
fn an_old_copy_of_the_store_does_not_revive_a_revoked_token() {
    let base = TempDir::new().unwrap();
    let store = open(base.path());
    store.insert_token(&token(1)).unwrap();
    drop(store);
    let old = fs::read(base.path().join("store/db")).unwrap();
    let store = open(base.path());
    store.remove_token(&token(1).id).unwrap();
    store.insert_token(&token(2)).unwrap();
    drop(store);
    let copy = damaged_copy(base.path(), |bytes| *bytes = old);
    let store = open(copy.path());
    let error = store.tokens().unwrap_err();
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    assert!(store.insert_token(&token(5)).is_err());
    // The rest still works, and the way out that the error names is one.
    store.fingerprint_key().unwrap();
    drop(store);
    fs::remove_file(copy.path().join("seal")).unwrap();
    assert_eq!(open(copy.path()).tokens().unwrap(), [token(1)]);
}

#[test]
fn what_images_say_is_kept_in_the_form_of_this_version_alone() {
    let dir = TempDir::new().unwrap();
    let notes = |engine: &str| {
        let config = ImageConfig {
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..ImageConfig::default()
        };
        ImageNotes {
            engine: engine.to_owned(),
            configs: [("sha256:1".to_owned(), config)].into(),
        }
    };
    let store = open(dir.path());
    assert_eq!(store.image_notes().unwrap(), None);
    store.put_image_notes(&notes("docker 1")).unwrap();
    store.put_image_notes(&notes("docker 2")).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.image_notes().unwrap(), Some(notes("docker 2")));

    let later = |opened: &Opened| {
        let value = serde_json::json!({ "form": IMAGE_FORM_NOW + 1, "notes": "in another way" });
        let value = record::encode("images", &value)?;
        opened.meta.insert("images", value).unwrap();
        Ok(())
    };
    store.reading(later).unwrap();
    assert_eq!(store.image_notes().unwrap(), None);
    store.put_image_notes(&notes("docker 3")).unwrap();
    assert_eq!(store.image_notes().unwrap(), Some(notes("docker 3")));
}
