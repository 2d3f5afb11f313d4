//! Pure rules of time: on which frames of the grid the cuts fall, and when to give up a rung.

use crate::link::wire::{OutputFormat, VideoCodec};
use crate::time::HostTime;

/// Where key frames and segments fall. All rungs share it, so they cut at the same frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    first: u64,
    gop: u64,
    segment: u64,
}

impl Cadence {
    /// From `first` on: frame 0 of a new class, or the frame right after what a predecessor
    /// published. That frame is a key frame and opens a segment wherever it is, and the grid counts
    /// from it: a class resumed on an odd frame has no short GOP beyond the one that was cut.
    pub fn new(format: &OutputFormat, first: u64) -> Self {
        let gop = u64::from(format.gop_frames.max(1));
        Self { first, gop, segment: u64::from(format.segment_frames).max(gop) }
    }

    /// The first frame to encode.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Whether every rung must make `frame` a key frame.
    pub fn is_key(&self, frame: u64) -> bool {
        frame.checked_sub(self.first).is_some_and(|n| n.is_multiple_of(self.gop))
    }

    /// Whether `frame` opens a segment; always a key frame.
    pub fn opens_segment(&self, frame: u64) -> bool {
        frame.checked_sub(self.first).is_some_and(|n| n.is_multiple_of(self.segment))
    }
}

/// When a rung is given up. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Less lag than this is health: whatever was building up is forgotten.
    pub low_us: i64,
    /// More lag than this, for `hold_us` and not shrinking, costs a rung.
    pub high_us: i64,
    /// How long that must last.
    pub hold_us: i64,
    /// More lag than this costs a rung in half the time: players hold about a second.
    pub urgent_us: i64,
    /// After a rung was shed, the next one is safe for this long: relief takes time to show.
    pub settle_us: i64,
    /// Lag that shrinks by this much a second counts as catching up, however large it is. A
    /// transcoder that resumes after a crash starts with seconds of lag and must not lose rungs.
    pub catching_up_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            low_us: 100_000,
            high_us: 250_000,
            hold_us: 700_000,
            urgent_us: 600_000,
            settle_us: 1_500_000,
            catching_up_us: 100_000,
        }
    }
}

/// One rung as the shedding policy sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// AV1 goes before H.264.
    pub codec: VideoCodec,
    /// What it costs, CPU-seconds a second; only the order matters.
    pub cost: f64,
}

/// Decides which rung to shed, and when. Told the lag as often as it is known; a rung once shed does
/// not come back within a class, because a rendition that vanishes and returns would break players.
#[derive(Clone, Debug)]
pub struct Shedding {
    limits: Limits,
    /// `None`: gone.
    rungs: Vec<Option<Load>>,
    /// Since when lag has been high and not shrinking, and how much it was then.
    since: Option<(HostTime, i64)>,
    settled: HostTime,
}

impl Shedding {
    /// For these rungs, numbered as given.
    pub fn new(rungs: &[Load], limits: Limits) -> Self {
        let rungs = rungs.iter().copied().map(Some).collect();
        Self { limits, rungs, since: None, settled: HostTime(i64::MIN) }
    }

    /// The rung was lost otherwise.
    pub fn lost(&mut self, rung: usize) {
        if let Some(slot) = self.rungs.get_mut(rung) {
            *slot = None;
        }
    }

    /// Takes the lag behind schedule at `now`; names the rung to shed, which counts as gone.
    pub fn observe(&mut self, now: HostTime, lag_us: i64) -> Option<usize> {
        if lag_us < self.limits.low_us {
            self.since = None;
            return None;
        }
        let Some((start, lag_then)) = self.since else {
            if lag_us >= self.limits.high_us {
                self.since = Some((now, lag_us));
            }
            return None;
        };
        let elapsed = now.since(start).max(0);
        let hold = match lag_us >= self.limits.urgent_us {
            true => self.limits.hold_us / 2,
            false => self.limits.hold_us,
        };
        if elapsed < hold || lag_us < self.limits.high_us || now < self.settled {
            return None;
        }
        // Judged over the whole hold, so that one fast frame does not look like recovery.
        let must_shrink = i128::from(self.limits.catching_up_us) * i128::from(elapsed) / 1_000_000;
        self.since = Some((now, lag_us));
        if i128::from(lag_then) - i128::from(lag_us) >= must_shrink {
            return None;
        }
        let rung = self.dearest()?;
        self.rungs[rung] = None;
        self.settled = now.plus_micros(self.limits.settle_us);
        Some(rung)
    }

