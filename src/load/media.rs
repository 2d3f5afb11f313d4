//! What a generated publisher sends: two seconds of the synthetic lecture, small and coded once,
//! sent round and round and filled up to the rate that was asked for.
//!
//! The pictures are real H.264, so a server that decodes, records or looks for key frames sees a
//! class; the filling is filler data (NAL unit type 12), which decoders skip, and carries the
//! stamps that the far end measures by. So a publisher costs next to nothing.

use std::sync::Arc;

use bytes::Bytes;
use hw::codec::CodecError;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp::{Header, Packet};

use super::stamp::{self, Stamp};
use crate::teacher::class::{Camera, Class, Microphone};
use crate::teacher::lecture::Look;
use crate::teacher::rtp::ntp;
use rtc::rtcp::sender_report::SenderReport;

/// Largest payload: with extensions and SRTP's tag a packet stays below 1,250 bytes.
const LARGEST_PAYLOAD: usize = 1180;
/// Frames a second.
const FPS: u32 = 30;
/// Frames until the loop begins again, with a key frame.
const FRAMES: usize = 60;
/// Sound packets of the same two seconds.
const SOUNDS: u64 = 100;
/// What the pictures themselves may take of the rate.
const PICTURES: u64 = 300_000;

/// The loop, shared by all publishers.
#[derive(Debug)]
pub(super) struct Media {
    frames: Vec<Vec<Bytes>>,
    sounds: Vec<Bytes>,
    frame_bytes: usize,
}

impl Media {
    /// Codes the loop for a video rate of `rate` bits a second. Takes about half a CPU-second.
    pub(super) fn make(rate: u64) -> Result<Arc<Self>, MediaError> {
        let class = Class {
            look: Look { width: 640, height: 360, fps: FPS, seed: 1 },
            video_bitrate: (rate / 2).min(PICTURES),
            ..Class::default()
        };
        let (mut camera, mut microphone) = (Camera::open(&class)?, Microphone::open(&class)?);
        let mut payloader = H264Payloader::default();
        let mut frames = Vec::with_capacity(FRAMES);
        let mut coded = Vec::new();
        for number in 0..FRAMES as u64 {
            camera.take(number, 0, number == 0, &mut coded)?;
            for frame in coded.drain(..) {
                frames.push(payloader.payload(LARGEST_PAYLOAD, &frame.data)?);
            }
        }
        let mut sounds = Vec::new();
        for number in 0..SOUNDS {
            sounds.extend(microphone.take(number)?.map(Bytes::from));
        }
        Ok(Arc::new(Self { frames, sounds, frame_bytes: (rate / 8 / u64::from(FPS)) as usize }))
    }
}

