//! Pictures: YUV 4:2:0, 8 bits, limited range, counted references to pooled memory.

use super::error::CodecError;
use super::ff::{BufferPool, Frame};
use ffmpeg_next::ffi;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest side of a picture, in pixels. Beyond it, a size is a mistake or an attack.
pub const MAX_SIDE: u32 = 8192;

/// Row starts are this aligned, so that SIMD code in scalers and encoders runs at its best.
const ALIGN: usize = 64;

/// Sizes whose pools are kept for [`Picture::alloc`]; the oldest goes first.
const KEPT_POOLS: usize = 8;

/// A picture. Cloning it shares the memory; [`Picture::planes_mut`] writes only where nobody shares.
#[derive(Clone)]
pub struct Picture(Arc<Frame>);

/// One plane, to write to.
pub struct PlaneMut<'a> {
    /// From the first pixel to the last, `stride` bytes a row, without the last row's padding.
    pub data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl PlaneMut<'_> {
    /// The plane's rows, top first, each `width` bytes long.
    pub fn rows(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let width = self.width;
        self.data.chunks_mut(self.stride).map(move |row| &mut row[..width])
    }
}

impl Picture {
    /// A picture of this size, from a pool that all callers share. Its content is unspecified: some
    /// earlier picture's, or zeroes. A busy producer of one size uses a [`PicturePool`] of its own.
    ///
    /// # Errors
    /// A side that is 0 or above [`MAX_SIDE`]; no memory.
    pub fn alloc(width: u32, height: u32) -> Result<Self, CodecError> {
        static POOLS: Mutex<Vec<PicturePool>> = Mutex::new(Vec::new());
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match pools.iter().position(|pool| pool.size() == (width, height)) {
            Some(at) => at,
            None => {
                let pool = PicturePool::new(width, height)?;
                if pools.len() == KEPT_POOLS {
                    pools.remove(0);
                }
                pools.push(pool);
                pools.len() - 1
            }
        };
        pools[at].get()
    }

    /// A black picture.
    ///
    /// # Errors
    /// As [`Picture::alloc`].
    pub fn black(width: u32, height: u32) -> Result<Self, CodecError> {
        let mut picture = Self::alloc(width, height)?;
        picture.fill(16, 128, 128);
        Ok(picture)
    }

    /// Paints all of it in one colour. Does nothing on a shared picture.
    pub fn fill(&mut self, y: u8, cb: u8, cr: u8) {
        if let Some(planes) = self.planes_mut() {
            for (plane, value) in planes.into_iter().zip([y, cb, cr]) {
                plane.data.fill(value);
            }
        }
    }

    /// Takes a frame that is YUV 4:2:0 limited range with all planes present and rows top down.
    pub(super) fn from_frame(frame: Frame) -> Result<Self, CodecError> {
        let fields = frame.fields();
        let sides = [fields.width, fields.height];
        let good = fields.format == ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32
            && sides.iter().all(|side| (1..=MAX_SIDE as i32).contains(side))
            && (0..3).all(|i| {
                let (width, _) = plane_size(i, fields.width as u32, fields.height as u32);
                !fields.data[i].is_null() && fields.linesize[i] >= width as i32
            });
        if good {
            Ok(Self(Arc::new(frame)))
        } else {
            Err(CodecError::Size {
                what: "picture",
                width: fields.width.max(0) as u32,
                height: fields.height.max(0) as u32,
                rule: format!("only 8 bit YUV 4:2:0 with sides from 1 to {MAX_SIDE} is taken"),
            })
        }
    }

