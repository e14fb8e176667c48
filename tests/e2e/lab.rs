//! A place of its own for each test: a directory with manifests, configuration and state, a manager, ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::engine::{self, Container};
use super::said::{Said, run};

/// The daemon.
pub const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
/// The repository.
pub const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// How many labs stand on the shared network. An engine may refuse to remove a network after many creates, so
/// one serves them all, and the last to leave tries.
static GUESTS: Mutex<u32> = Mutex::new(0);
/// Below the ports that the kernel gives to clients.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// Where a test happens.
pub struct Lab {
    directory: TempDir,
    /// Whose containers these are.
    pub manager: String,
    /// Where the `ForwardAuth` listener stands.
    pub auth: SocketAddrV4,
    /// `listen.admin`.
    pub admin: SocketAddrV4,
    /// Where Traefik listens, if the test starts one.
    pub http: SocketAddrV4,
    /// Where its API is.
    pub api: SocketAddrV4,
    /// Containers without our labels, to be removed at the end.
    pub foreign: Vec<String>,
}

/// What everything made by this run begins with. `make test` says so, to clean up after a run that was killed.
pub fn prefix() -> String {
    std::env::var("INSTANCED_E2E_PREFIX").unwrap_or_else(|_| format!("e2e-{}", std::process::id()))
}

/// The network that all labs share.
pub fn network() -> String {
    prefix()
}

/// A port of loopback that nobody has.
pub fn free_port() -> SocketAddrV4 {
    let start = 20_000 + u16::try_from(std::process::id() % 1_000).expect("below 1000") * 10;
    for _ in 0..2_000 {
        let port = start + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port of loopback from {start} on");
}

impl Lab {
    /// A lab with an empty source, on the real engine.
    pub fn open(name: &str) -> Self {
        static PARTS: OnceLock<()> = OnceLock::new();
        PARTS.get_or_init(engine::require);
        let mut guests = GUESTS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *guests == 0 {
            make_network();
        }
        *guests += 1;
        drop(guests);
        Self::bare(name)
    }

    fn bare(name: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir()
            .expect("a directory for temporary files");
        let lab = Self {
            directory,
            manager: format!("{}-{name}", prefix()),
            auth: free_port(),
            admin: free_port(),
            http: free_port(),
            api: free_port(),
            foreign: Vec::new(),
        };
        fs::create_dir(lab.path("instances.d")).expect("a new directory");
        lab.configure("");
        lab
    }

    /// A path within the lab.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes `instanced.yaml`, with these lines at its end.
    pub fn configure(&self, more: &str) {
        self.configure_edge("middlewares: [security-headers@file]", more);
    }

    /// The same, with these keys of `traefik`.
    pub fn configure_edge(&self, edge: &str, more: &str) {
        let Self {
            manager,
            auth,
            admin,
            http,
            ..
        } = self;
        let (network, port, here) = (network(), http.port(), self.directory.path().display());
        let text = format!(
            "manager: {manager}\n\
             domain: mcp.localhost\n\
             public: {{ scheme: http, port: {port} }}\n\
             source: {{ dir: instances.d }}\n\
             network: {{ name: {network}, isolation: strict }}\n\
             listen: {{ auth: \"{auth}\", admin: \"{admin}\" }}\n\
             traefik: {{ entrypoints: [web], tls: false, {edge} }}\n\
             policy: {{ secrets: {{ allow: [\"{here}/secrets/*\"] }} }}\n\
             state: {here}/state\n\
             {more}"
        );
        fs::write(self.path("instanced.yaml"), text).expect("instanced.yaml");
    }

    /// The path of an instance's manifest.
    pub fn manifest(&self, name: &str) -> PathBuf {
        self.path("instances.d").join(format!("{name}.yaml"))
    }

    /// Saves a manifest, as an editor does that writes in place.
    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.manifest(name), text).expect("a manifest");
    }

    /// Deletes a manifest.
    pub fn delete(&self, name: &str) {
        fs::remove_file(self.manifest(name)).expect("the manifest was there");
    }

    /// Runs a command of ours to its end.
    pub fn instanced(&self, arguments: &[&str]) -> Said {
        run(BINARY, |command| {
            command
                .arg("--config")
                .arg(self.path("instanced.yaml"))
                .args(arguments);
            command.current_dir(self.directory.path());
        })
    }

    /// The containers of an instance.
    pub fn containers(&self, instance: &str) -> Vec<Container> {
        let all = engine::labelled(&format!("instanced.manager={}", self.manager));
        let prefix = format!("instanced-{}-{instance}-g", self.manager);
        all.into_iter()
            .filter(|container| container.name.starts_with(&prefix))
            .collect()
    }

    /// The one container of an instance, running; else why not.
    pub fn container(&self, instance: &str) -> Result<Container, String> {
        match <[Container; 1]>::try_from(self.containers(instance)) {
            Ok([container]) if container.running => Ok(container),
            Ok([container]) => Err(format!("{} does not run", container.name)),
            Err(others) => Err(format!("{instance} has {} containers", others.len())),
        }
    }

    /// What `status` says of an instance: its phase and its reason.
    pub fn status(&self, instance: &str) -> Result<(String, String), String> {
        let said = self.instanced(&["--format", "json", "status", instance]);
        let told: serde_json::Value =
            serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said}"))?;
        let found =
            find(&told, instance).ok_or_else(|| format!("nothing of {instance}: {said}"))?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Ok((text("phase"), text("reason")))
    }

    /// Everything that the daemon has logged in this lab.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }
}

