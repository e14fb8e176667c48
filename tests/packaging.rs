//! What a host gets: installed files, the manual, completions, units of systemd, and how the daemon gets on with the
//! service manager that starts it. Needs Debian's `systemd`, `man-db` and `make`; nothing of it runs as root.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "packaging/installed.rs"]
mod installed;
#[allow(dead_code)] // It is shared with others.
#[path = "edge/lab.rs"]
mod lab;
#[path = "support/process.rs"]
mod process;
#[path = "packaging/supervised.rs"]
mod supervised;
#[path = "packaging/units.rs"]
mod units;

use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a program of the system's to its end; one that is not there fails with what brings it.
fn system(program: &str, package: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(REPOSITORY)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: apt-get install {package}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
