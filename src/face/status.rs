//! How instances stand, as people read it: all in a table, or one in full.

use jiff::Timestamp;

use super::style::{Label, paint};
use super::table;
use super::text::Lines;
use super::words::{age, bytes, count, moment, second, share};
use crate::decisions::remedy::{NextRemedy, Remedy};
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{EndpointStatus, InstanceDetail, InstancePhase, InstanceStatus};
use crate::words::control::RoundHealth;
use crate::words::manifest::Auth;
use crate::words::observed::Health;
use crate::words::watch::{HealthResult, RESULTS_KEPT, Usage};

/// So much of what a health check wrote is shown.
const OUTPUT_LINES: usize = 8;

/// All of them, and below the table why some are not as they should be. `wide` also tells owners and URLs.
pub fn draw(all: &[InstanceStatus], wide: bool, now: Timestamp) -> Lines {
    if all.is_empty() {
        let none =
            "There are no instances. Write a manifest, `instances.d/NAME.yaml`, to have one.";
        return Lines::from(none.to_owned());
    }
    let mut heads = vec![
        "NAME", "STATE", "HEALTH", "GEN", "AGE", "CPU", "MEMORY", "REVISION", "IMAGE",
    ];
    if wide {
        heads.extend(["OWNER", "URLS"]);
    }
    let rows: Vec<Vec<String>> = all.iter().map(|one| row(one, wide, now)).collect();
    let mut drawn = table::draw(&heads, &rows, 1, |row| label(all[row].phase));
    let mut told: Vec<_> = all.iter().filter(|one| !one.reason.is_empty()).collect();
    if !told.is_empty() {
        drawn.blank();
    }
    // An engine that does not answer is one thing, not one for each instance.
    let unknown: Vec<_> = all
        .iter()
        .filter(|one| one.phase == InstancePhase::Unknown)
        .collect();
    if let [first, _, ..] = unknown[..] {
        drawn.line(format_args!(
            "{} {}: {}",
            mark(first.phase),
            count(unknown.len(), "instance"),
            first.reason
        ));
        told.retain(|one| one.phase != InstancePhase::Unknown || one.reason != first.reason);
    }
    for one in told {
        let name = paint(Label::Subject, &one.name);
        let next = one.next.map(|next| format!("; {}", remedy(&next)));
        let next = next.unwrap_or_default();
        drawn.line(format_args!(
            "{} {name}: {}{next}",
            mark(one.phase),
            one.reason
        ));
    }
    drawn
}

/// Whether the daemon's rounds complete: nothing while they do.
pub fn draw_rounds(rounds: &RoundHealth) -> Lines {
    let mut drawn = Lines::new();
    let (Some(since), Some(reason)) = (rounds.failing_since, &rounds.reason) else {
        return drawn;
    };
    let moment = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let completed = rounds.completed.map_or_else(
        || "none has completed since the daemon started".to_owned(),
        |completed| format!("the last one completed at {}", moment(completed)),
    );
    let mark = paint(Label::Error, '✗');
    drawn.line(format_args!(
        "{mark} no round completes since {} ({completed}): {reason}",
        moment(since)
    ));
    if let Some(help) = &rounds.help {
        drawn.line(format_args!("  {}: {help}", paint(Label::Help, "help")));
    }
    drawn
}

/// That nobody keeps the fleet: what is said of it is as of now, and stays so.
pub fn draw_no_daemon() -> Lines {
    let mut drawn = Lines::new();
    let mark = paint(Label::Warning, '!');
    drawn.line(format_args!(
        "{mark} no daemon runs for this state directory: nothing converges, and nobody is let in"
    ));
    drawn.line("  start it: instanced serve");
    drawn
}

