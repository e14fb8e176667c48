//! What rounds note for later rounds and for the next process.

use super::{Converger, View};
use crate::daemon::chain::chain;
use crate::daemon::memory::Memory;
use crate::daemon::notebook::{Acts, Notebook};
use crate::decisions::plan::Reason;
use crate::decisions::remedy;
use crate::doors::engine::Engine;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::overrides::Frozen;

impl<E: Engine + 'static, N: Notebook> Converger<E, N> {
    /// Tells the engine what an earlier process noted. Without that it is asked again.
    pub(super) async fn recall(&self) {
        match self.notebook.engine_notes().await {
            Ok(Some(notes)) => self.engine.recall(notes),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                "what was noted of the engine cannot be read, so it is asked again: {}",
                chain(&error)
            ),
        }
    }

    /// Notes for the next process what the engine said that lasts. What is lost of it is asked again.
    pub(super) async fn note_engine(&self) {
        let Some(notes) = self.engine.news() else {
            return;
        };
        if let Err(error) = self.notebook.put_engine_notes(notes).await {
            tracing::debug!(
                "what the engine said cannot be noted, so the next process asks again: {}",
                chain(&error)
            );
        }
    }

    /// Keeps who is protected: a manifest that is gone cannot say it any more. What the store does not take is kept
    /// in mind: no fleet stands still for it.
    pub(super) async fn note_protection(&mut self, memory: &mut Memory, desired: &Desired) {
        let earlier = self.unnoted.iter().map(|(name, protect)| (name, *protect));
        let now = desired
            .specs
            .iter()
            .map(|(name, spec)| (name, spec.protect));
        // Of one that an earlier round could not note, its manifest may say otherwise by now.
        let earlier = earlier.filter(|(name, _)| !desired.specs.contains_key(*name));
        if memory.learn_protection(earlier.chain(now)) {
            let (protected, released) = (memory.protected.clone(), memory.released.clone());
            let kept = self.notebook.put_protection(protected, released);
            if let Err(error) = kept.await {
                tracing::warn!(
                    "who is protected could not be kept, so a restart may forget it: {}",
                    chain(&error)
                );
                self.unnoted.extend(protection(desired));
                return;
            }
        }
        self.unnoted.clear();
    }

    /// Keeps in mind what was frozen, so that it stays so when its acts are old.
    pub(super) async fn freeze(
        &self,
        view: &View,
        memory: &Memory,
        acts: &Acts,
        now: jiff::Timestamp,
    ) {
        for step in &view.plan.steps {
            let Reason::Frozen { fields } = &step.reason else {
                continue;
            };
            let mut overrides = memory
                .overrides
                .get(&step.instance)
                .cloned()
                .unwrap_or_default();
            let Some(spec) = view.desired.specs.get(&step.instance) else {
                continue;
            };
            let spec = spec.digest();
            let acts = acts.get(&step.instance).map_or(&[][..], Vec::as_slice);
            let holds = |f: &Frozen| f.spec == spec && !remedy::has_thawed(f, acts);
            if overrides.frozen.as_ref().is_some_and(holds) {
                continue;
            }
            let fields = fields.clone();
            overrides.frozen = Some(Frozen {
                since: now,
                spec,
                fields,
            });
            let kept = self
                .notebook
                .set_overrides(step.instance.clone(), overrides);
            if let Err(error) = kept.await {
                // The acts say the same for ten minutes more.
                tracing::warn!(instance = %step.instance, "what was frozen could not be kept: {}",
                    chain(&error));
            }
        }
    }
}

/// What the manifests say of `protect`.
pub(super) fn protection(desired: &Desired) -> impl Iterator<Item = (InstanceName, bool)> + '_ {
    let specs = desired.specs.iter();
    specs.map(|(name, spec)| (name.clone(), spec.protect))
}
