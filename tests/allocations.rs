//! What an allowed request costs in memory: nothing that a hyper that answers 204 to everybody does not take, too.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "support/access.rs"]
mod access;

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use instanced::daemon::forward_auth::{AuthCounts, EdgeTable, ForwardAuth, SharedTable, bind};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::AccessPolicy;
use instanced::words::token::TokenRecord;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const REQUESTS: usize = 400;
/// As many headers as Traefik sends.
const QUESTION: &str = "GET /auth/mcp-bearer-check/mcp-alice HTTP/1.1\r\nHost: 127.0.0.1:9180\r\n\
    Authorization: Bearer alice-token\r\nX-Forwarded-Host: mcp-alice.mcp.localhost\r\n\
    X-Forwarded-Uri: /mcp\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Server: edge\r\n\
    X-Real-Ip: 203.0.113.7\r\nUser-Agent: mcp-client/1.0\r\nAccept-Encoding: gzip\r\n\r\n";

#[test]
fn an_allowed_request_allocates_no_more_than_a_bare_hyper_does() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let runtime = Runtime::new().unwrap();
    let guard = runtime.enter();
    let (ours, bare) = (
        bind(([127, 0, 0, 1], 0).into()).unwrap(),
        bind(([127, 0, 0, 1], 0).into()).unwrap(),
    );
    drop(guard);
    let (at, bare_at) = (ours.local_addr().unwrap(), bare.local_addr().unwrap());
    let auth = listener();
    runtime.spawn(auth.serve(ours, CancellationToken::new()));
    runtime.spawn(serve_bare(bare));

    let (mine, theirs) = (blocks_for(at), blocks_for(bare_at));
    // Now and then something grows that is not of a request: a queue, the date's text.
    let slack = (REQUESTS / 20) as u64;
    assert!(
        mine <= theirs + slack,
        "{mine} blocks for {REQUESTS} requests, a bare hyper takes {theirs}"
    );
}

/// How many blocks of memory were allocated while one connection asked so often.
fn blocks_for(at: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(at).unwrap();
    let mut buffer = [0; 1024];
    let mut ask = || {
        stream.write_all(QUESTION.as_bytes()).unwrap();
        let read = stream.read(&mut buffer).unwrap();
        assert!(
            buffer[..read].starts_with(b"HTTP/1.1 204") && buffer[..read].ends_with(b"\r\n\r\n")
        );
    };
    // What is allocated once: buffers, the map of headers.
    for _ in 0..20 {
        ask();
    }
    let before = dhat::HeapStats::get().total_blocks;
    for _ in 0..REQUESTS {
        ask();
    }
    dhat::HeapStats::get().total_blocks - before
}

fn listener() -> ForwardAuth {
    let token = TokenRecord {
        // An expiry is looked at, too.
        expires: Some(jiff::Timestamp::MAX),
        ..access::record("alice", "alice-token")
    };
    let counts = Arc::<AuthCounts>::default();
    let table = EdgeTable::build(
        [access::guard("alice", "mcp")],
        &[token],
        &Uses::default(),
        &counts,
    );
    let table: SharedTable = Arc::new(ArcSwapOption::from_pointee(table));
    let policy = AccessPolicy::new(&["127.0.0.0/8".parse().unwrap()], &[]);
    ForwardAuth::new(policy, table, counts)
}

async fn serve_bare(listener: tokio::net::TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let service = service_fn(|_: Request<_>| async {
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok::<_, Infallible>(response)
            });
            let io = TokioIo::new(stream);
            // How it ends is nobody's concern here.
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}
