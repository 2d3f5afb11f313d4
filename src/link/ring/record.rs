//! Records as bytes: a fixed header of 32 bytes, little-endian, and a packet's payload.
//!
//! | bytes | RTP packet | sender report | gone | stage |
//! |---|---|---|---|---|
//! | 0 | 1 | 2 | 3 | 4 |
//! | 1 | layout version | = | = | = |
//! | 2 | codec | 0 | 0 | 0 |
//! | 3 | bit 0 key frame, bit 1 marker, bits 2 and 3 layer | 0 | 0 | 0 |
//! | 4..8 | source | = | = | 0 |
//! | 8..12 | track | = | 0 | 0 |
//! | 12..16 | RTP timestamp | = | 0 | 0 |
//! | 16..24 | extended sequence number | NTP time | 0 | 0 |
//! | 24..32 | arrival, microseconds | = | = | = |
//! | 32.. | payload | | | a `link::wire::Stage`, encoded |

use crate::time::{HostTime, SourceCodec, SourceId, TrackId};

const VERSION: u8 = 2;

/// Bytes before the payload.
pub const HEADER: usize = 32;

const RTP: u8 = 1;
const SENDER_REPORT: u8 = 2;
const GONE: u8 = 3;
const STAGE: u8 = 4;

const KEYFRAME: u8 = 1;
const MARKER: u8 = 2;
const LAYER_SHIFT: u32 = 2;

/// Largest [`RtpRecord::layer`].
pub const MAX_LAYER: u8 = 3;

/// What the SFU tells the transcoder about what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A media packet, after decryption and after retransmission was undone.
    Rtp(RtpRecord<'a>),
    /// An RTCP sender report, RFC 3550 section 6.4.1: how the sender's RTP time maps to its wall clock.
    SenderReport {
        /// Who sent it.
        source: SourceId,
        /// Which stream it is about.
        track: TrackId,
        /// The sender's wall clock, NTP 32.32.
        ntp: u64,
        /// RTP time at that moment.
        rtp: u32,
        /// When it arrived.
        arrived: HostTime,
    },
    /// A source left; nothing more comes from it.
    Gone {
        /// Who.
        source: SourceId,
        /// When.
        arrived: HostTime,
    },
    /// Who is on stage and how they are shown has changed, or is told again for whoever begins to read here.
    Stage {
        /// Since when.
        arrived: HostTime,
        /// A [`Stage`](crate::link::wire::Stage), as [`encode`](crate::link::wire::encode) makes it.
        payload: &'a [u8],
    },
}

/// One RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpRecord<'a> {
    /// Who sent it.
    pub source: SourceId,
    /// Which of its streams.
    pub track: TrackId,
    /// What is in it.
    pub codec: SourceCodec,
    /// Whether a key frame begins in this packet.
    pub keyframe: bool,
    /// The RTP marker bit: for video, the last packet of a picture.
    pub marker: bool,
    /// Which simulcast layer, 0 the smallest; 0 where there is only one. At most [`MAX_LAYER`]. Each layer of a
    /// camera is a track of its own: it has its own numbers, times and sender reports, and is asked for a key frame
    /// by itself.
    pub layer: u8,
    /// Sequence number, extended to 64 bits so that it never wraps.
    pub seq: u64,
    /// RTP timestamp as sent.
    pub timestamp: u32,
    /// When it arrived.
    pub arrived: HostTime,
    /// The RTP payload: no header, no extensions, no padding.
    pub payload: &'a [u8],
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed ring record")]
pub struct BadRecord;

impl<'a> Record<'a> {
    /// When it arrived.
    pub fn arrived(&self) -> HostTime {
        match self {
            Self::Rtp(packet) => packet.arrived,
            Self::SenderReport { arrived, .. }
            | Self::Gone { arrived, .. }
            | Self::Stage { arrived, .. } => *arrived,
        }
    }

    /// Whether a key frame begins here.
    pub fn is_keyframe(&self) -> bool {
        matches!(self, Self::Rtp(packet) if packet.keyframe)
    }

