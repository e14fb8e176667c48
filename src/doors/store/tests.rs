use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::doors::engine::containers::NetworkFacts;
use crate::doors::engine::settings::{ImageConfig, NOTES_FORM_NOW};
use crate::words::token::{TokenHash, TokenKind};

mod model;

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
fn what_the_engine_said_is_kept_in_the_form_of_this_version_alone() {
    let dir = TempDir::new().unwrap();
    let notes = |engine: &str| {
        let config = ImageConfig {
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..ImageConfig::default()
        };
        EngineNotes {
            engine: engine.to_owned(),
            configs: [("sha256:1".to_owned(), config)].into(),
            network: Some(NetworkFacts {
                id: "7f".to_owned(),
                driver: "bridge".to_owned(),
                open_because: Some("it was made by hand".to_owned()),
                labels: [("team".to_owned(), "qa".to_owned())].into(),
            }),
        }
    };
    let store = open(dir.path());
    assert_eq!(store.engine_notes().unwrap(), None);
    store.put_engine_notes(&notes("docker 1")).unwrap();
    store.put_engine_notes(&notes("docker 2")).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.engine_notes().unwrap(), Some(notes("docker 2")));

    let later = |opened: &Opened| {
        let value = serde_json::json!({ "form": NOTES_FORM_NOW + 1, "notes": "in another way" });
        let value = record::encode("images", &value)?;
        opened.meta.insert("images", value).unwrap();
        Ok(())
    };
    store.reading(later).unwrap();
    assert_eq!(store.engine_notes().unwrap(), None);
    store.put_engine_notes(&notes("docker 3")).unwrap();
    assert_eq!(store.engine_notes().unwrap(), Some(notes("docker 3")));
}
