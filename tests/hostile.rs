//! Manifests as people and their editors write them, and as nobody should: each ends in a spec or in clear errors, soon,
//! and the same each time.

#[path = "hostile/across.rs"]
mod across;
#[path = "hostile/fuzz.rs"]
mod fuzz;
#[path = "hostile/lab.rs"]
mod lab;
#[path = "hostile/large.rs"]
mod large;
#[path = "hostile/suite.rs"]
mod suite;
#[path = "hostile/written.rs"]
mod written;
