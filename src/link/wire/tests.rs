#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn messages_come_back_as_they_were(to in samples::to_transcoder(), from in samples::from_transcoder()) {
        prop_assert_eq!(&decode::<ToTranscoder>(&encode(&to).unwrap()).unwrap(), &to);
        prop_assert_eq!(&decode::<FromTranscoder>(&encode(&from).unwrap()).unwrap(), &from);
    }

    #[test]
    fn noise_is_refused_or_keeps_the_rules(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut datagram = b"PC".to_vec();
        datagram.extend_from_slice(&VERSION.to_le_bytes());
        datagram.extend_from_slice(&body);
        if let Ok(message) = decode::<FromTranscoder>(&datagram) {
            prop_assert!(encode(&message).is_ok());
        }
        if let Ok(message) = decode::<ToTranscoder>(&datagram) {
            prop_assert!(encode(&message).is_ok());
        }
        let _ = decode::<FromTranscoder>(&body);
    }

    #[test]
    fn damaged_messages_are_refused_or_keep_the_rules(
        message in samples::from_transcoder(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut datagram = encode(&message).unwrap();
        prop_assert!(decode::<FromTranscoder>(&datagram[..cut.index(datagram.len())]).is_err(), "cut short");
        for (at, value) in damage {
            let at = at.index(datagram.len());
            datagram[at] = value;
        }
        if let Ok(message) = decode::<FromTranscoder>(&datagram) {
            prop_assert!(encode(&message).is_ok());
        }
        datagram.push(0);
        prop_assert!(decode::<FromTranscoder>(&datagram).is_err(), "bytes after the end");
    }
}

#[test]
fn the_preamble_tells_apart_what_is_wrong() {
    let good = encode(&ToTranscoder::Stop).unwrap();
    assert_eq!(good, b"PC\x03\x00\x02");
    assert_eq!(decode::<ToTranscoder>(b"PC"), Err(WireError::Truncated(2)));
    assert_eq!(decode::<ToTranscoder>(b"XC\x03\x00\x02"), Err(WireError::Magic(*b"XC")));
    let error = decode::<ToTranscoder>(b"PC\x09\x00\x02").unwrap_err();
    assert_eq!(
        error.to_string(),
        "link protocol version 9, this program speaks 3: daemon and transcoder must be the same build"
    );
    assert_eq!(
        decode::<ToTranscoder>(&vec![0; MAX_MESSAGE + 1]),
        Err(WireError::TooLarge(MAX_MESSAGE + 1))
    );
    assert!(matches!(decode::<ToTranscoder>(b"PC\x03\x00\x07"), Err(WireError::Body(_))));
}

#[test]
fn the_largest_presentation_fits_a_message() {
    let rendition = |i: usize| Rendition {
        name: if i == 15 { "audio".into() } else { format!("av1-very-long-rendition-name-{i:03}") },
        codecs: "av01.0.08M.08.0.110.01.01.01.0".into(),
        bitrate: Bitrate(8_000_000),
        size: (i < 15).then_some((3840, 2160)),
        init: vec![0xff; 1500],
    };
    let presentation = Presentation {
        zero: HostTime(1),
        format: samples::FORMAT,
        renditions: (0..MAX_RENDITIONS).map(rendition).collect(),
    };
    assert!(
        encode(&FromTranscoder::Begin(Box::new(presentation))).unwrap().len() < MAX_MESSAGE / 2
    );
}

/// A list that claims 2^60 entries in a message of 20 bytes must cost next to nothing.
#[test]
fn a_claimed_length_takes_no_memory() {
    // Begin: zero, format (fps 30, part 10, segment 120, gop 60, 96000, 0), then the renditions' count.
    let mut datagram = b"PC\x03\x00\x02\x02\x1e\x0a\x78\x3c\x80\xee\x05\x00".to_vec();
    datagram.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(decode::<FromTranscoder>(&datagram), Err(WireError::Body(_))));
}

