//! The grammar of an image reference, as registries and engines define it.
//!
//! `[DOMAIN[:PORT]/]PATH[:TAG][@DIGEST]`. A reference that breaks it reaches no engine: one engine answers with an
//! error that looks like its own absence, and one manifest must not stop the others.

use super::text::{Fault, shown};

/// The longest repository name, its domain included.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// The longest reference: name, tag, and the longest digest, each with its sign.
const LENGTH_MAX: usize = NAME_MAX + 1 + TAG_MAX + 1 + "sha512:".len() + 128;
/// Algorithms that engines accept, and the length of their digests in hexadecimal digits.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
/// Quotes that word processors put in place of the plain ones.
const TYPOGRAPHIC: [char; 10] = ['“', '”', '„', '«', '»', '‘', '’', '‚', '‹', '›'];

/// A regular expression with the same meaning, for the schema. It knows no length of the name.
pub const PATTERN: &str = "^(((localhost|[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+|\\[[0-9a-fA-F:]+\\])(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5})/)?\
[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*\
(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?\
(@(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?$";

/// The image of the built-in template, as `image/build.sh` names it.
pub const BROWSER: &str = "localhost/instanced/browser:1";

/// Whether the reference names an image that only this host can have, so that no registry is asked for it.
pub fn is_local(reference: &str) -> bool {
    reference.starts_with("localhost/")
}

/// The registry that a reference leads to.
pub fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if is_domain(first) => first,
        _ => "docker.io",
    }
}

/// A fault whose remedy is not chosen yet.
struct Found {
    message: String,
    /// The text to write instead, if it is sound.
    better: Option<String>,
    /// The remedy otherwise.
    help: String,
}

impl Found {
    fn or_write(self, better: impl Into<String>) -> Self {
        Self {
            better: Some(better.into()),
            ..self
        }
    }
}

/// Checks a reference.
///
/// # Errors
/// The first fault, with the text to write instead where it is known.
pub fn check(text: &str) -> Result<(), Fault> {
    let Err(found) = examine(text) else {
        return Ok(());
    };
    // A suggestion is examined, but gets no suggestion of its own: a text could hold thousands, one in another.
    let better = found.better.filter(|better| examine(better).is_ok());
    Err(Fault {
        message: found.message,
        help: better.map_or(found.help, |better| format!("write `{better}`")),
    })
}

fn examine(text: &str) -> Result<(), Found> {
    if text.len() > LENGTH_MAX {
        return Err(fault(
            format!(
                "{} bytes, more than the {LENGTH_MAX} of the longest image reference",
                text.len()
            ),
            "write the name of an image, such as `acme/mcp-server:3`",
        ));
    }
    if let Some(found) = beside_the_grammar(text) {
        return Err(found);
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash begins a port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
        None => (rest, None),
    };
    check_name(text, name)?;
    tag.map_or(Ok(()), |tag| check_tag(name, tag))?;
    digest.map_or(Ok(()), |digest| check_digest(rest, digest))
}

fn fault(message: impl Into<String>, help: impl Into<String>) -> Found {
    Found {
        message: message.into(),
        better: None,
        help: help.into(),
    }
}

/// Mistakes that are no near miss of the grammar, but something else altogether.
fn beside_the_grammar(text: &str) -> Option<Found> {
    let said = shown(text);
    if text.contains(TYPOGRAPHIC) {
        let message = format!("`{said}` has typographic quotes");
        let found = fault(message, "write plain quotes, or none");
        return Some(found.or_write(text.replace(TYPOGRAPHIC, "")));
    }
    if text.trim() != text {
        let message = format!("`{said}` begins or ends with a space");
        return Some(fault(message, "remove the space").or_write(text.trim()));
    }
    if let Some((scheme, rest)) = text.rsplit_once("://") {
        let message = format!("`{said}` is a URL, and an image has no scheme");
        let help = format!("leave out `{}://`", shown(scheme));
        return Some(fault(message, help).or_write(rest));
    }
    if text.contains(['$', '{', '}']) {
        return Some(fault(
            format!("`{said}` has a variable, and none is filled in here"),
            "write the name and the tag themselves, such as `acme/mcp-server:3`",
        ));
    }
    if text.starts_with('-') {
        let message = format!("`{said}` begins with `-`");
        let found = fault(message, "begin with a letter or a digit");
        return Some(found.or_write(text.trim_start_matches('-')));
    }
    None
}

