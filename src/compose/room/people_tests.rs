//! Several people with real codecs: who is seen where, in which layer, and that a successor makes the same pictures.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::compose::motion::MILLISECONDS;
use crate::compose::scene::{self, Rect};
use crate::compose::testing::*;
use crate::link::wire::{Layout, Seat};
use crate::time::{Bitrate, PersonId};

const CANVAS: (u32, u32) = (640, 360);
const LAYERS: [(u32, u32); 3] = [(160, 90), (320, 180), (640, 360)];

fn settings() -> Settings {
    let format = OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    };
    Settings { format, canvas: CANVAS, decode_threads: 1 }
}

/// A room, the people who send to it, and what came out.
struct Hall {
    crowd: Crowd,
    room: Room,
    frames: Vec<Picture>,
    composed: Vec<Arc<Composed>>,
    sound: Vec<f32>,
    /// For every frame: how a successor would go on after it.
    clocks: Vec<Vec<TrackClock>>,
}

fn take(
    out: &mut Vec<Output>,
    frames: &mut Vec<Picture>,
    composed: &mut Vec<Arc<Composed>>,
    sound: &mut Vec<f32>,
) {
    for output in out.drain(..) {
        match output {
            Output::Frame { number, picture, composed: now, .. } => {
                let first = composed.len() - frames.len();
                assert_eq!(
                    (first, frames.len() as u64 % 10_000),
                    (0, number % 10_000),
                    "each once"
                );
                frames.push(picture);
                composed.push(now.unwrap_or_else(|| composed.last().cloned().unwrap_or_default()));
            }
            Output::Sound { samples, .. } => sound.extend(samples),
        }
    }
}

impl Hall {
    fn new(crowd: Crowd) -> Self {
        let room = Room::new(settings(), Arc::default(), &Stage::default(), None).unwrap();
        let (frames, composed, sound, clocks) = Default::default();
        Self { crowd, room, frames, composed, sound, clocks }
    }

    /// Goes on to `seconds` after the class began.
    fn run(&mut self, seconds: f64) {
        let Self { crowd, room, frames, composed, sound, clocks } = self;
        crowd.run(seconds, |record| {
            let mut out = Vec::new();
            while !room.advance(record.arrived(), 1, &mut out) {
                take(&mut out, frames, composed, sound);
                clocks.resize(frames.len(), room.clocks());
            }
            take(&mut out, frames, composed, sound);
            clocks.resize(frames.len(), room.clocks());
            room.push(record);
            room.keyframes_wanted(record.arrived())
        });
    }

    fn leave(&mut self, source: SourceId) {
        let room = &mut self.room;
        self.crowd.leave(source, |record| room.push(record));
    }

    fn scene(&self, stage: &Stage) -> scene::Scene {
        let size =
            |seat: &Seat| [seat.camera, seat.screen].into_iter().flatten().collect::<Vec<_>>();
        let pictures = stage.seats.iter().flat_map(size).map(|source| (source, CANVAS)).collect();
        scene::of(stage, &pictures, CANVAS)
    }
}

fn middle(rect: Rect) -> (u32, u32) {
    (rect.x + rect.width / 2, rect.y + rect.height / 2)
}

/// The colour in the middle of the tile of `source`, a little above where initials would stand.
fn seen(picture: &Picture, scene: &scene::Scene, source: SourceId) -> [u8; 3] {
    let tile = scene.tiles.iter().find(|tile| tile.source == source).unwrap();
    let (x, y) = middle(tile.rect);
    pixel(picture, x, y)
}

fn stage(layout: Layout, people: impl IntoIterator<Item = u32>) -> Stage {
    Stage { layout, seats: people.into_iter().map(seat).collect(), ..Stage::default() }
}

#[test]
fn without_a_stage_the_newest_stream_has_the_canvas() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[2..]);
    let mut hall = Hall::new(crowd);
    hall.run(1.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 320, 180), colour(0, 0)));
    hall.crowd.camera(1, &LAYERS[1..2]);
    hall.run(2.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 320, 180), colour(1, 0)));
    hall.leave(camera_of(1));
    hall.run(4.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 320, 180), colour(0, 0)));
}

