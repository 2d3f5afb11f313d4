//! WebRTC in: publishers' packets, decrypted and repaired, into the rooms' rings.

mod config;

pub use config::{Config, ConfigError, Socket};
