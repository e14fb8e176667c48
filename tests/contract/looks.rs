//! What a later round looks at: the list always, and beyond it what may have changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use instanced::decisions::plan::{Action, Retired};
use instanced::doors::engine::{Engine as _, Observe as _, Secrets};
use instanced::words::manifest::Restart;
use instanced::words::name::InstanceName;
use instanced::words::observed::Limits;

use crate::fleet_lab::{PLAIN, create, fleet, hear, observe, only, spec, step};
use crate::lab::{Hand, Lab};

pub async fn a_hand_that_a_list_does_not_show_is_seen_by_its_event<L: Lab>(lab: &L) {
    let (fleet, mut cursor) = (fleet(lab), None);
    let spec = spec(lab, "a", PLAIN);
    create::<L>(&fleet, &spec).await;
    hear::<L>(&fleet, &mut cursor).await;
    let made = only(&fleet).await;
    let by_hand = Limits {
        restart: Restart::No,
        pids: Some(33),
        ..Limits::of(&spec)
    };
    lab.hand(&made.id, Hand::Limit(by_hand)).await;
    hear::<L>(&fleet, &mut cursor).await;
    assert_eq!(only(&fleet).await.limits, by_hand);
    // The list shows a name and networks by itself.
    lab.hand(&made.id, Hand::Rename(lab.name("b"))).await;
    lab.hand(&made.id, Hand::Join("bridge".to_owned())).await;
    let found = only(&fleet).await;
    assert_eq!((found.name, found.drift.len()), (lab.name("b"), 2));
}

pub async fn who_hears_nothing_looks_at_everything<L: Lab>(lab: &L) {
    let fleet = fleet(lab);
    let spec = spec(lab, "a", PLAIN);
    create::<L>(&fleet, &spec).await;
    let made = only(&fleet).await;
    let by_hand = Limits {
        pids: Some(33),
        ..Limits::of(&spec)
    };
    lab.hand(&made.id, Hand::Limit(by_hand)).await;
    assert_eq!(only(&fleet).await.limits, by_hand);
}

pub async fn our_own_hand_is_looked_at<L: Lab>(lab: &L) {
    let (fleet, mut cursor) = (fleet(lab), None);
    let mut spec = spec(lab, "a", PLAIN);
    create::<L>(&fleet, &spec).await;
    hear::<L>(&fleet, &mut cursor).await;
    let made = only(&fleet).await;
    spec.resources.pids = 99;
    let action = Action::Update {
        target: Retired::from(&made),
        spec: Arc::new(spec.clone()),
    };
    let updated = fleet.perform(&step(&spec, action), &Secrets::new()).await;
    updated.expect("updated");
    let found = only(&fleet).await;
    assert_eq!(
        found.limits,
        Limits::of(&spec),
        "before any event was heard"
    );
    assert_eq!((found.id, found.started), (made.id, made.started));
}

pub async fn a_foreign_name_and_a_moved_tag_are_seen_in_later_rounds<L: Lab>(lab: &L) {
    let (fleet, mut cursor) = (fleet(lab), None);
    let reference = lab.name("moved").replace("-moved", ":moved");
    let images = BTreeSet::from([reference.clone()]);
    hear::<L>(&fleet, &mut cursor).await;
    let before = fleet.observe(&images).await.expect("observed");
    assert!(before.images.is_empty() && before.foreign.is_empty());

    lab.add_foreign(&format!("instanced-{}-a-g1", lab.manager()))
        .await;
    lab.tag(&reference).await;
    hear::<L>(&fleet, &mut cursor).await;
    let after = fleet.observe(&images).await;
    lab.untag(&reference).await;
    let after = after.expect("observed");
    assert_eq!(after.foreign.keys().collect::<Vec<_>>(), ["a-g1"]);
    assert_eq!(after.images.keys().collect::<Vec<_>>(), [&reference]);
    hear::<L>(&fleet, &mut cursor).await;
    let at_last = fleet.observe(&images).await.expect("observed");
    assert!(at_last.images.is_empty());
}

pub async fn what_vanished_is_gone_from_the_next_round<L: Lab>(lab: &L) {
    let (fleet, mut cursor) = (fleet(lab), None);
    create::<L>(&fleet, &spec(lab, "a", "{ template: mcp-http, vnc: {} }")).await;
    create::<L>(&fleet, &spec(lab, "b", PLAIN)).await;
    hear::<L>(&fleet, &mut cursor).await;
    let before = observe(&fleet).await;
    assert!(before.leftovers.is_empty());
    let id = &before.instances["a"][0].id;
    lab.remove_by_force(id).await;
    let after = observe(&fleet).await;
    assert_eq!(
        after
            .instances
            .keys()
            .map(InstanceName::as_str)
            .collect::<Vec<_>>(),
        ["b"]
    );
    let volume = format!("instanced-{}-a-g1-secrets", lab.manager());
    assert_eq!(
        observe(&fleet).await.leftovers,
        [volume],
        "its secrets are left over"
    );
    fleet
        .tidy(&observe(&fleet).await.leftovers)
        .await
        .expect("tidied");
    assert!(observe(&fleet).await.leftovers.is_empty());
}
