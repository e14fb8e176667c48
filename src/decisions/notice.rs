//! What needs a person: found in what a round came to, and told once when it has lasted, now and then while it lasts, and
//! once when it is over. What an operator did on purpose needs nobody. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hold::Hold;
use super::report::{Failure, Missing, Outcome, Report, StepReport};
use super::source::SourceStatus;
use super::status::{InstancePhase, InstanceStatus};
use crate::words::name::InstanceName;

pub use letter::{Ledger, Letter};

mod letter;

/// So much is followed at a time; what is beyond is in figures and in the log.
const FOLLOWED_MAX: usize = 2_000;
/// The longest text of a notice, in characters.
const TEXT_MAX: usize = 2_000;
/// So many instances are named where a notice is about many.
const NAMED: usize = 5;

/// What may need a person: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An instance is left alone until somebody acts.
    #[serde(rename = "instance.held")]
    Held,
    /// An instance was replaced over and over for the same spec.
    #[serde(rename = "instance.frozen")]
    Frozen,
    /// An instance is not well, and what was tried did not help.
    #[serde(rename = "instance.unhealthy")]
    Unhealthy,
    /// What is to be done for an instance fails.
    #[serde(rename = "instance.failed")]
    Failed,
    /// Removals wait for a person's word.
    #[serde(rename = "prune.blocked")]
    PruneBlocked,
    /// What was fetched is not all of the fleet yet.
    #[serde(rename = "source.behind")]
    Behind,
    /// The source cannot be fetched, read or used.
    #[serde(rename = "source.failing")]
    SourceFailing,
    /// The engine does not answer.
    #[serde(rename = "engine.away")]
    EngineAway,
    /// Rounds are broken off for another reason.
    #[serde(rename = "rounds.aborted")]
    Aborted,
}

impl Kind {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Held,
        Self::Frozen,
        Self::Unhealthy,
        Self::Failed,
        Self::PruneBlocked,
        Self::Behind,
        Self::SourceFailing,
        Self::EngineAway,
        Self::Aborted,
    ];

    /// It does not pass by itself.
    fn lasts(self) -> bool {
        matches!(self, Self::Frozen | Self::PruneBlocked)
    }

    /// It is over only when the instance is up again: one that is tried anew is not well yet.
    fn needs_proof(self) -> bool {
        matches!(self, Self::Unhealthy | Self::Failed)
    }
}

/// What it is about: it is told once as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// What is the matter.
    pub kind: Kind,
    /// With which instance, where it is with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
}

/// Why it is so, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Why, in a sentence.
    pub reason: String,
    /// What to do, where that can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// What is known after a round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What needs a person now.
    pub troubles: BTreeMap<Subject, Words>,
    /// Whether it is known how the instances stand.
    pub sees_fleet: bool,
    /// Whether it is known how the fleet stands to its source.
    pub sees_source: bool,
    /// Instances that come up just now.
    pub settling: BTreeSet<InstanceName>,
}

impl Seen {
    /// What a round over the whole fleet came to; `standing` is how all instances stood then, and `source` how the fleet
    /// stands to its source, where that could be told.
    pub fn of(report: &Report, standing: &[InstanceStatus], source: Option<&SourceStatus>) -> Self {
        let mut seen = Self {
            sees_fleet: report.aborted.is_none(),
            sees_source: source.is_some(),
            ..Self::default()
        };
        match (&report.aborted, report.aborted_by) {
            (Some(failure), Some(Missing::Engine)) => seen.fails(Kind::EngineAway, failure),
            (Some(failure), Some(Missing::Source)) => seen.fails(Kind::SourceFailing, failure),
            (Some(failure), Some(Missing::Store) | None) => seen.fails(Kind::Aborted, failure),
            (None, _) => seen.fleet(report, standing),
        }
        if let Some(source) = source {
            seen.source(source);
        }
        seen
    }

    fn fails(&mut self, kind: Kind, failure: &Failure) {
        self.add(kind, None, &failure.message, failure.help.as_deref());
    }

