//! Which image a reference leads to, told by a list or asked.

use std::collections::{BTreeMap, BTreeSet};

use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::doors::engine::{Engine as _, Observe as _};

use crate::fleet_lab::{create, fleet, spec};
use crate::lab::Lab;

/// A reference of this lab's own.
fn own(lab: &impl Lab) -> String {
    lab.name("own").replace("-own", ":own")
}

/// The id under a reference, asked.
async fn id_of(lab: &impl Lab, reference: &str) -> Option<String> {
    let image = lab.engine().image(reference).await.expect("asked");
    image.map(|image| image.id)
}

pub async fn a_list_vouches_only_for_references_that_lead_to_the_image(lab: &impl Lab) {
    let (engine, reference) = (lab.engine(), own(lab));
    lab.tag(&reference).await;
    let mut draft = lab.draft("a");
    draft.image.clone_from(&reference);
    engine.create(&draft).await.expect("created");
    let listed = async || engine.list(&lab.labels()).await.expect("listed").remove(0);
    let made = listed().await;
    assert_eq!(made.image.as_ref(), Some(&reference));
    assert_eq!(id_of(lab, &reference).await.as_ref(), Some(&made.image_id));
    assert!(engine.engine().is_some(), "who vouches says who it is");

    lab.retag(&reference).await;
    let moved = listed().await;
    assert_eq!((moved.image, &moved.image_id), (None, &made.image_id));
    assert_ne!(id_of(lab, &reference).await.as_ref(), Some(&made.image_id));
    lab.tag(&reference).await;
    assert_eq!(listed().await, made, "it leads there again");
    lab.untag(&reference).await;
    let untagged = listed().await;
    assert_eq!((untagged.image, &untagged.image_id), (None, &made.image_id));
}

pub async fn an_id_is_no_reference_that_a_list_vouches_for(lab: &impl Lab) {
    let engine = lab.engine();
    let mut draft = lab.draft("a");
    let image = engine.image(lab.image()).await.expect("asked");
    draft.image = image.expect("the lab's image").id;
    engine.create(&draft).await.expect("created");
    let listed = engine.list(&lab.labels()).await.expect("listed").remove(0);
    assert_eq!((listed.image, listed.image_id), (None, draft.image));
}

pub async fn a_first_look_tells_where_references_lead_now<L: Lab>(lab: &L) {
    let reference = own(lab);
    let images = BTreeSet::from([reference.clone()]);
    let look = async || {
        // Each by a process of its own.
        let observed = fleet(lab).observe(&images).await.expect("observed");
        let runs = observed.instances["a"][0].image_id.clone();
        (observed.images, runs)
    };
    lab.tag(&reference).await;
    let manifest = format!("{{ template: mcp-http, image: '{reference}' }}");
    create::<L>(&fleet(lab), &spec(lab, "a", &manifest)).await;
    let (found, runs) = look().await;
    assert_eq!(found, BTreeMap::from([(reference.clone(), runs.clone())]));
    lab.retag(&reference).await;
    let other = id_of(lab, &reference).await.expect("it was moved");
    assert_ne!(other, runs);
    assert_eq!(
        look().await,
        (BTreeMap::from([(reference.clone(), other)]), runs.clone())
    );
    lab.untag(&reference).await;
    assert_eq!(look().await, (BTreeMap::new(), runs));
}

pub async fn what_lasts_is_noted_once_and_recalled<L: Lab>(lab: &L) {
    let (first, next) = (fleet(lab), fleet(lab));
    create::<L>(&first, &spec(lab, "a", "template: mcp-http")).await;
    let images = BTreeSet::from([lab.image().to_owned()]);
    let seen = first.observe(&images).await.expect("observed");
    let notes = first.news().expect("nothing was noted");
    let id = &seen.instances["a"][0].image_id;
    assert_eq!(notes.configs.keys().collect::<Vec<_>>(), [id]);
    assert_eq!(Some(&notes.engine), lab.engine().engine().as_ref());
    let networks = lab
        .engine()
        .networks(lab.network())
        .await
        .expect("networks");
    assert_eq!(notes.network.as_ref(), networks.first());
    first.observe(&images).await.expect("observed");
    assert_eq!(first.news(), None);

    next.recall(notes);
    assert_eq!(next.observe(&images).await.expect("observed"), seen);
    assert_eq!(next.news(), None);
}
