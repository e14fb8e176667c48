//! The brake: what replaces many reaches a few at a time, and a change stops when new generations fail.
//!
//! It holds back replacements of instances that serve. One that does not serve is replaced at once: that
//! costs nobody anything, and it is how a mended image gets to the instances that a broken one felled.
//!
//! What was changed outside is held back, too. A hand reaches one or two; where many differ at once, it is likelier that an
//! engine tells the same otherwise than before, and no fleet shall go down for that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::beside::Beside;
use super::{Action, History, Plan, Reason, Step, held};
use crate::decisions::change::Change;
use crate::decisions::remedy;
use crate::words::act::{Act, Cause, Deed};
use crate::words::config::Rollout;
use crate::words::desired::Desired;
use crate::words::manifest::State;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Health, Observed, Phase};

/// How long a new generation may take until it counts as one that fails.
const COMING_UP: Duration = Duration::from_secs(300);
const COMING_UP_SIGNED: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);
/// How long others wait for a step of a rollout that is in progress.
const IN_PROGRESS: Duration = Duration::from_secs(120);

/// Holds back what goes beyond `policy`.
pub(super) fn brake(
    plan: &mut Plan,
    desired: &Desired,
    observed: &Observed,
    history: &History,
    policy: &Rollout,
) {
    let fleet = Fleet {
        desired,
        observed,
        history,
    };
    if plan.steps.iter().any(is_from_outside) {
        heal_slowly(plan, &fleet, policy);
    }
    if plan.steps.iter().any(is_of_rollout) {
        roll_out(plan, &fleet, policy);
    }
}

/// Has so many set right at a time, whoever else is without service: a rollout that is halted delays nothing of this.
/// What would not stay as it was made in others is left here as it is.
fn heal_slowly(plan: &mut Plan, fleet: &Fleet<'_>, policy: &Rollout) {
    let most = fleet.most(policy);
    let in_vain: Vec<(InstanceName, Vec<String>)> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.reason {
            Reason::Frozen { fields } => Some((step.instance.clone(), fields.clone())),
            _ => None,
        })
        .collect();
    let serves = |name: &InstanceName| {
        let generations = fleet.observed.instances.get(name);
        generations.is_some_and(|all| fleet.serves(all))
    };
    let in_progress = |name: &InstanceName| fleet.history.in_progress.contains_key(name);
    let acted = fleet.history.acts.keys();
    let healing =
        acted.filter(|name| fleet.is_being_healed(name) && (in_progress(name) || !serves(name)));
    let mut taken: BTreeSet<InstanceName> = healing.cloned().collect();
    for step in plan.steps.iter_mut().filter(|step| is_from_outside(step)) {
        let name = &step.instance;
        if !serves(name) || fleet.history.waiting.contains(name) {
            continue;
        }
        let differs = |field: &&String| step.changes.iter().any(|change| change.field == **field);
        let alike = in_vain
            .iter()
            .filter(|(_, fields)| fields.iter().any(|field| differs(&field)));
        let failing: Vec<InstanceName> = alike.clone().map(|(name, _)| name.clone()).collect();
        let halted = policy.halt_after_failures > 0 && failing.len() >= policy.halt_after_failures;
        let reason = if is_cut_off(step) || !halted && taken.len() < most {
            taken.insert(name.clone());
            continue;
        } else if halted {
            let fields: BTreeSet<&String> = alike.flat_map(|(_, fields)| fields).collect();
            let fields = fields.into_iter().filter(differs).cloned().collect();
            Reason::RolloutHalted { failing, fields }
        } else {
            let unavailable = taken.iter().cloned().collect();
            Reason::RolloutWaits { unavailable, most }
        };
        hold(step, reason);
    }
}

