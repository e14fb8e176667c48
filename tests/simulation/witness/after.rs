//! What happened, once it has: containers of ours that are there, and what an engine revived.

use std::collections::BTreeSet;

use instanced::doors::engine::containers::Draft;
use instanced::words::label;
use instanced::words::observed::Health;

use super::{Life, Shall, Witness, briefs, differs};
use crate::simulation::paper::{NAMES, slot_of};
use crate::support::fake_containers::FakeContainers;

impl Witness {
    /// A container of ours is there.
    pub fn created(
        &mut self,
        id: &str,
        draft: &Draft,
        fake: &FakeContainers,
        wall: jiff::Timestamp,
    ) {
        let slot = draft.labels.get(label::INSTANCE).and_then(|n| slot_of(n));
        let number = draft.labels.get(label::GENERATION);
        let (Some(slot), Some(number)) = (slot, number.and_then(|n| n.parse().ok())) else {
            return;
        };
        let all = briefs(fake);
        let before = all.iter().filter(|b| b.slot == slot && b.was_started());
        let before = before.max_by_key(|brief| brief.number);
        let says = self.shall_of(slot);
        let rollout = before.is_some_and(|before| {
            let life = self.lives.get(&before.id);
            let differs = |says| life.is_some_and(|life| differs(life, before, says, fake));
            // One that did not serve before is no harm that the rollout did.
            let settled = life.is_none_or(|life| {
                life.unwell.is_none()
                    && (6..).contains(&wall.duration_since(life.started).as_secs())
            });
            let served =
                before.health == Some(Health::Healthy) || before.health.is_none() && settled;
            before.runs() && served && matches!(says, Some(Shall::Run(says)) if differs(says))
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
            made_at: wall,
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
