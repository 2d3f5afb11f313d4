//! Scaling, and bringing foreign pixel formats to ours, by swscale.

use super::error::CodecError;
use super::ff::{Colour, Frame};
use super::half;
use super::picture::{Picture, PicturePool};
use ffmpeg_next::ffi;
use std::ffi::c_int;
use std::ptr::{self, NonNull};

/// One swscale context.
struct Sws(NonNull<ffi::SwsContext>);

// SAFETY: a context is plain memory (no threads were asked for) and is used through &mut only.
unsafe impl Send for Sws {}

/// One side of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: u32,
    height: u32,
    format: ffi::AVPixelFormat,
    /// All 256 levels instead of 16 to 235.
    full: bool,
    /// One of swscale's matrices.
    matrix: c_int,
}

impl Sws {
    fn new(from: Shape, to: Shape) -> Result<Self, CodecError> {
        // SAFETY: sizes are within MAX_SIDE, formats are FFmpeg's; null means it cannot be done.
        let raw = unsafe {
            ffi::sws_getContext(
                from.width as c_int,
                from.height as c_int,
                from.format,
                to.width as c_int,
                to.height as c_int,
                to.format,
                ffi::SWS_BILINEAR,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        let sws = Self(NonNull::new(raw).ok_or_else(|| CodecError::Failed {
            codec: "swscale",
            said: format!(
                "no way from {}x{} {:?} to {}x{}",
                from.width, from.height, from.format, to.width, to.height
            ),
        })?);
        if (from.full, from.matrix) != (to.full, to.matrix) {
            // SAFETY: the context lives; sws_getCoefficients returns static tables. Contrast and
            // saturation are 16.16 fixed point.
            unsafe {
                ffi::sws_setColorspaceDetails(
                    sws.0.as_ptr(),
                    ffi::sws_getCoefficients(from.matrix),
                    c_int::from(from.full),
                    ffi::sws_getCoefficients(to.matrix),
                    c_int::from(to.full),
                    0,
                    1 << 16,
                    1 << 16,
                );
            }
        }
        Ok(sws)
    }

    /// Fills `to`, a unique picture, from `from`; sizes and formats are those of the context.
    fn run(&mut self, from: &Frame, to: &mut Picture) -> Result<(), CodecError> {
        let rows = from.fields().height;
        let Some([y, cb, cr]) = to.planes_mut() else {
            return Err(CodecError::Memory("a picture"));
        };
        let data =
            [y.data.as_mut_ptr(), cb.data.as_mut_ptr(), cr.data.as_mut_ptr(), ptr::null_mut()];
        let strides = [y.stride as c_int, cb.stride as c_int, cr.stride as c_int, 0];
        // SAFETY: `from` has the format and size the context was made for (the callers' keys are its
        // size and format); `to` is uniquely ours, of the context's output size, with rows padded to
        // 64 bytes, which is as far as swscale's vector code writes.
        let done = unsafe {
            let source = from.fields();
            ffi::sws_scale(
                self.0.as_ptr(),
                source.data.as_ptr().cast(),
                source.linesize.as_ptr(),
                0,
                rows,
                data.as_ptr(),
                strides.as_ptr(),
            )
        };
        if done < 0 {
            return Err(CodecError::Failed { codec: "swscale", said: super::ff::error_text(done) });
        }
        Ok(())
    }
}

impl Drop for Sws {
    fn drop(&mut self) {
        // SAFETY: self owned the context.
        unsafe { ffi::sws_freeContext(self.0.as_ptr()) };
    }
}

fn ours(width: u32, height: u32) -> Shape {
    let format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P;
    Shape { width, height, format, full: false, matrix: ffi::SWS_CS_ITU709 }
}

/// How a scaler gets from one size to the other.
enum Way {
    /// It is the same size.
    None,
    /// It is exactly half.
    Half,
    /// Anything else.
    Bilinear(Sws),
}

/// Scales pictures of one size to another, bilinear. Aspect ratio is the caller's business.
pub struct Scaler {
    way: Way,
    from: (u32, u32),
    pool: PicturePool,
}

impl Scaler {
    /// From one size to another, both (width, height) in pixels.
    ///
    /// # Errors
    /// A side that is 0 or too long; no memory.
    pub fn new(from: (u32, u32), to: (u32, u32)) -> Result<Self, CodecError> {
        let pool = PicturePool::new(to.0, to.1)?;
        PicturePool::new(from.0, from.1)?; // the same rule for what comes in
        let way = match from == to {
            true => Way::None,
            false if half::applies(from, to) => Way::Half,
            false => Way::Bilinear(Sws::new(ours(from.0, from.1), ours(to.0, to.1))?),
        };
        Ok(Self { way, from, pool })
    }

    /// The sizes it goes from and to.
    pub fn sizes(&self) -> ((u32, u32), (u32, u32)) {
        (self.from, self.pool.size())
    }

    /// The picture at the new size; the same memory if it has that size already.
    ///
    /// # Errors
    /// A picture that is not of the size agreed; no memory.
    pub fn scale(&mut self, picture: &Picture) -> Result<Picture, CodecError> {
        let (width, height) = picture.size();
        if (width, height) != self.from {
            let rule = format!("this scaler takes {}x{}", self.from.0, self.from.1);
            return Err(CodecError::Size { what: "scaler", width, height, rule });
        }
        if matches!(self.way, Way::None) {
            return Ok(picture.clone());
        }
        let mut scaled = self.pool.get()?;
        match &mut self.way {
            Way::Bilinear(sws) => sws.run(picture.frame(), &mut scaled)?,
            Way::Half | Way::None => half::halve(picture, scaled.to_mut()?),
        }
        Ok(scaled)
    }
}

/// Brings decoded frames to our format: any pixel format, full range, another matrix. Keeps the
/// last conversion's context, as streams rarely change.
#[derive(Default)]
pub(super) struct Normalizer {
    last: Option<(Shape, Sws, PicturePool)>,
}

impl Normalizer {
    pub(super) fn picture(&mut self, frame: Frame) -> Result<Picture, CodecError> {
        let fields = frame.fields();
        let (width, height) = (fields.width.max(0) as u32, fields.height.max(0) as u32);
        let format = pixel_format(fields.format).ok_or_else(|| CodecError::BadData {
            codec: "decoder",
            said: format!("pixel format {} is unknown", fields.format),
        })?;
        let Colour { range, matrix } = frame.colour();
        let full = range == ffi::AVColorRange::AVCOL_RANGE_JPEG as c_int || is_full(format);
        if format == ffi::AVPixelFormat::AV_PIX_FMT_YUV420P && !full {
            // Matrix conversion alone would cost as much as decoding, and nearly all streams that
            // name another matrix differ from BT.709 by a few levels: taken as it is.
            return Picture::from_frame(frame);
        }
        let shape = Shape { width, height, format, full, matrix: coefficients(matrix, format) };
        if self.last.as_ref().is_none_or(|(last, ..)| *last != shape) {
            self.last = None;
            let pool = PicturePool::new(width, height)?;
            self.last = Some((shape, Sws::new(shape, ours(width, height))?, pool));
        }
        let Some((_, sws, pool)) = &mut self.last else {
            return Err(CodecError::Memory("a picture"));
        };
        let mut picture = pool.get()?;
        sws.run(&frame, &mut picture)?;
        Ok(picture)
    }
}

/// The formats that our decoders can give; anything else is refused rather than guessed.
fn pixel_format(number: c_int) -> Option<ffi::AVPixelFormat> {
    use ffi::AVPixelFormat::*;
    [
        AV_PIX_FMT_YUV420P,
        AV_PIX_FMT_YUVJ420P,
        AV_PIX_FMT_YUV422P,
        AV_PIX_FMT_YUVJ422P,
        AV_PIX_FMT_YUV444P,
        AV_PIX_FMT_YUVJ444P,
        AV_PIX_FMT_YUV440P,
        AV_PIX_FMT_YUVJ440P,
        AV_PIX_FMT_YUVA420P,
        AV_PIX_FMT_GRAY8,
        AV_PIX_FMT_GRAY10LE,
        AV_PIX_FMT_GRAY12LE,
        AV_PIX_FMT_GBRP,
        AV_PIX_FMT_GBRP10LE,
        AV_PIX_FMT_GBRP12LE,
        AV_PIX_FMT_YUV420P9LE,
        AV_PIX_FMT_YUV420P10LE,
        AV_PIX_FMT_YUV420P12LE,
        AV_PIX_FMT_YUV420P14LE,
        AV_PIX_FMT_YUV422P9LE,
        AV_PIX_FMT_YUV422P10LE,
        AV_PIX_FMT_YUV422P12LE,
        AV_PIX_FMT_YUV422P14LE,
        AV_PIX_FMT_YUV440P10LE,
        AV_PIX_FMT_YUV440P12LE,
        AV_PIX_FMT_YUV444P9LE,
        AV_PIX_FMT_YUV444P10LE,
        AV_PIX_FMT_YUV444P12LE,
        AV_PIX_FMT_YUV444P14LE,
        AV_PIX_FMT_NV12,
    ]
    .into_iter()
    .find(|format| *format as c_int == number)
}

fn is_full(format: ffi::AVPixelFormat) -> bool {
    use ffi::AVPixelFormat::*;
    matches!(
        format,
        AV_PIX_FMT_YUVJ420P | AV_PIX_FMT_YUVJ422P | AV_PIX_FMT_YUVJ444P | AV_PIX_FMT_YUVJ440P
    )
}

/// swscale's matrix for FFmpeg's AVColorSpace. What is not named is taken as BT.709, except for
/// RGB, where swscale looks at the output's matrix only.
fn coefficients(matrix: c_int, format: ffi::AVPixelFormat) -> c_int {
    use ffi::AVColorSpace::*;
    if matches!(format, ffi::AVPixelFormat::AV_PIX_FMT_GRAY8) {
        return ffi::SWS_CS_ITU709;
    }
    match matrix {
        m if m == AVCOL_SPC_BT470BG as c_int || m == AVCOL_SPC_SMPTE170M as c_int => {
            ffi::SWS_CS_ITU601
        }
        m if m == AVCOL_SPC_FCC as c_int => ffi::SWS_CS_FCC,
        m if m == AVCOL_SPC_SMPTE240M as c_int => ffi::SWS_CS_SMPTE240M,
        m if m == AVCOL_SPC_BT2020_NCL as c_int || m == AVCOL_SPC_BT2020_CL as c_int => {
            ffi::SWS_CS_BT2020
        }
        _ => ffi::SWS_CS_ITU709,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::scene;
    use super::*;

    #[test]
    fn halving_is_what_bilinear_scaling_gives() {
        let picture = scene(320, 180, 5);
        let half = Scaler::new((320, 180), (160, 90)).unwrap().scale(&picture).unwrap();
        let mut other = Picture::alloc(160, 90).unwrap();
        let mut sws = Sws::new(ours(320, 180), ours(160, 90)).unwrap();
        sws.run(picture.frame(), &mut other).unwrap();
        let psnr = half.psnr(&other).unwrap();
        assert!(psnr > 34.0, "{psnr:.1} dB");
        for plane in [1, 2] {
            let far = half.rows(plane).flatten().zip(other.rows(plane).flatten());
            assert!(far.map(|(a, b)| a.abs_diff(*b)).max().unwrap() <= 2);
        }
    }

    #[test]
    fn there_and_back_is_nearly_the_same_picture() {
        let picture = scene(640, 360, 5);
        for size in [(854, 480), (1280, 720), (426, 240)] {
            let scaled = Scaler::new((640, 360), size).unwrap().scale(&picture).unwrap();
            assert_eq!(scaled.size(), size);
            let back = Scaler::new(size, (640, 360)).unwrap().scale(&scaled).unwrap();
            let psnr = back.psnr(&picture).unwrap();
            assert!(psnr > 22.0, "{size:?}: {psnr:.1} dB");
        }
        let mut same = Scaler::new((640, 360), (640, 360)).unwrap();
        let uncopied = same.scale(&picture).unwrap();
        assert_eq!(uncopied.plane(0).0.as_ptr(), picture.plane(0).0.as_ptr());
        assert!(same.scale(&scene(320, 180, 0)).unwrap_err().is_bad_data());
    }
}
