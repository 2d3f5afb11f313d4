//! The transcoder as a value: records and a time in, messages and parts out.
//!
//! It reads no clock and sends nothing. With the same records it makes the same output, live, catching
//! up or replayed; only a rung that is given up for want of speed depends on the machine.

use super::encoders::{Encoders, Given, Mode};
use super::{WorkerError, fonts};
use crate::compose::room::{Output, Room, Settings};
use crate::link::ring::Record;
use crate::link::wire::{Composed, Figures, OutputFormat, Presentation, Rendition, Rung, Start};
use crate::package::cmaf;
use crate::package::segmenter::{BuiltPart, Segmenter, SegmenterError};
use crate::time::{HostTime, MediaTime, TrackId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Outputs composed before encoded ones are collected.
const STEP: usize = 8;

/// What the daemon is to be told.
#[derive(Debug)]
pub enum Event {
    /// The class begins; comes first, once.
    Begin(Box<Presentation>),
    /// A part; goes out with one file descriptor.
    Part(Box<BuiltPart>),
    /// A decoder needs a key frame.
    KeyframeWanted(TrackId),
    /// A rung was given up.
    RungDropped {
        /// Its rendition number.
        rendition: usize,
        /// Why, for people.
        reason: String,
    },
}

/// See the module.
pub struct Core {
    start: Start,
    room: Room,
    encoders: Encoders,
    renditions: Vec<Rendition>,
    /// There once zero is known.
    segmenter: Option<Segmenter>,
    /// First AAC frame that is not published yet.
    first_aac: u64,
    /// (frame, when its picture arrived), of frames that are in no part yet and show something new.
    arrivals: VecDeque<(u64, HostTime)>,
    /// How frames are composed: the number of the first, for those that are in no part yet.
    composed: VecDeque<(u64, Arc<Composed>)>,
    /// The same for the last frame that is in a part.
    handed_on: Arc<Composed>,
    dropped: Vec<bool>,
    outputs: Vec<Output>,
    given: Given,
}

/// What takes time to open, and what can be opened no more once the process is locked in. It knows nothing of the
/// class's past, so a spare has it at hand before it is told where to go on.
pub struct Prepared {
    canvas: (u32, u32),
    encoders: Encoders,
}

impl Prepared {
    /// Opens the encoders that `start` will need.
    ///
    /// # Errors
    /// An encoder that does not open; no rungs.
    pub fn open(start: &Start, mode: Mode) -> Result<Self, WorkerError> {
        let top =
            start.rungs.iter().max_by_key(|rung| u64::from(rung.width) * u64::from(rung.height));
        let canvas = top.map(|rung| (rung.width, rung.height)).ok_or(WorkerError::NoRungs)?;
        // Viewers of a class that goes on have been promised all of its renditions.
        let all = start.resume.is_some() || !start.dropped.is_empty();
        let encoders = Encoders::open(&start.rungs, &start.format, canvas, mode, all)?;
        fonts::load(); // They may be out of reach later.
        Ok(Self { canvas, encoders })
    }
}

impl Core {
    /// Opens the encoders; `start` says what to make and where to go on.
    ///
    /// # Errors
    /// An encoder that does not open, a format that cannot be packaged.
    pub fn new(start: Start, mode: Mode) -> Result<Self, WorkerError> {
        let prepared = Prepared::open(&start, mode)?;
        Self::prepared(start, prepared)
    }

    /// The same with what was opened for such a `start` before.
    ///
    /// # Errors
    /// A format that cannot be packaged.
    pub fn prepared(mut start: Start, prepared: Prepared) -> Result<Self, WorkerError> {
        let Prepared { canvas, mut encoders } = prepared;
        let settings = Settings { format: start.format, canvas, decode_threads: 1 };
        let room = Room::new(settings, fonts::load(), &start.stage, start.resume.as_ref())?;
        start.rungs = encoders.rungs().to_vec();
        let mut renditions = Vec::with_capacity(start.rungs.len() + 1);
        for (rung, config) in start.rungs.iter().zip(encoders.configs()?) {
            renditions.push(cmaf::video_rendition(rung, &config)?);
        }
        renditions.push(cmaf::audio_rendition(start.format.audio_bitrate, &encoders.asc())?);
        let mut dropped = vec![false; start.rungs.len()];
        for &rendition in &start.dropped {
            // Opened for its init segment, which the playlists still name.
            encoders.drop_rung(usize::from(rendition));
            if let Some(dropped) = dropped.get_mut(usize::from(rendition)) {
                *dropped = true;
            }
        }
        let handed_on = start.resume.as_ref().map(|resume| resume.composed.clone());
        let handed_on = Arc::new(handed_on.unwrap_or_default());
        let core = Self {
            dropped,
            first_aac: start.resume.as_ref().map_or(0, |resume| resume.next_aac),
            start,
            room,
            encoders,
            renditions,
            segmenter: None,
            arrivals: VecDeque::new(),
            composed: VecDeque::new(),
            handed_on,
            outputs: Vec::new(),
            given: Given::default(),
        };
        // A format that cannot be packaged is told before a packet is read.
        core.segmenter(HostTime::default())?;
        Ok(core)
    }

    fn segmenter(&self, zero: HostTime) -> Result<Segmenter, WorkerError> {
        let rungs = self.start.rungs.len();
        let resume = self.start.resume.as_ref();
        let mut segmenter = Segmenter::new(&self.start.format, rungs, zero, resume)?;
        for (rendition, _) in self.dropped.iter().enumerate().filter(|(_, dropped)| **dropped) {
            segmenter.drop_track(rendition);
        }
        Ok(segmenter)
    }

    /// The output's grid.
    pub fn format(&self) -> &OutputFormat {
        &self.start.format
    }

    /// Takes a record in; [`advance`](Self::advance) to its arrival first.
    pub fn push(&mut self, record: &Record<'_>) {
        self.room.push(record);
    }

    /// When something is due, if no record comes before.
    pub fn wake_at(&self) -> Option<HostTime> {
        self.room.wake_at()
    }

    /// How far composition is behind its schedule at `now`, microseconds.
    pub fn lag_us(&self, now: HostTime) -> i64 {
        let due = self.room.zero().and(self.room.wake_at());
        due.map_or(0, |due| now.since(due).max(0))
    }

    /// Number of the next frame to be composed.
    pub fn next_frame(&self) -> u64 {
        self.room.next_frame()
    }

    /// Makes what is due until `now`; what the daemon is to be told is appended to `events`. Returns
    /// `false` if there is more to make: send the events, then call again.
    ///
    /// # Errors
    /// When no rung is left, or the output cannot be packaged.
    pub fn advance(&mut self, now: HostTime, events: &mut Vec<Event>) -> Result<bool, WorkerError> {
        let mut outputs = std::mem::take(&mut self.outputs);
        let done = self.room.advance(now, STEP, &mut outputs);
        for output in outputs.drain(..) {
            self.encode(output, events)?;
        }
        self.outputs = outputs;
        self.package(events)?;
        events.extend(self.room.keyframes_wanted(now).into_iter().map(Event::KeyframeWanted));
        Ok(done)
    }

    /// The class ends: everything that is inside, then a last short part.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), WorkerError> {
        if self.segmenter.is_none() {
            return Ok(());
        }
        self.encoders.finish(&mut self.given)?;
        self.package(events)?;
        let Some(segmenter) = &mut self.segmenter else { return Ok(()) };
        for part in segmenter.finish()? {
            let part = self.fill_in(part);
            events.push(Event::Part(Box::new(part)));
        }
        Ok(())
    }

    /// The rungs that are encoded, by rendition number.
    pub fn rungs(&self) -> &[Rung] {
        self.encoders.rungs()
    }

    /// The figures so far; `lag_us` and `cpu_us` and `ring_overruns` are the caller's.
    pub fn figures(&self) -> Figures {
        let counts = self.room.counts();
        Figures {
            frames_decoded: counts.decoded,
            decode_errors: counts.refused,
            packets_lost: counts.lost,
            frames_repeated: counts.repeated,
            samples_silent: counts.silent,
            rungs: self.encoders.figures(),
            ..Figures::default()
        }
    }

    /// Gives a rung up so that the others go on.
    ///
    /// # Errors
    /// When it was the last.
    pub fn drop_rung(
        &mut self,
        rendition: usize,
        reason: String,
        events: &mut Vec<Event>,
    ) -> Result<(), WorkerError> {
        match self.dropped.get_mut(rendition) {
            Some(dropped) if !*dropped => *dropped = true,
            _ => return Ok(()),
        }
        self.encoders.drop_rung(rendition);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.drop_track(rendition);
        }
        if self.dropped.iter().all(|dropped| *dropped) {
            return Err(WorkerError::NoRungLeft(reason));
        }
        events.push(Event::RungDropped { rendition, reason });
        Ok(())
    }

    fn begin(&mut self, events: &mut Vec<Event>) -> Result<(), WorkerError> {
        let Some(zero) = self.room.zero() else { return Ok(()) };
        if self.segmenter.is_some() {
            return Ok(());
        }
        self.segmenter = Some(self.segmenter(zero)?);
        let (format, renditions) = (self.start.format, self.renditions.clone());
        events.push(Event::Begin(Box::new(Presentation { zero, format, renditions })));
        Ok(())
    }

    fn encode(&mut self, output: Output, events: &mut Vec<Event>) -> Result<(), WorkerError> {
        self.begin(events)?;
        match output {
            Output::Frame { number, picture, arrived, repeated, composed } => {
                self.composed.extend(composed.map(|composed| (number, composed)));
                if !repeated {
                    self.arrivals.push_back((number, arrived));
                }
                let key = self.segmenter.as_ref().is_some_and(|segmenter| segmenter.key_at(number));
                self.encoders.frame(number, picture, key, &mut self.given)?;
            }
            Output::Sound { number, samples } => {
                self.encoders.sound(number, &samples, &mut self.given)?;
            }
        }
        Ok(())
    }

    fn package(&mut self, events: &mut Vec<Event>) -> Result<(), WorkerError> {
        let sound = self.start.rungs.len();
        self.encoders.poll(&mut self.given)?;
        let given = std::mem::take(&mut self.given);
        for (rung, reason) in given.failed {
            self.drop_rung(rung, reason, events)?;
        }
        for (rendition, sample) in given.samples {
            if rendition == sound && sample.index < self.first_aac {
                continue; // primes the encoder; its predecessor published it
            }
            let Some(segmenter) = &mut self.segmenter else { continue };
            match segmenter.push(rendition, sample) {
                Ok(()) => {}
                Err(SegmenterError::Stalled { rendition, parts }) if rendition < sound => {
                    let reason = format!("it is {parts} parts behind the others");
                    self.drop_rung(rendition, reason, events)?;
                }
                Err(error) => return Err(error.into()),
            }
            self.collect(events)?;
        }
        self.collect(events)
    }

    fn collect(&mut self, events: &mut Vec<Event>) -> Result<(), WorkerError> {
        while let Some(part) = self.segmenter.as_mut().map_or(Ok(None), Segmenter::poll)? {
            let part = self.fill_in(part);
            events.push(Event::Part(Box::new(part)));
        }
        Ok(())
    }

    /// When the part's input came, and what a successor has to know of clocks.
    fn fill_in(&mut self, mut built: BuiltPart) -> BuiltPart {
        let end = built.part.resume.next_frame;
        let mut arrived = None;
        while let Some(&(_, came)) = self.arrivals.front().filter(|(frame, _)| *frame < end) {
            arrived = arrived.max(Some(came));
            self.arrivals.pop_front();
        }
        // Nothing new in all of it: as if it had come when it was shown.
        let shown = MediaTime::from_units(end as i64, self.start.format.fps);
        built.part.arrived =
            arrived.unwrap_or_else(|| built.part.resume.zero.plus_micros(shown.as_micros()));
        while let Some((_, composed)) = self.composed.front().filter(|(frame, _)| *frame < end) {
            self.handed_on = Arc::clone(composed);
            self.composed.pop_front();
        }
        built.part.resume.composed = Composed::clone(&self.handed_on);
        built.part.resume.clocks = self.room.clocks();
        built
    }
}
