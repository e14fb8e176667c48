//! What a person writes about one instance.
//!
//! Every field may be absent, so that a manifest, a template and the fleet's defaults are the same type.
//! [`super::resolve`] lays them over one another and makes a [`super::spec::Spec`] of the result.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::name::EndpointName;
use super::quantity::{Bytes, Cpus, Span};
use super::secret::SecretName;

/// One instance, as its file says. Only what differs from the template is needed; `{}` is valid.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Manifest {
    /// The template that this instance is made from, such as `playwright-browser` or `mcp-http@1`.
    #[schemars(extend("examples" = ["playwright-browser", "mcp-http"]))]
    pub template: Option<String>,
    /// Who answers for it; free text, shown in status.
    #[schemars(length(max = 200), extend("examples" = ["alice@example.com"]))]
    pub owner: Option<String>,
    /// Whether it should run.
    pub state: Option<State>,
    /// The container image.
    #[schemars(regex(pattern = super::reference::PATTERN), extend("examples" = ["ghcr.io/acme/mcp-server:3"]))]
    pub image: Option<String>,
    /// Replaces the image's entry point; rarely needed.
    #[schemars(extend("examples" = [["/usr/bin/server"]]))]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[schemars(extend("examples" = [["--port", "8080"]]))]
    pub command: Option<Vec<String>>,
    /// Environment variables. They show in inspect: secrets belong under `secrets`.
    #[schemars(extend("examples" = [{ "LOG_LEVEL": "debug" }]))]
    pub env: BTreeMap<String, EnvValue>,
    /// Files under `/run/secrets`, mode 0400, owned by the instance's user.
    #[schemars(extend("examples" = [{ "api_key": { "from_file": "/run/secrets/api_key" } }]))]
    pub secrets: BTreeMap<SecretName, SecretFrom>,
    /// The browser's screen.
    #[schemars(extend("examples" = [{ "width": 1280 }]))]
    pub screen: Option<ScreenPart>,
    /// What it may use.
    #[schemars(extend("examples" = [{ "memory": "1GiB" }]))]
    pub resources: Option<ResourcesPart>,
    /// What it serves, each at `<endpoint>-<name>.<domain>`.
    #[schemars(extend("examples" = [{ "mcp": { "port": 8080 } }]))]
    pub endpoints: BTreeMap<EndpointName, EndpointPart>,
    /// The browser's screen over VNC.
    pub vnc: Option<VncPart>,
    /// How the daemon asks whether it is well, where its image has no health check.
    #[schemars(extend("examples" = [{ "path": "/health" }]))]
    pub health: Option<HealthPart>,
    /// When the engine starts it again.
    pub restart: Option<Restart>,
    /// How a new generation takes over.
    pub replace: Option<ReplaceOrder>,
    /// When the image is pulled.
    pub pull: Option<Pull>,
    /// What it keeps, and what of the host it sees.
    #[schemars(extend("examples" = [[{ "name": "profile", "target": "/home/mcp/profile" }]]))]
    pub volumes: Option<Vec<VolumePart>>,
    /// What it may do; the defaults are the strictest that work.
    #[schemars(extend("examples" = [{ "user": "1000:1000" }]))]
    pub security: Option<SecurityPart>,
    /// Labels of the container's own; `traefik.*` and `instanced.*` are reserved.
    #[schemars(extend("examples" = [{ "team": "qa" }]))]
    pub labels: BTreeMap<String, EnvValue>,
    /// Hashes of bearer tokens that this manifest grants.
    pub tokens: Option<Vec<TokenPart>>,
    /// Prune never removes it.
    pub protect: Option<bool>,
}

/// The part of a path that is within a manifest: a fleet's file has manifests below `defaults` and
/// `templates.NAME`, and no manifest has such keys.
pub fn within<'p, 'k>(path: &'p [&'k str]) -> &'p [&'k str] {
    match path {
        ["defaults", rest @ ..] | ["templates", _, rest @ ..] => rest,
        _ => path,
    }
}

/// Whether a field takes a scalar as the text that its file has, also where YAML reads a number or a truth value.
pub fn is_source_text(path: &[&str]) -> bool {
    matches!(within(path), ["env" | "labels", _] | ["security", "user"])
}

/// What a template says beside its manifest fields.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TemplateHead {
    /// What it is for, in a line.
    #[schemars(extend("examples" = ["Metabase over MCP"]))]
    pub description: Option<String>,
    /// Environment variables that every manifest of this template must set.
    #[schemars(extend("examples" = [["METABASE_URL"]]))]
    pub required_env: Vec<String>,
}

/// Whether an instance should run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    #[default]
    Running,
    /// It stands, and keeps its volumes.
    Stopped,
}

/// When the engine starts a container again after its main process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    #[default]
    Always,
    /// Always, unless it was stopped before the engine restarted.
    UnlessStopped,
    /// When it ended with another status than 0.
    OnFailure,
    /// Never.
    No,
}

/// Which comes first when a new generation takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplaceOrder {
    /// The old one stops, then the new one starts.
    #[default]
    StopFirst,
    /// The new one serves, then the old one stops.
    StartFirst,
}

/// When an image is asked of its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Before each create.
    Always,
    /// Never.
    Never,
}

/// Who may reach an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Whoever shows a bearer token of this instance.
    #[default]
    Bearer,
    /// A person whose browser came by a link with a one-time ticket, which `instanced connect` prints.
    Ticket,
    /// Everyone whom the network lets through.
    None,
}

