//! Manifests as a revision of a git repository has them, read from its objects by the `git` program. No working tree is
//! looked at, and nothing is written.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FLEET_NAMES, beside, is_manifest};
use crate::doors::files::{FileProblem, decode};
use crate::words::desired::{Content, Snapshot, SourceFile, Unreadable};
use crate::words::document::LENGTH_MAX;

/// How much of a commit's id names a revision.
const REVISION_DIGITS: usize = 12;
/// The mode of a file that is a symbolic link.
const LINK: &str = "120000";

/// Why a revision could not be read. Says all there is to say: it has no source.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program is not there, or could not be started.
    #[error("cannot run git: {0}; install it, and have it on PATH")]
    Program(io::Error),
    /// Nothing here is in a repository.
    #[error("{} is in no git repository: {why}", path.display())]
    NoRepository {
        /// Where was looked.
        path: PathBuf,
        /// What git says.
        why: String,
    },
    /// No commit has this name.
    #[error(
        "there is no revision `{0}` here; fetch it first (in CI, a whole clone: fetch-depth: 0)"
    )]
    NoRevision(String),
    /// Two files claim to be the fleet's.
    #[error("both fleet.yaml and fleet.yml stand in {} at {revision}; keep one of them", path.display())]
    TwoFleets {
        /// The directory they stand in.
        path: PathBuf,
        /// The commit.
        revision: String,
    },
    /// Git failed at something that it should do.
    #[error("git {what} failed: {why}")]
    Failed {
        /// What it was asked for.
        what: &'static str,
        /// What it says.
        why: String,
    },
}

/// A file of a revision.
struct Entry {
    mode: String,
    id: String,
    /// From the top of the repository.
    path: String,
}

/// Where the manifests of a source stand in its repository.
pub struct Repository {
    /// A directory in it.
    here: PathBuf,
    /// From the top to that directory: empty, or ending in `/`.
    prefix: String,
    /// The name of the directory of manifests.
    name: String,
    /// The directory of manifests, as a person would name it.
    shown_as: PathBuf,
}

impl Repository {
    /// The repository that holds the source directory `dir`, which need not be there now.
    ///
    /// # Errors
    /// When there is no git, or no repository.
    pub fn of(dir: &Path, shown_as: &str) -> Result<Self, GitError> {
        let here = beside(dir);
        let asked = run(&here, &["rev-parse", "--show-prefix"])?;
        if let Err(why) = asked {
            return Err(GitError::NoRepository { path: here, why });
        }
        let prefix = asked.map(|bytes| text(&bytes)).unwrap_or_default();
        let name = dir.file_name().unwrap_or_default();
        Ok(Self {
            prefix: prefix.trim_end_matches('\n').to_owned(),
            name: name.to_string_lossy().into_owned(),
            shown_as: shown_as.into(),
            here,
        })
    }

    /// Whether a file beside the source directory is part of a revision.
    ///
    /// # Errors
    /// When git fails.
    pub fn has(&self, file: &Path, commit: &str) -> Result<bool, GitError> {
        let same = beside(file).canonicalize().ok() == self.here.canonicalize().ok();
        let Some(name) = file.file_name().filter(|_| same) else {
            return Ok(false);
        };
        let path = format!("{}{}", self.prefix, name.to_string_lossy());
        Ok(!self.list(commit, &[path])?.is_empty())
    }

