//! A YAML document with places: text in, typed value and diagnostics out.
//!
//! `serde_yaml` decodes to the JSON data model ([`yaml`]: anchors and merge keys resolved, bounded), a second,
//! position-keeping parser is asked only when something must be placed. Decoding goes on past an error: the
//! offending node is put aside and the rest decoded again, so that one pass tells every problem of a file.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::diagnostic::{Diagnostic, Place, Problem, Severity};
use super::lines;
use super::text::shown;
use aside::{SetAside, remove};
use outline::{Brackets, Outline};
pub use suggest::nearest;
pub use yaml::unfolded_max;
use yaml::{Failure, Loaded, Misfit, Part};

mod aside;
mod example;
mod foreign;
mod outline;
mod strict;
mod suggest;
mod syntax;
mod yaml;

/// No file of ours is longer; a longer one is not parsed.
pub const LENGTH_MAX: usize = 1 << 20;
/// A file with more mistakes than this is told so.
pub const PROBLEMS_MAX: usize = 100;
/// A file with more directives is not parsed; ours have none.
const DIRECTIVES_MAX: usize = 8;
/// A file with more brackets must be sound to both parsers.
const BRACKETS_MAX: usize = 1000;
/// What is repeated of a person's text, in characters.
const SAID_MAX: usize = 240;
/// Levels of a field that are said: none of ours has more.
const SAID_DEPTH: usize = 8;

/// A step from a node to one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl Segment {
    /// The key; nothing of a list's item.
    pub fn key(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Index(_) => "",
        }
    }
}

/// What was decoded of a document.
#[derive(Debug)]
pub struct Decoded<T> {
    /// Whatever decodes without the faults; absent only when nothing does.
    pub value: Option<T>,
    /// What was left out to decode the rest: faults, and keys that nobody knows.
    pub aside: BTreeSet<Vec<Segment>>,
    /// Every problem.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Decoded<T> {
    /// `value` without what was left out.
    pub fn rest(&self, mut value: Value) -> Value {
        // Later items first: the indexes of those before them stay.
        for path in self.aside.iter().rev() {
            remove(&mut value, path);
        }
        value
    }
}

/// One parsed file.
#[derive(Debug)]
pub struct Document {
    path: String,
    text: String,
    value: Value,
    /// Nodes and bytes of text, aliases unfolded.
    pub unfolded: usize,
    outline: OnceCell<Outline>,
}

impl Document {
    /// Parses the text of the file that a person calls `path`.
    ///
    /// # Errors
    /// One diagnostic: YAML's grammar leaves nothing to go on with after the first.
    pub fn parse(path: &str, text: &str) -> Result<Self, Diagnostic> {
        if text.len() > LENGTH_MAX {
            let message = format!("{} bytes long, more than {LENGTH_MAX}", text.len());
            return Err(Diagnostic::of_file(path, message, None));
        }
        if let Some(diagnostic) = syntax::forbidden(path, text) {
            return Err(diagnostic);
        }
        if let Some(diagnostic) = foreign::found(path, text) {
            return Err(diagnostic);
        }
        if let Some(diagnostic) = too_costly(path, text) {
            return Err(diagnostic);
        }
        let document = |value, unfolded| Self {
            path: path.to_owned(),
            text: text.to_owned(),
            value,
            unfolded,
            outline: OnceCell::new(),
        };
        match yaml::load(text) {
            Ok(Loaded {
                value,
                source_texts,
                unfolded,
            }) => {
                let mut document = document(value, unfolded);
                document.keep(source_texts);
                Ok(document)
            }
            Err(Failure::Syntax(error)) => {
                let diagnostic = syntax::diagnostic(path, text, &error);
                let before = |line| line <= diagnostic.place.line;
                Err(foreign::odd_space(path, text, before).unwrap_or(diagnostic))
            }
            Err(Failure::Misfit(misfit)) => Err(document(Value::Null, 0).misfit(misfit)),
            Err(Failure::Several(error)) => Err(several(path, text, error.as_ref())),
        }
    }

    /// The whole as a value; `Null` when the file holds only comments.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The file as the person named it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Puts the file's own text in the place of what the parser made of it.
    fn keep(&mut self, source_texts: yaml::SourceTexts) {
        for path in source_texts {
            let text = self.outline().scalar(&path).map(str::to_owned);
            let value = path.iter().try_fold(&mut self.value, below_mut);
            // A merged key may be under one of the mapping's own, which takes it away.
            if let (Some(Value::String(value)), Some(text)) = (value, text) {
                *value = text;
            }
        }
    }

    /// Decodes the document, as [`Self::decode_at`] does.
    pub fn decode<T: DeserializeOwned + JsonSchema>(&self) -> (Option<T>, Vec<Diagnostic>) {
        let decoded = self.decode_at(&[], self.value.clone());
        (decoded.value, decoded.diagnostics)
    }

