//! What Docker's inspect says about settings, normalised: nothing and empty are one, defaults are spelled out, and
//! what no draft of ours ever asks for is told by name.
//!
//! Not looked at, because engines fill it in after their own taste: ulimits, masked and read-only paths, sysctls,
//! cgroup names, the runtime, the kernel's security labels, exposed ports (they open nothing).

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, EndpointSettings, HealthConfig, HostConfig,
    ImageInspect, MountPoint,
};
use serde_json::Value;

use super::super::containers::ImageFacts;
use super::super::settings::{HealthCheck, ImageConfig, Mounted, MountedSource, Settings, Tmpfs};
use super::draft::LOG_OPTIONS;
use crate::words::host_path::clean;
use crate::words::observed::Drift;
use crate::words::quantity::Span;

/// What Docker leaves to a container from which nothing was dropped.
const DOCKER_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// What Podman does not leave of these.
const NOT_PODMANS: [&str; 3] = ["AUDIT_WRITE", "MKNOD", "NET_RAW"];

/// What a health check does where the image does not say.
const CHECK_EVERY_SECS: u64 = 30;
const CHECK_WITHIN_SECS: u64 = 30;
const CHECK_RETRIES: u32 = 3;

/// The settings of an inspected container.
pub(super) fn settings(inspected: &ContainerInspectResponse) -> Settings {
    let none = ContainerConfig::default();
    let config = inspected.config.as_ref().unwrap_or(&none);
    let none = HostConfig::default();
    let host = inspected.host_config.as_ref().unwrap_or(&none);
    let env = env(config.env.as_deref());
    let tmpfs = tmpfs(host);
    let podman = env.contains_key("container");
    let networks = inspected
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    Settings {
        entrypoint: list(config.entrypoint.as_ref()),
        command: list(config.cmd.as_ref()),
        hostname: string(config.hostname.as_ref()),
        user: string(config.user.as_ref()),
        working_dir: clean(config.working_dir.as_deref().unwrap_or_default()),
        shm: host
            .shm_size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
        capabilities: capabilities(host, podman),
        read_only: host.readonly_rootfs == Some(true),
        mounts: mounts(inspected.mounts.as_deref().unwrap_or_default(), &tmpfs),
        tmpfs,
        networks: networks
            .into_iter()
            .flatten()
            .map(|(name, endpoint)| (name.clone(), network_id(endpoint)))
            .collect(),
        health_check: health_check(config.healthcheck.as_ref()),
        stop_grace_secs: config
            .stop_timeout
            .and_then(|secs| u32::try_from(secs).ok()),
        stop_signal: signal(config.stop_signal.as_deref()),
        beside: beside(host),
        env,
    }
}

/// What an image says about its containers; `None` for an image without an id, which there is not.
pub(super) fn image(inspected: ImageInspect) -> Option<ImageFacts> {
    let is_fixed = is_fixed(&inspected);
    let config = inspected.config.unwrap_or_default();
    let volumes = config.volumes.as_deref().unwrap_or_default();
    Some(ImageFacts {
        id: inspected.id?,
        is_fixed,
        config: ImageConfig {
            // Of one empty word, no container has it.
            entrypoint: list(config.entrypoint.as_ref().filter(|words| **words != [""])),
            command: list(config.cmd.as_ref()),
            env: env(config.env.as_deref()),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            working_dir: clean(config.working_dir.as_deref().unwrap_or_default()),
            volumes: volumes.iter().map(|path| clean(path)).collect(),
            health_check: health_check(config.healthcheck.as_ref()),
            stop_signal: signal(config.stop_signal.as_deref()),
        },
    })
}

/// Whether an image's id is the digest of its configuration, as where its layers are a graph driver's. In
/// containerd's store an id may be that of an index, and which of its platforms is meant depends on what is there:
/// such an image has a descriptor, and its driver no data.
fn is_fixed(inspected: &ImageInspect) -> bool {
    let driver = inspected.graph_driver.as_ref();
    inspected.descriptor.is_none() && driver.is_some_and(|driver| !driver.data.is_empty())
}

fn list(words: Option<&Vec<String>>) -> Vec<String> {
    words.cloned().unwrap_or_default()
}

