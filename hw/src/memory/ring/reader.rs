//! The reading end: copies records out and knows when it came too late.

use super::{
    Area, CAPACITY, DATA, HEAD, MAGIC, MARK_COUNT, MARK_TABLE, MARKS, MAX_CAPACITY, MIN_CAPACITY,
    TAIL, Words, max_record, record_size,
};
use crate::memory::MemoryError;
use crate::memory::map::{Mapping, inspect};
use nix::fcntl::SealFlag;
use nix::sys::mman::{MapFlags, ProtFlags};
use std::os::fd::OwnedFd;
use std::sync::atomic::{
    Ordering::{Acquire, Relaxed},
    fence,
};

/// Why there is no record to be had here. Either way the reader has moved on and can be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The writer was faster; the reader now stands at the oldest record there is.
    #[error("the ring overwrote {records} records ({bytes} bytes) before they were read")]
    Overrun {
        /// Bytes skipped, overheads included.
        bytes: u64,
        /// Records skipped; 1 stands for "some" where the reader had not read one before.
        records: u64,
    },
    /// What stands in the ring is no record; the reader now stands at the end, before the next one to come.
    #[error("the ring holds something that is no record")]
    Corrupt,
}

/// Why a copy was not made.
enum Miss {
    /// The writer has begun to overwrite it.
    Overwritten,
    /// It cannot be a record.
    Corrupt,
}

/// A reading end. Sees what the writer writes from any process that was handed the file.
pub struct Reader {
    words: Words,
    area: Area,
    capacity: usize,
    pos: u64,
    /// Number of the record at `pos`, once that is known.
    number: Option<u64>,
    scratch: Vec<u8>,
}

impl Reader {
    /// Maps the ring `fd` for reading and stands at its oldest record.
    ///
    /// # Errors
    /// When the file is no ring of this program's make, or could shrink.
    pub fn open(fd: OwnedFd) -> Result<Self, MemoryError> {
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        let len = inspect(&fd, seals, (DATA + MAX_CAPACITY) as u64)?;
        if len.get() < DATA + MIN_CAPACITY {
            return Err(MemoryError::BadRing("it is too small"));
        }
        let words = Words(Mapping::new(&fd, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED)?);
        if u64::from_le(words[0].load(Relaxed)) != MAGIC {
            return Err(MemoryError::BadRing("wrong magic or version"));
        }
        fence(Acquire);
        // Read once, checked, and kept: a header that changes later changes nothing here.
        let capacity = u64::from_le(words[CAPACITY].load(Relaxed));
        if capacity != (len.get() - DATA) as u64 || !capacity.is_multiple_of(8) {
            return Err(MemoryError::BadRing("its capacity does not fit its size"));
        }
        let capacity = len.get() - DATA;
        let mut reader = Self {
            words,
            area: Area::of(capacity),
            capacity,
            pos: 0,
            number: None,
            scratch: Vec::new(),
        };
        reader.seek_oldest();
        Ok(reader)
    }

    /// Bytes in the record area.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Position of the record that [`Self::next`] will read.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// Position where the writer's next record will stand.
    pub fn head(&self) -> u64 {
        self.load(HEAD)
    }

    /// Position of the oldest record.
    pub fn tail(&self) -> u64 {
        self.load(TAIL)
    }

    /// How many marks were ever written.
    pub fn marks(&self) -> u64 {
        self.load(MARK_COUNT)
    }

