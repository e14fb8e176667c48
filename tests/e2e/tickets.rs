//! `auth: ticket`: a person opens a link in a real browser, once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::{Browser, Screen};
use super::daemon::Daemon;
use super::edge::Edge;
use super::engine::{self, must};
use super::lab::{Lab, tiny};
use super::link::Link;
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);
const COOKIE: &str = "__Host-instanced";
/// As a browser says that a person opens a link.
const OPENED: &str = "Sec-Fetch-Dest: document";

/// What `xev` tells of a pointer that moves and clicks, and of a key.
const INPUT: [&str; 3] = ["MotionNotify", "ButtonPress", "KeyPress"];

/// A page of a browser's that says why a link does not open.
fn is_refusal(page: &Value) -> bool {
    let text = page["text"].as_str().unwrap_or_default();
    page["status"] == 401 && text.contains("This link does not open")
}

/// The statuses on the way to a page.
fn way(page: &Value) -> Vec<u64> {
    let met = page["met"].as_array().expect("a list");
    met.iter()
        .filter_map(|one| one["status"].as_u64())
        .collect()
}

/// What a token must keep to itself.
fn secret_of(token: &str) -> &str {
    let secret = token.splitn(3, '_').nth(2).unwrap_or_default();
    assert!(secret.len() > 20, "no token: {token}");
    secret
}

struct Scene {
    browser: Browser,
    _daemon: Daemon,
    edge: Edge,
    /// What no log may have.
    secrets: Vec<String>,
    lab: Lab,
}

#[test]
fn a_person_opens_a_screen_by_a_link_once() {
    let lab = Lab::open("tickets");
    let edge = Edge::start(&lab);
    for instance in ["alice", "bob"] {
        lab.save(
            instance,
            &format!(
                "image: {}\nresources: {{ memory: 1GiB, cpus: 1 }}\nendpoints: {{ vnc: {{ auth: ticket }} }}\n",
                engine::BROWSER
            ),
        );
    }
    let daemon = Daemon::start(&lab);
    let mut scene = Scene {
        browser: Browser::start(),
        _daemon: daemon,
        edge,
        secrets: Vec::new(),
        lab,
    };
    scene.instances_are_there();
    scene.a_link_opens_once();
    scene.a_session_is_of_one_instance();
    scene.other_pages_are_kept_out();
    scene.looking_is_not_typing();
    scene.sessions_end();
    scene.nothing_is_told_on();
}

impl Scene {
    fn step<T>(&mut self, what: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        check("tickets", what, || body(self))
    }

    fn link(&mut self, instance: &str, options: &[&str]) -> Link {
        let link = Link::ask(&self.lab, instance, options);
        self.secrets.push(secret_of(link.ticket()).to_owned());
        self.secrets.push(link.password().to_owned());
        link
    }

    /// The value of a profile's session.
    fn session(&mut self, profile: &str) -> String {
        let cookies = self.browser.cookies(profile);
        let found = cookies.iter().find(|cookie| cookie["name"] == COOKIE);
        let value = found.expect("a session")["value"].as_str().expect("text");
        self.secrets.push(secret_of(value).to_owned());
        value.to_owned()
    }

    fn url(&self, scheme: &str, instance: &str, path: &str) -> String {
        self.edge.url(scheme, &format!("vnc-{instance}"), path)
    }

    /// Status of the screen's page for whoever has this cookie.
    fn with_session(&self, instance: &str, session: &str) -> u16 {
        let cookie = format!("Cookie: {COOKIE}={session}");
        let host = format!("vnc-{instance}");
        self.edge.get(&host, "/vnc.html", &[&cookie]).status
    }

    fn instances_are_there(&mut self) {
        self.step("without a link there is a page that says so", |scene| {
            for instance in ["alice", "bob"] {
                let host = format!("vnc-{instance}");
                scene.edge.becomes(401, &host, "/vnc.html", SOON);
            }
            let page = scene.url("http", "alice", "/vnc.html");
            assert!(is_refusal(&scene.browser.open("nobody", &page)));
        });
        self.step(
            "tokens open no such endpoint, and links none of tokens",
            |scene| {
                let issue = ["token", "issue", "alice", "--label", "x"];
                let only = [&issue[..], &["--endpoint", "vnc"]].concat();
                let refused = scene.lab.instanced(&only).expect_code(1);
                refused.expect_words(&["endpoint `vnc` of `alice` is guarded by tickets"]);
                let token = scene.lab.instanced(&issue).expect_code(0);
                let bearer = format!("Authorization: Bearer {}", token.stdout.trim());
                let answer = scene.edge.get("vnc-alice", "/vnc.html", &[&bearer]);
                assert_eq!(answer.status, 401, "{}", answer.head);
                scene
                    .secrets
                    .push(secret_of(token.stdout.trim()).to_owned());
                let open = ["connect", "alice", "--open", "mcp"];
                let refused = scene.lab.instanced(&open).expect_code(1);
                refused.expect_words(&["guarded by tokens", "auth: ticket"]);
                let told = scene.lab.instanced(&["connect", "alice"]).expect_code(0);
                told.expect_words(&["instanced connect alice --open"]);
            },
        );
        // Something to see and to click on: a window of 178x178 in the corner, which tells what it gets.
        let container = self.lab.container("alice").expect("it runs").id;
        let shown = "exec xev -geometry 178x178+0+0 > /tmp/seen 2>&1";
        must(&["exec", "--detach", &container, "bash", "-c", shown]);
    }

