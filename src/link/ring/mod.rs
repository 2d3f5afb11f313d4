//! The ring of a room: what the SFU received, for the transcoder of now and for the next one.
//!
//! Typed records over the byte ring of `hw::memory::ring`. The SFU's thread writes, batch by batch,
//! and rings a bell (an eventfd) once a batch. The ring outlives every transcoder: a new one seeks
//! back to a key frame and reads on from there.

mod record;
#[cfg(test)]
mod tests;

pub use record::{BadRecord, HEADER, MAX_LAYER, Record, RtpRecord};

use crate::time::{Bitrate, HostTime, TrackId};
use hw::memory::MemoryError;
use hw::memory::ring::{
    self as bytes, RECORD_OVERHEAD, Reader, RecordTooLarge, Writer, record_size,
};
use hw::process::Bell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Bytes that keep at least `seconds` of packets of all streams together at `rate`.
///
/// Counts the overhead of packets of 1000 bytes and, besides, 50 sound packets a second of 160 bytes.
pub fn capacity_for(seconds: u32, rate: Bitrate) -> usize {
    let packet = |payload: usize| record_size(HEADER + payload) as u64;
    let video = (rate.0 / 8).saturating_mul(packet(1000)).div_ceil(1000);
    let sound = 50 * packet(160);
    let bytes = video.saturating_add(sound).saturating_mul(u64::from(seconds));
    // What a full ring may not use: a record that does not fit in front of the oldest one.
    let bytes = bytes.saturating_add((RECORD_OVERHEAD + bytes::MAX_RECORD) as u64);
    usize::try_from(bytes).unwrap_or(usize::MAX).clamp(bytes::MIN_CAPACITY, bytes::MAX_CAPACITY)
}

/// The SFU's end.
pub struct RingWriter {
    ring: Writer,
    bell: Arc<Bell>,
    news: bool,
}

impl RingWriter {
    /// A new ring of `capacity` bytes, and a bell for its reader.
    ///
    /// # Errors
    /// When the kernel has not that much memory, or no descriptor left.
    pub fn create(capacity: usize) -> Result<Self, MemoryError> {
        let bell = Bell::new()
            .map_err(|source| MemoryError::System { what: "create an eventfd", source })?;
        Ok(Self { ring: Writer::create(capacity)?, bell: Arc::new(bell), news: false })
    }

    /// Appends a record, overwriting the oldest ones as needed. Readers see it at once, but are not
    /// woken before [`Self::notify`].
    ///
    /// # Errors
    /// When the record is larger than a quarter of the ring or than 64 KiB. Nothing is written.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), RecordTooLarge> {
        let (head, payload) = record.to_bytes();
        self.ring.push(&[&head, payload], record.is_keyframe())?;
        self.news = true;
        Ok(())
    }

    /// Wakes the reader if anything was pushed since the last time: one system call a batch.
    pub fn notify(&mut self) {
        if std::mem::take(&mut self.news) {
            self.bell.ring();
        }
    }

    /// Bytes ever written, overheads included.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Records ever written.
    pub fn records(&self) -> u64 {
        self.ring.records()
    }

    /// The file, for readers.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    /// The bell, shared with whoever hands it to the reader.
    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// A reader in this process.
    ///
    /// # Errors
    /// When no descriptor or address space is left.
    pub fn reader(&self) -> Result<RingReader, MemoryError> {
        let fd = self.fd().try_clone_to_owned();
        RingReader::open(fd.map_err(|source| MemoryError::System {
            what: "duplicate the ring's descriptor",
            source,
        })?)
    }
}

/// Why there is no record to be had here. The reader has moved on and can be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The writer was faster; reading goes on at the oldest record there is. Key frames may be gone.
    #[error("the ring overwrote {records} records ({bytes} bytes) before they were read")]
    Overrun {
        /// Bytes skipped, overheads included.
        bytes: u64,
        /// Records skipped, at least 1.
        records: u64,
    },
    /// A record, or the ring itself, is not what the daemon writes.
    #[error("the ring holds something that is no record")]
    Corrupt,
}

