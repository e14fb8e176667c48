//! `instanced status`: how instances stand.

use jiff::Timestamp;

use super::site;
use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::status as view;
use crate::words::name::InstanceName;

/// Show how the instances stand: all in a table, or one in full
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced status                 all of them
  instanced status alice           one in full, with its URLs
  instanced status --format json   for a program")]
pub(super) struct Args {
    /// This instance, in full
    #[arg(value_name = "NAME")]
    name: Option<InstanceName>,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let all = ops::status(site).await?;
    let now = Timestamp::now();
    match &args.name {
        None => {
            let source = ops::source_status(site).await?;
            if out.is_json() {
                out.json(&serde_json::json!({ "source": source, "instances": all }));
            } else {
                let drawn = view::draw_source(&source, now);
                out.result(drawn + "\n" + &view::draw(&all, now));
            }
        }
        Some(name) => {
            let one = all.iter().find(|one| one.name == *name);
            let one = one.ok_or_else(|| site::unknown(name))?;
            if out.is_json() {
                out.json(one);
            } else {
                out.result(view::draw_one(one, now));
            }
        }
    }
    Ok(Exit::Done)
}
