//! What the fake engine holds, and the rules it keeps.

use super::{
    BTreeMap, Container, Draft, DraftFile, ErrorClass, Fault, Health, ImageFacts, IpAddr, Ipv4Addr,
    Labels, MountSource, NetworkFacts, Phase, Touched, made,
};

use instanced::doors::engine::settings::ImageConfig;
use instanced::words::observed::Limits;
use instanced::words::quantity::{Bytes, Cpus};

/// As engines say it: 0 is no limit.
fn positive(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

type Refusal = (ErrorClass, String);

#[derive(Default)]
pub(super) struct World {
    /// Nanoseconds, and the source of all ids.
    clock: u32,
    pub(super) containers: BTreeMap<String, Held>,
    pub(super) networks: Vec<(String, NetworkFacts)>,
    pub(super) volumes: BTreeMap<String, Volume>,
    /// Reference to id.
    pub(super) images: BTreeMap<String, String>,
    /// Images with a health check, and what it says of a container as soon as it runs.
    pub(super) checks: BTreeMap<String, Health>,
    /// What every container writes when it starts.
    pub(super) said_at_start: Option<String>,
    /// What can be pulled: reference to id.
    pub(super) registry: BTreeMap<String, String>,
    /// Whether registries answer nothing.
    pub(super) pulls_stall: bool,
    /// What images say, by id; those that are not here say little.
    pub(super) configs: BTreeMap<String, ImageConfig>,
    /// Whether it is one of the engines that promise less: it vouches for no reference that it lists.
    pub(super) is_vague: bool,
    pub(super) events: Vec<Event>,
    pub(super) journal: Vec<String>,
    /// The reading calls, without waits for events.
    pub(super) reads: Vec<String>,
    /// Call, how many of it go well before, and what then goes wrong.
    pub(super) faults: Vec<(String, usize, Fault)>,
    /// How many changing calls still come through before none does any more.
    pub(super) calls_left: Option<usize>,
}

/// What an event is about.
pub(super) enum Event {
    /// A container, with its labels then.
    Container(String, BTreeMap<String, String>),
    Images,
    Network(String),
}

/// A container, and what it was made from.
pub(super) struct Held {
    pub(super) facts: Container,
    pub(super) draft: Draft,
    /// What it has written.
    pub(super) log: Vec<String>,
    files: BTreeMap<String, DraftFile>,
}

pub(super) struct Volume {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, DraftFile>,
    /// Whom it was given to.
    pub(super) owner: Option<(u32, u32)>,
}

/// Whether all of `wanted` are among `labels`.
pub(super) fn has(labels: &BTreeMap<String, String>, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// The id that an image of this reference has at first.
pub(super) fn image_id(reference: &str) -> String {
    format!("sha256:{reference}")
}

impl Held {
    pub(super) fn mounts(&self, volume: &str) -> bool {
        self.draft
            .mounts
            .iter()
            .any(|mount| mount.source == MountSource::Volume(volume.to_owned()))
    }

    fn runs(&self) -> bool {
        matches!(
            self.facts.phase,
            Phase::Running | Phase::Paused | Phase::Restarting
        )
    }
}

impl World {
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        self.clock
    }

    /// The id of a container that is given by id or name.
    fn id_of(&self, container: &str) -> Result<String, Refusal> {
        let known = self
            .containers
            .values()
            .find(|held| held.facts.id == container || held.facts.name == container);
        let known = known.map(|held| held.facts.id.clone());
        known.ok_or_else(|| (ErrorClass::Gone, format!("no such container: {container}")))
    }

    /// A container's name for the journal; other subjects as they are.
    pub(super) fn name_of(&self, subject: &str) -> String {
        self.containers
            .get(subject)
            .map_or_else(|| subject.to_owned(), |held| held.facts.name.clone())
    }

    pub(super) fn held(&mut self, container: &str) -> Result<&mut Held, Refusal> {
        let id = self.id_of(container)?;
        Ok(self.containers.get_mut(&id).expect("just found"))
    }

    /// Refuses everything once the changing calls are used up: for whoever asks, the engine is gone.
    pub(super) fn cut(&mut self, changes: bool) -> Option<Fault> {
        let left = self.calls_left.as_mut()?;
        if *left == 0 {
            return Some(Fault::Refuse(ErrorClass::Away));
        }
        *left -= usize::from(changes);
        None
    }

    pub(super) fn next_fault(&mut self, call: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|(faulty, ..)| faulty == call)?;
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return None;
        }
        Some(self.faults.remove(at).2)
    }

    pub(super) fn list(&self, labels: &Labels) -> Vec<Container> {
        let all = self.containers.values().map(|held| &held.facts);
        all.filter(|facts| has(&facts.labels, labels))
            .cloned()
            .collect()
    }

    pub(super) fn image(&self, reference: &str) -> Option<ImageFacts> {
        let named = self.images.get(reference);
        let id = named.or_else(|| self.images.values().find(|id| *id == reference))?;
        let config = self.configs.get(id).cloned();
        Some(ImageFacts {
            id: id.clone(),
            config: config.unwrap_or_else(made::plain_image),
            is_fixed: true,
        })
    }

    /// The reference that a container was created with, if that leads to its image now.
    pub(super) fn vouched(&self, held: &Held) -> Option<String> {
        let reference = &held.draft.image;
        let id = self.image(reference)?.id;
        let leads = id == held.facts.image_id && *reference != id && !self.is_vague;
        leads.then(|| reference.clone())
    }

    /// What happened since, to whoever has these labels, to images and to networks.
    pub(super) fn touched(&self, since: usize, labels: &Labels) -> Touched {
        let mut touched = Touched::default();
        for event in &self.events[since..] {
            match event {
                Event::Container(id, of) if has(of, labels) => {
                    touched.containers.insert(id.clone());
                }
                Event::Container(..) => {}
                Event::Images => touched.images = true,
                Event::Network(name) => {
                    touched.networks.insert(name.clone());
                }
            }
        }
        touched
    }

    /// A container leaves a network or joins one; `None` for the address while it does not run.
    pub(super) fn join(&mut self, container: &str, network: &str) -> Result<(), Refusal> {
        let id = self
            .networks_named(network)
            .first()
            .map(|facts| facts.id.clone());
        let tick = self.tick();
        let held = self.held(container)?;
        if held.runs() {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + tick));
            held.facts.addresses.insert(network.to_owned(), address);
        }
        let id = id.filter(|_| held.runs());
        held.facts.settings.networks.insert(network.to_owned(), id);
        Ok(())
    }

    pub(super) fn networks_named(&self, name: &str) -> Vec<NetworkFacts> {
        let named = self.networks.iter().filter(|(network, _)| network == name);
        named.map(|(_, facts)| facts.clone()).collect()
    }

    pub(super) fn add_network(
        &mut self,
        name: &str,
        isolated: bool,
        labels: &BTreeMap<String, String>,
    ) {
        let facts = NetworkFacts {
            id: format!("network-{}", self.tick()),
            driver: "bridge".to_owned(),
            open_because: (!isolated).then(|| "it was made so".to_owned()),
            labels: labels.clone(),
        };
        self.networks.push((name.to_owned(), facts));
        self.events.push(Event::Network(name.to_owned()));
    }

    /// Something happened to a container.
    pub(super) fn tell(&mut self, container: &str) {
        if let Ok(id) = self.id_of(container) {
            let labels = self.containers[&id].facts.labels.clone();
            self.events.push(Event::Container(id, labels));
        }
    }

    pub(super) fn create(&mut self, draft: &Draft) -> Result<String, Refusal> {
        match self.networks_named(&draft.network).len() {
            1 => {}
            0 => return Err((ErrorClass::Gone, "there is no such network".to_owned())),
            more => {
                return Err((
                    ErrorClass::Conflict,
                    format!("{more} networks have this name"),
                ));
            }
        }
        let image = self.image(&draft.image).map(|image| image.id);
        let image_id =
            image.ok_or_else(|| (ErrorClass::Gone, format!("No such image: {}", draft.image)))?;
        if self.id_of(&draft.name).is_ok() {
            return Err((
                ErrorClass::Conflict,
                format!("the name {} is already in use", draft.name),
            ));
        }
        let volumes = draft.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name.clone()),
            MountSource::Host(_) => None,
        });
        for name in volumes {
            // As Docker does; without labels.
            let unlabelled = Volume {
                labels: BTreeMap::new(),
                files: BTreeMap::new(),
                owner: None,
            };
            self.volumes.entry(name).or_insert(unlabelled);
        }
        let id = format!("{:064x}", self.tick());
        let image = self.image(&image_id).expect("found above").config;
        let facts = Container {
            id: id.clone(),
            name: draft.name.clone(),
            labels: made::labels(draft, &image),
            phase: Phase::Created,
            health: None,
            image_id,
            addresses: BTreeMap::new(),
            started: None,
            limits: Limits {
                memory: positive(draft.memory).map(Bytes),
                memory_swap: positive(draft.memory).map(Bytes),
                cpus: positive(draft.nano_cpus).map(Cpus),
                pids: (draft.pids > 0).then_some(draft.pids),
                restart: draft.restart,
            },
            restarts: 0,
            settings: made::settings(draft, &image),
        };
        let held = Held {
            facts,
            draft: draft.clone(),
            log: Vec::new(),
            files: BTreeMap::new(),
        };
        self.containers.insert(id.clone(), held);
        self.tell(&id);
        Ok(id)
    }

    pub(super) fn start(&mut self, container: &str) -> Result<(), Refusal> {
        let tick = self.tick();
        let image = self.held(container)?.draft.image.clone();
        let check = self.checks.get(&image).copied();
        let said = self.said_at_start.clone();
        let held = self.held(container)?;
        match held.facts.phase {
            Phase::Running => return Ok(()),
            Phase::Paused => held.facts.phase = Phase::Running,
            Phase::Dead => {
                return Err((ErrorClass::Conflict, "it is marked for removal".to_owned()));
            }
            Phase::Created | Phase::Restarting | Phase::Exited(_) => {
                held.facts.phase = Phase::Running;
                held.facts.health = check;
                held.log.extend(said);
                held.facts.started = jiff::Timestamp::from_second(i64::from(tick)).ok();
                let networks: Vec<_> = held.facts.settings.networks.keys().cloned().collect();
                for network in networks {
                    self.join(container, &network)?;
                }
            }
        }
        self.tell(container);
        Ok(())
    }

    /// The main process ended and is not started again.
    pub(super) fn end(&mut self, container: &str, status: i64) -> Result<(), Refusal> {
        let held = self.held(container)?;
        if held.runs() {
            held.facts.phase = Phase::Exited(status);
            held.facts.addresses.clear();
            held.facts.health = None;
            self.tell(container);
        }
        Ok(())
    }

    pub(super) fn take_away(&mut self, container: &str) {
        self.tell(container);
        if let Ok(id) = self.id_of(container) {
            self.containers.remove(&id);
        }
    }

    /// The volume that is mounted at a path or above it, and whether it can only be read.
    fn mounted(&mut self, container: &str, path: &str) -> Result<Option<(String, bool)>, Refusal> {
        let mounts = &self.held(container)?.draft.mounts;
        let covers = |target: &str| path == target || path.starts_with(&format!("{target}/"));
        let found = mounts.iter().find(|mount| covers(&mount.target));
        Ok(found.and_then(|mount| match &mount.source {
            MountSource::Volume(name) => Some((name.clone(), mount.read_only)),
            MountSource::Host(_) => None,
        }))
    }

    pub(super) fn own_volume(
        &mut self,
        container: &str,
        path: &str,
        owner: (u32, u32),
    ) -> Result<bool, Refusal> {
        let mounted = self.mounted(container, path)?;
        let (name, _) = mounted.ok_or((ErrorClass::Gone, format!("no volume at {path}")))?;
        let root_locked = self.held(container)?.draft.read_only;
        let volume = self.volumes.get_mut(&name).expect("mounted");
        if !volume.files.is_empty() || volume.owner == Some(owner) {
            return Ok(true);
        }
        if root_locked {
            return Ok(false);
        }
        volume.owner = Some(owner);
        Ok(true)
    }

    pub(super) fn put_files(
        &mut self,
        container: &str,
        directory: &str,
        files: &[DraftFile],
    ) -> Result<(), Refusal> {
        let mounted = self.mounted(container, directory)?;
        let root_locked = self.held(container)?.draft.read_only;
        let locked = mounted
            .as_ref()
            .map_or(root_locked, |(_, read_only)| *read_only);
        if locked {
            return Err((ErrorClass::Permanent, "it is marked read-only".to_owned()));
        }
        for file in files {
            let path = format!("{directory}/{}", file.name);
            match &mounted {
                Some((volume, _)) => self
                    .volumes
                    .get_mut(volume)
                    .expect("mounted")
                    .files
                    .insert(path, file.clone()),
                None => self.held(container)?.files.insert(path, file.clone()),
            };
        }
        Ok(())
    }

    pub(super) fn file(&mut self, container: &str, path: &str) -> Result<DraftFile, Refusal> {
        let mounted = self.mounted(container, path)?;
        let directory = mounted.is_some()
            && self
                .held(container)?
                .draft
                .mounts
                .iter()
                .any(|mount| mount.target == path);
        if directory {
            return Err((ErrorClass::Permanent, "it is no regular file".to_owned()));
        }
        let found = match mounted {
            Some((volume, _)) => self
                .volumes
                .get(&volume)
                .and_then(|volume| volume.files.get(path)),
            None => self.held(container)?.files.get(path),
        };
        found
            .cloned()
            .ok_or_else(|| (ErrorClass::Gone, format!("no such file: {path}")))
    }
}
