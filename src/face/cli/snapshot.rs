//! `instanced snapshot`: what engine and store say, for dry runs where neither is.

use std::path::PathBuf;

use crate::daemon::ops::Site;
use crate::daemon::snapshots;
use crate::decisions::report::Failure;
use crate::doors::files::replace_text;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::words::{count, shell_word};

/// Record what stands on the engine, and what the store knows, so that CI can show plans without either
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced snapshot > observed.json          on the host
  instanced snapshot --out observed.json      the same; the file is never half written
  instanced reconcile --dry-run --observed observed.json   in CI

It is JSON whatever --format says. It holds no secret's value; what `env` says in plain it does hold.
Where a daemon runs, it is the daemon that takes it.")]
pub(super) struct Args {
    /// Write it to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let snapshot = snapshots::take(site).await?;
    for note in &snapshot.notes {
        out.say(format_args!("note: {note}"));
    }
    let Some(path) = &args.out else {
        out.json(&snapshot);
        return Ok(Exit::Done);
    };
    let text = serde_json::to_string_pretty(&snapshot);
    let text = text.expect("a snapshot has string keys and finite numbers only") + "\n";
    replace_text(path, &text).map_err(|error| Failure {
        message: format!("cannot write {}: {error}", path.display()),
        help: Some("name a file in a directory that you may write in".to_owned()),
    })?;
    out.say(format_args!(
        "recorded {}; plan from it with: instanced reconcile --dry-run --observed {}",
        count(snapshot.observed.instances.len(), "instance"),
        shell_word(&path.display().to_string()),
    ));
    Ok(Exit::Done)
}