fn check_name(whole: &str, name: &str) -> Result<(), Found> {
    let said = shown(whole);
    if name.len() > NAME_MAX {
        return Err(fault(
            format!(
                "a repository of {} characters, more than {NAME_MAX}",
                name.len()
            ),
            "choose a shorter name",
        ));
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if is_domain(first) => (Some(first), path),
        _ => (None, name),
    };
    if let Some(domain) = domain {
        check_domain(&said, domain)?;
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = path.to_ascii_lowercase();
        let better = whole.replacen(path, &lower, 1);
        let message = format!("the repository `{}` has capitals", shown(path));
        return Err(fault(message, "write it in lower case").or_write(better));
    }
    for part in path.split('/') {
        if let Some(c) = part.chars().find(|c| !is_path_character(*c)) {
            return Err(fault(
                format!("`{said}` has {}, which no image's name has", named(c)),
                "a name is made of a-z, 0-9, `.`, `_`, `-` and `/`, such as `ghcr.io/acme/mcp-server:3`",
            ));
        }
        if part.is_empty() {
            return Err(fault(
                format!("`{said}` has an empty part"),
                "write a name before the tag and on both sides of each `/`, such as `acme/mcp-server:3`",
            ));
        }
        if !is_path_component(part) {
            return Err(fault(
                format!("`{}` is no part of an image's name", shown(part)),
                "begin and end it with a letter or a digit; between them, one `.`, one or two `_`, or any number of `-`",
            ));
        }
    }
    Ok(())
}

/// Whether the first part of a name is a registry. Engines decide by the same signs.
fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '['])
}

fn check_domain(said: &str, domain: &str) -> Result<(), Found> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                (None, Some(port).filter(|port| !port.is_empty()))
            }
            _ => (Some(domain), None),
        },
        None => match domain.find(':') {
            Some(colon) => (Some(&domain[..colon]), Some(&domain[colon..])),
            None => (Some(domain), None),
        },
    };
    let is_port = |text: &str| {
        let digits = text.strip_prefix(':').unwrap_or_default();
        digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(fault(
            format!("`{said}`: `{}` has no port behind its `:`", shown(domain)),
            "write a port from 1 to 65535, such as `registry.example.com:5000/acme/mcp-server:3`",
        ));
    }
    let label = |label: &str| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.bytes().all(fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_some_and(|host| !host.split('.').all(label)) {
        return Err(fault(
            format!("`{said}`: `{}` is no registry's host name", shown(domain)),
            "such as `registry.example.com` or `localhost:5000`",
        ));
    }
    Ok(())
}

