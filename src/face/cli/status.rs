//! `instanced status`: how instances stand.

use std::time::Duration;

use jiff::Timestamp;

use super::live;
use crate::daemon::ops::{self, Site};
use crate::daemon::watch::Sampler;
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::status as view;
use crate::face::text::Lines;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;
use crate::words::watch::AskUsage;

/// Show how the instances stand: all in a table, or one in full
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced status                 all of them
  instanced status --wide          with owners and URLs
  instanced status alice           one in full: URLs, health, what was done to it, what it waits for
  instanced status --usage         with what they use at this moment; it takes a second or two
  instanced status --watch         drawn anew every 2 s, until Ctrl-C
  instanced status --format json   for a program")]
pub(super) struct Args {
    /// This instance, in full
    #[arg(value_name = "NAME")]
    name: Option<InstanceName>,
    /// With owners and URLs
    #[arg(short, long, conflicts_with = "name")]
    wide: bool,
    /// With what they use now. Without it, as the daemon has seen it within the last minute or so; where none runs, not
    /// at all, as the engine takes a second or two to say
    #[arg(short, long)]
    usage: bool,
    /// Draw it anew in place, until Ctrl-C
    #[arg(short = 'W', long)]
    watch: bool,
    /// With --watch: how often
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "watch")]
    interval: Span,
}

impl Args {
    /// Whoever looks on sees how it goes.
    fn asked(&self) -> AskUsage {
        if self.usage || self.watch {
            AskUsage::Now
        } else {
            AskUsage::Recent
        }
    }
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let sampler = Sampler::default();
    if args.watch {
        let every = interval(args.interval)?;
        return live::watch("instanced status", every, out, async || {
            Box::pin(drawn(args, site, &sampler)).await
        })
        .await;
    }
    if !out.is_json() {
        let drawn = Box::pin(drawn(args, site, &sampler)).await?;
        out.lines(&drawn);
        return Ok(Exit::Done);
    }
    match &args.name {
        None => {
            let all = ops::status_with_usage(site, &sampler, args.asked()).await?;
            let source = ops::source_status(site).await?;
            let rounds = ops::rounds(site).await?;
            let all = serde_json::json!({
                "daemon": rounds.is_some(),
                "rounds": rounds,
                "source": source,
                "instances": all,
            });
            out.json(&all);
        }
        Some(name) => {
            let detail = Box::pin(ops::detail(site, name, &sampler, args.asked()));
            out.json(&detail.await?);
        }
    }
    Ok(Exit::Done)
}

async fn drawn(args: &Args, site: &Site, sampler: &Sampler) -> Result<Lines, Failure> {
    if let Some(name) = &args.name {
        let one = Box::pin(ops::detail(site, name, sampler, args.asked())).await?;
        let drawn = view::draw_one(&one, Timestamp::now());
        if ops::has_daemon(site).await? {
            return Ok(drawn);
        }
        let mut head = view::draw_no_daemon();
        head.blank();
        head += drawn;
        return Ok(head);
    }
    let all = ops::status_with_usage(site, sampler, args.asked()).await?;
    let source = ops::source_status(site).await?;
    let now = Timestamp::now();
    let mut head = view::draw_source(&source, now);
    match ops::rounds(site).await? {
        Some(rounds) => head += view::draw_rounds(&rounds),
        None => head += view::draw_no_daemon(),
    }
    head.blank();
    head += view::draw(&all, args.wide, now);
    Ok(head)
}

/// How often something is drawn anew.
pub(super) fn interval(span: Span) -> Result<Duration, Failure> {
    let every = Duration::from(span);
    if every < Duration::from_millis(200) {
        return Err(Failure {
            message: format!("--interval {span} is too short to be read"),
            help: Some("200ms is the least".to_owned()),
        });
    }
    Ok(every)
}
