//! Looking: one list, and a closer look at what is not known already.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::super::containers::{Container, Draft, NetworkFacts, ReadContainers, Summary};
use super::super::settings::ImageConfig;
use super::super::{EngineError, ErrorClass, Observe, draft, drift};
use super::Fleet;
use super::images::vouched;
use super::seen::Moment;
use crate::words::label;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Foreign, Generation, Observed, Phase};
use crate::words::secret::{DIRECTORY, SecretName, SecretValue};

/// How many containers or images are asked about at the same time.
pub(super) const LOOKS: usize = 16;

/// How long a round waits for the engine's word on one container or image. One that takes longer holds its own
/// instance; all others continue.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Containers as they were looked at, by id.
type Looked = BTreeMap<String, Look>;

/// What a look at one container led to.
enum Look {
    Found(Box<Found>),
    /// It vanished.
    Gone,
    /// The engine does not say; why.
    Refused(String),
}

/// What one list led to.
struct Sight {
    listed: Vec<Summary>,
    looked: Looked,
    /// References with their images' ids.
    images: BTreeMap<String, String>,
    networks: Vec<NetworkFacts>,
}

/// A container that was looked at, with what is said of it by its labels alone. That is most of the work of a
/// comparison, and is done while the engine still answers for others.
struct Found {
    container: Container,
    number: u64,
    applied: Applied,
    /// What it was created as, where its labels tell.
    draft: Option<Draft>,
}

/// What is known of our containers, by id.
struct Known {
    generations: BTreeMap<String, Generation>,
    /// Those of which the engine does not say what they are, and why.
    refused: BTreeMap<String, String>,
}

