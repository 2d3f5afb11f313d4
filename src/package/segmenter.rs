//! Encoded samples in, parts of all renditions out, inside the transcoder.
//!
//! The part barrier lives here: a part leaves when every rendition that is still in use has all
//! of its samples, and it leaves for all of them at once. So there is one resume point, and nobody
//! ever saw half of it. The caller writes [`BuiltPart::slices`] with one `writev` into one memfd.
//!
//! Rendition numbers are those of the presentation: video `0..rungs`, then sound.

use super::cmaf::{self, CmafError, SampleEntry};
use super::geometry::{AAC_FRAME, Geometry, GeometryError};
use crate::link::wire::{Fragment, OutputFormat, Part, Resume};
use crate::time::HostTime;
use bytes::Bytes;
use std::collections::VecDeque;

/// Parts a rendition may run ahead of the slowest one before that one counts as stalled.
pub const PARTS_AHEAD: u64 = 8;

/// One encoded frame, ready for an mp4 sample: length-prefixed NAL units, OBUs without temporal
/// delimiter, or a raw AAC frame.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Number on the grid: of the video frame, or of the AAC frame.
    pub index: u64,
    /// Whether decoding can start here (sound: always).
    pub key: bool,
    /// The coded bytes.
    pub data: Bytes,
}

/// A part of all renditions.
#[derive(Clone, Debug)]
pub struct BuiltPart {
    /// The message to send; `arrived` and `resume.clocks` are the caller's to fill in.
    pub part: Part,
    /// The memfd's content, in order.
    pub slices: Vec<Bytes>,
}

/// Why samples cannot be packaged.
#[derive(Debug, thiserror::Error)]
pub enum SegmenterError {
    /// The format itself.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The predecessor cut elsewhere.
    #[error(
        "cannot resume at frame {frame} with AAC frame {got}: this format cuts sound at {expected} there"
    )]
    Resume {
        /// First frame to come.
        frame: u64,
        /// What the predecessor said.
        got: u64,
        /// What this format says.
        expected: u64,
    },
    /// No such rendition.
    #[error("rendition {0} does not exist")]
    Rendition(usize),
    /// An encoder left a frame out or sent one twice.
    #[error(
        "rendition {rendition}: sample {got} where {expected} comes next; encoders must deliver every frame once, in order"
    )]
    Order {
        /// Whose sample.
        rendition: usize,
        /// The index that comes next.
        expected: u64,
        /// The index that came.
        got: u64,
    },
    /// A segment must begin with a key frame.
    #[error("rendition {rendition}: frame {frame} begins a segment and is no key frame")]
    NoKey {
        /// Which rendition.
        rendition: usize,
        /// Its frame.
        frame: u64,
    },
    /// One rendition holds all the others up. The sample that was pushed is taken: drop the stalled
    /// rendition ([`Segmenter::drop_track`]) or give up.
    #[error("rendition {rendition} holds the class up: it is {parts} parts behind")]
    Stalled {
        /// The slowest rendition.
        rendition: usize,
        /// How far it is behind the one just pushed.
        parts: u64,
    },
    /// [`SegmenterError::Stalled`] was not acted on; the sample is not taken.
    #[error("rendition {rendition}: queue full, {parts} parts wait for a stalled rendition")]
    Full {
        /// Whose sample was refused.
        rendition: usize,
        /// How much waits.
        parts: u64,
    },
    /// Nothing is left to package.
    #[error("all renditions are dropped")]
    Empty,
    /// Boxes.
    #[error(transparent)]
    Cmaf(#[from] CmafError),
}

struct Track {
    queue: VecDeque<Sample>,
    /// Index the next pushed sample must have.
    next: u64,
    dropped: bool,
}

/// See the module.
pub struct Segmenter {
    geometry: Geometry,
    zero: HostTime,
    tracks: Vec<Track>,
    /// Frame that opened the class or the resumed class: key frames count from here.
    origin: u64,
    segment_start: u64,
    part_start: u64,
    msn: u64,
    part: u32,
    sequence: u32,
}

