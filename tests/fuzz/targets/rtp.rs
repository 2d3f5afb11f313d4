//! What publishers put into RTP: payloads, and the codec headers within them.

use super::{join, pieces};
use bytes::Bytes;
use proscenium::compose::depacketize::{AccessUnit, Assembler, MAX_UNIT, Packet};
use proscenium::link::wire::VideoCodec;
use proscenium::package::av1::{SequenceHeader, find_sequence_header};
use proscenium::package::cmaf::VideoConfig;
use proscenium::sfu::keyframe::begins_keyframe;
use proscenium::time::{HostTime, SourceCodec};

const CODECS: [SourceCodec; 5] =
    [SourceCodec::H264, SourceCodec::Vp8, SourceCodec::Vp9, SourceCodec::Av1, SourceCodec::Opus];

/// A codec's number, then packets: flags (marker, new timestamp, loss before it), payload.
pub fn rtp(input: &[u8]) {
    for unit in units(input) {
        assert!(!unit.data.is_empty() && unit.data.len() <= MAX_UNIT + 2048);
        // Start codes, parameter sets and a superframe index are added, at most so much.
        assert!(unit.data.len() <= 4 * input.len() + 2048, "{}", unit.data.len());
    }
}

/// The access units that come of it.
pub fn units(input: &[u8]) -> Vec<AccessUnit> {
    let mut units: Vec<AccessUnit> = Vec::new();
    let Some((codec, rest)) = input.split_first() else { return units };
    let codec = CODECS[usize::from(*codec) % CODECS.len()];
    let mut assembler = Assembler::new(codec);
    let (mut rtp, mut arrived) = (0_i64, HostTime(0));
    for piece in pieces(rest) {
        let Some((flags, payload)) = piece.split_first() else { continue };
        let _ = begins_keyframe(codec, payload);
        arrived = arrived.plus_micros(1_000);
        if flags & 2 != 0 {
            rtp += 3_000;
        }
        if flags & 4 != 0 {
            assembler.lost(arrived);
        }
        let payload = Bytes::copy_from_slice(payload);
        assembler.push(&Packet { rtp, marker: flags & 1 != 0, arrived, payload }, &mut units);
        let _ = assembler.keyframe_wanted(arrived);
    }
    assert_eq!(assembler.counts().units, units.len() as u64);
    assert!(units.windows(2).all(|pair| pair[0].rtp <= pair[1].rtp));
    units
}

/// Input that once made a target panic.
const FOUND: [&[u8]; 1] = [
    // AV1: fewer elements than announced, the last one a fragment.
    b"\x03\0\x11\x02{\x0c\x08\0\xd1\0\x04<\xff\xbc\xd3\x80\0\x06\x01|E\x04\x05o1\x06\0\x05\x03A\x9a$l",
];

/// A packet's flags and payload, see [`rtp`].
type Flagged = (u8, Vec<u8>);

pub fn rtp_seeds() -> Vec<Vec<u8>> {
    let sps: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8];
    let pps: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    let stap = [&[0x78, 0, sps.len() as u8], sps, &[0, pps.len() as u8], pps].concat();
    let streams: [(u8, Vec<Flagged>); 5] = [
        (
            0,
            vec![
                (2, stap),
                (0, vec![0x7c, 0x85, 0x88, 0x84, 0x00, 0x33]), // FU-A, start of an IDR slice
                (0, vec![0x7c, 0x05, 1, 2, 3]),
                (1, vec![0x7c, 0x45, 4, 5, 6]),
                (3, vec![0x41, 0x9a, 0x24, 0x6c]),
            ],
        ),
        (
            1,
            vec![
                // X, I and L and T and K, a 15-bit picture id; then a key frame of 640x360.
                (2, vec![0x90, 0xf0, 0x81, 0x23, 0x05, 0x40]),
                (2, vec![0x10, 0x50, 0x1b, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01, 7, 7]),
                (1, vec![0x00, 1, 2, 3]),
                (3, vec![0x10, 0x51, 0x1b, 0x00, 1, 2]),
            ],
        ),
        (
            2,
            vec![
                // I, L, B, E, V: a scalability structure of one layer.
                (
                    2,
                    vec![
                        0xae, 0x81, 0x23, 0x00, 0x00, 0x18, 0x02, 0x80, 0x01, 0x68, 0x01, 0x04,
                        0x01, 0x82, 0x49, 0x83,
                    ],
                ),
                (1, vec![0xa4, 0x81, 0x23, 0x00, 0x00, 1, 2, 3]),
                (3, vec![0xcc, 0x81, 0x24, 0x00, 0x02, 0x86, 4, 5]),
            ],
        ),
        (
            3,
            vec![
                // Y, W = 2, N: a sequence header, and the beginning of a frame (Z, Y; Z).
                (2, b"\x68\x0c\x08\0\0\0\x04\x3c\xff\xbc\xdb\x80\x30\x10\x30\x01".to_vec()),
                (0, vec![0xd0, 1, 2, 3]),
                (1, vec![0x90, 4, 5, 6]),
            ],
        ),
        (4, vec![(1, vec![0xfc, 0xff, 0xfe]), (3, vec![0x78, 1, 2, 3])]),
    ];
    let good = streams.iter().map(|(codec, packets)| {
        let packets: Vec<Vec<u8>> =
            packets.iter().map(|(flags, payload)| [&[*flags], &payload[..]].concat()).collect();
        [vec![*codec], join(packets.iter().map(Vec::as_slice))].concat()
    });
    good.chain(FOUND.iter().map(|found| found.to_vec())).collect()
}

/// H.264 parameter sets and AV1 sequence headers, as encoders hand them over.
pub fn codec_headers(input: &[u8]) {
    for codec in [VideoCodec::H264, VideoCodec::Av1] {
        let _ = VideoConfig::from_extradata(codec, input);
    }
    if let Some(header) = SequenceHeader::parse(input) {
        let text = header.codecs();
        assert!(text.starts_with("av01.") && text.is_ascii() && text.len() <= 64, "{text}");
    }
    if let Some(found) = find_sequence_header(input) {
        assert!(!found.is_empty() && found.len() <= input.len() + 16);
    }
}

pub fn codec_headers_seeds() -> Vec<Vec<u8>> {
    let annex_b = b"\0\0\0\x01\x67\x42\xc0\x1e\xd9\x00\xa0\x47\xfe\xc8\0\0\x01\x68\xce\x3c\x80";
    let avcc = b"\x01\x42\xc0\x1e\xff\xe1\0\x0a\x67\x42\xc0\x1e\xd9\x00\xa0\x47\xfe\xc8\x01\0\x04\x68\xce\x3c\x80";
    let obu = b"\x0a\x0b\x00\x00\x00\x04\x3c\xff\xbc\xdb\x80\x30\x10";
    let av1c = b"\x81\x05\x0c\x00\x0a\x0b\x00\x00\x00\x04\x3c\xff\xbc\xdb\x80\x30\x10";
    let unit = [&b"\x12\x00"[..], obu].concat();
    vec![annex_b.to_vec(), avcc.to_vec(), obu.to_vec(), av1c.to_vec(), unit]
}