    pub(super) fn frame(&self) -> &Frame {
        &self.0
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.0.fields().width as u32
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.0.fields().height as u32
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width(), self.height())
    }

    /// Plane `index` (0 luma, 1 Cb, 2 Cr; larger counts as 2) from its first to its last pixel, and
    /// its stride in bytes. Chroma planes have half the sides, rounded up.
    pub fn plane(&self, index: usize) -> (&[u8], usize) {
        let index = index.min(2);
        let (data, stride, len) = self.extent(index);
        // SAFETY: from_frame checked that the plane is there with rows top down, and FFmpeg's frames
        // hold `stride` bytes a row; len ends with the last row's last pixel. The memory was zeroed
        // or written by a decoder, and nobody writes it while it is shared: planes_mut asks for
        // unique ownership, of this Arc and of the buffers.
        (unsafe { std::slice::from_raw_parts(data, len) }, stride)
    }

    /// The rows of plane `index`, top first, each as long as the plane is wide.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let (width, _) = plane_size(index.min(2), self.width(), self.height());
        let (data, stride) = self.plane(index);
        data.chunks(stride).map(move |row| &row[..width])
    }

    fn extent(&self, index: usize) -> (*mut u8, usize, usize) {
        let fields = self.0.fields();
        let (width, height) = plane_size(index, self.width(), self.height());
        let stride = fields.linesize[index] as usize;
        (fields.data[index], stride, stride * (height - 1) + width)
    }

    /// The planes to write to, if this is the only reference to the memory; otherwise `None`.
    /// [`Picture::to_mut`] copies instead.
    pub fn planes_mut(&mut self) -> Option<[PlaneMut<'_>; 3]> {
        let (width, height) = self.size();
        let frame = Arc::get_mut(&mut self.0)?;
        // SAFETY: the frame lives; the call only reads reference counts.
        if unsafe { ffi::av_frame_is_writable(frame.as_mut_ptr()) } <= 0 {
            return None;
        }
        let this = &*self;
        Some(std::array::from_fn(|i| {
            let (data, stride, len) = this.extent(i);
            let (width, height) = plane_size(i, width, height);
            // SAFETY: the extent is as in `plane`; the three planes of a frame do not overlap; no
            // other Picture, decoder or encoder holds these buffers (checked above), and self stays
            // borrowed for writing as long as the slices live.
            let data = unsafe { std::slice::from_raw_parts_mut(data, len) };
            PlaneMut { data, stride, width, height }
        }))
    }

    /// The planes to write to; copies the picture first if its memory is shared.
    ///
    /// # Errors
    /// No memory for the copy.
    pub fn to_mut(&mut self) -> Result<[PlaneMut<'_>; 3], CodecError> {
        if self.planes_mut().is_none() {
            let mut copy = Self::alloc(self.width(), self.height())?;
            if let Some(planes) = copy.planes_mut() {
                for (index, mut plane) in planes.into_iter().enumerate() {
                    for (to, from) in plane.rows().zip(self.rows(index)) {
                        to.copy_from_slice(from);
                    }
                }
            }
            *self = copy;
        }
        self.planes_mut().ok_or(CodecError::Memory("a picture"))
    }

    /// Peak signal-to-noise ratio of the luma planes, in dB; infinite for equal ones, `None` for
    /// different sizes.
    pub fn psnr(&self, other: &Self) -> Option<f64> {
        if self.size() != other.size() {
            return None;
        }
        let squares: u64 = self
            .rows(0)
            .zip(other.rows(0))
            .flat_map(|(a, b)| a.iter().zip(b))
            .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
            .sum();
        let mean = squares as f64 / (f64::from(self.width()) * f64::from(self.height()));
        Some(10.0 * (255.0 * 255.0 / mean).log10())
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width(), self.height())
    }
}

/// Memory for pictures of one size, reused as they are dropped. As large as the most pictures that
/// were ever alive at once.
pub struct PicturePool {
    buffers: BufferPool,
    width: u32,
    height: u32,
}

