//! A place of its own for each scenario: a directory with manifests, configuration and state, a manager, a port,
//! a daemon, foreign bystanders, and a log that stays.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::bystanders::Bystanders;
use super::daemon::{BINARY, Daemon};
use super::engine::{Container, Engine};
use super::events::Events;
use super::said::{Said, eventually, run};

/// How long anything may take that is waited for. No figure is promised here: only that it comes.
pub const SOON: Duration = Duration::from_secs(120);

/// How many labs stand on the shared network: an engine may refuse to remove a network after many creates, so
/// one serves all, and the last to leave tries.
static GUESTS: Mutex<u32> = Mutex::new(0);

/// Where a scenario happens.
pub struct Lab {
    directory: TempDir,
    name: String,
    /// Whose containers these are.
    pub manager: String,
    /// Where the `ForwardAuth` listener stands.
    pub auth: SocketAddrV4,
    pub engine: Engine,
    pub bystanders: Bystanders,
    pub events: Events,
    daemon: Option<Daemon>,
}

/// What everything made by this run begins with. `make test` says so, to clean up after a run that was killed.
pub fn prefix() -> String {
    let said = std::env::var("INSTANCED_E2E_PREFIX");
    said.unwrap_or_else(|_| format!("soak-{}", std::process::id()))
}

/// What stays after a run: `.run/soak`.
pub fn artefacts() -> PathBuf {
    let run = std::env::var_os("INSTANCED_RUN_DIR").map(PathBuf::from);
    let run = run.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".run"));
    let directory = run.join("soak");
    fs::create_dir_all(&directory).expect("the directory for what stays");
    directory
}

/// A port of loopback that nobody has, below those that the kernel gives to clients.
fn free_port() -> SocketAddrV4 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 24_000 + u16::try_from(std::process::id() % 600).expect("below 600") * 10;
    for _ in 0..2_000 {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port of loopback from {start} on");
}

/// Fails with the way out where something is missing.
pub fn require_parts() {
    static PARTS: OnceLock<()> = OnceLock::new();
    PARTS.get_or_init(require);
}

fn require() {
    let user = run("id", |command| {
        command.arg("-u");
    });
    assert_eq!(
        user.stdout.trim(),
        "0",
        "the soak mounts disks and starts an engine of its own: run it as root (scripts/test.sh soak does)"
    );
    let said = Engine::default().docker(&["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(
        said.code,
        Some(0),
        "no container engine answers: run scripts/engine.sh ensure (make test does it)"
    );
    Engine::need_image();
}

/// The text of an `instanced.yaml`, with these lines at its end.
fn configuration(
    manager: &str,
    auth: SocketAddrV4,
    here: &Path,
    engine: &Engine,
    more: &str,
) -> String {
    let (network, here) = (prefix(), here.display());
    let engine = engine.host.as_ref().map_or_else(String::new, |host| {
        format!("engine: {{ docker: {{ host: \"{host}\" }} }}\n")
    });
    format!(
        "manager: {manager}\n\
         domain: mcp.localhost\n\
         public: {{ scheme: http, port: 80 }}\n\
         source: {{ dir: fleet/instances.d }}\n\
         network: {{ name: {network}, isolation: strict }}\n\
         listen: {{ auth: \"{auth}\", admin: \"127.0.0.1:0\" }}\n\
         traefik: {{ entrypoints: [web], tls: false }}\n\
         policy: {{ secrets: {{ allow: [\"{here}/secrets/*\"] }} }}\n\
         state: {here}/state\n\
         {engine}{more}"
    )
}

/// Makes the network that all labs share; it is the daemon's own making, like everything else here.
fn make_network() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let (engine, manager) = (Engine::default(), format!("{}-network", prefix()));
    let text = configuration(&manager, free_port(), directory.path(), &engine, "");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("instanced.yaml"), text).expect("instanced.yaml");
    fs::create_dir_all(at("fleet/instances.d")).expect("a new directory");
    fs::write(at("fleet/instances.d/first.yaml"), tiny("0", "")).expect("a manifest");
    let said = run(BINARY, |command| {
        command
            .arg("--config")
            .arg(at("instanced.yaml"))
            .arg("reconcile");
        command.current_dir(directory.path());
    });
    engine.clear(&manager, &[], &[]);
    said.expect_code(0);
}

