//! `instanced logs`: what instances write.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::site;
use crate::daemon::ops::{self, Feed, Followed, Heard, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint, paint_voice};
use crate::face::words::second;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;
use crate::words::watch::{AskLog, LogLine};

/// Lines that may wait to be written.
const LINES_MAX: usize = 1024;

/// Show what instances have written, and with -f what they write
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced logs alice                     all that the engine has kept
  instanced logs alice -f --tail 20        the last lines, and what follows, from one generation to the next
  instanced logs alice bob -f              two at once, each with its name
  instanced logs --since 10m               all instances, the last ten minutes
  instanced logs alice --format json       for a program, an object a line")]
pub(super) struct Args {
    /// These instances [default: all that have a container]
    #[arg(value_name = "NAME")]
    names: Vec<InstanceName>,
    /// Go on with what they write, until Ctrl-C, also over a restart of the daemon
    #[arg(short, long)]
    follow: bool,
    /// The newest lines of each alone
    #[arg(long, value_name = "NUMBER", value_parser = lines, allow_hyphen_values = true)]
    tail: Option<u32>,
    /// Since then: a time (2026-11-27T17:00:00Z), or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Say when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Write control characters as they are; without it they are shown as escapes
    #[arg(long)]
    raw: bool,
}

fn lines(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write how many lines: 20".to_owned())
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago: Span = text
        .parse()
        .map_err(|_| "write a time (2026-11-27T17:00:00Z), or how long ago (10m)".to_owned())?;
    Timestamp::now()
        .checked_sub(Duration::from(ago))
        .map_err(|error| error.to_string())
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let all = ops::status(site).await?;
    let names: Vec<InstanceName> = if args.names.is_empty() {
        let there = all.iter().filter(|one| one.generation.is_some());
        there.map(|one| one.name.clone()).collect()
    } else {
        let mut named = BTreeSet::new();
        let once = args.names.iter().filter(|name| named.insert(*name));
        once.cloned().collect()
    };
    site::known(&all, &args.names)?;
    // One that is gone from the manifests may stand yet, and is listed.
    for name in &names {
        let one = all.iter().find(|one| one.name == *name);
        let one = one.ok_or_else(|| site::unknown(name, &all))?;
        if one.generation.is_none() {
            return Err(Failure {
                message: format!("`{name}` has no container yet"),
                help: Some(format!("`instanced status {name}` tells why")),
            });
        }
    }
    let ask = AskLog {
        tail: args.tail,
        since: args.since,
        follow: args.follow,
    };
    let voices = Voices {
        width: names.iter().map(|name| name.as_str().len()).max(),
        names: &names,
        args,
    };
    if args.follow {
        let mut feeds = Vec::new();
        for name in &names {
            feeds.push(ops::follow_log(site, name, ask).await?);
        }
        return voices.follow(feeds, out).await;
    }
    let mut feeds = Vec::new();
    for name in &names {
        feeds.push(ops::log(site, name, ask).await?);
    }
    voices.merge(feeds, out).await
}

/// Who speaks, and how that is shown.
struct Voices<'a> {
    names: &'a [InstanceName],
    width: Option<usize>,
    args: &'a Args,
}

impl Voices<'_> {
    /// What was written, in the order in which it was.
    async fn merge(&self, mut feeds: Vec<Feed>, out: &mut Output) -> Result<Exit, Failure> {
        let mut heads = Vec::new();
        for feed in &mut feeds {
            heads.push(feed.next().await?);
        }
        loop {
            let times = heads.iter().enumerate();
            let times = times.filter_map(|(place, head)| Some((head.as_ref()?.at, place)));
            let Some((_, first)) = times.min() else {
                return Ok(Exit::Done);
            };
            let next = feeds[first].next().await?;
            if let Some(line) = std::mem::replace(&mut heads[first], next) {
                self.say(first, &line, out);
            }
            if out.is_broken() {
                return Ok(Exit::Done);
            }
        }
    }

    /// What they write, as it comes. One that fails is told; the others go on.
    async fn follow(&self, feeds: Vec<Followed>, out: &mut Output) -> Result<Exit, Failure> {
        let (sender, mut told) = mpsc::channel(LINES_MAX);
        let mut reading = JoinSet::new();
        for (place, mut feed) in feeds.into_iter().enumerate() {
            let sender = sender.clone();
            reading.spawn(async move {
                loop {
                    let heard = feed.next().await;
                    let ends = !matches!(heard, Ok(Some(_)));
                    if sender.send((place, heard)).await.is_err() || ends {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut exit = Exit::Done;
        let mut is_away = false;
        loop {
            let next = tokio::select! {
                next = told.recv() => next,
                _ = tokio::signal::ctrl_c() => return Ok(exit),
            };
            let Some((place, heard)) = next else {
                return Ok(exit);
            };
            match heard {
                Ok(Some(Heard::Line(line))) => self.say(place, &line, out),
                // One daemon tells all of them: it is said once.
                Ok(Some(Heard::Away)) => {
                    if !std::mem::replace(&mut is_away, true) {
                        out.say("the daemon has ended; waiting for the next one …");
                    }
                }
                Ok(Some(Heard::Back)) => {
                    if std::mem::replace(&mut is_away, false) {
                        out.say("a daemon runs again: going on");
                    }
                }
                Ok(None) => out.say(format_args!("`{}` writes no more.", self.names[place])),
                Err(failure) => {
                    out.fail(&failure);
                    exit = Exit::Failed;
                }
            }
            if out.is_broken() {
                return Ok(exit);
            }
        }
    }

    fn say(&self, place: usize, line: &LogLine, out: &mut Output) {
        if out.is_json() {
            return out.json_line(line);
        }
        let mut told = String::new();
        if self.names.len() > 1 {
            let width = self.width.unwrap_or(0);
            let name = format!("{:width$} |", line.instance.as_str());
            let _ = write!(told, "{} ", paint_voice(place, name));
        }
        if let (true, Some(at)) = (self.args.timestamps, line.at) {
            let _ = write!(told, "{} ", paint(Label::Faint, second(at)));
        }
        if self.args.raw {
            return out.raw(&told, &line.line);
        }
        out.result(told + &line.line);
    }
}
