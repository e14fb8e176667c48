//! The manifests of one commit. No working tree is looked at, and nothing is written.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::super::{FLEET_MISNAMED, FLEET_NAMES, beside, is_manifest};
use super::{At, GitError, no_program, text};
use crate::doors::files::{FileProblem, decode};
use crate::words::commit;
use crate::words::desired::{Content, Snapshot, SourceFile, Unreadable};
use crate::words::document::LENGTH_MAX;

/// The mode of a file that is a symbolic link.
const LINK: &str = "120000";

/// Something of a tree that may be a file.
#[derive(Debug)]
struct Entry {
    mode: String,
    kind: String,
    id: String,
    /// In bytes; of files alone.
    length: Option<usize>,
    /// From the top of the repository.
    path: String,
}

/// Where the manifests of a source stand in its repository.
#[derive(Debug, Clone)]
pub struct Repository {
    at: At,
    /// From the top to the directory that holds the one of manifests: empty, or ending in `/`.
    prefix: String,
    /// The name of the directory of manifests.
    name: String,
    /// The directory of manifests, as a person would name it.
    shown_as: PathBuf,
    /// What the names of a mirror's own references begin with.
    refs: Option<String>,
}

impl Repository {
    /// The repository that holds the source directory `dir`, which need not be there now.
    ///
    /// # Errors
    /// When there is no git, or no repository.
    pub fn of(dir: &Path, shown_as: &str) -> Result<Self, GitError> {
        let path = beside(dir);
        let at = At::Tree(path.clone());
        let prefix = match at.run(&["rev-parse", "--show-prefix"])? {
            Ok(prefix) => text(&prefix),
            Err(why) => return Err(GitError::NoRepository { path, why }),
        };
        let name = dir.file_name().unwrap_or_default();
        Ok(Self {
            at,
            prefix: prefix.trim_end_matches('\n').to_owned(),
            name: name.to_string_lossy().into_owned(),
            shown_as: shown_as.into(),
            refs: None,
        })
    }

    /// A mirror whose manifests stand in `path`.
    pub(super) fn mirror(at: At, path: &str, refs: &str) -> Self {
        let (prefix, name) = match path.rsplit_once('/') {
            Some((before, name)) => (format!("{before}/"), name),
            None => (String::new(), path),
        };
        Self {
            at,
            prefix,
            name: name.to_owned(),
            shown_as: path.into(),
            refs: Some(refs.to_owned()),
        }
    }

    /// Whether a file beside the source directory is part of a revision.
    ///
    /// # Errors
    /// When git fails.
    pub fn has(&self, file: &Path, commit: &str) -> Result<bool, GitError> {
        let At::Tree(here) = &self.at else {
            return Ok(false);
        };
        let same = beside(file).canonicalize().ok() == here.canonicalize().ok();
        let Some(name) = file.file_name().filter(|_| same) else {
            return Ok(false);
        };
        let path = format!("{}{}", self.prefix, name.to_string_lossy());
        Ok(!self.list(commit, &[path])?.is_empty())
    }

    /// The id of the commit that a revision names. In a mirror, `HEAD` is what was fetched last, and `applied` what the
    /// whole fleet was made.
    ///
    /// # Errors
    /// When it names none.
    pub fn commit(&self, revision: &str) -> Result<String, GitError> {
        let own = match (&self.refs, revision) {
            (Some(refs), "HEAD") => Some(format!("{refs}head")),
            (Some(refs), "applied") => Some(format!("{refs}applied")),
            _ => None,
        };
        let found = self.at.commit_id(own.as_deref().unwrap_or(revision))?;
        found.ok_or_else(|| GitError::NoRevision(revision.to_owned()))
    }

