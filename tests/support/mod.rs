//! What several kinds of tests stand on. Each test binary uses a part of it.
#![allow(dead_code)]

pub mod bad_registry;
pub mod fake_containers;
