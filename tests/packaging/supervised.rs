//! The daemon under a service manager: what it tells, and what it takes.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::lab::{Lab, PATIENCE, ask, until_known};
use super::process::Process;

/// Where a daemon tells how it stands, as systemd makes it.
struct Told {
    socket: UnixDatagram,
}

impl Told {
    fn open(lab: &Lab) -> Self {
        let socket = UnixDatagram::bind(lab.path("notify.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        message.lines().map(str::to_owned).collect()
    }
}

fn signal(process: &Process, signal: rustix::process::Signal) {
    let id = i32::try_from(process.id()).unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_looks_anew_and_ends() {
    let lab = Lab::new();
    let told = Told::open(&lab);
    let mut command = lab.command(&["serve"]);
    command.env("NOTIFY_SOCKET", lab.path("notify.sock"));
    let process = Process::start(&mut command);

    let ready = told.next();
    assert_eq!(ready[0], "READY=1");
    let (_, doing) = ready[1].split_once("STATUS=").expect("what it does");
    let (_, address) = doing.split_once("answering ForwardAuth on ").unwrap();
    let address: SocketAddr = address.split(',').next().unwrap().parse().unwrap();
    TcpStream::connect(address).expect("by then it listens");

    signal(&process, rustix::process::Signal::HUP);
    let reloading = told.next();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(told.next(), ["READY=1"]);

    process.terminate();
    assert_eq!(told.next(), ["STOPPING=1"]);
    let (success, log) = process.ended();
    assert!(success, "{log}");
}

#[test]
fn one_that_cannot_start_never_says_that_it_is_ready() {
    let lab = Lab::new();
    lab.configure("listen: nonsense\n");
    let told = Told::open(&lab);
    let mut command = lab.command(&["serve"]);
    command.env("NOTIFY_SOCKET", lab.path("notify.sock"));
    assert_eq!(
        command
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .code(),
        Some(1)
    );
    told.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 64];
    let heard = told.socket.recv(&mut buffer);
    assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// By systemd's own program, which does for one command what a socket unit does.
#[test]
fn a_socket_of_the_service_managers_is_answered_on() {
    let lab = Lab::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    lab.write(
        "instanced.yaml",
        &format!(
            "engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
             listen: {{ auth: \"{address}\", admin: 127.0.0.1:0 }}\nstate: state\n"
        ),
    );
    let token = lab.token("laptop");
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg(format!("--listen={address}"))
        .arg(env!("CARGO_BIN_EXE_instanced"))
        .args(["--config", "instanced.yaml", "serve"])
        .current_dir(lab.path(""));
    let mut process = Process::start(&mut command);
    process.wait_for("Listening on");
    // Nobody answers before somebody asks; who asks then waits for the daemon, and is not refused.
    assert_eq!(lab.run(&["health", "--live"]).status.code(), Some(1));
    let (status, _) = ask(address, &token, "").expect("an answer, and no refusal");
    assert!(matches!(status, 204 | 401 | 503), "{status}");
    until_known(address, &token);
    assert!(process.wait_for("ready: ").contains(&address.to_string()));
    process.terminate();
    let (success, log) = process.ended();
    assert!(success, "{log}");
}

#[test]
fn health_tells_a_daemon_that_is_away_from_one_that_waits() {
    let lab = Lab::new();
    let said = lab.run(&["health"]);
    assert_eq!(said.status.code(), Some(1));
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        told.contains("no daemon serves") && told.contains("instanced serve"),
        "{told}"
    );

    let mut process = Process::start(&mut lab.command(&["serve"]));
    process.wait_for("ready: ");
    // Its first round finds no engine.
    let since = Instant::now();
    let told = loop {
        let said = lab.run(&["health"]);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        if told.contains("connect to the container engine") {
            break told;
        }
        assert!(since.elapsed() < PATIENCE, "{told}");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(told.contains("is not ready"), "{told}");
    let said = lab.run(&["health", "--live"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert_eq!(said.stdout, b"live\n");
    let health = lab.json(&["health", "--live"]);
    assert_eq!(health["live"], true);
    assert_eq!(health["ready"], false);
}
