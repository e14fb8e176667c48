//! A directory as an operator has it: a configuration, a fleet of two tiny instances, a shell that knows `instanced`.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::page::{self, Command};

pub const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
pub const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// The page's image is a browser; this one costs next to nothing, and has a health check, too.
const IMAGE: &str = "instanced/tiny-runbook:1";
const PATIENCE: Duration = Duration::from_secs(90);
/// What runs until it is told to end.
const FOLLOWING: [&str; 4] = [
    "instanced serve",
    "instanced status --watch",
    "instanced logs -f",
    "instanced top",
];

/// Fails with the way out where the engine is missing; builds the image.
pub fn require() {
    let answers = Process::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    assert!(
        answers.is_ok_and(|output| output.status.success()),
        "no container engine answers: run scripts/engine.sh ensure (make test does it)"
    );
    let check = "HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD [\"/tiny\", \"ping\"]";
    let built = Process::new(format!("{REPOSITORY}/tests/tiny/build.sh"))
        .args([IMAGE, check])
        .status();
    assert!(built.expect("a script").success(), "{IMAGE} was not built");
}

/// Where a section is played.
pub struct Lab {
    directory: TempDir,
    manager: String,
    auth: u16,
    admin: u16,
    daemon: Option<Child>,
    ids: page::Ids,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    listener.local_addr().expect("bound").port()
}

impl Lab {
    pub fn open(heading: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = std::env::var("INSTANCED_E2E_PREFIX");
        let prefix = prefix.unwrap_or_else(|_| format!("e2e-{}", std::process::id()));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("runbook-").tempdir();
        let lab = Self {
            directory: directory.expect("a directory for temporary files"),
            manager: format!("{prefix}-rb{number}"),
            auth: free_port(),
            admin: free_port(),
            daemon: None,
            ids: page::Ids::new(),
        };
        for dir in ["fleet/instances.d", "etc", "secrets", "bin"] {
            fs::create_dir_all(lab.path(dir)).expect("a new directory");
        }
        symlink(BINARY, lab.path("bin/instanced")).expect("a link");
        // Whoever runs the test is the operator already.
        let sudo = "#!/bin/sh\n[ \"$1\" != -u ] || shift 2\nexec \"$@\"\n";
        fs::write(lab.path("bin/sudo"), sudo).expect("a file");
        fs::set_permissions(lab.path("bin/sudo"), fs::Permissions::from_mode(0o755))
            .expect("a mode");
        let (manager, here) = (&lab.manager, lab.path("").display().to_string());
        let config = format!(
            "manager: {manager}\nsource: {{ dir: instances.d }}\nstate: {here}state\n\
             network: {{ name: {manager} }}\n\
             listen: {{ auth: \"127.0.0.1:{}\", admin: \"127.0.0.1:{}\" }}\n\
             policy: {{ secrets: {{ allow: [\"{here}secrets/*\"] }}, auth_none: allow }}\n",
            lab.auth, lab.admin
        );
        fs::write(lab.path("fleet/instanced.yaml"), config).expect("a file");
        let fleet = format!(
            "defaults:\n  image: {IMAGE}\n  entrypoint: [/tiny]\n  \
             resources: {{ memory: 64MiB, cpus: 1, pids: 64, shm: 1MiB }}\n"
        );
        fs::write(lab.path("fleet/fleet.yaml"), fleet).expect("a file");
        fs::write(lab.path("fleet/instances.d/alice.yaml"), "{}\n").expect("a file");
        let bob = "owner: bob@example.com\n";
        fs::write(lab.path("fleet/instances.d/bob.yaml"), bob).expect("a file");
        // Files that were written just now are left alone for a moment.
        let aged = lab
            .shell("find . -type f -exec touch -d '1 hour ago' {} +")
            .status();
        assert!(aged.expect("bash").success(), "{heading}");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is different here, and what the page says for it.
    fn places(&self) -> [(String, &'static str); 9] {
        let at = |name: &str| self.path(name).display().to_string();
        [
            (at("state"), "/var/lib/instanced"),
            (at("etc"), "/etc/instanced"),
            (at("secrets"), "/run/secrets"),
            (at("fleet"), "/srv/fleet"),
            (format!("127.0.0.1:{}", self.auth), "127.0.0.1:9180"),
            (format!("127.0.0.1:{}", self.admin), "127.0.0.1:9181"),
            (format!("instanced-{}-", self.manager), "instanced-default-"),
            (
                format!("instanced.manager={}", self.manager),
                "instanced.manager=default",
            ),
            (IMAGE.to_owned(), "localhost/instanced/browser:1"),
        ]
    }

    fn here(&self, text: &str) -> String {
        let places = self.places();
        let text = places.iter().fold(text.to_owned(), |text, (here, page)| {
            text.replace(page, here)
        });
        let ids = self.ids.iter();
        ids.fold(text, |text, (page, here)| text.replace(page, here))
    }

    fn as_on_the_page(&self, text: &str) -> String {
        let places = self.places();
        let text = places.iter().fold(text.to_owned(), |text, (here, page)| {
            text.replace(here, page)
        });
        text.replace(&format!("manager `{}`", self.manager), "manager `default`")
            .replace(
                &format!("network {}", self.manager),
                "network mcp_instances",
            )
    }

    fn shell(&self, script: &str) -> Process {
        // Nothing of it outlives the test.
        let mut process = Process::new("setpriv");
        process
            .args([
                "--pdeathsig",
                "KILL",
                "bash",
                "--noprofile",
                "--norc",
                "-c",
                script,
            ])
            .current_dir(self.path("fleet"))
            .env(
                "PATH",
                format!(
                    "{}:{}",
                    self.path("bin").display(),
                    std::env::var("PATH").unwrap_or_default()
                ),
            )
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.path(""))
            .stdin(Stdio::null());
        process
    }

    /// Runs a setup's lines.
    pub fn prepare(&mut self, lines: &[String]) -> Result<(), String> {
        let mut script = String::new();
        for line in lines {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["serve", arguments @ ..] => {
                    self.silently(&std::mem::take(&mut script))?;
                    self.serve(&format!("instanced serve {}", arguments.join(" ")), &[])?;
                }
                ["end"] => {
                    self.silently(&std::mem::take(&mut script))?;
                    self.end()?;
                }
                _ => {
                    script += line;
                    script.push('\n');
                }
            }
        }
        self.silently(&script)
    }

