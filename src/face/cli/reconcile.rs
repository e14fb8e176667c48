//! `instanced reconcile`: one round, or with `--dry-run` only its plan.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::site;
use crate::daemon::ops::{self, Site};
use crate::daemon::snapshots;
use crate::decisions::plan::{Action, Plan};
use crate::decisions::report::{Failure, Report};
use crate::decisions::saved::SavedPlan;
use crate::decisions::settled::Reconciled;
use crate::doors::files::replace_text;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::plan::PlanView;
use crate::face::report;
use crate::face::words::{age, moment, shell_word};
use crate::words::control::AskReconcile;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;

/// How long a round waits for what it started.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Make the fleet what the manifests say, once; with --dry-run, show what would be done
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced reconcile --dry-run                       the plan, as diffs; changes nothing
  instanced reconcile --dry-run --detailed-exitcode   exits with 2 when there is something to do
  instanced reconcile alice bob                       these two alone
  instanced reconcile --confirm-prune 4f1c09a2        let exactly these removals happen
  instanced reconcile --dry-run --out plan.json       keep the plan, for somebody to look at
  instanced reconcile --plan plan.json                perform it, unless something has moved since
  instanced reconcile --dry-run --observed observed.json   plan from a snapshot; no engine, no store

Where a daemon runs, it is the daemon that does it, and its report that is shown.
It waits until what it started is up, as long as --timeout says, and makes the rounds that others wait for.
Exits with 1 when something failed or is not healthy in that time, and with 3 when something is held or blocked.")]
pub(super) struct Args {
    /// Show the plan as unified diffs and change nothing
    #[arg(long, conflicts_with = "confirm_prune")]
    dry_run: bool,
    /// Exit with 2 when changes are pending
    #[arg(long, requires = "dry_run")]
    detailed_exitcode: bool,
    /// Confirm the blocked removals that a plan or report named by this id
    #[arg(long, value_name = "ID")]
    confirm_prune: Option<String>,
    /// Save the plan, to be performed later with --plan
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    out: Option<PathBuf>,
    /// Plan from a snapshot of `instanced snapshot`, and touch neither engine nor store
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    observed: Option<PathBuf>,
    /// Perform this saved plan, or nothing when the ground that it stands on has moved
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "confirm_prune", "names", "out", "observed"])]
    plan: Option<PathBuf>,
    /// How long to wait until what was started is up [default: 5m]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["dry_run", "no_wait"])]
    timeout: Option<Span>,
    /// Do not wait until what was started is up
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// These instances alone
    #[arg(value_name = "NAME")]
    names: Vec<InstanceName>,
}

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    whole: bool,
}

impl View {
    /// With `-v`, every field of a new instance.
    pub(super) fn new(verbose: u8) -> Self {
        Self { whole: verbose > 0 }
    }
}

/// Runs it.
pub(super) async fn run(
    args: Args,
    site: &Site,
    view: View,
    out: &mut Output,
) -> Result<Exit, Failure> {
    if args.dry_run {
        return dry_run(&args, site, view, out).await;
    }
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    // The fingerprint is the daemon floor's to make: it knows what must agree.
    let ask = AskReconcile {
        names: args.names,
        confirm_prune: args.confirm_prune,
        plan,
        wait: None,
        fingerprint: None,
    };
    let timeout = args.timeout.map_or(TIMEOUT, Duration::from);
    let patience = (!args.no_wait).then_some(timeout);
    let mut progress = |text: String| out.say(text);
    let done = ops::reconcile(site, ask, patience, &mut progress).await;
    let exit = tell(&done, site, out);
    let is_up = args.no_wait || done.unhealthy.is_empty();
    Ok(if is_up { exit } else { Exit::Failed })
}

/// Tells what a round did.
pub(super) fn tell(done: &Reconciled, site: &Site, out: &mut Output) -> Exit {
    let report = &done.report;
    if out.is_json() {
        out.json(done);
    } else {
        tell_beside(report, site, out);
        match &report.aborted {
            Some(failure) => out.fail(failure),
            None => out.lines(&report::draw(done)),
        }
    }
    exit_after(report)
}

fn exit_after(done: &Report) -> Exit {
    if done.has_failures() {
        Exit::Failed
    } else if done.has_held() {
        Exit::Held
    } else {
        Exit::Done
    }
}

