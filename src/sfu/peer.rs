//! One publisher: a str0m connection, its tracks, its patience.

use super::keyframe::{Marker, Patience};
use super::sdp::Credentials;
use super::words::LeftWhy;
use super::{Config, ResourceId};
use crate::time::{HostTime, PersonId, SourceCodec, SourceId, TrackId};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt, SenderFeedback};
use str0m::net::{DatagramSend, Protocol, Receive};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::stats::MediaIngressStats;
use str0m::{Event, Input, Output, Rtc};

/// Most tracks a connection may have in its life. A browser makes a new one when a camera is
/// changed; more than this is no class but an attack on the transcoder's memory.
const MAX_TRACKS: usize = 64;

/// Addresses a connection is remembered under.
const MAX_REMOTES: usize = 16;

/// Sender reports kept for tracks whose first packet has not come.
const MAX_EARLY_REPORTS: usize = 4;

/// Relates the two faces of the monotonic clock: str0m speaks `Instant`, the ring microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    host: HostTime,
}

impl Clock {
    /// With one reading of each, taken together.
    pub const fn new(instant: Instant, host: HostTime) -> Self {
        Self { instant, host }
    }

    pub(super) fn instant(&self, at: HostTime) -> Instant {
        let us = u64::try_from(at.since(self.host)).unwrap_or(0);
        self.instant + Duration::from_micros(us)
    }

    /// Far instants ("never") become a time that is never reached.
    pub(super) fn host(&self, at: Instant) -> HostTime {
        let since = at.saturating_duration_since(self.instant);
        let us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX / 4);
        HostTime(self.host.0.saturating_add(us))
    }
}

/// What a connection produces.
pub(super) enum PeerOutput {
    Transmit { proto: Protocol, from: SocketAddr, to: SocketAddr, payload: DatagramSend },
    Packet(Packet),
    Report { track: TrackId, ntp: u64, rtp: u32, arrived: HostTime },
    Connected,
    FirstPacket { track: TrackId, codec: SourceCodec },
}

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
    /// Sequence number, extended over wraps.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// When it came.
    pub arrived: HostTime,
    /// Without RTP header.
    pub payload: Arc<[u8]>,
}

/// Totals since the start, over all publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that belong to nobody or are nothing.
    pub garbage: u64,
    /// Media packets that went to a ring.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that were missing when their stream was looked at, RTX and all.
    pub lost: u64,
    /// NACKs sent.
    pub nacks: u64,
    /// Key frames asked for.
    pub keyframe_requests: u64,
    /// Media packets that could not be placed: unknown payload type, too many tracks.
    pub unplaced: u64,
    /// Connections given up because the engine failed on what the peer sent.
    pub failures: u64,
}

/// What all connections share while one of them is driven.
pub(super) struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub counters: Counters,
    pub next_track: u32,
    pub produced: VecDeque<PeerOutput>,
}

struct Track {
    id: TrackId,
    ssrc: Ssrc,
    mid: Option<Mid>,
    payload_type: Pt,
    codec: SourceCodec,
    marker: Marker,
    patience: Patience,
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

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over(pub LeftWhy);

pub(super) struct Peer {
    pub id: SourceId,
    pub room: super::core::RoomKey,
    pub person: PersonId,
    pub kind: crate::time::MediaKind,
    pub muted: bool,
    pub resource: ResourceId,
    pub etag: String,
    pub rtc: Rtc,
    pub offer: String,
    pub remote: Credentials,
    pub local_ufrag: String,
    pub candidates: Vec<IpAddr>,
    pub remotes: Vec<(Protocol, SocketAddr)>,
    pub created: HostTime,
    pub connected: bool,
    pub last_heard: HostTime,
    pub deadline: HostTime,
    tracks: Vec<Track>,
    early: Vec<EarlyReport>,
    nacks_told: Vec<(Mid, u64)>,
}

/// What makes a connection one.
pub(super) struct NewPeer {
    pub id: SourceId,
    pub room: super::core::RoomKey,
    pub person: PersonId,
    pub kind: crate::time::MediaKind,
    pub muted: bool,
    pub resource: ResourceId,
    pub etag: String,
    pub rtc: Rtc,
    pub offer: String,
    pub remote: Credentials,
    pub local_ufrag: String,
    pub candidates: Vec<IpAddr>,
}

impl Peer {
    pub fn new(new: NewPeer, now: HostTime) -> Self {
        let NewPeer {
            id,
            room,
            person,
            kind,
            muted,
            resource,
            etag,
            rtc,
            offer,
            remote,
            local_ufrag,
            candidates,
        } = new;
        Self {
            id,
            room,
            person,
            kind,
            muted,
            resource,
            etag,
            rtc,
            offer,
            remote,
            local_ufrag,
            candidates,
            remotes: Vec::new(),
            created: now,
            connected: false,
            last_heard: now,
            deadline: now,
            tracks: Vec::new(),
            early: Vec::new(),
            nacks_told: Vec::new(),
        }
    }

