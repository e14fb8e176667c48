//! What the log says of a round that was performed, as whoever collects it reads it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use instanced::daemon::round;
use instanced::decisions::event::PlannedFor;
use instanced::decisions::report::Report;
use instanced::face::telemetry;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::Lab;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that the log has of a round, in JSON.
fn logged(report: &Report) -> Vec<Value> {
    let written = Written::default();
    let writer = written.clone();
    let log = telemetry::json(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(log);
    tracing::subscriber::with_default(subscriber, || {
        let planned_for = PlannedFor {
            revision: report.revision.clone(),
            commit: report.commit.clone(),
            digest: None,
        };
        for step in &report.steps {
            round::log_step(step, &planned_for);
        }
        round::log(report);
    });
    let text = written.0.lock().expect("nobody panicked").clone();
    let text = String::from_utf8(text).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

#[tokio::test]
async fn every_step_is_one_line_with_instance_action_generation_reason_and_revision() {
    let lab = Lab::new(&[("alice", "{}"), ("carol", "{}")]);
    lab.round().await;
    lab.write("alice", "resources: { memory: 2GiB }");
    lab.write("bob", "image: nowhere/none:1");
    lab.write("carol", "colour: red");
    let report = lab.round().await;
    let lines = logged(&report);
    assert_eq!(lines.len(), report.steps.len(), "{lines:#?}");
    for (told, line) in report.steps.iter().zip(&lines) {
        assert_eq!(line["instance"], told.step.instance.as_str(), "{line}");
        assert_eq!(line["reason"], told.step.reason.to_string(), "{line}");
        assert_eq!(line["revision"], report.revision, "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
    }
    let [alice, bob, carol] = [&lines[0], &lines[1], &lines[2]];
    let words = |line: &Value| {
        ["level", "message", "action"].map(|key| line[key].as_str().map(str::to_owned))
    };
    let said = |level: &str, message: &str, action: &str| {
        [level, message, action].map(|word| Some(word.to_owned()))
    };
    assert_eq!(words(alice), said("INFO", "step done", "update"));
    assert_eq!(alice["generation"], 1, "{alice}");
    assert!(alice["millis"].is_u64(), "{alice}");
    assert_eq!(words(bob)[0].as_deref(), Some("ERROR"), "{bob}");
    assert_eq!(
        (&bob["action"], &bob["generation"]),
        (&"create".into(), &1.into())
    );
    assert_eq!(bob["message"], "step failed", "{bob}");
    assert_eq!(bob["kind"], "not found", "{bob}");
    let error = bob["error"].as_str().expect("an error");
    assert!(error.starts_with("pull nowhere/none:1: "), "{error}");
    assert_eq!(words(carol)[..2], said("WARN", "instance held", "")[..2]);
    let help = carol["help"].as_str().expect("a way out");
    assert!(!help.is_empty(), "{carol}");
}

#[tokio::test]
async fn a_round_that_is_broken_off_is_one_line_with_the_way_out() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.write_fleet("templates: [broken");
    let lines = logged(&lab.round().await);
    let [line] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message"], "round aborted");
    let error = line["error"].as_str().expect("an error");
    assert!(error.starts_with("fleet.yaml"), "{line}");
    assert!(
        line["help"]
            .as_str()
            .is_some_and(|help| help.contains("instanced validate"))
    );
}
