//! Routes as a dynamic file of Traefik's. Pure: the same routes are the same text.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use crate::words::name::ManagerName;
use crate::words::route::Tls;
use crate::words::router::{Cors, ForwardAuth, Router, WholeRequests, routers};
use crate::words::spec::Spec;

/// The URL of a server, as Traefik writes it too.
pub fn server(address: IpAddr, port: u16) -> String {
    format!("http://{}", SocketAddr::new(address, port))
}

/// The YAML of a generation's routes.
pub(super) fn text(manager: &ManagerName, spec: &Spec, generation: u64, address: IpAddr) -> String {
    let all = routers(manager, spec, generation);
    let each = |render: &dyn Fn(&Router) -> Option<Value>| -> Value {
        let entries = all
            .iter()
            .filter_map(|router| Some((router.id.clone(), render(router)?)));
        Value::Object(entries.collect())
    };
    let mut http = Map::new();
    http.insert("routers".to_owned(), each(&|router| Some(route(router))));
    http.insert(
        "services".to_owned(),
        each(&|router| {
            let servers = [json!({ "url": server(address, router.port) })];
            Some(json!({ "loadBalancer": { "servers": servers } }))
        }),
    );
    // Traefik refuses a file with an empty part.
    let middlewares: Map<String, Value> = all.iter().flat_map(middlewares).collect();
    if !middlewares.is_empty() {
        http.insert("middlewares".to_owned(), Value::Object(middlewares));
    }
    serde_yaml::to_string(&json!({ "http": http })).expect("plain JSON is YAML")
}

fn route(router: &Router) -> Value {
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    set("rule", json!(router.rule()));
    set("entryPoints", json!(router.entrypoints));
    set("priority", json!(router.priority));
    set("service", json!(router.id));
    if !router.middlewares.is_empty() {
        set("middlewares", json!(router.middlewares));
    }
    match &router.tls {
        Tls::Off => {}
        Tls::On => drop(set("tls", json!({}))),
        Tls::Resolver(name) => drop(set("tls", json!({ "certResolver": name }))),
    }
    Value::Object(fields)
}

fn middlewares(router: &Router) -> impl Iterator<Item = (String, Value)> {
    let guard = router.forward_auth.as_ref();
    let guard = guard.map(|asked| (router.id.clone(), guard_of(asked)));
    let cors = router.cors.as_ref();
    let cors = cors.map(|cors| (cors.id.clone(), shared(cors)));
    let whole = router.whole_requests.clone();
    let whole = whole.map(|name| (name, whole_requests()));
    guard.into_iter().chain(cors).chain(whole)
}

fn guard_of(asked: &ForwardAuth) -> Value {
    let mut fields = json!({
        "address": asked.address,
        "trustForwardHeader": ForwardAuth::TRUST_FORWARD_HEADER,
        "authRequestHeaders": asked.request_headers(),
        "authResponseHeaders": asked.response_headers(),
        "maxResponseBodySize": ForwardAuth::MAX_RESPONSE_BODY_SIZE,
    });
    if asked.preserves_location() {
        fields["preserveLocationHeader"] = true.into();
    }
    if let Some(ca) = &asked.ca {
        fields["tls"] = json!({ "ca": ca });
    }
    json!({ "forwardAuth": fields })
}

fn shared(cors: &Cors) -> Value {
    json!({ "headers": {
        "accessControlAllowOriginList": cors.origins,
        "accessControlAllowMethods": Cors::METHODS,
        "accessControlAllowHeaders": Cors::REQUEST_HEADERS,
        "accessControlExposeHeaders": Cors::EXPOSED_HEADERS,
        "accessControlMaxAge": Cors::MAX_AGE,
        "addVaryHeader": true,
    }})
}

fn whole_requests() -> Value {
    json!({ "retry": {
        "attempts": WholeRequests::ATTEMPTS,
        "status": [WholeRequests::STATUS],
        "retryNonIdempotentMethod": WholeRequests::NON_IDEMPOTENT,
        "disableRetryOnNetworkError": WholeRequests::NO_RETRY_ON_NETWORK_ERROR,
        "maxRequestBodyBytes": WholeRequests::MAX_BODY_SIZE,
    }})
}
