//! How large the pictures of a layer are, told from the first packet of a key frame.
//!
//! Only to put simulcast layers in order and to choose one by the height shown, so a codec whose
//! header says it late (AV1) or a packet that does not hold it gives nothing, and the layers' bit
//! rates decide.

use crate::time::SourceCodec;

/// Width and height in pixels, if this payload, the first of a key frame, tells them.
pub fn of_keyframe(codec: SourceCodec, payload: &[u8]) -> Option<(u32, u32)> {
    let size = match codec {
        SourceCodec::H264 => h264(payload),
        SourceCodec::Vp8 => vp8(payload),
        SourceCodec::Vp9 => vp9(payload),
        SourceCodec::Av1 | SourceCodec::Opus => None,
    };
    size.filter(|(width, height)| (16..=16_384).contains(width) && (16..=16_384).contains(height))
}

/// RFC 7741 §4.2 for the way there, RFC 6386 §9.1 for the size.
fn vp8(payload: &[u8]) -> Option<(u32, u32)> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        at = 2;
        if extension & 0x80 != 0 {
            at += if payload.get(2)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    let header = payload.get(at..at + 10)?;
    if header.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |at: usize| {
        Some(u32::from(u16::from_le_bytes([*header.get(at)?, *header.get(at + 1)?]) & 0x3fff))
    };
    Some((side(6)?, side(8)?))
}

/// RFC 9628 §4.2.1: the scalability structure, where it tells sizes; the largest, which is last.
fn vp9(payload: &[u8]) -> Option<(u32, u32)> {
    let first = *payload.first()?;
    let bit = |mask: u8| first & mask != 0;
    let mut at = 1;
    if bit(0x80) {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if bit(0x20) {
        at += if bit(0x10) { 1 } else { 2 };
    }
    if !bit(0x02) {
        return vp9_frame(payload.get(at..)?);
    }
    let head = *payload.get(at)?;
    if head & 0x10 == 0 {
        return None;
    }
    at += 1 + 4 * usize::from(head >> 5);
    let side =
        |at: usize| Some(u32::from(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?])));
    Some((side(at)?, side(at + 2)?))
}

/// VP9 bitstream §6.2, profile 0: frame marker, profile, show_existing_frame, frame_type,
/// show_frame, error_resilient, sync code, color space and range, size.
fn vp9_frame(frame: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(frame);
    let head = bits.take(8)?;
    if head >> 2 != 0b10_0000 || bits.take(24)? != 0x49_8342 {
        return None;
    }
    if bits.take(3)? == 7 {
        return None; // sRGB, which profile 0 has not
    }
    bits.take(1)?;
    Some((bits.take(16)? + 1, bits.take(16)? + 1))
}

/// RFC 6184: the sequence parameter set, alone or in a STAP-A.
fn h264(payload: &[u8]) -> Option<(u32, u32)> {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    match payload.first()? & 0x1f {
        SPS => sps(payload.get(1..)?),
        STAP_A => {
            let mut rest = payload.get(1..)?;
            loop {
                let (length, unit) = rest.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*length));
                let unit_bytes = unit.get(..length)?;
                if unit_bytes.first()? & 0x1f == SPS {
                    return sps(unit_bytes.get(1..)?);
                }
                rest = unit.get(length..)?;
            }
        }
        _ => None,
    }
}

/// H.264 §7.3.2.1.1, as far as the cropping.
fn sps(escaped: &[u8]) -> Option<(u32, u32)> {
    let mut bytes = Vec::with_capacity(64);
    // Sizes come early; what comes after the first bytes is never looked at.
    for byte in escaped.iter().take(64) {
        // Emulation prevention (§7.4.1).
        if !(*byte == 3 && bytes.ends_with(&[0, 0])) {
            bytes.push(*byte);
        }
    }
    let mut bits = Bits::new(&bytes);
    let profile = bits.take(8)?;
    bits.take(16)?; // constraints, level
    bits.golomb()?; // id
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.golomb()?;
        bits.golomb()?; // bit depths
        bits.take(1)?;
        if bits.take(1)? == 1 {
            return None; // scaling lists: no real-time encoder sends any
        }
    }
    bits.golomb()?; // frame number's length
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => return None, // a picture order of type 1 is as rare
        _ => {}
    }
    bits.golomb()?; // reference frames
    bits.take(1)?;
    let width = bits.golomb()?.checked_add(1)?.checked_mul(16)?;
    let rows = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    let height = rows.checked_mul(16)?.checked_mul(2 - frames_only)?;
    bits.take(1)?;
    let (mut across, mut down) = (0_u32, 0_u32);
    if bits.take(1)? == 1 {
        let (x, y): (u32, u32) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut side = |unit: u32| bits.golomb()?.checked_add(bits.golomb()?)?.checked_mul(unit);
        across = side(x)?;
        down = side(y.checked_mul(2 - frames_only)?)?;
    }
    Some((width.checked_sub(across)?, height.checked_sub(down)?))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Unsigned Exp-Golomb (H.264 §9.1).
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1_u64 << zeros) - 1) as u32 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 1280x720, constrained baseline, as x264 writes it.
    const SPS: [u8; 15] =
        [0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00];

    #[test]
    fn the_codecs_tell_their_size() {
        assert_eq!(of_keyframe(SourceCodec::H264, &SPS), Some((1280, 720)));
        let mut stap = vec![0x78, 0, 15];
        stap.extend_from_slice(&SPS);
        assert_eq!(of_keyframe(SourceCodec::H264, &stap), Some((1280, 720)));
        let vp8 = [0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x40];
        assert_eq!(of_keyframe(SourceCodec::Vp8, &vp8), Some((320, 180)), "the scale is left out");
        let vp8 = [0x90, 0x80, 0x80, 1, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];
        assert_eq!(of_keyframe(SourceCodec::Vp8, &vp8), Some((320, 180)));
        let vp9 = [0x8a, 0x01, 0x10, 0x05, 0x00, 0x02, 0xd0, 0x82];
        assert_eq!(of_keyframe(SourceCodec::Vp9, &vp9), Some((1280, 720)));
        // 2 bits marker, 2 profile, show_existing, type, show, resilient; 3 + 1 of color; sizes.
        let vp9 = [0x08, 0x82, 0x49, 0x83, 0x42, 0x20, 0x4f, 0xf0, 0x2c, 0xf0];
        assert_eq!(of_keyframe(SourceCodec::Vp9, &vp9), Some((1280, 720)));
        assert_eq!(of_keyframe(SourceCodec::Av1, &vp9), None);
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            for codec in [SourceCodec::H264, SourceCodec::Vp8, SourceCodec::Vp9] {
                let _ = of_keyframe(codec, &payload);
            }
            let mut sps = vec![0x67, 0x64];
            sps.extend_from_slice(&payload);
            let _ = of_keyframe(SourceCodec::H264, &sps);
        }
    }
}
