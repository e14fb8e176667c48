//! What instances use, the greediest first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table;
use super::text::Lines;
use super::words::{bytes, share};
use crate::decisions::status::InstanceStatus;
use crate::words::name::InstanceName;
use crate::words::watch::Usage;

/// A look at what instances use, and how long it was after the one before.
#[derive(Debug, Default)]
pub struct Look {
    /// By name.
    pub usage: BTreeMap<InstanceName, Usage>,
    /// Since the look before.
    pub after: Duration,
}

impl Look {
    /// Of those that run and were asked for; all of them when nobody is named.
    pub fn of(all: &[InstanceStatus], names: &[InstanceName], after: Duration) -> Self {
        let wanted = |one: &&InstanceStatus| names.is_empty() || names.contains(&one.name);
        let usage = all.iter().filter(wanted);
        Self {
            usage: usage
                .filter_map(|one| Some((one.name.clone(), one.usage?)))
                .collect(),
            after,
        }
    }
}

/// A table. What came and went over the network is told for a second, where there is a look before; at the first look,
/// since each was started.
pub fn draw(now: &Look, before: Option<&Look>) -> Lines {
    if now.usage.is_empty() {
        return Lines::from("Nothing runs.".to_owned());
    }
    let mut all: Vec<(&InstanceName, &Usage)> = now.usage.iter().collect();
    let cpu = |usage: &Usage| usage.cpu.unwrap_or(0.0);
    all.sort_by(|(_, a), (_, b)| {
        let by_cpu = cpu(b).total_cmp(&cpu(a));
        by_cpu.then(b.memory.cmp(&a.memory))
    });
    let row = |(name, usage): (&InstanceName, &Usage)| {
        let moved = |bytes_of: fn(&Usage) -> u64| {
            let Some(before) = before else {
                return Some(bytes(bytes_of(usage)));
            };
            let was = before.usage.get(name)?;
            let grown = bytes_of(usage).checked_sub(bytes_of(was))?;
            let millis = u64::try_from(now.after.as_millis()).ok()?.max(1);
            Some(format!("{}/s", bytes(grown.saturating_mul(1000) / millis)))
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let limit = usage.memory_limit.filter(|limit| *limit > 0);
        vec![
            name.to_string(),
            or_dash(usage.cpu.map(share)),
            super::status::memory(usage),
            or_dash(limit.map(|limit| format!("{}%", usage.memory.saturating_mul(100) / limit))),
            or_dash(moved(|usage| usage.network_received)),
            or_dash(moved(|usage| usage.network_sent)),
            usage.pids.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
    let heads = ["NAME", "CPU", "MEMORY", "MEM%", "NET IN", "NET OUT", "PIDS"];
    table::draw(&heads, &rows, 0, |_| None)
}
