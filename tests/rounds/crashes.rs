//! A daemon that dies, is refused or hears no answer at any call goes on to the same end.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::ReadContainers as _;
use instanced::words::manifest::Restart;
use instanced::words::observed::Health;
use instanced::words::secret::DIRECTORY;

use crate::support::fake_containers::Fault;
use crate::{IMAGE, Lab, START_FIRST};

/// What happens to the fleet in the crash tests: created, replaced, one removed.
const CHAPTERS: [fn(&Lab); 3] = [
    |_| {},
    |lab| lab.write("alice", "screen: { width: 1600 }"),
    |lab| lab.delete("bob"),
];

/// The fleet that it happens to.
fn story() -> Lab {
    Lab::new(&[("alice", "{}"), ("bob", "{}"), ("carol", "{}")])
}

/// The same where alice's generations take over from one another while both run.
fn story_of_start_first() -> Lab {
    let lab = story();
    lab.write("alice", START_FIRST);
    lab.engine.check_image(IMAGE, Health::Healthy);
    lab
}

/// How many changing calls the whole story takes.
async fn story_length(lab: &Lab, chapters: &[fn(&Lab)]) -> usize {
    for chapter in chapters {
        chapter(lab);
        lab.round().await;
    }
    lab.engine.journal().len()
}

#[tokio::test]
async fn a_crash_after_any_call_converges_to_the_same_end() {
    crashes_converge(story, &CHAPTERS).await;
}

#[tokio::test(start_paused = true)]
async fn so_does_one_in_a_start_first_swap() {
    crashes_converge(
        story_of_start_first,
        &[
            |_| {},
            |lab| lab.write("alice", "replace: start-first\nscreen: { width: 1600 }"),
            |lab| lab.delete("bob"),
        ],
    )
    .await;
}

/// The same where a container of a root that can be written makes alice's empty volume hers, and goes.
fn story_of_a_volume() -> Lab {
    let lab = story();
    lab.write("alice", VOLUME);
    lab
}

const VOLUME: &str =
    "security: { read_only: true }\nvolumes: [{ name: profile, target: /profile }]\n";

#[tokio::test]
async fn so_does_one_while_an_empty_volume_gets_its_owner() {
    crashes_converge(
        story_of_a_volume,
        &[
            |_| {},
            |lab| {
                let more = "{ name: second, target: /second }";
                let volumes = VOLUME.replace(" }]", &format!(" }}, {more}]"));
                lab.write("alice", &format!("{volumes}screen: {{ width: 1600 }}"));
            },
            |lab| lab.delete("bob"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_made_a_volume_and_was_left_is_never_the_instance_whoever_starts_it() {
    let helper = |lab: &Lab| {
        let all = lab.engine.all();
        let mut open = all.iter().filter(|found| !found.settings.read_only);
        open.find(|found| found.name.contains("-alice-")).cloned()
    };
    let mut calls = 0;
    let (lab, left) = loop {
        calls += 1;
        assert!(calls < 40, "no cut leaves one");
        let lab = story_of_a_volume();
        lab.engine.cut_after(Some(calls));
        lab.round().await;
        lab.engine.cut_after(None);
        if let Some(left) = helper(&lab) {
            break (lab, left);
        }
    };
    lab.engine.add_foreign("somebody-else");
    // No engine brings it up, and a hand that does makes no generation of it.
    assert_eq!(left.limits.restart, Restart::No);
    assert!(lab.engine.come_up(&left.id));
    for _ in 0..2 {
        lab.round().await;
    }
    assert_eq!(helper(&lab), None);
    lab.write("alice", &format!("{VOLUME}screen: {{ width: 1600 }}"));
    lab.delete("bob");
    converges(&lab, "started by hand").await;
}

async fn crashes_converge(story: fn() -> Lab, chapters: &[fn(&Lab)]) {
    let length = story_length(&story(), chapters).await;
    assert!(length > 20, "the story takes {length} changing calls");
    for calls in 0..length {
        let lab = story();
        lab.engine.add_foreign("somebody-else");
        lab.engine.cut_after(Some(calls));
        for chapter in chapters {
            chapter(&lab);
            lab.round().await;
        }
        lab.engine.cut_after(None);
        converges(&lab, &format!("cut after {calls} calls")).await;
    }
}

#[tokio::test]
async fn a_lost_reply_or_a_refusal_of_any_call_converges_to_the_same_end() {
    let faults = [
        Fault::LoseReply,
        Fault::Refuse(ErrorClass::Retry),
        Fault::Refuse(ErrorClass::Away),
    ];
    for call in [
        "create_volume",
        "create",
        "put_files",
        "start",
        "set_restart",
        "stop",
        "remove",
        "remove_volume",
    ] {
        for (at, fault) in (0..3).flat_map(|at| faults.map(|fault| (at, fault))) {
            let lab = Lab::new(&[("alice", "{}"), ("bob", "{}"), ("carol", "{}")]);
            lab.engine.add_foreign("somebody-else");
            lab.engine.fail(call, at, fault);
            for chapter in CHAPTERS {
                chapter(&lab);
                lab.round().await;
            }
            converges(&lab, &format!("{call} number {at}: {fault:?}")).await;
        }
    }
}

/// A few rounds without faults end at the fleet as written, with nothing left over.
async fn converges(lab: &Lab, what: &str) {
    for _ in 0..3 {
        lab.round().await;
    }
    lab.engine.clear_journal();
    let last = lab.round().await;
    assert_eq!(last.steps, [], "{what}");
    assert_eq!(lab.engine.journal(), Vec::<String>::new(), "{what}");
    let running = lab.running();
    let of = |name: &str| {
        running
            .iter()
            .filter(|c| c.contains(&format!("-{name}-")))
            .count()
    };
    assert_eq!(
        (of("alice"), of("bob"), of("carol")),
        (1, 0, 1),
        "{what}: {running:?}"
    );
    assert_eq!(lab.names().len(), 3, "{what}: {:?}", lab.names());
    assert!(lab.names().contains(&"somebody-else".to_owned()), "{what}");
    let ours = [("instanced.manager".to_owned(), "default".to_owned())];
    let volumes = lab.engine.volumes(&ours).await.expect("the fake answers");
    assert_eq!(
        volumes.len(),
        2,
        "secrets of two instances: {what}: {volumes:?}"
    );
    let alice = running
        .iter()
        .find(|c| c.contains("-alice-"))
        .expect("counted above");
    let draft = lab.engine.draft(alice).expect("it stands");
    assert_eq!(draft.env["SCREEN_WIDTH"], "1600", "{what}");
    assert!(draft.read_only, "{what}");
    let kept = |target: &str| target != DIRECTORY;
    for mount in draft.mounts.iter().filter(|mount| kept(&mount.target)) {
        let owner = lab.engine.volume_owner(alice, &mount.target);
        assert_eq!(owner, Some((1000, 1000)), "{what}: {}", mount.target);
    }
}
