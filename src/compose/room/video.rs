//! One video stream: packets to pictures, and which of them a frame of the grid shows.

use super::Counts;
use crate::compose::depacketize::{AccessUnit, Assembler, Packet};
use crate::compose::jitter::{Jitter, Limits, Pushed, Released};
use crate::time::{HostTime, MediaTime, SourceCodec, TrackId};
use hw::codec::{CodecError, Picture, VideoDecoder, VideoIn};
use std::collections::VecDeque;

/// Most decoded pictures that wait for their time: half a second at 60 fps. The oldest goes first.
const MAX_WAITING: usize = 32;

struct Waiting {
    rtp: i64,
    arrived: HostTime,
    picture: Picture,
}

pub(super) struct Video {
    track: TrackId,
    codec: SourceCodec,
    threads: u32,
    jitter: Jitter<Packet>,
    assembler: Assembler,
    decoder: VideoDecoder,
    waiting: VecDeque<Waiting>,
    /// The newest RTP time shown: what is older came too late.
    shown: Option<i64>,
    units: Vec<AccessUnit>,
}

fn decoder(codec: SourceCodec, threads: u32) -> Result<VideoDecoder, CodecError> {
    let codec = match codec {
        SourceCodec::Vp8 => VideoIn::Vp8,
        SourceCodec::Vp9 => VideoIn::Vp9,
        SourceCodec::Av1 => VideoIn::Av1,
        SourceCodec::H264 | SourceCodec::Opus => VideoIn::H264,
    };
    VideoDecoder::new(codec, threads)
}

/// How far ahead of a frame the first picture for it may lie: 0.56 of an interval.
fn first_reach(interval: MediaTime) -> MediaTime {
    MediaTime(interval.0 * 14 / 25)
}

impl Video {
    pub fn new(
        track: TrackId,
        codec: SourceCodec,
        limits: Limits,
        threads: u32,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            track,
            codec,
            threads,
            jitter: Jitter::new(limits),
            assembler: Assembler::new(codec),
            decoder: decoder(codec, threads)?,
            waiting: VecDeque::new(),
            shown: None,
            units: Vec::new(),
        })
    }

    /// Asks for a key frame at once: nothing it could begin with is on the way.
    pub fn ask(&mut self, now: HostTime) {
        self.assembler.refused(now);
    }

    pub fn keyframe_wanted(&mut self, now: HostTime) -> bool {
        self.assembler.keyframe_wanted(now)
    }

    pub fn push(&mut self, seq: u64, packet: Packet) {
        if self.jitter.push(seq, packet.arrived, packet) == Pushed::Late {
            tracing::trace!(track = self.track.0, seq, "packet came too late");
        }
    }

    pub fn deadline(&self) -> Option<HostTime> {
        self.jitter.deadline()
    }

    /// RTP time of the oldest picture that waits.
    pub fn first(&self) -> Option<i64> {
        self.waiting.front().map(|waiting| waiting.rtp)
    }

    /// Where of the pictures that wait the one nearest to `at` lies.
    pub fn nearest(
        &self,
        at: MediaTime,
        place: impl Fn(i64) -> Option<MediaTime>,
    ) -> Option<MediaTime> {
        let places = self.waiting.iter().filter_map(|waiting| place(waiting.rtp));
        places.min_by_key(|time| (*time - at).0.abs())
    }

    /// Decodes everything that may be decoded at `now`.
    pub fn work(&mut self, now: HostTime, counts: &mut Counts) {
        while let Some(released) = self.jitter.pop(now) {
            match released {
                Released::Packet(packet) => {
                    let mut units = std::mem::take(&mut self.units);
                    self.assembler.push(&packet, &mut units);
                    for unit in units.drain(..) {
                        self.decode(&unit, now, counts);
                    }
                    self.units = units;
                }
                Released::Lost(count) => {
                    counts.lost += count;
                    self.assembler.lost(now);
                }
            }
        }
    }

    fn decode(&mut self, unit: &AccessUnit, now: HostTime, counts: &mut Counts) {
        let mut pictures = Vec::new();
        let result = self.decoder.decode(&unit.data, unit.rtp, &mut pictures);
        for (rtp, picture) in pictures {
            counts.decoded += 1;
            // Layers of one instant: the last, which is the largest, stands for all.
            if self.waiting.back().is_some_and(|last| last.rtp == rtp) {
                self.waiting.pop_back();
            }
            self.waiting.push_back(Waiting { rtp, arrived: unit.arrived, picture });
            if self.waiting.len() > MAX_WAITING {
                self.waiting.pop_front();
            }
        }
        if let Err(error) = result {
            counts.refused += 1;
            tracing::debug!(track = self.track.0, %error, "access unit refused");
            self.assembler.refused(now);
            if !error.is_bad_data() {
                match decoder(self.codec, self.threads) {
                    Ok(fresh) => self.decoder = fresh,
                    Err(error) => {
                        tracing::error!(track = self.track.0, %error, "decoder cannot be replaced")
                    }
                }
            }
        }
    }

    /// RTP time of the picture that was chosen last.
    pub fn shown(&self) -> Option<i64> {
        self.shown
    }

    /// Whether there is a picture for the frame at `at`.
    pub fn due(
        &self,
        at: MediaTime,
        interval: MediaTime,
        place: impl Fn(i64) -> Option<MediaTime>,
    ) -> bool {
        let first = self.waiting.front().and_then(|first| place(first.rtp));
        first.is_some_and(|time| time <= at + first_reach(interval))
    }

    /// The picture for the frame at `at`, if a newer one than before is due: the nearest in time.
    ///
    /// Half way between two frames, jitter of a millisecond in the timestamps would show one picture
    /// twice and the next not at all. So the first candidate may be a little further ahead than half
    /// an interval, and skipping one takes a little more.
    pub fn choose(
        &mut self,
        at: MediaTime,
        interval: MediaTime,
        place: impl Fn(i64) -> Option<MediaTime>,
    ) -> Option<(Picture, HostTime)> {
        let mut chosen = None;
        let mut reach = first_reach(interval);
        while let Some(first) = self.waiting.front() {
            match place(first.rtp) {
                Some(time) if time > at + reach => break,
                Some(_) => {
                    let first = self.waiting.pop_front()?;
                    if self
                        .shown
                        .is_some_and(|shown| first.rtp < shown && shown - first.rtp < 90_000)
                    {
                        continue;
                    }
                    self.shown = Some(first.rtp);
                    chosen = Some((first.picture, first.arrived));
                    reach = MediaTime(interval.0 * 11 / 25); // 0.44
                }
                None => drop(self.waiting.pop_front()),
            }
        }
        chosen
    }
}
