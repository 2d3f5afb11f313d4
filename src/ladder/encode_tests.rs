//! The ladder with real encoders, on pictures made here.

use super::*;
use crate::time::Bitrate;
use hw::codec::VideoDecoder;
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);

fn format() -> OutputFormat {
    OutputFormat {
        fps: 30,
        part_frames: 5,
        segment_frames: 20,
        gop_frames: 10,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 0,
    }
}

fn rung(codec: VideoCodec, height: u32, preset: &str) -> Rung {
    let name = format!("{}-{height}", crate::ladder::short_name(codec));
    let width = crate::ladder::config::width_of(height);
    let bitrate = Bitrate(600_000);
    Rung { name, codec, width, height, bitrate, preset: preset.into(), threads: 1 }
}

fn rungs() -> Vec<Rung> {
    vec![
        rung(VideoCodec::H264, 360, "superfast"),
        rung(VideoCodec::H264, 180, "superfast"),
        rung(VideoCodec::Av1, 360, "9"),
    ]
}

/// A bright square that moves over a gradient.
fn picture(n: u64) -> Picture {
    let mut picture = Picture::black(640, 360).unwrap();
    let [mut y, ..] = picture.to_mut().unwrap();
    let left = (n as usize * 7) % 500;
    for (row, line) in y.rows().enumerate() {
        for (column, pixel) in line.iter_mut().enumerate() {
            let inside = (left..left + 100).contains(&column) && (100..200).contains(&row);
            *pixel = if inside { 220 } else { 30 + (column / 8 + row / 8) as u8 };
        }
    }
    picture
}

fn samples(out: Vec<Output>, rung: usize) -> Vec<Encoded> {
    out.into_iter()
        .filter_map(|output| match output {
            Output::Encoded(encoded) if encoded.rung == rung => Some(encoded),
            Output::Encoded(_) => None,
            Output::Failed(error) => panic!("{error}"),
        })
        .collect()
}

#[test]
fn every_rung_gives_every_frame_once_with_the_same_key_frames() {
    let told = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&told);
    let notify = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let mut ladder = Ladder::start(&rungs(), &format(), (640, 360), notify).unwrap();
    assert!(ladder.left_out().is_empty());
    let headers: Vec<_> = ladder.headers().cloned().collect();
    let mut out = Vec::new();
    // Not at zero: a resumed class.
    let cadence = crate::ladder::cadence::Cadence::new(&format(), 95);
    for frame in 95..130 {
        ladder.push(frame, picture(frame), cadence.is_key(frame), &mut out).unwrap();
    }
    let figures = |ladder: &Ladder| ladder.figures().iter().map(|f| f.encoded).sum::<u64>();
    assert!(figures(&ladder) > 0);
    assert!(ladder.finish(PATIENCE, &mut out).unwrap());
    assert!(told.load(Ordering::Relaxed) >= 3 * 35);
    let by_rung = |n| -> Vec<_> {
        out.iter()
            .filter_map(|output| match output {
                Output::Encoded(encoded) if encoded.rung == n => Some(encoded.clone()),
                _ => None,
            })
            .collect()
    };
    for (n, header) in headers.iter().enumerate() {
        let samples = by_rung(n);
        let frames: Vec<_> = samples.iter().map(|sample| sample.frame).collect();
        assert_eq!(frames, (95..130).collect::<Vec<_>>(), "rung {n}");
        let keys: Vec<_> = samples.iter().filter(|s| s.key).map(|s| s.frame).collect();
        assert_eq!(keys, [95, 105, 115, 125], "rung {n}");
        let mut decoder = VideoDecoder::of_samples(header, 1).unwrap();
        let mut pictures = Vec::new();
        for sample in &samples {
            decoder.decode(&sample.data, sample.frame as i64, &mut pictures).unwrap();
        }
        assert_eq!(pictures.len(), 35);
        let mut scaler = hw::codec::Scaler::new((640, 360), pictures[0].1.size()).unwrap();
        for (frame, decoded) in &pictures {
            let original = scaler.scale(&picture(*frame as u64)).unwrap();
            assert!(decoded.psnr(&original).unwrap() > 28.0, "rung {n} frame {frame}");
        }
    }
}

#[test]
fn headers_are_the_same_for_a_successor() {
    let start = || Ladder::start(&rungs(), &format(), (640, 360), || {}).unwrap();
    let (a, b) = (start(), start());
    assert!(a.headers().eq(b.headers()));
}

