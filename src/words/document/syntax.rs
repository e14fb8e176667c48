//! Where YAML's grammar was broken, in a person's words and with the way out.

use super::super::diagnostic::{Diagnostic, Place};
use super::lines;

/// The parser's words, a person's, and the way out. The first that fits counts.
const KNOWN: [(&str, &str, &str); 27] = [
    (
        "repetition limit exceeded",
        "the file's aliases unfold to too much",
        "write it with fewer aliases of aliases",
    ),
    (
        "mapping values are not allowed in this context",
        "a `:` where no key can stand",
        "quote a text that holds `: `; a key of its own begins a line, indented like its neighbours",
    ),
    (
        "mapping keys are not allowed in this context",
        "a `?` where no key can stand",
        "quote a text that begins with `? `",
    ),
    (
        "block sequence entries are not allowed in this context",
        "a `-` where no list can begin",
        "begin the list on a line of its own below its key, or quote a text that begins with `- `",
    ),
    (
        "found a tab character",
        "a tab in the indentation",
        "YAML indents with spaces, not with tabs",
    ),
    (
        "found character that cannot start any token",
        "no value begins with this character",
        "quote a text that begins with it",
    ),
    (
        "could not find expected ':'",
        "a key without its `:`",
        "write `key: value` with a space after the colon; a text of several lines begins with `|`",
    ),
    (
        "found unexpected end of stream",
        "the file ends within a quoted text",
        "close the quote",
    ),
    (
        "found unexpected document indicator",
        "a quoted text goes on past the end of its document",
        "close the quote",
    ),
    (
        "did not find expected ',' or ']'",
        "the list that began with `[` goes on neither with `,` nor with `]`",
        "put a `,` between its items, and close it with `]`",
    ),
    (
        "did not find expected ',' or '}'",
        "the mapping that began with `{` goes on neither with `,` nor with `}`",
        "put a `,` between its keys, a space after each `:`, and close it with `}`",
    ),
    (
        "did not find expected key",
        "neither a key of the mapping above, nor its end",
        "indent all keys of one mapping alike; quote a text that goes on after its closing quote",
    ),
    (
        "did not find expected '-' indicator",
        "neither an item of the list above, nor its end",
        "begin each item with `- `, all indented alike",
    ),
    (
        "did not find expected node content",
        "no value where one was expected",
        "write the value, or quote it",
    ),
    (
        "did not find expected <document start>",
        "something after the document's end",
        "quote a text that begins with a bracket or a quote, or remove what follows it",
    ),
    (
        "found unknown escape character",
        "no escape of a text in double quotes",
        "write `\\\\` for a backslash, or put the text into single quotes",
    ),
    (
        "did not find expected hexadecimal number",
        "an escape without its digits",
        "write `\\\\` for a backslash, or put the text into single quotes",
    ),
    (
        "found invalid Unicode character escape code",
        "an escape that names no character",
        "write the character itself",
    ),
    (
        "found unexpected ':'",
        "a `:` that ends no key",
        "put a space behind it where it ends a key, or quote the text that holds it",
    ),
    (
        "unknown anchor",
        "an alias of an anchor that is not defined above it",
        "write `&name` before the value that `*name` repeats, or quote a text that begins with `*`",
    ),
    (
        "did not find expected alphabetic or numeric character",
        "an anchor or alias without a name",
        "quote a text that begins with `*` or `&`",
    ),
    (
        "found undefined tag handle",
        "a tag whose handle is not defined",
        "quote a text that begins with `!`",
    ),
    (
        "while parsing a tag",
        "no tag",
        "quote a text that begins with `!`",
    ),
    (
        "while scanning a tag",
        "no tag",
        "quote a text that begins with `!`",
    ),
    (
        "while scanning a block scalar",
        "a text of several lines that is not begun as one",
        "write `|` alone behind the key, and the text below it, indented",
    ),
    (
        "directive",
        "no directive of YAML's",
        "quote a text that begins with `%`",
    ),
    (
        "found incompatible YAML document",
        "another version of YAML",
        "remove the line that begins with %YAML",
    ),
];

/// What is wrong, with its place in `text`.
pub(super) fn diagnostic(path: &str, text: &str, error: &serde_yaml::Error) -> Diagnostic {
    let words = error.to_string();
    let known = KNOWN.iter().find(|(parsers, ..)| words.contains(parsers));
    // Counted in characters, whatever serde_yaml's documentation says.
    let index = error.location().map_or(0, |location| location.index());
    let (line, column) = lines::place_of(text, index);
    let (message, help) = match known {
        Some((_, message, help)) => match began(&words).filter(|began| *began != line) {
            Some(began) => (format!("{message}; it began on line {began}"), *help),
            None => ((*message).to_owned(), *help),
        },
        // The parser appends a place, which the diagnostic has.
        None => (
            words.split(" at line ").next().unwrap_or(&words).to_owned(),
            "YAML cannot be read further than this place; look at the line above, too",
        ),
    };
    let mut diagnostic = Diagnostic::of_file(path, message, Some(help));
    if in_tabs(text, line, column) {
        "a tab in the indentation".clone_into(&mut diagnostic.message);
        diagnostic.help = Some("YAML indents with spaces, not with tabs".to_owned());
    }
    diagnostic.place = Place {
        path: path.to_owned(),
        line,
        column,
        width: 1,
    };
    diagnostic
}

/// On which line the quote or bracket was opened that was not closed.
fn began(words: &str) -> Option<usize> {
    let opened = [
        "a quoted scalar at line ",
        "a flow sequence at line ",
        "a flow mapping at line ",
    ];
    let (_, rest) = opened.iter().find_map(|what| words.split_once(what))?;
    rest.split(' ').next()?.parse().ok()
}

/// Whether the place is a tab, or behind one in its line's indentation.
fn in_tabs(text: &str, line: usize, column: usize) -> bool {
    let indentation = lines::of(text).nth(line - 1).into_iter().flat_map(|line| {
        let indentation = line.chars();
        indentation.take_while(|c| c.is_whitespace()).enumerate()
    });
    let mut tabs = indentation.filter(|(_, c)| *c == '\t');
    let is_tab = || lines::of(text).nth(line - 1)?.chars().nth(column - 1);
    tabs.next().is_some_and(|(at, _)| at < column) || is_tab() == Some('\t')
}

/// The first character that YAML has no place for, not even in quotes.
pub(super) fn forbidden(path: &str, text: &str) -> Option<Diagnostic> {
    let fine = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    let (at, c) = text.chars().enumerate().find(|(_, c)| !fine(*c))?;
    let help = if c == '\0' {
        "remove it; a file with many of them is UTF-16 or no text: save it as UTF-8"
    } else {
        "remove it; in double quotes, YAML writes it as an escape"
    };
    let message = format!(
        "the character U+{:04X}, which YAML does not allow",
        u32::from(c)
    );
    let mut diagnostic = Diagnostic::of_file(path, message, Some(help));
    (diagnostic.place.line, diagnostic.place.column) = lines::place_of(text, at);
    Some(diagnostic)
}
