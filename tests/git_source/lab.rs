//! A repository, a working tree that pushes to it, and a daemon's rounds that follow it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::events::Events;
use instanced::daemon::follow::Follower;
use instanced::daemon::revisions::{self, Compared};
use instanced::daemon::round::{self, Ask};
use instanced::daemon::site::Site;
use instanced::decisions::report::Report;
use instanced::decisions::source::SourceStatus;
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::source::git::{GitError, Mirror};
use instanced::doors::store::Store;
use instanced::words::config::{Config, GitSource};
use instanced::words::desired::Desired;
use instanced::words::observed::Phase;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::fake_containers::FakeContainers;

pub struct Lab {
    dir: TempDir,
    engine: FakeContainers,
    site: Site,
    follower: Option<Follower>,
}

impl Lab {
    /// An empty repository, and nobody who follows it yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut git = GitSource::new(dir.path().join("upstream.git").display().to_string());
        git.branch = Some("main".to_owned());
        let mut config = Config::default();
        config.source.git = Some(git);
        let site = Site {
            config,
            config_path: None,
            state: dir.path().join("state"),
            warnings: Vec::new(),
        };
        let lab = Self {
            engine: FakeContainers::new(&["localhost/instanced/browser:1"], "mcp_instances"),
            follower: None,
            site,
            dir,
        };
        lab.make_upstream();
        std::fs::create_dir(lab.path("work")).expect("a directory");
        lab.git(&["init", "--quiet", "--initial-branch", "main"]);
        lab.git(&["remote", "add", "upstream", "../upstream.git"]);
        lab
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn upstream(&self) -> PathBuf {
        self.path("upstream.git")
    }

    pub fn make_upstream(&self) {
        let upstream = self.upstream();
        let init = ["init", "--quiet", "--bare", "--initial-branch", "main"];
        let made = Command::new("git").args(init).arg(&upstream).status();
        assert!(made.expect("git is there").success());
        let may_go = ["config", "receive.denyDeleteCurrent", "ignore"];
        let set = Command::new("git")
            .arg("-C")
            .arg(upstream)
            .args(may_go)
            .status();
        assert!(set.expect("git is there").success());
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    }

