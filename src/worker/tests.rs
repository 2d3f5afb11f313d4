//! The transcoder's core with real codecs, on a virtual clock.
#![allow(clippy::unwrap_used)]

use super::testing::*;
use super::*;
use crate::link::wire::VideoCodec;
use crate::teacher::class::{Act, Class};
use hw::codec::VideoOut;

fn small() -> Vec<crate::link::wire::Rung> {
    vec![rung(VideoCodec::H264, 320, 180)]
}

/// Part by part, every frame and every sound block is there, and not one more than is due.
fn assert_exact(watch: &Watch, frames: u64) {
    for samples in &watch.samples[..watch.samples.len() - 1] {
        assert_eq!(samples.len() as u64, frames);
        assert_eq!(samples[0].0, 0);
    }
    let sound = watch.samples.last().unwrap();
    let exact = frames as f64 * 48_000.0 / 30.0 / 1024.0;
    assert!((sound.len() as f64 - exact).abs() <= 0.5, "{} AAC frames for {exact}", sound.len());
}

#[test]
fn every_codec_comes_out_frame_by_frame() {
    for codec in [VideoOut::H264, VideoOut::Vp8, VideoOut::Vp9, VideoOut::Av1] {
        let class = Class { codec, ..class() };
        // SVT-AV1 at this size repeats old blocks in three of four frames: what is sent is compared where
        // it is what was captured.
        let every = if codec == VideoOut::Av1 { 4 } else { 1 };
        let sent = sent_counters(&class, 110);
        let mut world = World::new(class, GOOD);
        let (watch, core) = transcode(&mut world, start(small(), None), 4.0);
        let frames = watch.parts.last().unwrap().part.resume.next_frame;
        assert_eq!(frames, 110, "{codec}: all parts that are due");
        assert_exact(&watch, frames);
        let counters = watch.counters(0);
        for frame in (0..110).step_by(every) {
            assert_eq!(sent[frame], Some(frame as u32), "{codec}");
            assert_eq!(counters[frame], Some(frame as u32), "{codec}: {counters:?}");
        }
        let figures = core.figures();
        assert_eq!(
            (figures.decode_errors, figures.packets_lost, figures.frames_repeated),
            (0, 0, 0)
        );
        let worst = watch.offsets(0).worst().unwrap();
        assert!(worst <= 20.0, "{codec}: beep against flash {worst:.1} ms");
    }
}

#[test]
fn rungs_of_both_codecs_have_the_same_cuts() {
    let rungs = vec![
        rung(VideoCodec::H264, 640, 360),
        rung(VideoCodec::H264, 320, 180),
        rung(VideoCodec::Av1, 320, 180),
    ];
    let mut world = World::new(class(), GOOD);
    let (watch, _) = transcode(&mut world, start(rungs, None), 5.0);
    let frames = watch.parts.last().unwrap().part.resume.next_frame;
    assert_exact(&watch, frames);
    for rendition in 0..3 {
        assert_in_sequence(&watch.counters(rendition), 0);
    }
    for built in &watch.parts {
        assert_eq!(built.part.fragments.len(), 4);
        let independent: Vec<bool> =
            built.part.fragments.iter().take(3).map(|f| f.independent).collect();
        assert!(independent.iter().all(|i| *i == independent[0]));
    }
}

#[test]
fn the_first_part_is_complete_within_a_second_of_the_first_key_frame() {
    let mut world = World::new(class(), GOOD);
    let (watch, _) = transcode(&mut world, start(small(), None), 0.75);
    assert_eq!(
        watch.parts.len(),
        1,
        "within 0.75 s on the virtual clock: the rest is encoding time"
    );
}

#[test]
fn sound_and_picture_that_start_three_seconds_apart_are_in_step() {
    for (video_starts_ms, audio_starts_ms) in [(0, 3000), (3000, 0)] {
        let class = Class { video_starts_ms, audio_starts_ms, ..class() };
        let mut world = World::new(class, GOOD);
        let (watch, _) = transcode(&mut world, start(small(), None), 16.0);
        assert_exact(&watch, watch.parts.last().unwrap().part.resume.next_frame);
        let offsets = watch.offsets(0);
        let worst = offsets.worst().unwrap();
        assert!(offsets.milliseconds.len() >= 8, "{offsets:?}");
        assert!(worst <= 20.0, "video at {video_starts_ms} ms: {offsets:?}");
    }
}

