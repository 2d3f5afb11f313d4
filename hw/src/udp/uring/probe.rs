//! Finds out whether this host offers io_uring as the engine needs it, and says why not.

use super::super::send::Outbox;
use super::super::{Stats, UdpConfig, Waker};
use super::Uring;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Whether sockets of this process can run on io_uring; if not, why, as the rest of a sentence.
///
/// It does what a socket does, on a pair of local sockets: makes a ring, registers buffers, and
/// receives one datagram by a multishot request. Kernel versions are not asked, since
/// distributions backport and containers forbid.
///
/// # Errors
/// The reason, in words.
pub fn uring_available() -> Result<(), String> {
    let incomplete = |error: io::Error| explain(&error);
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| explain(&errno.into()))?;
    let waker = Waker::new(false).map_err(|error| error.to_string())?;
    let cfg = UdpConfig { recv_buffers: 8, buffer_len: 64, ..UdpConfig::default() };
    let mut engine = Uring::new(ours.as_fd(), &waker, &cfg, Outbox::none()).map_err(incomplete)?;
    UnixDatagram::from(theirs).send(b"?").map_err(incomplete)?;
    engine.gather(Duration::from_secs(1), &mut Stats::default()).map_err(|e| e.to_string())?;
    if let Some(error) = engine.fault.take() {
        return Err(explain(&error));
    }
    // A kernel with the request but without multishot ends it with its first datagram.
    match (engine.arrived.len(), engine.receiving) {
        (1, true) => Ok(()),
        _ => Err(MISSING.to_owned()),
    }
}

const MISSING: &str = "this kernel's io_uring has no multishot recvmsg (Linux 6.0 and later do)";
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

pub(in super::super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel was built without io_uring".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            let sysctl = std::fs::read_to_string(SYSCTL).unwrap_or_default();
            match sysctl.trim() {
                "" | "0" => "io_uring is forbidden to this process, as container runtimes do by \
                             their seccomp profiles"
                    .to_owned(),
                level => format!(
                    "the administrator forbids io_uring (kernel.io_uring_disabled is {level})"
                ),
            }
        }
        Some(libc::EINVAL | libc::EOPNOTSUPP) => MISSING.to_owned(),
        Some(libc::ENOMEM) => {
            "there is no memory to lock for io_uring's rings (see `ulimit -l`)".to_owned()
        }
        _ => format!("io_uring does not work here ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_as_the_rest_of_a_sentence() {
        for (errno, part) in [
            (libc::ENOSYS, "built without"),
            (libc::EPERM, "forbid"),
            (libc::EINVAL, "6.0"),
            (libc::ENOMEM, "ulimit"),
            (libc::EIO, "does not work here"),
        ] {
            let reason = explain(&io::Error::from_raw_os_error(errno));
            assert!(reason.contains(part), "{reason}");
            assert!(!reason.ends_with('.'), "{reason}");
        }
    }
}
