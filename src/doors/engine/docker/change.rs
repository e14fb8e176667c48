//! The changing calls.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{ContainerUpdateBody, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;

use super::super::containers::{ChangeContainers, Draft, DraftFile, ReadContainers as _};
use super::super::{EngineError, ErrorClass};
use super::error::{
    CHANGE_LIMIT, PULL_SILENCE, READ_LIMIT, call, classify, gone, short, silent, unless,
};
use super::{Docker, archive, draft, facts, network};
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

    async fn pull(&self, reference: &str) -> Result<(), EngineError> {
        let operation = || format!("pull image {reference}");
        // No registry is asked for a name that only this host can have, also where `pull: always` says so.
        if is_local(reference) {
            return match self.image(reference).await? {
                Some(_) => Ok(()),
                None => Err(missing_local(reference)),
            };
        }
        let options = CreateImageOptionsBuilder::default()
            .from_image(&with_tag(reference))
            .build();
        let mut progress = self.client().create_image(Some(options), None, None);
        loop {
            match tokio::time::timeout(PULL_SILENCE, progress.try_next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(pull_error(classify(operation(), &error), reference)),
                Err(_) => return Err(silent(operation(), PULL_SILENCE)),
            }
        }
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
        let body = draft::body(draft, &network_id, self.log_driver().await?);
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

    /// The engine's default for logs. Asked once: it changes only with a restart of the engine.
    async fn log_driver(&self) -> Result<&str, EngineError> {
        let ask = || async {
            let operation = || "ask for the engine's log driver".to_owned();
            let info = call(operation, READ_LIMIT, self.client().info()).await?;
            Ok(info.logging_driver.unwrap_or_default())
        };
        self.log_driver
            .get_or_try_init(ask)
            .await
            .map(String::as_str)
    }
}

/// Without a tag, the engine would pull every tag there is.
fn with_tag(reference: &str) -> String {
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
fn image_help(reference: &str) -> String {
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

/// A registry's refusals all come through the engine with one status; only their words differ.
fn pull_error(error: EngineError, reference: &str) -> EngineError {
    let words = error.detail.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let (class, help) = if error.class == ErrorClass::Away {
        return error;
    } else if says(&["no space left"]) {
        (
            ErrorClass::Retry,
            "free some disk: docker system df".to_owned(),
        )
    } else if says(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "name unknown",
    ]) {
        (ErrorClass::Gone, image_help(reference))
    } else if says(&[
        "unauthorized",
        "denied",
        "authentication required",
        "no basic auth",
    ]) {
        let help =
            format!("log in and pull it by hand: docker login, then docker pull {reference}");
        (ErrorClass::Permanent, help)
    } else if says(&["invalid reference", "invalid tag"]) {
        (ErrorClass::Permanent, "correct `image`".to_owned())
    } else if says(&[
        "dial tcp",
        "lookup",
        "no such host",
        "timeout",
        "refused",
        "unreachable",
        "tls",
        "x509",
        "eof",
        "proxyconnect",
    ]) {
        let help = format!(
            "the registry cannot be reached from the engine; {}",
            image_help(reference)
        );
        (ErrorClass::Retry, help)
    } else {
        (error.class, image_help(reference))
    };
    EngineError { class, ..error }.with_help(help)
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
    fn a_registrys_words_become_a_class_and_a_way_out() {
        let cases = [
            (
                "manifest for a:1 not found: manifest unknown",
                ErrorClass::Gone,
                "check the name",
            ),
            (
                "pull access denied for a, repository does not exist or may require 'docker login'",
                ErrorClass::Gone,
                "check the name",
            ),
            (
                "Get https://r/v2/: unauthorized: authentication required",
                ErrorClass::Permanent,
                "docker login",
            ),
            (
                "Get https://r/v2/: dial tcp: lookup r on 1.1.1.1:53: no such host",
                ErrorClass::Retry,
                "cannot be reached",
            ),
            (
                "write /var/lib/docker/tmp/x: no space left on device",
                ErrorClass::Retry,
                "free some disk",
            ),
        ];
        for (words, class, help) in cases {
            let error = pull_error(
                EngineError::new("pull image a:1", ErrorClass::Retry, words),
                "a:1",
            );
            assert_eq!(error.class, class, "{words}");
            assert!(error.help.expect("a way out").contains(help), "{words}");
        }
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
