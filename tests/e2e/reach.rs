//! What a container reaches, and what is reached from here.

use std::time::Duration;

use super::engine::{Container, docker, must};
use super::{lab, said};

/// What a browser instance serves.
pub const PORTS: [u16; 3] = [8080, 5900, 6080];

/// Each address at which a container could knock at this host: loopback, gateways, its own.
pub fn addresses_of_this_host() -> Vec<String> {
    let network = must(&[
        "network",
        "inspect",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
        &lab::network(),
    ]);
    let own = said::run("hostname", |command| {
        command.arg("-I");
    });
    let mut all: Vec<String> = own
        .stdout
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    all.extend([network, "127.0.0.1".to_owned()]);
    all.sort();
    all.dedup();
    all
}

pub fn reached_from_here(host: &str, port: u16) {
    let address = format!("{host}:{port}").parse().expect("an address");
    let limit = Duration::from_secs(2);
    std::net::TcpStream::connect_timeout(&address, limit)
        .unwrap_or_else(|error| panic!("{address}: {error}"));
}

/// Which of these can be connected to from inside a browser instance, all tried at once.
pub fn reached_from_inside(container: &Container, targets: &[(String, u16)]) -> Vec<String> {
    const PROBE: &str = "\
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(target):
    try:
        socket.create_connection((target[0], target[1]), timeout=2).close()
        return f'{target[0]}:{target[1]}'
    except OSError:
        return None
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps([found for found in pool.map(reached, targets) if found]))
";
    let targets = serde_json::to_string(targets).expect("plain data");
    let said = docker(&["exec", &container.id, "python3", "-c", PROBE, &targets]).expect_code(0);
    serde_json::from_value(said.json()).expect("a list of texts")
}
