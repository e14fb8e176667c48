//! What only a real engine can show.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instanced::decisions::checkup::facts::ProcessSeen;
use instanced::decisions::plan::{Action, Retired};
use instanced::doors::engine::containers::{
    ChangeContainers as _, DraftMount, MountSource, ReadContainers as _,
};
use instanced::doors::engine::docker::{Docker, DockerReader};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::engine::{Engine as _, ErrorClass, Secrets};
use instanced::doors::host::confinement;
use instanced::doors::host::mounts::HostMounts;
use instanced::words::config::{Config, IdRange};
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};
use instanced::words::quantity::Cpus;
use instanced::words::spec::Spec;

use crate::events::touched;
use crate::fleet_lab::{create, fleet, observe, secrets, spec, step};
use crate::lab::Lab as _;
use crate::real::{DockerLab, TINY_CHECKED, docker, in_lab, must};

#[tokio::test]
async fn limits_and_hardening_are_as_drafted() {
    in_lab(async |lab| {
        let mut draft = lab.draft("hard");
        draft.cap_add.push("NET_BIND_SERVICE".to_owned());
        let id = lab.engine().create(&draft).await.expect("created");
        let told = async |template: &str| lab.inspect(&id, template).await;
        let limits = told("{{ with .HostConfig }}{{ .Memory }} {{ .MemorySwap }} {{ .NanoCpus }} {{ .PidsLimit }} {{ .ShmSize }}{{ end }}");
        assert_eq!(limits.await, "67108864 67108864 500000000 64 16777216");
        let rights = told("{{ with .HostConfig }}{{ .CapDrop }} {{ .CapAdd }} {{ .SecurityOpt }} {{ .Privileged }} {{ .ReadonlyRootfs }} {{ .Tmpfs }} {{ .IpcMode }} [{{ .PidMode }}]{{ end }}");
        assert_eq!(
            rights.await,
            "[ALL] [NET_BIND_SERVICE] [no-new-privileges:true] false true map[/tmp:rw,noexec,nosuid,nodev,size=8388608,mode=1777] private []"
        );
        let rest = told("{{ .Config.Hostname }} {{ .Config.User }} {{ .Config.StopTimeout }} {{ .HostConfig.Init }} {{ .HostConfig.AutoRemove }} {{ .HostConfig.PublishAllPorts }} {{ .HostConfig.PortBindings }}");
        assert_eq!(rest.await, "hard 1000:1000 5 false false false map[]");
        let log = told("{{ .HostConfig.LogConfig.Type }} {{ .HostConfig.LogConfig.Config }}").await;
        assert_eq!(log, "json-file map[max-file:3 max-size:10m]");
        assert_eq!(told("{{ .Config.Env }}").await, "[SCREEN_WIDTH=800]");
    })
    .await;
}

