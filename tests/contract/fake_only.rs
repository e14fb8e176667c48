//! What only the fake can do: break on demand, and tell what was asked of it.

use std::sync::Arc;
use std::time::Duration;

use instanced::decisions::plan::Action;
use instanced::doors::engine::containers::{ChangeContainers as _, ReadContainers as _};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::engine::{Engine as _, ErrorClass, Observe as _};
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};

use crate::fleet_lab::{PLAIN, create, fleet, hear, observe, spec, step};
use crate::lab::{FakeLab, Lab as _};
use crate::support::fake_containers::{FakeContainers, Fault};

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
        engine
            .pull("acme/x:1", &|_| {})
            .await
            .expect_err("refused")
            .class,
        ErrorClass::Gone
    );
    engine.publish_image("acme/x:1", "sha256:2");
    engine.pull("acme/x:1", &|_| {}).await.expect("pulled");
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

/// A fleet that hears what happens, and has looked once.
async fn settled(lab: &FakeLab) -> (Fleet<FakeContainers>, Option<String>) {
    let (fleet, mut cursor) = (fleet(lab), None);
    for name in ["a", "b", "c"] {
        create::<FakeLab>(&fleet, &spec(lab, name, PLAIN)).await;
    }
    hear::<FakeLab>(&fleet, &mut cursor).await;
    observe(&fleet).await;
    lab.engine().take_reads();
    (fleet, cursor)
}

/// What a round reads beside its list.
async fn looks(lab: &FakeLab, fleet: &Fleet<FakeContainers>) -> Vec<String> {
    observe(fleet).await;
    let mut reads = lab.engine().take_reads();
    assert!(reads.contains(&"list containers".to_owned()), "{reads:?}");
    reads.retain(|read| read != "list containers");
    reads.sort();
    reads
}

const EVERYTHING: [&str; 5] = [
    "inspect instanced-ct-fake-a-g1",
    "inspect instanced-ct-fake-b-g1",
    "inspect instanced-ct-fake-c-g1",
    "networks ct-fake-net",
    "volumes all",
];

