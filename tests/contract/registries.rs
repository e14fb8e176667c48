//! What a registry answers, through a real engine: each answer has its class and its help.

use std::time::Duration;

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::ChangeContainers as _;

use crate::lab::Lab as _;
use crate::real::in_lab;
use crate::support::bad_registry::BadRegistry;

/// The class of each fault, and words of its help.
const FAULTS: [(&str, ErrorClass, &str); 6] = [
    ("unauthorized", ErrorClass::Denied, "docker login"),
    ("denied", ErrorClass::Denied, "docker login"),
    ("unknown", ErrorClass::Gone, "check the name"),
    ("limited", ErrorClass::RateLimited, "limits pulls"),
    ("broken", ErrorClass::Retry, "cannot be reached"),
    ("redirects", ErrorClass::Retry, "cannot be reached"),
];

#[tokio::test]
async fn each_answer_of_a_registry_has_its_class_and_help() {
    in_lab(async |lab| {
        let registry = BadRegistry::start();
        for (fault, class, help) in FAULTS {
            let image = registry.image(fault);
            let error = lab.engine().pull(&image, &|_| {}).await;
            let error = error.expect_err(fault);
            assert_eq!(error.class, class, "{fault}: {error}");
            let said = error.help.clone().unwrap_or_default();
            assert!(said.contains(help), "{fault}: {error}: {said}");
        }
    })
    .await;
}

/// The engine tries a layer five times before it gives up, with pauses of up to 20 s.
#[tokio::test]
async fn a_layer_that_is_cut_off_is_worth_another_try() {
    in_lab(async |lab| {
        let registry = BadRegistry::start();
        let image = registry.image("truncates");
        let error = lab.engine().pull(&image, &|_| {}).await;
        let error = error.expect_err("cut off");
        assert_eq!(error.class, ErrorClass::Retry, "{error}");
        assert!(error.help.is_some(), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_pull_reports_how_far_it_is_and_ends_with_whoever_asked() {
    in_lab(async |lab| {
        let registry = BadRegistry::start();
        let image = registry.image("stalls");
        let (sender, mut progress) = tokio::sync::watch::channel(None);
        let report = |now| {
            sender.send_replace(Some(now));
        };
        let waited_for = async {
            let arrives = |seen: &Option<instanced::words::watch::PullProgress>| {
                seen.is_some_and(|seen| seen.layers == 1 && seen.bytes > 0)
            };
            progress.wait_for(arrives).await.expect("it goes on");
        };
        tokio::select! {
            pulled = lab.engine().pull(&image, &report) => panic!("it came to an end: {pulled:?}"),
            () = waited_for => {}
        }
        // The pull was dropped. Had the engine not given it up, each other one would join it and ask for nothing. One that
        // comes before the engine has noticed does so, too, and goes again.
        for _ in 0..12 {
            let again = async {
                while registry.stalled() < 2 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::select! {
                pulled = lab.engine().pull(&image, &|_| {}) => panic!("it came to an end: {pulled:?}"),
                () = again => return,
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        panic!("the engine goes on with a pull that nobody wants");
    })
    .await;
}
