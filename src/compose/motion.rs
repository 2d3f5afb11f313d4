//! How one scene becomes the next: every tile moves to its new place within [`MILLISECONDS`]. Pure arithmetic, by
//! output frame numbers alone, so that a transcoder that takes over shows the same.
//!
//! Who comes grows out of the middle of their place; who goes is gone at once, as there are no more pictures of
//! them; who takes the very place of somebody who goes is simply there.

use super::scene::{Rect, Scene, Tile};
use crate::link::wire;
use crate::time::SourceId;
use std::collections::BTreeMap;

/// How long a tile is on its way.
pub const MILLISECONDS: u32 = 300;
/// Tiles that have to go no further than this many pixels are moved at once: a layer of another size whose shape
/// differs by rounding.
const STILL: u32 = 4;

/// A scene and how far its tiles are from where they belong.
#[derive(Clone, Debug, Default)]
pub struct Director {
    /// Frames of a motion.
    frames: u64,
    scene: Scene,
    motion: Option<Motion>,
    /// The scene is the one in which a predecessor left the motion.
    taking_over: bool,
}

/// A tile of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'a> {
    /// The tile, with the place where it rests.
    pub tile: &'a Tile,
    /// The place it has in this frame.
    pub rect: Rect,
    /// The larger end of its way: to be scaled to once, and stretched from. By the motion alone, so that a successor
    /// stretches from the same.
    pub base: Rect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Motion {
    since: u64,
    from: BTreeMap<SourceId, Rect>,
}

impl Director {
    /// An empty scene at `fps` frames a second.
    pub fn new(fps: u32) -> Self {
        let frames = u64::from(fps) * u64::from(MILLISECONDS) / 1000;
        Self { frames: frames.max(1), ..Self::default() }
    }

    /// Goes on where another stopped: the first scene it gets is the one that was shown.
    pub fn resume(fps: u32, motion: Option<&wire::Motion>) -> Self {
        let rect = |sides: &[u16; 4]| {
            let [x, y, width, height] = sides.map(|side| u32::from(side) & !1);
            Rect { x, y, width: width.max(2), height: height.max(2) }
        };
        let motion = motion.map(|motion| Motion {
            since: motion.since,
            from: motion.from.iter().map(|(source, sides)| (*source, rect(sides))).collect(),
        });
        Self { motion, taking_over: true, ..Self::new(fps) }
    }

    /// Forgets a motion that is over when frame `number` begins.
    pub fn settle(&mut self, number: u64) {
        if self.motion.is_some() && !self.moving(number) {
            self.motion = None;
        }
    }

    /// The scene in force.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The motion as a successor has to know it, while there is one.
    pub fn motion(&self) -> Option<wire::Motion> {
        let sides = |rect: &Rect| [rect.x, rect.y, rect.width, rect.height].map(|side| side as u16);
        self.motion.as_ref().map(|motion| wire::Motion {
            since: motion.since,
            from: motion.from.iter().map(|(source, rect)| (*source, sides(rect))).collect(),
        })
    }

    /// From frame `number` on this is the scene. Tiles set out for their new places, or are there at once if
    /// `cut`. Returns whether anything changes.
    pub fn show(&mut self, number: u64, scene: Scene, cut: bool) -> bool {
        if scene == self.scene {
            return false;
        }
        if std::mem::take(&mut self.taking_over) {
            self.scene = scene;
            return true;
        }
        // Where everything was in the frame before.
        let was: BTreeMap<SourceId, Rect> = match number.checked_sub(1) {
            Some(before) => {
                self.tiles(before).map(|Moving { tile, rect, .. }| (tile.source, rect)).collect()
            }
            None => BTreeMap::new(),
        };
        let stays = |source: SourceId| scene.tiles.iter().any(|tile| tile.source == source);
        let far = |a: &Rect, b: &Rect| {
            let sides = [(a.x, b.x), (a.y, b.y), (a.width, b.width), (a.height, b.height)];
            sides.iter().any(|(a, b)| a.abs_diff(*b) > STILL)
        };
        let mut moves = false;
        let mut from = BTreeMap::new();
        for tile in &scene.tiles {
            let place = was.get(&tile.source).copied().or_else(|| {
                // The place of somebody who goes is taken over as it is.
                was.iter()
                    .find(|(source, rect)| !stays(**source) && !far(rect, &tile.rect))
                    .map(|_| tile.rect)
            });
            moves |= place.is_none_or(|place| far(&place, &tile.rect));
            from.extend(place.map(|place| (tile.source, place)));
        }
        let moves = moves && !cut && !was.is_empty();
        self.motion = moves.then_some(Motion { since: number, from });
        self.scene = scene;
        true
    }

