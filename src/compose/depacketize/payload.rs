//! One payload at a time: `rtc-rtp`'s depacketizers, and the checks in front of them.

use crate::time::SourceCodec;
use bytes::Bytes;
use rtc_rtp::codec::av1::Av1Depacketizer;
use rtc_rtp::codec::h264::H264Packet;
use rtc_rtp::codec::vp8::Vp8Packet;
use rtc_rtp::codec::vp9::Vp9Packet;
use rtc_rtp::packetizer::Depacketizer;

/// A payload that is none of its codec's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What one payload adds to its access unit.
#[derive(Debug)]
pub(super) struct Piece {
    pub data: Bytes,
    /// It begins a key frame. (H.264 is judged by the whole unit.)
    pub key: bool,
    /// It ends one spatial layer's frame (VP9).
    pub ends_layer: bool,
}

/// The codec's depacketizer with what it carries from packet to packet.
#[derive(Debug)]
pub(super) enum Unpacker {
    H264 { packet: H264Packet, held: usize, fragment: bool },
    Vp8,
    Vp9,
    Av1 { packet: Av1Depacketizer, held: usize },
    Opus,
}

impl Unpacker {
    pub fn new(codec: SourceCodec) -> Self {
        match codec {
            SourceCodec::H264 => {
                Self::H264 { packet: H264Packet::default(), held: 0, fragment: false }
            }
            SourceCodec::Vp8 => Self::Vp8,
            SourceCodec::Vp9 => Self::Vp9,
            SourceCodec::Av1 => Self::Av1 { packet: Av1Depacketizer::new(), held: 0 },
            SourceCodec::Opus => Self::Opus,
        }
    }

    /// Forgets the fragments of a unit that will not be completed.
    pub fn reset(&mut self) {
        *self = match self {
            Self::H264 { .. } => Self::new(SourceCodec::H264),
            Self::Av1 { .. } => Self::new(SourceCodec::Av1),
            Self::Vp8 => Self::Vp8,
            Self::Vp9 => Self::Vp9,
            Self::Opus => Self::Opus,
        }
    }

    /// Whether a unit may begin with this payload: it is not the middle of something fragmented.
    pub fn begins_unit(&self, payload: &Bytes) -> bool {
        let first = payload.first().copied().unwrap_or(0);
        match self {
            Self::H264 { packet, .. } => packet.is_partition_head(payload),
            // RFC 7741, 4.2: S set, partition 0.
            Self::Vp8 => first & 0x17 == 0x10,
            Self::Vp9 => Vp9Packet::default().is_partition_head(payload),
            Self::Av1 { packet, .. } => packet.is_partition_head(payload),
            Self::Opus => true,
        }
    }

    pub fn unpack(&mut self, payload: &Bytes) -> Result<Piece, Malformed> {
        match self {
            Self::H264 { packet, held, fragment } => h264(packet, held, fragment, payload),
            Self::Vp8 => vp8(payload),
            Self::Vp9 => vp9(payload),
            Self::Av1 { packet, held } => av1(packet, held, payload),
            Self::Opus => Ok(Piece { data: payload.clone(), key: true, ends_layer: false }),
        }
    }
}

fn h264(
    packet: &mut H264Packet,
    held: &mut usize,
    fragment: &mut bool,
    payload: &Bytes,
) -> Result<Piece, Malformed> {
    let piece = |data| Ok(Piece { data, key: false, ends_layer: false });
    let first = *payload.first().ok_or(Malformed)?;
    match first & 0x1f {
        // A NAL unit of a byte or two (end of sequence, end of stream): of no use to a decoder.
        1..=23 if payload.len() < 3 => return piece(Bytes::new()),
        24 => {
            // RFC 6184, 5.7.1: each NAL unit behind its 16-bit size; a lone last byte is none.
            let mut rest = payload.get(1..).ok_or(Malformed)?;
            while !rest.is_empty() {
                let (size, tail) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
                rest = tail.get(usize::from(u16::from_be_bytes(*size))..).ok_or(Malformed)?;
            }
        }
        28 => {
            // RFC 6184, 5.8. The library gathers until the end bit; a start in the middle starts anew.
            let header = *payload.get(1).ok_or(Malformed)?;
            if header & 0x80 != 0 {
                *packet = H264Packet::default();
                *held = 0;
            } else if !*fragment {
                return Err(Malformed);
            }
            *fragment = header & 0x40 == 0;
            *held += payload.len();
            if *held > super::MAX_UNIT {
                return Err(Malformed);
            }
        }
        _ => {}
    }
    piece(packet.depacketize(payload).map_err(|_| Malformed)?)
}

