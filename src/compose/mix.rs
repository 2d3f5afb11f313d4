//! Sound onto the room's 48 kHz grid, in blocks of 1024 samples. Pure arithmetic.
//!
//! Each stream keeps its decoded sound by its own RTP time. A block is read where the timeline says
//! the stream's position is, at a speed within [`MAX_STRETCH`] of one, so that clocks that drift are
//! followed without being heard. Where there is no sound there is silence, faded into and out of over
//! 10 ms, and so is a stream that is muted or no longer on stage; a position too far away to be reached by speed is
//! jumped to under a cross-fade. The sum goes through the [limiter](super::limiter), for which everything is read
//! [`AHEAD`] frames before it comes out.
//!
//! Every block comes out, whatever came in.

use super::limiter::{AHEAD, Limiter};
use super::resample::{self, REACH};
use crate::time::TrackId;
use std::collections::{BTreeMap, VecDeque};

/// Stereo frames in a block: what one AAC frame holds.
pub const BLOCK: usize = 1024;
/// Sample rate of everything here, Hz.
pub const RATE: u32 = 48_000;
/// How far from one the reading speed may be.
pub const MAX_STRETCH: f64 = 0.005;

/// Frames of a fade: 10 ms.
const FADE: usize = 480;
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
    /// Gain of the last frame read, by what sound there is.
    gain: f32,
    /// The same, by whether it is to be heard.
    gate: f32,
    loud: bool,
    /// Blocks read while it sounded, up to [`YOUNG`].
    heard: u32,
}

