//! What goes because no manifest names it: how far that may go.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Brief, Witness, briefs};
use crate::simulation::paper::{NAMES, SLOTS, Slot};
use crate::support::fake_containers::FakeContainers;

impl Witness {
    /// The first call that takes something of an orphan away.
    pub(super) fn remove(&mut self, slot: Slot, fake: &FakeContainers) -> Option<String> {
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
        if !self.protect_unsure[slot] && self.protected[slot].unwrap_or_else(recorded) {
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
        let share = fleet.len() * usize::from(terms.prune_percent) / 100;
        let allowed = share.max(usize::try_from(terms.prune_min).expect("a small number"));
        (gone.len() > 1 && gone.len() > allowed).then(|| {
            format!(
                "{name}: {} of {} go within ten minutes",
                gone.len(),
                fleet.len()
            )
        })
    }
}
