//! The room without real pictures: hostile and odd input. What real codecs make of it is tested with the
//! worker.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::time::{Bitrate, SourceCodec};
use proptest::prelude::*;

fn settings() -> Settings {
    let format = OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    };
    Settings { format, canvas: (64, 36), decode_threads: 1 }
}

fn room(resume: Option<&Resume>) -> Result<Room, CodecError> {
    Room::new(settings(), Arc::default(), &Stage::default(), resume)
}

/// Frames and blocks of `out` are each numbered without a hole from the given numbers on.
fn assert_grid(out: &[Output], mut frame: u64, mut block: u64) -> (u64, u64) {
    for output in out {
        match output {
            Output::Frame { number, picture, .. } => {
                assert_eq!((*number, picture.size()), (frame, (64, 36)));
                frame += 1;
            }
            Output::Sound { number, samples } => {
                assert_eq!((*number, samples.len()), (block, 2048));
                assert!(samples.iter().all(|sample| sample.abs() <= 1.0));
                block += 1;
            }
        }
    }
    (frame, block)
}

#[test]
fn an_empty_room_makes_nothing_and_wants_nothing() {
    let mut room = room(None).unwrap();
    let mut out = Vec::new();
    assert!(room.advance(HostTime(1_000_000_000), usize::MAX, &mut out));
    assert!(out.is_empty());
    assert_eq!(room.wake_at(), None);
    assert_eq!(room.zero(), None);
}

#[test]
fn a_resumed_room_goes_on_even_if_nobody_is_there_any_more() {
    let resume = Resume {
        zero: HostTime(1_000_000),
        next_msn: 3,
        next_frame: 300,
        next_aac: 469,
        next_sequence: 31,
        clocks: Vec::new(),
        composed: Default::default(),
    };
    let mut room = room(Some(&resume)).unwrap();
    let mut out = Vec::new();
    // Ten seconds of media are published; two more are due.
    while !room.advance(HostTime(1_000_000 + 12_150_000), 8, &mut out) {}
    let (frame, block) = assert_grid(&out, 300, 469 - PRIMING);
    assert_eq!(frame, 361);
    assert_eq!(block, 562);
    assert_eq!(room.counts().repeated, 61);
}

#[test]
fn only_so_much_is_made_at_once() {
    let resume = Resume {
        zero: HostTime(0),
        next_msn: 0,
        next_frame: 0,
        next_aac: 0,
        next_sequence: 1,
        clocks: Vec::new(),
        composed: Default::default(),
    };
    let mut room = room(Some(&resume)).unwrap();
    let mut out = Vec::new();
    assert!(!room.advance(HostTime(60_000_000), 5, &mut out));
    assert_eq!(out.len(), 5);
    assert!(!room.advance(HostTime(60_000_000), 7, &mut out));
    assert_eq!(out.len(), 12);
}

fn codec() -> impl Strategy<Value = SourceCodec> {
    use SourceCodec::{Av1, H264, Opus, Vp8, Vp9};
    prop_oneof![Just(H264), Just(Vp8), Just(Vp9), Just(Av1), Just(Opus)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any packets of any codec in any order at any time, streams that change their codec, more streams
    /// than a publisher may have: no panic, and the grid has no hole.
    #[test]
    fn absurd_records_are_survived(
        packets in proptest::collection::vec(
            (codec(), 0u32..20, any::<u16>(), any::<u32>(), 0i64..50_000,
             proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()),
            1..60,
        ),
    ) {
        let mut room = room(None).unwrap();
        let mut out = Vec::new();
        let mut now = 1_000_000_000;
        for (codec, track, seq, timestamp, pause, mut payload, marker) in packets {
            now += pause;
            // Opus that decodes: otherwise time never begins.
            if codec.is_audio() {
                payload.insert(0, 0xf8);
            }
            let arrived = HostTime(now);
            while !room.advance(arrived, 8, &mut out) {}
            room.push(&Record::Rtp(RtpRecord {
                source: SourceId(track / 5),
                track: TrackId(track),
                codec,
                keyframe: marker,
                marker,
                layer: 0,
                seq: u64::from(seq),
                timestamp,
                arrived,
                payload: &payload,
            }));
            if track == 7 {
                room.push(&Record::Gone { source: SourceId(0), arrived });
            }
            room.keyframes_wanted(arrived);
            prop_assert!(room.feeds.len() <= MAX_FEEDS && room.voices.len() <= MAX_FEEDS);
        }
        while !room.advance(HostTime(now + 3_000_000), 8, &mut out) {}
        assert_grid(&out, 0, 0);
    }
}