    /// The id of the commit that a revision names.
    ///
    /// # Errors
    /// When it names none.
    pub fn commit(&self, revision: &str) -> Result<String, GitError> {
        let wanted = format!("{revision}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ];
        match run(&self.here, &arguments)? {
            Ok(id) => Ok(text(&id).trim_end().to_owned()),
            Err(_) => Err(GitError::NoRevision(revision.to_owned())),
        }
    }

    /// The manifests of a commit, and the `fleet.yaml` beside them. A commit that has neither is an empty snapshot.
    ///
    /// # Errors
    /// When git fails, or both names of `fleet.yaml` are there.
    pub fn read(&self, commit: &str) -> Result<Snapshot, GitError> {
        let below = |name: &str| format!("{}{name}", self.prefix);
        let dir = below(&format!("{}/", self.name));
        let mut paths = vec![dir.clone()];
        paths.extend(FLEET_NAMES.map(below));
        let mut entries = self.list(commit, &paths)?;
        entries.retain(|entry| {
            let name = entry.path.strip_prefix(&dir);
            name.is_none_or(|name| !name.contains('/') && is_manifest(name.as_ref()))
        });
        let contents = self.contents(&entries)?;
        let (mut fleets, mut manifests) = (Vec::new(), Vec::new());
        let shown_beside = beside(&self.shown_as);
        for (entry, content) in entries.iter().zip(contents) {
            let path = Path::new(&entry.path);
            let stem = path.file_stem().unwrap_or_default();
            let is_manifest = entry.path.starts_with(&dir);
            let shown_in = if is_manifest {
                &self.shown_as
            } else {
                &shown_beside
            };
            let shown = shown_in.join(path.file_name().unwrap_or_default());
            let file = SourceFile {
                path: shown
                    .strip_prefix(".")
                    .unwrap_or(&shown)
                    .display()
                    .to_string(),
                stem: stem.to_string_lossy().into_owned(),
                content,
            };
            if is_manifest {
                &mut manifests
            } else {
                &mut fleets
            }
            .push(file);
        }
        if fleets.len() > 1 {
            return Err(GitError::TwoFleets {
                path: shown_beside,
                revision: commit.to_owned(),
            });
        }
        Ok(Snapshot {
            revision: format!("git:{commit:.REVISION_DIGITS$}"),
            fleet: fleets.pop(),
            manifests,
        })
    }

    /// Files of a commit, without submodules.
    fn list(&self, commit: &str, paths: &[String]) -> Result<Vec<Entry>, GitError> {
        let mut arguments = vec!["ls-tree", "-z", "--full-tree", commit, "--"];
        arguments.extend(paths.iter().map(String::as_str));
        let listed = run(&self.here, &arguments)?;
        let listed = listed.map_err(|why| GitError::Failed {
            what: "ls-tree",
            why,
        })?;
        let entry = |line: &[u8]| {
            let line = text(line);
            let (facts, path) = line.split_once('\t')?;
            let mut facts = facts.split(' ');
            let (mode, kind, id) = (facts.next()?, facts.next()?, facts.next()?);
            (kind == "blob").then(|| Entry {
                mode: mode.to_owned(),
                id: id.to_owned(),
                path: path.to_owned(),
            })
        };
        Ok(listed.split(|byte| *byte == 0).filter_map(entry).collect())
    }

    /// What these files hold, in their order.
    fn contents(&self, entries: &[Entry]) -> Result<Vec<Content>, GitError> {
        let failed = |why: String| GitError::Failed {
            what: "cat-file",
            why,
        };
        let ids: String = entries
            .iter()
            .flat_map(|entry| {
                [
                    entry.id.as_str(),
                    "
",
                ]
            })
            .collect();
        let mut child = git(&self.here, &["cat-file", "--batch"])
            .stdin(Stdio::piped())
            // Nobody reads it here, and a full pipe would stop git.
            .stderr(Stdio::null())
            .spawn()
            .map_err(GitError::Program)?;
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        // Beside the reading: both pipes are shorter than a fleet.
        let asking = std::thread::spawn(move || stdin.write_all(ids.as_bytes()));
        let mut answer = Vec::new();
        let mut stdout = child.stdout.take().expect("a pipe was asked for");
        let read = stdout.read_to_end(&mut answer);
        let ended = child.wait();
        asking
            .join()
            .ok()
            .transpose()
            .map_err(|error| failed(error.to_string()))?;
        read.and(ended).map_err(|error| failed(error.to_string()))?;
        let mut rest = answer.as_slice();
        let mut contents = Vec::new();
        for entry in entries {
            let (blob, behind) =
                blob(rest).ok_or_else(|| failed(format!("no object {}", entry.id)))?;
            contents.push(content(&entry.mode, blob));
            rest = behind;
        }
        Ok(contents)
    }
}

/// The first object of an answer, and what is behind it: `<id> <kind> <length>`, a line; the object; a line's end.
fn blob(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length: usize = head.rsplit(' ').next()?.parse().ok()?;
    let from = end + 1;
    let blob = answer.get(from..from + length)?;
    Some((blob, answer.get(from + length + 1..)?))
}

fn content(mode: &str, blob: &[u8]) -> Content {
    if mode == LINK {
        return Content::Unreadable(Unreadable {
            why: "a symbolic link, which is not followed in a revision".to_owned(),
            help: Some("put the file itself there".to_owned()),
            at: (1, 1),
        });
    }
    if blob.len() > LENGTH_MAX {
        return Content::Unreadable(FileProblem::TooLong.unreadable());
    }
    match decode(blob.to_vec()) {
        Ok(text) => Content::Text(text),
        Err(problem) => Content::Unreadable(problem.unreadable()),
    }
}

fn git(here: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(here)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs git to its end: what it wrote, or what it said against it.
fn run(here: &Path, arguments: &[&str]) -> Result<Result<Vec<u8>, String>, GitError> {
    let output = git(here, arguments).output().map_err(GitError::Program)?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let why = text(&output.stderr);
    let why = why.trim().trim_start_matches("fatal: ").to_owned();
    Ok(Err(if why.is_empty() {
        output.status.to_string()
    } else {
        why
    }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
