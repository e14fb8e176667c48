//! Whoever waits for a round, or for a step that goes on beside the rounds.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::daemon::converge::LateStep;
use crate::daemon::operate::AskedRound;
use crate::daemon::round::Ask;
use crate::daemon::steps::InFlight;
use crate::decisions::plan::Reason;
use crate::decisions::report::Report;

/// Whoever waits for a round.
#[derive(Default)]
pub(in crate::daemon::serve) struct Waiting {
    /// Those of whose round steps are in progress.
    unanswered: Vec<Unanswered>,
    /// Those who asked for an instance that a step is changing now: their round comes after it.
    deferred: VecDeque<AskedRound>,
}

/// Somebody who waits for a round of which steps are in progress.
struct Unanswered {
    report: Report,
    /// Until when, where that has an end.
    until: Option<Instant>,
    reply: oneshot::Sender<Report>,
}

impl Waiting {
    /// Takes somebody who asks for a round. Returns them, if that round can begin now.
    pub(super) fn ask(&mut self, asked: AskedRound, in_flight: &InFlight) -> Option<AskedRound> {
        if comes_after(&asked.ask, in_flight) {
            self.deferred.push_back(asked);
            return None;
        }
        Some(asked)
    }

    /// Returns the next of those whose round came after a step that has ended.
    pub(super) fn next_deferred(&mut self, in_flight: &InFlight) -> Option<AskedRound> {
        let mut deferred = self.deferred.iter();
        let ready = deferred.position(|asked| !comes_after(&asked.ask, in_flight))?;
        self.deferred.remove(ready)
    }

    /// Takes the report of a round that somebody asked for. A step may have begun to change their instance before the
    /// round looked, and may have ended by now: then nothing was planned for it, and their round comes again.
    pub(super) fn take(&mut self, asked: AskedRound, report: Report, in_flight: &InFlight) {
        if is_overtaken(&asked.ask, &report, in_flight) {
            self.deferred.push_back(asked);
            return;
        }
        let AskedRound { wait, reply, .. } = asked;
        self.unanswered.push(Unanswered {
            report,
            until: wait.map(|wait| Instant::now() + wait),
            reply,
        });
        self.answer();
    }

    /// Answers those of whose round no step is in progress any more, and those who wait no longer.
    pub(super) fn answer(&mut self) {
        let waiting = std::mem::take(&mut self.unanswered);
        let now = Instant::now();
        for waiter in waiting {
            let waits = waiter.until.is_none_or(|until| until > now);
            if waits && waiter.report.has_running() {
                self.unanswered.push(waiter);
            } else {
                // Whoever asked may be gone; the round was run all the same.
                let _ = waiter.reply.send(waiter.report);
            }
        }
    }

    /// When the next of them waits no longer.
    pub(super) fn until(&self) -> Option<Instant> {
        self.unanswered.iter().filter_map(|one| one.until).min()
    }

    /// Takes the end of a step that went on beside the rounds.
    pub(super) fn end_step(&mut self, ended: &LateStep) {
        for waiter in &mut self.unanswered {
            conclude(&mut waiter.report, ended);
        }
        self.answer();
    }
}

/// Takes the end of a step into a report that says that it is running.
pub(super) fn conclude(report: &mut Report, ended: &LateStep) {
    match &ended.report {
        Some(step) => report.conclude(step, ended.since),
        None => report.withdraw(&ended.instance, ended.since),
    }
}

/// Answers somebody whose round said nothing of the fleet.
pub(super) fn refuse(asked: AskedRound, report: Report) {
    let message = report.aborted.as_ref().map(|failure| &failure.message);
    tracing::info!(error = message, "saved plan refused");
    // Whoever asked may be gone.
    let _ = asked.reply.send(report);
}

/// Whether a round did not happen since the saved plan that it was asked for does not fit any more. That is no failure
/// of rounds. Whatever else aborts one, the daemon's own next round says.
pub(super) fn is_refused(ask: &Ask, report: &Report) -> bool {
    ask.expect.is_some() && report.aborted.is_some() && report.aborted_by.is_none()
}

/// Whether a round comes after a step of one of its instances: one that is changing it now, or for a restart or a
/// recreation any at all. Stops and suspensions withdraw a pull.
fn comes_after(ask: &Ask, in_flight: &InFlight) -> bool {
    let mut names = ask.names.iter();
    names.any(|name| {
        let is_ordered = ask.orders.contains_key(name);
        in_flight.is_acting(name) || (is_ordered && in_flight.has(name))
    })
}

/// Whether nothing was planned for one of the instances that a round was for, since an earlier step was running. Who
/// asks for no more than a round waits for a pull that is running still, and learns what came of it.
fn is_overtaken(ask: &Ask, report: &Report, in_flight: &InFlight) -> bool {
    let mut steps = report.steps.iter();
    steps.any(|told| {
        let name = &told.step.instance;
        let was_running = matches!(told.step.reason, Reason::InProgress { .. });
        was_running
            && ask.names.contains(name)
            && (comes_after(ask, in_flight) || !in_flight.has(name))
    })
}

#[cfg(test)]
mod tests;
