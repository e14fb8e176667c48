//! `instanced health`: one question to the running daemon, for what supervises it.

use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;

/// Ask the running daemon whether it is well; for the health check of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced health          ready: it knows its fleet, its engine and who may pass
  instanced health --live   it runs and answers

Exit code 1 where it is not so; the reason is on stderr.")]
pub(super) struct Args {
    /// That it answers is enough: what it waits for (an engine, a source) is not mended by a restart
    #[arg(long)]
    live: bool,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let health = ops::health(site).await?;
    let well = health.ready || args.live && health.live;
    if out.is_json() {
        out.json(&health);
    } else if well {
        out.result(if health.ready { "ready" } else { "live" });
    }
    if well {
        return Ok(Exit::Done);
    }
    Err(Failure {
        message: format!(
            "the daemon (process {}) is not ready: {}",
            health.pid,
            health
                .reason
                .as_deref()
                .unwrap_or("its first round is not over yet"),
        ),
        help: Some("`instanced status` says how the instances stand".to_owned()),
    })
}
