//! Descriptors on tokio's reactor.

use super::{Child, SeqPacket};
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Types whose descriptor is the same, and open, as long as they live.
trait Steady: AsRawFd {}
impl Steady for SeqPacket {}
impl Steady for Child {}

/// A socket whose messages can be awaited. To be called on a tokio runtime.
///
/// # Errors
/// When the kernel's list of watched descriptors is full.
pub fn pollable_socket(socket: SeqPacket) -> io::Result<AsyncFd<SeqPacket>> {
    register(socket)
}

/// A child whose end can be awaited: it is readable then. To be called on a tokio runtime.
///
/// # Errors
/// When the kernel's list of watched descriptors is full.
pub fn pollable_child(child: Child) -> io::Result<AsyncFd<Child>> {
    register(child)
}

fn register<T: Steady>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `Steady` types own one descriptor, which their as_raw_fd returns, and close it only
    // when they are dropped; AsyncFd gives the inner value away only after deregistering it.
    let registered = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
