//! The instance for which nothing ever works.

use instanced::doors::engine::{EngineError, ErrorClass};

use super::super::bugs::Bug;
use super::super::paper::{Slot, slot_of};
use super::super::stage::Manner;
use super::Calls;

impl Calls {
    /// The instance that a call is about, where it is about one.
    pub(super) fn slot_of(&self, call: &str, subject: &str) -> Option<Slot> {
        let scene = self.stage.scene();
        if let Some(life) = scene.witness.lives.get(subject) {
            return Some(life.slot);
        }
        let named = matches!(call, "create" | "create_volume" | "remove_volume");
        let name = subject
            .strip_prefix("instanced-default-")
            .filter(|_| named)?;
        if let Some((owner, _)) = name.split_once("-vol-") {
            return slot_of(owner);
        }
        let name = name.strip_suffix("-secrets").unwrap_or(name);
        slot_of(name.rsplit_once("-g")?.0)
    }

    /// What the engine does with a call about the instance for which nothing ever works.
    pub(super) async fn ill<T>(
        &self,
        call: &str,
        subject: &str,
        changes: bool,
    ) -> Option<Result<T, EngineError>> {
        let slot = self.slot_of(call, subject)?;
        let ill = self.stage.scene().ill.filter(|ill| ill.slot == slot)?;
        let stalls = match ill.manner {
            Manner::Refuses(class) => {
                let class = match self.bug() {
                    Some(Bug::OneRefusalIsAway) => ErrorClass::Away,
                    _ => class,
                };
                let error = EngineError::new(format!("{call} {subject}"), class, "always");
                return Some(Err(error));
            }
            Manner::Stalls => true,
            Manner::StallsChanges => changes,
            // Told by the call itself.
            Manner::Lies => false,
        };
        if stalls {
            self.stage
                .tell(|| format!("    {call} {subject}: never answered"));
            std::future::pending::<()>().await;
        }
        None
    }

    /// Whether the engine says yes to a change and does nothing.
    pub(super) fn lies(&self, subject: &str) -> bool {
        let slot = self.slot_of("", subject);
        let ill = self.stage.scene().ill;
        ill.is_some_and(|ill| ill.manner == Manner::Lies && Some(ill.slot) == slot)
    }
}
