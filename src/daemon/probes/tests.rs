use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::words::config::Config;
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::resolve::resolve;

/// An instance at loopback that answers with a status of the test's choice.
struct Lab {
    status: Arc<AtomicU16>,
    desired: Desired,
    observed: Observed,
    changed: Arc<Notify>,
    probes: Probes,
}

impl Lab {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let status = Arc::new(AtomicU16::new(503));
        let says = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let status = says.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let mut desired = desired(&format!(
            "template: mcp-http\nimage: x:1\nendpoints: {{ mcp: {{ port: {port} }} }}\n\
             health: {{ retries: 2, start_period: 0 }}\n"
        ));
        let spec = desired.specs.get_mut("alice").expect("a spec");
        // More often than a manifest may ask.
        let health = Arc::make_mut(spec).health.as_mut().expect("a probe");
        health.interval = Span(10);
        let spec = &desired.specs["alice"];
        let generation = Generation {
            address: Some(IpAddr::from([127, 0, 0, 1])),
            ..Generation::running(spec)
        };
        let observed = Observed {
            instances: BTreeMap::from([(spec.name.clone(), vec![generation])]),
            ..Observed::default()
        };
        let changed = Arc::new(Notify::new());
        Self {
            status,
            desired,
            observed,
            probes: Probes::new(Arc::clone(&changed)),
            changed,
        }
    }

    fn follow(&mut self) {
        self.probes.follow(&self.desired, &self.observed);
    }

    fn health(&self) -> Option<Health> {
        let mut observed = self.observed.clone();
        self.probes.verdicts().overlay(&mut observed);
        observed.instances["alice"][0].health
    }

    fn generation(&mut self) -> &mut Generation {
        let all = self.observed.instances.values_mut().next();
        &mut all.expect("one instance")[0]
    }
}

fn desired(manifest: &str) -> Desired {
    let file = SourceFile::of_text("instances.d/alice.yaml", manifest);
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: vec![file],
        ..Snapshot::default()
    };
    resolve(&snapshot, &Config::default()).expect("no fleet.yaml")
}

#[tokio::test]
async fn verdicts_follow_the_instance_and_each_change_is_told() {
    let mut lab = Lab::new().await;
    assert_eq!(lab.health(), None, "nobody asked yet");
    lab.follow();
    assert_eq!(lab.health(), Some(Health::Starting));
    lab.changed.notified().await;
    assert_eq!(lab.health(), Some(Health::Unhealthy));
    lab.status.store(200, Ordering::Relaxed);
    lab.changed.notified().await;
    assert_eq!(lab.health(), Some(Health::Healthy));
    // Another round goes on where this one was.
    lab.follow();
    assert_eq!(lab.health(), Some(Health::Healthy));
    lab.status.store(500, Ordering::Relaxed);
    lab.changed.notified().await;
    assert_eq!(lab.health(), Some(Health::Unhealthy));
}

#[tokio::test]
async fn a_start_begins_a_new_row() {
    let mut lab = Lab::new().await;
    lab.status.store(200, Ordering::Relaxed);
    lab.follow();
    lab.changed.notified().await;
    assert_eq!(lab.health(), Some(Health::Healthy));
    lab.generation().started = Some(jiff::Timestamp::UNIX_EPOCH);
    // Before anybody follows it: a restart of one that was not well is no proof that it did not help.
    assert_eq!(lab.health(), Some(Health::Starting));
    lab.follow();
    assert_eq!(lab.health(), Some(Health::Starting));
}

#[tokio::test]
async fn what_probes_said_is_kept_for_whoever_asks() {
    let mut lab = Lab::new().await;
    assert_eq!(lab.probes.verdicts().log("alice-id"), []);
    lab.follow();
    lab.changed.notified().await;
    let log = lab.probes.verdicts().log("alice-id");
    let last = log.last().expect("it was probed");
    assert_eq!((last.passed, last.output.as_str()), (false, "status 503"));
    lab.status.store(200, Ordering::Relaxed);
    lab.changed.notified().await;
    let log = lab.probes.verdicts().log("alice-id");
    let last = log.last().expect("it was probed");
    assert_eq!((last.passed, last.output.as_str()), (true, ""));
    assert!(log.len() <= RESULTS_KEPT, "{log:?}");
    lab.generation().phase = Phase::Exited(0);
    lab.follow();
    assert_eq!(lab.probes.verdicts().log("alice-id"), []);
}

#[tokio::test]
async fn nobody_is_probed_without_need() {
    let mut lab = Lab::new().await;
    lab.generation().health = Some(Health::Healthy);
    lab.follow();
    assert_eq!(lab.probes.followed.len(), 0, "the engine checks it");
    lab.generation().health = None;
    lab.follow();
    assert_eq!(lab.probes.followed.len(), 1);
    lab.generation().phase = Phase::Exited(0);
    lab.follow();
    assert_eq!(lab.probes.followed.len(), 0, "it does not run");
    lab.generation().phase = Phase::Running;
    assert_eq!(lab.health(), None, "and its verdict is forgotten");
    let plain = desired("template: mcp-http\nimage: x:1");
    let spec = plain.specs["alice"].clone();
    lab.desired = plain;
    lab.generation().applied = Applied::Spec(spec);
    lab.follow();
    assert_eq!(lab.probes.followed.len(), 0, "its manifest names no probe");
}
