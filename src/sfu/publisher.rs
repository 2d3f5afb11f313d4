//! One publisher: its tracks, what the ring and the subscribers get of them.

use super::connection::{Connection, Notice, Over, Shared};
use super::core::{Output, RoomKey};
use super::keyframe::{Marker, Patience};
use super::layers::Layer;
use super::rewrite::Incoming;
use super::size;
use crate::time::{HostTime, MediaKind as Kind, SourceCodec, SourceId, TrackId};
use std::sync::Arc;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt, Rid, SenderFeedback};
use str0m::net::Protocol;
use str0m::rtp::{RtpPacket, Ssrc, Vp8Descriptor};
use str0m::stats::MediaIngressStats;
use str0m::{Event, Rtc};

/// Most tracks a connection may have in its life. A browser makes a new one when a camera is
/// changed; more than this is no class but an attack on the transcoder's memory.
const MAX_TRACKS: usize = 64;

/// Sender reports kept for tracks whose first packet has not come.
const MAX_EARLY_REPORTS: usize = 4;

/// How often the layers of a simulcast are looked at, microseconds.
const REVIEW_EVERY: i64 = 200_000;

/// A layer of which nothing came for so long is not there, if others are. Microseconds.
const LAYER_LOST: i64 = 500_000;

/// Packets that may wait for the subscribers; no batch of datagrams is so large.
const MAX_BATCH: usize = 1024;

/// A decrypted, repaired RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its stream.
    pub track: TrackId,
    /// Of what.
    pub codec: SourceCodec,
    /// It begins a key frame.
    pub keyframe: bool,
    /// RTP marker bit.
    pub marker: bool,
    /// Simulcast layer, 0 the smallest; 0 where there is only one.
    pub layer: u8,
    /// Sequence number, extended over wraps.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// When it came.
    pub arrived: HostTime,
    /// Without RTP header.
    pub payload: Arc<[u8]>,
}

/// A packet on its way to the subscribers.
pub(super) struct Forward {
    pub packet: Packet,
    /// The newest of its track before it.
    pub before: u64,
    /// dBov, and whether it is a voice (RFC 6464).
    pub level: Option<i8>,
    pub voice: Option<bool>,
    pub vp8: Option<Vp8Descriptor>,
}

impl Forward {
    pub fn incoming(&self) -> Incoming {
        let Packet { track, seq, timestamp, arrived, .. } = self.packet;
        let picture = self.vp8.and_then(|d| Some((d.picture_id()?, d.tl0_pic_idx().unwrap_or(0))));
        Incoming { track, seq, timestamp, arrived, picture }
    }
}

/// Bits a second, smoothed over two seconds, so that a key frame is not taken for a rate.
struct Meter {
    bytes: u64,
    since: HostTime,
    rate: u64,
}

impl Meter {
    fn read(&mut self, now: HostTime) {
        let us = u64::try_from(now.since(self.since)).unwrap_or(0);
        if us < 250_000 {
            return;
        }
        let rate = self.bytes.saturating_mul(8_000_000) / us;
        self.rate = if self.rate == 0 { rate } else { (self.rate * 17 + rate * 3) / 20 };
        (self.bytes, self.since) = (0, now);
    }
}

struct Track {
    id: TrackId,
    ssrc: Ssrc,
    mid: Option<Mid>,
    rid: Option<Rid>,
    payload_type: Pt,
    codec: SourceCodec,
    marker: Marker,
    patience: Patience,
    layer: u8,
    height: u32,
    meter: Meter,
    heard: HostTime,
    received: u64,
    first_seq: u64,
    last_seq: u64,
    lost_told: u64,
}

struct EarlyReport {
    ssrc: Ssrc,
    ntp: u64,
    rtp: u32,
    arrived: HostTime,
}

pub(super) struct Publisher {
    pub link: Connection,
    pub kind: Kind,
    pub muted: bool,
    pub subscribers: Vec<SourceId>,
    /// Packets for the subscribers, in the order in which they came.
    pub batch: Vec<Forward>,
    media: Media,
}

/// What comes in.
struct Media {
    source: SourceId,
    room: RoomKey,
    tracks: Vec<Track>,
    early: Vec<EarlyReport>,
    nacks_told: Vec<((Mid, Option<Rid>), u64)>,
    /// Simulcast ids as the offer lists them; empty without simulcast.
    rids: Vec<Rid>,
    layers: Vec<Layer>,
    review: HostTime,
}

/// What may be done with a packet.
#[derive(Clone, Copy)]
struct Leave {
    muted: bool,
    forward: bool,
}

