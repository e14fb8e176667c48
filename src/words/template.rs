//! Built-in templates. One never changes under its name and version, so that a new binary replaces
//! nothing; what is better gets the next version.

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
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
/// What begins the variables that tell the browser's image where its passwords are.
const SCREEN_ENV: &str = "VNC_";

/// Whether an endpoint asks for a password itself: it is the screen of a built-in template, with that template's
/// image and program. What another image serves there is not known, whatever the endpoint is called.
pub fn asks_for_password(spec: &Spec, endpoint: &EndpointName) -> bool {
    let (Some(template), Some(route)) = (find(&spec.template), spec.endpoints.get(endpoint)) else {
        return false;
    };
    let document = Document::parse(template.name, template.text)
        .expect("a built-in template is sound: the tests read each");
    let own = document.value();
    let screen = &own["endpoints"][SCREEN];
    let is_password = |name: &secret::SecretName| name.as_str() == secret::VNC_PASSWORD;
    endpoint.as_str() == SCREEN
        && spec.secrets.keys().any(is_password)
        && own["image"] == spec.image.as_str()
        && screen["port"] == route.port
        && screen["path"] == route.path.as_str()
        && spec.entrypoint.is_none()
        && spec.command.is_none()
        && !spec.env.keys().any(|key| key.starts_with(SCREEN_ENV))
}

fn split(reference: &str) -> Option<(&str, u32)> {
    match reference.split_once('@') {
        Some((name, version)) => Some((name, version.parse().ok()?)),
        None => Some((reference, 1)),
    }
}
