//! Whether a transcoder hangs. Pure.
//!
//! From its first part on a transcoder makes parts whatever its input does: the last picture and
//! silence when nothing comes. So silence after that is a hang, with or without news in the ring.
//! Before its first part it may wait for something it can decode, but not for ever while packets
//! come in.

use super::Config;
use crate::time::HostTime;

/// Watches one transcoder.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    first_us: i64,
    next_us: i64,
    /// Whether the ring is still without a record, and nothing was made without one.
    empty: bool,
    /// When it last gave a sign of life, or got its first input.
    since: HostTime,
    parts: u64,
    ended: bool,
}

impl Watch {
    /// A transcoder starts at `now`, with the ring's head at `head`: 0 is a ring that was never written to.
    pub(super) fn new(config: &Config, head: u64, now: HostTime) -> Self {
        let (first_us, next_us) = (config.first_part.as_micros(), config.next_part.as_micros());
        Self { first_us, next_us, empty: head == 0, since: now, parts: 0, ended: false }
    }

    /// A part came.
    pub(super) fn part(&mut self, now: HostTime) {
        (self.parts, self.since, self.empty) = (self.parts + 1, now, false);
    }

    /// Parts so far.
    pub(super) fn parts(&self) -> u64 {
        self.parts
    }

    /// It is not expected to make anything: the daemon itself did not listen, or has told it to stop.
    pub(super) fn excuse(&mut self, now: HostTime) {
        self.since = now;
    }

    /// It said that it has ended.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }

    /// Whether it said so.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Why it must be killed at `now`, with the ring's head at `head`.
    pub(super) fn verdict(&mut self, head: u64, now: HostTime) -> Option<String> {
        if self.empty {
            (self.empty, self.since) = (head == 0, now);
            return None;
        }
        let patience = if self.parts == 0 { self.first_us } else { self.next_us };
        let silent = now.since(self.since);
        let after = if self.parts == 0 { "first input" } else { "last part" };
        (silent >= patience)
            .then(|| format!("no part {:.1} s after its {after}", silent as f64 / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> HostTime {
        HostTime(seconds * SECOND)
    }

    #[test]
    fn an_empty_room_is_no_hang() {
        let mut watch = Watch::new(&Config::default(), 0, at(0));
        assert_eq!(watch.verdict(0, at(3600)), None);
        assert_eq!(watch.verdict(100, at(3600)), None);
        assert_eq!(watch.verdict(200, at(3614)), None);
        assert_eq!(
            watch.verdict(200, at(3615)),
            Some("no part 15.0 s after its first input".into())
        );
    }

    #[test]
    fn a_part_without_any_input_starts_the_clock_too() {
        let mut watch = Watch::new(&Config::default(), 0, at(0));
        watch.part(at(1));
        assert_eq!(watch.verdict(0, at(4)), None);
        assert!(watch.verdict(0, at(5)).is_some());
    }

    #[test]
    fn after_the_first_part_silence_is_a_hang_even_without_input() {
        let mut watch = Watch::new(&Config::default(), 500, at(0));
        watch.part(at(10));
        assert_eq!(watch.verdict(500, at(13)), None);
        watch.part(at(13));
        assert_eq!(watch.verdict(500, at(16)), None);
        assert_eq!(watch.verdict(500, at(17)), Some("no part 4.0 s after its last part".into()));
        watch.excuse(at(17));
        assert_eq!(watch.verdict(500, at(20)), None);
    }
}
