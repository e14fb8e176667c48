//! MCP clients: where each keeps its configuration and how a server of ours is written there. Text in, text out; what
//! is known of each client, and from where, is told in `docs/clients.md`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::words::lines;

mod entry;
mod jsonc;
mod toml;

pub use entry::{Secret, Server, ServerUrl, wanted};

/// What stands for the token where a client can only be given the token itself, and none is given.
pub const PLACEHOLDER: &str = "<TOKEN>";

/// A client whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Code: the command that adds it; with `--scope project`, its `.mcp.json`
    ClaudeCode,
    /// Claude Desktop: `claude_desktop_config.json`, by way of mcp-remote
    ClaudeDesktop,
    /// Visual Studio Code: mcp.json
    Vscode,
    /// Cursor: mcp.json
    Cursor,
    /// Codex, as a program and in an editor: config.toml
    Codex,
    /// Windsurf: `mcp_config.json`
    Windsurf,
    /// Gemini CLI: settings.json
    GeminiCli,
    /// Zed: settings.json
    Zed,
    /// An `mcpServers` object, as most other clients read it
    Json,
}

/// How a client reads its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// JSON, and nothing else: `JSON.parse`.
    Plain,
    /// JSON with comments.
    Commented,
    /// JSON with comments and with commas behind the last entry.
    Editor,
    /// TOML.
    Toml,
}

/// For whom a client's file counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// For this user, in all projects
    #[default]
    User,
    /// For the project in this directory; its file is often shared, so no token is written there
    Project,
}

/// Where this user's files are.
#[derive(Debug, Clone)]
pub struct Home {
    /// The home directory.
    pub dir: PathBuf,
    /// `XDG_CONFIG_HOME`, where it is set.
    pub config: Option<PathBuf>,
    /// `CODEX_HOME`, where it is set.
    pub codex: Option<PathBuf>,
}

/// What a client's file shall have.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The key that its servers lie under.
    pub key: &'static str,
    /// The servers, by name.
    pub servers: Vec<(String, Node)>,
    /// What asks a person for the token, by id; only VS Code has such.
    pub inputs: Vec<(String, Node)>,
    /// The environment variables that the servers' tokens are read from.
    pub variables: Vec<String>,
}

/// A value, its keys in the order they are written in.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A text.
    Text(String),
    /// Yes or no.
    Truth(bool),
    /// A list.
    List(Vec<Node>),
    /// Values by key.
    Map(Vec<(&'static str, Node)>),
}

/// Why a file is left as it is: where in it, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub why: String,
}

impl Client {
    /// What a person calls it.
    pub fn called(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Vscode => "VS Code",
            Self::Cursor => "Cursor",
            Self::Codex => "Codex",
            Self::Windsurf => "Windsurf",
            Self::GeminiCli => "Gemini CLI",
            Self::Zed => "Zed",
            Self::Json => "a client",
        }
    }

    /// Its file. `None` where it has none that another program should write.
    pub fn file(self, scope: Scope, home: &Home, project: &Path) -> Option<PathBuf> {
        let config = || home.config.clone().unwrap_or(home.dir.join(".config"));
        match (self, scope) {
            (Self::ClaudeCode, Scope::Project) => Some(project.join(".mcp.json")),
            (Self::ClaudeDesktop, Scope::User) => {
                Some(config().join("Claude/claude_desktop_config.json"))
            }
            (Self::Vscode, Scope::User) => Some(config().join("Code/User/mcp.json")),
            (Self::Vscode, Scope::Project) => Some(project.join(".vscode/mcp.json")),
            (Self::Cursor, Scope::User) => Some(home.dir.join(".cursor/mcp.json")),
            (Self::Cursor, Scope::Project) => Some(project.join(".cursor/mcp.json")),
            (Self::Codex, Scope::User) => {
                let dir = home.codex.clone().unwrap_or(home.dir.join(".codex"));
                Some(dir.join("config.toml"))
            }
            (Self::Codex, Scope::Project) => Some(project.join(".codex/config.toml")),
            (Self::Windsurf, Scope::User) => {
                Some(home.dir.join(".codeium/windsurf/mcp_config.json"))
            }
            (Self::GeminiCli, Scope::User) => Some(home.dir.join(".gemini/settings.json")),
            (Self::GeminiCli, Scope::Project) => Some(project.join(".gemini/settings.json")),
            (Self::Zed, Scope::User) => Some(config().join("zed/settings.json")),
            (Self::ClaudeCode, Scope::User)
            | (Self::ClaudeDesktop | Self::Windsurf | Self::Zed, Scope::Project)
            | (Self::Json, _) => None,
        }
    }

    /// Whether it knows the older transport, of two endpoints and server-sent events.
    pub fn speaks_sse(self) -> bool {
        !matches!(self, Self::Codex | Self::Zed)
    }

    /// Whether its file can name a token without holding it.
    pub fn refers(self) -> bool {
        !matches!(self, Self::ClaudeDesktop | Self::Zed | Self::Json)
    }

    /// How it reads its file. A file that it cannot read it ignores.
    fn dialect(self) -> Dialect {
        match self {
            Self::Codex => Dialect::Toml,
            Self::Vscode | Self::Cursor | Self::Zed => Dialect::Editor,
            Self::GeminiCli => Dialect::Commented,
            Self::ClaudeCode | Self::ClaudeDesktop | Self::Windsurf | Self::Json => Dialect::Plain,
        }
    }

    /// Whether it reads a file with a byte order mark.
    pub fn reads_byte_order_mark(self) -> bool {
        !matches!(self.dialect(), Dialect::Plain | Dialect::Commented)
    }

    /// The text of its file with what is wanted in it, and everything else as it was. The same text where nothing
    /// is to be changed.
    pub fn put(self, text: &str, wanted: &Wanted) -> Result<String, Refused> {
        let dialect = self.dialect();
        if dialect == Dialect::Toml {
            return toml::put(text, wanted);
        }
        jsonc::check(text, dialect).map_err(|refused| Refused {
            why: format!("{}, and {} ignores such a file", refused.why, self.called()),
            ..refused
        })?;
        jsonc::put(text, wanted)
    }

    /// The text of its file without what is wanted.
    pub fn take(self, text: &str, wanted: &Wanted) -> Result<String, Refused> {
        match self {
            Self::Codex => toml::take(text, wanted),
            _ => jsonc::take(text, wanted),
        }
    }
}

impl Node {
    /// The same for a program.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Truth(truth) => Value::Bool(*truth),
            Self::List(all) => all.iter().map(Self::to_json).collect(),
            Self::Map(all) => {
                let pairs = all
                    .iter()
                    .map(|(key, node)| ((*key).to_owned(), node.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Refused {
    /// What is wrong at a byte of a text.
    fn at(text: &str, byte: usize, why: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let (line, column) = lines::place_of(text, before.chars().count());
        Self {
            line,
            column,
            why: why.into(),
        }
    }

    /// That an edit came out otherwise than it should: rather none than a wrong one.
    fn unsafe_edit() -> Self {
        Self {
            line: 1,
            column: 1,
            why: "cannot be changed without touching what is not ours".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
