//! The units, as systemd itself reads and judges them.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{BINARY, REPOSITORY, system, text};

/// Of ten, the less the better; systemd calls up to 2 "OK", and says "safe" only of what has no network.
const EXPOSURE_MAX: f64 = 1.5;

/// The units with the program that there is, as `verify` looks for it.
fn units() -> (TempDir, PathBuf, PathBuf) {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (service, socket) = (at("instanced.service"), at("instanced.socket"));
    let read = |name: &str| {
        let path = format!("{REPOSITORY}/examples/systemd/{name}");
        fs::read_to_string(path).unwrap()
    };
    let text = read("instanced.service");
    let filled = text.replace("/usr/local/bin/instanced", BINARY);
    assert_ne!(text, filled, "the program's path stands in ExecStart");
    fs::write(&service, filled).unwrap();
    fs::write(&socket, read("instanced.socket")).unwrap();
    (dir, service, socket)
}

#[test]
fn systemd_understands_every_line() {
    let (_dir, service, socket) = units();
    let (service, socket) = (service.to_str().unwrap(), socket.to_str().unwrap());
    let said = system(
        "systemd-analyze",
        "systemd",
        &["verify", "--man=no", service, socket],
    );
    let told = text(&said.stderr);
    // A line that it does not know is told, and no failure.
    let of_ours = told.lines().filter(|line| line.contains("instanced"));
    assert_eq!(of_ours.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(said.status.success(), "{told}");
}

#[test]
fn the_service_is_exposed_little() {
    let (_dir, service, _socket) = units();
    let service = service.to_str().unwrap();
    // In tenths, it wants a threshold of whole numbers.
    let threshold = format!("--threshold={:.0}", EXPOSURE_MAX * 10.0);
    let arguments = [
        "security",
        "--offline=true",
        "--no-pager",
        &threshold,
        service,
    ];
    let said = system("systemd-analyze", "systemd", &arguments);
    let told = text(&said.stdout);
    let overall = told
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for instanced.service: "))
        .unwrap_or_else(|| panic!("{told}{}", text(&said.stderr)));
    let level: f64 = overall.1.split(' ').next().unwrap().parse().unwrap();
    assert!(said.status.success() && level <= EXPOSURE_MAX, "{told}");
}

#[test]
fn the_socket_is_where_the_daemon_listens_by_default() {
    let (_dir, _service, socket) = units();
    let unit = fs::read_to_string(socket).unwrap();
    let config = serde_json::to_value(instanced::words::config::Config::default()).unwrap();
    let listen = config["listen"]["auth"].as_str().unwrap();
    assert!(
        unit.contains(&format!("\nListenStream={listen}\n")),
        "{unit}"
    );
}

#[test]
fn the_user_is_one_that_sysusers_understands() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let file = format!("{REPOSITORY}/examples/systemd/instanced.sysusers");
    let root = format!("--root={}", dir.path().display());
    let said = system("systemd-sysusers", "systemd", &[&root, &file]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let read = |name: &str| fs::read_to_string(dir.path().join("etc").join(name)).unwrap();
    let (users, groups) = (read("passwd"), read("group"));
    assert!(
        users.contains("instanced:x:") && users.contains(":/var/lib/instanced:"),
        "{users}"
    );
    let docker = groups
        .lines()
        .find(|line| line.starts_with("docker:"))
        .unwrap();
    assert!(docker.ends_with(":instanced"), "{groups}");
}
