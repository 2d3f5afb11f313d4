//! The lecture's sound, and the measurement of sound against picture.
//!
//! Every second begins with a beep of 1 kHz, 100 ms long, with edges of 5 ms; the picture's flash
//! ([`super::lecture`]) lights at the same instant. Between the beeps murmurs something like a
//! voice, so that silence is not trivial; it keeps clear of the beep's frequency. A sample is a
//! function of its position and the seed, so any stretch can be made at any time.

use std::f32::consts::TAU;

/// Samples a second, per channel.
pub const RATE: i64 = 48_000;
const BEEP_HZ: f32 = 1000.0;
const BEEP_SAMPLES: i64 = RATE / 10;
const EDGE_SAMPLES: i64 = RATE / 200;
const BEEP_LEVEL: f32 = 0.5;
/// Level of the murmur's peaks, about -24 dB.
const MURMUR_LEVEL: f32 = 0.06;

/// Makes the sound.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    pitch: f32,
    pace: f32,
}

impl Sound {
    /// The voice of this seed.
    pub fn new(seed: u64) -> Self {
        Self { pitch: 105.0 + (seed % 7) as f32 * 6.0, pace: 3.1 + (seed % 5) as f32 * 0.2 }
    }

    /// Fills `out` (interleaved stereo) with the samples from position `first` on; positions count
    /// from the start of the class. Before it, at negative positions, there is only the murmur.
    pub fn fill(&self, first: i64, out: &mut [f32]) {
        for (position, pair) in (first..).zip(out.chunks_exact_mut(2)) {
            let sample = self.murmur(position) + beep(position);
            pair.fill(sample);
        }
    }

    fn murmur(&self, position: i64) -> f32 {
        // Within a long, whole period: single precision would lose the phase after some minutes.
        let t = position.rem_euclid(600 * RATE) as f64 / RATE as f64;
        let turns = f64::from(self.pitch) * t + 1.5 * (0.4 * t * f64::from(TAU)).sin();
        let turn = turns.fract() as f32;
        let syllable = 0.5 - 0.5 * ((f64::from(self.pace) * t).fract() as f32 * TAU).cos();
        let voice: f32 = [1.0, 0.8, 0.5, 0.25, 0.12]
            .iter()
            .zip(1..)
            .map(|(level, h)| level * (TAU * turn * h as f32).sin())
            .sum();
        MURMUR_LEVEL * 0.5 * syllable * syllable * voice
    }
}

fn beep(position: i64) -> f32 {
    let at = position.rem_euclid(RATE);
    if position < 0 || at >= BEEP_SAMPLES {
        return 0.0;
    }
    let edge = at.min(BEEP_SAMPLES - at).min(EDGE_SAMPLES) as f32 / EDGE_SAMPLES as f32;
    let swell = 0.5 - 0.5 * (edge * TAU / 2.0).cos();
    BEEP_LEVEL * swell * (TAU * (at as f32 * BEEP_HZ / RATE as f32).fract()).sin()
}

/// Where beeps begin in mono sound at 48 kHz, in samples from its start.
///
/// The sound is brought down by 1 kHz and averaged over two periods; a beep begins half an edge
/// before that envelope crosses half of its plateau, which holds at any level and through codecs.
pub fn beep_onsets(mono: &[f32]) -> Vec<f64> {
    const WINDOW: usize = 96;
    // 1 kHz is a whole fraction of the rate: 48 steps of the turning vector serve for ever.
    let turn: Vec<(f32, f32)> = (0..48).map(|i| (TAU * i as f32 / 48.0).sin_cos()).collect();
    let (mut i, mut q) = (0.0f64, 0.0f64);
    let part = |n: usize| {
        let (sin, cos) = turn[n % 48];
        mono.get(n).map_or((0.0, 0.0), |s| (f64::from(s * cos), f64::from(s * sin)))
    };
    let envelope: Vec<f32> = (0..mono.len() + WINDOW / 2)
        .map(|n| {
            let (in_i, in_q) = part(n);
            (i, q) = (i + in_i, q + in_q);
            if let Some(gone) = n.checked_sub(WINDOW) {
                let (out_i, out_q) = part(gone);
                (i, q) = (i - out_i, q - out_q);
            }
            (2.0 * i.hypot(q) / WINDOW as f64) as f32
        })
        .skip(WINDOW / 2)
        .collect();

    let mut onsets = Vec::new();
    let mut n = 1;
    while n < envelope.len() {
        let Some(plateau) = plateau_after(&envelope, n) else {
            n += 1;
            continue;
        };
        // The crossing lies before the point where the beep was certain.
        let crossing = (0..n).rev().take(RATE as usize / 20).find(|&k| envelope[k] < plateau / 2.0);
        if let Some(k) = crossing {
            let (low, high) = (envelope[k], envelope[k + 1]);
            let within = f64::from((plateau / 2.0 - low) / (high - low).max(f32::EPSILON));
            onsets.push(k as f64 + within - EDGE_SAMPLES as f64 / 2.0);
        }
        n += RATE as usize / 2;
    }
    onsets
}

/// The level of the beep that is certain to be on at `n`: its envelope stands above the murmur's
/// reach there and stays level for the next 40 ms.
fn plateau_after(envelope: &[f32], n: usize) -> Option<f32> {
    const LEAST: f32 = 0.05;
    if envelope[n] < LEAST {
        return None;
    }
    let body = envelope.get(n..n + RATE as usize / 25)?;
    let mut sorted = body.to_vec();
    sorted.sort_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2];
    // Level: nothing in it is far from the median, and `n` itself is on the plateau, not on the edge.
    let level = sorted[sorted.len() / 10] > 0.8 * median && envelope[n] > 0.9 * median;
    (level && median >= LEAST).then_some(median)
}

