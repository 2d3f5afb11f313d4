//! Where on the canvas everybody's picture goes: a pure function of the stage, of whose pictures are there, and of
//! the canvas.
//!
//! All coordinates are even, so that chroma planes divide. Shared screens and whoever is seen large are never cut;
//! small tiles of cameras lose at most three tenths of a side where that fills their place. A person on stage whose
//! pictures have not come yet has a tile all the same, so that nothing moves when they do; a shared screen has one
//! from its first picture on.

mod rect;
#[cfg(test)]
mod tests;

pub use rect::{Rect, cover, fit};

use crate::link::wire::{Layout, Seat, Stage};
use crate::time::SourceId;
use rect::{crop_into, fit_into};
use std::collections::BTreeMap;

/// A source's picture and the place it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Whose picture.
    pub source: SourceId,
    /// Where. What of the picture does not fit its shape is cut off evenly on both sides.
    pub rect: Rect,
    /// What is written on it; may be empty.
    pub name: String,
    /// It lies on top of another tile.
    pub inset: bool,
}

/// All that is to be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// From back to front. No source has two.
    pub tiles: Vec<Tile>,
}

/// Sizes of the pictures that are there, (width, height) in pixels.
pub type Pictures = BTreeMap<SourceId, (u32, u32)>;

/// Most small tiles beside whoever is seen large. More would be too small to be worth their place; the grid has all.
pub const STRIP: usize = 6;
/// Places a strip has at least: fewer people would be nearly as large as the speaker.
const LEAST_STRIP: usize = 4;

/// One picture that could be shown.
#[derive(Clone, Copy)]
struct View<'a> {
    source: SourceId,
    seat: &'a Seat,
    screen: bool,
    size: Option<(u32, u32)>,
}

impl View<'_> {
    fn tile(&self, rect: Rect) -> Tile {
        Tile { source: self.source, rect, name: self.seat.name.clone(), inset: false }
    }

    /// Its tile within `cell`: a camera's may be cut.
    fn small(&self, cell: Rect) -> Tile {
        self.tile(match self.size {
            Some(size) if self.screen => fit_into(size, cell),
            Some(size) => crop_into(size, cell),
            None => cell,
        })
    }

    /// Its tile within `cell`, uncut.
    fn large(&self, cell: Rect) -> Tile {
        self.tile(fit_into(self.size.unwrap_or((16, 9)), cell))
    }
}

/// The scene of a source that has the canvas to itself.
///
/// # Shapes
/// `size` and `canvas` are (width, height) in pixels, square pixels.
pub fn alone(source: SourceId, size: (u32, u32), canvas: (u32, u32)) -> Scene {
    let tile = Tile { source, rect: fit(size, canvas), name: String::new(), inset: false };
    Scene { tiles: vec![tile] }
}

/// The scene of a stage. Empty if nobody on it has a connection.
///
/// # Shapes
/// `canvas` is (width, height) in pixels, both even and at least 16.
pub fn of(stage: &Stage, pictures: &Pictures, canvas: (u32, u32)) -> Scene {
    let views = views(stage, pictures);
    let whole = Rect { x: 0, y: 0, width: canvas.0, height: canvas.1 };
    let Some(main) = main(stage, &views) else { return Scene::default() };
    let screen = screen(stage, &views);
    let tiles = match (stage.layout, screen) {
        (Layout::Auto | Layout::Screen, Some(screen)) => shared(stage, &views, screen, whole),
        (Layout::Single, _) => vec![main.large(whole)],
        _ if views.len() == 1 => vec![main.large(whole)],
        (Layout::Grid, _) => grid(&views, whole),
        (Layout::Auto | Layout::Speaker | Layout::Screen, _) => speaker(&views, main, whole),
    };
    let mut scene = Scene { tiles };
    // Whoever is alone needs no name, and a picture that needs no name needs no copy.
    if let [only] = scene.tiles.as_mut_slice() {
        only.name.clear();
    }
    scene
}

/// What could be shown: screens first, each kind in the order in which its people came.
fn views<'a>(stage: &'a Stage, pictures: &Pictures) -> Vec<View<'a>> {
    let size = |source: SourceId| pictures.get(&source).copied();
    let screens = stage.seats.iter().filter_map(|seat| {
        let source = seat.screen.filter(|source| pictures.contains_key(source))?;
        Some(View { source, seat, screen: true, size: size(source) })
    });
    let cameras = stage.seats.iter().filter_map(|seat| {
        let source = seat.camera?;
        Some(View { source, seat, screen: false, size: size(source) })
    });
    screens.chain(cameras).collect()
}

