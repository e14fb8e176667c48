//! What Docker's list and inspect mean in our words.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    ContainerSummaryHealthStatusEnum as SummaryHealth, ContainerSummaryStateEnum as State,
    ContainerUpdateBody, EndpointSettings, HealthStatusEnum, HostConfig, RestartPolicy,
    RestartPolicyNameEnum as Policy,
};

use super::super::containers::{Container, Joined, Summary};
use super::settings;
use crate::words::manifest::Restart;
use crate::words::observed::{Health, Limits, Phase};
use crate::words::quantity::{Bytes, Cpus};

/// A line of a list, normalised; `None` for one without an id, which there is not.
///
/// Docker `vouches` for the references that it lists: it looks each up, and where one is gone or leads to another
/// image by now, it tells the id instead. Others tell what the container was once created with.
pub(super) fn summary(listed: ContainerSummary, vouches: bool) -> Option<Summary> {
    let status = listed.status.unwrap_or_default();
    let networks = listed.network_settings.and_then(|all| all.networks);
    // A name with a slash within is another container's link to this one.
    let names = listed.names.unwrap_or_default().into_iter();
    let mut names = names.map(|name| name.trim_start_matches('/').to_owned());
    let told = listed.health.and_then(|health| health.status);
    let image_id = listed.image_id.unwrap_or_default();
    // Who was created with an id is listed with it, also when the image is gone.
    let image = listed.image.filter(|image| vouches && *image != image_id);
    Some(Summary {
        id: listed.id?,
        name: names.find(|name| !name.contains('/')).unwrap_or_default(),
        labels: listed.labels.unwrap_or_default().into_iter().collect(),
        phase: listed_phase(listed.state, &status),
        health: told.map_or_else(|| listed_health(&status), health_of_summary),
        image_id,
        image,
        networks: networks
            .unwrap_or_default()
            .into_iter()
            .map(|(name, endpoint)| (name, joined(endpoint)))
            .collect(),
    })
}

fn joined(endpoint: EndpointSettings) -> Joined {
    Joined {
        id: endpoint.network_id.filter(|id| !id.is_empty()),
        address: endpoint.ip_address.and_then(|ip| ip.parse().ok()),
    }
}

/// The status is a text for people, `Exited (137) 3 minutes ago`: only what does not change by itself counts.
fn listed_phase(state: Option<State>, status: &str) -> Phase {
    match state {
        Some(State::CREATED) => Phase::Created,
        Some(State::RUNNING | State::STOPPING) => Phase::Running,
        Some(State::RESTARTING) => Phase::Restarting,
        Some(State::PAUSED) => Phase::Paused,
        Some(State::REMOVING | State::DEAD) => Phase::Dead,
        Some(State::EXITED | State::EMPTY) | None => {
            let code = status
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'));
            Phase::Exited(code.and_then(|(code, _)| code.parse().ok()).unwrap_or(0))
        }
    }
}

/// `Up 3 minutes (healthy)`, `Up 2 seconds (health: starting)`.
fn listed_health(status: &str) -> Option<Health> {
    if status.contains("(unhealthy)") {
        Some(Health::Unhealthy)
    } else if status.contains("(healthy)") {
        Some(Health::Healthy)
    } else if status.contains("(health: starting)") {
        Some(Health::Starting)
    } else {
        None
    }
}

/// Newer engines tell it apart from the status.
fn health_of_summary(told: SummaryHealth) -> Option<Health> {
    match told {
        SummaryHealth::EMPTY | SummaryHealth::NONE => None,
        SummaryHealth::STARTING => Some(Health::Starting),
        SummaryHealth::HEALTHY => Some(Health::Healthy),
        SummaryHealth::UNHEALTHY => Some(Health::Unhealthy),
    }
}

/// A container, normalised.
pub(super) fn container(inspected: ContainerInspectResponse) -> Container {
    let settings = settings::settings(&inspected);
    let state = inspected.state.unwrap_or_default();
    let limits = limits(&inspected.host_config.unwrap_or_default());
    let networks = inspected
        .network_settings
        .and_then(|settings| settings.networks);
    let labels = inspected
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    Container {
        id: inspected.id.unwrap_or_default(),
        name: inspected
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        labels: labels.into_iter().collect(),
        phase: phase(&state),
        health: health(&state),
        image_id: inspected.image.unwrap_or_default(),
        addresses: addresses(networks.unwrap_or_default()),
        started: started(&state),
        limits,
        restarts: inspected
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        settings,
    }
}

