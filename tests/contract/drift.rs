//! What somebody's hand did is found and named; what engine and image do is not.

use instanced::doors::engine::containers::{ChangeContainers as _, Draft, DraftMount, MountSource};
use instanced::words::label;
use instanced::words::manifest::Restart;
use instanced::words::observed::{Limits, Phase};
use instanced::words::quantity::{Bytes, Cpus};

use crate::fleet_lab::{PLAIN, RICH, create, first_draft, fleet, look_anew, only, spec, told};
use crate::lab::{Hand, Lab};

pub async fn what_was_made_is_as_it_was_made<L: Lab>(lab: &L) {
    for (name, manifest) in [("plain", PLAIN), ("rich", RICH)] {
        let (fleet, spec) = (fleet(lab), spec(lab, name, manifest));
        create::<L>(&fleet, &spec).await;
        let made = only(&fleet).await;
        assert_eq!(told(&made.drift), [""; 0], "{name}");
        assert_eq!(made.limits, Limits::of(&spec), "{name}");
        lab.engine().stop(&made.id, 1).await.expect("stopped");
        lab.engine().remove(&made.id).await.expect("removed");
    }
}

pub async fn what_ran_and_was_stopped_is_still_as_it_was_made<L: Lab>(lab: &L) {
    let spec = spec(lab, "a", "{ template: mcp-http, restart: 'no' }");
    create::<L>(&fleet(lab), &spec).await;
    let id = look_anew(lab).await.id;
    lab.kill(&id).await;
    let killed = look_anew(lab).await;
    assert_eq!(
        (killed.phase, told(&killed.drift)),
        (Phase::Exited(137), vec![])
    );
    lab.engine().start(&id).await.expect("started");
    lab.pause(&id).await;
    assert_eq!(told(&look_anew(lab).await.drift), [""; 0]);
}

pub async fn limits_set_by_hand_are_read<L: Lab>(lab: &L) {
    let spec = spec(lab, "a", PLAIN);
    create::<L>(&fleet(lab), &spec).await;
    let made = look_anew(lab).await;
    let by_hand = Limits {
        memory: Some(Bytes::mib(96)),
        memory_swap: Some(Bytes::mib(192)),
        cpus: Some(Cpus(250_000_000)),
        pids: Some(77),
        restart: Restart::OnFailure,
    };
    lab.hand(&made.id, Hand::Limit(by_hand)).await;
    let found = look_anew(lab).await;
    assert_eq!(found.limits, by_hand);
    assert_eq!(
        told(&found.drift),
        [""; 0],
        "the plan compares limits with the spec"
    );
    assert_eq!((found.id, found.started), (made.id, made.started));
}

pub async fn a_network_that_is_left_is_found<L: Lab>(lab: &L) {
    create::<L>(&fleet(lab), &spec(lab, "a", PLAIN)).await;
    let id = look_anew(lab).await.id;
    lab.hand(&id, Hand::Leave(lab.network().to_owned())).await;
    let found = look_anew(lab).await;
    let field = format!("networks.{} is gone", lab.network());
    assert_eq!(told(&found.drift), std::slice::from_ref(&field));
    // Also once it does not run any more.
    lab.kill(&id).await;
    assert_eq!(told(&look_anew(lab).await.drift), [field]);
    lab.engine().start(&id).await.expect("started");
    lab.hand(&id, Hand::Join(lab.network().to_owned())).await;
    assert_eq!(
        told(&look_anew(lab).await.drift),
        [""; 0],
        "as good as before"
    );
}

pub async fn a_further_network_is_found<L: Lab>(lab: &L) {
    create::<L>(&fleet(lab), &spec(lab, "a", PLAIN)).await;
    let id = look_anew(lab).await.id;
    lab.hand(&id, Hand::Join("bridge".to_owned())).await;
    let found = look_anew(lab).await;
    assert_eq!(told(&found.drift), ["networks.bridge \"joined\""]);
    assert!(found.address.is_some(), "it is still on ours");
}

pub async fn a_new_name_is_found<L: Lab>(lab: &L) {
    create::<L>(&fleet(lab), &spec(lab, "a", PLAIN)).await;
    let (id, name) = (look_anew(lab).await.id, lab.name("other"));
    lab.hand(&id, Hand::Rename(name.clone())).await;
    let found = look_anew(lab).await;
    assert_eq!(told(&found.drift), [format!("name \"{name}\"")]);
    assert_eq!(found.name, name);
}

/// Puts something in place of a container: the same labels, but otherwise after somebody's own taste.
async fn make_anew<L: Lab>(lab: &L, draft: &Draft) {
    let id = look_anew(lab).await.id;
    lab.engine().stop(&id, 1).await.expect("stopped");
    lab.engine().remove(&id).await.expect("removed");
    lab.run(draft).await;
}

