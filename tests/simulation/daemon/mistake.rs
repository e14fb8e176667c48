//! Plans of a daemon with a planted bug.

use instanced::daemon::round::View;
use instanced::decisions::plan::{Action, Reason, Retired, Step};
use instanced::words::name::InstanceName;
use instanced::words::observed::Phase;

use super::super::bugs::Bug;
use super::super::stage::Stage;

/// What a planner with a mistake would have planned.
pub fn mistake(view: &mut View, bug: Option<Bug>, stage: &Stage) {
    match bug {
        Some(Bug::ReusesNumbers) => {
            for step in &mut view.plan.steps {
                if let Action::Replace { generation, .. } = &mut step.action {
                    *generation -= 1;
                }
            }
        }
        Some(Bug::ClockJumpRestarts) if std::mem::take(&mut stage.scene().jumped) => {
            for (name, generations) in &view.observed.instances {
                let planned = view.plan.steps.iter().any(|step| step.instance == *name);
                let running = generations.last().filter(|g| g.phase == Phase::Running);
                if let (Some(running), false) = (running, planned) {
                    view.plan.steps.push(Step {
                        instance: name.clone(),
                        action: Action::Restart {
                            target: Retired::from(running),
                        },
                        reason: Reason::Unhealthy { tried: 0 },
                        changes: Vec::new(),
                        ends_sessions: true,
                    });
                }
            }
        }
        Some(Bug::BrakeCountsTheAbsent) => {
            let desired = view.desired.specs.keys();
            let absent = |name: &&InstanceName| !view.observed.instances.contains_key(*name);
            let unavailable: Vec<InstanceName> = desired.filter(absent).cloned().collect();
            if unavailable.is_empty() {
                return;
            }
            let replaces = |step: &&mut Step| matches!(step.action, Action::Replace { .. });
            for step in view.plan.steps.iter_mut().filter(replaces) {
                step.action = Action::Held;
                step.reason = Reason::RolloutWaits {
                    unavailable: unavailable.clone(),
                    most: 1,
                };
            }
        }
        _ => {}
    }
}
