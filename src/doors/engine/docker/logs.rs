//! What a container has written.

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::TryStreamExt;

use super::super::EngineError;
use super::DockerReader;
use super::error::{READ_LIMIT, call, short};

/// No more of a log is read, in bytes: a line has no length of its own.
const READ_MOST: usize = 256 << 10;

/// The last `tail` lines of a container.
pub(super) async fn last(
    reader: &DockerReader,
    container: &str,
    tail: usize,
) -> Result<Vec<String>, EngineError> {
    let operation = || format!("read the log of container {}", short(container));
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail(&tail.to_string())
        .build();
    let mut pieces = reader.client.logs(container, Some(options));
    let read = async {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            bytes.extend_from_slice(&piece.into_bytes());
            if bytes.len() > READ_MOST {
                break;
            }
        }
        Ok(bytes)
    };
    let bytes = call(operation, READ_LIMIT, read).await?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    Ok(lines[lines.len().saturating_sub(tail)..].to_vec())
}
