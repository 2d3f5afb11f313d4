//! What the generator reads of a packet on every arrival: the few fields of RTP's header (RFC 3550,
//! 5.1) that SRTP leaves in the clear. Foreign bytes: everything is checked, nothing is copied.

/// What a datagram on a media port is (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// STUN or DTLS: for the library.
    Control,
    /// SRTCP.
    Rtcp,
    /// SRTP.
    Rtp(Header),
    /// Nothing known.
    Foreign,
}

/// The fields in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) ssrc: u32,
    /// The transport-wide sequence number, if that extension was negotiated and is there.
    pub(super) transport: Option<u16>,
}

/// Looks at a datagram; `transport_id` is the negotiated id of the transport-wide sequence number.
pub(super) fn look(bytes: &[u8], transport_id: Option<u8>) -> Kind {
    match bytes {
        [0..=3 | 20..=63, ..] => Kind::Control,
        // RFC 5761, 4: RTCP's packet types lie where no dynamic payload type does.
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, ..] => header(bytes, transport_id).map_or(Kind::Foreign, Kind::Rtp),
        _ => Kind::Foreign,
    }
}

fn header(bytes: &[u8], transport_id: Option<u8>) -> Option<Header> {
    let fixed: &[u8; 12] = bytes.first_chunk()?;
    let [first, second, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
    let mut header = Header {
        payload_type: second & 0x7F,
        sequence: u16::from_be_bytes([s0, s1]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        transport: None,
    };
    if first & 0x10 != 0
        && let Some(id) = transport_id
    {
        header.transport = extension(bytes.get(12 + 4 * usize::from(first & 0x0F)..)?, id);
    }
    Some(header)
}

/// The two bytes of extension `id` (RFC 8285: one-byte and two-byte headers).
fn extension(bytes: &[u8], id: u8) -> Option<u16> {
    let [p0, p1, l0, l1, rest @ ..] = bytes else { return None };
    let mut rest = rest.get(..4 * usize::from(u16::from_be_bytes([*l0, *l1])))?;
    let two_byte = match u16::from_be_bytes([*p0, *p1]) {
        0xBEDE => false,
        0x1000..=0x100F => true,
        _ => return None,
    };
    loop {
        let (found, length, after) = match rest {
            [0, after @ ..] => {
                rest = after;
                continue;
            }
            [found, length, after @ ..] if two_byte => (*found, usize::from(*length), after),
            [head, after @ ..] if !two_byte => (head >> 4, usize::from(head & 15) + 1, after),
            _ => return None,
        };
        let value = after.get(..length)?;
        if found == id {
            return value.first_chunk().map(|two| u16::from_be_bytes(*two));
        }
        rest = after.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 12] = [0x80, 0x80 | 96, 1, 2, 0, 0, 0, 0, 9, 8, 7, 6];

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(look(&[0, 1, 0, 0], None), Kind::Control);
        assert_eq!(look(&[22, 254], None), Kind::Control);
        assert_eq!(look(&[0x81, 205, 0, 1], None), Kind::Rtcp);
        assert_eq!(look(&[255; 20], None), Kind::Foreign);
        assert_eq!(look(&[0x80, 96], None), Kind::Foreign);
        let header = Header { payload_type: 96, sequence: 258, ssrc: 0x09080706, transport: None };
        assert_eq!(look(&PLAIN, Some(3)), Kind::Rtp(header));
    }

    #[test]
    fn the_transport_sequence_is_found_in_both_forms() {
        let with = |extension: &[u8]| {
            let mut bytes = PLAIN.to_vec();
            bytes[0] |= 0x10;
            bytes.extend(extension);
            match look(&bytes, Some(3)) {
                Kind::Rtp(header) => header.transport,
                other => panic!("{other:?}"),
            }
        };
        let one = [0xBE, 0xDE, 0, 2, 0x10, 5, 0, 0x31, 0x12, 0x34, 0, 0];
        assert_eq!(with(&one), Some(0x1234));
        let two = [0x10, 0, 0, 2, 1, 0, 3, 2, 0x12, 0x34, 0, 0];
        assert_eq!(with(&two), Some(0x1234));
        assert_eq!(with(&[0xBE, 0xDE, 0, 9, 0x31]), None, "shorter than it says");
        assert_eq!(with(&[0xBE, 0xDE, 0, 1, 0x10, 5, 0, 0]), None, "another extension");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80), id in 0u8..16) {
            let _ = look(&bytes, Some(id));
        }
    }
}
