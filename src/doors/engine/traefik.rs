//! Routes as Traefik's labels.
//!
//! Every name ends in the generation and the priority rises with it: two generations never carry one
//! router with different settings, and the newer one wins while both stand.

use std::collections::BTreeMap;

use crate::words::manifest::Auth;
use crate::words::name::ManagerName;
use crate::words::route::Tls;
use crate::words::spec::Spec;

/// Below it are the priorities that Traefik gives by a rule's length.
const PRIORITY_BASE: u64 = 1_000;

/// The labels that route to a generation of `spec`.
pub(super) fn labels(
    manager: &ManagerName,
    spec: &Spec,
    generation: u64,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if spec.endpoints.is_empty() {
        labels.insert("traefik.enable".to_owned(), "false".to_owned());
        return labels;
    }
    labels.insert("traefik.enable".to_owned(), "true".to_owned());
    labels.insert("traefik.docker.network".to_owned(), spec.network.clone());
    for (endpoint, route) in &spec.endpoints {
        let id = format!("instanced-{manager}-{endpoint}-{}-g{generation}", spec.name);
        let mut middlewares = spec.edge.middlewares.clone();
        if route.auth == Auth::Bearer {
            middlewares.push(id.clone());
            let address = format!("{}/{endpoint}-{}", spec.edge.auth_url, spec.name);
            forward_auth(&mut labels, &id, &address);
        }
        let mut router = |field: &str, value: String| {
            labels.insert(format!("traefik.http.routers.{id}.{field}"), value);
        };
        router("rule", format!("Host(`{}`)", route.host));
        router("entrypoints", spec.edge.entrypoints.join(","));
        router("priority", (PRIORITY_BASE + generation).to_string());
        router("service", id.clone());
        if !middlewares.is_empty() {
            router("middlewares", middlewares.join(","));
        }
        match &spec.edge.tls {
            Tls::Off => {}
            Tls::On => router("tls", "true".to_owned()),
            Tls::Resolver(name) => router("tls.certresolver", name.clone()),
        }
        let service = format!("traefik.http.services.{id}.loadbalancer.server.port");
        labels.insert(service, route.port.to_string());
    }
    labels
}

/// The bearer is listed among the answer's headers so that Traefik takes it away before the container.
fn forward_auth(labels: &mut BTreeMap<String, String>, id: &str, address: &str) {
    for (field, value) in [
        ("address", address),
        ("trustForwardHeader", "false"),
        ("authRequestHeaders", "Authorization,Origin,User-Agent"),
        ("authResponseHeaders", "X-MCP-Instance-Id,Authorization"),
        ("maxResponseBodySize", "4096"),
    ] {
        let key = format!("traefik.http.middlewares.{id}.forwardauth.{field}");
        labels.insert(key, value.to_owned());
    }
}