fn is_path_character(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

/// Runs of letters and digits with a separator between them: `.`, `_`, `__`, or hyphens.
fn is_path_component(part: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    let mut separators = part.split(is_letter).filter(|between| !between.is_empty());
    part.starts_with(is_letter)
        && part.ends_with(is_letter)
        && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn check_tag(name: &str, tag: &str) -> Result<(), Found> {
    if tag.is_empty() {
        return Err(fault(
            format!("`{}:` has a `:` and no tag", shown(name)),
            format!("write a tag, such as `{}:1`", shown(name)),
        ));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.len() > TAG_MAX || tag.starts_with(['.', '-']) || !tag.chars().all(fine) {
        return Err(fault(
            format!("`{}` is no tag", shown(tag)),
            format!(
                "a tag is made of letters, digits, `_`, `.` and `-`, {TAG_MAX} at most, and begins with neither `.` nor `-`"
            ),
        ));
    }
    Ok(())
}

fn check_digest(rest: &str, digest: &str) -> Result<(), Found> {
    let (algorithm, digits) = digest.split_once(':').unwrap_or((digest, ""));
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let known = DIGESTS.iter().find(|(name, _)| *name == algorithm);
    if known.is_some_and(|(_, length)| digits.len() == *length && digits.bytes().all(hex)) {
        return Ok(());
    }
    Err(fault(
        format!("`{}` is no digest", shown(digest)),
        format!(
            "write `{}@sha256:` and 64 hexadecimal digits in lower case, as `docker images --digests` prints them",
            shown(rest)
        ),
    ))
}

fn named(c: char) -> String {
    if c.is_whitespace() || c.is_control() || !c.is_ascii() {
        format!("the character U+{:04X}", u32::from(c))
    } else {
        format!("`{c}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// References that engines accept.
    fn good() -> Vec<String> {
        let mut good: Vec<String> = [
            "x",
            "x:1",
            "localhost/instanced/browser:1",
            "localhost:5000/x",
            "127.0.0.1:5000/acme/x:1.2",
            "[::1]:5000/x:1",
            "ghcr.io/acme/mcp-server:V1.2_rc-3",
            "Registry.Example.com/acme/x:1",
            "host:5000/a/b/c",
            "a.b/c__d/e-f---g.h:_x",
            "acme/x",
        ]
        .map(str::to_owned)
        .into();
        good.push(format!("x@sha256:{HEX}"));
        good.push(format!("ghcr.io/acme/x:1@sha256:{HEX}"));
        good.push(format!("x@sha512:{HEX}{HEX}"));
        good.push(format!("sha256:{HEX}"));
        good.push(format!("x:{}", "a".repeat(128)));
        good.push("a".repeat(255));
        good
    }

    #[test]
    fn references_of_registries_are_sound() {
        for text in good() {
            assert_eq!(check(&text), Ok(()), "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_remedy() {
        for (text, message, help) in [
            (
                "ghcr.io/AcmeCorp/mcp:1.2",
                "has capitals",
                "write `ghcr.io/acmecorp/mcp:1.2`",
            ),
            (
                "AcmeCorp/mcp:1.2",
                "has capitals",
                "write `acmecorp/mcp:1.2`",
            ),
            ("X:1", "has capitals", "write `x:1`"),
            ("x:", "has a `:` and no tag", "such as `x:1`"),
            ("x:${TAG}", "has a variable", "the tag themselves"),
            (
                "x@sha256:123",
                "`sha256:123` is no digest",
                "write `x@sha256:` and 64",
            ),
            ("x@", "`` is no digest", "64 hexadecimal"),
            ("-x:1", "begins with `-`", "write `x:1`"),
            ("http://ghcr.io/x/y:1", "no scheme", "write `ghcr.io/x/y:1`"),
            ("docker://x:1", "no scheme", "write `x:1`"),
            ("“x:1”", "typographic quotes", "write `x:1`"),
            ("‘x:1’", "typographic quotes", "write `x:1`"),
            ("x:1 ", "ends with a space", "write `x:1`"),
            ("x:1\u{a0}", "ends with a space", "write `x:1`"),
            ("x :1", "has the character U+0020", "a name is made of"),
            ("a//b:1", "has an empty part", "each `/`"),
            ("/x:1", "has an empty part", "each `/`"),
            ("x/:1", "has an empty part", "before the tag"),
            (":1", "has an empty part", "before the tag"),
            (
                "a..b/c/d:1",
                "no registry's host name",
                "registry.example.com",
            ),
            ("acme/a..b:1", "`a..b` is no part", "one `.`"),
            ("acme/_a:1", "`_a` is no part", "begin and end"),
            ("host:/x:1", "has no port", "1 to 65535"),
            ("host:99999/x:1", "has no port", "1 to 65535"),
            ("host:+80/x:1", "has no port", "1 to 65535"),
            ("[zz]/x:1", "no registry's host name", ""),
            ("x:.1", "`.1` is no tag", "begins with neither"),
            ("x:1:2", "`1:2` is no tag", ""),
            ("x\u{1b}[31m:1", "has the character U+001B", ""),
            ("x\u{202e}:1", "has the character U+202E", ""),
            ("Ümlaut:1", "has the character U+00DC", ""),
        ] {
            let fault = check(text).expect_err(text);
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert!(fault.help.contains(help), "{text}: {fault:?}");
            assert!(!fault.message.contains(['\u{1b}', '\u{202e}']), "{text}");
        }
        let long = check(&"a".repeat(256)).expect_err("too long");
        assert!(long.message.contains("256 characters"), "{long:?}");
    }

    #[test]
    fn a_text_of_a_megabyte_is_refused_before_it_is_examined() {
        // Each `://`, quote or hyphen must cost no stack and no copy of the rest.
        for piece in ["://", "“", "-", " x", "A/", "a:", "@", "${"] {
            let fault = check(&piece.repeat((1 << 20) / piece.len())).expect_err(piece);
            assert!(
                fault.message.contains("longest image reference"),
                "{fault:?}"
            );
        }
        let schemes = "://".repeat(LENGTH_MAX / 3);
        assert!(
            check(&schemes)
                .expect_err("a URL")
                .help
                .starts_with("leave out")
        );
        let twice = check("http://docker://x:1").expect_err("a URL");
        assert_eq!(twice.help, "write `x:1`");
    }

    #[test]
    fn a_suggestion_gets_no_suggestion_of_its_own() {
        let nested = check("http://-X:1").expect_err("a URL");
        assert_eq!(nested.help, "leave out `http://`");
    }

    #[test]
    fn the_longest_reference_is_sound() {
        let name = "a".repeat(NAME_MAX);
        let tag = "t".repeat(TAG_MAX);
        let longest = format!("{name}:{tag}@sha512:{HEX}{HEX}");
        assert_eq!(longest.len(), LENGTH_MAX);
        assert_eq!(check(&longest), Ok(()));
    }
}
