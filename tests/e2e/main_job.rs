//! Manifests in, guarded browser instances out: one scenario from the first manifest to SIGTERM, run once as it
//! is, and once with the daemon killed in the midst of every step and between any two.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::clients::{drive, look};
use super::daemon::Daemon;
use super::edge::Edge;
use super::engine::{Container, add_foreign, docker, inspect};
use super::lab::{Lab, tiny};
use super::reach::{PORTS, addresses_of_this_host, reached_from_here, reached_from_inside};
use super::said::{check, eventually};

/// For what an engine does: an instance comes up, goes, is replaced.
const SOON: Duration = Duration::from_secs(60);
/// Long enough for a round to have come and gone: a file's quiet, the round, and some more.
const A_ROUND_SECS: u64 = 3;
/// A page that each browser instance has at hand: noVNC's own.
const LOCAL_PAGE: &str = "http://127.0.0.1:6080/vnc.html";
const BROWSER: &str = "owner: e2e@example.com\nresources: { memory: 1GiB, cpus: 1 }\n";

#[test]
fn from_the_first_manifest_to_sigterm() {
    Scene::open("main", Kills::None).play();
}

#[test]
fn the_same_end_with_kill_9_between_all_steps() {
    Scene::open("kill", Kills::Everywhere).play();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kills {
    None,
    Everywhere,
}

struct Scene {
    // Dropped in this order: nobody converges while the lab is cleared.
    daemon: Option<Daemon>,
    edge: Edge,
    kills: Kills,
    /// How often the daemon was killed; also what varies the moment.
    killed: u64,
    foreign: Vec<Container>,
    lab: Lab,
}

impl Scene {
    fn open(name: &str, kills: Kills) -> Self {
        let mut lab = Lab::open(name);
        // One that knows nothing of us, and one of a daemon with another name.
        let names = ["foreign", "other"].map(|kind| format!("{}-{kind}", lab.manager));
        lab.foreign = names.to_vec();
        let manager = format!("instanced.manager={}x", lab.manager);
        let foreign = vec![
            add_foreign(&names[0], &[]),
            add_foreign(
                &names[1],
                &[
                    &manager,
                    "instanced.instance=alice",
                    "instanced.generation=1",
                ],
            ),
        ];
        let edge = Edge::start(&lab);
        let daemon = Some(Daemon::start(&lab));
        Self {
            daemon,
            edge,
            kills,
            killed: 0,
            foreign,
            lab,
        }
    }

    fn play(mut self) {
        self.manifests_are_served();
        self.the_client_works();
        self.others_are_refused();
        self.the_screen_is_guarded();
        self.an_edit_replaces();
        self.a_broken_manifest_holds();
        self.a_deleted_manifest_removes();
        self.foreigners_are_untouched();
        self.neighbours_are_out_of_reach();
        self.sigterm_leaves_the_containers();
    }

    /// A named check, and a kill behind it.
    fn step<T>(&mut self, what: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        let scenario = match self.kills {
            Kills::None => "end to end",
            Kills::Everywhere => "end to end, killed",
        };
        let result = check(scenario, what, || body(self));
        self.interrupt();
        result
    }

    /// `kill -9` of the daemon and a restart, where the scenario is of that kind. Each time a little later, so
    /// that it hits the daemon at different work.
    fn interrupt(&mut self) {
        if self.kills == Kills::None {
            return;
        }
        std::thread::sleep(Duration::from_millis(self.killed * 137 % 700));
        self.killed += 1;
        self.daemon.take().expect("it runs until the end").kill();
        self.daemon = Some(Daemon::start(&self.lab));
    }

    // ---- the steps, in the order ----

    fn manifests_are_served(&mut self) {
        self.step("a manifest that is dropped in is served", |scene| {
            scene.lab.save("alice", BROWSER);
            scene.interrupt();
            scene.is_served("alice");
        });
        self.step("and so are others, of this and another template", |scene| {
            scene.lab.save("bob", BROWSER);
            scene.lab.save("carol", &tiny(""));
            scene.interrupt();
            scene.is_served("bob");
            scene.is_served("carol");
        });
    }

    fn the_client_works(&mut self) {
        self.step("a token is issued for each", |scene| {
            for instance in ["alice", "bob"] {
                let said = scene
                    .lab
                    .instanced(&["token", "issue", instance, "--label", "e2e"])
                    .expect_code(0);
                let token = said.stdout.trim();
                assert!(
                    token.starts_with("mcp_") && !token.contains(char::is_whitespace),
                    "{said}"
                );
                scene.keep_secret(&format!("{instance}.token"), token);
            }
        });
        self.step(
            "the MCP client lists tools, opens a local page, and its screenshot is not blank",
            |scene| {
                let said = scene
                    .drive(
                        "alice",
                        Some("alice.token"),
                        Some(LOCAL_PAGE),
                        Some("1280x720"),
                    )
                    .expect_code(0);
                let seen = said.json();
                let tools = seen["tools"].as_array().expect("a list of tools");
                assert!(
                    tools.iter().any(|tool| tool == "browser_navigate"),
                    "{said}"
                );
                assert_eq!(seen["page"]["title"], "noVNC", "{said}");
                assert!(seen["screenshot"]["colours"].as_u64() > Some(1), "{said}");
            },
        );
    }

    fn others_are_refused(&mut self) {
        self.step("without a token: 401", |scene| {
            let answer = scene.edge.get("mcp-alice", "/mcp", &[]);
            assert_eq!(answer.status, 401, "{}", answer.head);
            assert!(
                answer
                    .head
                    .contains("www-authenticate: bearer realm=\"mcp\""),
                "{}",
                answer.head
            );
            let said = scene.drive("alice", None, None, None).expect_code(1);
            assert_eq!(said.json()["status"], 401, "{said}");
        });
        self.step("with another instance's token: 401", |scene| {
            for (instance, token) in [("alice", "bob.token"), ("bob", "alice.token")] {
                let said = scene
                    .drive(instance, Some(token), None, None)
                    .expect_code(1);
                assert_eq!(said.json()["status"], 401, "{said}");
            }
        });
        self.step("an unknown host: 404 from Traefik", |scene| {
            let answer = scene
                .edge
                .get("mcp-nobody", "/mcp", &[&scene.bearer("alice")]);
            assert_eq!(
                (answer.status, answer.body.trim()),
                (404, "404 page not found")
            );
        });
    }

    fn the_screen_is_guarded(&mut self) {
        self.step("noVNC's page loads through Traefik", |scene| {
            let answer = scene.edge.get("vnc-alice", "/vnc.html", &[]);
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(
                answer.body.contains("<title>noVNC</title>"),
                "{}",
                answer.body
            );
        });
        self.step("an RFB handshake with the password succeeds", |scene| {
            let connect = scene
                .lab
                .instanced(&["--format", "json", "connect", "alice"])
                .expect_code(0);
            let told = connect.json();
            let urls: Vec<_> = told["endpoints"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| &one["url"])
                .collect();
            let [mcp, vnc] = [("mcp-alice", "/mcp"), ("vnc-alice", "/vnc.html")];
            assert_eq!(
                urls,
                [
                    &scene.edge.url("http", mcp.0, mcp.1),
                    &scene.edge.url("http", vnc.0, vnc.1)
                ]
            );
            scene.keep_secret(
                "alice.vnc",
                told["vnc_password"].as_str().expect("a password"),
            );
            scene.look("alice.vnc", Some("1280x720")).expect_code(0);
        });
        self.step("and fails with a wrong one", |scene| {
            scene.keep_secret("wrong.vnc", "wrong-1");
            scene
                .look("wrong.vnc", None)
                .expect_code(1)
                .expect_words(&["authentication failed"]);
        });
    }

    fn an_edit_replaces(&mut self) {
        let old = self.alice();
        self.step("an edited screen size replaces the container", |scene| {
            scene.lab.save(
                "alice",
                &format!("{BROWSER}screen: {{ width: 800, height: 600 }}\n"),
            );
            scene.interrupt();
            eventually("alice has a new container, and only that", SOON, || {
                let new = scene.lab.container("alice")?;
                if new.id == old.id {
                    Err("it is the old one".to_owned())
                } else {
                    Ok(())
                }
            });
            scene.is_served("alice");
            assert_eq!(inspect(&old.id), None, "the old container is still there");
        });
        self.step(
            "the new size is seen, with the same token and password",
            |scene| {
                scene.look("alice.vnc", Some("800x600")).expect_code(0);
                scene
                    .drive(
                        "alice",
                        Some("alice.token"),
                        Some(LOCAL_PAGE),
                        Some("800x600"),
                    )
                    .expect_code(0);
            },
        );
    }

    fn a_broken_manifest_holds(&mut self) {
        let before = self.alice();
        self.step(
            "a broken manifest is told: status, validate, log",
            |scene| {
                scene
                    .lab
                    .save("alice", "screen: { width: 640, height:\nresorces: 1\n  - {");
                scene.interrupt();
                scene.has_phase("alice", "held");
                let said = scene.lab.instanced(&["validate"]).expect_code(1);
                said.expect_words(&["alice.yaml:"]);
                eventually("the log tells it", SOON, || {
                    let log = scene.lab.log();
                    if log.contains("alice.yaml") {
                        Ok(())
                    } else {
                        Err("no alice.yaml in it".to_owned())
                    }
                });
            },
        );
        self.step("and nothing happens to its instance", |scene| {
            std::thread::sleep(Duration::from_secs(A_ROUND_SECS));
            assert_eq!(scene.alice(), before);
            let answer = scene
                .edge
                .get("mcp-alice", "/mcp", &[&scene.bearer("alice")]);
            assert_eq!(
                answer.status, 400,
                "Playwright MCP's answer to a GET without session: {}",
                answer.head
            );
        });
        self.step(
            "neither when the file is empty, nor when it is mended",
            |scene| {
                scene.lab.save("alice", "");
                scene.interrupt();
                scene.has_phase("alice", "held");
                scene.lab.save(
                    "alice",
                    &format!("{BROWSER}screen: {{ width: 800, height: 600 }}\n"),
                );
                scene.interrupt();
                scene.has_phase("alice", "running");
                assert_eq!(scene.alice(), before);
            },
        );
    }

    fn a_deleted_manifest_removes(&mut self) {
        let others = self.others();
        self.step(
            "the container of a deleted manifest goes, and no other",
            |scene| {
                scene.lab.delete("alice");
                scene.interrupt();
                eventually("alice's container goes", SOON, || {
                    let left = scene.lab.containers("alice");
                    if left.is_empty() {
                        Ok(())
                    } else {
                        Err(format!("{left:?}"))
                    }
                });
                scene.edge.becomes(404, "mcp-alice", "/mcp", SOON);
                assert_eq!(scene.others(), others);
            },
        );
    }

    fn foreigners_are_untouched(&mut self) {
        self.step("a foreign container beside it is untouched", |scene| {
            let now: Vec<_> = scene
                .foreign
                .iter()
                .map(|container| inspect(&container.id))
                .collect();
            let before: Vec<_> = scene.foreign.iter().cloned().map(Some).collect();
            assert_eq!(now, before);
            assert!(scene.foreign.iter().all(|container| container.running));
        });
    }

    fn neighbours_are_out_of_reach(&mut self) {
        let [bob, carol] = self.others();
        self.step(
            "from this host, an instance's ports can be reached",
            |scene| {
                for port in PORTS {
                    reached_from_here(&carol.address, port);
                    reached_from_here(&bob.address, port);
                }
                assert_eq!(scene.edge.get("mcp-carol", "/mcp", &[]).status, 401);
            },
        );
        self.step(
            "from inside one instance, another's ports and the ForwardAuth listener cannot",
            |scene| {
                let neighbour = PORTS.map(|port| (carol.address.clone(), port));
                let auth = addresses_of_this_host()
                    .into_iter()
                    .map(|host| (host, scene.lab.auth.port()));
                let targets: Vec<_> = neighbour.into_iter().chain(auth).collect();
                assert_eq!(reached_from_inside(&bob, &targets), Vec::<String>::new());
                // The probe itself works: its own ports answer.
                let own = PORTS.map(|port| (bob.address.clone(), port));
                assert_eq!(reached_from_inside(&bob, &own).len(), PORTS.len());
            },
        );
        self.step("nor by a neighbour's probe of a browser", |_| {
            for port in PORTS {
                let said = docker(&[
                    "exec",
                    &carol.id,
                    "/tiny",
                    "probe",
                    &bob.address,
                    &port.to_string(),
                ]);
                assert_ne!(said.code, Some(0), "{said}");
            }
        });
    }

    fn sigterm_leaves_the_containers(&mut self) {
        let before = self.others();
        let daemon = self.daemon.take().expect("it runs until here");
        check(
            "end to end",
            "SIGTERM ends it with 0 within seconds, and the containers run on",
            || {
                let (status, took) = daemon.terminate();
                assert_eq!(status.code(), Some(0), "{status}");
                assert!(took < Duration::from_secs(10), "it took {took:?}");
                assert_eq!(self.others(), before);
            },
        );
        let killed = self.killed;
        assert_eq!(
            killed > 0,
            self.kills == Kills::Everywhere,
            "killed {killed} times"
        );
    }

    // ---- what the steps look at ----

    fn alice(&self) -> Container {
        self.lab.container("alice").expect("alice runs")
    }

    fn others(&self) -> [Container; 2] {
        ["bob", "carol"].map(|name| self.lab.container(name).expect("it runs"))
    }

    /// Served = the one container runs, Traefik leads to its host, and there a token is asked for.
    fn is_served(&self, instance: &str) {
        eventually(&format!("{instance} runs"), SOON, || {
            self.lab.container(instance)
        });
        self.edge
            .becomes(401, &format!("mcp-{instance}"), "/mcp", SOON);
        self.has_phase(instance, "running");
    }

    fn has_phase(&self, instance: &str, wanted: &str) {
        eventually(&format!("{instance} is {wanted}"), SOON, || {
            let (phase, reason) = self.lab.status(instance)?;
            if phase == wanted {
                Ok(())
            } else {
                Err(format!("{phase}: {reason}"))
            }
        });
    }

    fn drive(
        &self,
        instance: &str,
        token: Option<&str>,
        visit: Option<&str>,
        size: Option<&str>,
    ) -> super::said::Said {
        let url = self.edge.url("http", &format!("mcp-{instance}"), "/mcp");
        drive(
            &url,
            token.map(|file| self.lab.path(file)).as_deref(),
            visit,
            size,
        )
    }

    fn look(&self, password: &str, size: Option<&str>) -> super::said::Said {
        look(
            &self.edge.url("ws", "vnc-alice", "/websockify"),
            &self.lab.path(password),
            size,
        )
    }

    fn bearer(&self, instance: &str) -> String {
        let token =
            fs::read_to_string(self.lab.path(&format!("{instance}.token"))).expect("it was issued");
        format!("Authorization: Bearer {token}")
    }

    fn keep_secret(&self, file: &str, text: &str) -> PathBuf {
        let path = self.lab.path(file);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }
}
