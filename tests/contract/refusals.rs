//! What an engine refuses, and the class of its refusal.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::words::manifest::Restart;

use crate::lab::Lab;

pub async fn an_absent_image_is_gone_and_helped(lab: &impl Lab) {
    let engine = lab.engine();
    assert!(engine.image(lab.image()).await.expect("asked").is_some());
    assert_eq!(
        engine
            .image("instanced/no-such-image:9")
            .await
            .expect("asked"),
        None
    );
    let mut draft = lab.draft("a");
    "instanced/no-such-image:9".clone_into(&mut draft.image);
    let error = engine.create(&draft).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Gone, "{error}");
    assert!(
        error.operation.contains(&draft.name),
        "names its subject: {error}"
    );
    assert!(error.help.expect("a way out").contains("check the name"));
    assert!(engine.list(&lab.labels()).await.expect("listed").is_empty());
}

pub async fn an_absent_network_is_gone(lab: &impl Lab) {
    let mut draft = lab.draft("a");
    draft.network = lab.name("no-such-network");
    let error = lab.engine().create(&draft).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Gone, "{error}");
    assert!(
        lab.engine()
            .networks(&draft.network)
            .await
            .expect("asked")
            .is_empty()
    );
}

pub async fn a_taken_name_is_a_conflict(lab: &impl Lab) {
    let (engine, draft) = (lab.engine(), lab.draft("a"));
    let id = engine.create(&draft).await.expect("created");
    let error = engine.create(&draft).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    assert_eq!(
        lab.look(&id).await.name,
        draft.name,
        "the first is as it was"
    );
}

pub async fn what_is_not_there_is_gone(lab: &impl Lab) {
    let (engine, name) = (lab.engine(), lab.name("none"));
    let results = [
        engine.start(&name).await,
        engine.set_restart(&name, Restart::No).await,
        engine.put_files(&name, "/run/secrets", &[]).await,
        engine.read_file(&name, "/a").await.map(drop),
    ];
    for result in results {
        let error = result.expect_err("refused");
        assert_eq!(error.class, ErrorClass::Gone, "{error}");
    }
    engine.stop(&name, 1).await.expect("gone is stopped");
    engine.remove(&name).await.expect("gone is removed");
    engine.remove_volume(&name).await.expect("gone is removed");
}

pub async fn a_running_container_is_not_removed(lab: &impl Lab) {
    let id = lab.run(&lab.draft("a")).await;
    let error = lab.engine().remove(&id).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    assert!(lab.find(&id).await.is_some());
}
