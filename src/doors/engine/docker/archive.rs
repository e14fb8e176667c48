//! Files in and out of containers travel as tar archives.

use std::io::Read as _;

use super::super::containers::DraftFile;

/// The biggest file that is read from a container, in bytes. What an instance wrote is not to be trusted.
const FILE_MOST: usize = 1 << 20;
/// The biggest archive with such a file: headers, long names and padding are well below this.
pub(super) const READ_MOST: usize = FILE_MOST + (64 << 10);

/// An archive of these files.
pub(super) fn pack(files: &[DraftFile]) -> Result<Vec<u8>, String> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        if file.name.is_empty() || file.name.contains('/') || file.name == "." || file.name == ".."
        {
            return Err(format!("`{}` is no file's name", file.name));
        }
        let content = file.content.expose();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        archive
            .append_data(&mut header, &file.name, content)
            .map_err(|error| error.to_string())?;
    }
    archive.into_inner().map_err(|error| error.to_string())
}

/// A directory, as its archive begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// Its owner.
    pub(super) uid: u64,
    /// Its group.
    pub(super) gid: u64,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Whether nothing is in it.
    pub(super) is_empty: bool,
}

/// The directory that an archive begins with; `None` where it is none. `bytes` are all of the archive, or its beginning
/// where that is long.
pub(super) fn directory(bytes: &[u8]) -> Result<Option<Directory>, String> {
    let broken = |error: std::io::Error| format!("the engine's archive is broken: {error}");
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries().map_err(broken)?;
    let first = entries.next().ok_or("the engine's archive is empty")?;
    let first = first.map_err(broken)?;
    let header = first.header();
    if !header.entry_type().is_dir() {
        return Ok(None);
    }
    Ok(Some(Directory {
        uid: header.uid().map_err(broken)?,
        gid: header.gid().map_err(broken)?,
        mode: header.mode().map_err(broken)? & 0o7777,
        // One that is cut off is there, too.
        is_empty: entries.next().is_none(),
    }))
}

/// An archive of an empty directory.
pub(super) fn pack_directory(name: &str, mode: u32, uid: u32, gid: u32) -> Result<Vec<u8>, String> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_size(0);
    header.set_mtime(0);
    archive
        .append_data(&mut header, format!("{name}/"), std::io::empty())
        .map_err(|error| error.to_string())?;
    archive.into_inner().map_err(|error| error.to_string())
}

/// The one regular file of an archive.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let too_big = || format!("it has more than {FILE_MOST} bytes");
    let broken = |error: std::io::Error| {
        if bytes.len() > READ_MOST {
            too_big()
        } else {
            format!("the engine's archive is broken: {error}")
        }
    };
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries().map_err(broken)?;
    let mut entry = match entries.next() {
        Some(entry) => entry.map_err(broken)?,
        None => return Err("the engine's archive is empty".to_owned()),
    };
    if !entry.header().entry_type().is_file() {
        return Err("it is no regular file".to_owned());
    }
    if entry.size() > FILE_MOST as u64 {
        return Err(too_big());
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).map_err(broken)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::secret::SecretValue;

    fn file(name: &str, content: &[u8]) -> DraftFile {
        let content = SecretValue::new(content.to_vec());
        DraftFile {
            name: name.to_owned(),
            content,
            mode: 0o400,
            uid: 1000,
            gid: 1001,
        }
    }

    #[test]
    fn what_is_packed_keeps_its_owner_and_mode() {
        let archive = pack(&[file("vnc_password", b"hunter2")]).expect("packed");
        assert_eq!(unpack(&archive), Ok(b"hunter2".to_vec()));
        let mut archive = tar::Archive::new(archive.as_slice());
        let entry = archive
            .entries()
            .expect("entries")
            .next()
            .expect("one")
            .expect("readable");
        let header = entry.header();
        assert_eq!(
            (header.mode().ok(), header.uid().ok(), header.gid().ok()),
            (Some(0o400), Some(1000), Some(1001))
        );
    }

    #[test]
    fn a_directory_s_archive_tells_its_owner_and_whether_it_is_empty() {
        let mut packed = pack_directory("data", 0o750, 1000, 1001).expect("packed");
        let expected = Directory {
            uid: 1000,
            gid: 1001,
            mode: 0o750,
            is_empty: true,
        };
        assert_eq!(directory(&packed), Ok(Some(expected)));
        packed.truncate(512);
        packed.extend(pack(&[file("x", b"y")]).expect("packed"));
        let is_empty = |bytes| directory(bytes).map(|found| found.map(|found| found.is_empty));
        assert_eq!(is_empty(&packed), Ok(Some(false)));
        // The archive of a big directory is not read to its end.
        assert_eq!(is_empty(&packed[..1000]), Ok(Some(false)));
        assert_eq!(
            is_empty(&pack(&[file("x", b"")]).expect("packed")),
            Ok(None)
        );
    }

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            assert!(pack(&[file(name, b"")]).is_err(), "{name}");
        }
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        assert_eq!(
            unpack(&pack(&[file("a", &vec![7; FILE_MOST])]).expect("packed")).map(|c| c.len()),
            Ok(FILE_MOST)
        );
        let big = pack(&[file("a", &vec![7; FILE_MOST + 1])]).expect("packed");
        assert!(unpack(&big).expect_err("too big").contains("more than"));
        assert!(unpack(&big[..600]).is_err());
        assert!(unpack(&[]).is_err());

        let mut link = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        link.append_link(&mut header, "a", "/etc/shadow")
            .expect("appended");
        let link = link.into_inner().expect("archive");
        assert_eq!(unpack(&link), Err("it is no regular file".to_owned()));
    }
}
