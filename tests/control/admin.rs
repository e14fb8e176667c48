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
        let hosts = ["metrics.internal".to_owned()];
        let tokens = [token("looks", Access::Read), token("does", Access::Full)];
        let admin = Admin::bind(address.parse().unwrap(), &hosts, &tokens, None).await;
        let admin = admin.unwrap();
        let address = admin.address().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(admin.serve(Arc::new(Echo::new(&shutdown)), shutdown.clone()));
        Self {
            address,
            shutdown,
            served,
        }
    }

    /// The status of a request for this host.
    async fn status_at(&self, host: &str, request: &str, token: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[9..12].parse().unwrap()
    }

    /// The status and the whole answer.
    async fn ask(&self, request: &str, token: &str) -> (u16, String) {
        let authorization = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        );
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
async fn a_head_is_answered_as_a_get_without_the_body() {
    let admin = Listener::on("127.0.0.1:0").await;
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/v1/source",
        "/v1/plan",
        "/v1/nothing",
    ] {
        let (of_get, got) = admin.ask(&format!("GET {path}"), "looks").await;
        let (of_head, head) = admin.ask(&format!("HEAD {path}"), "looks").await;
        assert_eq!(of_head, of_get, "{path}");
        let (got, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty(), "{path}: {got}");
        let (head, nothing) = head.split_once("\r\n\r\n").unwrap();
        assert_eq!(nothing, "", "{path}");
        let without_date = |head: &str| {
            let lines = head.lines().filter(|line| !line.starts_with("date:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_date(head), without_date(got), "{path}");
    }
    // It needs what a GET needs, and there is none where there is no GET.
    let secret = "HEAD /v1/instances/alice/vnc-password";
    assert_eq!(admin.status(secret, "looks").await, 403);
    assert_eq!(admin.status(secret, "does").await, 200);
    let (status, refused) = admin.ask("HEAD /v1/sync", "does").await;
    assert_eq!(status, 405);
    assert!(refused.contains("allow: POST\r\n"), "{refused}");
    let (_, refused) = admin.ask("PUT /v1/tokens", "does").await;
    assert!(refused.contains("allow: GET, HEAD, POST\r\n"), "{refused}");
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
    let request = "GET /v1/instances/alice/logs?follow=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer looks\r\n\r\n";
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
    let again = Admin::bind(admin.address, &[], &[], None)
        .await
        .unwrap_err();
    let told = again.to_string();
    assert!(
        told.contains("listen.admin") && told.contains(&admin.address.to_string()),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_pointed_at_the_listener_is_refused() {
    let admin = Listener::on("127.0.0.1:0").await;
    let own = format!("{}", admin.address);
    for request in [
        "GET /health/live",
        "GET /health/ready",
        "GET /health",
        "GET /metrics",
        "GET /v1/openapi.json",
        "GET /v1/instances",
        "POST /v1/sync",
    ] {
        for host in [
            "evil.example",
            "evil.example:9181",
            "localhost.evil.example",
        ] {
            assert_eq!(
                admin.status_at(host, request, "none").await,
                421,
                "{request} {host}"
            );
        }
        for host in ["localhost", &own, "metrics.internal:80", "[::1]:9181"] {
            let status = admin.status_at(host, request, "none").await;
            assert_ne!(status, 421, "{request} {host}");
        }
    }
    // No page that was pointed here has a token.
    let scraped = admin.status_at("mcp.example.com", "GET /metrics", "looks");
    assert_eq!(scraped.await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_from_an_answer() {
    let admin = Listener::on("127.0.0.1:0").await;
    let mut idle = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /health/li").await.unwrap();
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(admin.status("GET /health/live", "").await, 200);
        assert_eq!(admin.status("GET /v1/plan", "looks").await, 200);
    }
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_connections_are_busy_health_is_answered_and_nothing_else() {
    let admin = Listener::on("127.0.0.1:0").await;
    let follow = "GET /v1/instances/alice/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\
                  Authorization: Bearer looks\r\n\r\n";
    let mut busy = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(follow.as_bytes()).await.unwrap();
        let mut piece = [0; 64];
        assert!(stream.read(&mut piece).await.unwrap() > 0);
        busy.push(stream);
    }
    // More than the reserve has room for.
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
        assert_eq!(admin.status("GET /health/live", "").await, 200);
        assert_eq!(admin.status("GET /v1/plan", "looks").await, 503);
        assert_eq!(
            admin.status_at("evil.example", "GET /health", "").await,
            421
        );
    }
    // Nobody who is being answered was cut off for it.
    busy.pop();
    while admin.status("GET /v1/plan", "looks").await != 200 {
        tokio::task::yield_now().await;
    }
    for stream in &mut busy {
        let mut piece = [0; 4096];
        let reading = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut piece));
        if let Ok(read) = reading.await {
            assert!(read.unwrap() > 0);
        }
    }
}
