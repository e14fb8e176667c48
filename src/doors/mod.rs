//! Floor 2: the doors. One module for each outside thing, and the only one to name its crate.

pub mod control_client;
pub mod edge;
pub mod engine;
pub mod files;
pub mod handover;
pub mod host;
pub mod post;
pub mod probe;
pub mod sign;
pub mod sole;
pub mod source;
pub mod store;
pub mod systemd;
pub mod tls;
pub mod vault;
pub mod web;
