use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::words::config::{Config, TlsConfig};
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::resolve::resolve;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 7));

fn spec_with(config: &Config, name: &str, manifest: &str) -> Spec {
    let file = SourceFile::of_text(&format!("instances.d/{name}.yaml"), manifest);
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: vec![file],
        ..Snapshot::default()
    };
    let mut desired = resolve(&snapshot, config).expect("no fleet.yaml");
    Arc::unwrap_or_clone(desired.specs.remove(name).expect("a sound manifest"))
}

fn by_files(dir: &Path) -> Config {
    let mut config = Config::default();
    config.traefik.provider = ProviderConfig::File(dir.to_owned());
    config
}

struct Lab {
    dir: TempDir,
    config: Config,
    edge: Edge,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = by_files(dir.path());
        let edge = Edge::new(&config.manager, &config.traefik);
        Self { dir, config, edge }
    }

    fn spec(&self, name: &str) -> Spec {
        spec_with(&self.config, name, "{}")
    }

    fn files(&self) -> &RouteFiles {
        self.edge.files().expect("configured")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .expect("a directory")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    }
}

fn name(name: &str) -> InstanceName {
    name.parse().expect("a name")
}

#[test]
fn a_file_says_what_the_labels_would() {
    let mut config = by_files(Path::new("/dynamic"));
    config.traefik.middlewares = vec!["security-headers@file".to_owned()];
    config.traefik.tls = TlsConfig::Resolver {
        cert_resolver: "letsencrypt".to_owned(),
    };
    let spec = spec_with(&config, "alice", "{}");
    let text = dynamic::text(&config.manager, &spec, 7, ADDRESS);
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_guard_there_is_no_empty_part() {
    let config = by_files(Path::new("/dynamic"));
    let open = "template: mcp-http\nimage: x:1\nendpoints: { mcp: { auth: none } }";
    let text = dynamic::text(&config.manager, &spec_with(&config, "a", open), 1, ADDRESS);
    assert!(!text.contains("middlewares"), "{text}");
    let six: IpAddr = "fd00::7".parse().expect("an address");
    assert_eq!(server(six, 8080), "http://[fd00::7]:8080");
}

#[test]
fn an_unchanged_file_is_not_written_again_and_a_changed_one_is_replaced_whole() {
    let lab = Lab::new();
    let (files, alice, spec) = (lab.files(), name("alice"), lab.spec("alice"));
    let inode = || fs::metadata(files.path(&alice)).expect("a file").ino();
    assert!(
        files
            .write(&alice, &files.draft(&spec, 1, ADDRESS))
            .expect("written")
    );
    let before = inode();
    assert!(
        !files
            .write(&alice, &files.draft(&spec, 1, ADDRESS))
            .expect("as it is")
    );
    assert_eq!(inode(), before);
    assert!(
        files
            .write(&alice, &files.draft(&spec, 2, ADDRESS))
            .expect("written")
    );
    assert_ne!(inode(), before, "another file took its name");
    assert_eq!(
        lab.names(),
        ["instanced-default-alice.yaml"],
        "nothing unfinished"
    );
    let mode = fs::metadata(files.path(&alice))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644, "Traefik is another user");
    let read = files.read(&alice).expect("readable").expect("there");
    assert_eq!((read.generation, read.address), (2, ADDRESS));
}

#[test]
fn two_managers_share_a_directory() {
    let lab = Lab::new();
    // Both would call their file `instanced-default-a-b.yaml`.
    let other = RouteFiles::new(
        lab.dir.path().to_owned(),
        "default-a".parse().expect("a manager"),
    );
    let theirs = other.draft(&lab.spec("b"), 1, ADDRESS);
    assert!(other.write(&name("b"), &theirs).expect("written"));
    assert_eq!(lab.files().all().expect("listed").len(), 0, "not ours");
    let ours = lab.files().draft(&lab.spec("a-b"), 1, ADDRESS);
    let error = lab.files().write(&name("a-b"), &ours).expect_err("refused");
    assert!(error.to_string().contains("not ours"), "{error}");
    assert!(error.help().contains("manager"), "{}", error.help());
    assert!(lab.files().remove(&name("a-b")).is_err());
    assert_eq!(other.read(&name("b")).expect("readable"), Some(theirs));
}