/// Why the loop could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The encoder would not.
    #[error("the class to send could not be coded: {0}")]
    Codec(#[from] CodecError),
    /// The packetizer would not.
    #[error("the class to send could not be packetized: {0}")]
    Packetize(#[from] rtc::shared::error::Error),
}

/// Two streams of one publisher: what is due when, and its packets.
#[derive(Debug)]
pub(super) struct Source {
    media: Arc<Media>,
    video: Track,
    audio: Track,
    /// Where the loop stands.
    position: usize,
    /// Bytes that may be sent beyond what was sent.
    credit: usize,
    /// Frames, and sound packets, since the beginning.
    pictures: u64,
    sounds: u64,
    reports: u64,
    stamped: u32,
}

#[derive(Debug)]
struct Track {
    ssrc: u32,
    payload_type: u8,
    clock_rate: u64,
    sequence: u16,
    base: u32,
    packets: u32,
    octets: u32,
}

/// What a source has to send.
pub(super) enum Due {
    Video(Packet),
    Audio(Packet),
    Report(SenderReport),
}

impl Source {
    /// `video` and `audio`: SSRC and payload type.
    pub(super) fn new(media: Arc<Media>, video: (u32, u8), audio: (u32, u8)) -> Self {
        let track = |(ssrc, payload_type), clock_rate| Track {
            ssrc,
            payload_type,
            clock_rate,
            sequence: rand::random(),
            base: rand::random(),
            packets: 0,
            octets: 0,
        };
        Self {
            media,
            video: track(video, 90_000),
            audio: track(audio, 48_000),
            position: 0,
            credit: 0,
            pictures: 0,
            sounds: 0,
            reports: 0,
            stamped: 0,
        }
    }

    /// The server wants a key frame: the loop begins anew with the next picture.
    pub(super) fn key_frame(&mut self) {
        self.position = 0;
    }

    /// Microseconds after the beginning at which something is due next.
    pub(super) fn next_us(&self) -> u64 {
        let picture = self.pictures * 1_000_000 / u64::from(FPS);
        let sound = (self.sounds + 1) * 20_000;
        picture.min(sound).min(self.report_us())
    }

    /// Reports go often at first, so that a receiver can place the first frames.
    fn report_us(&self) -> u64 {
        if self.reports < 10 { self.reports * 100_000 } else { (self.reports - 9) * 1_000_000 }
    }

    /// Everything that is due `since_us` microseconds after the beginning, when the wall clock reads
    /// `wall_us` and the monotonic one `now_us`. A source that comes more than half a second late
    /// goes on from now, as a camera does.
    pub(super) fn due(&mut self, since_us: u64, wall_us: i64, now_us: i64, out: &mut Vec<Due>) {
        let behind = since_us.saturating_sub(500_000);
        self.pictures = self.pictures.max(behind * u64::from(FPS) / 1_000_000);
        self.sounds = self.sounds.max(behind / 20_000);
        if self.report_us() <= since_us {
            self.reports += 1;
            out.push(Due::Report(self.video.report(since_us, wall_us)));
            out.push(Due::Report(self.audio.report(since_us, wall_us)));
        }
        while self.pictures * 1_000_000 / u64::from(FPS) <= since_us {
            self.picture(now_us, out);
        }
        while (self.sounds + 1) * 20_000 <= since_us {
            let sounds = &self.media.sounds;
            let sound = sounds.get((self.sounds % SOUNDS) as usize).cloned().unwrap_or_default();
            out.push(Due::Audio(self.audio.packet(self.sounds * 960, sound, false)));
            self.sounds += 1;
        }
    }

    fn picture(&mut self, now_us: i64, out: &mut Vec<Due>) {
        let ticks = self.pictures * 90_000 / u64::from(FPS);
        let payloads = self.media.frames.get(self.position).cloned().unwrap_or_default();
        self.position = (self.position + 1) % self.media.frames.len().max(1);
        self.pictures += 1;
        self.credit += self.media.frame_bytes;
        for payload in payloads {
            self.credit = self.credit.saturating_sub(payload.len());
            out.push(Due::Video(self.video.packet(ticks, payload, false)));
        }
        // At least one filler packet a picture, so that every picture is measured.
        let mut left = self.credit.max(stamp::LEAST);
        self.credit = self.credit.saturating_sub(left);
        while left > 0 {
            let length = left.clamp(stamp::LEAST, LARGEST_PAYLOAD);
            left = left.saturating_sub(length);
            self.stamped = self.stamped.wrapping_add(1);
            let filler = Stamp { number: self.stamped, sent_us: now_us }.filler(length);
            out.push(Due::Video(self.video.packet(ticks, filler.into(), left == 0)));
        }
    }
}

impl Track {
    fn packet(&mut self, ticks: u64, payload: Bytes, marker: bool) -> Packet {
        let header = Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp: self.base.wrapping_add(ticks as u32),
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        Packet { header, payload }
    }

    fn report(&self, since_us: u64, wall_us: i64) -> SenderReport {
        let ticks = u128::from(since_us) * u128::from(self.clock_rate) / 1_000_000;
        SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(wall_us),
            rtp_time: self.base.wrapping_add(ticks as u32),
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ten_seconds_have_the_rate_asked_for_and_every_picture_a_stamp() {
        let media = Media::make(1_000_000).unwrap();
        let mut source = Source::new(media, (1, 96), (2, 111));
        let mut due = Vec::new();
        while source.next_us() < 10_000_000 {
            let at = source.next_us();
            source.due(at, 0, at as i64, &mut due);
            assert!(source.next_us() > at, "time goes on");
        }
        let (mut bytes, mut marks, mut stamps, mut sounds, mut reports) = (0, 0, 0, 0, 0);
        let mut sequence = None;
        for due in &due {
            match due {
                Due::Video(packet) => {
                    bytes += packet.payload.len();
                    marks += usize::from(packet.header.marker);
                    stamps += usize::from(Stamp::read(&packet.payload).is_some());
                    assert!(packet.payload.len() <= LARGEST_PAYLOAD);
                    let number = packet.header.sequence_number;
                    assert!(sequence.is_none_or(|s: u16| s.wrapping_add(1) == number));
                    sequence = Some(number);
                }
                Due::Audio(_) => sounds += 1,
                Due::Report(_) => reports += 1,
            }
        }
        assert_eq!((marks, sounds, reports), (300, 499, 2 * 19));
        assert!(stamps >= 300 && stamps as u32 == source.stamped);
        let rate = bytes as f64 * 8.0 / 10.0;
        assert!((980_000.0..1_030_000.0).contains(&rate), "{rate} bits a second");
    }

    #[test]
    fn a_key_frame_begins_with_its_parameter_sets_and_late_is_skipped() {
        let mut source = Source::new(Media::make(500_000).unwrap(), (1, 96), (2, 111));
        let mut due = Vec::new();
        source.due(100_000, 0, 0, &mut due);
        due.clear();
        source.key_frame();
        source.due(133_334, 0, 0, &mut due);
        let first = due.iter().find_map(|due| match due {
            Due::Video(packet) => Some(packet.payload[0] & 31),
            _ => None,
        });
        // STAP-A or a parameter set by itself (RFC 6184, 5.2).
        assert!(matches!(first, Some(24 | 7)), "{first:?}");
        due.clear();
        source.due(60_000_000, 0, 0, &mut due);
        assert!(due.len() < 200, "{} packets after a minute's sleep", due.len());
    }
}
