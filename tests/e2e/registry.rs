//! Images from a real registry: what `pull` says, tags that move, digests, and a registry that goes away.

use std::fs::File;
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::daemon::Daemon;
use super::engine::{TINY, clear, docker, must};
use super::lab::{Lab, REPOSITORY, free_port, tiny};
use super::said::{check, eventually, run};

const SOON: Duration = Duration::from_secs(60);

/// A registry of this test's own. The engine takes both names of loopback without TLS: under one the test pushes,
/// under the other the manifests pull, so that a push moves no tag of the engine's that a manifest names.
struct Registry {
    child: Option<Child>,
    address: SocketAddrV4,
    /// Whose images these are.
    manager: String,
}

impl Registry {
    fn start(lab: &Lab) -> Self {
        let program = run(format!("{REPOSITORY}/scripts/registry.sh"), |_| {}).expect_code(0);
        let address = free_port();
        let (config, storage) = (lab.path("registry.yaml"), lab.path("registry"));
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nhttp: {{ addr: \"{address}\" }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\n",
            storage.display()
        );
        std::fs::write(&config, text).expect("registry.yaml");
        let log = File::create(lab.path("registry.log")).expect("registry.log");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program.stdout.trim(), "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("setpriv is part of util-linux");
        eventually("the registry answers", SOON, || {
            TcpStream::connect(address).map_err(|error| error.to_string())
        });
        Self {
            child: Some(child),
            address,
            manager: lab.manager.clone(),
        }
    }

    /// How a manifest names an image of it.
    fn image(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.address, self.manager)
    }

    /// Publishes the tiny image in an edition of its own, and tells its digest.
    fn publish(&self, name: &str, edition: &str) -> String {
        let image = format!("localhost:{}/{}/{name}", self.address.port(), self.manager);
        run(format!("{REPOSITORY}/tests/tiny/build.sh"), |command| {
            command.args([image.as_str(), &format!("LABEL edition={edition}")]);
        })
        .expect_code(0);
        let said = docker(&["push", &image]).expect_code(0).stdout;
        must(&["image", "rm", &image]);
        let digest = said.split_ascii_whitespace();
        let digest = digest.skip_while(|word| *word != "digest:").nth(1);
        digest.expect("a push tells the digest").to_owned()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
        // What runs keeps its image.
        clear(&self.manager, &[]);
        let of = format!("reference={}/{}/*", self.address, self.manager);
        for id in docker(&["image", "ls", "--quiet", "--filter", &of])
            .stdout
            .lines()
        {
            docker(&["image", "rm", "--force", id]);
        }
    }
}

/// Which edition an instance runs.
fn edition(lab: &Lab, instance: &str) -> Result<String, String> {
    let container = lab.container(instance)?;
    let format = "{{ index .Config.Labels \"edition\" }}";
    Ok(must(&["inspect", "--format", format, &container.id]))
}

fn runs(lab: &Lab, instance: &str, wanted: &str) {
    eventually(
        &format!("{instance} runs edition {wanted}"),
        SOON,
        || match edition(lab, instance)? {
            found if found == wanted => Ok(()),
            found => Err(format!("it runs edition {found}")),
        },
    );
}

fn manifest(image: &str, pull: &str) -> String {
    tiny(&format!("pull: {pull}")).replace(TINY, &format!("\"{image}\""))
}

#[test]
fn images_come_from_a_registry_as_their_manifests_say() {
    let lab = Lab::open("registry");
    lab.configure("reconcile: { image_refresh: 10s, replace: { max_unavailable: 100% } }\n");
    let mut registry = Registry::start(&lab);
    let first = registry.publish("tiny:1", "one");
    registry.publish("steady:1", "one");
    let digest = registry.image(&format!("tiny@{first}"));
    lab.save("always", &manifest(&registry.image("tiny:1"), "always"));
    lab.save("missing", &manifest(&registry.image("steady:1"), "missing"));
    lab.save("pinned", &manifest(&digest, "always"));
    lab.save("never", &manifest(&registry.image("absent:1"), "never"));
    let daemon = Daemon::start(&lab);

    check(
        "registry",
        "what is not there is pulled; `never` pulls nothing and says so",
        || {
            for name in ["always", "missing", "pinned"] {
                runs(&lab, name, "one");
            }
            eventually("never is told", SOON, || {
                let (_, reason) = lab.status("never")?;
                let told = reason.contains("`pull: never` forbids");
                told.then_some(()).ok_or(reason)
            });
        },
    );
    let before = ["missing", "pinned"].map(|name| lab.container(name).expect("it runs"));
    let old = lab.container("always").expect("it runs");

    check(
        "registry",
        "a tag that moves replaces who always pulls, and the log names both ids",
        || {
            registry.publish("tiny:1", "two");
            registry.publish("steady:1", "two");
            runs(&lab, "always", "two");
            let image = |id: &str| must(&["inspect", "--format", "{{.Image}}", id]);
            let new = lab.container("always").expect("it runs");
            assert_ne!(new.id, old.id);
            let id = image(&new.id);
            let log = lab.log();
            let line = log
                .lines()
                .find(|line| line.contains("its image has moved from"));
            let line = line.expect("the reason of the replacement");
            let short = |id: &str| id.trim_start_matches("sha256:")[..12].to_owned();
            let first = image(&before[1].id);
            assert!(
                line.contains(&short(&id)) && line.contains(&short(&first)),
                "{line}"
            );
        },
    );

    check(
        "registry",
        "nobody else is touched: not who pulls what is missing, not who is pinned",
        || {
            std::thread::sleep(Duration::from_secs(11));
            let after = ["missing", "pinned"].map(|name| lab.container(name).expect("it runs"));
            assert_eq!(before, after);
            runs(&lab, "missing", "one");
        },
    );

    check(
        "registry",
        "while it is away, who runs runs on, and who needs it is told why",
        || {
            let always = lab.container("always").expect("it runs");
            registry.end();
            lab.save("late", &manifest(&registry.image("late:1"), "missing"));
            eventually("late is told", SOON, || {
                let (_, reason) = lab.status("late")?;
                let told = reason.contains("connection refused");
                told.then_some(()).ok_or(reason)
            });
            assert_eq!(lab.container("always").expect("it runs"), always);
            assert!(lab.containers("late").is_empty());
            assert!(lab.log().contains("the registry cannot be reached"));
        },
    );
    drop(daemon);
}
