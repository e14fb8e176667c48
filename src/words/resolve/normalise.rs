//! A layered manifest as a spec: every field with its value, every value in its one form.

use std::collections::BTreeMap;

use super::fleet::Layered;
use crate::words::config::{Config, ProviderConfig, Scheme, TlsConfig};
use crate::words::diagnostic::Problem;
use crate::words::label;
use crate::words::manifest::{
    Auth, EnvValue, HealthPart, Manifest, ResourcesPart, ScreenPart, SecretFrom, StatusRange,
};
use crate::words::name::{self, EndpointName, InstanceName};
use crate::words::quantity::{Bytes, Cpus, Span};
use crate::words::route::{CHECK_PATH, Edge, Endpoint, Provider, Tls};
use crate::words::secret::{self, SecretName, SecretSource, SecretSpec};
use crate::words::spec::{HealthProbe, Resources, Screen, Spec};

use grants::{security, volumes};

mod counts;
mod grants;

/// The spec, absent when a problem leaves nothing to make one of, and every problem.
pub(super) fn normalise(
    name: &InstanceName,
    layered: &Layered,
    config: &Config,
) -> (Option<Spec>, Vec<Problem>) {
    let manifest = &layered.merged;
    let mut told = counts::problems(manifest);
    let endpoints = endpoints(name, manifest, config, &mut told);
    let allowed_hosts = endpoints
        .values()
        .map(|endpoint| config.public.authority(&endpoint.host))
        .collect();
    check_required(layered, &mut told);
    check_env(manifest, &mut told);
    let Some(image) = manifest
        .image
        .clone()
        .filter(|image| !image.trim().is_empty())
    else {
        told.push(
            Problem::error(
                &["image"],
                format!("template `{}` names no image", layered.template),
            )
            .with_help("name one, such as `image: acme/mcp-server:3`"),
        );
        return (None, told);
    };
    let spec = Spec {
        name: name.clone(),
        template: layered.template.clone(),
        owner: manifest.owner.clone(),
        state: manifest.state.unwrap_or_default(),
        image,
        pull: manifest.pull.unwrap_or_default(),
        entrypoint: manifest.entrypoint.clone(),
        command: manifest.command.clone(),
        env: texts(&manifest.env),
        secrets: secrets(manifest, &endpoints, &mut told),
        screen: manifest
            .screen
            .as_ref()
            .map(|screen| self::screen(screen, &mut told)),
        resources: resources(manifest.resources.as_ref()),
        health: manifest
            .health
            .as_ref()
            .map(|h| health(h, &endpoints, &mut told)),
        endpoints,
        edge: edge(config),
        allowed_hosts,
        restart: manifest.restart.unwrap_or_default(),
        replace: manifest.replace.unwrap_or_default(),
        volumes: volumes(manifest.volumes.as_deref().unwrap_or_default(), &mut told),
        security: security(manifest.security.as_ref(), &mut told),
        network: config.network.name.clone(),
        labels: labels(manifest, &mut told),
        tokens: manifest.tokens.clone().unwrap_or_default(),
        protect: manifest.protect.unwrap_or_default(),
    };
    check_replace(&spec, &mut told);
    (Some(spec), told)
}

fn texts(values: &BTreeMap<String, EnvValue>) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

fn endpoints(
    name: &InstanceName,
    manifest: &Manifest,
    config: &Config,
    told: &mut Vec<Problem>,
) -> BTreeMap<EndpointName, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for (key, part) in &manifest.endpoints {
        let at = ["endpoints", key.as_str()];
        let host = name::host_label(key, name).and_then(|label| config.domain.child(&label));
        let path = part.path.clone().unwrap_or_else(|| "/".to_owned());
        match (part.port, host) {
            (Some(port), Ok(host)) => {
                let auth = part.auth.unwrap_or_default();
                if auth == Auth::Ticket {
                    check_ticket(key, config, told);
                }
                endpoints.insert(
                    key.clone(),
                    Endpoint {
                        port: port.get(),
                        path,
                        auth,
                        host,
                    },
                );
            }
            (None, _) => told.push(
                Problem::error(&at, "no port").with_help("name the port inside the container"),
            ),
            (_, Err(error)) => told.push(
                Problem::error(&at, format!("its host name: {error}"))
                    .with_help("choose a shorter name for the instance or the endpoint"),
            ),
        }
    }
    endpoints
}

