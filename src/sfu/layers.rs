//! Which simulcast layer a subscriber gets. Pure: numbers in, a choice out.

use crate::time::{HostTime, TrackId};

/// What is known of one layer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The stream it comes as.
    pub track: TrackId,
    /// Its pictures' height in pixels; 0 while unknown.
    pub height: u32,
    /// What it takes, bits a second, measured.
    pub bitrate: u64,
    /// It is coming.
    pub live: bool,
}

/// Climbing to a layer needs this much more than it takes, in percent: an estimate that swings
/// around a layer's rate must not change layers with every swing.
const ROOM_TO_CLIMB: u64 = 120;

/// After a fall nothing is climbed for so long, in microseconds.
const REST_AFTER_FALL: i64 = 3_000_000;

/// A layer within this of what is shown, in percent, is large enough.
const LARGE_ENOUGH: u64 = 90;

/// Chooses for one subscriber.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chooser {
    fell: Option<HostTime>,
}

impl Chooser {
    /// The layer to forward, as an index into `layers` (smallest first); `None` for none.
    ///
    /// `view` is the height shown, 0 for not at all; `budget` what the way to the subscriber takes
    /// in bits a second, if that is known; `current` what it gets now. The smallest layer that
    /// comes is never refused for want of bandwidth: a bad picture says more than none.
    pub fn choose(
        &mut self,
        now: HostTime,
        layers: &[Layer],
        view: u32,
        budget: Option<u64>,
        current: Option<usize>,
    ) -> Option<usize> {
        let ideal = ideal(layers, view)?;
        let affordable = |index: usize| {
            let (Some(layer), Some(budget)) = (layers.get(index), budget) else { return true };
            let climbs = current.is_none_or(|current| index > current);
            let percent = if climbs { ROOM_TO_CLIMB } else { 100 };
            layer.bitrate.saturating_mul(percent) / 100 <= budget
        };
        let live = |index: &usize| layers.get(*index).is_some_and(|layer| layer.live);
        let lowest = (0..=ideal).find(live)?;
        let chosen = (lowest..=ideal).rev().filter(live).find(|index| affordable(*index));
        let chosen = chosen.unwrap_or(lowest);
        let Some(current) = current.filter(live) else { return Some(chosen) };
        if chosen < current {
            if current <= ideal {
                self.fell = Some(now); // for want of bandwidth, not because less is shown
            }
            return Some(chosen);
        }
        let rests = self.fell.is_some_and(|fell| now.since(fell) < REST_AFTER_FALL);
        Some(if rests { current } else { chosen })
    }
}

/// The layer that would be forwarded if bandwidth were no matter.
pub fn ideal(layers: &[Layer], view: u32) -> Option<usize> {
    if view == 0 {
        return None;
    }
    let enough = |layer: &Layer| {
        layer.height > 0 && u64::from(layer.height) * 100 >= u64::from(view) * LARGE_ENOUGH
    };
    let live = || layers.iter().enumerate().filter(|(_, layer)| layer.live);
    let smallest_enough = live().find(|(_, layer)| enough(layer));
    smallest_enough.or_else(|| live().next_back()).map(|(index, _)| index)
}

/// How long a peer may take to send its first congestion feedback, in microseconds.
const FEEDBACK_PATIENCE: i64 = 3_000_000;

/// Losses in a second, in percent, that are the sender's doing and not the radio's.
const HEAVY_LOSS: f32 = 0.10;

/// Losses in a second that say nothing.
const LIGHT_LOSS: f32 = 0.02;

/// Seconds without loss before more is tried.
const CALM_SECONDS: u32 = 10;

/// Beyond this a limit guessed from losses limits nothing.
const NO_LIMIT: u64 = 10_000_000;

/// What is kept for sound, bits a second.
const SOUND: u64 = 64_000;

/// What the way to one subscriber takes.
///
/// By transport-wide feedback where the peer sends it (str0m's estimate). A peer that announces it
/// and never sends any would be held at the estimate's start for ever, so it is believed only once
/// feedback came; without, REMB and the losses of receiver reports give a limit, and no news is
/// good news.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    since: HostTime,
    estimate: Option<u64>,
    heard: bool,
    limit: Option<u64>,
    calm: u32,
}

impl Budget {
    /// For a connection made at `now`; `initial` if the peer announced feedback.
    pub const fn new(now: HostTime, initial: Option<u64>) -> Self {
        Self { since: now, estimate: initial, heard: false, limit: None, calm: 0 }
    }

    /// Bits a second for video, if that is known.
    pub fn video(&self, now: HostTime) -> Option<u64> {
        let waiting = now.since(self.since) < FEEDBACK_PATIENCE;
        let estimate = self.estimate.filter(|_| self.heard || waiting);
        estimate.or(self.limit).map(|rate| rate.saturating_sub(SOUND))
    }

    /// str0m's estimate.
    pub fn estimated(&mut self, rate: u64) {
        self.estimate = Some(rate);
    }

    /// Transport-wide feedback comes from this peer.
    pub fn heard(&mut self) {
        self.heard = true;
    }

    /// The receiver's own estimate (REMB).
    pub fn told(&mut self, rate: u64) {
        self.limit = Some(rate);
    }

