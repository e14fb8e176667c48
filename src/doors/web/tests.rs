use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection with these bytes, and tells what it was asked.
async fn server(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).await.expect("a request");
        stream.write_all(answer.as_bytes()).await.expect("sent");
        // Held open: an answer's end must not depend on it.
        let mut rest = [0; 1];
        let _ = stream.read(&mut rest).await;
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    (address, asked)
}

fn request(body_max: usize, millis: u64) -> Get<'static> {
    Get {
        host: "mcp-alice.example.com",
        path: "/well?x=1",
        headers: &[],
        within: Duration::from_millis(millis),
        body_max,
    }
}

#[tokio::test]
async fn it_asks_with_the_host_that_it_was_given_and_follows_no_redirect() {
    let (address, asked) =
        server("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n")
            .await;
    let (status, _) = get(address, request(0, 5_000)).await.expect("an answer");
    assert_eq!(status, 302);
    let asked = asked.await.expect("asked").to_lowercase();
    assert!(asked.starts_with("get /well?x=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("host: mcp-alice.example.com\r\n"), "{asked}");
}

#[tokio::test]
async fn an_endless_body_is_an_answer_where_no_body_is_wanted() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    let (address, _asked) = server(endless).await;
    assert_eq!(
        get(address, request(0, 5_000)).await.expect("an answer").0,
        200
    );
    let (address, _asked) = server(endless).await;
    let silent = get(address, request(100, 200)).await;
    assert!(matches!(silent, Err(WebError::Silent(_))), "{silent:?}");
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit() {
    let (address, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let (_, body) = get(address, request(5, 5_000)).await.expect("an answer");
    assert_eq!(body.as_ref(), b"hello");
    let (address, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let long = get(address, request(4, 5_000)).await;
    assert!(matches!(long, Err(WebError::Body(4))), "{long:?}");
}

#[tokio::test]
async fn nobody_there_and_no_http_are_told_apart() {
    let (address, _asked) = server("RFB 003.008\n").await;
    let broken = get(address, request(0, 5_000)).await;
    assert!(matches!(broken, Err(WebError::Broken(_))), "{broken:?}");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let refused = get(address, request(0, 5_000)).await;
    assert!(matches!(refused, Err(WebError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let _server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        while stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .is_ok()
        {}
    });
    let endless = get(address, request(0, 60_000)).await;
    assert!(matches!(endless, Err(WebError::Broken(_))), "{endless:?}");
}
