//! Onto the canvas: pictures whole, in part, or stretched; colours. In safe code that the compiler makes vectors of.

use crate::compose::scene::Rect;
use hw::codec::{Picture, PlaneMut};

/// Luma, blue difference, red difference; limited range.
pub(super) type Colour = [u8; 3];

/// A canvas that is being drawn.
pub(super) struct Sheet<'a> {
    planes: [PlaneMut<'a>; 3],
}

/// Left, top, width, height within a plane.
#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

fn area(rect: Rect, plane: usize) -> Area {
    let half = |side: u32| (side >> u32::from(plane > 0)) as usize;
    Area { x: half(rect.x), y: half(rect.y), width: half(rect.width), height: half(rect.height) }
}

/// The rows of `plane` within `area`, cut at the plane's edges.
fn rows<'a>(plane: &'a mut PlaneMut<'_>, area: Area) -> impl Iterator<Item = &'a mut [u8]> {
    let right = (area.x + area.width).min(plane.width);
    plane.rows().skip(area.y).take(area.height).filter_map(move |row| row.get_mut(area.x..right))
}

impl<'a> Sheet<'a> {
    /// `None` if somebody else holds the picture.
    pub fn new(canvas: &'a mut Picture) -> Option<Self> {
        Some(Self { planes: canvas.planes_mut()? })
    }

    /// Paints `rect`.
    pub fn fill(&mut self, rect: Rect, colour: Colour) {
        for (index, (plane, value)) in self.planes.iter_mut().zip(colour).enumerate() {
            for row in rows(plane, area(rect, index)) {
                row.fill(value);
            }
        }
    }

    /// Copies the middle of `picture`, which is at least as large as `rect`, there.
    pub fn paste(&mut self, picture: &Picture, rect: Rect) {
        let beyond = |side: u32, place: u32| (side.saturating_sub(place) / 2) & !1;
        let x = beyond(picture.width(), rect.width);
        let y = beyond(picture.height(), rect.height);
        for (index, plane) in self.planes.iter_mut().enumerate() {
            let from = area(Rect { x, y, ..rect }, index);
            let source = picture.rows(index).skip(from.y);
            for (row, source) in rows(plane, area(rect, index)).zip(source) {
                let source = source.get(from.x..).unwrap_or_default();
                let count = row.len().min(source.len());
                if let (Some(to), Some(from)) = (row.get_mut(..count), source.get(..count)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }

    /// Stretches or shrinks the middle of `picture` to `rect`, bilinear, cut to the shape of `rect`. For tiles on
    /// their way, whose size is another in every frame: cheaper than to make a scaler for each.
    pub fn stretch(&mut self, picture: &Picture, rect: Rect) {
        let (pw, ph) = (u64::from(picture.width()), u64::from(picture.height()));
        let (rw, rh) = (u64::from(rect.width.max(1)), u64::from(rect.height.max(1)));
        // The largest part of the picture that has the place's shape.
        let (width, height) =
            if pw * rh >= rw * ph { (ph * rw / rh, ph) } else { (pw, pw * rh / rw) };
        let (width, height) = (((width as u32) & !1).max(2), ((height as u32) & !1).max(2));
        let middle = |whole: u64, part: u32| ((whole as u32).saturating_sub(part) / 2) & !1;
        let part = Rect { x: middle(pw, width), y: middle(ph, height), width, height };
        for (index, plane) in self.planes.iter_mut().enumerate() {
            let (data, stride) = picture.plane(index);
            let (from, to) = (area(part, index), area(rect, index));
            let columns = steps(from.width, to.width);
            let mut mixed = vec![0u8; from.width];
            for (row, (at, weight)) in rows(plane, to).zip(steps(from.height, to.height)) {
                let line = |y: usize| {
                    let start = (from.y + y.min(from.height - 1)) * stride + from.x;
                    data.get(start..start + from.width).unwrap_or_default()
                };
                for ((out, upper), lower) in mixed.iter_mut().zip(line(at)).zip(line(at + 1)) {
                    *out = between(*upper, *lower, weight);
                }
                for (out, &(at, weight)) in row.iter_mut().zip(&columns) {
                    let left = mixed.get(at).copied().unwrap_or_default();
                    let right = mixed.get(at + 1).copied().unwrap_or(left);
                    *out = between(left, right, weight);
                }
            }
        }
    }

    /// Draws plane `index` of a mask at `rect`: each pixel becomes itself times `keep` / 256 plus `add`.
    pub fn blend(&mut self, index: usize, rect: Rect, stencil: &[(u8, u8)]) {
        let Some(plane) = self.planes.get_mut(index) else { return };
        let area = area(rect, index);
        for (row, stencil) in rows(plane, area).zip(stencil.chunks(area.width.max(1))) {
            for (pixel, (keep, add)) in row.iter_mut().zip(stencil) {
                let kept = (u16::from(*pixel) * u16::from(*keep) + 128) >> 8;
                *pixel = (kept as u8).saturating_add(*add);
            }
        }
    }
}

/// For each of `to` pixels where among `from` it lies, and how far towards the next, in 1/256: centres on centres.
fn steps(from: usize, to: usize) -> Vec<(usize, u16)> {
    let last = ((from.max(1) - 1) << 8) as i64;
    let place = |index: usize| {
        let at = ((2 * index as i64 + 1) * from as i64 * 128) / to.max(1) as i64 - 128;
        let at = at.clamp(0, last);
        ((at >> 8) as usize, (at & 255) as u16)
    };
    (0..to).map(place).collect()
}

fn between(a: u8, b: u8, weight: u16) -> u8 {
    ((u16::from(a) * (256 - weight) + u16::from(b) * weight + 128) >> 8) as u8
}
