//! A recorded class: the records of a ring in a file, for replay, benches and bug reports.
//!
//! Eight bytes `PROSRTP1`, then records: a little-endian u32 length and the record's bytes as they are
//! in the ring.

use crate::link::ring::{HEADER, Record};
use crate::time::HostTime;
use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"PROSRTP1";
const MAX_RECORD: usize = HEADER + 65_536;
/// A thousand years of packets.
const MAX_SEQ: u64 = 1 << 48;
/// A thousand years of uptime.
const MAX_TIME_US: i64 = 1 << 55;
/// Output goes on in a pause, so a pause costs time.
const MAX_PAUSE_US: i64 = 3_600_000_000;

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// Another file.
    #[error("not a recording of a class (it does not begin with PROSRTP1)")]
    Magic,
    /// A record that cannot be.
    #[error("record {0} is malformed")]
    Record(u64),
    /// Records must be in the order of their arrival, without a pause of an hour.
    #[error("record {0} arrived {1} s after the one before it: not a class")]
    Time(u64, i64),
    /// The file ends within a record.
    #[error("the file ends within record {0}: the recording was cut off")]
    Short(u64),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
}

impl<W: Write> Recorder<W> {
    /// Begins one in `out`, which should be buffered.
    ///
    /// # Errors
    /// Of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        Ok(Self { out })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Of `out`, or a record that is too long.
    pub fn push(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (head, payload) = record.to_bytes();
        let length = head.len() + payload.len();
        if length > MAX_RECORD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "record too long"));
        }
        self.out.write_all(&(length as u32).to_le_bytes())?;
        self.out.write_all(&head)?;
        self.out.write_all(payload)
    }

    /// Writes out what is buffered, and gives the writer back.
    ///
    /// # Errors
    /// Of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a recording.
#[derive(Debug)]
pub struct Player<R: Read> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    last: Option<HostTime>,
}

impl<R: Read> Player<R> {
    /// Opens the recording in `input`, which should be buffered.
    ///
    /// # Errors
    /// [`BadRecording`].
    pub fn new(mut input: R) -> Result<Self, BadRecording> {
        let mut magic = [0; 8];
        let read = input.read_exact(&mut magic);
        if read.is_err() || magic != MAGIC {
            return Err(BadRecording::Magic);
        }
        Ok(Self { input, buffer: Vec::new(), number: 0, last: None })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`BadRecording`].
    #[allow(clippy::should_implement_trait)] // it lends
    pub fn next(&mut self) -> Result<Option<Record<'_>>, BadRecording> {
        let number = self.number;
        self.number += 1;
        let mut length = Vec::with_capacity(4);
        self.input.by_ref().take(4).read_to_end(&mut length)?;
        let length = match <[u8; 4]>::try_from(length.as_slice()) {
            Ok(length) => u32::from_le_bytes(length) as usize,
            Err(_) if length.is_empty() => return Ok(None),
            Err(_) => return Err(BadRecording::Short(number)),
        };
        if !(HEADER..=MAX_RECORD).contains(&length) {
            return Err(BadRecording::Record(number));
        }
        self.buffer.resize(length, 0);
        self.input.read_exact(&mut self.buffer).map_err(|_| BadRecording::Short(number))?;
        let record = Record::parse(&self.buffer).map_err(|_| BadRecording::Record(number))?;
        let arrived = record.arrived();
        let seq = if let Record::Rtp(packet) = &record { packet.seq } else { 0 };
        if seq > MAX_SEQ || !(0..MAX_TIME_US).contains(&arrived.0) {
            return Err(BadRecording::Record(number));
        }
        let pause = self.last.map_or(0, |last| arrived.since(last));
        if !(-MAX_PAUSE_US..MAX_PAUSE_US).contains(&pause) {
            return Err(BadRecording::Time(number, pause / 1_000_000));
        }
        self.last = Some(arrived);
        Ok(Some(record))
    }
}