    /// Decodes a part of the document: the value at `base`, perhaps without some of its keys. Every problem is
    /// reported.
    pub fn decode_at<T: DeserializeOwned + JsonSchema>(
        &self,
        base: &[Segment],
        mut value: Value,
    ) -> Decoded<T> {
        // Nearly every document is sound: only one that is not is gone through with a note of each step.
        if let Some(decoded) = strict::decode(&value) {
            return Decoded {
                value: Some(decoded),
                aside: BTreeSet::new(),
                diagnostics: Vec::new(),
            };
        }
        let schema = schemars::schema_for!(T);
        let placed = |path: &[Segment]| [base, path].concat();
        let mut set_aside = SetAside::default();
        let mut unknown: BTreeSet<Vec<Segment>> = BTreeSet::new();
        let mut diagnostics = Vec::new();
        let mut aside: BTreeSet<Vec<Segment>> = BTreeSet::new();
        let decoded = loop {
            let (result, ignored) = strict::decode_with_notes(&value);
            for path in ignored {
                unknown.insert(set_aside.original(&path));
                // Nothing behind such a key has bounds, and the next pass must not meet it again.
                remove(&mut value, &path);
            }
            let strict::Failed { at, part, words } = match result {
                Ok(decoded) => break Some(decoded),
                Err(failed) => failed,
            };
            let original = set_aside.original(&at);
            // A required key that was put aside for its own mistake is not missing too.
            let missing = suggest::missing_key(&words)
                .map(|key| [original.as_slice(), &[Segment::Key(key.to_owned())]].concat());
            if missing.as_ref().is_none_or(|path| !aside.contains(path)) {
                let (message, help) = suggest::reword(&words);
                let help = help.or_else(|| {
                    let field = missing.as_deref().unwrap_or(&original);
                    let text = || self.outline().scalar(&placed(&original));
                    (part == Part::Value && !message.contains("; write "))
                        .then(|| {
                            example::help(schema.as_value(), field, at_path(&value, &at), text)
                        })
                        .flatten()
                });
                diagnostics.push(self.diagnostic_at(
                    &placed(&original),
                    part,
                    &message,
                    help.as_deref(),
                ));
            }
            aside.insert(original);
            if aside.len() >= PROBLEMS_MAX {
                diagnostics.push(self.too_many());
                break None;
            }
            if at.is_empty() || !remove(&mut value, &at) {
                break None;
            }
            set_aside.note(&at);
        };
        for path in unknown.iter().take(PROBLEMS_MAX) {
            let (message, help) = suggest::unknown_key(schema.as_value(), path);
            diagnostics.push(self.diagnostic_at(
                &placed(path),
                Part::Key,
                &message,
                help.as_deref(),
            ));
        }
        if unknown.len() > PROBLEMS_MAX {
            diagnostics.push(self.too_many());
        }
        aside.extend(unknown);
        let is_none = decoded.is_none();
        let suspect = |line| is_none || diagnostics.iter().any(|found| found.place.line == line);
        if !diagnostics.is_empty()
            && let Some(space) = foreign::odd_space(&self.path, &self.text, suspect)
        {
            // The space is why they are there.
            diagnostics.retain(|found| found.place.line != space.place.line);
            diagnostics.push(space);
        }
        diagnostics.sort();
        Decoded {
            value: decoded,
            aside,
            diagnostics,
        }
    }

    /// Ties a problem to its place. A field that this file does not write (a template does) is placed at
    /// the deepest level that it does write.
    pub fn place(&self, problem: Problem) -> Diagnostic {
        let mut node = Some(&self.value);
        let mut path = Vec::with_capacity(problem.path.len());
        for text in problem.path {
            // A template's list is none of this file's.
            let segment = match (node, text.parse()) {
                (Some(Value::Array(_)) | None, Ok(index)) => Segment::Index(index),
                _ => Segment::Key(text),
            };
            node = node.and_then(|node| below(node, &segment));
            path.push(segment);
        }
        let part = if problem.key { Part::Key } else { Part::Value };
        let diagnostic = self.diagnostic_at(&path, part, &problem.message, problem.help.as_deref());
        Diagnostic {
            severity: problem.severity,
            ..diagnostic
        }
    }

    /// The same for all that was found, as far as anybody reads on.
    pub fn place_all(&self, problems: Vec<Problem>) -> Vec<Diagnostic> {
        let mut problems = problems.into_iter();
        let first = problems.by_ref().take(PROBLEMS_MAX);
        let mut told: Vec<_> = first.map(|problem| self.place(problem)).collect();
        // What is left out is as bad as the worst of it: many warnings hold nobody.
        if let Some(severity) = problems.map(|problem| problem.severity).min() {
            told.push(Diagnostic {
                severity,
                ..self.too_many()
            });
        }
        told
    }

    /// Whether so much is told that the rest need not be, which is then told instead.
    pub fn is_enough(&self, told: &mut Vec<Diagnostic>) -> bool {
        let enough = told.len() >= PROBLEMS_MAX;
        if enough {
            told.push(self.too_many());
        }
        enough
    }

