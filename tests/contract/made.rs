//! Whatever a manifest says and whatever its image says of itself: what was created from both is what is observed.

use std::collections::BTreeMap;
use std::process::Stdio;

use instanced::doors::engine::containers::ReadContainers as _;
use instanced::words::observed::Limits;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::block_in_place;

use crate::fleet_lab::{create, fleet, look_anew, spec, told};
use crate::lab::Lab as _;
use crate::real::{DockerLab, in_lab, must};

/// What images say of themselves beside the tiny one, each in its own way.
const IMAGES: [(&str, &str); 7] = [
    (
        "env",
        "ENV LANG=C PATH=/opt/bin:/bin EMPTY= TEAM=\"a b=c\"\nUSER 7:7\nEXPOSE 1234/udp 9999",
    ),
    (
        "command",
        "CMD [\"cat\", \"/etc/hostname\"]\nWORKDIR /srv/work",
    ),
    (
        "entry",
        "ENTRYPOINT [\"/tiny\", \"status\"]\nSTOPSIGNAL SIGINT",
    ),
    (
        "volumes",
        "VOLUME /data /cache/ /tmp\nLABEL team=image maintainer=\"some body\"",
    ),
    (
        "health",
        "HEALTHCHECK --interval=7s --retries=5 CMD [\"/tiny\", \"ping\"]\nSTOPSIGNAL 2",
    ),
    (
        "all",
        "ENV LANG=C HOME=/nowhere\nENTRYPOINT [\"/tiny\"]\nCMD [\"status\"]\nVOLUME /data\nUSER nobody\n\
         WORKDIR /srv/\nLABEL team=image traefik.enable=true\nEXPOSE 8080\nSTOPSIGNAL SIGQUIT\n\
         HEALTHCHECK --start-period=1m --timeout=2s CMD /tiny ping",
    ),
    (
        "odd",
        "SHELL [\"/tiny\", \"-c\"]\nONBUILD ENV BUILT=1\nHEALTHCHECK NONE\nENV A=b=c D= e=1\nCMD []\nSTOPSIGNAL 37\n\
         VOLUME [\"/with space\"]\nWORKDIR /a/../b//c/\nLABEL empty= with.dots=\"ünï\"",
    ),
];

fn reference(kind: &str) -> String {
    format!("instanced/tiny-{kind}:1")
}

/// Once for all: two builds of one image at the same time would leave one without a name.
static BUILT: OnceCell<()> = OnceCell::const_new();

async fn build_images(lab: &DockerLab) {
    BUILT.get_or_init(|| build_all(lab.image())).await;
}

async fn build_all(base: &str) {
    for (kind, says) in IMAGES {
        let mut build = Command::new("docker")
            .args(["build", "--quiet", "--tag", &reference(kind), "-"])
            .env("DOCKER_BUILDKIT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the docker program");
        let mut stdin = build.stdin.take().expect("a pipe");
        let text = format!("FROM {base}\n{says}\n");
        stdin.write_all(text.as_bytes()).await.expect("written");
        drop(stdin);
        let status = build.wait().await.expect("built");
        assert!(status.success(), "{kind}");
    }
}

fn images() -> impl Strategy<Value = String> {
    let all: Vec<String> = IMAGES.iter().map(|(kind, _)| reference(kind)).collect();
    prop_oneof![
        1 => Just("instanced/tiny:1".to_owned()),
        6 => proptest::sample::select(all),
    ]
}

/// Texts as people write them, and worse.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{0,6}",
        "[ -~]{0,12}",
        Just("ünï © 名".to_owned()),
        Just("a\nb\tc".to_owned()),
        Just("${HOME} $$ `x` \"q\" 'q' \\".to_owned()),
    ]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(texts(), 0..3)
}