/// The object with this `name`, wherever it stands.
fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(fields) if fields.get("name").is_some_and(|n| n == name) => {
            Some(value)
        }
        serde_json::Value::Object(fields) => fields.values().find_map(|inner| find(inner, name)),
        serde_json::Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}

/// The network is the daemon's own making, like everything else here.
fn make_network() {
    let lab = Lab::bare("network");
    lab.save("first", &tiny(""));
    let said = lab.instanced(&["reconcile"]);
    engine::clear(&lab.manager, &[]);
    assert_eq!(said.code, Some(0), "the network was not made: {said}");
    let networks = engine::must(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(
        networks.lines().any(|name| name == network()),
        "no network {}: {said}",
        network()
    );
}

/// A manifest of an instance that costs next to nothing, with these lines at its end.
pub fn tiny(more: &str) -> String {
    format!(
        "template: mcp-http\n\
         image: {}\n\
         entrypoint: [/tiny]\n\
         resources: {{ memory: 32MiB, cpus: 0.5, pids: 64 }}\n\
         {more}\n",
        engine::TINY
    )
}

/// What the daemon said last, for whoever has to understand a failure.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    // Traefik's access log has a line for each look that a test took.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("{\"Client"))
        .collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

impl Drop for Lab {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the failed test"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let containers =
                engine::docker(&["ps", "--all", "--filter", &format!("name={}", self.manager)])
                    .stdout;
            for log in ["daemon.log", "traefik.log"] {
                eprintln!("--- {log}\n{}", tail(&self.path(log)));
            }
            eprintln!("--- containers\n{containers}");
            for container in engine::labelled(&format!("instanced.manager={}", self.manager)) {
                let said = engine::docker(&["logs", "--tail", "25", &container.id]).all();
                eprintln!("--- {}\n{said}", container.name);
            }
            if std::env::var_os("INSTANCED_E2E_KEEP").is_some() {
                self.directory.disable_cleanup(true);
                eprintln!("--- kept: {}", self.directory.path().display());
            }
        }
        engine::clear(&self.manager, &self.foreign);
        if self.manager.ends_with("-network") {
            return;
        }
        let mut guests = GUESTS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *guests -= 1;
        if *guests == 0 {
            engine::docker(&["network", "rm", &network()]);
        }
    }
}