impl Publisher {
    pub fn new(link: Connection, kind: Kind, muted: bool, rids: Vec<Rid>) -> Self {
        let media = Media {
            source: link.id,
            room: link.room,
            tracks: Vec::new(),
            early: Vec::new(),
            nacks_told: Vec::new(),
            rids,
            layers: Vec::new(),
            review: super::core::NEVER,
        };
        Self { link, kind, muted, subscribers: Vec::new(), batch: Vec::new(), media }
    }

    pub fn tracks(&self) -> impl Iterator<Item = TrackId> {
        self.media.tracks.iter().map(|track| track.id)
    }

    /// The video's layers, smallest first.
    pub fn layers(&self) -> &[Layer] {
        &self.media.layers
    }

    /// Whether there may be several layers.
    pub fn is_simulcast(&self) -> bool {
        self.media.rids.len() > 1
    }

    /// The codec of the video that came last, if any did.
    pub fn video_codec(&self) -> Option<SourceCodec> {
        let video = self.media.tracks.iter().filter(|track| !track.codec.is_audio());
        video.max_by_key(|track| track.heard).map(|track| track.codec)
    }

    /// Takes a datagram if it is this connection's; says whether.
    pub fn receive(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        (proto, from, to): (Protocol, std::net::SocketAddr, std::net::SocketAddr),
        payload: &[u8],
    ) -> Result<bool, Over> {
        let taken = self.link.receive(shared, now, proto, from, to, payload)?;
        if taken {
            self.drain(shared, now)?;
        }
        Ok(taken)
    }

    /// When [`Publisher::tick`] has something to do.
    pub fn due(&self, shared: &Shared) -> HostTime {
        let video = self.media.tracks.iter().filter(|track| !track.codec.is_audio());
        let keyframe = video.filter_map(|track| track.patience.due(&shared.config)).min();
        let link = self.link.due(&shared.config);
        keyframe.unwrap_or(link).min(link).min(self.media.review)
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        if self.media.review <= now {
            self.media.look_at_layers(now);
            shared.notices.push(Notice::Layers);
        }
        let asked = self.media.ask_for_keyframes(&mut self.link.rtc, shared, now);
        let moved = self.link.pass(shared, now)?;
        if moved || asked { self.drain(shared, now) } else { Ok(()) }
    }

    /// A decoder needs a key frame of `track`.
    pub fn want_keyframe(&mut self, track: TrackId, now: HostTime) {
        if let Some(track) = self.media.tracks.iter_mut().find(|t| t.id == track) {
            track.patience.want(now);
        }
    }

    /// Polls until str0m waits for time or input.
    pub fn drain(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        let leave = Leave { muted: self.muted, forward: !self.subscribers.is_empty() };
        let Self { link, media, batch, .. } = self;
        link.drain(shared, now, |rtc, shared, event| match event {
            Event::RtpPacket(packet) => media.packet(rtc, shared, batch, packet, leave),
            Event::SenderFeedback(feedback) => media.report(shared, &feedback),
            Event::MediaIngressStats(stats) => media.stats(shared, &stats),
            // The connection closes from the other end: the drain goes on until it is not alive.
            // ICE's own opinion is not asked: it counts binding requests only, and a publisher
            // whose media comes in is there. Silence is measured on everything that comes.
            _ => {}
        })
    }
}

impl Media {
    fn ask_for_keyframes(&mut self, rtc: &mut Rtc, shared: &mut Shared, now: HostTime) -> bool {
        let mut asked = false;
        for track in self.tracks.iter_mut().filter(|track| !track.codec.is_audio()) {
            if !track.patience.ask(&shared.config, now) {
                continue;
            }
            let params = rtc.codec_config().find(|p| p.pt() == track.payload_type);
            let kind = match params {
                Some(p) if !p.fb_pli() && p.fb_fir() => KeyframeRequestKind::Fir,
                _ => KeyframeRequestKind::Pli,
            };
            if let Some(stream) = rtc.direct_api().stream_rx(&track.ssrc) {
                stream.request_keyframe(kind);
                shared.counters.keyframe_requests += 1;
                asked = true;
            }
        }
        asked
    }

