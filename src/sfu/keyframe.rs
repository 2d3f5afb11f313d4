//! Which packet begins a key frame, told from its first bytes; and when to ask for one.
//!
//! Nothing is decoded here. A wrong guess costs little: the mark in the ring is where a new
//! transcoder starts to read, and it checks for itself.

use super::Config;
use crate::time::{HostTime, SourceCodec};

/// Whether this RTP payload holds the beginning of a key frame, or parameters that come right
/// before one. Several packets of one key frame may say yes; [`Marker`] takes the first.
pub fn begins_keyframe(codec: SourceCodec, payload: &[u8]) -> bool {
    match codec {
        SourceCodec::H264 => h264(payload).unwrap_or(false),
        SourceCodec::Vp8 => vp8(payload).unwrap_or(false),
        SourceCodec::Vp9 => vp9(payload).unwrap_or(false),
        SourceCodec::Av1 => av1(payload).unwrap_or(false),
        SourceCodec::Opus => false,
    }
}

/// RFC 6184: single NAL units, STAP-A (§5.7.1), FU-A (§5.8). IDR slices and sequence parameters.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let key = |header: u8| matches!(header & 0x1f, IDR | SPS);
    match payload.first()? & 0x1f {
        STAP_A => {
            let mut rest = payload.get(1..)?;
            while rest.len() > 2 {
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                if key(rest[2]) && length > 0 {
                    return Some(true);
                }
                rest = rest.get(2 + length..)?;
            }
            Some(false)
        }
        FU_A => {
            let fu = *payload.get(1)?;
            Some(fu & 0x80 != 0 && key(fu))
        }
        _ => Some(key(payload[0])),
    }
}

/// RFC 7741 §4.2, §4.3: start of partition 0, and the frame header's inverse key frame bit.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    if first & 0x17 != 0x10 {
        return Some(false); // S is not set, or the partition is not the first
    }
    let mut header = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        header = 2;
        if extension & 0x80 != 0 {
            header += if payload.get(2)? & 0x80 != 0 { 2 } else { 1 }; // picture id, 15 or 7 bits
        }
        header += usize::from(extension & 0x40 != 0); // TL0PICIDX
        header += usize::from(extension & 0x30 != 0); // TID, KEYIDX
    }
    Some(payload.get(header)? & 1 == 0)
}

/// RFC 9628 §4.2: start of a frame, not inter-picture predicted; and the frame's own header says
/// key frame, because some packetizers never set the P bit. Upper spatial layers of a key picture
/// are inter frames.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let bit = |mask: u8| first & mask != 0;
    let (id, predicted, layers, flexible, begins, structure) =
        (bit(0x80), bit(0x40), bit(0x20), bit(0x10), bit(0x08), bit(0x02));
    if predicted || !begins {
        return Some(false);
    }
    let mut at = 1;
    if id {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if layers {
        at += if flexible { 1 } else { 2 }; // TID, U, SID, D; TL0PICIDX
    }
    if structure {
        let head = *payload.get(at)?;
        at += 1;
        if head & 0x10 != 0 {
            at += 4 * (usize::from(head >> 5) + 1); // a width and height for each layer
        }
        if head & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(payload.get(at)? >> 2 & 3);
            }
        }
    }
    // VP9 bitstream §6.2: frame_marker, profile, (reserved), show_existing_frame, frame_type.
    let header = *payload.get(at)?;
    let rest = if header & 0x30 == 0x30 { header << 5 } else { header << 4 };
    Some(header >> 6 == 2 && rest & 0xc0 == 0)
}

/// AV1 RTP §4.4: the aggregation header's N bit, "first packet of a coded video sequence".
fn av1(payload: &[u8]) -> Option<bool> {
    Some(payload.first()? & 0x08 != 0 && payload.len() > 1)
}

/// Picks, of the packets of one key frame, the one that came first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marker {
    newest: Option<u32>,
}

impl Marker {
    /// Whether this packet is to be marked as a key frame's beginning.
    pub fn mark(&mut self, codec: SourceCodec, timestamp: u32, payload: &[u8]) -> bool {
        if self.newest == Some(timestamp) || !begins_keyframe(codec, payload) {
            return false;
        }
        // A packet of an older key frame that was late, repaired by RTX say, is no news.
        let late = |newest: u32| timestamp.wrapping_sub(newest) > u32::MAX / 2;
        if self.newest.is_some_and(late) {
            return false;
        }
        self.newest = Some(timestamp);
        true
    }
}

/// When to ask one video track for a key frame.
///
/// Browsers send key frames only when asked, so one is wanted when the newest is old
/// ([`Config::keyframe_age`]), and when a decoder says so. Requests are coalesced to one per
/// [`Config::keyframe_interval`]; while they go unanswered the pause doubles up to eight times
/// that, so that an encoder which cannot follow is not drowned. A track that sends nothing is not
/// asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    first_packet: HostTime,
    last_packet: HostTime,
    newest_key: Option<HostTime>,
    wanted_since: Option<HostTime>,
    asked: Option<HostTime>,
    unanswered: u32,
    idle: bool,
}

/// A track with no packet for so long is not asked, in microseconds.
const IDLE_AFTER: i64 = 2_000_000;

impl Patience {
    /// For a track whose first packet came at `now`.
    pub fn new(now: HostTime) -> Self {
        Self {
            first_packet: now,
            last_packet: now,
            newest_key: None,
            wanted_since: None,
            asked: None,
            unanswered: 0,
            idle: false,
        }
    }

    /// A packet came; `key` if it begins a key frame.
    pub fn on_packet(&mut self, now: HostTime, key: bool) {
        self.last_packet = now;
        self.idle = false;
        if key {
            self.newest_key = Some(now);
            self.wanted_since = None;
            self.unanswered = 0;
        }
    }

    /// A decoder needs a key frame.
    pub fn want(&mut self, now: HostTime) {
        self.wanted_since.get_or_insert(now);
    }

    /// When [`Patience::ask`] may next say yes.
    pub fn due(&self, config: &Config) -> Option<HostTime> {
        if self.idle {
            return None;
        }
        let interval = config.keyframe_interval.as_micros();
        let aged = match self.newest_key {
            Some(key) => key.plus_micros(config.keyframe_age.as_micros()),
            // A stream opens with a key frame; if that was lost, RTX gets this long to bring it.
            None => self.first_packet.plus_micros(interval),
        };
        let wanted = self.wanted_since.map_or(aged, |since| since.min(aged));
        let pause = interval << self.unanswered.saturating_sub(1).min(3);
        Some(self.asked.map_or(wanted, |asked| wanted.max(asked.plus_micros(pause))))
    }

    /// Whether to ask now; remembers that it was said.
    pub fn ask(&mut self, config: &Config, now: HostTime) -> bool {
        if self.due(config).is_none_or(|due| due > now) {
            return false;
        }
        if now.since(self.last_packet) > IDLE_AFTER {
            self.idle = true;
            return false;
        }
        self.asked = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests;
