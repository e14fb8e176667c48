//! What one desired instance needs.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Action, History, Reason, Retired, Step, held};
use crate::decisions::change::{self, Change};
use crate::decisions::remedy::{self, Remedy};
use crate::words::act::{Act, Deed};
use crate::words::manifest::{Pull, ReplaceOrder, Restart, State};
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Foreign, Generation, Health, Limits, Observed, Phase};
use crate::words::origin::{Origin, Origins};
use crate::words::overrides::{Frozen, Order, Overrides, Stopped};
use crate::words::spec::Spec;

/// One desired instance with everything that is known of it.
pub(super) struct Case<'a> {
    spec: &'a Arc<Spec>,
    generations: &'a [Generation],
    observed: &'a Observed,
    history: &'a History,
    origins: Cow<'a, Origins>,
    /// What was done since an operator resumed it.
    acts: Cow<'a, [Act]>,
}

/// The generations of an instance by what they are.
struct Standing<'a> {
    /// The newest that was ever started: it is the instance.
    newest: &'a Generation,
    /// Started before it, ascending.
    older: Vec<&'a Generation>,
    /// Never started: they may lack their secrets, and count for nothing but clean-up.
    unfinished: Vec<&'a Generation>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        spec: &'a Arc<Spec>,
        origins: Option<&'a Origins>,
        generations: &'a [Generation],
        acts: &'a [Act],
        observed: &'a Observed,
        history: &'a History,
    ) -> Self {
        let name = &spec.name;
        let resumed = history.overrides.get(name).and_then(|o| o.resumed);
        Self {
            spec,
            generations,
            observed,
            history,
            origins: origins.map_or_else(Cow::default, Cow::Borrowed),
            acts: remedy::since(acts, resumed, history.now),
        }
    }

    /// What is to be done; `None` when it is as it shall be.
    pub(super) fn step(&self) -> Option<Step> {
        let step = match self.standing() {
            None => self.without_standing(),
            Some(standing) => self.with_standing(&standing),
        };
        step.or_else(|| self.unreadable_secret())
            .or_else(|| self.stopped_on_purpose())
    }

    fn name(&self) -> &'a InstanceName {
        &self.spec.name
    }

    fn overrides(&self) -> Option<&'a Overrides> {
        self.history.overrides.get(self.name())
    }

    /// An operator's stop, for as long as the manifest is the one that it was said of.
    fn stopped_by_operator(&self) -> Option<&'a Stopped> {
        let stopped = self.overrides()?.stopped.as_ref()?;
        (stopped.manifest == self.origins.manifest).then_some(stopped)
    }

    fn shall_stand_still(&self) -> bool {
        self.spec.state == State::Stopped || self.stopped_by_operator().is_some()
    }

    fn standing(&self) -> Option<Standing<'a>> {
        let (unfinished, mut standing): (Vec<_>, Vec<_>) = self
            .generations
            .iter()
            .partition(|g| g.phase == Phase::Created);
        let newest = standing.pop()?;
        Some(Standing {
            newest,
            older: standing,
            unfinished,
        })
    }

    /// The number above all others whose name is free: somebody may have given it to an older one.
    fn next(&self) -> u64 {
        let numbers = self.generations.iter().map(|g| g.number);
        let mut next = numbers.max().unwrap_or(0).saturating_add(1);
        let has = |next: u64| {
            let end = format!("-{}-g{next}", self.name());
            self.generations.iter().any(|g| g.name.ends_with(&end))
        };
        while has(next) {
            next += 1;
        }
        next
    }

    // ---- no generation stands ----

    fn without_standing(&self) -> Option<Step> {
        let discard: Vec<_> = self.generations.iter().map(Retired::from).collect();
        if self.shall_stand_still() {
            let remove = Action::Remove { targets: discard };
            return (!self.generations.is_empty())
                .then(|| self.step_of(remove, Reason::Superseded));
        }
        let action = Action::Create {
            generation: self.next(),
            spec: Arc::clone(self.spec),
            discard,
        };
        if self.was_there() {
            let step = self.step_of(action, Reason::Vanished);
            return Some(self.unless_backing_off(self.unless_blocked(step)));
        }
        Some(self.unless_blocked(self.step_of(action, Reason::Missing)))
    }

    /// Whether the last that was done to it brought it up.
    fn was_there(&self) -> bool {
        self.acts.last().is_some_and(|act| {
            act.done != Some(false) && !matches!(act.deed, Deed::Remove | Deed::Stop)
        })
    }

    // ---- a generation stands ----

    fn with_standing(&self, standing: &Standing<'a>) -> Option<Step> {
        let newest = standing.newest;
        let applied = match &newest.applied {
            Applied::Newer(version) => {
                let version = *version;
                return Some(held(self.name(), Reason::MadeByNewer { version }));
            }
            Applied::Unreadable(why) => Err(Reason::Illegible { why: why.clone() }),
            Applied::Spec(applied) => Ok(&**applied),
        };
        if self.shall_stand_still() {
            // A change waits until it runs again: whoever stopped it wants it left alone.
            return self.step_to_stop(standing);
        }
        if let Some(order) = self.order(newest) {
            return Some(order);
        }
        if let Some(step) = self.taking_over(standing) {
            return Some(step);
        }
        let applied = match applied {
            Err(reason) => return Some(self.replace(newest, reason, Vec::new())),
            Ok(applied) => applied,
        };
        if let (Some(reason), changes) = self.difference(applied, newest) {
            return Some(self.replace(newest, reason, changes));
        }
        self.as_it_stands(standing, applied)
    }

    /// Why a new generation is necessary, and every field that says so.
    fn difference(&self, applied: &Spec, newest: &Generation) -> (Option<Reason>, Vec<Change>) {
        let mut changes = change::replacing(applied, self.spec, &self.origins);
        let mut reason = (!changes.is_empty()).then_some(Reason::Changed);
        if let Some(to) = self.image_moved(newest) {
            let from = newest.image_id.clone();
            changes.push(Change {
                field: "image_id".to_owned(),
                old: Some(from.clone().into()),
                new: Some(to.clone().into()),
                origin: Origin::Image,
            });
            reason = reason.or(Some(Reason::ImageMoved { from, to }));
        }
        if !newest.drift.is_empty() {
            changes.extend(change::drifted(&newest.drift));
            reason = reason.or(Some(Reason::Drifted));
        }
        (reason, changes)
    }

    /// The image that the reference names now, where it is another one. `never` and `missing` ask no
    /// registry, but an image that was built or pulled by hand under the same tag is the one that is meant.
    fn image_moved(&self, newest: &Generation) -> Option<String> {
        let to = self.observed.images.get(&self.spec.image)?;
        (self.spec.pull != Pull::Never && *to != newest.image_id).then(|| to.clone())
    }

    fn replace(&self, newest: &Generation, reason: Reason, changes: Vec<Change>) -> Step {
        let by_hand = matches!(reason, Reason::Asked | Reason::Unhealthy { .. });
        let action = Action::Replace {
            retire: self.generations.iter().map(Retired::from).collect(),
            generation: self.next(),
            spec: Arc::clone(self.spec),
        };
        let step = Step {
            changes,
            ends_sessions: newest.phase == Phase::Running,
            ..self.step_of(action, reason)
        };
        let step = self.unless_blocked(step);
        if by_hand {
            step
        } else {
            self.unless_frozen(step)
        }
    }

    /// A restart or a recreation that an operator asks for.
    fn order(&self, newest: &Generation) -> Option<Step> {
        match self.history.orders.get(self.name())? {
            Order::Restart => {
                let target = Retired::from(newest);
                Some(self.step_of(Action::Restart { target }, Reason::Asked))
            }
            Order::Recreate => Some(self.replace(newest, Reason::Asked, Vec::new())),
            Order::Stop | Order::Start | Order::Suspend | Order::Resume => None,
        }
    }

    /// A swap that starts first and was broken off: until the new generation is healthy, the old one serves.
    fn taking_over(&self, standing: &Standing<'a>) -> Option<Step> {
        let newest = standing.newest;
        if self.spec.replace != ReplaceOrder::StartFirst || !serves_still(standing) {
            return None;
        }
        match (newest.phase, newest.health) {
            (Phase::Running, None | Some(Health::Healthy)) => None,
            (Phase::Running, Some(Health::Starting)) => Some(held(self.name(), Reason::TakingOver)),
            _ => {
                let targets = vec![Retired::from(newest)];
                Some(self.step_of(Action::Remove { targets }, Reason::NeverHealthy))
            }
        }
    }

    /// Nothing of it must be made anew: what else it needs.
    fn as_it_stands(&self, standing: &Standing<'a>, applied: &Spec) -> Option<Step> {
        let newest = standing.newest;
        let leftovers = leftovers(standing);
        match newest.phase {
            Phase::Running | Phase::Restarting => {
                if !leftovers.is_empty() {
                    return Some(self.clear_away(standing, Reason::Superseded));
                }
                self.unwell(newest)
                    .or_else(|| self.relimit(newest, applied))
            }
            phase @ Phase::Dead => {
                Some(self.replace(newest, Reason::NotRunning { phase }, Vec::new()))
            }
            phase => {
                // An older one that still runs would share its volumes: the swap is finished first.
                if standing.older.iter().any(|g| g.phase == Phase::Running) {
                    return Some(self.clear_away(standing, Reason::Superseded));
                }
                let action = Action::Start {
                    target: Retired::from(newest),
                    spec: Arc::clone(self.spec),
                };
                let step = self.step_of(action, Reason::NotRunning { phase });
                Some(self.unless_backing_off(step))
            }
        }
    }

    /// The generations beside the newest go. One of them that runs still has its sessions.
    fn clear_away(&self, standing: &Standing<'a>, reason: Reason) -> Step {
        let targets = leftovers(standing);
        Step {
            ends_sessions: serves_still(standing),
            ..self.step_of(Action::Remove { targets }, reason)
        }
    }

    /// Limits that are not the spec's.
    fn relimit(&self, newest: &Generation, applied: &Spec) -> Option<Step> {
        if newest.limits == Limits::of(self.spec) {
            return None;
        }
        let updated = self.acts.iter().rev().find(|act| act.deed == Deed::Update);
        let digest = self.digest();
        let this_update = updated.filter(|act| act.spec == digest);
        // The record is as old as the container; what was updated since is known by the act.
        let made = if this_update.is_some_and(|act| act.done == Some(true)) {
            self.spec
        } else {
            applied
        };
        let changes = change::limits(&newest.limits, self.spec, made, &self.origins);
        if changes.is_empty() {
            return None;
        }
        let refused = this_update
            .is_some_and(|act| act.done == Some(false) && act.generation == newest.number);
        // No engine takes a limit away that it is asked to set: that is for a new container.
        if refused {
            return Some(self.replace(newest, Reason::NotUpdatable, changes));
        }
        let by_hand = changes.iter().all(|c| c.origin == Origin::Outside);
        let reason = if by_hand {
            Reason::Drifted
        } else {
            Reason::Changed
        };
        let action = Action::Update {
            target: Retired::from(newest),
            spec: Arc::clone(self.spec),
        };
        let step = Step {
            changes,
            ..self.step_of(action, reason)
        };
        Some(if by_hand {
            self.unless_backing_off(step)
        } else {
            step
        })
    }

    /// What is done about one that runs and is not well.
    fn unwell(&self, newest: &Generation) -> Option<Step> {
        let unwell_for = self.history.unwell_for.get(self.name())?;
        if *unwell_for < remedy::PATIENCE || !remedy::is_unwell(newest, self.history.now) {
            return None;
        }
        let next = remedy::next(&self.acts, *unwell_for, self.history.now);
        let (tried, until) = (next.tried, next.at);
        if until > self.history.now {
            let why = "it is not well".to_owned();
            return Some(held(self.name(), Reason::BackingOff { tried, until, why }));
        }
        let reason = Reason::Unhealthy { tried };
        Some(match next.remedy {
            Remedy::Restart => {
                let target = Retired::from(newest);
                self.step_of(Action::Restart { target }, reason)
            }
            Remedy::Recreate => self.replace(newest, reason, Vec::new()),
        })
    }

    fn step_to_stop(&self, standing: &Standing<'a>) -> Option<Step> {
        let newest = standing.newest;
        let runs = matches!(
            newest.phase,
            Phase::Running | Phase::Restarting | Phase::Paused
        );
        let reason = match self.stopped_by_operator() {
            Some(Stopped { since, .. }) => Reason::StoppedByOperator { since: *since },
            None => Reason::NotStopped,
        };
        if runs || newest.limits.restart != Restart::No {
            let target = Retired::from(newest);
            return Some(self.unless_backing_off(Step {
                ends_sessions: newest.phase == Phase::Running,
                ..self.step_of(Action::Stop { target }, reason)
            }));
        }
        // Nobody takes over from one that serves still: it just goes.
        let serves = serves_still(standing);
        let reason = if serves { reason } else { Reason::Superseded };
        (!leftovers(standing).is_empty()).then(|| self.clear_away(standing, reason))
    }

    // ---- what stands in the way ----

    /// A step that needs a new generation, unless something that it needs cannot be had.
    fn unless_blocked(&self, step: Step) -> Step {
        if let Some(why) = self.history.secrets_unreadable.get(self.name()) {
            let why = why.clone();
            return held(self.name(), Reason::SecretUnreadable { why });
        }
        let foreign = &self.observed.foreign;
        let holder = || foreign.get(&format!("{}-g{}", self.name(), self.next()));
        match (!foreign.is_empty()).then(holder).flatten() {
            Some(Foreign { name, what }) => {
                let (name, holder) = (name.clone(), what.clone());
                held(self.name(), Reason::NameTaken { name, holder })
            }
            None => step,
        }
    }

    /// A replacement, unless the same was done twice lately and did not last.
    fn unless_frozen(&self, step: Step) -> Step {
        let frozen = self.overrides().and_then(|o| o.frozen.as_ref());
        let replaced = || self.acts.iter().any(|act| act.deed == Deed::Replace);
        // Before anything dear is compared: most were not replaced lately.
        if step.action == Action::Held || frozen.is_none() && !replaced() {
            return step;
        }
        let digest = self.digest();
        let holds =
            |frozen: &&Frozen| frozen.spec == digest && !remedy::has_thawed(frozen, &self.acts);
        if let Some(frozen) = frozen.filter(holds) {
            let fields = frozen.fields.clone();
            return held(self.name(), Reason::Frozen { fields });
        }
        if !remedy::oscillates(&self.acts, &digest, self.history.now) {
            return step;
        }
        let fields = step.changes.iter().map(|c| c.field.clone()).collect();
        Step {
            changes: step.changes,
            ..held(self.name(), Reason::Frozen { fields })
        }
    }

    /// A step that brings back what ended or vanished, unless it was brought back in vain just now.
    fn unless_backing_off(&self, step: Step) -> Step {
        if step.action == Action::Held {
            return step;
        }
        match remedy::bring_back(self.name(), &self.acts, &self.digest(), self.history.now) {
            (Some(until), tried) => {
                let why = step.reason.to_string();
                held(self.name(), Reason::BackingOff { tried, until, why })
            }
            (None, _) => step,
        }
    }

    /// One that stands as it should, but whose secret cannot be read any more, runs on; somebody should know.
    fn unreadable_secret(&self) -> Option<Step> {
        let why = self.history.secrets_unreadable.get(self.name())?.clone();
        (!self.generations.is_empty()).then(|| held(self.name(), Reason::SecretUnreadable { why }))
    }

    /// One that stands still because an operator said so is shown until that is lifted.
    fn stopped_on_purpose(&self) -> Option<Step> {
        let since = self.stopped_by_operator()?.since;
        Some(held(self.name(), Reason::StoppedByOperator { since }))
    }

    /// Empty where nothing was ever done: then nobody compares it.
    fn digest(&self) -> String {
        if self.acts.is_empty() && self.overrides().is_none() {
            return String::new();
        }
        self.spec.digest()
    }

    fn step_of(&self, action: Action, reason: Reason) -> Step {
        let ends_sessions = matches!(
            action,
            Action::Replace { .. } | Action::Stop { .. } | Action::Restart { .. }
        );
        Step {
            instance: self.name().clone(),
            action,
            reason,
            changes: Vec::new(),
            ends_sessions,
        }
    }
}

/// Whether a generation before the newest runs. One without a number, a copy that somebody made, serves nobody.
fn serves_still(standing: &Standing<'_>) -> bool {
    let mut older = standing.older.iter();
    older.any(|g| g.phase == Phase::Running && g.number > 0)
}

fn leftovers(standing: &Standing<'_>) -> Vec<Retired> {
    let all = standing.older.iter().chain(&standing.unfinished);
    all.copied().map(Retired::from).collect()
}
