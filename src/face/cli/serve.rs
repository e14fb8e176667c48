//! `instanced serve`: the daemon.

use super::site;
use crate::daemon::ops::{self, Site, Start};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};
use crate::face::telemetry;

/// Watch the manifests, keep the fleet as they say and answer Traefik, until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced serve                                  with instanced.yaml and instances.d/ here
  instanced --config /etc/instanced.yaml serve -v  with this configuration, and a chattier log
  instanced serve --take-over                      in place of the one that runs, refusing nobody

When it ends, every container keeps running. The log goes to stderr: in lines for people
on a terminal, as JSON otherwise.")]
pub(super) struct Args {
    /// Take the place of the daemon that runs here: it hands over its listening socket and its store, so that no
    /// client is refused. For an upgrade, or a changed configuration
    #[arg(long)]
    take_over: bool,
}

/// Runs it until it is told to end.
pub(super) async fn run(args: Args, site: Site, out: &mut Output) -> Result<Exit, Failure> {
    // Whatever reads a log of JSON wants no other line in it.
    let for_people = telemetry::is_for_people();
    if for_people {
        site::tell(&site.warnings, out);
    } else {
        for warning in &site.warnings {
            tracing::warn!("{warning}");
        }
    }
    let start = Start {
        take_over: args.take_over,
        // Where a service manager listens for the daemon, a restart refuses nobody either.
        socket: given_socket(),
    };
    let serving = ops::serve(site, start, |at| {
        if for_people {
            out.say(format_args!("{}: {at}", paint(Label::Good, "ready")));
        } else {
            tracing::info!("ready: {at}");
        }
    });
    Box::pin(serving).await?;
    if for_people {
        out.say("stopped; the containers keep running");
    }
    Ok(Exit::Done)
}

/// The listening socket of a service manager's (`LISTEN_FDS`): the first that is TCP.
fn given_socket() -> Option<std::net::TcpListener> {
    let mut given = listenfd::ListenFd::from_env();
    (0..given.len()).find_map(|place| given.take_tcp_listener(place).ok().flatten())
}
