//! The transcoder with several people on stage, whole: records in, encoded parts out.
#![allow(clippy::unwrap_used)]

use super::testing::*;
use super::*;
use crate::compose::scene;
use crate::compose::testing::{
    BEGIN, Crowd, alike, camera_of, colour, pixel, same_hue, seat, track_of,
};
use crate::link::ring::Record;
use crate::link::wire::{Layout, Seat, Stage, Start, VideoCodec};
use crate::time::HostTime;
use hw::codec::Picture;

const CANVAS: (u32, u32) = (640, 360);
const LAYERS: [(u32, u32); 3] = [(160, 90), (320, 180), (640, 360)];

fn stage(layout: Layout, people: u32) -> Stage {
    Stage { layout, seats: (0..people).map(seat).collect(), ..Stage::default() }
}

fn beginning(stage: &Stage) -> Start {
    let rungs = vec![rung(VideoCodec::H264, CANVAS.0, CANVAS.1)];
    Start { stage: stage.clone(), ..start(rungs, None) }
}

/// Brings records until `seconds` through a transcoder.
fn drive(core: &mut Core, watch: &mut Watch, crowd: &mut Crowd, seconds: f64) {
    let mut events = Vec::new();
    crowd.run(seconds, |record| {
        while !core.advance(record.arrived(), &mut events).unwrap() {
            watch.take(&mut events);
        }
        watch.asked.clear();
        watch.take(&mut events);
        core.push(record);
        watch.asked.clone()
    });
    while !core.advance(HostTime(BEGIN + (seconds * 1e6) as i64), &mut events).unwrap() {}
    watch.take(&mut events);
}

/// The colour in the middle of a person's tile.
fn seen(picture: &Picture, stage: &Stage, person: u32) -> [u8; 3] {
    let cameras = stage.seats.iter().filter_map(|seat: &Seat| Some((seat.camera?, CANVAS)));
    let scene = scene::of(stage, &cameras.collect(), CANVAS);
    let tile = scene.tiles.iter().find(|tile| tile.source == camera_of(person)).unwrap();
    pixel(picture, tile.rect.x + tile.rect.width / 2, tile.rect.y + tile.rect.height / 2)
}

#[test]
fn people_come_and_go_and_every_frame_is_there() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[1..2]);
    crowd.microphone(0, 440.0, 0.3);
    let one = stage(Layout::Grid, 1);
    let mut core = Core::new(beginning(&one), encoders::Mode::Inline).unwrap();
    let mut watch = Watch::default();
    drive(&mut core, &mut watch, &mut crowd, 2.0);
    let two = stage(Layout::Grid, 2);
    crowd.camera(1, &LAYERS[1..2]);
    crowd.set_stage(&two);
    drive(&mut core, &mut watch, &mut crowd, 4.0);
    crowd.leave(camera_of(1), |record| core.push(record));
    crowd.set_stage(&one);
    drive(&mut core, &mut watch, &mut crowd, 6.0);
    let frames = watch.parts.last().unwrap().part.resume.next_frame;
    assert_eq!(frames, 170);
    let pictures = watch.pictures(0);
    assert_eq!(pictures.len() as u64, frames);
    for (number, stage) in [(40, &one), (100, &two), (160, &one)] {
        for person in 0..stage.seats.len() as u32 {
            let seen = seen(&pictures[number], stage, person);
            assert!(alike(seen, colour(person, 0)), "{person} in frame {number}: {seen:?}");
        }
    }
}

#[test]
fn a_crash_while_the_layout_changes_is_not_seen() {
    let mut crowd = Crowd::default();
    for person in 0..2 {
        crowd.camera(person, &LAYERS);
        crowd.microphone(person, 300.0 + 200.0 * person as f32, 0.2);
    }
    let mut now = stage(Layout::Speaker, 2);
    crowd.set_stage(&now);
    let mut core = Core::new(beginning(&now), encoders::Mode::Inline).unwrap();
    let mut watch = Watch::default();
    drive(&mut core, &mut watch, &mut crowd, 3.0);
    now.layout = Layout::Grid;
    crowd.set_stage(&now);
    drive(&mut core, &mut watch, &mut crowd, 6.0);
    let whole = watch.pictures(0);

    // The tiles set out at frame 86: the part that ends at frame 90 is the last that was published.
    let resume = watch.parts[8].part.resume.clone();
    assert_eq!(resume.next_frame, 90);
    assert!(resume.composed.motion.is_some(), "{:?}", resume.composed);
    assert_eq!(resume.composed.stage, now);
    let (mut early, mut late) = (Watch::default(), Vec::new());
    std::mem::swap(&mut early, &mut watch);
    early.parts.truncate(9);
    early.samples[0].truncate(resume.next_frame as usize);
    early.samples[1].truncate(resume.next_aac as usize);
    let begin = Start { resume: Some(resume.clone()), ..beginning(&now) };
    let mut next = Core::new(begin, encoders::Mode::Inline).unwrap();
    let at = resume.zero.plus_micros(3_000_000 - live::REREAD_US);
    let key = |record: &Record<'_>| match record {
        Record::Rtp(packet) => {
            let shown = resume.composed.shown.iter().any(|shown| shown.track == packet.track);
            packet.keyframe && packet.arrived <= at && shown
        }
        _ => false,
    };
    let first = crowd.ring.iter().position(|owned| key(&owned.record())).unwrap();
    let mut taken = false;
    for owned in &crowd.ring[first..] {
        let record = owned.record();
        while !next.advance(record.arrived(), &mut late).unwrap() {}
        next.push(&record);
        if !taken && late.iter().any(|event| matches!(event, Event::Begin(_))) {
            early.successor(&mut late);
            taken = true;
        }
        early.take(&mut late);
    }
    let restart = &early.parts[9].part;
    assert_eq!((restart.msn, restart.part), (resume.next_msn, 0));
    let pictures = early.pictures(0);
    assert!(pictures.len() >= 160, "{}", pictures.len());
    for (number, (picture, expected)) in pictures.iter().zip(&whole).enumerate() {
        let psnr = picture.psnr(expected).unwrap();
        assert!(psnr > 30.0, "frame {number}: {psnr:.1} dB");
    }
    for person in 0..2 {
        assert!(same_hue(seen(&pictures[150], &now, person), colour(person, 0)));
    }
}

#[test]
fn a_class_that_begins_anew_has_the_stage_it_was_started_with() {
    // The first transcoder died before it made a part: what the ring said of the stage may be gone.
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[1..2]);
    crowd.camera(1, &LAYERS[1..2]);
    let two = stage(Layout::Grid, 2);
    let mut core = Core::new(beginning(&two), encoders::Mode::Inline).unwrap();
    let mut watch = Watch::default();
    drive(&mut core, &mut watch, &mut crowd, 2.0);
    for person in 0..2 {
        let seen = seen(&watch.pictures(0)[45], &two, person);
        assert!(alike(seen, colour(person, 0)), "{person}: {seen:?}");
    }
    assert!(watch.asked.iter().all(|track| *track != track_of(camera_of(0), 1)));
}
