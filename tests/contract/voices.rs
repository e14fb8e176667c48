//! What a container says of itself: its health check and its log.

use std::time::Duration;

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::words::observed::{Health, Phase};

use crate::lab::Lab;

pub async fn a_health_check_is_known_before_the_start<L: Lab>(lab: &L) {
    let engine = lab.engine();
    let mut draft = lab.draft("checked");
    lab.checked_image().clone_into(&mut draft.image);
    let checked = engine.create(&draft).await.expect("created");
    let plain = engine.create(&lab.draft("plain")).await.expect("created");
    assert!(lab.look(&checked).await.settings.health_check.is_some());
    assert_eq!(lab.look(&plain).await.settings.health_check, None);
    for id in [&checked, &plain] {
        engine.start(id).await.expect("started");
    }
    let told = lab.look(&checked).await.health;
    assert!(
        matches!(told, Some(Health::Starting | Health::Healthy)),
        "{told:?}"
    );
    assert_eq!(lab.look(&plain).await.health, None);
}

pub async fn the_last_lines_are_told<L: Lab>(lab: &L) {
    let engine = lab.engine();
    let id = lab.run(&lab.draft("a")).await;
    let mut lines = Vec::new();
    for _ in 0..100 {
        lines = engine.logs(&id, 10).await.expect("told");
        if !lines.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lines, ["tiny: serving"]);
    engine.stop(&id, 5).await.expect("stopped");
    assert!(matches!(lab.look(&id).await.phase, Phase::Exited(_)));
    assert_eq!(engine.logs(&id, 10).await.expect("told"), ["tiny: serving"]);
    engine.start(&id).await.expect("started");
    for _ in 0..100 {
        lines = engine.logs(&id, 10).await.expect("told");
        if lines.len() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lines, ["tiny: serving", "tiny: serving"]);
    assert_eq!(engine.logs(&id, 1).await.expect("told"), ["tiny: serving"]);
}

pub async fn what_is_not_there_says_nothing<L: Lab>(lab: &L) {
    let engine = lab.engine();
    let gone = engine.logs("no-such-container", 10).await;
    assert_eq!(gone.expect_err("gone").class, ErrorClass::Gone);
}
