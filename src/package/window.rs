//! The live window: the parts of a class that players may fetch, checked on their way in.
//!
//! What a transcoder says is foreign. A part is taken whole or not at all, and only if it follows
//! the one before without a gap or overlap in any rendition. Bytes are slices of the part's one
//! mapped memfd; nothing is copied. Cloning a window is cheap: a snapshot shares its segments.

use super::Config;
use super::geometry::{Geometry, GeometryError};
use crate::link::wire::{MAX_RENDITIONS, Part, Presentation};
use crate::time::MediaTime;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A position in a class: a part of a segment, or the segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// That part, or any later one.
    Part {
        /// Media sequence number.
        msn: u64,
        /// Part within the segment.
        part: u64,
    },
    /// That segment as a whole, or any later one.
    Segment {
        /// Media sequence number.
        msn: u64,
    },
}

/// Why a presentation or a part is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The format.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The presentation.
    #[error("presentation refused: {0}")]
    Presentation(&'static str),
    /// Something came after the end.
    #[error("part {msn}.{part} came after the end of the class")]
    Ended {
        /// Its segment.
        msn: u64,
        /// Its number.
        part: u32,
    },
    /// Not the part that comes next.
    #[error(
        "part {got_msn}.{got_part} refused: {msn}.{part} or the start of segment {next} comes next"
    )]
    Sequence {
        /// Its segment.
        got_msn: u64,
        /// Its number.
        got_part: u32,
        /// Expected segment.
        msn: u64,
        /// Expected part.
        part: u32,
        /// The segment that may begin.
        next: u64,
    },
    /// It breaks a rule.
    #[error("part {msn}.{part} refused: {rule}")]
    Rule {
        /// Its segment.
        msn: u64,
        /// Its number.
        part: u32,
        /// The rule.
        rule: &'static str,
    },
}

/// One rendition's share of a part. `bytes` is empty where the rendition was dropped: a gap.
#[derive(Clone, Debug)]
pub struct Piece {
    /// moof and mdat.
    pub bytes: Bytes,
    /// Exact duration, of gaps too.
    pub duration: MediaTime,
    /// Holds a frame decoding can start at.
    pub independent: bool,
}

impl Piece {
    /// Whether the rendition has nothing here.
    pub fn is_gap(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One segment of all renditions.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Media sequence number.
    pub msn: u64,
    /// Whether it is complete.
    pub closed: bool,
    /// First video frame.
    first_frame: u64,
    /// First AAC frame.
    first_aac: u64,
    /// Frame after the last.
    end_frame: u64,
    /// By part, then by rendition.
    parts: Vec<Box<[Piece]>>,
}

impl Segment {
    /// How many parts it has so far.
    pub fn part_count(&self) -> u64 {
        self.parts.len() as u64
    }

    /// A rendition's parts in order.
    pub fn pieces(&self, rendition: usize) -> impl Iterator<Item = &Piece> + Clone {
        self.parts.iter().filter_map(move |p| p.get(rendition))
    }

    /// One part of a rendition.
    pub fn piece(&self, rendition: usize, part: u64) -> Option<&Piece> {
        self.parts.get(usize::try_from(part).ok()?)?.get(rendition)
    }

    /// A rendition's duration so far.
    pub fn duration(&self, rendition: usize) -> MediaTime {
        MediaTime(self.pieces(rendition).map(|p| p.duration.0).sum())
    }

