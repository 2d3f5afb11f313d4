//! Names as masks: one line of text, rasterized once.
//!
//! The fonts come as bytes from whoever may read files. Every character is looked up in one font after the other;
//! without any font, letters are those of the built-in bitmap font, accents left off. There is no shaping: scripts
//! that join their letters or run from right to left come out letter by letter.

use ab_glyph::{Font, FontVec, GlyphId, PxScale, ScaleFont, point};

/// Most characters drawn of one name.
const MAX_CHARACTERS: usize = 80;
/// Largest text, pixels from ascent to descent.
const MAX_HEIGHT: u32 = 512;

/// The fonts of a transcoder; none are as good as the built-in one.
#[derive(Default)]
pub struct Fonts {
    fonts: Vec<FontVec>,
}

/// How much of each pixel is covered by letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 0 to 255, row by row: `width * height` of them.
    pub cover: Vec<u8>,
}

impl Mask {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, cover: vec![0; width * height] }
    }

    fn add(&mut self, x: i64, y: i64, cover: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width
            && let Some(pixel) = self.cover.get_mut(y * self.width + x)
        {
            *pixel = pixel.saturating_add((cover * 255.0) as u8);
        }
    }
}

impl std::fmt::Debug for Fonts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fonts({})", self.fonts.len())
    }
}

impl Fonts {
    /// Fonts from the bytes of TrueType or OpenType files, the best first. What is no font is left out.
    pub fn new(files: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let read = |bytes| match FontVec::try_from_vec(bytes) {
            Ok(font) => Some(font),
            Err(_) => {
                tracing::warn!("a font file is none");
                None
            }
        };
        Self { fonts: files.into_iter().filter_map(read).collect() }
    }

    /// Whether there is any but the built-in one.
    pub fn is_empty(&self) -> bool {
        self.fonts.is_empty()
    }

    /// One line of `text`, `height` pixels from ascent to descent, at most `width` pixels wide: what is longer
    /// ends in an ellipsis. As wide as its letters are.
    pub fn line(&self, text: &str, height: u32, width: u32) -> Mask {
        let height = height.clamp(1, MAX_HEIGHT);
        let seen = text.chars().filter(|c| !is_invisible(*c)).take(MAX_CHARACTERS);
        let text: String = seen.collect();
        let text = text.trim();
        if self.fonts.is_empty() {
            bitmap(text, height, width)
        } else {
            self.outlined(text, height, width)
        }
    }

    /// The font that has `character`, and its glyph there; else what the first font shows for unknown ones.
    fn find(&self, character: char) -> Option<(&FontVec, GlyphId)> {
        let has = |font: &&FontVec| font.glyph_id(character).0 != 0;
        let font = self.fonts.iter().find(has).or(self.fonts.first())?;
        Some((font, font.glyph_id(character)))
    }

    fn outlined(&self, text: &str, height: u32, width: u32) -> Mask {
        let scale = PxScale::from(height as f32);
        let Some(first) = self.fonts.first() else { return Mask::default() };
        let baseline = first.as_scaled(scale).ascent();
        let advance = |character: char| {
            self.find(character).map_or(0.0, |(font, id)| font.as_scaled(scale).h_advance(id))
        };
        let ellipsis = advance('…');
        let mut pen = 0.0f32;
        let mut placed: Vec<(char, f32)> = Vec::new();
        let room = width as f32;
        for character in text.chars() {
            let step = advance(character);
            if pen + step > room {
                // Back to where the ellipsis fits.
                while pen + ellipsis > room
                    && let Some((_, at)) = placed.pop()
                {
                    pen = at;
                }
                if pen + ellipsis <= room {
                    placed.push(('…', pen));
                    pen += ellipsis;
                }
                break;
            }
            placed.push((character, pen));
            pen += step;
        }
        let mut mask = Mask::new((pen.ceil() as usize).min(width as usize), height as usize);
        for (character, at) in placed {
            let Some((font, id)) = self.find(character) else { continue };
            let glyph = id.with_scale_and_position(scale, point(at, baseline));
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
            outline.draw(|x, y, cover| mask.add(left + i64::from(x), top + i64::from(y), cover));
        }
        mask
    }
}

/// Characters that change how others are drawn and are nothing themselves: joiners, direction marks, variation
/// selectors. A name with them must not look like another's.
fn is_invisible(character: char) -> bool {
    matches!(character as u32,
        0..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0xfe00..=0xfe0f | 0xfeff | 0xe0000..=0xe0fff)
}

/// The built-in font, each of its pixels a square.
fn bitmap(text: &str, height: u32, width: u32) -> Mask {
    let dot = (height as usize / crate::font::ROWS).max(1);
    let cell = crate::font::CELL * dot;
    let fits = width as usize / cell;
    let letters: Vec<char> = text.chars().map(plain).collect();
    let letters = match letters.len() > fits {
        true => letters
            .iter()
            .take(fits.saturating_sub(1))
            .chain(['.'].iter().take(fits))
            .copied()
            .collect(),
        false => letters,
    };
    let mut mask = Mask::new(letters.len() * cell, height as usize);
    let top = (height as usize).saturating_sub(crate::font::ROWS * dot) / 2;
    for (index, letter) in letters.into_iter().enumerate() {
        let Some(rows) = crate::font::glyph(letter) else { continue };
        for (row, bits) in rows.into_iter().enumerate() {
            for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                let (left, upper) = (index * cell + column * dot, top + row * dot);
                for (x, y) in (0..dot * dot).map(|n| (left + n % dot, upper + n / dot)) {
                    mask.add(x as i64, y as i64, 1.0);
                }
            }
        }
    }
    mask
}