/// The times at which the flash lights, from frames' times (any unit) and flash lumas in order.
/// A flash that is lit from the first frame on is not counted: its beginning was not seen.
pub fn flash_onsets(frames: impl IntoIterator<Item = (f64, u8)>) -> Vec<f64> {
    let mut lit = true;
    let mut onsets = Vec::new();
    for (time, luma) in frames {
        let now = luma > 128;
        if now && !lit {
            onsets.push(time);
        }
        lit = now;
    }
    onsets
}

/// How sound lies against picture: statistics over pairs of a beep and a flash.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Offsets {
    /// Beep minus flash of every pair, in milliseconds; positive: the sound is late.
    pub milliseconds: Vec<f64>,
    /// Flashes without a beep within half a second, and beeps without a flash.
    pub unpaired: usize,
}

impl Offsets {
    /// Pairs flashes with beeps, both in seconds on one timeline, in order. What lies before the
    /// first or after the last of the other kind is not counted as unpaired: the tracks begin and
    /// end at different times.
    pub fn pair(flashes: &[f64], beeps: &[f64]) -> Self {
        const REACH: f64 = 0.5;
        let nearest = |times: &[f64], t: f64| {
            times.iter().copied().min_by(|a, b| (a - t).abs().total_cmp(&(b - t).abs()))
        };
        let covered = |times: &[f64], t: f64| match (times.first(), times.last()) {
            (Some(first), Some(last)) => t > first - REACH && t < last + REACH,
            _ => true,
        };
        let mut offsets = Self { milliseconds: Vec::new(), unpaired: 0 };
        for &flash in flashes.iter().filter(|t| covered(beeps, **t)) {
            match nearest(beeps, flash) {
                Some(beep) if (beep - flash).abs() < REACH => {
                    offsets.milliseconds.push((beep - flash) * 1e3)
                }
                _ => offsets.unpaired += 1,
            }
        }
        let lonely =
            |beep: &&f64| nearest(flashes, **beep).is_none_or(|f| (f - **beep).abs() >= REACH);
        offsets.unpaired += beeps.iter().filter(|t| covered(flashes, **t)).filter(lonely).count();
        offsets
    }

    /// The largest distance from zero, in milliseconds; nothing without a pair.
    pub fn worst(&self) -> Option<f64> {
        self.milliseconds.iter().map(|ms| ms.abs()).max_by(f64::total_cmp)
    }

    /// The mean, in milliseconds; nothing without a pair.
    pub fn mean(&self) -> Option<f64> {
        let count = self.milliseconds.len();
        (count > 0).then(|| self.milliseconds.iter().sum::<f64>() / count as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mono(seed: u64, first: i64, samples: usize) -> Vec<f32> {
        let mut stereo = vec![0.0; 2 * samples];
        Sound::new(seed).fill(first, &mut stereo);
        stereo.chunks_exact(2).map(|pair| pair[0]).collect()
    }

    #[test]
    fn beeps_are_found_to_a_tenth_of_a_millisecond_at_any_level() {
        for (seed, level) in [(0, 1.0), (1, 0.3), (5, 1.9)] {
            // Begins 0.4 s into a second, so the beeps stand at 0.6 s, 1.6 s, ...
            let sound = mono(seed, 19_200, 5 * RATE as usize);
            let sound: Vec<f32> = sound.iter().map(|s| (s * level).clamp(-1.0, 1.0)).collect();
            let onsets = beep_onsets(&sound);
            assert_eq!(onsets.len(), 5, "seed {seed}");
            for (k, onset) in onsets.iter().enumerate() {
                let expected = (k as f64 + 0.6) * RATE as f64;
                assert!(
                    (onset - expected).abs() < 5.0,
                    "seed {seed} beep {k}: {onset} for {expected}"
                );
            }
        }
    }

    #[test]
    fn the_murmur_alone_is_no_beep_and_no_silence() {
        for seed in 0..7 {
            let sound = mono(seed, -3 * RATE, 3 * RATE as usize);
            assert_eq!(beep_onsets(&sound), Vec::<f64>::new());
            let power = sound.iter().map(|s| s * s).sum::<f32>() / sound.len() as f32;
            assert!(power.sqrt() > 0.003, "seed {seed}: {power}");
        }
    }

    #[test]
    fn any_stretch_can_be_made_alone() {
        let whole = mono(3, 0, 96_000);
        assert_eq!(mono(3, 47_500, 2_000), whole[47_500..49_500]);
    }

    #[test]
    fn offsets_pair_and_count_the_lonely() {
        let flashes = [0.5, 1.5, 2.5, 3.5];
        let offsets = Offsets::pair(&flashes, &[1.51, 2.505, 4.5, 5.5]);
        assert_eq!(
            offsets.milliseconds.iter().map(|ms| ms.round()).collect::<Vec<_>>(),
            [10.0, 5.0]
        );
        // The flash at 3.5 s has no beep though beeps were heard after it.
        assert_eq!(offsets.unpaired, 1);
        assert_eq!(offsets.worst().map(f64::round), Some(10.0));
        assert_eq!(Offsets::pair(&flashes, &[]).unpaired, 4);
        assert_eq!(Offsets::pair(&[], &[]).worst(), None);
    }

    #[test]
    fn flashes_begin_where_the_box_lights() {
        let frames = (0..90).map(|n| (f64::from(n) / 30.0, if n % 30 < 3 { 230 } else { 35 }));
        assert_eq!(flash_onsets(frames), [1.0, 2.0]);
    }
}