fn read_plan(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: String| Failure {
        message: format!("cannot read the plan {}: {why}", path.display()),
        help: Some("save one: instanced reconcile --dry-run --out FILE".to_owned()),
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

fn save_plan(path: &Path, saved: &SavedPlan) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(saved).expect("a plan has string keys only");
    replace_text(path, &(text + "\n")).map_err(|error| Failure {
        message: format!("cannot save the plan as {}: {error}", path.display()),
        help: None,
    })
}

async fn dry_run(args: &Args, site: &Site, view: View, out: &mut Output) -> Result<Exit, Failure> {
    let (saved, beside) = match &args.observed {
        Some(path) => plan_from(path, &args.names, site)?,
        None => ops::dry_run(site, &args.names).await,
    };
    if let (Some(path), Some(saved)) = (&args.out, &saved) {
        save_plan(path, saved)?;
    }
    let plan = saved.map(|saved| saved.plan).unwrap_or_default();
    if out.is_json() {
        out.json(&json!({
            "configuration": site.config_path,
            "plan": plan,
            "commit_issue": beside.commit_issue,
            "diagnostics": beside.diagnostics,
            "notes": beside.notes,
            "aborted": beside.aborted,
        }));
    } else {
        tell_beside(&beside, site, out);
        if let Some(failure) = &beside.aborted {
            out.fail(failure);
        } else {
            let manifest_of = |name: &InstanceName| site.manifest_of(name);
            let view = PlanView {
                manifest_of: &manifest_of,
                whole: view.whole,
            };
            out.lines(&view.draw(&plan));
        }
    }
    if let (Some(path), None) = (&args.out, &beside.aborted) {
        let path = shell_word(&path.display().to_string());
        out.say(format_args!(
            "saved; perform exactly this with: instanced reconcile --plan {path}"
        ));
    }
    Ok(exit_of(&plan, &beside, args.detailed_exitcode))
}

/// The plan of the moment at which a snapshot was taken, with how long ago that was.
fn plan_from(
    path: &Path,
    names: &[InstanceName],
    site: &Site,
) -> Result<(Option<SavedPlan>, Report), Failure> {
    let snapshot = snapshots::read(path, site)?;
    let (saved, mut beside) = snapshots::dry_run(site, &snapshot, names);
    let (taken, ago) = (
        moment(snapshot.taken),
        age(snapshot.taken, Timestamp::now()),
    );
    let note = format!(
        "as of {taken}, {ago} ago: from the snapshot {}",
        path.display()
    );
    beside.notes.insert(0, note);
    Ok((saved, beside))
}

fn exit_of(plan: &Plan, beside: &Report, detailed: bool) -> Exit {
    let is_held = |action: &Action| matches!(action, Action::Held);
    if beside.aborted.is_some() {
        Exit::Failed
    } else if detailed && plan.steps.iter().any(|step| !is_held(&step.action)) {
        Exit::Pending
    } else if beside.has_held() || plan.steps.iter().any(|step| is_held(&step.action)) {
        Exit::Held
    } else {
        Exit::Done
    }
}

/// What is wrong with the files, and what one should know beside.
fn tell_beside(report: &Report, site: &Site, out: &mut Output) {
    out.say(site::configuration(site));
    site::tell(&site.warnings, out);
    site::tell(&report.diagnostics, out);
    site::tell(report.commit_issue.as_slice(), out);
    for note in &report.notes {
        out.say(format_args!("note: {note}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::plan::{Reason, Step};

    fn step(action: Action) -> Step {
        Step {
            instance: "alice".parse().unwrap(),
            action,
            reason: Reason::Orphaned,
            changes: Vec::new(),
            ends_sessions: false,
        }
    }

    #[test]
    fn the_exit_code_tells_the_worst_that_the_plan_holds() {
        let fine = Report::default();
        let nothing = Plan::default();
        let held = Plan {
            steps: vec![step(Action::Held)],
            ..Plan::default()
        };
        let remove = step(Action::Remove {
            targets: Vec::new(),
        });
        let both = Plan {
            steps: vec![step(Action::Held), remove],
            ..Plan::default()
        };
        assert_eq!(exit_of(&nothing, &fine, true), Exit::Done);
        assert_eq!(exit_of(&held, &fine, true), Exit::Held);
        assert_eq!(exit_of(&both, &fine, true), Exit::Pending);
        assert_eq!(exit_of(&both, &fine, false), Exit::Held);
        let failure = Failure {
            message: "no engine".to_owned(),
            help: None,
        };
        assert_eq!(
            exit_of(&nothing, &Report::aborted(failure), true),
            Exit::Failed
        );
    }
}
