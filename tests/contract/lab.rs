//! Where a clause is tried: an engine, and hands outside it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use instanced::doors::engine::containers::{
    ChangeContainers, Container, Draft, ReadContainers as _,
};
use instanced::words::manifest::Restart;
use instanced::words::name::ManagerName;
use instanced::words::observed::{Health, Limits};

use crate::support::fake_containers::FakeContainers;

/// The label that every container of a lab carries; its value is the lab's prefix.
pub const LABEL: &str = "instanced.contract";

/// What a person does to a container by hand.
#[derive(Debug, Clone)]
pub enum Hand {
    /// Lets it join a network.
    Join(String),
    /// Lets it leave a network.
    Leave(String),
    /// Gives it another name.
    Rename(String),
    /// Sets other limits.
    Limit(Limits),
}

/// An engine, and what a person beside it could do and see.
pub trait Lab {
    /// The engine under test.
    type Engine: ChangeContainers + Clone;

    /// The engine.
    fn engine(&self) -> &Self::Engine;
    /// A new connection to it.
    fn reconnected(&self) -> Self::Engine;
    /// What all names of this lab begin with.
    fn prefix(&self) -> &str;
    /// The tiny image. It writes a line when it starts: `tiny: serving`.
    fn image(&self) -> &'static str;
    /// The same with a health check.
    fn checked_image(&self) -> &'static str;
    /// An isolated network.
    fn network(&self) -> &str;

    /// Kills a container.
    async fn kill(&self, container: &str);
    /// Pauses a container.
    async fn pause(&self, container: &str);
    /// Starts a container without labels.
    async fn add_foreign(&self, name: &str);
    /// Removes a network.
    async fn drop_network(&self, name: &str);
    /// Does something to a container by hand.
    async fn hand(&self, container: &str, hand: Hand);
    /// Removes a container whatever it does; its named volumes stay.
    async fn remove_by_force(&self, container: &str);
    /// Gives the tiny image one more reference.
    async fn tag(&self, reference: &str);
    /// Lets a reference lead to the image with the health check.
    async fn retag(&self, reference: &str);
    /// Takes a reference away.
    async fn untag(&self, reference: &str);
    /// Mode, owner and group of a file, seen from inside.
    async fn file_facts(&self, container: &str, path: &str) -> String;
    /// Whether `from` can open a connection to the MCP port of `to`, which has this address.
    async fn reaches(&self, from: &str, to: &str, address: IpAddr) -> bool;

    /// The label filter for this lab's containers.
    fn labels(&self) -> Vec<(String, String)> {
        vec![(LABEL.to_owned(), self.prefix().to_owned())]
    }

    /// The manager of fleets of this lab.
    fn manager(&self) -> ManagerName {
        let name = self.prefix().trim_end_matches('-');
        name.parse().expect("a prefix is a name")
    }

    /// A name of this lab.
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// A container that has everything a hardened instance has.
    fn draft(&self, name: &str) -> Draft {
        Draft {
            name: self.name(name),
            image: self.image().to_owned(),
            entrypoint: None,
            command: None,
            env: BTreeMap::from([("SCREEN_WIDTH".to_owned(), "800".to_owned())]),
            labels: self.labels().into_iter().collect(),
            hostname: name.to_owned(),
            user: "1000:1000".to_owned(),
            memory: 64 << 20,
            nano_cpus: 500_000_000,
            pids: 64,
            shm: 16 << 20,
            restart: Restart::No,
            cap_add: Vec::new(),
            read_only: true,
            tmpfs: BTreeMap::from([("/tmp".to_owned(), 8 << 20)]),
            mounts: Vec::new(),
            network: self.network().to_owned(),
            stop_grace_secs: 5,
        }
    }

    /// Creates and starts a container.
    async fn run(&self, draft: &Draft) -> String {
        let id = self.engine().create(draft).await.expect("created");
        self.engine().start(&id).await.expect("started");
        id
    }

    /// The container of this id, if it is there.
    async fn find(&self, id: &str) -> Option<Container> {
        self.engine().inspect(id).await.expect("inspected")
    }

    /// The container of this id.
    async fn look(&self, id: &str) -> Container {
        self.find(id).await.expect("it is there")
    }
}

/// A lab with the fake.
pub struct FakeLab {
    engine: FakeContainers,
}

impl FakeLab {
    const IMAGE: &str = "instanced/tiny:1";
    const CHECKED: &str = "instanced/tiny-checked:1";
    const NETWORK: &str = "ct-fake-net";

    /// A fake engine of its own.
    pub fn new() -> Self {
        let engine = FakeContainers::new(&[Self::IMAGE, Self::CHECKED], Self::NETWORK);
        engine.check_image(Self::CHECKED, Health::Starting);
        engine.say_at_start("tiny: serving");
        Self { engine }
    }
}

impl Lab for FakeLab {
    type Engine = FakeContainers;

    fn engine(&self) -> &FakeContainers {
        &self.engine
    }

    fn reconnected(&self) -> FakeContainers {
        self.engine.clone()
    }

    fn prefix(&self) -> &'static str {
        "ct-fake-"
    }

    fn image(&self) -> &'static str {
        Self::IMAGE
    }

    fn checked_image(&self) -> &'static str {
        Self::CHECKED
    }

    fn network(&self) -> &str {
        Self::NETWORK
    }

    async fn kill(&self, container: &str) {
        self.engine.kill(container);
    }

    async fn pause(&self, container: &str) {
        self.engine.pause(container);
    }

    async fn add_foreign(&self, name: &str) {
        self.engine.add_foreign(name);
    }

    async fn drop_network(&self, name: &str) {
        self.engine.remove_network(name);
    }

    async fn hand(&self, container: &str, hand: Hand) {
        match hand {
            Hand::Join(network) => self.engine.connect(container, &network),
            Hand::Leave(network) => self.engine.disconnect(container, &network),
            Hand::Rename(name) => self.engine.rename(container, &name),
            Hand::Limit(limits) => self.engine.update(container, limits),
        }
    }

    async fn remove_by_force(&self, container: &str) {
        self.engine.remove_by_force(container);
    }

    async fn tag(&self, reference: &str) {
        let image = self.engine.image(Self::IMAGE).await.expect("asked");
        self.engine
            .tag_image(reference, &image.expect("the lab's image").id);
    }

    async fn retag(&self, reference: &str) {
        let image = self.engine.image(Self::CHECKED).await.expect("asked");
        self.engine
            .tag_image(reference, &image.expect("the lab's image").id);
    }

    async fn untag(&self, reference: &str) {
        self.engine.untag_image(reference);
    }

    async fn file_facts(&self, container: &str, path: &str) -> String {
        self.engine.file_facts(container, path).expect("a file")
    }

    async fn reaches(&self, from: &str, to: &str, _: IpAddr) -> bool {
        self.engine.reaches(from, to)
    }
}
