//! What of the host and of privileges a manifest asks for: volumes, user, capabilities. Policy decides afterwards.

use std::collections::{BTreeMap, BTreeSet};

use crate::words::bounds;
use crate::words::config::users;
use crate::words::diagnostic::Problem;
use crate::words::host_path::{self, is_below, is_related, without_alias};
use crate::words::label;
use crate::words::manifest::{EnvValue, SecurityPart, VolumePart};
use crate::words::secret::{self, SecretName};
use crate::words::spec::{Security, Volume, VolumeSource};

/// A uid or gid where a manifest gives none.
const USER_DEFAULT: u32 = 1000;

pub(super) fn volumes(parts: &[VolumePart], told: &mut Vec<Problem>) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    let mut targets = BTreeSet::new();
    // Each is compared with all others; that there are more is a problem of its own.
    let parts = parts.iter().take(bounds::VOLUMES.most);
    for (index, part) in parts.enumerate() {
        let at = index.to_string();
        let path = ["volumes", &at];
        let plain = |name: &str| name.parse::<SecretName>().is_ok() && name.len() <= 64;
        let source = match (&part.name, &part.host) {
            (Some(name), None) if label::is_like_secrets(name) => {
                let message =
                    format!("the engine would take `{name}` for the secrets of another instance");
                told.push(
                    Problem::error(&["volumes", &at, "name"], message)
                        .with_help("choose a name that does not end like `g1-secrets`"),
                );
                continue;
            }
            (Some(name), None) if label::is_ambiguous(name) => {
                let message =
                    format!("the engine could take `{name}` for a volume of another instance");
                told.push(
                    Problem::error(&["volumes", &at, "name"], message).with_help(
                        "choose a name that has no `-vol-` in it and does not start with `vol-`",
                    ),
                );
                continue;
            }
            (Some(name), None) if plain(name) => VolumeSource::Name(name.clone()),
            (Some(name), None) => {
                let message = format!("`{name}` is no volume's name");
                told.push(
                    Problem::error(&["volumes", &at, "name"], message)
                        .with_help("letters, digits, `_`, `-` and `.`, 64 at most"),
                );
                continue;
            }
            (None, Some(host)) => match host_path::parse(host) {
                Ok(path) => VolumeSource::Host(path),
                Err(error) => {
                    let problem = Problem::error(&["volumes", &at, "host"], error.to_string());
                    told.push(problem.with_help("write an absolute path, such as /srv/share"));
                    continue;
                }
            },
            _ => {
                told.push(
                    Problem::error(&path, "neither or both of `name` and `host`")
                        .with_help("`name` is a volume of the instance's own, `host` a directory"),
                );
                continue;
            }
        };
        let target_at = ["volumes", &at, "target"];
        let target = mount_point(part.target.as_deref().unwrap_or_default(), &target_at, told);
        if !target.is_empty() && !targets.insert(target.clone()) {
            let message = format!("a second volume at {target}");
            told.push(Problem::error(&target_at, message));
        }
        volumes.push(Volume {
            source,
            target,
            read_only: part.read_only.unwrap_or(false),
        });
    }
    check_nested(&volumes, told);
    volumes
}

/// The clean form of a path inside the container at which something is mounted; empty where it cannot be.
fn mount_point(text: &str, at: &[&str], told: &mut Vec<Problem>) -> String {
    let path = host_path::parse(text).unwrap_or_default();
    // In most images `/var/run` is a link to `/run`, which the engine follows.
    if path.is_empty() || is_related(&without_alias(&path), secret::DIRECTORY) {
        told.push(
            Problem::error(at, "no place where it could be mounted")
                .with_help("write an absolute path, neither above nor below /run/secrets"),
        );
        return String::new();
    }
    path
}

/// An instance can replace what is in a directory that it writes to by a symbolic link, and the engine resolves a
/// mount's path again at every start.
fn check_nested(volumes: &[Volume], told: &mut Vec<Problem>) {
    for (index, volume) in volumes.iter().enumerate() {
        let VolumeSource::Host(path) = &volume.source else {
            continue;
        };
        let outer = volumes.iter().find_map(|other| match &other.source {
            VolumeSource::Host(outer) if !other.read_only && is_below(path, outer) => Some(outer),
            _ => None,
        });
        if let Some(outer) = outer {
            let at = ["volumes", &index.to_string(), "host"];
            let message = format!("`{path}` is within `{outer}`, to which this instance writes");
            told.push(
                Problem::error(&at, message)
                    .with_help("mount one of the two, or write `read_only: true` at the outer one"),
            );
        }
    }
}

pub(super) fn security(part: Option<&SecurityPart>, told: &mut Vec<Problem>) -> Security {
    let part = part.cloned().unwrap_or_default();
    let (uid, gid) = match &part.user {
        None => (USER_DEFAULT, USER_DEFAULT),
        Some(EnvValue(text)) => {
            let (uid, gid) = text.split_once(':').unwrap_or((text, text));
            if let (Some(uid), Some(gid)) = (users::id(uid), users::id(gid)) {
                (uid, gid)
            } else {
                told.push(
                    Problem::error(
                        &["security", "user"],
                        format!("`{text}` is no numeric user"),
                    )
                    .with_help(
                        "write \"1000\" or \"1000:1000\"; `docker run --rm --entrypoint id IMAGE NAME` shows the \
                         numbers of a name",
                    ),
                );
                (USER_DEFAULT, USER_DEFAULT)
            }
        }
    };
    let mut tmpfs = BTreeMap::new();
    for (written, size) in part.tmpfs {
        let at = ["security", "tmpfs", &written];
        if !written.starts_with('/') {
            let help = format!("write `/{written}`");
            told.push(
                Problem::error(&at, "no absolute path")
                    .at_key()
                    .with_help(help),
            );
            continue;
        }
        let path = mount_point(&written, &at, told);
        if !path.is_empty() && tmpfs.insert(path.clone(), size).is_some() {
            let message = format!("a second file system at {path}");
            told.push(Problem::error(&at, message));
        }
    }
    let mut cap_add: Vec<String> = part
        .cap_add
        .unwrap_or_default()
        .iter()
        .map(|name| name.to_ascii_uppercase())
        .map(|name| {
            name.strip_prefix("CAP_")
                .map_or(name.clone(), str::to_owned)
        })
        .collect();
    cap_add.sort();
    cap_add.dedup();
    Security {
        uid,
        gid,
        cap_add,
        read_only: part.read_only.unwrap_or(false),
        tmpfs,
    }
}
