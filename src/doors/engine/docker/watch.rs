//! What a container does, for whoever watches it.

use std::collections::HashMap;

use bollard::container::LogOutput;
use bollard::models::{ContainerMemoryStats, ContainerNetworkStats, ContainerStatsResponse};
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder, StatsOptionsBuilder};
use futures_util::future::ready;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter, once};

use super::super::EngineError;
use super::super::containers::{WatchContainers, Written, WrittenLine};
use super::DockerReader;
use super::error::{READ_LIMIT, call, classify, gone, short};
use crate::words::watch::{AskLog, Counters, HealthResult, LogStream};

/// The rest of a longer line is left out, in bytes.
const LINE_MOST: usize = 256 << 10;

/// A memory limit from here on is what the engine tells where there is none: as much as the machine's address space.
const NO_LIMIT: u64 = 1 << 60;

impl WatchContainers for DockerReader {
    async fn follow_log(&self, container: &str, ask: AskLog) -> Result<Written, EngineError> {
        let operation = format!("read the log of container {}", short(container));
        let tail = ask
            .tail
            .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        // Whole seconds are what the engine takes: the rest is left out below.
        let since = ask.since.map_or(0, jiff::Timestamp::as_second);
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(ask.follow)
            .since(i32::try_from(since).unwrap_or(i32::MAX))
            .tail(&tail)
            .build();
        let pieces = self.client.logs(container, Some(options));
        let mut joined = Lines::default();
        let lines = pieces
            .map(Some)
            .chain(once(ready(None)))
            .map(move |piece| match piece {
                Some(Ok(piece)) => Ok(iter(joined.take(piece).into_iter().map(Ok))),
                Some(Err(error)) => Err(classify(operation.clone(), &error)),
                None => Ok(iter(joined.rest().into_iter().map(Ok))),
            });
        let wanted = move |line: &WrittenLine| match (ask.since, line.at) {
            (Some(since), Some(at)) => at >= since,
            _ => true,
        };
        let lines = lines.try_flatten().try_filter(move |line| {
            let wanted = wanted(line);
            async move { wanted }
        });
        Ok(lines.boxed())
    }

