#![allow(clippy::unwrap_used)]

use super::*;
use hw::codec::{
    Framing, Picture, VideoDecoder, VideoEncoder, VideoEncoderConfig, VideoIn, VideoOut,
};
use proptest::prelude::*;
use rtc_rtp::codec::{
    av1::Av1Payloader, h264::H264Payloader, vp8::Vp8Payloader, vp9::Vp9Payloader,
};
use rtc_rtp::packetizer::Payloader;

const CODECS: [(SourceCodec, VideoOut, VideoIn); 4] = [
    (SourceCodec::H264, VideoOut::H264, VideoIn::H264),
    (SourceCodec::Vp8, VideoOut::Vp8, VideoIn::Vp8),
    (SourceCodec::Vp9, VideoOut::Vp9, VideoIn::Vp9),
    (SourceCodec::Av1, VideoOut::Av1, VideoIn::Av1),
];

fn payloader(codec: SourceCodec) -> Box<dyn Payloader> {
    match codec {
        SourceCodec::H264 | SourceCodec::Opus => Box::<H264Payloader>::default(),
        SourceCodec::Vp8 => Box::<Vp8Payloader>::default(),
        SourceCodec::Vp9 => Box::<Vp9Payloader>::default(),
        SourceCodec::Av1 => Box::<Av1Payloader>::default(),
    }
}

/// Frames of noise, so that every one of them needs several packets; a key frame every ten.
fn stream(codec: SourceCodec, out: VideoOut, frames: i64, mtu: usize) -> Vec<Vec<Packet>> {
    packetized(codec, encoded(out, frames), mtu)
}

fn packetized(codec: SourceCodec, frames: Vec<hw::codec::Encoded>, mtu: usize) -> Vec<Vec<Packet>> {
    let mut payloader = payloader(codec);
    let packets = |frame: hw::codec::Encoded| {
        let payloads = payloader.payload(mtu, &frame.data).unwrap();
        let last = payloads.len() - 1;
        let packet = |(index, payload)| Packet {
            rtp: frame.frame * 3000,
            marker: index == last,
            arrived: HostTime(frame.frame * 33_333),
            payload,
        };
        payloads.into_iter().enumerate().map(packet).collect()
    };
    frames.into_iter().map(packets).collect()
}

fn encoded(out: VideoOut, frames: i64) -> Vec<hw::codec::Encoded> {
    let mut encoder = VideoEncoder::open(&VideoEncoderConfig {
        framing: Framing::Rtp,
        ..VideoEncoderConfig::live(out, 160, 96, 30, 800_000)
    })
    .unwrap();
    let mut encoded = Vec::new();
    for frame in 0..frames {
        let mut picture = Picture::alloc(160, 96).unwrap();
        for mut plane in picture.planes_mut().unwrap() {
            for (y, row) in plane.rows().enumerate() {
                for (x, pixel) in row.iter_mut().enumerate() {
                    let seed = (x * 31 + y * 17 + frame as usize * 57) as u32;
                    *pixel = 60 + (seed.wrapping_mul(2_654_435_761) >> 25) as u8;
                }
            }
        }
        encoder.encode(&picture, frame, frame % 10 == 0, &mut encoded).unwrap();
    }
    encoded
}

fn assemble(assembler: &mut Assembler, packets: &[Packet]) -> Vec<AccessUnit> {
    let mut out = Vec::new();
    for packet in packets {
        assembler.push(packet, &mut out);
    }
    out
}