#[test]
fn retransmissions_repair_five_percent_loss_and_jitter() {
    let network = Network {
        loss: 0.05,
        jitter_us: 30_000,
        retransmit_us: Some(40_000),
        duplicates: 0.02,
        ..GOOD
    };
    let mut world = World::new(class(), network);
    let (watch, core) = transcode(&mut world, start(small(), None), 8.0);
    assert_exact(&watch, watch.parts.last().unwrap().part.resume.next_frame);
    let figures = core.figures();
    assert_eq!((figures.packets_lost, figures.decode_errors), (0, 0));
    let counters = watch.counters(0);
    assert!(counters.iter().all(Option::is_some));
    assert!(distinct(&counters) >= counters.len() - 2, "{counters:?}");
}

#[test]
fn five_percent_loss_without_repair_still_makes_every_frame() {
    let network = Network { loss: 0.05, jitter_us: 30_000, seed: 3, ..GOOD };
    let mut world = World::new(class(), network);
    let (watch, core) = transcode(&mut world, start(small(), None), 12.0);
    let frames = watch.parts.last().unwrap().part.resume.next_frame;
    assert_eq!(frames, 350);
    assert_exact(&watch, frames);
    let figures = core.figures();
    assert!(figures.packets_lost > 10, "{figures:?}");
    assert!(watch.keyframes_wanted > 0);
    // Frozen for a while after each loss, never broken: every counter is readable and none goes back.
    let counters: Vec<u32> = watch.counters(0).into_iter().map(Option::unwrap).collect();
    assert!(counters.windows(2).all(|w| w[0] <= w[1]));
    assert!(distinct(&watch.counters(0)) > counters.len() / 3);
    // Lost sound is made up for: less silence than packets lost.
    assert!(figures.samples_silent < 48_000 / 2, "{figures:?}");
}

#[test]
fn a_frozen_and_muted_publisher_leaves_the_last_picture_and_silence() {
    let acts = vec![
        (2.0, Act::StopVideo),
        (2.0, Act::StopAudio),
        (5.0, Act::ResumeVideo),
        (5.0, Act::ResumeAudio),
    ];
    let mut world = World::new(Class { acts, ..class() }, GOOD);
    let (watch, core) = transcode(&mut world, start(small(), None), 9.0);
    let frames = watch.parts.last().unwrap().part.resume.next_frame;
    assert_eq!(frames, 260);
    assert_exact(&watch, frames);
    let counters = watch.counters(0);
    assert_in_sequence(&counters[..60], 0);
    assert!(counters[60..150].iter().all(|c| *c == Some(59)), "the last one stays: {counters:?}");
    assert_in_sequence(&counters[150..], 150);
    let figures = core.figures();
    assert_eq!(figures.frames_repeated, 90);
    let silent = figures.samples_silent;
    assert!((48_000 * 3 - 2_000..48_000 * 3 + 2_000).contains(&silent), "{silent}");
    let sound = watch.sound();
    let loudest = sound[48_000 * 5 / 2..48_000 * 9 / 2].iter().fold(0.0f32, |m, s| m.max(s.abs()));
    assert!(loudest < 1e-3, "silence is silent: {loudest}");
}

#[test]
fn a_source_that_changes_its_size_stays_on_the_canvas() {
    let acts = vec![
        (1.0, Act::Resize { width: 180, height: 320 }),
        (2.0, Act::Resize { width: 640, height: 360 }),
        (3.0, Act::Resize { width: 320, height: 240 }),
        (4.0, Act::Resize { width: 320, height: 180 }),
    ];
    let mut world = World::new(Class { acts, ..class() }, GOOD);
    let (watch, core) = transcode(&mut world, start(small(), None), 6.0);
    assert_exact(&watch, watch.parts.last().unwrap().part.resume.next_frame);
    let counters = watch.counters(0);
    assert_in_sequence(&counters[..30], 0);
    assert_in_sequence(&counters[60..90], 60);
    assert_in_sequence(&counters[120..], 120);
    assert_eq!(core.figures().decode_errors, 0);
    for picture in &watch.pictures(0)[40..50] {
        let row = picture.rows(0).nth(90).unwrap();
        assert!(
            row[..90].iter().chain(&row[230..]).all(|luma| *luma < 32),
            "black beside a portrait"
        );
    }
}

