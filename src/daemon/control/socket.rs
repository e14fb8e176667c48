//! The control socket: a unix socket in the state directory, for root, the daemon's own user, and whom the
//! configuration names.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Gid, chownat};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::server::{self, Accept, Gate};
use crate::words::control::{Problem, SOCKET};

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon answers there.
    #[error("a daemon already answers at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A socket that nobody answers could not be told from one that is in use.
    #[error("cannot tell whether a daemon answers at {}", path.display())]
    Probe {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket could not be made.
    #[error("cannot {operation} {}", path.display())]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The group that may use it is not there.
    #[error("there is no group `{name}` (`control.group`): {why}")]
    Group {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
}

/// The bound control socket; its file goes when this does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Members of a group may use it, too: then the kernel alone says who does.
    has_group: bool,
}

impl ControlSocket {
    /// Binds `<state>/control.sock`, mode 0660. The state directory is there, and nobody else's. A socket
    /// left behind by a daemon that was killed is replaced, one that answers is not. With `group`, its members may use
    /// it, and pass through the state directory to it, without seeing what else is there.
    pub async fn bind(state: &Path, group: Option<&str>) -> Result<Self, ControlError> {
        let path = state.join(SOCKET);
        // Before there is a socket: one that cannot be given to its group shall not stand there.
        let gid = group.map(group_id).transpose()?;
        let failed = |operation, source| ControlError::Socket {
            operation,
            path: path.clone(),
            source,
        };
        match UnixStream::connect(&path).await {
            Ok(_) => return Err(ControlError::InUse { path }),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => {}
                // Whatever else stands there is refused, too; it is left alone, and binding fails.
                io::ErrorKind::ConnectionRefused if is_socket(&path) => {
                    fs::remove_file(&path).map_err(|e| failed("remove the stale", e))?;
                }
                _ => {
                    return Err(ControlError::Probe {
                        path,
                        source: error,
                    });
                }
            },
        }
        let listener = UnixListener::bind(&path).map_err(|e| failed("make the socket", e))?;
        fs::set_permissions(&path, Permissions::from_mode(0o660))
            .map_err(|e| failed("set the mode of", e))?;
        if let Some(gid) = gid {
            let give = |path: &Path| {
                chownat(CWD, path, None, Some(gid), AtFlags::empty()).map_err(io::Error::from)
            };
            give(&path).map_err(|e| failed("give to its group", e))?;
            // They may pass through, and see nothing.
            give(state)
                .and_then(|()| fs::set_permissions(state, Permissions::from_mode(0o710)))
                .map_err(|e| failed("open the way to", e))?;
        }
        Ok(Self {
            listener,
            path,
            has_group: gid.is_some(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until `shutdown`, then lets the requests in flight finish for a moment.
    pub async fn serve<O: Operations>(self, operations: Arc<O>, shutdown: CancellationToken) {
        server::serve(self, operations, shutdown).await;
    }

    /// The file's mode lets in whom it shall; without a group, this also holds when someone changed the mode.
    fn lets_in(&self, peer: &UCred) -> bool {
        self.has_group || peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw()
    }
}

impl Accept for ControlSocket {
    type Stream = UnixStream;

    const NAME: &'static str = "the control socket";

    async fn accept(&self) -> io::Result<(UnixStream, Gate)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred();
        let may = peer.as_ref().is_ok_and(|peer| self.lets_in(peer));
        if !may {
            tracing::warn!(
                ?peer,
                "someone else's process connected to the control socket"
            );
        }
        let gate = if may {
            Gate::Open
        } else {
            let detail = "only root and the daemon's own user may use the control socket";
            let problem = Problem::forbidden(detail)
                .with_help("`control.group` in instanced.yaml names a group that may, too");
            Gate::Closed(problem)
        };
        Ok((stream, gate))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What stays behind is replaced by the next daemon.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The id of a group of this host.
fn group_id(name: &str) -> Result<Gid, ControlError> {
    let unknown = |why: &str| ControlError::Group {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    let text = fs::read_to_string("/etc/group").map_err(|error| unknown(&error.to_string()))?;
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let id = line
        .filter(|fields| fields.first() == Some(&name))
        .find_map(|fields| fields.get(2)?.parse().ok());
    id.map(Gid::from_raw)
        .ok_or_else(|| unknown("/etc/group does not name it"))
}
