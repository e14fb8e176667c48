//! The labels by which a container is ours, and the names that hold manager, instance and generation.

use super::name::{InstanceName, ManagerName};

/// Whose container this is.
pub const MANAGER: &str = "instanced.manager";
/// Which instance this is.
pub const INSTANCE: &str = "instanced.instance";
/// Which generation of it, from 1.
pub const GENERATION: &str = "instanced.generation";
/// The form of the spec in [`SPEC`].
pub const SPEC_VERSION: &str = "instanced.spec-version";
/// The spec from which the container was created: normalised JSON, no secret in it.
pub const SPEC: &str = "instanced.spec";
/// The form of draft that made it: what a container of this spec is made like.
pub const DRAFT_VERSION: &str = "instanced.draft-version";
/// Which daemon made it: the id of its state directory.
pub const AUTHOR: &str = "instanced.author";
/// What starts the labels that a manifest must not set.
pub const RESERVED: [&str; 2] = ["instanced.", "traefik."];

/// The highest generation that is believed: more than anybody's daemon ever makes, and its successors are
/// numbers everywhere, in JSON and as a priority of Traefik's.
pub const GENERATION_MAX: u64 = 1 << 52;
/// The form of spec that this version writes.
pub const SPEC_VERSION_NOW: u32 = 1;
/// The form of draft that this version makes. It rises when the same spec becomes another container.
pub const DRAFT_VERSION_NOW: u32 = 1;

/// `instanced-<manager>-<instance>-g<generation>`: a container's name.
pub fn container_name(manager: &ManagerName, instance: &InstanceName, generation: u64) -> String {
    format!("instanced-{manager}-{instance}-g{generation}")
}

/// `instanced-<manager>-<instance>-g<generation>-secrets`: the volume with a generation's secrets.
pub fn secrets_volume(manager: &ManagerName, instance: &InstanceName, generation: u64) -> String {
    format!("{}-secrets", container_name(manager, instance, generation))
}

/// `instanced-<manager>-<instance>-<volume>`: a volume that outlives generations.
pub fn instance_volume(manager: &ManagerName, instance: &InstanceName, volume: &str) -> String {
    format!("instanced-{manager}-{instance}-vol-{volume}")
}
