//! Keeps a fleet of MCP instances exactly as a directory of YAML files says.
//!
//! ```text
//!  instances.d/*.yaml ─► source ─► Snapshot ─► resolve ─► Desired ─┐
//!  fleet.yaml            (door)               (words)              ├─► plan ─► Plan ─► perform ─► Report
//!  containers ─► engine ─► Observed ───────────────────────────────┘  (pure)    │     (engine)     │
//!                (door)                                             a dry run   ◄┘                 ▼
//!  tokens ─► store ─► AccessTable ─► ForwardAuth ◄─ Traefik         ends here          status, log, exit code
//! ```
//!
//! The modules stand on floors, and each imports only from its own floor's earlier modules and from below:
//! [`words`], [`decisions`] (both pure), [`doors`] (the outside), [`daemon`] (puts them together), [`face`]
//! (what a person meets). `docs/ARCHITECTURE.md` is the map.

pub mod words;

pub mod decisions;

pub mod doors;

pub mod daemon;

pub mod face;
