//! WebRTC: publishers' packets, decrypted and repaired, into the rooms' rings and to subscribers.
//!
//! | module | what it does |
//! |---|---|
//! | [`core`] | all sessions behind one port, without sockets or a clock |
//! | `connection` | what every session has: a str0m connection, its names, its patience |
//! | `publisher` | one publisher: its tracks, its simulcast layers |
//! | `subscriber` | one subscriber: what is written to it |
//! | `rewrite` | one stream out of several layers: numbers and times (pure) |
//! | `layers` | which layer a subscriber gets (pure) |
//! | `size` | how large a layer's pictures are (pure) |
//! | `speaker` | who speaks (pure) |
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
//! ring. Fewer would need an engine that decrypts in our own buffer. Subscribers share the
//! `Arc<[u8]>`; for each, its payload is copied once, into the buffer in which it is encrypted.

pub mod addresses;
mod config;
mod connection;
pub mod core;
mod driver;
pub mod framing;
mod handle;
pub mod keyframe;
mod layers;
mod publisher;
mod rewrite;
pub mod sdp;
mod size;
mod speaker;
mod subscriber;
mod tcp;
mod words;

pub use config::{Config, ConfigError, Socket};
pub use driver::{StartError, start};
pub use handle::Handle;
pub use words::{
    CommandError, Event, LeftWhy, PatchError, Patched, Publish, PublishError, Published,
    ResourceId, Subscribe, SubscribeError, Subscribed,
};
