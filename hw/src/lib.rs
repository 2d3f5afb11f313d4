//! The machine as safe Rust: sockets on io_uring, shared memory, processes, codecs.
//!
//! All of Proscenium's unsafe code is here, behind interfaces that cannot be misused from safe
//! code. Nothing here knows what a room, a rung or a playlist is.

pub mod clock;
pub mod codec;
pub mod interfaces;
pub mod memory;
pub mod process;
pub mod udp;
