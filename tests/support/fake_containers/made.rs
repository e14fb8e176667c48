//! What a container of the fake is set to: what its draft says, and its image where the draft is silent. Written
//! from what Docker does, not from what the product expects.

use std::collections::BTreeMap;

use instanced::doors::engine::containers::{Draft, MountSource};
use instanced::doors::engine::settings::{ImageConfig, Mounted, MountedSource, Settings, Tmpfs};

/// The labels of a container.
pub(super) fn labels(draft: &Draft, image: &ImageConfig) -> BTreeMap<String, String> {
    let mut labels = image.labels.clone();
    labels.extend(draft.labels.clone());
    labels
}

/// Its settings, on a network with this id.
pub(super) fn settings(draft: &Draft, image: &ImageConfig) -> Settings {
    let mut env = image.env.clone();
    env.extend(draft.env.clone());
    let given = |words: &Option<Vec<String>>| words.clone().filter(|words| !words.is_empty());
    let command = given(&draft.command).or_else(|| {
        let inherits = given(&draft.entrypoint).is_none();
        inherits.then(|| image.command.clone())
    });
    let mut mounts = BTreeMap::new();
    for path in &image.volumes {
        let anonymous = Mounted {
            source: MountedSource::Anonymous,
            read_only: false,
        };
        mounts.insert(path.clone(), anonymous);
    }
    for mount in &draft.mounts {
        let source = match &mount.source {
            MountSource::Volume(name) => MountedSource::Volume(name.clone()),
            MountSource::Host(path) => MountedSource::Host(path.clone()),
        };
        let read_only = mount.read_only;
        // Engines clean paths.
        let target = mount.target.trim_end_matches('/').to_owned();
        mounts.insert(target, Mounted { source, read_only });
    }
    let tmpfs = draft.tmpfs.iter().map(|(path, size)| {
        let (size, hardened) = (*size, true);
        (path.clone(), Tmpfs { size, hardened })
    });
    Settings {
        entrypoint: draft
            .entrypoint
            .clone()
            .unwrap_or_else(|| image.entrypoint.clone()),
        command: command.unwrap_or_default(),
        env,
        hostname: draft.hostname.clone(),
        user: draft.user.clone(),
        working_dir: image.working_dir.clone(),
        shm: draft.shm,
        capabilities: draft.cap_add.iter().cloned().collect(),
        read_only: draft.read_only,
        tmpfs: tmpfs.collect(),
        mounts,
        // Its id is told once it has an address there.
        networks: BTreeMap::from([(draft.network.clone(), None)]),
        health_check: image.health_check.clone(),
        stop_grace_secs: Some(draft.stop_grace_secs),
        stop_signal: image.stop_signal.clone(),
        beside: Vec::new(),
    }
}

/// What an image says that says nothing but how it is started.
pub(super) fn plain_image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/tiny".to_owned()],
        working_dir: "/".to_owned(),
        stop_signal: "SIGTERM".to_owned(),
        ..ImageConfig::default()
    }
}