#[test]
fn two_people_are_seen_in_their_tiles_and_one_when_the_other_leaves() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[1..2]);
    crowd.camera(1, &LAYERS[1..2]);
    let both = stage(Layout::Grid, [0, 1]);
    crowd.set_stage(&both);
    let mut hall = Hall::new(crowd);
    hall.run(2.0);
    let scene = hall.scene(&both);
    for person in 0..2 {
        let seen = seen(&hall.frames[40], &scene, camera_of(person));
        assert!(alike(seen, colour(person, 0)), "{person}: {seen:?}");
    }
    hall.leave(camera_of(1));
    hall.crowd.set_stage(&stage(Layout::Grid, [0]));
    hall.run(3.0);
    let last = hall.frames.last().unwrap();
    for (x, y) in [(20, 20), (320, 180), (620, 20)] {
        assert!(alike(pixel(last, x, y), colour(0, 0)), "{x},{y}: {:?}", pixel(last, x, y));
    }
    // Every frame is there: the class began when the first picture could be decoded.
    assert_eq!(hall.frames.len(), 85, "frames of 3 s, less the playout delay");
}

#[test]
fn a_shared_screen_is_seen_with_its_owner_inset_and_ends() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[1..2]);
    let mut alone = stage(Layout::Auto, [0]);
    crowd.set_stage(&alone);
    let mut hall = Hall::new(crowd);
    hall.run(1.0);
    hall.crowd.screen(0, (640, 480));
    alone.seats[0].screen = Some(screen_of(0));
    hall.crowd.set_stage(&alone);
    hall.run(2.0);
    let last = hall.frames.last().unwrap();
    let fitted = scene::fit((640, 480), CANVAS);
    assert!(alike(pixel(last, fitted.x + 20, 20), colour(4, 2)), "the screen, whole");
    assert_eq!(pixel(last, fitted.x - 20, 20)[0], 34, "the backdrop beside it");
    assert!(alike(pixel(last, 560, 310), colour(0, 0)), "{:?}", pixel(last, 560, 310));
    hall.leave(screen_of(0));
    alone.seats[0].screen = None;
    hall.crowd.set_stage(&alone);
    hall.run(3.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 20, 20), colour(0, 0)));
}

#[test]
fn a_change_of_layout_moves_every_tile_over_nine_frames() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[1..2]);
    crowd.camera(1, &LAYERS[1..2]);
    let mut now = stage(Layout::Grid, [0, 1]);
    crowd.set_stage(&now);
    let mut hall = Hall::new(crowd);
    hall.run(1.5);
    now.layout = Layout::Speaker;
    hall.crowd.set_stage(&now);
    hall.run(3.0);
    // How many pixels of a row in the middle are of the speaker's colour.
    let wide = |picture: &Picture| {
        let hits = (0..640).filter(|x| same_hue(pixel(picture, *x, 150), colour(0, 0)));
        hits.count()
    };
    let widths: Vec<usize> = hall.frames.iter().map(wide).collect();
    let scenes = [Layout::Grid, Layout::Speaker]
        .map(|layout| hall.scene(&Stage { layout, ..now.clone() }).tiles[0].rect.width as usize);
    let first = widths.iter().rposition(|wide| wide.abs_diff(scenes[0]) <= 4).unwrap();
    let arrived = (first..).find(|n| widths[*n].abs_diff(scenes[1]) <= 4).unwrap();
    let frames = (MILLISECONDS * 30 / 1000) as usize;
    assert!((frames - 1..=frames).contains(&(arrived - first)), "{first} to {arrived}");
    assert!(widths[first..=arrived].windows(2).all(|w| w[0] <= w[1]), "{widths:?}");
    assert!(widths[first..=arrived].windows(2).all(|w| w[1] - w[0] < 60), "{widths:?}");
    // And by then it is settled.
    assert!(widths[arrived..].iter().all(|wide| wide.abs_diff(scenes[1]) <= 4));
}

