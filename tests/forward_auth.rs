//! The `ForwardAuth` listener over TCP, spoken to as bluntly as an attacker would: every row of
//! `FORWARD_AUTH.md`, "What we answer", on the wire.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "forward_auth/tickets.rs"]
mod tickets;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use instanced::daemon::forward_auth::{
    AuthCounts, EdgeTable, ForwardAuth, ForwardAuthError, Limits, SharedTable, SharedTokens, bind,
};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::{AccessPolicy, Guard, Reason};
use instanced::words::manifest::Auth;
use instanced::words::token::{TokenHash, TokenKind, TokenRecord};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATH: &str = "/auth/mcp-bearer-check/mcp-alice";
const HOST: &str = "X-Forwarded-Host: mcp-alice.mcp.localhost\r\n";
const BEARER: &str = "Authorization: Bearer alice-token\r\n";

struct Server {
    address: SocketAddr,
    table: SharedTable,
    tokens: SharedTokens,
    counts: Arc<AuthCounts>,
    shutdown: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
    runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        Self::start_with("127.0.0.0/8", Limits::default())
    }

    fn start_with(trusted: &str, limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let policy = AccessPolicy::new(
            &[trusted.parse().unwrap()],
            &["https://app.example.com".to_owned()],
        );
        let counts = Arc::<AuthCounts>::default();
        let made = access_table(true, &counts);
        let table: SharedTable = Arc::new(ArcSwapOption::from_pointee(made));
        let auth = ForwardAuth::new(policy, Arc::clone(&table), Arc::clone(&counts));
        let auth = auth.with_limits(limits);
        let tokens = auth.tokens();
        let shutdown = CancellationToken::new();
        let guard = runtime.enter();
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(guard);
        let served = Some(runtime.spawn(auth.serve(listener, shutdown.clone())));
        Self {
            address,
            table,
            tokens,
            counts,
            shutdown,
            served,
            runtime,
        }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// A GET at `path` with these header lines.
    fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9180\r\n{headers}\r\n"
        ))
    }
}

fn access_table(with_tokens: bool, counts: &AuthCounts) -> EdgeTable {
    let guards = ["alice", "bob"].into_iter().flat_map(|instance| {
        ["mcp", "sse"].map(|endpoint| Guard {
            instance: instance.parse().unwrap(),
            endpoint: endpoint.parse().unwrap(),
            host: format!("{endpoint}-{instance}.mcp.localhost")
                .parse()
                .unwrap(),
            auth: Auth::Bearer,
            grants: Vec::new(),
        })
    });
    let record = |instance: &str, token: &str| TokenRecord {
        id: token.to_owned(),
        instance: instance.parse().unwrap(),
        label: token.to_owned(),
        hash: TokenHash::of(token.as_bytes()),
        created: jiff::Timestamp::UNIX_EPOCH,
        expires: None,
        endpoints: Vec::new(),
        kind: TokenKind::Bearer,
        session_seconds: None,
        successor: None,
    };
    let mut expired = record("alice", "alice-expired");
    expired.expires = Some(jiff::Timestamp::UNIX_EPOCH);
    let mut scoped = record("alice", "alice-sse");
    scoped.endpoints = vec!["sse".parse().unwrap()];
    let tokens = [
        record("alice", "alice-token"),
        record("bob", "bob-token"),
        expired,
        scoped,
    ];
    let tokens = if with_tokens { &tokens[..] } else { &[] };
    EdgeTable::build(guards, tokens, &Uses::default(), counts)
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    version: String,
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: String,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads more; false at the end of the stream.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            // A close with bytes unread arrives as a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more(), "closed without an answer");
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers
                .entry(name.to_ascii_lowercase())
                .or_default()
                .push(value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |l| l[0].parse().unwrap());
        while self.buffer.len() < end + 4 + length {
            assert!(self.more(), "closed within a body");
        }
        let body = String::from_utf8(self.buffer[end + 4..end + 4 + length].to_vec()).unwrap();
        self.buffer.drain(..end + 4 + length);
        let (version, rest) = status_line.split_once(' ').unwrap();
        let status = rest[..3].parse().unwrap();
        Answer {
            version: version.to_owned(),
            status,
            headers,
            body,
        }
    }

    fn is_closed(&mut self) -> bool {
        while self.more() {}
        true
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|values| {
            assert_eq!(values.len(), 1, "{name}");
            values[0].as_str()
        })
    }

    /// The answer without what changes from second to second.
    fn undated(mut self) -> Self {
        self.headers.remove("date");
        self
    }

    fn assert_allows(&self, instance: &str) {
        assert_eq!(self.status, 204, "{self:?}");
        assert_eq!(self.header("x-mcp-instance-id"), Some(instance));
        let names: Vec<_> = self.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["date", "x-mcp-instance-id"]);
        assert_eq!(self.body, "");
    }

    /// What holds for everything but a 204.
    fn assert_refuses(&self, status: u16, phrase: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(
            self.header("content-length"),
            Some(self.body.len().to_string().as_str())
        );
        assert!(
            self.body.len() < 200 && self.body.contains(phrase),
            "{}",
            self.body
        );
        for never in ["location", "server", "set-cookie", "x-mcp-instance-id"] {
            assert_eq!(self.header(never), None);
        }
        let challenge = self.header("www-authenticate");
        match status {
            401 => assert!(challenge.is_some()),
            400 => assert!(challenge.is_none_or(|told| told == INVALID_REQUEST)),
            403 => assert!(challenge.is_none_or(|told| told == OUT_OF_SCOPE)),
            _ => assert_eq!(challenge, None),
        }
    }

    fn assert_challenges(&self, challenge: &str) {
        self.assert_refuses(401, "Unauthorized");
        assert_eq!(self.header("www-authenticate"), Some(challenge));
    }
}

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
        answer.undated()
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
fn connections_beyond_the_limit_wait_for_their_turn() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Server::start_with("127.0.0.0/8", limits);
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n");
    let mut open: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut open {
        client.send(&request);
        client.answer().assert_allows("alice");
    }
    let mut waiting = server.connect();
    waiting.send(&request);
    drop(open);
    waiting.answer().assert_allows("alice");
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
        .unwrap();
    assert!(TcpStream::connect(server.address).is_err());
    // The port is free at once.
    let _guard = server.runtime.enter();
    bind(server.address).unwrap();
}