    pub fn tracks(&self) -> impl Iterator<Item = TrackId> {
        self.tracks.iter().map(|track| track.id)
    }

    /// The candidate that a datagram to `to` stands for. Behind a NAT the box is asked under its
    /// inner address, which may not be a candidate: ICE then sees the announced one.
    pub fn candidate_for(&self, to: SocketAddr) -> SocketAddr {
        let ip = to.ip();
        if self.candidates.contains(&ip) {
            return to;
        }
        let same_family = |other: &&IpAddr| other.is_ipv4() == ip.is_ipv4() && !other.is_loopback();
        self.candidates.iter().find(same_family).map_or(to, |ip| SocketAddr::new(*ip, to.port()))
    }

    /// Takes a datagram if it is this connection's; says whether.
    pub fn receive(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        proto: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<bool, Over> {
        let destination = self.candidate_for(to);
        let Ok(receive) = Receive::new(proto, from, destination, payload) else { return Ok(false) };
        let input = Input::Receive(shared.clock.instant(now), receive);
        let rtc = &mut self.rtc;
        let taken = guarded(|| {
            if !rtc.accepts(&input) {
                return Ok(false);
            }
            rtc.handle_input(input).map(|()| true)
        });
        let taken = self.outcome(shared, taken)?;
        if taken {
            self.last_heard = now;
            if !self.remotes.contains(&(proto, from)) {
                self.remotes.push((proto, from));
            }
            self.drain(shared, now)?;
        }
        Ok(taken)
    }

    /// The oldest remembered address, when there are too many.
    pub fn surplus_remote(&mut self) -> Option<(Protocol, SocketAddr)> {
        (self.remotes.len() > MAX_REMOTES).then(|| self.remotes.remove(0))
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        if !self.connected && now.since(self.created) >= shared.config.connect_timeout.as_micros() {
            return Err(Over(LeftWhy::NeverConnected));
        }
        if now.since(self.last_heard) >= shared.config.silence_timeout.as_micros() && self.connected
        {
            return Err(Over(LeftWhy::Silent));
        }
        let mut moved = self.ask_for_keyframes(shared, now);
        if self.deadline <= now {
            let at = shared.clock.instant(now);
            let rtc = &mut self.rtc;
            let outcome = guarded(|| rtc.handle_input(Input::Timeout(at)));
            self.outcome(shared, outcome)?;
            moved = true;
        }
        if moved { self.drain(shared, now) } else { Ok(()) }
    }

    /// When [`Peer::tick`] has something to do.
    pub fn due(&self, config: &Config) -> HostTime {
        let patience = if self.connected {
            self.last_heard.plus_micros(config.silence_timeout.as_micros())
        } else {
            self.created.plus_micros(config.connect_timeout.as_micros())
        };
        let video = self.tracks.iter().filter(|track| !track.codec.is_audio());
        let keyframe = video.filter_map(|track| track.patience.due(config)).min();
        keyframe.unwrap_or(patience).min(patience).min(self.deadline)
    }

    /// A decoder needs a key frame of `track`; says whether it is this connection's.
    pub fn want_keyframe(&mut self, track: TrackId, now: HostTime) -> bool {
        let found = self.tracks.iter_mut().find(|t| t.id == track);
        found.map(|track| track.patience.want(now)).is_some()
    }

    fn ask_for_keyframes(&mut self, shared: &mut Shared, now: HostTime) -> bool {
        let mut asked = false;
        for track in self.tracks.iter_mut().filter(|track| !track.codec.is_audio()) {
            if !track.patience.ask(&shared.config, now) {
                continue;
            }
            let params = self.rtc.codec_config().find(|p| p.pt() == track.payload_type);
            let kind = match params {
                Some(p) if !p.fb_pli() && p.fb_fir() => KeyframeRequestKind::Fir,
                _ => KeyframeRequestKind::Pli,
            };
            let mut api = self.rtc.direct_api();
            if let Some(stream) = api.stream_rx(&track.ssrc) {
                stream.request_keyframe(kind);
                shared.counters.keyframe_requests += 1;
                asked = true;
            }
        }
        asked
    }

    /// Says goodbye: what is to be sent goes out as far as a connection exists.
    pub fn close(&mut self, shared: &mut Shared, now: HostTime) {
        let rtc = &mut self.rtc;
        if guarded(|| rtc.close()).is_ok() {
            // Nothing is left to be done about a goodbye that fails.
            let _ = self.drain(shared, now);
        }
    }

    /// Polls until str0m waits for time or input.
    pub fn drain(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        loop {
            let rtc = &mut self.rtc;
            let polled = guarded(|| rtc.poll_output());
            match self.outcome(shared, polled)? {
                Output::Timeout(at) => {
                    self.deadline = shared.clock.host(at);
                    if !self.rtc.is_alive() {
                        return Err(Over(LeftWhy::Ended));
                    }
                    return Ok(());
                }
                Output::Transmit(t) => shared.produced.push_back(PeerOutput::Transmit {
                    proto: t.proto,
                    from: t.source,
                    to: t.destination,
                    payload: t.contents,
                }),
                Output::Event(event) => self.event(shared, now, event),
            }
        }
    }

    fn event(&mut self, shared: &mut Shared, now: HostTime, event: Event) {
        match event {
            Event::RtpPacket(packet) => self.packet(shared, packet),
            Event::SenderFeedback(feedback) => self.report(shared, &feedback),
            Event::Connected => {
                self.connected = true;
                self.last_heard = now;
                shared.produced.push_back(PeerOutput::Connected);
            }
            Event::MediaIngressStats(stats) => self.stats(shared, &stats),
            // The connection closes from the other end: the drain goes on until it is not alive.
            // ICE's own opinion is not asked: it counts binding requests only, and a publisher
            // whose media comes in is there. Silence is measured on everything that comes.
            _ => {}
        }
    }

    fn packet(&mut self, shared: &mut Shared, packet: RtpPacket) {
        let payload_type = packet.header.payload_type;
        let arrived = shared.clock.host(packet.timestamp);
        let at = match self.tracks.iter().position(|t| t.ssrc == packet.header.ssrc) {
            Some(at) => at,
            None => match self.new_track(shared, &packet, arrived) {
                Some(at) => at,
                None => {
                    shared.counters.unplaced += 1;
                    return;
                }
            },
        };
        let codec = match self.tracks.get(at) {
            Some(track) if track.payload_type == payload_type => track.codec,
            _ => match self.codec_of(payload_type) {
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
        track.patience.on_packet(arrived, keyframe);
        track.received += 1;
        track.first_seq = track.first_seq.min(seq);
        track.last_seq = track.last_seq.max(seq);
        if packet.payload.is_empty() {
            return; // padding, which keeps the path warm and carries nothing
        }
        if self.muted && codec.is_audio() {
            return;
        }
        shared.counters.packets += 1;
        shared.counters.bytes += packet.payload.len() as u64;
        shared.produced.push_back(PeerOutput::Packet(Packet {
            track: track.id,
            codec,
            keyframe,
            marker: packet.header.marker,
            seq,
            timestamp: packet.header.timestamp,
            arrived,
            payload: packet.payload,
        }));
    }

    fn new_track(
        &mut self,
        shared: &mut Shared,
        packet: &RtpPacket,
        arrived: HostTime,
    ) -> Option<usize> {
        let codec = self.codec_of(packet.header.payload_type)?;
        if self.tracks.len() >= MAX_TRACKS {
            return None;
        }
        let ssrc = packet.header.ssrc;
        let mid = self.rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
        let media = mid.and_then(|mid| self.rtc.media(mid));
        if media.is_some_and(|m| codec.is_audio() != (m.kind() == MediaKind::Audio)) {
            return None;
        }
        let id = TrackId(shared.next_track);
        shared.next_track = shared.next_track.checked_add(1)?;
        let seq = *packet.seq_no;
        self.tracks.push(Track {
            id,
            ssrc,
            mid,
            payload_type: packet.header.payload_type,
            codec,
            marker: Marker::default(),
            patience: Patience::new(arrived),
            received: 0,
            first_seq: seq,
            last_seq: seq,
            lost_told: 0,
        });
        shared.produced.push_back(PeerOutput::FirstPacket { track: id, codec });
        while let Some(at) = self.early.iter().position(|report| report.ssrc == ssrc) {
            let EarlyReport { ntp, rtp, arrived, .. } = self.early.remove(at);
            shared.produced.push_back(PeerOutput::Report { track: id, ntp, rtp, arrived });
        }
        Some(self.tracks.len() - 1)
    }

    fn codec_of(&self, payload_type: Pt) -> Option<SourceCodec> {
        let params = self.rtc.codec_config().find(|p| p.pt() == payload_type)?;
        match params.spec().codec {
            Codec::H264 => Some(SourceCodec::H264),
            Codec::Vp8 => Some(SourceCodec::Vp8),
            Codec::Vp9 => Some(SourceCodec::Vp9),
            Codec::Av1 => Some(SourceCodec::Av1),
            Codec::Opus => Some(SourceCodec::Opus),
            _ => None,
        }
    }

    fn report(&mut self, shared: &mut Shared, feedback: &SenderFeedback) {
        let info = &feedback.sender_info;
        let ntp = ntp_time(info.ntp_time);
        let rtp = info.rtp_time.numer() as u32; // a 32-bit clock, held in 64
        let arrived = shared.clock.host(feedback.received_at);
        match self.tracks.iter().find(|track| track.ssrc == info.ssrc) {
            Some(track) => {
                shared.produced.push_back(PeerOutput::Report { track: track.id, ntp, rtp, arrived })
            }
            None => {
                if self.early.len() >= MAX_EARLY_REPORTS {
                    self.early.remove(0);
                }
                self.early.push(EarlyReport { ssrc: info.ssrc, ntp, rtp, arrived });
            }
        }
    }

    fn stats(&mut self, shared: &mut Shared, stats: &MediaIngressStats) {
        let told = match self.nacks_told.iter_mut().find(|(mid, _)| *mid == stats.mid) {
            Some((_, told)) => told,
            None => {
                self.nacks_told.push((stats.mid, 0));
                let Some((_, told)) = self.nacks_told.last_mut() else { return };
                told
            }
        };
        shared.counters.nacks += stats.nacks.saturating_sub(*told);
        *told = stats.nacks.max(*told);
        for track in self.tracks.iter_mut().filter(|track| track.mid == Some(stats.mid)) {
            let expected = track.last_seq - track.first_seq + 1;
            let lost = expected.saturating_sub(track.received);
            // What RTX brings later takes nothing back: a counter only grows.
            shared.counters.lost += lost.saturating_sub(track.lost_told);
            track.lost_told = track.lost_told.max(lost);
        }
    }

    fn outcome<T>(&self, shared: &mut Shared, outcome: Result<T, String>) -> Result<T, Over> {
        outcome.map_err(|error| {
            shared.counters.failures += 1;
            tracing::warn!(source = self.id.0, error, "publisher's connection failed");
            Over(LeftWhy::Failed)
        })
    }
}

/// Runs str0m. It is written not to panic on what peers send, and fuzzed for it; but this thread
/// carries every class of the school, so if it does, only the connection that did it ends.
pub(super) fn guarded<T, E: std::fmt::Display>(
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the WebRTC engine panicked".to_owned()),
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ntp_times_are_exact_in_seconds_and_fraction() {
        let at = std::time::UNIX_EPOCH + Duration::new(1_800_000_000, 500_000_000);
        assert_eq!(ntp_time(at), ((1_800_000_000 + 2_208_988_800) << 32) | (1 << 31));
        assert_eq!(ntp_time(std::time::UNIX_EPOCH), 2_208_988_800 << 32);
    }

    #[test]
    fn the_clock_goes_both_ways_and_never_overflows() {
        let clock = Clock::new(Instant::now(), HostTime(5_000));
        assert_eq!(clock.host(clock.instant(HostTime(9_000))), HostTime(9_000));
        assert_eq!(clock.instant(HostTime(0)), clock.instant(HostTime(5_000)));
        let never = Instant::now() + Duration::from_secs(3600 * 24 * 365 * 100);
        assert!(clock.host(never).0 > i64::from(u32::MAX) * 1000);
    }
}