/// The letter of the built-in font that stands for `character`.
fn plain(character: char) -> char {
    const FOLDED: [(&str, char); 34] = [
        ("ÀÁÂÃÄÅĀĂĄ", 'A'),
        ("Ç ĆĈĊČ", 'C'),
        ("ĎĐÐ", 'D'),
        ("ÈÉÊËĒĔĖĘĚ", 'E'),
        ("ĜĞĠĢ", 'G'),
        ("ĤĦ", 'H'),
        ("ÌÍÎÏĨĪĬĮİ", 'I'),
        ("Ĵ", 'J'),
        ("Ķ", 'K'),
        ("ĹĻĽĿŁ", 'L'),
        ("ÑŃŅŇ", 'N'),
        ("ÒÓÔÕÖØŌŎŐ", 'O'),
        ("ŔŖŘ", 'R'),
        ("ŚŜŞŠȘ", 'S'),
        ("ŢŤŦȚ", 'T'),
        ("ÙÚÛÜŨŪŬŮŰŲ", 'U'),
        ("Ŵ", 'W'),
        ("ÝŶŸ", 'Y'),
        ("ŹŻŽ", 'Z'),
        ("àáâãäåāăą", 'a'),
        ("çćĉċč", 'c'),
        ("ďđð", 'd'),
        ("èéêëēĕėęě", 'e'),
        ("ĝğġģ", 'g'),
        ("ìíîïĩīĭįı", 'i'),
        ("ĺļľŀł", 'l'),
        ("ñńņň", 'n'),
        ("òóôõöøōŏő", 'o'),
        ("ŕŗř", 'r'),
        ("śŝşšßș", 's'),
        ("ţťŧț", 't'),
        ("ùúûüũūŭůűų", 'u'),
        ("ýÿŷ", 'y'),
        ("źżž", 'z'),
    ];
    let known = |c: char| crate::font::glyph(c).is_some() || c == ' ';
    if known(character) {
        return character;
    }
    let folded = FOLDED.iter().find(|(from, _)| from.contains(character)).map(|(_, to)| *to);
    folded.unwrap_or('?')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As on the appliance: the package is in script/userland.packages.
    fn fonts() -> Fonts {
        Fonts::new([std::fs::read("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").unwrap()])
    }

    fn ink(mask: &Mask) -> u64 {
        mask.cover.iter().map(|cover| u64::from(*cover)).sum::<u64>() / 255
    }

    #[test]
    fn names_in_many_scripts_are_written() {
        let fonts = fonts();
        for name in
            ["Jürgen Müßig", "Zoë Ångström", "Ναταλία", "Борис Ёлкин", "Nguyễn Thị", "Łukasz Żak"]
        {
            let mask = fonts.line(name, 24, 1000);
            let letters = name.chars().count();
            assert_eq!(mask.height, 24);
            assert!((letters * 8..letters * 20).contains(&mask.width), "{name}: {}", mask.width);
            assert!(ink(&mask) > letters as u64 * 15, "{name}: {}", ink(&mask));
            // Each letter of it is in the font, and looks like no other.
            let unknown = fonts.line("\u{10fffd}", 24, 1000);
            for letter in name.chars().filter(|c| *c != ' ') {
                assert_ne!(fonts.line(&letter.to_string(), 24, 1000), unknown, "{letter}");
            }
        }
        assert_ne!(fonts.line("Müller", 24, 1000).cover, fonts.line("Muller", 24, 1000).cover);
    }

    #[test]
    fn a_long_name_ends_in_an_ellipsis() {
        let fonts = fonts();
        let whole = fonts.line("Maximiliane von Hohenberg", 24, 1000);
        let short = fonts.line("Maximiliane von Hohenberg", 24, 120);
        assert!(
            whole.width > 250 && (90..=120).contains(&short.width),
            "{} {}",
            whole.width,
            short.width
        );
        assert_eq!(fonts.line("Ada", 24, 3).width, 0, "no room for anything");
    }

    #[test]
    fn without_a_font_the_built_in_one_writes_without_accents() {
        let built_in = Fonts::new([b"no font".to_vec()]);
        assert!(built_in.is_empty());
        assert_eq!(built_in.line("Jürgen", 16, 500), built_in.line("Jurgen", 16, 500));
        assert_eq!(built_in.line("Jürgen", 16, 500).width, 6 * 12);
        assert!(ink(&built_in.line("Борис", 16, 500)) > 100, "question marks");
        assert_eq!(built_in.line("a long name", 16, 40).width, 36);
    }

    #[test]
    fn what_cannot_be_seen_changes_nothing() {
        let fonts = fonts();
        let plain = fonts.line("Ada", 24, 500);
        assert_eq!(fonts.line("\u{202e}A\u{200b}d\u{feff}a\u{2069}", 24, 500), plain);
        assert_eq!(fonts.line(" \u{200f} ", 24, 500).width, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_fits_its_place(text in "\\PC{0,40}", height in 0u32..600, width in 0u32..400) {
            for fonts in [&fonts(), &Fonts::default()] {
                let mask = fonts.line(&text, height, width);
                prop_assert!(mask.width <= width as usize && mask.height <= 512);
                prop_assert_eq!(mask.cover.len(), mask.width * mask.height);
            }
        }
    }
}
