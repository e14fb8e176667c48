//! Finding and reading `instanced.yaml`.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{FileError, FileProblem, check, read_text, shown};
use crate::words::config::{Config, ProviderConfig};
use crate::words::desired::Unreadable;
use crate::words::diagnostic::Diagnostic;
use crate::words::document::Document;
use crate::words::text;

/// The file's name in a working directory.
const LOCAL: &str = "instanced.yaml";
/// The machine's own.
const SYSTEM: &str = "/etc/instanced/instanced.yaml";
/// The state directory of the machine's own daemon.
const SYSTEM_STATE: &str = "/var/lib/instanced";

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedConfig {
    /// What it says. Its paths are absolute.
    pub config: Config,
    /// The file it was read from; none when every key has its default.
    pub path: Option<PathBuf>,
    /// The state directory.
    pub state: PathBuf,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration")]
    Unreadable(#[source] FileError),
    /// The file was found in its usual place, and another user can change it.
    #[error("the configuration {} can be changed by another user", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Who can change it, and through what.
        why: String,
    },
    /// The file can be read, but not used.
    #[error("the configuration {} cannot be used", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Everything that is wrong with it, warnings among it.
        diagnostics: Vec<Diagnostic>,
    },
}

impl ConfigError {
    /// What is wrong, as diagnostics: every one of a file that cannot be used, one for a file that cannot
    /// be read.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Unreadable(FileError { path, problem }) => {
                let Unreadable { why, help, at } = problem.unreadable();
                let path = path.display().to_string();
                let mut told = Diagnostic::of_file(&path, why, help.as_deref());
                (told.place.line, told.place.column) = at;
                vec![told]
            }
            Self::Foreign { path, why } => {
                let path = path.display().to_string();
                let message = format!("{why}, so it is not used unless it is named");
                let help = format!("if it is yours, name it: --config {path}");
                vec![Diagnostic::of_file(&path, message, Some(&help))]
            }
            Self::Invalid { diagnostics, .. } => diagnostics.clone(),
        }
    }
}

/// Reads the configuration: `explicit`, else `instanced.yaml` in `cwd`, else the machine's, else every
/// default. Relative paths in it count from its own directory; without a file, from `cwd`.
pub fn load_config(explicit: Option<&Path>, cwd: &Path) -> Result<LoadedConfig, ConfigError> {
    match explicit {
        Some(path) => {
            let text = read_text(&cwd.join(path)).map_err(ConfigError::Unreadable)?;
            decode(&cwd.join(path), &path.display().to_string(), &text)
        }
        None => find(&[cwd.join(LOCAL), SYSTEM.into()], cwd),
    }
}

/// What counts where there is no configuration.
pub fn default_config(cwd: &Path) -> LoadedConfig {
    settle(Config::default(), None, cwd, Vec::new())
}

/// Reads the first of `candidates` that is there. One that is there and cannot be read is an error: the
/// next one may say something else.
fn find(candidates: &[PathBuf], cwd: &Path) -> Result<LoadedConfig, ConfigError> {
    for path in candidates {
        match read_text(path) {
            Ok(text) => {
                return match foreign(path, &trusted_users()) {
                    Some(why) => Err(ConfigError::Foreign {
                        path: path.clone(),
                        why,
                    }),
                    None => decode(path, &shown(path, cwd), &text),
                };
            }
            Err(FileError {
                problem: FileProblem::Missing,
                ..
            }) => {}
            Err(error) => return Err(ConfigError::Unreadable(error)),
        }
    }
    Ok(default_config(cwd))
}

/// Whose files are used without being named: root's, the user's own, and with sudo those of the user who called it, as
/// git has it.
fn trusted_users() -> Vec<u32> {
    let own = rustix::process::geteuid();
    let mut users = vec![0, own.as_raw()];
    if own.is_root() {
        let caller = env::var("SUDO_UID").ok();
        users.extend(caller.and_then(|uid| uid.parse::<u32>().ok()));
    }
    users
}