    /// Whether a rendition misses any of it.
    pub fn has_gap(&self, rendition: usize) -> bool {
        self.pieces(rendition).any(Piece::is_gap)
    }
}

/// A live class as players see it.
#[derive(Clone, Debug)]
pub struct Window {
    presentation: Arc<Presentation>,
    inits: Arc<[Bytes]>,
    session: Arc<str>,
    config: Arc<Config>,
    geometry: Geometry,
    epoch_us: i64,
    /// Listed segments, and before them those that are no longer listed but still fetchable.
    segments: VecDeque<Arc<Segment>>,
    /// MSN of the first listed segment.
    listed: u64,
    next_frame: u64,
    next_aac: u64,
    present: Vec<bool>,
    peak: Vec<u64>,
    ended: bool,
}

impl Window {
    /// An empty window. `session` stands in every media URL and must be unique for ever; `epoch_us` is
    /// the wall clock (microseconds since 1970) at media time zero.
    pub fn new(
        presentation: Presentation,
        session: &str,
        epoch_us: i64,
        config: &Config,
    ) -> Result<Self, WindowError> {
        let geometry = Geometry::new(&presentation.format)?;
        let refuse = |rule| Err(WindowError::Presentation(rule));
        let count = presentation.renditions.len();
        if !(1..=MAX_RENDITIONS).contains(&count) {
            return refuse("it needs 1 to 16 renditions");
        }
        // Names and codec strings are written into playlists and taken apart from URLs.
        let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let codec = |b: u8| b.is_ascii_alphanumeric() || b == b'.';
        for (i, r) in presentation.renditions.iter().enumerate() {
            if r.name.is_empty() || r.name.len() > 64 || !r.name.bytes().all(name) {
                return refuse("a rendition's name must be 1 to 64 of a-z, 0-9, '-' and '_'");
            }
            if r.codecs.is_empty() || r.codecs.len() > 64 || !r.codecs.bytes().all(codec) {
                return refuse("a rendition's codec string is malformed");
            }
            if r.init.is_empty()
                || presentation.renditions.iter().skip(i + 1).any(|other| other.name == r.name)
            {
                return refuse("renditions need distinct names and an init segment");
            }
            if r.size.is_none() != (i + 1 == count) {
                return refuse("the last rendition must be sound, and only that one");
            }
        }
        if session.is_empty() || session.len() > 64 || !session.bytes().all(name) {
            return refuse("the session id must be 1 to 64 of a-z, 0-9, '-' and '_'");
        }
        Ok(Self {
            inits: presentation.renditions.iter().map(|r| Bytes::from(r.init.clone())).collect(),
            presentation: Arc::new(presentation),
            session: session.into(),
            config: Arc::new(config.clone()),
            geometry,
            epoch_us,
            segments: VecDeque::new(),
            listed: 0,
            next_frame: 0,
            next_aac: 0,
            present: vec![true; count],
            peak: vec![0; count],
            ended: false,
        })
    }

    /// Takes the next part of all renditions, whose bytes lie in `bytes`; all of it or, with an
    /// error, nothing. A part that opens a segment closes the one before.
    pub fn publish(&mut self, part: &Part, bytes: &Bytes) -> Result<(), WindowError> {
        let pieces = self.check(part, bytes)?;
        if part.part == 0 {
            self.close_open();
            self.segments.push_back(Arc::new(Segment {
                msn: part.msn,
                closed: false,
                first_frame: self.next_frame,
                first_aac: self.next_aac,
                end_frame: self.next_frame,
                parts: Vec::new(),
            }));
        }
        self.present = pieces.iter().map(|p| !p.is_gap()).collect();
        self.next_frame = part.resume.next_frame;
        self.next_aac = part.resume.next_aac;
        if let Some(open) = self.segments.back_mut() {
            let open = Arc::make_mut(open);
            open.parts.push(pieces);
            open.end_frame = part.resume.next_frame;
        }
        if part.last {
            self.close_open();
        }
        self.trim();
        Ok(())
    }