/// Who is to be seen large: whom the teacher pinned, who speaks, whose picture came first.
fn main<'a>(stage: &Stage, views: &[View<'a>]) -> Option<View<'a>> {
    let of = |person| {
        let own = || views.iter().filter(move |view| Some(view.seat.person) == person);
        own().find(|view| !view.screen).or_else(|| own().next())
    };
    let seen = || views.iter().find(|view| !view.screen && view.size.is_some());
    of(stage.pinned).or_else(|| of(stage.speaker)).or_else(seen).or(views.first()).copied()
}

/// The shared screen to be seen: of whom the teacher pinned, else the one that came last.
fn screen<'a>(stage: &Stage, views: &[View<'a>]) -> Option<View<'a>> {
    let screens = views.iter().filter(|view| view.screen);
    screens.max_by_key(|view| (Some(view.seat.person) == stage.pinned, view.source)).copied()
}

/// A screen as large as it gets, and in its corner whoever speaks.
fn shared(stage: &Stage, views: &[View<'_>], screen: View<'_>, whole: Rect) -> Vec<Tile> {
    let mut main = screen.large(whole);
    // A name over a slide hides what stands there.
    main.name.clear();
    let rank = |view: &View<'_>| {
        let person = Some(view.seat.person);
        let owner = view.seat.person == screen.seat.person;
        (person == stage.speaker, person == stage.pinned, owner, std::cmp::Reverse(view.source))
    };
    let faces = views.iter().filter(|view| !view.screen && view.size.is_some());
    let Some(face) = faces.max_by_key(|view| rank(view)) else { return vec![main] };
    let margin = 2 * gap(whole);
    let width = even((whole.width / 5).min(whole.height / 2)).max(2);
    let height = even(width * 9 / 16).max(2);
    let cell = Rect {
        x: whole.width.saturating_sub(width + margin),
        y: whole.height.saturating_sub(height + margin),
        width,
        height,
    };
    vec![main, Tile { inset: true, ..face.small(cell) }]
}

/// One large, up to [`STRIP`] others in a column beside it.
fn speaker(views: &[View<'_>], main: View<'_>, whole: Rect) -> Vec<Tile> {
    let others: Vec<_> =
        views.iter().filter(|view| view.source != main.source).take(STRIP).collect();
    let gap = gap(whole);
    let places = others.len().max(LEAST_STRIP) as u32;
    let height = even(whole.height.saturating_sub((places + 1) * gap) / places).max(2);
    let width = even(height * 16 / 9).clamp(2, even(whole.width / 4));
    let height = height.min(even(width * 9 / 16).max(2));
    let left = whole.width - width - gap;
    let cell = Rect {
        x: gap,
        y: gap,
        width: even(left.saturating_sub(2 * gap)).max(2),
        height: even(whole.height - 2 * gap),
    };
    let mut tiles = vec![main.large(cell)];
    let count = others.len() as u32;
    let top = even((whole.height - count * height - (count - count.min(1)) * gap) / 2);
    for (index, view) in (0..).zip(others) {
        let y = top + index * (height + gap);
        tiles.push(view.small(Rect { x: left, y, width, height }));
    }
    tiles
}

/// All the same size, in as many columns as make them largest; the last row in the middle.
fn grid(views: &[View<'_>], whole: Rect) -> Vec<Tile> {
    let (gap, count) = (gap(whole), views.len() as u32);
    let cell = |columns: u32| {
        let rows = count.div_ceil(columns);
        let room = |side: u32, n: u32| even(side.saturating_sub((n + 1) * gap) / n);
        let (widest, highest) = (room(whole.width, columns), room(whole.height, rows));
        let width = even(widest.min(highest * 16 / 9));
        let height = even((width * 9 / 16).max(2)).min(highest);
        (width * height, columns, width, height)
    };
    let best = (1..=count).map(cell).max_by_key(|&(area, columns, ..)| (area, columns));
    let Some((_, columns, width, height)) = best else { return Vec::new() };
    let rows = count.div_ceil(columns);
    let top = even((whole.height - rows * height - (rows - 1) * gap) / 2);
    let place = |(index, view): (u32, &View<'_>)| {
        let (row, column) = (index / columns, index % columns);
        let inside = columns.min(count - row * columns);
        let left = even((whole.width - inside * width - (inside - 1) * gap) / 2);
        let (x, y) = (left + column * (width + gap), top + row * (height + gap));
        view.small(Rect { x, y, width, height })
    };
    (0..).zip(views).map(place).collect()
}

/// Between tiles, and around them.
fn gap(whole: Rect) -> u32 {
    even((whole.height / 90).min(whole.width / 160))
}

fn even(value: u32) -> u32 {
    value & !1
}