    /// The header, and the payload that follows it.
    pub fn to_bytes(&self) -> ([u8; HEADER], &'a [u8]) {
        match *self {
            Self::Rtp(p) => {
                let flags = if p.keyframe { KEYFRAME } else { 0 }
                    | if p.marker { MARKER } else { 0 }
                    | (p.layer.min(MAX_LAYER) << LAYER_SHIFT);
                let head = header(
                    RTP,
                    codec_number(p.codec),
                    flags,
                    p.source,
                    p.track,
                    p.timestamp,
                    p.seq,
                    p.arrived,
                );
                (head, p.payload)
            }
            Self::SenderReport { source, track, ntp, rtp, arrived } => {
                (header(SENDER_REPORT, 0, 0, source, track, rtp, ntp, arrived), &[])
            }
            Self::Gone { source, arrived } => {
                (header(GONE, 0, 0, source, TrackId(0), 0, 0, arrived), &[])
            }
            Self::Stage { arrived, payload } => {
                (header(STAGE, 0, 0, SourceId(0), TrackId(0), 0, 0, arrived), payload)
            }
        }
    }

    /// The record in `bytes`.
    ///
    /// # Errors
    /// When they are none; every bit that has no meaning must be zero.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        let (head, payload) = bytes.split_first_chunk::<HEADER>().ok_or(BadRecord)?;
        let [kind, version, codec, flags, rest @ ..] = head;
        let (words, wide) = rest.split_at(12);
        let (words, _) = words.as_chunks::<4>();
        let (wide, _) = wide.as_chunks::<8>();
        let ([source, track, timestamp], [seq, arrived]) = (words, wide) else {
            return Err(BadRecord);
        };
        let source = SourceId(u32::from_le_bytes(*source));
        let track = TrackId(u32::from_le_bytes(*track));
        let timestamp = u32::from_le_bytes(*timestamp);
        let seq = u64::from_le_bytes(*seq);
        let arrived = HostTime(i64::from_le_bytes(*arrived));
        if *version != VERSION {
            return Err(BadRecord);
        }
        match (*kind, *codec, *flags, payload) {
            (RTP, codec, flags, payload) if flags >> LAYER_SHIFT <= MAX_LAYER => {
                Ok(Self::Rtp(RtpRecord {
                    source,
                    track,
                    codec: codec_from(codec)?,
                    keyframe: flags & KEYFRAME != 0,
                    marker: flags & MARKER != 0,
                    layer: flags >> LAYER_SHIFT,
                    seq,
                    timestamp,
                    arrived,
                    payload,
                }))
            }
            (SENDER_REPORT, 0, 0, []) => {
                Ok(Self::SenderReport { source, track, ntp: seq, rtp: timestamp, arrived })
            }
            (GONE, 0, 0, []) if track.0 == 0 && timestamp == 0 && seq == 0 => {
                Ok(Self::Gone { source, arrived })
            }
            (STAGE, 0, 0, payload)
                if source.0 == 0 && track.0 == 0 && timestamp == 0 && seq == 0 =>
            {
                Ok(Self::Stage { arrived, payload })
            }
            _ => Err(BadRecord),
        }
    }
}

#[allow(clippy::too_many_arguments)] // The fields of the table above, in its order.
fn header(
    kind: u8,
    codec: u8,
    flags: u8,
    source: SourceId,
    track: TrackId,
    timestamp: u32,
    seq: u64,
    arrived: HostTime,
) -> [u8; HEADER] {
    let mut head = [0; HEADER];
    head[..4].copy_from_slice(&[kind, VERSION, codec, flags]);
    head[4..8].copy_from_slice(&source.0.to_le_bytes());
    head[8..12].copy_from_slice(&track.0.to_le_bytes());
    head[12..16].copy_from_slice(&timestamp.to_le_bytes());
    head[16..24].copy_from_slice(&seq.to_le_bytes());
    head[24..].copy_from_slice(&arrived.0.to_le_bytes());
    head
}

fn codec_number(codec: SourceCodec) -> u8 {
    match codec {
        SourceCodec::H264 => 1,
        SourceCodec::Vp8 => 2,
        SourceCodec::Vp9 => 3,
        SourceCodec::Av1 => 4,
        SourceCodec::Opus => 5,
    }
}

fn codec_from(number: u8) -> Result<SourceCodec, BadRecord> {
    Ok(match number {
        1 => SourceCodec::H264,
        2 => SourceCodec::Vp8,
        3 => SourceCodec::Vp9,
        4 => SourceCodec::Av1,
        5 => SourceCodec::Opus,
        _ => return Err(BadRecord),
    })
}
