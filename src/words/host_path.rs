//! Paths of the host that manifests name: one form for each, and the rule that a path must pass.
//!
//! A path is compared in its clean form only: absolute, without empty parts, `.` and `..`. The form is lexical. On a
//! path without symbolic links it is also where the path leads, and [`crate::doors::host`] refuses links.

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer};

use super::config::Config;

/// The longest path that Linux takes, in bytes (`PATH_MAX` with its final NUL).
const LONGEST: usize = 4_095;

/// Directories that no instance gets, with what they hold. Neither does it get one above them or below them.
const RESERVED: [(&str, &str); 12] = [
    ("/proc", "the kernel's processes"),
    ("/sys", "the kernel's settings"),
    ("/dev", "the host's devices"),
    ("/run/docker", "the engine's own files"),
    ("/run/containerd", "the engine's own files"),
    ("/run/podman", "the engine's socket"),
    ("/run/crio", "the engine's socket"),
    ("/var/lib/docker", "the engine's own files"),
    ("/var/lib/containerd", "the engine's own files"),
    ("/var/lib/containers", "the engine's own files"),
    ("/run/docker.sock", "the engine's socket"),
    ("/var/lib/instanced", "the daemon's own files"),
];

/// Names of engine sockets, wherever they are.
const SOCKETS: [&str; 6] = [
    "docker.sock",
    "podman.sock",
    "containerd.sock",
    "crio.sock",
    "dockershim.sock",
    "buildkitd.sock",
];

/// A text that is not a path of a host or of a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("`{0}` is no absolute path")]
    Relative(String),
    /// It holds a control character.
    #[error("the path holds a control character")]
    Control,
    /// It is longer than Linux allows.
    #[error("the path has {0} bytes, more than the {LONGEST} that Linux takes")]
    TooLong(usize),
}

/// The clean form of an absolute path.
///
/// # Errors
/// What makes the text unusable as a path.
pub fn parse(text: &str) -> Result<String, PathError> {
    if !text.starts_with('/') {
        return Err(PathError::Relative(text.to_owned()));
    }
    if text.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    if text.len() > LONGEST {
        return Err(PathError::TooLong(text.len()));
    }
    Ok(clean(text))
}

/// The clean form of a path, as engines write it.
pub fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Reads a path of a record in its clean form, so that a record that an older version wrote compares equal.
pub(super) fn recorded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|path| clean(&path))
}

/// Whether a clean path is below another one.
pub fn is_below(path: &str, dir: &str) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => rest.starts_with('/') || dir == "/" && !rest.is_empty(),
        None => false,
    }
}

/// Whether two clean paths are the same, or one is below the other.
pub fn is_related(one: &str, other: &str) -> bool {
    one == other || is_below(one, other) || is_below(other, one)
}

/// Why a path of the host is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `policy.host_paths.allow` does not name it.
    NotAllowed,
    /// It is, holds or is within something that no policy opens.
    Reserved {
        /// The reserved path.
        path: String,
        /// What is there.
        holds: String,
    },
}

/// The operator's rule for paths of the host.
#[derive(Debug, Clone, Default)]
pub struct HostRule {
    allowed: GlobSet,
    reserved: Vec<(String, String)>,
}

impl HostRule {
    /// The rule of a configuration. A glob that cannot be read allows nothing; the configuration's own check names it.
    pub fn of(config: &Config) -> Self {
        let mut allowed = GlobSetBuilder::new();
        for glob in &config.policy.host_paths.allow {
            // `/srv/share/` means the directory `/srv/share`.
            let trimmed = match glob.trim_end_matches('/') {
                "" => glob,
                trimmed => trimmed,
            };
            if let Ok(glob) = Glob::new(trimmed) {
                allowed.add(glob);
            }
        }
        let rule = Self {
            allowed: allowed.build().unwrap_or_default(),
            reserved: RESERVED
                .map(|(path, holds)| (path.to_owned(), holds.to_owned()))
                .into(),
        };
        let state = config.state.as_ref().and_then(|path| path.to_str());
        let socket = config.engine.docker.host.as_deref();
        rule.reserving(state, "the daemon's own files").reserving(
            socket.and_then(|host| host.strip_prefix("unix://")),
            "the engine's socket",
        )
    }

