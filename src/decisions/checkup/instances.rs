//! The verdict on the instances themselves: which of them somebody should look at.

use super::facts::Seen;
use super::{Area, Finding, count};
use crate::decisions::status::{InstancePhase, InstanceStatus};

/// So many are told one by one.
const MOST: usize = 8;

/// The instances. What ails one, its status tells in full. Without a daemon the engine alone was asked, which knows of no
/// hold and no probe.
pub fn instances(seen: &Seen<Vec<InstanceStatus>>, daemon_runs: bool) -> Vec<Finding> {
    let area = Area::Instances;
    let unknown = |why: &str| {
        vec![area.warning(
            format!("their state is not known: {why}"),
            "see what the engine and the daemon say",
        )]
    };
    let all = match seen {
        Ok(all) => all,
        Err(failure) => return unknown(&failure.message),
    };
    let is_unknown = |one: &InstanceStatus| one.phase == InstancePhase::Unknown;
    if let Some(one) = all.first().filter(|_| all.iter().all(is_unknown)) {
        return unknown(&one.reason);
    }
    let mut found: Vec<_> = all.iter().filter_map(verdict).collect();
    // The sort keeps the order of names.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    if found.is_empty() {
        let all = count(all.len(), "instance");
        return vec![area.ok(if daemon_runs {
            format!("{all}: all well, none held")
        } else {
            format!("{all}: the engine finds none unwell; `instanced status` tells what is held")
        })];
    }
    let rest = found.split_off(found.len().min(MOST));
    if let Some(worst) = rest.first() {
        found.push(Finding {
            found: format!("and {} more", rest.len()),
            help: Some("instanced status".to_owned()),
            ..worst.clone()
        });
    }
    found
}

fn verdict(one: &InstanceStatus) -> Option<Finding> {
    let area = Area::Instances;
    let InstanceStatus { name, reason, .. } = one;
    let help = format!("instanced status {name}");
    match one.phase {
        InstancePhase::Unhealthy => {
            Some(area.problem(format!("{name} is not well: {reason}"), help))
        }
        InstancePhase::Failed => {
            Some(area.problem(format!("{name} is not as it shall be: {reason}"), help))
        }
        InstancePhase::Held => Some(area.warning(format!("{name} is held: {reason}"), help)),
        InstancePhase::Pulling => Some(area.warning(format!("{name}: {reason}"), help)),
        InstancePhase::Pending
        | InstancePhase::Starting
        | InstancePhase::Running
        | InstancePhase::Stopped
        | InstancePhase::Orphaned => None,
        InstancePhase::Unknown => {
            Some(area.problem(format!("{name}: its state is not known: {reason}"), help))
        }
    }
}
