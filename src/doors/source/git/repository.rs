//! The manifests of one commit. No working tree is looked at, and nothing is written.

use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use super::super::{FLEET_MISNAMED, FLEET_NAMES, Size, beside, is_manifest};
use super::command::Git;
use super::place::Place;
use super::reviewed::{ATTRIBUTES, conversion, refuse_links, refused};
use super::{GitError, commit_id, facts, text};
use crate::doors::files::{FileProblem, decode};
use crate::words::commit;
use crate::words::desired::{Content, Snapshot, SourceFile, Unreadable};
use crate::words::document::LENGTH_MAX;

/// The mode of a file that is a symbolic link.
const LINK: &str = "120000";
/// How long a line of a listing may be, in bytes: no file system has longer paths.
const LINE_MAX: u64 = 8 << 10;
/// How long the line before an object may be, in bytes.
const HEAD_MAX: u64 = 512;

/// Something of a tree that may be a file.
#[derive(Debug)]
pub(super) struct Entry {
    mode: String,
    kind: String,
    id: String,
    /// In bytes; of files alone.
    length: Option<usize>,
    /// From the top of the repository.
    pub(super) path: String,
}

impl Entry {
    pub(super) fn is_link(&self) -> bool {
        self.kind == "blob" && self.mode == LINK
    }

    pub(super) fn is_submodule(&self) -> bool {
        self.kind == "commit"
    }

    /// One line of a listing.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = text(line);
        let (facts, path) = line.split_once('\t')?;
        let mut facts = facts.split_ascii_whitespace();
        let (mode, kind, id) = (facts.next()?, facts.next()?, facts.next()?);
        Some(Self {
            mode: mode.to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            length: facts.next()?.parse().ok(),
            path: path.to_owned(),
        })
    }
}

/// Where the manifests of a source stand in its repository.
#[derive(Debug, Clone)]
pub struct Repository {
    git: Git,
    /// The directory that holds the one of manifests, where there is a working tree.
    beside: Option<PathBuf>,
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
    /// When there is no git, no repository, or one that is not to be trusted; when a link in a working tree leads to it.
    pub fn of(dir: &Path, shown_as: &str) -> Result<Self, GitError> {
        refuse_links(dir)?;
        let path = beside(dir);
        let repository = Self::around(dir, shown_as)?;
        repository.ok_or(GitError::NoRepository { path })
    }

    /// The same; none where there is no repository.
    pub(super) fn around(dir: &Path, shown_as: &str) -> Result<Option<Self>, GitError> {
        let Ok(start) = beside(dir).canonicalize() else {
            return Ok(None);
        };
        let Some(place) = Place::around(&start)? else {
            return Ok(None);
        };
        let below = start.strip_prefix(&place.top).unwrap_or(Path::new(""));
        let mut prefix = below.to_string_lossy().into_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let name = dir.file_name().unwrap_or_default();
        Ok(Some(Self {
            git: place.open()?,
            beside: Some(start),
            prefix,
            name: name.to_string_lossy().into_owned(),
            shown_as: shown_as.into(),
            refs: None,
        }))
    }