fn vp8(payload: &Bytes) -> Result<Piece, Malformed> {
    let first = *payload.first().ok_or(Malformed)?;
    let data = if first & 0x80 == 0 {
        // The one-byte descriptor may stand before a single byte of the frame; the library wants four.
        payload.slice(1..)
    } else {
        Vp8Packet::default().depacketize(payload).map_err(|_| Malformed)?
    };
    // RFC 7741, 4.3: the first bit of a frame is 0 for a key frame.
    let key = first & 0x17 == 0x10 && data.first().is_some_and(|byte| byte & 1 == 0);
    Ok(Piece { data, key, ends_layer: false })
}

fn vp9(payload: &Bytes) -> Result<Piece, Malformed> {
    let mut packet = Vp9Packet::default();
    let data = packet.depacketize(payload).map_err(|_| Malformed)?;
    // Some senders never say that a frame is predicted, so its own header has to agree (VP9, 6.2:
    // frame_marker, profile, show_existing_frame, frame_type; a reserved bit comes first in profile 3).
    let header =
        u16::from_be_bytes([data.first().copied().unwrap_or(0), data.get(1).copied().unwrap_or(0)]);
    let shift = if header & 0x3000 == 0x3000 { 1 } else { 0 };
    let intra = header & 0xc000 == 0x8000 && (header << shift) & 0x0c00 == 0;
    let key = intra && !packet.p && packet.b && packet.sid == 0;
    Ok(Piece { data, key, ends_layer: packet.e })
}

fn av1(
    packet: &mut Av1Depacketizer,
    held: &mut usize,
    payload: &Bytes,
) -> Result<Piece, Malformed> {
    check_av1(payload)?;
    *held += payload.len();
    if *held > super::MAX_UNIT {
        return Err(Malformed);
    }
    let data = packet.depacketize(payload).map_err(|_| Malformed)?;
    // A sequence header stands in front of every key frame (AV1 RTP specification, 4.4).
    let key = obu_types(&data).any(|kind| kind == 1);
    Ok(Piece { data, key, ends_layer: false })
}

/// Whether an AV1 payload's elements have the lengths they claim and room for their headers.
fn check_av1(payload: &[u8]) -> Result<(), Malformed> {
    let (&aggregation, mut rest) = payload.split_first().ok_or(Malformed)?;
    let (continues, goes_on) = (aggregation & 0x80 != 0, aggregation & 0x40 != 0);
    let count = usize::from((aggregation >> 4) & 3);
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        let sized = count == 0 || index < count;
        let length = if sized { take_leb128(&mut rest).ok_or(Malformed)? } else { rest.len() };
        let (element, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
        rest = tail;
        let &header = element.first().ok_or(Malformed)?;
        let fragment = (index == 1 && continues) || (rest.is_empty() && goes_on);
        if !fragment && header & 0x04 != 0 && element.len() < 2 {
            return Err(Malformed);
        }
        if !sized {
            break;
        }
    }
    // The library takes elements for whole that stand before the announced last one: with some
    // missing, the fragment at the end would be read as an OBU, and its header beyond its end.
    if count != 0 && index != count { Err(Malformed) } else { Ok(()) }
}

/// Takes a LEB128 number of at most four bytes, which is more than a packet can hold.
fn take_leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The types of the OBUs in a low-overhead stream, as far as it can be followed.
fn obu_types(mut data: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (&header, mut rest) = data.split_first()?;
        if header & 0x04 != 0 {
            rest = rest.get(1..)?;
        }
        if header & 0x02 != 0 {
            let length = take_leb128(&mut rest)?;
            data = rest.get(length..)?;
        } else {
            data = &[];
        }
        Some((header >> 3) & 0xf)
    })
}

