//! A bell one process rings and another waits for: an eventfd.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Wakes whoever waits for it. Ringing twice before anybody looks is ringing once.
pub struct Bell(OwnedFd);

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(fd.into()))
    }

    /// A bell that another process made.
    ///
    /// # Errors
    /// When `fd` is no eventfd.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        if link.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an eventfd"));
        }
        Ok(Self(fd))
    }

    /// Rings. Never blocks and cannot fail: a bell that is already ringing goes on ringing.
    pub fn ring(&self) {
        let _ = nix::unistd::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Stops the ringing; whether it rang.
    pub fn silence(&self) -> bool {
        let mut count = [0; 8];
        loop {
            match nix::unistd::read(&self.0, &mut count) {
                Err(Errno::EINTR) => {}
                other => return other.is_ok(),
            }
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ringing_twice_is_heard_once() {
        let bell = Bell::new().unwrap();
        assert!(!bell.silence());
        bell.ring();
        bell.ring();
        assert!(bell.silence());
        assert!(!bell.silence());
    }

    #[test]
    fn only_an_eventfd_is_a_bell() {
        let bell = Bell::new().unwrap();
        assert!(Bell::from_fd(bell.as_fd().try_clone_to_owned().unwrap()).is_ok());
        assert!(Bell::from_fd(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
