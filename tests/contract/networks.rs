//! Networks, and what they promise about neighbours.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};

use crate::lab::Lab;

async fn neighbours_meet(lab: &impl Lab, network: &str) -> bool {
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut draft = lab.draft(name);
        network.clone_into(&mut draft.network);
        ids.push(lab.run(&draft).await);
    }
    let address = lab.look(&ids[1]).await.addresses[network];
    let meet = lab.reaches(&ids[0], &ids[1], address).await;
    for id in ids {
        lab.engine().stop(&id, 5).await.expect("stopped");
        lab.engine().remove(&id).await.expect("removed");
    }
    meet
}

pub async fn an_isolated_network_keeps_neighbours_apart(lab: &impl Lab) {
    let found = lab
        .engine()
        .networks(lab.network())
        .await
        .expect("networks");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].driver, "bridge");
    assert_eq!(found[0].open_because, None);
    assert!(!neighbours_meet(lab, lab.network()).await);
}

pub async fn an_open_network_says_why(lab: &impl Lab) {
    let (engine, name) = (lab.engine(), lab.name("open"));
    let labels = lab.labels().into_iter().collect();
    engine
        .create_network(&name, false, &labels)
        .await
        .expect("created");
    let found = engine.networks(&name).await.expect("networks");
    let meet = neighbours_meet(lab, &name).await;
    lab.drop_network(&name).await;
    assert_eq!(found[0].labels, labels);
    assert!(found[0].open_because.is_some());
    assert!(meet, "what is told as open is open");
}

pub async fn a_second_network_of_one_name_is_refused(lab: &impl Lab) {
    let (engine, network) = (lab.engine(), lab.network());
    let error = engine
        .create_network(network, true, &[].into())
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Conflict);
    assert_eq!(engine.networks(network).await.expect("networks").len(), 1);
    assert_eq!(
        engine
            .networks(&network[..network.len() - 1])
            .await
            .expect("networks"),
        [],
        "a name is compared whole"
    );
}
