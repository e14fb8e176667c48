//! The control API over TCP, with tokens.

use instanced::words::config::{Access, AdminToken};
use instanced::words::token::TokenHash;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

struct Listener {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Listener {
    async fn on(address: &str) -> Self {
        let token = |label: &str, access| AdminToken {
            label: label.to_owned(),
            hash: TokenHash::of(label.as_bytes()),
            access,
            expires: None,
        };
        let tokens = [token("looks", Access::Read), token("does", Access::Full)];
        let admin = Admin::bind(address.parse().unwrap(), &tokens, None).await;
        let admin = admin.unwrap();
        let address = admin.address().unwrap();
        let shutdown = CancellationToken::new();
        let events = Events::new(shutdown.clone());
        let served = tokio::spawn(admin.serve(Arc::new(Echo { events }), shutdown.clone()));
        Self {
            address,
            shutdown,
            served,
        }
    }

    /// The status and the whole answer.
    async fn ask(&self, request: &str, token: &str) -> (u16, String) {
        let authorization = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text =
            format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    async fn status(&self, request: &str, token: &str) -> u16 {
        self.ask(request, token).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_needs_what_it_needs() {
    let admin = Listener::on("127.0.0.1:0").await;
    for (request, without, looks, does) in [
        ("GET /health/live", 200, 200, 200),
        ("GET /health", 200, 200, 200),
        ("GET /metrics", 200, 200, 200),
        ("GET /v1/openapi.json", 200, 200, 200),
        ("GET /v1/instances", 401, 200, 200),
        ("GET /v1/instances/alice", 401, 200, 200),
        ("GET /v1/instances/alice/logs", 401, 200, 200),
        ("GET /v1/instances/alice/vnc-password", 401, 403, 200),
        ("GET /v1/tokens", 401, 200, 200),
        ("DELETE /v1/tokens/x", 401, 403, 404),
        ("POST /v1/instances/alice/restart", 401, 403, 200),
        // Who may not ask learns nothing, not even what there is.
        ("GET /v1/nothing", 401, 404, 404),
        ("PUT /v1/instances", 401, 403, 405),
    ] {
        assert_eq!(admin.status(request, "").await, without, "{request}");
        // A wrong token is as good as none.
        assert_eq!(admin.status(request, "other").await, without, "{request}");
        assert_eq!(admin.status(request, "looks").await, looks, "{request}");
        assert_eq!(admin.status(request, "does").await, does, "{request}");
    }
    let (_, refused) = admin.ask("GET /v1/plan", "").await;
    let refused = refused.to_ascii_lowercase();
    assert!(
        refused.contains("www-authenticate: bearer\r\n"),
        "{refused}"
    );
    assert!(
        refused.contains("content-type: application/problem+json"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_elsewhere_even_figures_need_a_token() {
    let admin = Listener::on("0.0.0.0:0").await;
    for request in ["GET /health", "GET /metrics", "GET /v1/openapi.json"] {
        assert_eq!(admin.status(request, "").await, 401, "{request}");
        assert_eq!(admin.status(request, "looks").await, 200, "{request}");
    }
    assert_eq!(admin.status("GET /health/live", "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_followed_ends_with_the_daemon() {
    let admin = Listener::on("127.0.0.1:0").await;
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let request = "GET /v1/instances/alice/logs?follow=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer looks\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut piece = [0; 1024];
    while !answer.contains("\"line\":\"None\"") {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{answer}");
        answer += std::str::from_utf8(&piece[..read]).unwrap();
    }
    admin.shutdown.cancel();
    admin.served.await.unwrap();
    assert_eq!(stream.read(&mut piece).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let admin = Listener::on("127.0.0.1:0").await;
    let again = Admin::bind(admin.address, &[], None).await.unwrap_err();
    let told = again.to_string();
    assert!(
        told.contains("listen.admin") && told.contains(&admin.address.to_string()),
        "{told}"
    );
}
