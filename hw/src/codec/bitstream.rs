//! Access units as codecs write them to samples as mp4 and RTP want them. Pure functions on bytes.

/// H.264 NAL unit types (ITU-T H.264, table 7-1).
mod nal {
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const AUD: u8 = 9;
    pub const END_OF_SEQUENCE: u8 = 10;
    pub const END_OF_STREAM: u8 = 11;
    pub const FILLER: u8 = 12;
}

/// AV1 OBU types (AV1 specification, section 6.2.2).
mod obu {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const PADDING: u8 = 15;
}

/// The NAL units of an Annex B byte stream (ITU-T H.264, annex B), without start codes and without
/// the zero bytes that may trail them. Bytes before the first start code are skipped.
pub fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = start_code(stream, 0).map(|found| found + 3);
    std::iter::from_fn(move || {
        let start = at?;
        let next = start_code(stream, start);
        at = next.map(|found| found + 3);
        let unit = stream.get(start..next.unwrap_or(stream.len()))?;
        // A four-byte start code's first zero, or trailing_zero_8bits.
        let len = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Some(&unit[..len])
    })
    .filter(|unit| !unit.is_empty())
}

/// Where the next 00 00 01 begins, at or after `from`.
fn start_code(stream: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // Looking at every third byte is enough to find out that no start code covers it.
    while let Some(third) = stream.get(at + 2) {
        match third {
            0 => at += 1,
            1 if stream[at] == 0 && stream[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

/// An H.264 access unit as an mp4 sample (ISO/IEC 14496-15): each NAL unit behind a four-byte
/// length; parameter sets, delimiters, SEI and filler left out, as the init segment has the first
/// and players need none of the rest. Also tells whether it holds an IDR picture.
pub fn h264_sample(annex_b: &[u8]) -> (Vec<u8>, bool) {
    let mut sample = Vec::with_capacity(annex_b.len() + 16);
    let mut idr = false;
    for unit in nal_units(annex_b) {
        let kind = unit[0] & 0x1f;
        idr |= kind == nal::IDR;
        if matches!(
            kind,
            nal::SEI
                | nal::SPS
                | nal::PPS
                | nal::AUD
                | nal::END_OF_SEQUENCE
                | nal::END_OF_STREAM
                | nal::FILLER
        ) {
            continue;
        }
        sample.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        sample.extend_from_slice(unit);
    }
    (sample, idr)
}

/// An H.264 access unit for an RTP packetizer: Annex B, `sps` and `pps` before an IDR picture, no
/// SEI, delimiters or filler. Also tells whether it holds an IDR picture.
pub fn h264_annex_b(annex_b: &[u8], sps: &[u8], pps: &[u8]) -> (Vec<u8>, bool) {
    let idr = nal_units(annex_b).any(|unit| unit[0] & 0x1f == nal::IDR);
    let mut out = Vec::with_capacity(annex_b.len() + sps.len() + pps.len() + 16);
    let mut push = |unit: &[u8]| {
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(unit);
    };
    if idr {
        push(sps);
        push(pps);
    }
    for unit in nal_units(annex_b) {
        if !matches!(unit[0] & 0x1f, nal::SEI | nal::SPS | nal::PPS | nal::AUD | nal::FILLER) {
            push(unit);
        }
    }
    (out, idr)
}

/// The first SPS and PPS in an Annex B byte stream, without start codes.
pub fn h264_parameter_sets(annex_b: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let find = |kind| nal_units(annex_b).find(|unit| unit[0] & 0x1f == kind).map(<[u8]>::to_vec);
    Some((find(nal::SPS)?, find(nal::PPS)?))
}

/// An AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) for four-byte lengths, without the
/// extension for high profiles, which FFmpeg and players take as 4:2:0, 8 bits. `None` for parameter
/// sets that are too short or too long for it.
pub fn avcc(sps: &[u8], pps: &[u8]) -> Option<Vec<u8>> {
    let [_, profile, constraints, level, ..] = *sps else { return None };
    let mut record = vec![1, profile, constraints, level, 0xff, 0xe1];
    record.extend_from_slice(&u16::try_from(sps.len()).ok()?.to_be_bytes());
    record.extend_from_slice(sps);
    record.push(1);
    record.extend_from_slice(&u16::try_from(pps.len()).ok()?.to_be_bytes());
    record.extend_from_slice(pps);
    Some(record)
}

/// One OBU: its type and all its bytes, header and size included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// obu_type.
    pub kind: u8,
    /// Header, extension, size, payload.
    pub bytes: &'a [u8],
}

impl Obu<'_> {
    /// Whether it is a sequence header.
    pub fn is_sequence_header(&self) -> bool {
        self.kind == obu::SEQUENCE_HEADER
    }
}

/// The OBUs of a low-overhead AV1 byte stream (AV1 specification, 5.2). Ends early at one that is
/// malformed or longer than the stream; an OBU without a size field reaches to the end.
pub fn obus(stream: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let header = *rest.first()?;
        let payload = 1 + usize::from(header & 0b100 != 0); // obu_extension_flag
        let end = if header & 0b10 != 0 {
            let (size, size_bytes) = leb128(rest.get(payload..)?)?;
            payload.checked_add(size_bytes)?.checked_add(usize::try_from(size).ok()?)?
        } else {
            rest.len()
        };
        let bytes = rest.get(..end)?;
        rest = &rest[end..];
        (header & 0x80 == 0).then_some(Obu { kind: header >> 3 & 0xf, bytes })
    })
}

