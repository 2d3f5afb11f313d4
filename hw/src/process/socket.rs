//! A pair of connected sockets that carry whole messages, and with a message at most one descriptor.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, socketpair, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Most descriptors the kernel lets one message carry (SCM_MAX_FD).
const MAX_FDS: usize = 253;

/// One end of a `SOCK_SEQPACKET` pair. Never blocks in [`Self::send`] and [`Self::recv`].
pub struct SeqPacket(OwnedFd);

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A message of `len` bytes, and the descriptor it carried.
    Message {
        /// Bytes written to the buffer.
        len: usize,
        /// Closed on exec.
        fd: Option<OwnedFd>,
    },
    /// A message that breaks the rules of this socket; what it carried was closed.
    Broken(&'static str),
    /// The other end is closed; nothing follows.
    Closed,
}

impl SeqPacket {
    /// Both ends of a new connection.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(a), Self(b)))
    }

    /// An end that another process made.
    ///
    /// # Errors
    /// When `fd` is no socket of this kind.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if getsockopt(&fd, sockopt::SockType)? != SockType::SeqPacket {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a SOCK_SEQPACKET socket"));
        }
        Ok(Self(fd))
    }

    /// Sends one message, whole or not at all.
    ///
    /// # Errors
    /// `WouldBlock` when the other end is behind (see [`wait`]), `BrokenPipe` when it is closed,
    /// and `InvalidInput` for an empty message, which could not be told from the end.
    pub fn send(&self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if message.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let fds = fd.map(|fd| [fd.as_raw_fd()]);
        let control = fds.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
        let control = control.as_ref().map_or(&[] as &[_], |c| c.as_slice());
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)
            {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(n) if n == message.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
    }

    /// Receives one message into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else what the kernel says.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        // Room for all descriptors a message can carry, so that all of them can be closed: with
        // less, the kernel would install some and truncate the list.
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(buffer)];
        let message = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                // A peer that died with our messages unread: the end, as far as this side goes.
                Err(Errno::ECONNRESET) => return Ok(Received::Closed),
                Err(errno) => return Err(errno.into()),
                Ok(message) => break message,
            }
        };
        let mut fds = Vec::new();
        if let Ok(list) = message.cmsgs() {
            for item in list {
                if let ControlMessageOwned::ScmRights(new) = item {
                    // SAFETY: the kernel has just installed these descriptors for this message, and
                    // nothing else in this process knows their numbers.
                    fds.extend(new.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Ok(Received::Broken("message is larger than any allowed"));
        }
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Ok(Received::Broken("descriptors were lost (is the process out of them?)"));
        }
        match (message.bytes, fds.len()) {
            (0, 0) => Ok(Received::Closed),
            (0, _) => Ok(Received::Broken("descriptor without a message")),
            (len, 0 | 1) => Ok(Received::Message { len, fd: fds.pop() }),
            _ => Ok(Received::Broken("more than one descriptor")),
        }
    }
}

