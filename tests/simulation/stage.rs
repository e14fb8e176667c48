//! The world of one case: the fake engine, what happens to it from outside, the manifests, and the witness.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use instanced::doors::engine::settings::{HealthCheck, ImageConfig};
use instanced::words::label;
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};
use instanced::words::overrides::Order;
use instanced::words::quantity::{Bytes, Span};
use tokio::time::Instant;

use super::bugs::Bug;
use super::dice::Dice;
use super::happening::{Grudge, Happening};
use super::paper::{IMAGES, NAMES, Paper, SLOTS, Slot, Source};
use super::witness::{Brief, Terms, Witness, briefs};
use crate::support::fake_containers::FakeContainers;

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

    // ---- inside containers ----

    /// A container came up: its check begins, and what is wrong with it shows.
    pub fn came_up(&mut self, id: &str, fake: &FakeContainers, now: Duration, by_engine: bool) {
        let wall = self.wall(now);
        let image = fake.glimpse(|all| {
            let mut found = all.filter(|g| g.facts.id == id);
            found.next().map(|g| g.draft.image.clone())
        });
        let Some(image) = image else { return };
        let checked = image.starts_with("browser");
        fake.adjust(id, |facts| {
            facts.started = Some(wall);
            facts.health = checked.then_some(Health::Starting);
            facts.restarts = if by_engine { facts.restarts + 1 } else { 0 };
        });
        if let Some(life) = self.witness.lives.get_mut(id) {
            life.at_rest = false;
            life.started = wall;
            life.was_healthy = false;
            if by_engine {
                life.unwell = Some(now + Duration::from_secs(30));
            } else if life.unwell == Some(Duration::MAX) {
                life.unwell = Some(now);
            }
        }
        let bad = !self.calm && (image.ends_with('3') || self.dice.percent(2));
        if bad && (!checked || self.dice.percent(50)) {
            let after = Duration::from_millis(self.dice.between(300, 4000) as u64);
            let id = id.to_owned();
            self.schedule(now + after, Happening::Dies { id });
        } else if checked {
            let after = self.dice.between(1, 8) as u64;
            let (verdict, after) = if bad {
                (Health::Unhealthy, after + 15)
            } else {
                (Health::Healthy, after)
            };
            self.health_of(id, verdict, now + Duration::from_secs(after));
        }
    }

    /// Its check will call it healthy, where it has one.
    pub fn mends(&mut self, id: &str, now: Duration) {
        if self
            .witness
            .lives
            .get(id)
            .is_some_and(|life| life.checked())
        {
            self.health_of(id, Health::Healthy, now + Duration::from_secs(3));
        }
    }

    fn health_of(&mut self, id: &str, verdict: Health, at: Duration) {
        let id = id.to_owned();
        self.schedule(at, Happening::Health { id, verdict });
    }

    fn dies(&mut self, id: &str, fake: &FakeContainers, now: Duration) {
        let facts = fake.glimpse(|all| {
            let mut found = all.filter(|g| g.facts.id == id);
            found
                .next()
                .map(|g| (g.facts.phase, g.facts.limits.restart, g.facts.restarts))
        });
        let Some((Phase::Running, policy, restarts)) = facts else {
            return;
        };
        fake.end(id, 1);
        if policy == Restart::No {
            return;
        }
        if let Some(life) = self.witness.lives.get_mut(id) {
            life.unwell = Some(now + Duration::from_secs(120));
        }
        fake.touch(id, |facts| facts.phase = Phase::Restarting);
        let pause = 100_u64 << restarts.min(9);
        let id = id.to_owned();
        self.schedule(
            now + Duration::from_millis(pause),
            Happening::ComesBack { id },
        );
    }

    // ---- from outside ----

    fn happen(&mut self, happening: Happening, fake: &FakeContainers, now: Duration) {
        self.tell(now, || format!("* {happening:?}"));
        match happening {
            Happening::Health { id, verdict } => {
                fake.verdict(&id, verdict);
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    match verdict {
                        Health::Healthy => life.was_healthy = true,
                        Health::Unhealthy => life.unwell = Some(Duration::MAX),
                        Health::Starting => {}
                    }
                    if verdict == Health::Healthy && life.unwell == Some(Duration::MAX) {
                        life.unwell = Some(now);
                    }
                }
            }
            Happening::Dies { id } => self.dies(&id, fake, now),
            Happening::ComesBack { id } => {
                let waits = briefs(fake)
                    .into_iter()
                    .any(|brief| brief.id == id && brief.phase == Phase::Restarting);
                if waits && fake.come_up(&id) {
                    self.came_up(&id, fake, now, true);
                }
            }
            Happening::Paper(slot, paper) => {
                self.source.papers[slot] = paper;
                self.source_moved = true;
            }
            Happening::Papers(papers) => {
                self.source.papers = papers;
                self.source_moved = true;
            }
            Happening::SourceAway(away) => {
                self.source.away = away;
                self.source_moved = true;
            }
            Happening::Edit(slot) => {
                if let Paper::Says(says) = self.source.papers[slot] {
                    self.source.papers[slot] = Paper::Says(says.edited(&mut self.dice));
                    self.source_moved = true;
                }
            }
            Happening::Wish(wish) => self.wishes.push_back(wish),
            Happening::ClockJump(seconds) => {
                self.wall_off += jiff::SignedDuration::from_secs(seconds);
                self.jumped = true;
            }
            Happening::LoseNotebook => self.lose_notebook = true,
            Happening::EngineRestart => {
                self.witness.touch_all();
                let revived = fake.restart_engine();
                self.witness.revived(&revived, fake);
                for id in revived {
                    self.came_up(&id, fake, now, false);
                }
            }
            Happening::Retag(image) => self.retag(image, fake),
            Happening::ImageGone(image) => {
                self.witness.touch_all();
                let id = fake
                    .image_now(image)
                    .or_else(|| self.published.get(image).cloned());
                fake.forget_image(image);
                self.published.extend(id.map(|id| (image, id)));
            }
            Happening::Foreign(slot) => {
                let number = briefs(fake)
                    .iter()
                    .filter(|b| b.slot == slot)
                    .map(|b| b.number)
                    .max();
                let name = format!(
                    "instanced-default-{}-g{}",
                    NAMES[slot],
                    number.unwrap_or(0) + 1
                );
                if fake.glimpse(|mut all| all.all(|g| g.facts.name != name)) {
                    self.witness.touch(slot);
                    fake.add_foreign(&name);
                }
            }
            Happening::ForeignLeaves => {
                let ids = fake.glimpse(|all| -> Vec<String> {
                    all.filter(|g| g.draft.image == "foreign:1" && g.facts.name != "somebody-else")
                        .map(|g| g.facts.id.clone())
                        .collect()
                });
                for id in ids {
                    fake.remove_by_force(&id);
                }
                self.witness.touch_all();
            }
            Happening::VolumeLeft(slot) => {
                let name = format!("instanced-default-{}-g99-secrets", NAMES[slot]);
                let labels = [(label::MANAGER.to_owned(), "default".to_owned())];
                fake.leave_volume(&name, labels.into());
                self.volume_left = true;
            }
            Happening::Hand(slot, grudge) => self.hand(slot, grudge, fake, now),
            Happening::Again {
                slot,
                grudge,
                every,
                until,
            } => {
                self.hand(slot, grudge, fake, now);
                if now + every < until {
                    self.schedule(
                        now + every,
                        Happening::Again {
                            slot,
                            grudge,
                            every,
                            until,
                        },
                    );
                }
            }
        }
    }

    fn retag(&mut self, image: &'static str, fake: &FakeContainers) {
        self.retags += 1;
        let id = format!("sha256:{image}-{}", self.retags);
        self.witness.touch_all();
        self.causes.iter_mut().for_each(|count| *count += 1);
        fake.publish_image(image, &id);
        fake.set_image_config(&id, image_config(image));
        if self.dice.percent(70) {
            fake.tag_image(image, &id);
        }
        self.published.insert(image, id);
    }

    fn hand(&mut self, slot: Slot, grudge: Grudge, fake: &FakeContainers, now: Duration) {
        let all = briefs(fake).into_iter().filter(|brief| brief.slot == slot);
        let Some(Brief {
            id, phase, health, ..
        }) = all.max_by_key(|brief| brief.number)
        else {
            return;
        };
        self.witness.touch(slot);
        self.causes[slot] += 1;
        match grudge {
            Grudge::Kill => fake.end(&id, 137),
            Grudge::Crash => self.dies(&id, fake, now),
            Grudge::Remove => fake.remove_by_force(&id),
            Grudge::Pause if phase == Phase::Running => {
                fake.touch(&id, |facts| facts.phase = Phase::Paused);
            }
            Grudge::Pause => {}
            Grudge::Rename => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                fake.touch(&id, |facts| {
                    facts.name = format!("somebodys-{:.8}-{slot}", &facts.id[56..])
                });
            }
            Grudge::Disconnect => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                fake.disconnect(&id, "mcp_instances");
            }
            Grudge::Relimit => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                fake.touch(&id, |facts| {
                    facts.limits.memory = Some(Bytes::mib(77));
                    facts.limits.memory_swap = Some(Bytes::mib(77));
                });
            }
            Grudge::Repolicy => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                    life.at_rest = false;
                }
                self.witness.mess[slot] = true;
                fake.touch(&id, |facts| facts.limits.restart = Restart::UnlessStopped);
            }
            Grudge::Start if phase != Phase::Created => {
                self.witness.mess[slot] = true;
                if phase != Phase::Running && fake.come_up(&id) {
                    self.came_up(&id, fake, now, false);
                }
            }
            Grudge::Start => {}
            Grudge::Unwell => {
                if phase == Phase::Running && health.is_some() {
                    fake.verdict(&id, Health::Unhealthy);
                    if let Some(life) = self.witness.lives.get_mut(&id) {
                        life.unwell = Some(Duration::MAX);
                    }
                    let after = self.dice.between(5, 400) as u64;
                    self.health_of(&id, Health::Healthy, now + Duration::from_secs(after));
                }
            }
        }
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
