//! Where on the canvas each publisher's picture goes. Pure arithmetic.
//!
//! One publisher for now: fitted into the canvas, aspect kept, centred, black around it.

/// A rectangle on the canvas in pixels; all even, so that chroma planes divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CANVAS: (u32, u32) = (1280, 720);

    #[test]
    fn the_canvas_size_fills_the_canvas() {
        assert_eq!(fit(CANVAS, CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
        assert_eq!(fit((1920, 1080), CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
        assert_eq!(fit((320, 180), CANVAS), Rect { x: 0, y: 0, width: 1280, height: 720 });
    }

    #[test]
    fn other_shapes_stand_between_black_bars() {
        assert_eq!(fit((640, 480), CANVAS), Rect { x: 160, y: 0, width: 960, height: 720 });
        assert_eq!(fit((720, 1280), CANVAS), Rect { x: 438, y: 0, width: 404, height: 720 });
        assert_eq!(fit((2560, 1080), CANVAS), Rect { x: 0, y: 90, width: 1280, height: 540 });
    }

    proptest! {
        #[test]
        fn any_picture_lies_inside_and_keeps_its_shape(pw in 1u32..8192, ph in 1u32..8192) {
            let rect = fit((pw, ph), CANVAS);
            prop_assert!(rect.x + rect.width <= 1280 && rect.y + rect.height <= 720);
            prop_assert!([rect.x, rect.y, rect.width, rect.height].iter().all(|v| v % 2 == 0));
            prop_assert!(rect.width >= 2 && rect.height >= 2);
            prop_assert!(rect.width == 1280 || rect.height == 720);
            // Within the two pixels that even sizes cost.
            let (w, h) = (f64::from(rect.width), f64::from(rect.height));
            let aspect = f64::from(pw) / f64::from(ph);
            prop_assert!((w - h * aspect).abs() <= 3.0f64.max(3.0 * aspect) || (h - w / aspect).abs() <= 3.0);
        }
    }
}