    fn misfit(&self, misfit: Misfit) -> Diagnostic {
        let Misfit {
            mut path,
            part,
            mut message,
            mut help,
        } = misfit;
        // The file's own text of the key, which the parser has made a number or the like of.
        if let (Part::KeyAt(at), Some((last, parents))) = (part, path.split_last_mut())
            && let Some(text) = self.outline().key_text(parents, at)
        {
            (message, help) = yaml::no_string(text);
            *last = Segment::Key(text.to_owned());
        }
        if part == Part::SecondKey
            && let Some((line, ..)) = self.outline().find(&path, Part::Key)
        {
            message = format!("{message}, first on line {line}");
        }
        self.diagnostic_at(&path, part, &message, Some(&help))
    }

    fn too_many(&self) -> Diagnostic {
        let message = format!("more than {PROBLEMS_MAX} mistakes; the others are not told");
        let help = "is it the right file? Mend those that are told, and ask again";
        Diagnostic::of_file(&self.path, message, Some(help))
    }

    fn outline(&self) -> &Outline {
        self.outline.get_or_init(|| Outline::of(&self.text))
    }

    fn diagnostic_at(
        &self,
        path: &[Segment],
        part: Part,
        message: &str,
        help: Option<&str>,
    ) -> Diagnostic {
        let position = self.outline().find(path, part).unwrap_or((1, 1, 1));
        Diagnostic {
            place: placed(&self.path, &self.text, position),
            severity: Severity::Error,
            field: if path.len() > SAID_DEPTH {
                shortened(&dotted(&path[..SAID_DEPTH])) + "…"
            } else {
                shortened(&dotted(path))
            },
            message: shortened(message),
            help: help.map(shortened),
        }
    }
}

/// A person's text may be a megabyte long, and stands in its file anyway. What it holds that cannot be seen must not
/// reach a terminal.
fn shortened(text: &str) -> String {
    let end = |text: &str| text.char_indices().nth(SAID_MAX).map(|(end, _)| end);
    let short = shown(&text[..end(text).unwrap_or(text.len())]);
    match end(&short).or_else(|| end(text).map(|_| short.len())) {
        Some(end) => format!("{}…", &short[..end]),
        None => short,
    }
}

/// `a.b[2].c`
pub fn dotted(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Index(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
        }
    }
    text
}

/// What `serde_yaml` would take more than linear time for: it walks through all open brackets at each word, and
/// through all directives at each directive.
fn too_costly(path: &str, text: &str) -> Option<Diagnostic> {
    let told = |position, message: String, help| {
        let mut told = Diagnostic::of_file(path, message, Some(help));
        told.place = placed(path, text, position);
        Some(told)
    };
    let mut directives = lines::of(text)
        .enumerate()
        .filter(|(_, l)| l.starts_with('%'));
    if let Some((at, _)) = directives.nth(DIRECTIVES_MAX) {
        let message = format!("more than {DIRECTIVES_MAX} directives");
        return told(
            (at + 1, 1, 1),
            message,
            "remove the lines that begin with `%`; quote a text that does",
        );
    }
    let brackets = text.bytes().filter(|b| matches!(b, b'[' | b'{')).count();
    if brackets <= yaml::DEPTH_MAX {
        return None;
    }
    match outline::brackets(text) {
        Brackets::Deep(position) => {
            let message = format!("nested more than {} levels deep", yaml::DEPTH_MAX);
            told(position, message, yaml::DEEP_HELP)
        }
        // Nobody knows how deep it goes on.
        Brackets::Broken(position, why) if brackets > BRACKETS_MAX => told(
            position,
            why,
            "look at the lines above, too; and is it the right file?",
        ),
        Brackets::Broken(..) | Brackets::Fine => None,
    }
}

fn placed(path: &str, text: &str, (line, column, width): outline::Position) -> Place {
    let (line, column) = lines::within(text, line, column);
    Place {
        path: path.to_owned(),
        line,
        column,
        width,
    }
}

/// A file with a second document, told where that begins, or what keeps the first from its end.
fn several(path: &str, text: &str, error: Option<&serde_yaml::Error>) -> Diagnostic {
    let marker = |(at, line): (usize, &str)| line.starts_with("---").then_some((at + 1, 1, 3));
    let by_line = || lines::of(text).enumerate().skip(1).find_map(marker);
    let position = match (outline::second_document(text), error) {
        (Some(position), _) => position,
        (None, Some(error)) => return syntax::diagnostic(path, text, error),
        (None, None) => by_line().unwrap_or((1, 1, 1)),
    };
    let mut diagnostic = Diagnostic::of_file(
        path,
        "more than one YAML document in one file",
        Some(
            "one file describes one instance: cut here, and save what follows as a file of its own",
        ),
    );
    diagnostic.place = placed(path, text, position);
    diagnostic
}

/// The node one level below.
fn below<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    }
}

fn below_mut<'v>(value: &'v mut Value, segment: &Segment) -> Option<&'v mut Value> {
    match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
    }
}

fn at_path<'v>(value: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(value, below)
}

#[cfg(test)]
mod tests;
