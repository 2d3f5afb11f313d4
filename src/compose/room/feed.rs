//! One source's pictures: its simulcast layers, which of them is decoded, and what is shown of it.
//!
//! Only the layer that fits the tile is decoded. When another one fits better, the old one is shown until the new
//! one has a picture; that is at a key frame, which is asked for unless one came a moment ago: so much of every
//! layer is kept. What is not shown any more is decoded a little longer and then rests.

use super::Counts;
use super::video::Video;
use crate::compose::depacketize::Packet;
use crate::compose::jitter::Limits;
use crate::compose::layers;
use crate::link::ring::RtpRecord;
use crate::link::wire::Shown;
use crate::time::{HostTime, MediaTime, SourceCodec, TrackId};
use bytes::Bytes;
use hw::codec::Picture;
use std::collections::{BTreeMap, VecDeque};

/// Most streams of one source.
const MAX_LAYERS: usize = 8;
/// A layer none of whose packets came for so long, while others' did, has ceased: microseconds.
const CEASED_US: i64 = 700_000;
/// How old a key frame may be for a decoder to begin with it and to make good what came since: microseconds. Half a
/// second of pictures is decoded in a frame's time.
const FRESH_US: i64 = 500_000;
/// How far packets may overtake the key frame they belong to, microseconds.
const OVERTAKE_US: i64 = 50_000;
/// Most packets kept of a layer that is not decoded: half a second of 20 Mb/s.
const MAX_KEPT: usize = 1_024;
/// Frames over which the distance of pictures from the output's grid is averaged.
const PHASE_FRAMES: f64 = 8.0;
/// A stream heard of for so long begins with no key frame of its own, microseconds.
const YOUNG_US: i64 = 150_000;

/// What decoders need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    pub limits: Limits,
    pub threads: u32,
}

struct Layer {
    codec: SourceCodec,
    number: u8,
    rows: Option<u32>,
    first: HostTime,
    last: HostTime,
    /// What came of it lately, while it is not decoded: (sequence number, begins a key frame, packet).
    kept: VecDeque<(u64, bool, Packet)>,
}

impl Layer {
    fn keep(&mut self, seq: u64, key: bool, packet: Packet) {
        let now = packet.arrived;
        self.kept.push_back((seq, key, packet));
        let keys = self.kept.iter().rev().filter(|(_, key, _)| *key);
        let fresh = keys.map(|(.., packet)| packet.arrived).find(|at| now.since(*at) <= FRESH_US);
        let from = fresh.unwrap_or(now).plus_micros(-OVERTAKE_US);
        while self.kept.len() > MAX_KEPT
            || self.kept.front().is_some_and(|(.., packet)| packet.arrived < from)
        {
            self.kept.pop_front();
        }
    }
}

/// A layer that is decoded.
struct Active {
    track: TrackId,
    video: Box<Video>,
}

#[derive(Default)]
pub(super) struct Feed {
    layers: BTreeMap<TrackId, Layer>,
    active: Option<Active>,
    /// To be shown instead, from its first picture on.
    next: Option<Active>,
    picture: Option<Picture>,
    serial: u64,
    /// The source left at this time; its last pictures are still to be shown.
    pub gone: Option<HostTime>,
    /// The frame since which a smaller layer, or none, would do.
    idle_since: Option<u64>,
    /// How far its pictures lie after the grid's frames that show them, in ticks, averaged.
    phase: Option<f64>,
}

impl Feed {
    /// Takes a packet in. Whether it is the first of its stream.
    pub fn push(&mut self, packet: &RtpRecord<'_>, rtp: i64) -> bool {
        let track = packet.track;
        // A stream that changes its codec is another stream under the same name.
        if self.layers.get(&track).is_some_and(|layer| layer.codec != packet.codec) {
            self.layers.remove(&track);
            self.active = self.active.take().filter(|active| active.track != track);
            self.next = self.next.take().filter(|next| next.track != track);
        }
        let new = !self.layers.contains_key(&track);
        if new && self.layers.len() >= MAX_LAYERS {
            return false;
        }
        let arrived = packet.arrived;
        let layer = self.layers.entry(track).or_insert_with(|| Layer {
            codec: packet.codec,
            number: packet.layer,
            rows: None,
            first: arrived,
            last: arrived,
            kept: VecDeque::new(),
        });
        // Numbers follow the offer until the layers have been measured.
        layer.number = packet.layer;
        layer.last = layer.last.max(arrived);
        let held = Packet {
            rtp,
            marker: packet.marker,
            arrived,
            payload: Bytes::copy_from_slice(packet.payload),
        };
        let decoded = self.active.iter_mut().chain(&mut self.next);
        match decoded.into_iter().find(|active| active.track == track) {
            Some(active) => active.video.push(packet.seq, held),
            None => layer.keep(packet.seq, packet.keyframe, held),
        }
        new
    }

    /// Decodes `track` from the start: as a predecessor did, or as long as nothing can be known of what is needed.
    pub fn decode(&mut self, track: TrackId, idle_since: Option<u64>, means: Means, now: HostTime) {
        self.active = self.begin(track, means, now);
        self.next = None;
        self.idle_since = idle_since;
    }

