//! Secrets in the output of an instance, replaced before a person sees the output.
//!
//! Redaction catches accidents: a stack trace with a key, a dump of the environment. An instance that encrypts what it
//! prints passes it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;

/// The text in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Shorter values stay: they occur by chance everywhere.
const VALUE_MIN: usize = 4;
/// Shorter lines of a value of several lines stay, such as `-----` or `{`.
const LINE_MIN: usize = 8;
/// Shorter encoded values occur by chance.
const ENCODED_MIN: usize = 6;
/// A word of this length that is a piece of a secret is redacted: a wrapped or truncated secret.
const PIECE_MIN: usize = 16;
/// The needles are found by this many of their first bytes.
const PREFIX: usize = 4;

/// Replaces the values of one instance's secrets in text: as they are, line by line, as base64 (standard and URL-safe,
/// at any offset), hexadecimal, percent-encoded and escaped as in JSON.
#[derive(Clone, Default)]
pub struct Redactor {
    /// What must not be shown, by its first bytes; the longest first.
    needles: HashMap<[u8; PREFIX], Vec<Vec<u8>>>,
    /// Whole values and their encodings, for pieces of them.
    wholes: Vec<String>,
}

impl Redactor {
    /// A redactor of these values.
    pub fn new<'s>(secrets: impl Iterator<Item = &'s [u8]>) -> Self {
        let mut redactor = Self::default();
        let mut needles: BTreeSet<Vec<u8>> = BTreeSet::new();
        for value in secrets {
            let trimmed = value.trim_ascii();
            if trimmed.len() < VALUE_MIN {
                continue;
            }
            needles.insert(trimmed.to_vec());
            redactor.add_encoded(value, &mut needles);
            redactor.add_encoded(trimmed, &mut needles);
            for line in trimmed.split(|byte| matches!(byte, b'\n' | b'\r')) {
                let line = line.trim_ascii();
                if line.len() >= LINE_MIN && line.len() < trimmed.len() {
                    needles.insert(line.to_vec());
                    redactor.add_encoded(line, &mut needles);
                }
            }
            redactor
                .wholes
                .extend(std::str::from_utf8(trimmed).map(str::to_owned));
        }
        redactor.wholes.sort_unstable();
        redactor.wholes.dedup();
        for needle in needles {
            if let Some(prefix) = needle.first_chunk::<PREFIX>() {
                redactor.needles.entry(*prefix).or_default().push(needle);
            }
        }
        for group in redactor.needles.values_mut() {
            group.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        }
        redactor
    }

    fn add_encoded(&mut self, value: &[u8], needles: &mut BTreeSet<Vec<u8>>) {
        let mut add = |encoded: String| {
            if encoded.len() >= ENCODED_MIN {
                needles.insert(encoded.clone().into_bytes());
                self.wholes.push(encoded);
            }
        };
        let hex = |digits: &[u8; 16]| {
            let both = |byte: &u8| [byte >> 4, byte & 15].map(|half| digits[usize::from(half)]);
            let text = value.iter().flat_map(both).map(char::from);
            text.collect::<String>()
        };
        add(hex(b"0123456789abcdef"));
        add(hex(b"0123456789ABCDEF"));
        for last in [*b"+/", *b"-_"] {
            for offset in 0..3 {
                let (inner, whole) = base64(value, offset, last);
                add(inner);
                if offset == 0 {
                    add(whole);
                }
            }
        }
    }

    /// The text without secrets.
    pub fn line<'l>(&self, line: &'l str) -> Cow<'l, str> {
        if self.needles.is_empty() {
            return Cow::Borrowed(line);
        }
        let plain = View::of(line);
        let mut found = self.occurrences(&plain);
        for decoded in plain.decoded() {
            found.extend(self.occurrences(&decoded));
        }
        found.extend(self.pieces(line));
        if found.is_empty() {
            return Cow::Borrowed(line);
        }
        Cow::Owned(without(line, found))
    }

    /// The places of the needles in the line, in bytes of the line.
    fn occurrences(&self, view: &View) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (start, prefix) in view.bytes.windows(PREFIX).enumerate() {
            let Some(group) = self.needles.get(prefix) else {
                continue;
            };
            let rest = &view.bytes[start..];
            if let Some(needle) = group.iter().find(|needle| rest.starts_with(needle)) {
                found.push(view.places[start]..view.places[start + needle.len()]);
            }
        }
        found
    }

    /// The places of words that are pieces of a secret.
    fn pieces(&self, line: &str) -> Vec<Range<usize>> {
        let is_apart = |c: char| !(c.is_ascii_alphanumeric() || "+/_-".contains(c));
        let words = line
            .split(is_apart)
            .filter(|word| word.len() >= PIECE_MIN)
            .filter(|word| self.wholes.iter().any(|whole| whole.contains(*word)));
        let place = |word: &str| {
            let start = word.as_ptr() as usize - line.as_ptr() as usize;
            start..start + word.len()
        };
        words.map(place).collect()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

/// The line with [`REDACTED`] at these places, each of which begins and ends between two characters or is widened to.
fn without(line: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|place| (place.start, place.end));
    let (mut text, mut done) = (String::new(), 0);
    let mut places = found.into_iter().peekable();
    while let Some(mut place) = places.next() {
        while let Some(next) = places.next_if(|next| next.start <= place.end) {
            place.end = place.end.max(next.end);
        }
        let start = (0..=place.start).rfind(|at| line.is_char_boundary(*at));
        let end = (place.end..=line.len()).find(|at| line.is_char_boundary(*at));
        let (start, end) = (start.unwrap_or(0), end.unwrap_or(line.len()));
        text += line.get(done..start).unwrap_or_default();
        text += REDACTED;
        done = end.max(done);
    }
    text + line.get(done..).unwrap_or_default()
}

