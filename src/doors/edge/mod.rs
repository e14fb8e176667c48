//! Traefik, as far as the daemon must know it: where routes are written when files carry them, and when it
//! serves them.
//!
//! With labels there is nothing to write; the containers say it all. With files, one for each instance
//! ([`files`]); the text is [`dynamic`]'s. What Traefik serves, its [`api`] tells; without one, time does.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::words::config::{ProviderConfig, Traefik};
use crate::words::name::{InstanceName, ManagerName};
use crate::words::route::Provider;
use crate::words::router::routers;
use crate::words::spec::Spec;

mod api;
mod dynamic;
mod files;

pub use api::{Api, ApiError};
pub use files::{RouteFile, RouteFileError, RouteFiles, server};

/// How long things take at the edge.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// From healthy until Traefik serves a container by its labels.
    labels_seen: Duration,
    /// From a written or removed file until Traefik has seen it.
    file_seen: Duration,
    /// How long Traefik may take to serve what it was told, where its API tells.
    served_within: Duration,
    /// How long an API that does not answer is asked again.
    api_back_within: Duration,
    /// How often it is asked.
    ask_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // The throttle of 100 ms that our layouts set, and 2 s. With Traefik's own throttle of 2 s, the pause in
            // which the old generation drains is the margin.
            labels_seen: Duration::from_millis(2_100),
            // Likewise. Measured: 40 to 120 ms.
            file_seen: Duration::from_millis(500),
            served_within: Duration::from_secs(20),
            api_back_within: Duration::from_secs(1),
            ask_every: Duration::from_millis(50),
        }
    }
}

/// Why routes are not where they should be.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] RouteFileError),
    /// Traefik answers, and does not serve it.
    #[error("Traefik does not serve {router} within {} s", within.as_secs())]
    NotServed {
        /// The router.
        router: String,
        /// How long it was waited for.
        within: Duration,
    },
}

impl EdgeError {
    /// The way out.
    pub fn help(&self) -> String {
        match self {
            Self::File(error) => error.help(),
            Self::NotServed { router, .. } => format!(
                "Traefik's log and dashboard tell what is wrong with {router}; a middleware of \
                 `traefik.middlewares` that it does not know, say"
            ),
        }
    }
}

/// The edge of one manager.
#[derive(Debug, Clone)]
pub struct Edge {
    manager: ManagerName,
    api: Option<Api>,
    files: Option<RouteFiles>,
    patience: Patience,
}

impl Edge {
    /// An edge that reads labels and tells nothing.
    pub fn by_labels(manager: ManagerName) -> Self {
        Self {
            manager,
            api: None,
            files: None,
            patience: Patience::default(),
        }
    }

    /// The edge as configured.
    pub fn new(manager: &ManagerName, config: &Traefik) -> Self {
        let files = match &config.provider {
            ProviderConfig::Labels => None,
            ProviderConfig::File(dir) => Some(RouteFiles::new(dir.clone(), manager.clone())),
        };
        Self {
            manager: manager.clone(),
            // One that cannot be parsed has been told of when the configuration was read.
            api: config.api.as_deref().and_then(|url| Api::parse(url).ok()),
            files,
            patience: Patience::default(),
        }
    }

    /// What Traefik tells, where it can be asked.
    pub fn api(&self) -> Option<&Api> {
        self.api.as_ref()
    }

    /// Where routes are written, where files carry them.
    pub fn files(&self) -> Option<&RouteFiles> {
        self.files.as_ref()
    }

    /// Leads the routes of `spec` to this generation, where files carry them. Returns what stood there before.
    pub async fn lead(
        &self,
        spec: &Spec,
        generation: u64,
        address: IpAddr,
    ) -> Result<Option<RouteFile>, EdgeError> {
        let Some(files) = self.files_of(spec) else {
            return Ok(None);
        };
        let file = files.draft(spec, generation, address);
        let (files, name) = (files.clone(), spec.name.clone());
        blocking(move || {
            let before = files.read(&name)?;
            files.write(&name, &file)?;
            Ok(before)
        })
        .await
    }

    /// Leads the routes back to what stood there before, and waits until Traefik has seen it.
    pub async fn lead_back(
        &self,
        instance: &InstanceName,
        before: Option<RouteFile>,
    ) -> Result<(), EdgeError> {
        let Some(files) = self.files.clone() else {
            return Ok(());
        };
        let name = instance.clone();
        blocking(move || match before {
            Some(file) => files.write(&name, &file).map(drop),
            None => files.remove(&name).map(drop),
        })
        .await?;
        sleep(self.patience.file_seen).await;
        Ok(())
    }

    /// Before these generations stop: routes that lead to one of them go, since its address may soon be
    /// another's.
    pub async fn leave(
        &self,
        instance: &InstanceName,
        generations: &[u64],
    ) -> Result<(), EdgeError> {
        let Some(files) = self.files.clone() else {
            return Ok(());
        };
        let (name, going) = (instance.clone(), generations.to_vec());
        let gone = blocking(move || match files.read(&name)? {
            Some(file) if going.contains(&file.generation) => files.remove(&name),
            _ => Ok(false),
        });
        if gone.await? {
            sleep(self.patience.file_seen).await;
        }
        Ok(())
    }

    /// Waits until Traefik serves every route of a generation that is well: as its API tells, else as long as
    /// it may take.
    pub async fn until_served(
        &self,
        spec: &Spec,
        generation: u64,
        address: IpAddr,
    ) -> Result<(), EdgeError> {
        if spec.endpoints.is_empty() {
            return Ok(());
        }
        let by_file = self.files_of(spec).is_some();
        if let Some(api) = &self.api
            && self.asked(api, spec, generation, address).await?
        {
            return Ok(());
        }
        let pause = if by_file {
            self.patience.file_seen
        } else {
            self.patience.labels_seen
        };
        sleep(pause).await;
        Ok(())
    }

    /// Whether the API told that it is served; `false` when it does not answer.
    async fn asked(
        &self,
        api: &Api,
        spec: &Spec,
        generation: u64,
        address: IpAddr,
    ) -> Result<bool, EdgeError> {
        let provider = match spec.edge.provider {
            Provider::Labels => "docker",
            Provider::File => "file",
        };
        let Patience {
            served_within,
            api_back_within,
            ask_every,
            ..
        } = self.patience;
        let began = Instant::now();
        let mut answered = began;
        for router in routers(&self.manager, spec, generation) {
            let name = format!("{}@{provider}", router.id);
            loop {
                match api.serves(&name, &server(address, router.port)).await {
                    Ok(true) => break,
                    Ok(false) => answered = Instant::now(),
                    Err(error) if answered.elapsed() > api_back_within => {
                        let error = format!("{error:#}");
                        tracing::warn!(
                            error,
                            "Traefik's API (traefik.api) does not tell what is served; waiting instead"
                        );
                        return Ok(false);
                    }
                    Err(_) => {}
                }
                if began.elapsed() > served_within {
                    let (router, within) = (name, served_within);
                    return Err(EdgeError::NotServed { router, within });
                }
                sleep(ask_every).await;
            }
        }
        // The API shows a configuration a moment before every entry point has it.
        sleep(ask_every).await;
        Ok(true)
    }

    fn files_of(&self, spec: &Spec) -> Option<&RouteFiles> {
        self.files
            .as_ref()
            .filter(|_| spec.edge.provider == Provider::File)
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, RouteFileError> + Send + 'static,
) -> Result<T, EdgeError> {
    let done = tokio::task::spawn_blocking(call).await;
    Ok(done.unwrap_or_else(|_| Err(RouteFileError::broken_off()))?)
}

#[cfg(test)]
mod tests;
