//! What a generated packet says about itself: its number and when it left, readable at the far end
//! and meaningless to any decoder on the way.
//!
//! The stamp stands in an H.264 filler data NAL unit (type 12, which every decoder skips), right
//! after the NAL unit's header: the letters `LOAD`, the packet's number in 5 bytes and the time on
//! `CLOCK_MONOTONIC` in microseconds in 9, seven bits a byte, most significant first, with the
//! highest bit of every byte set: so no start code can arise in it.

/// The NAL unit header of filler data: `nal_ref_idc` 0, type 12.
const FILLER: u8 = 12;
const MARK: [u8; 4] = *b"LOAD";
/// Bytes of the shortest filler packet: header, mark, number, time, the end of the filler.
pub(super) const LEAST: usize = 1 + MARK.len() + 5 + 9 + 1;

/// A packet's number and its time of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: u32,
    pub(super) sent_us: i64,
}

impl Stamp {
    /// A filler NAL unit of `length` bytes, at least [`LEAST`], that carries this stamp.
    pub(super) fn filler(self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length.max(LEAST));
        out.push(FILLER);
        out.extend(MARK);
        sevens(u64::from(self.number), 5, &mut out);
        sevens(self.sent_us as u64, 9, &mut out);
        // ff_byte, then rbsp_trailing_bits (ITU-T H.264, 7.3.2.7).
        out.resize(length.max(LEAST) - 1, 0xFF);
        out.push(0x80);
        out
    }

    /// The stamp of an RTP payload, if it is one of ours.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(&[FILLER])?.strip_prefix(&MARK)?;
        let (number, rest) = rest.split_at_checked(5)?;
        let sent_us = rest.get(..9)?;
        Some(Self { number: value(number) as u32, sent_us: value(sent_us) as i64 })
    }
}

fn sevens(value: u64, bytes: u32, out: &mut Vec<u8>) {
    out.extend((0..bytes).rev().map(|i| 0x80 | (value >> (7 * i)) as u8));
}

fn value(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stamped_is_read_and_holds_no_start_code(
            number: u32, sent_us in 0i64..1 << 62, length in 0usize..1400
        ) {
            let stamp = Stamp { number, sent_us };
            let payload = stamp.filler(length);
            prop_assert_eq!(payload.len(), length.max(LEAST));
            prop_assert_eq!(Stamp::read(&payload), Some(stamp));
            prop_assert!(!payload.contains(&0));
        }

        #[test]
        fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Stamp::read(&payload);
        }
    }
}
