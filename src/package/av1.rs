//! The AV1 sequence header, as far as a container needs it: av1C and the CODECS string must say
//! what the header says (AV1 specification 5.5; AV1-ISOBMFF 2.3 and 5).

use super::bits::Bits;

/// Type of the sequence header OBU.
const OBU_SEQUENCE_HEADER: u8 = 1;

/// What a sequence header says about decoding and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 main, 1 high, 2 professional.
    pub profile: u8,
    /// `seq_level_idx[0]`: 5 is level 3.1.
    pub level: u8,
    /// `seq_tier[0]`: whether it is the high tier.
    pub high_tier: bool,
    /// Bits a sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// No chroma planes.
    pub monochrome: bool,
    /// Chroma has half the width.
    pub subsampling_x: bool,
    /// Chroma has half the height.
    pub subsampling_y: bool,
    /// 0 unknown, 1 vertical, 2 colocated.
    pub chroma_sample_position: u8,
    /// Colour primaries, transfer, matrix (ISO/IEC 23091-2), where the header says them.
    pub colour: Option<(u8, u8, u8)>,
    /// Samples use the full range.
    pub full_range: bool,
    /// Largest frame width in pixels.
    pub width: u32,
    /// Largest frame height in pixels.
    pub height: u32,
}

/// Finds the sequence header in a run of OBUs and returns it as one OBU with its size field, the form
/// that av1C's `configOBUs` must have. `None` where there is none, or the bytes are malformed.
pub fn find_sequence_header(mut obus: &[u8]) -> Option<Vec<u8>> {
    while let Some(&header) = obus.first() {
        let (extended, sized) = (header & 4 != 0, header & 2 != 0);
        let body = obus.get(1 + usize::from(extended)..)?;
        let (body, rest) = if sized {
            let (len, used) = leb128(body)?;
            let body = body.get(used..)?;
            (body.get(..len)?, body.get(len..)?)
        } else {
            (body, &[][..])
        };
        if header >> 3 & 15 == OBU_SEQUENCE_HEADER {
            let mut obu = vec![OBU_SEQUENCE_HEADER << 3 | 2];
            let mut len = body.len();
            while len >= 0x80 {
                obu.push(len as u8 | 0x80);
                len >>= 7;
            }
            obu.push(len as u8);
            obu.extend_from_slice(body);
            return Some(obu);
        }
        obus = rest;
    }
    None
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

impl SequenceHeader {
    /// Reads an OBU as [`find_sequence_header`] returns it. `None` if it is malformed.
    pub fn parse(obu: &[u8]) -> Option<Self> {
        let (len, used) = leb128(obu.get(1..)?)?;
        let body = obu.get(1 + used..)?.get(..len)?;
        Self::parse_body(&mut Bits::new(body))
    }

    /// `sequence_header_obu()`, 5.5.1.
    fn parse_body(b: &mut Bits<'_>) -> Option<Self> {
        let profile = b.take(3)? as u8;
        b.flag()?; // still_picture
        let reduced = b.flag()?;
        let (level, high_tier) =
            if reduced { (b.take(5)? as u8, false) } else { Self::operating_points(b)? };
        let (width_bits, height_bits) = (b.take(4)? + 1, b.take(4)? + 1);
        let (width, height) = (b.take(width_bits)? + 1, b.take(height_bits)? + 1);
        if !reduced && b.flag()? {
            b.skip(7)?; // frame id lengths
        }
        b.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !reduced {
            b.skip(4)?; // interintra, masked compound, warped motion, dual filter
            let order_hint = b.flag()?;
            if order_hint {
                b.skip(2)?; // jnt_comp, ref_frame_mvs
            }
            let screen_content = if b.flag()? { true } else { b.flag()? };
            if screen_content && !b.flag()? {
                b.skip(1)?; // seq_force_integer_mv
            }
            if order_hint {
                b.skip(3)?; // order_hint_bits_minus_1
            }
        }
        b.skip(3)?; // superres, cdef, restoration
        let mut header = Self {
            profile,
            level,
            high_tier,
            bit_depth: 8,
            monochrome: false,
            subsampling_x: true,
            subsampling_y: true,
            chroma_sample_position: 0,
            colour: None,
            full_range: false,
            width,
            height,
        };
        header.colour_config(b)?;
        Some(header)
    }

    /// Timing info, decoder model and operating points of 5.5.1; level and tier of point 0.
    fn operating_points(b: &mut Bits<'_>) -> Option<(u8, bool)> {
        let mut delay_bits = None;
        if b.flag()? {
            b.skip(64)?; // num_units_in_display_tick, time_scale
            if b.flag()? {
                b.exp_golomb()?;
            }
            if b.flag()? {
                delay_bits = Some(b.take(5)? + 1);
                b.skip(32 + 5 + 5)?;
            }
        }
        let display_delay = b.flag()?;
        let points = b.take(5)? + 1;
        let mut first = None;
        for _ in 0..points {
            b.skip(12)?; // operating_point_idc
            let level = b.take(5)? as u8;
            let tier = level > 7 && b.flag()?;
            first.get_or_insert((level, tier));
            if let Some(bits) = delay_bits
                && b.flag()?
            {
                b.skip(2 * bits + 1)?;
            }
            if display_delay && b.flag()? {
                b.skip(4)?;
            }
        }
        first
    }

    /// `color_config()`, 5.5.2.
    fn colour_config(&mut self, b: &mut Bits<'_>) -> Option<()> {
        let high = b.flag()?;
        self.bit_depth = match (self.profile, high) {
            (2, true) => {
                if b.flag()? {
                    12
                } else {
                    10
                }
            }
            (_, true) => 10,
            (_, false) => 8,
        };
        self.monochrome = self.profile != 1 && b.flag()?;
        if b.flag()? {
            self.colour = Some((b.take(8)? as u8, b.take(8)? as u8, b.take(8)? as u8));
        }
        if self.monochrome {
            self.full_range = b.flag()?;
            return Some(());
        }
        if self.colour == Some((1, 13, 0)) {
            (self.full_range, self.subsampling_x, self.subsampling_y) = (true, false, false);
            return Some(());
        }
        self.full_range = b.flag()?;
        (self.subsampling_x, self.subsampling_y) = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.bit_depth == 12 => {
                let x = b.flag()?;
                (x, x && b.flag()?)
            }
            _ => (true, false),
        };
        if self.subsampling_x && self.subsampling_y {
            self.chroma_sample_position = b.take(2)? as u8;
        }
        Some(())
    }

    /// Value for CODECS (AV1-ISOBMFF section 5): `av01.P.LLT.DD`, all numbers padded, and the six
    /// optional fields only where one of them differs from its default: they come all or none,
    /// and the short form is the one every player knows.
    pub fn codecs(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        let short = format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth);
        let (primaries, transfer, matrix) = self.colour.unwrap_or((1, 1, 1));
        let chroma = (
            u8::from(self.subsampling_x),
            u8::from(self.subsampling_y),
            self.chroma_sample_position,
        );
        if !self.monochrome
            && chroma == (1, 1, 0)
            && (primaries, transfer, matrix) == (1, 1, 1)
            && !self.full_range
        {
            return short;
        }
        format!(
            "{short}.{}.{}{}{}.{primaries:02}.{transfer:02}.{matrix:02}.{}",
            u8::from(self.monochrome),
            chroma.0,
            chroma.1,
            chroma.2,
            u8::from(self.full_range)
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A writer of the same syntax, so that the reader is tested on fields no encoder here sets.
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, value: u32, bits: u32) -> &mut Self {
            self.0.extend((0..bits).rev().map(|i| value >> i & 1 == 1));
            self
        }

        fn obu(&self, sized: bool) -> Vec<u8> {
            let mut body: Vec<u8> = self
                .0
                .chunks(8)
                .map(|c| c.iter().enumerate().fold(0, |b, (i, &x)| b | u8::from(x) << (7 - i)))
                .collect();
            body.push(0x80);
            let mut obu = if sized { vec![0x0a, body.len() as u8] } else { vec![0x08] };
            obu.extend(body);
            obu
        }
    }

    fn header(
        level: u32,
        tier: bool,
        timing: bool,
        colour: Option<(u32, u32, u32)>,
        position: u32,
    ) -> Writer {
        let mut w = Writer(Vec::new());
        w.put(0, 3).put(0, 2).put(timing.into(), 1);
        if timing {
            w.put(1, 32)
                .put(30, 32)
                .put(1, 1)
                .put(0b1, 1)
                .put(1, 1)
                .put(9, 5)
                .put(7, 32)
                .put(3, 5)
                .put(3, 5);
        }
        w.put(0, 1).put(0, 5).put(0, 12).put(level, 5);
        if level > 7 {
            w.put(tier.into(), 1);
        }
        if timing {
            w.put(1, 1).put(5, 10).put(5, 10).put(1, 1);
        }
        w.put(10, 4).put(9, 4).put(1279, 11).put(719, 10).put(0, 1).put(0, 3);
        w.put(0, 4).put(1, 1).put(0, 2).put(1, 1).put(0, 1).put(1, 1).put(6, 3).put(0, 3);
        w.put(0, 1).put(0, 1);
        match colour {
            Some((p, t, m)) => w.put(1, 1).put(p, 8).put(t, 8).put(m, 8),
            None => w.put(0, 1),
        };
        w.put(0, 1).put(position, 2).put(0, 1).put(0, 1);
        w
    }

    fn codecs(w: &Writer, sized: bool) -> String {
        SequenceHeader::parse(&find_sequence_header(&w.obu(sized)).unwrap()).unwrap().codecs()
    }

    #[test]
    fn line_14_av1_codecs_strings_are_padded_and_say_what_the_header_says() {
        assert_eq!(codecs(&header(5, false, false, None, 0), true), "av01.0.05M.08");
        assert_eq!(codecs(&header(5, false, true, Some((1, 1, 1)), 0), false), "av01.0.05M.08");
        assert_eq!(codecs(&header(13, true, true, None, 0), true), "av01.0.13H.08");
        assert_eq!(
            codecs(&header(4, false, false, Some((9, 16, 9)), 0), true),
            "av01.0.04M.08.0.110.09.16.09.0"
        );
        assert_eq!(
            codecs(&header(4, false, false, None, 2), true),
            "av01.0.04M.08.0.112.01.01.01.0"
        );
    }

    #[test]
    fn the_header_is_found_behind_other_obus() {
        let mut obus = vec![0x12, 0x00, 0x2a, 0x02, 0x01, 0x02];
        obus.extend(header(5, false, true, None, 0).obu(true));
        let parsed = SequenceHeader::parse(&find_sequence_header(&obus).unwrap()).unwrap();
        assert_eq!((parsed.width, parsed.height, parsed.level), (1280, 720, 5));
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(obu) = find_sequence_header(&bytes) {
                let _ = SequenceHeader::parse(&obu).map(|h| h.codecs());
            }
        }
    }
}
