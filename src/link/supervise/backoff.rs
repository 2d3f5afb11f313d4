//! How long to wait before the next transcoder. Pure.

use super::Config;
use std::time::Duration;

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    stable: Duration,
    next: Duration,
    barren: u32,
}

impl Backoff {
    pub(super) fn new(config: &Config) -> Self {
        let (first, longest) = (config.backoff.0, config.backoff_max.0);
        Self { first, longest, stable: config.stable.0, next: first, barren: 0 }
    }

    /// A transcoder died after `lived`, having made `parts` parts: the pause before the next.
    pub(super) fn died(&mut self, lived: Duration, parts: u64) -> Duration {
        self.barren = if parts > 0 { 0 } else { self.barren.saturating_add(1) };
        if parts > 0 && lived >= self.stable {
            self.next = self.first;
            return Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Transcoders in a row that died without a part.
    pub(super) fn failures(&self) -> u32 {
        self.barren
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_a_stable_life_forgives() {
        let mut backoff = Backoff::new(&Config::default());
        let short = Duration::from_secs(1);
        let pauses: Vec<_> = (0..8).map(|_| backoff.died(short, 3).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.died(Duration::from_secs(5), 15).as_millis(), 0);
        assert_eq!(backoff.died(Duration::from_secs(60), 0).as_millis(), 100, "it made nothing");
        assert_eq!(backoff.died(short, 3).as_millis(), 200);
    }

    #[test]
    fn only_lives_without_a_part_count_as_failures() {
        let mut backoff = Backoff::new(&Config::default());
        backoff.died(Duration::ZERO, 0);
        backoff.died(Duration::ZERO, 0);
        assert_eq!(backoff.failures(), 2);
        backoff.died(Duration::ZERO, 1);
        assert_eq!(backoff.failures(), 0);
    }
}