    /// Copies the next record into `out`, replacing what is there; `false` when there is none yet.
    ///
    /// # Errors
    /// [`ReadError`]; the reader has moved on and the next call goes on from there.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let head = self.head();
        if self.pos == head {
            return Ok(false);
        }
        match self.copy(self.pos, head, out) {
            Ok(number) => {
                self.pos += record_size(out.len()) as u64;
                self.number = number.checked_add(1);
                Ok(true)
            }
            Err(Miss::Overwritten) => Err(self.catch_up()),
            Err(Miss::Corrupt) => {
                self.seek_end();
                Err(ReadError::Corrupt)
            }
        }
    }

    /// Stands at the oldest record.
    pub fn seek_oldest(&mut self) {
        (self.pos, self.number) = self.oldest();
    }

    /// Stands at the end: the next record is one that is not yet written.
    pub fn seek_end(&mut self) {
        let head = self.head();
        (self.pos, self.number) = (head, first_number(head));
    }

    /// Stands at the newest mark; `false`, and unmoved, when the ring holds none.
    pub fn seek_newest_mark(&mut self) -> bool {
        self.seek_mark(|_| true)
    }

    /// Shows the marks to `pick`, newest first, and stands at the first that it takes. `false`, and
    /// unmoved, when it takes none.
    pub fn seek_mark(&mut self, mut pick: impl FnMut(&[u8]) -> bool) -> bool {
        let found = self.marks_backwards(|pos, number, bytes| pick(bytes).then_some((pos, number)));
        if let Some((pos, number)) = found {
            (self.pos, self.number) = (pos, Some(number));
        }
        found.is_some()
    }

    /// Stands at `pos`, which [`Self::position`] or [`Self::marks_backwards`] gave before.
    pub fn seek(&mut self, pos: u64) {
        (self.pos, self.number) = (pos, None);
    }

    /// Shows the marks to `visit` (position, number, bytes), newest first, until it returns something.
    ///
    /// Ends by itself at the oldest record, and where the writer overtakes.
    pub fn marks_backwards<T>(
        &mut self,
        mut visit: impl FnMut(u64, u64, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let count = self.marks();
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut newer = u64::MAX;
        let mut found = None;
        for mark in (count.saturating_sub(MARKS as u64)..count).rev() {
            let pos = self.load(MARK_TABLE + (mark % MARKS as u64) as usize);
            // A place that is not older than the one before was reused for a mark written meanwhile.
            if pos >= newer {
                break;
            }
            newer = pos;
            let Ok(number) = self.copy(pos, self.head(), &mut scratch) else {
                break;
            };
            found = visit(pos, number, &scratch);
            if found.is_some() {
                break;
            }
        }
        self.scratch = scratch;
        found
    }

    /// Copies the record at `pos`, which is before `head`, and returns its number.
    fn copy(&self, pos: u64, head: u64, out: &mut Vec<u8>) -> Result<u64, Miss> {
        out.clear();
        let missed = |miss: Miss| {
            if self.load(TAIL) > pos { Miss::Overwritten } else { miss }
        };
        if pos < self.load(TAIL) {
            return Err(Miss::Overwritten);
        }
        let len = u64::from_le(self.words[self.area.at(pos)].load(Relaxed));
        let number = u64::from_le(self.words[self.area.at(pos.wrapping_add(8))].load(Relaxed));
        fence(Acquire);
        // Nothing below depends on the length being the one that was written: it is within bounds,
        // or the record is refused.
        let len = match usize::try_from(len) {
            Ok(len) if len <= max_record(self.capacity) => len,
            _ => return Err(missed(Miss::Corrupt)),
        };
        let end = pos.checked_add(record_size(len) as u64);
        // Records lie between here and a head that is at most one ring away.
        let near = head.saturating_sub(pos) <= self.capacity as u64;
        if !pos.is_multiple_of(8) || !near || end.is_none_or(|end| end > head) {
            return Err(missed(Miss::Corrupt));
        }
        let count = len.div_ceil(8);
        out.resize(count * 8, 0);
        let (a, b) = self.area.split(&self.words, pos + 16, count);
        let (to, _) = out.as_chunks_mut::<8>();
        for (bytes, word) in to.iter_mut().zip(a.iter().chain(b)) {
            *bytes = u64::from_le(word.load(Relaxed)).to_le_bytes();
        }
        out.truncate(len);
        fence(Acquire);
        if self.load(TAIL) > pos {
            out.clear();
            return Err(Miss::Overwritten);
        }
        Ok(number)
    }

    /// Moves to the oldest record after an overrun, and counts what was lost.
    fn catch_up(&mut self) -> ReadError {
        let (was, expected) = (self.pos, self.number);
        (self.pos, self.number) = self.oldest();
        let records = match (expected, self.number) {
            (Some(expected), Some(found)) => found.saturating_sub(expected).max(1),
            _ => 1,
        };
        ReadError::Overrun { bytes: self.pos.saturating_sub(was), records }
    }

    /// Position and, where it can be had, number of the oldest record.
    fn oldest(&self) -> (u64, Option<u64>) {
        // The writer may move the tail between the looks; it cannot go on doing so for ever, as it
        // writes packets that have to arrive first, and after a few rounds the position will do.
        for _ in 0..8 {
            let tail = self.tail();
            if tail == self.head() {
                return (tail, first_number(tail));
            }
            let number = u64::from_le(self.words[self.area.at(tail.wrapping_add(8))].load(Relaxed));
            fence(Acquire);
            if self.tail() == tail {
                return (tail, Some(number));
            }
        }
        (self.tail(), None)
    }

    /// Loads one of the header's words; what was written before it is visible after.
    fn load(&self, place: usize) -> u64 {
        let value = u64::from_le(self.words[place].load(Relaxed));
        fence(Acquire);
        value
    }
}

/// The number of the record that will stand at `head`, where that is known: in a new ring.
fn first_number(head: u64) -> Option<u64> {
    (head == 0).then_some(0)
}
