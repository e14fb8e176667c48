//! The right to act under a manager name: at most one process of a host has it, whatever its state directory.
//!
//! It is a socket in the kernel's abstract namespace: nothing stays behind when the process ends, however it
//! ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The right, for as long as this lives.
#[derive(Debug)]
pub struct Sole {
    _socket: UnixListener,
}

/// Why the right could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SoleError {
    /// Another process has it.
    #[error(
        "another instanced of this host already acts as manager `{manager}` on this engine; stop it, or give \
         this one a `manager` of its own in instanced.yaml"
    )]
    Taken {
        /// The manager's name.
        manager: String,
    },
    /// The system gave no socket.
    #[error("cannot tell whether another instanced acts as manager `{manager}`")]
    Socket {
        /// The manager's name.
        manager: String,
        /// Why not.
        source: io::Error,
    },
}

impl Sole {
    /// Takes the right to act as `manager` on `engine` (its address).
    pub fn take(manager: &str, engine: &str) -> Result<Self, SoleError> {
        let engine = canonical(engine);
        let name = blake3::hash(format!("{manager}\0{engine}").as_bytes()).to_hex();
        let socket = SocketAddr::from_abstract_name(format!("instanced-{}", &name[..32]))
            .and_then(|address| UnixListener::bind_addr(&address));
        match socket {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(SoleError::Taken {
                manager: manager.to_owned(),
            }),
            Err(source) => Err(SoleError::Socket {
                manager: manager.to_owned(),
                source,
            }),
        }
    }
}

/// One engine under one name: `/var/run` is a link to `/run` on most hosts.
fn canonical(engine: &str) -> String {
    let path = engine.strip_prefix("unix://").map(std::fs::canonicalize);
    match path {
        Some(Ok(path)) => format!("unix://{}", path.display()),
        _ => engine.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_acts_as_a_manager_at_a_time() {
        let first = Sole::take("sole-test", "unix:///a").expect("free");
        let second = Sole::take("sole-test", "unix:///a");
        assert!(matches!(second, Err(SoleError::Taken { .. })));
        Sole::take("sole-test", "unix:///b").expect("another engine");
        Sole::take("sole-test-2", "unix:///a").expect("another manager");
        drop(first);
        Sole::take("sole-test", "unix:///a").expect("free again");
    }
}
