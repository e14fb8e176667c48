//! Manifests that come to be slowly, and in every way that programs save files. What is not finished is not
//! acted upon: however many states a file went through, one new generation is made of it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::lab::{Lab, tiny};
use super::random::long_or_short;
use super::said::{check, run};

/// A whole new manifest arrives at this path; returns when it is complete.
type Writer = fn(&Path, &str);

/// How a file is written, and by what it is known.
const WRITERS: [(&str, Writer); 8] = [
    ("byte-by-byte", byte_by_byte),
    ("write-pause", write_and_pause),
    ("truncated", truncated_then_completed),
    ("vim-like", backup_then_write),
    ("rename", written_beside_and_renamed),
    ("cp-big", copied),
    ("sed", sed),
    ("rewritten", rewritten_in_place),
];

fn open_truncated(path: &Path) -> File {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    file.expect("a manifest")
}

/// Over 4 s, by one writer. Almost every beginning of it is a manifest, too, or a wrong one.
fn byte_by_byte(path: &Path, text: &str) {
    let mut file = open_truncated(path);
    let pause = Duration::from_secs(4) / u32::try_from(text.len()).expect("a short text");
    for byte in text.bytes() {
        file.write_all(&[byte]).expect("a manifest");
        std::thread::sleep(pause);
    }
}

/// In lines, with a pause after each: all beginnings are manifests by themselves.
fn write_and_pause(path: &Path, text: &str) {
    let mut file = open_truncated(path);
    for part in text.split_inclusive('\n') {
        file.write_all(part.as_bytes()).expect("a manifest");
        std::thread::sleep(Duration::from_millis(700));
    }
}

/// Zero bytes for longer than any writer pauses, closed, and only then written.
fn truncated_then_completed(path: &Path, text: &str) {
    drop(open_truncated(path));
    std::thread::sleep(Duration::from_secs(4));
    fs::write(path, text).expect("a manifest");
}

/// The old file is moved to a backup, the new one written, the backup deleted: vim's `backupcopy=no`.
fn backup_then_write(path: &Path, text: &str) {
    let backup = path.with_extension("yaml~");
    fs::rename(path, &backup).expect("a rename");
    std::thread::sleep(Duration::from_secs(2));
    fs::write(path, text).expect("a manifest");
    fs::remove_file(&backup).expect("the backup");
}

/// Beside it under another name, and renamed: most editors, `git`, `rsync`.
fn written_beside_and_renamed(path: &Path, text: &str) {
    let name = path.file_name().expect("a manifest's").to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let (first, second) = text.split_at(text.len() / 2);
    let mut file = open_truncated(&beside);
    file.write_all(first.as_bytes()).expect("a draft");
    std::thread::sleep(Duration::from_secs(3));
    file.write_all(second.as_bytes()).expect("a draft");
    fs::rename(&beside, path).expect("a rename");
}

/// `cp` of a file that is nearly as long as a manifest may be.
fn copied(path: &Path, text: &str) {
    let from = path.with_extension("origin");
    // The part that counts comes last.
    let long = format!(
        "{}{text}",
        "# a long comment, to fill the file\n".repeat(25_000)
    );
    fs::write(&from, long).expect("a file to copy");
    run("cp", |command| {
        command.arg(&from).arg(path);
    })
    .expect_code(0);
    fs::remove_file(&from).expect("the origin");
}

/// `sed -i`, line by line towards the new text.
fn sed(path: &Path, text: &str) {
    let wanted = text
        .lines()
        .find(|line| line.starts_with("env:"))
        .expect("a line");
    run("sed", |command| {
        command
            .args(["-i", &format!("s/^env:.*/{wanted}/")])
            .arg(path);
    })
    .expect_code(0);
}

/// In place and without truncation, as a database would.
fn rewritten_in_place(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a manifest");
    let (first, second) = text.split_at(text.len() / 2);
    file.write_all(first.as_bytes()).expect("a manifest");
    std::thread::sleep(Duration::from_millis(700));
    file.write_all(second.as_bytes()).expect("a manifest");
    let length = u64::try_from(text.len()).expect("a short text");
    file.set_len(length).expect("a manifest");
}

#[test]
fn what_is_written_slowly_is_acted_upon_once_it_is_complete() {
    let mut lab = Lab::open(
        "slow-writes",
        "reconcile: { resync: 1s, replace: { max_unavailable: 100% } }\n",
    );
    for (name, _) in WRITERS {
        lab.save(name, &tiny("old", "owner: somebody@example.com"));
    }
    lab.launch();
    for (name, _) in WRITERS {
        lab.runs_with(name, "old");
    }
    for turn in 0..long_or_short(20, 2) {
        let before = WRITERS.map(|(name, _)| lab.events.created(name));
        let value = format!("turn-{turn}");
        let text = tiny(&value, "owner: somebody-else@example.com");
        lab.note(&value);
        std::thread::scope(|scope| {
            for (name, write) in WRITERS {
                let (path, text) = (lab.manifest(name), &text);
                scope.spawn(move || write(&path, text));
            }
        });
        for ((name, _), before) in WRITERS.into_iter().zip(before) {
            check("slow writes", &format!("{name}, turn {turn}"), || {
                let now = lab.runs_with(name, &value);
                let generations = lab.events.created(name) - before;
                assert_eq!(
                    generations,
                    1,
                    "an intermediate state was acted upon: {generations} containers were made, the last is {}",
                    now.told()
                );
            });
        }
        lab.nothing_forbidden().expect("after slow writes");
        lab.alive();
    }
}
