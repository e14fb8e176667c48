//! What the engine is, and which containers look like Traefik: for a checkup. Reading calls only.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};

use super::super::EngineError;
use super::DockerReader;
use super::error::call;
use crate::decisions::checkup::facts::EngineFacts;

/// How long one call may take: whoever looks whether it answers does not want to wait for a busy disk.
const LIMIT: Duration = Duration::from_secs(4);

/// A container that looks like Traefik.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Its name.
    pub name: String,
    /// Its first process, in this host's numbers.
    pub pid: u32,
    /// Whether it stands on the host's network.
    pub on_host: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl DockerReader {
    /// What it says of itself.
    pub async fn about(&self) -> Result<EngineFacts, EngineError> {
        let info = call(
            || "read the engine's info".to_owned(),
            LIMIT,
            self.client.info(),
        );
        let version = call(
            || "read the engine's version".to_owned(),
            LIMIT,
            self.client.version(),
        );
        let (info, version) = tokio::try_join!(info, version)?;
        let mut facts = facts(info, version);
        facts.address.clone_from(&self.address);
        facts.root = facts.root.filter(|root| self.local && root.is_dir());
        facts.open_socket = self
            .socket()
            .is_some_and(|path| path.metadata().is_ok_and(|found| found.mode() & 0o002 != 0));
        Ok(facts)
    }

    /// Whether the engine shares this host's kernel.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Its socket, where it has one.
    fn socket(&self) -> Option<PathBuf> {
        self.address.strip_prefix("unix://").map(PathBuf::from)
    }

    /// The first process of a running container, in the numbers of the engine's host.
    pub async fn process_of(&self, container: &str) -> Result<Option<u32>, EngineError> {
        let inspect = self
            .client
            .inspect_container(container, None::<InspectContainerOptions>);
        let operation = || format!("inspect container {container:.12}");
        let found = call(operation, LIMIT, inspect).await?;
        let pid = found.state.and_then(|state| state.pid);
        Ok(pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0))
    }

    /// The running containers whose image is called Traefik.
    pub async fn proxies(&self) -> Result<Vec<Proxy>, EngineError> {
        let list = self.client.list_containers(None::<ListContainersOptions>);
        let listed = call(|| "list containers".to_owned(), LIMIT, list).await?;
        let mut proxies = Vec::new();
        for one in listed {
            let (Some(id), Some(image)) = (one.id, one.image) else {
                continue;
            };
            if !is_traefik(&image) {
                continue;
            }
            let inspect = self
                .client
                .inspect_container(&id, None::<InspectContainerOptions>);
            let found = call(|| format!("inspect container {id:.12}"), LIMIT, inspect).await?;
            let mode = found.host_config.and_then(|host| host.network_mode);
            let networks = found
                .network_settings
                .and_then(|settings| settings.networks);
            let addresses = networks.unwrap_or_default().into_values();
            let pid = found.state.and_then(|state| state.pid);
            proxies.push(Proxy {
                name: found.name.unwrap_or(id).trim_start_matches('/').to_owned(),
                pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
                on_host: mode.as_deref() == Some("host"),
                addresses: addresses
                    .filter_map(|endpoint| endpoint.ip_address?.parse().ok())
                    .collect(),
            });
        }
        Ok(proxies)
    }
}

/// Whether a reference names Traefik: `traefik:v3.7`, `docker.io/library/traefik@sha256:…`.
fn is_traefik(image: &str) -> bool {
    let path = image.split('@').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(':').next() == Some("traefik")
}

fn facts(info: SystemInfo, version: SystemVersion) -> EngineFacts {
    let component = version.components.unwrap_or_default().into_iter().next();
    // Docker names its own first component `Engine`, Podman says `Podman Engine`.
    let name = match component.as_ref().map(|first| first.name.as_str()) {
        Some(name) if name.contains("Podman") => "Podman",
        _ => "Docker",
    };
    let mut unlimited = Vec::new();
    for (can, what) in [
        (info.memory_limit, "memory"),
        (info.cpu_cfs_quota, "processors"),
        (info.pids_limit, "processes"),
    ] {
        if can == Some(false) {
            unlimited.push(what);
        }
    }
    let mut security = Vec::new();
    for option in info.security_options.unwrap_or_default() {
        // `name=seccomp,profile=default`; older ones say `seccomp` alone.
        let first = option.split(',').next().unwrap_or_default();
        security.push(first.trim_start_matches("name=").to_owned());
    }
    EngineFacts {
        name: name.to_owned(),
        version: version.version.or(info.server_version).unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        address: String::new(),
        storage: info.driver.unwrap_or_default(),
        cgroup: info
            .cgroup_version
            .map(|it| it.to_string())
            .unwrap_or_default(),
        live_restore: info.live_restore_enabled,
        unlimited,
        security,
        warnings: info
            .warnings
            .unwrap_or_default()
            .into_iter()
            .map(|warning| warning.trim_start_matches("WARNING: ").to_owned())
            .collect(),
        root: info.docker_root_dir.map(PathBuf::from),
        time: info.system_time.and_then(|time| time.parse().ok()),
        open_socket: false,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemVersionComponents;

    use super::*;

    #[test]
    fn an_image_is_traefik_by_its_last_name() {
        for (image, expected) in [
            ("traefik", true),
            ("traefik:v3.7", true),
            ("registry:5000/library/traefik@sha256:ab", true),
            ("acme/traefik-whoami:1", false),
            ("traefik/whoami", false),
        ] {
            assert_eq!(is_traefik(image), expected, "{image}");
        }
    }

    #[test]
    fn what_an_engine_lacks_is_named() {
        let info = SystemInfo {
            memory_limit: Some(true),
            pids_limit: Some(false),
            security_options: Some(vec![
                "name=seccomp,profile=default".into(),
                "apparmor".into(),
            ]),
            warnings: Some(vec!["WARNING: No swap limit support".into()]),
            system_time: Some("2026-11-27T17:00:00.123456789Z".into()),
            ..SystemInfo::default()
        };
        let version = SystemVersion {
            version: Some("5.2.0".into()),
            components: Some(vec![SystemVersionComponents {
                name: "Podman Engine".into(),
                ..SystemVersionComponents::default()
            }]),
            ..SystemVersion::default()
        };
        let facts = facts(info, version);
        assert_eq!(
            (facts.name.as_str(), facts.version.as_str()),
            ("Podman", "5.2.0")
        );
        assert_eq!(facts.unlimited, ["processes"]);
        assert_eq!(facts.security, ["seccomp", "apparmor"]);
        assert_eq!(facts.warnings, ["No swap limit support"]);
        assert!(facts.time.is_some());
    }
}
