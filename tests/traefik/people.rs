//! People with a link: a ticket that opens once, then a cookie.

use super::http::{Answer, Client};
use super::lab::{Daemon, Lab, Wishes};
use super::upstream::Seen;

/// As a browser opens a link.
const OPENS: &str = "Sec-Fetch-Dest: document\r\n";

fn at(lab: &Lab, name: &str, target: &str, headers: &str) -> Answer {
    let host = format!("vnc-{name}.mcp.localhost");
    lab.ask(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
    ))
}

fn a_ticket_becomes_a_session(wishes: Wishes) {
    let lab = Lab::with(wishes);
    let _daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    let ticket = lab.ticket("alice");
    let link = format!("/vnc.html?ticket={ticket}&x=1");
    let reached = lab.upstream.asked();

    // What only looks behind a link does not use it up; nor does a ticket in a lie.
    let lie = format!("X-Forwarded-Uri: {link}\r\n{OPENS}");
    for (name, target, headers) in [
        ("alice", link.as_str(), ""),
        (
            "alice",
            &link,
            "Sec-Fetch-Dest: document\r\nSec-Purpose: prefetch\r\n",
        ),
        ("alice", "/vnc.html", &lie),
        (
            "alice",
            "/vnc.html",
            &format!("Authorization: Bearer {token}\r\n"),
        ),
        ("bob", &link, OPENS),
    ] {
        let answer = at(&lab, name, target, headers);
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }

    let opened = at(&lab, "alice", &link, OPENS);
    assert_eq!(opened.status, 303, "{opened:?}");
    assert_eq!(opened.header("location"), Some("/vnc.html?x=1"));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-instanced=") && cookie.contains("; Secure; HttpOnly"),
        "{cookie}"
    );
    let session = cookie.split(';').next().unwrap();
    let again = at(&lab, "alice", &link, OPENS);
    assert_eq!(again.status, 401, "it opens once");
    assert!(
        again.body.contains("<h1>This link does not open</h1>"),
        "{again:?}"
    );
    assert_eq!(lab.upstream.asked(), reached);

    // The session goes no further than the edge; other cookies do.
    let cookies = format!(
        "Cookie: a=b; {session}; c=d\r\nX-MCP-Instance-Id: bob\r\nAuthorization: Bearer {token}\r\n"
    );
    let answer = at(&lab, "alice", "/vnc.html", &cookies);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = Seen::read(&answer.body);
    assert_eq!(seen.all("Cookie"), ["a=b; c=d"]);
    assert_eq!(seen.all("X-MCP-Instance-Id"), ["alice"]);
    assert!(seen.all("Authorization").is_empty(), "{seen:?}");
    let only = at(
        &lab,
        "alice",
        "/vnc.html",
        &format!("Cookie: {session}\r\n"),
    );
    assert!(Seen::read(&only.body).all("Cookie").is_empty(), "{only:?}");

    let reached = lab.upstream.asked();
    let twice = format!("Cookie: {session}\r\nCookie: {session}\r\n");
    assert_eq!(at(&lab, "alice", "/vnc.html", &twice).status, 401);
    assert_eq!(at(&lab, "bob", "/vnc.html", &cookies).status, 401);
    assert_eq!(
        lab.get("alice", &format!("Cookie: {session}\r\n")).status,
        401
    );
    assert_eq!(lab.upstream.asked(), reached);

    // Web sockets are opened by the endpoint's own pages alone.
    let socket = |origin: &str| {
        let mut client = Client::new(lab.http);
        let host = "vnc-alice.mcp.localhost";
        client
            .send(format!(
                "GET /websockify HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nOrigin: {origin}\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .unwrap();
        client.answer().unwrap()
    };
    for (origin, status) in [
        ("http://vnc-alice.mcp.localhost", 101),
        ("https://vnc-alice.mcp.localhost", 403),
        ("http://vnc-bob.mcp.localhost", 403),
        ("https://evil.example.com", 403),
        ("null", 403),
    ] {
        let answer = socket(origin);
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
    }
}

#[test]
fn a_ticket_becomes_a_session_once() {
    a_ticket_becomes_a_session(Wishes::default());
}

#[test]
fn a_ticket_becomes_a_session_over_tls() {
    a_ticket_becomes_a_session(Wishes {
        tls: true,
        ..Wishes::default()
    });
}