fn string(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

/// A line without `=` takes a variable away, and is none.
fn env(lines: Option<&[String]>) -> BTreeMap<String, String> {
    lines
        .unwrap_or_default()
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Docker repeats what was asked for (`ALL` dropped), Podman spells out what that comes to.
fn capabilities(host: &HostConfig, podman: bool) -> BTreeSet<String> {
    let plain = |words: &Option<Vec<String>>| -> BTreeSet<String> {
        let words = words.iter().flatten().map(|word| word.to_ascii_uppercase());
        words
            .map(|word| word.strip_prefix("CAP_").unwrap_or(&word).to_owned())
            .collect()
    };
    let (mut has, dropped) = (plain(&host.cap_add), plain(&host.cap_drop));
    if !dropped.contains("ALL") {
        has.extend(
            DOCKER_CAPABILITIES
                .into_iter()
                .filter(|name| !(podman && NOT_PODMANS.contains(name)))
                .filter(|name| !dropped.contains(*name))
                .map(str::to_owned),
        );
    }
    has
}

/// What matters of a memory file system's options; engines add and reorder others.
fn tmpfs(host: &HostConfig) -> BTreeMap<String, Tmpfs> {
    let mounted = host.tmpfs.iter().flatten().map(|(path, options)| {
        let options: Vec<&str> = options.split(',').collect();
        let size = options
            .iter()
            .find_map(|option| option.strip_prefix("size="));
        let hardened = ["noexec", "nosuid", "nodev"]
            .iter()
            .all(|option| options.contains(option));
        let size = size.and_then(bytes).unwrap_or(0);
        (clean(path), Tmpfs { size, hardened })
    });
    mounted.collect()
}

/// A size as the kernel takes it: bytes, or with k, m or g.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|unit: char| !unit.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

fn mounts(points: &[MountPoint], tmpfs: &BTreeMap<String, Tmpfs>) -> BTreeMap<String, Mounted> {
    let mounted = points.iter().filter_map(|point| {
        let at = clean(point.destination.as_deref()?);
        let (name, source) = (string(point.name.as_ref()), string(point.source.as_ref()));
        let source = match point.typ.as_deref().unwrap_or_default() {
            // Some engines tell of these twice.
            "tmpfs" if tmpfs.contains_key(&at) => return None,
            "volume" if is_anonymous(&name) => MountedSource::Anonymous,
            "volume" => MountedSource::Volume(name),
            // Docker Desktop sees the host's directories below this one.
            "bind" => {
                let path = source.strip_prefix("/host_mnt").unwrap_or(&source);
                MountedSource::Host(clean(path))
            }
            other => MountedSource::Other(format!("{other} {source}").trim().to_owned()),
        };
        let read_only = point.rw == Some(false);
        Some((at, Mounted { source, read_only }))
    });
    mounted.collect()
}

/// Engines name a volume without a name by 32 random bytes.
fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Empty in a container that never ran.
fn network_id(endpoint: &EndpointSettings) -> Option<String> {
    endpoint.network_id.clone().filter(|id| !id.is_empty())
}

fn health_check(config: Option<&HealthConfig>) -> Option<HealthCheck> {
    let config = config?;
    let test = list(config.test.as_ref());
    if test
        .first()
        .is_none_or(|first| first == "NONE" || first.is_empty())
    {
        return None;
    }
    let span = |nanos: Option<i64>, default: u64| {
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        match nanos {
            None | Some(0) => Span::secs(default),
            Some(nanos) => Span(nanos / 1_000_000),
        }
    };
    let retries = config.retries.and_then(|count| u32::try_from(count).ok());
    Some(HealthCheck {
        test,
        interval: span(config.interval, CHECK_EVERY_SECS),
        timeout: span(config.timeout, CHECK_WITHIN_SECS),
        start_period: span(config.start_period, 0),
        retries: retries.filter(|count| *count > 0).unwrap_or(CHECK_RETRIES),
    })
}

/// A signal by its name: `SIGTERM`, which is also what nothing means.
fn signal(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().to_ascii_uppercase();
    match text.as_str() {
        "" | "15" => "SIGTERM".to_owned(),
        "1" => "SIGHUP".to_owned(),
        "2" => "SIGINT".to_owned(),
        "3" => "SIGQUIT".to_owned(),
        "9" => "SIGKILL".to_owned(),
        "10" => "SIGUSR1".to_owned(),
        "12" => "SIGUSR2".to_owned(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => text,
        name if name.starts_with("SIG") => text,
        name => format!("SIG{name}"),
    }
}

/// What [`super::draft`] settles alike for every container, where it is otherwise.
fn beside(host: &HostConfig) -> Vec<Drift> {
    let mut told = Vec::new();
    let mut tell = |field: &str, recorded: Option<Value>, found: Option<Value>| {
        if recorded != found {
            told.push(Drift {
                field: field.to_owned(),
                recorded,
                found,
            });
        }
    };
    let no = || Some(Value::from(false));
    let flag = |set: Option<bool>| Some(Value::from(set == Some(true)));
    tell("privileged", no(), flag(host.privileged));
    tell("auto_remove", no(), flag(host.auto_remove));
    tell("init", no(), flag(host.init));
    tell("oom_kill_disable", no(), flag(host.oom_kill_disable));
    tell("ports", no(), flag(host.publish_all_ports));
    let (hardened, others) = security(host);
    let promise = "security_opt.no-new-privileges";
    tell(
        promise,
        Some(Value::from(true)),
        Some(Value::from(hardened)),
    );
    for (field, found) in [
        ("security_opt", words(&others)),
        ("pid_mode", mode(host.pid_mode.as_deref())),
        ("ipc_mode", mode(host.ipc_mode.as_deref())),
        ("uts_mode", mode(host.uts_mode.as_deref())),
        ("userns_mode", mode(host.userns_mode.as_deref())),
        ("devices", devices(host)),
        ("group_add", words(&list(host.group_add.as_ref()))),
        ("extra_hosts", words(&list(host.extra_hosts.as_ref()))),
        ("dns", dns(host)),
        ("log", log(host)),
    ] {
        tell(field, None, found);
    }
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let shown = bindings.iter().flatten().map(|binding| {
            let (address, port) = (&binding.host_ip, &binding.host_port);
            let address = address.as_deref().unwrap_or_default();
            format!("{address}:{}", port.as_deref().unwrap_or_default())
        });
        tell(
            &format!("ports.{port}"),
            None,
            words(&shown.collect::<Vec<_>>()),
        );
    }
    told
}

fn words(found: &[String]) -> Option<Value> {
    (!found.is_empty()).then(|| Value::from(found))
}

/// A mode other than a namespace of its own, which engines write as nothing or `private`.
fn mode(found: Option<&str>) -> Option<Value> {
    let found = found.unwrap_or_default();
    (!matches!(found, "" | "private")).then(|| Value::from(found))
}

/// Whether no privileges can be gained, and everything else that is said.
fn security(host: &HostConfig) -> (bool, Vec<String>) {
    let promise = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=true",
    ];
    let (promises, mut others): (Vec<_>, Vec<_>) = list(host.security_opt.as_ref())
        .into_iter()
        .partition(|option| option.starts_with("no-new-privileges"));
    // Docker's own consequence of privileges and of the host's namespaces, which are told for themselves.
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    if host.privileged == Some(true) || is_host(&host.pid_mode) || is_host(&host.ipc_mode) {
        others.retain(|option| option != "label=disable");
    }
    let kept = promises
        .iter()
        .any(|option| promise.contains(&option.as_str()));
    (kept, others)
}

fn devices(host: &HostConfig) -> Option<Value> {
    let mapped = host.devices.iter().flatten();
    let mut found: Vec<String> = mapped
        .map(|device| string(device.path_on_host.as_ref()))
        .collect();
    found.extend(host.device_cgroup_rules.iter().flatten().cloned());
    let requests = host.device_requests.iter().flatten();
    found.extend(requests.map(|request| {
        let driver = request.driver.clone().filter(|driver| !driver.is_empty());
        format!("driver {}", driver.unwrap_or_else(|| "gpu".to_owned()))
    }));
    words(&found)
}

fn dns(host: &HostConfig) -> Option<Value> {
    let all = [&host.dns, &host.dns_options, &host.dns_search];
    words(
        &all.into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect::<Vec<_>>(),
    )
}

/// Bounds that are not ours, where the engine writes plain files. Another driver is the engine's business.
fn log(host: &HostConfig) -> Option<Value> {
    let log = host.log_config.as_ref()?;
    if log.typ.as_deref() != Some("json-file") {
        return None;
    }
    let options = log.config.clone().unwrap_or_default();
    let bounded = LOG_OPTIONS
        .iter()
        .all(|(key, value)| options.get(*key).is_some_and(|found| found == value));
    let options: BTreeMap<_, _> = options.into_iter().collect();
    (!bounded).then(|| serde_json::to_value(options).expect("texts only"))
}

#[cfg(test)]
mod tests;
