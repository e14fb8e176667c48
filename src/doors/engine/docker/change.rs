//! The changing calls.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{ContainerUpdateBody, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};

use super::super::containers::{
    ChangeContainers, Draft, DraftFile, MountSource, OnProgress, ReadContainers as _,
};
use super::super::{EngineError, ErrorClass};
use super::error::{CHANGE_LIMIT, READ_LIMIT, call, gone, short, unless};
use super::{Defaults, Docker, archive, draft, facts, network, owner, pull};
use crate::words::host_path::is_related;
use crate::words::manifest::Restart;
use crate::words::observed::{Limits, Phase};
use crate::words::reference::{self, is_local};

impl ChangeContainers for Docker {
    async fn create_network(
        &self,
        name: &str,
        isolated: bool,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        network::create(self, name, isolated, labels).await
    }

    async fn pull(&self, reference: &str, progress: &OnProgress<'_>) -> Result<(), EngineError> {
        // No registry is asked for a name that only this host can have, also where `pull: always` says so.
        if is_local(reference) {
            return match self.image(reference).await? {
                Some(_) => Ok(()),
                None => Err(missing_local(reference)),
            };
        }
        pull::pull(self.client(), reference, progress).await
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let operation = || format!("create volume {name}");
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        // The engine answers with the volume of this name, made just now or long ago.
        let volume = call(
            operation,
            CHANGE_LIMIT,
            self.client().create_volume(request),
        )
        .await?;
        if labels
            .iter()
            .all(|(key, value)| volume.labels.get(key) == Some(value))
        {
            return Ok(());
        }
        Err(EngineError::new(
            operation(),
            ErrorClass::Conflict,
            "the name is taken by a volume of another",
        )
        .with_help(format!("look at it: docker volume inspect {name}")))
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let operation = || format!("remove volume {name}");
        let options = RemoveVolumeOptionsBuilder::default().force(false).build();
        let future = self.client().remove_volume(name, Some(options));
        unless(call(operation, CHANGE_LIMIT, future).await, gone)
    }

    async fn create(&self, draft: &Draft) -> Result<String, EngineError> {
        let operation = || format!("create container {}", draft.name);
        let network_id = network::id(self, &draft.network).await?;
        let defaults = self.defaults().await?;
        refuse_root(draft, &defaults.root)?;
        let body = draft::body(draft, &network_id, &defaults.log_driver);
        let options = CreateContainerOptionsBuilder::default()
            .name(&draft.name)
            .build();
        let future = self.client().create_container(Some(options), body);
        let created = call(operation, CHANGE_LIMIT, future)
            .await
            .map_err(|error| create_error(error, draft))?;
        for warning in &created.warnings {
            tracing::warn!(
                container = draft.name,
                warning,
                "the engine created it with a reservation"
            );
        }
        Ok(created.id)
    }

    async fn put_files(
        &self,
        container: &str,
        directory: &str,
        files: &[DraftFile],
    ) -> Result<(), EngineError> {
        let operation = || {
            format!(
                "put files into {directory} of container {}",
                short(container)
            )
        };
        let packed = archive::pack(files)
            .map_err(|detail| EngineError::new(operation(), ErrorClass::Permanent, detail))?;
        let options = UploadToContainerOptionsBuilder::default()
            .path(directory)
            .no_overwrite_dir_non_dir("true")
            .build();
        let body = bollard::body_full(packed.into());
        let future = self
            .client()
            .upload_to_container(container, Some(options), body);
        call(operation, CHANGE_LIMIT, future).await
    }

    async fn own_volume(
        &self,
        container: &str,
        path: &str,
        owner: (u32, u32),
    ) -> Result<bool, EngineError> {
        owner::own(self, container, path, owner).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        let operation = || format!("start container {}", short(container));
        let future = self
            .client()
            .start_container(container, None::<StartContainerOptions>);
        let started = call(operation, CHANGE_LIMIT, future).await;
        match started {
            Err(error) if error.class == ErrorClass::Conflict => self.thaw(container, error).await,
            other => other,
        }
    }

    async fn stop(&self, container: &str, grace_secs: u32) -> Result<(), EngineError> {
        let operation = || format!("stop container {}", short(container));
        let grace = i32::try_from(grace_secs).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        let limit = CHANGE_LIMIT + Duration::from_secs(grace_secs.into());
        let future = self.client().stop_container(container, Some(options));
        unless(call(operation, limit, future).await, gone)
    }

    async fn set_restart(&self, container: &str, restart: Restart) -> Result<(), EngineError> {
        let operation = || format!("set the restart policy of container {}", short(container));
        let update = ContainerUpdateBody {
            restart_policy: Some(facts::policy(restart)),
            ..ContainerUpdateBody::default()
        };
        let future = self.client().update_container(container, update);
        // An engine that died while it removed a container keeps it as `dead`, refuses to change it, and never
        // starts it again: what a policy of `no` is to bring about holds already.
        unless(call(operation, CHANGE_LIMIT, future).await, |error| {
            restart == Restart::No && error.detail.contains("marked for removal")
        })
    }

