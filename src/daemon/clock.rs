//! The time of day, as an argument: the simulation turns it as it likes. How long something has lasted is
//! tokio's clock, which nobody sets.

use std::fmt;
use std::sync::Arc;

/// Tells the time of day.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>);

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self::new(jiff::Timestamp::now)
    }

    /// One that tells what `now` says.
    pub fn new(now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time of day.
    pub fn now(&self) -> jiff::Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(…)")
    }
}

/// Spreads retries of many instances; a system without randomness spreads none.
pub fn jitter() -> f64 {
    let mut byte = [128_u8; 1];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
