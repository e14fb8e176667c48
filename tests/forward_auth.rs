//! The `ForwardAuth` listener over TCP, spoken to as bluntly as an attacker would: every row of
//! `FORWARD_AUTH.md`, "What we answer", on the wire.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "support/access.rs"]
mod access;
#[path = "forward_auth/crowds.rs"]
mod crowds;
#[path = "forward_auth/lab.rs"]
mod lab;
#[path = "forward_auth/tickets.rs"]
mod tickets;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::forward_auth::{EdgeTable, ForwardAuthError, Limits, bind};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::{Guard, Reason};
use instanced::words::manifest::Auth;
use instanced::words::token::TokenKind;
use lab::{Answer, Server, access_table};

const PATH: &str = "/auth/mcp-bearer-check/mcp-alice";
const HOST: &str = "X-Forwarded-Host: mcp-alice.mcp.localhost\r\n";
const BEARER: &str = "Authorization: Bearer alice-token\r\n";

const INVALID: &str = r#"Bearer realm="MCP", error="invalid_token""#;
const INVALID_REQUEST: &str = r#"Bearer realm="MCP", error="invalid_request""#;
const OUT_OF_SCOPE: &str = r#"Bearer realm="MCP", error="insufficient_scope""#;

#[test]
fn a_valid_token_for_this_endpoint_is_204_with_exactly_one_instance_id() {
    let server = Server::start();
    server
        .get(PATH, &format!("{HOST}{BEARER}"))
        .assert_allows("alice");
    // Header names in any case, and what the client spoofs beside them.
    let odd = "x-fORWARDED-hOST: mcp-alice.mcp.localhost\r\naUTHORIZATION: bEARER alice-token\r\n\
               X-MCP-Instance-Id: bob\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\n";
    server.get(PATH, odd).assert_allows("alice");
    assert_eq!(server.counts.allowed(), 2);
}

#[test]
fn the_plain_path_works_too() {
    let server = Server::start();
    server
        .get("/auth/mcp-bearer-check", &format!("{HOST}{BEARER}"))
        .assert_allows("alice");
    server
        .get("/auth/mcp-bearer-check?x=y", &format!("{HOST}{BEARER}"))
        .assert_allows("alice");
}

#[test]
fn the_client_facing_host_header_decides_nothing() {
    let server = Server::start();
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: mcp-bob.mcp.localhost\r\n{HOST}{BEARER}\r\n");
    server.ask(&request).assert_allows("alice");
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: mcp-alice.mcp.localhost\r\n{BEARER}\r\n");
    server.ask(&request).assert_refuses(400, "Bad Request");
}

#[test]
fn a_host_in_odd_form_is_still_the_host() {
    let server = Server::start();
    for host in [
        "MCP-ALICE.MCP.LOCALHOST",
        "mcp-alice.mcp.localhost:443",
        "mcp-alice.mcp.localhost.:8443",
    ] {
        server
            .get(PATH, &format!("X-Forwarded-Host: {host}\r\n{BEARER}"))
            .assert_allows("alice");
    }
}

