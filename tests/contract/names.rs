//! Which containers are seen by whom.

use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};

use instanced::words::observed::Phase;

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

pub async fn without_labels_everybodys_containers_are_listed(lab: &impl Lab) {
    let (engine, foreign) = (lab.engine(), lab.name("foreign.1"));
    lab.add_foreign(&foreign).await;
    let ours = engine.create(&lab.draft("ours")).await.expect("created");
    let all = engine.list(&[]).await.expect("listed");
    let id_of = |name: &str| {
        let found = all.iter().find(|found| found.name == name);
        &found.expect("it is listed").id
    };
    assert_eq!(*id_of(&lab.name("ours")), ours);
    assert_ne!(*id_of(&foreign), ours);
    assert_eq!(engine.list(&lab.labels()).await.expect("listed").len(), 1);
}

pub async fn a_list_tells_what_inspect_tells(lab: &impl Lab) {
    let engine = lab.engine();
    let id = engine.create(&lab.draft("a")).await.expect("created");
    let agree = async || {
        let listed = engine.list(&lab.labels()).await.expect("listed").remove(0);
        let inspected = lab.look(&id).await;
        assert_eq!(listed.id, inspected.id);
        assert_eq!(listed.name, inspected.name);
        assert_eq!(listed.labels, inspected.labels);
        assert_eq!(listed.phase, inspected.phase);
        assert_eq!(listed.health, inspected.health);
        assert_eq!(listed.image_id, inspected.image_id);
        let networks = inspected.settings.networks.keys();
        assert!(listed.networks.keys().eq(networks), "{:?}", listed.networks);
        for (network, joined) in &listed.networks {
            let address = inspected.addresses.get(network).copied();
            assert_eq!(joined.address, address);
            if inspected.phase == Phase::Running {
                assert_eq!(joined.id, inspected.settings.networks[network]);
            }
        }
        listed
    };
    assert_eq!(agree().await.phase, Phase::Created);
    engine.start(&id).await.expect("started");
    let running = agree().await;
    assert_eq!(running.phase, Phase::Running);
    let joined = &running.networks[lab.network()];
    assert!(joined.address.is_some() && joined.id.is_some());
    assert_eq!(agree().await, running, "what did not change is told alike");
    lab.kill(&id).await;
    assert_eq!(agree().await.phase, Phase::Exited(137));
}
