//! Every changing call, before it happens: what it would break.

use std::time::Duration;

use instanced::doors::engine::containers::Draft;
use instanced::words::label;
use instanced::words::observed::{Health, Limits, Phase};
use instanced::words::overrides::Order;

use super::{Brief, Deed, Round, Shall, Want, Witness, briefs, differs};
use crate::simulation::paper::{NAMES, SLOTS, Says, Slot, slot_of};
use crate::support::fake_containers::FakeContainers;

impl Witness {
    pub fn look_at(&mut self, deed: Deed<'_>, fake: &FakeContainers, now: Duration) {
        if !matches!(deed, Deed::Pull) {
            self.changes.push(now);
        }
        self.tried(deed, now);
        let slot = self.slot_of(deed);
        let carries = self.carried.iter().any(Option::is_some);
        let is_one_of_any = matches!(
            deed,
            Deed::Pull | Deed::RemoveVolume(_) | Deed::CreateVolume(_)
        );
        let is_ill = slot.is_some() && slot == self.ill;
        let broken = if is_ill || self.round.is_none() && is_one_of_any && carries {
            None
        } else {
            self.in_its_round(slot, |this| {
                if this.round.is_none() {
                    return Some(format!("{deed:?} outside of any round"));
                }
                this.judge(deed, fake, now)
            })
        };
        if let Some(broken) = broken {
            self.cry(|| broken);
        }
    }

    /// Whose call it is, where that can be told.
    fn slot_of(&self, deed: Deed<'_>) -> Option<Slot> {
        match deed {
            Deed::Create(draft) => draft.labels.get(label::INSTANCE).and_then(|n| slot_of(n)),
            Deed::PutFiles(id)
            | Deed::Start(id)
            | Deed::Stop(id)
            | Deed::SetRestart(id)
            | Deed::SetLimits(id, _)
            | Deed::Remove(id) => self.lives.get(id).map(|life| life.slot),
            Deed::CreateNetwork(_) | Deed::Pull | Deed::CreateVolume(_) | Deed::RemoveVolume(_) => {
                None
            }
        }
    }

    fn judge(&mut self, deed: Deed<'_>, fake: &FakeContainers, now: Duration) -> Option<String> {
        match deed {
            Deed::Pull => None,
            Deed::CreateNetwork(name) => {
                (name != "mcp_instances").then(|| format!("makes a network {name}"))
            }
            Deed::CreateVolume(name) | Deed::RemoveVolume(name) => {
                let makes = matches!(deed, Deed::CreateVolume(_));
                // Volumes that manifests name are made and never removed.
                let ours = name.starts_with("instanced-default-")
                    && (name.ends_with("-secrets") || (makes && name.contains("-vol-")));
                (!ours).then(|| format!("touches the volume {name}"))
            }
            Deed::Create(draft) => self.create(draft, fake),
            Deed::PutFiles(id) => self.ours(id, fake).err(),
            Deed::Start(id) => self.start(id, fake),
            Deed::SetLimits(id, limits) => self.set_limits(id, limits, fake),
            Deed::SetRestart(id) | Deed::Stop(id) | Deed::Remove(id) => {
                self.interrupt(deed, id, fake, now)
            }
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

    pub(super) fn round(&self) -> &Round {
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
    pub(super) fn roll_out(&mut self, slot: Slot) -> Option<String> {
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
        // A round for one does not tell which others are held.
        let down = (0..SLOTS)
            .filter(|other| round.only.is_none() && *other != slot && shall_run[*other])
            .filter(|other| census.comes_up[*other] && !forgetful)
            .filter(|other| !census.serves[*other] && !census.fails[*other])
            .filter(|other| !round.swapped.contains(other))
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
        let failing = (0..SLOTS).filter(|other| census.fails[*other] && shall_run[*other]);
        let failing = failing.count();
        let halted = terms.halt_after > 0 && failing >= terms.halt_after;
        (halted && !forgetful && round.touched == [false; SLOTS])
            .then(|| format!("{name}: swapped though {failing} new ones fail"))
    }
}

fn verb(deed: Deed<'_>) -> &'static str {
    match deed {
        Deed::Stop(_) => "stopped",
        Deed::Remove(_) => "removed",
        Deed::SetRestart(_) => "its restart policy changed",
        _ => "touched",
    }
}
