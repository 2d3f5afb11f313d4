//! The core of a transcoder: records and a time go in, the frames and sound blocks that are due come out.
//!
//! Frame n is composed at zero + n / fps + playout delay, sound block m when its last sample is as old.
//! Everything happens in the order of its time, whether the caller is live, catching up after a crash
//! or replaying a file: so the same records always make the same output.
//!
//! Output goes on whatever happens. No new picture: the last one again. No sound: silence. Nobody there
//! at all: both. Media time zero is the first picture that decodes; if there is only sound for
//! [`SOUND_ALONE_US`], it is the first sound, and the picture is black until one comes.

mod feed;
#[cfg(test)]
mod people_tests;
mod sound;
mod stage;
#[cfg(test)]
mod tests;
mod video;

use super::canvas::{Canvas, Placed};
use super::jitter::Limits;
use super::mix::{BLOCK, Mixer, RATE, Wanted};
use super::motion::Moving;
use super::text::Fonts;
use super::timeline::{self, Timeline};
use crate::link::ring::{Record, RtpRecord};
use crate::link::wire::{Composed, OutputFormat, Resume, Stage, TrackClock};
use crate::time::{HostTime, MediaTime, SourceId, TrackId};
use feed::{Feed, Means};
use hw::codec::{CodecError, Picture};
use sound::Sound;
use stage::OnStage;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// How long sound waits for a picture before the class begins without one, microseconds.
pub const SOUND_ALONE_US: i64 = 1_000_000;
/// Sound blocks a resumed room makes before the first that was not published: AAC frames overlap, and
/// an encoder needs some before it writes what its predecessor would have written.
pub const PRIMING: u64 = 4;
/// Sound blocks it mixes before those and gives to nobody: gains are then what its predecessor's were.
const REHEARSED: u64 = 12;
/// How long before it can be shown a class may begin, microseconds. A source whose first timestamps jump
/// about could place it hours ago, and every frame since would have to be made.
const LEAST_BEGIN_US: i64 = 2 * SOUND_ALONE_US;
/// Most sources of pictures, and most streams of sound: sixteen people with a camera and a screen each, and some
/// who are just leaving. Later ones are ignored: a publisher cannot make the box open decoders for ever.
const MAX_FEEDS: usize = 40;
/// How long a layer larger than needed, or a source that is not seen, is decoded further: seconds.
const HOLD_S: u64 = 2;
/// How long a source that has left stays known, beyond its last sounds: microseconds.
const BURY_US: i64 = 1_000_000;

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
        /// No new picture was there.
        repeated: bool,
        /// How it was composed, if that is not as the frame before was.
        composed: Option<Arc<Composed>>,
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

/// A stream of sound.
struct Voice {
    source: SourceId,
    sound: Sound,
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
    feeds: BTreeMap<SourceId, Feed>,
    voices: BTreeMap<TrackId, Voice>,
    mixer: Mixer,
    stage: OnStage,
    canvas: Canvas,
    shown: Picture,
    shown_arrived: HostTime,
    next_frame: u64,
    next_block: u64,
    /// The first block that is given out.
    first_block: u64,
    /// The first sound heard while there is no zero: where it lies, and when it came.
    first_sound: Option<(HostTime, HostTime)>,
    now: HostTime,
    counts: Counts,
}

