//! Every call of git, as git gets it: which repository, which environment, which arguments. And what a server sees.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use instanced::doors::source::git::Mirror;
use instanced::words::config::GitSource;

use super::lab::Lab;

const BINARY: &str = env!("CARGO_BIN_EXE_instanced");

/// The variables that a git may have.
const ALLOWED: &[&str] = &[
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAPATH",
    "KRB5CCNAME",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_ALLOW_PROTOCOL",
    "GIT_ASKPASS",
    "GIT_ATTR_NOSYSTEM",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_HTTP_LOW_SPEED_LIMIT",
    "GIT_HTTP_LOW_SPEED_TIME",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NO_LAZY_FETCH",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OPTIONAL_LOCKS",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_TERMINAL_PROMPT",
    "HOME",
    "LC_ALL",
    "PATH",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    // What a shell sets.
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
];

/// A `git` that notes its arguments and its environment, and then does what git does.
fn noting_git(lab: &Lab) -> String {
    let path = std::env::var("PATH").expect("a PATH");
    let real = std::env::split_paths(&path)
        .map(|dir| dir.join("git"))
        .find(|file| file.is_file())
        .expect("git is there");
    let bin = lab.path("bin");
    fs::create_dir_all(&bin).expect("a directory");
    let notes = lab.path("notes");
    let script = format!(
        "#!/bin/sh\n{{ echo call; printf 'argument %s\\n' \"$@\"; env | sed -n 's/^\\([A-Za-z_0-9]*\\)=.*/variable \\1/p'; }} >> '{}'\nexec '{}' \"$@\"\n",
        notes.display(),
        real.display()
    );
    fs::write(bin.join("git"), script).expect("a file");
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("{}:{path}", bin.display())
}

fn run(lab: &Lab, path: &str, arguments: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(["--config", "instanced.yaml"])
        .args(arguments)
        .current_dir(lab.path(""))
        .env_remove("INSTANCED_CONFIG")
        .env("PATH", path)
        .env("GIT_DIR", "/nonexistent")
        .env("GIT_TRACE", "1")
        .env("GIT_PAGER", "false")
        .env("A_SECRET_OF_THE_DAEMON", "x")
        .stdin(Stdio::null())
        .output()
        .expect("our own program");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn every_call_names_its_repository_and_has_a_closed_environment() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.commit("one");
    let path = noting_git(&lab);
    let engine = "engine: { docker: { host: unix:///nonexistent/docker.sock } }\nstate: state\n";
    for source in [
        "source: { dir: work/instances.d }",
        "source: { git: { url: upstream.git, branch: main } }",
    ] {
        fs::write(lab.path("instanced.yaml"), format!("{source}\n{engine}")).expect("a file");
        for arguments in [
            &["validate"][..],
            &["status"],
            &["diff", "--base", "HEAD"],
            &["reconcile", "--dry-run"],
            &["reconcile"],
            &["doctor"],
        ] {
            run(&lab, &path, arguments);
        }
    }
    let notes = fs::read_to_string(lab.path("notes")).expect("git was called");
    let calls: Vec<&str> = notes.split("call\n").skip(1).collect();
    assert!(calls.len() > 20, "{notes}");
    for call in calls {
        let beginning: Vec<&str> = call.lines().take(3).collect();
        assert_eq!(
            beginning[..2],
            ["argument --no-pager", "argument --git-dir"],
            "{call}"
        );
        assert!(beginning[2].starts_with("argument /"), "{call}");
        for fixed in [
            "argument safe.bareRepository=explicit",
            "argument core.hooksPath=/dev/null",
            "argument core.fsmonitor=false",
            "variable GIT_NO_LAZY_FETCH",
            "variable GIT_TERMINAL_PROMPT",
            "variable GIT_ALLOW_PROTOCOL",
        ] {
            // A setting of the user's is asked for without any transport to allow.
            let is_setting = call.contains("argument config\n");
            let needed = !(is_setting && fixed.ends_with("PROTOCOL"));
            assert!(
                !needed || call.lines().any(|line| line == fixed),
                "{fixed}: {call}"
            );
        }
        for variable in call
            .lines()
            .filter_map(|line| line.strip_prefix("variable "))
        {
            assert!(ALLOWED.contains(&variable), "{variable}: {call}");
        }
    }
}

