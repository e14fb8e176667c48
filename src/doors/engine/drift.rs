//! What of a container is otherwise than its record must have made it. Pure.
//!
//! The record gives the draft; the draft, the image's own words and the engine's defaults give what inspect must
//! say. Compared is what we own. Limits are not: they change in place, so the plan compares them with the spec.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::containers::{Container, Draft, MountSource};
use super::settings::{ImageConfig, Mounted, MountedSource, Settings, Tmpfs};
use crate::words::host_path::clean;
use crate::words::label;
use crate::words::observed::Drift;
use crate::words::quantity::Bytes;

/// What starts the labels that tell who we are: without them it would not be ours, so they cannot drift.
const OURS: &str = "instanced.";

/// What of `found` is otherwise than `draft` must have made it, by field.
///
/// `image` is what the container's image says; without it, what it would decide is not compared.
/// `network_ids` are the ids of the networks that bear the draft's network's name.
pub(super) fn drift(
    draft: &Draft,
    image: Option<&ImageConfig>,
    network_ids: &BTreeSet<String>,
    found: &Container,
) -> Vec<Drift> {
    let is = &found.settings;
    let mut told = Differences::default();
    told.compare("name", &draft.name, &found.name);
    told.compare("hostname", &draft.hostname, &is.hostname);
    told.compare("security.user", &draft.user, &is.user);
    told.compare("security.read_only", &draft.read_only, &is.read_only);
    // What an engine does not tell is 0.
    if draft.shm != 0 && is.shm != 0 {
        told.compare("resources.shm", &Bytes(draft.shm), &Bytes(is.shm));
    }
    if let Some(grace) = is.stop_grace_secs {
        told.compare("stop_grace_secs", &draft.stop_grace_secs, &grace);
    }
    let capabilities = draft.cap_add.iter().cloned().collect();
    told.compare("security.cap_add", &capabilities, &is.capabilities);
    compare_program(&mut told, draft, image, is);
    compare_env(&mut told, draft, image, found);
    compare_labels(&mut told, draft, image, found);
    compare_tmpfs(&mut told, draft, is);
    compare_mounts(&mut told, draft, image, is);
    compare_networks(&mut told, draft, network_ids, is);
    if let Some(image) = image {
        told.compare("working_dir", &image.working_dir, &is.working_dir);
        told.compare("stop_signal", &image.stop_signal, &is.stop_signal);
        told.compare("health_check", &image.health_check, &is.health_check);
    }
    told.0.extend(is.beside.iter().cloned());
    let form = form(&found.labels);
    told.0.retain(|drift| is_comparable(form, &drift.field));
    told.0.sort_by(|a, b| a.field.cmp(&b.field));
    told.0
}

/// The form of draft that a container was made from; 0 from before that was written.
fn form(labels: &BTreeMap<String, String>) -> u32 {
    labels
        .get(label::DRAFT_VERSION)
        .and_then(|form| form.parse().ok())
        .unwrap_or(0)
}

/// Whether a container of this form must have a field as a draft of today says it. Who changes what a draft
/// says raises [`label::DRAFT_VERSION_NOW`] and names here what changed: a new binary finds no drift in what
/// an older one made, nor the other way round.
fn is_comparable(form: u32, field: &str) -> bool {
    match form {
        label::DRAFT_VERSION_NOW => true,
        // 2: requests are read whole. Before 1, routes were others.
        0 | 1 => !field.starts_with("labels.traefik."),
        _ => false,
    }
}

#[derive(Default)]
struct Differences(Vec<Drift>);

impl Differences {
    fn compare<T: PartialEq + Serialize>(&mut self, field: &str, recorded: &T, found: &T) {
        if recorded != found {
            self.push(field.to_owned(), value(recorded), value(found));
        }
    }

    fn push(&mut self, field: String, recorded: Option<Value>, found: Option<Value>) {
        self.0.push(Drift {
            field,
            recorded,
            found,
        });
    }

    /// Compares what both maps hold. What only `found` holds counts where `whole`.
    fn compare_maps<V: PartialEq>(
        &mut self,
        prefix: &str,
        recorded: &BTreeMap<String, V>,
        found: &BTreeMap<String, V>,
        whole: bool,
        tell: impl Fn(&V) -> Value,
    ) {
        for (key, wanted) in recorded {
            let is = found.get(key);
            if is != Some(wanted) {
                self.push(format!("{prefix}.{key}"), Some(tell(wanted)), is.map(&tell));
            }
        }
        for (key, is) in found.iter().filter(|_| whole) {
            if !recorded.contains_key(key) {
                self.push(format!("{prefix}.{key}"), None, Some(tell(is)));
            }
        }
    }
}

/// Nothing and an empty list are told alike: there is none.
fn value<T: Serialize>(thing: &T) -> Option<Value> {
    let value = serde_json::to_value(thing).expect("settings have string keys only");
    let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    (!empty).then_some(value)
}

fn text(text: &impl AsRef<str>) -> Value {
    Value::from(text.as_ref())
}

