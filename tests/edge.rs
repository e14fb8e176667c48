//! The daemon as a process, asked as Traefik asks it. There is no engine; what is desired is known all the same.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "edge/availability.rs"]
mod availability;
#[path = "edge/lab.rs"]
mod lab;
#[path = "support/process.rs"]
mod process;
#[path = "edge/scarce.rs"]
mod scarce;
#[path = "edge/tickets.rs"]
mod tickets;
