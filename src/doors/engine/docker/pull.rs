//! Pulls: how far one is, and what a registry's refusal means.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker as Client;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::super::containers::OnProgress;
use super::super::{EngineError, ErrorClass};
use super::change::{image_help, with_tag};
use super::error::classify;
use crate::words::watch::PullProgress;

/// How long a pull may show no progress.
const SILENCE: Duration = Duration::from_secs(120);
/// A download makes progress by so many bytes: a registry that sends a few at a time would hold one of the engine's few
/// download slots, which all instances share, for ever.
const PROGRESS_LEAST: u64 = 1 << 20;

/// Pulls an image. Dropping the future ends the pull on the engine.
pub(super) async fn pull(
    client: &Client,
    reference: &str,
    progress: &OnProgress<'_>,
) -> Result<(), EngineError> {
    let operation = || format!("pull image {reference}");
    let options = CreateImageOptionsBuilder::default()
        .from_image(&with_tag(reference))
        .build();
    let mut answer = client.create_image(Some(options), None, None);
    let mut layers = Layers::default();
    progress(layers.progress());
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        match timeout_at(silent_at, answer.try_next()).await {
            Ok(Ok(Some(info))) => {
                if layers.note(&info) {
                    silent_at = Instant::now() + SILENCE;
                }
                progress(layers.progress());
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(explain(classify(operation(), &error), reference)),
            Err(_) => {
                let detail = format!(
                    "no progress for {} s ({}): the registry is silent or too slow, or other pulls hold the engine's download slots",
                    SILENCE.as_secs(),
                    layers.progress()
                );
                let help = format!(
                    "check the registry and the network between it and the engine; try it by hand: docker pull {reference}"
                );
                let error = EngineError::new(operation(), ErrorClass::Stalled, detail);
                return Err(error.with_help(help));
            }
        }
    }
}

/// The layers of an image by their id, as the engine reports them.
#[derive(Default)]
struct Layers {
    all: BTreeMap<String, Layer>,
    /// How many bytes there were when that last was progress.
    counted: u64,
}

#[derive(Default)]
struct Layer {
    is_done: bool,
    bytes: u64,
    total: u64,
}

impl Layers {
    /// Notes a line of the engine's answer. Whether that is progress.
    fn note(&mut self, info: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&info.id, &info.status) else {
            return true;
        };
        // The first line names the tag as if it were a layer.
        if status.starts_with("Pulling from") {
            return true;
        }
        let layer = self.all.entry(id.clone()).or_default();
        if matches!(status.as_str(), "Already exists" | "Pull complete") {
            layer.is_done = true;
        }
        let Some(detail) = &info.progress_detail else {
            return true;
        };
        if status == "Downloading" {
            let bytes = |count: Option<i64>| count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            layer.bytes = bytes(detail.current);
            layer.total = bytes(detail.total).max(layer.bytes);
            let now = self.progress().bytes;
            // A download that begins anew has as long as the first time.
            self.counted = self.counted.min(now);
            let is_progress = now >= self.counted.saturating_add(PROGRESS_LEAST);
            if is_progress {
                self.counted = now;
            }
            return is_progress;
        }
        // Before the next try of a download there is a line a second.
        if status.starts_with("Retrying") {
            return false;
        }
        // Its download is over.
        layer.bytes = layer.total;
        true
    }

    fn progress(&self) -> PullProgress {
        let sum = |of: fn(&Layer) -> u64| self.all.values().map(of).sum();
        PullProgress {
            layers_done: self.all.values().filter(|layer| layer.is_done).count(),
            layers: self.all.len(),
            bytes: sum(|layer| layer.bytes),
            bytes_total: sum(|layer| layer.total),
        }
    }
}

