//! What a plan and a report say alike of a step: its symbol, its verb, its generations.

use super::style::Label;
use crate::decisions::plan::{Action, Retired, Step};

/// How a kind of action is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `+`
    Create,
    /// `~`
    Replace,
    /// `≈`
    Update,
    /// `▶`
    Start,
    /// `↻`
    Restart,
    /// `■`
    Stop,
    /// `-`
    Remove,
    /// `!`
    Held,
}

impl Kind {
    /// In the order in which a summary counts them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Replace,
        Self::Update,
        Self::Restart,
        Self::Start,
        Self::Stop,
        Self::Remove,
        Self::Held,
    ];

    /// The kind of a step.
    pub fn of(step: &Step) -> Self {
        match step.action {
            Action::Create { .. } => Self::Create,
            Action::Start { .. } => Self::Start,
            Action::Stop { .. } => Self::Stop,
            Action::Update { .. } => Self::Update,
            Action::Restart { .. } => Self::Restart,
            Action::Replace { .. } => Self::Replace,
            Action::Remove { .. } => Self::Remove,
            Action::Held => Self::Held,
        }
    }

    /// One character.
    pub fn symbol(self) -> char {
        match self {
            Self::Create => '+',
            Self::Replace => '~',
            Self::Update => '≈',
            Self::Restart => '↻',
            Self::Start => '▶',
            Self::Stop => '■',
            Self::Remove => '-',
            Self::Held => '!',
        }
    }

    /// What it means.
    pub fn label(self) -> Label {
        match self {
            Self::Create | Self::Start => Label::Added,
            Self::Replace | Self::Update | Self::Restart | Self::Stop => Label::Changed,
            Self::Remove => Label::Removed,
            Self::Held => Label::Warning,
        }
    }

    /// What is to be done.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Update => "update",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Held => "held",
        }
    }

    /// What was done.
    pub fn participle(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Replace => "replaced",
            Self::Update => "updated",
            Self::Restart => "restarted",
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Remove => "removed",
            Self::Held => "held",
        }
    }
}

/// The generations that a step names: `g4`, `g3 → g4`; empty for a held one.
pub fn generations(step: &Step) -> String {
    match &step.action {
        Action::Create { generation, .. } => format!("g{generation}"),
        Action::Start { target, .. }
        | Action::Update { target, .. }
        | Action::Restart { target }
        | Action::Stop { target } => format!("g{}", target.number),
        Action::Replace {
            retire, generation, ..
        } => {
            format!("{} → g{generation}", numbers(retire))
        }
        Action::Remove { targets } => numbers(targets),
        Action::Held => String::new(),
    }
}

/// The generations that stand before a step that changes one.
pub fn before(step: &Step) -> String {
    match &step.action {
        Action::Replace { retire, .. } => numbers(retire),
        _ => generations(step),
    }
}

/// `g2, g3`.
pub fn numbers(retired: &[Retired]) -> String {
    let numbers: Vec<String> = retired.iter().map(|r| format!("g{}", r.number)).collect();
    numbers.join(", ")
}

/// How wide the longest name is.
pub fn name_width<'s>(steps: impl Iterator<Item = &'s Step>) -> usize {
    steps
        .map(|step| step.instance.as_str().len())
        .max()
        .unwrap_or(0)
}
