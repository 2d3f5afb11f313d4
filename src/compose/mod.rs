//! RTP to pictures and sound on the room's timeline.
//!
//! A packet's way through this module: [`jitter`] puts a track's packets back in order,
//! [`depacketize`] makes access units of them, the decoders (in `hw`) make pictures and PCM,
//! [`timeline`] says when those happened, [`scene`] says where a picture goes, [`canvas`] puts it
//! there, [`mix`] lays sound on the 48 kHz grid. [`room`] joins them into one core that takes
//! records and a time, and returns the frames and sound blocks that are due.
//!
//! Nothing here opens a socket, reads a clock or starts a thread; nothing here knows what a rung,
//! a part or a playlist is.

pub mod canvas;
pub mod depacketize;
pub mod jitter;
pub mod layers;
pub mod limiter;
pub mod mix;
pub mod motion;
pub mod resample;
pub mod room;
pub mod scene;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod timeline;
