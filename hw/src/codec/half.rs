//! Halving a picture, each pixel the mean of four: the step from 720 to 360 lines. Several times
//! faster than a general scaler, and no softer: a bilinear scaler at this ratio takes the same four.

use super::picture::{Picture, PlaneMut};

/// Whether halving leads from one size to the other, in all planes.
pub(super) fn applies(from: (u32, u32), to: (u32, u32)) -> bool {
    let twice = |side: u32| side.checked_mul(2);
    to.0.is_multiple_of(2)
        && to.1.is_multiple_of(2)
        && (twice(to.0), twice(to.1)) == (Some(from.0), Some(from.1))
}

/// Fills `to` from `from`, which is twice as large; see [`applies`].
pub(super) fn halve(from: &Picture, to: [PlaneMut<'_>; 3]) {
    let row = best();
    for (index, mut plane) in to.into_iter().enumerate() {
        let mut lines = from.rows(index);
        for out in plane.rows() {
            let (Some(top), Some(bottom)) = (lines.next(), lines.next()) else { return };
            row(top, bottom, out);
        }
    }
}

type Row = fn(&[u8], &[u8], &mut [u8]);

/// The fastest way this CPU has.
fn best() -> Row {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return |top, bottom, out| {
            // SAFETY: the CPU has AVX2, as was just found out.
            unsafe { x86::row(top, bottom, out) }
        };
    }
    plain
}

/// The plain twin: rounds to nearest, ties up.
fn plain(top: &[u8], bottom: &[u8], out: &mut [u8]) {
    let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
    for (pixel, ([a, b], [c, d])) in out.iter_mut().zip(pairs) {
        *pixel = ((u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d) + 2) >> 2) as u8;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// As [`super::plain`], 32 pixels at a time.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn row(top: &[u8], bottom: &[u8], out: &mut [u8]) {
        const STEP: usize = 32;
        let ones = _mm256_set1_epi8(1);
        let two = _mm256_set1_epi16(2);
        // Sums of four neighbours, rounded and divided: 16 results in 16 lanes.
        let means = |top: &[u8; STEP], bottom: &[u8; STEP]| {
            // SAFETY: both arrays are as long as the vectors loaded; the loads are unaligned ones.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(top.as_ptr().cast()),
                    _mm256_loadu_si256(bottom.as_ptr().cast()),
                )
            };
            let sums =
                _mm256_add_epi16(_mm256_maddubs_epi16(a, ones), _mm256_maddubs_epi16(b, ones));
            _mm256_srli_epi16::<2>(_mm256_add_epi16(sums, two))
        };
        let (tops, _) = top.as_chunks::<STEP>();
        let (bottoms, _) = bottom.as_chunks::<STEP>();
        let (outs, _) = out.as_chunks_mut::<STEP>();
        let whole = outs.len().min(tops.len() / 2).min(bottoms.len() / 2);
        let pairs = tops.as_chunks::<2>().0.iter().zip(bottoms.as_chunks::<2>().0);
        for (out, ([a, b], [c, d])) in outs.iter_mut().zip(pairs) {
            let packed = _mm256_packus_epi16(means(a, c), means(b, d));
            // Packing works within halves of the vector: 0 2 1 3 puts them in order.
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            // SAFETY: the array is as long as the vector stored; the store is an unaligned one.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), ordered) };
        }
        let done = whole * STEP;
        if let (Some(top), Some(bottom), Some(out)) =
            (top.get(2 * done..), bottom.get(2 * done..), out.get_mut(done..))
        {
            super::plain(top, bottom, out);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fast_way_and_the_plain_one_agree(
            rows in (0..300_usize).prop_flat_map(|len| (
                proptest::collection::vec(any::<u8>(), len),
                proptest::collection::vec(any::<u8>(), len),
                0..200_usize)))
        {
            let (top, bottom, len) = rows;
            let (mut fast, mut slow) = (vec![7; len], vec![7; len]);
            best()(&top, &bottom, &mut fast);
            plain(&top, &bottom, &mut slow);
            prop_assert_eq!(fast, slow);
        }
    }

    #[test]
    fn it_is_for_exact_halves_with_even_sides_only() {
        assert!(applies((1280, 720), (640, 360)));
        assert!(!applies((1280, 720), (640, 361)));
        assert!(!applies((1282, 722), (641, 361)));
        assert!(!applies((640, 360), (640, 360)));
        assert!(!applies((0, 0), (u32::MAX - 1, u32::MAX - 1)));
    }
}