    fn silently(&self, script: &str) -> Result<(), String> {
        if script.is_empty() {
            return Ok(());
        }
        let prelude = format!(". {REPOSITORY}/tests/runbook/prelude.sh\n");
        let said = self
            .shell(&format!("{prelude}{}", self.here(script)))
            .output()
            .expect("bash");
        if said.status.success() {
            return Ok(());
        }
        Err(format!(
            "its setup failed:\n{script}\n{}{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr),
            self.log()
        ))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Runs what is typed, and compares.
    pub fn run(&mut self, command: &Command) -> Result<(), String> {
        let wrong = |why: String| format!("line {}: $ {}\n{why}", command.line, command.text);
        let follows = FOLLOWING
            .iter()
            .any(|begin| command.text.starts_with(begin));
        if follows && command.code == 0 {
            return if command.text.starts_with("instanced serve") {
                self.serve(&command.text, &command.shown).map_err(wrong)
            } else {
                self.follow(command).map_err(wrong)
            };
        }
        let log = self.path("command.log");
        let (out, err) = (
            File::create(&log).expect("a file"),
            File::options().append(true).open(&log),
        );
        let script = self.here(&command.text);
        let mut child = self
            .shell(&script)
            .stdout(File::options().append(true).open(&log).expect("a file"))
            .stderr(err.expect("a file"))
            .spawn()
            .expect("bash");
        drop(out);
        let Some(code) = ended(&mut child) else {
            return Err(wrong("it does not end".to_owned()));
        };
        let printed = self.as_on_the_page(&fs::read_to_string(&log).unwrap_or_default());
        if code != command.code {
            return Err(wrong(format!(
                "exits with {code:?}:\n{printed}\n{}",
                self.log()
            )));
        }
        if command.shown.is_empty() {
            return Ok(());
        }
        let shows = page::shows(&command.shown, &printed);
        self.ids
            .extend(shows.map_err(|why| wrong(format!("{why}\n{printed}")))?);
        Ok(())
    }

    /// What follows until Ctrl-C, on a terminal: it must come to print what is shown, and end by that key.
    fn follow(&self, command: &Command) -> Result<(), String> {
        let log = self.path("follow.log");
        let script = format!("stty cols 160 rows 50; exec {}", self.here(&command.text));
        let mut child = self
            .shell("exec script --quiet --return --command \"$TYPED\" /dev/null")
            .env("TYPED", script)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(File::create(&log).expect("a file"))
            .spawn()
            .expect("bash");
        let printed = || {
            let drawn = fs::read(&log).unwrap_or_default();
            self.as_on_the_page(&undrawn(&String::from_utf8_lossy(&drawn)))
        };
        let mut result = Ok(());
        until(|| {
            let printed = printed();
            result = page::shows(&command.shown, &printed)
                .map(drop)
                .map_err(|why| format!("{why}\n{printed}"));
            result.is_ok() || child.try_wait().is_ok_and(|ended| ended.is_some())
        });
        let mut keys = child.stdin.take().expect("a pipe");
        let _ = keys.write_all(b"\x03");
        let code = ended(&mut child);
        result?;
        match code {
            Some(0) => Ok(()),
            other => Err(format!("Ctrl-C ends it with {other:?}\n{}", printed())),
        }
    }

    /// Starts the daemon, and waits until it is ready.
    fn serve(&mut self, typed: &str, shown: &[String]) -> Result<(), String> {
        if self.daemon.is_some() {
            return Err("a daemon runs already".to_owned());
        }
        let before = self.log().matches("ready: ").count();
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.path("daemon.log"));
        let file = file.expect("a file");
        let child = self
            .shell(&format!("exec {}", self.here(typed)))
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("bash");
        self.daemon = Some(child);
        until(|| self.log().matches("ready: ").count() > before);
        let log = self.as_on_the_page(&self.log());
        // The log of a daemon that nobody watches is JSON; the page shows what a person sees.
        let message = |line: &str| {
            let told: serde_json::Value = serde_json::from_str(line).ok()?;
            let message = told["message"].as_str()?.to_owned();
            message.starts_with("ready: ").then_some(message)
        };
        let mut ready = log.lines().filter_map(message);
        let last = ready
            .nth(before)
            .ok_or_else(|| format!("it is not ready:\n{log}"))?;
        if shown.is_empty() {
            return Ok(());
        }
        let compared = page::shows(shown, &last);
        compared.map(drop).map_err(|why| format!("{why}\n{last}"))
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(mut child) = self.daemon.take() else {
            return Err("no daemon runs".to_owned());
        };
        interrupt(&child, rustix::process::Signal::TERM);
        match ended(&mut child) {
            Some(0) => Ok(()),
            other => Err(format!("the daemon ended with {other:?}:\n{}", self.log())),
        }
    }
}

