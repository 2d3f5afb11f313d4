#![allow(clippy::unwrap_used)]

use super::*;
use crate::compose::scene;

fn grey(size: (u32, u32), y: u8) -> Picture {
    let mut picture = Picture::alloc(size.0, size.1).unwrap();
    picture.fill(y, 100, 150);
    picture
}

fn luma(picture: &Picture, x: u32, y: u32) -> u8 {
    picture.rows(0).nth(y as usize).unwrap()[x as usize]
}

fn canvas(size: (u32, u32)) -> Canvas {
    let dejavu = std::fs::read("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").unwrap();
    Canvas::new(size, Arc::new(Fonts::new([dejavu]))).unwrap()
}

fn tile(source: u32, rect: Rect, picture: Option<&Picture>) -> Placed<'_> {
    Placed { source: SourceId(source), rect, rest: rect, base: rect, picture, serial: 1, name: "" }
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}

fn alone(canvas: &mut Canvas, picture: &Picture, serial: u64) -> Picture {
    let rect = scene::fit(picture.size(), canvas.size);
    canvas.compose(&[Placed { serial, ..tile(1, rect, Some(picture)) }]).unwrap()
}

#[test]
fn the_right_size_passes_untouched() {
    let mut canvas = canvas((640, 360));
    let picture = grey((640, 360), 200);
    let placed = alone(&mut canvas, &picture, 1);
    assert_eq!(placed.plane(0).0.as_ptr(), picture.plane(0).0.as_ptr(), "the same memory");
}

#[test]
fn other_shapes_are_centred_on_black() {
    let mut canvas = canvas((640, 360));
    // Changing from picture to picture, as a rotated phone does.
    let sizes = [(480, 360), (360, 640), (1920, 1080), (854, 480), (2, 2), (1, 999), (360, 640)];
    for (serial, size) in (0..).zip(sizes) {
        let placed = alone(&mut canvas, &grey(size, 200), serial);
        assert_eq!(placed.size(), (640, 360));
        let rect = scene::fit(size, (640, 360));
        let (cx, cy) = (rect.x + rect.width / 2, rect.y + rect.height / 2);
        assert!(luma(&placed, cx, cy).abs_diff(200) <= 2, "{size:?}: {}", luma(&placed, cx, cy));
        for (x, y) in [(0, 0), (639, 0), (0, 359), (639, 359)] {
            let inside = (rect.x..rect.x + rect.width).contains(&x)
                && (rect.y..rect.y + rect.height).contains(&y);
            if !inside {
                assert_eq!(luma(&placed, x, y), 16, "{size:?} at {x},{y}");
            }
        }
        let chroma = placed.rows(1).nth(cy as usize / 2).unwrap()[cx as usize / 2];
        assert!(chroma.abs_diff(100) <= 2);
    }
}

#[test]
fn tiles_have_their_places_and_a_backdrop_between() {
    let mut canvas = canvas((640, 360));
    let (bright, dark) = (grey((320, 180), 200), grey((640, 480), 100));
    let (left, right) = (rect(8, 90, 308, 174), rect(324, 90, 308, 174));
    let placed =
        canvas.compose(&[tile(1, left, Some(&bright)), tile(2, right, Some(&dark))]).unwrap();
    for (x, y) in [(8, 90), (315, 263), (100, 200)] {
        assert!(luma(&placed, x, y).abs_diff(200) <= 2, "{x},{y}: {}", luma(&placed, x, y));
        assert!(luma(&placed, x + 316, y).abs_diff(100) <= 2);
    }
    for (x, y) in [(7, 90), (316, 200), (323, 200), (632, 200), (100, 89), (100, 264)] {
        assert_eq!(luma(&placed, x, y), BACKDROP[0], "{x},{y}");
    }
}

#[test]
fn what_does_not_fit_is_cut_off_evenly() {
    // Top and bottom bands of a 4:3 picture, an eighth of its height each, are cut from a 16:9 place.
    let mut picture = grey((320, 240), 120);
    for plane in picture.planes_mut().unwrap().into_iter().take(1) {
        for (y, row) in plane.data.chunks_mut(plane.stride).enumerate() {
            if !(24..216).contains(&y) {
                row.fill(220);
            }
        }
    }
    let mut canvas = canvas((640, 360));
    let place = rect(0, 0, 320, 180);
    let placed = canvas
        .compose(&[tile(1, place, Some(&picture)), tile(2, rect(400, 0, 2, 2), None)])
        .unwrap();
    for y in [0, 90, 179] {
        assert!(luma(&placed, 160, y).abs_diff(120) <= 2, "{y}: {}", luma(&placed, 160, y));
    }
}

