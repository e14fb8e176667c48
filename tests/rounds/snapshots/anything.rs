//! Whatever happens to a fleet, a plan from its snapshot is the plan straight from the engine.

use super::*;

/// What manifests say, in turns; the last ones are not sound.
const MANIFESTS: [&str; 10] = [
    "{}",
    "owner: me@example.com",
    "screen: { width: 1600 }",
    "resources: { memory: 2GiB }",
    "state: stopped",
    "protect: true",
    "image: acme/x:1",
    "replace: start-first\nenv: { A: \"1\" }",
    "nonsense: [",
    "",
];
const SOUND: usize = 8;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Something that happens to a fleet before the snapshot.
#[derive(Debug, Clone)]
enum Event {
    Write(usize, usize),
    Delete(usize),
    Fleet(bool),
    Round,
    Order(usize, Order),
    Kill(usize),
    Gone(usize),
    Limits(usize),
    Unwell(usize),
    Retag,
    Foreign(usize),
    Secret(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0..NAMES.len();
    let order = prop::sample::select(vec![
        Order::Stop,
        Order::Start,
        Order::Suspend,
        Order::Resume,
    ]);
    prop_oneof![
        4 => (which.clone(), 0..MANIFESTS.len()).prop_map(|(n, m)| Event::Write(n, m)),
        1 => which.clone().prop_map(Event::Delete),
        1 => any::<bool>().prop_map(Event::Fleet),
        4 => Just(Event::Round),
        2 => (which.clone(), order).prop_map(|(n, o)| Event::Order(n, o)),
        1 => which.clone().prop_map(Event::Kill),
        1 => which.clone().prop_map(Event::Gone),
        1 => which.clone().prop_map(Event::Limits),
        1 => which.clone().prop_map(Event::Unwell),
        1 => Just(Event::Retag),
        1 => which.prop_map(Event::Foreign),
        1 => any::<u8>().prop_map(Event::Secret),
    ]
}

/// What a pull request does to the manifests.
fn edit() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..NAMES.len(), 0..MANIFESTS.len()).prop_map(|(n, m)| Event::Write(n, m)),
        1 => (0..NAMES.len()).prop_map(Event::Delete),
        1 => any::<bool>().prop_map(Event::Fleet),
    ]
}

/// `d` has a secret, in a file of the host's.
fn manifest(lab: &Lab, name: usize, text: usize) -> String {
    if NAMES[name] != "d" {
        return MANIFESTS[text].to_owned();
    }
    let path = lab.dir.path().join("secret").display().to_string();
    let more = MANIFESTS[text % SOUND].replace("{}", "owner: d@example.com");
    format!("secrets: {{ key: {{ from_file: \"{path}\" }} }}\n{more}\n")
}

async fn play(lab: &Lab, event: &Event) {
    let newest = |name: usize| {
        let prefix = format!("instanced-default-{}-g", NAMES[name]);
        lab.names()
            .into_iter()
            .rfind(|container| container.starts_with(&prefix))
    };
    match event {
        Event::Foreign(name)
            if lab
                .names()
                .contains(&format!("instanced-default-{}-g2", NAMES[*name])) => {}
        Event::Write(name, text) => lab.write(NAMES[*name], &manifest(lab, *name, *text)),
        // The host shall know the secrets of `d`.
        Event::Delete(name) => drop(std::fs::remove_file(lab.path(NAMES[*name % 3]))),
        Event::Fleet(one) => {
            let memory = if *one { "1GiB" } else { "512MiB" };
            lab.write_fleet(&format!(
                "defaults: {{ resources: {{ memory: {memory} }} }}\n"
            ));
        }
        Event::Round => drop(lab.round().await),
        Event::Order(name, order) => {
            let desired = lab.desired().expect("a source");
            if desired
                .spec(&NAMES[*name].parse().expect("a name"))
                .is_some()
            {
                drop(lab.order(NAMES[*name], *order).await);
            }
        }
        Event::Kill(name) => newest(*name).iter().for_each(|c| lab.engine.kill(c)),
        Event::Gone(name) => newest(*name)
            .iter()
            .for_each(|c| lab.engine.remove_by_force(c)),
        Event::Limits(name) => {
            if let Some(container) = newest(*name) {
                let limits = lab.engine.all().into_iter().find(|c| c.name == container);
                let limits = limits.expect("it is there").limits;
                let memory = Some("96MiB".parse().expect("a size"));
                let limits = Limits {
                    memory,
                    memory_swap: memory,
                    ..limits
                };
                lab.engine.update(&container, limits);
            }
        }
        Event::Unwell(name) => newest(*name)
            .iter()
            .for_each(|c| lab.engine.set_health(c, Some(Health::Unhealthy))),
        Event::Retag => lab.engine.tag_image(IMAGE, "sha256:another"),
        Event::Foreign(name) => lab
            .engine
            .add_foreign(&format!("instanced-default-{}-g2", NAMES[*name])),
        Event::Secret(0..64) => drop(std::fs::remove_file(lab.dir.path().join("secret"))),
        Event::Secret(value) => drop(lab.file("secret", &format!("value {value}"))),
    }
}

/// A lab in which manifests may name a secret of the host's.
pub(super) fn lab() -> Lab {
    let mut lab = Lab::new(&[]);
    let secrets = format!("{}/*", lab.dir.path().display());
    lab.site.config.policy.secrets.allow = vec![secrets];
    lab.site.config.reconcile.prune.min = 1;
    lab.site.config.reconcile.prune.max = "60%".parse().expect("a share");
    lab.file("secret", "value");
    for (at, name) in NAMES.iter().enumerate() {
        lab.write(name, &manifest(&lab, at, 0));
    }
    lab
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_plan_from_a_snapshot_is_the_plan_straight_from_the_engine(
        events in prop::collection::vec(event(), 0..10),
        edits in prop::collection::vec(edit(), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (straight, planned) = runtime.expect("a runtime").block_on(async {
            let lab = lab();
            lab.round().await;
            for event in &events {
                play(&lab, event).await;
            }
            let snapshot = lab.snapshot().await;
            for edit in &edits {
                play(&lab, edit).await;
            }
            let straight = lab.plan_straight(snapshot.taken).await;
            // Where it is planned, no secret can be read.
            drop(std::fs::remove_file(lab.dir.path().join("secret")));
            (straight, lab.plan_from(&snapshot).plan)
        });
        prop_assert_eq!(straight, planned);
    }
}
