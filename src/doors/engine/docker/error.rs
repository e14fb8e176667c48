//! What an engine's refusal means, and how long it may take to answer.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use bollard::errors::Error;

use super::super::{EngineError, ErrorClass};
use super::refusals;

/// How long a reading call may take.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(30);
/// How long a changing call may take; a busy disk makes creates slow.
pub(super) const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// bollard's own limit until an answer begins. Ours are shorter, except for a pull, whose answer begins late.
pub(super) const CLIENT_LIMIT: Duration = Duration::from_secs(300);

/// Makes one call, with a limit that covers its whole answer.
pub(super) async fn call<T>(
    operation: impl FnOnce() -> String,
    limit: Duration,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(operation(), &error)),
        Err(_) => Err(silent(operation(), limit)),
    }
}

/// The error of an engine that took a connection and does not answer.
pub(super) fn silent(operation: impl Into<String>, limit: Duration) -> EngineError {
    let detail = format!("no answer within {} s", limit.as_secs());
    EngineError::new(operation, ErrorClass::Stalled, detail).with_help(
        "the engine hangs or is overloaded at this call; its log tells more: journalctl -u docker",
    )
}

/// bollard's error, in our words.
pub(super) fn classify(operation: impl Into<String>, error: &Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            let detail = if message.is_empty() {
                format!("HTTP status {status_code}")
            } else {
                message.trim().to_owned()
            };
            let help = refusals::help(&detail).map(str::to_owned);
            let class = class_of_status(*status_code, message);
            EngineError {
                help,
                ..EngineError::new(operation, class, detail)
            }
        }
        Error::HyperLegacyError { err } if !err.is_connect() => broken_off(operation, error),
        Error::HyperResponseError { .. } => broken_off(operation, error),
        Error::RequestTimeoutError
        | Error::HyperLegacyError { .. }
        | Error::IOError { .. }
        | Error::SocketNotFoundError(_) => {
            EngineError::new(operation, ErrorClass::Away, innermost(error))
                .with_help("is the engine running? systemctl status docker")
        }
        Error::DockerStreamError { error } => {
            EngineError::new(operation, ErrorClass::Retry, error.trim())
        }
        // What is left is an answer in a dialect that we don't speak, or a request that cannot be written.
        other => EngineError::new(operation, ErrorClass::Permanent, innermost(other)),
    }
}

/// The error of an engine that took the call and whose answer broke off. It says nothing of other calls.
fn broken_off(operation: impl Into<String>, error: &Error) -> EngineError {
    EngineError::new(operation, ErrorClass::Stalled, innermost(error)).with_help(
        "the engine broke off its answer to this call; its log tells more: journalctl -u docker",
    )
}

fn class_of_status(status: u16, message: &str) -> ErrorClass {
    match status {
        404 => ErrorClass::Gone,
        409 => ErrorClass::Conflict,
        // Podman says 500 where Docker says 409.
        500.. if message.contains("is already in use") => ErrorClass::Conflict,
        // Docker 20.10 says 500 where its documentation says 403.
        500.. if message.contains("marked read-only") => ErrorClass::Permanent,
        429 => ErrorClass::RateLimited,
        // Not implemented: a log driver that keeps nothing to read.
        501 => ErrorClass::Permanent,
        408 | 500.. => ErrorClass::Retry,
        _ => ErrorClass::Permanent,
    }
}

/// The last cause: `connection refused` tells more than `client error (Connect)`.
fn innermost(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = source.to_string();
        next = source.source();
    }
    text
}

/// Takes an error that means "there is nothing to do" for a success.
pub(super) fn unless(
    result: Result<(), EngineError>,
    done: impl FnOnce(&EngineError) -> bool,
) -> Result<(), EngineError> {
    match result {
        Err(error) if done(&error) => Ok(()),
        other => other,
    }
}

/// Whether the subject is not there.
pub(super) fn gone(error: &EngineError) -> bool {
    error.class == ErrorClass::Gone
}

/// How a person reads a container's id: Docker's own short form. Names stay as they are.
pub(super) fn short(container: &str) -> &str {
    if container.len() == 64 && container.bytes().all(|b| b.is_ascii_hexdigit()) {
        &container[..12]
    } else {
        container
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> EngineError {
        classify(
            "stop container a",
            &Error::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            },
        )
    }

    #[test]
    fn a_status_becomes_a_class() {
        let cases = [
            (400, ErrorClass::Permanent),
            (403, ErrorClass::Permanent),
            (404, ErrorClass::Gone),
            (409, ErrorClass::Conflict),
            (429, ErrorClass::RateLimited),
            (500, ErrorClass::Retry),
            (501, ErrorClass::Permanent),
            (503, ErrorClass::Retry),
        ];
        for (status, class) in cases {
            assert_eq!(answered(status, "x").class, class, "{status}");
        }
        assert_eq!(
            answered(500, "container rootfs is marked read-only").class,
            ErrorClass::Permanent
        );
        let podman = "the container name \"a\" is already in use by 12ab";
        assert_eq!(answered(500, podman).class, ErrorClass::Conflict);
    }

    #[test]
    fn an_error_reads_as_what_was_tried_and_the_engines_words() {
        assert_eq!(
            answered(404, "No such container: a\n").to_string(),
            "stop container a: No such container: a"
        );
        assert_eq!(
            answered(500, "").to_string(),
            "stop container a: HTTP status 500"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_stalled() {
        let never = std::future::pending::<Result<(), Error>>();
        let error = call(|| "list containers".to_owned(), READ_LIMIT, never)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Stalled);
        assert_eq!(error.to_string(), "list containers: no answer within 30 s");
    }

    #[test]
    fn only_an_id_is_shortened() {
        assert_eq!(short(&"a1".repeat(32)), "a1a1a1a1a1a1");
        assert_eq!(
            short("instanced-default-alice-g1"),
            "instanced-default-alice-g1"
        );
    }
}
