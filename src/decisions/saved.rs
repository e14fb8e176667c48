//! A plan that was saved to be performed later, or not at all: it names the ground that it stands on.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Action, Plan, Step};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Observed};
use crate::words::secret::SecretSource;

/// The form of saved plan that this version writes.
const FORMAT: u32 = 1;

/// A plan with what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedPlan {
    /// The form of this record.
    pub format: u32,
    /// When it was made.
    pub made: jiff::Timestamp,
    /// Names what was desired.
    pub desired: String,
    /// Names what was observed: which containers and images there were, not how they felt.
    pub observed: String,
    /// The instances that it is about; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<InstanceName>,
    /// What was to be done.
    pub plan: Plan,
}

/// Why a saved plan is not performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It was written by another version.
    Format(u32),
    /// What is desired has changed since.
    Desired {
        /// The revision then.
        then: String,
        /// The revision now.
        now: String,
    },
    /// Containers or images have changed since.
    Observed,
    /// The same ground leads to other steps now: time has passed, or an operator spoke.
    Steps,
}

impl SavedPlan {
    /// A plan, saved with its ground.
    pub fn new(plan: Plan, desired: &Desired, observed: &Observed, made: jiff::Timestamp) -> Self {
        Self {
            format: FORMAT,
            made,
            desired: desired_digest(desired),
            observed: observed_digest(observed),
            names: Vec::new(),
            plan,
        }
    }

    /// The same for these instances alone; all of them when `names` is empty.
    #[must_use]
    pub fn only(mut self, names: &[InstanceName]) -> Self {
        if !names.is_empty() {
            self.plan
                .steps
                .retain(|step| names.contains(&step.instance));
            self.names = names.to_vec();
        }
        self
    }

    /// Whether the plan that would be made now is this one, on the same ground.
    pub fn matches(
        &self,
        plan: &Plan,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Moved> {
        if self.format != FORMAT {
            return Err(Moved::Format(self.format));
        }
        if self.desired != desired_digest(desired) {
            let (then, now) = (self.plan.revision.clone(), plan.revision.clone());
            return Err(Moved::Desired { then, now });
        }
        if self.observed != observed_digest(observed) {
            return Err(Moved::Observed);
        }
        if as_said(&self.plan) != as_said(plan) {
            return Err(Moved::Steps);
        }
        Ok(())
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => write!(
                f,
                "the plan is of format {format}, and this version reads format {FORMAT}"
            ),
            Self::Desired { then, now } if then != now => write!(
                f,
                "what is desired has changed since the plan was made: it was revision {then}, and is {now}"
            ),
            Self::Desired { .. } => {
                f.write_str("what is desired has changed since the plan was made")
            }
            Self::Observed => {
                f.write_str("containers or images have changed since the plan was made")
            }
            Self::Steps => {
                f.write_str("other steps would be taken now than when the plan was made")
            }
        }
    }
}

impl std::error::Error for Moved {}

/// The steps without what only a round that acts knows: the values that it generates.
fn as_said(plan: &Plan) -> Vec<Step> {
    let mut steps = plan.steps.clone();
    for step in &mut steps {
        let (Action::Create { spec, .. }
        | Action::Start { spec, .. }
        | Action::Update { spec, .. }
        | Action::Replace { spec, .. }) = &mut step.action
        else {
            continue;
        };
        let secrets = &mut Arc::make_mut(spec).secrets;
        for secret in secrets.values_mut() {
            if secret.from == SecretSource::Generated {
                secret.print = None;
            }
        }
    }
    steps
}

fn desired_digest(desired: &Desired) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(desired.revision.as_bytes());
    for (name, spec) in &desired.specs {
        hasher.update(b"\0").update(name.as_str().as_bytes());
        hasher.update(b"\0").update(spec.digest().as_bytes());
    }
    for name in desired.unreadable.keys() {
        hasher.update(b"\0!").update(name.as_str().as_bytes());
    }
    short(&hasher)
}

fn observed_digest(observed: &Observed) -> String {
    let lasting = |generation: &Generation| {
        let Generation {
            id,
            name,
            number,
            phase,
            image_id,
            limits,
            drift,
            ..
        } = generation;
        serde_json::to_string(&(id, name, number, phase, image_id, limits, drift))
            .expect("facts have string keys and finite numbers only")
    };
    let mut hasher = blake3::Hasher::new();
    for (name, generations) in &observed.instances {
        hasher.update(b"\0").update(name.as_str().as_bytes());
        for generation in generations {
            hasher.update(b"\0").update(lasting(generation).as_bytes());
        }
    }
    for (reference, id) in &observed.images {
        hasher.update(b"\0").update(reference.as_bytes());
        hasher.update(b"\0").update(id.as_bytes());
    }
    short(&hasher)
}

fn short(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex()[..32].to_owned()
}