    fn add(&mut self, kind: Kind, instance: Option<&InstanceName>, why: &str, help: Option<&str>) {
        let words = Words {
            reason: bounded(why),
            help: help.map(bounded),
        };
        let instance = instance.cloned();
        // The first that is said of it stays.
        self.troubles
            .entry(Subject { kind, instance })
            .or_insert(words);
    }

    fn source(&mut self, source: &SourceStatus) {
        if let Some(why) = &source.fetch_failure {
            let help = "what was known stays; see: instanced status";
            self.add(Kind::SourceFailing, None, why, Some(help));
        }
        if let Some(behind) = &source.behind {
            let far = match behind.commits {
                _ if behind.rewritten => "the history that the fleet was at is gone".to_owned(),
                None => "the fleet was never at a commit as a whole".to_owned(),
                Some(1) => "the fleet is one commit behind".to_owned(),
                Some(commits) => format!("the fleet is {commits} commits behind"),
            };
            let help = Some("see: instanced status");
            self.add(Kind::Behind, None, &format!("{far}: {}", behind.why), help);
        }
    }

    fn fleet(&mut self, report: &Report, standing: &[InstanceStatus]) {
        let mut left_alone = BTreeSet::new();
        let mut removals = Vec::new();
        for step in &report.steps {
            let name = &step.step.instance;
            match &step.outcome {
                Outcome::Done | Outcome::Running { .. } => {}
                Outcome::Failed(failure) | Outcome::Waiting { last: failure, .. } => {
                    let help = failure.help.as_deref();
                    self.add(Kind::Failed, Some(name), &failure.message, help);
                }
                Outcome::Held => match Hold::of(&step.step.reason) {
                    Some(Hold::PruneBlocked) => removals.push(step),
                    hold => {
                        if let Some(kind) = hold.and_then(kind_of) {
                            let reason = step.step.reason.to_string();
                            let help = step.step.reason.way_out(name);
                            self.add(kind, Some(name), &reason, help.as_deref());
                        }
                        left_alone.insert(name);
                    }
                },
            }
        }
        self.removals(&removals);
        for status in standing {
            let name = &status.name;
            match status.phase {
                InstancePhase::Pending | InstancePhase::Starting => {
                    self.settling.insert(name.clone());
                }
                // Of what is held it is said why already.
                InstancePhase::Unhealthy if !left_alone.contains(name) => {
                    let help = format!("see: instanced status {name}");
                    self.add(Kind::Unhealthy, Some(name), &status.reason, Some(&help));
                }
                _ => {}
            }
        }
    }

    /// They are one decision of a person's, however many they are.
    fn removals(&mut self, held: &[&StepReport]) {
        let Some(first) = held.first() else { return };
        let (name, reason) = (&first.step.instance, &first.step.reason);
        let names = held
            .iter()
            .take(NAMED)
            .map(|told| told.step.instance.as_str());
        let mut listed = names.collect::<Vec<_>>().join(", ");
        if held.len() > NAMED {
            listed = format!("{listed} and {} more", held.len() - NAMED);
        }
        let why = format!("{} removals wait ({listed}): {reason}", held.len());
        self.add(
            Kind::PruneBlocked,
            None,
            &why,
            reason.way_out(name).as_deref(),
        );
    }

    /// Whether one that is not among the troubles is known to be over.
    fn ends(&self, subject: &Subject) -> bool {
        match subject.kind {
            Kind::EngineAway | Kind::Aborted => self.sees_fleet,
            Kind::Behind | Kind::SourceFailing => self.sees_source,
            kind => {
                let settles = |name| kind.needs_proof() && self.settling.contains(name);
                self.sees_fleet && !subject.instance.as_ref().is_some_and(settles)
            }
        }
    }
}