    fn packet(
        &mut self,
        rtc: &mut Rtc,
        shared: &mut Shared,
        batch: &mut Vec<Forward>,
        packet: RtpPacket,
        leave: Leave,
    ) {
        let payload_type = packet.header.payload_type;
        let arrived = shared.clock.host(packet.timestamp);
        let at = match self.tracks.iter().position(|t| t.ssrc == packet.header.ssrc) {
            Some(at) => at,
            None => match self.new_track(rtc, shared, &packet, arrived) {
                Some(at) => at,
                None => {
                    shared.counters.unplaced += 1;
                    return;
                }
            },
        };
        let codec = match self.tracks.get(at) {
            Some(track) if track.payload_type == payload_type => track.codec,
            _ => match codec_of(rtc, payload_type) {
                Some(codec) => codec,
                None => {
                    shared.counters.unplaced += 1;
                    return;
                }
            },
        };
        let Some(track) = self.tracks.get_mut(at) else { return };
        // A browser may change codecs within a stream; sound never becomes picture.
        if codec.is_audio() != track.codec.is_audio() {
            shared.counters.unplaced += 1;
            return;
        }
        track.codec = codec;
        track.payload_type = payload_type;
        let seq = *packet.seq_no;
        let keyframe = track.marker.mark(codec, packet.header.timestamp, &packet.payload);
        if keyframe && let Some((_, height)) = size::of_keyframe(codec, &packet.payload) {
            track.height = height;
        }
        track.patience.on_packet(arrived, keyframe);
        track.heard = arrived;
        track.meter.bytes += packet.payload.len() as u64;
        let before = track.last_seq;
        track.received += 1;
        track.first_seq = track.first_seq.min(seq);
        track.last_seq = track.last_seq.max(seq);
        let extensions = &packet.header.ext_vals;
        let (level, voice) = (extensions.audio_level, extensions.voice_activity);
        if codec.is_audio() {
            if leave.muted {
                return;
            }
            if let Some(level) = level {
                shared.notices.push(Notice::Heard(level));
            }
        }
        let packet = Packet {
            track: track.id,
            codec,
            keyframe,
            marker: packet.header.marker,
            layer: track.layer,
            seq,
            timestamp: packet.header.timestamp,
            arrived,
            payload: packet.payload,
        };
        // Padding keeps the path warm and carries nothing: no use to a decoder, but a subscriber
        // would ask for the number that it has.
        if leave.forward && batch.len() < MAX_BATCH {
            let vp8 = (codec == SourceCodec::Vp8).then(|| Vp8Descriptor::parse(&packet.payload));
            let vp8 = vp8.and_then(Result::ok);
            batch.push(Forward { packet: packet.clone(), before, level, voice, vp8 });
        }
        if packet.payload.is_empty() {
            return;
        }
        shared.counters.packets += 1;
        shared.counters.bytes += packet.payload.len() as u64;
        shared.outputs.push_back(Output::Packet { room: self.room, source: self.source, packet });
    }

    fn new_track(
        &mut self,
        rtc: &mut Rtc,
        shared: &mut Shared,
        packet: &RtpPacket,
        arrived: HostTime,
    ) -> Option<usize> {
        let codec = codec_of(rtc, packet.header.payload_type)?;
        if self.tracks.len() >= MAX_TRACKS {
            return None;
        }
        let ssrc = packet.header.ssrc;
        let named = rtc.direct_api().stream_rx(&ssrc).map(|stream| (stream.mid(), stream.rid()));
        let (mid, rid) = named.map_or((None, None), |(mid, rid)| (Some(mid), rid));
        let media = mid.and_then(|mid| rtc.media(mid));
        if media.is_some_and(|m| codec.is_audio() != (m.kind() == MediaKind::Audio)) {
            return None;
        }
        let id = TrackId(shared.next_track);
        shared.next_track = shared.next_track.checked_add(1)?;
        let seq = *packet.seq_no;
        let declared = self.rids.iter().position(|known| Some(*known) == rid).unwrap_or(0);
        self.tracks.push(Track {
            id,
            ssrc,
            mid,
            rid,
            payload_type: packet.header.payload_type,
            codec,
            marker: Marker::default(),
            patience: Patience::new(arrived),
            layer: u8::try_from(declared).unwrap_or(0),
            height: 0,
            meter: Meter { bytes: 0, since: arrived, rate: 0 },
            heard: arrived,
            received: 0,
            first_seq: seq,
            last_seq: seq.saturating_sub(1),
            lost_told: 0,
        });
        shared.notices.push(Notice::FirstPacket { track: id, codec });
        if !codec.is_audio() {
            self.look_at_layers(arrived);
            shared.notices.push(Notice::Layers);
        }
        while let Some(at) = self.early.iter().position(|report| report.ssrc == ssrc) {
            let EarlyReport { ntp, rtp, arrived, .. } = self.early.remove(at);
            let told = self.told(id, ntp, rtp, arrived);
            shared.outputs.push_back(told);
        }
        Some(self.tracks.len() - 1)
    }

