//! Where the engine is.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bollard::{API_DEFAULT_VERSION, Docker as Client};

use super::super::{EngineError, ErrorClass};
use super::DockerReader;
use super::error::{CLIENT_LIMIT, classify};
use super::transport::{self, Speaker};

const OPERATION: &str = "connect to the container engine";
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";
const PODMAN_SOCKET: &str = "unix:///run/podman/podman.sock";

/// Connects to the first candidate that answers.
pub(super) fn connect(
    host: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<DockerReader, EngineError> {
    let mut failures = Vec::new();
    for address in candidates(host, env) {
        match try_address(&address) {
            Ok(reader) => return Ok(reader),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Next(kind, words)) => failures.push((address, kind, words)),
        }
    }
    Err(nobody_answered(&failures))
}

/// Where an engine may be, in order. An address that a person chose has no fallback.
fn candidates(host: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let chosen = host.map(str::to_owned).or_else(|| env("DOCKER_HOST"));
    if let Some(chosen) = chosen.filter(|address| !address.is_empty()) {
        return vec![if chosen.starts_with('/') {
            format!("unix://{chosen}")
        } else {
            chosen
        }];
    }
    let mut usual = vec![DOCKER_SOCKET.to_owned()];
    if let Some(runtime) = env("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        usual.push(format!("unix://{runtime}/podman/podman.sock"));
    }
    usual.push(PODMAN_SOCKET.to_owned());
    usual
}

enum Refusal {
    /// Nobody there; another address may do.
    Next(ErrorKind, String),
    /// The address itself cannot be used.
    Final(EngineError),
}

fn try_address(address: &str) -> Result<DockerReader, Refusal> {
    let limit = CLIENT_LIMIT.as_secs();
    let speaker = Speaker::default();
    let client = if let Some(path) = address.strip_prefix("unix://") {
        // Calls connect when they are made; this tells a missing permission from a missing engine early.
        UnixStream::connect(path).map_err(|error| Refusal::Next(error.kind(), words(&error)))?;
        transport::unix(path.as_ref(), limit, &speaker)
    } else if address.starts_with("tcp://") || address.starts_with("http://") {
        Client::connect_with_http(address, limit, API_DEFAULT_VERSION)
    } else {
        return Err(Refusal::Final(unsupported(address)));
    };
    let client = client.map_err(|error| Refusal::Final(classify(OPERATION, &error)))?;
    Ok(DockerReader {
        client,
        local: address.starts_with("unix://"),
        address: address.to_owned(),
        speaker,
        events: Arc::default(),
        bounds_swap: Arc::default(),
    })
}

/// An I/O error without Rust's `(os error 2)`.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

fn unsupported(address: &str) -> EngineError {
    EngineError::new(
        OPERATION,
        ErrorClass::Permanent,
        format!("cannot use the address `{address}`: only unix:// and tcp:// are understood"),
    )
    .with_help("an engine elsewhere can be reached through a forwarded socket: ssh -L /tmp/engine.sock:/var/run/docker.sock HOST, then unix:///tmp/engine.sock")
}

fn nobody_answered(failures: &[(String, ErrorKind, String)]) -> EngineError {
    let mut detail = String::new();
    for (address, _, words) in failures {
        let separator = if detail.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(detail, "{separator}{address}: {words}");
    }
    let denied = failures
        .iter()
        .find(|(_, kind, _)| *kind == ErrorKind::PermissionDenied);
    let help = match denied {
        Some((address, ..)) if address.contains("podman") => {
            "start Podman's socket of your own: systemctl --user start podman.socket".to_owned()
        }
        Some(_) => "join the group that may use it: sudo usermod -aG docker $USER, then log in again".to_owned(),
        None if failures.len() == 1 => {
            "start the engine, or correct engine.docker.host or DOCKER_HOST".to_owned()
        }
        None => "start the engine: sudo systemctl start docker (or: sudo dockerd &); install it: sudo apt-get install docker.io; or say where it is with engine.docker.host or DOCKER_HOST".to_owned(),
    };
    EngineError::new(OPERATION, ErrorClass::Away, detail).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_chosen_address_has_no_fallback() {
        let env = |name: &str| (name == "DOCKER_HOST").then(|| "tcp://10.0.0.1:2375".to_owned());
        assert_eq!(candidates(None, env), ["tcp://10.0.0.1:2375"]);
        assert_eq!(candidates(Some("/tmp/d.sock"), env), ["unix:///tmp/d.sock"]);
    }

    #[test]
    fn the_usual_sockets_are_dockers_then_podmans() {
        let env = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| "/run/user/7".to_owned());
        let usual = [
            DOCKER_SOCKET,
            "unix:///run/user/7/podman/podman.sock",
            PODMAN_SOCKET,
        ];
        assert_eq!(candidates(None, env), usual);
    }

    #[test]
    fn a_missing_engine_is_told_with_what_was_tried_and_the_way_out() {
        let error = connect(Some("unix:///nowhere/docker.sock"), none)
            .err()
            .expect("nobody there");
        assert_eq!(error.class, ErrorClass::Away);
        assert_eq!(
            error.to_string(),
            "connect to the container engine: unix:///nowhere/docker.sock: no such file or directory"
        );
        assert!(error.help.expect("a way out").contains("DOCKER_HOST"));
    }

    #[test]
    fn a_missing_permission_names_the_group() {
        let denied = (
            DOCKER_SOCKET.to_owned(),
            ErrorKind::PermissionDenied,
            "permission denied".to_owned(),
        );
        let absent = (
            PODMAN_SOCKET.to_owned(),
            ErrorKind::NotFound,
            "no such file".to_owned(),
        );
        let error = nobody_answered(&[denied, absent]);
        assert!(
            error
                .help
                .expect("a way out")
                .contains("usermod -aG docker")
        );
    }

    #[test]
    fn an_address_of_another_kind_is_refused_for_good() {
        let error = connect(Some("ssh://host"), none)
            .err()
            .expect("not understood");
        assert_eq!(error.class, ErrorClass::Permanent);
    }
}
