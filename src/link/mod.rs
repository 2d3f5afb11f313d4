//! The process boundary between the daemon and its transcoders.

pub mod wire;
