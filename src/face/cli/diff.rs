//! `instanced diff`: what a change of the files would do, from git alone.

use crate::daemon::ops::Site;
use crate::daemon::revisions;
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::{Format, Output};
use crate::face::{comparison, diagnostics};
use crate::words::diagnostic::Diagnostic;

/// Show what a pull request would do to each instance, from git's objects alone; no engine, no daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced diff --base origin/main                     what HEAD would change
  instanced diff --base v1 --head v2                    between any two revisions
  instanced diff --base applied                         where source.git is followed: what is fetched and not made yet
  instanced diff --base \"$(git merge-base origin/main HEAD)\" --format markdown

The policy is that of the configuration file, never of the revision: give CI one of its own with --config.
Exits with 1 when a manifest of the head is invalid.")]
pub(super) struct Args {
    /// The revision to compare with
    #[arg(long, value_name = "REV")]
    base: String,
    /// The revision to look at
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    head: String,
    /// Exit with 2 when the two differ
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Runs it.
pub(super) fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let compared = revisions::compare(site, &args.base, &args.head)?;
    let (comparison, wrong) = (&compared.comparison, &compared.diagnostics);
    let errors = wrong.iter().any(Diagnostic::is_error);
    out.say(super::site::configuration(site));
    for note in &compared.notes {
        out.say(format_args!("note: {note}"));
    }
    match out.format() {
        Format::Json => out.json(&serde_json::json!({
            "comparison": comparison,
            "diagnostics": wrong,
            "notes": compared.notes,
        })),
        Format::Markdown => out.lines(&comparison::markdown(comparison)),
        _ => out.lines(&comparison::draw(comparison)),
    }
    if out.format() != Format::Json && !wrong.is_empty() {
        out.tell(&diagnostics::draw(wrong, |path| compared.text(path)));
    }
    Ok(if errors {
        Exit::Failed
    } else if args.detailed_exitcode && !comparison.differences.is_empty() {
        Exit::Pending
    } else {
        Exit::Done
    })
}
