//! Floor 3: the daemon. Puts doors and decisions together; what a person sees is [`crate::face`]'s.

pub mod chain;
pub mod control;
pub mod forward_auth;
pub mod guards;
pub mod memory;
pub mod operate;
pub mod ops;
pub mod round;
pub mod seal;
pub mod serve;
pub mod site;
pub mod tokens;
