//! The child process of a room: ring, clock and socket around the core.

use super::WorkerError;
use super::core::{Core, Event, Prepared};
use super::encoders::Mode;
use crate::ladder::cadence::{Limits, Load, Shedding};
use crate::link::child::{Child, ChildError, Task};
use crate::link::ring::{ReadError, RingReader};
use crate::link::wire::{FromTranscoder, Resume, Rung, Start};
use crate::time::{HostTime, MediaTime};
use std::io::IoSlice;
use std::time::Duration;

/// How long the daemon may take to say what to make.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two sets of figures, microseconds.
const FIGURES_EVERY_US: i64 = 1_000_000;
/// Records read before the daemon's orders are looked at again.
const BATCH: usize = 512;
/// How far before the first frame to come input is read again: sound needs its decoder and its encoder
/// warmed up, and packets arrive after what they show.
pub(super) const REREAD_US: i64 = 400_000;
/// How far packets may overtake each other.
pub(super) const REORDER_US: i64 = 100_000;

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

/// Runs the transcoder of one room, on what the daemon handed down, until the daemon says stop.
///
/// # Errors
/// [`WorkerError`]; the daemon starts another one then.
pub fn run() -> Result<(), WorkerError> {
    let (mut child, ring, task) = Child::from_inherited_fds(START_PATIENCE)?;
    let bell = child.bell()?;
    let mode = Mode::Threads(Box::new(move || bell.ring()));
    let (Task::Make(start) | Task::Prepare(start)) = &task;
    let prepared = Prepared::open(start, mode)?;
    // Encoders and their threads are there; from here on foreign bytes are read.
    hw::process::sandbox()?;
    let start = match task {
        Task::Make(start) => *start,
        Task::Prepare(_) => child.ready()?,
    };
    let core = Core::prepared(start.clone(), prepared)?;
    Live::new(child, ring, core).run(&start)
}

/// The loop, over a connection that need not be inherited.
pub struct Live {
    child: Child,
    ring: RingReader,
    core: Core,
    shedding: Shedding,
    events: Vec<Event>,
    overruns: u64,
    figures_at: HostTime,
}

impl Live {
    /// A loop over these ends.
    pub fn new(child: Child, ring: RingReader, core: Core) -> Self {
        // What a rung costs matters for the order only: pixels do.
        let load = |rung: &Rung| Load {
            codec: rung.codec,
            cost: f64::from(rung.width) * f64::from(rung.height),
        };
        let loads: Vec<Load> = core.rungs().iter().map(load).collect();
        let shedding = Shedding::new(&loads, Limits::default());
        Self { child, ring, core, shedding, events: Vec::new(), overruns: 0, figures_at: now() }
    }