#[test]
fn every_codec_survives_packets_of_any_size() {
    for (codec, out, input) in CODECS {
        for mtu in [100, 333, 1180] {
            let source = encoded(out, 12);
            let frames = packetized(codec, source.clone(), mtu);
            assert!(mtu > 333 || frames[0].len() > 1, "{codec:?}");
            let mut assembler = Assembler::new(codec);
            let mut decoder = VideoDecoder::new(input, 1).unwrap();
            let mut pictures = Vec::new();
            for (index, packets) in frames.iter().enumerate() {
                let units = assemble(&mut assembler, packets);
                assert_eq!(units.len(), 1, "{codec:?}, {mtu} bytes, frame {index}");
                assert_eq!(units[0].key, index % 10 == 0, "{codec:?}, frame {index}");
                decoder.decode(&units[0].data, units[0].rtp, &mut pictures).unwrap();
            }
            let mut reference = VideoDecoder::new(input, 1).unwrap();
            let mut direct = Vec::new();
            for frame in source {
                reference.decode(&frame.data, frame.frame * 3000, &mut direct).unwrap();
            }
            for ((at, got), (_, meant)) in pictures.iter().zip(&direct) {
                assert_eq!(got.psnr(meant), Some(f64::INFINITY), "{codec:?}, {mtu} bytes, at {at}");
            }
            let times: Vec<i64> = pictures.iter().map(|(at, _)| *at).collect();
            assert_eq!(times, (0..12).map(|n| n * 3000).collect::<Vec<_>>(), "{codec:?}");
            assert_eq!(assembler.counts(), Counts { units: 12, ..Counts::default() });
        }
    }
}

#[test]
fn a_missing_marker_is_made_up_for_by_the_next_timestamp() {
    for (codec, out, _) in CODECS {
        let mut frames = stream(codec, out, 3, 1180);
        frames.iter_mut().flatten().for_each(|packet| packet.marker = false);
        let units = assemble(&mut Assembler::new(codec), &frames.concat());
        assert_eq!(units.len(), 2, "{codec:?}: the third is not known to be complete");
    }
}

#[test]
fn after_a_loss_nothing_is_decoded_before_a_key_frame() {
    for (codec, out, _) in CODECS {
        let frames = stream(codec, out, 25, 200);
        let mut assembler = Assembler::new(codec);
        let mut keys = 0;
        let mut shown = Vec::new();
        for (index, packets) in frames.iter().enumerate() {
            let mut units = Vec::new();
            for (number, packet) in packets.iter().enumerate() {
                // A middle packet of frame 13 is lost.
                if index == 13 && number == 1 {
                    assembler.lost(packet.arrived);
                } else {
                    assembler.push(packet, &mut units);
                }
            }
            let now = packets[0].arrived;
            keys += u32::from(assembler.keyframe_wanted(now));
            shown.extend(units.iter().map(|unit| unit.rtp / 3000));
        }
        let expected: Vec<i64> = (0..13).chain(20..25).collect();
        assert_eq!(shown, expected, "{codec:?}");
        assert_eq!(keys, 1, "{codec:?}: asked once in the 233 ms until it came");
    }
}

#[test]
fn a_stream_joined_in_its_middle_waits_for_a_key_frame() {
    for (codec, out, _) in CODECS {
        let frames = stream(codec, out, 12, 200);
        let mut late: Vec<Packet> = frames.concat();
        late.drain(..frames[0].len() - 1);
        let mut assembler = Assembler::new(codec);
        let units = assemble(&mut assembler, &late);
        assert_eq!(units.len(), 2, "{codec:?}");
        assert!(units[0].key);
    }
}

#[test]
fn requests_for_key_frames_are_spaced() {
    let mut assembler = Assembler::new(SourceCodec::Vp8);
    let mut asked = 0;
    for ms in 0..5_000 {
        let now = HostTime(ms * 1000);
        assembler.lost(now);
        asked += u32::from(assembler.keyframe_wanted(now));
    }
    assert_eq!(asked, 10);
}

#[test]
fn parameter_sets_sent_apart_are_put_before_their_picture() {
    let nal = |kind: u8, rtp, marker| Packet {
        rtp,
        marker,
        arrived: HostTime(0),
        payload: Bytes::from(vec![kind, 0x88, 1, 2, 3]),
    };
    let mut assembler = Assembler::new(SourceCodec::H264);
    let mut out = Vec::new();
    assembler.push(&nal(0x65, 0, true), &mut out);
    assert!(out.is_empty(), "not decodable without parameter sets");
    assembler.push(&nal(0x67, 3000, true), &mut out);
    assembler.push(&nal(0x68, 3000, true), &mut out);
    assert!(out.is_empty());
    assembler.push(&nal(0x65, 6000, true), &mut out);
    assert_eq!(out.len(), 1);
    let kinds: Vec<u8> =
        out[0].data.windows(5).filter(|w| w[..4] == [0, 0, 0, 1]).map(|w| w[4]).collect();
    assert_eq!(kinds, [0x67, 0x68, 0x65]);
}

