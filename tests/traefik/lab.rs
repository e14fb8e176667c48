//! A place of its own for each test: a daemon, a Traefik and an upstream.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use instanced::doors::edge::{RouteFiles, server};
use instanced::words::config::Config;
use instanced::words::desired::{Snapshot, SourceFile};
use instanced::words::resolve::resolve;
use instanced::words::router::routers;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Client, PATIENCE};
use super::process::Process;
use super::upstream::{Seen, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// Where the containers would be: an address that leads nowhere.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Of every instance: clients with tokens, and people with tickets.
const MANIFEST: &str = "endpoints: { vnc: { auth: ticket } }\n";
/// The daemon knows these.
pub const KNOWN: [&str; 2] = ["alice", "bob"];
/// Traefik alone has routes of this one, as it has for a moment when an instance was removed.
pub const UNKNOWN: &str = "carol";

/// Below the ports that the kernel gives to clients.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 800).unwrap() * 10;
    for _ in 0..1_000 {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port of loopback from {start} on");
}

/// Where a test happens.
pub struct Lab {
    dir: TempDir,
    config: Config,
    /// `listen.auth`, where Traefik asks.
    pub auth: SocketAddr,
    pub http: SocketAddr,
    api: SocketAddr,
    pub upstream: Upstream,
}

/// What a lab is like, where it is not like all.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wishes {
    /// The listener speaks TLS.
    pub tls: bool,
    /// `origins`.
    pub origins: &'static [&'static str],
    /// `domain`.
    pub domain: Option<&'static str>,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Wishes::default())
    }

    pub fn with(wishes: Wishes) -> Self {
        let dir = TempDir::new().unwrap();
        let here = dir.path().display();
        let (auth, http, api) = (free_port(), free_port(), free_port());
        let mut text = format!(
            "manager: behind-traefik\n\
             domain: {}\n\
             public: {{ scheme: http, port: {} }}\n\
             engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
             listen: {{ auth: \"{auth}\", admin: \"127.0.0.1:0\" }}\n\
             trusted_proxies: [127.0.0.1/32]\n\
             origins: {:?}\n\
             state: {here}/state\n\
             traefik:\n  entrypoints: [web]\n  tls: false\n  middlewares: [security-headers@file]\n",
            wishes.domain.unwrap_or("mcp.localhost"),
            http.port(),
            wishes.origins,
        );
        if wishes.tls {
            text = format!("{text}  auth_ca: {here}/auth-ca.pem\n");
        }
        let config = serde_yaml::from_str(&text).unwrap();
        for directory in ["instances.d", "dynamic", "drafts"] {
            fs::create_dir(dir.path().join(directory)).unwrap();
        }
        fs::write(dir.path().join("instanced.yaml"), text).unwrap();
        for name in KNOWN {
            fs::write(
                dir.path().join(format!("instances.d/{name}.yaml")),
                MANIFEST,
            )
            .unwrap();
        }
        Self {
            dir,
            config,
            auth,
            http,
            api,
            upstream: Upstream::start(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The host of an instance's MCP endpoint.
    pub fn host(&self, name: &str) -> String {
        format!("mcp-{name}.{}", self.config.domain)
    }

    /// What the daemon would write for Traefik, but that it leads to the upstream.
    pub fn routes(&self) -> Vec<(String, String)> {
        let file = |name: &&str| SourceFile::of_text(&format!("instances.d/{name}.yaml"), MANIFEST);
        let names = [KNOWN[0], KNOWN[1], UNKNOWN];
        let snapshot = Snapshot {
            manifests: names.iter().map(file).collect(),
            ..Snapshot::default()
        };
        let desired = resolve(&snapshot, &self.config).unwrap();
        assert_eq!(
            desired.specs.len(),
            names.len(),
            "{:?}",
            desired.diagnostics
        );
        let manager = &self.config.manager;
        let drafts = RouteFiles::new(self.path("drafts"), manager.clone());
        let upstream = format!("http://{}", self.upstream.address);
        let mut all = Vec::new();
        for (name, spec) in &desired.specs {
            let draft = drafts.draft(spec, 1, NOWHERE.into());
            drafts.write(name, &draft).unwrap();
            let file = format!("instanced-{manager}-{name}.yaml");
            let mut text = fs::read_to_string(self.path("drafts").join(&file)).unwrap();
            for router in routers(manager, spec, 1) {
                let there = server(NOWHERE.into(), router.port);
                assert!(text.contains(&there), "{text}");
                text = text.replace(&there, &upstream);
            }
            all.push((file, text));
        }
        all
    }

    /// Traefik with these routes.
    pub fn edge(&self) -> Edge {
        self.edge_with(&self.routes())
    }

    pub fn edge_with(&self, routes: &[(String, String)]) -> Edge {
        fs::copy(
            Path::new(REPOSITORY).join("traefik/local/dynamic/security-headers.yaml"),
            self.path("dynamic/security-headers.yaml"),
        )
        .unwrap();
        for (file, text) in routes {
            fs::write(self.path("dynamic").join(file), text).unwrap();
        }
        let log = File::create(self.path("traefik.log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(Path::new(REPOSITORY).join("traefik/run.sh"))
            .args(["local", "--docker", "none"])
            .args(["--http", &self.http.to_string()])
            .args(["--api", &self.api.to_string()])
            .arg("--dynamic")
            .arg(self.path("dynamic"))
            .arg("--out")
            .arg(self.path("traefik.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv is part of util-linux");
        let mut edge = Edge { child };
        let host = self.host(UNKNOWN);
        // Whatever is answered there: it is routed.
        self.eventually("Traefik serves the routes", || {
            let ended = edge.child.try_wait().unwrap();
            let log = || fs::read_to_string(self.path("traefik.log")).unwrap_or_default();
            assert!(ended.is_none(), "no Traefik: {}", log());
            let mut client = Client::from(Ipv4Addr::LOCALHOST, self.http).ok()?;
            client
                .send(format!("GET /mcp HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .ok()?;
            (client.answer().ok()?.status != 404).then_some(())
        });
        edge
    }

    /// Waits until there is something.
    pub fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            if since.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.path("traefik.log")).unwrap_or_default();
                panic!("not within {} s: {what}\n{log}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", BINARY])
            .args(arguments)
            .current_dir(self.dir.path())
            .env("INSTANCED_CONFIG", "instanced.yaml")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let said = self.command(arguments).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        said
    }

    /// What `doctor` finds where it may ask Traefik's API.
    pub fn doctor(&self) -> Vec<Value> {
        let known = fs::read_to_string(self.path("instanced.yaml")).unwrap();
        let asking = format!("{known}  api: http://{}\n", self.api);
        fs::write(self.path("asking.yaml"), asking).unwrap();
        let mut command = self.command(&["--config", "asking.yaml", "--format", "json", "doctor"]);
        let said = command.output().unwrap();
        let all: Value = serde_json::from_slice(&said.stdout).unwrap();
        all["checks"].as_array().unwrap().clone()
    }

    /// A new token of an instance.
    pub fn token(&self, name: &str, label: &str) -> String {
        let said = self.run(&["-q", "token", "issue", name, "--label", label]);
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    /// Revokes the token with this label.
    pub fn revoke(&self, label: &str) {
        let listed = self.run(&["--format", "json", "token", "list"]).stdout;
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        let mut listed = listed.as_array().unwrap().iter();
        let id = listed.find(|token| token["label"] == label).unwrap()["id"].as_str();
        self.run(&["token", "revoke", id.unwrap()]);
    }

    /// What the control socket answers.
    fn control(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.path("state/control.sock")).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// A new ticket for the screen of an instance.
    pub fn ticket(&self, name: &str) -> String {
        let path = format!("/v1/instances/{name}/tickets");
        let answer = self.control("POST", &path, r#"{ "endpoint": "vnc", "label": "Ada" }"#);
        let issued: Value = serde_json::from_str(&answer).unwrap();
        let token = issued["token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// How many connections the listener has had.
    pub fn connections(&self) -> usize {
        let metrics = self.control("GET", "/metrics", "");
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix("instanced_auth_connections_total "));
        count.and_then(|count| count.parse().ok()).unwrap()
    }

    /// How many questions were answered so, about any instance or this one.
    pub fn answered(&self, instance: Option<&str>, reason: Option<&str>) -> usize {
        let metrics = self.control("GET", "/metrics", "");
        assert!(
            metrics.contains("instanced_auth_requests_total{"),
            "{metrics}"
        );
        let label = |name: &str, value: Option<&str>| {
            value.map_or(String::new(), |value| format!("{name}=\"{value}\""))
        };
        let wanted = [label("name", instance), label("reason", reason)];
        let rows = metrics.lines().filter(|line| {
            line.starts_with("instanced_auth_requests_total{")
                && wanted.iter().all(|label| line.contains(label))
        });
        let counts = rows.map(|row| row.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
        counts.sum()
    }

    /// Sends this through Traefik on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = Client::new(self.http);
        client.send(request).unwrap();
        client.answer().unwrap()
    }

    /// A GET of `/mcp` at an instance, with these header lines.
    pub fn get(&self, name: &str, headers: &str) -> Answer {
        let host = self.host(name);
        self.ask(format!(
            "GET /mcp HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        ))
    }

    /// The same with a token.
    pub fn get_as(&self, name: &str, token: &str, headers: &str) -> Answer {
        self.get(name, &format!("Authorization: Bearer {token}\r\n{headers}"))
    }

    /// Waits until the token opens: a manifest that was written just now must have settled.
    pub fn until_known(&self, name: &str, token: &str) {
        self.eventually("the instance is known", || {
            (self.get_as(name, token, "").status == 200).then_some(())
        });
    }
}

/// That a request has reached the upstream as this instance's, once, and without what opened the way.
#[track_caller]
pub fn passed(answer: &Answer, instance: &str, token: &str) -> Seen {
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = Seen::read(&answer.body);
    assert_eq!(seen.all("X-MCP-Instance-Id"), [instance], "{seen:?}");
    assert!(seen.all("Authorization").is_empty(), "{seen:?}");
    assert!(!answer.body.contains(token), "{seen:?}");
    seen
}

/// A Traefik, which does not outlive the test.
pub struct Edge {
    child: Child,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `instanced serve`.
pub struct Daemon(Process);

impl Daemon {
    /// Up to the moment when it says that it is ready.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut process = Process::start(&mut lab.command(&[&["serve"], arguments].concat()));
        process.wait_for("ready: ");
        Self(process)
    }

    pub fn terminate(&self) {
        self.0.terminate();
    }

    /// Waits until it has ended on its own, with its log up to then.
    pub fn ended(self) -> (bool, String) {
        self.0.ended()
    }
}
