//! The burnt-in clock: two rows of black and white blocks in the picture that say which frame this
//! is and when it was captured, and that a program can read back from any decoded picture.
//!
//! This is the whole format. Readers in other languages are written from it.
//!
//! **Geometry.** For a picture of W x H pixels (any size; only proportions matter, so the clock
//! survives scaling), the clock is a grid of 40 columns and 2 rows. Column `c` spans
//! `c*W/40 .. (c+1)*W/40` in x; row 0 spans `40*H/45 .. 42*H/45` in y and row 1 spans
//! `42*H/45 .. 44*H/45`. In a 16:9 picture the blocks are squares: 32 pixels at 1280x720, 16 at
//! 640x360. Where a picture is letterboxed, W, H and the origin are those of the content.
//!
//! **Blocks.** A white block (luma 235) is a 1, a black block (luma 16) is a 0; chroma is grey. A
//! white block keeps an eighth of its width and height black at each edge: a block that turns from
//! flat black to flat white as a whole is just what fast encoders miss (they compare variances, and
//! both have none), and the clock is to measure time, not to find that out.
//!
//! | columns | row 0 | row 1 |
//! |---|---|---|
//! | 0..4 | sync: `1 0 1 0` | sync: `0 1 0 1` |
//! | 4..36 | frame number, 32 bits, most significant bit first | wall clock, 32 bits, most significant bit first |
//! | 36..40 | high half of the check byte, most significant bit first | low half of the check byte |
//!
//! *Frame number*: counts captured frames from 0. *Wall clock*: milliseconds since the Unix epoch
//! at capture, modulo 2^32 (it wraps every 49.7 days; [`resolve`] undoes that). *Check byte*: CRC-8,
//! polynomial 0x07, initial value 0xFF, no reflection and no final XOR, over the frame number's 4
//! bytes and then the wall clock's 4 bytes, both big-endian.
//!
//! **Reading.** Take the mean luma of the middle half (in both directions) of each block. `white` is
//! the mean of the four white sync blocks, `black` of the four black ones. Give up if
//! `white - black < 40`, or if a sync block is on the wrong side of `(white + black) / 2`. Then each
//! block brighter than that middle is a 1. Give up if the check byte is wrong: the picture is a
//! blend of two frames, or not ours. In RGB (a canvas) any of the three channels serves as luma.

use std::ops::Range;

/// Columns of the grid.
pub const COLUMNS: usize = 40;
/// Height of the grid's unit: a row of blocks is two of these, the picture is 45.
const UNITS: usize = 45;
/// First unit of each row.
const ROW_UNIT: [usize; 2] = [40, 42];
/// The sync pattern of each row, first column in the highest bit.
const SYNC: [u8; 2] = [0b1010, 0b0101];
const WHITE: u8 = 235;
const BLACK: u8 = 16;
/// Least difference between white and black blocks that is still readable.
const LEAST_CONTRAST: i32 = 40;

/// What the clock in a picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Captured frames before this one.
    pub frame: u32,
    /// Milliseconds since the Unix epoch at capture, modulo 2^32.
    pub wall_ms: u32,
}

/// Why a picture's clock cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The plane is smaller than the grid, or its buffer is shorter than its size says.
    #[error("a {width}x{height} picture (stride {stride}, {len} bytes) cannot hold the clock")]
    BadPlane {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes given.
        len: usize,
    },
    /// The sync blocks do not differ enough, or stand in the wrong pattern: no clock here.
    #[error("no clock in the picture: white {white}, black {black} in the sync blocks")]
    NoSync {
        /// Mean luma of the blocks that should be white.
        white: i32,
        /// Mean luma of the blocks that should be black.
        black: i32,
    },
    /// The check byte is wrong: a blend of two frames, or damage.
    #[error("the clock's check byte is {read:#04x}, its bits give {computed:#04x}")]
    BadCheck {
        /// As it stands in the picture.
        read: u8,
        /// As computed over the bits read.
        computed: u8,
    },
}

impl Stamp {
    /// The stamp of frame `frame` captured at `wall_us` microseconds since the Unix epoch.
    pub const fn at(frame: u64, wall_us: i64) -> Self {
        Self { frame: frame as u32, wall_ms: wall_us.div_euclid(1000) as u32 }
    }

