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
/// Of a volume that outlives generations: whose it is, as [`volume_owner`] says.
pub const VOLUME_OF: &str = "instanced.volume-of";
/// What starts the labels that a manifest must not set, in lower case.
const RESERVED: [&str; 2] = ["instanced.", TRAEFIK];
/// What starts the labels that Traefik reads, in lower case.
const TRAEFIK: &str = "traefik.";

/// The highest generation that is believed: more than anybody's daemon ever makes, and its successors are
/// numbers everywhere, in JSON and as a priority of Traefik's.
pub const GENERATION_MAX: u64 = 1 << 52;
/// The form of spec that this version writes.
pub const SPEC_VERSION_NOW: u32 = 1;
/// The form of draft that this version makes. It rises when the same spec becomes another container.
pub const DRAFT_VERSION_NOW: u32 = 2;

/// Whether a manifest must not set a label. A container with a label `Traefik.Enable` gets no routes from Traefik at all
/// ("invalid label root").
pub fn is_reserved(key: &str) -> bool {
    let key = key.to_lowercase();
    RESERVED.iter().any(|reserved| key.starts_with(reserved))
}

/// Whether Traefik looks at a label, in whatever case it is written.
pub fn is_of_traefik(key: &str) -> bool {
    key.to_lowercase().starts_with(TRAEFIK)
}

/// `instanced-<manager>-<instance>-g<generation>`: a container's name.
pub fn container_name(manager: &ManagerName, instance: &InstanceName, generation: u64) -> String {
    format!("instanced-{manager}-{instance}-g{generation}")
}

/// `instanced-<manager>-<instance>-g<generation>-secrets`: the volume with a generation's secrets.
pub fn secrets_volume(manager: &ManagerName, instance: &InstanceName, generation: u64) -> String {
    format!("{}-secrets", container_name(manager, instance, generation))
}

/// `instanced-<manager>-<instance>-vol-<volume>`: a volume that outlives generations.
pub fn instance_volume(manager: &ManagerName, instance: &InstanceName, volume: &str) -> String {
    format!("instanced-{manager}-{instance}-vol-{volume}")
}

/// `<manager>/<instance>`: whose a volume is that outlives generations.
pub fn volume_owner(manager: &ManagerName, instance: &InstanceName) -> String {
    format!("{manager}/{instance}")
}

/// Whether a volume of this name might be called as the volume of another instance is: `b-vol-c` of `a`, and `c` of
/// `a-vol-b`; `vol-b` of `a`, and `b` of `a-vol`. Without such names, no two instances have one.
pub fn is_ambiguous(volume: &str) -> bool {
    volume.contains("-vol-") || volume.starts_with("vol-")
}

/// Whether a volume of this name would be called as the volume with another instance's secrets is: `b-g1-secrets` of
/// `a`, and the secrets of `a-vol-b`.
pub fn is_like_secrets(volume: &str) -> bool {
    let generation = volume.strip_suffix("-secrets").map(|rest| {
        let last = rest.rsplit('-').next().unwrap_or_default();
        last.strip_prefix('g').unwrap_or_default()
    });
    generation.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_have_a_volume_of_one_name() {
        let manager: ManagerName = "m".parse().expect("a name");
        let parts = ["a", "b", "vol", "vola", "avol"];
        let texts: Vec<String> = (1..=4_u32)
            .flat_map(|length| (0..5_usize.pow(length)).map(move |number| (length, number)))
            .map(|(length, mut number)| {
                let mut text = Vec::new();
                for _ in 0..length {
                    text.push(parts[number % 5]);
                    number /= 5;
                }
                text.join("-")
            })
            .collect();
        let sound = texts.iter().filter(|volume| !is_ambiguous(volume));
        let sound: Vec<_> = sound.collect();
        assert!(sound.len() > 100 && sound.len() < texts.len());
        let mut known = std::collections::HashSet::new();
        for instance in texts.iter().filter(|text| text.len() < 16) {
            let instance: InstanceName = instance.parse().expect("a name");
            for volume in &sound {
                let name = instance_volume(&manager, &instance, volume);
                assert!(known.insert(name), "`{volume}` of {instance}");
            }
        }
    }

    #[test]
    fn no_volume_of_an_instance_is_called_like_anothers_secrets() {
        let name = |text: &str| text.parse::<InstanceName>().expect("a name");
        let manager: ManagerName = "m".parse().expect("a name");
        for (volume, other, generation) in
            [("b-g1-secrets", "a-vol-b", 1), ("g12-secrets", "a-vol", 12)]
        {
            assert_eq!(
                instance_volume(&manager, &name("a"), volume),
                secrets_volume(&manager, &name(other), generation),
                "why it matters"
            );
            assert!(is_like_secrets(volume), "{volume}");
        }
        for sound in [
            "secrets",
            "my-secrets",
            "g1",
            "g-secrets",
            "gx-secrets",
            "g1-secrets-old",
        ] {
            assert!(!is_like_secrets(sound), "{sound}");
        }
    }
}