    /// Checks a part against everything that was published before it.
    fn check(&self, part: &Part, bytes: &Bytes) -> Result<Box<[Piece]>, WindowError> {
        let Part { msn, part: number, .. } = *part;
        let rule = |rule| Err(WindowError::Rule { msn, part: number, rule });
        if self.ended {
            return Err(WindowError::Ended { msn, part: number });
        }
        let open = self.segments.back().filter(|s| !s.closed);
        let next = self.segments.back().map_or(0, |s| s.msn + 1);
        let in_open = open.is_some_and(|s| (msn, u64::from(number)) == (s.msn, s.part_count()));
        if !in_open && (msn, number) != (next, 0) {
            let (msn_next, part_next) = open.map_or((next, 0), |s| (s.msn, s.part_count() as u32));
            return Err(WindowError::Sequence {
                got_msn: msn,
                got_part: number,
                msn: msn_next,
                part: part_next,
                next,
            });
        }
        let (frame, aac) = (part.resume.next_frame, part.resume.next_aac);
        if frame <= self.next_frame || frame - self.next_frame > self.geometry.part_frames() {
            return rule("it must hold 1 to part_frames video frames");
        }
        if aac != self.geometry.aac_at(frame) || aac <= self.next_aac {
            return rule("its sound must end at the AAC frame nearest to the end of its video");
        }
        let segment_start =
            if number == 0 { self.next_frame } else { open.map_or(0, |s| s.first_frame) };
        if frame - segment_start > self.geometry.segment_frames() {
            return rule("its segment grows past segment_frames");
        }
        if frame - self.next_frame < self.geometry.part_frames() && !part.last {
            return rule("only the last part of a segment may be short");
        }
        // A successor would go on from there, and be refused for ever.
        if part.resume.next_msn.checked_sub(1) != Some(msn) {
            return rule("a successor must open the segment after this one");
        }
        if part.start != self.geometry.frame_time(self.next_frame) {
            return rule("it must start where the part before ended");
        }
        let video = self.geometry.frame_time(frame - self.next_frame);
        let sound = Geometry::aac_time(aac) - Geometry::aac_time(self.next_aac);
        let renditions = &self.presentation.renditions;
        let gap = |size: Option<(u32, u32)>| Piece {
            bytes: Bytes::new(),
            duration: if size.is_some() { video } else { sound },
            independent: false,
        };
        let mut pieces: Box<[Piece]> = renditions.iter().map(|r| gap(r.size)).collect();
        if part.fragments.is_empty() {
            return rule("it holds no rendition");
        }
        for fragment in &part.fragments {
            let Some(piece) = pieces.get_mut(usize::from(fragment.rendition)) else {
                return rule("it names a rendition that does not exist");
            };
            if !piece.is_gap() {
                return rule("it holds a rendition twice");
            }
            if fragment.duration != piece.duration {
                return rule("a fragment's duration is not that of the part");
            }
            if number == 0 && !fragment.independent {
                return rule("a segment must begin with a key frame in every rendition");
            }
            let present =
                self.present.get(usize::from(fragment.rendition)).copied().unwrap_or_default();
            if number != 0 && !present {
                return rule("a rendition that was dropped may come back only with a new segment");
            }
            let (start, len) = (fragment.offset as usize, fragment.len as usize);
            match start.checked_add(len) {
                Some(end) if len > 0 && end <= bytes.len() => piece.bytes = bytes.slice(start..end),
                _ => return rule("a fragment lies outside the part's memory"),
            }
            piece.independent = fragment.independent;
        }
        Ok(pieces)
    }

    fn close_open(&mut self) {
        let Some(open) = self.segments.back_mut().filter(|s| !s.closed) else { return };
        let open = Arc::make_mut(open);
        open.closed = true;
        // Peaks count over segments of some length: a short one is all key frame.
        if (open.end_frame - open.first_frame) * 2 < self.geometry.segment_frames() {
            return;
        }
        for (rendition, peak) in self.peak.iter_mut().enumerate() {
            let bits: u64 = open.pieces(rendition).map(|p| p.bytes.len() as u64 * 8).sum();
            let rate = bits * MediaTime::HZ as u64 / (open.duration(rendition).0 as u64).max(1);
            *peak = (*peak).max(rate);
        }
    }

    /// Takes segments off the list that are older than the window, and lets go of those that no
    /// player's playlist can still name (RFC 8216bis 6.2.2).
    fn trim(&mut self) {
        let frames = self.config.window.as_micros().max(0) as u64 * u64::from(self.geometry.fps())
            / 1_000_000;
        let floor = (6 * self.geometry.segment_frames()).max(frames);
        let age = |s: &Segment| self.next_frame - s.end_frame;
        let complete = self.segments.iter().filter(|s| s.closed && s.msn >= self.listed).count();
        let mut spare = complete.saturating_sub(6);
        for segment in &self.segments {
            if spare == 0 || age(segment) < floor {
                break;
            }
            if segment.msn >= self.listed {
                self.listed = segment.msn + 1;
                spare -= 1;
            }
        }
        let keep = 2 * floor + 2 * self.geometry.segment_frames();
        while self.segments.front().is_some_and(|s| s.msn < self.listed && age(s) > keep) {
            self.segments.pop_front();
        }
    }

