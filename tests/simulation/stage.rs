//! The world of one case: the fake engine, what happens to it from outside, the manifests, and the witness.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::settings::{HealthCheck, ImageConfig};
use instanced::words::observed::Health;
use instanced::words::overrides::Order;
use instanced::words::quantity::Span;
use tokio::time::Instant;

use super::bugs::Bug;
use super::dice::Dice;
use super::happening::Happening;
use super::paper::{IMAGES, Paper, SLOTS, Slot, Source};
use super::witness::{Brief, Terms, Witness, briefs};
use crate::support::fake_containers::FakeContainers;

mod inside;
mod outside;

/// How rough it gets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Calls that go wrong, of a thousand.
    pub calls: usize,
    /// Calls of the notebook that go wrong, of a thousand.
    pub notes: usize,
    /// Rounds that the daemon dies in, of a hundred.
    pub crashes: usize,
    /// Events are not heard.
    pub deaf: bool,
}

/// An instance for which the engine does not do what it should, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ill {
    pub slot: Slot,
    pub manner: Manner,
}

/// What the engine does with every call about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It refuses each.
    Refuses(ErrorClass),
    /// It never answers any.
    Stalls,
    /// It never answers a changing one.
    StallsChanges,
    /// It says yes to a changing one, and does nothing.
    Lies,
}

/// What an operator asks the daemon.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    Order(Slot, Order),
    /// A round of all, or of one.
    Round(Option<Slot>),
    /// The prune that is blocked may go on.
    ConfirmPrune,
}

/// One case's world. Calls on it are short and never wait.
pub struct Stage {
    pub fake: FakeContainers,
    scene: Mutex<Scene>,
    began: Instant,
}

pub struct Scene {
    pub dice: Dice,
    pub weather: Weather,
    pub bug: Option<Bug>,
    /// How far the wall clock is off.
    pub wall_off: jiff::SignedDuration,
    pub jumped: bool,
    pub source: Source,
    pub source_moved: bool,
    pub wishes: VecDeque<Wish>,
    pub witness: Witness,
    pub lose_notebook: bool,
    /// There is no event for a volume: only a sweep finds it.
    pub volume_left: bool,
    /// Nothing goes wrong any more.
    pub calm: bool,
    /// One instance for which nothing ever works: all others must not notice.
    pub ill: Option<Ill>,
    /// How often something from outside made a new generation necessary.
    pub causes: [usize; SLOTS],
    pub trace: Option<Vec<String>>,
    agenda: BTreeMap<(Duration, usize), Happening>,
    taken: usize,
    retags: usize,
    /// What the registry has, and the engine may not have yet.
    published: BTreeMap<&'static str, String>,
}

impl Stage {
    pub fn new(dice: Dice, weather: Weather, source: Source, terms: Terms, trace: bool) -> Self {
        let fake = FakeContainers::new(&IMAGES, "mcp_instances");
        for image in IMAGES {
            let id = fake.image_now(image).expect("just made");
            fake.publish_image(image, &id);
            fake.set_image_config(&id, image_config(image));
            if image.starts_with("browser") {
                fake.check_image(image, Health::Starting);
            }
        }
        let scene = Scene {
            dice,
            weather,
            bug: None,
            wall_off: jiff::SignedDuration::ZERO,
            jumped: false,
            source,
            source_moved: false,
            wishes: VecDeque::new(),
            witness: Witness::new(terms),
            lose_notebook: false,
            volume_left: false,
            calm: false,
            ill: None,
            causes: [0; SLOTS],
            trace: trace.then(Vec::new),
            agenda: BTreeMap::new(),
            taken: 0,
            retags: 0,
            published: BTreeMap::new(),
        };
        Self {
            fake,
            scene: Mutex::new(scene),
            began: Instant::now(),
        }
    }

    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().expect("nobody panics while on stage")
    }

    /// Whether this is the instance for which nothing ever works.
    pub fn is_ill(&self, slot: Slot) -> bool {
        self.scene().ill.is_some_and(|ill| ill.slot == slot)
    }

    /// Since the case began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time of day.
    pub fn wall(&self) -> jiff::Timestamp {
        self.scene().wall(self.now())
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        self.scene().tell(now, what);
    }

    /// Lets happen what is due.
    pub fn catch_up(&self) {
        let now = self.now();
        loop {
            let mut scene = self.scene();
            let Some((&at, _)) = scene.agenda.first_key_value() else {
                return;
            };
            if at.0 > now {
                return;
            }
            let happening = scene.agenda.remove(&at).expect("just seen");
            scene.happen(happening, &self.fake, now);
        }
    }

    /// How long until something happens.
    pub fn next_happening(&self) -> Option<Duration> {
        let now = self.now();
        let scene = self.scene();
        let ((at, _), _) = scene.agenda.first_key_value()?;
        Some(at.saturating_sub(now))
    }

    /// Whether nothing is about to happen, and nobody counts as unwell any more.
    pub fn is_still(&self) -> bool {
        let (scene, now) = (self.scene(), self.now());
        let unwell = |brief: &Brief| {
            let life = scene.witness.lives.get(&brief.id);
            let until = life.and_then(|life| life.unwell).unwrap_or_default();
            until >= now && until != Duration::MAX
        };
        scene.agenda.is_empty() && !briefs(&self.fake).iter().any(unwell)
    }

    /// From now on nothing goes wrong, and what was wrong inside containers mends.
    pub fn calm_down(&self) {
        let now = self.now();
        let mut scene = self.scene();
        scene.tell(now, || "---- calm ----".to_owned());
        scene.calm = true;
        scene.weather = Weather::default();
        scene.source.away = false;
        for paper in &mut scene.source.papers {
            if *paper == Paper::BeingWritten {
                *paper = Paper::Broken;
            }
        }
        scene.source_moved = true;
        for (image, id) in std::mem::take(&mut scene.published) {
            self.fake.publish_image(image, &id);
            self.fake.tag_image(image, &id);
        }
        scene.agenda.retain(|_, happening| {
            matches!(
                happening,
                Happening::Health { .. } | Happening::ComesBack { .. }
            )
        });
        let pulses = scene.agenda.values_mut();
        for pulse in pulses {
            if let Happening::Health { verdict, .. } = pulse {
                *verdict = Health::Healthy;
            }
        }
        for brief in briefs(&self.fake) {
            if brief.runs() && brief.health.is_some_and(|health| health != Health::Healthy) {
                scene.health_of(&brief.id, Health::Healthy, now + Duration::from_secs(3));
            }
        }
    }
}

impl Scene {
    pub fn wall(&self, now: Duration) -> jiff::Timestamp {
        let began = jiff::Timestamp::from_second(1_795_435_200).expect("a day of 2026");
        began + now + self.wall_off
    }

    pub fn tell(&mut self, now: Duration, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", now.as_secs_f64(), what()));
        }
    }

    pub fn schedule(&mut self, at: Duration, happening: Happening) {
        self.taken += 1;
        self.agenda.insert((at, self.taken), happening);
    }
}

/// What an image says: only browsers are checked.
fn image_config(image: &str) -> ImageConfig {
    let check = HealthCheck {
        test: vec!["CMD".to_owned(), "/check".to_owned()],
        interval: Span::secs(1),
        timeout: Span::secs(5),
        start_period: Span(0),
        retries: 2,
    };
    ImageConfig {
        entrypoint: vec!["/serve".to_owned()],
        working_dir: "/".to_owned(),
        stop_signal: "SIGTERM".to_owned(),
        health_check: image.starts_with("browser").then_some(check),
        ..ImageConfig::default()
    }
}