/// The value as base64 behind `offset` other bytes: the characters that depend on the value alone, and all of them.
/// `last` are the last two digits of the alphabet.
fn base64(value: &[u8], offset: usize, last: [u8; 2]) -> (String, String) {
    let digit = |six: u8| match six {
        0..26 => b'A' + six,
        26..52 => b'a' + (six - 26),
        52..62 => b'0' + (six - 52),
        _ => last[usize::from(six) - 62],
    };
    let bit = |place: usize| {
        let byte = place
            .checked_sub(offset * 8)
            .and_then(|at| value.get(at / 8).copied());
        byte.map_or(0, |byte| byte >> (7 - place % 8) & 1)
    };
    let bits = (offset + value.len()) * 8;
    let six = |at: usize| (at * 6..at * 6 + 6).fold(0, |six, place| six << 1 | bit(place));
    let all: String = (0..bits.div_ceil(6))
        .map(|at| char::from(digit(six(at))))
        .collect();
    let inner = (offset * 8).div_ceil(6)..bits / 6;
    (all.get(inner).unwrap_or_default().to_owned(), all)
}

/// Bytes that a text stands for, each with its place in the text; the last place is the text's end.
#[derive(PartialEq, Eq)]
struct View {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl View {
    fn of(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            places: (0..=text.len()).collect(),
        }
    }

    /// What it stands for once decoded, in each way in which it can be.
    fn decoded(&self) -> Vec<Self> {
        let mut views = Vec::new();
        if self.bytes.contains(&b'%') {
            views.push(self.decode(b'%', |rest| Some((vec![hex_byte(rest)?], 2))));
        }
        if self.bytes.contains(&b'\\') {
            let once = self.decode(b'\\', unescape);
            // JSON within JSON.
            if once.bytes.contains(&b'\\') {
                views.push(once.decode(b'\\', unescape));
            }
            views.push(once);
        }
        views
    }

