//! `instanced top`: what instances use.

use std::time::Instant;

use super::live;
use super::site::known;
use super::status::interval;
use crate::daemon::ops::{self, Site};
use crate::daemon::watch::Sampler;
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::top::{self, Look};
use crate::words::name::InstanceName;
use crate::words::quantity::Span;
use crate::words::watch::AskUsage;

/// Show what instances use: processors, memory, network, processes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced top                       all of them, drawn anew every 2 s
  instanced top alice bob             these two
  instanced top --once --format json  for a program")]
pub(super) struct Args {
    /// These instances alone
    #[arg(value_name = "NAME")]
    names: Vec<InstanceName>,
    /// Look once, and end; the rule where there is no terminal. What went over the network is told since each was
    /// started then, else for a second
    #[arg(long)]
    once: bool,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s")]
    interval: Span,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let sampler = Sampler::default();
    if args.once || out.is_json() || !out.is_terminal() {
        let all = ops::status_with_usage(site, &sampler, AskUsage::Now).await?;
        known(&all, &args.names)?;
        let look = Look::of(&all, &args.names, std::time::Duration::ZERO);
        if out.is_json() {
            out.json(&look.usage);
        } else {
            out.lines(&top::draw(&look, None));
        }
        return Ok(Exit::Done);
    }
    let mut before: Option<(Look, Instant)> = None;
    live::watch("instanced top", interval(args.interval)?, out, async || {
        let all = ops::status_with_usage(site, &sampler, AskUsage::Now).await?;
        known(&all, &args.names)?;
        let now = Instant::now();
        let after = before.as_ref().map(|(_, then)| now.duration_since(*then));
        let look = Look::of(&all, &args.names, after.unwrap_or_default());
        let drawn = top::draw(&look, before.as_ref().map(|(look, _)| look));
        before = Some((look, now));
        Ok(drawn)
    })
    .await
}
