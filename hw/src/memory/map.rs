//! One `mmap`, and the checks and seals that go with it.

use super::MemoryError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::ffi::{CStr, c_void};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

/// A mapped memfd, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<c_void>,
    len: NonZeroUsize,
}

// SAFETY: a mapping belongs to the process, not to a thread; this type only hands out its address.
unsafe impl Send for Mapping {}
// SAFETY: as above; what may be done with the bytes is decided by the owner of the mapping.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from the start of `fd`.
    pub(super) fn new(
        fd: impl AsFd,
        len: NonZeroUsize,
        prot: ProtFlags,
        flags: MapFlags,
    ) -> Result<Self, MemoryError> {
        // SAFETY: no address is asked for, so the kernel picks one where nothing else lives.
        let start = unsafe { mmap(None, len, prot, flags, fd, 0) }
            .map_err(MemoryError::system("map shared memory"))?;
        Ok(Self { start, len })
    }

    /// Where it starts; aligned to a page.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len.get()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of a mapping this value made and nobody else unmaps;
        // everything that points into it borrows from, or owns, this value.
        if let Err(errno) = unsafe { munmap(self.start, self.len()) } {
            tracing::error!(%errno, "unmapping shared memory failed");
        }
    }
}

/// A new, empty memfd that can be sealed. Its pages can never be executed where the kernel knows how (6.3).
pub(super) fn new_memfd(name: &CStr) -> Result<OwnedFd, MemoryError> {
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name, base | no_exec) {
        Err(Errno::EINVAL) => memfd_create(name, base),
        other => other,
    }
    .map_err(MemoryError::system("create a memfd"))
}

/// Adds `seals`.
pub(super) fn seal(fd: impl AsFd, seals: SealFlag) -> Result<(), MemoryError> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals)).map(drop).map_err(MemoryError::system("seal a memfd"))
}

/// Checks that `fd` is shared memory that carries `seals`, is really there in memory, and measures
/// between 1 and `max` bytes. Returns its length.
///
/// Seals only ever grow, and the length is read after them: what this function saw stays true.
pub(super) fn inspect(
    fd: impl AsFd,
    seals: SealFlag,
    max: u64,
) -> Result<NonZeroUsize, MemoryError> {
    // Asked for first: anything that is no memfd or tmpfs file knows no seals.
    let found = match fcntl(fd.as_fd(), FcntlArg::F_GET_SEALS) {
        Ok(bits) => SealFlag::from_bits_retain(bits),
        Err(Errno::EINVAL | Errno::EBADF) => {
            return Err(MemoryError::NotMemory("it cannot carry seals"));
        }
        Err(errno) => return Err(MemoryError::system("read the seals")(errno)),
    };
    if !found.contains(seals) {
        let missing =
            (seals - found).iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        return Err(MemoryError::NotSealed { missing });
    }
    // Huge pages come from a pool that can run dry at the first access: that would be SIGBUS, too.
    let fs = fstatfs(fd.as_fd()).map_err(MemoryError::system("inspect shared memory"))?;
    if fs.filesystem_type() != TMPFS_MAGIC {
        return Err(MemoryError::NotMemory("it is not on tmpfs"));
    }
    let stat = fstat(fd.as_fd()).map_err(MemoryError::system("inspect shared memory"))?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    if len > max {
        return Err(MemoryError::TooLarge { len, max });
    }
    // A file with holes takes no memory until somebody reads it: the reader would pay, not the writer.
    // st_blocks counts units of 512 bytes whatever the page size.
    if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < len {
        return Err(MemoryError::NotMemory("it has holes"));
    }
    usize::try_from(len).ok().and_then(NonZeroUsize::new).ok_or(MemoryError::Empty)
}
