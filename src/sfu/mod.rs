//! WebRTC in: publishers' packets, decrypted and repaired, into the rooms' rings.
//!
//! | module | what it does |
//! |---|---|
//! | [`core`] | all publishers behind one port, without sockets or a clock |
//! | `peer` | one publisher: a str0m connection, its tracks, its patience |
//! | [`keyframe`] | which packet begins a key frame; when to ask for one |
//! | [`sdp`] | what an offer may hold; ICE fragments |
//! | [`framing`] | RFC 4571: datagrams on a TCP stream |
//! | [`addresses`] | which addresses are announced |
//! | `driver`, `tcp` | the thread that owns the sockets |
//! | [`Handle`] | how everything else talks to that thread |
//!
//! A packet's copies, as str0m 0.25 has it: the datagram is decrypted out of the receive buffer
//! into str0m's scratch buffer (the cipher reads one and writes the other, no copy of its own),
//! the payload is copied from there into an `Arc<[u8]>` (one allocation), and from that into the
//! ring. Fewer would need an engine that decrypts in our own buffer.

pub mod addresses;
mod config;
pub mod core;
mod driver;
pub mod framing;
mod handle;
pub mod keyframe;
mod peer;
pub mod sdp;
mod tcp;
mod words;

pub use config::{Config, ConfigError, Socket};
pub use driver::{StartError, start};
pub use handle::Handle;
pub use words::{
    CommandError, Event, LeftWhy, PatchError, Patched, Publish, PublishError, Published,
    ResourceId, Subscribe, SubscribeError, Subscribed,
};
