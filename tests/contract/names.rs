//! Which containers are seen by whom.

use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};

use crate::lab::Lab;

pub async fn only_containers_with_all_labels_are_listed(lab: &impl Lab) {
    let engine = lab.engine();
    let (mut both, one) = (lab.draft("both"), lab.draft("one"));
    both.labels.insert("team".to_owned(), "qa=1, b".to_owned());
    let id = engine.create(&both).await.expect("created");
    engine.create(&one).await.expect("created");
    assert_eq!(engine.list(&lab.labels()).await.expect("listed").len(), 2);

    let mut labels = lab.labels();
    labels.push(("team".to_owned(), "qa=1, b".to_owned()));
    let found = engine.list(&labels).await.expect("listed");
    assert_eq!(
        found.iter().map(|found| &found.id).collect::<Vec<_>>(),
        [&id]
    );
    for other in ["qa", "qa=1", ""] {
        other.clone_into(&mut labels[1].1);
        assert_eq!(
            engine.list(&labels).await.expect("listed"),
            [],
            "a value is compared whole: `{other}`"
        );
    }
}

pub async fn a_foreign_container_is_seen_by_its_name_alone(lab: &impl Lab) {
    let (engine, foreign) = (lab.engine(), lab.name("foreign.1"));
    lab.add_foreign(&foreign).await;
    let ours = engine.create(&lab.draft("ours")).await.expect("created");
    let names = engine.names(lab.prefix()).await.expect("names");
    assert_eq!(
        names.keys().collect::<Vec<_>>(),
        [&foreign, &lab.name("ours")]
    );
    assert_eq!(names[&lab.name("ours")], ours);
    assert_eq!(engine.list(&lab.labels()).await.expect("listed").len(), 1);
    let exact = engine.names(&foreign).await.expect("names");
    assert_eq!(exact.len(), 1);
    // A dot is a dot.
    assert!(
        engine
            .names(&lab.name("foreign-"))
            .await
            .expect("names")
            .is_empty()
    );
    assert!(engine.names("oreign").await.expect("names").is_empty());
}
