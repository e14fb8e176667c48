//! Why an instance is left alone, as a closed list: for figures, and to tell what waits for a person from what passes.

use super::plan::Reason;
use super::source::being_written;

/// Why an instance is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Its manifest cannot be used.
    Unreadable,
    /// Its manifest was saved just now.
    BeingWritten,
    /// A secret of its cannot be read.
    SecretUnreadable,
    /// A foreign thing holds a name that it needs.
    NameTaken,
    /// A newer version of ours made it.
    MadeByNewer,
    /// It was replaced over and over for the same spec.
    Frozen,
    /// What was tried did not last, and the next try waits.
    BackingOff,
    /// New generations of others fail.
    RolloutHalted,
    /// Others are replaced first.
    RolloutWaits,
    /// Its new generation is not healthy yet.
    TakingOver,
    /// Too many would be removed at once.
    PruneBlocked,
    /// Pruning is off.
    PruneDisabled,
    /// It is protected.
    Protected,
    /// Its manifest has only just vanished.
    JustVanished,
    /// An operator suspended it.
    Suspended,
    /// An operator stopped it.
    StoppedByOperator,
    /// An earlier step of it is in progress.
    InProgress,
    /// The engine does not say what it is doing.
    Unobserved,
}

impl Hold {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 18] = [
        Self::Unreadable,
        Self::BeingWritten,
        Self::SecretUnreadable,
        Self::NameTaken,
        Self::MadeByNewer,
        Self::Frozen,
        Self::BackingOff,
        Self::RolloutHalted,
        Self::RolloutWaits,
        Self::TakingOver,
        Self::PruneBlocked,
        Self::PruneDisabled,
        Self::Protected,
        Self::JustVanished,
        Self::Suspended,
        Self::StoppedByOperator,
        Self::InProgress,
        Self::Unobserved,
    ];

    /// The one that a held step's reason is; none of a reason that holds nothing.
    pub fn of(reason: &Reason) -> Option<Self> {
        Some(match reason {
            Reason::Unreadable { diagnostics } if being_written(diagnostics) => Self::BeingWritten,
            Reason::Unreadable { .. } => Self::Unreadable,
            Reason::SecretUnreadable { .. } => Self::SecretUnreadable,
            Reason::NameTaken { .. } => Self::NameTaken,
            Reason::MadeByNewer { .. } => Self::MadeByNewer,
            Reason::Frozen { .. } => Self::Frozen,
            Reason::BackingOff { .. } => Self::BackingOff,
            Reason::RolloutHalted { .. } => Self::RolloutHalted,
            Reason::RolloutWaits { .. } => Self::RolloutWaits,
            Reason::TakingOver => Self::TakingOver,
            Reason::PruneBlocked { .. } => Self::PruneBlocked,
            Reason::PruneDisabled => Self::PruneDisabled,
            Reason::Protected => Self::Protected,
            Reason::JustVanished => Self::JustVanished,
            Reason::Suspended { .. } => Self::Suspended,
            Reason::StoppedByOperator { .. } => Self::StoppedByOperator,
            Reason::InProgress { .. } => Self::InProgress,
            Reason::Unobserved { .. } => Self::Unobserved,
            Reason::Missing
            | Reason::Vanished
            | Reason::Changed
            | Reason::Drifted
            | Reason::NotUpdatable
            | Reason::ImageMoved { .. }
            | Reason::Illegible { .. }
            | Reason::NotRunning { .. }
            | Reason::NotStopped
            | Reason::Unhealthy { .. }
            | Reason::Superseded
            | Reason::NeverHealthy
            | Reason::Orphaned
            | Reason::Asked => return None,
        })
    }

    /// Its name in figures: that of the reason in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::BeingWritten => "being_written",
            Self::SecretUnreadable => "secret_unreadable",
            Self::NameTaken => "name_taken",
            Self::MadeByNewer => "made_by_newer",
            Self::Frozen => "frozen",
            Self::BackingOff => "backing_off",
            Self::RolloutHalted => "rollout_halted",
            Self::RolloutWaits => "rollout_waits",
            Self::TakingOver => "taking_over",
            Self::PruneBlocked => "prune_blocked",
            Self::PruneDisabled => "prune_disabled",
            Self::Protected => "protected",
            Self::JustVanished => "just_vanished",
            Self::Suspended => "suspended",
            Self::StoppedByOperator => "stopped_by_operator",
            Self::InProgress => "in_progress",
            Self::Unobserved => "unobserved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_bears_the_name_of_its_reason() {
        for (n, hold) in Hold::ALL.into_iter().enumerate() {
            assert_eq!(hold as usize, n);
        }
        let since = jiff::Timestamp::UNIX_EPOCH;
        for reason in [
            Reason::TakingOver,
            Reason::Protected,
            Reason::PruneDisabled,
            Reason::JustVanished,
            Reason::Suspended { since },
            Reason::StoppedByOperator { since },
            Reason::Frozen { fields: Vec::new() },
            Reason::MadeByNewer { version: 2 },
            Reason::RolloutHalted {
                failing: Vec::new(),
                fields: Vec::new(),
            },
        ] {
            let hold = Hold::of(&reason).expect("it holds");
            let written = serde_json::to_value(&reason).expect("JSON");
            assert_eq!(written["kind"], hold.as_str());
        }
        assert_eq!(Hold::of(&Reason::Missing), None);
    }
}