fn interrupt(child: &Child, signal: rustix::process::Signal) {
    let id = i32::try_from(child.id()).expect("a process id");
    let id = rustix::process::Pid::from_raw(id).expect("a process id");
    // One that has ended already is found out where its code is read.
    let _ = rustix::process::kill_process(id, signal);
}

fn until(mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a terminal was told, without how it is drawn.
fn undrawn(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            // A control sequence ends with a letter.
            '\u{1b}' => drop(rest.by_ref().find(char::is_ascii_alphabetic)),
            '\r' => {}
            other => kept.push(other),
        }
    }
    kept
}

/// How it ended; `None` when that takes too long, and it is killed. After a signal the code is -1.
fn ended(child: &mut Child) -> Option<i32> {
    let mut status = None;
    until(|| {
        status = child.try_wait().expect("a child of ours");
        status.is_some()
    });
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    status.map(|status| status.code().unwrap_or(-1))
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let label = format!("label=instanced.manager={}", self.manager);
        let script = format!(
            "docker ps -aq --filter {label} | xargs -r docker rm -fv\n\
             docker ps -aq --filter network={0} | xargs -r docker rm -fv\n\
             docker volume ls -q --filter name=instanced-{0}- | xargs -r docker volume rm\n\
             docker network rm {0}\n",
            self.manager
        );
        let _ = self
            .shell(&script)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