#[test]
fn the_layer_that_fits_is_decoded_and_changes_without_a_hole() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS);
    crowd.camera(1, &LAYERS);
    let mut now = stage(Layout::Speaker, [0, 1]);
    now.pinned = Some(PersonId::new(0));
    crowd.set_stage(&now);
    let mut hall = Hall::new(crowd);
    hall.run(5.0);
    let shown = |hall: &Hall| {
        let tracks = hall.composed.last().unwrap().shown.iter().map(|shown| shown.track);
        tracks.collect::<Vec<_>>()
    };
    let track = |person, layer| track_of(camera_of(person), layer);
    // Person 0 has some 270 rows, person 1 some 80.
    assert_eq!(shown(&hall), [track(0, 2), track(1, 0)]);
    hall.crowd.asked.clear();
    let before = hall.room.counts().decoded;
    hall.run(6.0);
    assert_eq!(hall.room.counts().decoded - before, 60, "one layer of each");
    now.pinned = Some(PersonId::new(1));
    hall.crowd.set_stage(&now);
    hall.run(10.0);
    assert_eq!(shown(&hall), [track(0, 0), track(1, 2)]);
    assert_eq!(hall.crowd.asked, [track(1, 2), track(0, 0)], "one key frame each");
    let scenes = [0, 1]
        .map(|person| hall.scene(&Stage { pinned: Some(PersonId::new(person)), ..now.clone() }));
    for (number, picture) in hall.frames.iter().enumerate().skip(10) {
        // Where either is at every moment but while they cross.
        let scene = if number < 180 { &scenes[0] } else { &scenes[1] };
        if (170..190).contains(&number) {
            continue;
        }
        for person in 0..2 {
            let seen = seen(picture, scene, camera_of(person));
            assert!(same_hue(seen, colour(person, 0)), "{person} in frame {number}: {seen:?}");
        }
    }
    let last = hall.frames.last().unwrap();
    assert!(alike(seen(last, &scenes[1], camera_of(1)), colour(1, 2)));
    assert!(alike(seen(last, &scenes[1], camera_of(0)), colour(0, 0)));
}

/// An offer may list the largest layer first; the SFU numbers them anew once it has measured them.
#[test]
fn layers_that_are_numbered_anew_are_chosen_by_their_new_numbers() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS);
    crowd.camera(1, &LAYERS);
    let track = |person, layer| track_of(camera_of(person), layer);
    for layer in 0..3 {
        crowd.number(track(0, layer), 2 - layer);
    }
    crowd.set_stage(&stage(Layout::Speaker, [0, 1]));
    let mut hall = Hall::new(crowd);
    hall.run(1.0);
    for layer in 0..3 {
        hall.crowd.number(track(0, layer), layer);
    }
    hall.run(5.0);
    let shown: Vec<TrackId> =
        hall.composed.last().unwrap().shown.iter().map(|shown| shown.track).collect();
    assert_eq!(shown, [track(0, 2), track(1, 0)]);
}

#[test]
fn a_layer_that_ceases_is_replaced_by_the_next_smaller() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS);
    crowd.set_stage(&stage(Layout::Auto, [0]));
    let mut hall = Hall::new(crowd);
    hall.run(2.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 320, 180), colour(0, 2)));
    hall.crowd.set_running(track_of(camera_of(0), 2), false);
    hall.run(4.0);
    assert!(alike(pixel(hall.frames.last().unwrap(), 320, 180), colour(0, 1)));
    assert_eq!(hall.crowd.asked.last(), Some(&track_of(camera_of(0), 1)));
}

#[test]
fn who_is_not_shown_is_not_decoded_and_comes_back() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[..1]);
    crowd.camera(1, &LAYERS[..1]);
    let mut now = stage(Layout::Single, [0, 1]);
    now.speaker = Some(PersonId::new(0));
    crowd.set_stage(&now);
    let mut hall = Hall::new(crowd);
    hall.run(4.0);
    let before = hall.room.counts().decoded;
    hall.run(5.0);
    assert_eq!(hall.room.counts().decoded - before, 30, "only who is shown");
    now.speaker = Some(PersonId::new(1));
    hall.crowd.set_stage(&now);
    hall.run(5.5);
    let last = hall.frames.last().unwrap();
    assert!(alike(pixel(last, 320, 150), colour(1, 0)), "{:?}", pixel(last, 320, 150));
    assert_eq!(hall.crowd.asked, [track_of(camera_of(1), 0)]);
}

#[test]
fn muted_people_and_strangers_are_not_heard_and_nothing_clicks() {
    let mut crowd = Crowd::default();
    crowd.camera(0, &LAYERS[..1]);
    let levels = [(0, 300.0), (1, 440.0), (2, 700.0)];
    for (person, hz) in levels {
        crowd.microphone(person, hz, 0.2);
    }
    let mut now = stage(Layout::Auto, [0, 1]);
    crowd.set_stage(&now);
    let mut hall = Hall::new(crowd);
    hall.run(2.0);
    now.seats[1].muted = true;
    hall.crowd.set_stage(&now);
    hall.run(3.0);
    now.seats[1].muted = false;
    now.seats.push(seat(2));
    hall.crowd.set_stage(&now);
    hall.run(4.0);
    let left: Vec<f32> = hall.sound.iter().step_by(2).copied().collect();
    let level = |from: f64, hz: f64| {
        let start = (from * 48_000.0) as usize;
        let (mut a, mut b) = (0.0, 0.0);
        for (n, v) in left[start..start + 24_000].iter().enumerate() {
            let (sin, cos) = (n as f64 * hz * std::f64::consts::TAU / 48_000.0).sin_cos();
            (a, b) = (a + f64::from(*v) * sin, b + f64::from(*v) * cos);
        }
        (a * a + b * b).sqrt() / 12_000.0
    };
    for (from, heard) in [(1.0, [true, true, false]), (2.2, [true, false, false]), (3.2, [true; 3])]
    {
        for ((_, hz), heard) in levels.iter().zip(heard) {
            let level = level(from, f64::from(*hz));
            assert!(
                if heard { level > 0.17 } else { level < 0.004 },
                "{hz} Hz at {from} s: {level}"
            );
        }
    }
    // What tones of these levels can do at most from sample to sample, and a little for fades.
    let most: f32 = levels.iter().map(|(_, hz)| 0.2 * hz * std::f32::consts::TAU / 48_000.0).sum();
    let step = left.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < most * 1.15, "{step} against {most}");
}

