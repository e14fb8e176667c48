//! `instanced history`: what was ever done to an instance.

use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::history;
use crate::face::output::Output;
use crate::words::name::InstanceName;

/// Show everything that was done to an instance, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The newest 500 entries of an instance are kept, also of one that is gone.

Examples:
  instanced history alice                 all that is kept, the newest last
  instanced history alice --tail 5        the last five
  instanced history alice --format json   for a program")]
pub(super) struct Args {
    /// The instance, also one that is gone
    #[arg(value_name = "NAME")]
    name: InstanceName,
    /// The newest of them alone
    #[arg(long, value_name = "NUMBER")]
    tail: Option<usize>,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let all = ops::history(site, &args.name).await?;
    let surplus = args.tail.map_or(0, |tail| all.len().saturating_sub(tail));
    let shown = &all[surplus..];
    if out.is_json() {
        out.json(&shown);
    } else if shown.is_empty() {
        out.say(format_args!("Nothing was done to `{}` yet.", args.name));
    } else {
        out.lines(&history::draw(shown));
    }
    Ok(Exit::Done)
}
