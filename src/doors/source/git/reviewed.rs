//! What a checkout could hold that a review of its commits does not show: links above the manifests, and attributes that
//! have git write other bytes than were committed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::super::beside;
use super::GitError;
use super::place::Place;
use crate::doors::files::{read_text_beside, shown};
use crate::words::diagnostic::Diagnostic;

/// The file of attributes, which any directory may have.
pub(super) const ATTRIBUTES: &str = ".gitattributes";
/// Attributes with which git writes other bytes than were committed, the last two into the archives that a hook or a
/// pipeline may validate. Ends of lines are not among these: they change nothing in a manifest.
const CONVERSIONS: [&str; 5] = [
    "working-tree-encoding",
    "filter",
    "ident",
    "export-ignore",
    "export-subst",
];
const ATTRIBUTES_HELP: &str =
    "remove the attribute, or limit the line to a kind of file with another ending, such as *.png";
/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// Refuses a path that leads through a link in the working tree of a repository: a commit may turn it to other
/// manifests, and its review shows a link alone. A link outside of every working tree is its operator's.
pub(super) fn refuse_links(path: &Path) -> Result<(), GitError> {
    refuse_links_of(path)?;
    // A shell that went through a link remembers it. The system does not.
    let Ok(cwd) = std::env::current_dir() else {
        return Ok(());
    };
    let logical = std::env::var_os("PWD").map(PathBuf::from);
    let logical = logical.filter(|pwd| pwd.canonicalize().is_ok_and(|real| real == cwd));
    match (logical, path.strip_prefix(&cwd)) {
        (Some(pwd), Ok(below)) => refuse_links_of(&pwd.join(below)),
        _ => Ok(()),
    }
}

fn refuse_links_of(path: &Path) -> Result<(), GitError> {
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut ahead = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        let Ok(to) = fs::read_link(&next) else {
            at = next;
            continue;
        };
        if Place::around(&at)?.is_some() {
            return Err(GitError::Refused {
                file: next,
                why: "a symbolic link in the working tree of a repository, so a commit may turn it to other manifests"
                    .to_owned(),
                help: "put the directory itself there, or name the one that the link leads to".to_owned(),
            });
        }
        links += 1;
        if links > LINKS_MAX {
            return Ok(());
        }
        if to.is_absolute() {
            at = "/".into();
        }
        for part in parts(&to).into_iter().rev() {
            ahead.push_front(part);
        }
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// An attribute that may have git write other bytes into a manifest than were committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conversion<'a> {
    /// The line, from 1.
    line: usize,
    attribute: &'a str,
}

impl Conversion<'_> {
    fn why(&self) -> String {
        let name = self.attribute;
        format!(
            "the attribute `{name}` makes a checkout or an archive differ from the commit that is reviewed"
        )
    }
}

/// The first such attribute. A line counts unless its pattern ends in a literal ending of another kind of file.
pub(super) fn conversion(attributes: &str) -> Option<Conversion<'_>> {
    attributes
        .split('\n')
        .enumerate()
        .find_map(|(index, line)| {
            // Git takes a line for a string of C.
            let words = line.split([' ', '\t', '\r', '\0']);
            let mut words = words.filter(|word| !word.is_empty());
            let pattern = words.next().filter(|word| !word.starts_with('#'))?;
            if is_of_another_kind(pattern) {
                return None;
            }
            let mut names = words.map(|word| word.split_once('=').map_or(word, |(name, _)| name));
            let attribute = names.find(|name| CONVERSIONS.contains(name))?;
            Some(Conversion {
                line: index + 1,
                attribute,
            })
        })
}

/// Whether no name that ends in `.yaml` or `.yml` can match a pattern.
fn is_of_another_kind(pattern: &str) -> bool {
    let Some((_, ending)) = pattern.rsplit_once('.') else {
        return false;
    };
    let is_literal = !ending.is_empty() && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_yaml = ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml");
    is_literal && !is_yaml && !pattern.starts_with(['[', '"'])
}

