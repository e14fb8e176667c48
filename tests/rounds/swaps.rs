//! A `start-first` swap: the old generation serves until the new one does.

use std::time::Duration;

use instanced::daemon::round::Ask;
use instanced::daemon::steps::InFlight;
use instanced::decisions::report::Outcome;
use instanced::words::observed::Health;
use tokio_util::sync::CancellationToken;

use crate::{IMAGE, Lab, START_FIRST, outcome};

/// A fleet of one that is swapped by `start-first`, its first generation up and healthy.
async fn start_first_lab() -> Lab {
    let lab = Lab::new(&[("alice", START_FIRST)]);
    lab.engine.check_image(IMAGE, Health::Healthy);
    lab.round().await;
    lab
}

const OLD: &str = "instanced-default-alice-g1";
const NEW: &str = "instanced-default-alice-g2";
const CHANGED: &str = "replace: start-first\nscreen: { width: 1600 }";

#[tokio::test(start_paused = true)]
async fn start_first_stops_the_old_one_when_the_new_one_serves() {
    let lab = start_first_lab().await;
    lab.write("alice", CHANGED);
    lab.engine.clear_journal();
    let began = tokio::time::Instant::now();
    let report = lab.round().await;
    assert_eq!(*outcome(&report, "alice"), Outcome::Done);
    let journal = lab.engine.journal();
    let at = |line: String| journal.iter().position(|l| *l == line).expect("made");
    assert!(
        at(format!("start {NEW}")) < at(format!("stop {OLD}")),
        "{journal:#?}"
    );
    assert_eq!(lab.running(), [NEW]);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(5),
        "for Traefik and for what was under way: {waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_new_one_is_removed_and_its_output_is_in_no_report() {
    let lab = start_first_lab().await;
    let password = "hunter2!";
    let secret = lab.dir.path().join("password");
    std::fs::write(&secret, password).expect("a secret");
    let mut lab = lab;
    lab.site.config.policy.secrets.allow = vec!["*".to_owned()];
    lab.write(
        "alice",
        &format!(
            "{CHANGED}\nvnc: {{ password: {{ from_file: {} }} }}",
            secret.display()
        ),
    );
    lab.engine.check_image(IMAGE, Health::Unhealthy);
    lab.engine
        .say_at_start(&format!("\u{1b}[31mcannot bind; password is {password}"));
    lab.engine.clear_journal();
    let mut converger = lab.converger();
    let shown = InFlight::default();
    converger = converger.in_background(|work| work, shown.clone(), Box::new(|_, _| {}));
    let desired = lab.desired().expect("manifests of our own");
    let view = converger.look(desired, Ask::default(), false).await;
    let view = view.expect("a look");
    let report = converger
        .perform(&view, false, &CancellationToken::new())
        .await;
    let Outcome::Failed(failure) = outcome(&report, "alice") else {
        panic!("{report:#?}")
    };
    assert!(failure.message.contains("unhealthy"), "{failure:?}");
    let told = serde_json::to_string(&report).expect("JSON");
    assert!(
        !told.contains("cannot bind") && !told.contains(password),
        "{told}"
    );
    // Whoever asks about this instance sees it, without its secret.
    let name = "alice".parse().expect("a name");
    let output = shown.failed_output(&name).expect("it wrote something");
    let written = output.lines.concat();
    assert!(
        written.contains("cannot bind; password is [redacted]"),
        "{written}"
    );
    assert!(!written.contains(password), "{written}");
    drop(converger);
    assert_eq!(lab.names(), [OLD], "and nothing of the new one is left");
    let touched: Vec<_> = lab
        .engine
        .journal()
        .into_iter()
        .filter(|l| l.ends_with(OLD))
        .collect();
    assert_eq!(
        touched,
        Vec::<String>::new(),
        "the old one was never touched"
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_without_a_check_is_not_started_where_traefik_would_serve_it_at_once() {
    let lab = Lab::new(&[("alice", START_FIRST)]);
    lab.round().await;
    lab.write("alice", CHANGED);
    lab.engine.clear_journal();
    let report = lab.round().await;
    let Outcome::Failed(failure) = outcome(&report, "alice") else {
        panic!("{report:#?}")
    };
    assert!(
        failure
            .help
            .as_deref()
            .is_some_and(|help| help.contains("HEALTHCHECK"))
    );
    assert!(!lab.engine.journal().contains(&format!("start {NEW}")));
    assert_eq!(lab.running(), [OLD]);
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_was_broken_off_goes_on_and_an_ill_one_ends_with_the_old_one() {
    for (verdict, survivor) in [(Health::Healthy, NEW), (Health::Unhealthy, OLD)] {
        let lab = start_first_lab().await;
        lab.write("alice", CHANGED);
        // Cut when both run: after the volume, the container, its files and its start.
        lab.engine.clear_journal();
        lab.engine.cut_after(Some(4));
        lab.engine.check_image(IMAGE, verdict);
        lab.round().await;
        lab.engine.cut_after(None);
        assert_eq!(lab.running(), [OLD, NEW], "{verdict:?}");
        lab.round().await;
        assert_eq!(lab.running(), [survivor], "{verdict:?}");
    }
}