/// Where a stream is to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// In its RTP time: whole frames.
    pub whole: i64,
    /// And what there is beyond, 0 to 1.
    pub fraction: f64,
    /// Whether it is to be heard; faded.
    pub open: bool,
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
    limiter: Limiter,
    /// For frames that are in the limiter: whether any stream sounded.
    sounding: VecDeque<bool>,
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

    /// Makes the next block. `wanted` says where in each stream's RTP time the block begins; streams it returns
    /// `None` for fall silent.
    pub fn block(&mut self, wanted: impl Fn(TrackId) -> Option<Wanted>) -> Block {
        let mut samples = Vec::with_capacity(2 * BLOCK);
        let mut silent = 0;
        // The limiter is a little short of full before the first block, and ever after gives one for one.
        while samples.len() < 2 * BLOCK {
            let held = self.sounding.len() as i64;
            let missing = BLOCK - samples.len() / 2;
            let fill = if held == 0 { AHEAD - 1 } else { missing };
            let mut sum = vec![[0.0f32; 2]; fill];
            let mut sounding = vec![false; fill];
            for (&track, voice) in &mut self.voices {
                let wanted =
                    wanted(track).map(|wanted| Wanted { whole: wanted.whole + held, ..wanted });
                voice.read(wanted, &mut sum, &mut sounding);
            }
            for (frame, sounds) in sum.into_iter().zip(sounding) {
                self.sounding.push_back(sounds);
                if let Some(frame) = self.limiter.push(frame) {
                    samples.extend(frame);
                    silent += u32::from(self.sounding.pop_front() == Some(false));
                }
            }
        }
        Block { samples, silent }
    }
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

    /// Adds the stream's next frames to `sum`, as many as that has, and marks those that are there.
    fn read(&mut self, wanted: Option<Wanted>, sum: &mut [[f32; 2]], sounding: &mut [bool]) {
        let open = wanted.is_some_and(|wanted| wanted.open);
        if !open && self.gate == 0.0 {
            // Not heard: nothing to do but to forget what is over.
            if let Some(wanted) = wanted {
                self.forget_before(wanted.whole);
            }
            (self.position, self.gain) = (None, 0.0);
            return;
        }
        // A stream whose clock is not known any more goes on from where it is while it fades.
        let wanted = wanted.map(|wanted| (wanted.whole, wanted.fraction)).or(self.position);
        let Some(wanted) = wanted else {
            self.gate = 0.0;
            return;
        };
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
        let span = (sum.len() as f64 * (1.0 + MAX_STRETCH)) as usize + 2 * REACH + FADE + 2;
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
        let tail_gain = self.gain * self.gate;
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
            let step = if open { 1.0 / FADE as f32 } else { -1.0 / FADE as f32 };
            self.gate = (self.gate + step).clamp(0.0, 1.0);
            if until > 0 {
                *sounds |= self.gate > 0.0;
                self.loud = true;
                let gain = self.gain * self.gate;
                let window = frames.get(whole..whole + 2 * REACH).unwrap_or_default();
                let [left, right] = resample::at(window, at - whole as f64);
                out[0] += left * gain;
                out[1] += right * gain;
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
        self.forget_before(position.0);
    }

    fn forget_before(&mut self, position: i64) {
        let past = position.saturating_sub(i64::from(RATE));
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

    fn at(whole: i64) -> Option<Wanted> {
        Some(Wanted { whole, fraction: 0.0, open: true })
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
            let block = mixer.block(|_| at(index * 1024));
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
            let block = mixer.block(|_| at(index * 1024));
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
                let place =
                    Wanted { whole: wanted.floor() as i64, fraction: wanted.fract(), open: true };
                let block = mixer.block(|_| Some(place));
                assert_eq!(block.silent, 0);
                let next = mixer.voices[&TRACK].position.unwrap();
                let read = 1023.0 + AHEAD as f64; // as much has gone into the limiter
                worst = worst.max((next.0 as f64 + next.1 - wanted - read * speed).abs());
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
            all.extend(left(&mixer.block(|_| at(index * 1024 + jump))));
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
        let place =
            |index: i64| move |track| at(if track == TrackId(1) { index } else { 500_000 + index });
        mixer.block(place(0));
        let block = mixer.block(place(1024));
        assert!(block.samples.iter().all(|v| (0.9..=1.0).contains(v)), "{:?}", &block.samples[..4]);
    }

    /// A tone's largest step from sample to sample, and what 10 ms of fading add.
    const STEP: f32 = 0.5 * 440.0 * std::f32::consts::TAU / 48_000.0 + 0.5 / FADE as f32;

    #[test]
    fn who_joins_leaves_or_is_muted_does_not_click() {
        // Open from 5000 to 30000 in the middle of a sound, muted for a while, unknown to the timeline at the end.
        let mut mixer = Mixer::new();
        mixer.push(TRACK, 0, &tone(0, 96_000));
        let mut all = Vec::new();
        let heard = |block: i64| (5..30).contains(&block) || (40..60).contains(&block);
        for index in 0..80i64 {
            let known = (index < 60).then_some(index * 1024);
            let place = known.map(|whole| Wanted { whole, fraction: 0.0, open: heard(index) });
            all.extend(left(&mixer.block(|_| place)));
        }
        assert!(loudest_step(&all) <= STEP, "{}", loudest_step(&all));
        let level = |block: usize| {
            all[block * 1024..(block + 1) * 1024].iter().fold(0.0f32, |m, v| m.max(v.abs()))
        };
        for block in 0..79 {
            // The reading is 5 ms ahead, so a change is heard from the end of the block before it.
            let (now, next) = (heard(block as i64), heard(block as i64 + 1));
            match (now, next) {
                (true, true) => assert!(level(block) > 0.49, "{block}"),
                (false, false) if block > 0 && !heard(block as i64 - 1) => {
                    assert_eq!(level(block), 0.0, "{block}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn sixteen_voices_at_once_do_not_clip_and_come_and_go_without_a_click() {
        let mut mixer = Mixer::new();
        let mut all = Vec::new();
        for voice in 0..16 {
            mixer.push(TrackId(voice), 0, &tone(0, 200_000));
        }
        for index in 0..150i64 {
            // One more every five blocks, one less from block 90 on: all in phase, the worst there is.
            let open = |voice: i64| index >= 5 * voice && index < 90 + 3 * voice;
            let block = mixer.block(|track| {
                let open = open(i64::from(track.0));
                Some(Wanted { whole: index * 1024, fraction: 0.0, open })
            });
            all.extend(left(&block));
        }
        let loudest = all.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(loudest <= super::super::limiter::CEILING + 1e-4, "{loudest}");
        let busy = &all[85 * 1024..88 * 1024];
        assert!(busy.iter().fold(0.0f32, |m, v| m.max(v.abs())) > 0.85, "turned down, not off");
        // A tone at full scale makes twice the step of one at half; voices come in at 5 ms' fades of their own.
        assert!(loudest_step(&all) < 2.2 * STEP, "{}", loudest_step(&all));
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
                let open = rng.random_bool(0.8);
                let wanted = rng.random_bool(0.9).then_some(Wanted { whole: place, fraction, open });
                let block = mixer.block(|_| wanted);
                prop_assert_eq!(block.samples.len(), 2048);
                prop_assert!(block.samples.iter().all(|v| v.abs() <= 1.0));
                prop_assert!(mixer.voices.len() <= MAX_VOICES);
            }
        }
    }
}
