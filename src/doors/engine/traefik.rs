//! Routes as Traefik's labels.

use std::collections::BTreeMap;

use crate::words::name::ManagerName;
use crate::words::route::{Provider, Tls};
use crate::words::router::{Cors, ForwardAuth, Router, WholeRequests, routers};
use crate::words::spec::Spec;

/// The labels that route to a generation of `spec`.
pub(super) fn labels(
    manager: &ManagerName,
    spec: &Spec,
    generation: u64,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    // Said also where files carry the routes: a Traefik that reads labels too must not make routes of its own.
    if spec.endpoints.is_empty() || spec.edge.provider == Provider::File {
        labels.insert("traefik.enable".to_owned(), "false".to_owned());
        return labels;
    }
    labels.insert("traefik.enable".to_owned(), "true".to_owned());
    labels.insert("traefik.docker.network".to_owned(), spec.network.clone());
    for router in routers(manager, spec, generation) {
        add(&mut labels, &router);
    }
    labels
}

fn add(labels: &mut BTreeMap<String, String>, router: &Router) {
    let id = &router.id;
    if let Some(asked) = &router.forward_auth {
        for (field, value) in guard(asked) {
            let key = format!("traefik.http.middlewares.{id}.forwardauth.{field}");
            labels.insert(key, value);
        }
    }
    if let Some(cors) = &router.cors {
        for (field, value) in shared(cors) {
            let key = format!("traefik.http.middlewares.{}.headers.{field}", cors.id);
            labels.insert(key, value);
        }
    }
    if let Some(name) = &router.whole_requests {
        for (field, value) in whole_requests() {
            let key = format!("traefik.http.middlewares.{name}.retry.{field}");
            labels.insert(key, value);
        }
    }
    let mut set = |field: &str, value: String| {
        labels.insert(format!("traefik.http.routers.{id}.{field}"), value);
    };
    set("rule", router.rule());
    set("entrypoints", router.entrypoints.join(","));
    set("priority", router.priority.to_string());
    set("service", id.clone());
    if !router.middlewares.is_empty() {
        set("middlewares", router.middlewares.join(","));
    }
    match &router.tls {
        Tls::Off => {}
        Tls::On => set("tls", "true".to_owned()),
        Tls::Resolver(name) => set("tls.certresolver", name.clone()),
    }
    let service = format!("traefik.http.services.{id}.loadbalancer.server.port");
    labels.insert(service, router.port.to_string());
}

fn guard(asked: &ForwardAuth) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("address", asked.address.clone()),
        (
            "trustForwardHeader",
            ForwardAuth::TRUST_FORWARD_HEADER.to_string(),
        ),
        ("authRequestHeaders", asked.request_headers().join(",")),
        ("authResponseHeaders", asked.response_headers().join(",")),
        (
            "maxResponseBodySize",
            ForwardAuth::MAX_RESPONSE_BODY_SIZE.to_string(),
        ),
    ];
    if asked.preserves_location() {
        fields.push(("preserveLocationHeader", "true".to_owned()));
    }
    if let Some(ca) = &asked.ca {
        fields.push(("tls.ca", ca.clone()));
    }
    fields
}

fn shared(cors: &Cors) -> [(&'static str, String); 6] {
    [
        ("accessControlAllowOriginList", cors.origins.join(",")),
        ("accessControlAllowMethods", Cors::METHODS.join(",")),
        ("accessControlAllowHeaders", Cors::REQUEST_HEADERS.join(",")),
        (
            "accessControlExposeHeaders",
            Cors::EXPOSED_HEADERS.join(","),
        ),
        ("accessControlMaxAge", Cors::MAX_AGE.to_string()),
        ("addVaryHeader", "true".to_owned()),
    ]
}

fn whole_requests() -> [(&'static str, String); 5] {
    [
        ("attempts", WholeRequests::ATTEMPTS.to_string()),
        ("status", WholeRequests::STATUS.to_owned()),
        (
            "retryNonIdempotentMethod",
            WholeRequests::NON_IDEMPOTENT.to_string(),
        ),
        (
            "disableRetryOnNetworkError",
            WholeRequests::NO_RETRY_ON_NETWORK_ERROR.to_string(),
        ),
        (
            "maxRequestBodyBytes",
            WholeRequests::MAX_BODY_SIZE.to_string(),
        ),
    ]
}