    fn begin(&mut self, track: TrackId, means: Means, now: HostTime) -> Option<Active> {
        let layer = self.layers.get_mut(&track)?;
        let mut video = match Video::new(track, layer.codec, means.limits, means.threads) {
            Ok(video) => Box::new(video),
            Err(error) => {
                tracing::error!(track = track.0, codec = ?layer.codec, %error, "no decoder");
                return None;
            }
        };
        let key = layer.kept.iter().any(|(_, key, _)| *key);
        for (seq, _, packet) in layer.kept.drain(..) {
            video.push(seq, packet);
        }
        if !key && now.since(layer.first) > YOUNG_US {
            video.ask(now);
        }
        Some(Active { track, video })
    }

    /// Decides at frame `number` what to decode, if the pictures are to be seen with `rows` rows; `None`: not at
    /// all. What is too large stays for `hold` frames.
    pub fn steer(
        &mut self,
        rows: Option<u32>,
        number: u64,
        hold: u64,
        means: Means,
        now: HostTime,
    ) {
        let Some(rows) = rows else {
            self.next = None;
            let since = *self.idle_since.get_or_insert(number);
            if number >= since + hold {
                self.active = None;
            }
            return;
        };
        let layers = self.known();
        let Some(active) = self.active.as_ref().map(|active| active.track) else {
            if let Some(wanted) = layers::choose(&layers, rows, None) {
                self.decode(wanted, None, means, now);
            }
            return;
        };
        let Some(wanted) = layers::choose(&layers, rows, Some(active)) else { return };
        if wanted == active {
            self.next = None;
            self.idle_since = None;
            return;
        }
        let of = |track| layers.iter().find(|layer| layer.track == track);
        let smaller =
            of(active).zip(of(wanted)).is_some_and(|(a, b)| a.alive && b.number < a.number);
        if smaller {
            let since = *self.idle_since.get_or_insert(number);
            if number < since + hold {
                return;
            }
        } else {
            self.idle_since = None;
        }
        if self.next.as_ref().is_none_or(|next| next.track != wanted) {
            self.next = self.begin(wanted, means, now);
        }
    }

    fn known(&self) -> Vec<layers::Layer> {
        let newest = self.layers.values().map(|layer| layer.last).max().unwrap_or_default();
        let layer = |(&track, layer): (&TrackId, &Layer)| layers::Layer {
            track,
            number: layer.number,
            rows: layer.rows,
            alive: newest.since(layer.last) <= CEASED_US,
        };
        self.layers.iter().map(layer).collect()
    }

    /// Decodes what may be decoded at `now`.
    pub fn work(&mut self, now: HostTime, counts: &mut Counts) {
        for active in self.active.iter_mut().chain(&mut self.next) {
            active.video.work(now, counts);
        }
    }

    /// The oldest picture that waits: its stream and RTP time.
    pub fn first(&self) -> Option<(TrackId, i64)> {
        let mut decoded = self.active.iter().chain(&self.next);
        decoded.find_map(|active| Some((active.track, active.video.first()?)))
    }

    pub fn deadline(&self) -> Option<HostTime> {
        let decoded = self.active.iter().chain(&self.next);
        decoded.filter_map(|active| active.video.deadline()).min()
    }

    /// Streams that need a key frame now.
    pub fn keyframes_wanted(&mut self, now: HostTime, wanted: &mut Vec<TrackId>) {
        for active in self.active.iter_mut().chain(&mut self.next) {
            if active.video.keyframe_wanted(now) {
                wanted.push(active.track);
            }
        }
    }

    /// Goes on to the picture for the frame at `at`. If there is a newer one: when it arrived.
    pub fn choose(
        &mut self,
        at: MediaTime,
        interval: MediaTime,
        place: impl Fn(TrackId, i64) -> Option<MediaTime>,
    ) -> Option<HostTime> {
        if let Some(next) =
            self.next.take_if(|next| next.video.due(at, interval, |rtp| place(next.track, rtp)))
        {
            self.active = Some(next);
            self.idle_since = None;
        }
        let Active { track, video } = self.active.as_mut()?;
        let (picture, arrived) = video.choose(at, interval, |rtp| place(*track, rtp))?;
        if let Some(taken) = video.shown().and_then(|rtp| place(*track, rtp)) {
            let limit = interval.0 / 2;
            let early = (taken - at).0.clamp(-limit, limit) as f64;
            let before = self.phase.unwrap_or(early);
            self.phase = Some(before + (early - before) / PHASE_FRAMES);
        }
        if let Some(layer) = self.layers.get_mut(track) {
            layer.rows = Some(picture.height());
        }
        self.picture = Some(picture);
        self.serial += 1;
        Some(arrived)
    }

    /// The phase; before the first frame, what it will be by the pictures that wait. A resumed class reads
    /// some sound before its first frame, and must read it from where its predecessor would have.
    pub fn phase(
        &self,
        at: MediaTime,
        interval: MediaTime,
        place: impl Fn(TrackId, i64) -> Option<MediaTime>,
    ) -> Option<f64> {
        let guess = || {
            let Active { track, video } = self.active.as_ref()?;
            let early = video.nearest(at, |rtp| place(*track, rtp))? - at;
            (early.0.abs() <= interval.0).then_some(early.0 as f64)
        };
        self.phase.or_else(guess)
    }

    /// The picture that is shown, and its number among this source's.
    pub fn picture(&self) -> Option<(&Picture, u64)> {
        Some((self.picture.as_ref()?, self.serial))
    }

    /// Its newest stream.
    pub fn newest(&self) -> Option<TrackId> {
        self.layers.keys().next_back().copied()
    }

    /// What is decoded, as a successor has to know it.
    pub fn shown(&self) -> Option<Shown> {
        let track = self.active.as_ref()?.track;
        Some(Shown { track, idle_since: self.idle_since })
    }
}
