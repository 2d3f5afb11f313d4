//! The lecture's picture, drawn in code: slides that change, a chart that grows, a face-like inset
//! that moves and carries noise so that it costs an encoder what a camera costs, the burnt-in
//! clock, and a white box that flashes with the beep of [`super::sound`].
//!
//! A frame is a function of the look, its number and its stamp, and of nothing else. Everything is
//! laid out in proportions of the picture, so that the same readers work at every size:
//!
//! * the clock: see [`super::burnt`];
//! * the flash: the box `34*W/40 .. 39*W/40` by `33*H/45 .. 38*H/45`, white (luma 235) during the
//!   first 100 ms of every second of capture, else dark (luma 32). [`flash_luma`] reads it.

use super::burnt::Stamp;
use crate::font;

/// What the picture looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Pixels in a row; made even.
    pub width: u32,
    /// Rows; made even.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Which class: the order of slides, the noise.
    pub seed: u64,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 1280, height: 720, fps: 30, seed: 1 }
    }
}

/// A picture in I420, limited range, without padding between rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row, even.
    pub width: usize,
    /// Rows, even.
    pub height: usize,
    /// Luma, `width * height` bytes.
    pub y: Vec<u8>,
    /// Blue difference, a quarter of that.
    pub u: Vec<u8>,
    /// Red difference, likewise.
    pub v: Vec<u8>,
}

impl Frame {
    /// A dark picture. Sizes are made even and at least 80x90, the least the clock can stand in.
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = ((width.max(80) & !1) as usize, (height.max(90) & !1) as usize);
        let chroma = width / 2 * (height / 2);
        Self {
            width,
            height,
            y: vec![16; width * height],
            u: vec![128; chroma],
            v: vec![128; chroma],
        }
    }

    /// Fills the rectangle from `(x, y)` to before `(right, bottom)`, clipped to the picture.
    fn fill(&mut self, (x, y): (usize, usize), (right, bottom): (usize, usize), colour: Colour) {
        let (right, bottom) = (right.min(self.width), bottom.min(self.height));
        if x >= right || y >= bottom {
            return;
        }
        for row in self.y.chunks_exact_mut(self.width).take(bottom).skip(y) {
            row[x..right].fill(colour.0);
        }
        let (from, to) = (x / 2, right.div_ceil(2));
        for (plane, value) in [(&mut self.u, colour.1), (&mut self.v, colour.2)] {
            for row in plane.chunks_exact_mut(self.width / 2).take(bottom.div_ceil(2)).skip(y / 2) {
                row[from..to].fill(value);
            }
        }
    }

    /// Writes one line of text, luma and chroma; `dot` is the size of a font pixel.
    fn text(&mut self, (x, y): (usize, usize), dot: usize, colour: Colour, text: &str) {
        for (i, character) in text.chars().enumerate() {
            let Some(rows) = font::glyph(character) else { continue };
            for (r, bits) in rows.into_iter().enumerate() {
                for column in (0..5).filter(|c| bits >> (4 - c) & 1 == 1) {
                    let (left, top) = (x + (i * font::CELL + column) * dot, y + r * dot);
                    self.fill((left, top), (left + dot, top + dot), colour);
                }
            }
        }
    }
}

/// Luma, blue difference, red difference.
#[derive(Clone, Copy)]
struct Colour(u8, u8, u8);

const PAPER: Colour = Colour(225, 127, 129);
const INK: Colour = Colour(40, 134, 124);
const DARK: Colour = Colour(32, 128, 128);
const WHITE: Colour = Colour(235, 128, 128);
const ACCENTS: [Colour; 4] =
    [Colour(82, 180, 100), Colour(110, 96, 170), Colour(120, 90, 110), Colour(96, 150, 160)];

/// Seconds a slide stays.
const SLIDE_SECONDS: u64 = 10;