#[test]
fn a_rung_given_up_leaves_the_others_whole() {
    let mut ladder = Ladder::start(&rungs(), &format(), (640, 360), || {}).unwrap();
    let mut out = Vec::new();
    for frame in 0..20 {
        if frame == 10 {
            ladder.drop_rung(2);
            ladder.drop_rung(0);
            assert!(!ladder.is_live(0) && ladder.is_live(1) && !ladder.is_live(9));
        }
        ladder.push(frame, picture(frame), frame % 10 == 0, &mut out).unwrap();
    }
    let figures = ladder.figures();
    assert!(figures[0].encoded <= 10 && figures[2].encoded <= 10, "{figures:?}");
    assert!(ladder.finish(PATIENCE, &mut out).unwrap());
    assert_eq!(samples(out, 1).len(), 20);
}

#[test]
fn an_encoder_that_does_not_open_is_left_out_and_says_why() {
    let mut wanted = rungs();
    wanted[0].preset = "quick".into();
    wanted[2].preset = "99".into();
    let ladder = Ladder::start(&wanted, &format(), (640, 360), || {}).unwrap();
    assert_eq!(ladder.rungs().map(|rung| rung.name.as_str()).collect::<Vec<_>>(), ["h264-180"]);
    let said: Vec<_> = ladder.left_out().iter().map(ToString::to_string).collect();
    assert!(said[0].contains("h264-360") && said[0].contains("superfast"), "{said:?}");
    assert!(said[1].contains("av1-360") && said[1].contains("0 (slow) to 13"), "{said:?}");
    assert_eq!(ladder.left_out()[1].rung(), Some(2));

    wanted[1].preset = "quick".into();
    let error = Ladder::start(&wanted, &format(), (640, 360), || {}).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LadderError::NoH264(Some(_))), "{error}");
}

#[test]
fn wrong_frames_are_refused_and_the_ladder_goes_on() {
    let rungs = [rung(VideoCodec::H264, 180, "ultrafast")];
    let mut ladder = Ladder::start(&rungs, &format(), (640, 360), || {}).unwrap();
    let mut out = Vec::new();
    ladder.push(7, picture(7), false, &mut out).unwrap();
    let error = ladder.push(9, picture(9), false, &mut out).unwrap_err();
    assert_eq!(error, LadderError::Order { last: 7, got: 9 });
    let small = Picture::black(64, 64).unwrap();
    assert!(matches!(ladder.push(8, small, false, &mut out), Err(LadderError::Scaling(_))));
    ladder.push(8, picture(8), false, &mut out).unwrap();
    assert!(ladder.finish(PATIENCE, &mut out).unwrap());
    let samples = samples(out, 0);
    assert_eq!(
        samples.iter().map(|s| (s.frame, s.key)).collect::<Vec<_>>(),
        [(7, true), (8, false)]
    );
}

#[test]
fn a_hanging_encoder_is_given_up_and_a_caller_that_does_not_drain_loses_nothing() {
    // The encoder's thread calls notify; one that does not return is an encoder that hangs.
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let (inside, hang) = (Arc::clone(&gate), Arc::new(AtomicBool::new(true)));
    let hangs = Arc::clone(&hang);
    let notify = move || {
        let small = std::thread::current().name().is_some_and(|name| name.contains("h264-180"));
        if small && hangs.load(Ordering::Relaxed) {
            drop(inside.lock());
        }
    };
    let mut ladder = Ladder::start(&rungs()[..2], &format(), (640, 360), notify).unwrap();
    ladder.stall = Duration::from_millis(300);
    let mut out = Vec::new();
    for frame in 0..30 {
        ladder.push(frame, picture(frame), frame % 10 == 0, &mut out).unwrap();
    }
    assert!(!ladder.is_live(1) && ladder.is_live(0));
    hang.store(false, Ordering::Relaxed);
    drop(held);
    assert!(ladder.finish(PATIENCE, &mut out).unwrap());
    let failed: Vec<_> = out
        .iter()
        .filter_map(|output| match output {
            Output::Failed(error) => Some(error.to_string()),
            Output::Encoded(_) => None,
        })
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].contains("h264-180"), "{failed:?}");
    out.retain(|output| matches!(output, Output::Encoded(_)));
    assert_eq!(samples(out, 0).len(), 30);
}
