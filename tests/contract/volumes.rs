//! Volumes.

use std::collections::BTreeMap;

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{
    ChangeContainers as _, DraftMount, MountSource, ReadContainers as _,
};

use crate::lab::Lab;

pub async fn a_volume_is_found_by_its_labels(lab: &impl Lab) {
    let (engine, name) = (lab.engine(), lab.name("v"));
    let labels: BTreeMap<_, _> = lab.labels().into_iter().collect();
    engine.create_volume(&name, &labels).await.expect("created");
    engine
        .create_volume(&name, &labels)
        .await
        .expect("created already");
    assert_eq!(
        engine.volumes(&lab.labels()).await.expect("listed"),
        [name.as_str()]
    );
    engine.remove_volume(&name).await.expect("removed");
    engine.remove_volume(&name).await.expect("removed already");
    assert!(
        engine
            .volumes(&lab.labels())
            .await
            .expect("listed")
            .is_empty()
    );
}

pub async fn a_volume_of_another_is_a_conflict(lab: &impl Lab) {
    let (engine, name) = (lab.engine(), lab.name("v"));
    let mut labels: BTreeMap<_, _> = lab.labels().into_iter().collect();
    engine.create_volume(&name, &labels).await.expect("created");
    labels.insert("instanced.instance".to_owned(), "bob".to_owned());
    let error = engine
        .create_volume(&name, &labels)
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
}

pub async fn a_volume_in_use_stays(lab: &impl Lab) {
    let (engine, name) = (lab.engine(), lab.name("v"));
    engine
        .create_volume(&name, &lab.labels().into_iter().collect())
        .await
        .expect("created");
    let mut draft = lab.draft("a");
    let source = MountSource::Volume(name.clone());
    draft.mounts.push(DraftMount {
        source,
        target: "/data".to_owned(),
        read_only: false,
    });
    let id = engine.create(&draft).await.expect("created");
    let error = engine.remove_volume(&name).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    engine.remove(&id).await.expect("removed");
    assert_eq!(
        engine.volumes(&lab.labels()).await.expect("listed"),
        [name.as_str()],
        "named volumes outlive containers"
    );
    engine.remove_volume(&name).await.expect("removed");
}
