use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;
use crate::decisions::plan::{Action, Step};
use crate::decisions::report::Outcome;
use crate::words::config::Config;
use crate::words::control::SOCKET;

fn site(state: &Path) -> Site {
    Site {
        config: Config::default(),
        config_path: None,
        state: state.to_owned(),
        warnings: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_hangs_is_told_of_whatever_it_is_asked() {
    let state = tempfile::tempdir().expect("a directory");
    let site = site(state.path());
    assert_eq!(has_daemon(&site).await, Ok(false));
    // The system takes the calls, and nobody answers them.
    let socket = UnixListener::bind(state.path().join(SOCKET)).expect("a socket");
    let began = tokio::time::Instant::now();
    let name: InstanceName = "alice".parse().expect("a name");
    let failure = order(&site, &name, Order::Restart)
        .await
        .expect_err("silence");
    assert!(began.elapsed() < Duration::from_secs(10), "{failure:?}");
    assert!(
        failure
            .message
            .contains("did not answer GET /health/live within 5 s")
    );
    let help = failure.help.expect("a way out");
    assert!(help.contains("instanced doctor"), "{help}");
    drop(socket);
    assert_eq!(has_daemon(&site).await, Ok(false), "it was killed");
}

#[tokio::test]
async fn a_daemon_that_says_no_to_that_lives() {
    let state = tempfile::tempdir().expect("a directory");
    let site = site(state.path());
    let socket = UnixListener::bind(state.path().join(SOCKET)).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    assert_eq!(has_daemon(&site).await, Ok(true), "an older one, say");
}

#[test]
fn a_single_round_says_that_more_are_to_come() {
    let held = |name: &str, reason: Reason| StepReport {
        step: Step {
            instance: name.parse().expect("a name"),
            action: Action::Held,
            reason,
            changes: Vec::new(),
            ends_sessions: false,
        },
        outcome: Outcome::Held,
        millis: 0,
        failure: None,
    };
    let waits = || Reason::RolloutWaits {
        unavailable: vec!["z".parse().expect("a name")],
        most: 1,
    };
    let report = |steps| Report {
        steps,
        ..Report::default()
    };
    let protected = held("a", Reason::Protected);
    assert_eq!(more_to_come(&report(vec![protected.clone()])), None);
    let more = more_to_come(&report(vec![
        protected,
        held("b", waits()),
        held("c", waits()),
    ]));
    let more = more.expect("two wait");
    assert!(more.starts_with("2 instances wait for others"), "{more}");
    assert!(more.contains("`instanced reconcile` again"), "{more}");
}
