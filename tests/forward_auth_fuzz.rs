//! Bytes that no Traefik sends, at the `ForwardAuth` listener itself: nobody passes without the token, and whoever
//! comes next is answered. `INSTANCED_FUZZ_CASES=100000 cargo test --release --test forward_auth_fuzz` plays more.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "support/access.rs"]
mod access;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use instanced::daemon::forward_auth::{AuthCounts, EdgeTable, ForwardAuth, Limits, bind};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::AccessPolicy;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "mcp_k3v9x0qa_0123456789abcdefghijklmnopqrstuvwxyz0123456789ABC";
const PATH: &str = "/auth/mcp-bearer-check/mcp-alice";
/// How many cases, where nobody wishes for more: a second or two.
const CASES: u32 = 300;
/// How long an answer to what is no request is waited for: most of it is never answered.
const SHORT: Duration = Duration::from_millis(20);
/// How long one to a good request is.
const LONG: Duration = Duration::from_secs(20);

/// A listener of its own; ends with the test.
struct Server {
    address: SocketAddr,
    counts: Arc<AuthCounts>,
    shutdown: CancellationToken,
    _runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let policy = AccessPolicy::new(&["127.0.0.0/8".parse().unwrap()], &[]);
        let counts = Arc::<AuthCounts>::default();
        let table = EdgeTable::build(
            [access::guard("alice", "mcp")],
            &[access::record("alice", TOKEN)],
            &Uses::default(),
            &counts,
        );
        let table = Arc::new(ArcSwapOption::from_pointee(table));
        let auth = ForwardAuth::new(policy, table, Arc::clone(&counts)).with_limits(Limits {
            head: Duration::from_millis(500),
            ..Limits::default()
        });
        let entered = runtime.enter();
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        drop(entered);
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        runtime.spawn(auth.serve(listener, shutdown.clone()));
        Self {
            address,
            counts,
            shutdown,
            _runtime: runtime,
        }
    }

    /// Sends these pieces, and returns whatever comes back.
    fn throw(&self, pieces: &[Vec<u8>], patience: Duration) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            // It may have had enough by now.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let mut answers = Vec::new();
        stream.set_read_timeout(Some(patience)).unwrap();
        // It ends in a timeout or a reset as well as it does in an end.
        let _ = stream.read_to_end(&mut answers);
        let _ = stream.shutdown(Shutdown::Both);
        answers
    }

    /// That a good request passes.
    fn still_answers(&self) {
        let good = format!(
            "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Host: mcp-alice.mcp.localhost\r\n\
             Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        let answer = self.throw(&[good.into_bytes()], LONG);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 204 "), "{text:?}");
        assert_eq!(text.matches("x-mcp-instance-id: alice\r\n").count(), 1);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn cases() -> u32 {
    let wished = std::env::var("INSTANCED_FUZZ_CASES").ok();
    wished.map_or(CASES, |cases| cases.parse().expect("a number"))
}

/// Plays cases whose failures are shown by proptest itself; nothing is written beside the test.
fn play<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let played = TestRunner::new(config).run(strategy, |value| {
        check(value);
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A token that is none, and all that is close to the one that is.
fn token() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..80),
        "[a-zA-Z0-9_.~+/=-]{0,80}".prop_map(String::into_bytes),
        (0..TOKEN.len()).prop_map(|end| TOKEN.as_bytes()[..end].to_vec()),
        (0..TOKEN.len(), any::<u8>()).prop_map(|(at, byte)| {
            let mut token = TOKEN.as_bytes().to_vec();
            // Also where it falls on what it was.
            token[at] = if token[at] == byte { byte ^ 1 } else { byte };
            token
        }),
        select(&[",", ", Bearer x", "\0", "\x0b", "=", "x", "%20"][..]).prop_map(|more| [
            TOKEN.as_bytes(),
            more.as_bytes()
        ]
        .concat()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        select(
            &[
                "mcp-alice.mcp.localhost",
                "MCP-ALICE.mcp.localhost.:80",
                "[::1]:1",
                "chunked",
                "identity, chunked",
                "close",
                "keep-alive, authorization",
                "upgrade, http2-settings",
                "h2c",
                "0",
                "1",
                "-1",
                "18446744073709551616",
                "100-continue",
                "/.well-known/oauth-x",
                "a\r\n folded",
                "a\r\n\tX-Forwarded-Host: mcp-alice.mcp.localhost",
                "a\0b",
                "",
            ][..]
        )
        .prop_map(|value| value.as_bytes().to_vec()),
        token().prop_map(|token| [b"Bearer ", token.as_slice()].concat()),
        (0..80_000_usize).prop_map(|length| vec![b'v'; length]),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => select(
            &[
                "Host",
                "X-Forwarded-Host",
                "x-forwarded-host ",
                "X_Forwarded_Host",
                "X-Forwarded-Uri",
                "X-Forwarded-For",
                "X-Forwarded-Method",
                "Authorization",
                "AUTHORIZATION",
                "Authorization\0",
                "Cookie",
                "Origin",
                "Connection",
                "Content-Length",
                "Transfer-Encoding",
                "Expect",
                "Upgrade",
                "X-MCP-Instance-Id",
                " Folded",
                "",
            ][..]
        )
        .prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ]
}

