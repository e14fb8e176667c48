//! The real Traefik in front of the real daemon, with clients that lie: what `FORWARD_AUTH.md` says of the two, from
//! outside.
//!
//! There is no engine. Routes are rendered by the daemon's own functions and lead to an upstream that tells what
//! reached it. Traefik is started in the layout that is shipped; `scripts/tools.sh` brings it, and a missing one
//! fails. Everything is on loopback, and ends with the test that began it.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "traefik/browsers.rs"]
mod browsers;
#[path = "traefik/checkup.rs"]
mod checkup;
#[path = "traefik/clients.rs"]
mod clients;
#[path = "traefik/encrypted.rs"]
mod encrypted;
#[path = "traefik/guesses.rs"]
mod guesses;
#[path = "traefik/http.rs"]
mod http;
#[path = "traefik/identity.rs"]
mod identity;
#[path = "traefik/lab.rs"]
mod lab;
#[path = "traefik/people.rs"]
mod people;
#[path = "support/process.rs"]
mod process;
#[path = "traefik/take_over.rs"]
mod take_over;
#[path = "traefik/upstream.rs"]
mod upstream;