    async fn counters(&self, container: &str) -> Result<Option<Counters>, EngineError> {
        let operation = || format!("read what container {} uses", short(container));
        // One look: without it the engine takes two, a second apart.
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let mut looks = Box::pin(self.client.stats(container, Some(options)));
        let looked = call(operation, READ_LIMIT, looks.try_next()).await;
        match looked {
            Ok(Some(stats)) => Ok(counters(stats)),
            Ok(None) => Ok(None),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn health_log(&self, container: &str) -> Result<Vec<HealthResult>, EngineError> {
        let operation = || format!("inspect container {}", short(container));
        let asked = self
            .client
            .inspect_container(container, None::<InspectContainerOptions>);
        let inspected = match call(operation, READ_LIMIT, asked).await {
            Ok(inspected) => inspected,
            Err(error) if gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let health = inspected.state.and_then(|state| state.health);
        let log = health.and_then(|health| health.log).unwrap_or_default();
        let result = |told: bollard::models::HealthcheckResult| {
            Some(HealthResult {
                at: told.end.or(told.start)?.parse().ok()?,
                passed: told.exit_code == Some(0),
                output: told.output.unwrap_or_default().trim_end().to_owned(),
            })
        };
        Ok(log.into_iter().filter_map(result).collect())
    }
}

/// Lines out of pieces. Each piece begins with its time. The engine cuts a line into pieces of 16 KiB, and a secret may
/// lie across the cut: only whole lines can be searched for it.
#[derive(Default)]
struct Lines {
    stdout: Option<Open>,
    stderr: Option<Open>,
}

/// A line whose end has not come yet.
struct Open {
    at: Option<jiff::Timestamp>,
    bytes: Vec<u8>,
}

impl Lines {
    /// The lines that end in a piece.
    fn take(&mut self, piece: LogOutput) -> Vec<WrittenLine> {
        let (stream, bytes) = match piece {
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            LogOutput::StdOut { message }
            | LogOutput::Console { message }
            | LogOutput::StdIn { message } => (LogStream::Stdout, message),
        };
        let open = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let mut ended = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (at, text) = stamped(part);
            let line = open.get_or_insert(Open {
                at,
                bytes: Vec::new(),
            });
            let room = LINE_MOST.saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n") {
                ended.extend(open.take().map(|line| line.written(stream)));
            }
        }
        ended
    }

    /// What was written without an end of its line, when the log is over.
    fn rest(&mut self) -> Vec<WrittenLine> {
        let stdout = self
            .stdout
            .take()
            .map(|line| line.written(LogStream::Stdout));
        let stderr = self
            .stderr
            .take()
            .map(|line| line.written(LogStream::Stderr));
        stdout.into_iter().chain(stderr).collect()
    }
}

impl Open {
    fn written(self, stream: LogStream) -> WrittenLine {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        WrittenLine {
            at: self.at,
            stream,
            line: text.strip_suffix('\r').unwrap_or(text).to_owned(),
        }
    }
}

/// The time before a part, and what follows.
fn stamped(part: &[u8]) -> (Option<jiff::Timestamp>, &[u8]) {
    let time = part.iter().position(|byte| *byte == b' ').and_then(|end| {
        let time = std::str::from_utf8(&part[..end]).ok()?;
        Some((time.parse().ok()?, &part[end + 1..]))
    });
    time.map_or((None, part), |(at, rest)| (Some(at), rest))
}

/// `None` for one that does not run: the engine answers with nothing in it.
fn counters(stats: ContainerStatsResponse) -> Option<Counters> {
    let cpu = stats.cpu_stats?.cpu_usage?.total_usage?;
    let memory = stats.memory_stats.unwrap_or_default();
    let pids = stats.pids_stats.and_then(|pids| pids.current).unwrap_or(0);
    if cpu == 0 && pids == 0 {
        return None;
    }
    let networks = stats.networks.unwrap_or_default();
    Some(Counters {
        at: stats.read?.parse().ok()?,
        cpu_nanos: cpu,
        memory: used(&memory),
        memory_limit: memory.limit.filter(|limit| *limit < NO_LIMIT),
        network_received: sum(&networks, |network| network.rx_bytes),
        network_sent: sum(&networks, |network| network.tx_bytes),
        pids,
    })
}

/// As `docker stats` tells it: pages of files that were not used lately are the kernel's to take back. Control groups
/// have two versions, with a word each for them.
fn used(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let stats = memory.stats.as_ref();
    let idle = stats.and_then(|stats| {
        ["total_inactive_file", "inactive_file"]
            .iter()
            .find_map(|word| stats.get(*word))
    });
    usage.saturating_sub(idle.copied().unwrap_or(0))
}

fn sum(
    networks: &HashMap<String, ContainerNetworkStats>,
    bytes: fn(&ContainerNetworkStats) -> Option<u64>,
) -> u64 {
    networks.values().filter_map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_time() {
        let lines = |piece| Lines::default().take(piece);
        let told = LogOutput::StdErr {
            message: "2026-11-27T17:00:00.5Z one  two\n".into(),
        };
        let at = "2026-11-27T17:00:00.5Z".parse().ok();
        let one = WrittenLine {
            at,
            stream: LogStream::Stderr,
            line: "one  two".to_owned(),
        };
        assert_eq!(lines(told), [one]);
        let empty = LogOutput::StdOut {
            message: "2026-11-27T17:00:00.5Z \n".into(),
        };
        assert_eq!(lines(empty)[0].line, "");
        let without = LogOutput::Console {
            message: "no time at all\r\n".into(),
        };
        assert_eq!(lines(without)[0].line, "no time at all");
    }

    #[test]
    fn a_line_that_the_engine_cut_is_whole_again() {
        let piece = |text: &str| LogOutput::StdOut {
            message: format!("2026-11-27T17:00:00Z {text}").into(),
        };
        let mut lines = Lines::default();
        assert_eq!(lines.take(piece("the token is tok-7f3")), []);
        let other = LogOutput::StdErr {
            message: "2026-11-27T17:00:00Z between\n".into(),
        };
        assert_eq!(lines.take(other)[0].line, "between");
        let whole = lines.take(piece("a9c21e0\n"));
        assert_eq!(whole[0].line, "the token is tok-7f3a9c21e0");
        // An end of the log is an end of the line; what has no end at all is bounded.
        for _ in 0..20 {
            assert_eq!(lines.take(piece(&"x".repeat(16 << 10))), []);
        }
        assert_eq!(lines.rest()[0].line.len(), LINE_MOST);
        assert_eq!(lines.rest(), []);
    }

    #[test]
    fn memory_is_told_without_what_the_kernel_can_take_back() {
        let of = |word: &str| ContainerMemoryStats {
            usage: Some(100),
            stats: Some(HashMap::from([(word.to_owned(), 30)])),
            ..ContainerMemoryStats::default()
        };
        assert_eq!(used(&of("inactive_file")), 70);
        assert_eq!(used(&of("total_inactive_file")), 70);
        assert_eq!(used(&of("cache")), 100);
    }
}
