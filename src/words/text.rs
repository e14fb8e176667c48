//! The characters that a text of a person may hold.
//!
//! What a file says reaches terminals, logs, client files and other people's reviews. A character that cannot be
//! seen, or that reorders what is seen, has no place there.

use serde_json::Value;

use super::diagnostic::Problem;
use super::document::PROBLEMS_MAX;

/// What is wrong with a text, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The fault.
    pub message: String,
    /// The remedy.
    pub help: String,
}

impl Fault {
    /// The same at a field.
    pub fn at(self, path: &[&str]) -> Problem {
        Problem::error(path, self.message).with_help(self.help)
    }
}

/// Where a text is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// One line that people read: an owner, a path, a label's name.
    Line,
    /// A value for the container, which may have several lines.
    Value,
}

/// A regular expression with the meaning of [`check_path`], for the schema. It knows no escape of a control character.
pub const PATH_PATTERN: &str = "^/(([A-Za-z0-9._~!&()*+,;=:@-]|%[0-9A-Fa-f]{2})([A-Za-z0-9._~!&()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?$";
/// The same where a query may follow.
pub const QUERY_PATTERN: &str = "^/(([A-Za-z0-9._~!&()*+,;=:@?-]|%[0-9A-Fa-f]{2})([A-Za-z0-9._~!&()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$";
/// The longest path of a URL.
const PATH_MAX: usize = 1024;

/// What a path holds as it is, beside letters, digits and escapes.
const UNESCAPED: [char; 16] = [
    '-', '.', '_', '~', '!', '&', '(', ')', '*', '+', ',', ';', '=', ':', '@', '/',
];

