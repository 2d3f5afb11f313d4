//! The writing end: never waits, never fails but for a record that is too large.

use super::{
    Area, CAPACITY, DATA, HEAD, MAGIC, MARK_COUNT, MARK_TABLE, MARKS, MAX_CAPACITY, MIN_CAPACITY,
    RECORD_OVERHEAD, TAIL, Words, max_record, record_size,
};
use crate::memory::MemoryError;
use crate::memory::map::{Mapping, new_memfd, seal};
use nix::fcntl::{FallocateFlags, SealFlag, fallocate};
use nix::sys::mman::{MapFlags, ProtFlags};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    fence,
};

/// A record that the ring does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record of {len} bytes, this ring takes at most {max}")]
pub struct RecordTooLarge {
    /// Its length in bytes.
    pub len: usize,
    /// The largest length this ring takes.
    pub max: usize,
}

/// The writing end of a ring. There is one.
pub struct Writer {
    words: Words,
    fd: OwnedFd,
    area: Area,
    capacity: u64,
    // The truth about the ring; what stands in shared memory is told to readers and never read back.
    tail: u64,
    head: u64,
    records: u64,
    marks: u64,
}

impl Writer {
    /// A new ring of `capacity` bytes, rounded up to whole pages; [`MIN_CAPACITY`] to [`MAX_CAPACITY`].
    ///
    /// All its memory is taken now: a box that is short of it says so here, and not by a signal in
    /// the middle of a class.
    ///
    /// # Errors
    /// When the capacity is out of bounds or the kernel has not that much memory.
    pub fn create(capacity: usize) -> Result<Self, MemoryError> {
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
            return Err(MemoryError::BadRing("capacity is not between 4 KiB and 1 GiB"));
        }
        let capacity = capacity.next_multiple_of(4096);
        let bytes = DATA + capacity;
        let fd = new_memfd(c"proscenium-ring")?;
        // At most 1 GiB and a bit: fits every off_t.
        fallocate(&fd, FallocateFlags::empty(), 0, bytes as libc::off_t)
            .map_err(MemoryError::system("allocate the ring"))?;
        let len = NonZeroUsize::new(bytes).ok_or(MemoryError::Empty)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        let words =
            Words(Mapping::new(&fd, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?);
        // From here on nobody can map it for writing or write() to it; this mapping stays writable.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE;
        seal(&fd, seals | SealFlag::F_SEAL_SEAL)?;
        words[CAPACITY].store((capacity as u64).to_le(), Relaxed);
        words[0].store(MAGIC.to_le(), Release);
        let area = Area::of(capacity);
        Ok(Self {
            words,
            fd,
            area,
            capacity: capacity as u64,
            tail: 0,
            head: 0,
            records: 0,
            marks: 0,
        })
    }

    /// The file, to be handed to readers.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Bytes in the record area.
    pub fn capacity(&self) -> usize {
        self.area.words * 8
    }

    /// Position where the next record will stand: all bytes ever written, overheads included.
    pub fn position(&self) -> u64 {
        self.head
    }

    /// Records ever written.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Appends one record made of `parts`, overwriting the oldest as needed. `mark` enters it in
    /// the table of marks.
    ///
    /// Wait-free but for the copy; no system call.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; the ring is as it was before.
    pub fn push(&mut self, parts: &[&[u8]], mark: bool) -> Result<(), RecordTooLarge> {
        let len = parts.iter().map(|p| p.len()).sum();
        let max = max_record(self.capacity());
        if len > max {
            return Err(RecordTooLarge { len, max });
        }
        let size = record_size(len);
        self.make_room(size as u64);
        let (a, b) = self.area.split(&self.words, self.head, size / 8);
        let mut to = a.iter().chain(b);
        put(&mut to, len as u64);
        put(&mut to, self.records);
        copy(parts, &mut to);
        if mark {
            let slot = (self.marks % MARKS as u64) as usize;
            self.words[MARK_TABLE + slot].store(self.head.to_le(), Relaxed);
        }
        self.head += size as u64;
        self.records += 1;
        self.words[HEAD].store(self.head.to_le(), Release);
        if mark {
            // After the head: a mark a reader knows of is a record it can read.
            self.marks += 1;
            self.words[MARK_COUNT].store(self.marks.to_le(), Release);
        }
        Ok(())
    }

    /// Gives up the oldest records until `size` bytes are free, and says so before they are touched.
    fn make_room(&mut self, size: u64) {
        let mut tail = self.tail;
        while self.head + size - tail > self.capacity {
            let len = u64::from_le(self.words[self.area.at(tail)].load(Relaxed));
            // Only this process can have written that length. Should it be absurd all the same
            // (memory goes bad), an empty ring is the safe answer.
            match usize::try_from(len) {
                Ok(len) if len <= max_record(self.capacity()) => tail += record_size(len) as u64,
                _ => tail = self.head,
            }
        }
        if tail != self.tail {
            self.tail = tail;
            self.words[TAIL].store(tail.to_le(), Relaxed);
            fence(Release);
        }
    }
}

fn put<'a>(to: &mut impl Iterator<Item = &'a AtomicU64>, value: u64) {
    if let Some(word) = to.next() {
        word.store(value.to_le(), Relaxed);
    }
}

/// Stores the bytes of `parts` as words, the last one padded with zeros.
fn copy<'a>(parts: &[&[u8]], to: &mut impl Iterator<Item = &'a AtomicU64>) {
    // Bytes of an unfinished word, when a part ended inside it.
    let mut open = [0_u8; 8];
    let mut used = 0;
    for mut part in parts.iter().copied() {
        if used > 0 {
            let take = part.len().min(8 - used);
            open[used..used + take].copy_from_slice(&part[..take]);
            used += take;
            part = &part[take..];
            if used < 8 {
                continue;
            }
            put(to, u64::from_le_bytes(open));
        }
        let (whole, rest) = part.as_chunks::<8>();
        for chunk in whole {
            put(to, u64::from_le_bytes(*chunk));
        }
        open = [0; 8];
        open[..rest.len()].copy_from_slice(rest);
        used = rest.len();
    }
    if used > 0 {
        put(to, u64::from_le_bytes(open));
    }
}

const _: () = assert!(MIN_CAPACITY / 4 > RECORD_OVERHEAD && DATA.is_multiple_of(4096));