/// A registry's refusals all come through the engine with one status; only their words differ.
fn explain(error: EngineError, reference: &str) -> EngineError {
    let words = error.detail.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let (class, help) = if error.class.is_unclear() {
        return error;
    } else if says(&["no space left"]) {
        (
            ErrorClass::Retry,
            "free some disk: docker system df".to_owned(),
        )
    } else if error.class == ErrorClass::RateLimited
        || says(&[
            "toomanyrequests",
            "too many requests",
            "rate limit",
            "status: 429",
        ])
    {
        let help = format!(
            "the registry limits pulls: log in (docker login), use a mirror, or pull it once by hand: docker pull {reference}"
        );
        (ErrorClass::RateLimited, help)
    } else if says(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "name unknown",
    ]) {
        (ErrorClass::Gone, image_help(reference))
    } else if says(&[
        "unauthorized",
        "denied",
        "authentication required",
        "no basic auth",
        "forbidden",
        "status: 401",
        "status: 403",
    ]) {
        let help =
            format!("log in and pull it by hand: docker login, then docker pull {reference}");
        (ErrorClass::Denied, help)
    } else if says(&["invalid reference", "invalid tag"]) {
        (ErrorClass::Permanent, "correct `image`".to_owned())
    } else if says(&[
        "dial tcp",
        "lookup",
        "no such host",
        "timeout",
        "refused",
        "unreachable",
        "tls",
        "x509",
        "eof",
        "proxyconnect",
        "status: 5",
    ]) {
        let help = format!(
            "the registry cannot be reached from the engine; {}",
            image_help(reference)
        );
        (ErrorClass::Retry, help)
    } else {
        (error.class, image_help(reference))
    };
    EngineError { class, ..error }.with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_become_a_class_and_help() {
        let cases = [
            (
                "manifest for a:1 not found: manifest unknown",
                ErrorClass::Gone,
                "check the name",
            ),
            (
                "pull access denied for a, repository does not exist or may require 'docker login'",
                ErrorClass::Gone,
                "check the name",
            ),
            (
                "Get https://r/v2/: unauthorized: authentication required",
                ErrorClass::Denied,
                "docker login",
            ),
            (
                "error parsing HTTP 403 response body: denied",
                ErrorClass::Denied,
                "docker login",
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                ErrorClass::RateLimited,
                "limits pulls",
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                ErrorClass::Retry,
                "cannot be reached",
            ),
            (
                "Get https://r/v2/: dial tcp: lookup r on 1.1.1.1:53: no such host",
                ErrorClass::Retry,
                "cannot be reached",
            ),
            (
                "write /var/lib/docker/tmp/x: no space left on device",
                ErrorClass::Retry,
                "free some disk",
            ),
        ];
        for (words, class, help) in cases {
            let error = explain(
                EngineError::new("pull image a:1", ErrorClass::Retry, words),
                "a:1",
            );
            assert_eq!(error.class, class, "{words}");
            assert!(error.help.expect("help").contains(help), "{words}");
        }
    }

    #[test]
    fn a_trickle_is_no_progress() {
        let mut layers = Layers::default();
        let mut downloading = |bytes: u64| {
            let line = format!(
                r#"{{"status":"Downloading","progressDetail":{{"current":{bytes},"total":9000000}},"id":"y"}}"#
            );
            layers.note(&serde_json::from_str(&line).expect("an engine's line"))
        };
        assert!(!downloading(1_000));
        assert!(!downloading(500_000));
        assert!(downloading(1_100_000));
        assert!(!downloading(1_200_000));
        let retrying = r#"{"status":"Retrying in 5 seconds","progressDetail":{},"id":"y"}"#;
        assert!(!layers.note(&serde_json::from_str(retrying).expect("a line")));
        let extracting = r#"{"status":"Extracting","progressDetail":{"current":1},"id":"y"}"#;
        assert!(layers.note(&serde_json::from_str(extracting).expect("a line")));
    }

    #[test]
    fn progress_counts_layers_and_bytes() {
        let info = |text: &str| serde_json::from_str(text).expect("an engine's line");
        let mut layers = Layers::default();
        assert_eq!(layers.progress().to_string(), "waiting for the registry");
        for line in [
            r#"{"status":"Pulling from a","id":"1"}"#,
            r#"{"status":"Already exists","id":"x"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"y"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":1048576,"total":4194304},"id":"y"}"#,
        ] {
            layers.note(&info(line));
        }
        assert_eq!(layers.progress().to_string(), "1 of 2 layers, 1 of 4 MiB");
        layers.note(&info(
            r#"{"status":"Download complete","progressDetail":{},"id":"y"}"#,
        ));
        layers.note(&info(
            r#"{"status":"Pull complete","progressDetail":{},"id":"y"}"#,
        ));
        assert_eq!(layers.progress().to_string(), "2 of 2 layers, 4 of 4 MiB");
    }
}
