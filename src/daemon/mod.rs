//! Floor 3: the daemon. Puts doors and decisions together; what a person sees is [`crate::face`]'s.

pub mod attended;
pub mod chain;
pub mod clock;
pub mod control;
pub mod converge;
mod failures;
pub mod forward_auth;
pub mod guards;
mod journal;
pub mod memory;
pub mod notebook;
pub mod operate;
pub mod ops;
pub mod orders;
pub mod probes;
pub mod revisions;
pub mod round;
pub mod routes;
pub mod seal;
pub mod serve;
pub mod site;
pub mod snapshots;
mod spells;
pub mod tokens;