/// A crash after any frame: in peace, in the middle of a motion, while a layer changes.
#[test]
fn a_successor_makes_the_same_pictures_and_the_same_sound() {
    let mut crowd = Crowd::default();
    for person in 0..3 {
        crowd.camera(person, &LAYERS);
        crowd.microphone(person, 300.0 + 130.0 * person as f32, 0.45);
    }
    let mut now = stage(Layout::Speaker, [0, 1, 2]);
    crowd.set_stage(&now);
    let mut hall = Hall::new(crowd);
    hall.run(2.0);
    now.speaker = Some(PersonId::new(1));
    hall.crowd.set_stage(&now);
    hall.run(4.5);
    now.layout = Layout::Grid;
    hall.crowd.set_stage(&now);
    hall.run(5.0);
    now.seats[2].muted = true;
    hall.crowd.set_stage(&now);
    hall.run(6.5);
    let zero = hall.room.zero().unwrap();
    for crash in [40, 52, 56, 61, 75, 118, 131, 135, 139, 150] {
        // The segmenter cuts sound where the first AAC frame begins that a part's pictures reach.
        let next_aac = (crash as f64 / 30.0 * 48_000.0 / 1024.0).round() as u64;
        let resume = Resume {
            zero,
            next_msn: 1,
            next_frame: crash as u64,
            next_aac,
            next_sequence: 1,
            clocks: hall.clocks[crash - 1].clone(),
            composed: Composed::clone(&hall.composed[crash - 1]),
        };
        let mut room =
            Room::new(settings(), Arc::default(), &Stage::default(), Some(&resume)).unwrap();
        // As the live loop seeks: back to a key frame of everything that was decoded.
        let at = zero.plus_micros(crash as i64 * 1_000_000 / 30 - 400_000);
        let shown = |record: &Record<'_>, track: TrackId| match record {
            Record::Rtp(packet) => packet.keyframe && packet.track == track && packet.arrived <= at,
            _ => false,
        };
        let key = |track: TrackId| {
            hall.crowd.ring.iter().rposition(|owned| shown(&owned.record(), track)).unwrap()
        };
        let tracks = resume.composed.shown.iter().map(|shown| key(shown.track));
        let start = tracks.min().unwrap().saturating_sub(40);
        let (mut out, mut frames, mut composed, mut sound) =
            <(Vec<Output>, Vec<_>, Vec<_>, Vec<_>)>::default();
        for owned in &hall.crowd.ring[start..] {
            let record = owned.record();
            while !room.advance(record.arrived(), 8, &mut out) {}
            room.push(&record);
        }
        let first = out.iter().find_map(|output| match output {
            Output::Sound { number, .. } => Some(*number),
            Output::Frame { .. } => None,
        });
        assert_eq!(first, Some(next_aac - PRIMING));
        for output in out {
            match output {
                Output::Frame { number, picture, composed: now, .. } => {
                    assert_eq!(number as usize, crash + frames.len());
                    composed.extend(now);
                    frames.push(picture);
                }
                Output::Sound { samples, .. } => sound.extend(samples),
            }
        }
        assert_eq!(crash + frames.len(), hall.frames.len());
        for (number, picture) in (crash..).zip(&frames) {
            let same = picture.psnr(&hall.frames[number]).unwrap();
            assert!(same.is_infinite(), "taken over at {crash}, frame {number}: {same:.1} dB");
        }
        // From the first block that is published.
        let from = next_aac as usize * 2048;
        let ours = &sound[PRIMING as usize * 2048..];
        let far =
            ours.iter().zip(&hall.sound[from..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 2e-2, "taken over at {crash}: sound differs by {far}");
    }
}
