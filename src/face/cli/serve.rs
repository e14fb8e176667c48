//! `instanced serve`: the daemon.

use super::site;
use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};

/// Watch the manifests, keep the fleet as they say and answer Traefik, until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced serve                                  with instanced.yaml and instances.d/ here
  instanced --config /etc/instanced.yaml serve -v  with this configuration, and a chattier log

When it ends, every container keeps running. The log goes to stderr: in lines for people
on a terminal, as JSON otherwise.")]
pub(super) struct Args {}

/// Runs it until it is told to end.
pub(super) async fn run(_: Args, site: Site, out: &mut Output) -> Result<Exit, Failure> {
    site::tell(&site.warnings, out);
    ops::serve(site, |at| {
        out.say(format_args!("{}: {at}", paint(Label::Good, "ready")));
    })
    .await?;
    out.say("stopped; the containers keep running");
    Ok(Exit::Done)
}
