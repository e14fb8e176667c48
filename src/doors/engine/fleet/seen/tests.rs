use super::*;
use crate::words::observed::{Applied, Limits, Phase};

fn summary() -> Summary {
    Summary {
        id: "1".to_owned(),
        name: "a".to_owned(),
        labels: BTreeMap::new(),
        phase: Phase::Running,
        health: None,
        image_id: "sha256:1".to_owned(),
        image: Some("acme/x:1".to_owned()),
        networks: BTreeMap::new(),
    }
}

fn generation() -> Generation {
    Generation {
        id: "1".to_owned(),
        name: "a".to_owned(),
        number: 1,
        applied: Applied::Newer(9),
        phase: Phase::Running,
        health: None,
        image_id: "sha256:1".to_owned(),
        address: None,
        started: None,
        limits: Limits {
            memory: None,
            memory_swap: None,
            cpus: None,
            pids: None,
            restart: crate::words::manifest::Restart::No,
        },
        drift: Vec::new(),
        author: None,
        restarts: 0,
    }
}

fn is_known(seen: &Seen) -> bool {
    !seen.generations(&[&summary()]).is_empty()
}

#[tokio::test]
async fn a_mark_during_a_look_makes_what_is_seen_stale() {
    let seen = Seen::default();
    seen.set_hears(true);
    let moment = seen.begin();
    seen.mark_containers([&"1".to_owned()]);
    seen.keep_generation(moment, &summary(), &generation(), true);
    assert!(
        !is_known(&seen),
        "it may have been looked at before it was touched"
    );
    let moment = seen.begin();
    seen.keep_generation(moment, &summary(), &generation(), true);
    assert!(is_known(&seen));
}

#[tokio::test]
async fn a_touched_newcomer_is_not_forgotten_before_it_was_listed() {
    let seen = Seen::default();
    seen.set_hears(true);
    let (early, moment) = (seen.begin(), seen.begin());
    seen.mark_containers([&"1".to_owned()]);
    seen.forget_others(early, &BTreeSet::new());
    seen.keep_generation(moment, &summary(), &generation(), true);
    assert!(!is_known(&seen));
}

#[tokio::test]
async fn an_older_look_that_ends_late_does_not_hide_a_newer_one() {
    let seen = Seen::default();
    seen.set_hears(true);
    let early = seen.begin();
    seen.mark_containers([&"1".to_owned()]);
    let late = seen.begin();
    seen.keep_generation(late, &summary(), &generation(), true);
    seen.keep_generation(early, &summary(), &generation(), true);
    assert!(is_known(&seen));
}

#[tokio::test]
async fn without_its_image_it_is_looked_at_again_when_images_change() {
    let seen = Seen::default();
    seen.set_hears(true);
    let moment = seen.begin();
    seen.keep_generation(moment, &summary(), &generation(), false);
    assert!(is_known(&seen));
    seen.mark_images();
    assert!(!is_known(&seen));
}

#[tokio::test]
async fn whatever_a_list_shows_otherwise_is_looked_at() {
    let seen = Seen::default();
    seen.set_hears(true);
    let moment = seen.begin();
    seen.keep_generation(moment, &summary(), &generation(), true);
    let mut other = summary();
    other.phase = Phase::Exited(1);
    assert!(seen.generations(&[&other]).is_empty());
}

fn notes(engine: &str) -> EngineNotes {
    let config = ImageConfig::default();
    EngineNotes {
        engine: engine.to_owned(),
        configs: BTreeMap::from([("sha256:1".to_owned(), config)]),
        network: None,
    }
}

fn facts(is_fixed: bool) -> ImageFacts {
    ImageFacts {
        id: "sha256:1".to_owned(),
        config: ImageConfig::default(),
        is_fixed,
    }
}

#[tokio::test]
async fn notes_count_for_the_engine_that_they_are_of() {
    let seen = Seen::default();
    seen.recall(notes("docker 1"));
    assert!(seen.config("sha256:1").is_none(), "nobody answered yet");
    seen.listen_to(Some("docker 1".to_owned()));
    assert!(seen.config("sha256:1").is_some());
    seen.listen_to(Some("docker 2".to_owned()));
    assert!(seen.config("sha256:1").is_none());
    seen.listen_to(None);
    assert!(seen.config("sha256:1").is_none());
    let late = Seen::default();
    late.listen_to(Some("docker 1".to_owned()));
    late.recall(notes("docker 1"));
    assert!(late.config("sha256:1").is_some());
}

#[tokio::test]
async fn what_lasts_of_the_images_in_use_is_news_once() {
    let seen = Seen::default();
    seen.listen_to(Some("docker 1".to_owned()));
    let moment = seen.begin();
    seen.keep_generation(moment, &summary(), &generation(), true);
    seen.keep_config("sha256:1".to_owned(), facts(false));
    assert_eq!(seen.news(), None, "its id may come to mean another");
    seen.keep_config("sha256:1".to_owned(), facts(true));
    seen.keep_config("sha256:2".to_owned(), facts(true));
    seen.keep_generation(moment, &summary(), &generation(), true);
    assert_eq!(seen.news(), Some(notes("docker 1")));
    seen.keep_generation(moment, &summary(), &generation(), true);
    assert_eq!(seen.news(), None);
    seen.forget_others(moment + 1, &BTreeSet::new());
    let none = seen.news().expect("nobody runs it any more");
    assert_eq!(none.configs, BTreeMap::new());
}
