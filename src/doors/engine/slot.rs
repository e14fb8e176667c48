//! Places of which there are few, and which nobody keeps for long: what takes its time goes on without one.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// Works in a slot, and gives it to another once that takes longer than `patience`; without that, when it is done.
pub async fn with_slot<T>(
    slot: OwnedSemaphorePermit,
    patience: Option<Duration>,
    work: impl Future<Output = T>,
) -> T {
    let Some(patience) = patience else {
        let done = work.await;
        drop(slot);
        return done;
    };
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        () = sleep(patience) => {
            drop(slot);
            work.await
        }
    }
}
