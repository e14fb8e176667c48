//! A round, and the wait until what it started is up.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{daemon, log, round_once, status};
use crate::daemon::site::Site;
use crate::decisions::report::{Failure, Outcome, Report};
use crate::decisions::settled::{Reconciled, Unhealthy, continued, unhealthy, waits_for_others};
use crate::words::control::AskReconcile;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;
use crate::words::watch::AskLog;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of so many instances the last line is read.
const LAST_LINES_OF: usize = 20;
/// The longest last line, in characters.
const LAST_LINE_MAX: usize = 200;
/// Lines among which the last that says something is searched.
const LAST_LINES: u32 = 5;

/// One round, the running daemon's or our own; with `patience` also the wait until the instances are up, and the rounds
/// that others wait for. `progress` hears what is waited for, each time that changes.
pub async fn reconcile(
    site: &Site,
    ask: AskReconcile,
    patience: Option<Duration>,
    progress: &mut dyn FnMut(String),
) -> Reconciled {
    let names = ask.names.clone();
    // A saved plan is one round.
    let is_plan = ask.plan.is_some();
    let deadline = patience.map(|patience| Instant::now() + patience);
    let ask = AskReconcile {
        wait: Some(Span::secs(patience.map_or(0, whole_secs))),
        ..ask
    };
    let mut report = Box::pin(round_once(site, ask)).await;
    if report.aborted.is_some() {
        return Reconciled {
            report,
            ..Reconciled::default()
        };
    }
    let mut seen = look(site, &names, &report).await;
    while let Some(deadline) = deadline {
        seen = settle(site, &names, &report, deadline, seen, progress).await;
        let is_well = seen.as_ref().is_ok_and(|(ill, _)| ill.is_empty());
        let goes_on = is_well && !is_plan && waits_for_others(&report) && Instant::now() < deadline;
        if !goes_on {
            break;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let ask = AskReconcile {
            names: names.clone(),
            wait: Some(Span::secs(whole_secs(left))),
            ..AskReconcile::default()
        };
        let next = Box::pin(round_once(site, ask)).await;
        report = continued(report, next);
        if report.aborted.is_some() {
            break;
        }
        sleep(LOOK_EVERY).await;
        seen = look(site, &names, &report).await;
    }
    if deadline.is_none() || waits_for_others(&report) {
        report.notes.extend(more_to_come(site, &report).await);
    }
    finished(site, report, seen).await
}

/// Whole seconds of a time that is left: never 0, which waits for ever.
fn whole_secs(left: Duration) -> u64 {
    left.as_secs().max(1)
}

/// What stands, or why that is not known.
type Seen = Result<(Vec<Unhealthy>, usize), Failure>;

/// What failed or is held in the report is said there: nothing of it starts, whatever its status is without a daemon.
async fn look(site: &Site, names: &[InstanceName], report: &Report) -> Seen {
    let all = Box::pin(status(site)).await?;
    let count = all
        .iter()
        .filter(|one| names.is_empty() || names.contains(&one.name))
        .count();
    let mut found = unhealthy(&all, names, jiff::Timestamp::now());
    found.retain(|one| !one.starting || !is_left(report, &one.instance));
    Ok((found, count))
}

/// Whether the step of an instance failed, waits or is held.
fn is_left(report: &Report, name: &InstanceName) -> bool {
    let mut steps = report.steps.iter();
    steps.any(|step| {
        let left = matches!(
            step.outcome,
            Outcome::Failed(_) | Outcome::Held | Outcome::Waiting { .. }
        );
        left && step.step.instance == *name
    })
}

/// Looks until no instance starts any more, or the time is over.
async fn settle(
    site: &Site,
    names: &[InstanceName],
    report: &Report,
    deadline: Instant,
    mut seen: Seen,
    progress: &mut dyn FnMut(String),
) -> Seen {
    let mut said = String::new();
    loop {
        if let Ok((ill, count)) = &seen {
            let starting: Vec<&str> = ill
                .iter()
                .filter(|one| one.starting)
                .map(|one| one.instance.as_str())
                .collect();
            if starting.is_empty() {
                return seen;
            }
            let now = waiting(&starting, count - ill.len(), *count);
            if now != said {
                progress(now.clone());
                said = now;
            }
        }
        if Instant::now() >= deadline {
            return seen;
        }
        sleep(LOOK_EVERY).await;
        seen = look(site, names, report).await;
    }
}

/// `waiting for alice, bob and 3 more; 15 of 20 are up`.
fn waiting(starting: &[&str], up: usize, count: usize) -> String {
    const NAMED: usize = 3;
    let named = starting[..starting.len().min(NAMED)].join(", ");
    let more = match starting.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("waiting for {named}{more}; {up} of {count} are up")
}

async fn finished(site: &Site, mut report: Report, seen: Seen) -> Reconciled {
    let (mut unhealthy, looked_at) = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            let why = failure.message;
            report
                .notes
                .push(format!("the state of the instances is unknown: {why}"));
            Default::default()
        }
    };
    for one in unhealthy
        .iter_mut()
        .filter(|one| !one.starting)
        .take(LAST_LINES_OF)
    {
        one.last_line = last_line(site, &one.instance).await;
    }
    Reconciled {
        report,
        unhealthy,
        looked_at,
    }
}

/// The last line that says something. Without one the rest is worth the more.
async fn last_line(site: &Site, name: &InstanceName) -> Option<String> {
    let ask = AskLog {
        tail: Some(LAST_LINES),
        ..AskLog::default()
    };
    let mut feed = log(site, name, ask).await.ok()?;
    let mut last = None;
    while let Ok(Some(line)) = feed.next().await {
        if !line.line.trim().is_empty() {
            last = Some(line.line);
        }
    }
    let text = last?;
    Some(text.trim().chars().take(LAST_LINE_MAX).collect())
}

/// What a single round leaves to the next ones, which a daemon makes by itself.
async fn more_to_come(site: &Site, report: &Report) -> Option<String> {
    let note = super::more_to_come(report)?;
    match daemon(site).await {
        Ok(None) => Some(note),
        Ok(Some(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_fits_into_a_line() {
        assert_eq!(waiting(&["a"], 1, 2), "waiting for a; 1 of 2 are up");
        assert_eq!(
            waiting(&["a", "b", "c", "d"], 0, 4),
            "waiting for a, b, c and 1 more; 0 of 4 are up"
        );
    }
}
