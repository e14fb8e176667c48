//! A receiver of notices on loopback, which answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instanced::doors::tls::Acceptor;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::lab::PATIENCE;

/// What is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// A status, with lines of headers.
    Status(u16, &'static str),
    /// The end of the connection.
    Hangup,
    /// Nothing, for ever.
    Never,
}

/// What has come in.
#[derive(Debug, Clone)]
pub struct Letter {
    pub line: String,
    headers: Vec<(String, String)>,
    pub text: String,
}

impl Letter {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        let found = self.headers.iter_mut().find(|(known, _)| known == name);
        value.clone_into(&mut found.expect("it is there").1);
    }

    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    pub fn said(&self) -> String {
        super::said(&self.body())
    }
}

pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    letters: tokio::sync::Mutex<mpsc::UnboundedReceiver<Letter>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        Self::serve(address, None).await
    }

    pub async fn start_tls(acceptor: Acceptor) -> Self {
        Self::serve(([127, 0, 0, 1], 0).into(), Some(acceptor)).await
    }

    async fn serve(address: SocketAddr, tls: Option<Acceptor>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let answers = Arc::<Mutex<VecDeque<Answer>>>::default();
        let (told, letters) = mpsc::unbounded_channel();
        let script = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (script, told, tls) = (Arc::clone(&script), told.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok((stream, _)) = tls.accept(stream).await {
                                connection(stream, &script, &told).await;
                            }
                        }
                        None => connection(stream, &script, &told).await,
                    }
                });
            }
        });
        Self {
            address,
            scheme,
            answers,
            letters: tokio::sync::Mutex::new(letters),
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// What is answered next; 204 when there is no more of it.
    pub fn answers(&self, answers: &[Answer]) {
        self.answers
            .lock()
            .expect("nobody panicked")
            .extend(answers);
    }

    pub async fn next(&self) -> Letter {
        let mut letters = self.letters.lock().await;
        let next = tokio::time::timeout(PATIENCE, letters.recv()).await;
        next.expect("a letter in time").expect("it serves")
    }

    pub async fn nothing_for(&self, time: Duration) -> bool {
        let mut letters = self.letters.lock().await;
        tokio::time::timeout(time, letters.recv()).await.is_err()
    }

    /// Is there no more. Where it was.
    pub async fn stop(self) -> SocketAddr {
        self.task.abort();
        // It has let go of the port when it has ended.
        let _ = self.task.await;
        self.address
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &Mutex<VecDeque<Answer>>,
    told: &mpsc::UnboundedSender<Letter>,
) {
    let Some(letter) = read(&mut stream).await else {
        return;
    };
    let answer = script.lock().expect("nobody panicked").pop_front();
    // The test may be over.
    let _ = told.send(letter);
    let text = match answer.unwrap_or(Answer::Status(204, "")) {
        Answer::Status(status, headers) => {
            format!("HTTP/1.1 {status} So\r\n{headers}Content-Length: 0\r\n\r\n")
        }
        Answer::Hangup => return,
        Answer::Never => std::future::pending().await,
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Letter> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let line = lines.next()?.to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let letter = Letter {
            line,
            headers,
            text: body.to_owned(),
        };
        if letter.header("content-length") == body.len().to_string() {
            return Some(letter);
        }
    }
}
