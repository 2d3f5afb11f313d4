//! Messages for tests: plausible ones, and strategies for arbitrary ones that keep the rules.

use super::*;
use crate::time::{PersonId, SourceId};
use proptest::collection::vec;
use proptest::prelude::*;

/// 30 fps, parts of a third of a second, segments of 4 s, groups of 2 s.
pub(crate) const FORMAT: OutputFormat = OutputFormat {
    fps: 30,
    part_frames: 10,
    segment_frames: 120,
    gop_frames: 60,
    audio_bitrate: Bitrate(96_000),
    playout_delay_us: 150_000,
};

/// A new class with one rung.
pub(crate) fn start() -> Start {
    let rung = Rung {
        name: "h264-360".into(),
        codec: VideoCodec::H264,
        width: 640,
        height: 360,
        bitrate: Bitrate(600_000),
        preset: "superfast".into(),
        threads: 1,
    };
    let room = RoomName::parse("test").expect("a room name");
    Start {
        room,
        format: FORMAT,
        rungs: vec![rung],
        resume: None,
        failures: 0,
        dropped: vec![],
        stage: Stage::default(),
    }
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..1000_u64, 0..(1_u64 << 40)]
}

fn host() -> impl Strategy<Value = HostTime> {
    (0..(1_i64 << 56)).prop_map(HostTime)
}

fn media() -> impl Strategy<Value = MediaTime> {
    (-(1_i64 << 56)..(1_i64 << 56)).prop_map(MediaTime)
}

pub(crate) fn format() -> impl Strategy<Value = OutputFormat> {
    (
        prop_oneof![Just(24_u32), Just(25), Just(30), Just(50), Just(60)],
        1..4_u32,
        1..3_u32,
        0..=10_000_000_u32,
    )
        .prop_flat_map(|(fps, gops, seconds, playout_delay_us)| {
            (1..=fps, 8_000..512_000_u64).prop_map(move |(part_frames, audio)| OutputFormat {
                fps,
                part_frames,
                segment_frames: fps * seconds * gops,
                gop_frames: fps * seconds,
                audio_bitrate: Bitrate(audio),
                playout_delay_us,
            })
        })
}

pub(crate) fn resume() -> impl Strategy<Value = Resume> {
    let clock =
        (any::<u32>(), media(), media(), 1..=192_000_u32).prop_map(|(track, rtp, media, rate)| {
            TrackClock { track: TrackId(track), rtp: rtp.0, media, rate }
        });
    (host(), count(), count(), count(), any::<u32>(), vec(clock, 0..64), composed()).prop_map(
        |(zero, next_msn, next_frame, next_aac, next_sequence, clocks, composed)| Resume {
            zero,
            next_msn,
            next_frame,
            next_aac,
            next_sequence,
            clocks,
            composed,
        },
    )
}

pub(crate) fn composed() -> impl Strategy<Value = Composed> {
    let shown = (any::<u32>(), proptest::option::of(count()))
        .prop_map(|(track, idle_since)| Shown { track: TrackId(track), idle_since });
    let tile = (any::<u32>().prop_map(SourceId), any::<[u16; 4]>().prop_map(|r| r.map(|v| v >> 3)));
    let motion = (count(), vec(tile, 0..=64)).prop_map(|(since, from)| Motion { since, from });
    (stage(), vec(shown, 0..=64), proptest::option::of(motion))
        .prop_map(|(stage, shown, motion)| Composed { stage, shown, motion })
}

fn rung(number: usize) -> impl Strategy<Value = Rung> {
    (
        any::<bool>(),
        8..4096_u32,
        8..4096_u32,
        1_000..1_000_000_000_u64,
        "[a-zA-Z0-9._-]{1,32}",
        1..=64_u32,
    )
        .prop_map(move |(av1, w, h, bits, preset, threads)| Rung {
            name: format!("rung-{number}"),
            codec: if av1 { VideoCodec::Av1 } else { VideoCodec::H264 },
            width: w * 2,
            height: h * 2,
            bitrate: Bitrate(bits),
            preset,
            threads,
        })
}

fn room() -> impl Strategy<Value = RoomName> {
    "[a-z0-9_][a-z0-9_-]{0,63}".prop_map(|name| RoomName::parse(&name).expect("a room name"))
}

