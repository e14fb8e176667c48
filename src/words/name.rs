//! Names that become DNS labels, host names and container names. A value of these types is valid.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest DNS label, in bytes (RFC 1035, section 2.3.4).
pub const LABEL_MAX: usize = 63;
/// The longest host name in its textual form, in bytes (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("a name must not be empty")]
    Empty,
    /// A DNS label has at most 63 bytes.
    #[error("`{text}` has {length} characters, a DNS label at most {LABEL_MAX}")]
    TooLong {
        /// The text as given.
        text: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A character that a DNS label cannot hold.
    #[error("`{text}` is no DNS label: {character:?} is not among a-z, 0-9 and `-`")]
    Character {
        /// The text as given.
        text: String,
        /// The first such character.
        character: char,
    },
    /// A hyphen at either end.
    #[error("`{0}` is no DNS label: it must start and end with a letter or a digit")]
    Edge(String),
    /// A host name has at most 253 bytes.
    #[error("a host name has at most {HOST_MAX} characters, this one {0}")]
    HostTooLong(usize),
}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(character) = text
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
    {
        return Err(NameError::Character {
            text: text.to_owned(),
            character,
        });
    }
    if text.len() > LABEL_MAX {
        return Err(NameError::TooLong {
            text: text.to_owned(),
            length: text.len(),
        });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Edge(text.to_owned()));
    }
    Ok(())
}

macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $schema_name:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_label(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema_name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": LABEL_MAX,
                    "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                    "examples": [$example],
                })
            }
        }
    };
}

label_type! {
    /// An instance's name: a DNS label, the stem of its manifest.
    InstanceName, "InstanceName", "alice"
}
label_type! {
    /// An endpoint's name: a DNS label, the first part of its host name.
    EndpointName, "EndpointName", "mcp"
}
label_type! {
    /// The name under which a daemon owns containers: a DNS label.
    ManagerName, "ManagerName", "default"
}

/// The DNS label of one endpoint of one instance: `<endpoint>-<name>`.
pub fn host_label(endpoint: &EndpointName, name: &InstanceName) -> Result<String, NameError> {
    let label = format!("{endpoint}-{name}");
    check_label(&label)?;
    Ok(label)
}

/// A host name of one label or more, in lower case, without a trailing dot or a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The host name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `<label>.<self>`. Fails when the whole grows beyond 253 bytes.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        format!("{label}.{}", self.0).parse()
    }
}

impl FromStr for HostName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > HOST_MAX {
            return Err(NameError::HostTooLong(text.len()));
        }
        text.split('.').try_for_each(check_label)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> Self {
        host.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for HostName {
    fn schema_name() -> Cow<'static, str> {
        "HostName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": HOST_MAX,
            "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_names_and_nothing_else_is() {
        for good in ["a", "alice", "a-b", "0", &"x".repeat(63)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "Alice", "a_b", "-a", "a-", "a.b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoint_and_name_must_fit_one_label_together() {
        let endpoint: EndpointName = "mcp".parse().unwrap();
        let fits: InstanceName = "x".repeat(59).parse().unwrap();
        let too_long: InstanceName = "x".repeat(60).parse().unwrap();
        assert_eq!(host_label(&endpoint, &fits).unwrap().len(), 63);
        assert!(matches!(
            host_label(&endpoint, &too_long),
            Err(NameError::TooLong { .. })
        ));
    }

    #[test]
    fn a_host_name_is_labels_between_dots() {
        assert!("mcp.localhost".parse::<HostName>().is_ok());
        for bad in ["", "a..b", ".a", "a.", "A.b", "a:80"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