/// Where a secret's value comes from. Exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretFrom {
    /// A file on the daemon's host, where its policy allows the path.
    FromFile(#[schemars(extend("examples" = ["/run/secrets/api_key"]))] String),
    /// A variable of the daemon's environment, where its policy allows `env:NAME`.
    FromEnv(#[schemars(extend("examples" = ["API_KEY"]))] String),
}

/// The browser's screen.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScreenPart {
    /// Pixels.
    #[schemars(range(min = 320, max = 7680), extend("examples" = [1280]))]
    pub width: Option<NonZeroU16>,
    /// Pixels.
    #[schemars(range(min = 240, max = 4320), extend("examples" = [720]))]
    pub height: Option<NonZeroU16>,
    /// Bits a pixel: 16 or 24.
    #[schemars(extend("examples" = [24, 16]))]
    pub depth: Option<u8>,
}

/// What an instance may use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourcesPart {
    /// Memory, with no swap beyond it.
    pub memory: Option<Bytes>,
    /// Processors.
    pub cpus: Option<Cpus>,
    /// Processes and threads.
    #[schemars(extend("examples" = [256]))]
    pub pids: Option<NonZeroU32>,
    /// Shared memory (`/dev/shm`).
    pub shm: Option<Bytes>,
}

/// One thing that an instance serves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointPart {
    /// The port inside the container.
    #[schemars(extend("examples" = [8080]))]
    pub port: Option<NonZeroU16>,
    /// The path that clients and people open.
    #[schemars(regex(pattern = super::text::PATH_PATTERN), extend("examples" = ["/mcp"]))]
    pub path: Option<String>,
    /// Who may reach it.
    pub auth: Option<Auth>,
}

/// The browser's screen over VNC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VncPart {
    /// Its password; without one, the daemon makes one and keeps it.
    pub password: Option<SecretFrom>,
    /// The password of those who may look, and no more; without one, the daemon makes one where the endpoint
    /// `vnc` is guarded by tickets.
    pub view_password: Option<SecretFrom>,
}

/// How the daemon asks whether an instance is well.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HealthPart {
    /// The endpoint that is asked.
    pub endpoint: Option<EndpointName>,
    /// The path that is asked.
    #[schemars(regex(pattern = super::text::QUERY_PATTERN), extend("examples" = ["/health"]))]
    pub path: Option<String>,
    /// The HTTP statuses that mean well, such as `200-499`.
    pub expect: Option<StatusRange>,
    /// How often.
    pub interval: Option<Span>,
    /// How long an answer may take.
    pub timeout: Option<Span>,
    /// How many failures in a row make it unhealthy.
    #[schemars(range(min = 1, max = 100), extend("examples" = [3]))]
    pub retries: Option<NonZeroU16>,
    /// How long after its start failures do not count.
    pub start_period: Option<Span>,
}

/// A volume of the instance's own (`name`), or a directory of the host (`host`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VolumePart {
    /// The volume's name; it belongs to this instance and outlives its containers.
    #[schemars(extend("examples" = ["profile"]))]
    pub name: Option<String>,
    /// A directory of the host, where policy allows it.
    #[schemars(extend("examples" = ["/srv/data"]))]
    pub host: Option<String>,
    /// Where it is mounted.
    #[schemars(extend("examples" = ["/data"]))]
    pub target: Option<String>,
    /// Whether it can only be read.
    pub read_only: Option<bool>,
}

/// What an instance may do.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecurityPart {
    /// The user, as a number (`"1000"`) or `user:group`, both numbers.
    #[schemars(extend("examples" = ["1000:1000"]))]
    pub user: Option<EnvValue>,
    /// Capabilities beyond none, where policy allows them.
    #[schemars(extend("examples" = [["NET_ADMIN"]]))]
    pub cap_add: Option<Vec<String>>,
    /// Whether the root file system can only be read.
    pub read_only: Option<bool>,
    /// Memory file systems: path to size.
    #[schemars(extend("examples" = [{ "/tmp": "256MiB" }]))]
    pub tmpfs: BTreeMap<String, Bytes>,
}

/// A bearer token granted by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenPart {
    /// What it is for.
    #[schemars(extend("examples" = ["ci"]))]
    pub label: String,
    /// `blake3:` and 64 hexadecimal digits; `instanced token hash` makes it.
    pub hash: super::token::TokenHash,
    /// The first day on which it is no longer valid (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("examples" = ["2027-01-01"]))]
    pub expires: Option<jiff::civil::Date>,
}

/// A text, also where YAML reads a number or a truth value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvValue(pub String);

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = EnvValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<EnvValue, E> {
                Ok(EnvValue(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<EnvValue, E> {
                Ok(EnvValue(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<EnvValue, E> {
                Ok(EnvValue(number.to_string()))
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<EnvValue, E> {
                Ok(EnvValue(flag.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"], "examples": ["debug"] })
    }
}

/// HTTP statuses from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EnvValue", into = "String")]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl TryFrom<EnvValue> for StatusRange {
    type Error = String;
    fn try_from(EnvValue(text): EnvValue) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => {
                Ok(Self { first, last })
            }
            _ => Err(format!(
                "`{text}` is no range of HTTP statuses; write 200 or 200-499"
            )),
        }
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> Self {
        format!("{}-{}", range.first, range.last)
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$",
            "minimum": 100,
            "maximum": 599,
            "examples": ["200", "200-399"],
        })
    }
}
