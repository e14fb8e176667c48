//! One daemon hands its place to the next: the listening socket of `ForwardAuth` first, then the store.
//!
//! Over `<state>/handover.sock`, which only the daemon's user can reach:
//!
//! ```text
//! the next one   connects
//! the one before sends its listening socket, and ends its rounds; it answers on from memory
//!                closed   the store and the control socket are free
//! the next one   serving  it has opened them, knows who may pass, and accepts on the same socket
//! the one before drained  it accepts no more, and what it had accepted is answered
//! ```
//!
//! A side that goes away in between leaves the other with the socket: the one before opens the store again and goes on.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::control_client::nobody_listens;

const SOCKET: &str = "handover.sock";
/// What is spoken; another version of this program may speak something else.
const VERSION: u8 = 1;

/// What one side tells the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The store and the control socket are free.
    Closed = b'c' as isize,
    /// The next one accepts connections.
    Serving = b's' as isize,
    /// The one before has answered all that it had accepted.
    Drained = b'd' as isize,
}

impl Word {
    fn byte(self) -> u8 {
        self as u8
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Closed, Self::Serving, Self::Drained]
            .into_iter()
            .find(|word| word.byte() == byte)
    }
}

/// Where the next daemon asks; its file goes when this does.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
}

impl Offer {
    /// Listens in this state directory, whose store the caller has open: so a socket that is there is left over.
    pub fn bind(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next one that asks, and may.
    pub async fn asked(&self) -> io::Result<Other> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?.uid();
            if peer == 0 || peer == rustix::process::geteuid().as_raw() {
                return Ok(Other { stream });
            }
            tracing::warn!(uid = peer, "someone else's process asked to take over");
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // One that stays behind is removed by the next to listen.
        let _ = fs::remove_file(&self.path);
    }
}

/// The other side.
#[derive(Debug)]
pub struct Other {
    stream: UnixStream,
}

impl Other {
    /// The daemon that serves this state directory; none where nobody answers.
    pub async fn find(state: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(state.join(SOCKET)).await {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the listening socket.
    pub async fn give(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = [socket];
            if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::Error::other("no room for a file descriptor"));
            }
            let data = [IoSlice::new(&[VERSION])];
            sendmsg(
                self.stream.as_fd(),
                &data,
                &mut control,
                SendFlags::NOSIGNAL,
            )?;
            Ok(())
        };
        self.stream.async_io(Interest::WRITABLE, send).await
    }

    /// Takes the listening socket.
    pub async fn take(&self) -> io::Result<TcpListener> {
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut data = [IoSliceMut::new(&mut byte)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got = recvmsg(self.stream.as_fd(), &mut data, &mut control, flags)?;
            let socket: Option<OwnedFd> = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            Ok((got.bytes, byte[0], socket))
        };
        let got = self.stream.async_io(Interest::READABLE, receive).await?;
        match got {
            (1, VERSION, Some(socket)) => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(listener)
            }
            (0, ..) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::other(
                "the daemon that runs hands over in another way; stop it first",
            )),
        }
    }

    /// Tells something.
    pub async fn say(&mut self, word: Word) -> io::Result<()> {
        self.stream.write_all(&[word.byte()]).await
    }

    /// Waits until this is told.
    pub async fn hear(&mut self, expected: Word) -> io::Result<()> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).await?;
        match Word::of(byte[0]) {
            Some(word) if word == expected => Ok(()),
            _ => Err(io::Error::other("the other daemon says something else")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn a_listening_socket_goes_from_one_process_to_the_next() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(Other::find(dir.path()).await.unwrap().is_none());
        let offer = Offer::bind(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(SOCKET)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();

        let mut before = Other::find(dir.path()).await.unwrap().unwrap();
        let mut next = offer.asked().await.unwrap();
        next.give(listener.as_fd()).await.unwrap();
        let taken = before.take().await.unwrap();
        drop(listener);
        assert_eq!(taken.local_addr().unwrap(), address);
        // What connects now is the other's.
        let mut client = std::net::TcpStream::connect(address).unwrap();
        taken.set_nonblocking(false).unwrap();
        drop(taken.accept().unwrap());
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);

        next.say(Word::Closed).await.unwrap();
        before.hear(Word::Closed).await.unwrap();
        before.say(Word::Serving).await.unwrap();
        assert!(next.hear(Word::Drained).await.is_err());
        drop(next);
        let gone = before.hear(Word::Drained).await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);
        drop(offer);
        assert!(!dir.path().join(SOCKET).exists());
    }
}
