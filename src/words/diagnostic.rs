//! What is wrong with a file, where, and the way out.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a text file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The file as the person named it.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// How many characters the place spans on its line; at least 1.
    pub width: usize,
}

impl Place {
    /// The beginning of a file.
    pub fn start_of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            line: 1,
            column: 1,
            width: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

/// How bad it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// The file can be used, and somebody should look.
    Warning,
    /// Nothing is wrong; it explains why something waits.
    Note,
}

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// The field, as a dotted path (`resources.memory`); empty for the file itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The way out, where one can be named.
    pub help: Option<String>,
}

/// What `validate` found, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// Whether nothing keeps any file from being used.
    pub valid: bool,
    /// How many manifests there are.
    pub manifests: usize,
    /// How many errors.
    pub errors: usize,
    /// How many warnings and notes.
    pub warnings: usize,
    /// All of them, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Diagnostic {
    /// An error that concerns a whole file.
    pub fn of_file(path: &str, message: impl Into<String>, help: Option<&str>) -> Self {
        Self {
            place: Place::start_of(path),
            severity: Severity::Error,
            field: String::new(),
            message: message.into(),
            help: help.map(str::to_owned),
        }
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `path:line:column: field: message (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// A problem found in a value after reading, not yet tied to a place: the field's path and the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, one segment a level.
    pub path: Vec<String>,
    /// Whether the fault is the last key of the path, not its value.
    pub key: bool,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl Problem {
    /// An error at a field.
    pub fn error(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(|s| (*s).to_owned()).collect(),
            key: false,
            severity: Severity::Error,
            message: message.into(),
            help: None,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The same of the field's key.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.key = true;
        self
    }

    /// With a way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
