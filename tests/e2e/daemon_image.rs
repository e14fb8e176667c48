//! The daemon's own image, run by the compose file of `examples/docker`. Stand-ins are there only for what needs a
//! registry: the compiler, whose work is this build's program, Debian's image, and the proxy, whose rules the tests' own
//! enforces.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::engine::{docker, must};
use super::engine_api::rules;
use super::lab::{BINARY, Lab, REPOSITORY, tiny};
use super::proxy::Proxy;
use super::said::{Said, check, eventually, run};

const SOON: Duration = Duration::from_secs(60);
/// Carried by what is built for a test alone.
const STAGE: &str = "instanced.test.stage";
const COMPOSE: &str = "examples/docker/compose.yaml";

/// Debian, as the Dockerfile wants it, or made here of Debian's packages.
fn base() -> String {
    let wanted = "debian:bookworm-slim";
    let is_here = docker(&["image", "inspect", wanted]).code == Some(0);
    if is_here || docker(&["pull", "--quiet", wanted]).code == Some(0) {
        return wanted.to_owned();
    }
    let script = format!("{REPOSITORY}/image/local-base.sh");
    let said = run(script, |_| {}).expect_code(0);
    said.stdout.trim().to_owned()
}

/// An image whose `cargo build` is this build's program.
fn compiler(lab: &Lab, base: &str) -> String {
    let tag = format!("{}-compiler", lab.manager);
    let context = lab.path("compiler");
    fs::create_dir(&context).expect("a new directory");
    fs::copy(BINARY, context.join("instanced")).expect("a copy");
    let cargo = "#!/bin/sh\nset -e\n[ \"$*\" = 'build --release --locked --bin instanced' ]\n\
                 [ -f Cargo.toml ] && [ -f src/main.rs ] && [ -f benches/speed/main.rs ]\n\
                 mkdir -p target/release\ncp /instanced target/release/\n";
    fs::write(context.join("cargo"), cargo).expect("a file");
    fs::set_permissions(context.join("cargo"), Permissions::from_mode(0o755)).expect("a mode");
    // By the label what the legacy builder leaves of the first stage is found, too.
    let text = format!(
        "FROM {base}\nLABEL {STAGE}={}\nCOPY cargo /usr/local/bin/\nCOPY instanced /\n",
        lab.manager
    );
    fs::write(context.join("Dockerfile"), text).expect("a file");
    let context = context.display().to_string();
    must(&["build", "--quiet", "--force-rm", "--tag", &tag, &context]);
    tag
}

/// docker-compose 1 or a newer one, on the example with what a test has to have otherwise.
fn compose(lab: &Lab, image: &str, arguments: &[&str]) -> Said {
    let has_plugin = docker(&["compose", "version"]).code == Some(0);
    let program = if has_plugin {
        "docker"
    } else {
        "docker-compose"
    };
    run(program, |command: &mut Command| {
        if has_plugin {
            command.arg("compose");
        }
        command
            .args([
                "-p",
                &lab.manager,
                "-f",
                &format!("{REPOSITORY}/{COMPOSE}"),
                "-f",
            ])
            .arg(lab.path("compose.override.yaml"))
            .args(arguments)
            .env("INSTANCED_IMAGE", image)
            .env("INSTANCED_DIR", lab.path(""));
    })
}

/// What is made here goes again.
struct Made<'a> {
    lab: &'a Lab,
    image: String,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        compose(
            self.lab,
            &self.image,
            &["down", "--volumes", "--timeout", "20"],
        );
        docker(&["image", "rm", "--force", &self.image]);
        let label = format!("label={STAGE}={}", self.lab.manager);
        let stages = docker(&["images", "--quiet", "--filter", &label]).stdout;
        for stage in stages.lines() {
            docker(&["image", "rm", "--force", stage]);
        }
    }
}

/// Everybody may go in: the daemon is another user.
fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// A proxy that the daemon within may use, its configuration, and what the compose file is told otherwise.
fn prepare(lab: &Lab) -> Proxy {
    let proxy = Proxy::filtering(lab, &rules(), "");
    // Within the container the engine is where the compose file says, and the state is its volume.
    let config = fs::read_to_string(lab.path("instanced.yaml")).expect("a file");
    let kept: Vec<&str> = config
        .lines()
        .filter(|line| !line.starts_with("engine:") && !line.starts_with("state:"))
        .collect();
    fs::write(lab.path("instanced.yaml"), kept.join("\n")).expect("a file");
    fs::create_dir(lab.path("engine")).expect("a new directory");
    open(&lab.path(""), 0o755);
    lab.save("alice", &tiny(""));
    let engine = lab.path("engine.sock").display().to_string();
    open(Path::new(&engine), 0o666);
    fs::write(
        lab.path("compose.override.yaml"),
        format!(
            "version: \"3.8\"\nservices:\n  instanced:\n    volumes: [\"{engine}:/run/docker.sock\"]\n    \
             environment: {{ DOCKER_HOST: \"unix:///run/docker.sock\" }}\n    depends_on: []\n"
        ),
    )
    .expect("a file");
    proxy
}