    /// A mirror whose manifests stand in `path`.
    pub(super) fn mirror(git: Git, path: &str, refs: &str) -> Self {
        let (prefix, name) = match path.rsplit_once('/') {
            Some((before, name)) => (format!("{before}/"), name),
            None => (String::new(), path),
        };
        Self {
            git,
            beside: None,
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
        let same = self.beside.is_some() && beside(file).canonicalize().ok() == self.beside;
        let Some(name) = file.file_name().filter(|_| same) else {
            return Ok(false);
        };
        let path = format!("{}{}", self.prefix, name.to_string_lossy());
        Ok(!self.list(commit, &[path], |_| true)?.is_empty())
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
        let found = commit_id(&self.git, own.as_deref().unwrap_or(revision))?;
        found.ok_or_else(|| GitError::NoRevision(revision.to_owned()))
    }

    /// The manifests of a commit, and the `fleet.yaml` beside them. A commit that has neither is an empty snapshot.
    ///
    /// # Errors
    /// When git fails, both names of `fleet.yaml` are there, or the directory of manifests is none.
    pub fn read(&self, commit: &str) -> Result<Snapshot, GitError> {
        let dir = self.directory_path();
        let entries = self.entries(commit)?;
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
            commit: Some(self.facts(commit)?),
            commit_issue: None,
            fleet: fleets.pop(),
            manifests,
        })
    }

    pub(super) fn git(&self) -> &Git {
        &self.git
    }

    /// What the paths of manifests begin with, from the top of the repository.
    pub(super) fn directory_path(&self) -> String {
        self.below(&format!("{}/", self.name))
    }

    fn below(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What people know a commit by.
    pub(super) fn facts(&self, commit: &str) -> Result<commit::Commit, GitError> {
        facts(&self.git, commit)
    }

    /// What a commit has in place of manifests and `fleet.yaml`.
    pub(super) fn entries(&self, commit: &str) -> Result<Vec<Entry>, GitError> {
        let dir = self.directory_path();
        let mut paths = vec![dir.clone()];
        paths.extend(FLEET_NAMES.map(|name| self.below(name)));
        paths.extend(FLEET_MISNAMED.map(|name| self.below(name)));
        self.list(commit, &paths, |entry| {
            let name = entry.path.strip_prefix(&dir);
            let counts = name.is_none_or(|name| !name.contains('/') && is_manifest(name.as_ref()));
            // A directory is no manifest, whatever it is called; a submodule stands where a file should.
            counts && entry.kind != "tree"
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
        Ok(self.list(commit, &[path], |_| true)?.pop())
    }

    /// What git knows no files of looks empty, and is not. The same goes for each directory above it.
    fn refuse_what_is_no_directory(&self, commit: &str) -> Result<(), GitError> {
        let path = format!("{}{}", self.prefix, self.name);
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        for path in above.chain([path.as_str()]) {
            let Some(found) = self.list(commit, &[path.to_owned()], |_| true)?.pop() else {
                return Ok(());
            };
            let what = match (found.kind.as_str(), found.mode.as_str()) {
                ("tree", _) => continue,
                ("commit", _) => "a submodule",
                (_, LINK) => "a symbolic link",
                _ => "a file",
            };
            return Err(GitError::NoDirectory {
                path: found.path,
                what,
                revision: format!("git:{}", commit::short(commit)),
            });
        }
        Ok(())
    }

    /// Refuses a commit whose attributes have git write other bytes into a checkout than were committed.
    ///
    /// # Errors
    /// The file, the line and the attribute; or git's failure.
    pub fn refuse_conversions(&self, commit: &str) -> Result<(), GitError> {
        let dir = self.directory_path();
        let above = dir.match_indices('/').map(|(end, _)| &dir[..=end]);
        let paths = [""].into_iter().chain(above);
        let paths: Vec<_> = paths.map(|at| format!("{at}{ATTRIBUTES}")).collect();
        let entries = self.list(commit, &paths, |entry| entry.kind != "tree")?;
        let revision = format!("git:{}", commit::short(commit));
        for (entry, content) in entries.iter().zip(self.contents(&entries)?) {
            match content {
                Content::Text(text) => {
                    if let Some(found) = conversion(&text) {
                        return Err(refused(&entry.path, &revision, &found));
                    }
                }
                Content::Unreadable(why) => {
                    return Err(GitError::Refused {
                        file: entry.path.clone().into(),
                        why: format!("{} ({revision})", why.why),
                        help: why.help.unwrap_or_default(),
                    });
                }
                Content::BeingWritten => {}
            }
        }
        Ok(())
    }

    /// Lists what a commit has at these paths, and keeps what counts. No more of it is held than a source may have.
    fn list(
        &self,
        commit: &str,
        paths: &[String],
        counts: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, GitError> {
        let what = "ls-tree";
        let mut arguments = vec![what, "-z", "-l", "--full-tree", commit, "--"];
        arguments.extend(paths.iter().map(String::as_str));
        let failed = |why: String| GitError::Failed { what, why };
        let dir = self.directory_path();
        self.git.stream(what, &arguments, String::new(), |listing| {
            let (mut entries, mut size) = (Vec::new(), Size::default());
            loop {
                let mut line = Vec::new();
                let read = listing.take(LINE_MAX).read_until(0, &mut line);
                read.map_err(|error| failed(error.to_string()))?;
                if line.is_empty() {
                    break;
                }
                if line.pop() != Some(0) {
                    let shown = text(&line[..line.len().min(120)]);
                    return Err(failed(format!(
                        "a name of more than {LINE_MAX} bytes: {}…",
                        super::printable(&shown)
                    )));
                }
                let Some(entry) = Entry::parse(&line).filter(&counts) else {
                    continue;
                };
                let length = entry.length.unwrap_or(0) as u64;
                if entry.path.starts_with(&dir) {
                    size.add(length);
                } else {
                    size.add_fleet(length);
                }
                if size.has_room() {
                    entries.push(entry);
                }
            }
            let shown = || {
                let path = self.shown_as.display();
                format!("{path} at git:{}", commit::short(commit))
            };
            size.check(shown)?;
            Ok(entries)
        })
    }

    /// What these files hold, in their order.
    pub(super) fn contents(&self, entries: &[Entry]) -> Result<Vec<Content>, GitError> {
        let wanted: Vec<&Entry> = entries.iter().filter(|e| unusable(e).is_none()).collect();
        let mut blobs = self.blobs(&wanted)?.into_iter();
        let content = |entry: &Entry| {
            if let Some(why) = unusable(entry) {
                return Content::Unreadable(why);
            }
            let blob = blobs.next().expect("one for each that is usable");
            match decode(blob) {
                Ok(text) => Content::Text(text),
                Err(problem) => Content::Unreadable(problem.unreadable()),
            }
        };
        Ok(entries.iter().map(content).collect())
    }

    /// What these objects hold, in their order.
    pub(super) fn blobs(&self, wanted: &[&Entry]) -> Result<Vec<Vec<u8>>, GitError> {
        let ids = wanted.iter().flat_map(|entry| [entry.id.as_str(), "\n"]);
        let what = "cat-file";
        let arguments = [what, "--batch"];
        self.git.stream(what, &arguments, ids.collect(), |answer| {
            let read = wanted.iter().map(|entry| {
                let blob = blob(answer);
                blob.map_err(|error| GitError::Failed {
                    what,
                    why: format!("no object {}: {error}", entry.id),
                })
            });
            read.collect()
        })
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

/// The next object of an answer: `<id> <kind> <length>`, a line; the object; a line's end.
fn blob(answer: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    let mut head = String::new();
    answer.take(HEAD_MAX).read_line(&mut head)?;
    let length = head.trim_end().rsplit(' ').next();
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    // What is longer was never asked for.
    let Some(length) = length.filter(|length| *length <= LENGTH_MAX) else {
        return Err(io::Error::other(super::printable(head.trim_end())));
    };
    let mut blob = vec![0; length];
    answer.read_exact(&mut blob)?;
    answer.read_exact(&mut [0])?;
    Ok(blob)
}