    /// Runs until the daemon says stop.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn run(mut self, start: &Start) -> Result<(), WorkerError> {
        match &start.resume {
            // What stands between the resume point and now may be what kills decoders.
            _ if start.failures >= 2 => drop(self.ring.seek_newest_keyframe()),
            Some(resume) => self.seek(resume),
            None => {}
        }
        loop {
            let empty = self.read()?;
            let caught_up = empty && self.advance(now())?;
            self.report()?;
            let wait = if caught_up { self.until_due() } else { Duration::ZERO };
            let wake = self.child.wait(wait)?;
            if wake.stop {
                return self.end();
            }
        }
    }

    /// Back to where a key frame lets the first frame to come be decoded again.
    fn seek(&mut self, resume: &Resume) {
        let frame = MediaTime::from_units(resume.next_frame as i64, self.core.format().fps);
        let at = resume.zero.plus_micros(frame.as_micros() - REREAD_US);
        // Of what was decoded. Other layers may have had their last key frame long ago.
        let video: Vec<_> = resume.composed.shown.iter().map(|shown| shown.track).collect();
        let found = self.ring.seek_keyframes_before(at, &video) > 0
            || self.ring.seek_keyframe_before(at)
            || (!video.is_empty() && self.ring.seek_oldest_keyframe());
        // Packets of the key frame that overtook its first one stand before the mark.
        let from = match self.ring.next() {
            Ok(Some(record)) if found => record.arrived().plus_micros(-REORDER_US),
            _ => at,
        };
        self.ring.seek_time(from);
    }

    /// Reads at most a batch; whether the ring is empty then.
    fn read(&mut self) -> Result<bool, WorkerError> {
        for _ in 0..BATCH {
            match self.ring.next() {
                Ok(Some(record)) => {
                    while !self.core.advance(record.arrived(), &mut self.events)? {
                        Self::send(&self.child, &mut self.events)?;
                        Self::shed(&mut self.core, &mut self.shedding, &mut self.events)?;
                    }
                    self.core.push(&record);
                }
                Ok(None) => return Ok(true),
                Err(ReadError::Overrun { records, .. }) => {
                    tracing::warn!(records, "the ring was overwritten before it was read");
                    self.overruns += records;
                }
                Err(error) => tracing::warn!(%error, "record skipped"),
            }
            if !self.events.is_empty() {
                Self::send(&self.child, &mut self.events)?;
            }
        }
        Ok(false)
    }

    fn advance(&mut self, now: HostTime) -> Result<bool, WorkerError> {
        let done = self.core.advance(now, &mut self.events)?;
        Self::shed(&mut self.core, &mut self.shedding, &mut self.events)?;
        Self::send(&self.child, &mut self.events)?;
        Ok(done)
    }

    /// Gives the dearest rung up when composition lags behind and does not recover: before viewers stall.
    fn shed(
        core: &mut Core,
        shedding: &mut Shedding,
        events: &mut Vec<Event>,
    ) -> Result<(), WorkerError> {
        for event in events.iter() {
            if let Event::RungDropped { rendition, .. } = event {
                shedding.lost(*rendition);
            }
        }
        let now = now();
        let lag = core.lag_us(now);
        if let Some(rung) = shedding.observe(now, lag) {
            let reason = format!("the box is {} ms behind and does not catch up", lag / 1000);
            core.drop_rung(rung, reason, events)?;
        }
        Ok(())
    }

    fn until_due(&self) -> Duration {
        let figures = self.figures_at.plus_micros(FIGURES_EVERY_US);
        let due = self.core.wake_at().map_or(figures, |due| due.min(figures));
        Duration::from_micros(due.since(now()).max(0).unsigned_abs())
    }

    fn send(child: &Child, events: &mut Vec<Event>) -> Result<(), ChildError> {
        for event in events.drain(..) {
            match event {
                Event::Begin(presentation) => child.send(&FromTranscoder::Begin(presentation))?,
                Event::Part(built) => {
                    let slices: Vec<IoSlice<'_>> =
                        built.slices.iter().map(|s| IoSlice::new(s)).collect();
                    child.send_part(built.part, &slices)?;
                }
                Event::KeyframeWanted(track) => {
                    child.send(&FromTranscoder::KeyframeWanted(track))?
                }
                Event::RungDropped { rendition, reason } => {
                    tracing::warn!(rendition, reason, "rung dropped");
                    let reason = reason.chars().filter(|c| !c.is_control()).take(500).collect();
                    child.send(&FromTranscoder::RungDropped {
                        rendition: rendition as u8,
                        reason,
                    })?;
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<(), WorkerError> {
        let now = now();
        if now.since(self.figures_at) < FIGURES_EVERY_US {
            return Ok(());
        }
        self.figures_at = now;
        let mut figures = self.core.figures();
        figures.ring_overruns = self.overruns;
        figures.lag_us = self.core.lag_us(now);
        figures.cpu_us = hw::clock::process_cpu_us();
        self.child.send(&FromTranscoder::Figures(Box::new(figures)))?;
        Ok(())
    }

    fn end(mut self) -> Result<(), WorkerError> {
        self.core.finish(&mut self.events)?;
        Self::send(&self.child, &mut self.events)?;
        self.child.send(&FromTranscoder::Ended)?;
        Ok(())
    }
}
