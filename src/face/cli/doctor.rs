//! `instanced doctor`: looks at everything that an operator would look at, and says what to do.

use super::{Globals, site};
use crate::daemon::checkup::checkup as look;
use crate::decisions::checkup::has_problem;
use crate::decisions::report::Failure;
use crate::face::checkup;
use crate::face::exit::Exit;
use crate::face::output::Output;

/// Check the host, the engine, the daemon and the edge, and say what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced doctor                  a line for each thing; it changes nothing
  instanced doctor --format json    for a script; exits with 1 when something does not work

Run it as the daemon's user, or as root: some things can be seen by them alone.")]
pub(super) struct Args {}

/// Runs it. It works where the configuration is broken, too.
pub(super) async fn run(globals: &Globals, out: &mut Output) -> Result<Exit, Failure> {
    let (site, configured) = site::find_anyhow(globals)?;
    let findings = Box::pin(look(&site, &configured)).await;
    if out.is_json() {
        out.json(&checkup::json(&findings));
    } else {
        out.lines(&checkup::draw(&findings));
    }
    Ok(if has_problem(&findings) {
        Exit::Failed
    } else {
        Exit::Done
    })
}
