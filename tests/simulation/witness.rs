//! What must hold at every step, said anew from the contract and not from the code: the witness knows what
//! the manifests say, what was done from outside and what the engine holds, and looks at every changing call
//! before it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use instanced::doors::engine::containers::Draft;
use instanced::words::label;
use instanced::words::observed::{Health, Limits, Phase};
use instanced::words::overrides::{Order, Overrides};

use super::paper::{NAMES, Paper, SLOTS, Says, Slot, slot_of};
use crate::support::fake_containers::FakeContainers;

/// How the promises of this case are set.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How many may be without service because they are replaced.
    pub unavailable_percent: u8,
    /// So many new generations that fail halt a rollout; 0 never.
    pub halt_after: usize,
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
}

/// Who stood when a round looked.
#[derive(Debug, Clone, Default)]
pub struct Census {
    pub at: Duration,
    pub stands: [bool; SLOTS],
    pub serves: [bool; SLOTS],
    /// The newest one came of a rollout, and fails.
    pub fails: [bool; SLOTS],
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
    pub lives: BTreeMap<String, Life>,
    /// Instances that went, with the time of day.
    removals: Vec<(Slot, jiff::Timestamp)>,
    /// What the last sound manifest of each said.
    pub protected: [Option<bool>; SLOTS],
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
}