const SLIDES: [(&str, [&str; 4]); 8] = [
    (
        "The water cycle",
        [
            "Evaporation from sea and land",
            "Clouds carry water far",
            "Rain and snow bring it back",
            "Rivers close the circle",
        ],
    ),
    (
        "Fractions",
        [
            "1/2 + 1/3 = 5/6",
            "Find the common denominator",
            "Then add the numerators",
            "Reduce: 4/8 = 1/2",
        ],
    ),
    (
        "Light and shadow",
        [
            "Light travels in straight lines",
            "Opaque things cast shadows",
            "Near the lamp: a larger shadow",
            "Experiment: a torch, a pencil",
        ],
    ),
    (
        "The cell",
        [
            "Membrane, plasma, nucleus",
            "Plants: wall and chloroplasts",
            "Energy from mitochondria",
            "One divides into two",
        ],
    ),
    (
        "Reading a map",
        [
            "Scale: 1 cm is 250 m here",
            "Contour lines join equal height",
            "Close lines: steep ground",
            "North is where the needle points",
        ],
    ),
    (
        "Electric circuits",
        [
            "A circuit must be closed",
            "Volt = ohm x ampere",
            "In series: resistances add",
            "In parallel: currents add",
        ],
    ),
    (
        "The printing press",
        [
            "Movable type, about 1450",
            "Books in weeks, not years",
            "News travels, ideas spread",
            "Who could read them?",
        ],
    ),
    (
        "Sound",
        [
            "A vibration in the air",
            "340 m in a second",
            "Frequency is pitch: 440 Hz",
            "Amplitude is loudness",
        ],
    ),
];

/// Draws the lecture, frame after frame.
#[derive(Debug)]
pub struct Lecture {
    look: Look,
    /// The slide drawn last, and its number: the moving parts are drawn over a copy of it.
    slide: Option<(u64, Frame)>,
}

impl Lecture {
    /// A lecture of the given look.
    pub fn new(look: Look) -> Self {
        Self { look, slide: None }
    }

    /// The look it was made with.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Draws frame number `number` (counted from 0 at the start of the class) into `out`.
    pub fn draw(&mut self, number: u64, stamp: Stamp, out: &mut Frame) {
        let fps = u64::from(self.look.fps.max(1));
        let slide_number = number / (SLIDE_SECONDS * fps);
        let slide = match self.slide.take() {
            Some((n, slide)) if n == slide_number => slide,
            _ => self.draw_slide(slide_number),
        };
        out.clone_from(&slide);
        self.slide = Some((slide_number, slide));

        let (width, height) = (out.width, out.height);
        draw_chart(out, number, fps);
        draw_inset(out, number, fps, self.look.seed);
        let lit = number % fps * 10 < fps;
        let [x, y, right, bottom] = flash_box(width, height);
        out.fill((x, y), (right, bottom), if lit { WHITE } else { DARK });
        stamp.draw(&mut out.y, width, width, height);
    }

    fn draw_slide(&self, number: u64) -> Frame {
        let mut frame = Frame::new(self.look.width, self.look.height);
        let (width, height) = (frame.width, frame.height);
        let (heading, body) = ((height / 120).max(1), (height / 180).max(1));
        let (title, bullets) = SLIDES[((number + self.look.seed) % SLIDES.len() as u64) as usize];
        let accent = ACCENTS[(number % ACCENTS.len() as u64) as usize];
        let left = width / 24;
        let unit = height / 45;

        frame.fill((0, 0), (width, height), PAPER);
        frame.fill((0, 0), (width, unit), accent);
        frame.text((left, 4 * unit), heading, INK, title);
        frame.fill((left, 9 * unit), (left + width * 3 / 5, 9 * unit + heading), accent);
        for (i, bullet) in bullets.iter().enumerate() {
            let y = (13 + 6 * i) * unit;
            frame.text((left, y), body, accent, "*");
            frame.text((left + 2 * font::CELL * body, y), body, INK, bullet);
        }
        let page = format!("page {}", number + 1);
        frame.text((left, 37 * unit), (body * 3 / 4).max(1), INK, &page);
        // The clock stands on black, so that nothing bright bleeds into its first row.
        frame.fill((0, height * 39 / 45), (width, height), Colour(16, 128, 128));
        frame
    }
}

