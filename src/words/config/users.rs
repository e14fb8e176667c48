//! Which users and groups an instance may be.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::words::manifest::EnvValue;

/// The highest id: `u32::MAX` means "no change" to the kernel.
pub const ID_HIGHEST: u32 = u32::MAX - 1;

/// Which users and groups an instance may be; no other is allowed. By default every one but root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct UserPolicy {
    /// User ids, as numbers or ranges such as `1000-1999`.
    pub uids: Vec<IdRange>,
    /// Group ids, the same way.
    pub gids: Vec<IdRange>,
}

impl Default for UserPolicy {
    fn default() -> Self {
        let all_but_root = IdRange {
            first: 1,
            last: ID_HIGHEST,
        };
        Self {
            uids: vec![all_but_root],
            gids: vec![all_but_root],
        }
    }
}

impl UserPolicy {
    /// Whether an instance may be this user.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.uids.iter().any(|range| range.has(uid))
    }

    /// Whether an instance may be of this group.
    pub fn has_gid(&self, gid: u32) -> bool {
        self.gids.iter().any(|range| range.has(gid))
    }
}

/// Ids from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EnvValue", into = "String")]
pub struct IdRange {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl IdRange {
    fn has(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// An id in its one form: decimal digits, without sign and leading zeros.
pub fn id(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    let id: u32 = text.parse().ok().filter(|_| is_plain && is_short)?;
    (id <= ID_HIGHEST).then_some(id)
}

impl TryFrom<EnvValue> for IdRange {
    type Error = String;
    fn try_from(EnvValue(text): EnvValue) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (id(first), id(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "`{text}` is no range of ids; write 1000 or 1000-1999"
            )),
        }
    }
}

impl From<IdRange> for String {
    fn from(range: IdRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

impl JsonSchema for IdRange {
    fn schema_name() -> Cow<'static, str> {
        "IdRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^(0|[1-9][0-9]*)(-(0|[1-9][0-9]*))?$",
            "minimum": 0,
            "maximum": ID_HIGHEST,
            "examples": [1000, "1000-1999"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_no_user_of_an_instance_by_default() {
        let policy = UserPolicy::default();
        assert!(!policy.has_uid(0) && !policy.has_gid(0));
        assert!(policy.has_uid(1) && policy.has_gid(ID_HIGHEST));
    }

    #[test]
    fn an_id_has_one_form() {
        for text in [
            "",
            "00",
            "+0",
            "-0",
            " 0",
            "01000",
            "0x0",
            "1e3",
            "root",
            "4294967295",
            "٣",
        ] {
            assert_eq!(id(text), None, "{text:?}");
        }
        assert_eq!((id("0"), id("1000")), (Some(0), Some(1000)));
    }

    #[test]
    fn a_range_reads_back_as_it_was_written() {
        for text in ["0", "1000-1999"] {
            let range = IdRange::try_from(EnvValue(text.to_owned())).expect("a range");
            assert_eq!(range.to_string(), text);
        }
        for text in ["2-1", "1-", "-1", "a", "0-4294967295"] {
            assert!(
                IdRange::try_from(EnvValue(text.to_owned())).is_err(),
                "{text}"
            );
        }
    }
}
