//! What hands on the engine leave behind: it costs nobody else anything, and no instance its sessions without need.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::doors::engine::settings::ImageConfig;
use instanced::words::label;

use super::*;

const ALICE: &str = "instanced-default-alice-g1";

fn two() -> Lab {
    Lab::new(&[("alice", "{}"), ("bob", "{}")])
}

#[tokio::test]
async fn a_generation_that_nobody_counted_up_to_stops_no_round() {
    for number in [u64::MAX, u64::MAX - 1, label::GENERATION_MAX + 1] {
        let lab = two();
        lab.round().await;
        let number = number.to_string();
        lab.engine.relabel(ALICE, label::GENERATION, &number);
        lab.engine.kill("instanced-default-bob-g1");
        let report = lab.round().await;
        assert!(report.aborted.is_none(), "{number}: {report:#?}");
        assert_eq!(*outcome(&report, "bob"), Outcome::Done);
        assert_eq!(
            lab.running(),
            ["instanced-default-alice-g2", "instanced-default-bob-g1"]
        );
        assert_eq!(lab.round().await.unchanged, 2);
    }
}

#[tokio::test]
async fn the_name_of_a_next_generation_is_no_obstacle_to_itself() {
    let lab = two();
    lab.round().await;
    lab.engine.rename(ALICE, "instanced-default-alice-g2");
    let report = lab.round().await;
    assert_eq!(*outcome(&report, "alice"), Outcome::Done, "{report:#?}");
    assert_eq!(
        lab.running(),
        ["instanced-default-alice-g3", "instanced-default-bob-g1"]
    );
}

/// `docker commit`, then `docker run` for a look around: the copy has the labels, too.
#[tokio::test]
async fn a_copy_that_somebody_ran_costs_the_instance_nothing() {
    let lab = two();
    lab.round().await;
    let mut copy = lab.engine.draft(ALICE).expect("it stands");
    copy.name = "for-a-look-around".to_owned();
    copy.mounts.clear();
    let id = lab.engine.create(&copy).await.expect("created");
    lab.engine.start(&id).await.expect("started");
    lab.engine.clear_journal();
    lab.round().await;
    assert_eq!(lab.names(), [ALICE, "instanced-default-bob-g1"]);
    assert_eq!(
        lab.engine.journal(),
        [
            "stop for-a-look-around",
            "remove for-a-look-around",
            "remove_volume instanced-default-alice-g0-secrets"
        ],
        "neither its secrets nor its route are the copy's to take away"
    );
}

/// The same image for another instance: its labels are the routes of the one that it was committed from.
#[tokio::test]
async fn an_image_that_brings_routes_along_is_refused() {
    let lab = two();
    lab.round().await;
    let made = lab.engine.inspect(ALICE).await.expect("told");
    let labels = made.expect("it stands").labels;
    let image = ImageConfig {
        labels,
        ..ImageConfig::default()
    };
    lab.engine.tag_image("acme/committed:1", "sha256:committed");
    lab.engine.set_image_config("sha256:committed", image);
    lab.write("carol", "image: acme/committed:1");
    lab.engine.clear_journal();
    let report = lab.round().await;
    let Outcome::Failed(failure) = outcome(&report, "carol") else {
        panic!("{report:#?}");
    };
    assert!(
        failure.message.contains("traefik.http.") && failure.help.is_some(),
        "{failure:?}"
    );
    let journal = lab.engine.journal();
    let of_carol = journal.iter().filter(|call| call.contains("carol"));
    assert_eq!(of_carol.count(), 0, "nothing of it is made: {journal:#?}");
}

#[tokio::test]
async fn one_whose_password_cannot_be_read_back_stops_no_other() {
    let lab = two();
    lab.round().await;
    let other = lab.as_another_host();
    other.engine.kill("instanced-default-bob-g1");
    let fault = Fault::Refuse(ErrorClass::Permanent);
    other.engine.fail("read_file", 0, fault);
    let report = other.round().await;
    assert!(report.aborted.is_none(), "{report:#?}");
    assert_eq!(*outcome(&report, "alice"), Outcome::Held, "{report:#?}");
    assert_eq!(*outcome(&report, "bob"), Outcome::Done);
    assert_eq!(lab.running(), [ALICE, "instanced-default-bob-g1"]);
    assert_eq!(other.round().await.unchanged, 2, "it can be read again");
}