/// An entry point of its own takes the image's command away with the image's entry point.
fn compare_program(
    told: &mut Differences,
    draft: &Draft,
    image: Option<&ImageConfig>,
    is: &Settings,
) {
    let none = Vec::new();
    let entrypoint = match (&draft.entrypoint, image) {
        // One empty word takes the image's away, and is none itself.
        (Some(own), _) if *own == [""] => Some(&none),
        (Some(own), _) => Some(own),
        (None, image) => image.map(|image| &image.entrypoint),
    };
    if let Some(entrypoint) = entrypoint {
        told.compare("entrypoint", entrypoint, &is.entrypoint);
    }
    let own = draft.command.as_ref().filter(|own| !own.is_empty());
    let replaced = draft.entrypoint.as_ref().is_some_and(|own| !own.is_empty());
    let command = match (own, image) {
        (Some(own), _) => Some(own),
        (None, _) if replaced => Some(&none),
        (None, image) => image.map(|image| &image.command),
    };
    if let Some(command) = command {
        told.compare("command", command, &is.command);
    }
}

fn compare_env(
    told: &mut Differences,
    draft: &Draft,
    image: Option<&ImageConfig>,
    found: &Container,
) {
    let is = &found.settings.env;
    let mut wanted = image.map(|image| image.env.clone()).unwrap_or_default();
    wanted.extend(draft.env.clone());
    let mut found_env = is.clone();
    found_env.retain(|key, value| wanted.contains_key(key) || !is_injected(key, value, found));
    told.compare_maps("env", &wanted, &found_env, image.is_some(), text);
}

/// What engines add to an environment by themselves: Docker little or nothing, Podman all of this.
fn is_injected(key: &str, value: &str, found: &Container) -> bool {
    let settings = &found.settings;
    let podman = settings.env.contains_key("container");
    match key {
        "container" => matches!(value, "podman" | "oci"),
        "TERM" => value == "xterm",
        "HOME" => value.starts_with('/'),
        "HOSTNAME" => value == settings.hostname || found.id.starts_with(value),
        "PATH" => value
            .split(':')
            .all(|part| part.ends_with("bin") && part.starts_with('/')),
        // The proxies of the engine's own environment.
        _ => podman && key.to_ascii_lowercase().ends_with("_proxy"),
    }
}

fn compare_labels(
    told: &mut Differences,
    draft: &Draft,
    image: Option<&ImageConfig>,
    found: &Container,
) {
    let others = |labels: &BTreeMap<String, String>| {
        let mut labels = labels.clone();
        labels.retain(|key, _| !key.starts_with(OURS));
        labels
    };
    let mut wanted = image.map(|image| image.labels.clone()).unwrap_or_default();
    wanted.extend(draft.labels.clone());
    let (wanted, is) = (others(&wanted), others(&found.labels));
    told.compare_maps("labels", &wanted, &is, image.is_some(), text);
}

fn compare_tmpfs(told: &mut Differences, draft: &Draft, is: &Settings) {
    let wanted = draft.tmpfs.iter().map(|(path, size)| {
        let (size, hardened) = (*size, true);
        (clean(path), Tmpfs { size, hardened })
    });
    told.compare_maps(
        "security.tmpfs",
        &wanted.collect(),
        &is.tmpfs,
        true,
        |tmpfs| {
            let open = if tmpfs.hardened { "" } else { ", not hardened" };
            Value::from(format!("{}{open}", Bytes(tmpfs.size)))
        },
    );
}

fn compare_mounts(
    told: &mut Differences,
    draft: &Draft,
    image: Option<&ImageConfig>,
    is: &Settings,
) {
    let mut wanted: BTreeMap<_, _> = draft.mounts.iter().map(mounted).collect();
    let mut found = is.mounts.clone();
    if let Some(image) = image {
        for path in image.volumes.iter().map(|path| clean(path)) {
            if is.tmpfs.contains_key(&path) {
                // Below a memory file system some engines make the volume and some do not.
                found.retain(|at, mount| *at != path || mount.source != MountedSource::Anonymous);
            } else {
                wanted.entry(path).or_insert(Mounted {
                    source: MountedSource::Anonymous,
                    read_only: false,
                });
            }
        }
    } else {
        found.retain(|_, mount| mount.source != MountedSource::Anonymous);
    }
    told.compare_maps("volumes", &wanted, &found, true, |mounted| {
        let source = match &mounted.source {
            MountedSource::Volume(name) => format!("volume {name}"),
            MountedSource::Host(path) => format!("directory {path}"),
            MountedSource::Anonymous => "a volume of its own".to_owned(),
            MountedSource::Other(what) => what.clone(),
        };
        let how = if mounted.read_only { ", read-only" } else { "" };
        Value::from(format!("{source}{how}"))
    });
}

fn mounted(mount: &super::containers::DraftMount) -> (String, Mounted) {
    let source = match &mount.source {
        MountSource::Volume(name) => MountedSource::Volume(name.clone()),
        MountSource::Host(path) => MountedSource::Host(clean(path)),
    };
    let read_only = mount.read_only;
    (clean(&mount.target), Mounted { source, read_only })
}

/// Exactly one, ours: another one would be a way around its isolation.
fn compare_networks(told: &mut Differences, draft: &Draft, ids: &BTreeSet<String>, is: &Settings) {
    let joined = || Some(Value::from("joined"));
    let field = |name: &str| format!("networks.{name}");
    let ours = |name: &String| *name == draft.network || ids.contains(name);
    match is.networks.iter().find(|(name, _)| ours(name)) {
        None => told.push(field(&draft.network), joined(), None),
        Some((name, Some(id))) if id != name && !ids.is_empty() && !ids.contains(id) => {
            let another = Value::from("joined another network of this name");
            told.push(field(&draft.network), joined(), Some(another));
        }
        Some(_) => {}
    }
    for name in is.networks.keys().filter(|name| !ours(name)) {
        told.push(field(name), None, joined());
    }
}

#[cfg(test)]
mod tests;
