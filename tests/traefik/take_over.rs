//! A next daemon takes over while clients go on asking through Traefik: none of them is told no.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::{Client, PATIENCE};
use super::lab::{Daemon, Lab, Wishes};

/// How often each client asks. All of them ask at once: so Traefik, which keeps two idle connections to the listener,
/// opens new ones all the time, and it is those that a next daemon could lose.
const EVERY: Duration = Duration::from_millis(20);
/// Those with a connection for each request, and those with one for all.
const FRESH: usize = 12;
const KEPT: usize = 12;

struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(lab: &Lab, token: &str) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let began = Instant::now();
        let client = |n: usize| {
            let (stop, asked, to) = (Arc::clone(&stop), Arc::clone(&asked), lab.http);
            let request = format!(
                "GET /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
                lab.host("alice")
            );
            thread::spawn(move || {
                let mut failures = Vec::new();
                let (mut kept, mut next) = (None, began);
                while !stop.load(Ordering::Relaxed) {
                    while next < Instant::now() {
                        next += EVERY;
                    }
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    if let Err(failure) = ask(&mut kept, n < KEPT, to, &request) {
                        failures.push(format!(
                            "client {n}, after {} ms: {failure}",
                            began.elapsed().as_millis()
                        ));
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        let clients = (0..KEPT + FRESH).map(client).collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Waits until so many more were asked.
    fn goes_on(&self, questions: usize) {
        let since = Instant::now();
        let goal = self.asked.load(Ordering::Relaxed) + questions;
        while self.asked.load(Ordering::Relaxed) < goal {
            assert!(since.elapsed() < PATIENCE, "nobody is answered any more");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter();
        let failures = failures.flat_map(|client| client.join().unwrap()).collect();
        (self.asked.load(Ordering::Relaxed), failures)
    }
}

fn ask(
    kept: &mut Option<Client>,
    keeps: bool,
    to: SocketAddr,
    request: &str,
) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut client = kept.take().unwrap_or_else(|| Client::new(to));
    client.send(request).map_err(told)?;
    let answer = client.answer().map_err(told)?;
    if answer.status != 200 {
        return Err(format!("{answer:?}"));
    }
    if keeps {
        *kept = Some(client);
    }
    Ok(())
}

fn nobody_is_refused(wishes: Wishes) {
    let lab = Lab::with(wishes);
    let mut daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    let load = Load::on(&lab, &token);
    for _ in 0..5 {
        load.goes_on(300);
        let next = Daemon::start(&lab, &["--take-over"]);
        let (success, log) = daemon.ended();
        assert!(
            success && log.contains("another daemon serves now"),
            "{log}"
        );
        daemon = next;
        load.goes_on(300);
    }
    let (asked, failures) = load.end();
    assert!(
        failures.is_empty(),
        "{} of {asked}: {failures:#?}",
        failures.len()
    );
    // What one of them revokes, no other lets in.
    lab.revoke("laptop");
    assert_eq!(lab.get_as("alice", &token, "").status, 401);
}

#[test]
fn nobody_is_refused_while_a_next_daemon_takes_over() {
    nobody_is_refused(Wishes::default());
}

#[test]
fn nobody_is_refused_while_a_next_daemon_takes_over_the_listener_with_tls() {
    nobody_is_refused(Wishes {
        tls: true,
        ..Wishes::default()
    });
}
