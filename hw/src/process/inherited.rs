//! Taking over the descriptors a child was started with.

use super::spawn::{FDS_VARIABLE, FIRST_FD};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Why there is nothing to take over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InheritError {
    /// Somebody started this by hand.
    #[error("this process was not started by Proscenium's daemon ({FDS_VARIABLE} is not set)")]
    NotAChild,
    /// They can be had once.
    #[error("inherited descriptors were taken already")]
    Taken,
    /// The environment promises what is not there.
    #[error("descriptor {0} should have been inherited and was not")]
    Missing(i32),
}

/// The descriptors this process was started with by [`super::spawn`], in order; once.
///
/// # Errors
/// [`InheritError`]; nothing is taken then.
pub fn inherited() -> Result<Vec<OwnedFd>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let count = std::env::var(FDS_VARIABLE).ok().and_then(|n| n.parse::<i32>().ok());
    let count = count.filter(|n| (1..=16).contains(n)).ok_or(InheritError::NotAChild)?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(InheritError::Taken);
    }
    for number in FIRST_FD..FIRST_FD + count {
        // SAFETY: borrowed for these two calls only, which fail with EBADF if there is none.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // All that Rust's library opens is closed on exec. One that is not, at the number that was
        // promised, came through exec and belongs to nobody in this process yet.
        match fcntl(fd, FcntlArg::F_GETFD) {
            Ok(0) => {}
            _ => return Err(InheritError::Missing(number)),
        }
    }
    let take = |number| {
        // SAFETY: checked above to be open and to have come through exec; TAKEN makes this the only
        // place in this process that will ever own it.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // Not to be handed on by accident. It is open, so this cannot fail.
        let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        fd
    };
    Ok((FIRST_FD..FIRST_FD + count).map(take).collect())
}