/// That a commit has such an attribute.
pub(super) fn refused(path: &str, revision: &str, found: &Conversion<'_>) -> GitError {
    GitError::Refused {
        file: format!("{path}:{}", found.line).into(),
        why: format!("{} ({revision})", found.why()),
        help: ATTRIBUTES_HELP.to_owned(),
    }
}

/// What is wrong with the attributes in the checkout that a source directory is in, or above a directory in no checkout:
/// that may be a copy of one. Git is not asked.
pub fn check_attributes(dir: &Path) -> Vec<Diagnostic> {
    let cwd = std::env::current_dir().unwrap_or_default();
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let top = match Place::around(&real) {
        Ok(place) => place.map_or_else(|| PathBuf::from("/"), |place| place.top),
        // A repository that cannot be read is reported with its commit.
        Err(_) => return Vec::new(),
    };
    let inside = real.ancestors().take_while(|at| at.starts_with(&top));
    let files = inside.map(|at| at.join(ATTRIBUTES));
    let files = files.filter(|file| file.symlink_metadata().is_ok_and(|found| !found.is_dir()));
    let diagnostics = files.filter_map(|file| {
        let shown = shown(&file, &cwd);
        match read_text_beside(&file) {
            Ok(text) => conversion(&text).map(|found| {
                let why = found.why();
                let mut diagnostic = Diagnostic::of_file(&shown, why, Some(ATTRIBUTES_HELP));
                diagnostic.place.line = found.line;
                diagnostic
            }),
            Err(error) => {
                let problem = error.problem.unreadable();
                let why = format!(
                    "the attributes of the checkout are not read: {}",
                    problem.why
                );
                Some(Diagnostic::of_file(&shown, why, problem.help.as_deref()))
            }
        }
    });
    diagnostics.collect()
}

/// Whether both paths are in the working tree of one repository, or lead into it.
pub fn are_in_one_tree(one: &Path, other: &Path) -> bool {
    let top = |path: &Path| {
        let place = Place::around(&path.canonicalize().ok()?);
        Some(place.ok()??.top)
    };
    let tops = |path: &Path| [top(path), top(&beside(path))];
    let others = tops(other);
    let mut found = tops(one).into_iter().flatten();
    found.any(|top| others.contains(&Some(top)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_counts_wherever_it_may_match_a_manifest() {
        for line in [
            "*.yaml working-tree-encoding=ASCII//TRANSLIT",
            "* filter=lfs",
            "*.y?ml ident",
            "*.[y]aml ident",
            "*.YML ident",
            "instances.d/** text filter=x",
            "instances.d/alice.yaml -text ident",
            "\"*.yaml\" ident",
            "[attr]kind.png filter=x",
            "  \t*\tident\r",
            "*.png\n*.yaml filter",
            "*. ident",
            "\"a.png b.yaml\" ident",
            "* ident\0",
            "instances.d/alice.yaml export-ignore",
            "* export-subst",
        ] {
            assert!(conversion(line).is_some(), "{line}");
        }
        for line in [
            "",
            "# * filter=x",
            "* text=auto eol=lf",
            "*.yaml text diff=yaml",
            "*.png filter=lfs diff=lfs merge=lfs -text",
            "assets/*.psd filter=lfs",
            "* -filter !ident -working-tree-encoding",
        ] {
            assert_eq!(conversion(line), None, "{line}");
        }
        let found = conversion("\n*.yaml text ident=x\n").expect("one");
        assert_eq!((found.line, found.attribute), (2, "ident"));
    }

    #[test]
    fn a_copy_without_its_repository_is_checked_too() {
        let copy = tempfile::tempdir().expect("a directory");
        let dir = copy.path().join("instances.d");
        fs::create_dir(&dir).expect("a directory");
        assert_eq!(check_attributes(&dir), []);
        fs::write(copy.path().join(ATTRIBUTES), "# x\n*.yaml export-ignore\n").expect("a file");
        let found = check_attributes(&dir);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("`export-ignore`"), "{found:?}");
        assert_eq!(found[0].place.line, 2);
    }
}