    fn a_link_opens_once(&mut self) {
        let link = self.step(
            "a link alone is what is printed, its password behind #",
            |scene| {
                let link = scene.link("alice", &[]);
                let start = scene.url("http", "alice", "/vnc.html?ticket=mcp_");
                assert!(link.0.starts_with(&start), "{}", link.0);
                assert!(
                    link.parts()
                        .1
                        .starts_with("autoconnect=true&resize=scale&password=")
                );
                assert!(!link.0.contains(char::is_whitespace), "{}", link.0);
                link
            },
        );
        self.step(
            "who only looks what is behind it does not use it up",
            |scene| {
                let looks: [&[&str]; 4] = [
                    &[],
                    &["Sec-Fetch-Dest: empty"],
                    &[OPENED, "Sec-Purpose: prefetch;prerender"],
                    &["Sec-Fetch-Dest: iframe"],
                ];
                for headers in looks {
                    let answer = scene.edge.get("vnc-alice", link.path(), headers);
                    assert_eq!(answer.status, 401, "{headers:?}");
                }
                let head = scene.edge.head("vnc-alice", link.path(), &[OPENED]);
                assert_eq!(head.status, 401, "{}", head.head);
            },
        );
        self.step("the browser opens it, and shows the screen", |scene| {
            let page = scene.browser.open("ann", &link.0);
            assert_eq!(way(&page), [303, 200], "{page}");
            let address = page["url"].as_str().expect("text");
            assert!(!address.contains("ticket"), "{address}");
            assert!(address.ends_with(link.parts().1), "{address}");
            let screen = scene.browser.screen("ann");
            assert!(screen.colours > 1, "{screen:?}");
            let Screen { state, size, .. } = screen;
            assert_eq!((state.as_str(), size), ("connected", (1280, 720)));
        });
        self.step("the cookie is the host's own, and no script's", |scene| {
            let cookies = scene.browser.cookies("ann");
            assert_eq!(cookies.len(), 1, "{cookies:?}");
            let cookie = &cookies[0];
            let flags = json!([
                cookie["name"],
                cookie["httpOnly"],
                cookie["secure"],
                cookie["sameSite"],
                cookie["domain"],
                cookie["path"]
            ]);
            // A domain without a dot before it is one host alone.
            let wanted = json!([COOKIE, true, true, "Lax", "vnc-alice.mcp.localhost", "/"]);
            assert_eq!(flags, wanted);
        });
        self.step("in another browser it opens nothing any more", |scene| {
            let page = scene.browser.open("eve", &link.0);
            assert!(is_refusal(&page), "{page}");
            assert_eq!(scene.browser.cookies("eve"), [] as [Value; 0]);
            let file = std::env::var_os("INSTANCED_E2E_PICTURES").map(PathBuf::from);
            let file = file
                .unwrap_or_else(|| scene.lab.path(""))
                .join("refusal.png");
            scene
                .browser
                .step("eve", "picture", json!({ "file": file }));
        });
        self.step("in the same one it still leads to the screen", |scene| {
            let page = scene.browser.open("ann", &link.0);
            assert_eq!(way(&page), [303, 200], "{page}");
            assert_eq!(scene.browser.screen("ann").state, "connected");
        });
    }

    fn a_session_is_of_one_instance(&mut self) {
        let session = self.session("ann");
        self.step("the cookie opens this instance and no other", |scene| {
            assert_eq!(scene.with_session("alice", &session), 200);
            assert_eq!(scene.with_session("bob", &session), 401);
            let twice = format!("Cookie: {COOKIE}={session}; {COOKIE}={session}");
            let answer = scene.edge.get("vnc-alice", "/vnc.html", &[&twice]);
            assert_eq!(answer.status, 401, "there twice");
        });
        self.step("nor does a ticket of alice's open bob; it is still good for a click on a page elsewhere", |scene| {
            let link = scene.link("alice", &[]);
            let answer = scene.edge.get("vnc-bob", link.path(), &[OPENED]);
            assert_eq!(answer.status, 401, "{}", answer.head);
            assert!(!answer.head.contains("set-cookie"), "{}", answer.head);
            let chat = format!("http://{}/ping", scene.lab.api);
            let more = json!({ "from": chat, "url": link.0 });
            let page = scene.browser.step("carol", "follow", more);
            assert_eq!(way(&page), [303, 200], "it was not used up: {page}");
            assert_eq!(scene.browser.screen("carol").state, "connected");
        });
    }

