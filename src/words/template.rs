//! Built-in templates. One never changes under its name and version, so that a new binary replaces
//! nothing; what is better gets the next version.

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use super::host_path::is_below;
use super::name::EndpointName;
use super::secret;
use super::spec::Spec;

/// A template that comes with the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// Its version; the bare name means 1.
    pub version: u32,
    /// What it is for, in a line.
    pub description: &'static str,
    /// Its manifest fields, as YAML.
    pub text: &'static str,
}

/// A template as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListedTemplate {
    /// What a manifest writes to stand on it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it comes with the program; else it is the fleet's own.
    pub built_in: bool,
    /// Variables that its manifests must set.
    pub required_env: Vec<String>,
}

impl From<&Template> for ListedTemplate {
    fn from(template: &Template) -> Self {
        Self {
            name: template.reference(),
            description: template.description.to_owned(),
            built_in: true,
            required_env: Vec::new(),
        }
    }
}

const BUILT_IN: [Template; 2] = [
    Template {
        name: "playwright-browser",
        version: 1,
        description: "A real browser: Playwright MCP to drive it, noVNC to watch it",
        text: include_str!("template/playwright-browser@1.yaml"),
    },
    Template {
        name: "mcp-http",
        version: 1,
        description: "Any MCP server that speaks HTTP; the manifest names its image",
        text: include_str!("template/mcp-http@1.yaml"),
    },
];

/// The template of a manifest that names none, where the fleet's defaults name none either.
pub const DEFAULT: &str = "playwright-browser";

/// All built-in templates.
pub fn built_in() -> &'static [Template] {
    &BUILT_IN
}

/// The built-in template under `name` or `name@version`.
pub fn find(reference: &str) -> Option<&'static Template> {
    let (name, version) = split(reference)?;
    BUILT_IN
        .iter()
        .find(|t| t.name == name && t.version == version)
}

/// Whether `reference` names a built-in template in any version: a fleet cannot take that name.
pub fn is_reserved(reference: &str) -> bool {
    let name = reference.split('@').next().unwrap_or_default();
    BUILT_IN.iter().any(|t| t.name == name)
}

impl Template {
    /// `name@version`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// The endpoint of a template's screen.
const SCREEN: &str = "vnc";
/// What begins the fields that tell the browser's image where its passwords are.
const SCREEN_ENV: &str = "env.VNC_";
/// Variables of a manifest that cannot change what the browser's image serves at its screen's port. Others can: a shell
/// runs what `BASH_ENV` says, and Playwright MCP has a variable for each of its options.
const HARMLESS_ENV: [&str; 10] = [
    "TZ",
    "LANG",
    "MCP_IDLE_TIMEOUT_SECS",
    "PLAYWRIGHT_MCP_PING_TIMEOUT_MS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// Directories of the browser's image from which no program that serves the screen reads code or settings.
const DATA_DIRECTORIES: [&str; 5] = [
    "/home/mcp/profile",
    "/home/mcp/downloads",
    "/data",
    "/mnt",
    "/srv",
];
/// The same for memory file systems, which begin empty.
const SCRATCH_DIRECTORIES: [&str; 1] = ["/tmp"];

/// What of a manifest could put something else in the place of a template's screen, by field. `None` where the endpoint
/// is no such screen at all: another template, image or program, another port or path, or no password. What another
/// image serves there is not known, whatever the endpoint is called.
pub fn beside_screen(spec: &Spec, endpoint: &EndpointName) -> Option<Vec<String>> {
    let (Some(template), Some(route)) = (find(&spec.template), spec.endpoints.get(endpoint)) else {
        return None;
    };
    let document = Document::parse(template.name, template.text)
        .expect("a built-in template is sound: the tests read each");
    let own = document.value();
    let screen = &own["endpoints"][SCREEN];
    let is_password = |name: &secret::SecretName| name.as_str() == secret::VNC_PASSWORD;
    let is_screen = endpoint.as_str() == SCREEN
        && spec.secrets.keys().any(is_password)
        && own["image"] == spec.image.as_str()
        && screen["port"] == route.port
        && screen["path"] == route.path.as_str()
        && spec.entrypoint.is_none()
        && spec.command.is_none();
    if !is_screen {
        return None;
    }
    let is_in = |path: &str, directories: &[&str]| {
        let mut directories = directories.iter();
        directories.any(|dir| path == *dir || is_below(path, dir))
    };
    let env = spec.env.keys();
    let env = env.filter(|key| !HARMLESS_ENV.contains(&key.as_str()));
    let env = env.map(|key| format!("env.{key}"));
    let volumes = spec.volumes.iter().enumerate();
    let volumes = volumes.filter(|(_, volume)| !is_in(&volume.target, &DATA_DIRECTORIES));
    let volumes = volumes.map(|(index, _)| format!("volumes[{index}]"));
    let tmpfs = spec.security.tmpfs.keys();
    let tmpfs =
        tmpfs.filter(|path| !is_in(path, &SCRATCH_DIRECTORIES) && !is_in(path, &DATA_DIRECTORIES));
    let tmpfs = tmpfs.map(|path| format!("security.tmpfs.{path}"));
    Some(env.chain(volumes).chain(tmpfs).collect())
}

/// Whether an endpoint asks for a password itself, unless somebody went to lengths: it is the screen of a built-in
/// template, and nothing says where its passwords are.
pub fn asks_for_password(spec: &Spec, endpoint: &EndpointName) -> bool {
    let moves = |field: &String| field.starts_with(SCREEN_ENV);
    beside_screen(spec, endpoint).is_some_and(|fields| !fields.iter().any(moves))
}

fn split(reference: &str) -> Option<(&str, u32)> {
    match reference.split_once('@') {
        Some((name, version)) => Some((name, version.parse().ok()?)),
        None => Some((reference, 1)),
    }
}
