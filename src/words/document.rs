//! A YAML document with places: text in, typed value and diagnostics out.
//!
//! `serde_yaml` decodes to the JSON data model (anchors and merge keys resolved), a second, position-keeping
//! parser is asked only when something must be placed. Decoding goes on past an error: the offending node
//! is put aside and the rest decoded again, so that one pass tells every problem of a file.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment as ErrorSegment;

use super::diagnostic::{Diagnostic, Place, Problem, Severity};
use outline::Outline;

mod outline;
mod suggest;

/// No file of ours is longer; a longer one is not parsed.
pub const LENGTH_MAX: usize = 1 << 20;
/// A file with more mistakes than this is told so.
const PROBLEMS_MAX: usize = 200;

/// A step from a node to one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// One parsed file.
#[derive(Debug)]
pub struct Document {
    path: String,
    text: String,
    value: Value,
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
        let yaml = parse_one(path, text)?;
        let document = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            value: Value::Null,
            outline: OnceCell::new(),
        };
        let mut at = Vec::new();
        match to_json(yaml, &mut at) {
            Ok(value) => Ok(Self { value, ..document }),
            Err((message, help)) => Err(document.diagnostic_at(&at, false, message, Some(help))),
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

    /// Decodes the document. Every problem is told; the value is whatever decodes without them, and absent
    /// only when nothing does.
    pub fn decode<T: DeserializeOwned + JsonSchema>(&self) -> (Option<T>, Vec<Diagnostic>) {
        self.decode_at(&[], self.value.clone())
    }

    /// Decodes a part of the document: `value`, which stands at `base`, perhaps without some of its keys.
    pub fn decode_at<T: DeserializeOwned + JsonSchema>(
        &self,
        base: &[Segment],
        mut value: Value,
    ) -> (Option<T>, Vec<Diagnostic>) {
        let placed = |path: &[Segment]| [base, path].concat();
        let mut set_aside = SetAside::default();
        let mut unknown: BTreeSet<Vec<Segment>> = BTreeSet::new();
        let mut diagnostics = Vec::new();
        let mut told: BTreeSet<Vec<Segment>> = BTreeSet::new();
        let decoded = loop {
            let mut ignored = Vec::new();
            let mut note = |path: serde_ignored::Path<'_>| ignored.push(segments_of(&path));
            let result: Result<T, _> = serde_path_to_error::deserialize(
                serde_ignored::Deserializer::new(&value, &mut note),
            );
            unknown.extend(ignored.into_iter().map(|path| set_aside.original(&path)));
            let error = match result {
                Ok(decoded) => break Some(decoded),
                Err(error) => error,
            };
            let at = error_path(error.path());
            let original = set_aside.original(&at);
            let words = error.into_inner().to_string();
            // A required key that was put aside for its own mistake is not missing too.
            let missing = suggest::missing_key(&words)
                .map(|key| [original.as_slice(), &[Segment::Key(key.to_owned())]].concat());
            if missing.is_none_or(|path| !told.contains(&path)) {
                let (message, help) = suggest::reword(&words);
                diagnostics.push(self.diagnostic_at(&placed(&original), false, message, help));
            }
            told.insert(original);
            if at.is_empty() || told.len() >= PROBLEMS_MAX || !remove(&mut value, &at) {
                break None;
            }
            set_aside.note(&at);
        };
        if !unknown.is_empty() {
            let schema = schemars::schema_for!(T);
            for path in unknown.iter().take(PROBLEMS_MAX) {
                let (message, help) = suggest::unknown_key(schema.as_value(), path);
                diagnostics.push(self.diagnostic_at(&placed(path), true, message, help));
            }
        }
        diagnostics.sort();
        (decoded, diagnostics)
    }

    /// Ties a problem to its place. A field that this file does not write (a template does) is placed at
    /// the deepest level that it does write.
    pub fn place(&self, problem: Problem) -> Diagnostic {
        // A segment of digits is an index: no key of ours is a number.
        let segment = |text: String| match text.parse() {
            Ok(index) => Segment::Index(index),
            Err(_) => Segment::Key(text),
        };
        let path: Vec<_> = problem.path.into_iter().map(segment).collect();
        let diagnostic = self.diagnostic_at(&path, false, problem.message, problem.help);
        Diagnostic {
            severity: problem.severity,
            ..diagnostic
        }
    }

    fn diagnostic_at(
        &self,
        path: &[Segment],
        at_key: bool,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        let outline = self.outline.get_or_init(|| Outline::of(&self.text));
        let (line, column, width) = outline.find(path, at_key).unwrap_or((1, 1, 1));
        Diagnostic {
            place: Place {
                path: self.path.clone(),
                line,
                column,
                width,
            },
            severity: Severity::Error,
            field: dotted(path),
            message,
            help,
        }
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

/// The one document of a text. Several, or a broken one, are a diagnostic.
fn parse_one(path: &str, text: &str) -> Result<serde_yaml::Value, Diagnostic> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(serde_yaml::Value::Null);
    };
    let mut value =
        serde_yaml::Value::deserialize(first).map_err(|e| syntax_error(path, text, &e))?;
    if documents.next().is_some() {
        let line = text
            .lines()
            .skip(1)
            .position(|l| l.starts_with("---"))
            .map_or(1, |n| n + 2);
        let mut diagnostic = Diagnostic::of_file(
            path,
            "more than one YAML document in one file",
            Some("one file describes one instance: put each document into a file of its own"),
        );
        diagnostic.place.line = line;
        return Err(diagnostic);
    }
    value
        .apply_merge()
        .map_err(|e| syntax_error(path, text, &e))?;
    Ok(value)
}

