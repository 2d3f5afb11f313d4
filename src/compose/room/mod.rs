//! The core of a transcoder: records and a time go in, the frames and sound blocks that are due come out.
//!
//! Frame n is composed at zero + n / fps + playout delay, sound block m when its last sample is as old.
//! Everything happens in the order of its time, whether the caller is live, catching up after a crash
//! or replaying a file: so the same records always make the same output.
//!
//! Output goes on whatever happens. No new picture: the last one again. No sound: silence. Nobody there
//! at all: both. Media time zero is the first picture that decodes; if there is only sound for
//! [`SOUND_ALONE_US`], it is the first sound, and the picture is black until one comes.

mod sound;
#[cfg(test)]
mod tests;
mod video;

use super::canvas::Canvas;
use super::jitter::Limits;
use super::mix::{BLOCK, Mixer, RATE};
use super::timeline::{self, Timeline};
use crate::link::ring::{Record, RtpRecord};
use crate::link::wire::{OutputFormat, Resume, TrackClock};
use crate::time::{HostTime, MediaTime, SourceId, TrackId};
use hw::codec::{CodecError, Picture};
use sound::Sound;
use std::collections::BTreeMap;
use video::Video;

/// How long sound waits for a picture before the class begins without one, microseconds.
pub const SOUND_ALONE_US: i64 = 1_000_000;
/// Sound blocks a resumed room makes before the first that was not published: AAC frames overlap, and
/// an encoder needs some before it writes what its predecessor would have written.
pub const PRIMING: u64 = 4;
/// Frames over which the distance of pictures from the output's grid is averaged.
const PHASE_FRAMES: f64 = 8.0;
/// How long before it can be shown a class may begin, microseconds. A source whose first timestamps jump
/// about could place it hours ago, and every frame since would have to be made.
const LEAST_BEGIN_US: i64 = 2 * SOUND_ALONE_US;
/// Most streams at once. Later ones are ignored: a publisher cannot make the box open decoders for ever.
const MAX_STREAMS: usize = 16;

/// What a room makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The output's grid.
    pub format: OutputFormat,
    /// Size of the composed picture (width, height), both even.
    pub canvas: (u32, u32),
    /// Threads each decoder may use.
    pub decode_threads: u32,
}

/// What is due.
#[derive(Clone, Debug)]
pub enum Output {
    /// A video frame of the grid.
    Frame {
        /// Its number.
        number: u64,
        /// The canvas.
        picture: Picture,
        /// When the picture on it arrived; for a repeated one, when that first came.
        arrived: HostTime,
        /// Nothing new was there.
        repeated: bool,
    },
    /// A block of sound.
    Sound {
        /// Its number: it begins at sample 1024 x number.
        number: u64,
        /// 1024 interleaved stereo frames at 48 kHz.
        samples: Vec<f32>,
    },
}

/// Counters since the room began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pictures decoded.
    pub decoded: u64,
    /// Access units a decoder refused.
    pub refused: u64,
    /// Packets given up.
    pub lost: u64,
    /// Frames that repeat the one before.
    pub repeated: u64,
    /// Samples of silence because no stream had any sound.
    pub silent: u64,
    /// Times a source's clock jumped.
    pub jumps: u64,
}

enum Stream {
    Video(Box<Video>),
    Sound(Box<Sound>),
}

struct Entry {
    source: SourceId,
    stream: Stream,
    /// The source left at this time; its last pictures and sounds are still to be played.
    gone: Option<HostTime>,
}

/// Zero, if the first picture or sound seems to lie at `host` and it is `now`.
fn begin(host: HostTime, now: HostTime) -> HostTime {
    host.clamp(now.plus_micros(-LEAST_BEGIN_US), now)
}

