//! A client that comes anew all the time: a connection of its own and an MCP `initialize`, every 20 ms.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(20);
/// Attempts are under way beside each other, so that a slow one hides none.
const WORKERS: u32 = 4;
const WITHIN: Duration = Duration::from_secs(5);
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"visitor","version":"1"}}}"#;

/// Attempts so far, and what went wrong with those that failed.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub attempts: usize,
    pub failed: Vec<String>,
    /// Since the beginning, in ms; the longest attempt.
    pub slowest: u128,
}

/// Comes until it is dropped.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
    workers: Vec<JoinHandle<()>>,
}

impl Visitor {
    /// Begins to come to a host through the edge.
    pub fn start(edge: SocketAddrV4, host: &str, token: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Mutex::new(Counts::default()));
        let began = Instant::now();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}.mcp.localhost:{}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{INITIALIZE}",
            edge.port(),
            INITIALIZE.len()
        );
        let workers = (0..WORKERS).map(|worker| {
            let (stop, counts, request) = (Arc::clone(&stop), Arc::clone(&counts), request.clone());
            std::thread::spawn(move || {
                let mut next = began + EVERY * worker;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next = (next + EVERY * WORKERS).max(Instant::now());
                    let (at, result) = (Instant::now(), attempt(edge, &request));
                    let mut counts = counts.lock().expect("no worker panics");
                    counts.attempts += 1;
                    counts.slowest = counts.slowest.max(at.elapsed().as_millis());
                    if let Err(why) = result {
                        let after = at.duration_since(began).as_millis();
                        counts.failed.push(format!("after {after} ms: {why}"));
                    }
                }
            })
        });
        Self {
            workers: workers.collect(),
            stop,
            counts,
        }
    }

    /// What became of it so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().expect("no worker panics").clone()
    }

    /// Stops coming, and tells.
    pub fn stop(mut self) -> Counts {
        self.end();
        self.counts()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.join().expect("no worker panics");
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.end();
    }
}

fn attempt(edge: SocketAddrV4, request: &str) -> Result<(), String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect_timeout(&edge.into(), WITHIN)
        .map_err(|error| failed("connect", error))?;
    stream
        .set_read_timeout(Some(WITHIN))
        .map_err(|error| failed("timeout", error))?;
    stream
        .write_all(request.as_bytes())
        .map_err(|error| failed("write", error))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|error| failed("read", error))?;
    if answer.starts_with("HTTP/1.1 200") && answer.contains("serverInfo") {
        Ok(())
    } else {
        Err(answer
            .lines()
            .next()
            .unwrap_or("an empty answer")
            .to_owned())
    }
}
