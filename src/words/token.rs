//! Bearer tokens, and the hashes that are kept of them.
//!
//! A token is `mcp_<id>_<secret>`:
//!
//! ```text
//! mcp_k3v9x0qa_<43 characters: the secret><6 characters: the checksum>
//! ```
//!
//! - `id`: 8 characters of Crockford's base 32 in lower case (40 random bits). No secret: the token is
//!   listed and revoked by it.
//! - the secret: 256 random bits in base 62, 43 characters of `0-9A-Za-z`.
//! - the checksum: CRC-32 (IEEE) of everything before it, in base 62, 6 characters, as GitHub has it. It
//!   lets a scanner tell a token from a look-alike without asking anyone. It guards nothing.
//!
//! For secret scanners, whose match is then proved by the checksum ([`Token::from_str`]):
//!
//! ```text
//! \bmcp_[0-9a-hjkmnp-tv-z]{8}_[0-9A-Za-z]{49}\b
//! ```
//!
//! What is hashed is the whole text, so a hash in a manifest may as well be that of someone's own token,
//! of any form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::name::{EndpointName, InstanceName};

/// What every token starts with.
const PREFIX: &str = "mcp_";
/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u`.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_BYTES: usize = 5;
const ID_CHARS: usize = 8;
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
/// The length of a token, in bytes.
pub const TOKEN_LENGTH: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;
/// How many random bytes make a token.
pub const TOKEN_RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

/// A token in plain text. It is shown once, to the person it was issued to; `Debug` shows its id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text is no token. It never repeats the text, which may be a secret with one slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form `mcp_<id>_<secret>`.
    #[error("no token: one is `mcp_`, an id of {ID_CHARS} characters, `_` and {} more", SECRET_CHARS + CHECKSUM_CHARS)]
    Form,
    /// The form is right, a character is not.
    #[error("a token's checksum does not fit: it was copied wrongly, or cut")]
    Checksum,
}

impl Token {
    /// A token made of random bytes: the first 5 for the id, 32 for the secret.
    pub fn from_random(bytes: &[u8; TOKEN_RANDOM_BYTES]) -> Self {
        let (id, secret) = bytes.split_at(ID_BYTES);
        let mut text = String::with_capacity(TOKEN_LENGTH);
        text.push_str(PREFIX);
        push_digits(&mut text, id, BASE32, ID_CHARS);
        text.push('_');
        push_digits(&mut text, secret, BASE62, SECRET_CHARS);
        let checksum = crc32fast::hash(text.as_bytes());
        push_digits(&mut text, &checksum.to_be_bytes(), BASE62, CHECKSUM_CHARS);
        Self(text)
    }

    /// The id, by which the token is listed and revoked. No secret.
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID_CHARS]
    }

    /// The hash that the store keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }

    /// The token itself, for the one place that must hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (id, secret) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(TokenError::Form)?;
        let is_secret = secret.len() == SECRET_CHARS + CHECKSUM_CHARS
            && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_token_id(id) || !is_secret {
            return Err(TokenError::Form);
        }
        let (body, checksum) = text.split_at(TOKEN_LENGTH - CHECKSUM_CHARS);
        let mut expected = String::with_capacity(CHECKSUM_CHARS);
        let sum = crc32fast::hash(body.as_bytes());
        push_digits(&mut expected, &sum.to_be_bytes(), BASE62, CHECKSUM_CHARS);
        if checksum != expected {
            return Err(TokenError::Checksum);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}{}_…)", self.id())
    }
}

/// Whether a text is the id of some token.
pub fn is_token_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|b| BASE32.contains(&b))
}

/// Appends a big-endian number as exactly `width` digits of `alphabet`, whose length is the base.
fn push_digits(text: &mut String, number: &[u8], alphabet: &[u8], width: usize) {
    let base = u32::try_from(alphabet.len()).expect("an alphabet is short");
    let mut number = number.to_vec();
    let mut digits = Vec::with_capacity(width);
    for _ in 0..width {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / base).expect("rest is below base, so this fits a byte");
            rest = value % base;
        }
        digits.push(char::from(alphabet[rest as usize]));
    }
    debug_assert!(
        number.iter().all(|byte| *byte == 0),
        "width holds every number of this length"
    );
    text.extend(digits.iter().rev());
}

/// The BLAKE3 hash of a whole token. Written `blake3:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

/// A text that is no token hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no token hash: write `blake3:` and 64 hexadecimal digits, as `instanced token hash` prints"
)]
pub struct TokenHashError;

impl TokenHash {
    /// The hash of a token as a client presents it.
    pub fn of(token: &[u8]) -> Self {
        Self(*blake3::hash(token).as_bytes())
    }

