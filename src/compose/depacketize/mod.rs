//! RTP payloads to access units a decoder takes.
//!
//! The payload formats themselves are read by the `rtc-rtp` crate. Around it stands what it leaves to
//! its user: access units are assembled by timestamp and marker, payloads whose lengths lie are turned
//! away before it indexes by them, a unit with a hole in it is dropped, and after a hole video waits
//! for a key frame (asking for one, not too often) because everything between refers to what is gone.
//!
//! What comes out: H.264 as Annex B with the parameter sets in front of every IDR picture, VP8 frames,
//! VP9 superframes, AV1 temporal units in the low-overhead format, Opus packets.

mod payload;
#[cfg(test)]
mod tests;

use crate::time::{HostTime, SourceCodec};
use bytes::Bytes;
use payload::{Parameters, Unpacker};

/// Largest access unit, bytes. A 4K key frame of a screen is about 1 MB.
pub const MAX_UNIT: usize = 4 << 20;
/// Least time between two requests for a key frame, microseconds: a round trip and the encoder's answer.
const ASK_EVERY_US: i64 = 500_000;
/// How long a stream whose beginning was not seen is given before it is asked for a key frame.
const PATIENCE_US: i64 = 150_000;

/// One packet, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// RTP timestamp, unwrapped.
    pub rtp: i64,
    /// RTP marker bit: the last packet of a video access unit.
    pub marker: bool,
    /// When it came.
    pub arrived: HostTime,
    /// RTP payload; empty for padding.
    pub payload: Bytes,
}

/// What a decoder takes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// RTP timestamp, unwrapped.
    pub rtp: i64,
    /// Whether decoding can start here.
    pub key: bool,
    /// When its last packet came.
    pub arrived: HostTime,
    /// In the format the module's description names.
    pub data: Vec<u8>,
}

/// Counters of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Access units handed on.
    pub units: u64,
    /// Access units dropped: with a hole, or waiting for a key frame.
    pub dropped: u64,
    /// Payloads that are none of the codec's.
    pub malformed: u64,
}

/// An access unit in the making.
#[derive(Debug, Default)]
struct Open {
    rtp: i64,
    arrived: HostTime,
    data: Vec<u8>,
    /// Ends of the layer frames within `data` (VP9).
    layers: Vec<usize>,
    key: bool,
    damaged: bool,
    /// Packets are missing before its first one, which may have been its own.
    after_gap: bool,
}

/// Makes access units of one stream's packets.
#[derive(Debug)]
pub struct Assembler {
    codec: SourceCodec,
    unpacker: Unpacker,
    parameters: Parameters,
    open: Option<Open>,
    /// Packets are missing before whatever comes next.
    gap: bool,
    needs_key: bool,
    asked: Option<HostTime>,
    wanted: bool,
    counts: Counts,
}

impl Assembler {
    /// For a stream of `codec` whose beginning was not seen.
    pub fn new(codec: SourceCodec) -> Self {
        Self {
            codec,
            unpacker: Unpacker::new(codec),
            parameters: Parameters::default(),
            open: None,
            gap: !codec.is_audio(),
            needs_key: !codec.is_audio(),
            asked: None,
            wanted: false,
            counts: Counts::default(),
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets were lost: what is open is damaged, and video needs a key frame.
    pub fn lost(&mut self, now: HostTime) {
        self.unpacker.reset();
        if self.codec.is_audio() {
            return;
        }
        self.gap = true;
        if let Some(open) = &mut self.open {
            open.damaged = true;
        }
        self.need_key(now);
    }

    /// The decoder refused what it was given: go on from a key frame.
    pub fn refused(&mut self, now: HostTime) {
        if !self.codec.is_audio() {
            self.need_key(now);
        }
    }

    /// Whether the publisher shall be asked for a key frame now; true at most every half second.
    pub fn keyframe_wanted(&mut self, now: HostTime) -> bool {
        let due = self.asked.is_none_or(|asked| now.since(asked) >= ASK_EVERY_US);
        if self.wanted && self.needs_key && due {
            self.asked = Some(now);
            return true;
        }
        false
    }

    /// Takes a packet in; what it completes is appended to `out`.
    pub fn push(&mut self, packet: &Packet, out: &mut Vec<AccessUnit>) {
        if packet.payload.is_empty() {
            return;
        }
        if self.codec.is_audio() {
            self.counts.units += 1;
            let (rtp, arrived) = (packet.rtp, packet.arrived);
            out.push(AccessUnit { rtp, key: true, arrived, data: packet.payload.to_vec() });
            return;
        }
        // A new timestamp ends the unit before it: its marker was lost, or never set.
        if self.open.as_ref().is_some_and(|open| open.rtp != packet.rtp) {
            self.close(out);
        }
        // A stream that is joined in its middle has asked for its first key frame elsewhere, or has one
        // on the way: no hurry.
        self.asked.get_or_insert(packet.arrived.plus_micros(PATIENCE_US - ASK_EVERY_US));
        let open = self.open.get_or_insert_with(|| {
            self.unpacker.reset();
            let after_gap = std::mem::take(&mut self.gap);
            let damaged = after_gap && !self.unpacker.begins_unit(&packet.payload);
            Open { rtp: packet.rtp, damaged, after_gap, ..Open::default() }
        });
        open.arrived = open.arrived.max(packet.arrived);
        match self.unpacker.unpack(&packet.payload) {
            Ok(piece) if open.data.len() + piece.data.len() <= MAX_UNIT => {
                open.key |= piece.key;
                open.data.extend_from_slice(&piece.data);
                if piece.ends_layer {
                    open.layers.push(open.data.len());
                }
            }
            Ok(_) => open.damaged = true,
            Err(_) => {
                self.counts.malformed += 1;
                open.damaged = true;
            }
        }
        if packet.marker {
            self.close(out);
        }
    }

    fn need_key(&mut self, now: HostTime) {
        if !self.needs_key {
            // The first request of a loss is never held back by one for the loss before it.
            self.asked = self.asked.filter(|asked| now.since(*asked) < ASK_EVERY_US / 2);
        }
        self.needs_key = true;
        self.wanted = true;
    }

    fn close(&mut self, out: &mut Vec<AccessUnit>) {
        let Some(open) = self.open.take() else { return };
        let Open { rtp, arrived, mut data, layers, key, damaged, after_gap } = open;
        if damaged {
            self.counts.dropped += 1;
            self.need_key(arrived);
            return;
        }
        let key = match self.codec {
            SourceCodec::H264 => {
                let seen = self.parameters.look(&data);
                let headless = after_gap && seen.picture && !seen.first_slice;
                if headless || (seen.idr && !self.parameters.complete(&mut data, &seen)) {
                    self.counts.dropped += 1;
                    self.need_key(arrived);
                    return;
                }
                if !seen.picture {
                    return; // parameter sets alone, remembered
                }
                seen.idr
            }
            SourceCodec::Vp9 => {
                payload::index_superframe(&mut data, &layers);
                key
            }
            SourceCodec::Av1 => {
                // A temporal unit begins with its delimiter (AV1 7.5), which RTP leaves out.
                data.splice(0..0, [0x12, 0x00]);
                key
            }
            SourceCodec::Vp8 | SourceCodec::Opus => key,
        };
        if data.is_empty() || (self.needs_key && !key) {
            self.counts.dropped += 1;
            self.wanted = true;
            return;
        }
        self.needs_key = false;
        self.wanted = false;
        self.counts.units += 1;
        out.push(AccessUnit { rtp, key, arrived, data });
    }
}