/// Whether a character reorders the text around it (Unicode's explicit bidirectional formatting).
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character cannot be seen, but changes how its neighbours are read or laid out, or carries text that nobody
/// sees. Joiners and the selectors of emoji are none: words and emoji need them.
pub fn is_mark(c: char) -> bool {
    matches!(
        c,
        // Directions, ends of lines, a byte order mark.
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{feff}'
        // Spaces without a width, hyphens that are not drawn, fillers.
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{ffa0}'
        // Annotations, tags, selectors of rare variants: text could be hidden in them.
        | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a text that is used so may not hold the character.
///
/// A value keeps the marks of direction: text from right to left needs them, and they move no other text.
fn is_refused(c: char, used: Use) -> bool {
    match used {
        Use::Line => c.is_control() || reorders(c) || is_mark(c),
        Use::Value => (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || reorders(c),
    }
}

/// Finds the first character that a text may not hold.
pub fn fault(text: &str, used: Use) -> Option<Fault> {
    let c = text.chars().find(|c| is_refused(*c, used))?;
    let code = u32::from(c);
    let (what, help) = match c {
        '\n' | '\r' => ("the end of a line", "write it on one line"),
        '\t' => ("a tab", "write spaces"),
        _ if reorders(c) || is_mark(c) => (
            "a character that cannot be seen and changes how the text is read",
            "remove it; an editor that shows invisible characters finds it",
        ),
        _ => (
            "a control character",
            "remove it; what a container needs of the kind belongs into its image or a secret",
        ),
    };
    Some(Fault {
        message: format!("U+{code:04X}, {what}, in `{}`", shown(text)),
        help: help.to_owned(),
    })
}

/// The text with everything that [`fault`] finds as an escape.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_refused(c, Use::Line) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The texts of a file that hold what they may not, keys among them, as many as are reported and one more; `used` says
/// what the text at a path is for.
pub fn problems(file: &Value, used: fn(&[&str]) -> Use) -> Vec<Problem> {
    fn walk(
        path: &mut Vec<String>,
        value: &Value,
        used: fn(&[&str]) -> Use,
        found: &mut Vec<Problem>,
    ) {
        let here = |path: &[String], fault: Fault| {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            fault.at(&path)
        };
        // Each problem has a copy of its path, and a key of the path may be long.
        if found.len() > PROBLEMS_MAX {
            return;
        }
        match value {
            Value::String(text) => {
                // Nearly every text is sound, whatever it is for.
                if text.chars().any(|c| is_refused(c, Use::Line)) {
                    let segments: Vec<_> = path.iter().map(String::as_str).collect();
                    let fault = fault(text, used(&segments));
                    found.extend(fault.map(|fault| here(path, fault)));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    walk(path, item, used, found);
                    path.pop();
                }
            }
            Value::Object(map) => {
                for (key, below) in map {
                    path.push(key.clone());
                    match fault(key, Use::Line) {
                        Some(fault) => found.push(here(path, fault).at_key()),
                        None => walk(path, below, used, found),
                    }
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(&mut Vec::new(), file, used, &mut found);
    found
}

/// Checks the path of a URL: RFC 3986, section 3.3, without `$` and `'`.
///
/// Client files and shells expand a `$`, and a `'` ends a shell's text. `query` says whether a `?` may follow.
///
/// # Errors
/// The first fault, with the text to write instead where it is known.
pub fn check_path(path: &str, query: bool) -> Result<(), Fault> {
    let fault = |message: String, help: &str| Fault {
        message,
        help: help.to_owned(),
    };
    let said = shown(path);
    if !path.starts_with('/') {
        return Err(fault(
            format!("`{said}` does not begin with `/`"),
            &format!("write `/{said}`"),
        ));
    }
    if path.starts_with("//") {
        let better = path.trim_start_matches('/');
        return Err(fault(
            format!("`{said}` begins with `//`, which names another host"),
            &format!("write `/{}`", shown(better)),
        ));
    }
    if path.len() > PATH_MAX {
        let message = format!("a path of {} characters, more than {PATH_MAX}", path.len());
        return Err(fault(message, "choose a shorter one"));
    }
    let mut faults = path
        .char_indices()
        .filter_map(|(at, c)| fault_of_character(path, at, c, query));
    faults.next().map_or(Ok(()), Err)
}

fn fault_of_character(path: &str, at: usize, c: char, query: bool) -> Option<Fault> {
    let (message, help) = match c {
        c if c.is_ascii_alphanumeric() || UNESCAPED.contains(&c) => return None,
        '?' if query => return None,
        '%' => {
            let escape = path.get(at + 1..at + 3);
            let digits = escape.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                None => (
                    "has a `%` without two hexadecimal digits".to_owned(),
                    "write `%25` for a `%`".to_owned(),
                ),
                Some(byte) if byte.is_ascii_control() => (
                    "has the escape of a control character".to_owned(),
                    "remove it".to_owned(),
                ),
                Some(_) => return None,
            }
        }
        '?' => (
            "has a query, and an endpoint's path has none".to_owned(),
            "leave out the `?` and what follows it: clients add their own".to_owned(),
        ),
        '#' => (
            "has a fragment, which no server sees".to_owned(),
            "leave out the `#` and what follows it, or write `%23`".to_owned(),
        ),
        '$' | '{' | '}' => (
            format!("has `{c}`, which clients take for a variable"),
            format!(
                "write the path itself, or `%{:02X}` for `{c}`",
                u32::from(c)
            ),
        ),
        _ => {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).bytes();
            let escaped: Vec<_> = bytes.map(|byte| format!("%{byte:02X}")).collect();
            let help = if c.is_control() {
                "remove it".to_owned()
            } else {
                format!("write `{}` for it", escaped.concat())
            };
            (
                format!("has U+{:04X}, which no path has", u32::from(c)),
                help,
            )
        }
    };
    Some(Fault {
        message: format!("`{}` {message}", shown(path)),
        help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_found() {
        for c in [
            '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}',
            '\u{2069}',
        ] {
            for used in [Use::Line, Use::Value] {
                let fault = fault(&format!("a{c}b"), used).expect("a fault");
                assert!(!fault.message.contains(c), "{fault:?}");
                let code = format!("U+{:04X}", u32::from(c));
                assert!(fault.message.contains(&code), "{fault:?}");
            }
        }
        for c in ['\n', '\r', '\t', '\u{200e}', '\u{200f}', '\u{61c}'] {
            let text = format!("a{c}b");
            assert!(fault(&text, Use::Line).is_some(), "{text:?}");
            assert_eq!(fault(&text, Use::Value), None, "{text:?}");
        }
        for text in ["Zoë", "שלום", "👩‍💻", "a b", ""] {
            assert_eq!(fault(text, Use::Line), None, "{text:?}");
        }
    }

    #[test]
    fn paths_are_those_of_the_rfc() {
        for path in [
            "/",
            "/mcp",
            "/vnc.html",
            "/a/b;c=1,2/@x:~_-.!*()+&",
            "/%C3%BC%20x",
        ] {
            assert_eq!(check_path(path, false), Ok(()), "{path}");
        }
        assert_eq!(check_path("/health?full=1&x=/?", true), Ok(()));
        for (path, message, help) in [
            ("mcp", "does not begin with `/`", "write `/mcp`"),
            ("", "does not begin", "write `/`"),
            (
                "//evil.example/x",
                "another host",
                "write `/evil.example/x`",
            ),
            (
                "/mcp?k=${AWS_SECRET_ACCESS_KEY}",
                "has a query",
                "leave out the `?`",
            ),
            ("/mcp/$HOME", "has `$`", "`%24`"),
            ("/{x}", "has `{`", "`%7B`"),
            ("/a b", "U+0020", "`%20`"),
            ("/a\"b", "U+0022", "`%22`"),
            ("/a'b", "U+0027", "`%27`"),
            ("/ü", "U+00FC", "`%C3%BC`"),
            ("/a\u{1b}[31m", "U+001B", "remove it"),
            ("/a\nb", "U+000A", "remove it"),
            ("/a\u{202e}b", "U+202E", ""),
            ("/a\\b", "U+005C", "`%5C`"),
            ("/a#b", "a fragment", "`%23`"),
            ("/100%", "without two hexadecimal digits", "`%25`"),
            ("/%zz", "without two hexadecimal digits", "`%25`"),
            ("/%0a", "escape of a control character", "remove it"),
            ("/%7F", "escape of a control character", "remove it"),
        ] {
            let fault = check_path(path, false).expect_err(path);
            assert!(fault.message.contains(message), "{path}: {fault:?}");
            assert!(fault.help.contains(help), "{path}: {fault:?}");
            assert!(!fault.message.contains(['\u{1b}', '\n', '\u{202e}']));
        }
        assert!(check_path("/x?k=$KEY", true).is_err());
        let long = check_path(&format!("/{}", "a".repeat(1024)), false);
        assert!(
            long.expect_err("too long")
                .message
                .contains("1025 characters")
        );
    }
}
