//! What only the fake can do: break on demand, and tell what was asked of it.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};

use crate::lab::{FakeLab, Lab as _};
use crate::support::fake_containers::Fault;

#[tokio::test]
async fn only_changing_calls_are_in_the_journal() {
    let lab = FakeLab::new();
    let engine = lab.engine();
    let id = lab.run(&lab.draft("a")).await;
    assert_eq!(engine.journal(), ["create ct-fake-a", "start ct-fake-a"]);
    engine.clear_journal();
    engine.list(&lab.labels()).await.expect("listed");
    engine.inspect(&id).await.expect("inspected");
    assert!(engine.read_file(&id, "/none").await.is_err());
    assert!(engine.journal().is_empty());
}

#[tokio::test]
async fn a_refused_call_does_nothing_and_the_next_goes_well() {
    let lab = FakeLab::new();
    let engine = lab.engine();
    let id = engine.create(&lab.draft("a")).await.expect("created");
    engine.fail("start", 1, Fault::Refuse(ErrorClass::Retry));
    engine.start(&id).await.expect("the first goes well");
    engine.stop(&id, 1).await.expect("stopped");
    assert_eq!(
        engine.start(&id).await.expect_err("refused").class,
        ErrorClass::Retry
    );
    assert_eq!(lab.look(&id).await.phase, Phase::Exited(0));
    engine.start(&id).await.expect("once");
    assert_eq!(engine.journal()[3], "start ct-fake-a (refused)");
}

#[tokio::test]
async fn a_lost_reply_hides_what_was_done() {
    let lab = FakeLab::new();
    let engine = lab.engine();
    engine.fail("create", 0, Fault::LoseReply);
    assert_eq!(
        engine
            .create(&lab.draft("a"))
            .await
            .expect_err("refused")
            .class,
        ErrorClass::Away
    );
    assert_eq!(engine.all().len(), 1);
    assert_eq!(
        engine
            .create(&lab.draft("a"))
            .await
            .expect_err("refused")
            .class,
        ErrorClass::Conflict
    );
}

#[tokio::test]
async fn a_crash_is_revived_by_its_policy() {
    let lab = FakeLab::new();
    let mut draft = lab.draft("a");
    draft.restart = Restart::OnFailure;
    let id = lab.run(&draft).await;
    lab.engine().crash(&id, 1);
    assert_eq!(lab.look(&id).await.phase, Phase::Running);
    lab.engine().crash(&id, 0);
    assert_eq!(lab.look(&id).await.phase, Phase::Exited(0));
}

#[tokio::test]
async fn outside_edits_are_seen_and_told() {
    let lab = FakeLab::new();
    let (engine, labels) = (lab.engine(), lab.labels());
    let id = lab.run(&lab.draft("a")).await;
    let mut cursor = "0".to_owned();
    engine.changed(&labels, &mut cursor).await.expect("woken");
    engine.set_health(&id, Some(Health::Unhealthy));
    engine.changed(&labels, &mut cursor).await.expect("woken");
    assert_eq!(lab.look(&id).await.health, Some(Health::Unhealthy));
    engine.rename(&id, "other");
    engine.changed(&labels, &mut cursor).await.expect("woken");
    assert_eq!(lab.look(&id).await.name, "other");
    engine.remove_by_force(&id);
    engine.changed(&labels, &mut cursor).await.expect("woken");
    assert!(engine.all().is_empty());
}

#[tokio::test]
async fn an_image_is_pulled_once_it_is_published() {
    let lab = FakeLab::new();
    let engine = lab.engine();
    assert_eq!(
        engine.pull("acme/x:1").await.expect_err("refused").class,
        ErrorClass::Gone
    );
    engine.publish_image("acme/x:1", "sha256:2");
    engine.pull("acme/x:1").await.expect("pulled");
    assert_eq!(
        engine
            .image("acme/x:1")
            .await
            .expect("asked")
            .map(|image| image.id)
            .as_deref(),
        Some("sha256:2")
    );
    engine.tag_image("acme/x:1", "sha256:3");
    assert_eq!(
        engine
            .image("acme/x:1")
            .await
            .expect("asked")
            .map(|image| image.id)
            .as_deref(),
        Some("sha256:3")
    );
}
