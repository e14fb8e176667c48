use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::walks::Way;
use super::*;
use crate::words::config::IdRange;

/// A host of its own: what is below a directory is what is below `/`. Its directories belong to the user that runs the
/// tests, and instances are other users.
struct Host {
    root: TempDir,
    users: UserPolicy,
    rule: HostRule,
}

impl Host {
    fn new(directories: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.policy.host_paths.allow = vec!["/srv/*".to_owned()];
        let above = |id: u32| IdRange {
            first: id + 1,
            last: id + 10,
        };
        config.policy.users.uids = vec![above(crate::doors::host::user())];
        config.policy.users.gids = vec![above(rustix::process::getegid().as_raw())];
        let host = Self {
            users: config.policy.users.clone(),
            rule: HostRule::of(&config),
            root,
        };
        host.mode("", 0o755);
        for path in directories {
            std::fs::create_dir_all(host.at(path)).expect("a directory");
            let ends = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
            for path in ends.chain([*path]) {
                host.mode(path, 0o755);
            }
        }
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn mode(&self, path: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.at(path), mode).expect("a mode");
    }

    fn judge(&self, path: &str, beside: &[(&str, &str)]) -> Result<(), String> {
        let beside = beside.iter().map(|(name, path)| {
            let name = name.parse().expect("a name");
            (name, (*path).to_owned(), true)
        });
        let wanted = [(path.to_owned(), true)];
        let walks = Walks::new(self.root.path().to_owned(), way);
        let judged = judge(&walks, &wanted, beside.collect(), &self.rule, &self.users);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let judged = runtime.expect("a runtime").block_on(judged);
        judged.map_err(|refused| refused.refused.why)
    }
}

#[test]
fn a_directory_that_only_root_leads_to_is_mounted() {
    let host = Host::new(&["/srv/share/a"]);
    assert_eq!(host.judge("/srv/share/a", &[]), Ok(()));
}

#[test]
fn a_link_that_an_instance_made_is_not_followed() {
    let host = Host::new(&["/srv/share/a", "/etc"]);
    symlink("/etc", host.at("/srv/share/a/link")).expect("a link");
    for path in ["/srv/share/a/link", "/srv/share/a/link/x"] {
        assert_eq!(
            host.judge(path, &[]),
            Err("/srv/share/a/link is a symbolic link".to_owned())
        );
    }
    symlink("share", host.at("/srv/alias")).expect("a link");
    assert_eq!(
        host.judge("/srv/alias/a", &[]),
        Err("/srv/alias is a symbolic link".to_owned())
    );
}

#[test]
fn a_directory_on_the_way_that_others_write_to_is_refused() {
    let host = Host::new(&["/srv/share/a"]);
    host.mode("/srv/share", 0o1777);
    let why = host.judge("/srv/share/a", &[]).expect_err("refused");
    let expected = "everybody can replace what is in /srv/share";
    assert!(why.starts_with(expected), "{why}");
    host.mode("/srv/share", 0o755);
    host.mode("/srv/share/a", 0o777);
    assert_eq!(host.judge("/srv/share/a", &[]), Ok(()), "its own content");
}

#[test]
fn what_lies_within_a_neighbour_s_directory_is_refused() {
    let host = Host::new(&["/srv/share/a/b"]);
    assert_eq!(
        host.judge("/srv/share/a/b", &[("bob", "/srv/share/a")]),
        Err("/srv/share/a/b lies within /srv/share/a, to which bob writes".to_owned())
    );
    assert_eq!(
        host.judge("/srv/share", &[("bob", "/srv/share/a/b")]),
        Err("bob mounts /srv/share/a/b, which lies within /srv/share".to_owned())
    );
    for beside in ["/srv/share/a", "/srv/gone"] {
        assert_eq!(host.judge("/srv/share/a", &[("bob", beside)]), Ok(()));
    }
}

