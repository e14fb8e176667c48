//! One instance, resolved and normalised: every field has its value, equal specs are equal text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bounds;
use super::manifest::{Pull, ReplaceOrder, Restart, State, StatusRange, TokenPart};
use super::name::{EndpointName, InstanceName};
use super::quantity::{Bytes, Cpus, Span};
use super::route::{Edge, Endpoint};
use super::secret::{SecretName, SecretSource, SecretSpec};

/// One instance as it shall be.
///
/// This is also what a container's label records, so a field that is added later needs
/// `#[serde(default)]` with the value that stood for its absence: a format change replaces nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name.
    pub name: InstanceName,
    /// The template it was resolved from, with its version.
    pub template: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it should run.
    pub state: State,
    /// The image's reference.
    pub image: String,
    /// When the image is pulled.
    pub pull: Pull,
    /// In place of the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Environment as the manifest says, without what the daemon adds.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files under `/run/secrets`.
    #[serde(default)]
    pub secrets: BTreeMap<SecretName, SecretSpec>,
    /// The browser's screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<Screen>,
    /// What it may use.
    pub resources: Resources,
    /// What it serves.
    pub endpoints: BTreeMap<EndpointName, Endpoint>,
    /// What its routes go through.
    pub edge: Edge,
    /// The `Host` values under which the edge forwards to it, ports included where not the scheme's own.
    pub allowed_hosts: Vec<String>,
    /// How the daemon asks whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthProbe>,
    /// When the engine starts it again.
    pub restart: Restart,
    /// How a new generation takes over.
    pub replace: ReplaceOrder,
    /// Its volumes.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// What it may do.
    pub security: Security,
    /// The network it stands on.
    pub network: String,
    /// The manifest's own labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Tokens granted by the manifest.
    #[serde(default)]
    pub tokens: Vec<TokenPart>,
    /// Prune never removes it.
    #[serde(default)]
    pub protect: bool,
}

impl Spec {
    /// Names everything that the spec says, in 16 hexadecimal digits.
    ///
    /// A generated secret's value is nothing that it says: who only reads does not know it, and must see what the
    /// daemon sees.
    pub fn digest(&self) -> String {
        let told =
            |secret: &SecretSpec| secret.from == SecretSource::Generated && secret.print.is_some();
        if self.secrets.values().any(told) {
            let mut said = self.clone();
            for secret in said.secrets.values_mut().filter(|secret| told(secret)) {
                secret.print = None;
            }
            return said.digest();
        }
        let text =
            serde_json::to_vec(self).expect("a spec has string keys and finite numbers only");
        blake3::hash(&text).to_hex()[..16].to_owned()
    }
}

/// The browser's screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Bits a pixel.
    pub depth: u8,
}

/// What an instance may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory, with no swap beyond it.
    pub memory: Bytes,
    /// Processors.
    pub cpus: Cpus,
    /// Processes and threads.
    pub pids: u32,
    /// `/dev/shm`.
    pub shm: Bytes,
}

/// How the daemon asks whether an instance is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RecordedProbe")]
pub struct HealthProbe {
    /// The endpoint that is asked.
    pub endpoint: EndpointName,
    /// The path that is asked.
    pub path: String,
    /// The statuses that mean well.
    pub expect: StatusRange,
    /// How often.
    pub interval: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// Failures in a row that make it unhealthy.
    pub retries: u16,
    /// How long after its start failures do not count.
    pub start_period: Span,
}

/// A probe as a container's label records it. A release without bounds may have written it.
#[derive(Deserialize)]
struct RecordedProbe {
    endpoint: EndpointName,
    path: String,
    expect: StatusRange,
    interval: Span,
    timeout: Span,
    retries: u16,
    start_period: Span,
}

impl From<RecordedProbe> for HealthProbe {
    fn from(recorded: RecordedProbe) -> Self {
        Self {
            endpoint: recorded.endpoint,
            path: recorded.path,
            expect: recorded.expect,
            interval: bounds::HEALTH_INTERVAL.clamp(recorded.interval),
            timeout: bounds::HEALTH_TIMEOUT.clamp(recorded.timeout),
            retries: bounds::HEALTH_RETRIES.clamp(recorded.retries),
            start_period: bounds::HEALTH_START_PERIOD.clamp(recorded.start_period),
        }
    }
}

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, as a clean path.
    #[serde(deserialize_with = "super::host_path::recorded")]
    pub target: String,
    /// Whether it can only be read.
    #[serde(default)]
    pub read_only: bool,
}

/// What a volume mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// A volume of the instance's own.
    Name(String),
    /// A directory of the host, as a clean path.
    Host(#[serde(deserialize_with = "super::host_path::recorded")] String),
}

/// What an instance may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Capabilities beyond none.
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Whether the root file system can only be read.
    pub read_only: bool,
    /// Memory file systems: path to size.
    #[serde(default)]
    pub tmpfs: BTreeMap<String, Bytes>,
}
