//! Sound onto the room's 48 kHz grid, in blocks of 1024 samples. Pure arithmetic.
//!
//! Each stream keeps its decoded sound by its own RTP time. A block is read where the timeline says
//! the stream's position is, at a speed within [`MAX_STRETCH`] of one, so that clocks that drift are
//! followed without being heard. Where there is no sound there is silence, faded into and out of over
//! 5 ms; a position too far away to be reached by speed is jumped to under a cross-fade.
//!
//! Every block comes out, whatever came in.

use super::resample::{self, REACH};
use crate::time::TrackId;
use std::collections::{BTreeMap, VecDeque};

/// Stereo frames in a block: what one AAC frame holds.
pub const BLOCK: usize = 1024;
/// Sample rate of everything here, Hz.
pub const RATE: u32 = 48_000;
/// How far from one the reading speed may be.
pub const MAX_STRETCH: f64 = 0.005;

/// Frames of a fade: 5 ms.
const FADE: usize = 240;
/// An error of position further than this, in frames, is jumped over: 100 ms.
const JUMP: f64 = 4_800.0;
/// The same for a stream that has only begun: its sender reports still settle where it belongs. 5 ms.
const YOUNG_JUMP: f64 = 240.0;
/// Blocks for which a stream is young: 2 s of sound.
const YOUNG: u32 = 94;
/// Time in which an error of position is made good, in frames: a second.
const SETTLE: f64 = 48_000.0;
/// Most sound kept of one stream, frames: what a restart may have to read ahead of the first block, and more.
const KEEP: i64 = 48_000 * 30;
/// Most streams.
const MAX_VOICES: usize = 32;
/// Most separate pieces kept of one stream.
const MAX_PIECES: usize = 4_096;

/// A run of sound without a hole.
#[derive(Debug)]
struct Piece {
    start: i64,
    frames: Vec<[f32; 2]>,
}

impl Piece {
    fn end(&self) -> i64 {
        self.start + self.frames.len() as i64
    }
}

/// One stream's sound.
#[derive(Debug, Default)]
struct Voice {
    /// By position, without overlap.
    pieces: VecDeque<Piece>,
    /// Where the next block reads: whole frames, fraction.
    position: Option<(i64, f64)>,
    /// Gain of the last frame read.
    gain: f32,
    loud: bool,
    /// Blocks read while it sounded, up to [`YOUNG`].
    heard: u32,
}

/// A block of the mix.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// [`BLOCK`] interleaved stereo frames.
    pub samples: Vec<f32>,
    /// Frames for which no stream had any sound.
    pub silent: u32,
}

/// The mixer of one room.
#[derive(Debug, Default)]
pub struct Mixer {
    voices: BTreeMap<TrackId, Voice>,
}

impl Mixer {
    /// A mixer without streams: makes silence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in decoded sound of `track` that begins at unwrapped RTP time `rtp`.
    ///
    /// # Shapes
    /// `samples`: interleaved stereo at 48 kHz. What overlaps sound already there is dropped.
    pub fn push(&mut self, track: TrackId, rtp: i64, samples: &[f32]) {
        if !self.voices.contains_key(&track) && self.voices.len() >= MAX_VOICES {
            return;
        }
        self.voices.entry(track).or_default().push(rtp, samples);
    }

    /// The position after the last sound of `track`.
    pub fn end_of(&self, track: TrackId) -> Option<i64> {
        Some(self.voices.get(&track)?.pieces.back()?.end())
    }

    /// Whether anything of `track` has been read that was not silence.
    pub fn heard(&self, track: TrackId) -> bool {
        self.voices.get(&track).is_some_and(|voice| voice.loud)
    }

    /// Forgets `track`; what was not read yet is not heard.
    pub fn forget(&mut self, track: TrackId) {
        self.voices.remove(&track);
    }

    /// Makes the next block. `wanted` says where in each stream's RTP time (whole frames, fraction) the
    /// block begins; streams it returns `None` for are silent.
    pub fn block(&mut self, wanted: impl Fn(TrackId) -> Option<(i64, f64)>) -> Block {
        let mut sum = vec![[0.0f32; 2]; BLOCK];
        let mut sounding = [false; BLOCK];
        for (&track, voice) in &mut self.voices {
            if let Some(wanted) = wanted(track) {
                voice.read(wanted, &mut sum, &mut sounding);
            }
        }
        let samples = sum.into_iter().flatten().map(limit).collect();
        Block { samples, silent: sounding.iter().filter(|there| !**there).count() as u32 }
    }
}

