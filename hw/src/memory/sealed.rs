//! Write-once memory: filled by one `writev`, sealed, handed over, mapped, served from.
//!
//! A sealed memfd can be neither changed nor resized by anybody, its maker included. Whoever maps it
//! can therefore hand out plain slices of it.

use super::MemoryError;
use super::map::{Mapping, inspect, new_memfd, seal};
use bytes::Bytes;
use nix::fcntl::SealFlag;
use nix::sys::mman::{MapFlags, ProtFlags};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;

/// The seals a memfd must carry before [`map`] touches it.
const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// A new memfd that holds `slices` one after the other, sealed for ever.
///
/// One `writev` in the usual case; more where it writes short or there are more than 1024 slices.
///
/// # Errors
/// When the kernel has no memory or no descriptor left.
pub fn write(slices: &[IoSlice<'_>]) -> Result<OwnedFd, MemoryError> {
    let mut file = File::from(new_memfd(c"proscenium-part")?);
    write_all(&mut file, slices)
        .map_err(|source| MemoryError::System { what: "write a part", source })?;
    seal(&file, SEALS | SealFlag::F_SEAL_SEAL)?;
    Ok(file.into())
}

fn write_all(file: &mut File, slices: &[IoSlice<'_>]) -> io::Result<()> {
    // IoSlice is Copy, but `advance_slices` wants them mutable: a copy of the list, not of the bytes.
    let mut list = slices.to_vec();
    let mut rest = list.as_mut_slice();
    // Leading empty slices would make writev return 0, which means "full" below.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Maps a sealed memfd of 1 to `max` bytes, whoever made it, and closes the descriptor.
///
/// The pages are shared, not copied; they go when the last clone or slice of the result goes.
///
/// # Errors
/// [`MemoryError::NotSealed`] and [`MemoryError::NotMemory`] say that the maker broke the rules;
/// [`MemoryError::TooLarge`], [`MemoryError::Empty`].
pub fn map(fd: OwnedFd, max: u32) -> Result<Bytes, MemoryError> {
    let len = inspect(&fd, SEALS, u64::from(max))?;
    // MAP_PRIVATE: kernels before 6.7 refuse a shared mapping of a write-sealed file even for
    // reading. As nothing here writes, the pages are the file's own all the same. MAP_POPULATE:
    // the page tables are filled now, once, and not by faults on the origin's threads.
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
    let mapping = Mapping::new(&fd, len, ProtFlags::PROT_READ, flags)?;
    Ok(Bytes::from_owner(Frozen(mapping)))
}

/// A mapping of bytes that nobody can change any more.
struct Frozen(Mapping);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the file was seen to carry F_SEAL_WRITE, F_SEAL_SHRINK and F_SEAL_GROW, which
        // cannot be taken back, so all of its bytes stay in place and unchanged while the mapping
        // lives; the kernel refuses F_SEAL_WRITE while a writable mapping exists.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::unistd::ftruncate;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    fn made(fill: &[u8], seals: SealFlag) -> OwnedFd {
        let mut file = File::from(new_memfd(c"test").unwrap());
        file.write_all(fill).unwrap();
        seal(&file, seals).unwrap();
        file.into()
    }

    #[test]
    fn what_was_written_is_what_is_mapped_and_nobody_can_change_it() {
        let fd = write(&[IoSlice::new(b"moof"), IoSlice::new(b""), IoSlice::new(b"mdat")]).unwrap();
        let copy = fd.try_clone().unwrap();
        let bytes = map(fd, 8).unwrap();
        assert_eq!(&bytes[..], b"moofmdat");
        assert!(File::from(copy.try_clone().unwrap()).write_all(b"x").is_err());
        assert!(ftruncate(&copy, 0).is_err());
        assert!(ftruncate(&copy, 4096).is_err());
        let more = SealFlag::F_SEAL_FUTURE_WRITE;
        assert!(seal(&copy, more).is_err(), "the set of seals itself is sealed");
        let tail = bytes.slice(4..);
        drop((bytes, copy));
        assert_eq!(&tail[..], b"mdat", "a slice keeps the pages");
    }

    #[test]
    fn nothing_is_mapped_that_could_still_change() {
        let all = SEALS;
        for missing in [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_WRITE] {
            let error = map(made(b"data", all - missing), 100).unwrap_err();
            assert!(matches!(error, MemoryError::NotSealed { .. }), "{missing:?}: {error}");
        }
        let error = map(made(b"data", SealFlag::empty()), 100).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shared memory is not sealed as it must be (missing: F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE)"
        );
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let plain: OwnedFd = tempfile::tempfile().unwrap().into();
        assert!(map(plain, 100).is_err());
        let null: OwnedFd = File::open("/dev/null").unwrap().into();
        assert!(matches!(map(null, 100), Err(MemoryError::NotMemory(_))));
        let (pipe, _other) = nix::unistd::pipe().unwrap();
        assert!(matches!(map(pipe, 100), Err(MemoryError::NotMemory(_))));
    }

    #[test]
    fn holes_and_sizes_out_of_bounds_are_refused() {
        let sparse = new_memfd(c"test").unwrap();
        ftruncate(&sparse, 1 << 20).unwrap();
        seal(&sparse, SEALS).unwrap();
        assert!(matches!(map(sparse, 2 << 20), Err(MemoryError::NotMemory("it has holes"))));

        let filled = new_memfd(c"test").unwrap();
        fallocate(filled.as_fd(), FallocateFlags::empty(), 0, 1 << 20).unwrap();
        seal(&filled, SEALS).unwrap();
        assert_eq!(map(filled, 2 << 20).unwrap().len(), 1 << 20);

        assert!(matches!(
            map(made(b"12345", SEALS), 4),
            Err(MemoryError::TooLarge { len: 5, max: 4 })
        ));
        assert!(matches!(map(made(b"", SEALS), 4), Err(MemoryError::Empty)));
        assert!(matches!(map(write(&[]).unwrap(), 4), Err(MemoryError::Empty)));
    }

    proptest! {
        #[test]
        fn any_slices_come_back_in_order(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..2000)) {
            let slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
            let whole = parts.concat();
            let fd = write(&slices).unwrap();
            match map(fd, 1 << 20) {
                Ok(bytes) => prop_assert_eq!(&bytes[..], &whole[..]),
                Err(MemoryError::Empty) => prop_assert!(whole.is_empty()),
                Err(e) => prop_assert!(false, "{}", e),
            }
        }
    }
}