fn line_end() -> impl Strategy<Value = &'static [u8]> {
    const ODD: [&[u8]; 5] = [b"\r", b"\n\r", b"\r\r\n", b"\0\r\n", b""];
    prop_oneof![
        40 => Just(&b"\r\n"[..]),
        1 => Just(&b"\n"[..]),
        1 => select(&ODD[..]),
    ]
}

/// Most of them are sound, so that what is behind the parser has its share.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let colon = select(&[": ", ":", " : ", ":\t", " ", "::"][..]);
    let odd = (name(), colon, value(), line_end())
        .prop_map(|(name, colon, value, end)| [&name, colon.as_bytes(), &value, end].concat());
    let bearer = token().prop_map(|mut token| {
        token.retain(|b| !b.is_ascii_control());
        if token.trim_ascii() == TOKEN.as_bytes() {
            token.push(b'x');
        }
        [b"Authorization: Bearer ", token.as_slice(), b"\r\n"].concat()
    });
    let sound = select(
        &[
            "Host: 127.0.0.1\r\n",
            "X-Forwarded-Host: mcp-alice.mcp.localhost\r\n",
            "X-Forwarded-Host: mcp-nobody.mcp.localhost:80\r\n",
            "X-Forwarded-Uri: /mcp\r\n",
            "X-Forwarded-Uri: /.well-known/oauth-protected-resource\r\n",
            "X-Forwarded-For: 203.0.113.7, 127.0.0.1\r\n",
            "X-Forwarded-For: \u{ff}, ,::ffff:1.2.3.4\r\n",
            "Authorization: Basic eDp5\r\n",
            "Cookie: __Host-instanced=x; a=b\r\n",
            "Origin: null\r\n",
            "Connection: keep-alive\r\n",
            "Expect: 100-continue\r\n",
            "X-MCP-Instance-Id: alice\r\n",
        ][..],
    )
    .prop_map(|line| line.as_bytes().to_vec());
    prop_oneof![10 => sound, 8 => bearer, 1 => odd]
}