/// Keeps the mix within full scale without a hard edge; the identity up to 0.9.
fn limit(value: f32) -> f32 {
    const KNEE: f32 = 0.9;
    let over = value.abs() - KNEE;
    if over <= 0.0 {
        return if value.is_nan() { 0.0 } else { value };
    }
    let room = 1.0 - KNEE;
    (KNEE + room * (over / room).tanh()).copysign(value)
}

impl Voice {
    fn push(&mut self, rtp: i64, samples: &[f32]) {
        let (frames, _) = samples.as_chunks::<2>();
        let end = self.pieces.back().map(Piece::end);
        // A stream's decoder works in order: what lies before the end is there already.
        let skip = end.map_or(0, |end| end.saturating_sub(rtp)).max(0);
        let overlap_is_a_restart = skip > KEEP;
        if overlap_is_a_restart {
            self.pieces.clear();
        }
        let skip = if overlap_is_a_restart { 0 } else { skip };
        let Some(frames) = frames.get(skip as usize..).filter(|rest| !rest.is_empty()) else {
            return;
        };
        let start = rtp + skip;
        match self.pieces.back_mut() {
            Some(last) if last.end() == start && last.frames.len() < RATE as usize => {
                last.frames.extend_from_slice(frames);
            }
            _ => self.pieces.push_back(Piece { start, frames: frames.to_vec() }),
        }
        let newest = start + frames.len() as i64;
        while self.pieces.len() > MAX_PIECES
            || self.pieces.front().is_some_and(|piece| piece.end() < newest - KEEP)
        {
            self.pieces.pop_front();
        }
    }

    /// Copies what there is of `[start, start + out.len())`; frames that are not there become silence and
    /// are marked so.
    fn gather(&self, start: i64, out: &mut [[f32; 2]], there: &mut [bool]) {
        out.fill([0.0; 2]);
        there.fill(false);
        let end = start + out.len() as i64;
        for piece in
            self.pieces.iter().skip_while(|p| p.end() <= start).take_while(|p| p.start < end)
        {
            let from = piece.start.max(start);
            let to = piece.end().min(end);
            let (a, b) = ((from - piece.start) as usize, (to - piece.start) as usize);
            let (x, y) = ((from - start) as usize, (to - start) as usize);
            if let (Some(source), Some(target), Some(marks)) =
                (piece.frames.get(a..b), out.get_mut(x..y), there.get_mut(x..y))
            {
                target.copy_from_slice(source);
                marks.fill(true);
            }
        }
    }