    /// The manifests of a commit, and the `fleet.yaml` beside them. A commit that has neither is an empty snapshot.
    ///
    /// # Errors
    /// When git fails, both names of `fleet.yaml` are there, or the directory of manifests is none.
    pub fn read(&self, commit: &str) -> Result<Snapshot, GitError> {
        let below = |name: &str| format!("{}{name}", self.prefix);
        let dir = below(&format!("{}/", self.name));
        let mut paths = vec![dir.clone()];
        paths.extend(FLEET_NAMES.map(below));
        paths.extend(FLEET_MISNAMED.map(below));
        let mut entries = self.list(commit, &paths)?;
        entries.retain(|entry| {
            let name = entry.path.strip_prefix(&dir);
            let counts = name.is_none_or(|name| !name.contains('/') && is_manifest(name.as_ref()));
            // A directory is no manifest, whatever it is called; a submodule stands where a file should.
            counts && entry.kind != "tree"
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
        let revision = format!("git:{}", commit::short(commit));
        if fleets.len() > 1 {
            let is_named = |file: &SourceFile| {
                FLEET_NAMES
                    .iter()
                    .any(|name| Path::new(&file.path).ends_with(name))
            };
            if fleets.iter().any(is_named) {
                fleets.retain(is_named);
            } else {
                fleets.truncate(1);
            }
        }
        if fleets.len() > 1 {
            return Err(GitError::TwoFleets {
                path: shown_beside,
                revision,
            });
        }
        if manifests.is_empty() {
            self.refuse_what_is_no_directory(commit)?;
        }
        Ok(Snapshot {
            revision,
            commit: Some(self.at.facts(commit)?),
            fleet: fleets.pop(),
            manifests,
        })
    }

    /// Whether a commit has the directory of manifests at all.
    ///
    /// # Errors
    /// When git fails.
    pub fn has_directory(&self, commit: &str) -> Result<bool, GitError> {
        Ok(self.directory(commit)?.is_some())
    }

    fn directory(&self, commit: &str) -> Result<Option<Entry>, GitError> {
        let path = format!("{}{}", self.prefix, self.name);
        Ok(self.list(commit, &[path])?.pop())
    }

    /// What git knows no files of looks empty, and is not.
    fn refuse_what_is_no_directory(&self, commit: &str) -> Result<(), GitError> {
        let Some(found) = self.directory(commit)? else {
            return Ok(());
        };
        let what = match (found.kind.as_str(), found.mode.as_str()) {
            ("tree", _) => return Ok(()),
            ("commit", _) => "a submodule",
            (_, LINK) => "a symbolic link",
            _ => "a file",
        };
        Err(GitError::NoDirectory {
            path: found.path,
            what,
            revision: format!("git:{}", commit::short(commit)),
        })
    }

    fn list(&self, commit: &str, paths: &[String]) -> Result<Vec<Entry>, GitError> {
        let mut arguments = vec!["ls-tree", "-z", "-l", "--full-tree", commit, "--"];
        arguments.extend(paths.iter().map(String::as_str));
        let listed = self.at.run(&arguments)?;
        let listed = listed.map_err(|why| GitError::Failed {
            what: "ls-tree",
            why,
        })?;
        let entry = |line: &[u8]| {
            let line = text(line);
            let (facts, path) = line.split_once('\t')?;
            let mut facts = facts.split_ascii_whitespace();
            let (mode, kind, id) = (facts.next()?, facts.next()?, facts.next()?);
            Some(Entry {
                mode: mode.to_owned(),
                kind: kind.to_owned(),
                id: id.to_owned(),
                length: facts.next()?.parse().ok(),
                path: path.to_owned(),
            })
        };
        Ok(listed.split(|byte| *byte == 0).filter_map(entry).collect())
    }

    /// What these files hold, in their order.
    fn contents(&self, entries: &[Entry]) -> Result<Vec<Content>, GitError> {
        let wanted: Vec<&Entry> = entries.iter().filter(|e| unusable(e).is_none()).collect();
        let answer = self.objects(&wanted)?;
        let mut rest = answer.as_slice();
        let mut contents = Vec::new();
        for entry in entries {
            if let Some(why) = unusable(entry) {
                contents.push(Content::Unreadable(why));
                continue;
            }
            let (blob, behind) = blob(rest).ok_or_else(|| GitError::Failed {
                what: "cat-file",
                why: format!("no object {}", entry.id),
            })?;
            contents.push(match decode(blob.to_vec()) {
                Ok(text) => Content::Text(text),
                Err(problem) => Content::Unreadable(problem.unreadable()),
            });
            rest = behind;
        }
        Ok(contents)
    }

    fn objects(&self, wanted: &[&Entry]) -> Result<Vec<u8>, GitError> {
        let failed = |error: std::io::Error| GitError::Failed {
            what: "cat-file",
            why: error.to_string(),
        };
        let ids: String = wanted
            .iter()
            .flat_map(|entry| [entry.id.as_str(), "\n"])
            .collect();
        let mut child = self
            .at
            .git(&["cat-file", "--batch"])
            .stdin(Stdio::piped())
            // Nobody reads it here, and a full pipe would stop git.
            .stderr(Stdio::null())
            .spawn()
            .map_err(no_program)?;
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        // Beside the reading: both pipes are shorter than a fleet.
        let asking = std::thread::spawn(move || stdin.write_all(ids.as_bytes()));
        let mut answer = Vec::new();
        let mut stdout = child.stdout.take().expect("a pipe was asked for");
        let read = stdout.read_to_end(&mut answer);
        let ended = child.wait();
        asking.join().ok().transpose().map_err(failed)?;
        read.and(ended).map_err(failed)?;
        Ok(answer)
    }
}

/// Why something is not to be read as a file.
fn unusable(entry: &Entry) -> Option<Unreadable> {
    let in_its_place = |why: &str| Unreadable {
        why: why.to_owned(),
        help: Some("put the file itself there".to_owned()),
        at: (1, 1),
    };
    if entry.kind != "blob" {
        let why = "a submodule, whose files are not part of this repository";
        return Some(in_its_place(why));
    }
    if entry.mode == LINK {
        return Some(in_its_place(
            "a symbolic link, which is not followed in a revision",
        ));
    }
    let too_long = entry.length.is_some_and(|length| length > LENGTH_MAX);
    too_long.then(|| FileProblem::TooLong.unreadable())
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