impl Lab {
    /// A lab with an empty source on the engine that everybody shares; `more` ends its configuration.
    pub fn open(name: &str, more: &str) -> Self {
        require_parts();
        let mut guests = GUESTS.lock().unwrap_or_else(PoisonError::into_inner);
        if *guests == 0 {
            // Before daemons do it at once: an engine would make two of one name.
            make_network();
        }
        *guests += 1;
        drop(guests);
        Self::on(Engine::default(), name, more)
    }

    /// The same on an engine of the scenario's own.
    pub fn on(engine: Engine, name: &str, more: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{}-", prefix()))
            .tempdir();
        let directory = directory.expect("a directory for temporary files");
        let manager = format!("{}-{name}", prefix());
        let _ = fs::remove_file(artefacts().join(format!("{name}.log")));
        let lab = Self {
            bystanders: Bystanders::place(&engine, &manager),
            events: Events::listen(&engine, &manager),
            directory,
            name: name.to_owned(),
            manager,
            auth: free_port(),
            engine,
            daemon: None,
        };
        for sub in ["fleet/instances.d", "secrets"] {
            fs::create_dir_all(lab.path(sub)).expect("a new directory");
        }
        fs::write(lab.path("secrets/key"), "s3cret").expect("a secret");
        lab.configure(more);
        lab
    }

    /// A path within the lab.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes `instanced.yaml`, with these lines at its end.
    fn configure(&self, more: &str) {
        let here = self.directory.path();
        let text = configuration(&self.manager, self.auth, here, &self.engine, more);
        fs::write(self.path("instanced.yaml"), text).expect("instanced.yaml");
    }

    /// The path of an instance's manifest.
    pub fn manifest(&self, name: &str) -> PathBuf {
        self.path("fleet/instances.d").join(format!("{name}.yaml"))
    }