    /// The dearest AV1 rung, else the dearest H.264 rung that is not the last.
    fn dearest(&self) -> Option<usize> {
        let of = |codec| {
            let rungs = self.rungs.iter().enumerate();
            rungs
                .filter_map(move |(n, load)| load.filter(|l| l.codec == codec).map(|l| (n, l.cost)))
        };
        let max = |rungs: &mut dyn Iterator<Item = (usize, f64)>| {
            rungs.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(n, _)| n)
        };
        max(&mut of(VideoCodec::Av1)).or_else(|| {
            let more_than_one = of(VideoCodec::H264).count() > 1;
            max(&mut of(VideoCodec::H264)).filter(|_| more_than_one)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Bitrate;
    use proptest::prelude::*;

    fn format(gop: u32, segment: u32) -> OutputFormat {
        OutputFormat {
            fps: 30,
            part_frames: 10,
            segment_frames: segment,
            gop_frames: gop,
            audio_bitrate: Bitrate(96_000),
            playout_delay_us: 150_000,
        }
    }

    #[test]
    fn cuts_count_from_the_first_frame_of_a_class_or_of_its_resumption() {
        let cadence = Cadence::new(&format(60, 120), 0);
        let keys: Vec<_> = (0..300).filter(|n| cadence.is_key(*n)).collect();
        assert_eq!(keys, [0, 60, 120, 180, 240]);
        let segments: Vec<_> = (0..300).filter(|n| cadence.opens_segment(*n)).collect();
        assert_eq!(segments, [0, 120, 240]);

        let resumed = Cadence::new(&format(60, 120), 95);
        let keys: Vec<_> = (0..300).filter(|n| resumed.is_key(*n)).collect();
        assert_eq!(keys, [95, 155, 215, 275]);
        assert!((0..300).all(|n| !resumed.opens_segment(n) || resumed.is_key(n)));
    }

    fn ladder() -> Vec<Load> {
        let load = |codec, cost| Load { codec, cost };
        use VideoCodec::{Av1, H264};
        vec![load(H264, 0.12), load(H264, 0.08), load(H264, 0.03), load(Av1, 0.32), load(Av1, 0.1)]
    }

    /// Lag over time as a function, asked every 33 ms for `seconds`: what is shed, and when.
    fn run(shedding: &mut Shedding, seconds: i64, lag: impl Fn(i64) -> i64) -> Vec<(i64, usize)> {
        (0..seconds * 30)
            .map(|n| n * 33_333)
            .filter_map(|t| shedding.observe(HostTime(t), lag(t)).map(|rung| (t / 1000, rung)))
            .collect()
    }

    #[test]
    fn a_healthy_class_and_single_hiccups_cost_nothing() {
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        // 400 ms late for half a second, once every five.
        let lag = |t: i64| if t % 5_000_000 < 500_000 { 400_000 } else { 10_000 };
        assert_eq!(run(&mut shedding, 60, lag), []);
    }

    #[test]
    fn an_overloaded_box_sheds_av1_first_then_the_top_and_keeps_one_h264_rung() {
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        let shed = run(&mut shedding, 60, |t| t / 5);
        let order: Vec<_> = shed.iter().map(|(_, rung)| *rung).collect();
        assert_eq!(order, [3, 4, 0, 1]);
        // Lag grows by 0.2 s a second: the first goes before a second's worth has built up.
        assert!(shed[0].0 * 2 / 10 < 500, "{shed:?}");
        assert!(shed.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1500), "{shed:?}");
    }

    #[test]
    fn relief_after_the_first_rung_ends_it() {
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        // Grows until the AV1 rung goes, about 2 s in; then shrinks.
        let lag =
            |t: i64| if t < 2_200_000 { t / 5 } else { (440_000 - (t - 2_200_000) / 4).max(0) };
        let shed = run(&mut shedding, 30, lag);
        assert_eq!(shed.iter().map(|(_, rung)| *rung).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn catching_up_after_a_resumption_costs_nothing() {
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        assert_eq!(run(&mut shedding, 60, |t| (3_000_000 - t / 4).max(0)), []);
        // But being stuck seconds behind does.
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        assert_eq!(run(&mut shedding, 1, |_| 3_000_000), [(366, 3)]);
    }

    #[test]
    fn a_rung_lost_otherwise_is_not_named_again() {
        let mut shedding = Shedding::new(&ladder(), Limits::default());
        shedding.lost(3);
        shedding.lost(17);
        let order: Vec<_> = run(&mut shedding, 60, |t| t).iter().map(|(_, rung)| *rung).collect();
        assert_eq!(order, [4, 0, 1]);
    }

    proptest! {
        #[test]
        fn whatever_the_clock_and_lag_do_the_last_h264_rung_stays(
            steps in proptest::collection::vec((any::<i32>(), any::<i64>()), 0..300))
        {
            let mut shedding = Shedding::new(&ladder(), Limits::default());
            let mut now = HostTime(0);
            let mut gone = std::collections::BTreeSet::new();
            for (step, lag) in steps {
                now = now.plus_micros(i64::from(step) / 100);
                if let Some(rung) = shedding.observe(now, lag) {
                    prop_assert!(gone.insert(rung));
                }
            }
            prop_assert!([0, 1, 2].iter().any(|rung| !gone.contains(rung)));
        }
    }
}