#[test]
fn a_picture_is_scaled_once_and_a_moving_one_without_another_scaler() {
    let mut canvas = canvas((640, 360));
    let picture = grey((1280, 720), 150);
    let (small, large) = (rect(420, 240, 200, 112), rect(0, 0, 400, 226));
    let other = tile(2, rect(620, 0, 20, 20), None);
    let at = |rect, rest, base| Placed { rest, base, ..tile(1, rect, Some(&picture)) };
    canvas.compose(&[at(large, large, large), other]).unwrap();
    let sizes = |canvas: &Canvas| canvas.tiles[&SourceId(1)].scaler.as_ref().unwrap().sizes().1;
    let memory = |canvas: &Canvas| {
        canvas.tiles[&SourceId(1)].picture.as_ref().unwrap().1.plane(0).0.as_ptr()
    };
    let first = memory(&canvas);
    canvas.compose(&[at(large, large, large), other]).unwrap();
    assert_eq!(memory(&canvas), first, "not scaled again");
    // Shrinking: from the large one until it has arrived.
    for step in 1..9 {
        let way = rect(48 * step, 26 * step, 400 - 24 * step, 226 - 14 * step);
        let placed = canvas.compose(&[at(way, small, large), other]).unwrap();
        assert_eq!(sizes(&canvas), (400, 226));
        assert!(luma(&placed, way.x + way.width / 2, way.y + way.height / 2).abs_diff(150) <= 2);
    }
    canvas.compose(&[at(small, small, small), other]).unwrap();
    assert_eq!(sizes(&canvas), (200, 112));
    // Growing: from the size it will have.
    canvas.compose(&[at(rect(300, 200, 240, 136), large, large), other]).unwrap();
    assert_eq!(sizes(&canvas), (400, 226));
}

#[test]
fn stretching_is_nearly_what_the_scaler_does() {
    let mut picture = Picture::alloc(320, 180).unwrap();
    for (index, plane) in picture.planes_mut().unwrap().into_iter().enumerate() {
        for (y, row) in plane.data.chunks_mut(plane.stride).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = (60.0
                    + 50.0 * (x as f32 / 9.0).sin()
                    + 50.0 * (y as f32 / (7.0 + index as f32)).cos())
                    as u8;
            }
        }
    }
    for size in [(426, 240), (250, 140), (320, 180)] {
        let mut out = Picture::black(size.0, size.1).unwrap();
        Sheet::new(&mut out).unwrap().stretch(&picture, rect(0, 0, size.0, size.1));
        let scaled = Scaler::new((320, 180), size).unwrap().scale(&picture).unwrap();
        let psnr = out.psnr(&scaled).unwrap();
        assert!(psnr > 32.0, "{size:?}: {psnr:.1} dB");
    }
}

#[test]
fn a_name_stands_on_its_tile_and_can_be_read_on_any_picture() {
    let mut canvas = canvas((1280, 720));
    let place = rect(8, 200, 408, 228);
    for background in [16, 128, 235] {
        let picture = grey((320, 180), background);
        let named = |name| Placed { name, ..tile(1, place, Some(&picture)) };
        let other = tile(2, rect(800, 0, 40, 40), None);
        let bare = canvas.compose(&[named(""), other]).unwrap();
        let written = canvas.compose(&[named("Jürgen"), other]).unwrap();
        let differing: Vec<(u32, u32)> = (0..720)
            .flat_map(|y| (0..1280).map(move |x| (x, y)))
            .filter(|&(x, y)| luma(&bare, x, y) != luma(&written, x, y))
            .collect();
        assert!(!differing.is_empty());
        assert!(differing.iter().all(|&(x, y)| (8..416).contains(&x) && (380..428).contains(&y)));
        // Letters against the strip around them.
        let strip = (9..100).flat_map(|x| (400..428).map(move |y| (x, y)));
        let values: Vec<u8> = strip.map(|(x, y)| luma(&written, x, y)).collect();
        let (darkest, brightest) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        assert!(brightest - darkest > 100, "on {background}: {darkest} to {brightest}");
    }
    assert_eq!(canvas.labels.len(), 1, "made once, kept while it is used");
}

#[test]
fn somebody_without_a_picture_is_an_initial_and_a_name() {
    let mut canvas = canvas((640, 360));
    let place = rect(8, 90, 308, 174);
    let named = Placed { name: "élan", ..tile(1, place, None) };
    let placed = canvas.compose(&[named, tile(2, rect(400, 0, 40, 40), None)]).unwrap();
    assert_eq!(luma(&placed, 10, 92), EMPTY[0]);
    let middle: Vec<u8> = (130..200).map(|x| luma(&placed, x, 180)).collect();
    assert!(middle.iter().any(|luma| *luma > 200), "the letter: {middle:?}");
    assert_eq!(canvas.labels.len(), 2);
    canvas.compose(&[tile(2, rect(400, 0, 40, 40), None)]).unwrap();
    assert!(canvas.labels.is_empty());
}
