//! The process boundary between the daemon and its transcoders.
//!
//! Packets go in through a shared memory [`ring`], parts come back as sealed memory, and small
//! [`wire`] messages go both ways over a socket. [`supervise`] is the daemon's side: it starts a
//! transcoder a room, holds what it says against the rules, and starts the next one when it dies.
//! [`child`] is the transcoder's side.
//!
//! What this module does not know: what the packets contain, how parts are made, who watches.

pub mod child;
pub mod ring;
pub mod supervise;
pub mod wire;