fn part() -> Part {
    let fragment = |rendition, offset, len| Fragment {
        rendition,
        offset,
        len,
        duration: MediaTime::from_units(1, 3),
        independent: true,
    };
    let resume = Resume {
        zero: HostTime(1),
        next_msn: 4,
        next_frame: 370,
        next_aac: 580,
        next_sequence: 37,
        clocks: vec![],
        composed: Default::default(),
    };
    Part {
        msn: 3,
        part: 0,
        last: false,
        start: MediaTime::from_units(12, 1),
        arrived: HostTime(13_000_000),
        fragments: vec![fragment(0, 0, 100), fragment(2, 100, 50)],
        resume,
    }
}

fn verdict(change: impl FnOnce(&mut Part)) -> Result<Vec<u8>, WireError> {
    let mut part = part();
    change(&mut part);
    encode(&FromTranscoder::Part(Box::new(part)))
}

#[test]
fn a_part_keeps_its_rules() {
    assert!(verdict(|_| {}).is_ok());
    let rule = |change: fn(&mut Part)| match verdict(change) {
        Err(WireError::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(|p| p.fragments.clear()), "a part has 1 to 16 fragments");
    assert_eq!(rule(|p| p.fragments[1].offset = 99), "fragments overlap or are out of order");
    assert_eq!(rule(|p| p.fragments[0].len = 0), "a fragment is empty");
    assert_eq!(
        rule(|p| p.fragments[1].rendition = 0),
        "fragments are not one a rendition, in order"
    );
    assert_eq!(
        rule(|p| p.fragments[1].rendition = 16),
        "fragments are not one a rendition, in order"
    );
    assert_eq!(rule(|p| p.fragments.swap(0, 1)), "fragments are not one a rendition, in order");
    assert_eq!(rule(|p| p.fragments[1].len = u32::MAX), "a fragment ends beyond 4 GiB");
    assert_eq!(
        rule(|p| p.fragments[0].duration = MediaTime::ZERO),
        "duration of a fragment out of range"
    );
    assert_eq!(rule(|p| p.resume.next_msn = 3), "a successor would reopen a published segment");
    assert_eq!(rule(|p| p.arrived = HostTime(-1)), "monotonic time out of range");
    assert_eq!(rule(|p| p.start = MediaTime(i64::MIN)), "media time out of range");
    assert_eq!(rule(|p| p.msn = u64::MAX), "part number out of range");
}

#[test]
fn a_start_keeps_its_rules() {
    let rule = |change: fn(&mut Start)| {
        let mut start = samples::start();
        change(&mut start);
        match encode(&ToTranscoder::Start(Box::new(start))) {
            Err(WireError::Rule(rule)) => rule,
            other => panic!("{other:?}"),
        }
    };
    assert!(encode(&ToTranscoder::Start(Box::new(samples::start()))).is_ok());
    assert_eq!(rule(|s| s.format.fps = 29), "frame rate is not one of 24, 25, 30, 50, 60");
    assert_eq!(
        rule(|s| s.format.gop_frames = 50),
        "segment is no whole number of groups of pictures"
    );
    assert_eq!(
        rule(|s| s.format.gop_frames = 0),
        "segment is no whole number of groups of pictures"
    );
    assert_eq!(rule(|s| s.format.part_frames = 121), "part is empty or longer than a segment");
    assert_eq!(rule(|s| s.rungs.clear()), "a ladder has 1 to 15 rungs");
    assert_eq!(
        rule(|s| s.rungs[0].name = "../x".into()),
        "a rendition's name has a-z, 0-9, '-' and '_' only"
    );
    assert_eq!(rule(|s| s.rungs[0].name = "audio".into()), "a rung is named like the sound");
    assert_eq!(
        rule(|s| s.rungs[0].width = 641),
        "a picture's sides are even and within 16 to 8192"
    );
    assert_eq!(rule(|s| s.rungs[0].preset = "fast:x=1".into()), "encoder preset is no word");
    assert_eq!(rule(|s| s.rungs.push(s.rungs[0].clone())), "two rungs have one name");
}
