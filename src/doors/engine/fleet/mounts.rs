//! What instances mount: directories of the host are checked before each create and each start that is ours, named
//! volumes before each create. An empty volume belongs to the instance's user before the first start.

use std::collections::BTreeMap;

use super::super::containers::{ChangeContainers, Draft, MountSource};
use super::super::{EngineError, ErrorClass};
use super::Fleet;
use super::observe::applied;
use crate::doors::host::mounts::{Claim, HostMounts, RefusedPath};
use crate::words::label;
use crate::words::manifest::Restart;
use crate::words::name::InstanceName;
use crate::words::observed::Applied;
use crate::words::spec::{Spec, VolumeSource};

impl<C: ChangeContainers> Fleet<C> {
    /// Checks the directories of the host that `spec` mounts, which is about to be made. While the claim lives, others
    /// that are made see it; nobody waits for it, since the engine may take long to make one.
    pub(super) async fn claim_mounts(&self, spec: &Spec) -> Result<Option<Claim>, EngineError> {
        let Some(mounts) = self.host_mounts(spec)? else {
            return Ok(None);
        };
        // Before the containers are listed: what is claimed no longer is then among them.
        let mut claim = mounts.claim(spec);
        let earlier = std::mem::take(&mut claim.earlier);
        self.check_beside(mounts, spec, earlier).await?;
        Ok(Some(claim))
    }

    /// The same check of what was made already: whoever was made since was compared with it.
    pub(super) async fn check_mounts(&self, spec: &Spec) -> Result<(), EngineError> {
        match self.host_mounts(spec)? {
            Some(mounts) => self.check_beside(mounts, spec, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// What checks the directories of the host that `spec` mounts; `None` where it mounts none.
    fn host_mounts(&self, spec: &Spec) -> Result<Option<&HostMounts>, EngineError> {
        let mut paths = spec
            .volumes
            .iter()
            .filter_map(|volume| match &volume.source {
                VolumeSource::Host(path) => Some(path),
                VolumeSource::Name(_) => None,
            });
        match (paths.next(), &self.mounts) {
            (None, _) => Ok(None),
            (Some(_), Some(mounts)) => Ok(Some(mounts)),
            (Some(first), None) => {
                let why = "nothing here checks paths of the host";
                Err(refused(first, why, None))
            }
        }
    }

    async fn check_beside(
        &self,
        mounts: &HostMounts,
        spec: &Spec,
        mut others: Vec<(InstanceName, Spec)>,
    ) -> Result<(), EngineError> {
        others.extend(self.neighbours(&spec.name).await?);
        let checked = mounts.check(spec, &others).await;
        checked.map_err(|RefusedPath { path, refused: no }| refused(&path, &no.why, Some(no.help)))
    }

    /// Makes the named volumes of `spec` that are not there, each with a label that says whose it is. One that is
    /// another's fails the creation; one without that label was made by an earlier release or by hand.
    pub(super) async fn own_volumes(&self, spec: &Spec) -> Result<(), EngineError> {
        let owner = label::volume_owner(&self.manager, &spec.name);
        for volume in &spec.volumes {
            let VolumeSource::Name(volume) = &volume.source else {
                continue;
            };
            let name = label::instance_volume(&self.manager, &spec.name, volume);
            let Some(labels) = self.containers.volume(&name).await? else {
                let labels = BTreeMap::from([(label::VOLUME_OF.to_owned(), owner.clone())]);
                self.containers.create_volume(&name, &labels).await?;
                continue;
            };
            let other = labels
                .get(label::VOLUME_OF)
                .filter(|other| **other != owner);
            // A volume of secrets is never mounted by its name.
            if let Some(other) = other.or_else(|| labels.get(label::INSTANCE)) {
                let detail = format!("it belongs to {other}, as its labels say");
                let help = format!(
                    "rename the volume in the manifest of {}, or look at it: docker volume inspect {name}",
                    spec.name
                );
                let operation = format!("mount volume {name}");
                let error = EngineError::new(operation, ErrorClass::Conflict, detail);
                return Err(error.with_help(help));
            }
        }
        Ok(())
    }

    /// Starts a container of `spec`, whose mounts the engine resolves anew.
    pub(super) async fn start(&self, id: &str, spec: &Spec) -> Result<(), EngineError> {
        self.check_mounts(spec).await?;
        self.containers.start(id).await
    }

    /// The same check for a container that is about to be restarted, by its record.
    pub(super) async fn check_recorded(&self, id: &str) -> Result<(), EngineError> {
        if self.mounts.is_none() {
            return Ok(());
        }
        let found = self.containers.inspect(id).await?;
        if let Some(Applied::Spec(spec)) = found.map(|container| applied(&container.labels)) {
            self.check_mounts(&spec).await?;
        }
        Ok(())
    }

    /// What the containers of other instances were made from.
    async fn neighbours(
        &self,
        own: &InstanceName,
    ) -> Result<Vec<(InstanceName, Spec)>, EngineError> {
        let all = self.containers.list(&self.labels()).await?;
        let specs = all.into_iter().filter_map(|found| {
            let name: InstanceName = found.labels.get(label::INSTANCE)?.parse().ok()?;
            match applied(&found.labels) {
                Applied::Spec(spec) if name != *own => Some((name, (*spec).clone())),
                _ => None,
            }
        });
        Ok(specs.collect())
    }

    /// Creates a container whose empty volumes belong to its user. On failure nothing of it is left.
    pub(super) async fn create_owned(
        &self,
        draft: &Draft,
        spec: &Spec,
    ) -> Result<String, EngineError> {
        let id = self.containers.create(draft).await?;
        match self.give_volumes(&id, draft, spec).await {
            Ok(true) => return Ok(id),
            Ok(false) => self.containers.remove(&id).await?,
            Err(error) => {
                self.drop_quietly(&id).await;
                return Err(error);
            }
        }
        // The engine writes nothing below a root that can only be read, so another container does it first. Where a
        // crash leaves that one, it was never started, so it counts for nothing; no engine may bring it up.
        let writable = Draft {
            read_only: false,
            restart: Restart::No,
            ..draft.clone()
        };
        let id = self.containers.create(&writable).await?;
        let owned = self.give_volumes(&id, draft, spec).await;
        self.containers.remove(&id).await?;
        owned?;
        self.containers.create(draft).await
    }

    /// Whether all its empty volumes belong to its user now.
    async fn give_volumes(
        &self,
        id: &str,
        draft: &Draft,
        spec: &Spec,
    ) -> Result<bool, EngineError> {
        let (uid, gid) = (spec.security.uid, spec.security.gid);
        let kept = |target: &str| spec.volumes.iter().any(|volume| volume.target == target);
        for mount in &draft.mounts {
            let is_volume = matches!(mount.source, MountSource::Volume(_));
            if is_volume && !mount.read_only && kept(&mount.target) {
                let owned = self
                    .containers
                    .own_volume(id, &mount.target, (uid, gid))
                    .await?;
                if !owned {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn refused(path: &str, why: &str, help: Option<String>) -> EngineError {
    let operation = format!("mount {path} of the host");
    let error = EngineError::new(operation, ErrorClass::Permanent, why);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