#[tokio::test]
async fn it_says_what_it_is() {
    in_lab(async |lab| {
        let reader = lab.engine().reader();
        let about = reader.about().await.expect("it answers");
        assert!(
            !about.name.is_empty() && about.version.contains('.'),
            "{about:?}"
        );
        assert!(
            about.api.starts_with("1.") && !about.storage.is_empty(),
            "{about:?}"
        );
        assert_eq!(about.unlimited, Vec::<&str>::new(), "{about:?}");
        let ours = jiff::Timestamp::now();
        let theirs = about.time.expect("its time");
        assert!(
            ours.duration_since(theirs).as_secs().abs() < 60,
            "{about:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn traefik_is_known_by_its_image() {
    in_lab(async |lab| {
        let mut draft = lab.draft("edge");
        let image = format!("{}/traefik:9", draft.name);
        must(&["tag", &draft.image, &image]).await;
        draft.image.clone_from(&image);
        let id = lab.run(&draft).await;
        let proxies = lab.engine().reader().proxies().await;
        must(&["rmi", "--force", &image]).await;
        let told = lab.inspect(&id, "{{ .State.Pid }}").await;
        let proxies = proxies.expect("they are listed");
        let ours = proxies.iter().find(|proxy| proxy.name == draft.name);
        let ours = ours.expect("it runs");
        assert_eq!(ours.pid.to_string(), told);
        assert!(!ours.on_host && ours.addresses.len() == 1, "{ours:?}");
    })
    .await;
}

#[tokio::test]
async fn inside_nothing_is_left_to_take() {
    in_lab(async |lab| {
        let id = lab.run(&lab.draft("hard")).await;
        let status = lab.exec(&id, &["status"]).await;
        for line in [
            "Uid:\t1000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        assert!(
            lab.exec(&id, &["write", "/here"])
                .await
                .contains("Read-only file system")
        );
        assert_eq!(lab.exec(&id, &["write", "/tmp/here"]).await, "");
        assert_eq!(lab.exec(&id, &["stat", "/tmp"]).await, "1777 0 0");
    })
    .await;
}

#[tokio::test]
async fn what_ignores_term_is_killed_after_its_grace() {
    in_lab(async |lab| {
        let mut draft = lab.draft("deaf");
        draft
            .env
            .insert("TINY_IGNORE_TERM".to_owned(), "1".to_owned());
        draft.restart = Restart::Always;
        let id = lab.run(&draft).await;
        lab.serves(&id).await;
        let begun = Instant::now();
        lab.engine().stop(&id, 1).await.expect("stopped");
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(lab.look(&id).await.phase, Phase::Exited(137));
    })
    .await;
}

#[tokio::test]
async fn a_crash_loop_is_seen_and_can_be_ended() {
    in_lab(async |lab| {
        let mut draft = lab.draft("loop");
        draft
            .env
            .insert("TINY_EXIT_AFTER_MS".to_owned(), "1".to_owned());
        draft
            .env
            .insert("TINY_EXIT_CODE".to_owned(), "3".to_owned());
        draft.restart = Restart::Always;
        let id = lab.run(&draft).await;
        let mut phase = lab.look(&id).await.phase;
        for _ in 0..100 {
            if phase == Phase::Restarting {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            phase = lab.look(&id).await.phase;
        }
        assert_eq!(phase, Phase::Restarting);
        lab.engine().stop(&id, 1).await.expect("stopped");
        assert!(matches!(lab.look(&id).await.phase, Phase::Exited(_)));
        lab.engine().remove(&id).await.expect("removed");
    })
    .await;
}

#[tokio::test]
async fn health_checks_wake_only_by_their_verdict() {
    in_lab(async |lab| {
        let (engine, labels) = (lab.engine(), lab.labels());
        let mut draft = lab.draft("checked");
        TINY_CHECKED.clone_into(&mut draft.image);
        draft
            .env
            .insert("TINY_SLOW_START_MS".to_owned(), "1500".to_owned());
        let id = lab.run(&draft).await;
        assert_eq!(lab.look(&id).await.health, Some(Health::Starting));
        let mut cursor = engine.cursor().await.expect("a cursor");
        let verdict = touched(engine, &labels, &mut cursor);
        tokio::time::timeout(Duration::from_secs(20), verdict)
            .await
            .expect("a verdict")
            .expect("told");
        while lab.look(&id).await.health != Some(Health::Healthy) {
            let verdict = touched(engine, &labels, &mut cursor);
            tokio::time::timeout(Duration::from_secs(20), verdict)
                .await
                .expect("a verdict")
                .expect("told");
        }
        let several_checks = tokio::time::timeout(
            Duration::from_secs(4),
            touched(engine, &labels, &mut cursor),
        );
        assert!(
            several_checks.await.is_err(),
            "a check that changes nothing wakes nobody"
        );
    })
    .await;
}

#[tokio::test]
async fn a_network_that_is_left_by_hand_wakes() {
    in_lab(async |lab| {
        let (engine, labels) = (lab.engine(), lab.labels());
        let id = lab.run(&lab.draft("a")).await;
        let mut cursor = engine.cursor().await.expect("a cursor");
        let wait = async |cursor: &mut String| {
            tokio::time::timeout(Duration::from_secs(2), touched(engine, &labels, cursor)).await
        };
        while wait(&mut cursor).await.is_ok() {}
        must(&["network", "disconnect", lab.network(), &id]).await;
        wait(&mut cursor).await.expect("woken").expect("told");
        assert!(lab.look(&id).await.addresses.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_missing_host_directory_is_refused_with_help() {
    in_lab(async |lab: &DockerLab| {
        let mut draft = lab.draft("a");
        let source = MountSource::Host("/no/such/directory".to_owned());
        draft.mounts.push(DraftMount {
            source,
            target: "/x".to_owned(),
            read_only: true,
        });
        let error = lab.engine().create(&draft).await.expect_err("refused");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert!(
            error
                .help
                .expect("a way out")
                .contains("make the directory")
        );
    })
    .await;
}

#[tokio::test]
async fn more_processors_than_there_are_are_refused_with_help() {
    in_lab(async |lab: &DockerLab| {
        let mut draft = lab.draft("a");
        let id = lab.run(&draft).await;
        let mut limits = lab.look(&id).await.limits;
        limits.cpus = Some(Cpus(100_000_000_000_000));
        let update = lab.engine().set_limits(&id, &limits).await;
        draft.name = lab.name("b");
        draft.nano_cpus = 100_000_000_000_000;
        let create = lab.engine().create(&draft).await.map(drop);
        for refused in [update, create] {
            let error = refused.expect_err("refused");
            assert_eq!(error.class, ErrorClass::Permanent, "{error}");
            let help = error.help.expect("a way out");
            assert!(help.contains("resources.cpus"), "{help}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_of_which_nobody_says_what_is_run_is_refused_with_help() {
    in_lab(async |lab: &DockerLab| {
        let mut draft = lab.draft("a");
        // The tiny image has an entry point alone.
        draft.entrypoint = Some(Vec::new());
        let error = lab.engine().create(&draft).await.expect_err("refused");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        let help = error.help.expect("a way out");
        assert!(help.contains("entrypoint"), "{help}");
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_registry_is_worth_another_try() {
    in_lab(async |lab| {
        let error = lab
            .engine()
            .pull("127.0.0.1:1/none:1", &|_| {})
            .await
            .expect_err("refused");
        assert_eq!(error.class, ErrorClass::Retry, "{error}");
        assert!(error.help.expect("a way out").contains("cannot be reached"));
    })
    .await;
}

#[tokio::test]
async fn no_registry_is_asked_for_an_image_of_this_host() {
    in_lab(async |lab| {
        // A registry that is asked is refused, which is worth another try.
        let error = lab
            .engine()
            .pull("localhost/instanced/none:1", &|_| {})
            .await;
        let error = error.expect_err("it is not there");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert!(
            error
                .help
                .expect("a remedy")
                .contains("docker build --tag localhost/instanced/none:1")
        );
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_away() {
    let error = Docker::connect(Some("unix:///run/no-such-engine.sock"))
        .err()
        .expect("nobody there");
    assert_eq!(error.class, ErrorClass::Away);
    // Another address is tried at the first call.
    let reader = DockerReader::connect(Some("tcp://127.0.0.1:1")).expect("an address");
    let error = reader.list(&[]).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Away, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A directory that only root leads to: `/tmp` is everybody's, so what lies in it is mounted by nobody.
fn share() -> tempfile::TempDir {
    let here = env!("CARGO_TARGET_TMPDIR");
    tempfile::tempdir_in(here).expect("a directory")
}

fn checked(lab: &DockerLab) -> Fleet<Docker> {
    let mut config = Config::default();
    config.policy.host_paths.allow = vec!["*".to_owned()];
    // Whoever runs the tests is no instance.
    let ids = || {
        vec![IdRange {
            first: 1234,
            last: 1234,
        }]
    };
    (config.policy.users.uids, config.policy.users.gids) = (ids(), ids());
    let state = Path::new("/nonexistent/state");
    let engine = lab.engine().reader().address().to_owned();
    fleet(lab).with_mounts(HostMounts::new(&config, state, &engine))
}

async fn refused(fleet: &Fleet<Docker>, spec: &Spec) -> String {
    let action = Action::Create {
        generation: 1,
        spec: Arc::new(spec.clone()),
        discard: Vec::new(),
    };
    let done = fleet.perform(&step(spec, action), &secrets(spec)).await;
    let error = done.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert!(error.help.is_some(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_link_that_an_instance_made_is_followed_by_nobody() {
    in_lab(async |lab: &DockerLab| {
        let (share, fleet) = (share(), checked(lab));
        let root = share.path().canonicalize().expect("a path");
        let root = root.to_str().expect("text");
        std::fs::set_permissions(root, Permissions::from_mode(0o755)).expect("a mode");
        std::fs::create_dir(format!("{root}/a")).expect("a directory");
        let mount = |path: &str| {
            format!("template: mcp-http\nsecurity: {{ user: \"1234\" }}\nvolumes: [{{ host: {path}, target: /x }}]\n")
        };
        let alice = spec(lab, "alice", &mount(&format!("{root}/a")));
        create::<DockerLab>(&fleet, &alice).await;
        // What alice could have made there.
        symlink("/etc", format!("{root}/a/link")).expect("a link");
        let bob = spec(lab, "bob", &mount(&format!("{root}/a/link")));
        let why = refused(&fleet, &bob).await;
        assert!(why.contains("/a/link is a symbolic link"), "{why}");
        std::fs::create_dir(format!("{root}/a/b")).expect("a directory");
        let carol = spec(lab, "carol", &mount(&format!("{root}/a/b")));
        let why = refused(&fleet, &carol).await;
        assert!(why.contains("to which alice writes"), "{why}");
        let dave = spec(lab, "dave", &mount(root));
        let why = refused(&fleet, &dave).await;
        assert!(why.contains("alice mounts"), "{why}");
        // Alice's own path leads elsewhere when she is started again.
        let started = only_of(&fleet, "alice").await;
        std::fs::rename(format!("{root}/a"), format!("{root}/old")).expect("moved");
        symlink("/etc", format!("{root}/a")).expect("a link");
        let target = Retired {
            id: started,
            name: "alice-g1".to_owned(),
            number: 1,
        };
        let restart = Action::Restart { target };
        let error = fleet.perform(&step(&alice, restart), &Secrets::new()).await;
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
    })
    .await;
}

async fn only_of(fleet: &Fleet<Docker>, name: &str) -> String {
    let observed = observe(fleet).await;
    observed.instances[name][0].id.clone()
}

#[tokio::test]
async fn the_engine_s_own_files_are_mounted_by_nobody() {
    in_lab(async |lab: &DockerLab| {
        let root = String::from_utf8(
            docker(&["info", "--format", "{{ .DockerRootDir }}"])
                .await
                .stdout,
        );
        let root = root.expect("text").trim().to_owned();
        for path in [format!("{root}/volumes"), root] {
            let mut draft = lab.draft("a");
            draft.mounts.push(DraftMount {
                source: MountSource::Host(path),
                target: "/x".to_owned(),
                read_only: true,
            });
            let error = lab.engine().create(&draft).await.expect_err("refused");
            assert!(error.detail.contains("the engine's own files"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_kernel_says_what_confines_an_instance() {
    in_lab(async |lab: &DockerLab| {
        let mut draft = lab.draft("a");
        draft.cap_add.push("NET_BIND_SERVICE".to_owned());
        let id = lab.run(&draft).await;
        let pid = lab
            .engine()
            .reader()
            .process_of(&id)
            .await
            .expect("inspected");
        let seen = ProcessSeen {
            instance: "a".parse().expect("a name"),
            cap_add: draft.cap_add.clone(),
            profile: None,
            seccomp: None,
            no_new_privs: None,
            capabilities: None,
        };
        let seen = confinement(pid.expect("it runs"), seen);
        // CAP_NET_BIND_SERVICE is number 10.
        let found = (seen.seccomp, seen.no_new_privs, seen.capabilities);
        assert_eq!(found, (Some(2), Some(true), Some(1 << 10)));
    })
    .await;
}
