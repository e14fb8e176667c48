use std::os::unix::fs::symlink;

use super::*;

/// What reading a file with this content says.
fn told(content: &[u8]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.yaml");
    fs::write(&path, content).unwrap();
    read_text(&path).map_err(|error| error.problem.to_string())
}

#[test]
fn text_is_read_without_its_byte_order_mark() {
    assert_eq!(told(b"").unwrap(), "");
    assert_eq!(told("owner: Zoë\r\n".as_bytes()).unwrap(), "owner: Zoë\r\n");
    assert_eq!(told(b"\xef\xbb\xbf{}").unwrap(), "{}");
}

#[test]
fn other_encodings_are_told_with_the_place() {
    assert_eq!(
        told(b"image: x\nowner: Zo\xeb\n").unwrap_err(),
        "not UTF-8 at byte 18 (line 2); save it as UTF-8"
    );
    assert_eq!(
        told(b"\xff\xfe{\0}\0").unwrap_err(),
        "UTF-16 text; save it as UTF-8"
    );
}

#[test]
fn a_file_is_at_most_as_long_as_a_document() {
    assert!(told(&vec![b' '; LENGTH_MAX]).is_ok());
    let problem = told(&vec![b' '; LENGTH_MAX + 1]).unwrap_err();
    assert!(
        problem.starts_with("longer than 1048576 bytes"),
        "{problem}"
    );
}

#[test]
fn what_is_no_readable_file_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let problem = |name: &str| {
        let error = read_text(&dir.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(&format!("/{name}: ")), "{error}");
        error.problem
    };
    assert!(matches!(problem("missing.yaml"), FileProblem::Missing));

    fs::create_dir(dir.path().join("dir.yaml")).unwrap();
    assert!(matches!(problem("dir.yaml"), FileProblem::Directory));

    symlink("nowhere", dir.path().join("link.yaml")).unwrap();
    assert!(
        matches!(problem("link.yaml"), FileProblem::Dangling(to) if to == Path::new("nowhere"))
    );

    symlink("loop.yaml", dir.path().join("loop.yaml")).unwrap();
    assert!(matches!(problem("loop.yaml"), FileProblem::Failed(_)));

    let pipe = dir.path().join("pipe.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(problem("pipe.yaml"), FileProblem::Irregular));
}

#[test]
fn a_forbidden_file_names_who_needs_the_right() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    let told = FileProblem::of(Path::new("x"), error).to_string();
    let user = rustix::process::geteuid().as_raw();
    assert!(
        told.starts_with(&format!("permission denied; give user {user} the right")),
        "{told}"
    );
}

#[test]
fn paths_are_shown_as_a_person_would_write_them() {
    let cwd = Path::new("/srv/fleet");
    let shown = |path: &str| shown(Path::new(path), cwd);
    assert_eq!(shown("/srv/fleet/instances.d"), "instances.d");
    assert_eq!(shown("/srv/fleet/./instances.d"), "instances.d");
    assert_eq!(shown("/srv/fleet"), ".");
    assert_eq!(shown("/etc/instanced"), "/etc/instanced");
}