    fn check(self) -> u8 {
        let bytes = self.frame.to_be_bytes().into_iter().chain(self.wall_ms.to_be_bytes());
        bytes.fold(0xFF, |crc, byte| {
            (0..8).fold(
                crc ^ byte,
                |crc, _| {
                    if crc & 0x80 != 0 { (crc << 1) ^ 0x07 } else { crc << 1 }
                },
            )
        })
    }

    /// Both rows' 40 bits, first column in the highest of the 40.
    fn rows(self) -> [u64; 2] {
        let check = self.check();
        let row = |sync: u8, data: u32, nibble: u8| {
            u64::from(sync) << 36 | u64::from(data) << 4 | u64::from(nibble)
        };
        [row(SYNC[0], self.frame, check >> 4), row(SYNC[1], self.wall_ms, check & 15)]
    }

    /// Draws the clock into a luma plane. A plane too small for it is left alone.
    pub fn draw(self, luma: &mut [u8], stride: usize, width: usize, height: usize) {
        for (row, bits) in self.rows().into_iter().enumerate() {
            let lit = without_edges(rows_of(row, height));
            for y in rows_of(row, height) {
                let Some(line) = luma.get_mut(y * stride..y * stride + width) else { return };
                line.fill(BLACK);
                if !lit.contains(&y) {
                    continue;
                }
                for column in (0..COLUMNS).filter(|c| bits >> (COLUMNS - 1 - c) & 1 == 1) {
                    if let Some(block) = line.get_mut(without_edges(columns_of(column, width))) {
                        block.fill(WHITE);
                    }
                }
            }
        }
    }

    /// Reads the clock from a luma plane of any size.
    pub fn read(
        luma: &[u8],
        stride: usize,
        width: usize,
        height: usize,
    ) -> Result<Self, Unreadable> {
        let bad = Unreadable::BadPlane { width, height, stride, len: luma.len() };
        if width < COLUMNS || height < UNITS || stride < width {
            return Err(bad);
        }
        let mut means = [[0i32; COLUMNS]; 2];
        for (row, means) in means.iter_mut().enumerate() {
            for (column, mean) in means.iter_mut().enumerate() {
                let x = middle(columns_of(column, width));
                let y = middle(rows_of(row, height));
                let (mut sum, count) = (0u64, (x.len() * y.len()) as u64);
                for y in y {
                    let line = luma
                        .get(y * stride..y * stride + width)
                        .and_then(|line| line.get(x.clone()));
                    sum += line.ok_or(bad)?.iter().map(|&p| u64::from(p)).sum::<u64>();
                }
                *mean = (sum / count.max(1)) as i32;
            }
        }

        let (mut white, mut black) = (0, 0);
        for (row, means) in means.iter().enumerate() {
            for (column, mean) in means.iter().take(4).enumerate() {
                *(if SYNC[row] >> (3 - column) & 1 == 1 { &mut white } else { &mut black }) += mean;
            }
        }
        let (white, black) = (white / 4, black / 4);
        let bits = means.map(|row| {
            row.into_iter().fold(0u64, |bits, mean| bits << 1 | u64::from(2 * mean > white + black))
        });
        let sync = bits.map(|row| (row >> 36) as u8);
        if white - black < LEAST_CONTRAST || sync != SYNC {
            return Err(Unreadable::NoSync { white, black });
        }
        let stamp = Self { frame: (bits[0] >> 4) as u32, wall_ms: (bits[1] >> 4) as u32 };
        let (read, computed) = ((bits[0] << 4 & 0xF0 | bits[1] & 0x0F) as u8, stamp.check());
        if read != computed {
            return Err(Unreadable::BadCheck { read, computed });
        }
        Ok(stamp)
    }
}

/// The whole milliseconds since the Unix epoch behind a clock's low 32 bits, given any time within
/// 24 days of it.
pub const fn resolve(wall_ms: u32, near_ms: i64) -> i64 {
    near_ms + (wall_ms.wrapping_sub(near_ms as u32) as i32) as i64
}

fn columns_of(column: usize, width: usize) -> Range<usize> {
    column * width / COLUMNS..(column + 1) * width / COLUMNS
}

fn rows_of(row: usize, height: usize) -> Range<usize> {
    let unit = ROW_UNIT[row & 1];
    unit * height / UNITS..(unit + 2) * height / UNITS
}