impl Room {
    /// A room with `stage`; with `resume`, one that goes on where another stopped, on the stage that was in force
    /// there. It then has to be fed from a key frame of what was shown that arrived before the first frame to come.
    ///
    /// # Errors
    /// A canvas that pictures cannot have; no memory.
    pub fn new(
        settings: Settings,
        fonts: Arc<Fonts>,
        stage: &Stage,
        resume: Option<&Resume>,
    ) -> Result<Self, CodecError> {
        let clock =
            timeline::Settings { playout_delay_us: i64::from(settings.format.playout_delay_us) };
        let timeline = match resume {
            Some(resume) => Timeline::resume(clock, resume.zero, &resume.clocks),
            None => Timeline::new(clock),
        };
        let canvas = Canvas::new(settings.canvas, fonts)?;
        let first_block = resume.map_or(0, |resume| resume.next_aac.saturating_sub(PRIMING));
        let mut room = Self {
            stage: OnStage::new(settings.format.fps, settings.canvas, stage.clone()),
            settings,
            timeline,
            feeds: BTreeMap::new(),
            voices: BTreeMap::new(),
            mixer: Mixer::new(),
            shown: canvas.black()?,
            shown_arrived: HostTime::default(),
            canvas,
            next_frame: resume.map_or(0, |resume| resume.next_frame),
            next_block: first_block.saturating_sub(REHEARSED),
            first_block,
            first_sound: None,
            now: HostTime(i64::MIN),
            counts: Counts::default(),
        };
        if let Some(resume) = resume {
            // The frame before the first to come was shown when the stage was the one that is handed on.
            room.next_frame = resume.next_frame.saturating_sub(1);
            let since = room.frame_due(resume.zero);
            room.next_frame = resume.next_frame;
            let fps = room.settings.format.fps;
            room.stage = OnStage::resume(fps, room.settings.canvas, &resume.composed, since);
        }
        Ok(room)
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
        let mut wanted = Vec::new();
        for feed in self.feeds.values_mut().filter(|feed| feed.gone.is_none()) {
            feed.keyframes_wanted(now, &mut wanted);
        }
        wanted
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
            Record::Stage { arrived, payload } => self.stage.on_record(*arrived, payload),
            Record::Gone { source, arrived } => {
                if let Some(feed) = self.feeds.get_mut(source) {
                    feed.gone.get_or_insert(*arrived);
                }
                for voice in self.voices.values_mut().filter(|voice| voice.source == *source) {
                    voice.gone.get_or_insert(*arrived);
                }
            }
        }
    }

    fn means(&self) -> Means {
        Means {
            limits: Limits::for_delay(self.settings.format.playout_delay_us),
            threads: self.settings.decode_threads,
        }
    }

    fn on_packet(&mut self, packet: &RtpRecord<'_>) {
        let (source, track, audio) = (packet.source, packet.track, packet.codec.is_audio());
        let known = match audio {
            true => self.voices.contains_key(&track) || self.voices.len() < MAX_FEEDS,
            false => self.feeds.contains_key(&source) || self.feeds.len() < MAX_FEEDS,
        };
        if !known {
            return;
        }
        let rate = packet.codec.clock_rate();
        let (stamp, arrived) = (packet.timestamp, packet.arrived);
        let rtp = self.timeline.on_rtp(source, track, rate, audio, stamp, arrived);
        let (means, now) = (self.means(), self.now);
        if audio {
            if let Some(voice) = self.voice(source, track, means.limits) {
                voice.sound.push(packet, rtp);
            }
        } else {
            let feed = self.feeds.entry(source).or_default();
            if feed.push(packet, rtp) {
                if let Some(idle_since) = self.stage.inherited(track) {
                    feed.decode(track, idle_since, means, now);
                } else if self.timeline.zero().is_none() {
                    // No frame has been asked for yet, and the first picture begins the class.
                    feed.steer(Some(self.settings.canvas.1), 0, 0, means, now);
                }
            }
        }
        self.work();
    }

    fn voice(&mut self, source: SourceId, track: TrackId, limits: Limits) -> Option<&mut Voice> {
        let place = match self.voices.entry(track) {
            Entry::Occupied(known) => return Some(known.into_mut()),
            Entry::Vacant(place) => place,
        };
        match Sound::new(track, limits) {
            Ok(sound) => Some(place.insert(Voice { source, sound, gone: None })),
            Err(error) => {
                tracing::error!(track = track.0, %error, "no decoder for sound");
                None
            }
        }
    }

    /// Lets streams decode what may be decoded at the present time.
    fn work(&mut self) {
        let now = self.now;
        for feed in self.feeds.values_mut() {
            feed.work(now, &mut self.counts);
            let first = feed.first().filter(|_| self.timeline.zero().is_none());
            if let Some(host) = first.and_then(|(id, rtp)| self.timeline.host_of(id, rtp)) {
                self.timeline.start(begin(host, now));
            }
        }
        for (&id, voice) in &mut self.voices {
            let first = voice.sound.work(now, &mut self.mixer, &mut self.counts);
            if let (None, Some(rtp)) = (self.first_sound, first) {
                self.first_sound = self.timeline.host_of(id, rtp).map(|host| (host, now));
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
        let pictures = self.feeds.values().filter_map(Feed::deadline);
        let waiting =
            pictures.chain(self.voices.values().filter_map(|voice| voice.sound.deadline()));
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
                        match frame <= block {
                            true => out.push(self.frame()),
                            false => out.extend(self.block()),
                        }
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
        let mut fresh = BTreeMap::new();
        let mut changed = false;
        // A predecessor has asked for what it lacked when it made the frame before; only that frame told it what.
        let passes = if self.stage.takes_over() { 2 } else { 1 };
        for _ in 0..passes {
            for (&source, feed) in &mut self.feeds {
                let place = |track, rtp| self.timeline.media_of(track, rtp);
                fresh.extend(feed.choose(at, interval, place).map(|came| (source, came)));
            }
            changed |= self.stage.direct(number, &self.feeds);
            let (means, now) = (self.means(), self.now);
            let hold = HOLD_S * u64::from(self.settings.format.fps);
            for (&source, feed) in &mut self.feeds {
                let rows = self.stage.rows(source, feed);
                feed.steer(rows, number, hold, means, now);
                feed.work(now, &mut self.counts);
            }
        }
        let tiles = || self.stage.tiles(number);
        let came = tiles().filter_map(|moving| fresh.get(&moving.tile.source).copied()).max();
        changed |= came.is_some();
        if changed || self.stage.moving(number) {
            let placed: Vec<Placed<'_>> = tiles()
                .map(|Moving { tile, rect, base }| {
                    let (source, rest, name) = (tile.source, tile.rect, tile.name.as_str());
                    let picture = self.feeds.get(&source).and_then(Feed::picture);
                    let (picture, serial) = picture.unzip();
                    Placed { source, rect, rest, base, picture, serial: serial.unwrap_or(0), name }
                })
                .collect();
            match self.canvas.compose(&placed) {
                Ok(picture) => self.shown = picture,
                Err(error) => tracing::warn!(%error, "pictures cannot be put on the canvas"),
            }
        }
        self.shown_arrived = came.unwrap_or(self.shown_arrived);
        let repeated = came.is_none();
        self.counts.repeated += u64::from(repeated);
        let composed = self.stage.composed(self.feeds.values().filter_map(Feed::shown));
        self.bury(self.now);
        let (picture, arrived) = (self.shown.clone(), self.shown_arrived);
        Output::Frame { number, picture, arrived, repeated, composed }
    }

    fn block(&mut self) -> Option<Output> {
        let number = self.next_block;
        self.next_block += 1;
        let at = MediaTime::from_units(number as i64 * BLOCK as i64, RATE);
        // Pictures are moved to the grid's nearest frame; sound goes with them, or it would be off by up to half
        // a frame for as long as camera and grid keep their distance. Sound without pictures goes with those of
        // whoever is seen alone.
        let (frame, interval) = (self.frame_time(self.next_frame), self.frame_time(1));
        let place = |track, rtp| self.timeline.media_of(track, rtp);
        let alone = self.stage.alone(&self.feeds).and_then(|source| self.feeds.get(&source));
        let phase = |source: SourceId| {
            let feed = self.feeds.get(&source).or(alone)?;
            feed.phase(frame, interval, place)
        };
        let phases: BTreeMap<SourceId, f64> = self
            .voices
            .values()
            .map(|voice| (voice.source, phase(voice.source).unwrap_or(0.0)))
            .collect();
        let block = self.mixer.block(|track| {
            let source = self.voices.get(&track)?.source;
            let phase = phases.get(&source).copied().unwrap_or(0.0);
            let (whole, fraction) = self.timeline.rtp_at(track, at + MediaTime(phase as i64))?;
            Some(Wanted { whole, fraction, open: self.stage.hears(source) })
        });
        if number < self.first_block {
            return None;
        }
        self.counts.silent += u64::from(block.silent);
        Some(Output::Sound { number, samples: block.samples })
    }

    /// Forgets streams whose source left and whose last sounds have been played.
    fn bury(&mut self, now: HostTime) {
        let wait = self.playout() + BURY_US;
        let over = |gone: Option<HostTime>| gone.is_some_and(|gone| now.since(gone) > wait);
        let timeline = &mut self.timeline;
        self.feeds.retain(|source, feed| {
            let stays = !over(feed.gone);
            if !stays {
                timeline.on_gone(*source);
            }
            stays
        });
        let mixer = &mut self.mixer;
        self.voices.retain(|track, voice| {
            let stays = !over(voice.gone);
            if !stays {
                mixer.forget(*track);
                timeline.on_gone(voice.source);
            }
            stays
        });
    }
}
