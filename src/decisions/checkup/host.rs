//! The verdicts on what is on the host: files, engine, daemon, time.

use std::path::Path;

use super::facts::{
    ClockFacts, Configured, DaemonFacts, DomainFacts, EngineFacts, NetworkSeen, PathFacts,
    PortFacts, Room, Seen, SourceFacts, StoreFacts,
};
use super::{Area, Finding, count};
use crate::words::config::{Config, Isolation, Network, Verdict};

/// Less than this, and a store may not open again.
const ROOM_LEAST: u64 = 64 << 20;
/// Less than this, and somebody should look.
const ROOM_LITTLE: u64 = 512 << 20;
/// An image of a browser takes more than this while it is pulled.
const IMAGES_LITTLE: u64 = 4 << 30;
const INODES_LITTLE: u64 = 1_000;
/// Milliseconds that two clocks may differ by.
const CLOCKS_APART: i64 = 2_000;

/// The configuration.
pub fn configuration(facts: &Configured) -> Finding {
    let path = facts.path.as_deref().unwrap_or("instanced.yaml");
    let errors = facts.diagnostics.iter().filter(|d| d.is_error()).count();
    let area = Area::Configuration;
    if let Some(first) = facts.diagnostics.iter().find(|d| d.is_error()) {
        let found = format!("{}: {first}", count(errors, "error"));
        return area.problem(
            found,
            "mend it, and see `instanced validate`; what follows was looked at with the defaults",
        );
    }
    match facts.diagnostics.first() {
        Some(first) => {
            let warnings = count(facts.diagnostics.len(), "warning");
            area.warning(format!("{warnings}: {first}"), "see `instanced validate`")
        }
        None if facts.path.is_none() => area.ok("no file; every key has its default"),
        None => area.ok(path),
    }
}

/// The source.
pub fn source(facts: &SourceFacts) -> Finding {
    let area = Area::Source;
    let named = &facts.named;
    let away = match &facts.repository {
        Some(Err(failure)) => Some(failure),
        _ => None,
    };
    let manifests = match (&facts.manifests, &facts.repository) {
        (Ok(manifests), _) => manifests,
        (Err(_), Some(Ok(()))) => {
            return area.note(
                format!("{named} answers; nothing of it is in use yet"),
                "`instanced serve` or `instanced reconcile` fetches it",
            );
        }
        (Err(failure), _) => return area.failed(away.unwrap_or(failure)),
    };
    let of = format!("of {named} at {}", manifests.revision);
    if let Some(failure) = away {
        let found = format!("{}; what was fetched last stays in use", failure.message);
        return area.warning(found, "check its address, the network and the credentials");
    }
    let told = format!("{} {of}", count(manifests.sound, "instance"));
    match (manifests.unsound.as_slice(), manifests.sound) {
        ([], 0) => area.warning(
            format!("no manifest in {named}"),
            "write one, or begin with `instanced init`; an instance is a file NAME.yaml",
        ),
        ([], _) => area.ok(told),
        (unsound, _) => area.warning(
            format!(
                "{told}; held, as their manifests cannot be used: {}",
                unsound.join(", ")
            ),
            "see `instanced validate`",
        ),
    }
}

