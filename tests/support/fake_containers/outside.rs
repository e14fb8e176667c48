//! What a test does to the fake engine that the daemon does not: prepare, break, edit by hand, look.

use super::{
    BTreeMap, Container, Draft, Event, FakeContainers, Fault, Health, ImageConfig, Limits, Phase,
    Restart, made, world,
};
use instanced::doors::engine::settings::HealthCheck;
use instanced::words::quantity::Span;

impl FakeContainers {
    /// The changing calls so far, each with its subject: `start instanced-default-alice-g1`.
    pub fn journal(&self) -> Vec<String> {
        self.world().journal.clone()
    }

    /// Forgets the calls so far, to look only at what comes.
    pub fn clear_journal(&self) {
        self.world().journal.clear();
    }

    /// The reading calls since they were forgotten last, each with its subject; waits for events are none.
    pub fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut self.world().reads)
    }

    /// Lets a call (a method's name) go wrong, after `well` of its calls went well. Once.
    pub fn fail(&self, call: &str, well: usize, fault: Fault) {
        self.world().faults.push((call.to_owned(), well, fault));
    }

    /// From after so many changing calls on, every call fails and does nothing, as if the caller had died
    /// there. `None` ends that.
    pub fn cut_after(&self, calls: Option<usize>) {
        self.world().calls_left = calls;
    }

    /// All containers, whoever's.
    pub fn all(&self) -> Vec<Container> {
        self.world().list(&[])
    }

    /// What a container was made from.
    pub fn draft(&self, container: &str) -> Option<Draft> {
        self.world()
            .held(container)
            .ok()
            .map(|held| held.draft.clone())
    }

    /// A file's mode, owner and group, as `stat` inside would tell them.
    pub fn file_facts(&self, container: &str, path: &str) -> Option<String> {
        let file = self.world().file(container, path).ok()?;
        Some(format!("{:04o} {} {}", file.mode, file.uid, file.gid))
    }

    /// Whom the volume at a path of a container was given to.
    pub fn volume_owner(&self, container: &str, path: &str) -> Option<(u32, u32)> {
        self.world().owner(container, path)
    }

    /// An image appears, or its tag moves.
    pub fn tag_image(&self, reference: &str, id: &str) {
        let mut world = self.world();
        world.images.insert(reference.to_owned(), id.to_owned());
        world.events.push(Event::Images);
        drop(world);
        self.happened.notify_waiters();
    }

    /// A tag goes.
    pub fn untag_image(&self, reference: &str) {
        let mut world = self.world();
        world.images.remove(reference);
        world.events.push(Event::Images);
        drop(world);
        self.happened.notify_waiters();
    }

    /// It promises less from now on, like an engine that speaks Docker's API in its own way.
    pub fn be_vague(&self) {
        self.world().is_vague = true;
    }

    /// What the image of this id says.
    pub fn set_image_config(&self, id: &str, config: ImageConfig) {
        self.world().configs.insert(id.to_owned(), config);
    }

    /// Somebody changes limits by hand.
    pub fn update(&self, container: &str, limits: Limits) {
        self.edit(container, |facts| facts.limits = limits);
    }

    /// Somebody lets a container join a network.
    pub fn connect(&self, container: &str, network: &str) {
        self.world()
            .join(container, network)
            .expect("the test named a container");
        self.edit(container, |_| {});
    }

    /// Somebody lets a container leave a network.
    pub fn disconnect(&self, container: &str, network: &str) {
        self.edit(container, |facts| {
            facts.addresses.remove(network);
            facts.settings.networks.remove(network);
        });
    }

    /// An image can be pulled from now on.
    pub fn publish_image(&self, reference: &str, id: &str) {
        self.world()
            .registry
            .insert(reference.to_owned(), id.to_owned());
    }

    /// A call (`create` or `pull`) does nothing from now on until [`Self::let_go`], where its subject has this in it.
    pub fn stall(&self, call: &str, subject: &str) {
        let stall = (call.to_owned(), subject.to_owned());
        self.world().stalls.push(stall);
    }

    /// Nothing stalls any more; what did goes on.
    pub fn let_go(&self) {
        self.world().stalls.clear();
        self.happened.notify_waiters();
    }

    /// Something happens while a container is created whose name has this in it. Once.
    pub fn meanwhile(&self, name: &str, happens: impl FnOnce() + Send + 'static) {
        let happens = Box::new(happens);
        self.world().meanwhile.push((name.to_owned(), happens));
    }

    /// An image has a health check, which says this as soon as a container of it runs.
    pub fn check_image(&self, reference: &str, health: Health) {
        let mut world = self.world();
        world.checks.insert(reference.to_owned(), health);
        let id = world.images[reference].clone();
        let config = world.configs.entry(id).or_insert_with(made::plain_image);
        config.health_check = Some(HealthCheck {
            test: vec!["CMD".to_owned(), "/tiny".to_owned(), "ping".to_owned()],
            interval: Span::secs(1),
            timeout: Span::secs(5),
            start_period: Span(0),
            retries: 2,
        });
    }

    /// Every container writes this line when it starts.
    pub fn say_at_start(&self, line: &str) {
        self.world().said_at_start = Some(line.to_owned());
    }

    /// A health check says something.
    pub fn set_health(&self, container: &str, health: Option<Health>) {
        self.edit(container, |facts| facts.health = health);
    }

    /// Somebody makes a container anew by hand, the same but for a label.
    pub fn relabel(&self, container: &str, label: &str, value: &str) {
        self.edit(container, |facts| {
            facts.labels.insert(label.to_owned(), value.to_owned());
        });
    }

    /// Somebody pauses a container.
    pub fn pause(&self, container: &str) {
        self.edit(container, |facts| facts.phase = Phase::Paused);
    }

    /// Somebody renames a container.
    pub fn rename(&self, container: &str, name: &str) {
        self.edit(container, |facts| name.clone_into(&mut facts.name));
    }

    /// Somebody kills a container; no policy revives it.
    pub fn kill(&self, container: &str) {
        self.world()
            .end(container, 137)
            .expect("the test named a container");
        self.happened.notify_waiters();
    }

    /// Its main process ends by itself; the restart policy acts.
    pub fn crash(&self, container: &str, status: i64) {
        let mut world = self.world();
        world
            .end(container, status)
            .expect("the test named a container");
        let restart = world
            .held(container)
            .expect("just ended")
            .facts
            .limits
            .restart;
        let revives = match restart {
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure => status != 0,
            Restart::No => false,
        };
        if revives {
            world.start(container).expect("just ended");
        }
        drop(world);
        self.happened.notify_waiters();
    }

    /// Somebody removes a container by force.
    pub fn remove_by_force(&self, container: &str) {
        self.world().take_away(container);
        self.happened.notify_waiters();
    }

    /// Somebody makes and starts a container without our labels.
    pub fn add_foreign(&self, name: &str) {
        let mut world = self.world();
        world
            .images
            .entry("foreign:1".to_owned())
            .or_insert_with(|| world::image_id("foreign:1"));
        let id = world
            .create(&foreign(name))
            .expect("the test gave a free name");
        world.start(&id).expect("just created");
        drop(world);
        self.happened.notify_waiters();
    }

    /// A bridge on which containers reach each other.
    pub fn add_open_network(&self, name: &str) {
        self.world().add_network(name, false, &BTreeMap::new());
    }

    /// Somebody removes a network by hand, which an engine allows when nothing that runs is on it any more.
    pub fn remove_network(&self, name: &str) {
        let is_on = |facts: &Container| {
            facts.phase == Phase::Running && facts.settings.networks.contains_key(name)
        };
        for facts in self.all().into_iter().filter(is_on) {
            self.disconnect(&facts.id, name);
        }
        let mut world = self.world();
        world.networks.retain(|(network, _)| network != name);
        world.events.push(Event::Network(name.to_owned()));
        drop(world);
        self.happened.notify_waiters();
    }

    /// Whether one running container could open a connection to another.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let mut world = self.world();
        let mut network = |container: &str| {
            let held = world.held(container).expect("the test named a container");
            (held.facts.phase == Phase::Running).then(|| held.draft.network.clone())
        };
        let (from, to) = (network(from), network(to));
        let open = |name: &String| {
            world
                .networks_named(name)
                .iter()
                .any(|facts| facts.open_because.is_some())
        };
        from.is_some() && from == to && from.as_ref().is_some_and(open)
    }

    fn edit(&self, container: &str, edit: impl FnOnce(&mut Container)) {
        let mut world = self.world();
        let facts = &mut world
            .held(container)
            .expect("the test named a container")
            .facts;
        edit(facts);
        let id = facts.id.clone();
        world.tell(&id);
        drop(world);
        self.happened.notify_waiters();
    }
}

fn foreign(name: &str) -> Draft {
    Draft {
        name: name.to_owned(),
        image: "foreign:1".to_owned(),
        entrypoint: None,
        command: None,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        hostname: name.to_owned(),
        user: "0:0".to_owned(),
        memory: 0,
        nano_cpus: 0,
        pids: 0,
        shm: 0,
        restart: Restart::No,
        cap_add: Vec::new(),
        read_only: false,
        tmpfs: BTreeMap::new(),
        mounts: Vec::new(),
        network: "bridge".to_owned(),
        stop_grace_secs: 10,
    }
}
