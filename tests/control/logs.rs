//! `instanced logs -f`, while one daemon ends and another begins.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use futures_util::stream;

use super::*;

/// A line that was written at this second.
fn line(instance: &str, second: i64, line: &str) -> LogLine {
    LogLine {
        instance: instance.parse().unwrap(),
        generation: 1,
        at: Some(jiff::Timestamp::from_second(second).unwrap()),
        stream: LogStream::Stdout,
        line: line.to_owned(),
    }
}

/// Whoever has written runs.
pub(super) fn standing(written: &[LogLine]) -> Value {
    let names: std::collections::BTreeSet<_> = written.iter().map(|line| &line.instance).collect();
    let one = |name| json!({ "name": name, "phase": "running", "reason": "", "generation": 1, "endpoints": [] });
    names.into_iter().map(one).collect()
}

/// As an engine tells it: what was written from a moment on, that moment included.
pub(super) fn of(echo: &Echo, name: &InstanceName, ask: AskLog) -> Lines {
    let its = echo.written.iter().filter(|line| line.instance == *name);
    let its = its.filter(|line| ask.since.is_none() || line.at >= ask.since);
    let lines = stream::iter(its.cloned().map(Ok).collect::<Vec<_>>());
    if !ask.follow {
        return lines.boxed();
    }
    let ended = echo.ended.clone().cancelled_owned();
    lines.chain(stream::pending()).take_until(ended).boxed()
}

/// A daemon whose instances have written this.
async fn daemon(state: &TempDir, written: &[LogLine]) -> (CancellationToken, JoinHandle<()>) {
    let socket = ControlSocket::bind(state.path(), None).await.unwrap();
    let ended = CancellationToken::new();
    let echo = Echo {
        written: written.to_vec(),
        ..Echo::new(&ended)
    };
    let served = tokio::spawn(socket.serve(Arc::new(echo), ended.clone()));
    (ended, served)
}

struct Follower {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Follower {
    fn start(state: &TempDir, names: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_instanced"))
            .current_dir(state.path())
            .args(["--state", ".", "--color", "never", "logs", "-f"])
            .args(names)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = lines_of(child.stdout.take().unwrap());
        let err = lines_of(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// The next lines, sorted: two instances speak in any order.
    fn says(&self, number: usize) -> Vec<String> {
        let next = || self.out.recv_timeout(Duration::from_secs(20)).unwrap();
        let mut said: Vec<String> = (0..number).map(|_| next()).collect();
        said.sort();
        said
    }

    fn tells(&self) -> String {
        self.err.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(text: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(text).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_over_a_restart_of_the_daemon() {
    let state = TempDir::new().unwrap();
    let mut written = vec![
        line("alice", 1, "one"),
        line("alice", 2, "two"),
        line("bob", 2, "zwei"),
    ];
    let (ended, served) = daemon(&state, &written).await;
    let follower = Follower::start(&state, &["alice", "bob"]);
    assert_eq!(
        follower.says(3),
        ["alice | one", "alice | two", "bob   | zwei"]
    );
    ended.cancel();
    served.await.unwrap();
    let told = follower.tells();
    assert!(told.contains("the daemon has ended"), "{told}");
    // What is written meanwhile is not lost, even what was written at the same moment.
    written.push(line("alice", 2, "two, too"));
    written.push(line("alice", 3, "three"));
    written.push(line("bob", 3, "drei"));
    let (ended, served) = daemon(&state, &written).await;
    assert_eq!(
        follower.says(3),
        ["alice | three", "alice | two, too", "bob   | drei"]
    );
    let told = follower.tells();
    assert!(told.contains("a daemon runs again"), "{told}");
    // Nobody writes any more: there is nothing to wait for.
    ended.cancel();
    served.await.unwrap();
    let told = follower.tells();
    assert!(told.contains("the daemon has ended"), "{told}");
    let (_ended, _served) = daemon(&state, &[line("alice", 4, "four")]).await;
    assert_eq!(follower.says(1), ["alice | four"]);
    let rest = [follower.tells(), follower.tells()].concat();
    assert!(rest.contains("`bob` writes no more."), "{rest}");
    assert!(rest.contains("a daemon runs again"), "{rest}");
    assert!(follower.out.try_recv().is_err(), "a line was told twice");
    assert!(follower.err.try_recv().is_err(), "something was said twice");
}
