//! Hints that something happened.

use std::time::Duration;

use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers};
use tokio::time::timeout;

use crate::lab::Lab;

type Labels = [(String, String)];

/// Long enough for an engine to tell, short enough to wait for nothing.
const QUIET: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(10);

async fn wakes(engine: &impl ReadContainers, labels: &Labels, cursor: &mut String) -> bool {
    match timeout(SOON, engine.changed(labels, cursor)).await {
        Ok(woken) => woken.is_ok(),
        Err(_) => false,
    }
}

async fn sleeps(engine: &impl ReadContainers, labels: &Labels, cursor: &mut String) -> bool {
    timeout(QUIET, engine.changed(labels, cursor))
        .await
        .is_err()
}

/// Waits until all that happened so far is seen.
async fn settle(engine: &impl ReadContainers, labels: &Labels, cursor: &mut String) {
    while !sleeps(engine, labels, cursor).await {}
}

pub async fn a_change_after_the_cursor_wakes(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    let id = engine.create(&lab.draft("a")).await.expect("created");
    assert!(wakes(engine, &labels, &mut cursor).await, "create");
    engine.start(&id).await.expect("started");
    assert!(wakes(engine, &labels, &mut cursor).await, "start");
    settle(engine, &labels, &mut cursor).await;
    lab.kill(&id).await;
    assert!(wakes(engine, &labels, &mut cursor).await, "kill");
    settle(engine, &labels, &mut cursor).await;
    engine.remove(&id).await.expect("removed");
    assert!(wakes(engine, &labels, &mut cursor).await, "remove");
}

pub async fn nothing_is_seen_twice(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    lab.run(&lab.draft("a")).await;
    settle(engine, &labels, &mut cursor).await;
    assert!(sleeps(engine, &labels, &mut cursor).await);
    assert!(
        sleeps(&lab.reconnected(), &labels, &mut cursor).await,
        "nor by a new connection"
    );
}

pub async fn nothing_is_lost_across_a_reconnect(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    let id = lab.run(&lab.draft("a")).await;
    settle(engine, &labels, &mut cursor).await;
    lab.kill(&id).await;
    assert!(
        wakes(&lab.reconnected(), &labels, &mut cursor).await,
        "what happened while nobody listened"
    );
}

pub async fn what_others_do_wakes_nobody(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    lab.add_foreign(&lab.name("foreign")).await;
    lab.kill(&lab.name("foreign")).await;
    assert!(sleeps(engine, &labels, &mut cursor).await);
}

pub async fn a_cancelled_wait_loses_nothing(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    let id = engine.create(&lab.draft("a")).await.expect("created");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    engine.start(&id).await.expect("started");
    for _ in 0..20 {
        // Given up at the first await that is not ready.
        let given_up = timeout(Duration::ZERO, engine.changed(&labels, &mut cursor)).await;
        if given_up.is_ok_and(|woken| woken.is_ok()) {
            return;
        }
    }
    assert!(wakes(engine, &labels, &mut cursor).await);
}