    fn try_git(&self, arguments: &[&str]) -> Output {
        Command::new("git")
            .current_dir(self.path("work"))
            .args([
                "-c",
                "user.name=Ada Lovelace",
                "-c",
                "user.email=ada@example.com",
            ])
            .args(["-c", "core.hooksPath=/dev/null", "-c", "tag.gpgsign=false"])
            .args([
                "-c",
                "commit.gpgsign=false",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(arguments)
            .output()
            .expect("git is there")
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path("work").join(relative);
        std::fs::create_dir_all(path.parent().expect("below the tree")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    pub fn remove(&self, relative: &str) {
        std::fs::remove_file(self.path("work").join(relative)).expect("a file");
    }

    /// Makes an entry of the index that names a commit of another repository.
    pub fn submodule(&self, path: &str) {
        let id = self.git(&["rev-parse", "HEAD"]);
        let entry = format!("160000,{id},{path}");
        self.git(&["update-index", "--add", "--cacheinfo", &entry]);
    }

    /// Makes an entry of the index that is a link to a file of the host's.
    pub fn link_to_outside(&self, path: &str) {
        std::fs::write(self.path("target"), "/etc/passwd").expect("a file");
        let id = self.git(&["hash-object", "-w", "../target"]);
        let entry = format!("120000,{id},{path}");
        self.git(&["update-index", "--add", "--cacheinfo", &entry]);
    }

    /// Commits everything and pushes it. Returns the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.commit_index(message)
    }

    /// Commits what is in the index and pushes it.
    pub fn commit_index(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.push_by_force();
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn push_by_force(&self) {
        self.git(&["push", "--quiet", "--force", "--tags", "upstream", "main"]);
    }

    /// A first commit with these instances, and a round that makes them.
    pub async fn begin(&mut self, names: &[&str]) -> String {
        for name in names {
            self.write(&format!("instances.d/{name}.yaml"), "{}\n");
        }
        let id = self.commit("the beginning");
        self.sync().await.expect("a fetch");
        let report = self.round().await;
        assert!(!report.has_failures(), "{report:#?}");
        id
    }

    /// Follows something else.
    pub fn follow(&mut self, change: impl FnOnce(&mut GitSource)) {
        change(self.site.config.source.git.as_mut().expect("a repository"));
        self.restart();
    }

    /// Another daemon in the same state directory.
    pub fn restart(&mut self) {
        self.follower = None;
    }

    pub fn mirror(&self) -> Mirror {
        self.site.mirror().expect("the source is a repository")
    }

    fn follower(&mut self) -> &mut Follower {
        let mirror = self.mirror();
        self.follower.get_or_insert_with(|| {
            Follower::new(mirror, Events::new(CancellationToken::new())).expect("git is there")
        })
    }

    /// Has the repository asked.
    pub async fn sync(&mut self) -> Result<(), GitError> {
        std::fs::create_dir_all(&self.site.state).expect("a directory");
        let syncer = self.follower().syncer();
        syncer.sync().await
    }

    /// Waits until something else is fetched, by itself.
    pub async fn news(&mut self) {
        self.follower().changed().await;
    }

    pub fn status(&mut self) -> SourceStatus {
        self.follower().syncer().status().expect("git works")
    }

    /// What `instanced diff` says on the host.
    pub fn diff(&self, base: &str, head: &str) -> Compared {
        revisions::compare(&self.site, base, head).expect("two commits of the mirror")
    }

    pub fn desired(&mut self) -> Result<Desired, Box<Report>> {
        let read = self.follower().read();
        let snapshot = read.map_err(|error| round::source_failed(&error.into()))?;
        round::desired(&snapshot, &self.site)
    }

    pub async fn round(&mut self) -> Report {
        self.round_for(Ask::default()).await
    }

    /// One round of what was fetched last, as the daemon runs one. No absence has to last, so what would be removed
    /// goes at once.
    pub async fn round_for(&mut self, ask: Ask) -> Report {
        std::fs::create_dir_all(&self.site.state).expect("a directory");
        self.follower().ready().await;
        let desired = match self.desired() {
            Ok(desired) => desired,
            Err(report) => return *report,
        };
        let store = Store::open(&self.site.state, Duration::from_secs(5)).expect("the store");
        let (manager, network) = (&self.site.config.manager, &self.site.config.network);
        let fleet = Fleet::new(self.engine.clone(), manager.clone(), network.clone());
        let mut converger = Converger::new(
            self.site.config.reconcile.clone(),
            fleet.with_author(store.author().expect("the store")),
            Arc::new(store),
            Clock::system(),
            || 0.5,
        );
        let report = match converger.look(desired, ask, false).await {
            Ok(view) => {
                let shutdown = CancellationToken::new();
                converger.perform(&view, false, &shutdown).await
            }
            Err(report) => *report,
        };
        self.follower().note(&report);
        report
    }

    /// Names of the containers that run, without what all of them begin with.
    pub fn running(&self) -> Vec<String> {
        let all = self.engine.all().into_iter();
        let mut names: Vec<_> = all
            .filter(|container| container.phase == Phase::Running)
            .map(|container| container.name.replace("instanced-default-", ""))
            .collect();
        names.sort();
        names
    }

    /// A file of this name below a directory.
    pub fn find(&self, below: &str, name: &str) -> Option<PathBuf> {
        fn look(dir: &Path, name: &str) -> Option<PathBuf> {
            let entries = std::fs::read_dir(dir).ok()?.flatten();
            let mut paths = entries.map(|entry| entry.path());
            paths.find_map(|path| {
                if path.is_dir() {
                    look(&path, name)
                } else {
                    path.file_name().is_some_and(|n| n == name).then_some(path)
                }
            })
        }
        look(&self.path(below), name)
    }
}
