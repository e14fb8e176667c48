//! What must hold at every step, said anew from the contract and not from the code: the witness knows what
//! the manifests say, what was done from outside and what the engine holds, and looks at every changing call
//! before it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use instanced::doors::engine::containers::Draft;
use instanced::words::label;
use instanced::words::observed::{Health, Limits, Phase};
use instanced::words::overrides::{Order, Overrides};

use super::paper::{Paper, SLOTS, Says, Slot, slot_of};
use crate::support::fake_containers::FakeContainers;

mod after;
mod calls;
mod removals;

/// How the promises of this case are set.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How many may be without service because they are replaced.
    pub unavailable_percent: u8,
    /// So many new generations that fail halt a rollout; 0 never.
    pub halt_after: usize,
    /// So many may go within ten minutes, however small the fleet is.
    pub prune_min: u64,
    /// How much of the fleet may go within ten minutes.
    pub prune_percent: u8,
    pub prune: bool,
}

/// What a round is told of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Absent,
    /// Its manifest cannot be used.
    Held,
    Says(Says),
}

impl From<Paper> for Want {
    fn from(paper: Paper) -> Self {
        match paper {
            Paper::Absent => Self::Absent,
            Paper::Says(says) => Self::Says(says),
            Paper::Broken | Paper::Blank | Paper::BeingWritten => Self::Held,
        }
    }
}

/// What that comes to once an operator's word is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shall {
    Orphan,
    Hold,
    Still(Says),
    Run(Says),
}

/// A round as it began.
#[derive(Debug, Clone)]
pub struct Round {
    pub wants: [Want; SLOTS],
    /// Names what each manifest said.
    pub manifests: [String; SLOTS],
    pub source_empty: bool,
    /// The daemon's own; one that a person asks for waits for nothing.
    pub watched: bool,
    /// The one that a person asked for.
    pub only: Option<Slot>,
    pub order: Option<Order>,
    /// What a person confirmed to go.
    pub confirmed: BTreeSet<Slot>,
    pub began: Duration,
    pub wall: jiff::Timestamp,
    pub overrides: [Overrides; SLOTS],
    /// Edited from outside since the round began.
    pub touched: [bool; SLOTS],
    /// As the engine listed it to the round.
    pub census: Option<Census>,
    /// Swapped in this round though they served.
    pub swapped: BTreeSet<Slot>,
    /// Orders are carried out once.
    pub ordered: bool,
    /// Held for something that may last.
    pub held: [bool; SLOTS],
    /// The notebook failed in it.
    pub unnoted: bool,
}

/// Who stood when a round looked.
#[derive(Debug, Clone, Default)]
pub struct Census {
    pub at: Duration,
    pub stands: [bool; SLOTS],
    pub serves: [bool; SLOTS],
    /// The newest one came of a rollout, and is down or ill. Whether it shall run is not known yet: the engine
    /// may answer before the notebook does.
    pub fails: [bool; SLOTS],
    /// The newest one came of a rollout a short while ago, and does not serve yet.
    pub comes_up: [bool; SLOTS],
}

/// One container of ours, whatever became of it.
#[derive(Debug, Clone)]
pub struct Life {
    pub slot: Slot,
    pub number: u64,
    image: String,
    look: String,
    browser: bool,
    volume: bool,
    protect: bool,
    /// It replaced one that served, because what is desired changed.
    rollout: bool,
    /// When it was made, by the time of day.
    pub made_at: jiff::Timestamp,
    pub was_healthy: bool,
    /// Until when it was not well; may lie ahead for one that was restarted.
    pub unwell: Option<Duration>,
    /// An update of its limits was refused for good, or somebody's hand was on it.
    pub excused: bool,
    /// We stopped it on purpose.
    pub at_rest: bool,
    pub started: jiff::Timestamp,
    start_first: bool,
    /// What its manifest said then.
    made: Option<Says>,
}

impl Life {
    /// Whether its image has a health check.
    pub fn checked(&self) -> bool {
        self.image.starts_with("browser")
    }
}

