//! Every stage on every canvas: inside, apart, even, complete.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::link::wire::samples;
use crate::time::PersonId;
use proptest::prelude::*;

const CANVAS: (u32, u32) = (1280, 720);
const HD: (u32, u32) = (1280, 720);

#[test]
fn the_canvas_size_fills_the_canvas() {
    assert_eq!(fit(CANVAS, CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
    assert_eq!(fit((1920, 1080), CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
    assert_eq!(fit((320, 180), CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
}

#[test]
fn other_shapes_stand_between_bars() {
    assert_eq!(fit((640, 480), CANVAS), Rect { x: 160, y: 0, width: 960, height: 720 });
    assert_eq!(fit((720, 1280), CANVAS), Rect { x: 438, y: 0, width: 404, height: 720 });
    assert_eq!(fit((2560, 1080), CANVAS), Rect { x: 0, y: 90, width: 1280, height: 540 });
}

/// People 0, 1, ... with cameras 10, 11, ...; those in `screens` share screens 100, 101, ...
fn stage(layout: Layout, people: u32, screens: &[u32]) -> (Stage, Pictures) {
    let seat = |n: u32| Seat {
        person: PersonId::new(u64::from(n)),
        name: format!("Person {n}"),
        camera: Some(SourceId(10 + n)),
        screen: screens.contains(&n).then_some(SourceId(100 + n)),
        muted: false,
    };
    let seats: Vec<Seat> = (0..people).map(seat).collect();
    let sources = seats.iter().flat_map(|seat| [seat.camera, seat.screen]).flatten();
    let pictures = sources.map(|source| (source, HD)).collect();
    (Stage { layout, seats, ..Stage::default() }, pictures)
}

fn sources(scene: &Scene) -> Vec<u32> {
    scene.tiles.iter().map(|tile| tile.source.0).collect()
}

#[test]
fn whoever_is_alone_has_the_canvas_and_no_name() {
    for layout in [Layout::Auto, Layout::Speaker, Layout::Grid, Layout::Screen, Layout::Single] {
        let (stage, pictures) = stage(layout, 1, &[]);
        let scene = of(&stage, &pictures, CANVAS);
        assert_eq!(scene, alone(SourceId(10), HD, CANVAS), "{layout:?}");
    }
}

#[test]
fn a_shared_screen_is_whole_and_the_speaker_inset() {
    let (mut stage, mut pictures) = stage(Layout::Auto, 3, &[0]);
    stage.speaker = Some(PersonId::new(2));
    pictures.insert(SourceId(100), (1600, 1200));
    let scene = of(&stage, &pictures, CANVAS);
    assert_eq!(sources(&scene), [100, 12]);
    let [share, inset] = scene.tiles.as_slice() else { panic!("{scene:?}") };
    assert_eq!(share.rect, fit((1600, 1200), CANVAS));
    assert!(inset.inset && inset.name == "Person 2" && share.name.is_empty());
    assert_eq!(inset.rect.size(), (256, 144));
    // Before its first picture there is nothing to be seen of it.
    pictures.remove(&SourceId(100));
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [12, 10, 11]);
    // Nobody with a picture: the screen alone.
    let only = Pictures::from([(SourceId(100), HD)]);
    assert_eq!(sources(&of(&stage, &only, CANVAS)), [100]);
}

#[test]
fn the_newest_screen_is_shown_unless_another_is_pinned() {
    let (mut stage, pictures) = stage(Layout::Screen, 3, &[0, 2]);
    assert_eq!(sources(&of(&stage, &pictures, CANVAS))[0], 102);
    stage.pinned = Some(PersonId::new(0));
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [100, 10]);
}

#[test]
fn the_speaker_is_large_unless_another_is_pinned() {
    let (mut stage, pictures) = stage(Layout::Speaker, 5, &[]);
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [10, 11, 12, 13, 14]);
    stage.speaker = Some(PersonId::new(3));
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [13, 10, 11, 12, 14]);
    stage.pinned = Some(PersonId::new(1));
    let scene = of(&stage, &pictures, CANVAS);
    assert_eq!(sources(&scene), [11, 10, 12, 13, 14]);
    assert!(scene.tiles[0].rect.width > 3 * scene.tiles[1].rect.width);
    stage.layout = Layout::Single;
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [11]);
    // Somebody who is not there cannot be seen.
    (stage.pinned, stage.speaker) = (Some(PersonId::new(99)), None);
    assert_eq!(sources(&of(&stage, &pictures, CANVAS)), [10]);
}

#[test]
fn a_grid_has_as_many_columns_as_make_its_tiles_largest() {
    for (people, columns) in [(2, 2), (3, 2), (4, 2), (5, 3), (9, 3), (10, 4), (16, 4)] {
        let (stage, pictures) = stage(Layout::Grid, people, &[]);
        let scene = of(&stage, &pictures, CANVAS);
        let top = scene.tiles[0].rect.y;
        let first = scene.tiles.iter().filter(|tile| tile.rect.y == top).count();
        assert_eq!(first, columns, "{people} people");
    }
    let (stage, pictures) = stage(Layout::Grid, 9, &[]);
    assert_eq!(of(&stage, &pictures, CANVAS).tiles[0].rect.size(), (404, 226));
}

#[test]
fn cameras_in_a_grid_are_cut_a_little_and_screens_never() {
    let (stage, mut pictures) = stage(Layout::Grid, 4, &[3]);
    let cell = of(&stage, &pictures, CANVAS).tiles[1].rect.size();
    pictures.insert(SourceId(100 + 3), (1024, 768));
    pictures.insert(SourceId(10), (640, 480));
    pictures.insert(SourceId(11), (720, 1280));
    let scene = of(&stage, &pictures, CANVAS);
    let [screen, four_thirds, portrait, ..] = scene.tiles.as_slice() else { panic!("{scene:?}") };
    assert_eq!(screen.rect.size(), fit((1024, 768), cell).size());
    assert_eq!(four_thirds.rect.size(), cell, "a quarter of its height is cut");
    assert!(portrait.rect.width < cell.0 && portrait.rect.height == cell.1);
    let seen =
        f64::from(portrait.rect.height) / f64::from(cover((720, 1280), portrait.rect.size()).1);
    assert!((0.68..0.75).contains(&seen), "{seen}");
}

fn within(rect: &Rect, canvas: (u32, u32)) -> bool {
    rect.x + rect.width <= canvas.0 && rect.y + rect.height <= canvas.1
}

fn is_even(rect: &Rect) -> bool {
    [rect.x, rect.y, rect.width, rect.height].iter().all(|v| v % 2 == 0)
        && rect.width >= 2
        && rect.height >= 2
}

proptest! {
    #[test]
    fn any_picture_lies_inside_and_keeps_its_shape(pw in 1u32..8192, ph in 1u32..8192) {
        let rect = fit((pw, ph), CANVAS);
        prop_assert!(within(&rect, CANVAS) && is_even(&rect));
        prop_assert!(rect.width == 1280 || rect.height == 720);
        // Within the two pixels that even sizes cost.
        let (w, h) = (f64::from(rect.width), f64::from(rect.height));
        let aspect = f64::from(pw) / f64::from(ph);
        prop_assert!((w - h * aspect).abs() <= 3.0f64.max(3.0 * aspect) || (h - w / aspect).abs() <= 3.0);
    }

    #[test]
    fn what_covers_a_place_is_even_and_little_larger(
        pw in 1u32..=8192, ph in 1u32..=8192, w in 1u32..=2000, h in 1u32..=2000,
    ) {
        let (w, h) = (2 * w, 2 * h);
        let (cw, ch) = cover((pw, ph), (w, h));
        prop_assert!(cw >= w && ch >= h && (cw == w || ch == h));
        prop_assert!(cw % 2 == 0 && ch % 2 == 0 && cw <= 2 * w && ch <= 2 * h);
    }

    #[test]
    fn any_stage_is_laid_out_inside_apart_and_even(
        stage in samples::stage(),
        sizes in proptest::collection::vec(proptest::option::of((1u32..=8192, 1u32..=8192)), 64),
        (width, height) in (8u32..=1920, 8u32..=1080),
        speaker in proptest::option::of(0u64..32), pinned in proptest::option::of(0u64..32),
    ) {
        let canvas = (2 * width, 2 * height);
        let stage = Stage { speaker: speaker.map(PersonId::new), pinned: pinned.map(PersonId::new), ..stage };
        let pictures: Pictures = (0..).map(SourceId).zip(sizes).filter_map(|(s, size)| Some((s, size?))).collect();
        let scene = of(&stage, &pictures, canvas);
        prop_assert_eq!(&scene, &of(&stage, &pictures, canvas), "the same again");
        let connected = stage.seats.iter().any(|seat| {
            seat.camera.is_some() || seat.screen.is_some_and(|screen| pictures.contains_key(&screen))
        });
        prop_assert_eq!(scene.tiles.is_empty(), !connected);
        for (index, tile) in scene.tiles.iter().enumerate() {
            prop_assert!(within(&tile.rect, canvas) && is_even(&tile.rect), "{:?} {:?}", canvas, tile);
            for other in &scene.tiles[..index] {
                prop_assert!(tile.inset || !tile.rect.meets(&other.rect), "{tile:?} on {other:?}");
                prop_assert!(tile.source != other.source);
            }
        }
        if stage.layout == Layout::Grid {
            let all = stage.seats.iter().flat_map(|seat| {
                [seat.camera, seat.screen.filter(|screen| pictures.contains_key(screen))]
            });
            for source in all.flatten() {
                prop_assert!(scene.tiles.iter().any(|tile| tile.source == source), "{source:?} is missing");
            }
        }
        for tile in &scene.tiles {
            let screen = stage.seats.iter().any(|seat| seat.screen == Some(tile.source));
            let size = pictures.get(&tile.source).copied();
            if let (true, Some(size)) = (screen, size) {
                let (cw, ch) = cover(size, tile.rect.size());
                let cut = (cw - tile.rect.width).max(ch - tile.rect.height);
                // Rounding of two pixels each way, against the shorter side.
                let short = tile.rect.width.min(tile.rect.height);
                prop_assert!(cut * short <= 4 * cw.max(ch), "{size:?} cut by {cut}: {tile:?}");
            }
        }
    }
}