impl Witness {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            round: None,
            lives: BTreeMap::new(),
            removals: Vec::new(),
            protected: [None; SLOTS],
            absent_since: [None; SLOTS],
            mess: [false; SLOTS],
            forgetful: false,
            broken: None,
            changes: Vec::new(),
            tries: Default::default(),
            reads: 0,
            rounds: Vec::new(),
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
            }
        }
        self.round = Some(round);
    }

    /// The process died: what it knew by itself is gone.
    pub fn died(&mut self) {
        self.round = None;
        self.absent_since = [None; SLOTS];
    }

    /// The state directory was lost with it.
    pub fn lost_notebook(&mut self) {
        self.removals.clear();
        self.protected = [None; SLOTS];
        self.forgetful = true;
    }

    pub fn touch(&mut self, slot: Slot) {
        if let Some(round) = &mut self.round {
            round.touched[slot] = true;
        }
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
            let newest = newest.max_by_key(|brief| brief.number);
            census.fails[slot] = matches!(self.shall(slot), Shall::Run(_))
                && newest.is_some_and(|brief| {
                    let of_rollout = |life: &Life| {
                        let wants = self.round.as_ref().map(|round| round.wants[slot]);
                        life.rollout && life.made.map(Want::Says) == wants
                    };
                    self.lives.get(&brief.id).is_some_and(of_rollout)
                        && (matches!(brief.phase, Phase::Exited(_))
                            || brief.runs() && brief.health == Some(Health::Unhealthy))
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

    // ---- every changing call, before it happens ----

    pub fn look_at(&mut self, deed: Deed<'_>, fake: &FakeContainers, now: Duration) {
        if !matches!(deed, Deed::Pull) {
            self.changes.push(now);
        }
        self.tried(deed, now);
        if self.round.is_none() {
            self.cry(|| format!("{deed:?} outside of any round"));
            return;
        }
        let broken = match deed {
            Deed::Pull => None,
            Deed::CreateNetwork(name) => {
                (name != "mcp_instances").then(|| format!("makes a network {name}"))
            }
            Deed::CreateVolume(name) | Deed::RemoveVolume(name) => {
                let ours = name.starts_with("instanced-default-") && name.ends_with("-secrets");
                (!ours).then(|| format!("touches the volume {name}"))
            }
            Deed::Create(draft) => self.create(draft, fake),
            Deed::PutFiles(id) => self.ours(id, fake).err(),
            Deed::Start(id) => self.start(id, fake),
            Deed::SetLimits(id, limits) => self.set_limits(id, limits, fake),
            Deed::SetRestart(id) | Deed::Stop(id) | Deed::Remove(id) => {
                self.interrupt(deed, id, fake, now)
            }
        };
        if let Some(broken) = broken {
            self.cry(|| broken);
        }
    }

    fn tried(&mut self, deed: Deed<'_>, now: Duration) {
        let slot = match deed {
            Deed::Create(draft) => draft.labels.get(label::INSTANCE).and_then(|n| slot_of(n)),
            Deed::Start(id) | Deed::SetLimits(id, _) => self.lives.get(id).map(|life| life.slot),
            _ => None,
        };
        if let Some(slot) = slot {
            self.tries[slot].push(now);
        }
    }

    fn round(&self) -> &Round {
        self.round
            .as_ref()
            .expect("calls are looked at within rounds only")
    }

    /// What this round must make of an instance.
    pub fn shall(&self, slot: Slot) -> Shall {
        let round = self.round();
        let overrides = &round.overrides[slot];
        if overrides.suspended.is_some() {
            return Shall::Hold;
        }
        let stopped = overrides.stopped.as_ref();
        let stopped = stopped.is_some_and(|said| said.manifest == round.manifests[slot]);
        match round.wants[slot] {
            Want::Absent => Shall::Orphan,
            Want::Held => Shall::Hold,
            Want::Says(says) if says.still || stopped => Shall::Still(says),
            Want::Says(says) => Shall::Run(says),
        }
    }

    /// `None` for one that is gone, an error for one that is not ours.
    fn ours(&self, id: &str, fake: &FakeContainers) -> Result<Option<Brief>, String> {
        if let Some(brief) = briefs(fake).into_iter().find(|brief| brief.id == id) {
            let only = self.round().only;
            if only.is_some_and(|only| only != brief.slot) {
                return Err(format!("a round for one touches {}", NAMES[brief.slot]));
            }
            return Ok(Some(brief));
        }
        let foreign = fake.glimpse(|mut all| all.any(|g| g.facts.id == id));
        if foreign {
            return Err(format!("touches the foreign container {id:.12}"));
        }
        Ok(None)
    }

    fn create(&mut self, draft: &Draft, fake: &FakeContainers) -> Option<String> {
        let slot = draft.labels.get(label::INSTANCE).and_then(|n| slot_of(n));
        let number = draft.labels.get(label::GENERATION);
        let number: Option<u64> = number.and_then(|n| n.parse().ok());
        let (Some(slot), Some(number)) = (slot, number) else {
            return Some(format!("creates {} without its labels", draft.name));
        };
        let name = NAMES[slot];
        let Shall::Run(says) = self.shall(slot) else {
            let shall = self.shall(slot);
            return Some(format!("creates {} though it shall {shall:?}", draft.name));
        };
        if self.round().only.is_some_and(|only| only != slot) {
            return Some(format!("a round for one creates {name}"));
        }
        if briefs(fake)
            .iter()
            .any(|b| b.slot == slot && b.number >= number)
        {
            return Some(format!(
                "{name}: generation {number} is none above all others"
            ));
        }
        if draft.image != says.image() || draft.memory != says.memory_bytes() {
            return Some(format!("{name}: made otherwise than its manifest says"));
        }
        None
    }

    fn start(&mut self, id: &str, fake: &FakeContainers) -> Option<String> {
        let brief = match self.ours(id, fake) {
            Ok(brief) => brief?,
            Err(broken) => return Some(broken),
        };
        let (slot, name) = (brief.slot, NAMES[brief.slot]);
        let life = self.lives.get(id)?;
        if life.browser && !fake.has_file(id, "/run/secrets/vnc_password") {
            return Some(format!("{name}: starts without its secret"));
        }
        let Shall::Run(says) = self.shall(slot) else {
            return Some(format!(
                "{name}: starts though it shall {:?}",
                self.shall(slot)
            ));
        };
        let excused = self.mess[slot] || self.round().touched[slot];
        let two = briefs(fake).into_iter().any(|other| {
            let shares = self.lives.get(&other.id).is_some_and(|l| l.volume) && life.volume;
            other.slot == slot
                && other.id != id
                && matches!(
                    other.phase,
                    Phase::Running | Phase::Restarting | Phase::Paused
                )
                && (!(says.start_first || life.start_first) || shares)
        });
        (two && !excused).then(|| format!("{name}: two generations run at once"))
    }

    fn set_limits(&mut self, id: &str, limits: &Limits, fake: &FakeContainers) -> Option<String> {
        let brief = match self.ours(id, fake) {
            Ok(brief) => brief?,
            Err(broken) => return Some(broken),
        };
        let name = NAMES[brief.slot];
        let Shall::Run(says) = self.shall(brief.slot) else {
            return Some(format!(
                "{name}: updated though it shall {:?}",
                self.shall(brief.slot)
            ));
        };
        let asked = limits.memory.map(|memory| memory.0);
        (asked != Some(says.memory_bytes()))
            .then(|| format!("{name}: gets limits that its manifest does not say"))
    }

    /// Whatever may end somebody's service: it must have a cause.
    fn interrupt(
        &mut self,
        deed: Deed<'_>,
        id: &str,
        fake: &FakeContainers,
        now: Duration,
    ) -> Option<String> {
        let brief = match self.ours(id, fake) {
            Ok(brief) => brief?,
            Err(broken) => return Some(broken),
        };
        let (slot, name) = (brief.slot, NAMES[brief.slot]);
        let says = match self.shall(slot) {
            Shall::Hold => {
                return Some(format!("{name}: {} though it is held", verb(deed)));
            }
            Shall::Orphan => return self.remove(slot, fake),
            Shall::Still(_) => return None,
            Shall::Run(says) => says,
        };
        if !brief.was_started() || self.mess[slot] || self.round().touched[slot] {
            return None;
        }
        let all = briefs(fake);
        let above = |other: &&Brief| other.slot == slot && other.number > brief.number;
        let newer = all.iter().filter(above).filter(|other| other.was_started());
        let newer = newer.max_by_key(|other| other.number);
        if let Some(newer) = newer {
            let well = self
                .lives
                .get(&newer.id)
                .is_some_and(|life| life.was_healthy);
            let serves = brief.runs() && says.start_first && brief.health == Some(Health::Healthy);
            return (serves && !well).then(|| {
                format!(
                    "{name}: {} the old one before the new one is healthy",
                    verb(deed)
                )
            });
        }
        let unfinished = all.iter().any(|other| above(&other));
        self.end_newest(deed, &brief, says, unfinished, fake, now)
    }

    /// The newest one that was ever started: it is the instance.
    fn end_newest(
        &mut self,
        deed: Deed<'_>,
        brief: &Brief,
        says: Says,
        unfinished: bool,
        fake: &FakeContainers,
        now: Duration,
    ) -> Option<String> {
        let (slot, name) = (brief.slot, NAMES[brief.slot]);
        let life = self.lives.get(&brief.id)?.clone();
        let older = briefs(fake)
            .iter()
            .any(|other| other.slot == slot && other.number < brief.number && other.runs());
        let stands = briefs(fake)
            .iter()
            .any(|other| other.slot == slot && other.number < brief.number && other.was_started());
        if stands && (says.start_first || life.start_first) {
            // A swap that failed is taken back: the old one serves on.
            return None;
        }
        if matches!(deed, Deed::Remove(_)) && !older {
            return Some(format!(
                "{name}: removed though nothing has taken its place"
            ));
        }
        let since = self.round().census.as_ref().map_or(now, |census| census.at);
        let unwell = life.unwell.is_some_and(|until| until >= since);
        let well = matches!(brief.health, None | Some(Health::Healthy));
        if !brief.runs() || !well || unwell {
            return None;
        }
        match self.round().order {
            Some(Order::Restart) if !self.round().ordered && matches!(deed, Deed::Stop(_)) => {
                self.round.as_mut().expect("within one").ordered = true;
                return None;
            }
            Some(Order::Recreate) if unfinished && !says.start_first => return None,
            _ => {}
        }
        let differs = differs(&life, brief, says, fake);
        if !differs && !life.excused {
            return Some(format!(
                "{name}: {} though nothing is wrong with it",
                verb(deed)
            ));
        }
        if !unfinished {
            return Some(format!("{name}: {} before the new one is made", verb(deed)));
        }
        if says.start_first {
            return Some(format!(
                "{name}: {} before the new one is healthy",
                verb(deed)
            ));
        }
        if differs { self.roll_out(slot) } else { None }
    }

    /// One that served is swapped because what is desired has changed.
    pub fn roll_out(&mut self, slot: Slot) -> Option<String> {
        let (terms, forgetful) = (self.terms, self.forgetful);
        let mut shall_run = [false; SLOTS];
        for (other, runs) in shall_run.iter_mut().enumerate() {
            *runs = matches!(self.shall(other), Shall::Run(_));
        }
        let round = self.round.as_mut().expect("within one");
        let census = round.census.as_ref()?;
        if !census.serves[slot] || !round.swapped.insert(slot) {
            return None;
        }
        let down = (0..SLOTS)
            .filter(|other| *other != slot && shall_run[*other] && !census.serves[*other])
            .filter(|other| !round.swapped.contains(other) && !round.held[*other])
            .count();
        let running = shall_run.iter().filter(|runs| **runs).count();
        let most = (running * usize::from(terms.unavailable_percent) / 100).max(1);
        let name = NAMES[slot];
        if down + round.swapped.len() > most {
            let swapped = round.swapped.len();
            return Some(format!(
                "{name}: swapped though {down} are down and {swapped} are swapped, and {most} may be"
            ));
        }
        let failing = census.fails.iter().filter(|fails| **fails).count();
        let halted = terms.halt_after > 0 && failing >= terms.halt_after;
        (halted && !forgetful && round.touched == [false; SLOTS])
            .then(|| format!("{name}: swapped though {failing} new ones fail"))
    }

    /// The first call that takes something of an orphan away.
    fn remove(&mut self, slot: Slot, fake: &FakeContainers) -> Option<String> {
        let (terms, name) = (self.terms, NAMES[slot]);
        let (watched, wall, began) = {
            let round = self.round();
            (round.watched, round.wall, round.began)
        };
        let window = jiff::SignedDuration::from_secs(600);
        let round = self.round();
        let confirmed = round.confirmed.contains(&slot);
        if !terms.prune && !confirmed {
            return Some(format!("{name}: removed though pruning is off"));
        }
        // Where the state directory was lost, what the container records counts.
        let recorded = || {
            let of = |brief: &Brief| self.lives.get(&brief.id).is_some_and(|life| life.protect);
            briefs(fake)
                .iter()
                .any(|brief| brief.slot == slot && of(brief))
        };
        if self.protected[slot].unwrap_or_else(recorded) {
            return Some(format!("{name}: removed though it is protected"));
        }
        let absent = self.absent_since[slot].map_or(Duration::ZERO, |since| {
            round
                .census
                .as_ref()
                .map_or(began, |census| census.at)
                .saturating_sub(since)
        });
        if watched && absent < Duration::from_secs(5) {
            return Some(format!("{name}: removed after an absence of {absent:?}"));
        }
        if round.source_empty && !confirmed {
            return Some(format!("{name}: removed though the source is empty"));
        }
        self.removals
            .retain(|(_, at)| wall.duration_since(*at) < window);
        if !self
            .removals
            .iter()
            .any(|(other, at)| *other == slot && *at == wall)
        {
            self.removals.retain(|(other, _)| *other != slot);
            self.removals.push((slot, wall));
        }
        if confirmed {
            return None;
        }
        let all = briefs(fake);
        let census = self.round().census.clone().unwrap_or_default();
        let gone: BTreeSet<Slot> = self
            .removals
            .iter()
            .filter(|(other, at)| *at == wall || !census.stands[*other])
            .map(|(other, _)| *other)
            .collect();
        let mut fleet: BTreeSet<Slot> = all.iter().map(|brief| brief.slot).collect();
        fleet.extend((0..SLOTS).filter(|slot| census.stands[*slot]));
        fleet.extend(&gone);
        let allowed = fleet.len() * usize::from(terms.prune_percent) / 100;
        (gone.len() > 1 && gone.len() > allowed).then(|| {
            format!(
                "{name}: {} of {} go within ten minutes",
                gone.len(),
                fleet.len()
            )
        })
    }

    // ---- after it happened ----

    /// A container of ours is there.
    pub fn created(&mut self, id: &str, draft: &Draft, fake: &FakeContainers) {
        let slot = draft.labels.get(label::INSTANCE).and_then(|n| slot_of(n));
        let number = draft.labels.get(label::GENERATION);
        let (Some(slot), Some(number)) = (slot, number.and_then(|n| n.parse().ok())) else {
            return;
        };
        let all = briefs(fake);
        let before = all.iter().filter(|b| b.slot == slot && b.was_started());
        let before = before.max_by_key(|brief| brief.number);
        let says = self.round.is_some().then(|| self.shall(slot));
        let rollout = before.is_some_and(|before| {
            let life = self.lives.get(&before.id);
            let differs = |says| life.is_some_and(|life| differs(life, before, says, fake));
            before.runs() && matches!(says, Some(Shall::Run(says)) if differs(says))
        });
        let has_secret = |m: &instanced::doors::engine::containers::DraftMount| {
            m.target == instanced::words::secret::DIRECTORY
        };
        let life = Life {
            slot,
            number,
            image: draft.image.clone(),
            look: draft.env.get("LOOK").cloned().unwrap_or_default(),
            browser: draft.image.starts_with("browser") || draft.mounts.iter().any(has_secret),
            volume: draft.mounts.iter().any(|mount| !has_secret(mount)),
            protect: matches!(says, Some(Shall::Run(says)) if says.protect),
            rollout,
            was_healthy: false,
            unwell: None,
            excused: false,
            at_rest: false,
            started: jiff::Timestamp::UNIX_EPOCH,
            made: match says {
                Some(Shall::Run(says)) => Some(says),
                _ => None,
            },
            start_first: matches!(says, Some(Shall::Run(says)) if says.start_first),
        };
        self.lives.insert(id.to_owned(), life);
        let mut numbers = BTreeSet::new();
        let twice = all
            .iter()
            .find(|brief| !numbers.insert((brief.slot, brief.number)));
        if let Some(twice) = twice {
            let (name, number) = (NAMES[twice.slot], twice.number);
            self.cry(|| format!("{name}: two containers of generation {number}"));
        }
    }

    /// The engine has restarted, and revived these.
    pub fn revived(&mut self, ids: &[String], fake: &FakeContainers) {
        let all = briefs(fake);
        for id in ids {
            let Some(life) = self.lives.get(id).cloned() else {
                continue;
            };
            let (slot, number) = (life.slot, life.number);
            let name = NAMES[slot];
            if life.at_rest {
                self.cry(|| format!("{name}: an engine's restart revives generation {number}"));
            }
            let volume = life.volume;
            let two = all.iter().filter(|b| b.slot == slot && b.runs());
            let two = two.filter(|b| self.lives.get(&b.id).is_some_and(|l| l.volume == volume));
            if volume && two.count() > 1 && !self.mess[slot] {
                self.cry(|| format!("{name}: an engine's restart runs two on one volume"));
            }
        }
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

fn verb(deed: Deed<'_>) -> &'static str {
    match deed {
        Deed::Stop(_) => "stopped",
        Deed::Remove(_) => "removed",
        Deed::SetRestart(_) => "its restart policy changed",
        _ => "touched",
    }
}