/// The transcoder's end.
pub struct RingReader {
    ring: Reader,
    record: Vec<u8>,
}

impl RingReader {
    /// Maps the ring `fd` and stands at its oldest record.
    ///
    /// # Errors
    /// When the file is no ring of this program's make.
    pub fn open(fd: OwnedFd) -> Result<Self, MemoryError> {
        Ok(Self { ring: Reader::open(fd)?, record: Vec::with_capacity(2048) })
    }

    /// The next record; `None` when all are read.
    ///
    /// # Errors
    /// [`ReadError`]; the next call goes on behind what could not be read.
    #[allow(clippy::should_implement_trait)] // What it returns borrows from the reader.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        match self.ring.next(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                Record::parse(&self.record).map(Some).map_err(|BadRecord| ReadError::Corrupt)
            }
            Err(bytes::ReadError::Overrun { bytes, records }) => {
                Err(ReadError::Overrun { bytes, records })
            }
            Err(bytes::ReadError::Corrupt) => Err(ReadError::Corrupt),
        }
    }

    /// Stands at the oldest record.
    pub fn seek_oldest(&mut self) {
        self.ring.seek_oldest();
    }

    /// Stands at the oldest key frame. `false`, and unmoved, when there is none.
    pub fn seek_oldest_keyframe(&mut self) -> bool {
        let mut oldest = None;
        self.ring.marks_backwards(|pos, _, _| -> Option<()> {
            oldest = Some(pos);
            None
        });
        oldest.map(|pos| self.ring.seek(pos)).is_some()
    }

    /// Stands at the newest key frame. `false`, and unmoved, when there is none.
    pub fn seek_newest_keyframe(&mut self) -> bool {
        self.ring.seek_newest_mark()
    }

    /// Stands at the newest key frame that arrived at or before `at`. `false`, and unmoved, when
    /// there is none.
    pub fn seek_keyframe_before(&mut self, at: HostTime) -> bool {
        self.ring.seek_mark(|bytes| Record::parse(bytes).is_ok_and(|r| r.arrived() <= at))
    }

    /// Stands where reading on gives every one of `tracks` a key frame that arrived at or before
    /// `at`: at the oldest of their newest such key frames. Returns how many of them have one;
    /// unmoved when it is 0.
    pub fn seek_keyframes_before(&mut self, at: HostTime, tracks: &[TrackId]) -> usize {
        let mut wanted = tracks.to_vec();
        let mut start = None;
        self.ring.marks_backwards(|pos, _, bytes| {
            if let Ok(Record::Rtp(packet)) = Record::parse(bytes)
                && packet.arrived <= at
                && let Some(i) = wanted.iter().position(|&track| track == packet.track)
            {
                wanted.swap_remove(i);
                start = Some(pos);
            }
            wanted.is_empty().then_some(())
        });
        if let Some(pos) = start {
            self.ring.seek(pos);
        }
        tracks.len() - wanted.len()
    }

    /// Stands at the first record that arrived at or after `at`, else at the end. Reads from the
    /// oldest on (milliseconds): for rooms that have only sound, where there are no key frames.
    pub fn seek_time(&mut self, at: HostTime) {
        let end = self.ring.head();
        self.ring.seek_oldest();
        while self.ring.position() < end {
            let here = self.ring.position();
            match self.next() {
                Ok(Some(record)) if record.arrived() < at => {}
                Ok(Some(_)) => return self.ring.seek(here),
                Ok(None) => return,
                // Skipped over what is gone: it was older.
                Err(_) => {}
            }
        }
    }

    /// Position of the next record to be read, in bytes since the ring was made.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Position behind the newest record: all bytes ever written.
    pub fn head(&self) -> u64 {
        self.ring.head()
    }

    /// How many key frames were ever written.
    pub fn keyframes(&self) -> u64 {
        self.ring.marks()
    }
}

impl AsFd for RingWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
