//! The process boundary: its messages, and the ring's records.

use proscenium::link::ring::{Record, RtpRecord};
use proscenium::link::wire::{
    Figures, Fragment, FromTranscoder, Layout, Message, OutputFormat, Part, Presentation,
    Rendition, Resume, Rung, RungFigures, Seat, Stage, Start, ToTranscoder, TrackClock, VideoCodec,
    decode, encode,
};
use proscenium::time::{
    Bitrate, HostTime, MediaTime, PersonId, RoomName, SourceCodec, SourceId, TrackId,
};
use std::fmt::Debug;

/// What is decoded can be sent on, and means the same at the other end.
fn message<T: Message + PartialEq + Debug>(input: &[u8]) {
    if let Ok(message) = decode::<T>(input) {
        let bytes = encode(&message).expect("what was decoded keeps the rules");
        assert_eq!(decode::<T>(&bytes).expect("what was encoded is well-formed"), message);
    }
}

pub fn from_transcoder(input: &[u8]) {
    message::<FromTranscoder>(input);
}

pub fn to_transcoder(input: &[u8]) {
    message::<ToTranscoder>(input);
}

pub const FORMAT: OutputFormat = OutputFormat {
    fps: 30,
    part_frames: 10,
    segment_frames: 120,
    gop_frames: 60,
    audio_bitrate: Bitrate(96_000),
    playout_delay_us: 150_000,
};

/// Two renditions of pictures, one of sound.
pub fn presentation() -> Presentation {
    let rendition = |name: &str, codecs: &str, size| Rendition {
        name: name.to_owned(),
        codecs: codecs.to_owned(),
        bitrate: Bitrate(500_000),
        size,
        init: format!("init of {name}").into_bytes(),
    };
    Presentation {
        zero: HostTime(1_000_000),
        format: FORMAT,
        renditions: vec![
            rendition("h264-360", "avc1.64001e", Some((640, 360))),
            rendition("av1-720", "av01.0.05M.08", Some((1280, 720))),
            rendition("audio", "mp4a.40.2", None),
        ],
    }
}

fn resume() -> Resume {
    let clock = TrackClock { track: TrackId(2), rtp: 90_000, media: MediaTime(7), rate: 90_000 };
    Resume {
        zero: HostTime(1_000_000),
        next_msn: 1,
        next_frame: 10,
        next_aac: 16,
        next_sequence: 2,
        clocks: vec![clock],
        composed: Default::default(),
    }
}

pub fn from_transcoder_seeds() -> Vec<Vec<u8>> {
    let fragment = |rendition| Fragment {
        rendition,
        offset: u32::from(rendition) * 100,
        len: 100,
        duration: MediaTime::from_units(10, 30),
        independent: true,
    };
    let part = Part {
        msn: 0,
        part: 0,
        last: false,
        start: MediaTime::ZERO,
        arrived: HostTime(2_000_000),
        fragments: (0..3).map(fragment).collect(),
        resume: resume(),
    };
    let rung = RungFigures { encoded: 1, dropped: 2, encode_us: 3, bytes: 4 };
    let figures = Figures {
        frames_decoded: 1,
        decode_errors: 2,
        packets_lost: 3,
        ring_overruns: 4,
        frames_repeated: 5,
        samples_silent: 6,
        lag_us: -7,
        cpu_us: 8,
        rungs: vec![rung; 2],
    };
    [
        FromTranscoder::Hello { pid: 7 },
        FromTranscoder::Begin(Box::new(presentation())),
        FromTranscoder::Part(Box::new(part)),
        FromTranscoder::KeyframeWanted(TrackId(1)),
        FromTranscoder::RungDropped { rendition: 1, reason: "too slow".to_owned() },
        FromTranscoder::Figures(Box::new(figures)),
        FromTranscoder::Ended,
    ]
    .iter()
    .map(|message| encode(message).expect("a good message"))
    .collect()
}

fn stage() -> Stage {
    let person = PersonId::new(1);
    let (camera, screen) = (Some(SourceId(1)), Some(SourceId(2)));
    let seat = Seat { person, name: "A".to_owned(), camera, screen, muted: true };
    Stage { layout: Layout::Grid, seats: vec![seat], speaker: Some(person), pinned: None }
}

pub fn to_transcoder_seeds() -> Vec<Vec<u8>> {
    let rung = |name: &str, codec| Rung {
        name: name.to_owned(),
        codec,
        width: 640,
        height: 360,
        bitrate: Bitrate(600_000),
        preset: "superfast".to_owned(),
        threads: 1,
    };
    let start = Start {
        room: RoomName::parse("bar").expect("a room name"),
        format: FORMAT,
        rungs: vec![rung("h264-360", VideoCodec::H264), rung("av1-360", VideoCodec::Av1)],
        resume: Some(resume()),
        failures: 1,
        dropped: vec![1],
        stage: stage(),
    };
    [ToTranscoder::Start(Box::new(start)), ToTranscoder::Stop]
        .iter()
        .map(|message| encode(message).expect("a good message"))
        .collect()
}

/// A record has one spelling: what parses is written again as it was.
pub fn ring_record(input: &[u8]) {
    if let Ok(record) = Record::parse(input) {
        let (header, payload) = record.to_bytes();
        assert_eq!([&header, payload].concat(), input);
    }
}

pub fn ring_record_seeds() -> Vec<Vec<u8>> {
    let packet = RtpRecord {
        source: SourceId(1),
        track: TrackId(2),
        codec: SourceCodec::Vp8,
        keyframe: true,
        marker: true,
        layer: 2,
        seq: 65_536,
        timestamp: 90_000,
        arrived: HostTime(1_000_000),
        payload: b"payload",
    };
    let (source, track, arrived) = (packet.source, packet.track, packet.arrived);
    let report = Record::SenderReport { source, track, ntp: 1 << 32, rtp: 90_000, arrived };
    let stage = encode(&stage()).expect("a good stage");
    let stage = Record::Stage { arrived, payload: &stage };
    [Record::Rtp(packet), report, Record::Gone { source, arrived }, stage]
        .iter()
        .map(|record| {
            let (header, payload) = record.to_bytes();
            [&header, payload].concat()
        })
        .collect()
}
