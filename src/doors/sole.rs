//! The right to act under a manager name: at most one process of a host has it, whatever its state directory.
//!
//! It is a socket in the kernel's abstract namespace: nothing stays behind when the process ends, however it
//! ends. Every user of the host can take such a name, so a name counts only where the kernel says that its holder may
//! use the engine, too. A name that somebody else holds is passed over for the next one.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown,
    socket_with,
};

/// How many names are tried.
const NAMES: usize = 8;
/// How long to rest when no connection can be accepted.
const REST: Duration = Duration::from_millis(100);

/// The right, for as long as this lives.
#[derive(Debug)]
pub struct Sole {
    /// None where others hold all names.
    _name: Option<Name>,
}

/// A name that is held.
#[derive(Debug)]
struct Name {
    socket: Arc<UnixListener>,
    answering: Option<JoinHandle<()>>,
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
        let socket = |source| SoleError::Socket {
            manager: manager.to_owned(),
            source,
        };
        let hash = blake3::hash(format!("{manager}\0{engine}").as_bytes()).to_hex();
        let base = format!("instanced-{}", &hash[..32]);
        let (mut held, mut passed) = (None, 0);
        for n in 0..NAMES {
            let name = if n == 0 {
                base.clone()
            } else {
                format!("{base}-{n}")
            };
            if held.is_none() {
                match Name::take(&name) {
                    Ok(taken) => {
                        held = Some(taken);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    Err(error) => return Err(socket(error)),
                }
            }
            // Also behind our own: who holds one found the earlier ones in use, and they may be free by now.
            match holder(&name) {
                Some((uid, gid)) if may_act(uid, gid, &engine) => {
                    return Err(SoleError::Taken {
                        manager: manager.to_owned(),
                    });
                }
                Some((uid, _)) => {
                    passed += 1;
                    tracing::warn!(
                        uid,
                        manager,
                        "another user's process holds the manager's name; ignoring it"
                    );
                }
                None => {}
            }
        }
        if held.is_none() {
            tracing::warn!(
                manager,
                passed,
                "failed to reserve the manager's name; a second daemon is noticed only by its containers"
            );
        }
        Ok(Self { _name: held })
    }
}

impl Name {
    fn take(name: &str) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        let socket = Arc::new(UnixListener::bind_addr(&address)?);
        let listener = Arc::clone(&socket);
        // Processes that look for the holder wait in a queue, which must not run full.
        let answering = thread::Builder::new()
            .name("sole".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                loop {
                    match listener.accept() {
                        Ok(_) => {}
                        // It was shut down.
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                        Err(_) => thread::sleep(REST),
                    }
                }
            })?;
        Ok(Self {
            socket,
            answering: Some(answering),
        })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let ended = shutdown(&*self.socket, Shutdown::Both);
        if let (Ok(()), Some(answering)) = (ended, self.answering.take()) {
            // It has nothing to fail at.
            let _ = answering.join();
        }
    }
}

/// User and group of the process that holds a name, as the kernel says; none where nobody does, or does not say.
fn holder(name: &str) -> Option<(u32, u32)> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, &address).ok()?;
    let credentials = socket_peercred(&socket).ok()?;
    Some((credentials.uid.as_raw(), credentials.gid.as_raw()))
}

/// Whether a process of this user can be another instanced on this engine: root, our own user, or one that may use
/// the engine's socket.
fn may_act(uid: u32, gid: u32, engine: &str) -> bool {
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return true;
    }
    let Some(found) = engine.strip_prefix("unix://").map(fs::metadata) else {
        return false;
    };
    found.is_ok_and(|socket| {
        let mode = socket.mode();
        let is_member = || gid == socket.gid() || is_in_group(uid, socket.gid());
        mode & 0o002 != 0 || uid == socket.uid() || mode & 0o020 != 0 && is_member()
    })
}

/// Whether `/etc/group` lists a user among a group's members.
fn is_in_group(uid: u32, gid: u32) -> bool {
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let Some(user) = field(Path::new("/etc/passwd"), &uid, 0) else {
        return false;
    };
    let members = field(Path::new("/etc/group"), &gid, 3).unwrap_or_default();
    members.split(',').any(|member| member == user)
}