/// What the fleet is kept as, and how far behind its source that is.
pub fn draw_source(source: &SourceStatus, now: Timestamp) -> Lines {
    let mut drawn = Lines::new();
    let head = format!("{}  {}", paint(Label::Heading, "source"), source.source);
    if let Some(commit) = &source.commit {
        drawn.line(head);
        let ago = age(commit.committed, now);
        if commit.changed_since {
            drawn.line(format_args!("        {commit}"));
        } else {
            drawn.line(format_args!("        {commit} ({ago} ago)"));
        }
    } else if source.revision.is_empty() {
        drawn.line(head);
    } else {
        drawn.line(format_args!("{head}, {}", source.revision));
    }
    if let Some(issue) = &source.commit_issue {
        let mark = paint(Label::Warning, '!');
        drawn.line(format_args!(
            "{mark} {}: {}",
            issue.message, issue.place.path
        ));
        if let Some(help) = &issue.help {
            drawn.line(format_args!("  {}: {help}", paint(Label::Help, "help")));
        }
    }
    if let Some(behind) = &source.behind {
        let how_far = match behind.commits {
            Some(commits) => format!(
                "behind by {}",
                count(usize::try_from(commits).unwrap_or(usize::MAX), "commit")
            ),
            None => "not at this commit yet".to_owned(),
        };
        let rewritten = if behind.rewritten {
            " of a rewritten history"
        } else {
            ""
        };
        drawn.line(format_args!(
            "{} {how_far}{rewritten}: {}",
            paint(Label::Warning, '!'),
            behind.why
        ));
        if let Some(newest) = &source.newest {
            drawn.line(format_args!(
                "  newest: {newest} ({} ago)",
                age(newest.committed, now)
            ));
        }
    }
    if let Some(why) = &source.fetch_failure {
        let since = match source.fetched {
            Some(at) => format!("no news for {}", age(at, now)),
            None => "no news".to_owned(),
        };
        drawn.line(format_args!(
            "{} {since}: {why}",
            paint(Label::Warning, '!')
        ));
    }
    drawn
}

/// One in full.
pub fn draw_one(detail: &InstanceDetail, now: Timestamp) -> Lines {
    let one = &detail.status;
    let phase = word(one.phase);
    let state = match label(one.phase) {
        Some(label) => paint(label, phase).to_string(),
        None => phase.to_owned(),
    };
    let since = |at: Timestamp| format!("{} ({} ago)", moment(at), age(at, now));
    let since = |at: Option<Timestamp>| at.map(since).unwrap_or_default();
    let soon = |at: Timestamp| at.as_second().saturating_sub(now.as_second()).max(0);
    let next = one
        .next_try
        .map(|at| format!("{} (in {}s)", second(at), soon(at)));
    let comes = one
        .next
        .map(|next| format!("{} (in {}s)", remedy(&next), soon(next.at)));
    let usage = one.usage.map(|usage| {
        let cpu = usage.cpu.map_or_else(|| "-".to_owned(), share);
        format!(
            "cpu {cpu}, memory {}, {} pids, network {} in, {} out",
            memory(&usage),
            usage.pids,
            bytes(usage.network_received),
            bytes(usage.network_sent)
        )
    });
    let pairs = [
        ("name", paint(Label::Subject, &one.name).to_string()),
        ("state", state),
        ("reason", one.reason.clone()),
        ("help", detail.help.clone().unwrap_or_default()),
        ("next try", next.unwrap_or_default()),
        ("next", comes.unwrap_or_default()),
        (
            "health",
            one.health.map(health).unwrap_or_default().to_owned(),
        ),
        (
            "generation",
            one.generation.map(|n| format!("g{n}")).unwrap_or_default(),
        ),
        ("container", detail.container.clone().unwrap_or_default()),
        ("started", since(one.started)),
        ("uses", usage.unwrap_or_default()),
        ("image", one.image.clone().unwrap_or_default()),
        ("revision", one.revision.clone().unwrap_or_default()),
        ("owner", one.owner.clone().unwrap_or_default()),
        ("suspended", since(detail.suspended)),
        ("stopped", since(detail.stopped)),
        ("frozen", since(detail.frozen)),
    ];
    let mut drawn = table::pairs(&pairs);
    if !one.endpoints.is_empty() {
        drawn.blank();
        drawn.line(paint(Label::Heading, "endpoints"));
        let width = one
            .endpoints
            .iter()
            .map(|e| e.name.len())
            .max()
            .unwrap_or(0);
        for endpoint in &one.endpoints {
            drawn.line(format_args!(
                "  {:width$}  {}  {}",
                endpoint.name,
                endpoint.url,
                guard(endpoint)
            ));
        }
    }
    drawn += health_log(&detail.health_log, now);
    if let Some(failed) = &detail.failed_output {
        drawn.blank();
        drawn.line(paint(
            Label::Heading,
            format!("last output of g{}, which failed", failed.generation),
        ));
        for line in &failed.lines {
            drawn.line(format_args!("  {}", paint(Label::Faint, line)));
        }
    }
    if !detail.history.is_empty() {
        drawn.blank();
        drawn.line(paint(Label::Heading, "last done to it"));
        drawn.indented("  ", &super::history::draw(&detail.history));
    }
    drawn
}

