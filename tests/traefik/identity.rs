//! Who a request is for is what Traefik routed, and never what a client says.

use super::http::{Answer, Client};
use super::lab::{Daemon, Lab, UNKNOWN, Wishes, passed};

/// Headers by which a client may try to be somebody else.
const LIES: [&str; 22] = [
    "X-Forwarded-Host: mcp-bob.mcp.localhost",
    "X-Forwarded-Host: mcp-bob.mcp.localhost\r\nX-Forwarded-Host: mcp-bob.mcp.localhost",
    "x-forwarded-host: mcp-bob.mcp.localhost, mcp-alice.mcp.localhost",
    "X_Forwarded_Host: mcp-bob.mcp.localhost",
    "X-Forwarded-Uri: /.well-known/oauth-protected-resource",
    "X-Forwarded-Uri: /a\r\nX-Forwarded-Uri: /b",
    "X-Forwarded-Method: BREW",
    "X-Forwarded-Method: GET\r\nX-Forwarded-Method: DELETE",
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: not an address",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http",
    "X-Forwarded-Port: 1\r\nX-Forwarded-Server: elsewhere\r\nX-Real-Ip: 203.0.113.9",
    "Forwarded: for=203.0.113.9;host=mcp-bob.mcp.localhost",
    "X-Original-Host: mcp-bob.mcp.localhost\r\nX-Original-Url: /bob\r\nX-Rewrite-Url: /bob",
    "X-MCP-Instance-Id: bob",
    "X-MCP-Instance-Id: bob\r\nx-mcp-instance-id: bob",
    "X_MCP_Instance_Id: bob",
    "X.MCP.Instance.Id: bob",
    "X-MCP_Instance.Id: bob\r\nX_Mcp-Instance-Id: bob",
    "Connection: X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-For, X-Forwarded-Method",
    "Connection: X-MCP-Instance-Id\r\nX-MCP-Instance-Id: bob",
];

struct Place {
    lab: Lab,
    token: String,
    _daemon: Daemon,
    _edge: super::lab::Edge,
}

impl Place {
    fn with(wishes: Wishes) -> Self {
        let lab = Lab::with(wishes);
        let daemon = Daemon::start(&lab, &[]);
        let edge = lab.edge();
        let token = lab.token("alice", "laptop");
        lab.until_known("alice", &token);
        Self {
            lab,
            token,
            _daemon: daemon,
            _edge: edge,
        }
    }

    /// A request of alice's whose first lines are these.
    fn ask(&self, first: &str) -> Answer {
        let token = &self.token;
        self.lab
            .ask(format!("{first}\r\nAuthorization: Bearer {token}\r\n\r\n"))
    }
}

#[test]
fn a_host_is_the_same_however_it_is_written() {
    let place = Place::with(Wishes::default());
    for host in [
        "mcp-alice.mcp.localhost",
        "MCP-Alice.mcp.LOCALHOST",
        "mcp-alice.mcp.localhost.",
        "mcp-alice.mcp.localhost:8088",
        "mcp-alice.mcp.localhost:1",
        "mcp-ALICE.mcp.localhost.:8088",
    ] {
        let answer = place.ask(&format!("GET /mcp HTTP/1.1\r\nHost: {host}"));
        let seen = passed(&answer, "alice", &place.token);
        assert_eq!(
            seen.all("X-Forwarded-Host"),
            [host],
            "as the client wrote it"
        );
        let answer = place.ask(&format!("GET /mcp HTTP/1.0\r\nHost: {host}"));
        passed(&answer, "alice", &place.token);
    }
}

#[test]
fn a_host_that_could_be_read_in_two_ways_leads_nowhere() {
    let place = Place::with(Wishes::default());
    let before = place.lab.upstream.asked();
    let (alice, bob) = ("mcp-alice.mcp.localhost", "mcp-bob.mcp.localhost");
    for (host, status) in [
        (format!("Host: {alice}\r\nHost: {bob}"), 400),
        (format!("Host: {alice}\r\nhost: {alice}"), 400),
        (format!("Host: {alice}, {bob}"), 400),
        (format!("Host: {alice},{bob}"), 404),
        (format!("Host: {alice} {bob}"), 400),
        (format!("Host: {bob}@{alice}"), 400),
        (format!("Host: {alice}/"), 400),
        (format!("Host: {alice}.."), 404),
        (format!("Host: {alice}%00"), 404),
        ("Host:".to_owned(), 404),
        ("X: y".to_owned(), 400), // HTTP/1.1 demands one
        ("Host: mcp-älice.mcp.localhost".to_owned(), 400),
    ] {
        let answer = place.ask(&format!("GET /mcp HTTP/1.1\r\n{host}"));
        assert_eq!(answer.status, status, "{host:?}: {answer:?}");
    }
    let answer = place.ask("GET /mcp HTTP/1.0\r\nX: y");
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(place.lab.upstream.asked(), before);
}

