//! Reasons in words: why a step is, and the way out where a person must find one.

use std::fmt;

use super::plan::Reason;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;
use crate::words::observed::Phase;

impl fmt::Display for Reason {
    /// One sentence without a full stop.
    #[allow(clippy::too_many_lines)] // One arm a reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not exist yet"),
            Self::Vanished => f.write_str("it is gone, and nothing here removed it"),
            Self::Changed => f.write_str("what is desired has changed"),
            Self::Drifted => f.write_str("it was changed by hand"),
            Self::NotUpdatable => {
                f.write_str("its limits differ, and the engine could not change them in place")
            }
            Self::ImageMoved { from, to } => {
                write!(
                    f,
                    "its image has moved from {} to {}",
                    short(from),
                    short(to)
                )
            }
            Self::Illegible { why } => {
                write!(
                    f,
                    "the record of what it was made from cannot be read: {why}"
                )
            }
            Self::NotRunning { phase } => write!(f, "it should run, but {}", doing(*phase)),
            Self::NotStopped => f.write_str("it should be stopped, and stay so"),
            Self::Unhealthy { tried } => match tried {
                0 => f.write_str("it has not been well for a minute"),
                1 => f.write_str("it is not well, and a restart did not help"),
                tried => write!(f, "it is not well, and {tried} remedies did not help"),
            },
            Self::BackingOff { tried, until, why } => write!(
                f,
                "{why}; tried {} lately, next try at {}",
                times(*tried),
                until.strftime("%H:%M:%S UTC")
            ),
            Self::Superseded => f.write_str("a newer generation has taken over"),
            Self::TakingOver => {
                f.write_str("its new generation is not healthy yet, and the old one serves")
            }
            Self::NeverHealthy => {
                f.write_str("its new generation did not become healthy, and the old one serves")
            }
            Self::Asked => f.write_str("an operator asks for it"),
            Self::StoppedByOperator { since } => {
                write!(f, "an operator stopped it at {}", moment(*since))
            }
            Self::Suspended { since } => {
                write!(f, "an operator suspended it at {}", moment(*since))
            }
            Self::Frozen { fields } if fields.is_empty() => {
                f.write_str("it was replaced twice within ten minutes for the same spec, so it is frozen")
            }
            Self::Frozen { fields } => write!(
                f,
                "it was replaced twice within ten minutes for the same spec, so it is frozen; what \
                 would not stay: {}",
                fields.join(", ")
            ),
            Self::RolloutWaits { unavailable, most } => write!(
                f,
                "waiting for {}: a rollout takes at most {most} out of service at a time",
                some(unavailable)
            ),
            Self::RolloutHalted { failing, fields } if fields.is_empty() => {
                write!(f, "the rollout is halted: new generations fail of {}", some(failing))
            }
            Self::RolloutHalted { failing, fields } => write!(
                f,
                "it differs as {} do, where what was made anew would not stay: {}",
                some(failing),
                fields.join(", ")
            ),
            Self::Orphaned => f.write_str("no manifest names it"),
            Self::Unreadable { diagnostics } => unreadable(diagnostics, f),
            Self::SecretUnreadable { why } => write!(f, "a secret cannot be read: {why}"),
            Self::NameTaken { name, holder } => {
                write!(
                    f,
                    "the name `{name}` is taken by {holder}, which is not ours"
                )
            }
            Self::MadeByNewer { version } => {
                write!(f, "a newer instanced made it (spec version {version})")
            }
            Self::Protected => f.write_str("no manifest names it, but it is protected"),
            Self::PruneDisabled => f.write_str("no manifest names it, but pruning is off"),
            Self::PruneBlocked { emptied: true, .. } => f.write_str(
                "no manifest names it, but there is none at all, and an emptied source removes nothing",
            ),
            Self::PruneBlocked {
                removals, fleet, ..
            } => write!(
                f,
                "no manifest names it, but {removals} of {fleet} instances would be gone within ten minutes"
            ),
            Self::JustVanished => f.write_str(
                "its manifest has only just vanished; if it stays away, the instance is removed",
            ),
            Self::InProgress { since } => {
                write!(f, "a step is in progress since {}", moment(*since))
            }
            Self::Unobserved { why } => {
                write!(f, "the engine does not report its state: {why}")
            }
        }
    }
}