impl PicturePool {
    /// A pool for this size.
    ///
    /// # Errors
    /// A side that is 0 or above [`MAX_SIDE`]; no memory.
    pub fn new(width: u32, height: u32) -> Result<Self, CodecError> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            let rule = format!("sides are from 1 to {MAX_SIDE}");
            return Err(CodecError::Size { what: "picture", width, height, rule });
        }
        // Some SIMD code reads and writes whole vectors past the last pixel.
        let size = (0..3).map(|i| plane_bytes(i, width, height)).sum::<usize>() + ALIGN;
        Ok(Self { buffers: BufferPool::new(size)?, width, height })
    }

    /// Width and height of its pictures.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// A picture that nobody else holds. Its content is an earlier picture's, or zeroes.
    ///
    /// # Errors
    /// No memory.
    pub fn get(&self) -> Result<Picture, CodecError> {
        let mut frame = Frame::new()?;
        let fields = frame.fields_mut();
        fields.buf[0] = self.buffers.get()?;
        // SAFETY: buf[0] is a live reference of the pool's size.
        let mut data = unsafe { (*fields.buf[0]).data };
        for i in 0..3 {
            fields.data[i] = data;
            fields.linesize[i] = stride(i, self.width) as i32;
            // SAFETY: the pool's blocks hold all three planes and padding, laid out in this order.
            data = unsafe { data.add(plane_bytes(i, self.width, self.height)) };
        }
        fields.width = self.width as i32;
        fields.height = self.height as i32;
        fields.format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32;
        fields.color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
        fields.colorspace = ffi::AVColorSpace::AVCOL_SPC_BT709;
        fields.color_primaries = ffi::AVColorPrimaries::AVCOL_PRI_BT709;
        fields.color_trc = ffi::AVColorTransferCharacteristic::AVCOL_TRC_BT709;
        Picture::from_frame(frame)
    }
}

/// Pixels a row and rows of a plane.
fn plane_size(index: usize, width: u32, height: u32) -> (usize, usize) {
    let half = |side: u32| if index == 0 { side } else { side.div_ceil(2) } as usize;
    (half(width), half(height))
}

fn stride(index: usize, width: u32) -> usize {
    plane_size(index, width, 1).0.next_multiple_of(ALIGN)
}

fn plane_bytes(index: usize, width: u32, height: u32) -> usize {
    stride(index, width) * plane_size(index, width, height).1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_have_chroma_for_the_last_column_and_row() {
        let mut picture = Picture::alloc(5, 3).unwrap();
        let sizes = picture.planes_mut().unwrap().map(|plane| (plane.width, plane.height));
        assert_eq!(sizes, [(5, 3), (3, 2), (3, 2)]);
        picture.fill(1, 2, 3);
        for (index, value) in [(0, 1), (1, 2), (2, 3)] {
            assert!(picture.rows(index).flatten().all(|b| *b == value));
        }
        assert_eq!(picture.rows(0).count(), 3);
    }

    #[test]
    fn shared_pictures_are_not_written_in_place() {
        let mut picture = Picture::black(64, 48).unwrap();
        let before = picture.clone();
        assert!(picture.planes_mut().is_none());
        picture.to_mut().unwrap()[0].data.fill(200);
        assert!(before.rows(0).flatten().all(|b| *b == 16));
        assert!(picture.rows(0).flatten().all(|b| *b == 200));
        assert!(picture.rows(1).flatten().all(|b| *b == 128));
        assert!(picture.planes_mut().is_some());
    }

    #[test]
    fn pools_reuse_memory_after_the_last_clone_is_gone() {
        let pool = PicturePool::new(320, 240).unwrap();
        let first = pool.get().unwrap();
        let place = first.plane(0).0.as_ptr();
        let shared = first.clone();
        drop(first);
        assert_ne!(pool.get().unwrap().plane(0).0.as_ptr(), place);
        drop(shared);
        let again: Vec<_> = (0..2).map(|_| pool.get().unwrap()).collect();
        assert!(again.iter().any(|picture| picture.plane(0).0.as_ptr() == place));
    }

    #[test]
    fn senseless_sizes_are_errors() {
        for (width, height) in [(0, 2), (2, 0), (MAX_SIDE + 1, 2), (2, u32::MAX)] {
            assert!(matches!(Picture::alloc(width, height), Err(CodecError::Size { .. })));
        }
    }

    #[test]
    fn psnr_tells_equal_from_noisy() {
        let black = Picture::black(64, 64).unwrap();
        let mut grey = Picture::black(64, 64).unwrap();
        assert_eq!(black.psnr(&grey), Some(f64::INFINITY));
        grey.fill(26, 128, 128);
        assert!((black.psnr(&grey).unwrap() - 28.13).abs() < 0.01);
        assert!(black.psnr(&Picture::black(64, 32).unwrap()).is_none());
    }
}