fn start_line() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        40 => Just("GET".to_owned()),
        4 => select(&["HEAD", "POST", "PRI", "get", "CONNECT", "OPTIONS", ""][..])
            .prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ];
    let target = prop_oneof![
        30 => Just(PATH.to_owned()),
        8 => select(
            &[
                "/auth/mcp-bearer-check",
                "/auth/mcp-bearer-check/",
                "/auth/mcp-bearer-check/mcp-alice?x#y",
                "/auth/mcp-bearer-check/../mcp-bearer-check/mcp-alice",
                "/auth/mcp-bearer-check/mcp-alice%00",
                "http://mcp-alice.mcp.localhost/auth/mcp-bearer-check/mcp-alice",
                "*",
                "mcp-alice:80",
            ][..]
        )
        .prop_map(str::to_owned),
        1 => "\\PC{0,60}",
    ];
    let version = prop_oneof![
        40 => Just("HTTP/1.1"),
        1 => select(&["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "", "http/1.1"][..]),
    ];
    (method, target, version, line_end()).prop_map(|(method, target, version, end)| {
        [format!("{method} {target} {version}").as_bytes(), end].concat()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => vec(any::<u8>(), 0..2_000),
        1 => vec((any::<u8>(), 0..200_usize), 0..6).prop_map(|chunks| {
            let mut body = Vec::new();
            for (byte, length) in chunks {
                // A size that is not the chunk's, now and then.
                let told = if byte % 8 == 0 { length + 1 } else { length };
                body.extend(format!("{told:x};ext\r\n").into_bytes());
                body.extend(vec![byte; length]);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\nAuthorization: x\r\n\r\n");
            body
        }),
    ]
}

/// Requests, more or less, one after the other.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let headers = prop_oneof![
        4 => vec(header(), 0..8),
        8 => vec(header(), 0..4).prop_map(|mut headers| {
            let first = "X-Forwarded-Host: mcp-alice.mcp.localhost\r\n";
            headers.insert(0, first.as_bytes().to_vec());
            headers
        }),
        1 => (0..400_usize, header()).prop_map(|(times, header)| vec![header; times]),
    ];
    let request =
        (start_line(), headers, line_end(), body()).prop_map(|(start, headers, end, body)| {
            [start, headers.concat(), end.to_vec(), body].concat()
        });
    prop_oneof![
        8 => vec(request, 1..4).prop_map(|requests| requests.concat()),
        1 => vec(any::<u8>(), 0..3_000),
    ]
}

/// Bytes in the pieces in which they are sent.
fn cut(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = places.iter().map(|at| at.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pairs = places.windows(2);
    pairs.map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

fn lets_in(answers: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answers).to_ascii_lowercase();
    text.contains(" 204 ") || text.contains("x-mcp-instance-id")
}

#[test]
fn whatever_is_sent_without_the_token_opens_nothing_and_stops_nobody() {
    let server = Server::start();
    server.still_answers();
    let places = vec(any::<prop::sample::Index>(), 0..5);
    let thrown = (requests(), places);
    play(cases(), &thrown, |(bytes, places)| {
        let answers = server.throw(&cut(&bytes, &places), SHORT);
        assert!(
            !lets_in(&answers),
            "{:?}\n→ {:?}",
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&answers)
        );
        server.still_answers();
    });
    // Every good request passed, and nothing else did.
    assert_eq!(server.counts.allowed(), u64::from(cases()) + 1);
}

/// The token between odd neighbours: it opens at most what it was sent with, once.
#[test]
fn the_token_among_odd_headers_opens_once_at_most() {
    let server = Server::start();
    let around = (vec(header(), 0..2), vec(header(), 0..3));
    let thrown = (around, vec(any::<prop::sample::Index>(), 0..5));
    play(cases() / 2, &thrown, |((before, after), places)| {
        let bytes = [
            format!("GET {PATH} HTTP/1.1\r\n").into_bytes(),
            before.concat(),
            b"X-Forwarded-Host: mcp-alice.mcp.localhost\r\n".to_vec(),
            format!("Authorization: Bearer {TOKEN}\r\n").into_bytes(),
            after.concat(),
            b"\r\n".to_vec(),
        ]
        .concat();
        let answers = server.throw(&cut(&bytes, &places), SHORT);
        let text = String::from_utf8_lossy(&answers);
        assert!(text.matches("HTTP/1.1 204 ").count() <= 1, "{text:?}");
        assert!(!text.contains(TOKEN));
        server.still_answers();
    });
}

/// Heads that grow and never end are cut off; one that is too large is told so, or cut off.
#[test]
fn a_head_without_an_end_is_cut_off() {
    let server = Server::start();
    for filler in ["X-Filler: y\r\n", "X-Filler: y\n", " folded\r\n", "\0", "y"] {
        let start = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n");
        let endless = filler.repeat(2_000_000 / filler.len());
        let pieces = [start.into_bytes(), endless.into_bytes()];
        let answers = server.throw(&pieces, LONG);
        assert!(!lets_in(&answers), "{filler:?}");
        server.still_answers();
    }
}
