//! Reading a sound at a speed of its own: fractional positions by windowed sinc. Pure arithmetic.
//!
//! The speed differs from one by half a percent at most, so no band limiting is needed: the filter
//! only has to interpolate. 32 taps under a Kaiser window keep errors below -80 dB up to 16 kHz.

use std::sync::LazyLock;

/// Frames a read needs before and after its position.
pub const REACH: usize = TAPS / 2;

const TAPS: usize = 32;
/// Tabulated positions between two samples; between these the taps are interpolated.
const PHASES: usize = 256;
const BETA: f64 = 8.0;

/// Modified Bessel function of the first kind, order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let terms = (1..40).scan(1.0, |term, k| {
        *term *= quarter / f64::from(k * k);
        Some(*term)
    });
    1.0 + terms.sum::<f64>()
}

static KERNEL: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(|| {
    let tap = |phase: usize, tap: usize| {
        let x = tap as f64 - (REACH as f64 - 1.0) - phase as f64 / PHASES as f64;
        let sinc = if x == 0.0 {
            1.0
        } else {
            (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
        };
        let edge = (x / REACH as f64).clamp(-1.0, 1.0);
        sinc * bessel_i0(BETA * (1.0 - edge * edge).sqrt()) / bessel_i0(BETA)
    };
    (0..=PHASES)
        .map(|phase| {
            let taps: [f64; TAPS] = std::array::from_fn(|index| tap(phase, index));
            // Sums to one, so that a constant stays that constant at every phase.
            let sum: f64 = taps.iter().sum();
            taps.map(|value| (value / sum) as f32)
        })
        .collect()
});

/// The stereo frame `fraction` of the way from `frames[REACH - 1]` to `frames[REACH]`.
///
/// # Shapes
/// `frames`: at least 2 * [`REACH`] stereo frames; missing ones count as silence. `fraction`: 0 to 1.
/// At a fraction of exactly 0 the frame is returned bit for bit.
pub fn at(frames: &[[f32; 2]], fraction: f64) -> [f32; 2] {
    if fraction == 0.0 {
        return frames.get(REACH - 1).copied().unwrap_or_default();
    }
    let scaled = fraction.clamp(0.0, 1.0) * PHASES as f64;
    let phase = (scaled as usize).min(PHASES - 1);
    let between = (scaled - phase as f64) as f32;
    let (Some(low), Some(high)) = (KERNEL.get(phase), KERNEL.get(phase + 1)) else {
        return [0.0; 2];
    };
    let mut out = [0.0f32; 2];
    for ((frame, low), high) in frames.iter().zip(low).zip(high) {
        let tap = low + (high - low) * between;
        out[0] += frame[0] * tap;
        out[1] += frame[1] * tap;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, at: f64) -> f32 {
        (std::f64::consts::TAU * hz * at / 48_000.0).sin() as f32
    }

    #[test]
    fn whole_positions_are_untouched() {
        let frames: Vec<[f32; 2]> = (0..64).map(|n| [n as f32, -(n as f32)]).collect();
        assert_eq!(at(&frames, 0.0), [REACH as f32 - 1.0, 1.0 - REACH as f32]);
    }

    #[test]
    fn tones_between_samples_are_right_to_minus_80_db() {
        for hz in [100.0, 997.0, 5_000.0, 12_000.0, 16_000.0] {
            let mut worst = 0.0f32;
            for step in 0..997 {
                let fraction = f64::from(step) / 997.0;
                let frames: Vec<[f32; 2]> = (0..2 * REACH)
                    .map(|n| [sine(hz, n as f64), sine(hz, n as f64 + 7.0)])
                    .collect();
                let [left, right] = at(&frames, fraction);
                let position = REACH as f64 - 1.0 + fraction;
                worst = worst.max((left - sine(hz, position)).abs());
                worst = worst.max((right - sine(hz, position + 7.0)).abs());
            }
            assert!(worst < 1e-4, "{hz} Hz: {:.1} dB", 20.0 * worst.log10());
        }
    }

    #[test]
    fn a_constant_stays_constant() {
        let frames = vec![[0.5, -0.25]; 2 * REACH];
        for step in 0..100 {
            let [left, right] = at(&frames, f64::from(step) / 100.0);
            assert!((left - 0.5).abs() < 1e-6 && (right + 0.25).abs() < 1e-6);
        }
    }
}