/// A number in LEB128 (AV1 specification, 4.10.5) and how many bytes it takes.
fn leb128(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// A temporal unit as an mp4 sample (AV1 in ISO BMFF, 2.4): without temporal delimiters and padding.
/// Also tells whether it holds a sequence header, which our encoders write with every key frame.
pub fn av1_sample(stream: &[u8]) -> (Vec<u8>, bool) {
    let mut sample = Vec::with_capacity(stream.len());
    let mut header = false;
    for unit in obus(stream) {
        header |= unit.is_sequence_header();
        if !matches!(unit.kind, obu::TEMPORAL_DELIMITER | obu::PADDING) {
            sample.extend_from_slice(unit.bytes);
        }
    }
    (sample, header)
}

/// The first sequence header OBU of a stream, header and size included.
pub fn av1_sequence_header(stream: &[u8]) -> Option<&[u8]> {
    obus(stream).find(Obu::is_sequence_header).map(|unit| unit.bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nal_units_come_apart_at_both_kinds_of_start_code() {
        let stream = [9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 1, 0x65, 0, 3, 0, 0];
        let units: Vec<_> = nal_units(&stream).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68, 2], &[0x65, 0, 3]]);
        assert_eq!(h264_parameter_sets(&stream), Some((vec![0x67, 1], vec![0x68, 2])));
        assert_eq!(h264_sample(&stream), (vec![0, 0, 0, 3, 0x65, 0, 3], true));
    }

    #[test]
    fn rtp_access_units_carry_their_parameter_sets_before_an_idr_picture_only() {
        let idr = [0, 0, 0, 1, 0x06, 9, 0, 0, 1, 0x65, 3];
        let (unit, key) = h264_annex_b(&idr, &[0x67], &[0x68]);
        assert_eq!(unit, [0, 0, 0, 1, 0x67, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 3]);
        assert!(key);
        let (unit, key) = h264_annex_b(&[0, 0, 1, 0x41, 3], &[0x67], &[0x68]);
        assert_eq!(unit, [0, 0, 0, 1, 0x41, 3]);
        assert!(!key);
    }

    #[test]
    fn obus_lose_delimiters_and_keep_their_order() {
        let stream = [0x12, 0, 0x0a, 2, 7, 8, 0x32, 1, 9];
        assert_eq!(av1_sample(&stream), (vec![0x0a, 2, 7, 8, 0x32, 1, 9], true));
        assert_eq!(av1_sequence_header(&stream), Some(&[0x0a, 2, 7, 8][..]));
        // A size beyond the end, an endless LEB128, a forbidden bit: nothing, and no panic.
        for bad in [&[0x32, 5, 1][..], &[0x32, 0xff, 0xff], &[0xff; 12], &[0x80]] {
            assert_eq!(obus(bad).count(), 0, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_within_their_bounds(bytes in proptest::collection::vec(
            prop_oneof![3 => Just(0u8), 1 => Just(1u8), 2 => any::<u8>()], 0..200))
        {
            // The plain way: look at every position.
            let starts: Vec<_> = (0..bytes.len().saturating_sub(2))
                .filter(|i| bytes[*i..*i + 3] == [0, 0, 1]).collect();
            let plain = starts.iter().enumerate().filter(|(n, start)| {
                let end = starts.get(n + 1).copied().unwrap_or(bytes.len());
                bytes.get(**start + 3..end).is_some_and(|unit| unit.iter().any(|b| *b != 0))
            }).count();
            prop_assert_eq!(nal_units(&bytes).count(), plain);
            let (sample, _) = h264_sample(&bytes);
            prop_assert!(sample.len() <= 2 * bytes.len());
            prop_assert!(av1_sample(&bytes).0.len() <= bytes.len());
        }
    }
}