/// Tickets are for browsers, and sessions for what browsers take for safe.
fn check_ticket(endpoint: &EndpointName, config: &Config, told: &mut Vec<Problem>) {
    let at = ["endpoints", endpoint.as_str(), "auth"];
    if endpoint.as_str() == "mcp" {
        told.push(
            Problem::error(&at, "no MCP client gets in by a ticket")
                .with_help(
                    "write `auth: bearer`: a ticket is for people, who open a link in a browser",
                )
                .as_warning(),
        );
    }
    let domain = config.domain.as_str();
    let is_local = domain == "localhost" || domain.ends_with(".localhost");
    if config.public.scheme == Scheme::Http && !is_local {
        let message = format!("over plain HTTP, browsers keep no session of {domain}");
        told.push(
            Problem::error(&at, message)
                .with_help(
                    "the host's operator puts TLS before it: public.scheme in instanced.yaml",
                )
                .as_warning(),
        );
    }
}

/// Where Traefik asks for verdicts, without an endpoint.
pub fn auth_url(config: &Config) -> String {
    config
        .traefik
        .auth_url
        .clone()
        .unwrap_or_else(|| default_auth_url(config))
}

fn default_auth_url(config: &Config) -> String {
    let scheme = match config.traefik.auth_ca {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    };
    format!("{scheme}://{}{CHECK_PATH}", config.listen.auth)
}

fn edge(config: &Config) -> Edge {
    let traefik = &config.traefik;
    Edge {
        entrypoints: traefik.entrypoints.clone(),
        tls: match &traefik.tls {
            TlsConfig::Plain(false) => Tls::Off,
            TlsConfig::Plain(true) => Tls::On,
            TlsConfig::Resolver { cert_resolver } => Tls::Resolver(cert_resolver.clone()),
        },
        auth_url: auth_url(config),
        auth_ca: traefik
            .auth_ca
            .as_ref()
            .map(|path| path.display().to_string()),
        origins: config
            .origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_owned())
            .collect(),
        middlewares: traefik.middlewares.clone(),
        provider: match traefik.provider {
            ProviderConfig::Labels => Provider::Labels,
            ProviderConfig::File(_) => Provider::File,
        },
    }
}

fn secrets(
    manifest: &Manifest,
    endpoints: &BTreeMap<EndpointName, Endpoint>,
    told: &mut Vec<Problem>,
) -> BTreeMap<SecretName, SecretSpec> {
    let source = |from: &SecretFrom| match from {
        SecretFrom::FromFile(path) => SecretSource::File(path.clone()),
        SecretFrom::FromEnv(name) => SecretSource::Env(name.clone()),
    };
    let mut secrets: BTreeMap<SecretName, SecretSpec> = manifest
        .secrets
        .iter()
        .map(|(name, from)| {
            (
                name.clone(),
                SecretSpec {
                    from: source(from),
                    print: None,
                },
            )
        })
        .collect();
    let Some(vnc) = &manifest.vnc else {
        return secrets;
    };
    let mut own = |key: &str, name: &str, from: SecretSource| {
        let parsed: SecretName = name.parse().expect("a secret's name");
        let spec = SecretSpec { from, print: None };
        if secrets.insert(parsed, spec).is_some() {
            told.push(
                Problem::error(&["secrets", name], "VNC's passwords have keys of their own")
                    .with_help(format!("write it under vnc.{key}")),
            );
        }
    };
    let password = vnc.password.as_ref().map(source);
    let password = password.unwrap_or(SecretSource::Generated);
    own("password", secret::VNC_PASSWORD, password);
    // Where nobody asked for one it would change, and so replace, every container that there is.
    let by_ticket = endpoints
        .get("vnc")
        .is_some_and(|vnc| vnc.auth == Auth::Ticket);
    let view = vnc.view_password.as_ref().map(source);
    if let Some(view) = view.or(by_ticket.then_some(SecretSource::Generated)) {
        own("view_password", secret::VNC_VIEW_PASSWORD, view);
    }
    secrets
}

fn screen(part: &ScreenPart, told: &mut Vec<Problem>) -> Screen {
    let screen = Screen {
        width: part.width.map_or(1280, std::num::NonZero::get),
        height: part.height.map_or(720, std::num::NonZero::get),
        depth: part.depth.unwrap_or(24),
    };
    let mut check = |field: &str, value: u16, range: std::ops::RangeInclusive<u16>| {
        if !range.contains(&value) {
            let message = format!("{value} is not from {} to {}", range.start(), range.end());
            told.push(Problem::error(&["screen", field], message));
        }
    };
    check("width", screen.width, 320..=7680);
    check("height", screen.height, 240..=4320);
    if ![16, 24].contains(&screen.depth) {
        let message = format!("{} bits a pixel is neither 16 nor 24", screen.depth);
        told.push(Problem::error(&["screen", "depth"], message));
    }
    screen
}

