//! How a container lives.

use instanced::doors::engine::containers::ChangeContainers as _;
use instanced::words::manifest::Restart;
use instanced::words::observed::{Limits, Phase};
use instanced::words::quantity::{Bytes, Cpus};

use crate::lab::Lab;

const POLICIES: [Restart; 4] = [
    Restart::Always,
    Restart::UnlessStopped,
    Restart::OnFailure,
    Restart::No,
];

pub async fn a_container_is_created_started_stopped_and_removed(lab: &impl Lab) {
    let (engine, draft) = (lab.engine(), lab.draft("a"));
    let id = engine.create(&draft).await.expect("created");
    let created = lab.look(&id).await;
    assert_eq!(
        (created.phase, created.started, created.health),
        (Phase::Created, None, None)
    );
    assert_eq!(
        (created.name, created.labels.get(crate::lab::LABEL)),
        (draft.name, Some(&lab.prefix().to_owned()))
    );
    assert!(created.addresses.is_empty());

    engine.start(&id).await.expect("started");
    let running = lab.look(&id).await;
    assert_eq!(running.phase, Phase::Running);
    assert!(running.started.is_some());
    assert_eq!(
        running.addresses.keys().collect::<Vec<_>>(),
        [lab.network()],
        "by the network's name"
    );

    engine.stop(&id, 5).await.expect("stopped");
    let stopped = lab.look(&id).await;
    assert_eq!(stopped.phase, Phase::Exited(0));
    assert!(stopped.addresses.is_empty());
    assert_eq!(stopped.started, running.started);
    assert_eq!(stopped.image_id, running.image_id);

    engine.remove(&id).await.expect("removed");
    assert_eq!(lab.find(&id).await, None);
}

pub async fn every_call_can_be_made_twice(lab: &impl Lab) {
    let engine = lab.engine();
    let id = engine.create(&lab.draft("a")).await.expect("created");
    engine
        .stop(&id, 1)
        .await
        .expect("what never ran is stopped");
    assert_eq!(lab.look(&id).await.phase, Phase::Created);
    engine.start(&id).await.expect("started");
    let started = lab.look(&id).await.started;
    engine.start(&id).await.expect("started already");
    assert_eq!(lab.look(&id).await.started, started, "the same run");
    engine.stop(&id, 5).await.expect("stopped");
    engine.stop(&id, 5).await.expect("stopped already");
    engine.remove(&id).await.expect("removed");
    engine.remove(&id).await.expect("removed already");
    engine.stop(&id, 5).await.expect("gone is stopped");
}

pub async fn what_was_killed_has_exited(lab: &impl Lab) {
    let id = lab.run(&lab.draft("a")).await;
    lab.kill(&id).await;
    assert_eq!(lab.look(&id).await.phase, Phase::Exited(137));
    lab.engine().start(&id).await.expect("started again");
    assert_eq!(lab.look(&id).await.phase, Phase::Running);
}

pub async fn a_paused_container_is_let_go_on(lab: &impl Lab) {
    let id = lab.run(&lab.draft("a")).await;
    lab.pause(&id).await;
    assert_eq!(lab.look(&id).await.phase, Phase::Paused);
    lab.engine().start(&id).await.expect("let go on");
    assert_eq!(lab.look(&id).await.phase, Phase::Running);
    lab.pause(&id).await;
    lab.engine().stop(&id, 5).await.expect("stopped");
    assert!(matches!(lab.look(&id).await.phase, Phase::Exited(_)));
}

pub async fn a_stopped_container_is_not_revived_by_its_policy(lab: &impl Lab) {
    let mut draft = lab.draft("a");
    draft.restart = Restart::Always;
    let id = lab.run(&draft).await;
    lab.engine().stop(&id, 5).await.expect("stopped");
    assert_eq!(lab.look(&id).await.phase, Phase::Exited(0));
}

pub async fn every_restart_policy_is_read_back(lab: &impl Lab) {
    for (number, restart) in POLICIES.into_iter().enumerate() {
        let mut draft = lab.draft(&format!("a{number}"));
        draft.restart = restart;
        let id = lab.engine().create(&draft).await.expect("created");
        assert_eq!(lab.look(&id).await.limits.restart, restart);
    }
}

pub async fn a_restart_policy_changes_in_place(lab: &impl Lab) {
    let id = lab.run(&lab.draft("a")).await;
    let before = lab.look(&id).await;
    for restart in POLICIES {
        lab.engine().set_restart(&id, restart).await.expect("set");
        lab.engine()
            .set_restart(&id, restart)
            .await
            .expect("set already");
        let mut expected = before.clone();
        expected.limits.restart = restart;
        assert_eq!(lab.look(&id).await, expected);
    }
}

pub async fn limits_change_in_place(lab: &impl Lab) {
    let id = lab.run(&lab.draft("a")).await;
    let mut expected = lab.look(&id).await;
    for (memory, cpus, pids) in [(96, 250, 32), (48, 1_500, 128)] {
        let memory = Some(Bytes::mib(memory));
        expected.limits = Limits {
            memory,
            memory_swap: memory,
            cpus: Some(Cpus(cpus * 1_000_000)),
            pids: Some(pids),
            restart: Restart::UnlessStopped,
        };
        let engine = lab.engine();
        engine.set_limits(&id, &expected.limits).await.expect("set");
        let found = lab.look(&id).await;
        assert_eq!(
            found, expected,
            "and nothing else: not its id, not its start"
        );
    }
}