    fn read(&mut self, wanted: (i64, f64), sum: &mut [[f32; 2]], sounding: &mut [bool]) {
        let jump = if self.heard < YOUNG { YOUNG_JUMP } else { JUMP };
        if self.gain > 0.0 && self.heard < YOUNG {
            self.heard += 1;
        }
        let (position, old) = match self.position {
            None => (wanted, None),
            Some(at) if error(wanted, at).abs() <= jump => (at, None),
            Some(at) if self.gain > 0.0 => (wanted, Some(at)),
            // Nothing is sounding, so nothing is heard of going where it belongs.
            Some(_) => (wanted, None),
        };
        let off = error(wanted, position);
        let position = if self.gain == 0.0 && off.abs() > 0.5 { wanted } else { position };
        let off = error(wanted, position);
        // Within a twentieth of a sample nothing is gained by resampling: the sound passes bit for bit.
        let stretch = if off.abs() < 0.05 && position.1 == 0.0 {
            0.0
        } else {
            (off / SETTLE).clamp(-MAX_STRETCH, MAX_STRETCH)
        };

        // From REACH - 1 before the position to the end of the block, the filter's reach and the fade's.
        let span = (BLOCK as f64 * (1.0 + MAX_STRETCH)) as usize + 2 * REACH + FADE + 2;
        let mut frames = vec![[0.0; 2]; span];
        let mut there = vec![false; span];
        self.gather(position.0 - (REACH as i64 - 1), &mut frames, &mut there);
        let ahead = frames_until_hole(&there);

        // A jump plays a few milliseconds on from the old place, under the new one rising.
        let mut tail = Vec::new();
        if let Some(old) = old {
            tail = vec![[0.0; 2]; FADE + 2 * REACH];
            let mut ignored = vec![false; tail.len()];
            self.gather(old.0 - (REACH as i64 - 1), &mut tail, &mut ignored);
        }
        let tail_gain = self.gain;
        if old.is_some() {
            self.gain = 0.0;
        }

        let mut at = position.1;
        for (index, (out, sounds)) in sum.iter_mut().zip(sounding).enumerate() {
            let whole = at as usize;
            let centre = whole + REACH - 1;
            let until = ahead.get(centre).copied().unwrap_or(0);
            // Falls towards a hole ahead, rises no faster than a fade after one behind.
            let ceiling = (until as f32 / FADE as f32).min(1.0);
            self.gain = ceiling.min(self.gain + 1.0 / FADE as f32);
            if until > 0 {
                *sounds = true;
                self.loud = true;
                let window = frames.get(whole..whole + 2 * REACH).unwrap_or_default();
                let [left, right] = resample::at(window, at - whole as f64);
                out[0] += left * self.gain;
                out[1] += right * self.gain;
            }
            if let (Some(old), true) = (old, index < FADE) {
                let window = tail.get(index..index + 2 * REACH).unwrap_or_default();
                let [left, right] = resample::at(window, old.1);
                let fall = tail_gain * (1.0 - (index + 1) as f32 / FADE as f32);
                out[0] += left * fall;
                out[1] += right * fall;
            }
            at += 1.0 + stretch;
        }
        let whole = at as i64;
        self.position = Some((position.0 + whole, at - whole as f64));
        // What can be read no more: a second behind is kept for a jump back.
        let past = position.0 - i64::from(RATE);
        while self.pieces.front().is_some_and(|piece| piece.end() < past) {
            self.pieces.pop_front();
        }
    }
}

/// wanted - at, in frames.
fn error(wanted: (i64, f64), at: (i64, f64)) -> f64 {
    (wanted.0 - at.0) as f64 + (wanted.1 - at.1)
}

