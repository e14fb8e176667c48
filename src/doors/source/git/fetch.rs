//! Asking a repository for news.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::address::Address;
use super::command::{Git, SAID_MAX};
use super::{GitError, Mirror, commit_id, is_there, no_program, said};
use crate::words::config::Follow;

/// How long a fetch may take.
const FETCH_MAX: Duration = Duration::from_secs(600);
/// How long git has to end once it is told to.
const GRACE: Duration = Duration::from_secs(2);

impl Mirror {
    /// Asks the repository for what is followed. To be dropped at any time: git is stopped then.
    ///
    /// # Errors
    /// When it cannot be asked, or has nothing of that name. What was known stays.
    pub async fn fetch(&self) -> Result<(), GitError> {
        self.make()?;
        self.sweep();
        let head = self.reference("head");
        let (what, found) = match self.source.follow() {
            Follow::Default => ("HEAD".to_owned(), "HEAD".to_owned()),
            Follow::Branch(name) => (format!("branch {name}"), format!("refs/heads/{name}")),
            Follow::Tag(name) => (format!("tag {name}"), format!("refs/tags/{name}")),
            Follow::Commit(id) => return self.fetch_commit(id).await,
        };
        match self.ask(&[&format!("+{found}:{head}")]).await? {
            Ok(()) if commit_id(&self.git(), &head)?.is_some() => Ok(()),
            Ok(()) => Err(self.no_ref(what, false)),
            Err(why) if is_no_ref(&why) => {
                let is_empty = self.source.follow() == Follow::Default || self.is_empty().await;
                Err(self.no_ref(what, is_empty))
            }
            Err(why) => Err(self.failed(&why)),
        }
    }

    /// One commit never changes: it is asked for until it is here.
    async fn fetch_commit(&self, id: &str) -> Result<(), GitError> {
        if commit_id(&self.git(), id)?.is_none() {
            // By its id alone, where the server takes that; else with everything that it could be part of.
            let alone = self.ask(&[id]).await?;
            if alone.is_err() {
                let all = self.reference("all/");
                let heads = format!("+refs/heads/*:{all}heads/*");
                let tags = format!("+refs/tags/*:{all}tags/*");
                let asked = self.ask(&[&heads, &tags]).await?;
                asked.map_err(|why| self.failed(&why))?;
            }
        }
        match commit_id(&self.git(), id)? {
            Some(id) => self.set("head", &id),
            None => Err(self.no_ref(format!("commit {id}"), false)),
        }
    }

    /// Makes the mirror where there is none, or none that can be used.
    fn make(&self) -> Result<(), GitError> {
        if is_there(&self.dir) && self.git().run(&["rev-parse", "--git-dir"])?.is_ok() {
            return Ok(());
        }
        let failed = |error: std::io::Error| GitError::Failed {
            what: "init",
            why: error.to_string(),
        };
        if is_there(&self.dir) {
            tracing::warn!(mirror = %self.dir.display(), "the mirror is broken, and is made anew");
            fs::remove_dir_all(&self.dir).map_err(failed)?;
        }
        let dir = self.dir.display().to_string();
        let arguments = ["init", "--quiet", "--bare", "--template=", &dir];
        let made = self.git().run(&arguments)?;
        // It only writes: of a full disk it says that it failed to write its configuration.
        made.map(drop).map_err(|why| GitError::Disk {
            dir: self.dir.clone(),
            why,
        })
    }

    /// Takes away what a git left behind that was killed: nobody else works here.
    fn sweep(&self) {
        let is_lock = |name: &str| Path::new(name).extension().is_some_and(|end| end == "lock");
        let mut folders = vec![self.dir.clone(), self.dir.join("objects/info")];
        folders.extend(below(&self.dir.join("refs")));
        for folder in folders {
            remove(&folder, |name| {
                is_lock(name) || name.starts_with(".git_vtag_tmp")
            });
        }
        remove(&self.dir.join("objects/pack"), |name| {
            name.starts_with("tmp_") || is_lock(name)
        });
    }

