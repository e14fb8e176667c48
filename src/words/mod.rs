//! Floor 0: the words. Validated types, manifests and their resolution, observed state. Pure: nothing
//! here reads a file, a clock or a socket.

pub mod act;
pub mod bounds;
pub mod commit;
pub mod config;
pub mod control;
pub mod desired;
pub mod diagnostic;
pub mod document;
pub mod history;
pub mod host_path;
pub mod label;
pub mod lines;
pub mod manifest;
pub mod name;
pub mod observed;
pub mod origin;
pub mod overrides;
pub mod quantity;
pub mod redact;
pub mod reference;
pub mod resolve;
pub mod route;
pub mod router;
pub mod schema;
pub mod secret;
pub mod snapshot;
pub mod spec;
pub mod spread;
pub mod template;
pub mod text;
pub mod token;
pub mod watch;
