//! That `make bench` can still measure the daemon: what it waits for, and what it looks for in calls and in `/proc`, is the
//! daemon's to change.

use super::engine::{self, TINY};
use super::lab::{BINARY, REPOSITORY, prefix};
use super::said::run;

/// What carries this manager's label, and the network of its name; gone at the end.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        engine::clear(&self.0, &[]);
        engine::docker(&["network", "rm", &self.0]);
    }
}

#[test]
fn make_bench_measures_the_daemon() {
    engine::require();
    let made = Made(format!("{}-bench", prefix()));
    let work = tempfile::tempdir().expect("a directory");
    let said = run("python3", |command| {
        command
            .args([
                "-B",
                &format!("{REPOSITORY}/benches/figures.py"),
                "--daemon",
            ])
            .args(["--binary", BINARY, "--engine", &engine::socket()])
            .args(["--image", TINY, "--manager", &made.0])
            .arg("--work")
            .arg(work.path());
    });
    // A build for tests is larger and slower than what is promised: only what could not be taken is an error.
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.all());
    said.expect_words(&[
        "start: exec to 'ready'",
        "resident, 2 instances",
        "save in place to first engine call, median",
        "save by rename to first engine call, median",
        "figures within their limits",
    ]);
}