    /// Every `mark` with what follows it, as far as `read` knows it: what it stands for, and its length behind the mark.
    fn decode(&self, mark: u8, read: impl Fn(&[u8]) -> Option<(Vec<u8>, usize)>) -> Self {
        let (mut bytes, mut places, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(byte) = self.bytes.get(at) {
            let known = (*byte == mark)
                .then(|| read(&self.bytes[at + 1..]))
                .flatten();
            let (decoded, length) = known.unwrap_or_else(|| (vec![*byte], 0));
            places.extend(decoded.iter().map(|_| self.places[at]));
            bytes.extend(decoded);
            at += 1 + length;
        }
        places.push(self.places[at]);
        Self { bytes, places }
    }
}

fn hex_byte(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.get(..2)?).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// What an escape stands for, behind its backslash: those of JSON, and `\xXX`.
fn unescape(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let one = |byte: u8| Some((vec![byte], 1));
    match rest.first()? {
        b'n' => one(b'\n'),
        b'r' => one(b'\r'),
        b't' => one(b'\t'),
        b'b' => one(8),
        b'f' => one(12),
        byte @ (b'"' | b'\'' | b'\\' | b'/') => one(*byte),
        b'x' => Some((vec![hex_byte(&rest[1..])?], 3)),
        b'u' => {
            let unit = |at: usize| {
                let (high, low) = (hex_byte(rest.get(at..)?)?, hex_byte(rest.get(at + 2..)?)?);
                Some(u16::from_be_bytes([high, low]))
            };
            let first = unit(1)?;
            let second = rest
                .get(5..7)
                .filter(|next| *next == b"\\u")
                .and_then(|_| unit(7));
            let (units, length) = match second {
                Some(second) if (0xd800..0xdc00).contains(&first) => (vec![first, second], 11),
                _ => (vec![first], 5),
            };
            let text = String::from_utf16(&units).ok()?;
            Some((text.into_bytes(), length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n\
        MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n\
        q0/+Qw==\n-----END PRIVATE KEY-----\n";

    fn redacted(secret: &str, line: &str) -> String {
        let redactor = Redactor::new([secret.as_bytes()].into_iter());
        redactor.line(line).into_owned()
    }

    #[test]
    fn a_value_is_replaced_wherever_it_occurs() {
        for (line, expected) in [
            ("key=hunter2!x, hunter2!x", "key=[redacted], [redacted]"),
            ("hunter2!xhunter2!x", "[redacted]"),
            ("ü hunter2!x ü", "ü [redacted] ü"),
            ("nothing here", "nothing here"),
            ("", ""),
        ] {
            assert_eq!(redacted("hunter2!x\n", line), expected, "{line}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_replaced() {
        for line in KEY.lines().filter(|line| line.len() >= LINE_MIN) {
            assert_eq!(redacted(KEY, &format!("err: {line}")), "err: [redacted]");
        }
        let crlf = KEY.replace('\n', "\r\n");
        assert_eq!(redacted(&crlf, KEY.lines().nth(1).unwrap()), REDACTED);
        // The end of a line is a piece of it.
        let tail = &KEY.lines().nth(2).unwrap()[20..];
        assert_eq!(redacted(KEY, tail), REDACTED);
    }

    #[test]
    fn common_encodings_are_replaced() {
        // A value with characters that every encoding treats in its own way.
        let secret = "p\u{e4}ss \"w\\rd\"/+?&=>>>~~";
        let json = serde_json::to_string(secret).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let percent: Vec<String> = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let percent = percent.concat();
        let unicode = json.replace('\u{e4}', "\\u00e4");
        for (line, expected) in [
            (json.as_str(), "\"[redacted]\""),
            (twice.as_str(), "\"\\\"[redacted]\\\"\""),
            (percent.as_str(), REDACTED),
            (
                "p%C3%A4ss%20%22w%5Crd%22%2F%2B%3F%26%3D%3E%3E%3E~~",
                REDACTED,
            ),
            (unicode.as_str(), "\"[redacted]\""),
        ] {
            assert_eq!(redacted(secret, line), expected, "{line}");
        }
        let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        assert_eq!(redacted(secret, &hex), REDACTED);
        assert_eq!(redacted(secret, &hex.to_uppercase()), REDACTED);
    }

    #[test]
    fn base64_is_replaced_at_any_offset_and_in_both_alphabets() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{
            STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
        };
        let secret = "s\u{fb}\u{ff}ecret>>>???~~~1";
        for before in ["", "u", "ur", "user:"] {
            let text = format!("{before}{secret}{before}");
            let standard = [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text)];
            let safe = [URL_SAFE.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
            for line in standard.iter().chain(&safe) {
                let left = redacted(secret, line).replace(REDACTED, "");
                // The characters at both ends depend on what is beside the secret, too.
                assert!(left.len() <= 2 * before.len() * 4 / 3 + 5, "{line}: {left}");
                assert!(before.is_empty() || left != *line, "{line}");
            }
        }
        assert_eq!(
            redacted(secret, &STANDARD.encode(secret)).replace('=', ""),
            REDACTED
        );
        assert_eq!(redacted(secret, &URL_SAFE_NO_PAD.encode(secret)), REDACTED);
        // As `base64` wraps its lines.
        let encoded = STANDARD.encode(KEY);
        for line in encoded.as_bytes().chunks(76) {
            let line = std::str::from_utf8(line).unwrap();
            let left = redacted(KEY, line).replace(REDACTED, "").replace('=', "");
            assert!(left.len() < PIECE_MIN, "{line}: {left}");
        }
    }

    #[test]
    fn short_values_and_lines_stay() {
        assert_eq!(redacted("abc", "abc"), "abc");
        assert_eq!(redacted("{\n  \"a\": 1\n}", "{ } \"a\""), "{ } \"a\"");
        assert_eq!(redacted("", "text"), "text");
    }

    #[test]
    fn bytes_that_are_no_text_are_found_encoded() {
        let redactor = Redactor::new([&b"\xff\xfe\x00\x01\x80\x90"[..]].into_iter());
        assert_eq!(redactor.line("= fffe00018090"), "= [redacted]");
        assert_eq!(redactor.line("%ff%FE%00%01%80%90"), REDACTED);
        assert_eq!(format!("{redactor:?}"), "Redactor(…)");
    }
}