    /// The class is over: closes what is open, and nothing may follow.
    pub fn end(&mut self) {
        self.close_open();
        self.ended = true;
    }

    /// Whether the class is over.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Renditions and format.
    pub fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    /// The id in the media URLs.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The cuts.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// A rendition's index by its name.
    pub fn rendition(&self, name: &str) -> Option<usize> {
        self.presentation.renditions.iter().position(|r| r.name == name)
    }

    /// A rendition's init segment.
    pub fn init(&self, rendition: usize) -> Option<&Bytes> {
        self.inits.get(rendition)
    }

    /// The listed segments, the open one last.
    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &Segment> + Clone {
        self.segments.iter().map(|s| &**s).filter(|s| s.msn >= self.listed)
    }

    /// EXT-X-MEDIA-SEQUENCE: the MSN of the first listed segment.
    pub fn first_listed(&self) -> u64 {
        self.listed
    }

    /// A segment that is listed, or was so recently that players may still ask for it.
    pub fn segment(&self, msn: u64) -> Option<&Segment> {
        let first = self.segments.front()?.msn;
        self.segments.get(usize::try_from(msn.checked_sub(first)?).ok()?).map(|s| &**s)
    }

    /// The newest segment, open or not.
    pub fn newest(&self) -> Option<&Segment> {
        self.segments.back().map(|s| &**s)
    }

    /// MSN of the newest complete segment.
    pub fn newest_closed(&self) -> Option<u64> {
        let newest = self.newest()?;
        if newest.closed {
            Some(newest.msn)
        } else {
            newest.msn.checked_sub(1).filter(|_| self.segments.len() > 1)
        }
    }

    /// The newest part: segment and number within it.
    pub fn newest_part(&self) -> Option<(u64, u64)> {
        self.newest().and_then(|s| Some((s.msn, s.part_count().checked_sub(1)?)))
    }

    /// The part that comes next, as EXT-X-PRELOAD-HINT names it.
    pub fn hinted(&self) -> (u64, u64) {
        match self.newest() {
            None => (0, 0),
            Some(s) if s.closed => (s.msn + 1, 0),
            Some(s) => (s.msn, s.part_count()),
        }
    }

    /// Whether `point` is published. After the end every point is: nothing more will come.
    pub fn reached(&self, point: Point) -> bool {
        self.ended
            || match point {
                Point::Part { msn, part } => {
                    self.newest_part().is_some_and(|newest| newest >= (msn, part))
                }
                Point::Segment { msn } => self.newest_closed().is_some_and(|newest| newest >= msn),
            }
    }

    /// End of the timeline so far.
    pub fn end_time(&self) -> MediaTime {
        self.geometry.frame_time(self.next_frame)
    }

    /// Start of a segment in a rendition.
    pub fn start_of(&self, segment: &Segment, rendition: usize) -> MediaTime {
        let sound = self.presentation.renditions.get(rendition).is_some_and(|r| r.size.is_none());
        if sound {
            Geometry::aac_time(segment.first_aac)
        } else {
            self.geometry.frame_time(segment.first_frame)
        }
    }

    /// Wall clock at a media time, microseconds since 1970: one mapping for all renditions.
    pub fn wall_us(&self, time: MediaTime) -> i64 {
        self.epoch_us.saturating_add(time.as_micros())
    }

    /// Whether the newest part holds a rendition.
    pub fn is_present(&self, rendition: usize) -> bool {
        self.present.get(rendition).copied().unwrap_or_default()
    }

    /// Highest bit rate a segment of a rendition had, container included; 0 before the first.
    pub fn peak(&self, rendition: usize) -> u64 {
        self.peak.get(rendition).copied().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
