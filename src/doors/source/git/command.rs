//! The only place that starts git.
//!
//! Every call names its repository with `--git-dir`, so git never looks for one. The environment is cleared, and the
//! variables that pass are listed here. A call that reads sees no configuration but the repository's own, which
//! [`super::configuration`] has compared with a closed list before; it runs no hook, no monitor, no pager and no
//! transport. A call that talks to a server sees the configuration of the daemon's user, too: that is where keys and
//! credential helpers are named. No credential is ever an argument: any user of the host can read those.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use super::address::Address;
use super::place::Place;
use super::{GitError, no_program, said};

/// How much of a short answer is read, in bytes.
const ANSWER_MAX: u64 = 64 << 10;
/// How much of what git says against a call is read, in bytes.
pub(super) const SAID_MAX: u64 = 16 << 10;

/// What overrides every file of configuration. `core.pager` and `diff.external` have no entry: nothing that reads them
/// is called. A git that does not know a key ignores it.
const FIXED: [&str; 4] = [
    "safe.bareRepository=explicit",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
];

/// Variables that every git gets, and their values. No repository of a caller's (`GIT_DIR` and its like) is among
/// them, since the environment is cleared.
const ALWAYS: [(&str, &str); 7] = [
    ("LC_ALL", "C"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    // A commit is what its id says.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ATTR_NOSYSTEM", "1"),
];

/// The same for calls that read: no configuration of the system or the user, no transport.
const READING: [(&str, &str); 3] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ALLOW_PROTOCOL", "none"),
];

/// The same for calls that talk to a server. `ext` and other helpers that run commands are not among the transports.
const TALKING: [(&str, &str); 4] = [
    ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file"),
    ("GIT_HTTP_LOW_SPEED_LIMIT", "100"),
    ("GIT_HTTP_LOW_SPEED_TIME", "60"),
    // Empty: nobody is asked. A variable of the operator's takes its place.
    ("GIT_ASKPASS", ""),
];

/// Variables of the daemon that pass to a git that talks to a server.
const PASSED: &[&str] = &[
    // The user's configuration, keys, known hosts and credential helpers; where the last of these keep theirs.
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    // An agent that holds keys, and an ssh of the operator's choice.
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    // A program of the operator's that answers for a person.
    "GIT_ASKPASS",
    // Configuration of the operator's choice.
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    // Proxies, by the names that libcurl reads.
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_PROXY_SSL_CAINFO",
    // Authorities that vouch for servers.
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    // What a helper writes for the moment.
    "TMPDIR",
];

/// A repository that git is run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Git {
    dir: PathBuf,
    tree: Option<PathBuf>,
}

impl Git {
    /// A bare repository of our own, in a directory that nobody else writes to.
    pub(super) fn bare(dir: &Path) -> Self {
        Self {
            dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
            tree: None,
        }
    }

    /// A repository of somebody's, once its configuration was found harmless.
    pub(super) fn checkout(place: &Place) -> Self {
        Self {
            dir: place.dir.clone(),
            tree: Some(place.top.clone()),
        }
    }