/// See the module.
pub struct Room {
    settings: Settings,
    timeline: Timeline,
    entries: BTreeMap<TrackId, Entry>,
    mixer: Mixer,
    canvas: Canvas,
    shown: Picture,
    shown_arrived: HostTime,
    next_frame: u64,
    next_block: u64,
    /// The first sound heard while there is no zero: where it lies, and when it came.
    first_sound: Option<(HostTime, HostTime)>,
    now: HostTime,
    counts: Counts,
    /// How far the pictures shown lie after the grid's frames that show them, in ticks, averaged over
    /// [`PHASE_FRAMES`].
    phase: Option<f64>,
}

impl Room {
    /// An empty room; with `resume`, one that goes on where another stopped. It then has to be fed from
    /// a key frame that arrived before the first frame to come.
    ///
    /// # Errors
    /// A canvas that pictures cannot have; no memory.
    pub fn new(settings: Settings, resume: Option<&Resume>) -> Result<Self, CodecError> {
        let clock =
            timeline::Settings { playout_delay_us: i64::from(settings.format.playout_delay_us) };
        let timeline = match resume {
            Some(resume) => Timeline::resume(clock, resume.zero, &resume.clocks),
            None => Timeline::new(clock),
        };
        let canvas = Canvas::new(settings.canvas)?;
        Ok(Self {
            settings,
            timeline,
            entries: BTreeMap::new(),
            mixer: Mixer::new(),
            shown: canvas.black()?,
            shown_arrived: HostTime::default(),
            canvas,
            next_frame: resume.map_or(0, |resume| resume.next_frame),
            next_block: resume.map_or(0, |resume| resume.next_aac.saturating_sub(PRIMING)),
            first_sound: None,
            now: HostTime(i64::MIN),
            counts: Counts::default(),
            phase: None,
        })
    }

    /// When media time zero is, once that is known.
    pub fn zero(&self) -> Option<HostTime> {
        self.timeline.zero()
    }

    /// Every stream's learned clock, for a successor.
    pub fn clocks(&self) -> Vec<TrackClock> {
        self.timeline.clocks()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        Counts { jumps: self.timeline.jumps(), ..self.counts }
    }

    /// Number of the next frame to come.
    pub fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Streams that need a key frame now; each at most twice a second.
    pub fn keyframes_wanted(&mut self, now: HostTime) -> Vec<TrackId> {
        let wanting = |(id, entry): (&TrackId, &mut Entry)| match &mut entry.stream {
            Stream::Video(video) if entry.gone.is_none() => {
                video.keyframe_wanted(now).then_some(*id)
            }
            _ => None,
        };
        self.entries.iter_mut().filter_map(wanting).collect()
    }

    /// Takes a record in. What was due before it arrived must have been taken with
    /// [`advance`](Self::advance) first.
    pub fn push(&mut self, record: &Record<'_>) {
        self.now = self.now.max(record.arrived());
        match record {
            Record::Rtp(packet) => self.on_packet(packet),
            Record::SenderReport { track, ntp, rtp, arrived, .. } => {
                self.timeline.on_report(*track, *ntp, *rtp, *arrived);
            }
            // One stream at a time is shown, whatever the stage says of it.
            Record::Stage { .. } => {}
            Record::Gone { source, arrived } => {
                for entry in self.entries.values_mut().filter(|entry| entry.source == *source) {
                    entry.gone.get_or_insert(*arrived);
                }
            }
        }
    }

