//! Wiring of the daemon.

pub mod lifecycle;