/// What the engine says of one thing, or why it does not say. Only an engine that is away is an error: whatever else it
/// answers concerns that thing alone.
pub(super) async fn asked<T>(
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<Result<T, String>, EngineError> {
    match tokio::time::timeout(LOOK_LIMIT, call).await {
        Ok(Err(error)) if error.class == ErrorClass::Away => Err(error),
        Ok(answer) => Ok(answer.map_err(|error| error.to_string())),
        Err(_) => Ok(Err(format!("no answer within {} s", LOOK_LIMIT.as_secs()))),
    }
}

impl<C: ReadContainers> Observe for Fleet<C> {
    async fn observe(&self, images: &BTreeSet<String>) -> Result<Observed, EngineError> {
        let moment = self.seen.begin();
        let (sight, volumes) = tokio::join!(
            self.list_and_look(moment, images),
            asked(self.volumes(moment))
        );
        let Sight {
            listed,
            looked,
            mut images,
            networks,
        } = sight?;
        let (ours, foreign) = self.sort(&listed);
        let summaries: Vec<&Summary> = ours.iter().map(|(_, summary)| *summary).collect();
        let Known {
            mut generations,
            refused,
        } = self
            .generations(moment, &summaries, looked, &networks)
            .await?;
        let ids = summaries.iter().map(|summary| &summary.id).collect();
        self.seen.forget_others(moment, &ids);
        self.doubt(moment, &mut images, generations.values())
            .await?;

        let volumes = volumes?.unwrap_or_else(|error| {
            tracing::debug!(error, "failed to list volumes; nothing is tidied");
            Vec::new()
        });
        let leftovers = self.leftovers(volumes, &ours);
        let mut instances: BTreeMap<InstanceName, Vec<Generation>> = BTreeMap::new();
        let mut unobserved = BTreeMap::new();
        for (name, summary) in ours {
            if let Some(generation) = generations.remove(&summary.id) {
                instances.entry(name).or_default().push(generation);
            } else if let Some(why) = refused.get(&summary.id) {
                unobserved.insert(name, why.clone());
            }
        }
        // Half of what there is of an instance is no ground for a plan.
        instances.retain(|name, _| !unobserved.contains_key(name));
        for generations in instances.values_mut() {
            let place = |g: &Generation| (g.number, Reverse(g.drift.len()));
            generations.sort_by(|a, b| (place(a), &a.id).cmp(&(place(b), &b.id)));
            disown_copies(generations);
        }
        let ground = self.check_networks(&networks).err();
        Ok(Observed {
            leftovers,
            instances,
            unobserved,
            foreign,
            ground: ground.map(|error| error.to_string()),
            images,
        })
    }

    async fn ground(&self) -> Result<Option<String>, EngineError> {
        let networks = self.networks(self.seen.now()).await?;
        let wrong = self.check_networks(&networks).err();
        Ok(wrong.map(|error| error.to_string()))
    }

    async fn read_secret(
        &self,
        instance: &InstanceName,
        secret: &SecretName,
    ) -> Result<Option<SecretValue>, EngineError> {
        let Some(container) = self.newest(instance).await? else {
            return Ok(None);
        };
        match self
            .containers
            .read_file(&container.id, &format!("{DIRECTORY}/{secret}"))
            .await
        {
            Ok(value) => Ok(Some(SecretValue::new(value))),
            Err(error) if error.class == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<C: ReadContainers> Fleet<C> {
    /// Ours of a list, and foreign ones that hold a name that a generation of ours would have.
    fn sort<'a>(
        &self,
        listed: &'a [Summary],
    ) -> (Vec<(InstanceName, &'a Summary)>, BTreeMap<String, Foreign>) {
        let prefix = format!("instanced-{}-", self.manager);
        let (mut ours, mut foreign) = (Vec::new(), BTreeMap::new());
        for summary in listed {
            let manager = summary.labels.get(label::MANAGER);
            let is_ours = manager.is_some_and(|manager| manager == self.manager.as_str());
            let name = summary.labels.get(label::INSTANCE);
            // Without a legible name it is nobody's instance: left alone, and its name counts as taken.
            let name = name.filter(|_| is_ours).and_then(|name| name.parse().ok());
            if let Some(name) = name {
                ours.push((name, summary));
            } else if let Some(generation) = summary.name.strip_prefix(&prefix) {
                let name = summary.name.clone();
                let what = format!("container {:.12}", summary.id);
                foreign.insert(generation.to_owned(), Foreign { name, what });
            }
        }
        (ours, foreign)
    }

    /// One list, a look at each of ours in it that is not known as it is listed, the ids of the images under these
    /// references, and the networks of the fleet's name.
    async fn list_and_look(
        &self,
        moment: Moment,
        references: &BTreeSet<String>,
    ) -> Result<Sight, EngineError> {
        let listed = self.containers.list(&[]).await?;
        self.seen.listen_to(self.containers.engine());
        let (ours, _) = self.sort(&listed);
        let unknown = self.seen.unknown(ours.iter().map(|(_, summary)| *summary));
        let vouched = vouched(&listed);
        // What is wanted of images as soon as containers were looked at is asked beside that. Where nothing is
        // vouched for, the reference is asked, which tells it, too.
        let runs = ours.iter().filter(|(_, summary)| summary.image.is_some());
        let runs: BTreeSet<&String> = runs.map(|(_, summary)| &summary.image_id).collect();
        let wanted = runs.into_iter().filter(|_| !unknown.is_empty());
        let wanted = wanted.cloned().collect();
        let networks = async {
            match self.noted_network(&ours) {
                Some(noted) => Ok(vec![noted]),
                None => self.networks(moment).await,
            }
        };
        let (looked, images, _, networks) = tokio::try_join!(
            self.look(unknown),
            self.images(moment, references, &vouched),
            self.configs(wanted),
            networks,
        )?;
        Ok(Sight {
            listed,
            looked,
            images,
            networks,
        })
    }

    async fn look(&self, ids: Vec<String>) -> Result<Looked, EngineError> {
        let look = |id: String| async move {
            if let Some(why) = self.seen.refused(&id) {
                return Ok((id, Look::Refused(why)));
            }
            let look = match asked(self.containers.inspect(&id)).await? {
                Ok(Some(container)) => {
                    self.seen.answers(&id);
                    Look::Found(Box::new(self.found(container)))
                }
                Ok(None) => Look::Gone,
                Err(why) => {
                    self.seen.keep_refused(&id, &why);
                    Look::Refused(why)
                }
            };
            Ok((id, look))
        };
        stream::iter(ids)
            .map(look)
            .buffered(LOOKS)
            .try_collect()
            .await
    }

    /// What of our containers was known or was looked at. One that vanished meanwhile is left out.
    async fn generations(
        &self,
        moment: Moment,
        listed: &[&Summary],
        mut looked: Looked,
        networks: &[NetworkFacts],
    ) -> Result<Known, EngineError> {
        let mut known = self.seen.generations(listed);
        let new: Vec<_> = listed
            .iter()
            .filter(|summary| !known.contains_key(&summary.id))
            .collect();
        // Known when it was listed, and no more: a network that was made anew, or an event, came between.
        let late = new.iter().filter(|new| !looked.contains_key(&new.id));
        let late = late.map(|new| new.id.clone()).collect();
        looked.append(&mut self.look(late).await?);
        let image = |look: &Look| match look {
            Look::Found(found) => Some(found.container.image_id.clone()),
            Look::Gone | Look::Refused(_) => None,
        };
        let ids = looked.values().filter_map(image);
        let configs = self.configs(ids.collect()).await?;
        let mut refused = BTreeMap::new();
        for summary in new {
            let found = match looked.remove(&summary.id) {
                Some(Look::Found(found)) => *found,
                Some(Look::Refused(why)) => {
                    refused.insert(summary.id.clone(), why);
                    continue;
                }
                Some(Look::Gone) | None => continue,
            };
            let image = configs.get(&found.container.image_id);
            let generation = self.generation(found, image.map(Arc::as_ref), networks);
            self.seen
                .keep_generation(moment, summary, &generation, image.is_some());
            known.insert(summary.id.clone(), generation);
        }
        Ok(Known {
            generations: known,
            refused,
        })
    }

    fn found(&self, container: Container) -> Found {
        let number = generation_number(&container.labels);
        let applied = applied(&container.labels);
        let draft = match &applied {
            Applied::Spec(spec) => {
                let with_secrets = !spec.secrets.is_empty();
                Some(draft::draft(&self.manager, spec, number, with_secrets))
            }
            Applied::Newer(_) | Applied::Unreadable(_) => None,
        };
        Found {
            container,
            number,
            applied,
            draft,
        }
    }

    fn generation(
        &self,
        found: Found,
        image: Option<&ImageConfig>,
        networks: &[NetworkFacts],
    ) -> Generation {
        let Found {
            container,
            number,
            applied,
            draft,
        } = found;
        let drift = match (&applied, draft) {
            (Applied::Spec(spec), Some(draft)) => {
                let ids = networks.iter().map(|facts| facts.id.clone());
                let ids = ids.filter(|_| spec.network == self.network.name);
                drift::drift(&draft, image, &ids.collect(), &container)
            }
            _ => Vec::new(),
        };
        let author = container.labels.get(label::AUTHOR).cloned();
        let address = container.addresses.get(&self.network.name).copied();
        Generation {
            id: container.id,
            name: container.name,
            number,
            applied,
            phase: container.phase,
            health: container.health,
            image_id: container.image_id,
            address,
            started: container.started,
            limits: container.limits,
            drift,
            author,
            restarts: container.restarts,
        }
    }

    /// The network that an earlier process noted, if every container of ours that runs on one of its name is on that
    /// one: so it is there, and what it was made with never changes. Whether there is another of its name, nobody
    /// knows then: whoever makes something asks.
    fn noted_network(&self, ours: &[(InstanceName, &Summary)]) -> Option<NetworkFacts> {
        let noted = self.seen.noted_network()?;
        let running = ours
            .iter()
            .filter(|(_, summary)| summary.phase == Phase::Running);
        let mut joined = running
            .filter_map(|(_, summary)| summary.networks.get(&self.network.name))
            .peekable();
        joined.peek()?;
        joined
            .all(|joined| joined.id.as_ref() == Some(&noted.id))
            .then_some(noted)
    }

    async fn networks(&self, moment: Moment) -> Result<Vec<NetworkFacts>, EngineError> {
        if let Some(known) = self.seen.networks() {
            return Ok(known);
        }
        let networks = self.containers.networks(&self.network.name).await?;
        self.seen.keep_networks(moment, &networks);
        Ok(networks)
    }

    async fn volumes(&self, moment: Moment) -> Result<Vec<String>, EngineError> {
        if let Some(known) = self.seen.volumes() {
            return Ok(known);
        }
        let volumes = self.containers.volumes(&self.labels()).await?;
        self.seen.keep_volumes(moment, &volumes);
        Ok(volumes)
    }

    /// Volumes of secrets whose generation is gone.
    fn leftovers(
        &self,
        mut volumes: Vec<String>,
        listed: &[(InstanceName, &Summary)],
    ) -> Vec<String> {
        if volumes.is_empty() {
            return volumes;
        }
        let used = listed.iter().map(|(name, summary)| {
            label::secrets_volume(&self.manager, name, generation_number(&summary.labels))
        });
        let used: BTreeSet<_> = used.collect();
        volumes.retain(|volume| !used.contains(volume));
        volumes
    }
}

/// A copy that somebody made (`docker commit`, `docker run`) bears the number of what it was made from. The one that
/// is most as it was made, the last, has it; a copy has none, so that neither secrets nor route go with it.
fn disown_copies(generations: &mut [Generation]) {
    let mut above = None;
    for generation in generations.iter_mut().rev() {
        if above == Some(generation.number) {
            generation.number = 0;
        } else {
            above = Some(generation.number);
        }
    }
    generations.sort_by_key(|generation| generation.number);
}

/// 0 for a label that is no number, or one that nobody has counted up to: below every real one.
pub(super) fn generation_number(labels: &BTreeMap<String, String>) -> u64 {
    labels
        .get(label::GENERATION)
        .and_then(|n| n.parse().ok())
        .filter(|n| *n <= label::GENERATION_MAX)
        .unwrap_or(0)
}

pub(super) fn applied(labels: &BTreeMap<String, String>) -> Applied {
    let version = labels
        .get(label::SPEC_VERSION)
        .and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(version) if version > label::SPEC_VERSION_NOW => return Applied::Newer(version),
        Some(_) => {}
        None if labels.contains_key(label::SPEC_VERSION) => {
            return Applied::Unreadable(format!("label {} is no number", label::SPEC_VERSION));
        }
        None => return Applied::Unreadable(format!("no label {}", label::SPEC_VERSION)),
    }
    let Some(text) = labels.get(label::SPEC) else {
        return Applied::Unreadable(format!("no label {}", label::SPEC));
    };
    match serde_json::from_str(text) {
        Ok(spec) => Applied::Spec(spec),
        Err(error) => Applied::Unreadable(format!("label {}: {error}", label::SPEC)),
    }
}
