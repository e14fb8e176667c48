//! How the program ends.

use std::process::ExitCode;

/// Every exit code there is. Scripts depend on these: a new case gets a new number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something failed, a manifest is invalid, or an instance is not healthy.
    Failed = 1,
    /// Changes are pending; only with `--detailed-exitcode`.
    Pending = 2,
    /// Done, but something is held or blocked.
    Held = 3,
    /// The command line is wrong (`EX_USAGE` of sysexits).
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
