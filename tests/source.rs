//! A watched directory, with real files, real inotify and the ways in which people and programs write.
//!
//! No test here asserts how long something took: each waits for what must come, with a limit far beyond it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use instanced::doors::source::Watch;
use instanced::words::desired::Content;
use tempfile::TempDir;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
/// Longer than changes wait for their neighbours, shorter than the quiet that ends a writer's work.
const PAUSE: Duration = Duration::from_millis(200);

/// A directory of manifests in a directory of its own, and a watch on it.
struct Fleet {
    top: TempDir,
    dir: PathBuf,
    watch: Watch,
}

impl Fleet {
    /// A fleet whose directory is made by `prepare`, which returns its path.
    fn new(prepare: impl FnOnce(&Path) -> PathBuf) -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = prepare(top.path());
        let watch = Watch::new(&dir).expect("a watch");
        Self { top, dir, watch }
    }

    fn empty() -> Self {
        Self::new(|top| {
            let dir = top.join("instances.d");
            fs::create_dir(&dir).expect("the test's own files");
            dir
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the directory says, as `stem=text`; none when it cannot be read now.
    fn read(&mut self) -> Option<Vec<String>> {
        let snapshot = self.watch.read("instances.d").ok()?;
        let told = snapshot
            .manifests
            .into_iter()
            .map(|file| match file.content {
                Content::Text(text) => format!("{}={text}", file.stem),
                Content::Unreadable(_) => format!("{} unreadable", file.stem),
                Content::BeingWritten => format!("{} being written", file.stem),
            });
        Some(told.collect())
    }

    /// Takes rounds as they fall due until the directory says `wanted`.
    async fn becomes(&mut self, wanted: &[&str]) {
        let mut seen = Vec::new();
        let reached = tokio::time::timeout(LIMIT, async {
            loop {
                self.watch.changed().await;
                seen.push(self.read());
                if seen
                    .last()
                    .is_some_and(|told| told.as_deref() == Some(&wanted.map_owned()))
                {
                    return;
                }
            }
        });
        let outcome = reached.await;
        assert!(outcome.is_ok(), "waited for {wanted:?}, saw {seen:#?}");
    }
}

/// Strings to compare with.
trait Owned {
    fn map_owned(&self) -> Vec<String>;
}

impl Owned for &[&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

/// Runs a shell's commands in a directory.
fn shell(dir: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .status()
        .expect("the test's own files");
    assert!(status.success(), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_manifest_calls_for_a_round_whichever_way_it_is_saved() {
    let mut fleet = Fleet::empty();
    let alice = fleet.path("alice.yaml");

    fs::write(&alice, "written").unwrap();
    fleet.becomes(&["alice=written"]).await;

    fs::write(fleet.path(".alice.yaml.tmp"), "renamed over").unwrap();
    fs::rename(fleet.path(".alice.yaml.tmp"), &alice).unwrap();
    fleet.becomes(&["alice=renamed over"]).await;

    // vim with 'backup': the old file is moved away, a new one is written in its place.
    shell(
        &fleet.dir,
        "mv alice.yaml alice.yaml~; printf vim > alice.yaml; rm alice.yaml~",
    );
    fleet.becomes(&["alice=vim"]).await;

    shell(
        &fleet.dir,
        "printf copied > ../draft; cp -p ../draft alice.yaml",
    );
    fleet.becomes(&["alice=copied"]).await;

    shell(&fleet.dir, "sed -i s/copied/edited/ alice.yaml");
    fleet.becomes(&["alice=edited"]).await;

    shell(&fleet.dir, "mv alice.yaml bob.yaml");
    fleet.becomes(&["bob=edited"]).await;

    fs::remove_file(fleet.path("bob.yaml")).unwrap();
    fleet.becomes(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_one_slow_writer_is_never_read_half() {
    let mut fleet = Fleet::empty();
    let alice = fleet.path("alice.yaml");
    fs::write(&alice, "whole 0").unwrap();
    fleet.becomes(&["alice=whole 0"]).await;

    let done = AtomicBool::new(false);
    let mut seen = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=2 {
                // Truncates, and takes its time until the next byte.
                let mut file = File::create(&alice).unwrap();
                for piece in ["who", "le", " ", &n.to_string()] {
                    thread::sleep(PAUSE);
                    file.write_all(piece.as_bytes()).unwrap();
                    file.flush().unwrap();
                }
                thread::sleep(PAUSE);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            seen.push(fleet.read().unwrap_or_default());
        }
    });
    for told in seen {
        let whole = [
            "alice=whole 0",
            "alice=whole 1",
            "alice=whole 2",
            "alice being written",
            // The kernel tells of a truncation after it happened. A file of zero bytes counts as unfinished to all
            // who read on.
            "alice=",
        ];
        assert!(
            told.iter().all(|file| whole.contains(&file.as_str())),
            "{told:?}"
        );
    }
    fleet.becomes(&["alice=whole 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_writers_never_shows_a_half_file() {
    let mut fleet = Fleet::empty();
    let whole = |n: u32| format!("owner: {n:04}\n").repeat(2_000);
    for name in ["alice.yaml", "bob.yaml"] {
        fs::write(fleet.path(name), whole(0)).unwrap();
    }
    let mut seen = 0;
    let done = AtomicBool::new(false);
    let (alice, bob, temporary) = (
        fleet.path("alice.yaml"),
        fleet.path("bob.yaml"),
        fleet.path(".bob.tmp"),
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..40 {
                // In pieces through one handle, and by way of a rename.
                let mut file = OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&alice)
                    .unwrap();
                for piece in whole(n).as_bytes().chunks(5_000) {
                    file.write_all(piece).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
                drop(file);
                fs::write(&temporary, whole(n)).unwrap();
                fs::rename(&temporary, &bob).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for file in fleet.read().unwrap_or_default() {
                let Some((stem, text)) = file.split_once('=') else {
                    continue;
                };
                // The kernel tells of a truncation after it happened. A file of zero bytes counts as
                // unfinished to all who read on.
                if text.is_empty() {
                    continue;
                }
                let first = text.lines().next().unwrap_or_default();
                let complete = text.len() == 24_000 && text.lines().all(|line| line == first);
                assert!(
                    complete,
                    "{stem} with {} bytes, beginning `{first}`",
                    text.len()
                );
                seen += 1;
            }
        }
    });
    assert!(seen > 0, "no reading succeeded, so nothing was shown");
    let (alice, bob) = (format!("alice={}", whole(39)), format!("bob={}", whole(39)));
    fleet.becomes(&[&alice, &bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_never_closes_is_waited_for_until_it_is_quiet() {
    let mut fleet = Fleet::empty();
    let mut file = File::create(fleet.path("alice.yaml")).unwrap();
    file.write_all(b"left open").unwrap();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(fleet.read().unwrap(), ["alice being written"]);
    fleet.becomes(&["alice=left open"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_written_when_the_watch_began_is_not_trusted() {
    let mut fleet = Fleet::new(|top| {
        let dir = top.join("instances.d");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("alice.yaml"), "perhaps half").unwrap();
        shell(&dir, "echo old > bob.yaml; touch -d 2020-01-01 bob.yaml");
        dir
    });
    assert_eq!(fleet.read().unwrap(), ["alice being written", "bob=old\n"]);
    fleet.becomes(&["alice=perhaps half", "bob=old\n"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_may_be_moved_away_and_back_replaced_and_removed() {
    let mut fleet = Fleet::empty();
    let top = fleet.top.path().to_owned();
    let old = "touch -d 2020-01-01 instances.d/*";
    shell(&top, &format!("printf 1 > instances.d/alice.yaml; {old}"));
    fleet.becomes(&["alice=1"]).await;

    shell(&top, "mv instances.d away");
    tokio::time::timeout(LIMIT, fleet.watch.changed())
        .await
        .expect("it was moved away");
    assert_eq!(fleet.read(), None, "an error, not an empty fleet");
    shell(&top, "mv away instances.d");
    fleet.becomes(&["alice=1"]).await;
    shell(&top, "printf 2 > instances.d/alice.yaml");
    fleet.becomes(&["alice=2"]).await;

    // Another in its place, so quickly that there is no moment without one to be seen.
    shell(
        &top,
        "mkdir new; printf 3 > new/bob.yaml; touch -d 2020-01-01 new/*; mv instances.d away; mv new instances.d",
    );
    fleet.becomes(&["bob=3"]).await;
    shell(
        &top,
        "printf 4 > away/alice.yaml; printf 5 > instances.d/bob.yaml",
    );
    fleet.becomes(&["bob=5"]).await;

    shell(
        &top,
        "rm -rf instances.d; mkdir instances.d; printf 6 > instances.d/carol.yaml",
    );
    fleet.becomes(&["carol=6"]).await;
    shell(&top, "rm instances.d/carol.yaml");
    fleet.becomes(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_comes_later_is_found() {
    let mut fleet = Fleet::new(|top| top.join("later/instances.d"));
    assert_eq!(fleet.read(), None);
    let top = fleet.top.path().to_owned();
    shell(
        &top,
        "mkdir later; sleep 0.1; mkdir later/instances.d; sleep 0.1",
    );
    shell(&top, "printf 1 > later/instances.d/alice.yaml");
    fleet.becomes(&["alice=1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_swapped_is_followed() {
    let mut fleet = Fleet::new(|top| {
        shell(
            top,
            "mkdir -p 1 2; printf 1 > 1/alice.yaml; printf 2 > 2/alice.yaml",
        );
        shell(top, "touch -d 2020-01-01 1/* 2/*");
        symlink("1", top.join("instances.d")).unwrap();
        top.join("instances.d")
    });
    let top = fleet.top.path().to_owned();
    assert_eq!(fleet.read().unwrap(), ["alice=1"]);
    shell(&top, "ln -s 2 new; mv -T new instances.d");
    fleet.becomes(&["alice=2"]).await;
    shell(&top, "printf 3 > 2/alice.yaml");
    fleet.becomes(&["alice=3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_followed() {
    let mut fleet = Fleet::empty();
    let dir = fleet.dir.clone();
    shell(
        &dir,
        "mkdir ..1; printf 1 > ..1/alice.yaml; touch -d 2020-01-01 ..1/*; ln -s ..1 ..data; ln -s ..data/alice.yaml .",
    );
    fleet.becomes(&["alice=1"]).await;
    shell(
        &dir,
        "mkdir ..2; printf 2 > ..2/alice.yaml; touch -d 2020-01-01 ..2/*; ln -s ..2 new; mv -T new ..data; rm -r ..1",
    );
    fleet.becomes(&["alice=2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_own_file_and_a_mode_count_as_changes() {
    let mut fleet = Fleet::empty();
    fs::write(fleet.top.path().join("fleet.yaml"), "{}").unwrap();
    tokio::time::timeout(LIMIT, fleet.watch.changed())
        .await
        .expect("fleet.yaml was written");
    let snapshot = fleet.watch.read("instances.d").unwrap();
    assert_eq!(
        snapshot.fleet.unwrap().content,
        Content::Text("{}".to_owned())
    );

    fs::write(fleet.path("alice.yaml"), "1").unwrap();
    fleet.becomes(&["alice=1"]).await;
    fs::set_permissions(fleet.path("alice.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    tokio::time::timeout(LIMIT, fleet.watch.changed())
        .await
        .expect("the mode was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_calls_for_no_round_and_neither_does_an_idle_rearm() {
    let mut fleet = Fleet::empty();
    fs::write(fleet.path("alice.yaml"), "1").unwrap();
    fleet.becomes(&["alice=1"]).await;
    for _ in 0..3 {
        fleet.read();
        fleet.watch.rearm().unwrap();
    }
    fs::write(fleet.path("notes.txt"), "no manifest").unwrap();
    let due = tokio::time::timeout(PAUSE, fleet.watch.changed()).await;
    assert!(due.is_err(), "nothing of the source changed");
}
