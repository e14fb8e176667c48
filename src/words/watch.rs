//! What is shown of instances that run, beside what planning needs: what they use, what they write, and what their
//! health checks said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::InstanceName;

/// What an instance uses now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// How many processors' worth of time, over the last moment; absent until a moment has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Memory in bytes, without what the kernel can take back at once.
    pub memory: u64,
    /// How much it may use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Bytes that came to it since it was started.
    pub network_received: u64,
    /// Bytes that it sent since.
    pub network_sent: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Whether to tell what instances use, and as of when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskUsage {
    /// Not at all.
    #[default]
    None,
    /// As it was seen within the last minute or so: at once.
    Recent,
    /// As it is, which takes an engine a second.
    Now,
}

/// What the engine counts of one container: figures that only grow, and those of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// When they were read, by the engine's clock.
    pub at: jiff::Timestamp,
    /// Processor time since it was started, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in bytes, without what the kernel can take back at once.
    pub memory: u64,
    /// How much it may use, in bytes.
    pub memory_limit: Option<u64>,
    /// Bytes that came to it since it was started.
    pub network_received: u64,
    /// Bytes that it sent since.
    pub network_sent: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Counters {
    /// What is used now, with the processor time since an earlier look.
    pub fn usage(&self, before: Option<&Self>) -> Usage {
        let cpu = before.and_then(|before| {
            // A container that was started again counts from nothing.
            let used = self.cpu_nanos.checked_sub(before.cpu_nanos)?;
            let passed = self.at.duration_since(before.at).as_secs_f64();
            let used = std::time::Duration::from_nanos(used).as_secs_f64();
            (passed > 0.0).then_some(used / passed)
        });
        Usage {
            cpu,
            memory: self.memory,
            memory_limit: self.memory_limit,
            network_received: self.network_received,
            network_sent: self.network_sent,
            pids: self.pids,
        }
    }
}

/// Which of what an instance has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskLog {
    /// At most so many of the newest lines; all of them when absent.
    pub tail: Option<u32>,
    /// What was written from then on.
    pub since: Option<jiff::Timestamp>,
    /// And what will be, until whoever asked goes away.
    pub follow: bool,
}

/// A line that an instance has written. Its own words: nothing is known of what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Whose.
    pub instance: InstanceName,
    /// Which generation's.
    pub generation: u64,
    /// When it was written, where the engine says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
    /// On which stream.
    pub stream: LogStream,
    /// The line, without its end; what is no UTF-8 is replaced.
    pub line: String,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// So many results of a health check are kept, by Docker of its own and by us of ours.
pub const RESULTS_KEPT: usize = 5;

/// What a health check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthResult {
    /// When it ended.
    pub at: jiff::Timestamp,
    /// Whether it found the instance well.
    pub passed: bool,
    /// What it wrote, or why it could not be asked.
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Counters = Counters {
        at: jiff::Timestamp::UNIX_EPOCH,
        cpu_nanos: 1_000_000_000,
        memory: 1,
        memory_limit: None,
        network_received: 0,
        network_sent: 0,
        pids: 1,
    };

    #[test]
    fn processor_time_is_told_for_the_moment_between_two_looks() {
        let now = Counters {
            at: jiff::Timestamp::from_second(2).unwrap(),
            cpu_nanos: 1_500_000_000,
            ..BEFORE
        };
        assert_eq!(now.usage(Some(&BEFORE)).cpu, Some(0.25));
        assert_eq!(now.usage(None).cpu, None);
        assert_eq!(now.usage(Some(&now)).cpu, None);
        // It was started again in between.
        let later = jiff::Timestamp::from_second(3).unwrap();
        let again = Counters {
            at: later,
            ..BEFORE
        };
        assert_eq!(again.usage(Some(&now)).cpu, None);
    }
}

/// How far a pull of an image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullProgress {
    /// Layers that are complete.
    pub layers_done: usize,
    /// Layers that the registry named so far.
    pub layers: usize,
    /// Bytes that arrived, of layers whose size is known.
    pub bytes: u64,
    /// Bytes of these layers in all.
    pub bytes_total: u64,
}

impl std::fmt::Display for PullProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.layers == 0 {
            return f.write_str("waiting for the registry");
        }
        write!(f, "{} of {} layers", self.layers_done, self.layers)?;
        if self.bytes_total > 0 {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            write!(f, ", {} of {} MiB", mib(self.bytes), mib(self.bytes_total))?;
        }
        Ok(())
    }
}
