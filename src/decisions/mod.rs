//! Floor 1: decisions. Pure functions on the words; time and randomness come in as arguments.

pub mod access;
pub mod admission;
pub mod beyond_template;
pub mod change;
pub mod check;
pub mod checkup;
pub mod compare;
pub mod event;
pub mod guard;
pub mod hold;
pub mod host_mount;
pub mod log;
pub mod notice;
pub mod pace;
pub mod plan;
pub mod probe;
pub mod reason;
pub mod remedy;
pub mod report;
pub mod routing;
pub mod saved;
pub mod settled;
pub mod source;
pub mod status;