/// Has a change reach so many at a time, and nobody while new generations fail.
fn roll_out(plan: &mut Plan, fleet: &Fleet<'_>, policy: &Rollout) {
    let history = fleet.history;
    let blocked = plan.steps.iter().filter(|step| is_blocked(step));
    let failing = fleet.failing(&blocked.map(|step| &step.instance).collect());
    let halted = policy.halt_after_failures > 0 && failing.len() >= policy.halt_after_failures;
    let most = fleet.most(policy);
    let shall_run: BTreeSet<&InstanceName> = fleet.shall_run().collect();
    // Where a newer generation has taken over, the instance is not without service. One that is to stand still takes
    // nobody's turn, also where the engine does not stop it.
    let ends = |step: &&Step| {
        !is_of_rollout(step)
            && step.ends_sessions
            && step.reason != Reason::Superseded
            && shall_run.contains(&step.instance)
    };
    // What a rollout costs at this moment: the new generations that are not ready yet, and what this plan takes down.
    // An instance that is down for another reason is not the rollout's harm, and may be down for ever; one that this
    // rollout made fail counts towards `halt_after_failures`.
    let mut standing = Beside::new(&fleet.observed.instances);
    let mut serves = |name: &InstanceName| {
        let generations = standing.get(name);
        generations.is_some_and(|all| fleet.serves(all))
    };
    let down: BTreeSet<InstanceName> = shall_run
        .iter()
        .copied()
        .filter(|name| !serves(name))
        .cloned()
        .collect();
    let goes_now = |step: &&Step| {
        is_of_rollout(step)
            && down.contains(&step.instance)
            && !history.waiting.contains(&step.instance)
    };
    let unavailable: BTreeSet<InstanceName> = down
        .iter()
        .filter(|name| fleet.was_rolled_out(name))
        .chain(
            plan.steps
                .iter()
                .filter(goes_now)
                .map(|step| &step.instance),
        )
        .filter(|name| !failing.contains(*name))
        .chain(history.in_progress.iter().filter_map(|(name, since)| {
            let lately = remedy::within(*since, IN_PROGRESS, history.now);
            (lately && fleet.is_rolling_out(name)).then_some(name)
        }))
        .chain(plan.steps.iter().filter(ends).map(|step| &step.instance))
        .cloned()
        .collect();
    let mut taken = unavailable.clone();
    // What failed before comes last: it must not keep others from what is good for them.
    for again in [false, true] {
        for step in plan.steps.iter_mut().filter(|step| is_of_rollout(step)) {
            let name = &step.instance;
            // One that waits for its next try takes nobody's turn.
            let waits = history.waiting.contains(name);
            if failing.contains(name) != again || down.contains(name) || waits {
                continue;
            }
            let reason = if halted && !again {
                let failing = failing.iter().cloned().collect();
                let fields = Vec::new();
                Reason::RolloutHalted { failing, fields }
            } else if taken.len() >= most {
                // Those whose turn it is are as good as without service.
                let unavailable = taken.iter().cloned().collect();
                Reason::RolloutWaits { unavailable, most }
            } else {
                taken.insert(name.clone());
                continue;
            };
            hold(step, reason);
        }
    }
}

/// Nothing is done, for this reason; what would have changed is told all the same.
fn hold(step: &mut Step, reason: Reason) {
    let changes = std::mem::take(&mut step.changes);
    *step = Step {
        changes,
        ..held(&step.instance, reason)
    };
}

/// Whether a step replaces because what is desired has changed.
fn is_of_rollout(step: &Step) -> bool {
    matches!(step.action, Action::Replace { .. })
        && matches!(step.reason, Reason::Changed | Reason::ImageMoved { .. })
}

/// Whether a step replaces because somebody changed what stands, or an engine tells of it in another way.
fn is_from_outside(step: &Step) -> bool {
    matches!(step.action, Action::Replace { .. })
        && matches!(step.reason, Reason::Drifted | Reason::Illegible { .. })
}

/// Whether an instance is not on the network that it should be on, or on others: nobody reaches it, or its neighbours do.
fn is_cut_off(step: &Step) -> bool {
    let network = |change: &Change| change.field.starts_with("networks.");
    step.changes.iter().any(network)
}

/// Whether a step is held for what only a person can mend, whatever the change.
fn is_blocked(step: &Step) -> bool {
    matches!(
        step.reason,
        Reason::NameTaken { .. } | Reason::SecretUnreadable { .. }
    )
}

struct Fleet<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    history: &'a History,
}

impl<'a> Fleet<'a> {
    /// How many may be without service for what is done.
    fn most(&self, policy: &Rollout) -> usize {
        let running = self.shall_run().count();
        let most = policy
            .max_unavailable
            .of(u64::try_from(running).unwrap_or(u64::MAX));
        usize::try_from(most).unwrap_or(usize::MAX).max(1)
    }

    /// Whether its newest generation was made in place of one that was changed outside, or is being made so.
    fn is_being_healed(&self, name: &InstanceName) -> bool {
        let last = self.history.acts.get(name).and_then(|acts| acts.last());
        last.is_some_and(|last| {
            last.deed == Deed::Replace
                && last.cause == Cause::Outside
                && (self.is_made(name, last) || self.history.in_progress.contains_key(name))
        })
    }

    /// Whether the newest generation is the one that this act made.
    fn is_made(&self, name: &InstanceName, act: &Act) -> bool {
        let newest = self.newest(name);
        newest.is_some_and(|newest| newest.number == act.generation)
    }