/// What of a block's range is lit when it is white.
fn without_edges(range: Range<usize>) -> Range<usize> {
    let edge = range.len() / 8;
    range.start + edge..range.end - edge
}

/// The middle half of a range, at least one element wide.
fn middle(range: Range<usize>) -> Range<usize> {
    let quarter = range.len() / 4;
    range.start + quarter..(range.end - quarter).max(range.start + quarter + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Box-filter scaling of a luma plane, enough to stand for a scaler or a canvas.
    fn scale(from: &[u8], (w, h): (usize, usize), (to_w, to_h): (usize, usize)) -> Vec<u8> {
        let mut out = vec![0; to_w * to_h];
        for (i, pixel) in out.iter_mut().enumerate() {
            let (x, y) = (i % to_w, i / to_w);
            let xs = x * w / to_w..((x + 1) * w / to_w).max(x * w / to_w + 1);
            let ys = y * h / to_h..((y + 1) * h / to_h).max(y * h / to_h + 1);
            let count = (xs.len() * ys.len()) as u32;
            let sum: u32 =
                ys.flat_map(|y| xs.clone().map(move |x| u32::from(from[y * w + x]))).sum();
            *pixel = (sum / count) as u8;
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn the_clock_survives_scaling_and_noise(
            frame: u32, wall_ms: u32, size in 0usize..6, noise in 0i32..60, seed: u32
        ) {
            let stamp = Stamp { frame, wall_ms };
            let mut plane = vec![90u8; 1280 * 720];
            stamp.draw(&mut plane, 1280, 1280, 720);
            let to = [(1280, 720), (854, 480), (640, 360), (320, 180), (1920, 1080), (427, 241)][size];
            let mut small = scale(&plane, (1280, 720), to);
            let mut state = seed | 1;
            for pixel in &mut small {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let shift = (state >> 16) as i32 % (2 * noise + 1) - noise;
                *pixel = (i32::from(*pixel) + shift).clamp(0, 255) as u8;
            }
            prop_assert_eq!(Stamp::read(&small, to.0, to.0, to.1), Ok(stamp));
        }

        #[test]
        fn absurd_planes_are_refused_and_never_panic(
            len in 0usize..20_000, stride in 0usize..300, width in 0usize..300, height in 0usize..300
        ) {
            let _ = Stamp::read(&vec![128; len], stride, width, height);
            Stamp { frame: 1, wall_ms: 2 }.draw(&mut vec![0; len], stride, width, height);
        }
    }

    #[test]
    fn a_picture_without_a_clock_says_so() {
        let plane = vec![128u8; 640 * 360];
        assert!(matches!(Stamp::read(&plane, 640, 640, 360), Err(Unreadable::NoSync { .. })));
    }

    #[test]
    fn a_blend_of_two_frames_is_not_taken_for_either() {
        let (mut one, mut two) = (vec![0u8; 640 * 360], vec![0u8; 640 * 360]);
        let (a, b) = (Stamp { frame: 7, wall_ms: 123_456 }, Stamp { frame: 8, wall_ms: 123_489 });
        a.draw(&mut one, 640, 640, 360);
        b.draw(&mut two, 640, 640, 360);
        // The upper row of one frame over the lower row of the other: a tear.
        let tear = 42 * 360 / 45 * 640;
        one[tear..].copy_from_slice(&two[tear..]);
        assert!(matches!(Stamp::read(&one, 640, 640, 360), Err(Unreadable::BadCheck { .. })));
    }

    #[test]
    fn known_vector_for_readers_in_other_languages() {
        // Quoted by the TypeScript reader's test.
        let stamp = Stamp { frame: 0x0001_E240, wall_ms: 0x89AB_CDEF };
        assert_eq!(stamp.check(), 0x8B);
        assert_eq!(stamp.rows(), [0xA0_001E_2408, 0x58_9ABC_DEFB]);
    }

    #[test]
    fn the_wall_clock_is_resolved_across_its_wrap() {
        let now = 1_790_000_000_123_i64;
        assert_eq!(resolve(now as u32, now + 5_000), now);
        assert_eq!(resolve(now as u32, now - 5_000), now);
        let wrap = (now >> 32 << 32) + 3;
        assert_eq!(resolve((wrap - 10) as u32, wrap), wrap - 10);
    }
}
