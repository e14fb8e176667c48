//! Amounts as people write them: sizes, shares of a processor, durations, shares of a fleet.
//!
//! Each type reads its own text form and prints the shortest text that reads back to the same value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A text that is no amount; says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}; write {example}")]
pub struct QuantityError {
    text: String,
    kind: &'static str,
    example: &'static str,
}

macro_rules! text_or_number {
    ($type:ident, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// A size in bytes. Written with binary units: `512MiB`, `1g`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
            kind: "size",
            example: "512MiB, 1GiB or a number of bytes",
        };
        let (digits, unit) = split_unit(text);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(error()),
        };
        let number: u64 = digits.parse().map_err(|_| error())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

text_or_number!(Bytes, "a size such as 512MiB", {
    "type": ["string", "integer"],
    "pattern": "^[0-9]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$",
    "minimum": 0,
    "examples": ["512MiB", "1GiB"],
});

/// A share of processors, in billionths of one. Written as a decimal: `1`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(pub u64);

impl FromStr for Cpus {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
            kind: "number of processors",
            example: "1, 0.5 or 2.25",
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !digits_only(whole) || !digits_only(fraction) {
            return Err(error());
        }
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let nanos: u64 = format!("{fraction:0<9}").parse().map_err(|_| error())?;
        whole
            .checked_mul(1_000_000_000)
            .and_then(|n| n.checked_add(nanos))
            .filter(|n| *n > 0)
            .map(Self)
            .ok_or_else(error)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nanos == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{nanos:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

text_or_number!(Cpus, "a number of processors such as 0.5", {
    "type": ["string", "number"],
    "pattern": "^[0-9]+([.][0-9]{1,9})?$",
    "exclusiveMinimum": 0,
    "examples": [1, 0.5],
});

/// A length of time, in milliseconds. Written with units: `30s`, `5m`, `1h30m`, `250ms`, `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

const SPAN_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(n * 1_000)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Duration::from_millis(span.0)
    }
}

impl FromStr for Span {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
            kind: "duration",
            example: "30s, 5m or 1h30m",
        };
        if text == "0" {
            return Ok(Self(0));
        }
        let (mut rest, mut total) = (text, 0_u64);
        while !rest.is_empty() {
            let (digits, after) = split_unit(rest);
            let length = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(length);
            let number: u64 = digits.parse().map_err(|_| error())?;
            let (_, millis) = SPAN_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(error)?;
            total = number
                .checked_mul(*millis)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(error)?;
            rest = next;
        }
        if text.is_empty() {
            Err(error())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in SPAN_UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

text_or_number!(Span, "a duration such as 30s", {
    "type": ["string", "integer"],
    "pattern": "^(0|([0-9]+(ms|s|m|h|d))+)$",
    "minimum": 0,
    "maximum": 0,
    "examples": ["30s", "5m"],
});

/// A part of a fleet: a number of instances (`3`) or a percentage (`20%`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many instances.
    Count(u64),
    /// So many hundredths of the fleet.
    Percent(u8),
}

impl Share {
    /// How many of `fleet` instances this is, rounded down.
    pub fn of(self, fleet: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => fleet * u64::from(percent) / 100,
        }
    }
}

impl FromStr for Share {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
            kind: "share of a fleet",
            example: "20% or a number of instances",
        };
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse::<u8>() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(error()),
            },
            None => text.parse().map(Self::Count).map_err(|_| error()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

text_or_number!(Share, "a share such as 20%", {
    "type": ["string", "integer"],
    "pattern": "^([0-9]+|([0-9]|[1-9][0-9]|100)%)$",
    "minimum": 0,
    "examples": ["20%", 3],
});

/// Splits leading digits from what follows them, spaces between dropped.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_take_binary_units() {
        for (text, bytes) in [
            ("1g", 1 << 30),
            ("512MiB", 512 << 20),
            ("10 kb", 10 << 10),
            ("7", 7),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "g", "1.5g", "-1", "1x", "99999999999t"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_decimal_and_never_zero() {
        assert_eq!("0.5".parse(), Ok(Cpus(500_000_000)));
        for bad in ["0", "", ".5", "1.", "-1", "1e3", "0.0000000001"] {
            assert_eq!(bad.parse::<Cpus>().is_ok(), bad == "1.", "{bad}");
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!("1h30m".parse(), Ok(Span(5_400_000)));
        assert_eq!("250ms".parse(), Ok(Span(250)));
        for bad in ["", "5", "m", "1y", "1m2"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_rounds_down() {
        assert_eq!("20%".parse::<Share>().unwrap().of(9), 1);
        assert_eq!("3".parse::<Share>().unwrap().of(9), 3);
        assert!("101%".parse::<Share>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(n in 0_u64..u64::MAX / 2, percent in 0_u8..=100) {
            prop_assert_eq!(Bytes(n).to_string().parse(), Ok(Bytes(n)));
            prop_assert_eq!(Span(n).to_string().parse(), Ok(Span(n)));
            prop_assert_eq!(Cpus(n + 1).to_string().parse(), Ok(Cpus(n + 1)));
            let share = Share::Percent(percent);
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }
    }
}
