//! A draft in Docker's form. Whatever an engine's default could decide is said.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType,
};

use super::super::containers::{Draft, DraftMount, MountSource};
use super::facts;

/// Bounds of a container's log where the engine writes plain files; it has none of its own.
pub(super) const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];

/// The request that creates a container on the network with this id.
pub(super) fn body(draft: &Draft, network_id: &str, log_driver: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(draft.hostname.clone()),
        user: Some(draft.user.clone()),
        image: Some(draft.image.clone()),
        entrypoint: draft.entrypoint.clone(),
        cmd: draft.command.clone(),
        env: Some(
            draft
                .env
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        ),
        labels: Some(draft.labels.clone().into_iter().collect()),
        stop_timeout: Some(draft.stop_grace_secs.into()),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host(draft, network_id, log_driver)),
        ..ContainerCreateBody::default()
    }
}

fn host(draft: &Draft, network_id: &str, log_driver: &str) -> HostConfig {
    let memory = Some(signed(draft.memory));
    HostConfig {
        // The id, because an engine may have two networks of one name.
        network_mode: Some(network_id.to_owned()),
        publish_all_ports: Some(false),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(draft.cap_add.clone()),
        // The engine's own seccomp and AppArmor profiles stay, because nothing else is said here.
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        readonly_rootfs: Some(draft.read_only),
        ipc_mode: Some("private".to_owned()),
        // Equal to memory: no swap. Alone, the engine would add as much swap as memory.
        memory,
        memory_swap: memory,
        nano_cpus: Some(signed(draft.nano_cpus)),
        pids_limit: Some(draft.pids.into()),
        shm_size: Some(signed(draft.shm)),
        oom_kill_disable: Some(false),
        tmpfs: Some(
            draft
                .tmpfs
                .iter()
                .map(|(path, size)| (path.clone(), tmpfs(*size)))
                .collect(),
        ),
        mounts: Some(draft.mounts.iter().map(mount).collect()),
        restart_policy: Some(facts::policy(draft.restart)),
        auto_remove: Some(false),
        init: Some(false),
        log_config: log(log_driver),
        ..HostConfig::default()
    }
}

/// Nothing in a memory file system is executed, and anybody inside may write to it, as to /tmp.
fn tmpfs(size: u64) -> String {
    format!("rw,noexec,nosuid,nodev,size={size},mode=1777")
}

fn mount(mount: &DraftMount) -> Mount {
    let (typ, source, bind_options) = match &mount.source {
        MountSource::Volume(name) => (MountType::VOLUME, name, None),
        MountSource::Host(path) => {
            let never = MountBindOptions {
                create_mountpoint: Some(false),
                ..MountBindOptions::default()
            };
            (MountType::BIND, path, Some(never))
        }
    };
    Mount {
        typ: Some(typ),
        source: Some(source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        bind_options,
        ..Mount::default()
    }
}

/// Other drivers than plain files bound themselves or take other options.
fn log(driver: &str) -> Option<HostConfigLogConfig> {
    let config = LOG_OPTIONS
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    (driver == "json-file").then(|| HostConfigLogConfig {
        typ: Some(driver.to_owned()),
        config: Some(config.collect::<HashMap<_, _>>()),
    })
}

/// No machine has more than 2^63 bytes.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod property;