/// By the Dockerfile, with what a repository as the source needs in it.
fn build(lab: &Lab, base: &str, image: &str) {
    let compiler = compiler(lab, base);
    must(&[
        "build",
        "--quiet",
        "--force-rm",
        "--tag",
        image,
        "--build-arg",
        &format!("RUST_IMAGE={compiler}"),
        "--build-arg",
        &format!("BASE_IMAGE={base}"),
        REPOSITORY,
    ]);
    for (program, word) in [("git", "git version"), ("ssh", "OpenSSH")] {
        let flag = if program == "ssh" { "-V" } else { "--version" };
        docker(&["run", "--rm", "--entrypoint", program, image, flag])
            .expect_code(0)
            .expect_words(&[word]);
    }
}

#[test]
fn the_image_keeps_a_fleet_behind_the_proxy_of_the_example() {
    let lab = Lab::open("daemon-image");
    let proxy = prepare(&lab);
    let base = base();
    let made = Made {
        lab: &lab,
        image: format!("{}-image:1", lab.manager),
    };
    check("daemon's image", "the Dockerfile builds", || {
        build(&lab, &base, &made.image);
    });
    let id = check("daemon's image", "it runs as the example has it", || {
        compose(&lab, &made.image, &["up", "-d", "--no-deps", "instanced"]).expect_code(0);
        let said = compose(&lab, &made.image, &["ps", "-q", "instanced"]).expect_code(0);
        let id = said.stdout.trim().to_owned();
        let facts = docker(&["inspect", &id]).expect_code(0).json();
        let host = &facts[0]["HostConfig"];
        assert_eq!(facts[0]["Config"]["User"], "instanced");
        assert_eq!(host["ReadonlyRootfs"], true);
        assert_eq!(host["CapDrop"][0], "ALL");
        assert_eq!(host["NetworkMode"], "host");
        id
    });
    let inside = |arguments: &[&str]| docker(&[&["exec", &id, "instanced"], arguments].concat());
    check(
        "daemon's image",
        "it makes what the manifests say, as nobody special",
        || {
            eventually("alice runs", SOON, || lab.container("alice").map(drop));
            inside(&["health"]).expect_code(0).expect_words(&["ready"]);
            inside(&["status"])
                .expect_code(0)
                .expect_words(&["alice", "running"]);
            let said = docker(&["exec", &id, "stat", "-c", "%u %a", "/var/lib/instanced"]);
            assert_eq!(said.expect_code(0).stdout.trim(), "10001 700");
            let said = docker(&["exec", &id, "grep", "-E", "^Cap(Eff|Prm)", "/proc/1/status"]);
            assert_eq!(
                said.expect_code(0)
                    .stdout
                    .matches("0000000000000000")
                    .count(),
                2
            );
        },
    );
    check("daemon's image", "Docker says that it is healthy", || {
        eventually("healthy", SOON, || {
            let health = must(&["inspect", "--format", "{{.State.Health.Status}}", &id]);
            if health == "healthy" {
                Ok(())
            } else {
                Err(health)
            }
        });
    });
    check(
        "daemon's image",
        "an edited manifest is seen, and a stop is quick and clean",
        || {
            lab.save("alice", &tiny("env: { A: b }"));
            eventually("a new generation", SOON, || {
                let container = lab.container("alice")?;
                if container.name.ends_with("-g2") {
                    Ok(())
                } else {
                    Err(container.name)
                }
            });
            compose(&lab, &made.image, &["stop", "--timeout", "20", "instanced"]).expect_code(0);
            let code = must(&["inspect", "--format", "{{.State.ExitCode}}", &id]);
            assert_eq!(code, "0");
        },
    );
    let refused: Vec<_> = proxy
        .calls()
        .into_iter()
        .filter(|call| call.ends_with("refused"))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
    drop(made);
}
