//! What a look costs a real engine, counted by a proxy between the two.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use instanced::doors::engine::docker::Docker;
use instanced::doors::engine::{Engine as _, Observe as _};

use crate::fleet_lab::{PLAIN, create, fleet_over, hear, observe, spec};
use crate::lab::Lab as _;
use crate::real::{DockerLab, in_lab};

/// How often somebody else on this engine may come between (another test moves a tag, say) before we give up.
const TRIES: usize = 20;

struct Proxy {
    child: Child,
    dir: tempfile::TempDir,
}

impl Proxy {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let engine = host
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/limits/engine_proxy.py");
        let mut child = Command::new("python3")
            .args([script, "--engine", engine, "--listen"])
            .arg(dir.path().join("engine.sock"))
            .arg("--log")
            .arg(dir.path().join("calls"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the proxy needs python3");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        let read = BufReader::new(stdout).read_line(&mut ready);
        assert!(read.is_ok() && ready.trim() == "ready", "no proxy");
        Self { child, dir }
    }

    fn engine(&self) -> Docker {
        let socket = self.dir.path().join("engine.sock");
        let host = format!("unix://{}", socket.display());
        Docker::connect(Some(&host)).expect("the proxy stands")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// Paths of the calls so far, without waits for events.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).expect("the log");
        text.lines()
            .filter_map(|line| line.rsplit(' ').next())
            .map(|path| path.split('?').next().unwrap_or_default().to_owned())
            .filter(|path| !path.ends_with("/events") && !path.ends_with("/info"))
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_first_round_asks_for_no_image_and_no_network_that_was_noted() {
    in_lab(async |lab| {
        let proxy = Proxy::start();
        let maker = fleet_over(lab, proxy.engine());
        for name in ["a", "b", "c"] {
            create::<DockerLab>(&maker, &spec(lab, name, PLAIN)).await;
        }
        let images = BTreeSet::from([lab.image().to_owned()]);
        let seen = maker.observe(&images).await.expect("observed");
        let notes = maker.news().expect("nothing was noted yet");

        let fresh = fleet_over(lab, proxy.engine());
        fresh.recall(notes);
        let before = proxy.calls().len();
        assert_eq!(fresh.observe(&images).await.expect("observed"), seen);
        let mut calls = proxy.calls().split_off(before);
        calls.retain(|path| !path.starts_with("/containers/"));
        calls.sort();
        assert_eq!(calls, ["/volumes"]);
    })
    .await;
}

#[tokio::test]
async fn a_later_round_costs_one_call() {
    in_lab(async |lab| {
        let proxy = Proxy::start();
        let (fleet, mut cursor) = (fleet_over(lab, proxy.engine()), None);
        for name in ["a", "b", "c"] {
            create::<DockerLab>(&fleet, &spec(lab, name, PLAIN)).await;
        }
        hear::<DockerLab>(&fleet, &mut cursor).await;
        let before = proxy.calls().len();
        let first = observe(&fleet).await;
        let calls = &proxy.calls()[before..];
        let inspects = calls
            .iter()
            .filter(|path| path.starts_with("/containers/") && path.ends_with("/json"));
        assert_eq!(inspects.count(), 1 + 3, "a list and three looks: {calls:?}");
        assert!(
            calls.len() <= 1 + 3 + 3,
            "images, networks and volumes: {calls:?}"
        );
        for _ in 0..TRIES {
            hear::<DockerLab>(&fleet, &mut cursor).await;
            let before = proxy.calls().len();
            let later = observe(&fleet).await;
            assert_eq!(later, first);
            if proxy.calls()[before..] == ["/containers/json"] {
                return;
            }
        }
        panic!("no round cost one call: {:?}", proxy.calls());
    })
    .await;
}
