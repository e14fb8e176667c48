//! `docs/tickets.md` on the wire: what a browser would be answered, and what is left in the store.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::lab::{Daemon, Lab, connect, until_known};

/// A browser that opens a document.
const OPENS: &str = "X-Forwarded-Method: GET\r\nSec-Fetch-Dest: document\r\n";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Asks about `uri` at alice's screen.
fn visit(at: SocketAddr, uri: &str, more: &str) -> Answer {
    let mut stream = connect(at).unwrap();
    let request = format!(
        "GET /auth/mcp-bearer-check/vnc-alice HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         X-Forwarded-Host: vnc-alice.mcp.localhost\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Uri: {uri}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl Lab {
    fn with_a_guarded_screen() -> Self {
        let lab = Self::new();
        let manifest = "template: playwright-browser\nendpoints: { vnc: { auth: ticket } }\n";
        lab.write("instances.d/alice.yaml", manifest);
        lab
    }

    /// A ticket, as a link has it.
    fn ticket(&self, more: &Value) -> String {
        let mut asked = json!({ "endpoint": "vnc", "label": "test" });
        for (key, value) in more.as_object().unwrap() {
            asked[key] = value.clone();
        }
        let body = asked.to_string();
        let mut stream = UnixStream::connect(self.path("state/control.sock")).unwrap();
        write!(
            stream,
            "POST /v1/instances/alice/tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let told: Value = serde_json::from_str(body).unwrap();
        told["token"].as_str().expect(&answer).to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        let listed = self.json(&["token", "list"]);
        let kinds = listed.as_array().unwrap().iter();
        let mut kinds: Vec<_> = kinds
            .map(|token| token["kind"].as_str().unwrap_or("bearer").to_owned())
            .collect();
        // They are listed by their ids, which are random.
        kinds.sort();
        kinds
    }
}

#[test]
fn a_ticket_becomes_a_session_once_and_neither_goes_on() {
    let lab = Lab::with_a_guarded_screen();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    let ticket = lab.ticket(&json!({}));

    // A look at what is behind it changes nothing.
    let link = format!("/vnc.html?a=1&ticket={ticket}&b=2");
    let previewed = visit(daemon.address, &link, "X-Forwarded-Method: GET\r\n");
    assert_eq!(previewed.status, 401);
    assert_eq!(lab.kinds(), ["bearer", "ticket"].map(str::to_owned));

    let opened = visit(daemon.address, &link, OPENS);
    assert_eq!(opened.status, 303, "{}", opened.head);
    assert_eq!(opened.header("location"), Some("/vnc.html?a=1&b=2"));
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    let cookie = opened.header("set-cookie").unwrap();
    let (pair, flags) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-instanced=mcp_"), "{cookie}");
    assert_eq!(
        flags,
        "Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax"
    );
    assert!(!opened.head.contains(&ticket));

    // With the session, and with a cookie of the page's own, which goes on.
    let with = format!("Cookie: a=1; {pair}; b=2\r\n");
    let passed = visit(daemon.address, "/websockify", &with);
    assert_eq!(passed.status, 204, "{}", passed.head);
    assert_eq!(passed.header("x-mcp-instance-id"), Some("alice"));
    assert_eq!(passed.header("cookie"), Some("a=1; b=2"));
    let alone = visit(daemon.address, "/", &format!("Cookie: {pair}\r\n"));
    assert_eq!((alone.status, alone.header("cookie")), (204, None));

    // A second time it is a page that says what to do, or a way back to the session.
    let again = visit(daemon.address, &link, OPENS);
    assert_eq!(again.status, 401, "{}", again.head);
    assert_eq!(
        again.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(again.body.contains("opens once") && again.body.len() < 4096);
    let back = visit(daemon.address, &link, &format!("{OPENS}Cookie: {pair}\r\n"));
    assert_eq!((back.status, back.header("set-cookie")), (303, None));

    // No token of an MCP client opens it, and the session opens no MCP endpoint.
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(visit(daemon.address, "/", &bearer).status, 401);
    let (_, session) = pair.split_once('=').unwrap();
    let asked = super::lab::ask(daemon.address, session, "").unwrap();
    assert_eq!(asked.0, 401);

    // It is listed by what it is, survives a daemon that is killed, and ends when it is revoked.
    assert_eq!(lab.kinds(), ["bearer", "session"].map(str::to_owned));
    drop(daemon);
    let daemon = Daemon::start(&lab, &[]);
    assert_eq!(visit(daemon.address, "/", &with).status, 204);
    assert_eq!(visit(daemon.address, &link, OPENS).status, 401);
    let listed = lab.json(&["token", "list"]);
    let listed = listed.as_array().unwrap().iter();
    let session = listed.clone().find(|token| token["kind"] == "session");
    let id = session.unwrap()["id"].as_str().unwrap();
    assert!(lab.run(&["token", "revoke", id]).status.success());
    assert_eq!(visit(daemon.address, "/", &with).status, 401);
}

#[test]
fn of_many_who_open_one_link_at_once_one_gets_in() {
    let lab = Lab::with_a_guarded_screen();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    let link = format!("/?ticket={}", lab.ticket(&json!({})));
    let visitors = 12;
    let start = Barrier::new(visitors);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let visitor = |_| {
            scope.spawn(|| {
                start.wait();
                visit(daemon.address, &link, OPENS).status
            })
        };
        let all: Vec<_> = (0..visitors).map(visitor).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|s| **s == 303).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|s| matches!(s, 303 | 401)),
        "{statuses:?}"
    );
    assert_eq!(lab.kinds(), ["bearer", "session"].map(str::to_owned));
}

#[test]
fn tickets_and_sessions_end_and_a_page_of_another_site_gets_nothing() {
    let lab = Lab::with_a_guarded_screen();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    let link = |more: Value| format!("/?ticket={}", lab.ticket(&more));
    let short = link(json!({ "session": "2s" }));
    let over = link(json!({ "lasts": "1s" }));
    let opened = visit(daemon.address, &short, OPENS);
    let cookie = opened.header("set-cookie").unwrap();
    assert!(
        cookie.contains("Max-Age=2;") || cookie.contains("Max-Age=1;"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let with = |origin: &str| format!("Cookie: {pair}\r\n{origin}");
    let status = |origin: &str| visit(daemon.address, "/websockify", &with(origin)).status;
    assert_eq!(status("Origin: https://vnc-alice.mcp.localhost\r\n"), 204);
    assert_eq!(status("Origin: https://vnc-bob.mcp.localhost\r\n"), 403);
    assert_eq!(status("Origin: null\r\n"), 403);
    thread::sleep(std::time::Duration::from_millis(2_100));
    assert_eq!(status(""), 401);
    assert_eq!(visit(daemon.address, &over, OPENS).status, 401);
}
