//! Makes a waiting socket return, from any thread.

use super::UdpError;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes [`Socket::wait`](super::Socket::wait) return. Cheap to clone; outliving the socket is
/// fine. Calls between two returns of `wait` collapse into one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    event: EventFd,
    /// Set by the first `wake`, cleared once the owner knows: so the counter never exceeds a few,
    /// a write never blocks, and a busy channel costs one write a turn.
    pending: AtomicBool,
}

impl Waker {
    /// `nonblocking` is for owners that read the counter themselves; io_uring wants a blocking
    /// descriptor, or its read ends with EAGAIN at once instead of waiting.
    pub(super) fn new(nonblocking: bool) -> Result<Self, UdpError> {
        let flags = if nonblocking { EfdFlags::EFD_NONBLOCK } else { EfdFlags::empty() };
        let event =
            EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC).map_err(UdpError::io("eventfd"))?;
        Ok(Self(Arc::new(Inner { event, pending: AtomicBool::new(false) })))
    }

    /// Makes the present or the next `wait` return with `woken`.
    ///
    /// Whatever the caller wrote before is visible to the owner after that.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel)
            && let Err(error) = self.0.event.write(1)
        {
            // Cannot happen to a counter below its limit; a lost wake must not be silent.
            self.0.pending.store(false, Ordering::Release);
            tracing::error!(%error, "cannot write to the UDP socket's eventfd");
        }
    }

    /// The owner knows: the next `wake` writes again. The counter must have been read before.
    pub(super) fn acknowledge(&self) {
        // A swap, not a store: it joins the release sequence of the wakers whose own swap found
        // the flag already set, so what they wrote before is visible here.
        self.0.pending.swap(false, Ordering::AcqRel);
    }

    /// Takes a pending wake without waiting (non-blocking wakers only).
    pub(super) fn take(&self) -> bool {
        if !self.0.pending.load(Ordering::Acquire) {
            return false;
        }
        loop {
            match self.0.event.read() {
                Ok(_) => {
                    self.acknowledge();
                    return true;
                }
                Err(Errno::EINTR) => {}
                // The waker has set its flag and not written yet: its write is what will wake us.
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