#[test]
fn what_policy_does_not_allow_any_more_is_refused_at_the_start() {
    let host = Host::new(&["/opt/x"]);
    assert_eq!(
        host.judge("/opt/x", &[]),
        Err("policy does not allow /opt/x".to_owned())
    );
}

#[test]
fn a_socket_and_what_is_not_there_are_refused() {
    let host = Host::new(&["/srv/x"]);
    let _listener = UnixListener::bind(host.at("/srv/x/s")).expect("a socket");
    let why = host.judge("/srv/x/s", &[]).expect_err("refused");
    let expected = "neither a directory nor a regular file";
    assert!(why.contains(expected), "{why}");
    assert_eq!(
        host.judge("/srv/none/y", &[]),
        Err("/srv/none does not exist on the host".to_owned())
    );
}

#[test]
fn an_engine_outside_of_this_container_sees_other_files() {
    let shares = |peer, theirs: Option<&'static str>, contained| {
        let own = Some(Path::new("mnt:[1]"));
        namespace(peer, &|_| theirs.map(PathBuf::from), own, &|| contained).is_ok()
    };
    assert!(shares(Some(7), Some("mnt:[1]"), true), "one namespace");
    assert!(!shares(Some(0), None, false), "outside of our processes");
    assert!(!shares(Some(7), Some("mnt:[2]"), true), "in a container");
    assert!(!shares(None, None, true), "in a container");
    assert!(shares(Some(7), None, false), "a service of systemd");
    assert!(shares(Some(7), Some("mnt:[2]"), false), "private mounts");
}

#[tokio::test]
async fn without_an_engine_on_this_host_no_path_is_checked() {
    let engine = "tcp://192.0.2.1:2375";
    let mounts = HostMounts::new(&Config::default(), Path::new("/x"), engine);
    let why = mounts.shares_files().await.expect_err("refused");
    assert!(why.contains("not on this host"), "{why}");
}

/// How many walks began below a file system that hangs.
static HUNG: AtomicUsize = AtomicUsize::new(0);

fn hangs_at_dead(root: &Path, path: &str) -> Way {
    if path.starts_with("/srv/dead") {
        HUNG.fetch_add(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    }
    way(root, path)
}

#[tokio::test]
async fn a_file_system_that_hangs_concerns_nobody_but_who_mounts_it() {
    let host = Host::new(&["/srv/share/a"]);
    let mut walks = Walks::new(host.root.path().to_owned(), hangs_at_dead);
    walks.limit = Duration::from_secs(1);
    let neighbour = "bob".parse::<InstanceName>().expect("a name");
    let judge = async |path: &str| {
        let beside = vec![(neighbour.clone(), "/srv/dead/b".to_owned(), true)];
        let wanted = [(path.to_owned(), true)];
        let judged = judge(&walks, &wanted, beside, &host.rule, &host.users).await;
        judged.map_err(|refused| refused.refused.why)
    };
    assert_eq!(judge("/srv/share/a").await, Ok(()));
    // It is known to hang: nobody waits for it again, and no second thread is lost to it.
    let began = Instant::now();
    assert_eq!(judge("/srv/share/a").await, Ok(()));
    assert!(began.elapsed() < walks.limit, "{:?}", began.elapsed());
    assert_eq!(HUNG.load(Ordering::SeqCst), 1);
    assert_eq!(
        judge("/srv/dead/b").await,
        Err("the host did not show it within 5 s".to_owned())
    );
    assert_eq!(HUNG.load(Ordering::SeqCst), 1);
    // What cannot be seen is still compared by its path.
    let other = (
        "eve".parse().expect("a name"),
        "/srv/dead/b/c".to_owned(),
        true,
    );
    let seen = neighbours(&walks, vec![other]).await;
    assert_eq!(
        (&seen[0].path[..], &seen[0].ids[..]),
        ("/srv/dead/b/c", &[(0, 0)][..])
    );
}