/// One container of ours now.
#[derive(Debug, Clone)]
pub struct Brief {
    pub id: String,
    pub slot: Slot,
    pub number: u64,
    pub phase: Phase,
    pub health: Option<Health>,
    pub limits: Limits,
    pub image_id: String,
}

impl Brief {
    pub fn runs(&self) -> bool {
        self.phase == Phase::Running
    }

    fn was_started(&self) -> bool {
        self.phase != Phase::Created
    }
}

/// A changing call.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    CreateNetwork(&'a str),
    Pull,
    CreateVolume(&'a str),
    RemoveVolume(&'a str),
    Create(&'a Draft),
    PutFiles(&'a str),
    Start(&'a str),
    Stop(&'a str),
    SetRestart(&'a str),
    SetLimits(&'a str, &'a Limits),
    Remove(&'a str),
}

pub struct Witness {
    pub terms: Terms,
    pub round: Option<Round>,
    /// The rounds of steps that go on beside later ones: each is judged by what its own round was told.
    pub carried: [Option<Round>; SLOTS],
    pub lives: BTreeMap<String, Life>,
    /// Instances that went, with the time of day.
    removals: Vec<(Slot, jiff::Timestamp)>,
    /// What the last sound manifest of each said.
    pub protected: [Option<bool>; SLOTS],
    /// The same, of those whose manifest was seen by a round that could note it.
    noted: [Option<bool>; SLOTS],
    /// The process that saw the last manifest could not note it, and is gone: either may hold.
    pub protect_unsure: [bool; SLOTS],
    /// Since when rounds of this process have found it absent.
    pub absent_since: [Option<Duration>; SLOTS],
    /// Something was done to it late, or by a hand that nobody saw: what its generations do is excused.
    pub mess: [bool; SLOTS],
    /// Acts may be forgotten, so what depends on them cannot be demanded.
    pub forgetful: bool,
    pub broken: Option<String>,
    /// When changing and reading calls were made.
    pub changes: Vec<Duration>,
    /// When each instance was tried to be brought up or changed.
    pub tries: [Vec<Duration>; SLOTS],
    pub reads: usize,
    pub rounds: Vec<Duration>,
    /// The instance for which nothing ever works: what is done to it is judged by what it costs the others.
    pub ill: Option<Slot>,
}

impl Witness {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            round: None,
            carried: Default::default(),
            lives: BTreeMap::new(),
            removals: Vec::new(),
            protected: [None; SLOTS],
            noted: [None; SLOTS],
            protect_unsure: [false; SLOTS],
            absent_since: [None; SLOTS],
            mess: [false; SLOTS],
            forgetful: false,
            broken: None,
            changes: Vec::new(),
            tries: Default::default(),
            reads: 0,
            rounds: Vec::new(),
            ill: None,
        }
    }

    /// A promise is broken. The first counts.
    pub fn cry(&mut self, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    // ---- what goes on ----

    pub fn begin(&mut self, round: Round) {
        self.rounds.push(round.began);
        for (slot, want) in round.wants.iter().enumerate() {
            if let Want::Says(says) = want {
                self.protected[slot] = Some(says.protect);
                self.protect_unsure[slot] = false;
            }
        }
        self.round = Some(round);
    }

    /// The round has got as far as a plan, so what it read is noted, if it can be.
    pub fn planned(&mut self) {
        if !self.round().unnoted {
            self.noted = self.protected;
        }
    }

    /// The process died: what it knew by itself is gone.
    pub fn died(&mut self) {
        self.round = None;
        self.carried = Default::default();
        self.absent_since = [None; SLOTS];
        for slot in 0..SLOTS {
            self.protect_unsure[slot] |= self.protected[slot] != self.noted[slot];
        }
    }

    /// The state directory was lost with it.
    pub fn lost_notebook(&mut self) {
        self.removals.clear();
        self.protected = [None; SLOTS];
        self.noted = [None; SLOTS];
        self.protect_unsure = [false; SLOTS];
        self.forgetful = true;
    }

    pub fn touch(&mut self, slot: Slot) {
        for round in self.round.iter_mut().chain(self.carried[slot].iter_mut()) {
            round.touched[slot] = true;
        }
    }

    /// Judges with the round that this instance's step belongs to.
    pub fn in_its_round<T>(&mut self, slot: Option<Slot>, judge: impl FnOnce(&mut Self) -> T) -> T {
        let Some((slot, own)) = slot.and_then(|slot| Some((slot, self.carried[slot].take()?)))
        else {
            return judge(self);
        };
        let current = self.round.replace(own);
        let verdict = judge(self);
        self.carried[slot] = std::mem::replace(&mut self.round, current);
        verdict
    }

    /// What the round of this instance's step must make of it; nothing outside of any.
    pub fn shall_of(&mut self, slot: Slot) -> Option<Shall> {
        self.in_its_round(Some(slot), |this| {
            this.round.is_some().then(|| this.shall(slot))
        })
    }

    pub fn touch_all(&mut self) {
        (0..SLOTS).for_each(|slot| self.touch(slot));
    }

    /// The round's first list: what it will plan from.
    pub fn count(&mut self, fake: &FakeContainers, now: Duration, wall: jiff::Timestamp) {
        if self
            .round
            .as_ref()
            .is_none_or(|round| round.census.is_some())
        {
            return;
        }
        let mut census = Census {
            at: now,
            ..Census::default()
        };
        let all = briefs(fake);
        for brief in &all {
            census.stands[brief.slot] = true;
            // Whether it has just come up is asked of the time of day, which may jump.
            let settled = self.lives.get(&brief.id).is_none_or(|life| {
                let age = wall.duration_since(life.started).as_millis();
                brief.health.is_some() || !(0..5000).contains(&age)
            });
            let well = matches!(brief.health, None | Some(Health::Healthy));
            census.serves[brief.slot] |= brief.runs() && well && settled;
        }
        for slot in 0..SLOTS {
            let newest = all.iter().filter(|b| b.slot == slot && b.was_started());
            let newest = newest.max_by_key(|brief| brief.number).cloned();
            census.fails[slot] = newest.clone().is_some_and(|brief| {
                let of_rollout = |life: &Life| {
                    let wants = self.round.as_ref().map(|round| round.wants[slot]);
                    life.rollout && life.made.map(Want::Says) == wants
                };
                self.lives.get(&brief.id).is_some_and(of_rollout)
                    && (matches!(brief.phase, Phase::Exited(_))
                        || brief.runs() && brief.health == Some(Health::Unhealthy))
            });
            census.comes_up[slot] = newest.is_some_and(|brief| {
                let lately = |life: &Life| {
                    let age = wall.duration_since(life.made_at).as_secs();
                    // One that ends again and again fails, and counts towards the halt.
                    let well = life.unwell.is_none_or(|until| until < now);
                    life.rollout && well && brief.runs() && (0..290).contains(&age)
                };
                self.lives.get(&brief.id).is_some_and(lately)
            });
        }
        let round = self.round.as_mut().expect("looked at above");
        for slot in 0..SLOTS {
            if round.wants[slot] != Want::Absent || !census.stands[slot] {
                self.absent_since[slot] = None;
            } else {
                self.absent_since[slot].get_or_insert(now);
            }
        }
        round.census = Some(census);
    }
}

/// Whether a new container is necessary.
pub fn differs(life: &Life, brief: &Brief, says: Says, fake: &FakeContainers) -> bool {
    let image = fake.image_now(says.image());
    life.image != says.image()
        || life.look != says.look.to_string()
        || life.browser != says.browser
        || life.volume != says.volume
        || says.pull != "never" && image.is_some_and(|image| image != brief.image_id)
}

/// All containers of ours.
pub fn briefs(fake: &FakeContainers) -> Vec<Brief> {
    fake.glimpse(|all| {
        all.filter_map(|glimpse| {
            let facts = glimpse.facts;
            if facts.labels.get(label::MANAGER).map(String::as_str) != Some("default") {
                return None;
            }
            Some(Brief {
                id: facts.id.clone(),
                slot: facts.labels.get(label::INSTANCE).and_then(|n| slot_of(n))?,
                number: facts.labels.get(label::GENERATION)?.parse().ok()?,
                phase: facts.phase,
                health: facts.health,
                limits: facts.limits,
                image_id: facts.image_id.clone(),
            })
        })
        .collect()
    })
}
