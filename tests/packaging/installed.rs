//! `make install` into a directory, and what is there then.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{BINARY, system, text};

/// Where a package of a distribution would have it.
fn install() -> TempDir {
    let dir = TempDir::new().unwrap();
    make("install", &dir);
    dir
}

fn make(target: &str, dir: &TempDir) {
    let destdir = format!("DESTDIR={}", dir.path().display());
    let binary = format!("BINARY={BINARY}");
    let said = system("make", "make", &[target, &destdir, "PREFIX=/usr", &binary]);
    assert!(said.status.success(), "{}", text(&said.stderr));
}

fn files(below: &Path) -> BTreeSet<PathBuf> {
    let mut folders = vec![below.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(below).unwrap().to_owned());
            }
        }
    }
    found
}

fn help(arguments: &[&str]) -> String {
    let said = system(BINARY, "", &[arguments, &["--help"]].concat());
    assert!(said.status.success(), "{arguments:?}");
    text(&said.stdout)
}

/// The commands that help names below this one, the help of each read in turn.
fn commands(of: &[&str]) -> Vec<Vec<String>> {
    let help = help(of);
    let mut found = vec![of.iter().map(|&word| word.to_owned()).collect()];
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for line in listed {
        // What goes on from the line before stands further in.
        if let Some(name) = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
        {
            let name = name.split(' ').next().unwrap();
            found.extend(commands(&[of, &[name]].concat()));
        }
    }
    found
}

#[test]
fn everything_is_where_systems_look_for_it_and_goes_again() {
    let dir = install();
    let (pages, others): (BTreeSet<_>, BTreeSet<_>) = files(dir.path())
        .into_iter()
        .partition(|path| path.starts_with("usr/share/man"));
    let expected = [
        "usr/bin/instanced",
        "usr/lib/systemd/system/instanced.service",
        "usr/lib/systemd/system/instanced.socket",
        "usr/lib/sysusers.d/instanced.conf",
        "usr/share/bash-completion/completions/instanced",
        "usr/share/doc/instanced/LICENSE",
        "usr/share/doc/instanced/instanced.yaml",
        "usr/share/fish/vendor_completions.d/instanced.fish",
        "usr/share/zsh/site-functions/_instanced",
    ];
    assert_eq!(others, expected.map(PathBuf::from).into());
    let expected = commands(&[]).into_iter().map(|words| {
        let name = ["instanced".to_owned()].into_iter().chain(words);
        let name = name.collect::<Vec<_>>().join("-");
        PathBuf::from(format!("usr/share/man/man1/{name}.1"))
    });
    assert_eq!(pages, expected.collect(), "a page for each command");

    for path in others.iter().chain(&pages) {
        let mode = fs::metadata(dir.path().join(path)).unwrap();
        let wanted = if path.ends_with("bin/instanced") {
            0o755
        } else {
            0o644
        };
        assert_eq!(
            mode.permissions().mode() & 0o777,
            wanted,
            "{}",
            path.display()
        );
    }
    let unit = dir.path().join("usr/lib/systemd/system/instanced.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(
        unit.contains("\nExecStart=/usr/bin/instanced --config"),
        "{unit}"
    );
    assert!(!unit.contains(dir.path().to_str().unwrap()), "{unit}");

    let other = dir.path().join("usr/share/man/man1/other.1");
    fs::write(&other, "").unwrap();
    make("uninstall", &dir);
    let left = files(dir.path());
    assert_eq!(left, [PathBuf::from("usr/share/man/man1/other.1")].into());
}

#[test]
fn the_manual_reads_well_and_says_what_help_says() {
    let dir = install();
    for words in commands(&[]) {
        let name = [&["instanced".to_owned()], words.as_slice()].concat();
        let path = dir
            .path()
            .join(format!("usr/share/man/man1/{}.1", name.join("-")));
        let path = path.to_str().unwrap();
        let said = system(
            "man",
            "man-db",
            &["--warnings", "--encoding=UTF-8", "--local-file", path],
        );
        assert!(said.status.success(), "{path}: {}", text(&said.stderr));
        assert_eq!(text(&said.stderr), "", "{path}: groff warns");
        // Lines are filled to the width, and words are cut: compared are words without hyphens.
        let read = joined(&text(&said.stdout));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = help(&words);
        let about = help.lines().next().unwrap();
        assert!(
            read.contains(&joined(about)),
            "{path} does not say: {about}\n{read}"
        );
        for option in help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let option = option.trim_end_matches([',', '.', ';', ')', '`', '…']);
            assert!(read.contains(&joined(option)), "{path} lacks {option}");
        }
        let example = help.lines().find(|line| line.starts_with("  instanced "));
        if let Some(example) = example {
            assert!(read.contains(&joined(example)), "{path} lacks: {example}");
        }
    }
}

/// Text without what a line's end does to it.
fn joined(text: &str) -> String {
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}' | '\u{ad}');
    text.chars().filter(kept).collect()
}

#[test]
fn the_first_page_goes_to_stdout_alone() {
    let said = system(BINARY, "", &["man"]);
    assert!(said.status.success());
    let page = text(&said.stdout);
    assert!(page.contains(".TH instanced 1"), "{page}");
    for section in [
        "SYNOPSIS",
        "EXAMPLES",
        "\"EXIT CODES\"",
        "FILES",
        "ENVIRONMENT",
    ] {
        assert!(
            page.contains(&format!(".SH {section}\n")),
            "{section}: {page}"
        );
    }
    let said = system(BINARY, "", &["man", "/proc/nowhere"]);
    assert_eq!(said.status.code(), Some(1));
    let told = text(&said.stderr);
    assert!(
        told.contains("cannot write /proc/nowhere") && told.contains("help:"),
        "{told}"
    );
}

#[test]
fn bash_completes_by_the_installed_file() {
    let dir = install();
    let file = dir
        .path()
        .join("usr/share/bash-completion/completions/instanced");
    let script = format!(
        "set -e; . {}; COMP_WORDS=(instanced rec); COMP_CWORD=1; _instanced instanced rec instanced; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let said = system("bash", "bash", &["--noprofile", "--norc", "-c", &script]);
    assert_eq!(
        text(&said.stdout),
        "reconcile\nrecreate\n",
        "{}",
        text(&said.stderr)
    );
}
