//! Errors as failures for a report: the whole chain in one line.

use std::error::Error;

use crate::decisions::report::Failure;
use crate::doors::engine::EngineError;

/// An error with all its sources, each after a colon.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text.push_str(": ");
        text.push_str(&below.to_string());
        source = below.source();
    }
    text
}

/// An error as a failure without a way out.
pub fn failure(error: &dyn Error) -> Failure {
    Failure {
        message: chain(error),
        help: None,
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self {
            message: error.to_string(),
            help: error.help,
        }
    }
}