impl Segmenter {
    /// For `rungs` video renditions and one of sound, from the start or from where a predecessor
    /// stopped: then a new segment opens, and the first frame expected is `resume.next_frame`.
    pub fn new(
        format: &OutputFormat,
        rungs: usize,
        zero: HostTime,
        resume: Option<&Resume>,
    ) -> Result<Self, SegmenterError> {
        let geometry = Geometry::new(format)?;
        let (frame, aac, msn, sequence) = resume
            .map_or((0, 0, 0, 1), |r| (r.next_frame, r.next_aac, r.next_msn, r.next_sequence));
        let expected = geometry.aac_at(frame);
        if aac != expected {
            return Err(SegmenterError::Resume { frame, got: aac, expected });
        }
        let track = |next| Track { queue: VecDeque::new(), next, dropped: false };
        let mut tracks: Vec<Track> = (0..rungs).map(|_| track(frame)).collect();
        tracks.push(track(aac));
        Ok(Self {
            geometry,
            zero,
            tracks,
            origin: frame,
            segment_start: frame,
            part_start: frame,
            msn,
            part: 0,
            sequence,
        })
    }

    /// The cuts in use.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether `frame` must be a key frame in every rung.
    pub fn key_at(&self, frame: u64) -> bool {
        frame.checked_sub(self.origin).is_some_and(|n| n % self.geometry.gop_frames() == 0)
    }

    fn sound(&self) -> usize {
        self.tracks.len() - 1
    }

    /// Where a rendition's part that ends at video frame `frame` ends, as a sample index.
    fn end_index(&self, rendition: usize, frame: u64) -> u64 {
        if rendition == self.sound() { self.geometry.aac_at(frame) } else { frame }
    }

    /// Takes the next sample of a rendition. Samples of dropped renditions are ignored.
    pub fn push(&mut self, rendition: usize, sample: Sample) -> Result<(), SegmenterError> {
        let per_part = if rendition == self.sound() {
            self.geometry.aac_at(self.geometry.part_frames()).max(1)
        } else {
            self.geometry.part_frames()
        };
        let track = self.tracks.get_mut(rendition).ok_or(SegmenterError::Rendition(rendition))?;
        if track.dropped {
            return Ok(());
        }
        let parts = track.queue.len() as u64 / per_part;
        if parts > 2 * PARTS_AHEAD {
            return Err(SegmenterError::Full { rendition, parts });
        }
        if sample.index != track.next {
            return Err(SegmenterError::Order {
                rendition,
                expected: track.next,
                got: sample.index,
            });
        }
        track.next += 1;
        track.queue.push_back(sample);
        if parts > PARTS_AHEAD {
            let part_end = self.part_end();
            let behind = |i: usize, t: &Track| self.end_index(i, part_end).saturating_sub(t.next);
            let slowest = self
                .tracks
                .iter()
                .enumerate()
                .filter(|(i, t)| !t.dropped && *i != rendition && behind(*i, t) > 0)
                .max_by_key(|(i, t)| behind(*i, t));
            // Without a slow one the caller has merely not polled for long.
            if let Some((slow, _)) = slowest {
                return Err(SegmenterError::Stalled { rendition: slow, parts });
            }
        }
        Ok(())
    }

    /// Gives a rendition up: the class goes on without it from the next part on.
    pub fn drop_track(&mut self, rendition: usize) {
        if let Some(track) = self.tracks.get_mut(rendition) {
            track.dropped = true;
            track.queue = VecDeque::new();
        }
    }

    fn part_end(&self) -> u64 {
        (self.part_start + self.geometry.part_frames())
            .min(self.segment_start + self.geometry.segment_frames())
    }

    /// The next full part, if every rendition has it.
    pub fn poll(&mut self) -> Result<Option<BuiltPart>, SegmenterError> {
        if self.tracks.iter().all(|t| t.dropped) {
            return Err(SegmenterError::Empty);
        }
        let end = self.part_end();
        let ready = |(i, t): (usize, &Track)| t.dropped || t.next >= self.end_index(i, end);
        if !self.tracks.iter().enumerate().all(ready) {
            return Ok(None);
        }
        let last = end == self.segment_start + self.geometry.segment_frames();
        self.build(end, last).map(Some)
    }