    async fn ask(&self, wanted: &[&str]) -> Result<Result<(), String>, GitError> {
        let address = Address::of(&self.source);
        let mut arguments = vec![
            // What it does in the background would go on behind our back.
            "-c",
            "gc.autoDetach=false",
            "-c",
            "maintenance.autoDetach=false",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--force",
            "--end-of-options",
            &address.url,
        ];
        arguments.extend(wanted);
        talk(&self.git(), &arguments, &address).await
    }

    /// Whether the repository holds nothing at all, as far as it can be asked.
    async fn is_empty(&self) -> bool {
        let address = Address::of(&self.source);
        let asked = [
            "ls-remote",
            "--exit-code",
            "--quiet",
            "--end-of-options",
            &address.url,
        ];
        // Git's own word for "nothing matches" is an exit code of 2, without a complaint.
        let answered = talk(&self.git(), &asked, &address).await;
        matches!(answered, Ok(Err(why)) if why.is_empty())
    }

    /// Whether the repository answers. Nothing is fetched, and nothing is kept.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn reach(&self) -> Result<(), GitError> {
        let git = if self.dir.is_dir() {
            self.git()
        } else {
            Git::nowhere()
        };
        let address = Address::of(&self.source);
        let asked = [
            "ls-remote",
            "--quiet",
            "--end-of-options",
            &address.url,
            "HEAD",
        ];
        let answered = talk(&git, &asked, &address).await?;
        answered.map_err(|why| self.failed(&why))
    }

    fn failed(&self, why: &str) -> GitError {
        GitError::of_disk(why, &self.dir).unwrap_or_else(|| GitError::Fetch {
            url: self.source.shown_url(),
            why: why.to_owned(),
        })
    }

    fn no_ref(&self, what: String, is_empty: bool) -> GitError {
        let url = self.source.shown_url();
        GitError::NoRef {
            what,
            url,
            is_empty,
        }
    }
}

/// Runs a git that talks to the repository. It asks nobody, and waits for no one forever.
async fn talk(
    git: &Git,
    arguments: &[&str],
    address: &Address,
) -> Result<Result<(), String>, GitError> {
    let mut command = git.talking(arguments, address);
    command.stdout(Stdio::null());
    if let Some(ssh) = quiet_ssh()? {
        command.env("GIT_SSH_COMMAND", ssh);
    }
    let mut command = Command::from(command);
    // With its helpers in a group of their own, all of them can be stopped.
    let mut child = command.process_group(0).spawn().map_err(no_program)?;
    let group = Group::of(&child);
    let mut stderr = child.stderr.take().expect("a pipe was asked for");
    let mut complaint = Vec::new();
    let talking = async {
        let read = (&mut stderr)
            .take(SAID_MAX)
            .read_to_end(&mut complaint)
            .await;
        // Nobody reads more, and a full pipe would stop git.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        read.map(drop)?;
        child.wait().await
    };
    let ended = tokio::time::timeout(FETCH_MAX, talking).await;
    let Ok(ended) = ended else {
        group.end();
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        return Ok(Err(format!("no end within {} s", FETCH_MAX.as_secs())));
    };
    let status = ended.map_err(no_program)?;
    group.forget();
    Ok(if status.success() {
        Ok(())
    } else {
        Err(address.without_secrets(&said(&complaint)))
    })
}

/// An ssh that asks no questions, unless somebody has chosen one.
fn quiet_ssh() -> Result<Option<&'static str>, GitError> {
    let chosen = ["GIT_SSH", "GIT_SSH_COMMAND"];
    if chosen.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(None);
    }
    let configured = Git::user_setting(&["--get", "core.sshCommand"])?;
    let quiet = "ssh -o BatchMode=yes -o ConnectTimeout=30";
    Ok(configured.is_none().then_some(quiet))
}

/// A git and the helpers that it started.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    /// It has ended by itself.
    fn forget(mut self) {
        self.0 = None;
    }

    fn end(self) {
        drop(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It removes its locks and half-written packs; what it leaves is swept before the next fetch.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
    }
}

fn is_no_ref(why: &str) -> bool {
    why.contains("couldn't find remote ref") || why.contains("could not find remote ref")
}

fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir() && !path.is_symlink()),
        );
        at += 1;
    }
    folders
}

fn remove(folder: &Path, is_left: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_left) && fs::remove_file(entry.path()).is_ok()
        {
            tracing::info!(file = %entry.path().display(), "removed what a killed git had left");
        }
    }
}
