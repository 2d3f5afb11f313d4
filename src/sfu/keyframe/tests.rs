#![allow(clippy::unwrap_used)]
use super::*;
use crate::units::Span;
use proptest::prelude::*;

const ALL: [SourceCodec; 5] =
    [SourceCodec::H264, SourceCodec::Vp8, SourceCodec::Vp9, SourceCodec::Av1, SourceCodec::Opus];

#[test]
fn the_first_bytes_tell() {
    use SourceCodec::*;
    let cases: &[(SourceCodec, &[u8], bool)] = &[
        (H264, &[0x65, 0x88], true),                                // IDR slice
        (H264, &[0x67, 0x42], true),                                // SPS
        (H264, &[0x68, 0xce], false),                               // PPS alone
        (H264, &[0x41, 0x9a], false),                               // P slice
        (H264, &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], true),  // STAP-A of SPS, PPS
        (H264, &[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x65, 0x88], true),  // STAP-A of AUD, IDR
        (H264, &[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x41, 0x9a], false), // STAP-A of AUD, P slice
        (H264, &[0x78, 0xff, 0xff, 0x41], false),                   // STAP-A that lies
        (H264, &[0x7c, 0x85, 0x88], true),                          // FU-A, start of an IDR slice
        (H264, &[0x7c, 0x05, 0x88], false),                         // FU-A, its middle
        (H264, &[0x7c, 0x81, 0x9a], false),                         // FU-A, start of a P slice
        (Vp8, &[0x10, 0x90], true),
        (Vp8, &[0x10, 0x91], false),            // inter frame
        (Vp8, &[0x00, 0x90], false),            // not a start
        (Vp8, &[0x11, 0x90], false),            // partition 1
        (Vp8, &[0x90, 0x80, 0x05, 0x90], true), // 7-bit picture id
        (Vp8, &[0x90, 0xf0, 0x81, 0x02, 0x00, 0x20, 0x90], true), // 15-bit id, TL0PICIDX, TID
        (Vp8, &[0x90, 0xf0, 0x81, 0x02, 0x00, 0x20, 0x91], false),
        (Vp9, &[0x88, 0x01, 0x82], true),
        (Vp9, &[0x88, 0x81, 0x02, 0x82], true), // 15-bit picture id
        (Vp9, &[0x98, 0x01, 0x86], false),      // P is not set, but the frame is an inter frame
        (Vp9, &[0x88, 0x01, 0x8a], false),      // shows an existing frame
        (Vp9, &[0x88, 0x01, 0xb0], true),       // profile 3
        (Vp9, &[0xa8, 0x01, 0x00, 0x07, 0x82], true), // layer indices, TL0PICIDX
        (Vp9, &[0xc8, 0x01, 0x82], false),      // predicted
        (Vp9, &[0x80, 0x01, 0x82], false),      // not a start
        (Vp9, &[0x8a, 0x01, 0x18, 1, 64, 0, 180, 1, 0x04, 9, 0x82], true), // scalability structure
        (Vp9, &[0x8a, 0x01, 0xf8, 1, 64], false), // one that lies
        (Av1, &[0x18, 0x0a], true),
        (Av1, &[0x10, 0x0a], false),
        (Opus, &[0xfc, 0xff], false),
    ];
    for (codec, payload, key) in cases {
        assert_eq!(begins_keyframe(*codec, payload), *key, "{codec:?} {payload:02x?}");
    }
}

#[test]
fn one_mark_a_key_frame_and_none_for_a_late_one() {
    let mut marker = Marker::default();
    let sps = [0x67, 0x42];
    let idr = [0x65, 0x88];
    assert!(marker.mark(SourceCodec::H264, u32::MAX - 10, &sps));
    assert!(!marker.mark(SourceCodec::H264, u32::MAX - 10, &idr));
    assert!(marker.mark(SourceCodec::H264, 3_000, &idr), "across the wrap");
    assert!(!marker.mark(SourceCodec::H264, u32::MAX - 10, &sps), "late");
}

proptest! {
    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        for codec in ALL {
            begins_keyframe(codec, &payload);
        }
    }
}

fn config() -> Config {
    Config {
        keyframe_age: Span::secs(8),
        keyframe_interval: Span::millis(500),
        ..Config::default()
    }
}

/// Runs a track that gets a packet every 20 ms and answers a request after `answer` (if at all);
/// gives the times of the requests in milliseconds.
fn requests(ms: i64, answer: Option<i64>, want_at: Option<i64>) -> Vec<i64> {
    let config = config();
    let mut patience = Patience::new(HostTime(0));
    patience.on_packet(HostTime(0), true);
    let mut asked = Vec::new();
    let mut answer_at = None;
    for t in (0..ms).map(|ms| ms * 1000) {
        let now = HostTime(t);
        if t % 20_000 == 0 {
            let key = answer_at.is_some_and(|at| at <= t);
            patience.on_packet(now, key);
            if key {
                answer_at = None;
            }
        }
        if want_at == Some(t / 1000) {
            patience.want(now);
        }
        if patience.ask(&config, now) {
            asked.push(t / 1000);
            answer_at = answer_at.or(answer.map(|delay| t + delay * 1000));
        }
    }
    asked
}

#[test]
fn an_old_key_frame_is_renewed_once() {
    assert_eq!(requests(17_000, Some(100), None), [8_000, 16_100]);
}

#[test]
fn a_decoder_is_served_at_once_and_asked_for_until_it_has_its_key_frame() {
    assert_eq!(requests(3_000, Some(600), Some(1_000)), [1_000, 1_500]);
}

#[test]
fn without_an_answer_the_pauses_grow_to_four_seconds() {
    assert_eq!(
        requests(20_000, None, Some(0)),
        [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500]
    );
}

#[test]
fn many_wishes_are_one_request() {
    let config = config();
    let mut patience = Patience::new(HostTime(0));
    patience.on_packet(HostTime(0), true);
    let asked = (0..400).filter(|ms| {
        patience.want(HostTime(ms * 1000));
        patience.ask(&config, HostTime(ms * 1000))
    });
    assert_eq!(asked.count(), 1);
}

#[test]
fn a_lost_first_key_frame_is_asked_for() {
    let config = config();
    let mut patience = Patience::new(HostTime(0));
    assert_eq!(patience.due(&config), Some(HostTime(500_000)));
    patience.on_packet(HostTime(400_000), false);
    assert!(patience.ask(&config, HostTime(500_000)));
}

#[test]
fn a_silent_track_is_left_alone_until_it_speaks() {
    let config = config();
    let mut patience = Patience::new(HostTime(0));
    patience.on_packet(HostTime(0), true);
    assert!(!patience.ask(&config, HostTime(8_000_000)));
    assert_eq!(patience.due(&config), None, "no timer runs meanwhile");
    patience.on_packet(HostTime(9_000_000), false);
    assert!(patience.ask(&config, HostTime(9_000_000)));
}