    /// The end of the class: what is complete, then a short last part with what all renditions have.
    pub fn finish(&mut self) -> Result<Vec<BuiltPart>, SegmenterError> {
        let mut parts = Vec::new();
        while let Some(part) = self.poll()? {
            parts.push(part);
        }
        let sound = self.sound();
        let video = self.tracks.iter().take(sound).filter(|t| !t.dropped).map(|t| t.next).min();
        let mut end = video.unwrap_or_else(|| self.part_end()).min(self.part_end());
        if let Some(track) = self.tracks.get(sound).filter(|t| !t.dropped) {
            while end > self.part_start && self.geometry.aac_at(end) > track.next {
                end -= 1;
            }
        }
        // A part so short that it holds no sound is not worth a request.
        if end > self.part_start
            && self.geometry.aac_at(end) > self.geometry.aac_at(self.part_start)
        {
            parts.push(self.build(end, true)?);
        }
        Ok(parts)
    }

    fn build(&mut self, end: u64, last: bool) -> Result<BuiltPart, SegmenterError> {
        let (from, sound, geometry) = (self.part_start, self.sound(), self.geometry);
        let mut fragments = Vec::with_capacity(self.tracks.len());
        let mut slices = Vec::new();
        let mut offset = 0usize;
        for rendition in 0..self.tracks.len() {
            let (start, stop) = (self.end_index(rendition, from), self.end_index(rendition, end));
            let (opens, sequence, msn_part) = (self.part == 0, self.sequence, self.part);
            let Some(track) = self.tracks.get_mut(rendition) else { continue };
            if track.dropped || stop == start {
                continue;
            }
            let is_sound = rendition == sound;
            if !is_sound && msn_part == 0 && track.queue.front().is_some_and(|s| !s.key) {
                return Err(SegmenterError::NoKey { rendition, frame: start });
            }
            let count = (stop - start) as usize;
            let samples: Vec<Sample> = track.queue.drain(..count.min(track.queue.len())).collect();
            let entries =
                samples.iter().map(|s| SampleEntry { size: s.data.len(), key: s.key || is_sound });
            let (unit, duration) = if is_sound {
                (AAC_FRAME as u32, Geometry::aac_time(stop) - Geometry::aac_time(start))
            } else {
                (geometry.frame_units(), geometry.frame_time(stop) - geometry.frame_time(start))
            };
            let head =
                cmaf::fragment_head(opens, sequence, start * u64::from(unit), unit, entries)?;
            let len = head.len() + samples.iter().map(|s| s.data.len()).sum::<usize>();
            fragments.push(Fragment {
                rendition: rendition as u8,
                offset: u32::try_from(offset).map_err(|_| CmafError::TooLarge)?,
                len: u32::try_from(len).map_err(|_| CmafError::TooLarge)?,
                duration,
                independent: is_sound || samples.iter().any(|s| s.key),
            });
            offset += len;
            slices.push(Bytes::from(head));
            slices.extend(samples.into_iter().map(|s| s.data).filter(|d| !d.is_empty()));
        }
        let part = Part {
            msn: self.msn,
            part: self.part,
            last,
            start: geometry.frame_time(from),
            arrived: HostTime::default(),
            fragments,
            resume: Resume {
                zero: self.zero,
                next_msn: self.msn + 1,
                next_frame: end,
                next_aac: geometry.aac_at(end),
                next_sequence: self.sequence.wrapping_add(1).max(1),
                clocks: Vec::new(),
                composed: Default::default(),
            },
        };
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.part_start = end;
        self.part += 1;
        if last {
            self.msn += 1;
            self.part = 0;
            self.segment_start = end;
        }
        Ok(BuiltPart { part, slices })
    }
}

#[cfg(test)]
#[path = "segmenter_tests.rs"]
mod tests;
