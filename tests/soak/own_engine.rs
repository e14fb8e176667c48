//! A container engine of a scenario's own, to be restarted, killed and frozen.
//!
//! It stands in namespaces for network, processes and mounts: a second dockerd in the host's network would delete
//! the first one's bridge, and when the namespaces end, no container, mount or address is left of it. The daemon
//! that uses it stands in the same network.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::engine::Engine;
use super::lab::{artefacts, prefix, require_parts};
use super::said::{eventually, run};

/// How long dockerd may take to start, to end, and to end its containers.
const PATIENCE: Duration = Duration::from_secs(90);

/// The engine and its namespaces.
pub struct OwnEngine {
    directory: PathBuf,
    name: String,
    /// Holds the namespaces; nothing in them outlives it.
    holder: Child,
    /// The first process in them, as the host numbers it.
    init: String,
    dockerd: Option<Child>,
}

/// Whether containers run on without dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// `--live-restore`.
    RunOn,
    /// Docker's default: they end with it, and their restart policies bring them back.
    EndWithIt,
}

impl OwnEngine {
    /// Makes the namespaces and starts the engine.
    pub fn start(name: &str, containers: Containers) -> Self {
        require_parts();
        // Not below the tests' own temporary directory: a socket's path has 107 bytes at most.
        let directory = PathBuf::from(format!("/tmp/{}-{name}", prefix()));
        fs::create_dir_all(&directory).expect("a new directory");
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--pid",
        ]);
        command.args(["--fork", "--kill-child", "--mount-proc"]);
        // As the first process it has to take in orphans; a shell does.
        command.args([
            "bash",
            "-c",
            "ip link set lo up; while :; do sleep 1000 & wait; done",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let holder = command
            .spawn()
            .expect("setpriv and unshare are part of util-linux");
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let init = eventually("the namespaces are there", PATIENCE, || {
            let text = fs::read_to_string(&children).map_err(|error| error.to_string())?;
            text.split_whitespace()
                .next()
                .map(str::to_owned)
                .ok_or_else(|| "not yet".to_owned())
        });
        let mut engine = Self {
            directory,
            name: name.to_owned(),
            holder,
            init,
            dockerd: None,
        };
        engine.launch(containers);
        engine
            .engine()
            .copy_image(&engine.directory.join("image.tar"));
        engine
    }

    /// How the daemon and the tests reach it.
    pub fn engine(&self) -> Engine {
        let inside = ["nsenter", "--target", &self.init, "--net", "--"];
        Engine {
            host: Some(format!("unix://{}/docker.sock", self.directory.display())),
            inside: inside.map(str::to_owned).to_vec(),
        }
    }

    fn within(&self) -> Vec<&str> {
        vec!["--target", &self.init, "--net", "--pid", "--mount", "--"]
    }

    /// Starts dockerd, and waits until it answers.
    pub fn launch(&mut self, containers: Containers) {
        assert!(self.dockerd.is_none(), "dockerd runs already");
        let path = |name: &str| self.directory.join(name).display().to_string();
        // A number in here may be another process's by now.
        let _ = fs::remove_file(path("pid"));
        let log = artefacts().join(format!("{}.dockerd.log", self.name));
        let log = OpenOptions::new().create(true).append(true).open(log);
        let log = log.expect("dockerd's log");
        let mut command = Command::new("nsenter");
        command.args(self.within()).arg("dockerd");
        command.args(["--host", &format!("unix://{}", path("docker.sock"))]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        command.args(["--pidfile", &path("pid")]);
        if containers == Containers::RunOn {
            command.arg("--live-restore");
        }
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let mut child = command.spawn().expect("nsenter is part of util-linux");
        let engine = self.engine();
        eventually("the engine answers", PATIENCE, || {
            let ended = child.try_wait().expect("a child of ours");
            assert!(
                ended.is_none(),
                "dockerd ended while starting: {ended:?}; see .run/soak"
            );
            let said = engine.docker(&["version", "--format", "{{.Server.Version}}"]);
            if said.code == Some(0) {
                Ok(())
            } else {
                Err(said.to_string())
            }
        });
        self.dockerd = Some(child);
    }

    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.directory.join("pid")).expect("dockerd's pid");
        let kill = format!("kill -{name} {}", pid.trim());
        run("nsenter", |command| {
            command.args(self.within()).args(["sh", "-c", &kill]);
        })
        .expect_code(0);
    }

    fn ended(&mut self) {
        let mut dockerd = self.dockerd.take().expect("dockerd runs");
        eventually("dockerd ends", PATIENCE, || {
            let ended = dockerd.try_wait().expect("a child of ours");
            ended.map(drop).ok_or_else(|| "it still runs".to_owned())
        });
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.ended();
    }

    /// SIGSTOP: connections are taken, and nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
        // nsenter stops with what it started, and does not notice that it goes on.
        if let Some(dockerd) = &self.dockerd {
            run("kill", |command| {
                command.args(["-CONT", &dockerd.id().to_string()]);
            });
        }
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        // With the first process, all others in the namespace end, and the mounts with them.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if let Some(mut dockerd) = self.dockerd.take() {
            let _ = dockerd.kill();
            let _ = dockerd.wait();
        }
        for _ in 0..50 {
            // The kernel needs a moment for the mounts.
            if fs::remove_dir_all(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