/// A bar chart below the inset, whose bars breathe: a little motion that is not noise.
fn draw_chart(out: &mut Frame, number: u64, fps: u64) {
    let (left, right) = (out.width * 29 / 40, out.width * 39 / 40);
    let (top, floor) = (out.height * 19 / 45, out.height * 32 / 45);
    let bars = 8;
    let pitch = (right - left) / bars;
    let seconds = number as f32 / fps as f32;
    for bar in 0..bars {
        let phase = seconds * 0.7 + bar as f32 * 0.9;
        let share = 0.55 + 0.4 * phase.sin();
        let high = ((floor - top) as f32 * share) as usize;
        let x = left + bar * pitch;
        out.fill((x, floor - high), (x + pitch * 3 / 4, floor), ACCENTS[bar % ACCENTS.len()]);
    }
    out.fill((left, floor), (right, floor + (out.height / 240).max(1)), INK);
}

/// The inset: a room behind, a head that sways, eyes that blink, a mouth that talks, sensor noise.
fn draw_inset(out: &mut Frame, number: u64, fps: u64, seed: u64) {
    let (left, top) = (out.width * 29 / 40, out.height * 3 / 45);
    let (width, height) = (out.width / 4, out.height / 4);
    let t = number as f32 / fps as f32;
    let (w, h) = (width as f32, height as f32);
    let (cx, cy) = (w * (0.5 + 0.08 * (t * 0.9).sin()), h * (0.52 + 0.04 * (t * 1.7).sin()));
    let blink = number % (fps * 4) < fps / 6;
    let open = 0.03 + 0.05 * (t * 11.0).sin().abs();
    let mut noise = Noise::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));

    for row in 0..height {
        let fy = (row as f32 - cy) / (h * 0.34);
        let from = (top + row) * out.width + left;
        let Some(line) = out.y.get_mut(from..from + width) else { return };
        for (column, pixel) in line.iter_mut().enumerate() {
            let fx = (column as f32 - cx) / (w * 0.16);
            let head = fx * fx + fy * fy;
            let base = if head < 1.0 {
                let eye = |ex: f32| (fx - ex).abs() < 0.16 && (fy + 0.2).abs() < 0.07 && !blink;
                let mouth = fx.abs() < 0.35 && (fy - 0.45).abs() < open * 2.0;
                let hair = fy < -0.55;
                let shade = 168.0 - 30.0 * fx - 16.0 * fy;
                if eye(-0.4) || eye(0.4) || hair {
                    50.0
                } else if mouth {
                    80.0
                } else {
                    shade
                }
            } else if fy > 0.9 && fx.abs() < 2.2 * (fy - 0.5) {
                90.0 + 8.0 * ((column + 2 * row) % 7) as f32
            } else {
                // A bookshelf: upright backs of many widths, shelves between them.
                let back = (column * 37 / width.max(1)).wrapping_mul(29) % 11;
                if row * 4 % height.max(1) < 8 { 60.0 } else { 70.0 + 9.0 * back as f32 }
            };
            *pixel = (base as i32 + noise.next()).clamp(16, 235) as u8;
        }
    }
    let half = out.width / 2;
    for row in 0..height / 2 {
        let fy = (row as f32 * 2.0 - cy) / (h * 0.34);
        let from = (top / 2 + row) * half + left / 2;
        for column in 0..width / 2 {
            let fx = (column as f32 * 2.0 - cx) / (w * 0.16);
            let (u, v) = if fx * fx + fy * fy < 1.0 {
                (112, 150)
            } else if fy > 0.9 && fx.abs() < 2.2 * (fy - 0.5) {
                (150, 112)
            } else {
                (122 + (column * 13 % 12) as i32, 128 + (column * 7 % 9) as i32)
            };
            let grain = noise.next() / 2;
            if let (Some(pu), Some(pv)) =
                (out.u.get_mut(from + column), out.v.get_mut(from + column))
            {
                (*pu, *pv) = ((u + grain) as u8, (v - grain) as u8);
            }
        }
    }
}