    /// Whether a rollout took something away: the generation before it served.
    fn did_harm(act: &Act) -> bool {
        act.served != Some(false)
    }

    /// The last that was done to it for what is desired, if that was a replacement.
    fn rollout(&self, name: &InstanceName) -> Option<&'a Act> {
        let acts = self.history.acts.get(name)?;
        let last = acts
            .iter()
            .rfind(|act| !matches!(act.cause, Cause::Health | Cause::Outside))?;
        let is_rollout =
            last.deed == Deed::Replace && matches!(last.cause, Cause::Desired | Cause::Image);
        is_rollout.then_some(last)
    }

    /// Whether a change of what is desired made its newest generation a short while ago. Where the engine does not say what
    /// became of that, it may not serve yet.
    fn was_rolled_out(&self, name: &InstanceName) -> bool {
        let lately = |act: &&Act| remedy::within(act.at, COMING_UP, self.history.now);
        let is_unknown =
            |act: &Act| act.done == Some(true) && self.observed.unobserved.contains_key(name);
        self.rollout(name)
            .filter(lately)
            .is_some_and(|act| self.is_made(name, act) || is_unknown(act))
    }

    /// Whether the step of it that is in progress is part of a rollout, and the first try: one that failed before must not
    /// keep others waiting each time that it is tried again.
    fn is_rolling_out(&self, name: &InstanceName) -> bool {
        let Some(now) = self.rollout(name).filter(|act| act.done.is_none()) else {
            return false;
        };
        let mut acts = self.history.acts[name].iter();
        !acts.any(|act| act.done == Some(false) && act.spec == now.spec)
    }

    /// Not one that an operator stopped or suspended: it may stand still for months.
    fn shall_run(&self) -> impl Iterator<Item = &'a InstanceName> + '_ {
        let specs = self.desired.specs.iter();
        specs
            .filter(|(name, spec)| spec.state == State::Running && !self.is_set_aside(name))
            .map(|(name, _)| name)
    }

    fn is_set_aside(&self, name: &InstanceName) -> bool {
        let Some(overrides) = self.history.overrides.get(name) else {
            return false;
        };
        let origins = self.desired.origins.get(name);
        let stopped = overrides.stopped.as_ref();
        overrides.suspended.is_some()
            || stopped.is_some_and(|said| {
                said.manifest == origins.map_or("", |origins| origins.manifest.as_str())
            })
    }

    fn newest(&self, name: &InstanceName) -> Option<&'a Generation> {
        let generations = self.observed.instances.get(name)?;
        generations.iter().rfind(|g| g.phase != Phase::Created)
    }

    /// Any generation will do: while two stand, either may be the one that serves.
    fn serves(&self, generations: &[Generation]) -> bool {
        generations
            .iter()
            .any(|generation| remedy::serves(generation, self.history.now))
    }

    /// Those whose last change of what is desired made a generation that fails, or failed to make one. Once
    /// something else is desired, that is history. One that is blocked and whose old one stands says nothing of
    /// the change: nobody knows when it can be made.
    fn failing(&self, blocked: &BTreeSet<&InstanceName>) -> BTreeSet<InstanceName> {
        let changed = self.history.acts.keys().filter(|name| {
            let Some(last) = self.rollout(name) else {
                return false;
            };
            // Where it exists, what failed was to clear the old one away.
            let was_made = |g: &Generation| g.number >= last.generation;
            let failed = |g: &Generation| {
                last.done == Some(false) && !was_made(g) && !blocked.contains(name)
            };
            let overdue = |g: &Generation| {
                was_made(g)
                    && self.history.now.duration_since(last.at) >= COMING_UP_SIGNED
                    && !remedy::serves(g, self.history.now)
            };
            let newest = self.newest(name);
            // What the engine does not say of one is no failure.
            !self.is_set_aside(name)
                && !self.observed.unobserved.contains_key(*name)
                && Self::did_harm(last)
                && !self.history.in_progress.contains_key(*name)
                && newest.is_none_or(|g| failed(g) || self.fails(g) || overdue(g))
                && (self.desired.specs.get(*name)).is_some_and(|spec| spec.digest() == last.spec)
        });
        changed.cloned().collect()
    }

    fn fails(&self, generation: &Generation) -> bool {
        matches!(generation.phase, Phase::Exited(_) | Phase::Dead)
            || remedy::is_unwell(generation, self.history.now)
            || generation.health == Some(Health::Unhealthy)
    }
}