fn resources(part: Option<&ResourcesPart>) -> Resources {
    let part = part.cloned().unwrap_or_default();
    Resources {
        memory: part.memory.unwrap_or(Bytes::mib(512)),
        cpus: part.cpus.unwrap_or(Cpus(1_000_000_000)),
        pids: part.pids.map_or(256, std::num::NonZero::get),
        shm: part.shm.unwrap_or(Bytes::mib(64)),
    }
}

fn health(
    part: &HealthPart,
    endpoints: &BTreeMap<EndpointName, Endpoint>,
    told: &mut Vec<Problem>,
) -> HealthProbe {
    let endpoint = part
        .endpoint
        .clone()
        .unwrap_or_else(|| "mcp".parse().expect("an endpoint's name"));
    if !endpoints.contains_key(&endpoint) {
        let known: Vec<_> = endpoints.keys().map(EndpointName::as_str).collect();
        told.push(
            Problem::error(&["health", "endpoint"], format!("no endpoint `{endpoint}`"))
                .with_help(format!("known: {}", known.join(", "))),
        );
    }
    HealthProbe {
        endpoint,
        path: part.path.clone().unwrap_or_else(|| "/".to_owned()),
        expect: part.expect.unwrap_or(StatusRange {
            first: 200,
            last: 499,
        }),
        interval: part.interval.unwrap_or(Span::secs(10)),
        timeout: part.timeout.unwrap_or(Span::secs(3)),
        retries: part.retries.map_or(3, std::num::NonZero::get),
        start_period: part.start_period.unwrap_or(Span::secs(20)),
    }
}

fn labels(manifest: &Manifest, told: &mut Vec<Problem>) -> BTreeMap<String, String> {
    for key in manifest.labels.keys() {
        if key.is_empty() {
            let problem = Problem::error(&["labels", key], "a label without a name");
            told.push(problem.at_key().with_help("such as `team: qa`"));
        } else if label::is_reserved(key) {
            told.push(
                Problem::error(&["labels", key], format!("`{key}` is reserved"))
                    .at_key()
                    .with_help("labels under traefik. and instanced. are the daemon's own"),
            );
        }
    }
    texts(&manifest.labels)
}

fn check_required(layered: &Layered, told: &mut Vec<Problem>) {
    for variable in &layered.required_env {
        if !layered.merged.env.contains_key(variable) {
            told.push(
                Problem::error(
                    &["env"],
                    format!("template `{}` needs {variable}", layered.template),
                )
                .with_help(format!("write `env: {{ {variable}: … }}`")),
            );
        }
    }
}

/// Variables that the daemon sets itself.
const OURS: [&str; 5] = [
    "INSTANCE_ID",
    "SCREEN_WIDTH",
    "SCREEN_HEIGHT",
    "COLOR_DEPTH",
    "MCP_ALLOWED_HOSTS",
];

fn check_env(manifest: &Manifest, told: &mut Vec<Problem>) {
    for key in manifest.env.keys() {
        if key.is_empty() || key.contains('=') {
            told.push(
                Problem::error(&["env", key], format!("`{key}` is no name of a variable"))
                    .at_key()
                    .with_help("a name has one character at least, and no `=`"),
            );
        } else if OURS.contains(&key.as_str()) {
            told.push(
                Problem::error(&["env", key], format!("{key} is set by the daemon"))
                    .at_key()
                    .with_help("`screen` sets the screen; the rest follows from name and domain"),
            );
        }
    }
}

fn check_replace(spec: &Spec, told: &mut Vec<Problem>) {
    use crate::words::manifest::ReplaceOrder;
    if spec.replace != ReplaceOrder::StartFirst {
        return;
    }
    // Two generations run at once during such a swap.
    if let Some(volume) = spec.volumes.iter().find(|volume| !volume.read_only) {
        let message = format!("start-first with a writable volume at {}", volume.target);
        told.push(
            Problem::error(&["replace"], message)
                .with_help("two generations would write to it at once: use stop-first"),
        );
    }
}