/// The engine.
pub fn engine(facts: &Seen<EngineFacts>, images: Option<Room>) -> Vec<Finding> {
    let area = Area::Engine;
    let facts = match facts {
        Ok(facts) => facts,
        Err(failure) => return vec![area.failed(failure)],
    };
    let mut all = Vec::new();
    if !facts.unlimited.is_empty() {
        all.push(area.problem(
            format!("it cannot limit {}", facts.unlimited.join(", ")),
            "the kernel lacks the cgroup controllers; see `docker info`, and the kernel's command line",
        ));
    }
    if !facts.security.is_empty() && !facts.security.iter().any(|name| name == "seccomp") {
        all.push(area.warning(
            "it runs containers without a seccomp profile",
            "a kernel with CONFIG_SECCOMP, and no `seccomp-profile: unconfined` in daemon.json",
        ));
    }
    if facts.name != "Docker" {
        all.push(area.warning(
            format!("{} is not Docker; its differences are known in part", facts.name),
            "watch the first rounds: `instanced reconcile --dry-run` should plan nothing after them",
        ));
    }
    if let Some(room) = images.filter(|room| room.bytes < IMAGES_LITTLE) {
        let free = size(room.bytes);
        let root = facts.root.as_deref().unwrap_or(Path::new("?")).display();
        all.push(area.warning(
            format!("{free} are left for images in {root}"),
            "docker system df tells what takes room; docker image prune frees some",
        ));
    }
    let mut told = vec![format!(
        "{} {}, API {}",
        facts.name, facts.version, facts.api
    )];
    told.extend((!facts.storage.is_empty()).then(|| facts.storage.clone()));
    told.extend((!facts.cgroup.is_empty()).then(|| format!("cgroup {}", facts.cgroup)));
    told.extend(match facts.live_restore {
        Some(false) => Some("no live-restore".to_owned()),
        Some(true) => Some("live-restore".to_owned()),
        None => None,
    });
    told.extend(images.map(|room| format!("{} for images", size(room.bytes))));
    let worst = all.iter().any(|found| found.grade > super::Grade::Note);
    if !worst && !facts.warnings.is_empty() {
        let warnings = facts.warnings.join("; ");
        all.push(area.note(
            format!("it says of itself: {warnings}"),
            "see `docker info`",
        ));
    }
    all.insert(0, area.ok(told.join(", ")));
    all
}

/// The network.
pub fn network(wanted: &Network, found: &Seen<Vec<NetworkSeen>>) -> Finding {
    let area = Area::Network;
    let name = &wanted.name;
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            let found = format!("{name}: not known, {}", failure.message);
            return area.note(found, "see what the engine says");
        }
    };
    match (found.as_slice(), wanted.isolation) {
        ([], _) => area.ok(format!("{name} is made when the first instance needs it")),
        ([one], Isolation::Strict) => match &one.open_because {
            Some(why) => area.problem(
                format!("{name} does not isolate, and every round stops at that: {why}"),
                "or name another network under network.name, which is then made isolated",
            ),
            None => area.ok(format!("{name} isolates")),
        },
        ([_], Isolation::Shared) => area.ok(format!("{name} is there")),
        (more, _) => area.problem(
            format!("there are {} networks named {name}", more.len()),
            "keep one: docker network ls --no-trunc, then docker network rm ID",
        ),
    }
}

/// The daemon. `version` is this program's own.
pub fn daemon(found: &Seen<Option<DaemonFacts>>, version: &str) -> Finding {
    let area = Area::Daemon;
    let facts = match found {
        Err(failure) => return area.failed(failure),
        Ok(None) => {
            return area.warning(
                "none runs for this state directory: nothing converges, and nobody is let in",
                "start it: instanced serve",
            );
        }
        Ok(Some(facts)) => facts,
    };
    let anew = "restart it, or have it replaced without a gap: instanced serve --take-over";
    if let Some(other) = facts.version.as_deref().filter(|other| *other != version) {
        return area.warning(
            format!("it is version {other}, this command {version}"),
            anew,
        );
    }
    if !facts.is_same {
        return area.warning(
            "it runs with another configuration or source than this command was given",
            format!("give the same --config and --instances; or, if the file has changed, {anew}"),
        );
    }
    let pid = facts.pid.map(|pid| format!(" (process {pid})"));
    let pid = pid.unwrap_or_default();
    let revision = &facts.revision;
    if let (Some(since), Some(reason)) = (facts.rounds.failing_since, &facts.rounds.reason) {
        let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
        let help = facts.rounds.help.as_deref();
        return area.problem(
            format!("no round completes since {since}{pid}: {reason}"),
            help.unwrap_or("its log names each round and what stopped it"),
        );
    }
    match (facts.ready, &facts.reason) {
        (true, _) => area.ok(format!("ready{pid}, the fleet is kept as {revision}")),
        (false, Some(reason)) => {
            area.problem(format!("not ready{pid}: {reason}"), "its log tells more")
        }
        (false, None) => area.warning(
            format!("in its first round{pid}"),
            "images are pulled and containers stop in it; its log tells how far it is",
        ),
    }
}