    /// Whether two hashes are equal, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl FromStr for TokenHash {
    type Err = TokenHashError;
    fn from_str(text: &str) -> Result<Self, TokenHashError> {
        let hex = text.strip_prefix("blake3:").ok_or(TokenHashError)?;
        if hex.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(TokenHashError);
        }
        blake3::Hash::from_hex(hex)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| TokenHashError)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = TokenHashError;
    fn try_from(text: String) -> Result<Self, TokenHashError> {
        text.parse()
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A hash in its form, of no token.
const EXAMPLE_HASH: &str =
    "blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl JsonSchema for TokenHash {
    fn schema_name() -> Cow<'static, str> {
        "TokenHash".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^blake3:[0-9a-f]{64}$", "examples": [EXAMPLE_HASH] })
    }
}

/// What a token is shown as, and so what it opens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// In `Authorization`, by an MCP client: opens bearer endpoints.
    #[default]
    Bearer,
    /// Once, in a link: becomes a session.
    Ticket,
    /// In a browser's cookie: opens one endpoint that is guarded by tickets.
    Session,
}

impl TokenKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
    fn is_bearer(&self) -> bool {
        *self == Self::Bearer
    }
}

/// What the store keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRecord {
    /// The id within the token, by which it is listed and revoked.
    pub id: String,
    /// Whose endpoints it opens.
    pub instance: InstanceName,
    /// What it is for.
    pub label: String,
    /// The hash of the whole token.
    pub hash: TokenHash,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// From when on it is no longer valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
    /// The endpoints it opens; all bearer endpoints of the instance when empty. A ticket and its session
    /// name exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointName>,
    /// What it is shown as.
    #[serde(default, skip_serializing_if = "TokenKind::is_bearer")]
    pub kind: TokenKind,
    /// Of a ticket: for how many seconds the session lasts that it becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_seconds: Option<u32>,
    /// The id of the token that replaces it: this one goes on until it expires, and its label is the other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

impl TokenRecord {
    /// Whether it is still valid at `now`, as far as time goes.
    pub fn is_live(&self, now: jiff::Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub record: TokenRecord,
    /// When it last opened something, to the minute or so; absent when that is not known to have happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<jiff::Timestamp>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(byte: u8) -> Token {
        Token::from_random(&[byte; TOKEN_RANDOM_BYTES])
    }

    #[test]
    fn the_format_is_fixed() {
        assert_eq!(
            token(0).expose(),
            format!("mcp_00000000_{}{}", "0".repeat(43), "0r3Y17")
        );
        let highest = token(255);
        assert_eq!(highest.id(), "zzzzzzzz");
        assert_eq!(highest.expose().len(), TOKEN_LENGTH);
        assert_eq!(TOKEN_LENGTH, 62);
    }

    #[test]
    fn debug_shows_the_id_and_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", token(255)), "Token(mcp_zzzzzzzz_…)");
    }

    #[test]
    fn what_is_no_token_is_told_apart_without_being_repeated() {
        let good = token(7).expose().to_owned();
        for bad in [
            "",
            "mcp_",
            "hunter2",
            &good[1..],
            &good[..60],
            &format!("{good}0"),
        ] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError::Form), "{bad}");
        }
        assert_eq!(
            good.replacen('_', "-", 1).parse::<Token>(),
            Err(TokenError::Form)
        );
        let slip = format!("{}x", &good[..TOKEN_LENGTH - 1]);
        assert_eq!(slip.parse::<Token>(), Err(TokenError::Checksum));
    }

    #[test]
    fn a_hash_reads_back_from_its_text() {
        let hash = token(3).hash();
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("blake3:".parse::<TokenHash>().is_err());
        assert!(
            hash.to_string()
                .to_uppercase()
                .parse::<TokenHash>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn every_token_reads_back(bytes in prop::array::uniform32(any::<u8>()), id in prop::array::uniform5(any::<u8>())) {
            let mut random = [0; TOKEN_RANDOM_BYTES];
            random[..ID_BYTES].copy_from_slice(&id);
            random[ID_BYTES..].copy_from_slice(&bytes);
            let token = Token::from_random(&random);
            prop_assert!(is_token_id(token.id()));
            prop_assert_eq!(token.expose().parse::<Token>(), Ok(token.clone()));
        }

        #[test]
        fn a_changed_character_is_noticed(at in 0..TOKEN_LENGTH, to in "[0-9A-Za-z_]") {
            let good = token(0xa5);
            let mut text = good.expose().to_owned();
            text.replace_range(at..=at, &to);
            prop_assert_eq!(text.parse::<Token>().is_ok(), text == good.expose());
        }

        #[test]
        fn no_text_makes_the_parser_fail_otherwise(text in "\\PC*") {
            let _ = text.parse::<Token>();
        }
    }
}