#[test]
fn what_is_not_ours_is_not_among_our_files() {
    let lab = Lab::new();
    let (files, alice) = (lab.files(), name("alice"));
    for (file, text) in [
        ("instanced-default-bob.yaml", "http: {}\n"),
        ("instanced-default-UPPER.yaml", "# Written by instanced\n"),
        ("tls.yaml", "tls: {}\n"),
    ] {
        fs::write(lab.dir.path().join(file), text).expect("a file");
    }
    fs::create_dir(lab.dir.path().join("instanced-default-dir.yaml")).expect("a directory");
    files
        .write(&alice, &files.draft(&lab.spec("alice"), 1, ADDRESS))
        .expect("written");
    let all = files.all().expect("listed");
    assert_eq!(all.keys().collect::<Vec<_>>(), [&alice]);
}

#[test]
fn a_directory_that_is_not_there_has_a_way_out() {
    let lab = Lab::new();
    let files = RouteFiles::new(
        lab.dir.path().join("nowhere"),
        "default".parse().expect("a name"),
    );
    let draft = files.draft(&lab.spec("alice"), 1, ADDRESS);
    for error in [
        files.all().expect_err("no directory"),
        files
            .write(&name("alice"), &draft)
            .expect_err("no directory"),
    ] {
        assert!(error.to_string().contains("nowhere"), "{error}");
        assert!(
            error.help().contains("traefik.provider.file"),
            "{}",
            error.help()
        );
    }
    assert_eq!(files.read(&name("alice")).expect("none"), None);
}