/// The last thing that its health check said, and before it what it said otherwise.
fn health_log(log: &[HealthResult], now: Timestamp) -> Lines {
    let Some(last) = log.last() else {
        return Lines::new();
    };
    let same = log.iter().rev().take_while(|r| r.passed == last.passed);
    let (same, verdict) = (same.count(), if last.passed { "passed" } else { "failed" });
    let mut drawn = Lines::new();
    drawn.blank();
    drawn.line(paint(Label::Heading, "health check"));
    drawn.line(format_args!(
        "  {verdict} {} ago, {}{} in a row",
        age(last.at, now),
        // What was before them nobody has kept.
        if same >= RESULTS_KEPT {
            "at least "
        } else {
            ""
        },
        count(same, "time")
    ));
    for line in last.output.lines().take(OUTPUT_LINES) {
        drawn.line(format_args!("  {}", paint(Label::Faint, line)));
    }
    drawn
}

/// What is done about one that is not well.
fn remedy(next: &NextRemedy) -> String {
    let done = match next.remedy {
        Remedy::Restart => "restarted",
        Remedy::Recreate => "made anew",
    };
    let at = next.at.strftime("%H:%M:%S UTC");
    format!("{done} if it is not well by {at}")
}

fn row(one: &InstanceStatus, wide: bool, now: Timestamp) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut row = vec![
        one.name.to_string(),
        word(one.phase).to_owned(),
        or_dash(one.health.map(|h| health(h).to_owned())),
        or_dash(one.generation.map(|n| format!("g{n}"))),
        or_dash(one.started.map(|at| age(at, now))),
        or_dash(one.usage.and_then(|usage| usage.cpu).map(share)),
        or_dash(one.usage.map(|usage| memory(&usage))),
        or_dash(one.revision.clone()),
        or_dash(one.image.clone()),
    ];
    if wide {
        let urls: Vec<&str> = one.endpoints.iter().map(|e| e.url.as_str()).collect();
        row.push(or_dash(one.owner.clone()));
        row.push(or_dash((!urls.is_empty()).then(|| urls.join(" "))));
    }
    row
}

/// Memory beside its limit.
pub(super) fn memory(usage: &Usage) -> String {
    match usage.memory_limit {
        Some(limit) => format!("{}/{}", bytes(usage.memory), bytes(limit)),
        None => bytes(usage.memory),
    }
}

fn guard(endpoint: &EndpointStatus) -> impl std::fmt::Display {
    paint(
        Label::Faint,
        match endpoint.auth {
            Auth::Bearer => "(needs a token)",
            Auth::Ticket => "(needs a link from `instanced connect`)",
            Auth::None => "(no token needed)",
        },
    )
}

fn word(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::Pending => "pending",
        InstancePhase::Pulling => "pulling",
        InstancePhase::Starting => "starting",
        InstancePhase::Running => "running",
        InstancePhase::Unhealthy => "unhealthy",
        InstancePhase::Stopped => "stopped",
        InstancePhase::Held => "held",
        InstancePhase::Failed => "failed",
        InstancePhase::Orphaned => "orphaned",
        InstancePhase::Unknown => "unknown",
    }
}

fn label(phase: InstancePhase) -> Option<Label> {
    match phase {
        InstancePhase::Running => Some(Label::Good),
        InstancePhase::Unhealthy | InstancePhase::Failed => Some(Label::Error),
        InstancePhase::Held | InstancePhase::Orphaned | InstancePhase::Unknown => {
            Some(Label::Warning)
        }
        InstancePhase::Pending | InstancePhase::Pulling | InstancePhase::Starting => {
            Some(Label::Changed)
        }
        InstancePhase::Stopped => None,
    }
}

fn mark(phase: InstancePhase) -> impl std::fmt::Display {
    match phase {
        InstancePhase::Failed | InstancePhase::Unhealthy => paint(Label::Error, '✗'),
        _ => paint(Label::Warning, '!'),
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}