/// Docker writes 0, -1 or nothing for "no limit".
fn limits(host: &HostConfig) -> Limits {
    let positive =
        |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    Limits {
        memory: positive(host.memory).map(Bytes),
        memory_swap: positive(host.memory_swap).map(Bytes),
        cpus: positive(host.nano_cpus).or_else(|| quota(host)).map(Cpus),
        pids: positive(host.pids_limit).and_then(|pids| u32::try_from(pids).ok()),
        restart: restart(host.restart_policy.as_ref()),
    }
}

/// The other way in which Docker limits processors, in billionths of one.
fn quota(host: &HostConfig) -> Option<u64> {
    let quota = u64::try_from(host.cpu_quota?)
        .ok()
        .filter(|quota| *quota > 0)?;
    let period = u64::try_from(host.cpu_period.unwrap_or_default())
        .ok()
        .filter(|period| *period > 0);
    Some(quota.saturating_mul(1_000_000_000) / period.unwrap_or(100_000))
}

/// The request that sets limits.
pub(super) fn update(limits: &Limits) -> ContainerUpdateBody {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    ContainerUpdateBody {
        memory: limits.memory.map(|memory| signed(memory.0)),
        memory_swap: limits.memory_swap.map(|memory| signed(memory.0)),
        nano_cpus: limits.cpus.map(|cpus| signed(cpus.0)),
        pids_limit: limits.pids.map(i64::from),
        restart_policy: Some(policy(limits.restart)),
        ..ContainerUpdateBody::default()
    }
}

fn phase(state: &ContainerState) -> Phase {
    match state.status {
        Some(Status::CREATED) => Phase::Created,
        // A container that is being stopped still runs.
        Some(Status::RUNNING | Status::STOPPING) => Phase::Running,
        Some(Status::RESTARTING) => Phase::Restarting,
        Some(Status::PAUSED) => Phase::Paused,
        Some(Status::REMOVING | Status::DEAD) => Phase::Dead,
        Some(Status::EMPTY) | None if state.running == Some(true) => Phase::Running,
        Some(Status::EXITED | Status::EMPTY) | None => {
            Phase::Exited(state.exit_code.unwrap_or_default())
        }
    }
}

fn health(state: &ContainerState) -> Option<Health> {
    match state.health.as_ref()?.status? {
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
    }
}

fn addresses(networks: HashMap<String, EndpointSettings>) -> BTreeMap<String, IpAddr> {
    networks
        .into_iter()
        .filter_map(|(name, endpoint)| Some((name, endpoint.ip_address?.parse().ok()?)))
        .collect()
}

/// Docker writes the year 1 for "never".
fn started(state: &ContainerState) -> Option<jiff::Timestamp> {
    let started: jiff::Timestamp = state.started_at.as_deref()?.parse().ok()?;
    (started > jiff::Timestamp::UNIX_EPOCH).then_some(started)
}

fn restart(policy: Option<&RestartPolicy>) -> Restart {
    match policy.and_then(|policy| policy.name) {
        Some(Policy::ALWAYS) => Restart::Always,
        Some(Policy::UNLESS_STOPPED) => Restart::UnlessStopped,
        Some(Policy::ON_FAILURE) => Restart::OnFailure,
        Some(Policy::NO | Policy::EMPTY) | None => Restart::No,
    }
}