#[test]
fn sound_passes_packet_by_packet() {
    let mut assembler = Assembler::new(SourceCodec::Opus);
    let packet = |rtp| Packet {
        rtp,
        marker: false,
        arrived: HostTime(1),
        payload: Bytes::from_static(b"abc"),
    };
    let mut out = Vec::new();
    assembler.push(&packet(0), &mut out);
    assembler.lost(HostTime(1));
    assembler.push(&packet(1920), &mut out);
    assert_eq!(out.len(), 2);
    assert!(!assembler.keyframe_wanted(HostTime(2)));
}

fn codec() -> impl Strategy<Value = SourceCodec> {
    use SourceCodec::{Av1, H264, Opus, Vp8, Vp9};
    prop_oneof![Just(H264), Just(Vp8), Just(Vp9), Just(Av1), Just(Opus)]
}

/// Bytes that look like payloads: descriptors and headers are drawn more often than chance would.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        Just(vec![]),
        Just(vec![0x18]),
        Just(vec![0x7c, 0x85]),
        Just(vec![0x7c, 0x05]),
        Just(vec![0x90, 0x80, 0x80]),
        Just(vec![0xff, 0xff, 0xff, 0xff]),
        Just(vec![0x00, 0x02, 0x34]),
        Just(vec![0x10, 0x36]),
        Just(vec![0xd0]),
        Just(vec![0xaf, 0x9f]),
    ];
    (head, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(mut head, tail)| {
        head.extend(tail);
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever the payloads: no panic, memory bounded by what came in, no unit before a key frame.
    #[test]
    fn absurd_rtp_is_harmless(
        codec in codec(),
        packets in proptest::collection::vec((payload(), 0i64..4, any::<bool>(), 0u8..10), 0..20),
    ) {
        let mut assembler = Assembler::new(codec);
        let mut out = Vec::new();
        let mut fed = 0;
        for (payload, rtp, marker, fate) in packets {
            fed += payload.len();
            if fate == 0 {
                assembler.lost(HostTime(0));
            }
            let packet = Packet { rtp, marker, arrived: HostTime(0), payload: payload.into() };
            assembler.push(&packet, &mut out);
        }
        if !codec.is_audio() {
            prop_assert!(out.first().is_none_or(|unit| unit.key));
        }
        // Start codes, parameter sets put in front again, size fields, superframe indices.
        let largest = out.iter().map(|unit| unit.data.len()).max().unwrap_or(0);
        prop_assert!(largest <= 8 * fed + 64, "{largest} bytes of {fed}");
    }
}

#[test]
fn an_endless_access_unit_does_not_fill_the_memory() {
    for (codec, first, middle) in [
        (SourceCodec::H264, vec![0x7c, 0x85], vec![0x7c, 0x05]),
        (SourceCodec::Vp8, vec![0x10], vec![0x00]),
        (SourceCodec::Vp9, vec![0x08], vec![0x00]),
        (SourceCodec::Av1, vec![0x50, 0x30], vec![0xd0]),
    ] {
        let mut assembler = Assembler::new(codec);
        let mut out = Vec::new();
        for number in 0..6_000 {
            let mut payload = if number == 0 { first.clone() } else { middle.clone() };
            payload.resize(1_000, 7);
            let packet =
                Packet { rtp: 0, marker: false, arrived: HostTime(0), payload: payload.into() };
            assembler.push(&packet, &mut out);
        }
        let held = assembler.open.as_ref().map_or(0, |open| open.data.len());
        assert!(held <= MAX_UNIT, "{codec:?} holds {held}");
        assert!(assembler.open.as_ref().is_some_and(|open| open.damaged), "{codec:?}");
    }
}
