//! What MCP clients rely on: the refusals that they read, and the transports.

use std::time::Duration;

use super::http::Client;
use super::lab::{Daemon, Lab, passed};

fn place() -> (Lab, Daemon, super::lab::Edge, String) {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &[]);
    let edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    (lab, daemon, edge, token)
}

#[test]
fn a_refusal_is_what_a_client_understands() {
    let (lab, _daemon, _edge, token) = place();
    let refused = lab.get("alice", "");
    assert_eq!(refused.status, 401);
    // No `resource_metadata`: there is no authorization server.
    assert_eq!(
        refused.header("www-authenticate"),
        Some(r#"Bearer realm="MCP""#)
    );
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(refused.body, r#"{"status":401,"error":"Unauthorized"}"#);
    for absent in ["server", "location", "set-cookie", "x-mcp-instance-id"] {
        assert_eq!(refused.header(absent), None);
    }
    // Who looks for an authorization server finds none, with a token or without.
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
    ] {
        for bearer in [String::new(), format!("Authorization: Bearer {token}\r\n")] {
            let answer = lab.ask(format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\n{bearer}\r\n",
                lab.host("alice")
            ));
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), None);
        }
    }
}

/// Else a server that answers at once is faster than Traefik, which then cuts the answer off.
#[test]
fn a_request_reaches_an_instance_only_once_it_is_whole() {
    let (lab, _daemon, _edge, token) = place();
    let host = lab.host("alice");
    let (answered, asked) = (lab.answered(Some("alice"), None), lab.upstream.asked());
    let mut client = Client::new(lab.http);
    client
        .send(format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 8\r\n\r\nhalf"
        ))
        .unwrap();
    lab.eventually("the first half is let in", || {
        (lab.answered(Some("alice"), None) > answered).then_some(())
    });
    // Another request goes all the way meanwhile.
    passed(&lab.get_as("alice", &token, ""), "alice", &token);
    assert_eq!(lab.upstream.asked(), asked + 1, "half a request has come");
    client.send("rest").unwrap();
    let seen = passed(&client.answer().unwrap(), "alice", &token);
    assert_eq!(seen.body, "halfrest");
}

#[test]
fn every_method_of_the_transport_passes_with_its_body() {
    let (lab, _daemon, _edge, token) = place();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for method in ["POST", "GET", "DELETE", "PUT", "OPTIONS", "PATCH"] {
        let length = if method == "POST" { body.len() } else { 0 };
        let ask = |token: &str| {
            lab.ask(format!(
                "{method} /mcp?x=%20y HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
                 Mcp-Session-Id: s1\r\nContent-Length: {length}\r\n\r\n{}",
                lab.host("alice"),
                &body[..length]
            ))
        };
        let before = lab.answered(None, None);
        let seen = passed(&ask(&token), "alice", &token);
        assert_eq!(
            lab.answered(None, None),
            before + 1,
            "one verdict a request"
        );
        assert_eq!(seen.line, format!("{method} /mcp?x=%20y HTTP/1.1"));
        assert_eq!(seen.body, &body[..length]);
        assert_eq!(seen.all("Mcp-Session-Id"), ["s1"]);
        let refused = ask("wrong");
        assert_eq!(refused.status, 401, "{method}");
    }
    assert_eq!(lab.answered(Some("bob"), None), 0);
}

/// Events that go on for longer than it takes to judge anything, and across a revocation.
#[test]
fn a_stream_is_judged_once_and_flows_on() {
    let (lab, _daemon, _edge, token) = place();
    let request = format!(
        "GET /sse HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\n\r\n",
        lab.host("alice")
    );
    let before = lab.answered(Some("alice"), Some("allowed"));
    let mut stream = Client::new(lab.http);
    stream.send(&request).unwrap();
    let head = stream.head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let mut event = |n: usize| {
        // Chunks' sizes stand between.
        let text = stream.until("\n\n").unwrap();
        assert!(text.ends_with(&format!("data: {n}")), "{n}: {text:?}");
    };
    (0..20).for_each(&mut event);
    assert_eq!(lab.answered(Some("alice"), Some("allowed")), before + 1);
    lab.revoke("laptop");
    assert_eq!(lab.ask(&request).status, 401, "the next one");
    (20..40).for_each(&mut event);
    assert_eq!(lab.answered(Some("alice"), Some("allowed")), before + 1);
}

#[test]
fn a_web_socket_needs_a_token_and_stays_up() {
    let (lab, _daemon, _edge, token) = place();
    let upgrade = |token: &str| {
        let mut client = Client::new(lab.http);
        client
            .send(format!(
                "GET /socket HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
                 X-MCP-Instance-Id: bob\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                lab.host("alice")
            ))
            .unwrap();
        let answer = client.answer().unwrap();
        (client, answer)
    };
    let before = lab.answered(None, None);
    let (mut socket, answer) = upgrade(&token);
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("x-seen-instance"), Some("alice"));
    for turn in 0..10 {
        socket.send(format!("turn {turn};")).unwrap();
        assert_eq!(socket.until(";").unwrap(), format!("turn {turn}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(lab.answered(None, None), before + 1);
    assert_eq!(upgrade("wrong").1.status, 401);
}
