//! The two estimators under the timeline: the floor of arrivals, and what sender reports say.

use crate::time::HostTime;
use std::collections::VecDeque;

/// Minimum over a sliding window of [`Floor::WINDOW_US`], in buckets.
#[derive(Clone, Debug, Default)]
pub struct Floor {
    /// (bucket number, smallest value in it), oldest first, at most [`Floor::BUCKETS`].
    buckets: VecDeque<(i64, i64)>,
}

impl Floor {
    /// Length of the window. Long enough that some packet got through without queueing, short enough
    /// that clocks 200 ppm apart lag behind by 2 ms only.
    pub const WINDOW_US: i64 = 10_000_000;
    const BUCKETS: i64 = 10;

    /// Takes in that at `now` the value was `value`.
    pub fn push(&mut self, now: HostTime, value: i64) {
        let number = now.0.div_euclid(Self::WINDOW_US / Self::BUCKETS);
        match self.buckets.back_mut() {
            Some((last, least)) if *last >= number => *least = (*least).min(value),
            _ => self.buckets.push_back((number, value)),
        }
        while self.buckets.front().is_some_and(|(first, _)| *first <= number - Self::BUCKETS) {
            self.buckets.pop_front();
        }
    }

    /// The smallest value in the window.
    pub fn value(&self) -> Option<i64> {
        self.buckets.iter().map(|(_, least)| *least).min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }
}

/// One stream's sender reports, each as `ntp - rtp` in nanoseconds: a constant but for the drift
/// between the two clocks and the sender's mistakes.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// (arrival in microseconds, ntp - rtp), oldest first.
    kept: VecDeque<(i64, i64)>,
    /// Reports that contradict those kept, until they are many enough to be believed instead.
    doubted: Vec<(i64, i64)>,
    /// The line through those kept: (arrival of the newest, ntp - rtp there, nanoseconds a microsecond).
    line: Option<(i64, i64, f64)>,
    /// If those kept replaced others they contradicted: when the first of them arrived.
    epoch: Option<i64>,
}

impl Reports {
    /// Enough that stamps 20 ms wrong to either side move the line by a few.
    const KEPT: usize = 64;
    /// A report this far from the others contradicts them.
    const CONTRADICTS_NS: i64 = 150_000_000;
    /// Contradicting reports within this of each other agree.
    const AGREES_NS: i64 = 60_000_000;
    const BELIEVED: usize = 3;
    /// Slope beyond which it is not drift: crystals are within 100 ppm, software clocks within 500.
    const MAX_SLOPE_PPM: f64 = 500.0;

    /// Reports in force.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no report is in force.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes in a report that arrived at `arrived`.
    pub fn push(&mut self, arrived: HostTime, offset: i64) {
        let report = (arrived.0, offset);
        if self.kept.back().is_some_and(|last| last.0 > arrived.0) {
            return;
        }
        match self.at(arrived) {
            Some(expected) if (offset - expected).abs() > Self::CONTRADICTS_NS => {
                self.doubted.retain(|old| (old.1 - offset).abs() <= Self::AGREES_NS);
                self.doubted.push(report);
                if self.doubted.len() < Self::BELIEVED {
                    return;
                }
                self.kept = std::mem::take(&mut self.doubted).into();
                self.epoch = self.kept.front().map(|first| first.0);
                self.line = self.fit();
                return;
            }
            _ => self.doubted.clear(),
        }
        self.kept.push_back(report);
        if self.kept.len() > Self::KEPT {
            self.kept.pop_front();
        }
        self.line = self.fit();
    }

    /// ntp - rtp at `now`.
    pub fn at(&self, now: HostTime) -> Option<i64> {
        let (origin, level, slope) = self.line?;
        // Not extrapolated for ever: a stream whose reports stopped keeps its last known place.
        let ahead = (now.0 - origin).clamp(0, 30_000_000);
        Some(level + (slope * ahead as f64) as i64)
    }

    /// A line through the reports that outliers do not bend
    /// (Theil-Sen: the median of all pairs' slopes, then the median of what is left).
    fn fit(&self) -> Option<(i64, i64, f64)> {
        let &(origin, base) = self.kept.back()?;
        let mut slopes = Vec::with_capacity(Self::KEPT * Self::KEPT / 2);
        let span = origin - self.kept.front()?.0;
        // Over a short time, mistakes of milliseconds look like drift of thousands of ppm.
        if span >= 10_000_000 {
            for (index, a) in self.kept.iter().enumerate() {
                for b in self.kept.iter().skip(index + 1).filter(|b| b.0 - a.0 >= span / 4) {
                    slopes.push((b.1 - a.1) as f64 / (b.0 - a.0) as f64);
                }
            }
        }
        let limit = Self::MAX_SLOPE_PPM / 1000.0; // ns a us
        let slope = median(&mut slopes).unwrap_or(0.0).clamp(-limit, limit);
        let mut rest: Vec<f64> = self
            .kept
            .iter()
            .map(|&(at, offset)| (offset - base) as f64 - slope * (at - origin) as f64)
            .collect();
        let level = median(&mut rest)?;
        Some((origin, base + level as i64, slope))
    }
}

/// follower.offset - leader.offset, by two streams' sender reports at `now`; `None` while they cannot tell.
///
/// Both count from the sender's wall clock. If that stepped, one stream's reports tell before the
/// other's, so nothing is said until both have reported since.
pub fn difference(leader: &Reports, follower: &Reports, now: HostTime) -> Option<i64> {
    let spoke_since = |reports: &Reports, epoch: Option<i64>| {
        epoch.is_none_or(|epoch| reports.kept.back().is_some_and(|last| last.0 >= epoch))
    };
    let sure = leader.doubted.is_empty() && follower.doubted.is_empty();
    if !sure || !spoke_since(leader, follower.epoch) || !spoke_since(follower, leader.epoch) {
        return None;
    }
    Some(follower.at(now)? - leader.at(now)?)
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}