    fn on_packet(&mut self, packet: &RtpRecord<'_>) {
        let id = packet.track;
        // A stream that changes its codec is another stream under the same name.
        let other = |entry: &Entry| match &entry.stream {
            Stream::Video(video) => video.codec() != packet.codec,
            Stream::Sound(_) => !packet.codec.is_audio(),
        };
        if self.entries.get(&id).is_some_and(other) {
            self.entries.remove(&id);
            self.mixer.forget(id);
        }
        if !self.entries.contains_key(&id) {
            if self.entries.len() >= MAX_STREAMS {
                return;
            }
            let limits = Limits::for_delay(self.settings.format.playout_delay_us);
            let stream = if packet.codec.is_audio() {
                Sound::new(id, limits).map(|sound| Stream::Sound(Box::new(sound)))
            } else {
                Video::new(id, packet.codec, limits, self.settings.decode_threads)
                    .map(|video| Stream::Video(Box::new(video)))
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::error!(track = id.0, codec = ?packet.codec, %error, "no decoder");
                    return;
                }
            };
            self.entries.insert(id, Entry { source: packet.source, stream, gone: None });
        }
        let rate = packet.codec.clock_rate();
        let audio = packet.codec.is_audio();
        let (stamp, arrived) = (packet.timestamp, packet.arrived);
        let rtp = self.timeline.on_rtp(packet.source, id, rate, audio, stamp, arrived);
        if let Some(entry) = self.entries.get_mut(&id) {
            match &mut entry.stream {
                Stream::Video(video) => video.push(packet, rtp),
                Stream::Sound(sound) => sound.push(packet, rtp),
            }
        }
        self.work();
    }

    /// Lets streams decode what may be decoded at the present time.
    fn work(&mut self) {
        let now = self.now;
        for (&id, entry) in &mut self.entries {
            match &mut entry.stream {
                Stream::Video(video) => {
                    video.work(now, &mut self.counts);
                    let unbegun = self.timeline.zero().is_none();
                    let first = video.first().filter(|_| unbegun);
                    if let Some(host) = first.and_then(|rtp| self.timeline.host_of(id, rtp)) {
                        self.timeline.start(begin(host, now));
                    }
                }
                Stream::Sound(sound) => {
                    let first = sound.work(now, &mut self.mixer, &mut self.counts);
                    if let (None, Some(rtp)) = (self.first_sound, first) {
                        self.first_sound = self.timeline.host_of(id, rtp).map(|host| (host, now));
                    }
                }
            }
        }
    }

    fn begin_without_picture(&mut self) {
        if let (None, Some((host, _))) = (self.timeline.zero(), self.first_sound) {
            self.timeline.start(begin(host, self.now));
        }
    }

    fn playout(&self) -> i64 {
        i64::from(self.settings.format.playout_delay_us)
    }

    fn frame_time(&self, number: u64) -> MediaTime {
        MediaTime::from_units(number as i64, self.settings.format.fps)
    }

    fn frame_due(&self, zero: HostTime) -> HostTime {
        zero.plus_micros(self.frame_time(self.next_frame).as_micros() + self.playout())
    }

    fn block_due(&self, zero: HostTime) -> HostTime {
        let end = MediaTime::from_units((self.next_block as i64 + 1) * BLOCK as i64, RATE);
        zero.plus_micros(end.as_micros() + self.playout())
    }

    /// When something is due next, if nothing more arrives; `None` while the class has not begun and
    /// nothing is held.
    pub fn wake_at(&self) -> Option<HostTime> {
        let waiting = self.entries.values().filter_map(|entry| match &entry.stream {
            Stream::Video(video) => video.deadline(),
            Stream::Sound(sound) => sound.deadline(),
        });
        let output = match self.timeline.zero() {
            Some(zero) => Some(self.frame_due(zero).min(self.block_due(zero))),
            None => self.first_sound.map(|(_, came)| came.plus_micros(SOUND_ALONE_US)),
        };
        waiting.chain(output).min()
    }

    /// Goes on to `now` and appends what became due, in the order of its time, at most `limit` outputs.
    /// Returns whether it got there: `false` if there is more to take.
    pub fn advance(&mut self, now: HostTime, limit: usize, out: &mut Vec<Output>) -> bool {
        let full = out.len().saturating_add(limit);
        while let Some(wake) = self.wake_at().filter(|wake| *wake <= now) {
            if out.len() >= full {
                return false;
            }
            self.now = self.now.max(wake);
            self.work();
            match self.timeline.zero() {
                Some(zero) => {
                    let (frame, block) = (self.frame_due(zero), self.block_due(zero));
                    if frame.min(block) <= self.now {
                        out.push(if frame <= block { self.frame() } else { self.block() });
                    }
                }
                None => {
                    let alone = self.first_sound.map(|(_, came)| came.plus_micros(SOUND_ALONE_US));
                    if alone.is_some_and(|alone| alone <= self.now) {
                        self.begin_without_picture();
                    }
                }
            }
        }
        self.now = self.now.max(now);
        true
    }

    fn frame(&mut self) -> Output {
        let number = self.next_frame;
        self.next_frame += 1;
        let (at, interval) = (self.frame_time(number), self.frame_time(1));
        let now = self.now;
        let mut fresh = None;
        let stage = self.on_stage();
        for (&id, entry) in &mut self.entries {
            if let Stream::Video(video) = &mut entry.stream {
                let place = |rtp| self.timeline.media_of(id, rtp);
                // All keep up with the time, so that the next one on stage is there at once.
                let picture = video.choose(at, interval, place);
                if stage != Some(id) {
                    continue;
                }
                let taken = picture.as_ref().and(video.shown());
                if let Some(taken) = taken.and_then(place) {
                    let limit = interval.0 / 2;
                    let early = (taken - at).0.clamp(-limit, limit) as f64;
                    let before = self.phase.unwrap_or(early);
                    self.phase = Some(before + (early - before) / PHASE_FRAMES);
                }
                fresh = picture;
            }
        }
        let repeated = match fresh.map(|(picture, came)| (self.canvas.place(&picture), came)) {
            Some((Ok(picture), came)) => {
                self.shown = picture;
                self.shown_arrived = came;
                false
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "picture cannot be put on the canvas");
                true
            }
            None => true,
        };
        self.counts.repeated += u64::from(repeated);
        self.bury(now);
        Output::Frame { number, picture: self.shown.clone(), arrived: self.shown_arrived, repeated }
    }

    /// The stream on the canvas: of those that have made a picture the one that came last, but one whose
    /// source left only if there is no other.
    fn on_stage(&self) -> Option<TrackId> {
        let seen = self.entries.iter().filter(
            |(_, entry)| matches!(&entry.stream, Stream::Video(video) if video.has_pictures()),
        );
        seen.max_by_key(|(id, entry)| (entry.gone.is_none(), **id)).map(|(&id, _)| id)
    }

    /// The phase; before the first frame, what it will be by the pictures that wait. A resumed class reads
    /// some sound before its first frame, and must read it from where its predecessor would have.
    fn phase_now(&self) -> f64 {
        let (at, interval) = (self.frame_time(self.next_frame), self.frame_time(1));
        let guess = || {
            let id = self.on_stage()?;
            let Stream::Video(video) = &self.entries.get(&id)?.stream else { return None };
            let early = video.nearest(at, |rtp| self.timeline.media_of(id, rtp))? - at;
            (early.0.abs() <= interval.0).then_some(early.0 as f64)
        };
        self.phase.or_else(guess).unwrap_or(0.0)
    }

    fn block(&mut self) -> Output {
        let number = self.next_block;
        self.next_block += 1;
        let at = MediaTime::from_units(number as i64 * BLOCK as i64, RATE);
        // Pictures are moved to the grid's nearest frame; sound goes with them, or it would be off by up to half
        // a frame for as long as camera and grid keep their distance.
        let at = at + MediaTime(self.phase_now() as i64);
        let block = self.mixer.block(|track| self.timeline.rtp_at(track, at));
        self.counts.silent += u64::from(block.silent);
        Output::Sound { number, samples: block.samples }
    }

    /// Forgets streams whose source left and whose last sounds have been played.
    fn bury(&mut self, now: HostTime) {
        let wait = self.playout() + 1_000_000;
        let over = |entry: &Entry| entry.gone.is_some_and(|gone| now.since(gone) > wait);
        let gone: Vec<(TrackId, SourceId)> =
            self.entries.iter().filter(|(_, e)| over(e)).map(|(id, e)| (*id, e.source)).collect();
        for (id, source) in gone {
            self.entries.remove(&id);
            self.mixer.forget(id);
            self.timeline.on_gone(source);
        }
    }
}
