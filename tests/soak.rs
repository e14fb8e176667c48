//! The soak: what goes wrong around a daemon in production, done to the real binary on a real engine. The daemon
//! is killed at random moments, the engine restarts or hangs, the state's disk is full, manifests are written
//! slowly, the source goes away. After each: the desired fleet runs, nothing foreign was touched, no token was
//! lost.
//!
//! The short form is part of `make test`; `make soak` (`INSTANCED_SOAK=long`) does the same for longer. Needs
//! root, for a disk and an engine of its own; the engine that everybody shares is never restarted. Everything is
//! seen from outside: through the binary, its files, and the `docker` program.
//!
//! The daemons' logs stay in `.run/soak`, one for each scenario.

#[path = "soak/bystanders.rs"]
mod bystanders;
#[path = "soak/daemon.rs"]
mod daemon;
#[path = "soak/engine.rs"]
mod engine;
#[path = "soak/engine_restarts.rs"]
mod engine_restarts;
#[path = "soak/events.rs"]
mod events;
#[path = "soak/fleet.rs"]
mod fleet;
#[path = "soak/full_disk.rs"]
mod full_disk;
#[path = "soak/kills.rs"]
mod kills;
#[path = "soak/lab.rs"]
mod lab;
#[path = "soak/moved.rs"]
mod moved;
#[path = "soak/own_engine.rs"]
mod own_engine;
#[path = "soak/random.rs"]
mod random;
#[path = "e2e/said.rs"]
mod said;
#[path = "soak/slow_writes.rs"]
mod slow_writes;
#[path = "soak/tokens.rs"]
mod tokens;
