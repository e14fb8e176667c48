//! How a case must end: nothing left to do but what is held for a reason that can be named, and the fleet as
//! the manifests say.

use std::time::Duration;

use instanced::decisions::event::action_name;
use instanced::decisions::plan::{Reason, Step};
use instanced::decisions::report::Outcome;
use instanced::words::label;
use instanced::words::manifest::Restart;
use instanced::words::observed::Health;

use super::daemon::{Daemon, Due};
use super::paper::{NAMES, Paper, SLOTS, Slot, name_of, slot_of};
use super::witness::{Brief, Shall, Witness, briefs, differs};

/// From the moment when nothing goes wrong any more, so long at most.
///
/// A failure waits for 375 s at most (`Backoff`, spread). Six instances are then replaced one after the other,
/// 20 s each: healthy within 8 s, the edge, draining, and 5 s until it counts as settled. One that was not well
/// may have to wait for its remedy, a minute more.
pub const TIME_TO_REST: Duration = Duration::from_secs(375 + 6 * 20 + 120);
/// So many rounds at most: while others are replaced, one is due every second, and the rest is events.
pub const ROUNDS_TO_REST: usize = 700;
/// The same, where the engine does nothing for one instance for ever. A first try of it may hold a rollout back until
/// its step is given up after 300 s, or 900 s where it waits for the new generation.
pub const TIME_BESIDE_ILL: Duration = Duration::from_secs(TIME_TO_REST.as_secs() + 1_200);
/// A round a second while a rollout waits for it.
pub const ROUNDS_BESIDE_ILL: usize = 2_400;
/// So long a round takes at most while no call goes wrong but those about one instance: a look, and each of six steps for
/// as long as it is waited for, one after the other.
pub const ROUND_MOST: Duration = Duration::from_secs(40);
/// An instance is tried to be brought up or changed so often an hour at most, however it is fought over: after
/// nine tries, the next ones wait for five minutes (`Backoff`, spread), which makes two dozen tries of two calls
/// each. Remedies and changes of the manifest come on top; and a daemon that dies in one round of ten, which is how
/// rough it gets, begins its row of waits anew a dozen times.
pub const TRIES_AN_HOUR: usize = 160;
/// The most changing calls of an hour, of all instances together.
pub const CHANGES_AN_HOUR: usize = 600;
/// The most rounds of an hour: one a second while a rollout waits, and those that events cause.
pub const ROUNDS_AN_HOUR: usize = 4_500;
/// The most reading calls of a round that looks at everything anew: one list, networks, volumes, each image by
/// its reference and once for what it says, each container.
const READS_OF_A_SWEEP: usize = 3 + 3 * SLOTS;

/// The most that lie within one hour.
pub fn most_within_an_hour(times: &[Duration]) -> usize {
    let hour = Duration::from_secs(3600);
    let within = |first: usize| {
        let from = times[first];
        times[first..]
            .iter()
            .take_while(|at| **at - from < hour)
            .count()
    };
    (0..times.len()).step_by(8).map(within).max().unwrap_or(0)
}

/// Steps that are not held for a reason that may last.
pub fn open(daemon: &Daemon) -> String {
    let last = daemon.last();
    let aborted = last.aborted.iter().map(|failure| failure.message.clone());
    let open = last
        .steps
        .iter()
        .filter(|step| !is_ill(daemon, &step.step))
        .filter(|step| step.outcome != Outcome::Held || !may_last(daemon, &step.step));
    let open = open.map(|step| {
        format!(
            "{}: {} {:?}",
            step.step.instance, step.step.reason, step.outcome
        )
    });
    aborted.chain(open).collect::<Vec<_>>().join("; ")
}

/// Whether the last round left nothing open.
pub fn rests(daemon: &Daemon) -> bool {
    let last = daemon.last();
    daemon.stage.is_still()
        && last.aborted.is_none()
        && last
            .steps
            .iter()
            .filter(|step| !is_ill(daemon, &step.step))
            .all(|step| step.outcome == Outcome::Held && may_last(daemon, &step.step))
}

fn is_ill(daemon: &Daemon, step: &Step) -> bool {
    let slot = slot_of(step.instance.as_str()).expect("one of ours");
    daemon.stage.is_ill(slot)
}

