//! Who may pass, with what the listener needs at hand when it answers: a table is made where there is time, so
//! that an answer is a look-up.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hyper::header::HeaderValue;

use super::counts::{AuthCounts, InstanceCounts};
use crate::daemon::uses::{LastUse, Uses};
use crate::decisions::access::{AccessTable, Guard, Pass, Refusal};
use crate::words::token::{TokenHash, TokenKind, TokenRecord};

/// The table that verdicts are made from; empty as long as it is not known who may pass, and when that
/// can no longer be told.
pub type SharedTable = Arc<ArcSwapOption<EdgeTable>>;

/// An [`AccessTable`], and beside each subject and token what comes of its use.
#[derive(Debug)]
pub struct EdgeTable {
    pub(super) access: AccessTable,
    subjects: Vec<Told>,
    uses: Vec<Arc<LastUse>>,
    /// The ids of tickets, by their place among the tokens.
    tickets: HashMap<usize, String>,
}

/// What is told of a subject.
#[derive(Debug)]
struct Told {
    /// `X-MCP-Instance-Id`.
    id: HeaderValue,
    counts: Arc<InstanceCounts>,
}

impl EdgeTable {
    /// The table of these endpoints and tokens. Uses are noted in `uses`, and answers counted in `counts`.
    pub fn build(
        guards: impl IntoIterator<Item = Guard>,
        tokens: &[TokenRecord],
        uses: &Uses,
        counts: &AuthCounts,
    ) -> Self {
        let access = AccessTable::build(guards, tokens);
        let subjects = access
            .subjects()
            .map(|instance| Told {
                id: HeaderValue::from_str(instance.as_str())
                    .expect("a DNS label is a header's value"),
                counts: counts.of(instance),
            })
            .collect();
        let tickets = tokens.iter().enumerate();
        let tickets = tickets.filter(|(_, token)| token.kind == TokenKind::Ticket);
        Self {
            subjects,
            uses: tokens.iter().map(|token| uses.of(&token.id)).collect(),
            tickets: tickets
                .map(|(place, token)| (place, token.id.clone()))
                .collect(),
            access,
        }
    }

    /// With tokens that were valid until lately.
    #[must_use]
    pub fn with_retired(self, retired: impl IntoIterator<Item = TokenHash>) -> Self {
        Self {
            access: self.access.with_retired(retired),
            ..self
        }
    }

    /// The table of verdicts.
    pub fn access(&self) -> &AccessTable {
        &self.access
    }

    /// Counts a pass, notes the token's use, and returns the instance's id as a header has it.
    pub(super) fn pass(&self, pass: Pass<'_>, now: i64) -> HeaderValue {
        if let Some(token) = pass.token {
            self.uses[token].note(now);
        }
        let told = &self.subjects[pass.subject];
        told.counts.count_allowed();
        told.id.clone()
    }

    pub(super) fn count(&self, refusal: Refusal) {
        if let Some(subject) = refusal.subject {
            self.subjects[subject].counts.count_refused(refusal.reason);
        }
    }

    /// The id of the ticket that opened.
    pub(super) fn ticket(&self, pass: Pass<'_>) -> Option<&str> {
        self.tickets.get(&pass.token?).map(String::as_str)
    }
}