/// Appends the index that lets a decoder find the layers of a VP9 superframe (VP9, Annex B).
pub(super) fn index_superframe(data: &mut Vec<u8>, ends: &[usize]) {
    if !(2..=8).contains(&ends.len()) || ends.last() != Some(&data.len()) {
        return;
    }
    let marker = 0b1100_0000 | (3 << 3) | (ends.len() as u8 - 1);
    let mut start = 0;
    let mut index = vec![marker];
    for &end in ends {
        index.extend_from_slice(&((end - start) as u32).to_le_bytes());
        start = end;
    }
    index.push(marker);
    data.extend_from_slice(&index);
}

/// What an H.264 access unit consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub idr: bool,
    pub picture: bool,
    /// The slice that begins the picture is there.
    pub first_slice: bool,
    pub sps: bool,
    pub pps: bool,
}

/// H.264 parameter sets, remembered for pictures that come without.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    sps: Vec<u8>,
    pps: Vec<u8>,
}

/// Larger parameter sets are not remembered, bytes.
const MAX_PARAMETERS: usize = 4096;

impl Parameters {
    /// Sees what is in an Annex B unit, and remembers its parameter sets.
    pub fn look(&mut self, unit: &[u8]) -> Seen {
        let mut seen = Seen::default();
        for nal in nals(unit) {
            // H.264, 7.3.3: a slice header begins with first_mb_in_slice in ue(v); zero is a one bit.
            if matches!(nal, [kind, slice, ..] if (1..=5).contains(&(kind & 0x1f)) && slice & 0x80 != 0)
            {
                seen.first_slice = true;
            }
            match nal.first().map(|byte| byte & 0x1f) {
                Some(1..=4) => seen.picture = true,
                Some(5) => (seen.picture, seen.idr) = (true, true),
                Some(7) if nal.len() <= MAX_PARAMETERS => {
                    // A new sequence's sets replace all of the old one's; further ones of a unit add to it.
                    if !seen.sps {
                        self.sps.clear();
                    }
                    append(&mut self.sps, nal);
                    seen.sps = true;
                }
                Some(8) if nal.len() <= MAX_PARAMETERS => {
                    if !seen.pps {
                        self.pps.clear();
                    }
                    append(&mut self.pps, nal);
                    seen.pps = true;
                }
                _ => {}
            }
        }
        seen
    }

    /// Puts the parameter sets an IDR unit lacks in front of it; false if none are known.
    pub fn complete(&self, unit: &mut Vec<u8>, seen: &Seen) -> bool {
        if self.sps.is_empty() || self.pps.is_empty() {
            return false;
        }
        match (seen.sps, seen.pps) {
            (true, true) => {}
            (true, false) => {
                // After its own SPS, which the PPS refers to: again the whole set, then the unit.
                let sets = [self.sps.as_slice(), self.pps.as_slice()].concat();
                unit.splice(0..0, sets);
            }
            (false, true) => drop(unit.splice(0..0, self.sps.iter().copied())),
            (false, false) => {
                drop(unit.splice(0..0, [self.sps.as_slice(), self.pps.as_slice()].concat()))
            }
        }
        true
    }
}

fn append(set: &mut Vec<u8>, nal: &[u8]) {
    if set.len() + nal.len() <= 4 * MAX_PARAMETERS {
        set.extend_from_slice(&[0, 0, 0, 1]);
        set.extend_from_slice(nal);
    }
}

/// The NAL units between the start codes of an Annex B unit.
fn nals(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    // The library writes four-byte start codes, and emulation prevention keeps them out of the units;
    // three-byte codes inside a payload would be a sender that aggregates by hand: found all the same.
    let mut rest = unit;
    std::iter::from_fn(move || {
        let begin = rest.windows(3).position(|w| w == [0, 0, 1])? + 3;
        let body = rest.get(begin..)?;
        let length = body.windows(3).position(|w| w == [0, 0, 1]).unwrap_or(body.len());
        let (nal, tail) = body.split_at(length);
        rest = tail;
        // The zero that belongs to a four-byte start code behind it.
        Some(nal.strip_suffix(&[0]).filter(|_| !tail.is_empty()).unwrap_or(nal))
    })
}