/// Noise of a small sensor: about plus or minus 5, mostly small.
struct Noise {
    state: u64,
    bits: u64,
    left: u32,
}

impl Noise {
    fn new(seed: u64) -> Self {
        Self { state: seed | 1, bits: 0, left: 0 }
    }

    /// The difference of two three-bit numbers of a xorshift generator, scaled to -5..=5.
    fn next(&mut self) -> i32 {
        if self.left < 6 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.bits, self.left) = (self.state, 60);
        }
        let (a, b) = ((self.bits & 7) as i32, (self.bits >> 3 & 7) as i32);
        self.bits >>= 6;
        self.left -= 6;
        (a - b) * 3 / 4
    }
}

/// The flash's box: left, top, right, bottom.
fn flash_box(width: usize, height: usize) -> [usize; 4] {
    [34 * width / 40, 33 * height / 45, 39 * width / 40, 38 * height / 45]
}

/// Mean luma of the middle of the flash's box, in a luma plane of any size; nothing if the buffer
/// is smaller than its size says. Above 128 the flash is on.
pub fn flash_luma(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<u8> {
    let [x, y, right, bottom] = flash_box(width, height);
    let (dx, dy) = ((right - x) / 4, (bottom - y) / 4);
    let (mut sum, mut count) = (0u64, 0u64);
    for row in y + dy..bottom - dy {
        let line = luma.get(row * stride + x + dx..row * stride + right - dx)?;
        sum += line.iter().map(|&p| u64::from(p)).sum::<u64>();
        count += line.len() as u64;
    }
    (count > 0).then(|| (sum / count) as u8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn drawn(look: Look, number: u64) -> Frame {
        let mut frame = Frame::new(look.width, look.height);
        Lecture::new(look).draw(number, Stamp::at(number, 1_700_000_000_000_000), &mut frame);
        frame
    }

    #[test]
    fn a_frame_is_a_function_of_its_number() {
        let look = Look::default();
        let mut lecture = Lecture::new(look);
        let mut frame = Frame::new(look.width, look.height);
        for number in [0, 1, 299, 300, 301] {
            lecture.draw(number, Stamp::at(number, 1_700_000_000_000_000), &mut frame);
            assert_eq!(frame, drawn(look, number), "frame {number}");
        }
        assert_ne!(drawn(look, 4).y, drawn(look, 5).y);
        assert_ne!(drawn(look, 4), drawn(Look { seed: 2, ..look }, 4));
    }

    #[test]
    fn clock_and_flash_are_readable_at_every_size() {
        for (width, height) in
            [(1280, 720), (640, 360), (1920, 1080), (720, 1280), (854, 480), (641, 361)]
        {
            for fps in [24, 25, 30, 60] {
                let look = Look { width, height, fps, seed: 3 };
                for number in [0, 1, u64::from(fps) / 2, u64::from(fps), 7 * u64::from(fps) + 1] {
                    let f = drawn(look, number);
                    let stamp = Stamp::read(&f.y, f.width, f.width, f.height).unwrap();
                    assert_eq!(u64::from(stamp.frame), number);
                    let lit = flash_luma(&f.y, f.width, f.width, f.height).unwrap() > 128;
                    assert_eq!(lit, number % u64::from(fps) < 2, "frame {number} at {fps} fps");
                }
            }
        }
    }

    #[test]
    fn tiny_pictures_and_short_planes_do_no_harm() {
        for (width, height) in [(0, 0), (1, 1), (80, 90), (3, 2000), (2000, 3)] {
            drawn(Look { width, height, fps: 0, seed: 0 }, 12);
        }
        assert_eq!(flash_luma(&[0; 10], 640, 640, 360), None);
        assert_eq!(flash_luma(&[], 0, 0, 0), None);
    }

    #[test]
    fn every_character_of_every_slide_has_a_glyph() {
        for text in SLIDES.iter().flat_map(|(title, bullets)| bullets.iter().chain([title])) {
            for character in text.chars().filter(|c| *c != ' ') {
                assert!(font::glyph(character).is_some(), "no glyph for {character:?} in {text:?}");
            }
        }
    }
}
