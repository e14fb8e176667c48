//! Networks, and whether they isolate.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::super::containers::{NetworkFacts, ReadContainers};
use super::super::{EngineError, ErrorClass};
use super::error::{CHANGE_LIMIT, READ_LIMIT, call};
use super::{Docker, DockerReader};

/// The bridge driver's switch for traffic between its containers.
const ICC: &str = "com.docker.network.bridge.enable_icc";
/// Whether the kernel shows bridged packets to the packet filter. Where it does not, [`ICC`] has no effect.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Networks of exactly this name.
pub(super) async fn list(
    reader: &DockerReader,
    name: &str,
) -> Result<Vec<NetworkFacts>, EngineError> {
    // The engine's filter matches parts of names.
    let filters = HashMap::from([("name", vec![name])]);
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let operation = || format!("list networks named {name}");
    let found = call(
        operation,
        READ_LIMIT,
        reader.client.list_networks(Some(options)),
    )
    .await?;
    let exact = found
        .into_iter()
        .filter(|network| network.name.as_deref() == Some(name));
    Ok(exact.map(facts).collect())
}

/// What this host's kernel says against isolation. Nothing where it cannot be told, because the engine is elsewhere
/// or the kernel has no such switch. An engine refuses to make an isolated network it cannot filter.
pub(super) fn open_because(reader: &DockerReader) -> Option<String> {
    if !reader.local {
        return None;
    }
    unfiltered(&std::fs::read_to_string(BRIDGE_FILTER).ok()?)
}

fn unfiltered(switch: &str) -> Option<String> {
    (switch.trim() != "1")
        .then(|| format!("the kernel does not filter bridged packets: echo 1 > {BRIDGE_FILTER}"))
}

fn facts(network: Network) -> NetworkFacts {
    let options = network.options.unwrap_or_default();
    let driver = network.driver.unwrap_or_default();
    let open_because = if driver != "bridge" {
        Some(format!(
            "its driver is `{driver}`; only a bridge isolates: name another network"
        ))
    } else if options.get(ICC).map(String::as_str) != Some("false") {
        Some(format!(
            "it was made without {ICC}=false: remove it, and it will be made anew"
        ))
    } else if network.enable_ipv6 == Some(true) {
        Some(
            "it has IPv6, which many engines do not filter: remove it, and it will be made anew"
                .to_owned(),
        )
    } else {
        None
    };
    NetworkFacts {
        id: network.id.unwrap_or_default(),
        driver,
        open_because,
        labels: network.labels.unwrap_or_default().into_iter().collect(),
    }
}

/// Makes a bridge network.
pub(super) async fn create(
    docker: &Docker,
    name: &str,
    isolated: bool,
    labels: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let operation = || format!("create network {name}");
    // Docker 20.10 makes a second network of the same name without a word.
    if !docker.networks(name).await?.is_empty() {
        return Err(EngineError::new(
            operation(),
            ErrorClass::Conflict,
            "the name is taken",
        ));
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(false),
        attachable: Some(false),
        ingress: Some(false),
        enable_ipv6: Some(false),
        options: Some(HashMap::from([(ICC.to_owned(), (!isolated).to_string())])),
        labels: Some(labels.clone().into_iter().collect()),
        ..NetworkCreateRequest::default()
    };
    call(
        operation,
        CHANGE_LIMIT,
        docker.client().create_network(request),
    )
    .await?;
    Ok(())
}

/// The id of the one network of this name.
pub(super) async fn id(docker: &Docker, name: &str) -> Result<String, EngineError> {
    let operation = || format!("find network {name}");
    let mut found = docker.networks(name).await?;
    match (found.pop(), found.len()) {
        (None, _) => Err(EngineError::new(
            operation(),
            ErrorClass::Gone,
            "there is no such network",
        )),
        (Some(network), 0) => Ok(network.id),
        (Some(_), more) => {
            let detail = format!("{} networks have this name", more + 1);
            Err(EngineError::new(operation(), ErrorClass::Conflict, detail)
                .with_help("keep one: docker network ls --no-trunc, then docker network rm ID"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(icc: Option<&str>, ipv6: bool, driver: &str) -> Option<String> {
        let options = icc.map(|icc| HashMap::from([(ICC.to_owned(), icc.to_owned())]));
        let network = Network {
            driver: Some(driver.to_owned()),
            enable_ipv6: Some(ipv6),
            options,
            ..Network::default()
        };
        facts(network).open_because
    }

    #[test]
    fn a_network_is_isolated_only_when_everything_agrees() {
        assert_eq!(because(Some("false"), false, "bridge"), None);
        let why = |found: Option<String>| found.expect("open");
        assert!(why(because(None, false, "bridge")).contains("made without"));
        assert!(why(because(Some("true"), false, "bridge")).contains("made without"));
        assert!(why(because(Some("false"), true, "bridge")).contains("IPv6"));
        assert!(why(because(Some("false"), false, "macvlan")).contains("macvlan"));
        assert_eq!(unfiltered("1\n"), None);
        assert!(why(unfiltered("0\n")).contains("kernel"));
    }
}
