//! `instanced restart|recreate|stop|start|suspend|resume NAME`: what an operator says of one instance.

use super::reconcile;
use crate::daemon::ops::{self, Site};
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, Outcome, Report};
use crate::decisions::settled::Reconciled;
use crate::decisions::status::InstancePhase;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::words::name::InstanceName;
use crate::words::overrides::Order;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance
    #[arg(value_name = "NAME")]
    name: InstanceName,
}

/// Runs it: tells what the round did that the order led to. An instance that is held because it was told to
/// be is done, not held.
pub(super) async fn run(
    args: Args,
    order: Order,
    site: &Site,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let done = Reconciled {
        report: ops::order(site, &args.name, order).await?,
        ..Reconciled::default()
    };
    let exit = reconcile::tell(&done, site, out);
    let done = done.report;
    let wants_it_up = matches!(order, Order::Start | Order::Restart | Order::Recreate);
    if wants_it_up && done.aborted.is_none() && done.steps.is_empty() {
        let all = ops::status(site).await?;
        let one = all.iter().find(|one| one.name == args.name);
        if one.is_some_and(|one| one.phase == InstancePhase::Stopped) {
            out.say(format_args!(
                "`{}` stands still, as its manifest says `state: stopped`; change that to have it run.",
                args.name
            ));
        }
    }
    let as_told = matches!(order, Order::Stop | Order::Suspend);
    Ok(match exit {
        Exit::Held if as_told && is_as_told(&done) => Exit::Done,
        exit => exit,
    })
}

/// Whether all that is held is held for the order itself.
fn is_as_told(report: &Report) -> bool {
    let mut held = report
        .steps
        .iter()
        .filter(|step| step.outcome == Outcome::Held);
    held.all(|step| {
        matches!(
            step.step.reason,
            Reason::StoppedByOperator { .. } | Reason::Suspended { .. }
        )
    })
}
