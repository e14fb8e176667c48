//! What may stand behind a path's question mark.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::words::control::Problem;
use crate::words::name::InstanceName;
use crate::words::watch::{AskLog, AskUsage};

/// Of `/v1/tokens`.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    /// Those of this instance alone.
    #[serde(default)]
    pub(super) instance: Option<InstanceName>,
}

/// Of `/v1/instances`.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Instances {
    /// Whether to tell what each of them uses, and as of when.
    #[serde(default)]
    pub(super) usage: AskUsage,
}

/// Of `/v1/instances/{name}/logs`.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// At most so many of the newest lines.
    #[serde(default)]
    #[schemars(range(max = u32::MAX))]
    pub(super) tail: Option<u32>,
    /// What was written from then on.
    #[serde(default)]
    pub(super) since: Option<jiff::Timestamp>,
    /// And what will be, until the connection is closed or the instance is gone.
    #[serde(default)]
    pub(super) follow: bool,
}

impl From<Log> for AskLog {
    fn from(log: Log) -> Self {
        let Log {
            tail,
            since,
            follow,
        } = log;
        Self {
            tail,
            since,
            follow,
        }
    }
}

/// Reads a query.
pub(super) fn read<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let pairs = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let (key, why) = (error.path().to_string(), error.inner());
        Problem::invalid(match key.as_str() {
            "." => format!("the query: {why}"),
            key => format!("the query's `{key}`: {why}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_refused() {
        assert_eq!(read::<Tokens>(None).unwrap(), Tokens::default());
        assert_eq!(read::<Tokens>(Some("")).unwrap(), Tokens::default());
        let alice: Tokens = read(Some("instance=alice")).unwrap();
        assert_eq!(alice.instance, Some("alice".parse().unwrap()));
        for bad in [
            "instance=",
            "instance=a%20b",
            "name=a",
            "instance=a&instance=b",
            "instance",
        ] {
            assert_eq!(read::<Tokens>(Some(bad)).unwrap_err().status, 400, "{bad}");
        }
        let log: Log = read(Some("tail=7&since=2026-11-27T17%3A00%3A00Z&follow=true")).unwrap();
        let wanted = Log {
            tail: Some(7),
            since: "2026-11-27T17:00:00Z".parse().ok(),
            follow: true,
        };
        assert_eq!(log, wanted);
        for bad in ["tail=-1", "tail=all", "since=yesterday", "follow=1"] {
            let problem = read::<Log>(Some(bad)).unwrap_err();
            let key = bad.split('=').next().unwrap();
            assert_eq!(problem.status, 400, "{bad}");
            assert!(problem.detail.contains(&format!("`{key}`")), "{problem}");
        }
    }
}
