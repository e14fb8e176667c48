//! What other programs leave in a file that a person takes for YAML.

use super::super::diagnostic::Diagnostic;
use super::lines;

/// What git writes around the sides of a conflict, at the beginning of a line. YAML begins nothing with it.
const CONFLICT: [&str; 4] = ["<<<<<<< ", ">>>>>>> ", "||||||| ", "======="];
/// The first words of a pointer that git LFS leaves in place of a file.
const LFS: &str = "version https://git-lfs.github.com/spec/";

/// A merge conflict, or a pointer of git LFS.
pub(super) fn found(path: &str, text: &str) -> Option<Diagnostic> {
    if text.starts_with(LFS) {
        return Some(Diagnostic::of_file(
            path,
            "a pointer of git LFS, not the file itself",
            Some(
                "fetch it with `git lfs pull`; a manifest is better kept in git itself: remove its line from .gitattributes",
            ),
        ));
    }
    let is_marker = |line: &str| {
        CONFLICT.iter().any(|marker| {
            if marker.ends_with(' ') {
                line.starts_with(marker)
            } else {
                line.trim_end() == *marker
            }
        })
    };
    // Searching the whole text first is far quicker than looking at each line.
    if !CONFLICT.iter().any(|marker| text.contains(marker)) {
        return None;
    }
    let (at, line) = lines::of(text)
        .enumerate()
        .find(|(_, line)| is_marker(line))?;
    let mut diagnostic = Diagnostic::of_file(
        path,
        "an unresolved merge conflict",
        Some(
            "keep one side, remove the lines that begin with <<<<<<<, ======= and >>>>>>>, and commit",
        ),
    );
    diagnostic.place.line = at + 1;
    diagnostic.place.width = line.chars().count().max(1);
    Some(diagnostic)
}

/// Spaces that look like the plain one, or like nothing, and that YAML takes for letters.
fn is_odd(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

/// The first such space where YAML takes a plain one: before a key, around its `:`, or after the `-` of an item. Only
/// lines that `suspect` names, from 1, are looked at: in a text it may be meant.
pub(super) fn odd_space(
    path: &str,
    text: &str,
    suspect: impl Fn(usize) -> bool,
) -> Option<Diagnostic> {
    if !text.contains(is_odd) {
        return None;
    }
    let (line, column, c) = lines::of(text)
        .enumerate()
        .filter(|(at, _)| suspect(at + 1))
        .find_map(|(at, line)| in_line(line).map(|(column, c)| (at + 1, column, c)))?;
    let what = match c {
        '\u{a0}' => "a non-breaking space".to_owned(),
        _ => "a space that is no plain one".to_owned(),
    };
    let mut diagnostic = Diagnostic::of_file(
        path,
        format!(
            "{what} (U+{:04X}), which YAML takes for a letter",
            u32::from(c)
        ),
        Some(
            "replace it with a plain space; text from a web page or a word processor has such spaces",
        ),
    );
    (diagnostic.place.line, diagnostic.place.column) = (line, column);
    Some(diagnostic)
}

/// Its column, from 1.
fn in_line(line: &str) -> Option<(usize, char)> {
    let mut before_key = true;
    let mut around_colon = false;
    for (at, c) in line.chars().enumerate() {
        match c {
            // A mark at the file's very beginning is cut before.
            c if is_odd(c) && (before_key || around_colon) => return Some((at + 1, c)),
            ' ' | '\t' => {}
            '-' if before_key => {}
            ':' => around_colon = true,
            c if is_odd(c) => {
                let rest = line.chars().skip(at).find(|c| !is_odd(*c) && *c != ' ');
                return (rest == Some(':')).then_some((at + 1, c));
            }
            _ if around_colon => return None,
            _ => before_key = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_leaves_is_found() {
        for text in [
            "<<<<<<< HEAD\nowner: a\n=======\nowner: b\n>>>>>>> main\n",
            "owner: a\n=======\nowner: b\n",
            "owner: a\n>>>>>>> main\n",
            "owner: a\r\n=======\r\n",
        ] {
            let diagnostic = found("a.yaml", text).expect(text);
            assert_eq!(diagnostic.message, "an unresolved merge conflict");
            let line = text.lines().nth(diagnostic.place.line - 1).expect("a line");
            assert!(line.starts_with(['<', '=', '>']), "{diagnostic}");
        }
        for text in [
            "owner: '======='\n",
            "env:\n  A: |\n    =======\n    <<<<<<< x\n",
            "a: ======== b\n",
        ] {
            assert_eq!(found("a.yaml", text), None, "{text}");
        }
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        let diagnostic = found("a.yaml", pointer).expect("a pointer");
        assert!(
            diagnostic.to_string().contains("git lfs pull"),
            "{diagnostic}"
        );
    }

    #[test]
    fn a_space_that_is_none_is_found_where_yaml_takes_one() {
        for (text, place) in [
            ("owner:\u{a0}alice\n", (1, 7)),
            ("a: b\n\u{a0} owner: alice\n", (2, 1)),
            ("a:\n  \u{2003}b: c\n", (2, 3)),
            ("a:\n-\u{a0}b\n", (2, 2)),
            ("owner\u{a0}: alice\n", (1, 6)),
            ("owner: \u{a0}alice\n", (1, 8)),
        ] {
            let diagnostic = odd_space("a.yaml", text, |_| true).expect(text);
            assert_eq!(
                (diagnostic.place.line, diagnostic.place.column),
                place,
                "{text:?}"
            );
        }
        for text in [
            "owner: al\u{a0}ice\n",
            "owner: alice\u{a0}\n",
            "owner: alice\n",
        ] {
            assert_eq!(odd_space("a.yaml", text, |_| true), None, "{text:?}");
        }
        assert_eq!(
            odd_space("a.yaml", "owner:\u{a0}alice\n", |line| line > 1),
            None
        );
    }
}
