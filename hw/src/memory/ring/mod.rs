//! A ring of byte records in shared memory: one writer, any number of reading processes.
//!
//! The writer never waits for anybody: it overwrites the oldest records. A reader copies a record
//! out and then looks whether the writer has meanwhile begun to overwrite it (a sequence lock); if
//! so it says [`ReadError::Overrun`] and goes on at the oldest record. The file is sealed such that
//! only the writer's own mapping, made before, can change it: a reader in another process, whatever
//! happens to it, cannot harm the ring.
//!
//! Some records are *marks* (key frames). A small table remembers where the last [`MARKS`] of them
//! stand, so that a reader that comes late finds a place to start without reading everything.
//!
//! # Layout
//!
//! All words are 64 bits, little-endian, and only ever touched by atomic operations, so that a
//! record torn by the writer is a wrong value and not a data race.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | magic and version |
//! | 8 | capacity of the record area in bytes |
//! | 64 | tail: position of the oldest record |
//! | 128 | head: position where the next record will stand |
//! | 192 | how many marks were ever written |
//! | 256 | the positions of the last [`MARKS`] marks, by number modulo [`MARKS`] |
//! | [`DATA`] | the record area |
//!
//! Positions count bytes since the ring was made and never wrap; a position modulo the capacity is
//! a place in the record area. A record is its length (32 bits used), its number, and its bytes,
//! padded to whole words; it may run over the end of the area on to its start.
//!
//! # Order of accesses
//!
//! Writer: tail, *release fence*, record words, head (*release*). Reader: head, *acquire fence*,
//! record words, *acquire fence*, tail. If a reader sees one word of an overwriting record, the two
//! fences make it see the tail that was moved before, and it drops what it copied. Loads are
//! relaxed with a fence after them, as only relaxed loads are promised to work on read-only pages.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{ReadError, Reader};
pub use writer::{RecordTooLarge, Writer};

use super::map::Mapping;
use std::sync::atomic::AtomicU64;

/// Marks a ring remembers: at three key frames a second from everybody together, over 20 minutes.
pub const MARKS: usize = 4096;

/// Largest record in bytes, in rings that are large enough; see [`max_record`].
pub const MAX_RECORD: usize = 65_536;

/// Smallest capacity of a ring in bytes.
pub const MIN_CAPACITY: usize = 4096;

/// Largest capacity of a ring in bytes.
pub const MAX_CAPACITY: usize = 1 << 30;

/// Where the record area starts.
const DATA: usize = (MARK_TABLE + MARKS) * 8 / 4096 * 4096 + 4096;

/// Bytes a record takes besides its own.
pub const RECORD_OVERHEAD: usize = 16;

const MAGIC: u64 = u64::from_le_bytes(*b"PROSring") ^ VERSION;
const VERSION: u64 = 1;

// Places in words.
const CAPACITY: usize = 1;
const TAIL: usize = 8;
const HEAD: usize = 16;
const MARK_COUNT: usize = 24;
const MARK_TABLE: usize = 32;

/// The largest record a ring of `capacity` bytes takes: a quarter of it, at most [`MAX_RECORD`].
/// A reader that is a few records behind the writer is thus not overrun at once.
pub const fn max_record(capacity: usize) -> usize {
    let quarter = capacity / 4 - RECORD_OVERHEAD;
    if quarter < MAX_RECORD { quarter } else { MAX_RECORD }
}

/// Bytes a record of `len` bytes takes in the ring.
pub const fn record_size(len: usize) -> usize {
    RECORD_OVERHEAD + len.div_ceil(8) * 8
}

/// The mapped file as words.
struct Words(Mapping);

impl std::ops::Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is aligned to a page and `len` bytes long, and stays so while it
        // lives: the file carries F_SEAL_SHRINK. Every process touches these words atomically (the
        // one mapping that can write belongs to `Writer`); on a read-only mapping only relaxed
        // 64-bit loads are done, which compile to plain loads. Any bit pattern is an AtomicU64.
        unsafe { std::slice::from_raw_parts(self.0.start().cast(), self.0.len() / 8) }
    }
}

/// Positions in the record area as places among the words.
#[derive(Clone, Copy)]
struct Area {
    words: usize,
}

impl Area {
    fn of(capacity: usize) -> Self {
        Self { words: capacity / 8 }
    }

    /// The place of position `pos` among the words of the file.
    fn at(self, pos: u64) -> usize {
        // The remainder is below a usize, so the conversion keeps its value.
        DATA / 8 + (pos / 8 % self.words as u64) as usize
    }

    /// The `count` words from position `pos` on, as the stretch up to the end of the area and the
    /// rest at its start.
    fn split(self, words: &[AtomicU64], pos: u64, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let area = &words[DATA / 8..DATA / 8 + self.words];
        let first = self.at(pos) - DATA / 8;
        let run = count.min(self.words - first);
        (&area[first..first + run], &area[..count - run])
    }
}
