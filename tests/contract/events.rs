//! Hints that something happened.

use std::collections::BTreeSet;
use std::time::Duration;

use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers};
use tokio::time::timeout;

use crate::lab::{Hand, Lab};

type Labels = [(String, String)];

/// Long enough for an engine to tell, short enough to wait for nothing.
const QUIET: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(10);

/// Waits for a container of ours. Images and networks are everybody's: other tests make some meanwhile.
pub async fn touched(
    engine: &impl ReadContainers,
    labels: &Labels,
    cursor: &mut String,
) -> Option<BTreeSet<String>> {
    loop {
        let touched = engine.changed(labels, cursor).await.ok()?;
        if !touched.containers.is_empty() {
            return Some(touched.containers);
        }
    }
}

async fn wakes(engine: &impl ReadContainers, labels: &Labels, cursor: &mut String) -> bool {
    let woken = timeout(SOON, touched(engine, labels, cursor)).await;
    woken.is_ok_and(|woken| woken.is_some())
}

async fn sleeps(engine: &impl ReadContainers, labels: &Labels, cursor: &mut String) -> bool {
    timeout(QUIET, touched(engine, labels, cursor))
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
    let id = engine.create(&lab.draft("a")).await.expect("created");
    let mut cursor = engine.cursor().await.expect("a cursor");
    assert!(sleeps(engine, &labels, &mut cursor).await);
    engine.start(&id).await.expect("started");
    for _ in 0..20 {
        // Given up at the first await that is not ready.
        let given_up = timeout(Duration::ZERO, touched(engine, &labels, &mut cursor)).await;
        if given_up.is_ok_and(|woken| woken.is_some()) {
            return;
        }
    }
    assert!(wakes(engine, &labels, &mut cursor).await);
}

pub async fn an_event_names_what_it_touched(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let a = lab.run(&lab.draft("a")).await;
    let b = lab.run(&lab.draft("b")).await;
    let mut cursor = engine.cursor().await.expect("a cursor");
    lab.kill(&b).await;
    let woken = timeout(SOON, touched(engine, &labels, &mut cursor)).await;
    let named = woken.expect("in time").expect("told");
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [b]);
    settle(engine, &labels, &mut cursor).await;
    lab.hand(&a, Hand::Leave(lab.network().to_owned())).await;
    let woken = timeout(SOON, touched(engine, &labels, &mut cursor)).await;
    let named = woken.expect("in time").expect("told");
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [a]);
}

pub async fn a_network_that_comes_or_goes_is_named(lab: &impl Lab) {
    let (engine, labels, name) = (lab.engine(), lab.labels(), lab.name("come-and-go"));
    let mut cursor = engine.cursor().await.expect("a cursor");
    let told = async |cursor: &mut String| {
        loop {
            let touched = engine.changed(&labels, cursor).await.expect("told");
            if touched.networks.contains(&name) {
                return;
            }
        }
    };
    engine
        .create_network(&name, true, &[].into())
        .await
        .expect("created");
    timeout(SOON, told(&mut cursor)).await.expect("it came");
    lab.drop_network(&name).await;
    timeout(SOON, told(&mut cursor)).await.expect("it went");
}

pub async fn a_tag_that_moves_is_told(lab: &impl Lab) {
    let (engine, labels) = (lab.engine(), lab.labels());
    let mut cursor = engine.cursor().await.expect("a cursor");
    let reference = lab.name("tag").replace("-tag", ":tag");
    lab.tag(&reference).await;
    let told = async {
        while !engine
            .changed(&labels, &mut cursor)
            .await
            .expect("told")
            .images
        {}
    };
    timeout(SOON, told).await.expect("in time");
    let tagged = engine.image(&reference).await.expect("asked");
    let image = engine.image(lab.image()).await.expect("asked");
    lab.untag(&reference).await;
    assert_eq!(tagged, image);
    let id = image.expect("it is there").id;
    let by_id = engine.image(&id).await.expect("asked");
    assert_eq!(by_id.expect("by its id").id, id);
}