/// The store.
pub fn store(facts: &StoreFacts) -> Finding {
    let area = Area::Store;
    match facts {
        StoreFacts::Absent => area.ok("none yet; it is made when it is needed"),
        StoreFacts::Held { bytes } => area.ok(format!("the daemon has it open, {}", size(*bytes))),
        StoreFacts::Opened { bytes, tokens } => {
            let tokens = count(*tokens, "token");
            area.ok(format!("opens: {tokens}, {}", size(*bytes)))
        }
        StoreFacts::Others { owner } => area.note(
            format!("not opened, as it belongs to user {owner}"),
            "run this as that user to have it looked at",
        ),
        StoreFacts::Broken(failure) => area.failed(failure),
    }
}

/// Who may read and write: the state directory, the control socket, the engine's socket, files of secrets. `me` is the
/// user that this runs as.
pub fn permissions(
    state: &PathFacts,
    socket: Option<&PathFacts>,
    secrets: &[PathFacts],
    open_engine: bool,
    me: u32,
) -> Vec<Finding> {
    let area = Area::Permissions;
    let mut all = Vec::new();
    let dir = state.path.display();
    if let Some(mode) = state.mode {
        if mode & 0o022 != 0 {
            all.push(area.problem(
                format!("others can write {dir} (mode {mode:04o}); the daemon refuses it"),
                format!("chmod 0700 {dir}"),
            ));
        } else if mode & 0o055 != 0 {
            all.push(area.warning(
                format!("others can look into {dir} (mode {mode:04o})"),
                format!("chmod 0700 {dir}"),
            ));
        }
        if state.owner != me && me != 0 {
            all.push(area.problem(
                format!(
                    "{dir} belongs to user {}, and this is user {me}",
                    state.owner
                ),
                "run it as that user, or as root",
            ));
        }
    }
    if let Some(socket) = socket
        && let Some(mode) = socket.mode
        && mode & 0o007 != 0
    {
        let path = socket.path.display();
        all.push(area.warning(
            format!("everybody may use the control socket {path} (mode {mode:04o})"),
            format!("chmod 0600 {path}"),
        ));
    }
    for file in secrets {
        let path = file.path.display();
        match file.mode {
            None => all.push(area.problem(
                format!("the secret {path} is not there; its instances cannot be made"),
                "write it, or take it out of the manifests",
            )),
            Some(_) if !file.readable => all.push(area.problem(
                format!("user {me} cannot read the secret {path}"),
                format!("chown {me} {path}, where the daemon runs as that user"),
            )),
            Some(mode) if mode & 0o004 != 0 => all.push(area.warning(
                format!("everybody can read the secret {path} (mode {mode:04o})"),
                format!("chmod 0600 {path}"),
            )),
            Some(_) => {}
        }
    }
    if open_engine {
        all.push(area.warning(
            "everybody may use the engine's socket, which is as good as being root",
            "chmod o-rw, and let a group use it",
        ));
    }
    if all.is_empty() {
        let secrets = match secrets.len() {
            0 => String::new(),
            number => format!(", {}", count(number, "secret file")),
        };
        all.push(area.ok(match state.mode {
            Some(mode) => format!("{dir} {mode:04o}{secrets}"),
            None => format!("{dir} is made when it is needed{secrets}"),
        }));
    }
    all
}

/// Room for the state.
pub fn disk(path: &Path, room: &Seen<Room>) -> Finding {
    let area = Area::Disk;
    let room = match room {
        Ok(room) => room,
        Err(failure) => return area.failed(failure),
    };
    let (free, path) = (size(room.bytes), path.display());
    let help = "free some: what is denied a write loses nothing, but takes no new token and makes no instance";
    if room.bytes < ROOM_LEAST {
        return area.problem(format!("{free} are left where {path} is"), help);
    }
    if room.bytes < ROOM_LITTLE {
        return area.warning(format!("{free} are left where {path} is"), help);
    }
    match room.inodes {
        Some(inodes) if inodes < INODES_LITTLE => area.warning(
            format!("{inodes} inodes are left where {path} is"),
            "many small files take them: df -i, du --inodes",
        ),
        _ => area.ok(format!("{free} free for {path}")),
    }
}

