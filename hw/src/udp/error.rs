//! What can go wrong with a socket, in words its user can act on.

use std::io;
use std::net::SocketAddr;

/// Why a socket could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The address cannot be had.
    #[error("cannot bind UDP {addr}: {source}{}", cure(source))]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// io_uring was asked for and is not to be had.
    #[error("io_uring was asked for, but {reason}; 'auto' or 'portable' would work here")]
    Uring {
        /// Why, in words.
        reason: String,
    },
    /// The socket was used on two threads.
    #[error("the UDP socket belongs to the thread that used it first, and another one called")]
    WrongThread,
    /// A system call failed that should not.
    #[error("UDP socket: {call}: {source}")]
    Io {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl UdpError {
    /// Whether another socket has the address already.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    pub(super) fn io<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { call, source: source.into() }
    }
}

fn cure(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ". Another process has this port: stop it (`ss -lunp` names it) or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            ". No interface of this host has that address: use [::] for all of them"
        }
        io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one"
        }
        _ => "",
    }
}
