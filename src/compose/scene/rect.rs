//! Rectangles with even sides, and how pictures of other shapes lie in them.

/// A rectangle on the canvas in pixels; all even, so that chroma planes divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Rect {
    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Whether some pixel lies in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// How many tenths of a side a camera's picture keeps at least where it is cut to fill its place.
const KEPT: u64 = 7;
/// Sides this close are taken for equal: a stretch of two pixels is not seen, a bar or a cut of two is.
const NEAR: u32 = 2;

fn even(value: u64) -> u32 {
    (value & !1) as u32
}

/// The largest rectangle of the picture's aspect ratio in the middle of the canvas.
///
/// # Shapes
/// `picture` and `canvas` are (width, height) in pixels, square pixels. The result lies inside the
/// canvas and is at least 2 x 2 where the canvas is.
pub fn fit(picture: (u32, u32), canvas: (u32, u32)) -> Rect {
    let (pw, ph) = (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
    let (cw, ch) = (u64::from(canvas.0), u64::from(canvas.1));
    // Compared crosswise, in whole numbers: pw/ph against cw/ch.
    let (width, height) = if pw * ch >= cw * ph {
        (cw, (cw * ph + pw / 2) / pw)
    } else {
        ((ch * pw + ph / 2) / ph, ch)
    };
    let width = even(width.min(cw)).max(even(cw).min(2));
    let height = even(height.min(ch)).max(even(ch).min(2));
    Rect {
        x: even((cw - u64::from(width)) / 2),
        y: even((ch - u64::from(height)) / 2),
        width,
        height,
    }
}

/// As [`fit`], into a cell of the canvas. Fills it where it nearly does.
pub(super) fn fit_into(picture: (u32, u32), cell: Rect) -> Rect {
    let inner = fit(picture, cell.size());
    if cell.width - inner.width <= NEAR && cell.height - inner.height <= NEAR {
        return cell;
    }
    Rect { x: cell.x + inner.x, y: cell.y + inner.y, ..inner }
}

/// The place of a picture that may lose up to three tenths of its width or height to fill `cell`.
pub(super) fn crop_into(picture: (u32, u32), cell: Rect) -> Rect {
    let (pw, ph) = (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
    let (cw, ch) = (u64::from(cell.width.max(1)), u64::from(cell.height.max(1)));
    // What of it would be seen if it filled the cell, against what must be; crosswise, as in `fit`.
    let (filled, shape) = if pw * ch <= cw * ph {
        (10 * pw * ch >= KEPT * ph * cw, (10 * pw, KEPT * ph))
    } else {
        (10 * ph * cw >= KEPT * pw * ch, (KEPT * pw, 10 * ph))
    };
    if filled {
        return cell;
    }
    // Sides of pictures are below 2^16.
    fit_into((shape.0 as u32, shape.1 as u32), cell)
}

/// The size at which a picture covers `place` with as little as possible beyond it; both even. A picture whose
/// shape is absurd (a line, a column) is stretched rather than blown up.
pub fn cover(picture: (u32, u32), place: (u32, u32)) -> (u32, u32) {
    let (pw, ph) = (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
    let (width, height) = (u64::from(place.0), u64::from(place.1));
    let up = |value: u64| (value + 1) & !1;
    let grown = |side: u32, wanted: u64| {
        if wanted <= u64::from(side + NEAR) {
            side
        } else {
            up(wanted.min(u64::from(side) * 2)) as u32
        }
    };
    if pw * height >= width * ph {
        (grown(place.0, (height * pw).div_ceil(ph)), place.1)
    } else {
        (place.0, grown(place.1, (width * ph).div_ceil(pw)))
    }
}