#[test]
fn a_publisher_who_leaves_is_followed_by_stillness_and_then_by_the_next() {
    let mut world = World::new(class(), GOOD);
    let (mut watch, mut core) = transcode(&mut world, start(small(), None), 2.0);
    let mut events = Vec::new();
    let gone = crate::time::HostTime(BEGIN + 2_000_000);
    core.push(&crate::link::ring::Record::Gone { source: SOURCE, arrived: gone });
    for step in 1..=40 {
        let now = gone.plus_micros(step * 100_000);
        while !core.advance(now, &mut events).unwrap() {}
        watch.take(&mut events);
    }
    let frames = watch.parts.last().unwrap().part.resume.next_frame;
    assert_eq!(frames, 170);
    assert_exact(&watch, frames);
    let counters = watch.counters(0);
    assert_in_sequence(&counters[..58], 0);
    assert!(counters[62..].iter().all(|c| *c == counters[62]));
}

#[test]
fn the_end_is_a_short_part_with_all_that_was_composed() {
    let mut world = World::new(class(), GOOD);
    let (mut watch, mut core) = transcode(&mut world, start(small(), None), 2.0);
    let composed = core.next_frame();
    let mut events = Vec::new();
    core.finish(&mut events).unwrap();
    watch.take(&mut events);
    let last = &watch.parts.last().unwrap().part;
    assert!(last.last);
    assert!(composed - last.resume.next_frame <= 1, "{composed} {}", last.resume.next_frame);
    assert_in_sequence(&watch.counters(0), 0);
}

#[test]
fn a_successor_goes_on_with_the_very_next_frame() {
    // At several points of the class: within a segment, and right after one.
    for parts in [3, 7, 12] {
        let class = Class { key_interval_s: 1, ..class() };
        let mut world = World::new(class, GOOD);
        let (mut watch, core) = transcode(&mut world, start(small(), None), 7.0);
        drop(core); // crashed; of what it made, this much was published
        watch.parts.truncate(parts);
        let resume = watch.parts.last().unwrap().part.resume.clone();
        watch.samples[0].truncate(resume.next_frame as usize);
        watch.samples[1].truncate(resume.next_aac as usize);

        let mut next =
            Core::new(start(small(), Some(resume.clone())), encoders::Mode::Inline).unwrap();
        let mut events = Vec::new();
        // From the newest key frame that is early enough, as the live loop seeks.
        let frame_us = resume.next_frame as i64 * 1_000_000 / 30;
        let at = resume.zero.plus_micros(frame_us - live::REREAD_US);
        let early = |owned: &Owned| owned.record().is_keyframe() && owned.record().arrived() <= at;
        let key = world.ring.iter().rposition(early).unwrap_or(0);
        let from = world.ring[key].record().arrived().plus_micros(-live::REORDER_US);
        let from = world.ring.iter().position(|owned| owned.record().arrived() >= from).unwrap();
        let mut taken = false;
        for owned in world.ring.clone().iter().skip(from) {
            let record = owned.record();
            while !next.advance(record.arrived(), &mut events).unwrap() {}
            next.push(&record);
            if !taken && events.iter().any(|event| matches!(event, Event::Begin(_))) {
                watch.successor(&mut events);
                taken = true;
            }
            watch.take(&mut events);
        }
        drive(&mut next, &mut watch, &mut world, 9.0);
        let restart = &watch.parts[parts].part;
        assert_eq!((restart.msn, restart.part), (resume.next_msn, 0));
        assert!(
            restart.fragments.iter().all(|f| f.independent),
            "an IDR at exactly the next frame"
        );
        assert_exact(&watch, watch.parts.last().unwrap().part.resume.next_frame);
        assert_in_sequence(&watch.counters(0), 0);
        // The sound has no seam: beeps stay where they belong, across the restart too.
        let offsets = watch.offsets(0);
        assert!(offsets.unpaired == 0 && offsets.worst().unwrap() <= 20.0, "{offsets:?}");
    }
}

