//! A picture on the canvas: untouched where it has the canvas's size, otherwise scaled to its place
//! on black. Knows nothing of time.

use super::scene::{self, Rect};
use hw::codec::{CodecError, Picture, PicturePool, Scaler};

/// The canvas of one room.
pub struct Canvas {
    size: (u32, u32),
    pool: PicturePool,
    scaler: Option<Scaler>,
}

impl Canvas {
    /// A canvas of `size` (width, height), both even.
    ///
    /// # Errors
    /// A size that pictures cannot have; no memory.
    pub fn new(size: (u32, u32)) -> Result<Self, CodecError> {
        Ok(Self { size, pool: PicturePool::new(size.0, size.1)?, scaler: None })
    }

    /// What is seen before anybody is.
    ///
    /// # Errors
    /// No memory.
    pub fn black(&self) -> Result<Picture, CodecError> {
        Picture::black(self.size.0, self.size.1)
    }

    /// Puts `picture` in its place.
    ///
    /// # Errors
    /// A picture whose size cannot be scaled; no memory.
    pub fn place(&mut self, picture: &Picture) -> Result<Picture, CodecError> {
        if picture.size() == self.size {
            return Ok(picture.clone());
        }
        let rect = scene::fit(picture.size(), self.size);
        let place = (rect.width, rect.height);
        let sizes = (picture.size(), place);
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.sizes() == sizes => scaler,
            other => other.insert(Scaler::new(sizes.0, sizes.1)?),
        };
        let scaled = scaler.scale(picture)?;
        if place == self.size {
            return Ok(scaled);
        }
        let mut canvas = self.pool.get()?;
        canvas.fill(16, 128, 128);
        paste(&scaled, &mut canvas, rect);
        Ok(canvas)
    }
}

/// Copies `picture` into `canvas` at `rect`, whose corner is even and whose size is the picture's.
fn paste(picture: &Picture, canvas: &mut Picture, rect: Rect) {
    let Some(planes) = canvas.planes_mut() else { return };
    for (index, mut plane) in planes.into_iter().enumerate() {
        let shift = u32::from(index > 0);
        let (x, y) = ((rect.x >> shift) as usize, (rect.y >> shift) as usize);
        for (row, source) in plane.rows().skip(y).zip(picture.rows(index)) {
            if let Some(target) = row.get_mut(x..x + source.len()) {
                target.copy_from_slice(source);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn grey(size: (u32, u32), y: u8) -> Picture {
        let mut picture = Picture::alloc(size.0, size.1).unwrap();
        picture.fill(y, 100, 150);
        picture
    }

    fn luma(picture: &Picture, x: usize, y: usize) -> u8 {
        picture.rows(0).nth(y).unwrap()[x]
    }

    #[test]
    fn the_right_size_passes_untouched() {
        let mut canvas = Canvas::new((640, 360)).unwrap();
        let picture = grey((640, 360), 200);
        let placed = canvas.place(&picture).unwrap();
        assert_eq!(placed.plane(0).0.as_ptr(), picture.plane(0).0.as_ptr(), "the same memory");
    }

    #[test]
    fn other_shapes_are_centred_on_black() {
        let mut canvas = Canvas::new((640, 360)).unwrap();
        // Changing from picture to picture, as a rotated phone does.
        for size in [(480, 360), (360, 640), (1920, 1080), (854, 480), (2, 2), (1, 999), (360, 640)]
        {
            let placed = canvas.place(&grey(size, 200)).unwrap();
            assert_eq!(placed.size(), (640, 360));
            let rect = scene::fit(size, (640, 360));
            let (cx, cy) =
                ((rect.x + rect.width / 2) as usize, (rect.y + rect.height / 2) as usize);
            assert!(
                luma(&placed, cx, cy).abs_diff(200) <= 2,
                "{size:?}: {}",
                luma(&placed, cx, cy)
            );
            for (x, y) in [(0, 0), (639, 0), (0, 359), (639, 359)] {
                let (x32, y32) = (x as u32, y as u32);
                let inside = (rect.x..rect.x + rect.width).contains(&x32)
                    && (rect.y..rect.y + rect.height).contains(&y32);
                if !inside {
                    assert_eq!(luma(&placed, x, y), 16, "{size:?} at {x},{y}");
                }
            }
            let chroma = placed.rows(1).nth(cy / 2).unwrap()[cx / 2];
            assert!(chroma.abs_diff(100) <= 2);
        }
    }
}