    fn other_pages_are_kept_out(&mut self) {
        let bob = self.link("bob", &[]);
        self.step(
            "a neighbour's page opens no WebSocket, though the cookie goes with it",
            |scene| {
                scene.browser.open("ann", &bob.0);
                let pages =
                    ["alice", "bob"].map(|one| scene.url("http", one, "/app/styles/base.css"));
                let socket = scene.url("ws", "alice", "/websockify");
                assert!(
                    scene.browser.socket("ann", &pages[0], &socket),
                    "its own page"
                );
                assert!(
                    !scene.browser.socket("ann", &pages[1], &socket),
                    "bob's page"
                );
                eventually("Traefik tells the refusal", SOON, || {
                    let log =
                        std::fs::read_to_string(scene.lab.path("traefik.log")).unwrap_or_default();
                    let refused = log.lines().any(|line| {
                        line.contains("vnc-alice")
                            && line.contains("/websockify")
                            && line.contains("\"DownstreamStatus\":403")
                    });
                    refused.then_some(()).ok_or_else(|| "no 403".to_owned())
                });
            },
        );
        self.session("ann");
    }

    /// What the window in the corner got.
    fn seen(&self) -> String {
        let container = self.lab.container("alice").expect("it runs").id;
        must(&["exec", &container, "cat", "/tmp/seen"])
    }

    fn got_input(&self) -> bool {
        let seen = self.seen();
        INPUT.iter().any(|event| seen.contains(event))
    }

    fn looking_is_not_typing(&mut self) {
        self.step(
            "a view-only link shows the screen, and pointer and keys do nothing",
            |scene| {
                let link = scene.link("alice", &["--view-only"]);
                assert!(link.parts().1.contains("view_only=true"), "{}", link.0);
                assert_eq!(way(&scene.browser.open("looker", &link.0)), [303, 200]);
                let screen = scene.browser.screen("looker");
                assert!(screen.view_only && screen.colours > 1, "{screen:?}");
                scene.browser.input("looker", 0.05, 0.1);
                assert!(!scene.got_input(), "{}", scene.seen());
            },
        );
        self.step(
            "also when the page is told otherwise: it is the server that ignores them",
            |scene| {
                let link = scene.link("alice", &["--view-only"]);
                let forged = link.0.replace("view_only=true&", "");
                assert_eq!(way(&scene.browser.open("forger", &forged)), [303, 200]);
                let screen = scene.browser.screen("forger");
                assert_eq!(
                    (screen.state.as_str(), screen.view_only),
                    ("connected", false)
                );
                scene.browser.input("forger", 0.05, 0.1);
                assert!(!scene.got_input(), "{}", scene.seen());
            },
        );
        self.step("a full link's move, click and type", |scene| {
            let link = scene.link("alice", &[]);
            scene.browser.open("typist", &link.0);
            assert_eq!(scene.browser.screen("typist").state, "connected");
            scene.browser.input("typist", 0.05, 0.1);
            eventually("all three arrive", SOON, || {
                let seen = scene.seen();
                let all = INPUT.iter().all(|event| seen.contains(event));
                all.then_some(()).ok_or(seen)
            });
        });
    }

    fn sessions_end(&mut self) {
        self.step(
            "a revoked session opens nothing from the next request on",
            |scene| {
                let link = scene.link("bob", &["--label", "zoe"]);
                assert_eq!(way(&scene.browser.open("zoe", &link.0)), [303, 200]);
                let said = scene
                    .lab
                    .instanced(&["--format", "json", "token", "list", "bob"]);
                let listed = said.json();
                let mut all = listed.as_array().expect("a list").iter();
                let found = all.find(|one| one["label"] == "zoe").expect("hers");
                assert_eq!(found["kind"], "session", "{found}");
                let id = found["id"].as_str().expect("text");
                scene.lab.instanced(&["token", "revoke", id]).expect_code(0);
                let page = scene
                    .browser
                    .open("zoe", &scene.url("http", "bob", "/vnc.html"));
                assert!(is_refusal(&page), "{page}");
            },
        );
        self.step("sessions and tickets end by themselves", |scene| {
            let late = scene.link("bob", &["--valid", "1s"]);
            let link = scene.link("bob", &["--session", "15s"]);
            assert_eq!(way(&scene.browser.open("brief", &link.0)), [303, 200]);
            let session = scene.session("brief");
            assert_eq!(scene.with_session("bob", &session), 200);
            eventually("the session is over", SOON, || {
                let status = scene.with_session("bob", &session);
                (status == 401)
                    .then_some(())
                    .ok_or_else(|| status.to_string())
            });
            eventually("the browser forgets it", SOON, || {
                let kept = scene.browser.cookies("brief");
                kept.is_empty()
                    .then_some(())
                    .ok_or_else(|| format!("{kept:?}"))
            });
            assert!(is_refusal(&scene.browser.open("late", &late.0)));
        });
    }