#[test]
fn sound_alone_begins_the_class_with_a_black_picture() {
    let mut world = World::new(Class { video_starts_ms: 2500, ..class() }, GOOD);
    let (watch, _) = transcode(&mut world, start(small(), None), 5.0);
    assert_exact(&watch, watch.parts.last().unwrap().part.resume.next_frame);
    let counters = watch.counters(0);
    assert_eq!(counters[70], None);
    let first = counters.iter().position(Option::is_some).unwrap();
    assert!((74..=76).contains(&first), "{first}");
    assert_in_sequence(&counters[first..], 75);
}

#[test]
fn a_recording_replays_to_the_same_output() {
    let mut world = World::new(class(), GOOD);
    let mut live = Vec::new();
    let (watch, _) = transcode(&mut world, start(small(), None), 3.0);
    for (_, _, data) in &watch.samples[0] {
        live.extend_from_slice(data);
    }
    let mut recorder = recording::Recorder::new(Vec::new()).unwrap();
    for owned in &world.ring {
        recorder.push(&owned.record()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("class.rtp");
    std::fs::write(&file, recorder.finish().unwrap()).unwrap();
    let report = replay::run(start(small(), None), &file, &folder.path().join("out")).unwrap();
    assert_eq!(report.records, world.ring.len() as u64);
    assert!(report.frames >= 80 && report.refused == 0, "{report:?}");
    let segment = std::fs::read(folder.path().join("out/h264-180/0.m4s")).unwrap();
    let (_, _, first) = &watch.samples[0][0];
    assert!(segment.windows(first.len()).any(|w| w == &first[..]), "the same first key frame");
    let playlist = std::fs::read_to_string(folder.path().join("out/index.m3u8")).unwrap();
    assert!(m3u8_rs::parse_master_playlist_res(playlist.as_bytes()).is_ok(), "{playlist}");

    std::fs::write(&file, b"RIFFxxxx").unwrap();
    let error = replay::run(start(small(), None), &file, folder.path()).unwrap_err();
    assert!(error.to_string().contains("not a recording"), "{error}");
}

#[test]
fn a_rung_given_up_before_is_not_encoded_again() {
    let rungs = vec![rung(VideoCodec::H264, 320, 180), rung(VideoCodec::H264, 160, 90)];
    let mut world = World::new(class(), GOOD);
    let start = crate::link::wire::Start { dropped: vec![1], ..start(rungs, None) };
    let (mut watch, mut core) = transcode(&mut world, start, 2.0);
    assert_eq!(
        watch.presentation.as_ref().unwrap().renditions.len(),
        3,
        "the playlists still name it"
    );
    assert!(watch.parts.iter().all(|built| built.part.fragments.iter().all(|f| f.rendition != 1)));
    assert!(watch.dropped.is_empty(), "that was said before");

    let mut events = Vec::new();
    core.drop_rung(1, "again".into(), &mut events).unwrap();
    assert!(events.is_empty());
    let error = core.drop_rung(0, "too slow".into(), &mut events).unwrap_err();
    assert!(error.to_string().contains("too slow"), "{error}");
    watch.take(&mut events);
}

/// As far as the transcoder makes it: on a clock on which encoding takes no time.
#[test]
fn line_28_a_part_comes_every_part_target_and_a_segment_every_target_in_all_renditions_at_once() {
    let rungs = vec![rung(VideoCodec::H264, 320, 180), rung(VideoCodec::H264, 160, 90)];
    let network = Network { jitter_us: 30_000, ..GOOD };
    let mut world = World::new(class(), network);
    let (mut watch, mut core) = transcode(&mut world, start(rungs, None), 0.1);
    let (mut parts, mut segments) = (Vec::new(), Vec::new());
    // To the millisecond: a part has 15 or 16 AAC frames, 341 ms, wherever the class began among them.
    for millisecond in 101..=13_000 {
        drive(&mut core, &mut watch, &mut world, f64::from(millisecond) / 1000.0);
        for built in &watch.parts[parts.len()..] {
            assert_eq!(built.part.fragments.len(), 3, "no rendition is ahead of another");
            parts.push(millisecond);
            if built.part.last {
                segments.push(millisecond);
            }
        }
    }
    assert!(parts.len() >= 36 && segments.len() == 3, "{parts:?} {segments:?}");
    let longest = |times: &[i32]| times.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest(&parts) <= Some(343), "part target 1/3 s: {parts:?}");
    assert!(longest(&segments) <= Some(6000), "1.5 target durations of 4 s: {segments:?}");
}