#[tokio::test(start_paused = true)]
async fn a_later_round_lists_and_looks_at_what_events_touched() {
    let lab = FakeLab::new();
    let (fleet, mut cursor) = settled(&lab).await;
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
    lab.engine()
        .set_health("instanced-ct-fake-b-g1", Some(Health::Unhealthy));
    hear::<FakeLab>(&fleet, &mut cursor).await;
    assert_eq!(
        looks(&lab, &fleet).await,
        ["inspect instanced-ct-fake-b-g1"]
    );
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
    lab.engine().remove_by_force("instanced-ct-fake-c-g1");
    hear::<FakeLab>(&fleet, &mut cursor).await;
    assert_eq!(looks(&lab, &fleet).await, [""; 0], "the list tells it");
    assert_eq!(
        looks(&lab, &fleet).await,
        ["volumes all"],
        "it may have left something"
    );
    lab.engine().add_open_network("somebody-elses");
    hear::<FakeLab>(&fleet, &mut cursor).await;
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_network_made_anew_makes_every_joining_another_matter() {
    let lab = FakeLab::new();
    let (fleet, mut cursor) = settled(&lab).await;
    lab.engine().remove_network("ct-fake-net");
    lab.engine().add_open_network("ct-fake-net");
    hear::<FakeLab>(&fleet, &mut cursor).await;
    let observed = observe(&fleet).await;
    assert!(observed.ground.is_some());
    let drift = &observed.instances["a"][0].drift;
    assert_eq!(drift[0].field, "networks.ct-fake-net");
    let mut reads = lab.engine().take_reads();
    reads.sort();
    assert_eq!(reads[..3], EVERYTHING[..3]);
}

#[tokio::test(start_paused = true)]
async fn everything_is_looked_at_again_in_the_slow_sweep() {
    let lab = FakeLab::new();
    let (fleet, _cursor) = settled(&lab).await;
    tokio::time::advance(Duration::from_secs(590)).await;
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(looks(&lab, &fleet).await, EVERYTHING);
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn after_events_broke_off_everything_is_looked_at_until_they_are_heard_again() {
    let lab = FakeLab::new();
    let (fleet, mut cursor) = settled(&lab).await;
    lab.engine()
        .fail("changed", 0, Fault::Refuse(ErrorClass::Away));
    fleet.changed(&mut cursor).await.expect_err("broken off");
    assert_eq!(looks(&lab, &fleet).await, EVERYTHING);
    assert_eq!(
        looks(&lab, &fleet).await,
        EVERYTHING,
        "anything may have been missed"
    );
    fleet.changed(&mut cursor).await.expect("a round is due");
    lab.engine().take_reads();
    assert_eq!(looks(&lab, &fleet).await, EVERYTHING, "once more");
    assert_eq!(looks(&lab, &fleet).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_image_is_pulled_once_a_round_however_many_need_it() {
    let lab = FakeLab::new();
    let (engine, fleet) = (lab.engine(), fleet(&lab));
    engine.publish_image("acme/x:1", "sha256:2");
    for (round, pull) in ["missing", "always", "always"].into_iter().enumerate() {
        observe(&fleet).await;
        engine.clear_journal();
        let text = format!("{{ template: mcp-http, image: 'acme/x:1', pull: {pull} }}");
        let specs = ["a", "b", "c"].map(|name| spec(&lab, &format!("{name}{round}"), &text));
        let [a, b, c] = specs.each_ref().map(|spec| create::<FakeLab>(&fleet, spec));
        tokio::join!(a, b);
        c.await;
        let journal = engine.journal();
        let pulls = journal.iter().filter(|call| *call == "pull acme/x:1");
        assert_eq!(pulls.count(), 1, "{pull}: {journal:#?}");
    }
    // A refusal is shared too, and tried again in the next round.
    let text = "{ template: mcp-http, image: 'acme/none:1' }";
    for _ in 0..2 {
        observe(&fleet).await;
        engine.clear_journal();
        for name in ["x", "y"] {
            let spec = spec(&lab, name, text);
            let action = Action::Create {
                generation: 1,
                spec: Arc::new(spec.clone()),
                discard: Vec::new(),
            };
            let refused = fleet.fetch(&step(&spec, action)).await;
            assert_eq!(refused.expect_err("refused").class, ErrorClass::Gone);
        }
        assert_eq!(engine.journal(), ["pull acme/none:1"]);
    }
}

/// What the first round of a process reads, which looks for these images.
async fn first_reads(lab: &FakeLab, fleet: &Fleet<FakeContainers>) -> Vec<String> {
    let images = [FakeLab::new().image().to_owned(), "acme/none:1".to_owned()];
    lab.engine().take_reads();
    fleet.observe(&images.into()).await.expect("observed");
    let mut reads = lab.engine().take_reads();
    reads.retain(|read| read.starts_with("image "));
    reads.sort();
    reads
}

#[tokio::test]
async fn no_image_is_asked_for_that_the_list_and_the_notes_tell() {
    let lab = FakeLab::new();
    let (maker, reader) = (fleet(&lab), fleet(&lab));
    create::<FakeLab>(&maker, &spec(&lab, "a", PLAIN)).await;
    let (by_id, by_name, none) = (
        "image sha256:instanced/tiny:1",
        "image instanced/tiny:1",
        "image acme/none:1",
    );
    assert_eq!(first_reads(&lab, &reader).await, [none, by_id]);
    let notes = reader.news().expect("it knows one now");
    let next = fleet(&lab);
    next.recall(notes.clone());
    assert_eq!(first_reads(&lab, &next).await, [none]);

    // An engine that promises less is asked for everything.
    lab.engine().be_vague();
    let next = fleet(&lab);
    next.recall(notes);
    assert_eq!(first_reads(&lab, &next).await, [none, by_name]);
    assert_eq!(next.news(), None);
}

/// Whether a look asked for networks.
async fn asks_for_networks(lab: &FakeLab, fleet: &Fleet<FakeContainers>) -> bool {
    lab.engine().take_reads();
    observe(fleet).await;
    let reads = lab.engine().take_reads();
    reads.iter().any(|read| read.starts_with("networks "))
}

#[tokio::test]
async fn a_network_that_was_noted_is_believed_at_first_and_for_what_runs_on_it() {
    let lab = FakeLab::new();
    let maker = fleet(&lab);
    create::<FakeLab>(&maker, &spec(&lab, "a", PLAIN)).await;
    observe(&maker).await;
    let notes = maker.news().expect("it knows one now");
    let recalling = || {
        let next = fleet(&lab);
        next.recall(notes.clone());
        next
    };

    let next = recalling();
    assert!(!asks_for_networks(&lab, &next).await);
    assert_eq!(next.news(), None, "what is noted stays noted");
    lab.engine().add_open_network("ct-fake-net");
    let told = next.ground().await.expect("it answers");
    assert!(told.is_some_and(|told| told.contains("2 networks")));
    assert!(asks_for_networks(&lab, &next).await, "the second look asks");
    assert_eq!(next.news().expect("news").network, None);

    // Nothing runs that would show that it is still there.
    let id = observe(&next).await.instances["a"][0].id.clone();
    lab.engine().stop(&id, 1).await.expect("stopped");
    assert!(asks_for_networks(&lab, &recalling()).await);
    lab.engine().start(&id).await.expect("started");
    assert!(!asks_for_networks(&lab, &recalling()).await);

    // It was made anew, and what runs joined the new one.
    lab.engine().remove_network("ct-fake-net");
    lab.engine().add_open_network("ct-fake-net");
    lab.engine().stop(&id, 1).await.expect("stopped");
    lab.engine().start(&id).await.expect("started");
    assert!(asks_for_networks(&lab, &recalling()).await);
}
