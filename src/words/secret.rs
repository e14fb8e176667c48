//! Secrets: where a value comes from, and how one is compared without being shown.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The secret that holds the VNC password.
pub const VNC_PASSWORD: &str = "vnc_password";
/// The secret that holds the VNC password of those who may look, and no more.
pub const VNC_VIEW_PASSWORD: &str = "vnc_view_password";
/// How many bytes of a password VNC's protocol counts.
pub const VNC_PASSWORD_COUNTS: usize = 8;
/// Where secrets stand inside an instance.
pub const DIRECTORY: &str = "/run/secrets";

/// A secret's name: its file's name under `/run/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// A text that is no secret's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no secret's name: it is a file's name of letters, digits, `_`, `-` and `.`")]
pub struct SecretNameError(String);

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = SecretNameError;
    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(plain)
        {
            return Err(SecretNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SecretName {
    type Error = SecretNameError;
    fn try_from(text: String) -> Result<Self, SecretNameError> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for SecretName {
    fn schema_name() -> Cow<'static, str> {
        "SecretName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$" })
    }
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file on the daemon's host.
    File(String),
    /// A variable of the daemon's environment.
    Env(String),
    /// Made by the daemon and kept in its store.
    Generated,
}

/// A secret of a spec. The value itself is nowhere in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSpec {
    /// Where the value comes from.
    pub from: SecretSource,
    /// What the value was; absent until the daemon has read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<Fingerprint>,
}

/// A keyed hash of a secret's value: equal prints under one key mean equal values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Which key; prints under different keys say nothing about each other.
    pub key: String,
    /// BLAKE3 keyed hash, 64 hexadecimal digits.
    pub hash: String,
}

/// The key for fingerprints, one a state directory.
#[derive(Clone)]
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// A key from 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint of a value under this key.
    pub fn print(&self, value: &SecretValue) -> Fingerprint {
        Fingerprint {
            key: blake3::hash(&self.0).to_hex()[..8].to_owned(),
            hash: blake3::keyed_hash(&self.0, value.expose())
                .to_hex()
                .to_string(),
        }
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

/// A secret's value. Neither `Debug` nor serde shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Wraps a value.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The value, for the one place that must hand it on.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether VNC takes both for the same password: it counts the first bytes of the first line.
    pub fn is_same_vnc_password(&self, other: &Self) -> bool {
        let counts = |value: &Self| {
            let line = value.0.split(|byte| *byte == b'\n').next();
            let line = line.unwrap_or_default();
            line[..line.len().min(VNC_PASSWORD_COUNTS)].to_vec()
        };
        counts(self) == counts(other)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_like_a_plain_file() {
        for good in ["api_key", "tls.crt", "A-1"] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", ".hidden"] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_never_shows_in_debug() {
        let value = SecretValue::new(b"hunter2".to_vec());
        let print = FingerprintKey::new([7; 32]).print(&value);
        assert!(!format!("{value:?} {print:?}").contains("hunter2"));
    }

    #[test]
    fn vnc_counts_eight_bytes_of_the_first_line() {
        let same = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| SecretValue::new(text.into()));
            one.is_same_vnc_password(&other)
        };
        assert!(same("12345678-mine", "12345678-theirs"));
        assert!(same("short", "short\nmore"));
        assert!(!same("short", "shorter"));
        assert!(!same("1234567\n", "12345678"));
    }

    #[test]
    fn prints_differ_by_key_and_by_value() {
        let (one, two) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let (a, b) = (
            SecretValue::new(b"a".to_vec()),
            SecretValue::new(b"b".to_vec()),
        );
        assert_eq!(one.print(&a), one.print(&a));
        assert_ne!(one.print(&a).hash, one.print(&b).hash);
        assert_ne!(one.print(&a).key, two.print(&a).key);
    }
}