#[tokio::test(start_paused = true)]
async fn routes_leave_only_the_generations_that_go() {
    let lab = Lab::new();
    let (spec, alice) = (lab.spec("alice"), name("alice"));
    let before = lab.edge.lead(&spec, 2, ADDRESS).await.expect("written");
    assert_eq!(before, None);
    lab.edge.leave(&alice, &[1]).await.expect("nothing to do");
    assert_eq!(lab.names().len(), 1);
    let began = Instant::now();
    lab.edge.leave(&alice, &[1, 2]).await.expect("removed");
    assert_eq!(lab.names().len(), 0);
    assert!(
        began.elapsed() >= Patience::default().file_seen,
        "until Traefik has seen it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_fails_leads_back() {
    let lab = Lab::new();
    let (spec, alice) = (lab.spec("alice"), name("alice"));
    lab.edge.lead(&spec, 1, ADDRESS).await.expect("written");
    let old = lab.files().read(&alice).expect("readable");
    let before = lab.edge.lead(&spec, 2, ADDRESS).await.expect("written");
    assert_eq!(before, old);
    lab.edge.lead_back(&alice, before).await.expect("written");
    assert_eq!(lab.files().read(&alice).expect("readable"), old);
}

#[tokio::test(start_paused = true)]
async fn without_an_api_time_tells() {
    let labels = Config::default();
    let edge = Edge::new(&labels.manager, &labels.traefik);
    let began = Instant::now();
    let spec = spec_with(&labels, "alice", "{}");
    edge.until_served(&spec, 1, ADDRESS).await.expect("waited");
    assert!(began.elapsed() >= Patience::default().labels_seen);
    assert!(
        edge.lead(&spec, 1, ADDRESS)
            .await
            .expect("nothing to do")
            .is_none()
    );
}

/// What the API says: a status and a body by path.
type Says = Arc<Mutex<Vec<(String, u16, String)>>>;

/// Something that answers like Traefik's API, one request a connection.
async fn api(says: Says) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let all = says.lock().expect("no panic").clone();
            let found = all.iter().find(|(says, ..)| says == path);
            let (status, body) =
                found.map_or((404, r#"{"message":"not found"}"#), |(_, s, b)| (*s, b));
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn edge_with(url: &str) -> (Edge, Spec) {
    let mut config = Config::default();
    config.traefik.api = Some(url.to_owned());
    let one = "template: mcp-http\nimage: x:1";
    let spec = spec_with(&config, "alice", one);
    let mut edge = Edge::new(&config.manager, &config.traefik);
    edge.patience = Patience {
        labels_seen: Duration::from_millis(10),
        served_within: Duration::from_secs(3),
        ..Patience::default()
    };
    (edge, spec)
}

const ROUTER: &str = "/api/http/routers/instanced-default-mcp-alice-g7@docker";
const SERVICE: &str = "/api/http/services/instanced-default-mcp-alice-g7@docker";

fn enabled() -> [(String, u16, String); 2] {
    let service = format!(
        r#"{{"loadBalancer":{{"servers":[{{"url":"{}"}}]}}}}"#,
        server(ADDRESS, 8080)
    );
    [
        (ROUTER.to_owned(), 200, r#"{"status":"enabled"}"#.to_owned()),
        (SERVICE.to_owned(), 200, service),
    ]
}

#[tokio::test]
async fn with_an_api_it_is_served_when_router_and_server_are_there() {
    let says = Says::default();
    let (edge, spec) = edge_with(&api(Arc::clone(&says)).await);
    let waits = tokio::spawn(async move { edge.until_served(&spec, 7, ADDRESS).await });
    let [router, service] = enabled();
    for step in [
        vec![],
        vec![(
            ROUTER.to_owned(),
            200,
            r#"{"status":"disabled"}"#.to_owned(),
        )],
        vec![router.clone()],
        vec![
            router.clone(),
            (
                SERVICE.to_owned(),
                200,
                r#"{"loadBalancer":{"servers":[{"url":"http://172.18.0.6:8080"}]}}"#.to_owned(),
            ),
        ],
    ] {
        *says.lock().expect("no panic") = step;
        sleep(Duration::from_millis(200)).await;
        assert!(!waits.is_finished());
    }
    *says.lock().expect("no panic") = vec![router, service];
    waits.await.expect("no panic").expect("served");
}

#[tokio::test]
async fn an_api_that_does_not_tell_is_not_waited_for_in_vain() {
    let says = Says::default();
    // The port is somebody else's: a 404 that is no JSON.
    *says.lock().expect("no panic") =
        vec![(ROUTER.to_owned(), 404, "404 page not found".to_owned())];
    let (edge, spec) = edge_with(&api(says).await);
    edge.until_served(&spec, 7, ADDRESS)
        .await
        .expect("waited as without one");
}

#[tokio::test]
async fn an_api_that_never_shows_it_is_a_failure_with_a_way_out() {
    let (edge, spec) = edge_with(&api(Says::default()).await);
    let error = edge
        .until_served(&spec, 7, ADDRESS)
        .await
        .expect_err("never");
    assert!(matches!(error, EdgeError::NotServed { .. }), "{error}");
    assert!(error.help().contains("middleware"), "{}", error.help());
}

#[tokio::test]
async fn an_api_tells_our_routers_and_what_is_wrong_with_them() {
    let listed = r#"[
        {"name":"instanced-default-mcp-alice-g7@docker","provider":"docker","status":"enabled"},
        {"name":"instanced-default-vnc-alice-g7@file","provider":"file","status":"disabled","error":["no entry point"]},
        {"name":"other@docker","provider":"docker","status":"enabled"}
    ]"#;
    let path = "/api/http/routers?search=instanced-default-&per_page=10000";
    let says = vec![
        (path.to_owned(), 200, listed.to_owned()),
        (
            "/api/version".to_owned(),
            200,
            r#"{"Version":"3.7.15"}"#.to_owned(),
        ),
    ];
    let url = api(Arc::new(Mutex::new(says))).await;
    let (edge, _) = edge_with(&url);
    let seen = edge
        .api()
        .expect("configured")
        .seen("instanced-default-")
        .await;
    let seen = seen.expect("it tells");
    assert_eq!(seen.version.as_deref(), Some("3.7.15"));
    let told: Vec<_> = seen
        .routers
        .iter()
        .map(|it| (it.name.as_str(), it.enabled, it.errors.len()))
        .collect();
    assert_eq!(
        told,
        [
            ("instanced-default-mcp-alice-g7", true, 0),
            ("instanced-default-vnc-alice-g7", false, 1)
        ]
    );
}

#[test]
fn a_url_of_the_api_is_plain_http_without_a_user() {
    assert!(Api::parse("http://127.0.0.1:8080").is_ok());
    assert!(Api::parse("http://traefik.internal/base/").is_ok());
    for wrong in [
        "https://x:1",
        "127.0.0.1:8080",
        "ftp://x",
        "http://a:b@x",
        "http://x/?y",
        "",
    ] {
        assert!(Api::parse(wrong).is_err(), "{wrong}");
    }
}
