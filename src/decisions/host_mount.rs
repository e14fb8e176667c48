//! The verdict on a directory of the host that an instance mounts, from what the host has on the way to it.
//!
//! The engine resolves a mount's path again at every start, also when nobody asks this program. So a path is good only
//! where no instance can change what it leads to: no component is a symbolic link, and no directory on the way can be
//! written by a user that an instance may be, or lies within what an instance writes to.

use crate::words::config::UserPolicy;
use crate::words::host_path::is_below;
use crate::words::name::InstanceName;

/// A file system object by device and inode: the same object under two paths has one.
pub type ObjectId = (u64, u64);

/// What a component of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A socket, a device, a pipe.
    Other,
}

/// One component on the way to a path, the path itself among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its path.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Which object it is.
    pub id: ObjectId,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether an access list names further users.
    pub has_acl: bool,
}

/// A directory of the host that another instance mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The instance.
    pub instance: InstanceName,
    /// The path.
    pub path: String,
    /// Whether the instance can write to it.
    pub writes: bool,
    /// The objects on the way to it, from `/`; its own is the last.
    pub ids: Vec<ObjectId>,
}

/// Why a path is refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl Refused {
    fn new(why: String, help: &str) -> Self {
        let help = help.to_owned();
        Self { why, help }
    }
}

/// Why a mount is refused; `None` where it is not. `way` are the components from `/` to the mount's path.
pub fn refusal(
    path: &str,
    writes: bool,
    way: &[Component],
    users: &UserPolicy,
    neighbours: &[Neighbour],
) -> Option<Refused> {
    let (last, above) = way.split_last()?;
    if let Some(link) = way.iter().find(|part| part.kind == Kind::Link) {
        return Some(Refused::new(
            format!("{} is a symbolic link", link.path),
            "write the path that it leads to, where policy.host_paths allows that one",
        ));
    }
    if !matches!(last.kind, Kind::Directory | Kind::File) {
        return Some(Refused::new(
            format!("{path} is neither a directory nor a regular file"),
            "mount a directory; sockets and devices of the host are for no instance",
        ));
    }
    if let Some((part, who)) = above
        .iter()
        .find_map(|part| Some((part, writer(part, users)?)))
    {
        return Some(Refused::new(
            format!(
                "{who} can replace what is in {}, so the path can lead elsewhere at the next start",
                part.path
            ),
            "keep the directory in one that only root can write to; or narrow policy.users in instanced.yaml, \
             which says whom instances may be",
        ));
    }
    let ids: Vec<ObjectId> = above.iter().map(|part| part.id).collect();
    neighbours
        .iter()
        .find_map(|other| conflict(path, writes, last.id, &ids, other))
}

/// Who of those that an instance may be can change what is in a directory. Root can change any path of the host, so a
/// directory of root's says nothing.
fn writer(part: &Component, users: &UserPolicy) -> Option<String> {
    const GROUP: u32 = 0o020;
    const OTHERS: u32 = 0o002;
    let Component { uid, gid, mode, .. } = *part;
    if uid != 0 && users.has_uid(uid) {
        Some(format!("user {uid}, which an instance may be,"))
    } else if mode & OTHERS != 0 {
        Some("everybody".to_owned())
    } else if mode & GROUP != 0 && users.has_gid(gid) {
        Some(format!("group {gid}, which an instance may have,"))
    } else if mode & GROUP != 0 && part.has_acl {
        Some("somebody whom an access list names".to_owned())
    } else {
        None
    }
}

