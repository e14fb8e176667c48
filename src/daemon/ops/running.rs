//! The daemon that runs for a state directory, as commands ask it.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::daemon::chain::{chain, failure};
use crate::daemon::site::Site;
use crate::decisions::report::Failure;
use crate::doors::control_client::{ControlClient, ControlClientError};
use crate::words::control::{DaemonHealth, RoundHealth};

/// How long a daemon may take to say that it lives.
const LIVE_WAIT: Duration = Duration::from_secs(5);

/// Whether a daemon runs for this state directory.
pub async fn has_daemon(site: &Site) -> Result<bool, Failure> {
    Ok(daemon(site).await?.is_some())
}

/// The daemon of this state directory. One that hangs is told of at once, not when the patience with a round ends.
pub(in crate::daemon) async fn daemon(site: &Site) -> Result<Option<ControlClient>, Failure> {
    let client = ControlClient::connect(&site.state).await;
    let Some(client) = client.map_err(|error| unanswered(&error))? else {
        return Ok(None);
    };
    let first = client.clone().with_patience(LIVE_WAIT);
    match first.get("/health/live").await {
        Err(error @ ControlClientError::Silent { .. }) => Err(unanswered(&error)),
        // What else is wrong shows in what it is asked for.
        Ok(_) | Err(_) => Ok(Some(client)),
    }
}

/// That the daemon did not answer, and what to do.
fn unanswered(error: &ControlClientError) -> Failure {
    let help = match error {
        ControlClientError::Silent { .. } => {
            "it hangs, or has too much to do: its log may tell, and `instanced doctor` looks at the rest"
        }
        ControlClientError::BrokeOff { .. } => {
            "it ended in the middle: `instanced status` tells whether one runs again"
        }
        ControlClientError::Unreachable { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            "root, the daemon's own user and the group in `control.group` may ask it"
        }
        ControlClientError::Unreachable { .. } => {
            "it may have just ended: `instanced doctor` looks at the rest"
        }
        _ => return failure(error),
    };
    Failure {
        message: chain(error),
        help: Some(help.to_owned()),
    }
}

/// How the running daemon is; an error where none runs.
pub async fn health(site: &Site) -> Result<DaemonHealth, Failure> {
    let Some(client) = daemon(site).await? else {
        return Err(Failure {
            message: format!("no daemon serves {}", site.state.display()),
            help: Some("start one: instanced serve".to_owned()),
        });
    };
    read(client.get("/health").await)
}

/// Whether the daemon's rounds complete; nothing where none runs.
pub async fn rounds(site: &Site) -> Result<Option<RoundHealth>, Failure> {
    let Some(client) = daemon(site).await? else {
        return Ok(None);
    };
    let health: DaemonHealth = read(client.get("/health").await)?;
    Ok(Some(health.rounds))
}

/// The daemon's answer.
pub(super) fn told<T>(answer: Result<T, ControlClientError>) -> Result<T, Failure> {
    answer.map_err(|error| match error {
        ControlClientError::Refused(problem) => Failure {
            message: problem.detail,
            help: problem.help,
        },
        error => unanswered(&error),
    })
}

/// The daemon's answer, as what it was asked for.
pub(in crate::daemon) fn read<T: DeserializeOwned>(
    answer: Result<Value, ControlClientError>,
) -> Result<T, Failure> {
    serde_json::from_value(told(answer)?).map_err(|error| Failure {
        message: format!("the daemon's answer is not understood: {error}"),
        help: Some("daemon and command may be of different versions".to_owned()),
    })
}