    /// Whether frame `number` differs from the one before because tiles are on their way.
    pub fn moving(&self, number: u64) -> bool {
        self.motion.as_ref().is_some_and(|motion| number < motion.since + self.frames)
    }

    /// The tiles of frame `number`, from back to front, each with the place it has then.
    pub fn tiles(&self, number: u64) -> impl Iterator<Item = Moving<'_>> {
        self.scene.tiles.iter().map(move |tile| {
            let (rect, base) = self.place(number, tile.source, tile.rect);
            Moving { tile, rect, base }
        })
    }

    fn place(&self, number: u64, source: SourceId, to: Rect) -> (Rect, Rect) {
        let Some(motion) = &self.motion else { return (to, to) };
        // The first frame has moved a step, the last has arrived.
        let step = (number + 1).saturating_sub(motion.since).min(self.frames);
        if step == self.frames {
            return (to, to);
        }
        let done = ease(step as f64 / self.frames as f64);
        let from = motion.from.get(&source).copied().unwrap_or_else(|| half(to));
        let side = |a: u32, b: u32| {
            let between = f64::from(a) + (f64::from(b) - f64::from(a)) * done;
            (between / 2.0).round() as u32 * 2
        };
        // Edges are moved, not sizes: what is aligned stays so, and nothing leaves the canvas.
        let (x, y) = (side(from.x, to.x), side(from.y, to.y));
        let right = side(from.x + from.width, to.x + to.width);
        let bottom = side(from.y + from.height, to.y + to.height);
        let width = right.saturating_sub(x).max(2);
        let height = bottom.saturating_sub(y).max(2);
        (Rect { x, y, width, height }, if from.width > to.width { from } else { to })
    }
}

/// Slow at both ends: 3t^2 - 2t^3.
fn ease(t: f64) -> f64 {
    t * t * (3.0 - 2.0 * t)
}

