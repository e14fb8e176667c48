//! Errors as failures for a report: the whole chain in one line.

use std::error::Error;
use std::io;

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

/// An error as a failure. The way out is known where a disk is full; else the message has to say it.
pub fn failure(error: &(dyn Error + 'static)) -> Failure {
    Failure {
        message: chain(error),
        help: is_for_want_of_room(error)
            .then(|| "free space on its file system, or move it to another one".to_owned()),
    }
}

fn is_for_want_of_room(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|cause| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        matches!(
            kind,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        )
    })
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self {
            message: error.to_string(),
            help: error.help,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_way_out_however_deep_it_is() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write x")]
        struct Outer(#[source] io::Error);

        let failed = failure(&Outer(io::ErrorKind::StorageFull.into()));
        assert_eq!(failed.message, "cannot write x: no storage space");
        assert!(failed.help.is_some_and(|help| help.contains("free space")));
        let failed = failure(&Outer(io::ErrorKind::NotFound.into()));
        assert_eq!(failed.help, None);
    }
}
