//! A lab on a real engine, through the `docker` program where a person's hands are wanted.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::doors::engine::docker::Docker;
use instanced::words::label;
use instanced::words::quantity::Bytes;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::lab::{Hand, Lab};

const TINY: &str = "instanced/tiny:1";
/// With a health check every second.
pub const TINY_CHECKED: &str = "instanced/tiny-checked:1";

/// How many labs stand on the shared network. An engine may refuse to remove a network after many creates, so
/// one serves them all, and the last to leave tries.
static GUESTS: Mutex<u32> = Mutex::const_new(0);
static LABS: AtomicU32 = AtomicU32::new(0);

/// A lab on the engine of this machine.
pub struct DockerLab {
    engine: Docker,
    prefix: String,
    network: String,
}

/// Runs a clause in a lab of its own and cleans up, also when the clause failed.
pub async fn in_lab(clause: impl AsyncFnOnce(&DockerLab)) {
    let lab = DockerLab::open().await;
    let result = AssertUnwindSafe(clause(&lab)).catch_unwind().await;
    lab.close().await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl DockerLab {
    async fn open() -> Self {
        build_images();
        let engine = Docker::connect(None).expect("the contract needs a container engine");
        let network = format!("ct-{}-net", std::process::id());
        let mut guests = GUESTS.lock().await;
        *guests += 1;
        if engine
            .networks(&network)
            .await
            .expect("networks")
            .is_empty()
        {
            engine
                .create_network(&network, true, &[].into())
                .await
                .expect("a network");
        }
        drop(guests);
        let prefix = format!(
            "ct-{}-{}-",
            std::process::id(),
            LABS.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            engine,
            prefix,
            network,
        }
    }

    /// Best effort: what cannot be removed is only untidy.
    async fn close(&self) {
        let all = self.engine.list(&[]).await.unwrap_or_default();
        let ours = [
            self.prefix.clone(),
            format!("instanced-{}-", self.manager()),
        ];
        for found in all {
            if ours.iter().any(|prefix| found.name.starts_with(prefix)) {
                docker(&["rm", "--force", "--volumes", &found.id]).await;
            }
        }
        let manager = (label::MANAGER.to_owned(), self.manager().to_string());
        for labels in [self.labels(), vec![manager]] {
            for volume in self.engine.volumes(&labels).await.unwrap_or_default() {
                docker(&["volume", "rm", &volume]).await;
            }
        }
        // Docker makes an instance's own volumes itself, without labels.
        let filter = format!("name={}", ours[1]);
        let output = docker(&["volume", "ls", "--quiet", "--filter", &filter]).await;
        for volume in String::from_utf8_lossy(&output.stdout).lines() {
            docker(&["volume", "rm", volume]).await;
        }
        let filter = format!("reference={}:*", self.prefix.trim_end_matches('-'));
        let named = "{{ .Repository }}:{{ .Tag }}";
        let output = docker(&["images", "--format", named, "--filter", &filter]).await;
        // By reference: an id would take the tiny image's own name with it.
        for reference in String::from_utf8_lossy(&output.stdout).lines() {
            docker(&["rmi", reference]).await;
        }
        let mut guests = GUESTS.lock().await;
        *guests -= 1;
        if *guests == 0 {
            docker(&["network", "rm", &self.network]).await;
        }
    }

    /// A line of what a program inside a container says; also when it fails.
    pub async fn exec(&self, container: &str, words: &[&str]) -> String {
        let output = docker(&[&["exec", container, "/tiny"], words].concat()).await;
        [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
            .join("")
    }

    /// What inspect says under a Go template.
    pub async fn inspect(&self, container: &str, template: &str) -> String {
        let output = docker(&["inspect", "--format", template, container]).await;
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until an image's program serves inside.
    pub async fn serves(&self, container: &str) {
        for _ in 0..100 {
            if docker(&["exec", container, "/tiny", "ping"])
                .await
                .status
                .success()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{container} does not serve");
    }
}

impl Lab for DockerLab {
    type Engine = Docker;

    fn engine(&self) -> &Docker {
        &self.engine
    }

    fn reconnected(&self) -> Docker {
        Docker::connect(None).expect("the engine answered before")
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn image(&self) -> &'static str {
        TINY
    }

    fn checked_image(&self) -> &'static str {
        TINY_CHECKED
    }

    fn network(&self) -> &str {
        &self.network
    }

    async fn kill(&self, container: &str) {
        must(&["kill", container]).await;
    }

    async fn pause(&self, container: &str) {
        must(&["pause", container]).await;
    }

    async fn add_foreign(&self, name: &str) {
        must(&[
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            &self.network,
            TINY,
        ])
        .await;
    }

    async fn drop_network(&self, name: &str) {
        docker(&["network", "rm", name]).await;
    }

    async fn hand(&self, container: &str, hand: Hand) {
        match hand {
            Hand::Join(network) => must(&["network", "connect", &network, container]).await,
            Hand::Leave(network) => must(&["network", "disconnect", &network, container]).await,
            Hand::Rename(name) => must(&["rename", container, &name]).await,
            Hand::Limit(limits) => {
                let bytes = |size: Option<Bytes>| size.map_or(0, |size| size.0).to_string();
                let cpus = limits.cpus.map_or(0, |cpus| cpus.0);
                let restart = serde_json::to_value(limits.restart).expect("a word");
                must(&[
                    "update",
                    "--memory",
                    &bytes(limits.memory),
                    "--memory-swap",
                    &bytes(limits.memory_swap),
                    "--cpus",
                    &format!("{}.{:09}", cpus / 1_000_000_000, cpus % 1_000_000_000),
                    "--pids-limit",
                    &limits.pids.unwrap_or(0).to_string(),
                    "--restart",
                    restart.as_str().expect("a word"),
                    container,
                ])
                .await;
            }
        }
    }

    async fn remove_by_force(&self, container: &str) {
        must(&["rm", "--force", container]).await;
    }

    async fn tag(&self, reference: &str) {
        must(&["tag", TINY, reference]).await;
    }

    async fn retag(&self, reference: &str) {
        must(&["tag", TINY_CHECKED, reference]).await;
    }

    async fn untag(&self, reference: &str) {
        must(&["rmi", reference]).await;
    }

    async fn file_facts(&self, container: &str, path: &str) -> String {
        self.exec(container, &["stat", path]).await
    }

    async fn reaches(&self, from: &str, to: &str, address: IpAddr) -> bool {
        self.serves(to).await;
        let address = address.to_string();
        docker(&["exec", from, "/tiny", "probe", &address, "8080"])
            .await
            .status
            .success()
    }
}

/// Runs the `docker` program.
pub async fn docker(arguments: &[&str]) -> Output {
    Command::new("docker")
        .args(arguments)
        .output()
        .await
        .expect("the contract needs the docker program")
}

/// Runs the `docker` program, and expects it to succeed.
pub async fn must(arguments: &[&str]) {
    let output = docker(arguments).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {told}");
}

fn build_images() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny/build.sh");
        let checked =
            "HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD [\"/tiny\", \"ping\"]";
        for arguments in [&[TINY][..], &[TINY_CHECKED, checked]] {
            let status = std::process::Command::new(&script).args(arguments).status();
            assert!(
                status.expect("a shell").success(),
                "{} {arguments:?}",
                script.display()
            );
        }
    });
}