#[test]
fn an_absolute_target_is_the_host() {
    let place = Place::with(Wishes::default());
    let answer =
        place.ask("GET http://mcp-alice.mcp.localhost/mcp HTTP/1.1\r\nHost: mcp-bob.mcp.localhost");
    let seen = passed(&answer, "alice", &place.token);
    assert_eq!(seen.all("X-Forwarded-Host"), ["mcp-alice.mcp.localhost"]);
    let before = place.lab.upstream.asked();
    for target in [
        "http://mcp-bob.mcp.localhost/mcp",
        "HTTP://MCP-BOB.MCP.LOCALHOST/mcp",
        "http://mcp-alice.mcp.localhost@mcp-bob.mcp.localhost/mcp",
    ] {
        let answer = place.ask(&format!(
            "GET {target} HTTP/1.1\r\nHost: mcp-alice.mcp.localhost"
        ));
        assert_eq!(answer.status, 401, "{target}: {answer:?}");
    }
    assert_eq!(place.lab.upstream.asked(), before);
}

#[test]
fn names_of_other_scripts_are_their_punycode_and_nothing_else() {
    let place = Place::with(Wishes {
        domain: Some("xn--bcher-kva.localhost"),
        ..Wishes::default()
    });
    let answer = place.ask("GET /mcp HTTP/1.1\r\nHost: mcp-alice.XN--bcher-kva.localhost");
    passed(&answer, "alice", &place.token);
    let before = place.lab.upstream.asked();
    for (host, status) in [
        ("mcp-alice.bücher.localhost", 400),
        ("mcp-alice.xn--bcher-kv.localhost", 404),
        ("mcp-alice.b%C3%BCcher.localhost", 404),
    ] {
        let answer = place.ask(&format!("GET /mcp HTTP/1.1\r\nHost: {host}"));
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    assert_eq!(place.lab.upstream.asked(), before);
}

#[test]
fn no_lie_in_a_header_reaches_the_instance_or_opens_another() {
    let place = Place::with(Wishes::default());
    let bob = place.lab.token("bob", "desk");
    place.lab.until_known("bob", &bob);
    for lie in LIES {
        let lie = format!("{lie}\r\n");
        let answer = place.lab.get_as("alice", &place.token, &lie);
        let seen = passed(&answer, "alice", &place.token);
        let forwarded = seen.all("X-Forwarded-Host");
        assert_eq!(forwarded, ["mcp-alice.mcp.localhost"], "{lie:?}: {seen:?}");
        for name in ["X-Forwarded-For", "X-Real-Ip"] {
            let told = seen.all(name).join(" ");
            assert!(!told.contains("203.0.113.9"), "{lie:?}: {seen:?}");
        }
        assert!(
            !seen.all("X-Forwarded-Proto").contains(&"gopher"),
            "{seen:?}"
        );
        // It opens no other instance, and none without a token.
        let before = place.lab.upstream.asked();
        assert_eq!(
            place.lab.get_as("bob", &place.token, &lie).status,
            401,
            "{lie:?}"
        );
        assert_eq!(place.lab.get("alice", &lie).status, 401, "{lie:?}");
        assert_eq!(place.lab.upstream.asked(), before);
    }
}

#[test]
fn a_bearer_is_one_line_or_none_and_ends_at_the_edge() {
    let place = Place::with(Wishes::default());
    let token = &place.token;
    for line in [
        format!("Authorization: Bearer {token}"),
        format!("authorization: bearer {token}"),
        format!("AUTHORIZATION:   BEARER   {token}  "),
    ] {
        passed(
            &place.lab.get("alice", &format!("{line}\r\n")),
            "alice",
            token,
        );
    }
    let before = place.lab.upstream.asked();
    for (lines, status) in [
        (
            format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}"),
            400,
        ),
        (
            format!("Authorization: Bearer wrong\r\nauthorization: Bearer {token}"),
            400,
        ),
        (
            format!("Authorization: Bearer {token}, Bearer {token}"),
            400,
        ),
        (format!("Authorization: Bearer{token}"), 400),
        (format!("Authorization: Basic {token}"), 401),
        (format!("Authorization: {token}"), 400),
        ("Authorization: Bearer".to_owned(), 400),
        (format!("Proxy-Authorization: Bearer {token}"), 401),
        (
            format!("Cookie: token={token}; __Host-instanced={token}"),
            401,
        ),
        (format!("X_Authorization: Bearer {token}"), 401),
        (
            format!("Connection: Authorization\r\nAuthorization: Bearer {token}"),
            401,
        ),
        (
            format!(
                "Connection: close, Authorization, X-Forwarded-Host\r\nAuthorization: Bearer {token}"
            ),
            401,
        ),
    ] {
        let answer = place.lab.get("alice", &format!("{lines}\r\n"));
        let kept = lines.replace(token.as_str(), "…");
        assert_eq!(answer.status, status, "{kept}: {answer:?}");
        assert_eq!(answer.header("x-mcp-instance-id"), None);
    }
    // A token in the URL is none.
    let answer = place.lab.ask(format!(
        "GET /mcp?access_token={token}&token={token} HTTP/1.1\r\nHost: mcp-alice.mcp.localhost\r\n\r\n"
    ));
    assert_eq!(answer.status, 401);
    assert_eq!(place.lab.upstream.asked(), before);
}

