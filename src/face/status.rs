//! How instances stand, as people read it: all in a table, or one in full.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::style::{Label, paint};
use super::table;
use super::words::{age, count, moment};
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{EndpointStatus, InstancePhase, InstanceStatus};
use crate::words::manifest::Auth;
use crate::words::observed::Health;

/// All of them, and below the table why some are not as they should be.
pub fn draw(all: &[InstanceStatus], now: Timestamp) -> String {
    if all.is_empty() {
        return "There are no instances. Write a manifest, `instances.d/NAME.yaml`, to have one.\n"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = all.iter().map(|one| row(one, now)).collect();
    let heads = ["NAME", "STATE", "HEALTH", "GEN", "AGE", "OWNER", "IMAGE"];
    let mut drawn = table::draw(&heads, &rows, 1, |row| label(all[row].phase));
    let told: Vec<_> = all.iter().filter(|one| !one.reason.is_empty()).collect();
    if !told.is_empty() {
        drawn.push('\n');
    }
    for one in told {
        let name = paint(Label::Subject, &one.name);
        let _ = writeln!(drawn, "{} {name}: {}", mark(one.phase), one.reason);
    }
    drawn
}

/// What the fleet is kept as, and how far behind its source that is.
pub fn draw_source(source: &SourceStatus, now: Timestamp) -> String {
    let mut drawn = format!("{}  {}", paint(Label::Heading, "source"), source.source);
    if let Some(commit) = &source.commit {
        let _ = write!(
            drawn,
            "\n        {commit} ({} ago)",
            age(commit.committed, now)
        );
    } else if !source.revision.is_empty() {
        let _ = write!(drawn, ", {}", source.revision);
    }
    drawn.push('\n');
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
        let _ = writeln!(
            drawn,
            "{} {how_far}{rewritten}: {}",
            paint(Label::Warning, '!'),
            behind.why
        );
        if let Some(newest) = &source.newest {
            let _ = writeln!(
                drawn,
                "  newest: {newest} ({} ago)",
                age(newest.committed, now)
            );
        }
    }
    if let Some(why) = &source.fetch_failure {
        let since = match source.fetched {
            Some(at) => format!("no news for {}", age(at, now)),
            None => "no news".to_owned(),
        };
        let _ = writeln!(drawn, "{} {since}: {why}", paint(Label::Warning, '!'));
    }
    drawn
}

/// One in full.
pub fn draw_one(one: &InstanceStatus, now: Timestamp) -> String {
    let phase = word(one.phase);
    let state = match label(one.phase) {
        Some(label) => paint(label, phase).to_string(),
        None => phase.to_owned(),
    };
    let started = one
        .started
        .map(|at| format!("{} ({} ago)", moment(at), age(at, now)));
    let pairs = [
        ("name", paint(Label::Subject, &one.name).to_string()),
        ("state", state),
        ("reason", one.reason.clone()),
        (
            "health",
            one.health.map(health).unwrap_or_default().to_owned(),
        ),
        (
            "generation",
            one.generation.map(|n| format!("g{n}")).unwrap_or_default(),
        ),
        ("started", started.unwrap_or_default()),
        ("image", one.image.clone().unwrap_or_default()),
        ("owner", one.owner.clone().unwrap_or_default()),
    ];
    let mut drawn = table::pairs(&pairs);
    if !one.endpoints.is_empty() {
        let _ = writeln!(drawn, "\n{}", paint(Label::Heading, "endpoints"));
        let width = one
            .endpoints
            .iter()
            .map(|e| e.name.len())
            .max()
            .unwrap_or(0);
        for endpoint in &one.endpoints {
            let _ = writeln!(
                drawn,
                "  {:width$}  {}  {}",
                endpoint.name,
                endpoint.url,
                guard(endpoint)
            );
        }
    }
    drawn
}

fn row(one: &InstanceStatus, now: Timestamp) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        one.name.to_string(),
        word(one.phase).to_owned(),
        or_dash(one.health.map(|h| health(h).to_owned())),
        or_dash(one.generation.map(|n| format!("g{n}"))),
        or_dash(one.started.map(|at| age(at, now))),
        or_dash(one.owner.clone()),
        or_dash(one.image.clone()),
    ]
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
        InstancePhase::Pending | InstancePhase::Starting => Some(Label::Changed),
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
