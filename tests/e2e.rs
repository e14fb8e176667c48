//! The main job with real parts: engine, image, Traefik, the official MCP client, and the daemon as a process
//! of its own, which is killed where a test says so.
//!
//! Needs a container engine with `localhost/instanced/browser:1`, and the tools of `scripts/tools.sh`; what is missing
//! fails with the command that brings it. `make test` brings all of it. Everything made here carries a manager
//! or a name that begins with `e2e-<pid>`, and goes again, also after a failure.
//!
//! Each check of a scenario is told in a line of its own.

#[path = "support/bad_registry.rs"]
mod bad_registry;
#[path = "e2e/bench.rs"]
mod bench;
#[path = "e2e/browser.rs"]
mod browser;
#[path = "e2e/clients.rs"]
mod clients;
#[path = "e2e/control_api.rs"]
mod control_api;
#[path = "e2e/daemon.rs"]
mod daemon;
#[path = "e2e/daemon_image.rs"]
mod daemon_image;
#[path = "e2e/edge.rs"]
mod edge;
#[path = "e2e/engine.rs"]
mod engine;
#[path = "e2e/engine_api.rs"]
mod engine_api;
#[path = "e2e/git_source.rs"]
mod git_source;
#[path = "e2e/guards.rs"]
mod guards;
#[path = "e2e/lab.rs"]
mod lab;
#[path = "e2e/link.rs"]
mod link;
#[path = "e2e/main_job.rs"]
mod main_job;
#[path = "e2e/mistakes.rs"]
mod mistakes;
#[path = "e2e/operating.rs"]
mod operating;
#[path = "e2e/proxy.rs"]
mod proxy;
#[path = "e2e/reach.rs"]
mod reach;
#[path = "e2e/registries.rs"]
mod registries;
#[path = "e2e/registry.rs"]
mod registry;
#[path = "e2e/rounds.rs"]
mod rounds;
#[path = "e2e/route_files.rs"]
mod route_files;
#[path = "e2e/said.rs"]
mod said;
#[path = "e2e/snapshots.rs"]
mod snapshots;
#[path = "e2e/swap.rs"]
mod swap;
#[path = "e2e/tickets.rs"]
mod tickets;
#[path = "e2e/visitor.rs"]
mod visitor;