fn may_last(daemon: &Daemon, step: &Step) -> bool {
    let slot = slot_of(step.instance.as_str()).expect("one of ours");
    let removals_noted = daemon.notes.noted_removals() > 0;
    let scene = daemon.stage.scene();
    let paper = scene.source.papers[slot];
    let overrides = daemon.notes.overrides_of(&step.instance);
    match &step.reason {
        Reason::Unreadable { .. } => matches!(paper, Paper::Broken | Paper::Blank),
        Reason::Suspended { .. } => overrides.suspended.is_some(),
        Reason::StoppedByOperator { .. } => overrides.stopped.is_some(),
        Reason::NameTaken { name, .. } => daemon
            .stage
            .fake
            .glimpse(|mut all| all.any(|g| g.facts.name == *name && g.draft.image == "foreign:1")),
        Reason::Frozen { .. } => scene.causes[slot] >= 2,
        // It may be one that this rollout felled, and that cannot come back.
        Reason::RolloutWaits { .. } => daemon.last().steps.iter().any(|other| {
            let reason = &other.step.reason;
            matches!(reason, Reason::NameTaken { .. } | Reason::Frozen { .. })
        }),
        Reason::PruneDisabled => paper == Paper::Absent && !scene.witness.terms.prune,
        Reason::Protected => {
            let witness = &scene.witness;
            let released = witness.protected[slot] == Some(false) && !witness.protect_unsure[slot];
            paper == Paper::Absent && !released
        }
        Reason::PruneBlocked { .. } => {
            let orphans = daemon
                .last()
                .steps
                .iter()
                .filter(|other| matches!(other.step.reason, Reason::PruneBlocked { .. }));
            paper == Paper::Absent
                && (orphans.count() > 1 || scene.source.is_empty() || removals_noted)
        }
        _ => false,
    }
}

/// Rest lasts, and costs one list a round, but for sweeps.
pub async fn stays_quiet(daemon: &mut Daemon) {
    let mut least = usize::MAX;
    for _ in 0..3 {
        let _ = daemon.wait(Duration::MAX).await;
        let (changes, reads) = {
            let witness = &daemon.stage.scene().witness;
            (witness.changes.len(), witness.reads)
        };
        daemon.round(Due::default()).await;
        let mut scene = daemon.stage.scene();
        let (more, reads) = (
            scene.witness.changes.len() - changes,
            scene.witness.reads - reads,
        );
        if more > 0 {
            scene
                .witness
                .cry(|| format!("{more} changing calls though all was at rest"));
        }
        if reads > READS_OF_A_SWEEP {
            scene
                .witness
                .cry(|| format!("{reads} reading calls in a round without work"));
        }
        least = least.min(reads);
    }
    if least > 1 && daemon.listens() {
        let mut scene = daemon.stage.scene();
        scene
            .witness
            .cry(|| format!("every round reads {least} times though nothing happens"));
    }
}

/// The fleet is as the manifests say.
pub async fn check(daemon: &mut Daemon) {
    let held: Vec<Slot> = daemon
        .last()
        .steps
        .iter()
        .filter_map(|step| slot_of(step.step.instance.as_str()))
        .collect();
    let dry = daemon.stage.scene().dice.percent(25);
    if dry {
        check_dry_run(daemon).await;
    }
    let fake = &daemon.stage.fake;
    let all = briefs(fake);
    let mut scene = daemon.stage.scene();
    let ill = scene.witness.ill;
    for slot in (0..SLOTS).filter(|slot| Some(*slot) != ill) {
        let of: Vec<&Brief> = all.iter().filter(|brief| brief.slot == slot).collect();
        let shall = shall_at_last(daemon, scene.source.papers[slot], slot);
        let lives = &scene.witness.lives;
        let wrong = wrong_with(shall, &of, held.contains(&slot), fake, lives);
        if let Some(wrong) = wrong {
            scene
                .witness
                .cry(|| format!("at the end {}: {wrong}", NAMES[slot]));
        }
    }
    let volumes = fake.volume_names(label::MANAGER);
    let used = |name: &str| {
        all.iter().any(|brief| {
            let manager = "default".parse().expect("a name");
            name == label::secrets_volume(&manager, &name_of(brief.slot), brief.number)
        })
    };
    let of_ill = |name: &str| {
        let ill = ill.map(|slot| format!("instanced-default-{}-g", NAMES[slot]));
        ill.is_some_and(|prefix| name.starts_with(&prefix))
    };
    let mut left = volumes.iter().filter(|(name, _)| !of_ill(name));
    if let Some((left, _)) = left.find(|(name, ours)| *ours && !used(name)) {
        scene
            .witness
            .cry(|| format!("the volume {left} is left over"));
    }
    let stands = fake.glimpse(|mut all| all.any(|g| g.facts.name == "somebody-else"));
    if !stands {
        scene
            .witness
            .cry(|| "somebody else's container is gone".to_owned());
    }
}