/// What any user of the host can read of all processes.
fn all_arguments() -> String {
    let mut all = String::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        all += &String::from_utf8_lossy(&arguments).replace('\0', " ");
        all.push('\n');
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_sent_to_its_server_and_is_no_argument() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = server.local_addr().expect("an address");
    let (sent, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let Ok(mut stream) = stream else { return };
            let reader = BufReader::new(stream.try_clone().expect("a stream"));
            let heads: Vec<String> = reader
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let given = heads
                .iter()
                .find_map(|line| line.strip_prefix("Authorization: Basic "));
            // A word of its own, lest the test's own memory of it counts.
            let _ = sent.send((given.map(str::to_owned), all_arguments()));
            let status = if given.is_some() { "403 No" } else { "401 Who" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let mut lab = Lab::new();
    lab.follow(|git| git.url = format!("http://ada:hunter%402-{}@{at}/fleet.git", at.port()));
    let secret = format!("hunter@2-{}", at.port());
    let said = lab.sync().await.expect_err("403").to_string();
    assert!(said.contains("403"), "{said}");
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("ada:{secret}"));
    let seen: Vec<_> = answers.try_iter().collect();
    assert_eq!(
        seen.last().expect("it was asked").0.as_ref(),
        Some(&expected)
    );
    for (_, arguments) in seen {
        assert!(arguments.contains("fetch"), "git runs: {arguments}");
        for text in [secret.as_str(), &format!("hunter%402-{}", at.port())] {
            assert!(
                !arguments.contains(text) && !said.contains(text),
                "{arguments}"
            );
        }
    }
}

#[test]
fn a_directory_for_the_moment_that_is_missing_is_blamed_on_tmpdir() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.commit("one");
    let config = "source: { git: { url: upstream.git, branch: main } }\nstate: state\n";
    fs::write(lab.path("instanced.yaml"), config).expect("a file");
    let output = Command::new(BINARY)
        .args(["--config", "instanced.yaml", "reconcile", "--dry-run"])
        .current_dir(lab.path(""))
        .env_remove("INSTANCED_CONFIG")
        .env("TMPDIR", lab.path("missing"))
        .output()
        .expect("our own program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("failed to fetch into a temporary directory in ")
            && said.contains("/missing")
            && said.contains("set TMPDIR to a directory that exists"),
        "{said}"
    );
}

#[tokio::test]
async fn a_mirror_that_cannot_be_written_is_blamed_on_the_disk() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    lab.commit("one");
    // As on a full disk: nothing can be made there.
    fs::write(lab.path("file"), "").expect("a file");
    let upstream = lab.upstream().display().to_string();
    let mirror = Mirror::new(&lab.path("file"), &GitSource::new(upstream));
    let said = mirror.fetch().await.expect_err("no room").to_string();
    assert!(
        said.starts_with("cannot write in ") && said.ends_with("or make it writable"),
        "{said}"
    );
}

#[test]
fn an_address_runs_no_program() {
    let lab = Lab::new();
    let canary = lab.path("canary");
    let config = format!(
        "source: {{ git: {{ url: \"ext::sh -c 'touch {}'\", branch: main }} }}\nstate: state\n",
        canary.display()
    );
    fs::write(lab.path("instanced.yaml"), config).expect("a file");
    let path = std::env::var("PATH").expect("a PATH");
    let said = run(&lab, &path, &["reconcile", "--dry-run"]);
    assert!(!canary.exists(), "{said}");
    assert!(said.contains("transport 'ext' not allowed"), "{said}");
}
