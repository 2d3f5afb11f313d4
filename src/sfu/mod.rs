//! WebRTC in.
pub mod addresses;
mod config;
pub mod core;
pub mod framing;
mod handle;
pub mod keyframe;
mod peer;
pub mod sdp;

pub use config::{Config, ConfigError, Socket};
pub use handle::{
    CommandError, Event, LeftWhy, PatchError, Patched, PublishError, Published, ResourceId,
};
