//! What a real engine shows of a container to whoever watches it: its log, what it uses, what its health check said.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use instanced::doors::engine::containers::{
    ChangeContainers as _, WatchContainers as _, WrittenLine,
};
use instanced::words::watch::{AskLog, LogStream};

use crate::lab::Lab as _;
use crate::real::{DockerLab, TINY_CHECKED, in_lab};

async fn written(lab: &DockerLab, id: &str, ask: AskLog) -> Vec<WrittenLine> {
    let lines = lab.engine().reader().follow_log(id, ask).await;
    lines
        .expect("a log")
        .try_collect()
        .await
        .expect("its lines")
}

#[tokio::test]
async fn a_log_is_told_with_times_and_streams_and_ends_with_the_container() {
    in_lab(async |lab| {
        let id = lab.run(&lab.draft("talks")).await;
        lab.serves(&id).await;
        let all = AskLog::default();
        let lines = written(lab, &id, all).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(
            (&*lines[0].line, lines[0].stream),
            ("tiny: serving", LogStream::Stdout)
        );
        let at = lines[0].at.expect("the engine says when");
        let none = AskLog {
            tail: Some(0),
            ..all
        };
        assert_eq!(written(lab, &id, none).await, []);
        // A line of the very moment is told, one before it is not, though both are of one second.
        let since = |at| AskLog {
            since: Some(at),
            ..all
        };
        assert_eq!(written(lab, &id, since(at)).await, lines);
        let later = at + Duration::from_millis(1);
        assert_eq!(written(lab, &id, since(later)).await, []);
        let followed = AskLog {
            follow: true,
            ..all
        };
        let (lines, stopped) = tokio::join!(written(lab, &id, followed), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            lab.engine().stop(&id, 5).await
        });
        stopped.expect("stopped");
        assert_eq!(lines.len(), 1, "{lines:?}");
        let gone = lab
            .engine()
            .reader()
            .follow_log("no-such-container", all)
            .await;
        let gone: Result<Vec<_>, _> = gone.expect("a stream").try_collect().await;
        assert!(gone.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_a_container_uses_is_told_while_it_runs() {
    in_lab(async |lab| {
        let id = lab.run(&lab.draft("works")).await;
        lab.serves(&id).await;
        let reader = lab.engine().reader();
        let used = reader.counters(&id).await.expect("an answer");
        let used = used.expect("it runs");
        assert!(used.memory > 0 && used.memory < 64 << 20, "{used:?}");
        assert_eq!(used.memory_limit, Some(64 << 20));
        assert!(
            (1..=64).contains(&used.pids) && used.cpu_nanos > 0,
            "{used:?}"
        );
        let again = reader
            .counters(&id)
            .await
            .expect("an answer")
            .expect("it runs");
        let usage = again.usage(Some(&used));
        let cpu = usage.cpu.expect("time has passed");
        assert!((0.0..4.0).contains(&cpu), "{usage:?}");
        lab.engine().stop(&id, 5).await.expect("stopped");
        assert_eq!(reader.counters(&id).await.expect("an answer"), None);
        assert_eq!(
            reader
                .counters("no-such-container")
                .await
                .expect("an answer"),
            None
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_health_check_said_is_told_in_its_words() {
    in_lab(async |lab| {
        let mut draft = lab.draft("checked");
        draft.image = TINY_CHECKED.to_owned();
        draft
            .env
            .insert("TINY_SLOW_START_MS".to_owned(), "2500".to_owned());
        let id = lab.run(&draft).await;
        let reader = lab.engine().reader();
        let mut told = Vec::new();
        for _ in 0..200 {
            told = reader.health_log(&id).await.expect("an answer");
            if told.iter().any(|result| result.passed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (failed, passed) = (
            told.first().expect("a result"),
            told.last().expect("a result"),
        );
        assert!(!failed.passed && passed.passed, "{told:?}");
        assert!(failed.output.contains("refused"), "{told:?}");
        assert!(failed.at < passed.at, "{told:?}");
        let without = lab.run(&lab.draft("unchecked")).await;
        assert_eq!(reader.health_log(&without).await.expect("an answer"), []);
    })
    .await;
}