    async fn set_limits(&self, container: &str, limits: &Limits) -> Result<(), EngineError> {
        let operation = || format!("update container {}", short(container));
        let body = facts::update(limits);
        let future = self.client().update_container(container, body);
        let updated = call(operation, CHANGE_LIMIT, future).await;
        updated.map_err(limit_error)
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let operation = || format!("remove container {}", short(container));
        let options = RemoveContainerOptionsBuilder::default()
            .v(true)
            .force(false)
            .build();
        let future = self.client().remove_container(container, Some(options));
        unless(call(operation, CHANGE_LIMIT, future).await, |error| {
            gone(error) || error.detail.contains("is already in progress")
        })
    }
}

impl Docker {
    /// A paused container refuses to be started; `refusal` is handed back when it is something else.
    async fn thaw(&self, container: &str, refusal: EngineError) -> Result<(), EngineError> {
        let found = self.reader.inspect(container).await?;
        if found.is_none_or(|found| found.phase != Phase::Paused) {
            return Err(refusal);
        }
        let operation = || format!("unpause container {}", short(container));
        call(
            operation,
            CHANGE_LIMIT,
            self.client().unpause_container(container),
        )
        .await
    }

    /// What the engine is set to. Asked once: it changes only with a restart of the engine.
    async fn defaults(&self) -> Result<&Defaults, EngineError> {
        let ask = || async {
            let operation = || "ask what the engine is set to".to_owned();
            let info = call(operation, READ_LIMIT, self.client().info()).await?;
            Ok(Defaults {
                log_driver: info.logging_driver.unwrap_or_default(),
                root: info.docker_root_dir.unwrap_or_default(),
            })
        };
        self.defaults.get_or_try_init(ask).await
    }
}

/// Whoever writes in the engine's own files is root of the host.
fn refuse_root(draft: &Draft, root: &str) -> Result<(), EngineError> {
    let of_engine = draft.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Host(path) if !root.is_empty() && is_related(path, root) => Some(path),
        MountSource::Host(_) | MountSource::Volume(_) => None,
    });
    let Some(path) = of_engine else {
        return Ok(());
    };
    let operation = format!("mount {path} of the host");
    let detail = format!("it leads to the engine's own files ({root})");
    Err(EngineError::new(operation, ErrorClass::Permanent, detail)
        .with_help("no policy allows it; mount a directory that has no part in it"))
}

/// Without a tag, the engine would pull every tag there is.
pub(super) fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if reference.contains('@') || last.contains(':') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

/// The error of an image that is missing and comes from no registry.
fn missing_local(reference: &str) -> EngineError {
    let operation = format!("find image {reference}");
    let detail = "the engine does not have it, and a name under localhost/ is of this host alone";
    EngineError::new(operation, ErrorClass::Permanent, detail).with_help(image_help(reference))
}

/// The way out when an image cannot be had.
pub(super) fn image_help(reference: &str) -> String {
    if with_tag(reference) == reference::BROWSER {
        "build it: image/build.sh".to_owned()
    } else if is_local(reference) {
        format!("build it: docker build --tag {reference} DIRECTORY")
    } else {
        format!("check the name, or build it, or pull it by hand: docker pull {reference}")
    }
}

fn create_error(error: EngineError, draft: &Draft) -> EngineError {
    let about_image = ["No such image", "image not known", "no such image"];
    if gone(&error) && about_image.iter().any(|words| error.detail.contains(words)) {
        return error.with_help(image_help(&draft.image));
    }
    if error.detail.contains("bind source path does not exist") {
        return error.with_help("make the directory on the host, or correct `volumes`");
    }
    if error.detail.contains("No command specified") {
        return error.with_help(
            "neither its image nor its manifest says what is run: set `command` or `entrypoint`",
        );
    }
    limit_error(error)
}

/// The way out when the host has less than is asked for.
fn limit_error(error: EngineError) -> EngineError {
    if error.detail.contains("Range of CPUs") {
        return error.with_help("the host has not so many: correct `resources.cpus`");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        assert_eq!(with_tag("a/b"), "a/b:latest");
        assert_eq!(with_tag("localhost:5000/b"), "localhost:5000/b:latest");
        assert_eq!(with_tag("a:1"), "a:1");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
    }

    #[test]
    fn our_own_image_is_built() {
        let error = missing_local("localhost/instanced/browser:1");
        assert_eq!(error.help.as_deref(), Some("build it: image/build.sh"));
        assert_eq!(error.class, ErrorClass::Permanent);
        let help = image_help("localhost/x:1");
        assert_eq!(help, "build it: docker build --tag localhost/x:1 DIRECTORY");
    }
}