/// What a person is needed for, of what is held; none of what passes, and of what an operator has said.
fn kind_of(hold: Hold) -> Option<Kind> {
    match hold {
        Hold::Unreadable
        | Hold::SecretUnreadable
        | Hold::NameTaken
        | Hold::MadeByNewer
        | Hold::Unobserved
        | Hold::RolloutHalted => Some(Kind::Held),
        Hold::BackingOff => Some(Kind::Unhealthy),
        Hold::Frozen => Some(Kind::Frozen),
        Hold::PruneBlocked => Some(Kind::PruneBlocked),
        Hold::BeingWritten
        | Hold::RolloutWaits
        | Hold::TakingOver
        | Hold::JustVanished
        | Hold::Protected
        | Hold::PruneDisabled
        | Hold::Suspended
        | Hold::InProgress
        | Hold::StoppedByOperator => None,
    }
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// When something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long it must have lasted, where it may pass by itself.
    pub after: Duration,
    /// How often it is told again.
    pub remind: Duration,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether it begins, lasts or is over.
    pub state: State,
    /// What it is about.
    pub subject: Subject,
    /// Since when it is so.
    pub since: jiff::Timestamp,
    /// Why; of what is over, why it was.
    pub words: Words,
}

/// Where a trouble stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has lasted long enough to be told.
    Began,
    /// It was told, and is so still.
    Lasts,
    /// It was told, and is so no more.
    Over,
}

/// What is the matter now, and what of it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Book(BTreeMap<Subject, Entry>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    subject: Subject,
    since: jiff::Timestamp,
    /// When it was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<jiff::Timestamp>,
    #[serde(flatten)]
    words: Words,
}

impl From<Vec<Entry>> for Book {
    fn from(entries: Vec<Entry>) -> Self {
        let entries = entries.into_iter();
        Self(
            entries
                .map(|entry| (entry.subject.clone(), entry))
                .collect(),
        )
    }
}

impl From<Book> for Vec<Entry> {
    fn from(book: Book) -> Self {
        book.0.into_values().collect()
    }
}

impl Entry {
    fn due(&self, patience: &Patience) -> jiff::Timestamp {
        let after = |from: jiff::Timestamp, wait: Duration| {
            from.checked_add(wait).unwrap_or(jiff::Timestamp::MAX)
        };
        match self.told {
            Some(told) => after(told, patience.remind),
            None if self.subject.kind.lasts() => self.since,
            None => after(self.since, patience.after),
        }
    }

    fn notice(&self, state: State) -> Notice {
        Notice {
            state,
            subject: self.subject.clone(),
            since: self.since,
            words: self.words.clone(),
        }
    }
}

impl Book {
    /// Takes note of what is known at `now`. Returns what is to be told.
    pub fn note(&mut self, seen: &Seen, patience: &Patience, now: jiff::Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.0.retain(|subject, entry| {
            let stays = seen.troubles.contains_key(subject) || !seen.ends(subject);
            if !stays && entry.told.is_some() {
                notices.push(entry.notice(State::Over));
            }
            stays
        });
        for (subject, words) in &seen.troubles {
            if let Some(entry) = self.0.get_mut(subject) {
                entry.words.clone_from(words);
            } else if self.0.len() < FOLLOWED_MAX {
                let entry = Entry {
                    subject: subject.clone(),
                    since: now,
                    told: None,
                    words: words.clone(),
                };
                self.0.insert(subject.clone(), entry);
            }
        }
        notices.extend(self.tell(patience, now));
        notices
    }

    /// What is to be told at `now` of what was known before.
    pub fn tell(&mut self, patience: &Patience, now: jiff::Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        for entry in self.0.values_mut() {
            // A clock that was set back makes nothing younger than it is.
            entry.since = entry.since.min(now);
            entry.told = entry.told.map(|told| told.min(now));
            if entry.due(patience) <= now {
                let state = match entry.told.replace(now) {
                    Some(_) => State::Lasts,
                    None => State::Began,
                };
                notices.push(entry.notice(state));
            }
        }
        notices
    }

    /// When something is to be told next, if nothing happens.
    pub fn next(&self, patience: &Patience) -> Option<jiff::Timestamp> {
        self.0.values().map(|entry| entry.due(patience)).min()
    }

    /// What was told and is not over: what must outlive the process.
    #[must_use]
    pub fn told(&self) -> Self {
        let told = self.0.iter().filter(|(_, entry)| entry.told.is_some());
        Self(
            told.map(|(subject, entry)| (subject.clone(), entry.clone()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests;