/// Whether one of the two mounts lies within the other, which is written to. A directory that both mount themselves is
/// fine: what is in it leads nowhere.
fn conflict(
    path: &str,
    writes: bool,
    own: ObjectId,
    above: &[ObjectId],
    other: &Neighbour,
) -> Option<Refused> {
    let help = "mount a directory beside it, or write `read_only: true` at the outer one";
    let (theirs, their_way) = other.ids.split_last()?;
    let within = is_below(path, &other.path) || above.contains(theirs);
    if other.writes && within {
        let why = format!(
            "{path} lies within {}, to which {} writes",
            other.path, other.instance
        );
        return Some(Refused::new(why, help));
    }
    let holds = is_below(&other.path, path) || their_way.contains(&own);
    if writes && holds {
        let why = format!(
            "{} mounts {}, which lies within {path}",
            other.instance, other.path
        );
        return Some(Refused::new(why, help));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(path: &str) -> Vec<Component> {
        let ends = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        let paths = std::iter::once("/").chain(ends).chain([path]);
        paths
            .enumerate()
            .map(|(number, path)| Component {
                path: path.to_owned(),
                kind: Kind::Directory,
                id: (1, number as u64),
                uid: 0,
                gid: 0,
                mode: 0o755,
                has_acl: false,
            })
            .collect()
    }

    fn why(way: &[Component], users: &UserPolicy, neighbours: &[Neighbour]) -> Option<String> {
        let path = &way.last().expect("a way").path;
        refusal(path, true, way, users, neighbours).map(|refused| refused.why)
    }

    fn neighbour(path: &str, writes: bool, ids: &[ObjectId]) -> Neighbour {
        Neighbour {
            instance: "bob".parse().expect("a name"),
            path: path.to_owned(),
            writes,
            ids: ids.to_vec(),
        }
    }

    #[test]
    fn a_way_that_only_root_can_change_is_good() {
        assert_eq!(why(&way("/srv/share/a"), &UserPolicy::default(), &[]), None);
    }

    #[test]
    fn what_is_in_the_mounted_directory_leads_nowhere_so_anybody_may_write_there() {
        let mut way = way("/srv/share");
        let last = way.last_mut().expect("a way");
        (last.uid, last.gid, last.mode) = (1000, 1000, 0o777);
        assert_eq!(why(&way, &UserPolicy::default(), &[]), None);
    }

    #[test]
    fn a_link_anywhere_on_the_way_is_refused() {
        for at in 1..4 {
            let mut way = way("/srv/share/a");
            way[at].kind = Kind::Link;
            let why = why(&way, &UserPolicy::default(), &[]).expect("refused");
            assert_eq!(why, format!("{} is a symbolic link", way[at].path));
        }
    }

    #[test]
    fn sockets_and_devices_are_refused() {
        let mut way = way("/srv/share/a");
        way[3].kind = Kind::Other;
        let why = why(&way, &UserPolicy::default(), &[]).expect("refused");
        assert!(
            why.contains("neither a directory nor a regular file"),
            "{why}"
        );
    }

    #[test]
    fn whoever_an_instance_may_be_must_not_write_on_the_way() {
        type Change = fn(&mut Component);
        let refused: [(Change, &str); 5] = [
            (|part| part.uid = 1000, "user 1000"),
            (|part| part.mode = 0o757, "everybody"),
            (|part| part.mode = 0o1777, "everybody"),
            (|part| (part.gid, part.mode) = (1000, 0o775), "group 1000"),
            (
                |part| (part.has_acl, part.mode) = (true, 0o775),
                "access list",
            ),
        ];
        for (change, who) in refused {
            for at in 0..3 {
                let mut way = way("/srv/share/a");
                change(&mut way[at]);
                let why = why(&way, &UserPolicy::default(), &[]).expect(who);
                assert!(why.contains(who) && why.contains(&way[at].path), "{why}");
            }
        }
        let mut way = way("/srv/share/a");
        (way[1].gid, way[1].mode) = (0, 0o775);
        assert_eq!(why(&way, &UserPolicy::default(), &[]), None, "root's group");
        way[1].uid = 34;
        let narrow = UserPolicy {
            uids: vec![crate::words::config::IdRange {
                first: 1000,
                last: 1999,
            }],
            ..UserPolicy::default()
        };
        assert_eq!(why(&way, &narrow, &[]), None, "no instance is user 34");
    }

    #[test]
    fn a_path_within_what_another_writes_to_is_refused_also_under_another_name() {
        let way = way("/srv/share/a");
        let users = UserPolicy::default();
        let by_name = neighbour("/srv/share", true, &[(9, 9)]);
        let by_object = neighbour("/mnt/alias", true, &[(1, 0), (9, 8), (1, 2)]);
        for other in [by_name, by_object] {
            let why = why(&way, &users, std::slice::from_ref(&other)).expect("refused");
            assert!(why.ends_with("to which bob writes"), "{why}");
            let reads = Neighbour {
                writes: false,
                ..other
            };
            assert_eq!(self::why(&way, &users, &[reads]), None);
        }
        let same = neighbour("/srv/share/a", true, &[(1, 2), (1, 3)]);
        assert_eq!(
            why(&way, &users, &[same]),
            None,
            "a directory that both mount"
        );
    }

    #[test]
    fn nobody_gets_to_write_above_what_another_mounts() {
        let way = way("/srv/share");
        let inner = neighbour(
            "/srv/share/b/c",
            false,
            &[(1, 0), (1, 1), (1, 2), (2, 2), (2, 3)],
        );
        let users = UserPolicy::default();
        let path = "/srv/share";
        let why = refusal(path, true, &way, &users, std::slice::from_ref(&inner));
        assert_eq!(
            why.expect("refused").why,
            "bob mounts /srv/share/b/c, which lies within /srv/share"
        );
        assert_eq!(refusal(path, false, &way, &users, &[inner]), None);
    }
}
