//! A name on a translucent strip, made once and drawn on every frame.

use super::draw::Sheet;
use crate::compose::scene::Rect;
use crate::compose::text::{Fonts, Mask};

/// How much of the picture shows through the strip, of 256.
const THROUGH: u16 = 96;
/// What the strip adds: near black, without colour.
const STRIP: [u16; 3] = [20, 128, 128];
/// Letters: near white.
const INK: [u16; 3] = [228, 128, 128];

/// See the module.
pub(super) struct Label {
    width: u32,
    height: u32,
    /// For each plane, what becomes of each pixel: kept share of 256, and what is added.
    stencils: [Vec<(u8, u8)>; 3],
}

impl Label {
    /// `text` in letters of `height` pixels on a strip of at most `width`; `None` if nothing of it can be shown.
    pub fn new(fonts: &Fonts, text: &str, height: u32, width: u32) -> Option<Self> {
        let margin = (height / 3).max(2);
        let mask = fonts.line(text, height, width.checked_sub(2 * margin)?);
        Self::of(&mask, margin, THROUGH)
    }

    /// Letters without a strip, with nothing around them.
    pub fn bare(fonts: &Fonts, text: &str, height: u32, width: u32) -> Option<Self> {
        Self::of(&fonts.line(text, height, width), 0, 256)
    }

    fn of(mask: &Mask, margin: u32, through: u16) -> Option<Self> {
        if mask.width == 0 {
            return None;
        }
        let even = |side: u32| (side + 1) & !1;
        let width = even(mask.width as u32 + 2 * margin);
        let height = even(mask.height as u32 + margin / 2);
        let (left, top) = (margin as usize, margin as usize / 4);
        let cover = |x: usize, y: usize| {
            let (Some(x), Some(y)) = (x.checked_sub(left), y.checked_sub(top)) else { return 0 };
            if x >= mask.width {
                0
            } else {
                mask.cover.get(y * mask.width + x).copied().unwrap_or(0)
            }
        };
        // The strip over the picture, then the letters over both.
        let pixel = |plane: usize, cover: u8| {
            let open = 256 - u16::from(cover) - u16::from(cover > 127);
            let keep = (u32::from(through) * u32::from(open)) >> 8;
            let strip =
                (u32::from(STRIP[plane]) * u32::from(256 - through) * u32::from(open)) >> 16;
            let ink = (u32::from(INK[plane]) * u32::from(256 - open)) >> 8;
            (keep.min(255) as u8, (strip + ink).min(255) as u8)
        };
        let stencil = |plane: usize| {
            let step = if plane == 0 { 1 } else { 2 };
            let places = (0..height as usize)
                .step_by(step)
                .flat_map(|y| (0..width as usize).step_by(step).map(move |x| (x, y)));
            places.map(|(x, y)| pixel(plane, cover(x, y))).collect()
        };
        Some(Self { width, height, stencils: [stencil(0), stencil(1), stencil(2)] })
    }

    /// Width and height in pixels, even.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Draws it with its corner at (`x`, `y`), both even.
    pub fn draw(&self, sheet: &mut Sheet<'_>, (x, y): (u32, u32)) {
        let rect = Rect { x, y, width: self.width, height: self.height };
        for (index, stencil) in self.stencils.iter().enumerate() {
            sheet.blend(index, rect, stencil);
        }
    }
}