pub(crate) fn stage() -> impl Strategy<Value = Stage> {
    let layout = prop_oneof![
        Just(Layout::Auto),
        Just(Layout::Speaker),
        Just(Layout::Grid),
        Just(Layout::Screen),
        Just(Layout::Single),
    ];
    let seat = ("[^\\p{C}]{0,20}", any::<bool>(), any::<bool>(), any::<bool>());
    (layout, vec(seat, 0..=MAX_SEATS), any::<bool>()).prop_map(|(layout, seats, speaks)| {
        let seats: Vec<Seat> = (0_u32..)
            .zip(seats)
            .map(|(i, (name, camera, screen, muted))| Seat {
                person: PersonId::new(u64::from(i)),
                name,
                camera: camera.then_some(SourceId(2 * i)),
                screen: screen.then_some(SourceId(2 * i + 1)),
                muted,
            })
            .collect();
        let speaker = seats.first().map(|seat| seat.person).filter(|_| speaks);
        Stage { layout, seats, speaker, pinned: speaker }
    })
}

pub(crate) fn to_transcoder() -> impl Strategy<Value = ToTranscoder> {
    let start = (1..16_usize).prop_flat_map(|n| {
        let rungs = (0..n).map(rung).collect::<Vec<_>>();
        (room(), format(), rungs, proptest::option::of(resume()), any::<u32>(), stage()).prop_map(
            |(room, format, rungs, resume, failures, stage)| {
                let dropped = (1..rungs.len()).map(|i| i as u8).collect();
                let start = Start { room, format, rungs, resume, failures, dropped, stage };
                Box::new(start)
            },
        )
    });
    prop_oneof![
        4 => start.clone().prop_map(ToTranscoder::Start),
        2 => start.prop_map(ToTranscoder::Prepare),
        1 => Just(ToTranscoder::Stop),
    ]
}

pub(crate) fn presentation() -> impl Strategy<Value = Presentation> {
    let rendition = |sound: bool, number: usize| {
        (vec(any::<u8>(), 8..2000), "[a-zA-Z0-9.]{1,64}", 1_000..1_000_000_u64, 8..4096_u32)
            .prop_map(move |(init, codecs, bits, side)| Rendition {
                name: if sound { "audio".into() } else { format!("v{number}") },
                codecs,
                bitrate: Bitrate(bits),
                size: (!sound).then_some((side * 2, side * 2)),
                init,
            })
    };
    (0..16_usize).prop_flat_map(move |pictures| {
        let renditions = (0..=pictures).map(|i| rendition(i == pictures, i)).collect::<Vec<_>>();
        (host(), format(), renditions).prop_map(|(zero, format, renditions)| Presentation {
            zero,
            format,
            renditions,
        })
    })
}

pub(crate) fn part() -> impl Strategy<Value = Part> {
    let fragment = (0..1000_u32, 1..100_000_000_u32, 1..=30 * MediaTime::HZ, any::<bool>());
    let fragments = (vec(fragment, 1..=16), any::<u16>()).prop_map(|(list, holes)| {
        let mut offset = 0;
        let all: Vec<_> = list
            .into_iter()
            .zip(0_u8..)
            .map(|((gap, len, duration, independent), rendition)| {
                let fragment = Fragment {
                    rendition,
                    offset: offset + gap,
                    len,
                    duration: MediaTime(duration),
                    independent,
                };
                offset += gap + len;
                fragment
            })
            .collect();
        let some: Vec<_> =
            all.iter().copied().filter(|f| holes & (1 << f.rendition) == 0).collect();
        if some.is_empty() { all } else { some }
    });
    (count(), 0..10_000_u32, any::<bool>(), media(), host(), fragments, resume()).prop_map(
        |(msn, part, last, start, arrived, fragments, mut resume)| {
            resume.next_msn = msn + 1;
            Part { msn, part, last, start, arrived, fragments, resume }
        },
    )
}

pub(crate) fn from_transcoder() -> impl Strategy<Value = FromTranscoder> {
    let rung_figures = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(encoded, dropped, encode_us, bytes)| RungFigures { encoded, dropped, encode_us, bytes },
    );
    let figures = (any::<[u64; 7]>(), any::<i64>(), vec(rung_figures, 0..=16)).prop_map(
        |(n, lag_us, rungs)| Figures {
            frames_decoded: n[0],
            decode_errors: n[1],
            packets_lost: n[2],
            ring_overruns: n[3],
            frames_repeated: n[4],
            samples_silent: n[5],
            lag_us,
            cpu_us: n[6],
            rungs,
        },
    );
    prop_oneof![
        (1..i32::MAX as u32).prop_map(|pid| FromTranscoder::Hello { pid }),
        presentation().prop_map(|p| FromTranscoder::Begin(Box::new(p))),
        part().prop_map(|p| FromTranscoder::Part(Box::new(p))),
        any::<u32>().prop_map(|t| FromTranscoder::KeyframeWanted(TrackId(t))),
        (0..16_u8, "[a-zA-Z ä.,]{0,200}")
            .prop_map(|(rendition, reason)| FromTranscoder::RungDropped { rendition, reason }),
        figures.prop_map(|f| FromTranscoder::Figures(Box::new(f))),
        Just(FromTranscoder::Ended),
    ]
}