/// The engine's form of a restart policy.
pub(super) fn policy(restart: Restart) -> RestartPolicy {
    let name = match restart {
        Restart::Always => Policy::ALWAYS,
        Restart::UnlessStopped => Policy::UNLESS_STOPPED,
        Restart::OnFailure => Policy::ON_FAILURE,
        Restart::No => Policy::NO,
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(json: serde_json::Value) -> Summary {
        listed_by(json, true)
    }

    fn listed_by(json: serde_json::Value, vouches: bool) -> Summary {
        let listed = serde_json::from_value(json).expect("a line of a list");
        summary(listed, vouches).expect("an id")
    }

    #[test]
    fn only_a_reference_that_docker_lists_is_vouched_for() {
        let line =
            |image: &str| serde_json::json!({ "Id": "1", "Image": image, "ImageID": "sha256:9" });
        let image = |image: &str, vouches| listed_by(line(image), vouches).image;
        assert_eq!(image("acme/x:1", true).as_deref(), Some("acme/x:1"));
        assert_eq!(image("acme/x:1", false), None, "it was created with that");
        assert_eq!(image("sha256:9", true), None, "it leads elsewhere by now");
    }

    #[test]
    fn of_a_status_only_what_stays_counts() {
        let cases = [
            (
                "running",
                "Up 3 minutes (healthy)",
                Phase::Running,
                Some(Health::Healthy),
            ),
            (
                "running",
                "Up 4 hours (unhealthy)",
                Phase::Running,
                Some(Health::Unhealthy),
            ),
            (
                "running",
                "Up 1 second (health: starting)",
                Phase::Running,
                Some(Health::Starting),
            ),
            ("running", "Up Less than a second", Phase::Running, None),
            ("paused", "Up 3 minutes (Paused)", Phase::Paused, None),
            (
                "exited",
                "Exited (137) 3 minutes ago",
                Phase::Exited(137),
                None,
            ),
            (
                "restarting",
                "Restarting (1) 3 seconds ago",
                Phase::Restarting,
                None,
            ),
            ("created", "Created", Phase::Created, None),
            ("dead", "Dead", Phase::Dead, None),
        ];
        for (state, status, phase, health) in cases {
            let found = listed(serde_json::json!({ "Id": "1", "State": state, "Status": status }));
            assert_eq!((found.phase, found.health), (phase, health), "{status}");
        }
        let newer = serde_json::json!({ "Id": "1", "State": "running", "Status": "Up 1 second", "Health": { "Status": "healthy" } });
        assert_eq!(listed(newer).health, Some(Health::Healthy));
    }

    #[test]
    fn a_line_of_a_list_has_names_labels_and_networks() {
        let found = listed(serde_json::json!({
            "Id": "12ab", "Names": ["/other/link", "/alice"], "ImageID": "sha256:9", "Labels": { "team": "qa" },
            "State": "running", "Status": "Up 1 second",
            "NetworkSettings": { "Networks": { "mcp": { "IPAddress": "10.0.0.2", "NetworkID": "7f" }, "off": { "IPAddress": "", "NetworkID": "" } } },
        }));
        assert_eq!(
            (
                found.id.as_str(),
                found.name.as_str(),
                found.image_id.as_str()
            ),
            ("12ab", "alice", "sha256:9")
        );
        assert_eq!(found.labels["team"], "qa");
        let mcp = Joined {
            id: Some("7f".to_owned()),
            address: "10.0.0.2".parse().ok(),
        };
        assert_eq!(found.networks["mcp"], mcp);
        assert_eq!(found.networks["off"], Joined::default());
    }

    fn inspected(json: serde_json::Value) -> Container {
        container(serde_json::from_value(json).expect("an inspect"))
    }

    #[test]
    fn a_running_container_is_understood() {
        let found = inspected(serde_json::json!({
            "Id": "12ab", "Name": "/alice", "Image": "sha256:9",
            "State": { "Status": "running", "Running": true, "ExitCode": 0,
                "StartedAt": "2026-11-20T21:00:00.123456789Z", "Health": { "Status": "starting" } },
            "Config": { "Labels": { "instanced.manager": "default" } },
            "HostConfig": { "RestartPolicy": { "Name": "unless-stopped", "MaximumRetryCount": 0 } },
            "NetworkSettings": { "Networks": { "mcp": { "IPAddress": "10.0.0.2", "NetworkID": "7f" }, "off": { "IPAddress": "", "NetworkID": "" } } },
        }));
        assert_eq!(found.name, "alice");
        assert_eq!(found.phase, Phase::Running);
        assert_eq!(found.health, Some(Health::Starting));
        assert_eq!(found.limits.restart, Restart::UnlessStopped);
        assert_eq!(
            found.started.expect("started").to_string(),
            "2026-11-20T21:00:00.123456789Z"
        );
        assert_eq!(found.addresses.keys().collect::<Vec<_>>(), ["mcp"]);
    }

    #[test]
    fn every_state_of_docker_is_a_phase() {
        let cases = [
            ("created", Phase::Created),
            ("running", Phase::Running),
            ("restarting", Phase::Restarting),
            ("paused", Phase::Paused),
            ("exited", Phase::Exited(137)),
            ("removing", Phase::Dead),
            ("dead", Phase::Dead),
        ];
        for (status, expected) in cases {
            let found =
                inspected(serde_json::json!({ "State": { "Status": status, "ExitCode": 137 } }));
            assert_eq!(found.phase, expected, "{status}");
        }
    }

    #[test]
    fn the_year_one_is_never_and_an_empty_policy_is_no() {
        let found = inspected(serde_json::json!({
            "State": { "Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "Health": { "Status": "" } },
            "HostConfig": { "RestartPolicy": { "Name": "", "MaximumRetryCount": 0 } },
        }));
        assert_eq!(
            (found.started, found.limits.restart, found.health),
            (None, Restart::No, None)
        );
    }
}
