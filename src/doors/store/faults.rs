//! How often the store failed, by what it was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;

/// Failures since the store was opened.
#[derive(Debug, Default)]
pub struct StoreFaults([AtomicU64; Operation::ALL.len()]);

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Records that could not be read, or were lost.
    Read,
    /// Records that could not be written.
    Write,
    /// Files that could not be opened anew after a write had failed.
    Open,
}

impl Operation {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Open];

    /// Its name in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Open => "open",
        }
    }

    /// What an error is of; none of one that says something of what was asked.
    fn of(error: &StoreError) -> Option<Self> {
        Some(match error {
            StoreError::Read { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Later { .. }
            | StoreError::Length { .. }
            | StoreError::Lost { .. } => Self::Read,
            StoreError::Write { .. } | StoreError::Encode { .. } | StoreError::Random(_) => {
                Self::Write
            }
            StoreError::Open { .. }
            | StoreError::Damaged { .. }
            | StoreError::Directory { .. }
            | StoreError::Insecure { .. }
            | StoreError::Held { .. } => Self::Open,
            StoreError::Exists(_) | StoreError::Missing(_) => return None,
        })
    }
}

impl StoreFaults {
    /// How often this failed.
    pub fn of(&self, operation: Operation) -> u64 {
        self.0[operation as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, error: &StoreError) {
        if let Some(operation) = Operation::of(error) {
            self.0[operation as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}
