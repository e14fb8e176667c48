//! The planted bugs: mistakes that a change of the product could make. Each is made by a wrapper around what
//! the product is given or gives, so that the product itself has no hook for tests; the simulation must find
//! every one of them.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The old one is gone before the new one is made: a failing create leaves nothing.
    RemovesBeforeCreate,
    /// A removal is not noted, so that a slow `rm` goes through.
    ForgetsRemovals,
    /// A manifest that cannot be read counts as absent.
    UnreadableIsAbsent,
    /// A source that cannot be listed counts as empty, and the fuse against emptied sources is off.
    AwayIsEmpty,
    /// All generations look like the first one.
    IgnoresGenerations,
    /// A new generation takes the number of the newest.
    ReusesNumbers,
    /// A start-first swap takes a new generation that is starting for a healthy one.
    StartingIsHealthy,
    /// `start-first` is performed as `stop-first`.
    StopsOldFirst,
    /// Secrets are not put before the start.
    StartsWithoutSecrets,
    /// A call whose reply was lost counts as done.
    LostReplyIsSuccess,
    /// `protect: true` is not kept.
    IgnoresProtect,
    /// An operator's suspension is not read.
    IgnoresSuspension,
    /// Whatever has a name like ours is ours.
    ForeignByPrefix,
    /// What failed is tried again at once, in every round.
    NoBackoff,
    /// Acts are forgotten with every round: a fight has no memory.
    ForgetsActs,
    /// What cannot be changed in place is not believed: limits always look other than they are.
    MisreadsLimits,
    /// A plan is performed again without a new look.
    PerformsStalePlans,
    /// A clock that jumps makes healthy ones look old: they are restarted.
    ClockJumpRestarts,
    /// A stop leaves the restart policy as it is.
    StopsWithoutPolicy,
    /// Volumes of secrets are left behind.
    LeavesVolumes,
    /// An absence is believed at once.
    BelievesAbsence,
    /// A change of many reaches all of them at once.
    RollsOutAtOnce,
    /// Every blocked prune is confirmed by the daemon itself.
    ConfirmsPrunes,
    /// A round that somebody asked for one instance reaches all.
    AsksForAll,
    /// A dry run tidies up.
    DryRunTidies,
    /// A round waits for each of its steps, however long one takes.
    WaitsForEveryStep,
    /// What the engine refuses for one instance counts as an engine that is away.
    OneRefusalIsAway,
    /// A rollout waits for instances that never came up at all.
    BrakeCountsTheAbsent,
}

/// All of them.
pub const BUGS: [Bug; 28] = [
    Bug::RemovesBeforeCreate,
    Bug::ForgetsRemovals,
    Bug::UnreadableIsAbsent,
    Bug::AwayIsEmpty,
    Bug::IgnoresGenerations,
    Bug::ReusesNumbers,
    Bug::StartingIsHealthy,
    Bug::StopsOldFirst,
    Bug::StartsWithoutSecrets,
    Bug::LostReplyIsSuccess,
    Bug::IgnoresProtect,
    Bug::IgnoresSuspension,
    Bug::ForeignByPrefix,
    Bug::NoBackoff,
    Bug::ForgetsActs,
    Bug::MisreadsLimits,
    Bug::PerformsStalePlans,
    Bug::ClockJumpRestarts,
    Bug::StopsWithoutPolicy,
    Bug::LeavesVolumes,
    Bug::BelievesAbsence,
    Bug::RollsOutAtOnce,
    Bug::ConfirmsPrunes,
    Bug::AsksForAll,
    Bug::DryRunTidies,
    Bug::WaitsForEveryStep,
    Bug::OneRefusalIsAway,
    Bug::BrakeCountsTheAbsent,
];
