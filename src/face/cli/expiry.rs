//! When a token ends, as a person writes it.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::words::quantity::Span;

/// A time from now, or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// `90d`
    After(Span),
    /// `2027-01-01`: the first day on which it is no longer valid, from midnight UTC.
    At(Timestamp),
}

/// A text that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpiryError {
    /// It cannot be read.
    #[error("write a time from now, such as 90d or 12h, or a day, such as 2027-01-01")]
    Form,
    /// It can be read, but not used.
    #[error("that is further away than a calendar goes")]
    TooFar,
    /// The token would never be valid.
    #[error("that is not in the future")]
    Past,
}

impl FromStr for Expiry {
    type Err = ExpiryError;
    fn from_str(text: &str) -> Result<Self, ExpiryError> {
        if let Ok(span) = text.parse() {
            return Ok(Self::After(span));
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let day: Date = text.parse().map_err(|_| ExpiryError::Form)?;
        let midnight = day
            .to_zoned(TimeZone::UTC)
            .map_err(|_| ExpiryError::TooFar)?;
        Ok(Self::At(midnight.timestamp()))
    }
}

impl Expiry {
    /// The moment it means.
    pub(super) fn moment(self, now: Timestamp) -> Result<Timestamp, ExpiryError> {
        let at = match self {
            Self::At(at) => at,
            Self::After(Span(millis)) => {
                let millis = i64::try_from(millis).map_err(|_| ExpiryError::TooFar)?;
                let after = SignedDuration::from_millis(millis);
                now.checked_add(after).map_err(|_| ExpiryError::TooFar)?
            }
        };
        if at > now {
            Ok(at)
        } else {
            Err(ExpiryError::Past)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Result<String, ExpiryError> {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        text.parse::<Expiry>()?.moment(now).map(|at| at.to_string())
    }

    #[test]
    fn a_span_counts_from_now_and_a_day_from_its_midnight() {
        assert_eq!(moment("90d"), Ok("2027-02-18T12:00:00Z".to_owned()));
        assert_eq!(moment("2027-01-01"), Ok("2027-01-01T00:00:00Z".to_owned()));
        assert_eq!(
            moment("2027-01-01T10:00:00+02:00"),
            Ok("2027-01-01T08:00:00Z".to_owned())
        );
    }

    #[test]
    fn what_is_past_or_no_time_is_refused() {
        assert_eq!(moment("2026-11-20"), Err(ExpiryError::Past));
        assert_eq!(moment("0"), Err(ExpiryError::Past));
        assert_eq!(moment("soon"), Err(ExpiryError::Form));
        assert_eq!(moment("9999999999d"), Err(ExpiryError::TooFar));
    }
}