/// The ports.
pub fn ports(facts: &[PortFacts], daemon_runs: bool) -> Vec<Finding> {
    let area = Area::Ports;
    let mut all: Vec<_> = facts
        .iter()
        .filter(|port| port.taken && !daemon_runs)
        .map(|port| {
            let at = port.at;
            area.problem(
                format!(
                    "{at} ({}) is taken, and by no daemon of this state directory",
                    port.key
                ),
                format!(
                    "ss -ltnp 'sport = :{}' tells by whom; or choose another",
                    at.port()
                ),
            )
        })
        .collect();
    if all.is_empty() {
        let told = facts.iter().map(|port| {
            let word = if port.taken {
                "taken by the daemon"
            } else {
                "free"
            };
            format!("{} {word}", port.at)
        });
        all.push(area.ok(told.collect::<Vec<_>>().join(", ")));
    }
    all
}

/// The time.
pub fn clock(facts: ClockFacts) -> Finding {
    let area = Area::Clock;
    let keep = "have it kept: timedatectl set-ntp true, or chrony";
    if let Some(ahead) = facts
        .engine_ahead_millis
        .filter(|ahead| ahead.abs() > CLOCKS_APART)
    {
        let word = if ahead > 0 { "ahead of" } else { "behind" };
        let secs = ahead.unsigned_abs() / 1_000;
        return area.warning(
            format!("the engine's clock is {secs} s {word} this one; tokens end, and events are read, by the wrong one"),
            keep,
        );
    }
    match (facts.is_synchronised, facts.engine_ahead_millis) {
        (Some(false), _) => area.note("nothing keeps this host's clock right", keep),
        (_, None) => area.ok("this host's alone; the engine did not tell its own"),
        (_, Some(_)) => area.ok("the engine's agrees with ours"),
    }
}

/// The names that clients look up. This host need not know them.
pub fn domain(facts: &DomainFacts) -> Finding {
    let area = Area::Domain;
    let host = &facts.host;
    if facts.addresses.iter().any(|(_, is_local)| *is_local) {
        return area.ok(format!("{host} leads to this host"));
    }
    if host.ends_with(".localhost") {
        return area.ok(format!("{host} leads every client to its own machine"));
    }
    let addresses: Vec<_> = facts
        .addresses
        .iter()
        .map(|(ip, _)| ip.to_string())
        .collect();
    if addresses.is_empty() {
        return area.note(
            format!("this host cannot resolve {host}"),
            "clients must be able to: a wildcard record of the domain that leads to Traefik",
        );
    }
    let told = addresses.join(", ");
    area.note(
        format!("{host} leads to {told}, which is no address of this host"),
        "right where Traefik stands elsewhere, or behind a load balancer",
    )
}

/// What is allowed on purpose. `unguarded` are endpoints for MCP clients that anybody may use.
pub fn policy(config: &Config, unguarded: &[String]) -> Vec<Finding> {
    let area = Area::Policy;
    let mut all = Vec::new();
    if config.network.isolation == Isolation::Shared {
        all.push(area.warning(
            "network.isolation is shared: instances reach each other's ports, past every token",
            "for local development only; else strict, with Traefik on the host's network",
        ));
    }
    if !unguarded.is_empty() {
        all.push(area.warning(
            format!("anybody may use, without a token: {}", unguarded.join(", ")),
            "auth: bearer in the manifest guards it; policy.auth_none: deny allows no such one",
        ));
    }
    if config.policy.images.allow.iter().any(|glob| glob == "*")
        && config.policy.images.latest == Verdict::Allow
    {
        all.push(area.note(
            "manifests may name any image, with a tag that moves",
            "policy.images.allow limits where they come from, require_digest what they are",
        ));
    }
    if all.is_empty() {
        all.push(area.ok("strict isolation, every MCP endpoint guarded"));
    }
    all
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, bits)| bytes >> bits > 0);
    match unit {
        Some((unit, bits)) => {
            let tenths = (bytes >> (bits - 10)) * 10 / 1024;
            if tenths < 100 {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            } else {
                format!("{} {unit}", tenths / 10)
            }
        }
        None => format!("{bytes} bytes"),
    }
}
