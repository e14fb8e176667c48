//! What the engine reported: already a moment old, and never more than what it said.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::Restart;
use super::name::InstanceName;
use super::quantity::{Bytes, Cpus};
use super::spec::{Resources, Spec};

/// The fleet as the engine sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Our generations by instance, in ascending order of number.
    pub instances: BTreeMap<InstanceName, Vec<Generation>>,
    /// Instances of which the engine did not say what they do, and why: nothing is planned for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unobserved: BTreeMap<InstanceName, String>,
    /// Foreign things that hold a name that a generation of ours would have, by that generation:
    /// `<instance>-g<number>`.
    pub foreign: BTreeMap<String, Foreign>,
    /// Images that were asked about and exist: reference to id.
    pub images: BTreeMap<String, String>,
    /// What is wrong with what all instances stand on: its network does not isolate, say.
    #[serde(default)]
    pub ground: Option<String>,
    /// What a crash left of secrets of generations that are gone: the engine's names of it.
    #[serde(default)]
    pub leftovers: Vec<String>,
}

impl Observed {
    /// Whether there is anything of an instance, also where the engine does not say what.
    pub fn has(&self, name: &InstanceName) -> bool {
        self.instances.contains_key(name) || self.unobserved.contains_key(name)
    }
}

/// Something of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Its name on the engine.
    pub name: String,
    /// What it is, for a person.
    pub what: String,
}

/// One generation of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The engine's own id of it, opaque.
    pub id: String,
    /// Its name on the engine.
    pub name: String,
    /// Its number, from 1.
    pub number: u64,
    /// What it was created from.
    pub applied: Applied,
    /// What it is doing.
    pub phase: Phase,
    /// What its health check says, where it has one.
    pub health: Option<Health>,
    /// The id of the image it was created from.
    pub image_id: String,
    /// Its address on the fleet's network, while it runs.
    pub address: Option<IpAddr>,
    /// When it was started last, as the engine writes it.
    pub started: Option<jiff::Timestamp>,
    /// What it may use and when the engine starts it again, as the engine says: these change in place, so
    /// the record does not tell.
    pub limits: Limits,
    /// What of it is otherwise than the record must have made it: somebody's hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Which daemon's state directory it was made from; `None` where it was made before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How often the engine restarted it by itself since it was started last.
    #[serde(default)]
    pub restarts: u32,
}

/// What an engine can change in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Memory; `None` is no limit.
    pub memory: Option<Bytes>,
    /// Memory and swap together; equal to memory when there is no swap, `None` is no limit.
    pub memory_swap: Option<Bytes>,
    /// Processors; `None` is no limit.
    pub cpus: Option<Cpus>,
    /// Processes and threads; `None` is no limit.
    pub pids: Option<u32>,
    /// When the engine starts it again.
    pub restart: Restart,
}

impl Limits {
    /// What a spec demands.
    pub fn of(spec: &Spec) -> Self {
        let Resources {
            memory, cpus, pids, ..
        } = spec.resources;
        Self {
            memory: Some(memory),
            memory_swap: Some(memory),
            cpus: Some(cpus),
            pids: Some(pids),
            restart: spec.restart,
        }
    }

    /// The same, but the engine revives nothing.
    #[must_use]
    pub fn at_rest(self) -> Self {
        Self {
            restart: Restart::No,
            ..self
        }
    }
}

/// An owned field of a container that is otherwise than its record must have made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Its path, in the words of a manifest where there is one: `env.LANG`, `networks.mcp_instances`.
    pub field: String,
    /// What the record must have made it; `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    /// What it is; `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Value>,
}

/// The record of the spec that a generation was created from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// As recorded.
    Spec(Arc<Spec>),
    /// Recorded in a form that a newer version of ours writes.
    Newer(u32),
    /// Not readable; why.
    Unreadable(String),
}

/// What a generation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Created and never started: an unfinished creation.
    Created,
    /// Its main process runs.
    Running,
    /// The engine is about to start it again.
    Restarting,
    /// Frozen by somebody.
    Paused,
    /// Its main process ended, with this status.
    Exited(i64),
    /// Being removed, or broken beyond use.
    Dead,
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not decided yet.
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy,
}

#[cfg(test)]
impl Generation {
    /// The first generation of `spec`, as it runs.
    pub(crate) fn running(spec: &Arc<Spec>) -> Self {
        Self {
            id: format!("{}-id", spec.name),
            name: format!("{}-g1", spec.name),
            number: 1,
            applied: Applied::Spec(Arc::clone(spec)),
            phase: Phase::Running,
            health: None,
            image_id: String::new(),
            address: None,
            started: None,
            limits: Limits::of(spec),
            drift: Vec::new(),
            author: None,
            restarts: 0,
        }
    }
}