impl From<SeqPacket> for OwnedFd {
    fn from(socket: SeqPacket) -> Self {
        socket.0
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SeqPacket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits until one of `fds` can be read (or written, where `true` stands beside it) or its other end
/// is closed, at most for `timeout`. Says which; none after a time-out.
///
/// # Errors
/// What `poll` says; never for an interruption by a signal.
pub fn wait<const N: usize>(
    fds: [(BorrowedFd<'_>, bool); N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    let until = Instant::now().checked_add(timeout);
    loop {
        // An end beyond what Instant can say is looked at again after an hour.
        let left = until
            .map_or(Duration::from_secs(3600), |t| t.saturating_duration_since(Instant::now()));
        // Rounded up: a wait of 0.4 ms that became 0 would be a busy loop.
        let left_ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        let events = |write| {
            if write { PollFlags::POLLOUT } else { PollFlags::POLLIN }
        };
        let mut list = fds.map(|(fd, write)| PollFd::new(fd, events(write)));
        match poll(&mut list, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) if until.is_none_or(|t| t > Instant::now()) => {}
            // POLLHUP and POLLERR count as ready: the next call says what is the matter.
            Ok(_) => return Ok(list.map(|fd| fd.revents().is_some_and(|seen| !seen.is_empty()))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    fn open_fds() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn messages_keep_their_bounds_and_carry_a_file() {
        let (a, b) = SeqPacket::pair().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(b.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"part").unwrap();
        a.send(b"one", None).unwrap();
        a.send(b"two!", Some(file.as_fd())).unwrap();
        assert!(matches!(b.recv(&mut buffer), Ok(Received::Message { len: 3, fd: None })));
        let Ok(Received::Message { len: 4, fd: Some(fd) }) = b.recv(&mut buffer) else {
            panic!("a file was sent")
        };
        let mut copy = File::from(fd);
        let mut text = String::new();
        copy.rewind().unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "part");
        drop(a);
        assert!(matches!(b.recv(&mut buffer), Ok(Received::Closed)));
        assert_eq!(b.send(b"x", None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_socket_says_so_and_wait_tells_when_it_has_room() {
        let (a, b) = SeqPacket::pair().unwrap();
        let mut sent = 0;
        let full = loop {
            match a.send(&[7; 1000], None) {
                Ok(()) => sent += 1,
                Err(e) => break e.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
        assert_eq!(wait([(a.as_fd(), true)], Duration::from_millis(5)).unwrap(), [false]);
        let mut buffer = [0; 2000];
        for _ in 0..sent {
            assert!(matches!(b.recv(&mut buffer), Ok(Received::Message { len: 1000, fd: None })));
        }
        assert_eq!(wait([(a.as_fd(), true)], Duration::from_secs(5)).unwrap(), [true]);
    }

    #[test]
    fn wait_sees_either_of_two() {
        let (a, b) = SeqPacket::pair().unwrap();
        let bell = super::super::Bell::new().unwrap();
        let look =
            || wait([(b.as_fd(), false), (bell.as_fd(), false)], Duration::from_millis(2)).unwrap();
        assert_eq!(look(), [false, false]);
        bell.ring();
        assert_eq!(look(), [false, true]);
        a.send(b"x", None).unwrap();
        assert_eq!(look(), [true, true]);
        bell.silence();
        assert_eq!(look(), [true, false]);
        let mut buffer = [0; 8];
        b.recv(&mut buffer).unwrap();
        assert_eq!(look(), [false, false]);
        drop(a);
        assert_eq!(look(), [true, false], "the end can be read");
    }

    /// What a hostile child may try. Counts descriptors, so it shares its process with no other test
    /// that opens any: they are all counted as differences of this process's own table, several times.
    #[test]
    fn rule_breakers_leave_no_descriptor_behind() {
        let (a, b) = SeqPacket::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let raw = file.as_raw_fd();
        let mut buffer = [0; 64];
        let many = |count: usize, bytes: &[u8]| {
            let fds = vec![raw; count];
            let control = [ControlMessage::ScmRights(&fds)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(a.as_raw_fd(), &[IoSlice::new(bytes)], &control, flags, None).unwrap();
        };
        let before = open_fds();
        for _ in 0..20 {
            for count in [2, 3, MAX_FDS] {
                many(count, b"x");
                assert!(matches!(
                    b.recv(&mut buffer),
                    Ok(Received::Broken("more than one descriptor"))
                ));
            }
            many(1, &[0; 65]);
            assert!(matches!(
                b.recv(&mut buffer),
                Ok(Received::Broken("message is larger than any allowed"))
            ));
            many(1, b"");
            assert!(matches!(
                b.recv(&mut buffer),
                Ok(Received::Broken("descriptor without a message"))
            ));
        }
        // A leak would be thousands; other tests of this process hold a handful.
        assert!(open_fds() < before + 100, "{} descriptors before, {} after", before, open_fds());
    }
}
