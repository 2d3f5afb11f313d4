//! Memory shared between processes: [`sealed`] memfds, written once, and the [`ring`].
//!
//! Two rules keep a faulty or hostile process on the other side from harming this one. A file is
//! mapped only after its seals have been read and forbid shrinking, so an access can never raise
//! SIGBUS. And bytes that another process may still write are touched by atomic operations only,
//! so a torn record is a value to be refused, never undefined behaviour.

mod map;
pub mod ring;
pub mod sealed;

use std::io;

/// Why memory could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file could change or shrink under the mapping.
    #[error("shared memory is not sealed as it must be (missing: {missing})")]
    NotSealed {
        /// The seals that are not there.
        missing: String,
    },
    /// The file is no plain memfd on memory pages.
    #[error("not plain shared memory: {0}")]
    NotMemory(&'static str),
    /// Larger than the caller allows.
    #[error("shared memory of {len} bytes, at most {max} allowed")]
    TooLarge {
        /// Its size.
        len: u64,
        /// The caller's bound.
        max: u64,
    },
    /// Nothing in it.
    #[error("shared memory is empty")]
    Empty,
    /// The ring's header is not what this program writes.
    #[error("not a ring: {0}")]
    BadRing(&'static str),
}

impl MemoryError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::System { what, source: errno.into() }
    }
}