    /// Saves a manifest as most programs do: written in place and closed.
    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.manifest(name), text).expect("a manifest");
    }

    // ---- the daemon ----

    /// Starts the daemon and waits for nothing.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let daemon = Daemon::launch(
            self.directory.path(),
            &self.log_path(),
            &self.engine,
            self.auth,
        );
        self.daemon = Some(daemon);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.alive();
        self.daemon.take().expect("the daemon runs").kill();
    }

    /// It runs on: nothing that is done here may end it.
    #[track_caller]
    pub fn alive(&mut self) {
        let ended = self
            .daemon
            .as_mut()
            .expect("the daemon was started")
            .ended();
        assert!(ended.is_none(), "the daemon ended by itself: {ended:?}");
    }

    /// Whether it ended by itself; then it must have said this word.
    #[track_caller]
    pub fn ended_for(&mut self, word: &str) -> bool {
        let daemon = self.daemon.as_mut().expect("the daemon was started");
        let Some(status) = daemon.ended() else {
            return false;
        };
        self.daemon = None;
        let log = self.log();
        let last: Vec<&str> = log.lines().rev().take(4).collect();
        assert!(
            last.iter().any(|line| line.contains(word)),
            "the daemon ended with {status} and does not say why: {last:#?}"
        );
        true
    }

    fn log_path(&self) -> PathBuf {
        artefacts().join(format!("{}.log", self.name))
    }

    /// Everything that the daemon has logged here.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Notes in the daemon's log what the scenario does, for whoever reads it later.
    pub fn note(&self, what: &str) {
        use std::io::Write as _;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let _ = log.and_then(|mut log| writeln!(log, "--- {what}"));
    }

    /// Runs a command of ours to its end.
    pub fn instanced(&self, arguments: &[&str]) -> Said {
        let config = self.path("instanced.yaml").display().to_string();
        self.inside(BINARY, &[&["--config", &config], arguments].concat())
    }

    /// Runs a program where the daemon stands.
    pub fn inside(&self, program: &str, arguments: &[&str]) -> Said {
        let mut words: Vec<&str> = self.engine.inside.iter().map(String::as_str).collect();
        words.push(program);
        words.extend(arguments);
        run(words[0], |command| {
            command.args(&words[1..]).current_dir(self.directory.path());
        })
    }

    // ---- what stands ----

    /// The containers of the fleet, by instance.
    pub fn containers(&self) -> Result<BTreeMap<String, Vec<Container>>, String> {
        let mut by_instance = BTreeMap::<String, Vec<Container>>::new();
        for container in self.engine.containers(&self.manager)? {
            by_instance
                .entry(container.instance.clone())
                .or_default()
                .push(container);
        }
        Ok(by_instance)
    }

    /// The one container of an instance, running; else why not.
    pub fn one(&self, instance: &str) -> Result<Container, String> {
        let found = self.containers()?.remove(instance).unwrap_or_default();
        match <[Container; 1]>::try_from(found) {
            Ok([container]) if container.running => Ok(container),
            Ok([container]) => Err(format!("{} does not run", container.told())),
            Err(others) => Err(format!(
                "{instance} has {} containers: {}",
                others.len(),
                told(&others)
            )),
        }
    }

    /// Waits until an instance runs with this value of its variable `VALUE`.
    #[track_caller]
    pub fn runs_with(&self, instance: &str, value: &str) -> Container {
        eventually(&format!("{instance} runs with VALUE={value}"), SOON, || {
            let found = self.one(instance)?;
            match found.env("VALUE") {
                Some(env) if env == value => Ok(found),
                env => Err(format!("{} has VALUE={env:?}", found.told())),
            }
        })
    }

    /// What never may happen, whatever the scenario is.
    pub fn nothing_forbidden(&self) -> Result<(), String> {
        self.bystanders.untouched()?;
        if let Some(wrong) = self.events.wrong().first() {
            return Err(wrong.clone());
        }
        let containers = self.containers()?;
        for (instance, all) in &containers {
            let mut numbers: Vec<u64> = all.iter().map(|container| container.generation).collect();
            numbers.sort_unstable();
            numbers.dedup();
            if numbers.len() < all.len() {
                return Err(format!(
                    "two of {instance} have one generation: {}",
                    told(all)
                ));
            }
        }
        let mounted: Vec<String> = containers
            .values()
            .flatten()
            .flat_map(Container::volumes)
            .collect();
        let volumes = self.engine.volumes(&self.manager);
        let left = volumes
            .iter()
            .find(|name| name.ends_with("-secrets") && !mounted.contains(name));
        left.map_or(Ok(()), |left| {
            Err(format!("secrets are left over in {left}"))
        })
    }
}

/// Containers in a line, for a failure.
pub fn told(containers: &[Container]) -> String {
    let all: Vec<String> = containers.iter().map(Container::told).collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

/// A manifest of the tiny instance with this value of its variable `VALUE`, and these lines at its end.
pub fn tiny(value: &str, more: &str) -> String {
    format!(
        "template: mcp-http\n\
         image: {}\n\
         entrypoint: [/tiny]\n\
         env: {{ VALUE: \"{value}\" }}\n\
         resources: {{ memory: 32MiB, cpus: 0.5, pids: 64 }}\n\
         {more}\n",
        super::engine::TINY
    )
}

impl Drop for Lab {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the failed test"
    )]
    fn drop(&mut self) {
        drop(self.daemon.take());
        if std::thread::panicking() {
            let filter = format!("label=instanced.manager={}", self.manager);
            let containers = self.engine.docker(&["ps", "--all", "--filter", &filter]);
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- the end of {}\n{tail}", self.log_path().display());
            eprintln!("--- containers\n{}", containers.all());
            if std::env::var_os("INSTANCED_E2E_KEEP").is_some() {
                self.directory.disable_cleanup(true);
                eprintln!("--- kept: {}", self.directory.path().display());
            }
        }
        self.bystanders.clear(&self.manager);
        if self.engine.host.is_none() {
            let mut guests = GUESTS.lock().unwrap_or_else(PoisonError::into_inner);
            *guests -= 1;
            if *guests == 0 {
                self.engine.docker(&["network", "rm", &prefix()]);
            }
        }
    }
}
