//! What happens beside the daemon.

use std::time::Duration;

use instanced::words::observed::Health;

use super::paper::{Paper, SLOTS, Slot};
use super::stage::Wish;

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub enum Happening {
    // inside containers
    Health {
        id: String,
        verdict: Health,
    },
    Dies {
        id: String,
    },
    ComesBack {
        id: String,
    },
    // in the source
    Paper(Slot, Paper),
    Papers([Paper; SLOTS]),
    Edit(Slot),
    SourceAway(bool),
    // on the host
    Wish(Wish),
    ClockJump(i64),
    LoseNotebook,
    EngineRestart,
    Retag(&'static str),
    /// Neither the engine nor a registry has it any more.
    ImageGone(&'static str),
    /// A foreign container takes the name of an instance's next generation.
    Foreign(Slot),
    ForeignLeaves,
    VolumeLeft(Slot),
    Hand(Slot, Grudge),
    /// The same again and again.
    Again {
        slot: Slot,
        grudge: Grudge,
        every: Duration,
        until: Duration,
    },
}

/// What somebody does to an instance by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grudge {
    Kill,
    /// Its main process ends, and the engine's policy acts.
    Crash,
    Remove,
    Pause,
    Rename,
    Disconnect,
    Relimit,
    Repolicy,
    Start,
    /// Its health check fails for a while.
    Unwell,
}

pub const GRUDGES: [Grudge; 10] = [
    Grudge::Kill,
    Grudge::Crash,
    Grudge::Remove,
    Grudge::Pause,
    Grudge::Rename,
    Grudge::Disconnect,
    Grudge::Relimit,
    Grudge::Repolicy,
    Grudge::Start,
    Grudge::Unwell,
];