/// Why another user than these can change what a file says; `None` where nobody can.
fn foreign(path: &Path, trusted: &[u32]) -> Option<String> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let places = [
        Some(path),
        path.parent(),
        Some(real.as_path()),
        real.parent(),
    ];
    places.into_iter().flatten().find_map(|place| {
        let what = if place.is_dir() {
            "its directory"
        } else {
            "it"
        };
        let found = place.symlink_metadata().ok()?;
        if !trusted.contains(&found.uid()) {
            return Some(format!("{what} belongs to user {}", found.uid()));
        }
        let others_write = found.mode() & 0o002 != 0 && !found.is_symlink();
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        (others_write && !is_sticky).then(|| format!("every user can write to {what}"))
    })
}

fn decode(path: &Path, shown_as: &str, text: &str) -> Result<LoadedConfig, ConfigError> {
    let invalid = |diagnostics| ConfigError::Invalid {
        path: path.to_owned(),
        diagnostics,
    };
    let document = Document::parse(shown_as, text).map_err(|problem| invalid(vec![problem]))?;
    let (config, mut diagnostics) = if document.value().is_null() {
        (Some(Config::default()), Vec::new())
    } else {
        document.decode::<Config>()
    };
    // What does not decode stands at its default here, so its check finds nothing.
    let mut problems = config.as_ref().map(check::problems).unwrap_or_default();
    problems.extend(text::problems(document.value(), |_| text::Use::Line));
    diagnostics.extend(problems.into_iter().map(|problem| document.place(problem)));
    diagnostics.sort();
    let base = path.parent().unwrap_or(Path::new("/"));
    match config {
        Some(config) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok(settle(config, Some(path.to_owned()), base, diagnostics))
        }
        _ => Err(invalid(diagnostics)),
    }
}

/// Makes the paths absolute, and names the state directory.
fn settle(
    mut config: Config,
    path: Option<PathBuf>,
    base: &Path,
    warnings: Vec<Diagnostic>,
) -> LoadedConfig {
    config.source.dir = base.join(&config.source.dir);
    if let Some(git) = &mut config.source.git {
        if is_local(&git.url) {
            git.url = base.join(&git.url).display().to_string();
        }
        if let Some(signers) = &mut git.verify_signatures {
            signers.allowed_signers = base.join(&signers.allowed_signers);
        }
        if let Some(webhook) = &mut git.webhook {
            webhook.secret_file = base.join(&webhook.secret_file);
        }
    }
    for receiver in &mut config.notify.webhooks {
        receiver.secret_file = base.join(&receiver.secret_file);
        receiver.ca_file = receiver.ca_file.take().map(|file| base.join(file));
    }
    if let Some(file) = &mut config.traefik.auth_ca {
        *file = base.join(&file);
    }
    if let ProviderConfig::File(dir) = &mut config.traefik.provider {
        *dir = base.join(&dir);
    }
    config.state = config.state.map(|state| base.join(state));
    let state = config.state.clone().unwrap_or_else(|| {
        default_state(
            rustix::process::geteuid().is_root(),
            env::var_os("XDG_STATE_HOME").as_deref(),
            env::var_os("HOME").as_deref(),
        )
    });
    LoadedConfig {
        config,
        path,
        state,
        warnings,
    }
}

/// Whether git takes an address for a path: no scheme, and no `host:` before the first slash.
fn is_local(url: &str) -> bool {
    url.split('/')
        .next()
        .is_some_and(|first| !first.contains(':'))
}

/// The machine's state directory for root, else the user's own. The XDG specification has relative paths
/// ignored.
fn default_state(root: bool, xdg: Option<&OsStr>, home: Option<&OsStr>) -> PathBuf {
    let absolute = |dir: Option<&OsStr>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    if root {
        return SYSTEM_STATE.into();
    }
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .map_or_else(|| SYSTEM_STATE.into(), |dir| dir.join("instanced"))
}

#[cfg(test)]
mod tests;
