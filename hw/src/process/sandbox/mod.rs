//! The walls a child puts around itself: a list of the system calls it may still make.
//!
//! What decodes foreign bytes needs memory, threads, clocks and the descriptors it already has. It
//! needs no new socket, no other program, no file to write, no other process's memory, and no page
//! that is both written and executed; a fault in a decoder that is turned into code finds all these
//! doors shut. Calls that are not listed fail with EPERM instead of killing the process: libraries
//! probe for things, and the next kernel's C library will make calls this list does not know.
//!
//! What it does not stop: reading files that the user of the daemon may read. That is for the unit's
//! own walls (`systemd/`), which also hold where there is no seccomp.

mod calls;
#[cfg(test)]
mod tests;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Why the walls could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter could not be made: a fault of this program.
    #[error("making the system call filter: {0}")]
    Make(#[from] seccompiler::BackendError),
    /// The kernel did not take it.
    #[error("installing the system call filter (needs a kernel with seccomp): {0}")]
    Install(#[from] seccompiler::Error),
}

/// Gives up, for good and for all threads, what a transcoder does not need. To be called once the
/// process is set up and before it reads foreign bytes; what is open stays usable.
///
/// # Errors
/// [`SandboxError`]; the process is as it was before, or partly walled in: it should end.
pub fn sandbox() -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    // The flags of clone3 are in memory, where a filter cannot look. ENOSYS makes the C library use
    // clone, whose flags can be checked. This filter comes first: of two refusals the later filter's
    // counts, and the later one has nothing against clone3.
    let clone3: Rules = [(libc::SYS_clone3, vec![])].into();
    let allowed: Rules = calls::allowed(std::process::id())?;
    let first = SeccompFilter::new(clone3, SeccompAction::Allow, refuse(libc::ENOSYS), arch)?;
    let second = SeccompFilter::new(allowed, refuse(libc::EPERM), SeccompAction::Allow, arch)?;
    for filter in [first, second] {
        apply_filter_all_threads(&BpfProgram::try_from(filter)?)?;
    }
    Ok(())
}

/// System calls, and for each the conditions of which one must hold; none means always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;