    /// A second's losses, 0 to 1, while video was sent at `rate`.
    pub fn lost(&mut self, fraction: f32, rate: u64) {
        if self.heard {
            return; // the estimate knows of them
        }
        if fraction > HEAVY_LOSS {
            self.calm = 0;
            self.limit = Some((rate * 7 / 10).saturating_add(SOUND));
        } else if fraction < LIGHT_LOSS {
            self.calm += 1;
            if self.calm >= CALM_SECONDS {
                self.calm = 0;
                self.limit = self.limit.map(|l| l * 3 / 2).filter(|limit| *limit < NO_LIMIT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const T: HostTime = HostTime(1_000_000);

    fn layers() -> [Layer; 3] {
        [(180, 150_000), (360, 500_000), (720, 1_700_000)].map(|(height, bitrate)| Layer {
            track: TrackId(height),
            height,
            bitrate,
            live: true,
        })
    }

    fn choose(view: u32, budget: Option<u64>, current: Option<usize>) -> Option<usize> {
        Chooser::default().choose(T, &layers(), view, budget, current)
    }

    #[test]
    fn the_smallest_layer_that_fills_the_tile() {
        for (view, layer) in [(90, 0), (180, 0), (200, 0), (201, 1), (360, 1), (500, 2), (2160, 2)]
        {
            assert_eq!(choose(view, None, None), Some(layer), "{view}");
        }
        assert_eq!(choose(0, None, Some(2)), None, "hidden");
        assert_eq!(Chooser::default().choose(T, &[], 720, None, None), None);
    }

    #[test]
    fn bandwidth_limits_and_never_starves() {
        let at = |budget| choose(720, Some(budget), None);
        assert_eq!(at(3_000_000), Some(2));
        assert_eq!(at(1_800_000), Some(1), "no room to climb to the highest");
        assert_eq!(at(550_000), Some(0));
        assert_eq!(at(1_000), Some(0));
        assert_eq!(choose(720, Some(1_750_000), Some(2)), Some(2), "but enough to stay");
        assert_eq!(choose(720, Some(1_690_000), Some(2)), Some(1));
    }

    #[test]
    fn a_swinging_estimate_does_not_swing_the_picture() {
        let mut chooser = Chooser::default();
        let mut current = Some(2);
        let mut changes = 0;
        for second in 0..60 {
            let budget = if second % 2 == 0 { 1_500_000 } else { 2_200_000 };
            let now = T.plus_micros(second * 1_000_000);
            let next = chooser.choose(now, &layers(), 720, Some(budget), current);
            changes += u32::from(next != current);
            current = next;
        }
        assert!(changes <= 32, "{changes} changes in a minute");
        let mut chooser = Chooser::default();
        assert_eq!(chooser.choose(T, &layers(), 720, Some(600_000), Some(2)), Some(1));
        let soon = T.plus_micros(REST_AFTER_FALL - 1);
        assert_eq!(chooser.choose(soon, &layers(), 720, Some(9_000_000), Some(1)), Some(1));
        let later = T.plus_micros(REST_AFTER_FALL);
        assert_eq!(chooser.choose(later, &layers(), 720, Some(9_000_000), Some(1)), Some(2));
    }

    #[test]
    fn showing_it_larger_again_needs_no_rest() {
        let mut chooser = Chooser::default();
        assert_eq!(chooser.choose(T, &layers(), 90, None, Some(2)), Some(0));
        assert_eq!(chooser.choose(T, &layers(), 720, None, Some(0)), Some(2));
    }

    #[test]
    fn a_layer_that_stopped_coming_is_left_and_taken_up_again() {
        let mut layers = layers();
        layers[2].live = false;
        let mut chooser = Chooser::default();
        assert_eq!(chooser.choose(T, &layers, 720, None, Some(2)), Some(1));
        layers[1].live = false;
        assert_eq!(chooser.choose(T, &layers, 720, None, Some(1)), Some(0));
        layers[0].live = false;
        assert_eq!(chooser.choose(T, &layers, 720, None, Some(0)), None);
        let later = T.plus_micros(REST_AFTER_FALL);
        assert_eq!(chooser.choose(later, &self::layers(), 720, None, None), Some(2));
    }

    #[test]
    fn feedback_that_never_comes_holds_nobody_down() {
        let mut budget = Budget::new(T, Some(600_000));
        assert_eq!(budget.video(T), Some(600_000 - SOUND));
        let later = T.plus_micros(FEEDBACK_PATIENCE);
        assert_eq!(budget.video(later), None);
        budget.lost(0.5, 1_000_000);
        assert_eq!(budget.video(later), Some(700_000));
        for _ in 0..CALM_SECONDS {
            budget.lost(0.0, 700_000);
        }
        assert!(budget.video(later).unwrap() > 1_000_000);
        budget.told(2_000_000);
        assert_eq!(budget.video(later), Some(2_000_000 - SOUND));
        budget.estimated(300_000);
        budget.heard();
        assert_eq!(budget.video(later), Some(300_000 - SOUND));
        budget.lost(0.9, 1);
        assert_eq!(budget.video(later), Some(300_000 - SOUND));
    }

    proptest! {
        /// Whatever the figures, what is chosen comes, is no larger than needed, and something is
        /// chosen whenever anything comes and is shown.
        #[test]
        fn a_choice_is_always_one_that_comes(
            heights in proptest::collection::vec((0..2000_u32, 0..9_000_000_u64, any::<bool>()), 0..4),
            view in 0..3000_u32,
            budget in proptest::option::of(any::<u64>()),
            current in proptest::option::of(0..5_usize),
        ) {
            let layers: Vec<Layer> = heights.into_iter().map(|(height, bitrate, live)| {
                Layer { track: TrackId(1), height, bitrate, live }
            }).collect();
            let choice = Chooser::default().choose(T, &layers, view, budget, current);
            let any = view > 0 && layers.iter().any(|layer| layer.live);
            prop_assert_eq!(choice.is_some(), any);
            if let Some(choice) = choice {
                prop_assert!(layers[choice].live);
            }
        }
    }
}
