//! Whether rounds complete, for status, `doctor` and health: when the last one did, what stops them, and since when.

use std::sync::{Arc, Mutex, PoisonError};

use crate::decisions::report::Report;
use crate::words::control::RoundHealth;

/// Whether rounds complete. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedRoundHealth(Arc<Mutex<RoundHealth>>);

impl SharedRoundHealth {
    /// Takes note of a round that ended at this moment.
    pub fn note(&self, report: &Report, at: jiff::Timestamp) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &report.aborted {
            None => {
                *health = RoundHealth {
                    completed: Some(at),
                    ..RoundHealth::default()
                };
            }
            Some(failure) => {
                let _since = health.failing_since.get_or_insert(at);
                health.reason = Some(failure.message.clone());
                health.help.clone_from(&failure.help);
            }
        }
    }

    /// As it is now.
    pub fn now(&self) -> RoundHealth {
        let health = self.0.lock();
        health.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