#[test]
fn whoever_has_no_token_of_an_instance_learns_nothing_of_it() {
    let place = Place::with(Wishes::default());
    let lab = &place.lab;
    let revoked = lab.token("alice", "lost");
    let bob = lab.token("bob", "desk");
    lab.until_known("bob", &bob);
    lab.until_known("alice", &revoked);
    lab.revoke("lost");
    let before = lab.upstream.asked();
    let wrong = "mcp_aaaaaaaa_".to_owned() + &"x".repeat(49);
    let answers = [
        ("a wrong token", lab.get_as("alice", &wrong, "")),
        ("no token at all", lab.get_as("alice", "x", "")),
        ("bob's token", lab.get_as("alice", &bob, "")),
        (
            "alice's token at bob's",
            lab.get_as("bob", &place.token, ""),
        ),
        ("a revoked token", lab.get_as("alice", &revoked, "")),
        ("nobody's host", lab.get_as(UNKNOWN, &wrong, "")),
        (
            "alice's token at nobody's host",
            lab.get_as(UNKNOWN, &place.token, ""),
        ),
    ];
    let like = answers[0].1.clone().timeless();
    assert_eq!(like.status, 401);
    assert_eq!(
        like.header("www-authenticate"),
        Some(r#"Bearer realm="MCP", error="invalid_token""#)
    );
    for (what, answer) in answers {
        assert_eq!(answer.timeless(), like, "{what}");
    }
    // Without credentials, too.
    let known = lab.get("alice", "").timeless();
    assert_eq!(known.status, 401);
    assert_eq!(lab.get(UNKNOWN, "").timeless(), known);
    assert_eq!(lab.upstream.asked(), before);
}

#[test]
fn many_headers_are_no_way_around() {
    let place = Place::with(Wishes::default());
    let many: Vec<String> = (0..300).map(|n| format!("X-Filler-{n}: {n}\r\n")).collect();
    let many = many.concat();
    let answer = place.lab.get_as("alice", &place.token, &many);
    passed(&answer, "alice", &place.token);
    assert_eq!(place.lab.get("alice", &many).status, 401);
    // On one connection each request is judged by itself.
    let mut client = Client::new(place.lab.http);
    let request = |token: &str| {
        format!(
            "GET /mcp HTTP/1.1\r\nHost: mcp-alice.mcp.localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
    };
    let token = &place.token;
    client
        .send([request(token), request("wrong"), request(token)].concat())
        .unwrap();
    let answers = [(); 3].map(|()| client.answer().unwrap().status);
    assert_eq!(answers, [200, 401, 200]);
}