    /// With one more reserved path, where there is one.
    #[must_use]
    pub fn reserving(mut self, path: Option<&str>, holds: &str) -> Self {
        let path = path.filter(|path| path.starts_with('/'));
        self.reserved
            .extend(path.map(|path| (without_alias(&clean(path)), holds.to_owned())));
        self
    }

    /// Why a clean path is refused; `None` where it is not.
    pub fn refusal(&self, path: &str) -> Option<Refusal> {
        let named = path.rsplit('/').find(|part| SOCKETS.contains(part));
        if named.is_some() {
            return Some(Refusal::Reserved {
                path: path.to_owned(),
                holds: "an engine's socket".to_owned(),
            });
        }
        let at = without_alias(path);
        let mut reserved = self.reserved.iter();
        if let Some((path, holds)) = reserved.find(|(path, _)| is_related(&at, path)) {
            return Some(Refusal::Reserved {
                path: path.clone(),
                holds: holds.clone(),
            });
        }
        (!self.allowed.is_match(path)).then_some(Refusal::NotAllowed)
    }
}

/// `/var/run` is `/run` on every system that has both.
pub(super) fn without_alias(path: &str) -> String {
    match path.strip_prefix("/var/run") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("/run{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(globs: &[&str]) -> HostRule {
        let mut config = Config::default();
        config.policy.host_paths.allow = globs.iter().map(|glob| (*glob).to_owned()).collect();
        HostRule::of(&config)
    }

    #[test]
    fn a_path_has_one_form() {
        for (text, path) in [
            ("/srv/share/.", "/srv/share"),
            ("/srv/share/", "/srv/share"),
            ("//srv///share", "/srv/share"),
            ("/srv/share/a/..", "/srv/share"),
            ("/../..", "/"),
            ("/srv/share/...", "/srv/share/..."),
        ] {
            assert_eq!(parse(text), Ok(path.to_owned()), "{text}");
        }
        assert_eq!(parse("srv"), Err(PathError::Relative("srv".to_owned())));
        assert_eq!(parse("/srv\n/x"), Err(PathError::Control));
        assert_eq!(parse("/srv\0"), Err(PathError::Control));
        assert_eq!(parse(&"/x".repeat(3_000)), Err(PathError::TooLong(6_000)));
    }

    #[test]
    fn the_parent_of_what_is_allowed_is_not_allowed() {
        let rule = rule(&["/srv/share/*"]);
        for text in [
            "/srv/share/.",
            "/srv/share/",
            "/srv/share/a/..",
            "//srv/share//",
        ] {
            let path = parse(text).expect("a path");
            assert_eq!(rule.refusal(&path), Some(Refusal::NotAllowed), "{text}");
        }
        assert_eq!(rule.refusal("/srv/share/a"), None);
    }

    #[test]
    fn a_slash_at_the_end_of_a_glob_means_the_directory() {
        assert_eq!(rule(&["/srv/share/"]).refusal("/srv/share"), None);
    }

    #[test]
    fn no_policy_opens_the_engine_the_kernel_or_the_daemon() {
        let rule = rule(&["*"]).reserving(Some("/data/state/"), "the daemon's own files");
        for path in [
            "/",
            "/run",
            "/var",
            "/var/run",
            "/var/lib",
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/srv/docker.sock",
            "/srv/podman.sock/x",
            "/run/user/1000/podman/podman.sock",
            "/var/lib/docker",
            "/var/lib/docker/volumes/x/_data",
            "/var/run/containerd",
            "/proc/1/root",
            "/sys/fs/cgroup",
            "/dev",
            "/data",
            "/data/state",
            "/data/state/control.sock",
        ] {
            let refusal = rule.refusal(path);
            assert!(
                matches!(refusal, Some(Refusal::Reserved { .. })),
                "{path}: {refusal:?}"
            );
        }
        for path in [
            "/srv/x",
            "/runner",
            "/var/lib/dockers",
            "/data/state-of-x",
            "/run/postgresql",
        ] {
            assert_eq!(rule.refusal(path), None, "{path}");
        }
    }

    #[test]
    fn the_engine_s_configured_socket_is_reserved() {
        let mut config = Config::default();
        config.policy.host_paths.allow = vec!["*".to_owned()];
        config.engine.docker.host = Some("unix:///srv/engine/api".to_owned());
        let rule = HostRule::of(&config);
        assert!(rule.refusal("/srv/engine").is_some());
        assert!(rule.refusal("/srv/other").is_none());
    }
}
