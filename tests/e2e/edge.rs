//! A real Traefik for one lab, and plain requests through it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::lab::{Lab, REPOSITORY};
use super::said::{eventually, run};

/// Traefik in the local layout, serving one manager's containers.
pub struct Edge {
    child: Child,
    connect: String,
    port: u16,
}

/// An answer to a plain request.
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

impl Edge {
    /// Starts it, and waits until it answers.
    pub fn start(lab: &Lab) -> Self {
        let docker = format!("unix://{}", super::engine::socket());
        Self::start_with(lab, &["--docker", &docker, "--manager", &lab.manager])
    }

    /// The same without the engine: routes come from files in this directory of the lab's alone.
    pub fn start_by_files(lab: &Lab, directory: &str) -> Self {
        let directory = lab.path(directory);
        std::fs::create_dir(&directory).expect("a new directory");
        let headers = "dynamic/security-headers.yaml";
        std::fs::copy(
            format!("{REPOSITORY}/traefik/local/{headers}"),
            directory.join("security-headers.yaml"),
        )
        .expect("the layout's own");
        let directory = directory.display().to_string();
        Self::start_with(lab, &["--docker", "none", "--dynamic", &directory])
    }

    fn start_with(lab: &Lab, options: &[&str]) -> Self {
        let api = lab.api.to_string();
        let log = File::create(lab.path("traefik.log")).expect("traefik.log");
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                &format!("{REPOSITORY}/traefik/run.sh"),
                "local",
            ])
            .args(["--http", &lab.http.to_string(), "--api", &api])
            .args(options)
            .arg("--out")
            .arg(lab.path("traefik.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command.spawn().expect("setpriv is part of util-linux");
        let edge = Self {
            child,
            connect: format!("::{}", lab.http),
            port: lab.http.port(),
        };
        eventually("Traefik answers", Duration::from_secs(60), || {
            let said = run("curl", |command| {
                command.args([
                    "-sf",
                    "-o",
                    "/dev/null",
                    "--max-time",
                    "2",
                    &format!("http://{api}/ping"),
                ]);
            });
            if said.code == Some(0) {
                Ok(())
            } else {
                Err(format!("curl {:?}", said.code))
            }
        });
        edge
    }

    /// The URL of a path at a host of the lab's domain, as clients have it.
    pub fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}.mcp.localhost:{}{path}", self.port)
    }

    /// A GET with these headers.
    pub fn get(&self, host: &str, path: &str, headers: &[&str]) -> Answer {
        self.ask(&[], host, path, headers)
    }

    /// A HEAD with these headers.
    pub fn head(&self, host: &str, path: &str, headers: &[&str]) -> Answer {
        self.ask(&["--head"], host, path, headers)
    }

    fn ask(&self, options: &[&str], host: &str, path: &str, headers: &[&str]) -> Answer {
        let said = run("curl", |command| {
            command.args([
                "-s",
                "-i",
                "--max-time",
                "10",
                "--connect-to",
                &self.connect,
            ]);
            command.args(options);
            for header in headers {
                command.args(["-H", header]);
            }
            command.arg(self.url("http", host, path));
        });
        let text = said.stdout.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let status = head
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Waits for a status at a path.
    #[track_caller]
    pub fn becomes(&self, status: u16, host: &str, path: &str, within: Duration) {
        eventually(&format!("{host}{path} answers {status}"), within, || {
            let seen = self.get(host, path, &[]).status;
            if seen == status {
                Ok(())
            } else {
                Err(format!("it answers {seen}"))
            }
        });
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
