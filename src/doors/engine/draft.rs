//! A spec as a container to be created. Pure: the same spec and generation are the same draft.

use std::collections::BTreeMap;

use super::containers::{Draft, DraftFile, DraftMount, MountSource};
use super::{Secrets, traefik};
use crate::words::label;
use crate::words::name::ManagerName;
use crate::words::secret;
use crate::words::spec::{Spec, VolumeSource};

/// What a process has between TERM and KILL. The browser's image needs well under a second of it.
const STOP_GRACE_SECS: u32 = 10;

/// The container of one generation of `spec`.
///
/// `with_secrets` mounts the generation's volume of secrets. Who changes what a draft says reads
/// [`label::DRAFT_VERSION_NOW`] first: what older versions made must not look like somebody's hand.
pub fn draft(manager: &ManagerName, spec: &Spec, generation: u64, with_secrets: bool) -> Draft {
    Draft {
        name: label::container_name(manager, &spec.name, generation),
        image: spec.image.clone(),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        env: env(spec),
        labels: labels(manager, spec, generation),
        // The same for every generation: what a browser locks in its profile names the host.
        hostname: spec.name.to_string(),
        user: format!("{}:{}", spec.security.uid, spec.security.gid),
        memory: spec.resources.memory.0,
        nano_cpus: spec.resources.cpus.0,
        pids: spec.resources.pids,
        shm: spec.resources.shm.0,
        restart: spec.restart,
        cap_add: spec.security.cap_add.clone(),
        read_only: spec.security.read_only,
        tmpfs: spec
            .security
            .tmpfs
            .iter()
            .map(|(path, size)| (path.clone(), size.0))
            .collect(),
        mounts: mounts(manager, spec, generation, with_secrets),
        network: spec.network.clone(),
        stop_grace_secs: STOP_GRACE_SECS,
    }
}

/// The labels by which a thing of `spec` is ours.
pub fn ownership(manager: &ManagerName, spec: &Spec, generation: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::MANAGER.to_owned(), manager.to_string()),
        (label::INSTANCE.to_owned(), spec.name.to_string()),
        (label::GENERATION.to_owned(), generation.to_string()),
    ])
}

fn labels(manager: &ManagerName, spec: &Spec, generation: u64) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.extend(traefik::labels(manager, spec, generation));
    labels.extend(ownership(manager, spec, generation));
    let text = serde_json::to_string(spec).expect("a spec has string keys and finite numbers only");
    labels.insert(label::SPEC.to_owned(), text);
    labels.insert(
        label::SPEC_VERSION.to_owned(),
        label::SPEC_VERSION_NOW.to_string(),
    );
    labels.insert(
        label::DRAFT_VERSION.to_owned(),
        label::DRAFT_VERSION_NOW.to_string(),
    );
    labels
}

fn env(spec: &Spec) -> BTreeMap<String, String> {
    let mut env = spec.env.clone();
    env.insert("INSTANCE_ID".to_owned(), spec.name.to_string());
    if !spec.allowed_hosts.is_empty() {
        env.insert("MCP_ALLOWED_HOSTS".to_owned(), spec.allowed_hosts.join(","));
    }
    if let Some(screen) = &spec.screen {
        env.insert("SCREEN_WIDTH".to_owned(), screen.width.to_string());
        env.insert("SCREEN_HEIGHT".to_owned(), screen.height.to_string());
        env.insert("COLOR_DEPTH".to_owned(), screen.depth.to_string());
    }
    env
}

fn mounts(
    manager: &ManagerName,
    spec: &Spec,
    generation: u64,
    with_secrets: bool,
) -> Vec<DraftMount> {
    let mut mounts: Vec<_> = spec
        .volumes
        .iter()
        .map(|volume| DraftMount {
            source: match &volume.source {
                VolumeSource::Name(name) => {
                    MountSource::Volume(label::instance_volume(manager, &spec.name, name))
                }
                VolumeSource::Host(path) => MountSource::Host(path.clone()),
            },
            target: volume.target.clone(),
            read_only: volume.read_only,
        })
        .collect();
    if with_secrets {
        mounts.push(DraftMount {
            source: MountSource::Volume(label::secrets_volume(manager, &spec.name, generation)),
            target: secret::DIRECTORY.to_owned(),
            // Writable, or the engine could not put the files; they themselves are read-only.
            read_only: false,
        });
    }
    mounts
}

/// The files of an instance's secrets, readable by its user alone.
pub fn secret_files(spec: &Spec, secrets: &Secrets) -> Vec<DraftFile> {
    secrets
        .iter()
        .filter(|(name, _)| spec.secrets.contains_key(*name))
        .map(|(name, value)| DraftFile {
            name: name.to_string(),
            content: value.clone(),
            mode: 0o400,
            uid: spec.security.uid,
            gid: spec.security.gid,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::config::Config;
    use crate::words::desired::{Snapshot, SourceFile};
    use crate::words::resolve::resolve;

    const MANIFEST: &str = "
env: { LANG: C }
labels: { team: qa }
volumes: [ { name: profile, target: /profile }, { host: /srv/x, target: /x, read_only: true } ]
";

    /// When this fails, the same spec has become another container: raise `label::DRAFT_VERSION_NOW`, and name in
    /// `drift::is_comparable` what of older containers is not compared any more. Only then accept the text.
    #[test]
    fn what_a_draft_says_changes_only_with_its_version() {
        let file = SourceFile::of_text("i/alice.yaml", MANIFEST);
        let snapshot = Snapshot {
            revision: "r".to_owned(),
            manifests: vec![file],
            ..Snapshot::default()
        };
        let mut config = Config::default();
        config.policy.host_paths.allow = vec!["*".to_owned()];
        let desired = resolve(&snapshot, &config).expect("a fleet");
        let manager = config.manager.clone();
        let mut draft = draft(&manager, &desired.specs["alice"], 3, true);
        // The spec's own form has its own version.
        draft.labels.remove(label::SPEC);
        insta::assert_debug_snapshot!(draft);
    }
}