    /// No repository at all, for what needs none.
    pub(super) fn nowhere() -> Self {
        Self {
            dir: "/dev/null".into(),
            tree: None,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("--no-pager").arg("--git-dir").arg(&self.dir);
        if let Some(tree) = &self.tree {
            command.arg("--work-tree").arg(tree);
        }
        for setting in FIXED {
            command.args(["-c", setting]);
        }
        command
            .args(arguments)
            .env_clear()
            .envs(passed(&["PATH"]))
            .envs(ALWAYS)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn reading(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.envs(READING);
        if self.tree.is_none() && self.dir.is_dir() {
            // What git writes for the moment, such as a signature, lies beside what it is about.
            command.env("TMPDIR", &self.dir);
        }
        command
    }

    /// A git that talks to a server. Its credentials pass in the environment.
    pub(super) fn talking(&self, arguments: &[&str], address: &Address) -> Command {
        let mut command = self.command(arguments);
        command.envs(TALKING).envs(passed(PASSED));
        let settings = address.settings();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{number}"), key)
                .env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.envs(address.variables());
        command
    }

    /// Runs git to its end. Returns its answer, or what it said against the call.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Result<Vec<u8>, String>, GitError> {
        short(self.reading(arguments))
    }

    /// Asks for a setting of the daemon's user or the system, such as `core.sshCommand`. None where there is none.
    pub(super) fn user_setting(arguments: &[&str]) -> Result<Option<Vec<u8>>, GitError> {
        let arguments = [&["config"], arguments].concat();
        let mut command = Self::nowhere().command(&arguments);
        command.envs(passed(PASSED));
        Ok(short(command)?.ok())
    }

    /// The same as [`run`](Self::run), where what git says against the call is a failure.
    pub(super) fn must(&self, what: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        match self.run(arguments)? {
            Ok(answer) => Ok(super::text(&answer)),
            Err(why) => Err(GitError::of_failure(what, why, &self.dir)),
        }
    }

    /// Runs git to its end with this input, and hands its answer to `read` as it comes. Where `read` fails, git is
    /// stopped.
    pub(super) fn stream<T>(
        &self,
        what: &'static str,
        arguments: &[&str],
        input: String,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let mut command = self.reading(arguments);
        command.stdin(Stdio::piped());
        match stream(command, input, read)? {
            Ok(answer) => Ok(answer),
            Err(why) => Err(GitError::of_failure(what, why, &self.dir)),
        }
    }
}

/// The variables among these that the daemon has.
fn passed(names: &[&'static str]) -> Vec<(&'static str, OsString)> {
    let found = names
        .iter()
        .map(|name| std::env::var_os(name).map(|value| (*name, value)));
    found.flatten().collect()
}

fn short(command: Command) -> Result<Result<Vec<u8>, String>, GitError> {
    stream(command, String::new(), |answer| {
        let mut read = Vec::new();
        let failed = |why: String| GitError::Failed { what: "call", why };
        let mut answer = answer.take(ANSWER_MAX + 1);
        answer
            .read_to_end(&mut read)
            .map_err(|error| failed(error.to_string()))?;
        if read.len() as u64 > ANSWER_MAX {
            return Err(failed(format!(
                "the answer is longer than {ANSWER_MAX} bytes"
            )));
        }
        Ok(read)
    })
}

fn stream<T>(
    mut command: Command,
    input: String,
    read: impl FnOnce(&mut dyn BufRead) -> Result<T, GitError>,
) -> Result<Result<T, String>, GitError> {
    let mut child = Running(command.spawn().map_err(no_program)?);
    // Beside the reading: each of the three pipes is shorter than a fleet.
    let writing = child.0.stdin.take().map(|mut stdin| {
        thread::spawn(move || {
            // A git that ends early says why itself.
            let _ = stdin.write_all(input.as_bytes());
        })
    });
    let complaint = child.0.stderr.take().map(complaint);
    let stdout = child.0.stdout.take().expect("a pipe was asked for");
    let answer = read(&mut BufReader::new(stdout))?;
    let status = child.0.wait().map_err(no_program)?;
    let complaint = complaint.and_then(|reading| reading.join().ok());
    if let Some(writing) = writing {
        let _ = writing.join();
    }
    Ok(if status.success() {
        Ok(answer)
    } else {
        Err(said_by(&complaint.unwrap_or_default(), status))
    })
}

/// Reads so much of what is said, and lets the rest go: a full pipe would stop git.
fn complaint(mut stderr: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut read = Vec::new();
        let _ = (&mut stderr).take(SAID_MAX).read_to_end(&mut read);
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        read
    })
}

fn said_by(stderr: &[u8], status: ExitStatus) -> String {
    let why = said(stderr);
    if why.is_empty() {
        status.to_string()
    } else {
        why
    }
}

/// A child that does not outlive what waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing happens to one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
