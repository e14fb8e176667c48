//! The host itself: room on its disks, who may read what, its addresses, its time, and the network as another process
//! sees it. Nothing here changes anything but this process's own limit of open files.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime;

use crate::decisions::checkup::facts::{PathFacts, ProcessSeen, Room};

pub mod mounts;

/// What systemd-timesyncd writes once a server has answered it.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// Where systemd-timesyncd keeps that, while it runs.
const TIMESYNC: &str = "/run/systemd/timesync";

/// As many files as a daemon needs: more of them make programs slow that walk through all that they could have.
const FILES: u64 = 65_536;

/// Raises this process's limit of open files as far as it may. Returns the limit.
pub fn raise_file_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(FILES);
    match limit.current {
        Some(current) if current < most => {
            let raised = Rlimit {
                current: Some(most),
                ..limit
            };
            setrlimit(Resource::Nofile, raised)?;
            Ok(most)
        }
        current => Ok(current.unwrap_or(u64::MAX)),
    }
}

/// The room where a path is, or will be.
pub fn room(path: &Path) -> io::Result<Room> {
    let there = path.ancestors().find(|path| path.exists());
    let found = statvfs(there.unwrap_or(Path::new("/")))?;
    Ok(Room {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: (found.f_files > 0).then_some(found.f_favail),
    })
}

/// How many bytes the files below a directory take.
pub fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.blocks().saturating_mul(512),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A path, and who may do what with it.
pub fn path(path: &Path) -> PathFacts {
    let found = path.metadata().ok();
    PathFacts {
        path: path.to_owned(),
        mode: found.as_ref().map(|found| found.mode() & 0o7777),
        owner: found.map_or(0, |found| found.uid()),
        readable: access(path, Access::READ_OK).is_ok(),
    }
}

/// The user that this runs as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the clock is kept by a server; `None` where nobody who would say so runs.
pub fn is_synchronised() -> Option<bool> {
    let told = Path::new(TIMESYNC).is_dir();
    told.then(|| Path::new(SYNCHRONISED).exists())
}

/// Adds to `seen` what the kernel shows of a process of this host.
pub fn confinement(pid: u32, seen: ProcessSeen) -> ProcessSeen {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let mask = |name: &str| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let capabilities = ["CapEff", "CapPrm", "CapBnd"].map(mask);
    ProcessSeen {
        // A kernel without such a module refuses to show it.
        profile: fs::read_to_string(format!("/proc/{pid}/attr/current")).ok(),
        seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()),
        no_new_privs: field("NoNewPrivs").map(|flag| flag == "1"),
        capabilities: capabilities
            .into_iter()
            .try_fold(0, |all, mask| mask.map(|mask| all | mask)),
        ..seen
    }
}

/// Whether an address is one of this host's.
pub fn is_local(address: IpAddr) -> bool {
    // The kernel gives a port at none but its own addresses; it goes again at once, and nothing is sent.
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether somebody takes connections at an address. Blocks, `within` at most.
pub fn is_taken(at: SocketAddr, within: Duration) -> bool {
    TcpStream::connect_timeout(&at, within).is_ok()
}

/// Does something in the network of another process, on a thread of its own that ends with it.
///
/// # Errors
/// Why that network cannot be entered; only root may.
pub fn in_network_of<T, F>(pid: u32, what: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let thread = std::thread::Builder::new().spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(what()))
    })?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("it was broken off")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_path_that_is_not_there_has_the_room_of_what_it_will_lie_in() {
        let dir = tempfile::tempdir().unwrap();
        let there = room(dir.path()).unwrap();
        let below = room(&dir.path().join("a/b/c")).unwrap();
        assert!(there.bytes > 0);
        assert_eq!(there.inodes.is_some(), below.inodes.is_some());
        assert_eq!(path(&dir.path().join("a")).mode, None);
    }

    #[test]
    fn a_file_tells_its_mode_and_a_directory_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, vec![1; 100_000]).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let found = path(&file);
        assert_eq!(
            (found.mode, found.owner, found.readable),
            (Some(0o640), user(), true)
        );
        assert!(size(dir.path()) >= 100_000);
    }

    #[test]
    fn the_kernel_shows_what_confines_a_process() {
        let seen = ProcessSeen {
            instance: "a".parse().unwrap(),
            cap_add: Vec::new(),
            profile: None,
            seccomp: None,
            no_new_privs: None,
            capabilities: None,
        };
        let own = confinement(std::process::id(), seen.clone());
        assert!(own.seccomp.is_some() && own.no_new_privs.is_some() && own.capabilities.is_some());
        assert_eq!(confinement(u32::MAX, seen.clone()), seen, "no such process");
    }

    #[test]
    fn what_is_done_elsewhere_is_told_here() {
        // One's own network can be entered like any other: by root.
        match in_network_of(std::process::id(), || async { 7 }) {
            Ok(told) => assert_eq!(told, 7),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert_ne!(user(), 0);
            }
        }
        // No process has this number.
        let error = in_network_of(u32::MAX, || async {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_host_has_its_loopback_and_not_the_documentation_s_addresses() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(is_taken(at, Duration::from_secs(5)));
        drop(listener);
        assert!(!is_taken(at, Duration::from_secs(5)));
    }
}