/// A field of the line whose third one is this id.
fn field(file: &Path, id: &str, wanted: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter(|fields| fields.get(2) == Some(&id));
    found.next()?.get(wanted).map(|&field| field.to_owned())
}

/// One engine under one name: `/var/run` is a link to `/run` on most hosts.
fn canonical(engine: &str) -> String {
    let path = engine.strip_prefix("unix://").map(fs::canonicalize);
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
        for _ in 0..3 {
            let second = Sole::take("sole-test", "unix:///a");
            assert!(matches!(second, Err(SoleError::Taken { .. })));
        }
        Sole::take("sole-test", "unix:///b").expect("another engine");
        Sole::take("sole-test-2", "unix:///a").expect("another manager");
        drop(first);
        Sole::take("sole-test", "unix:///a").expect("free again");
    }

    #[test]
    fn a_later_name_excludes_others_when_the_first_is_free_again() {
        let hash = blake3::hash(b"sole-test-3\0unix:///a").to_hex();
        let later = Name::take(&format!("instanced-{}-2", &hash[..32])).expect("free");
        let taken = Sole::take("sole-test-3", "unix:///a");
        assert!(matches!(taken, Err(SoleError::Taken { .. })));
        drop(later);
        Sole::take("sole-test-3", "unix:///a").expect("free again");
    }

    #[test]
    fn another_user_s_process_that_holds_the_name_is_passed_over() {
        use std::io::Read as _;
        use std::process::{Command, Stdio};
        let hash = blake3::hash(b"sole-test-4\0unix:///a").to_hex();
        let base = format!("instanced-{}", &hash[..32]);
        // Binds the first name, or all of them, says so, and holds them until its input ends.
        let script = r#"
            my ($base, $names) = @ARGV;
            for my $n (0 .. $names - 1) {
                socket(my $held, AF_UNIX, SOCK_STREAM, 0) or die;
                bind($held, pack_sockaddr_un("\0$base" . ($n ? "-$n" : ""))) or die;
                listen($held, 1) or die;
                push @all, $held;
            }
            $| = 1;
            print "held";
            <STDIN>;
        "#;
        if rustix::process::geteuid().as_raw() != 0 {
            // Only root can be another user; `only_those_who_can_use_the_engine_count` runs for everybody.
            return;
        }
        for names in ["1", "8"] {
            let mut squatter = Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .args(["perl", "-MSocket", "-e"])
                .args([script, &base, names])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("setpriv and perl are essential");
            let mut said = [0; 4];
            let stdout = squatter.stdout.as_mut().expect("piped");
            stdout.read_exact(&mut said).expect("it holds the names");
            let first = Sole::take("sole-test-4", "unix:///a").expect("not kept out");
            if names == "1" {
                let second = Sole::take("sole-test-4", "unix:///a");
                assert!(matches!(second, Err(SoleError::Taken { .. })));
            }
            drop(squatter.stdin.take());
            squatter.wait().expect("it ends");
            if names == "1" {
                // The first name is free again, and ours is a later one.
                let second = Sole::take("sole-test-4", "unix:///a");
                assert!(matches!(second, Err(SoleError::Taken { .. })));
            }
            drop(first);
        }
    }

    #[test]
    fn only_those_who_can_use_the_engine_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("engine.sock");
        let _engine = UnixListener::bind(&socket).expect("a socket");
        let engine = format!("unix://{}", socket.display());
        let mode = |mode| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).expect("our own file");
        };
        let (own, group) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let stranger = own + 4_000_000;
        mode(0o660);
        assert!(may_act(own, 4_000_000, &engine));
        assert!(may_act(0, 0, &engine));
        assert!(may_act(stranger, group, &engine));
        assert!(!may_act(stranger, 4_000_000, &engine));
        assert!(!may_act(stranger, group, "tcp://127.0.0.1:2375"));
        mode(0o600);
        assert!(!may_act(stranger, group, &engine));
        mode(0o666);
        assert!(may_act(stranger, 4_000_000, &engine));
    }
}
