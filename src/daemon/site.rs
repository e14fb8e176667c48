//! Where a command runs: the configuration and what it leads to.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::chain::failure;
use crate::decisions::report::Failure;
use crate::doors::edge::Edge;
use crate::doors::engine::EngineError;
use crate::doors::engine::docker::{Docker, DockerReader};
use crate::doors::engine::fleet::Fleet;
use crate::doors::files;
use crate::doors::host::mounts::HostMounts;
use crate::doors::sole::{Sole, SoleError};
use crate::doors::source::git::Mirror;
use crate::words::config::Config;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;

/// Everything a command needs to know of where it runs.
#[derive(Debug, Clone)]
pub struct Site {
    /// The configuration, with what the command line overrides.
    pub config: Config,
    /// The file it was read from.
    pub config_path: Option<PathBuf>,
    /// The state directory.
    pub state: PathBuf,
    /// What is worth a look in the configuration.
    pub warnings: Vec<Diagnostic>,
}

/// A fleet that may be acted on, for as long as this process has the right to.
pub struct Acting {
    /// The fleet.
    pub fleet: Fleet<Docker>,
    /// The right.
    pub sole: Sole,
}

/// Why a fleet cannot be acted on.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The engine cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another process of this host acts on it.
    #[error(transparent)]
    Sole(#[from] SoleError),
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Engine(error) => error.into(),
            ActError::Sole(error) => failure(&error),
        }
    }
}

impl Site {
    /// What a person reads once the daemon is ready.
    pub fn announcement(&self, auth: &dyn Display, control: &Path, admin: SocketAddr) -> String {
        let (source, control) = (self.source_named(), control.display());
        format!(
            "watching {source}, answering ForwardAuth on {auth}, control API on {control} and {admin}"
        )
    }

    /// The mirror of the repository that manifests come from; none where they come from a directory.
    pub fn mirror(&self) -> Option<Mirror> {
        let git = self.config.source.git.as_ref()?;
        Some(Mirror::new(&self.state, git))
    }

    /// Where manifests come from, as a person would say it.
    pub fn source_named(&self) -> String {
        match &self.config.source.git {
            Some(git) => git.to_string(),
            None => self.source_dir().display().to_string(),
        }
    }

    /// What a person calls an instance's manifest.
    pub fn manifest_of(&self, name: &InstanceName) -> String {
        if let Some(git) = &self.config.source.git {
            return format!("{}/{name}.yaml", git.path);
        }
        let long = self.source_dir().join(format!("{name}.yaml"));
        let short = self.source_dir().join(format!("{name}.yml"));
        let path = if !long.exists() && short.exists() {
            short
        } else {
            long
        };
        let cwd = std::env::current_dir().unwrap_or_default();
        files::shown(&path, &cwd)
    }

    /// The directory of manifests, where they come from one.
    pub fn source_dir(&self) -> &Path {
        &self.config.source.dir
    }

    /// The directory of manifests as a person would name it.
    pub fn source_shown(&self) -> String {
        let cwd = std::env::current_dir().unwrap_or_default();
        files::shown(self.source_dir(), &cwd)
    }

    /// The engine's fleet, to look at only.
    pub fn observer(&self) -> Result<Fleet<DockerReader>, EngineError> {
        let reader = DockerReader::connect(self.config.engine.docker.host.as_deref())?;
        Ok(Fleet::new(
            reader,
            self.config.manager.clone(),
            self.config.network.clone(),
        )
        .with_edge(self.edge()))
    }

    /// The engine's fleet, to act on, with the right to. `author` is the state directory's id, which
    /// containers bear.
    pub fn engine(&self, author: &str) -> Result<Acting, ActError> {
        let docker = Docker::connect(self.config.engine.docker.host.as_deref())?;
        let sole = Sole::take(self.config.manager.as_str(), docker.reader().address())?;
        let mounts = HostMounts::new(&self.config, &self.state, docker.reader().address());
        let fleet = Fleet::new(
            docker,
            self.config.manager.clone(),
            self.config.network.clone(),
        );
        Ok(Acting {
            fleet: fleet
                .with_author(author.to_owned())
                .with_edge(self.edge())
                .with_mounts(mounts),
            sole,
        })
    }

    /// The edge that serves the fleet.
    pub fn edge(&self) -> Edge {
        Edge::new(&self.config.manager, &self.config.traefik)
    }

    /// Names configuration and source: two sites with one fingerprint mean the same fleet.
    pub fn fingerprint(&self) -> String {
        let mut config = self.config.clone();
        // Both ways of naming one directory are the same source.
        if let Ok(canonical) = config.source.dir.canonicalize() {
            config.source.dir = canonical;
        }
        // Where the state is was decided when the socket was found.
        config.state = None;
        digest(&config)
    }

    /// Names what the configuration says of instances and plans, wherever the fleet, its source and its store are.
    pub fn rules(&self) -> String {
        let same = Config::default();
        let config = Config {
            source: same.source,
            engine: same.engine,
            listen: same.listen,
            control: same.control,
            notify: same.notify,
            state: None,
            ..self.config.clone()
        };
        digest(&config)
    }
}

fn digest(config: &Config) -> String {
    let text = serde_json::to_string(config).expect("a configuration has string keys only");
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
