//! What went wrong, as whoever asked is told.

use serde::Serialize;

use crate::daemon::chain::chain;
use crate::daemon::control::Outcome;
use crate::daemon::orders::OrderError;
use crate::daemon::tokens::TokensError;
use crate::decisions::report::{Failure, Report};
use crate::doors::engine::{EngineError, ErrorClass};
use crate::words::control::Problem;
use crate::words::name::InstanceName;

pub(super) fn order_problem(error: &OrderError) -> Problem {
    let detail = chain(error);
    match error {
        OrderError::Unknown { help, .. } | OrderError::Nobody { help, .. } => {
            Problem::not_found(detail).with_help(help)
        }
        OrderError::Source(_) => Problem::unavailable(detail),
        OrderError::Store(_) => Problem::internal(detail),
    }
}

pub(super) fn value<T: Serialize>(of: &T) -> Outcome {
    serde_json::to_value(of).map_err(|error| Problem::internal(error.to_string()))
}

pub(super) fn unknown<'a>(
    name: &InstanceName,
    known: impl Iterator<Item = &'a InstanceName>,
) -> Problem {
    let Failure { message, help } = Failure::no_instance(name, known);
    Problem::not_found(message).with_help(help.unwrap_or_default())
}

pub(super) fn aborted_problem(report: &Report) -> Problem {
    match &report.aborted {
        Some(failure) => failure_problem(failure),
        None => Problem::unavailable("the round was aborted"),
    }
}

pub(super) fn failure_problem(failure: &Failure) -> Problem {
    let problem = Problem::unavailable(&failure.message);
    match &failure.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}

pub(super) fn token_problem(error: &TokensError) -> Problem {
    let detail = chain(error);
    match error {
        TokensError::Label(_) | TokensError::Past(_) | TokensError::Lasting { .. } => {
            Problem::refused(detail)
        }
        TokensError::LabelTaken { .. }
        | TokensError::NotBearer { .. }
        | TokensError::Expired { .. }
        | TokensError::Replaced { .. }
        | TokensError::Spent(_) => Problem::conflict(detail),
        TokensError::Unknown(_) => {
            Problem::not_found(detail).with_help("see `instanced token list`")
        }
        TokensError::Random(_) | TokensError::Store(_) => {
            // Whoever asked may be a program: the operator shall see it, too.
            tracing::error!("tokens: {detail}");
            Problem::internal(detail)
        }
    }
}

pub(super) fn engine_problem(error: &EngineError) -> Problem {
    let problem = match error.class {
        ErrorClass::Gone => Problem::not_found(error.to_string()),
        _ => Problem::unavailable(error.to_string()),
    };
    match &error.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}