/// For each frame, how many frames of sound follow without a hole, itself included; at most [`FADE`].
fn frames_until_hole(there: &[bool]) -> Vec<usize> {
    let mut ahead = vec![0; there.len()];
    let mut run = FADE;
    for (count, there) in ahead.iter_mut().zip(there).rev() {
        run = if *there { (run + 1).min(FADE) } else { 0 };
        *count = run;
    }
    ahead
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const TRACK: TrackId = TrackId(1);

    fn tone(from: i64, frames: usize) -> Vec<f32> {
        (from..from + frames as i64)
            .flat_map(|n| {
                [0.5 * (n as f64 * 440.0 * std::f64::consts::TAU / 48_000.0).sin() as f32; 2]
            })
            .collect()
    }

    fn left(block: &Block) -> Vec<f32> {
        block.samples.iter().step_by(2).copied().collect()
    }

    /// A click is a step that a 440 Hz tone at half scale, fades included, cannot make.
    fn loudest_step(samples: &[f32]) -> f32 {
        samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn sound_in_place_passes_bit_for_bit() {
        let mut mixer = Mixer::new();
        mixer.push(TRACK, 0, &tone(0, 48_000));
        for index in 0..40i64 {
            let block = mixer.block(|_| Some((index * 1024, 0.0)));
            assert_eq!(block.silent, 0);
            assert_eq!(block.samples.len(), 2048);
            if index > 0 {
                assert_eq!(block.samples, tone(index * 1024, 1024), "block {index}");
            }
        }
    }

    #[test]
    fn nothing_in_is_silence_out() {
        let mut mixer = Mixer::new();
        let block = mixer.block(|_| None);
        assert_eq!(block.samples, vec![0.0; 2048]);
        assert_eq!(block.silent, 1024);
    }

    #[test]
    fn holes_are_faded_and_counted() {
        let mut mixer = Mixer::new();
        for packet in (0..200).filter(|n| n % 7 != 3) {
            mixer.push(TRACK, packet * 960, &tone(packet * 960, 960));
        }
        let mut all = Vec::new();
        let mut silent = 0;
        for index in 0..180i64 {
            let block = mixer.block(|_| Some((index * 1024, 0.0)));
            silent += i64::from(block.silent);
            all.extend(left(&block));
        }
        let missing = (0..180 * 1024).filter(|n| (n / 960) % 7 == 3).count() as i64;
        assert_eq!(silent, missing);
        assert!(loudest_step(&all) < 0.035, "{}", loudest_step(&all));
    }

    #[test]
    fn drift_is_followed_without_a_jump_in_the_sound() {
        for ppm in [-200.0, 200.0, 3000.0] {
            let mut mixer = Mixer::new();
            let speed = 1.0 + ppm / 1e6;
            let mut pushed = 0;
            let mut worst: f64 = 0.0;
            let mut all = Vec::new();
            let blocks = 48 * 60;
            for index in 0..blocks {
                while (pushed as f64) < (index as f64 + 3.0) * 1024.0 * speed {
                    mixer.push(TRACK, pushed, &tone(pushed, 960));
                    pushed += 960;
                }
                let wanted = index as f64 * 1024.0 * speed;
                let place = (wanted.floor() as i64, wanted.fract());
                let block = mixer.block(|_| Some(place));
                assert_eq!(block.silent, 0);
                let next = mixer.voices[&TRACK].position.unwrap();
                worst = worst.max((next.0 as f64 + next.1 - wanted - 1024.0 * speed).abs());
                all.extend(left(&block));
            }
            assert!(worst < 200.0, "{ppm} ppm: {worst} samples behind");
            assert!(loudest_step(&all[2000..]) < 0.031, "{ppm}: {}", loudest_step(&all[2000..]));
        }
    }

    #[test]
    fn a_far_position_is_reached_under_a_cross_fade() {
        let mut mixer = Mixer::new();
        mixer.push(TRACK, 0, &tone(0, 96_000));
        let mut all = Vec::new();
        for index in 0..60i64 {
            let jump = if index >= 30 { 20_000 } else { 0 };
            all.extend(left(&mixer.block(|_| Some((index * 1024 + jump, 0.0)))));
        }
        assert!(loudest_step(&all) < 0.04, "{}", loudest_step(&all));
        let expected: Vec<f32> = tone(50 * 1024 + 20_000, 1024).into_iter().step_by(2).collect();
        assert_eq!(&all[50 * 1024..51 * 1024], &expected[..]);
    }

    #[test]
    fn two_streams_are_added_within_full_scale() {
        let mut mixer = Mixer::new();
        mixer.push(TrackId(1), 0, &vec![0.8; 2 * 4096]);
        mixer.push(TrackId(2), 500_000, &vec![0.8; 2 * 4096]);
        let place = |index: i64| {
            move |track| {
                Some(if track == TrackId(1) { (index, 0.0) } else { (500_000 + index, 0.0) })
            }
        };
        mixer.block(place(0));
        let block = mixer.block(place(1024));
        assert!(block.samples.iter().all(|v| (0.9..=1.0).contains(v)), "{:?}", &block.samples[..4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Any pieces at any positions, read anywhere: no panic, finite sound, exact block sizes, bounded memory.
        #[test]
        fn anything_goes_in(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut mixer = Mixer::new();
            let mut base = rng.random_range(-1i64 << 40..1 << 40);
            for _ in 0..200 {
                if rng.random_bool(0.02) { base = rng.random_range(-1i64 << 40..1 << 40); }
                let track = TrackId(rng.random_range(0..40));
                let frames = rng.random_range(0..3000usize);
                mixer.push(track, base + rng.random_range(-5000i64..5000), &tone(0, frames));
                let place = base + rng.random_range(-9000i64..9000);
                let fraction = rng.random::<f64>();
                let block = mixer.block(|_| Some((place, fraction)));
                prop_assert_eq!(block.samples.len(), 2048);
                prop_assert!(block.samples.iter().all(|v| v.abs() <= 1.0));
                prop_assert!(mixer.voices.len() <= MAX_VOICES);
            }
        }
    }
}
