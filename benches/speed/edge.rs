//! Servers to be asked as Traefik asks: the listener over a table of any size, and a bare hyper that answers 204.
//!
//! `benches/edge.py` starts them, each on a core of its own, and asks with wrk.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use instanced::daemon::forward_auth::{AuthCounts, EdgeTable, ForwardAuth, SharedTable, bind};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::{AccessPolicy, Guard};
use instanced::doors::tls::{Acceptor, Authority};
use instanced::words::manifest::Auth;
use instanced::words::token::{TokenHash, TokenKind, TokenRecord};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The domain of all hosts.
const DOMAIN: &str = "bench.localhost";

/// Serves until standard input ends, and prints the address first. `which` is `bare` or the number of instances;
/// `tls` a directory for an authority.
pub fn serve(which: &str, tls: Option<&str>) {
    // As the daemon's edge: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let tls = tls.map(|dir| acceptor(dir.as_ref()));
    runtime.block_on(async {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("an address");
        println(&address.to_string());
        let stop = CancellationToken::new();
        let ended = stop.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read(&mut [0]);
            ended.cancel();
        });
        if let Ok(instances) = which.parse() {
            let served = ours(instances, tls).serve(listener, stop).await;
            served.expect("a thread");
        } else {
            tokio::select! {
                () = bare(listener, tls) => {}
                () = stop.cancelled() => {}
            }
        }
    });
}

fn println(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").expect("somebody reads the address");
    out.flush().expect("somebody reads the address");
}

fn acceptor(dir: &Path) -> Acceptor {
    let authority = Authority::open(dir).expect("an authority");
    authority.hand_out(&dir.join("ca.pem")).expect("its file");
    authority
        .acceptor(&["127.0.0.1".to_owned()])
        .expect("a certificate")
}

/// The token of an instance, of the length of a real one.
fn token(instance: usize) -> String {
    format!("mcp_{instance:08}_{}", "x".repeat(49))
}

fn ours(instances: usize, tls: Option<Acceptor>) -> ForwardAuth {
    let name = |n: usize| format!("i{n}").parse().expect("a name");
    let guards = (0..instances).map(|n| Guard {
        instance: name(n),
        endpoint: "mcp".parse().expect("a name"),
        host: format!("mcp-i{n}.{DOMAIN}").parse().expect("a host"),
        auth: Auth::Bearer,
        grants: Vec::new(),
    });
    let tokens: Vec<TokenRecord> = (0..instances)
        .map(|n| TokenRecord {
            id: format!("{n:08}"),
            instance: name(n),
            label: "bench".to_owned(),
            hash: TokenHash::of(token(n).as_bytes()),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: Some(jiff::Timestamp::MAX),
            endpoints: Vec::new(),
            kind: TokenKind::Bearer,
            session_seconds: None,
            successor: None,
        })
        .collect();
    let counts = Arc::<AuthCounts>::default();
    let table = EdgeTable::build(guards, &tokens, &Uses::default(), &counts);
    let table: SharedTable = Arc::new(ArcSwapOption::from_pointee(table));
    let trusted = ["127.0.0.0/8".parse().expect("a network")];
    ForwardAuth::new(AccessPolicy::new(&trusted, &[]), table, counts).with_tls(tls)
}

async fn bare(listener: TcpListener, tls: Option<Acceptor>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let tls = tls.clone();
        tokio::spawn(async move {
            let service = service_fn(|_: Request<_>| async {
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok::<_, Infallible>(response)
            });
            // How it ends is nobody's concern here.
            let _ = match tls {
                None => {
                    let io = TokioIo::new(stream);
                    http1::Builder::new().serve_connection(io, service).await
                }
                Some(tls) => {
                    let Ok((stream, _)) = tls.accept(stream).await else {
                        return;
                    };
                    http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(1_000)
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                }
            };
        });
    }
}