/// However rough it was, the engine was not hammered.
pub fn check_rates(witness: &mut Witness) {
    let changes = most_within_an_hour(&witness.changes);
    let rounds = most_within_an_hour(&witness.rounds);
    let tries = witness.tries.iter().map(|tries| most_within_an_hour(tries));
    let tries = tries.max().unwrap_or(0);
    if changes > CHANGES_AN_HOUR || rounds > ROUNDS_AN_HOUR || tries > TRIES_AN_HOUR {
        witness.cry(|| {
            format!("within an hour {changes} changing calls, {tries} tries of one instance, {rounds} rounds")
        });
    }
}

/// Who looks anew finds nothing to do.
async fn check_dry_run(daemon: &mut Daemon) {
    let Some(view) = daemon.dry_run().await else {
        let mut scene = daemon.stage.scene();
        scene.witness.cry(|| "a dry run fails at rest".to_owned());
        return;
    };
    let mut steps = view.plan.steps.iter().filter(|step| !is_ill(daemon, step));
    let open = steps.find(|step| !may_last(daemon, step));
    if let Some(step) = open {
        let action = action_name(&step.action);
        let told = format!(
            "at rest a dry run would {action} {}: {}",
            step.instance, step.reason
        );
        daemon.stage.scene().witness.cry(|| told);
    }
}

fn shall_at_last(daemon: &Daemon, paper: Paper, slot: Slot) -> Shall {
    let overrides = daemon.notes.overrides_of(&name_of(slot));
    if overrides.suspended.is_some() {
        return Shall::Hold;
    }
    match paper {
        Paper::Absent => Shall::Orphan,
        Paper::Says(says) if says.still => Shall::Still(says),
        // Whether it still counts, the report told: it is held for it.
        Paper::Says(says) => Shall::Run(says),
        Paper::Broken | Paper::Blank | Paper::BeingWritten => Shall::Hold,
    }
}

fn wrong_with(
    shall: Shall,
    of: &[&Brief],
    held: bool,
    fake: &crate::support::fake_containers::FakeContainers,
    lives: &std::collections::BTreeMap<String, super::witness::Life>,
) -> Option<String> {
    if held {
        return None;
    }
    let says = match shall {
        Shall::Hold => return None,
        Shall::Orphan => {
            return (!of.is_empty()).then(|| "an orphan is left, and nobody says why".to_owned());
        }
        Shall::Still(_) => {
            let up = of
                .iter()
                .any(|b| b.runs() || b.limits.restart != Restart::No);
            return (up || of.len() > 1).then(|| "it shall stand still".to_owned());
        }
        Shall::Run(says) => says,
    };
    let [one] = of else {
        return Some(format!("{} containers", of.len()));
    };
    if !one.runs() || !matches!(one.health, None | Some(Health::Healthy)) {
        return Some(format!("it is {:?}, {:?}", one.phase, one.health));
    }
    let restart = if says.restart_no {
        Restart::No
    } else {
        Restart::Always
    };
    let memory = one.limits.memory.map(|memory| memory.0);
    if one.limits.restart != restart || memory != Some(says.memory_bytes()) {
        return Some(format!("its limits are {:?}", one.limits));
    }
    if lives
        .get(&one.id)
        .is_none_or(|life| differs(life, one, says, fake))
    {
        return Some("it is made otherwise than its manifest says".to_owned());
    }
    if says.browser && !fake.has_file(&one.id, "/run/secrets/vnc_password") {
        return Some("its secret is missing".to_owned());
    }
    None
}