fn syntax_error(path: &str, text: &str, error: &serde_yaml::Error) -> Diagnostic {
    let mut diagnostic =
        Diagnostic::of_file(path, suggest::reword_syntax(&error.to_string()), None);
    if let Some(location) = error.location() {
        // Past the end of the text: the last line, which a person can look at.
        let lines = text.lines().count().max(1);
        diagnostic.place.line = location.line().clamp(1, lines);
        diagnostic.place.column = location.column().max(1);
    }
    if text
        .lines()
        .nth(diagnostic.place.line - 1)
        .is_some_and(|l| {
            l.chars()
                .take_while(|c| c.is_whitespace())
                .any(|c| c == '\t')
        })
    {
        diagnostic.help = Some("YAML indents with spaces, not with tabs".to_owned());
    }
    diagnostic
}

/// To the JSON data model. On failure `at` is the path of the node that does not fit it.
fn to_json(yaml: serde_yaml::Value, at: &mut Vec<Segment>) -> Result<Value, (String, String)> {
    use serde_yaml::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(flag),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(n), _, _) => n.into(),
            (_, Some(n), _) => n.into(),
            (_, _, Some(n)) if n.is_finite() => n.into(),
            _ => {
                return Err((
                    "not a finite number".into(),
                    "write a number or quote it".into(),
                ));
            }
        },
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                at.push(Segment::Index(index));
                list.push(to_json(item, at)?);
                at.pop();
            }
            Value::Array(list)
        }
        Yaml::Mapping(mapping) => {
            let mut map = serde_json::Map::with_capacity(mapping.len());
            for (key, item) in mapping {
                let Yaml::String(key) = key else {
                    let text = serde_yaml::to_string(&key).unwrap_or_default();
                    let text = text.trim();
                    return Err((
                        format!("the key `{text}` is no string"),
                        format!("quote it: \"{text}\""),
                    ));
                };
                at.push(Segment::Key(key.clone()));
                let item = to_json(item, at)?;
                at.pop();
                map.insert(key, item);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            return Err((
                format!("the tag `{}` means nothing here", tagged.tag),
                "remove it".to_owned(),
            ));
        }
    })
}

fn segments_of(path: &serde_ignored::Path<'_>) -> Vec<Segment> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => {
            let mut segments = segments_of(parent);
            segments.push(Segment::Index(*index));
            segments
        }
        Path::Map { parent, key } => {
            let mut segments = segments_of(parent);
            segments.push(Segment::Key(key.clone()));
            segments
        }
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => segments_of(parent),
    }
}

fn error_path(path: &serde_path_to_error::Path) -> Vec<Segment> {
    path.iter()
        .filter_map(|segment| match segment {
            ErrorSegment::Seq { index } => Some(Segment::Index(*index)),
            ErrorSegment::Map { key } => Some(Segment::Key(key.clone())),
            ErrorSegment::Enum { .. } | ErrorSegment::Unknown => None,
        })
        .collect()
}

/// Takes the node at `path` out of `value`. False when there is none.
fn remove(value: &mut Value, path: &[Segment]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut node = value;
    for segment in parents {
        let below = match segment {
            Segment::Key(key) => node.get_mut(key),
            Segment::Index(index) => node.get_mut(index),
        };
        let Some(below) = below else { return false };
        node = below;
    }
    match (last, node) {
        (Segment::Key(key), Value::Object(map)) => map.remove(key).is_some(),
        (Segment::Index(index), Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

/// Which list items were put aside, so that later indexes can be told as the file counts them.
#[derive(Default)]
struct SetAside(BTreeMap<Vec<Segment>, BTreeSet<usize>>);

impl SetAside {
    /// `path` as it was before anything was put aside.
    fn original(&self, path: &[Segment]) -> Vec<Segment> {
        let mut original = Vec::with_capacity(path.len());
        for segment in path {
            let segment = match segment {
                Segment::Index(index) => {
                    let mut index = *index;
                    for gone in self.0.get(&original).into_iter().flatten() {
                        index += usize::from(*gone <= index);
                    }
                    Segment::Index(index)
                }
                key @ Segment::Key(_) => key.clone(),
            };
            original.push(segment);
        }
        original
    }

    fn note(&mut self, path: &[Segment]) {
        let mut list = self.original(path);
        if let Some(Segment::Index(index)) = list.pop() {
            self.0.entry(list).or_default().insert(index);
        }
    }
}

#[cfg(test)]
mod tests;
