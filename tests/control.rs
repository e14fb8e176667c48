//! The control API over a real unix socket: its own client, and a blunt one.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use instanced::daemon::control::{Admin, ControlError, ControlSocket, Lines, Operations, Outcome};
use instanced::daemon::events::Events;
use instanced::decisions::event::Event;
use instanced::doors::control_client::{ControlClient, ControlClientError};
use instanced::words::commit::Commit;
use instanced::words::control::{
    AskReconcile, AskTicket, IssueToken, Problem, RotateToken, SOCKET,
};
use instanced::words::name::InstanceName;
use instanced::words::overrides::Order;
use instanced::words::watch::{AskLog, AskUsage, LogLine, LogStream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[path = "control/admin.rs"]
mod admin;
#[path = "control/echo.rs"]
mod echo;
#[path = "control/logs.rs"]
mod logs;
#[path = "control/socket.rs"]
mod socket;

use echo::Echo;

struct Daemon {
    state: TempDir,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    events: Events,
}

impl Daemon {
    async fn start() -> Self {
        let state = TempDir::new().unwrap();
        let socket = ControlSocket::bind(state.path(), None).await.unwrap();
        let shutdown = CancellationToken::new();
        let echo = Echo::new(&shutdown);
        let events = echo.events.clone();
        let served = tokio::spawn(socket.serve(Arc::new(echo), shutdown.clone()));
        Self {
            state,
            shutdown,
            served,
            events,
        }
    }

    async fn client(&self) -> ControlClient {
        ControlClient::connect(self.state.path())
            .await
            .unwrap()
            .unwrap()
    }

    /// Sends bytes as they are; returns all that comes back until the end.
    async fn raw(&self, bytes: &'static [u8]) -> String {
        let path = self.state.path().join(SOCKET);
        tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            stream.write_all(bytes).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .await
        .unwrap()
    }
}

async fn asked(client: &ControlClient, path: &str) -> Value {
    client.get(path).await.unwrap()["asked"].clone()
}

fn refused<T: std::fmt::Debug>(result: Result<T, ControlClientError>) -> Problem {
    match result {
        Err(ControlClientError::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_as_they_happen_and_the_stream_ends_with_the_daemon() {
    let daemon = Daemon::start().await;
    let path = daemon.state.path().join(SOCKET);
    let (heard, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let reading = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream
            .write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut all = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            all += &line;
            all.push('\n');
            heard.send(line).unwrap();
        }
        all
    });
    let mut until = async |word: &str| {
        loop {
            let line = lines.recv().await.expect("the stream ended");
            if line.contains(word) {
                return line;
            }
        }
    };
    until("events from now on").await;
    for subject in ["one", "two\nlines"] {
        daemon.events.tell(Event::Fetched {
            at: "2026-11-27T12:00:00Z".parse().unwrap(),
            commit: Commit {
                id: "5b3e".repeat(10),
                author: Some("Ada <ada@example.com>".to_owned()),
                committed: "2026-11-27T11:00:00Z".parse().unwrap(),
                subject: subject.to_owned(),
                changed_since: false,
            },
        });
        assert_eq!(until("event: ").await, "event: fetched");
        let data = until("data: ").await;
        let told: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
        assert_eq!(told["commit"]["subject"], subject);
    }
    daemon.shutdown.cancel();
    daemon.served.await.unwrap();
    let all = reading.await.unwrap();
    assert!(all.contains("content-type: text/event-stream"), "{all}");
    assert!(all.ends_with("\n0\n\n"), "the last chunk is sent: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_text() {
    let daemon = Daemon::start().await;
    let answer = daemon
        .raw(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
              Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5\r\n\r\n",
        )
        .await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    let answer = daemon
        .raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(!answer.contains("# EOF"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_leads_to_its_operation() {
    let daemon = Daemon::start().await;
    let client = daemon.client().await;
    assert_eq!(asked(&client, "/health").await, "health");
    assert_eq!(asked(&client, "/v1/tokens").await, "tokens None");
    assert_eq!(
        asked(&client, "/v1/tokens?instance=alice").await,
        "tokens Some(InstanceName(\"alice\"))"
    );
    assert_eq!(asked(&client, "/v1/instances").await, "instances None");
    assert_eq!(
        asked(&client, "/v1/instances?usage=now").await,
        "instances Now"
    );
    assert_eq!(
        asked(&client, "/v1/instances/alice/history").await,
        "history alice"
    );
    assert_eq!(asked(&client, "/v1/templates").await, "templates");
    let live = client.get("/health/live").await.unwrap();
    assert_eq!(live, json!({ "live": true }));
    let description = client.get("/v1/openapi.json").await.unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(asked(&client, "/v1/snapshot").await, "snapshot");
    assert_eq!(
        asked(&client, "/v1/instances/alice").await,
        "instance alice"
    );
    assert_eq!(
        asked(&client, "/v1/instances/alice/vnc-password").await,
        "vnc alice"
    );
    let issue = IssueToken {
        instance: "alice".parse().unwrap(),
        label: "ci".to_owned(),
        expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        endpoints: Vec::new(),
    };
    let answer = client.post("/v1/tokens", &issue).await.unwrap();
    assert_eq!(answer["asked"], "issue alice ci Some(2027-01-01T00:00:00Z)");
    let rotate = json!({ "overlap": "1h" });
    let answer = client.post("/v1/tokens/k3v9x0qa/rotate", &rotate).await;
    assert_eq!(
        answer.unwrap()["asked"],
        "rotate k3v9x0qa Some(Span(3600000))"
    );
    let ticket = json!({ "endpoint": "vnc", "label": "Ada" });
    let answer = client.post("/v1/instances/alice/tickets", &ticket).await;
    assert_eq!(answer.unwrap()["asked"], "ticket alice vnc Ada");
    let round = json!({ "names": ["alice"], "confirm_prune": "abc" });
    let answer = client.post("/v1/reconcile", &round).await.unwrap();
    assert_eq!(answer["asked"], "reconcile 1 Some(\"abc\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_arrives_whole() {
    let daemon = Daemon::start().await;
    let plan = daemon.client().await.get("/v1/plan").await.unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_as_the_problem_it_is() {
    let daemon = Daemon::start().await;
    let problem = refused(daemon.client().await.delete("/v1/tokens/k3v9x0qa").await);
    assert_eq!(problem.status, 404);
    assert_eq!(problem.detail, "there is no token \"k3v9x0qa\"");
    assert_eq!(problem.help.as_deref(), Some("see `token list`"));
    let raw = daemon
        .raw(b"DELETE /v1/tokens/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .to_ascii_lowercase();
    assert!(
        raw.contains("content-type: application/problem+json"),
        "{raw}"
    );
    assert!(raw.contains("cache-control: no-store"), "{raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let daemon = Daemon::start().await;
    let client = daemon.client().await;
    for path in [
        "/",
        "/v1",
        "/v2/tokens",
        "/v1/instances/alice/x",
        "/v1/tokens/",
    ] {
        let status = refused(client.get(path).await).status;
        assert!(matches!(status, 404 | 405), "{path}: {status}");
    }
    let problem = refused(client.delete("/v1/plan").await);
    assert_eq!(problem.status, 405);
    assert!(problem.detail.contains("GET"), "{}", problem.detail);
    assert_eq!(
        refused(client.get("/v1/instances/No_Name").await).status,
        400
    );
    assert_eq!(
        refused(client.get("/v1/tokens?instance=No_Name").await).status,
        400
    );
    let error = client.get("no path at all").await.unwrap_err();
    assert!(matches!(error, ControlClientError::Path { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_body_is_refused_with_the_field() {
    let daemon = Daemon::start().await;
    let client = daemon.client().await;
    let wrong = async |body: Value| refused(client.post("/v1/tokens", &body).await);
    let problem = wrong(json!({ "instance": "No_Name", "label": "x" })).await;
    assert_eq!(problem.status, 400);
    assert!(problem.detail.contains("`instance`"), "{}", problem.detail);
    assert!(
        wrong(json!({ "label": "x" }))
            .await
            .detail
            .contains("instance")
    );
    assert!(
        wrong(json!({ "instance": "a", "label": "x", "secret": 1 }))
            .await
            .detail
            .contains("secret")
    );
    let large = json!({ "instance": "a", "label": "x".repeat(100_000) });
    assert_eq!(wrong(large).await.status, 413);
    let form = b"POST /v1/tokens HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b";
    assert!(daemon.raw(form).await.starts_with("HTTP/1.1 415"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_wait_for_ever() {
    let daemon = Daemon::start().await;
    let client = daemon
        .client()
        .await
        .with_patience(Duration::from_millis(50));
    let error = client.post("/v1/reconcile", &json!({})).await.unwrap_err();
    assert!(
        matches!(error, ControlClientError::Silent { .. }),
        "{error}"
    );
    // Others are served meanwhile.
    assert_eq!(asked(&client, "/health").await, "health");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_line_by_line_and_says_what_broke_it_off() {
    let daemon = Daemon::start().await;
    let client = daemon.client().await;
    let mut lines = client
        .lines("/v1/instances/alice/logs?tail=2")
        .await
        .unwrap();
    let mut told = Vec::new();
    let broken = loop {
        match lines.next::<LogLine>().await {
            Ok(Some(line)) => told.push(line.line),
            Ok(None) => panic!("it ended as if all were well"),
            Err(error) => break error,
        }
    };
    assert_eq!(told, ["Some(2)", "of two\nlines"]);
    assert!(broken.to_string().contains("went away"), "{broken}");
    let problem = refused(client.lines("/v1/instances/ghost/logs").await);
    assert_eq!(problem.status, 404);
    for query in ["tail=-1", "follow=perhaps", "since=noon", "head=1"] {
        let path = format!("/v1/instances/alice/logs?{query}");
        assert_eq!(refused(client.lines(&path).await).status, 400, "{query}");
    }
}