    fn nothing_is_told_on(&mut self) {
        self.step("no log has a ticket, a session or a password", |scene| {
            let traefik = std::fs::read_to_string(scene.lab.path("traefik.log")).expect("its log");
            assert!(traefik.contains("vnc-alice"), "there is no access log");
            let containers = scene.lab.containers("alice").into_iter();
            let inside: String = containers
                .map(|one| engine::docker(&["logs", &one.id]).all())
                .collect();
            for secret in &scene.secrets {
                for (name, log) in [
                    ("traefik", &traefik),
                    ("daemon", &scene.lab.log()),
                    ("alice", &inside),
                ] {
                    assert!(
                        !log.contains(secret.as_str()),
                        "{secret} is in the log of {name}"
                    );
                }
            }
        });
    }
}

#[test]
fn the_upstream_sees_neither_ticket_nor_session() {
    let lab = Lab::open("tickets-up");
    let edge = Edge::start_by_files(&lab, "dynamic");
    let dir = lab.path("dynamic").display().to_string();
    lab.configure_edge(&format!("provider: {{ file: {dir} }}"), "");
    lab.save(
        "echo",
        &tiny("endpoints: { mcp: null, web: { port: 8080, path: /request, auth: ticket } }"),
    );
    lab.save(
        "open",
        &tiny("endpoints: { mcp: null, web: { port: 8080, path: /request, auth: none } }"),
    );
    let _daemon = Daemon::start(&lab);
    edge.becomes(401, "web-echo", "/request", SOON);
    check(
        "tickets",
        "links are printed for programs, too, and where no ticket is needed",
        || {
            let open = |words: &[&str]| lab.instanced(words);
            let asked = [
                "--format", "json", "connect", "echo", "--open", "web", "--label", "Bob",
            ];
            let told = open(&asked).expect_code(0).json();
            assert_eq!(told["record"]["kind"], "ticket", "{told}");
            assert_eq!(told["record"]["label"], "Bob", "{told}");
            assert!(
                told["url"]
                    .as_str()
                    .is_some_and(|url| url.contains("?ticket=mcp_")),
                "{told}"
            );
            let said = open(&["connect", "open", "--open", "web"]).expect_code(0);
            assert_eq!(
                said.stdout.trim_end(),
                edge.url("http", "web-open", "/request")
            );
            assert!(said.stderr.contains("Link to web of open"), "{said}");
            let said = open(&["-q", "connect", "open", "--open", "web"]).expect_code(0);
            assert_eq!(said.stderr, "");
            open(&["connect", "open", "--open", "web", "--valid", "1h"])
                .expect_code(1)
                .expect_words(&["open to all", "leave --valid and --session away"]);
            open(&["connect", "open", "--open"])
                .expect_code(1)
                .expect_words(&["no endpoint `vnc`", "it has: web"]);
            open(&["connect", "open", "--valid", "1h"]).expect_code(64);
        },
    );
    let mut browser = Browser::start();
    let link = Link::ask(&lab, "echo", &["web"]);
    check(
        "tickets",
        "a link to what is no screen has no password",
        || {
            assert!(!link.0.contains('#'), "{}", link.0);
            let only = lab.instanced(&["connect", "echo", "--open", "web", "--view-only"]);
            only.expect_code(1)
                .expect_words(&["--view-only is of screens"]);
        },
    );
    let seen = check(
        "tickets",
        "the upstream sees neither ticket nor session, by files",
        || {
            let page = browser.open("ann", &link.0);
            assert_eq!(way(&page), [303, 200], "{page}");
            let text = page["text"].as_str().expect("text").to_lowercase();
            assert!(text.starts_with("get /request http/1.1"), "{text}");
            assert!(text.contains("x-mcp-instance-id: echo"), "{text}");
            for hidden in ["ticket", "mcp_", "__host-", "cookie:"] {
                assert!(!text.contains(hidden), "{hidden}: {text}");
            }
            text
        },
    );
    check(
        "tickets",
        "cookies of its own come back to it, without ours",
        || {
            let page = browser.open("ann", &edge.url("http", "web-echo", "/request"));
            let text = page["text"].as_str().expect("text").to_lowercase();
            assert!(
                text.contains("\ncookie: own=kept\n"),
                "{seen} and then {text}"
            );
            assert_eq!(browser.cookies("ann").len(), 2);
        },
    );
}