#[test]
fn no_credentials_are_401_without_an_error() {
    let server = Server::start();
    server
        .get(PATH, HOST)
        .assert_challenges(r#"Bearer realm="MCP""#);
    server
        .get(PATH, &format!("{HOST}Authorization: Basic YTpi\r\n"))
        .assert_challenges(r#"Bearer realm="MCP""#);
    assert_eq!(server.counts.refused(Reason::NoCredentials), 2);
}

#[test]
fn whatever_is_wrong_with_a_token_or_a_host_is_the_same_401() {
    let server = Server::start();
    let ask = |path: &str, host: &str, token: &str| {
        let headers = format!("X-Forwarded-Host: {host}\r\nAuthorization: Bearer {token}\r\n");
        let answer = server.get(path, &headers);
        answer.assert_challenges(INVALID);
        answer
    };
    let alice = "mcp-alice.mcp.localhost";
    let wrong = ask(PATH, alice, "wrong");
    assert_eq!(ask(PATH, alice, "alice-expired"), wrong);
    assert_eq!(ask(PATH, alice, "bob-token"), wrong);
    assert_eq!(
        ask(
            "/auth/mcp-bearer-check",
            "mcp-ghost.mcp.localhost",
            "alice-token"
        ),
        wrong
    );
    assert_eq!(
        ask("/auth/mcp-bearer-check/mcp-ghost", alice, "alice-token"),
        wrong
    );
    assert_eq!(
        ask(
            "/auth/mcp-bearer-check/mcp-ghost",
            "mcp-ghost.mcp.localhost",
            "x"
        ),
        wrong
    );
    assert_eq!(server.counts.refused(Reason::WrongToken), 2);
    assert_eq!(server.counts.refused(Reason::Unknown), 3);
}

#[test]
fn a_revoked_token_is_401_from_the_next_request_on() {
    let server = Server::start();
    let mut client = server.connect();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n");
    client.send(&request);
    client.answer().assert_allows("alice");
    server
        .table
        .store(Some(Arc::new(access_table(false, &server.counts))));
    // On the very same connection.
    client.send(&request);
    client.answer().assert_challenges(INVALID);
}

#[test]
fn what_is_doubled_missing_or_malformed_is_400() {
    let server = Server::start();
    for headers in [
        format!("{HOST}{BEARER}{BEARER}"),
        format!("{HOST}{BEARER}Authorization: Bearer bob-token\r\n"),
        format!("{HOST}{HOST}{BEARER}"),
        format!("{HOST}X-Forwarded-Host: mcp-bob.mcp.localhost\r\n{BEARER}"),
        BEARER.to_owned(),
        format!("X-Forwarded-Host:\r\n{BEARER}"),
        format!("X-Forwarded-Host: mcp-alice.mcp.localhost, mcp-bob.mcp.localhost\r\n{BEARER}"),
        format!("X-Forwarded-Host: mcp-alice.mcp.localhost:http\r\n{BEARER}"),
        format!("X-Forwarded-Host: mcp-älice.mcp.localhost\r\n{BEARER}"),
        format!("{HOST}Authorization:\r\n"),
        format!("{HOST}Authorization: Bearer\r\n"),
        format!("{HOST}Authorization: Bearer a, Bearer alice-token\r\n"),
    ] {
        server
            .get(PATH, &headers)
            .assert_refuses(400, "Bad Request");
    }
    let twice = server.get(PATH, &format!("{HOST}{BEARER}{BEARER}"));
    assert_eq!(twice.header("www-authenticate"), Some(INVALID_REQUEST));
}

#[test]
fn a_host_that_disagrees_with_the_address_is_403() {
    let server = Server::start();
    let answer = server.get("/auth/mcp-bearer-check/mcp-bob", &format!("{HOST}{BEARER}"));
    answer.assert_refuses(403, "Forbidden");
    assert_eq!(server.counts.refused(Reason::HostDisagrees), 1);
}

#[test]
fn an_origin_that_is_not_listed_is_403() {
    let server = Server::start();
    for origin in ["https://evil.example", "null"] {
        let headers = format!("{HOST}{BEARER}Origin: {origin}\r\n");
        server.get(PATH, &headers).assert_refuses(403, "Forbidden");
    }
    let headers = format!("{HOST}{BEARER}Origin: https://app.example.com\r\n");
    server.get(PATH, &headers).assert_allows("alice");
}

#[test]
fn a_valid_token_for_another_endpoint_is_403() {
    let server = Server::start();
    let token = "Authorization: Bearer alice-sse\r\n";
    let answer = server.get(PATH, &format!("{HOST}{token}"));
    answer.assert_refuses(403, "Forbidden");
    assert_eq!(answer.header("www-authenticate"), Some(OUT_OF_SCOPE));
    let host = "X-Forwarded-Host: sse-alice.mcp.localhost\r\n";
    server
        .get(
            "/auth/mcp-bearer-check/sse-alice",
            &format!("{host}{token}"),
        )
        .assert_allows("alice");
}

#[test]
fn a_peer_outside_the_trusted_proxies_is_403_and_counted() {
    let server = Server::start_with("10.0.0.0/8", Limits::default());
    let mut client = server.connect();
    client.send(format!(
        "GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n"
    ));
    client.answer().assert_refusal_that_closes(403, "Forbidden");
    assert!(client.is_closed());
    assert_eq!(server.counts.untrusted(), 1);
    assert_eq!(server.counts.refused(Reason::UntrustedPeer), 1);
}

impl Answer {
    fn assert_refusal_that_closes(&self, status: u16, phrase: &str) {
        self.assert_refuses(status, phrase);
        assert_eq!(self.header("connection"), Some("close"));
    }
}

#[test]
fn without_a_table_everyone_is_503_and_nobody_204() {
    let server = Server::start();
    server.table.store(None);
    let answer = server.get(PATH, &format!("{HOST}{BEARER}"));
    answer.assert_refuses(503, "Service Unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn another_method_is_405() {
    let server = Server::start();
    for method in ["POST", "OPTIONS", "DELETE", "BREW"] {
        let headers = format!("Host: a\r\n{HOST}{BEARER}");
        let answer = server.ask(&format!("{method} {PATH} HTTP/1.1\r\n{headers}\r\n"));
        answer.assert_refuses(405, "Method Not Allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let mut client = server.connect();
    let post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(post);
    client.answer().assert_refuses(405, "Method Not Allowed");
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let server = Server::start();
    let request = format!("HEAD {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n");
    server.ask(&request).assert_allows("alice");
}

#[test]
fn well_known_oauth_paths_are_404_and_other_paths_of_ours_too() {
    let server = Server::start();
    let uri = "X-Forwarded-Uri: /.well-known/oauth-protected-resource/mcp\r\n";
    for headers in [format!("{HOST}{uri}"), format!("{HOST}{uri}{BEARER}")] {
        server.get(PATH, &headers).assert_refuses(404, "Not Found");
    }
    server
        .get("/metrics", &format!("{HOST}{BEARER}"))
        .assert_refuses(404, "Not Found");
}

#[test]
fn http_1_0_is_answered() {
    let server = Server::start();
    let answer = server.ask(&format!("GET {PATH} HTTP/1.0\r\n{HOST}{BEARER}\r\n"));
    assert_eq!((answer.version.as_str(), answer.status), ("HTTP/1.0", 204));
    assert_eq!(answer.header("x-mcp-instance-id"), Some("alice"));
}

#[test]
fn too_many_or_too_large_headers_never_pass() {
    let server = Server::start();
    let many = |n: usize| "X-Filler: x\r\n".repeat(n);
    server
        .get(PATH, &format!("{HOST}{BEARER}{}", many(97)))
        .assert_allows("alice");
    assert_eq!(
        server
            .get(PATH, &format!("{HOST}{BEARER}{}", many(120)))
            .status,
        431
    );
    let large = format!("{HOST}{BEARER}X-Large: {}\r\n", "x".repeat(100_000));
    assert_eq!(server.get(PATH, &large).status, 431);
    assert_eq!(server.counts.allowed(), 1);
}

#[test]
fn what_is_no_http_is_closed_and_the_listener_goes_on() {
    let server = Server::start();
    for nonsense in [
        "\x16\x03\x01\x02\x00",
        "GET\r\n\r\n",
        "\r\n\0\0\0\0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(nonsense);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.is_closed());
        assert!(!client.buffer.starts_with(b"HTTP/1.1 2"), "{nonsense:?}");
    }
    server
        .get(PATH, &format!("{HOST}{BEARER}"))
        .assert_allows("alice");
}

#[test]
fn one_connection_carries_many_requests_also_in_one_packet() {
    let server = Server::start();
    let mut client = server.connect();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n");
    client.send(request.repeat(50));
    for _ in 0..50 {
        client.answer().assert_allows("alice");
    }
    assert_eq!(server.counts.connections(), 1);
}

#[test]
fn a_head_that_trickles_in_is_cut_off_and_an_idle_connection_is_not() {
    let limits = Limits {
        head: Duration::from_millis(150),
        idle: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = Server::start_with("127.0.0.0/8", limits);
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n");
    let mut patient = server.connect();
    patient.send(&request);
    patient.answer().assert_allows("alice");

    let mut silent = server.connect();
    assert!(silent.is_closed() && silent.buffer.is_empty());
    let mut slow = server.connect();
    let mut bytes = request.bytes().cycle();
    while slow
        .stream
        .write_all(&[bytes.next().unwrap_or(b'x')])
        .is_ok()
    {
        std::thread::sleep(Duration::from_millis(20));
        if server.counts.broken() >= 2 {
            break;
        }
    }
    assert!(slow.is_closed() && slow.buffer.is_empty());

    // Longer idle than a head may take.
    patient.send(&request);
    patient.answer().assert_allows("alice");
    // The second request of a connection may not trickle either.
    patient.send("GET ");
    assert!(patient.is_closed());
}

#[test]
fn an_idle_connection_is_closed_in_the_end() {
    let limits = Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start_with("127.0.0.0/8", limits);
    let mut client = server.connect();
    client.send(format!(
        "GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n"
    ));
    client.answer().assert_allows("alice");
    assert!(client.is_closed());
}

#[test]
fn a_port_in_use_is_told_with_its_address_and_its_key() {
    let server = Server::start();
    let _guard = server.runtime.enter();
    let error = bind(server.address).unwrap_err();
    assert!(matches!(error, ForwardAuthError::InUse { .. }));
    let told = error.to_string();
    assert!(
        told.contains(&server.address.to_string()) && told.contains("listen.auth"),
        "{told}"
    );
}

#[test]
fn at_the_end_idle_connections_close_and_new_ones_are_refused() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.send(format!(
        "GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n"
    ));
    client.answer().assert_allows("alice");
    server.shutdown.cancel();
    assert!(client.is_closed());
    server
        .runtime
        .block_on(server.served.take().unwrap())
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).is_err());
    // The port is free at once.
    let _guard = server.runtime.enter();
    bind(server.address).unwrap();
}
