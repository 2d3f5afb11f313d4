//! Keeps the mix within full scale without a sound of its own. Pure arithmetic.
//!
//! It looks [`AHEAD`] frames ahead: the gain is down before the peak that needs it comes, and recovers over some
//! tenths of a second. Both channels have one gain, so nothing moves in the room. While no peak is above
//! [`CEILING`], samples pass bit for bit.

use std::collections::VecDeque;

/// Frames looked ahead: 5 ms.
pub const AHEAD: usize = 240;
/// Peaks stay below this: 0.4 dB under full scale, for what an encoder adds.
pub const CEILING: f32 = 0.95;
/// Share of the missing gain that is given back each frame: 63 % within 80 ms.
const RELEASE: f32 = 1.0 / (0.08 * 48_000.0);

/// See the module.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// Number of the next frame to come in.
    next: u64,
    /// Gains that peaks need, of the frames looked ahead: (frame, gain), rising from the front.
    needs: VecDeque<(u64, f32)>,
    /// The least of them, recovering.
    held: f32,
    /// The last [`AHEAD`] of `held`, and their sum: exact, as gains are singles and the sum is a double.
    smoothed: VecDeque<f32>,
    sum: f64,
    delayed: VecDeque<[f32; 2]>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            next: 0,
            needs: VecDeque::with_capacity(AHEAD),
            held: 1.0,
            smoothed: std::iter::repeat_n(1.0, AHEAD).collect(),
            sum: AHEAD as f64,
            delayed: VecDeque::with_capacity(AHEAD),
        }
    }
}

impl Limiter {
    /// Takes a frame in; gives the one out that came in [`AHEAD`] - 1 frames before, once there is one.
    pub fn push(&mut self, frame: [f32; 2]) -> Option<[f32; 2]> {
        let frame = frame.map(|v| if v.is_finite() { v.clamp(-64.0, 64.0) } else { 0.0 });
        let peak = frame[0].abs().max(frame[1].abs());
        let need = if peak > CEILING { CEILING / peak } else { 1.0 };
        // The least of a sliding window: what is not less than the newest will never count again.
        while self.needs.back().is_some_and(|(_, gain)| *gain >= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((self.next, need));
        let oldest = (self.next + 1).saturating_sub(AHEAD as u64);
        while self.needs.front().is_some_and(|(number, _)| *number < oldest) {
            self.needs.pop_front();
        }
        self.next += 1;
        let least = self.needs.front().map_or(1.0, |(_, gain)| *gain);
        let recovered = self.held + (1.0 - self.held) * RELEASE;
        // Singles come no nearer by steps this small; the rest is smoothed over.
        let recovered = if recovered > 0.999 { 1.0 } else { recovered };
        self.held = recovered.min(least);
        // The mean of the window that a frame was in all along: never above what the frame needs.
        self.smoothed.push_back(self.held);
        self.sum += f64::from(self.held) - f64::from(self.smoothed.pop_front().unwrap_or(1.0));
        self.delayed.push_back(frame);
        if self.delayed.len() < AHEAD {
            return None;
        }
        let gain = (self.sum / AHEAD as f64) as f32;
        let out = self.delayed.pop_front()?;
        Some(if gain == 1.0 { out } else { out.map(|v| (v * gain).clamp(-1.0, 1.0)) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(input: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let mut limiter = Limiter::default();
        input.into_iter().filter_map(|v| limiter.push([v, -v])).map(|[left, _]| left).collect()
    }

    fn tone(hz: f32, level: f32, frames: usize) -> Vec<f32> {
        (0..frames)
            .map(|n| level * (n as f32 * hz * std::f32::consts::TAU / 48_000.0).sin())
            .collect()
    }

    #[test]
    fn what_needs_no_limit_passes_bit_for_bit() {
        let input = tone(440.0, 0.94, 48_000);
        assert_eq!(run(input.iter().copied()), input[..48_000 - AHEAD + 1]);
    }

    #[test]
    fn a_loud_tone_is_turned_down_and_not_bent() {
        let input = tone(440.0, 3.0, 96_000);
        let out = run(input.iter().copied());
        let level = out[48_000..].iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!((0.90..=CEILING + 1e-4).contains(&level), "{level}");
        // Still a sine: what the fitted one leaves is small.
        let fitted = level / 3.0;
        let rest: f32 =
            out[48_000..].iter().zip(&input[48_000..]).map(|(a, b)| (a - b * fitted).powi(2)).sum();
        let whole: f32 = out[48_000..].iter().map(|v| v * v).sum();
        assert!(10.0 * (rest / whole).log10() < -30.0, "{:.1} dB", 10.0 * (rest / whole).log10());
    }

    #[test]
    fn after_a_peak_the_gain_comes_back_slowly_and_wholly() {
        let mut input = tone(100.0, 0.5, 96_000);
        for v in &mut input[10_000..10_100] {
            *v = 2.0;
        }
        let out = run(input.iter().copied());
        assert!(out.iter().all(|v| v.abs() <= CEILING + 1e-5));
        assert_eq!(out[..9_700], input[..9_700], "before the look-ahead nothing is touched");
        assert_eq!(out[60_000..], input[60_000..out.len()], "a second later neither");
        // The way down and back has no edge: gain changes by less than a percent a frame.
        let gain = |n: usize| out[n] / input[n];
        for n in (9_000..60_000).filter(|n| input[*n].abs() > 0.1 && input[n + 1].abs() > 0.1) {
            assert!((gain(n) - gain(n + 1)).abs() < 0.01, "{n}: {} {}", gain(n), gain(n + 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_ever_clips(
            spikes in proptest::collection::vec((0usize..3000, -80.0f32..80.0), 0..60), level in 0.0f32..4.0,
        ) {
            let mut input = tone(777.0, level, 4000);
            for (at, value) in spikes {
                input[at] = value;
            }
            input[17] = f32::NAN;
            input[18] = f32::INFINITY;
            prop_assert!(run(input).iter().all(|v| v.abs() <= 1.0 && v.is_finite()));
        }

        #[test]
        fn peaks_stay_below_the_ceiling(
            spikes in proptest::collection::vec((0usize..3000, -60.0f32..60.0), 0..60),
        ) {
            let mut input = vec![0.1; 4000];
            for (at, value) in spikes {
                input[at] = value;
            }
            prop_assert!(run(input).iter().all(|v| v.abs() <= CEILING + 1e-4));
        }
    }
}