/// What, how, and what is told of it.
type Case = (&'static str, fn(&mut Draft), &'static [&'static str]);

const PROGRAM: &[Case] = &[
    (
        "command",
        |draft| draft.command = Some(vec!["ping".into()]),
        &[r#"command ["ping"]"#],
    ),
    (
        "no command",
        |draft| draft.command = None,
        &["command is gone"],
    ),
    (
        "entrypoint",
        |draft| draft.entrypoint = Some(vec!["/tiny".into(), "cat".into()]),
        &[r#"entrypoint ["/tiny","cat"]"#],
    ),
    (
        "env",
        |draft| {
            draft.env.insert("LANG".into(), "C".into());
            draft.env.insert("MORE".into(), "1".into());
            draft.env.remove("EQUALS");
        },
        &["env.EQUALS is gone", "env.LANG \"C\"", "env.MORE \"1\""],
    ),
    (
        "labels",
        |draft| {
            draft.labels.insert("team".into(), "dev".into());
            draft.labels.insert("traefik.enable".into(), "false".into());
            draft.labels.insert("more".into(), "1".into());
            draft.labels.remove("empty");
        },
        &[
            "labels.empty is gone",
            "labels.more \"1\"",
            "labels.team \"dev\"",
            "labels.traefik.enable \"false\"",
        ],
    ),
    (
        "hostname",
        |draft| draft.hostname = "other".into(),
        &["hostname \"other\""],
    ),
];

const RIGHTS: &[Case] = &[
    (
        "user",
        |draft| draft.user = "0:0".into(),
        &["security.user \"0:0\""],
    ),
    (
        "shm",
        |draft| draft.shm = 16 << 20,
        &["resources.shm \"16MiB\""],
    ),
    (
        "capabilities",
        |draft| draft.cap_add = vec!["SYS_ADMIN".into()],
        &[r#"security.cap_add ["SYS_ADMIN"]"#],
    ),
    (
        "root",
        |draft| draft.read_only = false,
        &["security.read_only false"],
    ),
    (
        "tmpfs",
        |draft| {
            draft.tmpfs.insert("/tmp".into(), 1 << 20);
            draft.tmpfs.insert("/more".into(), 1 << 20);
            draft.tmpfs.remove("/run/x");
        },
        &[
            "security.tmpfs./more \"1MiB\"",
            "security.tmpfs./run/x is gone",
            "security.tmpfs./tmp \"1MiB\"",
        ],
    ),
    (
        "grace",
        |draft| draft.stop_grace_secs = 3,
        &["stop_grace_secs 3"],
    ),
    (
        "mounts",
        |draft| {
            draft.mounts.retain(|mount| mount.target != "/data");
            draft.mounts[0].read_only = true;
            draft.mounts.push(DraftMount {
                source: MountSource::Host("/proc".into()),
                target: "/host".into(),
                read_only: true,
            });
        },
        &[
            "volumes./data is gone",
            "volumes./home/mcp/profile \"volume instanced-MANAGER-a-vol-profile, read-only\"",
            "volumes./host \"directory /proc, read-only\"",
        ],
    ),
    (
        "network",
        |draft| draft.network = "bridge".into(),
        &["networks.NETWORK is gone", "networks.bridge \"joined\""],
    ),
];

pub async fn what_somebody_made_anew_is_found_field_by_field<L: Lab>(lab: &L) {
    let spec = spec(lab, "a", RICH);
    create::<L>(&fleet(lab), &spec).await;
    let made = first_draft(lab, &spec);
    make_anew(lab, &made).await;
    assert_eq!(
        told(&look_anew(lab).await.drift),
        [""; 0],
        "the same is the same"
    );

    for (what, edit, expected) in PROGRAM.iter().chain(RIGHTS) {
        let mut draft = made.clone();
        edit(&mut draft);
        make_anew(lab, &draft).await;
        let mut expected: Vec<_> = expected
            .iter()
            .map(|line| line.replace("MANAGER", lab.manager().as_str()))
            .map(|line| line.replace("NETWORK", lab.network()))
            .collect();
        expected.sort();
        let mut found = told(&look_anew(lab).await.drift);
        found.sort();
        assert_eq!(found, expected, "{what}");
    }
}

pub async fn what_an_older_version_made_does_not_drift<L: Lab>(lab: &L) {
    let spec = spec(lab, "a", RICH);
    create::<L>(&fleet(lab), &spec).await;
    let mut older = first_draft(lab, &spec);
    older.labels.remove(label::DRAFT_VERSION);
    older
        .labels
        .insert("traefik.http.routers.old.rule".into(), "Host(`a`)".into());
    older.labels.remove("traefik.docker.network");
    make_anew(lab, &older).await;
    assert_eq!(told(&look_anew(lab).await.drift), [""; 0]);
    older.env.insert("MORE".into(), "1".into());
    make_anew(lab, &older).await;
    assert_eq!(told(&look_anew(lab).await.drift), ["env.MORE \"1\""]);
    // What a newer one means by its labels and settings cannot be known.
    older
        .labels
        .insert(label::DRAFT_VERSION.into(), "999".into());
    make_anew(lab, &older).await;
    assert_eq!(told(&look_anew(lab).await.drift), [""; 0]);
}

pub async fn the_author_is_read_back<L: Lab>(lab: &L) {
    create::<L>(&fleet(lab), &spec(lab, "a", PLAIN)).await;
    assert_eq!(look_anew(lab).await.author, None);
    let fleet = fleet(lab).with_author("0123456789abcdef".to_owned());
    create::<L>(&fleet, &spec(lab, "b", PLAIN)).await;
    let observed = crate::fleet_lab::observe(&fleet).await;
    let b = &observed.instances["b"][0];
    assert_eq!(b.author.as_deref(), Some("0123456789abcdef"));
    assert_eq!(told(&b.drift), [""; 0]);
}
