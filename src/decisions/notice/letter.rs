//! A notice as it is sent, and what of it must outlive the process.

use serde::{Deserialize, Serialize};

use super::{Book, Kind, Notice, State, Words};
use crate::words::name::{InstanceName, ManagerName};

/// So many letters wait for one receiver at most: the oldest goes.
const LETTERS_MAX: usize = 200;

/// What was told, and what of it is yet to be delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// What is the matter.
    pub book: Book,
    /// Oldest first.
    pub letters: Vec<Letter>,
}

/// One notice for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Names it, at every try and to every receiver.
    pub id: String,
    /// Names the receiver.
    pub to: String,
    /// When it was written.
    pub at: jiff::Timestamp,
    /// What is sent.
    pub body: String,
}

/// As `docs/notifications.md` says.
#[derive(Serialize)]
struct Body<'n> {
    r#type: Kind,
    timestamp: jiff::Timestamp,
    data: Data<'n>,
}

#[derive(Serialize)]
struct Data<'n> {
    state: State,
    manager: &'n ManagerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'n InstanceName>,
    since: jiff::Timestamp,
    #[serde(flatten)]
    words: &'n Words,
}

impl Notice {
    /// What is sent of it.
    pub fn body(&self, manager: &ManagerName, at: jiff::Timestamp) -> String {
        let body = Body {
            r#type: self.subject.kind,
            timestamp: at,
            data: Data {
                state: self.state,
                manager,
                instance: self.subject.instance.as_ref(),
                since: self.since,
                words: &self.words,
            },
        };
        serde_json::to_string(&body).expect("its keys are strings")
    }
}

impl Ledger {
    /// Keeps a letter until it is delivered. Returns how many had to go for it.
    pub fn add(&mut self, letter: Letter) -> usize {
        let to = letter.to.clone();
        self.letters.push(letter);
        let many = self.letters.iter().filter(|one| one.to == to).count();
        let mut surplus = many.saturating_sub(LETTERS_MAX);
        let gone = surplus;
        self.letters.retain(|one| {
            let goes = surplus > 0 && one.to == to;
            surplus -= usize::from(goes);
            !goes
        });
        gone
    }

    /// The letter that a receiver gets next.
    pub fn next(&self, to: &str) -> Option<&Letter> {
        self.letters.iter().find(|letter| letter.to == to)
    }

    /// Forgets a letter: it was delivered, or is given up.
    pub fn remove(&mut self, to: &str, id: &str) {
        self.letters
            .retain(|letter| letter.to != to || letter.id != id);
    }

    /// Forgets letters to whom is no receiver any more.
    pub fn keep(&mut self, receivers: &[String]) {
        self.letters.retain(|letter| receivers.contains(&letter.to));
    }
}
