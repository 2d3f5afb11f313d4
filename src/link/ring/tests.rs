#![allow(clippy::unwrap_used)]

use super::*;
use crate::time::{SourceCodec, SourceId};
use proptest::prelude::*;

fn codec() -> impl Strategy<Value = SourceCodec> {
    use SourceCodec::{Av1, H264, Opus, Vp8, Vp9};
    prop_oneof![Just(H264), Just(Vp8), Just(Vp9), Just(Av1), Just(Opus)]
}

prop_compose! {
    fn packet()(
        (source, track, timestamp, seq) in any::<(u32, u32, u32, u64)>(),
        (codec, keyframe, marker, arrived) in (codec(), any::<bool>(), any::<bool>(), any::<i64>()),
    ) -> RtpRecord<'static> {
        RtpRecord {
            source: SourceId(source),
            track: TrackId(track),
            codec,
            keyframe,
            marker,
            layer: 0,
            seq,
            timestamp,
            arrived: HostTime(arrived),
            payload: &[],
        }
    }
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(packet in packet(), payload in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let RtpRecord { source, track, timestamp: rtp, seq: ntp, arrived, .. } = packet;
        for record in [
            Record::Rtp(RtpRecord { payload: &payload, ..packet }),
            Record::SenderReport { source, track, ntp, rtp, arrived },
            Record::Gone { source, arrived },
            Record::Stage { arrived, payload: &payload },
        ] {
            let (head, rest) = record.to_bytes();
            let bytes = [&head, rest].concat();
            prop_assert_eq!(Record::parse(&bytes), Ok(record));
            prop_assert!(Record::parse(&bytes[..HEADER - 1]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_a_record_that_is_written_the_same_or_none(bytes in proptest::collection::vec(0..8_u8, 0..40)) {
        if let Ok(record) = Record::parse(&bytes) {
            let (head, rest) = record.to_bytes();
            prop_assert_eq!([&head, rest].concat(), bytes);
        }
    }
}

#[test]
fn bits_without_a_meaning_are_refused() {
    let gone = Record::Gone { source: SourceId(1), arrived: HostTime(2) };
    let (good, _) = gone.to_bytes();
    assert_eq!(Record::parse(&good), Ok(gone));
    for (place, value) in [(0, 0), (0, 5), (1, 1), (2, 1), (3, 1), (8, 1), (12, 1), (16, 1)] {
        let mut bad = good;
        bad[place] = value;
        assert_eq!(Record::parse(&bad), Err(BadRecord), "byte {place} = {value}");
    }
    assert_eq!(Record::parse(&[&good[..], &[0]].concat()), Err(BadRecord), "a payload");
}

fn at(track: u32, seq: u64, keyframe: bool) -> RtpRecord<'static> {
    RtpRecord {
        source: SourceId(1),
        track: TrackId(track),
        codec: SourceCodec::H264,
        keyframe,
        marker: true,
        layer: 0,
        seq,
        timestamp: 0,
        arrived: HostTime(seq as i64 * 1000),
        payload: &[7; 1000],
    }
}

fn next_seq(reader: &mut RingReader) -> Option<u64> {
    match reader.next().unwrap() {
        Some(Record::Rtp(packet)) => Some(packet.seq),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

#[test]
fn a_newcomer_finds_the_key_frame_it_needs() {
    let mut writer = RingWriter::create(1 << 20).unwrap();
    let mut reader = writer.reader().unwrap();
    assert!(!reader.seek_newest_keyframe() && !reader.seek_oldest_keyframe());
    assert!(!reader.seek_keyframe_before(HostTime(i64::MAX)));
    for seq in 0..100 {
        // Track 1 has key frames at 10, 30, 50...; track 2 at 25 and 75.
        let track = if seq % 5 == 0 && seq % 10 != 0 { 2 } else { 1 };
        let key = if track == 1 { seq % 20 == 10 } else { seq % 50 == 25 };
        writer.push(&Record::Rtp(at(track, seq, key))).unwrap();
    }
    assert_eq!(reader.keyframes(), 7);
    assert!(reader.seek_newest_keyframe());
    assert_eq!(next_seq(&mut reader), Some(90));
    assert!(reader.seek_oldest_keyframe());
    assert_eq!(next_seq(&mut reader), Some(10));
    assert!(reader.seek_keyframe_before(HostTime(69_999)));
    assert_eq!(next_seq(&mut reader), Some(50));
    assert!(reader.seek_keyframe_before(HostTime(70_000)));
    assert_eq!(next_seq(&mut reader), Some(70));
    assert!(!reader.seek_keyframe_before(HostTime(9_999)));
    assert_eq!(next_seq(&mut reader), Some(71), "it did not move");

    let before = |reader: &mut RingReader, seq: i64, tracks: &[u32]| {
        let tracks: Vec<_> = tracks.iter().map(|&t| TrackId(t)).collect();
        reader.seek_keyframes_before(HostTime(seq * 1000), &tracks)
    };
    assert_eq!(before(&mut reader, 74, &[1, 2]), 2);
    assert_eq!(next_seq(&mut reader), Some(25));
    assert_eq!(before(&mut reader, 24, &[1, 2]), 1);
    assert_eq!(next_seq(&mut reader), Some(10));
    assert_eq!(before(&mut reader, 80, &[1]), 1);
    assert_eq!(next_seq(&mut reader), Some(70));
    assert_eq!(before(&mut reader, 80, &[9]), 0);
    assert_eq!(next_seq(&mut reader), Some(71), "it did not move");

    reader.seek_time(HostTime(33_500));
    assert_eq!(next_seq(&mut reader), Some(34));
    reader.seek_time(HostTime(i64::MAX));
    assert_eq!(next_seq(&mut reader), None);
    reader.seek_time(HostTime(0));
    assert_eq!(next_seq(&mut reader), Some(0));
}

#[test]
fn a_reader_that_was_overrun_goes_on_and_knows_what_it_lost() {
    let mut writer = RingWriter::create(64 * 1024).unwrap();
    let mut reader = writer.reader().unwrap();
    for seq in 0..200 {
        writer.push(&Record::Rtp(at(1, seq, seq == 3))).unwrap();
    }
    let lost = match reader.next() {
        Err(ReadError::Overrun { records, bytes }) => {
            assert_eq!(bytes, records * 1048);
            records
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(lost, 200 - 64 * 1024 / 1048);
    assert_eq!(next_seq(&mut reader), Some(lost));
    assert!(!reader.seek_newest_keyframe(), "the only key frame is gone");
}

#[test]
fn a_bell_rings_once_a_batch() {
    let mut writer = RingWriter::create(64 * 1024).unwrap();
    let bell = writer.bell();
    writer.notify();
    assert!(!bell.silence(), "nothing was pushed");
    writer.push(&Record::Rtp(at(1, 0, true))).unwrap();
    writer.push(&Record::Rtp(at(1, 1, false))).unwrap();
    assert!(!bell.silence());
    writer.notify();
    assert!(bell.silence());
    writer.notify();
    assert!(!bell.silence());
}

#[test]
fn the_capacity_keeps_what_it_promises() {
    for (seconds, kbps) in [(4, 300), (20, 10_000)] {
        let mut writer = RingWriter::create(capacity_for(seconds, Bitrate(kbps * 1000))).unwrap();
        let mut reader = writer.reader().unwrap();
        // Packets of 1000 bytes at that rate, and sound, until three rings full have gone through.
        let packets = u64::from(seconds) * 3 * kbps / 8;
        for seq in 0..packets {
            writer
                .push(&Record::Rtp(RtpRecord {
                    arrived: HostTime((seq * 8_000_000 / kbps) as i64),
                    ..at(1, seq, false)
                }))
                .unwrap();
        }
        reader.seek_oldest();
        let oldest = reader.next().unwrap().unwrap().arrived();
        let newest = HostTime((packets * 8_000_000 / kbps) as i64);
        assert!(
            newest.since(oldest) >= i64::from(seconds) * 1_000_000,
            "{seconds} s at {kbps} kb/s"
        );
        assert!(
            newest.since(oldest) <= i64::from(seconds) * 1_900_000,
            "far too much for {seconds} s"
        );
    }
}
