//! Files whose names are no instance's: what was meant, and a name that is free.

use std::collections::BTreeMap;

use crate::words::desired::SourceFile;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;
use crate::words::text::shown;

/// Names that are tried before none is proposed.
const TRIES: usize = 99;

/// What is wrong with a file's name, and the instance that the file seems to describe.
pub(super) type Misnamed = (Diagnostic, Option<InstanceName>);

/// How many files of a source have each stem, in lower case, so that no proposal is the name of another file.
pub(super) struct Names(BTreeMap<String, usize>);

impl Names {
    pub(super) fn of(files: &[SourceFile]) -> Self {
        let mut names = BTreeMap::new();
        for file in files {
            *names.entry(file.stem.to_ascii_lowercase()).or_default() += 1;
        }
        Self(names)
    }

    /// The instance that a file describes.
    ///
    /// # Errors
    /// When its name is no instance's.
    pub(super) fn instance(&self, file: &SourceFile) -> Result<InstanceName, Misnamed> {
        let parsed = file.stem.parse::<InstanceName>();
        let ending = file.path.rsplit('.').next().unwrap_or_default();
        let is_ours = ["yaml", "yml"].contains(&ending);
        match parsed {
            Ok(name) if is_ours => Ok(name),
            Ok(name) => {
                let message = format!(
                    "the file's name ends with `.{}`, not with `.yaml`",
                    shown(ending)
                );
                let help = if self.has(name.as_str(), file) {
                    format!("there is another file for {name}: remove this one")
                } else {
                    format!("rename it to {name}.yaml")
                };
                Err((
                    Diagnostic::of_file(&file.path, message, Some(&help)),
                    Some(name),
                ))
            }
            Err(error) => {
                let help = self.help(file);
                let diagnostic =
                    Diagnostic::of_file(&file.path, shown(&error.to_string()), Some(&help));
                // `Alice.yaml` is no wish that alice goes.
                Err((diagnostic, file.stem.to_ascii_lowercase().parse().ok()))
            }
        }
    }

    /// Whether another file than `but` has the name already; some file systems know no capitals.
    fn has(&self, name: &str, but: &SourceFile) -> bool {
        let name = name.to_ascii_lowercase();
        let own = usize::from(but.stem.to_ascii_lowercase() == name);
        self.0.get(&name).is_some_and(|files| *files > own)
    }

    fn help(&self, file: &SourceFile) -> String {
        let Some(free) = self.free(file) else {
            return "the file's name is the instance's: rename it, such as alice.yaml".to_owned();
        };
        match original(&file.stem).filter(|name| self.has(name, file)) {
            Some(of) => format!(
                "a copy of {of}.yaml? Remove it, or rename it to {free}.yaml for an instance of its own"
            ),
            None => format!("the file's name is the instance's: rename it, such as {free}.yaml"),
        }
    }

    /// A name like that of the file, which no other file has.
    fn free(&self, file: &SourceFile) -> Option<InstanceName> {
        let like = like(&file.stem);
        let numbered = (2..TRIES).map(|n| format!("{like}-{n}"));
        let mut names = std::iter::once(like.clone()).chain(numbered);
        names.find(|name| !self.has(name, file))?.parse().ok()
    }
}

/// What is wrong with the name of the fleet's own file.
pub(super) fn misnamed_fleet(file: &SourceFile) -> Option<Diagnostic> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if ["fleet.yaml", "fleet.yml"].contains(&name) {
        return None;
    }
    let message = format!("the fleet's own file is not called `{}`", shown(name));
    Some(Diagnostic::of_file(
        &file.path,
        message,
        Some("rename it to fleet.yaml"),
    ))
}

/// The nearest text that a DNS label may be.
fn like(stem: &str) -> String {
    let letters = stem.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    });
    let mut like = String::new();
    for c in letters {
        if c != '-' || !like.ends_with('-') {
            like.push(c);
        }
    }
    like.trim_matches('-').to_owned()
}

/// The name of which file managers and browsers make such a name for a copy.
fn original(stem: &str) -> Option<&str> {
    let (before, rest) = stem.split_once(' ')?;
    let rest = rest.trim_start_matches("- ").to_ascii_lowercase();
    let is_copy = rest.starts_with("copy") || (rest.starts_with('(') && rest.ends_with(')'));
    is_copy.then_some(before)
}
