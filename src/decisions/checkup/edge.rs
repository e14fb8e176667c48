//! The verdicts on the edge: the listener as Traefik reaches it, and what Traefik serves.

use super::facts::{AuthAnswer, AuthFacts, ProxySeen, TraefikFacts, TraefikSeen};
use super::{Area, Finding, count};

/// What the listener must say to a request without a token.
const CHALLENGE: u16 = 401;
/// What it must say to whoever is no trusted proxy.
const REFUSED: u16 = 403;
/// The oldest Traefik without the advisories on headers under other names.
const TRAEFIK_LEAST: [u32; 3] = [3, 7, 13];

/// The `ForwardAuth` listener.
pub fn auth(facts: &AuthFacts) -> Vec<Finding> {
    let area = Area::Auth;
    let url = &facts.url;
    if !facts.daemon_runs && matches!(facts.here, AuthAnswer::None(_)) {
        return vec![area.note(
            format!("{url} was not looked at, as no daemon runs"),
            "until one does, Traefik lets nobody in",
        )];
    }
    let inside: Vec<_> = facts
        .proxies
        .iter()
        .filter(|proxy| !proxy.on_host)
        .collect();
    let mut all = Vec::new();
    // Where Traefik asks from a container alone, nobody else needs to be trusted.
    if inside.is_empty() || facts.here != AuthAnswer::Status(REFUSED) {
        all.push(answered(&facts.here, url, "this host", "its address"));
    } else {
        all.push(area.ok(format!(
            "{url} refuses this host, which is no trusted proxy"
        )));
    }
    for ProxySeen {
        container,
        addresses,
        answer,
        ..
    } in inside
    {
        let whose = format!("container {container}");
        match answer {
            Ok(answer) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                all.push(answered(answer, url, &whose, &addresses.join(", ")));
            }
            Err(why) => all.push(area.note(
                format!("{url} was not asked from within {whose}: {why}"),
                "Traefik must reach it from there, at an address that trusted_proxies holds",
            )),
        }
    }
    if let Some((container, AuthAnswer::Status(status))) = &facts.instance
        && *status != REFUSED
    {
        all.push(area.warning(
            format!("{url} takes container {container}, which is an instance, for a trusted proxy"),
            "trusted_proxies must hold Traefik's address, and not the network of the instances",
        ));
    }
    all
}

fn answered(answer: &AuthAnswer, url: &str, whose: &str, address: &str) -> Finding {
    let area = Area::Auth;
    match answer {
        AuthAnswer::Status(CHALLENGE) => area.ok(format!("{url} asks {whose} for a token")),
        AuthAnswer::Status(REFUSED) => area.problem(
            format!("{url} refuses {whose}: it is no trusted proxy"),
            format!("trusted_proxies must hold {address}, if Traefik asks from there"),
        ),
        AuthAnswer::Status(503) => area.warning(
            format!("{url} answers {whose}, but knows nobody yet"),
            "the daemon has read no token and no guard; its log tells why",
        ),
        AuthAnswer::Status(status @ 200..=299) => area.problem(
            format!(
                "{url} lets {whose} in without a token (status {status}): that is not the daemon"
            ),
            "traefik.auth_url must be the daemon's listen.auth",
        ),
        AuthAnswer::Status(status) => area.problem(
            format!("{url} answers {whose} with status {status}: that is not the daemon"),
            "traefik.auth_url must be the daemon's listen.auth",
        ),
        AuthAnswer::Unasked(why) => area.note(
            format!("{url} was not asked from {whose}: {why}"),
            "a request without a token must get a 401 there",
        ),
        AuthAnswer::None(why) => area.problem(
            format!("{url} cannot be reached from {whose}: {why}"),
            "traefik.auth_url and listen.auth must agree, and the way there be open",
        ),
    }
}

/// What Traefik serves.
pub fn traefik(facts: &TraefikFacts) -> Vec<Finding> {
    let area = Area::Traefik;
    let (api, seen) = match (&facts.api, &facts.seen) {
        (None, _) | (_, None) => {
            return vec![area.note(
                "it was not asked, as traefik.api is not set",
                "with `api: {}` in Traefik's configuration, on loopback: traefik.api: http://127.0.0.1:8080",
            )];
        }
        (Some(api), Some(seen)) => (api, seen),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            return vec![area.problem(
                format!(
                    "{api} does not tell what Traefik serves: {}",
                    failure.message
                ),
                "is Traefik running, with its API there? traefik.api names it",
            )];
        }
    };
    let mut all = Vec::new();
    let missing: Vec<_> = facts
        .expected
        .iter()
        .filter(|name| seen.routers.iter().all(|router| router.name != **name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        all.push(area.problem(
            format!("it does not know {}: {}", count(missing.len(), "router"), some(&missing)),
            match facts.provider {
                "file" => "Traefik's file provider must watch the directory of traefik.provider",
                _ => "Traefik's docker provider must reach the engine's socket, and not filter these containers",
            },
        ));
    }
    let stems = &facts.stems;
    let ours: Vec<_> = seen
        .routers
        .iter()
        .filter(|router| is_ours(&router.name, stems))
        .collect();
    for router in &ours {
        if !router.enabled || !router.errors.is_empty() {
            let errors = match router.errors.as_slice() {
                [] => "it is not enabled".to_owned(),
                errors => errors.join("; "),
            };
            all.push(area.problem(
                format!("{}@{}: {errors}", router.name, router.provider),
                "an entry point or a middleware that Traefik does not know, say; its log tells more",
            ));
        }
    }
    if let Some(version) = old(seen) {
        all.push(area.warning(
            format!("Traefik {version} takes headers under other names for its own"),
            "3.7.13 or newer, with aliasHeadersStrategy: delete on entry points",
        ));
    }
    if all.is_empty() {
        let version = seen
            .version
            .as_deref()
            .map(|version| format!("Traefik {version} "));
        let version = version.unwrap_or_default();
        let served = ours.iter().filter(|router| router.enabled).count();
        all.push(area.ok(format!("{version}serves {}", count(served, "router"))));
    }
    all
}

/// Whether a router is one of this manager's. Another manager's name may begin with ours.
fn is_ours(router: &str, stems: &[String]) -> bool {
    stems.iter().any(|stem| {
        let generation = router.strip_prefix(stem.as_str()).unwrap_or_default();
        !generation.is_empty() && generation.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The version, where it is a release before the least.
fn old(seen: &TraefikSeen) -> Option<&str> {
    let version = seen.version.as_deref()?;
    let numbers = version.trim_start_matches('v').split('.').map(str::parse);
    let numbers: Vec<u32> = numbers.collect::<Result<_, _>>().ok()?;
    (numbers.as_slice() < TRAEFIK_LEAST.as_slice()).then_some(version)
}

/// The first of many.
fn some(names: &[&str]) -> String {
    const MOST: usize = 4;
    match names.get(MOST..) {
        Some(rest) if !rest.is_empty() => {
            format!("{} and {} more", names[..MOST].join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}