fn env() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys = prop_oneof![
        "[A-Z][A-Z0-9_]{0,5}",
        proptest::sample::select(vec![
            "LANG",
            "PATH",
            "HOME",
            "HOSTNAME",
            "TERM",
            "container",
            "EMPTY"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::btree_map(keys, texts(), 0..5)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys = prop_oneof![
        "[a-z]{1,4}(\\.[a-z-]{1,4}[a-z])?",
        Just("team".to_owned()),
        Just("maintainer".to_owned()),
    ];
    prop::collection::btree_map(keys, texts(), 0..4)
}

fn volumes() -> impl Strategy<Value = Vec<Value>> {
    let places = vec![
        "/data",
        "/data/",
        "/cache",
        "/home/mcp//profile",
        "/srv",
        "/a/b/./c",
    ];
    let volume = (
        proptest::sample::select(places),
        any::<bool>(),
        any::<bool>(),
    );
    prop::collection::vec(volume, 0..3).prop_map(|volumes| {
        let mut by_place = BTreeMap::new();
        for (place, host, read_only) in volumes {
            let source = if host {
                ("host", "/usr/share/")
            } else {
                ("name", "it")
            };
            let key = place.trim_end_matches('/').to_owned();
            by_place.insert(
                key,
                json!({ source.0: source.1, "target": place, "read_only": read_only }),
            );
        }
        by_place.into_values().collect()
    })
}

fn security() -> impl Strategy<Value = Value> {
    let tmpfs = proptest::sample::subsequence(vec!["/tmp", "/run/x", "/var/x"], 0..3);
    let capabilities =
        proptest::sample::subsequence(vec!["chown", "CAP_NET_BIND_SERVICE", "SYS_NICE"], 0..3);
    (any::<bool>(), tmpfs, capabilities, 1..4_u32).prop_map(|(read_only, tmpfs, cap_add, uid)| {
        let tmpfs: BTreeMap<_, _> = tmpfs.into_iter().map(|path| (path, "2MiB")).collect();
        let user = format!("{}:{uid}", uid * 500);
        json!({ "read_only": read_only, "tmpfs": tmpfs, "cap_add": cap_add, "user": user })
    })
}

fn resources() -> impl Strategy<Value = Value> {
    (32..96_u32, 1..150_u32, 16..99_u32, 1..40_u32).prop_map(|(memory, cpus, pids, shm)| {
        json!({
            "memory": format!("{memory}MiB"),
            "cpus": f64::from(cpus) / 100.0,
            "pids": pids,
            "shm": format!("{shm}MiB"),
        })
    })
}

/// A manifest as JSON, which is YAML too.
fn manifests() -> impl Strategy<Value = Value> {
    let program = (
        prop::option::weighted(0.3, Just(vec!["/tiny".to_owned(), "status".to_owned()])),
        prop::option::of(words()),
    );
    let restart = proptest::sample::select(vec!["always", "unless-stopped", "on-failure", "no"]);
    let screen = prop::option::of(Just(json!({ "width": 800, "height": 600, "depth": 16 })));
    let kind = (images(), restart, screen, any::<bool>());
    let parts = (
        kind,
        program,
        env(),
        labels(),
        volumes(),
        security(),
        resources(),
    );
    parts.prop_map(|(kind, program, env, labels, volumes, security, resources)| {
        let (image, restart, screen, vnc) = kind;
        let mut manifest = json!({
            "template": "mcp-http", "image": image, "env": env, "labels": labels, "restart": restart,
            "volumes": volumes, "security": security, "resources": resources,
        });
        let mut say = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                manifest[key] = value;
            }
        };
        say("entrypoint", program.0.map(Value::from));
        say("command", program.1.map(Value::from));
        say("screen", screen);
        say("vnc", vnc.then(|| json!({})));
        manifest
    })
}

async fn made_as_it_says(lab: &DockerLab, manifest: &Value) -> Result<(), TestCaseError> {
    let spec = spec(lab, "it", &manifest.to_string());
    create::<DockerLab>(&fleet(lab), &spec).await;
    let made = look_anew(lab).await;
    let name = &made.name;
    must(&["rm", "--force", "--volumes", name]).await;
    proptest::prop_assert_eq!(told(&made.drift), Vec::<String>::new());
    proptest::prop_assert_eq!(made.limits, Limits::of(&spec));
    Ok(())
}

/// As many cases as `PROPTEST_CASES` says, else few: each is a container.
#[tokio::test(flavor = "multi_thread")]
async fn create_then_observe_finds_no_drift() {
    in_lab(async |lab| {
        build_images(lab).await;
        let config = Config {
            cases: if std::env::var("PROPTEST_CASES").is_ok() {
                Config::default().cases
            } else {
                24
            },
            max_shrink_iters: 200,
            failure_persistence: None,
            ..Config::default()
        };
        let outcome = TestRunner::new(config).run(&manifests(), |manifest| {
            block_in_place(|| Handle::current().block_on(made_as_it_says(lab, &manifest)))
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    })
    .await;
}

/// The ways to have no entry point: an empty list, and one empty word, in the manifest or in the image.
#[tokio::test]
async fn no_entry_point_is_taken_for_drift() {
    in_lab(async |lab| {
        build_images(lab).await;
        for kind in ["command", "entry", "env"] {
            for entrypoint in [json!([]), json!([""]), json!(["/tiny"])] {
                let command = if entrypoint == json!(["/tiny"]) {
                    json!(["status"])
                } else {
                    json!(["/tiny"])
                };
                let manifest = json!({ "template": "mcp-http", "image": reference(kind),
                    "entrypoint": entrypoint, "command": command });
                made_as_it_says(lab, &manifest).await.expect(kind);
            }
        }
        let blank = lab.name("blank").replace("-blank", ":blank");
        let base = lab.run(&lab.draft("base")).await;
        let change = [
            "--change",
            "ENTRYPOINT [\"\"]",
            "--change",
            "CMD [\"/tiny\"]",
        ];
        must(&[&["commit"], &change[..], &[&base, &blank]].concat()).await;
        let manifest = json!({ "template": "mcp-http", "image": blank });
        let made = made_as_it_says(lab, &manifest).await;
        must(&["rmi", "--force", &blank]).await;
        made.expect("made as its image says");
    })
    .await;
}

/// Each image at least once, whatever the cases above were.
#[tokio::test]
async fn no_image_of_its_own_words_is_taken_for_drift() {
    in_lab(async |lab| {
        build_images(lab).await;
        for (kind, _) in IMAGES {
            let manifest = json!({ "template": "mcp-http", "image": reference(kind), "security": { "tmpfs": { "/tmp": "1MiB" } } });
            made_as_it_says(lab, &manifest).await.expect(kind);
        }
        assert_eq!(lab.engine().list(&[("instanced.manager".into(), lab.manager().to_string())]).await.expect("listed"), []);
    })
    .await;
}