    /// Measures the video's layers and puts them in order: by their pictures' height if all tell
    /// it, else by what they take once all have been coming for a while, else as the offer lists
    /// them. Of several tracks for one layer the one that came last counts.
    fn look_at_layers(&mut self, now: HostTime) {
        let simulcast = self.rids.len() > 1;
        self.review = if simulcast { now.plus_micros(REVIEW_EVERY) } else { super::core::NEVER };
        let mut newest: Vec<&mut Track> = Vec::with_capacity(4);
        for track in self.tracks.iter_mut().filter(|track| !track.codec.is_audio()) {
            let same = newest.iter().position(|other| other.rid == track.rid || !simulcast);
            match same.and_then(|at| newest.get_mut(at)) {
                Some(other) if other.heard <= track.heard => *other = track,
                Some(_) => {}
                None => newest.push(track),
            }
        }
        let last = newest.iter().map(|track| track.heard).max().unwrap_or(now);
        for track in &mut newest {
            track.meter.read(now);
        }
        if newest.iter().all(|track| track.height > 0) {
            newest.sort_by_key(|track| (track.height, track.layer));
        } else if newest.iter().all(|track| track.meter.rate > 0) {
            newest.sort_by_key(|track| (track.meter.rate, track.layer));
        } else {
            newest.sort_by_key(|track| track.layer);
        }
        self.layers.clear();
        for (at, track) in newest.into_iter().enumerate() {
            if simulcast && track.meter.rate > 0 {
                track.layer = u8::try_from(at).unwrap_or(0);
            }
            self.layers.push(Layer {
                track: track.id,
                height: track.height,
                bitrate: track.meter.rate,
                // A picture that stands still may be sent rarely; then all layers are.
                live: !simulcast || last.since(track.heard) < LAYER_LOST,
            });
        }
    }

    fn told(&self, track: TrackId, ntp: u64, rtp: u32, arrived: HostTime) -> Output {
        Output::Report { room: self.room, source: self.source, track, ntp, rtp, arrived }
    }

    fn report(&mut self, shared: &mut Shared, feedback: &SenderFeedback) {
        let info = &feedback.sender_info;
        let ntp = ntp_time(info.ntp_time);
        let rtp = info.rtp_time.numer() as u32; // a 32-bit clock, held in 64
        let arrived = shared.clock.host(feedback.received_at);
        match self.tracks.iter().find(|track| track.ssrc == info.ssrc) {
            Some(track) => shared.outputs.push_back(self.told(track.id, ntp, rtp, arrived)),
            None => {
                if self.early.len() >= MAX_EARLY_REPORTS {
                    self.early.remove(0);
                }
                self.early.push(EarlyReport { ssrc: info.ssrc, ntp, rtp, arrived });
            }
        }
    }

    fn stats(&mut self, shared: &mut Shared, stats: &MediaIngressStats) {
        let of_stats = (stats.mid, stats.rid);
        let told = match self.nacks_told.iter_mut().find(|(of, _)| *of == of_stats) {
            Some((_, told)) => told,
            None => {
                self.nacks_told.push((of_stats, 0));
                let Some((_, told)) = self.nacks_told.last_mut() else { return };
                told
            }
        };
        shared.counters.nacks += stats.nacks.saturating_sub(*told);
        *told = stats.nacks.max(*told);
        let theirs = |track: &&mut Track| track.mid == Some(stats.mid) && track.rid == stats.rid;
        for track in self.tracks.iter_mut().filter(theirs) {
            let expected = (track.last_seq + 1).saturating_sub(track.first_seq);
            let lost = expected.saturating_sub(track.received);
            // What RTX brings later takes nothing back: a counter only grows.
            shared.counters.lost += lost.saturating_sub(track.lost_told);
            track.lost_told = track.lost_told.max(lost);
        }
    }
}

fn codec_of(rtc: &Rtc, payload_type: Pt) -> Option<SourceCodec> {
    let params = rtc.codec_config().find(|p| p.pt() == payload_type)?;
    source_codec(params.spec().codec)
}

pub(super) fn source_codec(codec: Codec) -> Option<SourceCodec> {
    match codec {
        Codec::H264 => Some(SourceCodec::H264),
        Codec::Vp8 => Some(SourceCodec::Vp8),
        Codec::Vp9 => Some(SourceCodec::Vp9),
        Codec::Av1 => Some(SourceCodec::Av1),
        Codec::Opus => Some(SourceCodec::Opus),
        _ => None,
    }
}

/// Back to the 32.32 fixed point of RFC 3550 §4 that str0m made a system time of. str0m computed
/// in `f64`, which keeps half a microsecond.
fn ntp_time(at: std::time::SystemTime) -> u64 {
    /// Seconds from 1900 to 1970.
    const UNIX_IN_NTP: u64 = 2_208_988_800;
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().wrapping_add(UNIX_IN_NTP) & 0xffff_ffff;
    (seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ntp_times_are_exact_in_seconds_and_fraction() {
        let at = std::time::UNIX_EPOCH + Duration::new(1_800_000_000, 500_000_000);
        assert_eq!(ntp_time(at), ((1_800_000_000 + 2_208_988_800) << 32) | (1 << 31));
        assert_eq!(ntp_time(std::time::UNIX_EPOCH), 2_208_988_800 << 32);
    }
}