impl Reason {
    /// What a person can do where the step does nothing: a command or a change to make.
    pub fn way_out(&self, instance: &InstanceName) -> Option<String> {
        let help = match self {
            Self::Unreadable { diagnostics } => {
                return Some(
                    first_error(diagnostics)
                        .and_then(|d| d.help.clone())
                        .unwrap_or_else(|| {
                            "correct the manifest; until then the instance stays as it is"
                                .to_owned()
                        }),
                );
            }
            Self::PruneBlocked { id, .. } => return Some(confirm_command(id)),
            Self::SecretUnreadable { .. } => {
                "make the secret readable for the daemon, or take it out of the manifest"
            }
            Self::NameTaken { .. } => "remove or rename what holds the name",
            Self::MadeByNewer { .. } => "run the newer instanced, or remove the container by hand",
            Self::Protected => {
                "to remove it, bring the manifest back with `protect: false`, then delete it"
            }
            Self::PruneDisabled => "set `reconcile.prune.enabled: true`, or remove it by hand",
            Self::StoppedByOperator { .. } => {
                return Some(format!(
                    "to lift it: instanced start {instance}, or change the manifest"
                ));
            }
            Self::Suspended { .. } => {
                return Some(format!("to lift it: instanced resume {instance}"));
            }
            Self::Frozen { .. } => {
                return Some(format!(
                    "find out who changes it back, or change the manifest; then: instanced resume {instance}"
                ));
            }
            Self::RolloutHalted { fields, .. } if !fields.is_empty() => {
                "find out who changes it, or whether the engine tells it otherwise since it was upgraded; it goes on when they stay as they are made"
            }
            Self::RolloutHalted { .. } => {
                "look at why they fail; the rollout goes on when they are well, or with another change"
            }
            Self::Unobserved { .. } => {
                "other instances continue; check the container by hand: docker inspect, and the engine's log"
            }
            Self::BackingOff { .. } => {
                "look at its logs, and at who else touches it; a change of its manifest is tried at once"
            }
            Self::Missing
            | Self::Vanished
            | Self::Changed
            | Self::Drifted
            | Self::NotUpdatable
            | Self::Unhealthy { .. }
            | Self::TakingOver
            | Self::NeverHealthy
            | Self::Asked
            | Self::RolloutWaits { .. }
            | Self::ImageMoved { .. }
            | Self::Illegible { .. }
            | Self::NotRunning { .. }
            | Self::NotStopped
            | Self::Superseded
            | Self::Orphaned
            | Self::InProgress { .. }
            | Self::JustVanished => return None,
        };
        Some(help.to_owned())
    }
}

/// `once`, `twice`, `5 times`.
/// How often, in words.
pub(super) fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

fn moment(at: jiff::Timestamp) -> impl fmt::Display {
    at.strftime("%Y-%m-%d %H:%M:%S UTC")
}

/// The first few names, and how many more.
fn some(names: &[InstanceName]) -> String {
    const TOLD: usize = 5;
    let told: Vec<_> = names.iter().take(TOLD).map(InstanceName::as_str).collect();
    match names.len().saturating_sub(TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// What a person types to let blocked removals happen.
pub fn confirm_command(id: &str) -> String {
    format!("instanced reconcile --confirm-prune {id}")
}

fn unreadable(diagnostics: &[Diagnostic], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("its manifest cannot be used")?;
    let Some(first) = first_error(diagnostics) else {
        return Ok(());
    };
    write!(f, ": {}: ", first.place)?;
    if !first.field.is_empty() {
        write!(f, "{}: ", first.field)?;
    }
    f.write_str(&first.message)?;
    match diagnostics.iter().filter(|d| d.is_error()).count() {
        0 | 1 => Ok(()),
        errors => write!(f, " (and {} more)", errors - 1),
    }
}

fn first_error(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics
        .iter()
        .find(|d| d.is_error())
        .or(diagnostics.first())
}

fn doing(phase: Phase) -> String {
    match phase {
        Phase::Created => "was never started".to_owned(),
        Phase::Running => "runs otherwise than it should".to_owned(),
        Phase::Restarting => "is being restarted by the engine".to_owned(),
        Phase::Paused => "is paused".to_owned(),
        Phase::Exited(status) => format!("exited with status {status}"),
        Phase::Dead => "is dead".to_owned(),
    }
}

/// An image's id as people compare it.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