/// The middle of a place, half as wide and half as high.
fn half(rect: Rect) -> Rect {
    let even = |side: u32| (side & !1).max(2);
    let (width, height) = (even(rect.width / 2), even(rect.height / 2));
    Rect {
        x: rect.x + (((rect.width - width) / 2) & !1),
        y: rect.y + (((rect.height - height) / 2) & !1),
        width,
        height,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::compose::scene::{self, Pictures, alone};
    use crate::link::wire::samples;
    use proptest::prelude::*;

    const CANVAS: (u32, u32) = (1280, 720);

    fn tile(source: u32, rect: Rect) -> scene::Tile {
        scene::Tile { source: SourceId(source), rect, name: String::new(), inset: false }
    }

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    fn places(director: &Director, number: u64) -> Vec<Rect> {
        director.tiles(number).map(|moving| moving.rect).collect()
    }

    #[test]
    fn tiles_move_within_nine_frames_without_a_leap() {
        let mut director = Director::new(30);
        let (small, large) = (rect(960, 540, 320, 180), rect(0, 0, 1280, 720));
        assert!(director.show(10, Scene { tiles: vec![tile(1, small)] }, false));
        assert!(!director.moving(10), "the first scene is there at once");
        assert!(director.show(50, Scene { tiles: vec![tile(1, large)] }, false));
        let mut last = small;
        for number in 50..59 {
            assert!(director.moving(number));
            let [now] = places(&director, number)[..] else { panic!() };
            assert!(now.width > last.width && now.x < last.x, "{number}: {now:?}");
            assert!(now.width - last.width < 200, "no leap: {last:?} {now:?}");
            last = now;
        }
        assert_eq!(last, large);
        assert!(!director.moving(59));
        assert_eq!(places(&director, 59), [large]);
    }

    #[test]
    fn a_change_in_the_middle_of_a_motion_goes_on_from_there() {
        let mut director = Director::new(30);
        let (a, b) = (rect(0, 0, 320, 180), rect(960, 540, 320, 180));
        director.show(0, Scene { tiles: vec![tile(1, a)] }, false);
        director.show(30, Scene { tiles: vec![tile(1, b)] }, false);
        let before = places(&director, 33)[0];
        director.show(34, Scene { tiles: vec![tile(1, a)] }, false);
        let after = places(&director, 34)[0];
        assert!(before.x.abs_diff(after.x) < 100, "{before:?} {after:?}");
        assert_eq!(places(&director, 34 + 8), [a]);
    }

    #[test]
    fn who_comes_grows_and_who_takes_a_place_has_it_at_once() {
        let mut director = Director::new(30);
        let place = rect(100, 100, 320, 180);
        director.show(0, Scene { tiles: vec![tile(1, place)] }, false);
        director.show(30, Scene { tiles: vec![tile(2, place)] }, false);
        assert_eq!(places(&director, 30), [place]);
        assert!(!director.moving(30));
        let other = rect(500, 100, 320, 180);
        director.show(60, Scene { tiles: vec![tile(2, place), tile(3, other)] }, false);
        let [stays, comes] = places(&director, 62)[..] else { panic!() };
        assert_eq!(stays, place);
        assert!(comes.width > 160 && comes.width < 320 && comes.x > 500, "{comes:?}");
        // Gone at once, and what is cut does not move.
        director.show(90, Scene { tiles: vec![tile(3, other)] }, false);
        assert_eq!(places(&director, 90), [other]);
        director.show(95, alone(SourceId(9), CANVAS, CANVAS), true);
        assert!(!director.moving(95));
    }

    proptest! {
        /// Any two stages, a change at any time, and a successor at any frame: inside, even, and the same.
        #[test]
        fn a_successor_moves_as_its_predecessor_did(
            one in samples::stage(), two in samples::stage(), three in samples::stage(),
            changes in (1u64..20, 1u64..20), taken in 0u64..60, fps in prop_oneof![Just(24u32), Just(30), Just(60)],
        ) {
            let pictures: Pictures = (0..64).map(|n| (SourceId(n), (1280, 720))).collect();
            let scenes = [one, two, three].map(|stage| scene::of(&stage, &pictures, CANVAS));
            let at = [0, changes.0, changes.0 + changes.1];
            let newest = |number: u64| at.iter().rposition(|at| *at <= number).unwrap();
            let mut director = Director::new(fps);
            let mut successor = None;
            for number in 0..80 {
                director.settle(number);
                director.show(number, scenes[newest(number)].clone(), false);
                if let Some(next) = &mut successor {
                    let next: &mut Director = next;
                    if number == taken + 1 {
                        next.show(number, scenes[newest(taken)].clone(), false);
                    }
                    next.show(number, scenes[newest(number)].clone(), false);
                    prop_assert_eq!(places(next, number), places(&director, number), "frame {}", number);
                }
                for place in places(&director, number) {
                    prop_assert!(place.x + place.width <= 1280 && place.y + place.height <= 720);
                    prop_assert!([place.x, place.y, place.width, place.height].iter().all(|v| v % 2 == 0));
                }
                if number == taken {
                    successor = Some(Director::resume(fps, director.motion().as_ref()));
                }
            }
        }
    }
}
