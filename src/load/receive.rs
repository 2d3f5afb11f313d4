//! One stream as it arrives: what came, what is missing, what to ask for again.

use std::collections::VecDeque;
use std::time::Duration;

/// Missing packets remembered a stream; of more, the oldest count as lost.
const MISSING: usize = 512;
/// A packet is asked for when it is missing this long: it may only have been overtaken.
const PATIENCE: Duration = Duration::from_millis(10);
/// ... again after this, and then after twice the wait each time: a server that is behind is not
/// helped by being asked more.
const AGAIN: Duration = Duration::from_millis(60);
/// ... so many times in all.
const ASKS: u32 = 4;
/// A packet that does not come within this time is lost: no decoder waits longer.
const LOST_AFTER: Duration = Duration::from_millis(1000);
/// A jump of more than this is a new beginning, not a loss.
const JUMP: i64 = 3000;

/// Time since the driver began.
pub(super) type Since = Duration;

/// Counts of one stream, or of many together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets that came, each once.
    pub(super) received: u64,
    /// Of those, the ones that came only after they were asked for or overtaken.
    pub(super) late: u64,
    /// Packets that never came.
    pub(super) lost: u64,
    /// Packets that came twice.
    pub(super) doubled: u64,
    /// Requests for packets sent (RFC 4585 NACK), a packet each.
    pub(super) asked: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.late += other.late;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.asked += other.asked;
    }
}

/// A stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    newest: Option<i64>,
    missing: VecDeque<Missing>,
    /// Since the last report (RFC 3550, 6.4.1): expected and received.
    interval: (u64, u64),
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Missing {
    sequence: i64,
    since: Since,
    asks: u32,
    /// When it is asked for next.
    next: Since,
}

impl Stream {
    /// A packet arrived. Returns whether something is missing now that was not before.
    pub(super) fn arrived(&mut self, sequence: u16, now: Since) -> bool {
        let Some(newest) = self.newest else {
            self.newest = Some(i64::from(sequence));
            self.came();
            return false;
        };
        let step = i64::from(sequence.wrapping_sub(newest as u16) as i16);
        if !(-JUMP..=JUMP).contains(&step) {
            // The server began anew; what was missing of the old stream will not come.
            self.counts.lost += self.missing.len() as u64;
            self.missing.clear();
            self.newest = Some(newest + step);
            self.came();
            return false;
        }
        if step <= 0 {
            self.came_late(newest + step);
            return false;
        }
        for sequence in newest + 1..newest + step {
            if self.missing.len() >= MISSING {
                self.missing.pop_front();
                self.counts.lost += 1;
            }
            let next = now + PATIENCE;
            self.missing.push_back(Missing { sequence, since: now, asks: 0, next });
        }
        self.newest = Some(newest + step);
        self.interval.0 += step as u64 - 1;
        self.came();
        step > 1
    }

    /// A packet came as a retransmission under its own sequence number (RFC 4588).
    pub(super) fn repaired(&mut self, sequence: u16) {
        if let Some(newest) = self.newest {
            self.came_late(newest + i64::from(sequence.wrapping_sub(newest as u16) as i16));
        }
    }

    fn came(&mut self) {
        self.counts.received += 1;
        self.interval.0 += 1;
        self.interval.1 += 1;
    }

    fn came_late(&mut self, sequence: i64) {
        match self.missing.iter().position(|missing| missing.sequence == sequence) {
            Some(at) => {
                self.missing.remove(at);
                self.counts.received += 1;
                self.counts.late += 1;
                self.interval.1 += 1;
            }
            None => self.counts.doubled += 1,
        }
    }

    /// Sequence numbers to ask for now; gives up those that are too old.
    pub(super) fn wanted(&mut self, now: Since, out: &mut Vec<u16>) {
        while self.missing.front().is_some_and(|m| now.saturating_sub(m.since) > LOST_AFTER) {
            self.missing.pop_front();
            self.counts.lost += 1;
        }
        for missing in &mut self.missing {
            if missing.asks < ASKS && now >= missing.next {
                missing.next = now + AGAIN * (1 << missing.asks);
                missing.asks += 1;
                self.counts.asked += 1;
                out.push(missing.sequence as u16);
            }
        }
    }

    /// Whether anything is missing.
    pub(super) fn incomplete(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The highest sequence number with its cycles, and the share lost since the last call in
    /// 256ths, as a receiver report says it; nothing before the first packet.
    pub(super) fn report(&mut self) -> Option<(u32, u8)> {
        let newest = self.newest?;
        let (expected, received) = std::mem::take(&mut self.interval);
        let lost = expected.saturating_sub(received);
        let share = (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8;
        Some((newest as u32, share))
    }

    /// What was counted, with everything still missing counted as lost.
    pub(super) fn end(&self) -> Counts {
        Counts { lost: self.counts.lost + self.missing.len() as u64, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Since {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_hole_is_asked_for_filled_and_counted_once() {
        let mut stream = Stream::default();
        let mut wanted = Vec::new();
        assert!(!stream.arrived(65_534, ms(0)));
        assert!(stream.arrived(2, ms(1)), "65535, 0 and 1 are missing");
        stream.wanted(ms(5), &mut wanted);
        assert!(wanted.is_empty(), "they may have been overtaken");
        stream.wanted(ms(12), &mut wanted);
        assert_eq!(wanted, [65_535, 0, 1]);
        stream.repaired(0);
        stream.arrived(65_535, ms(20));
        stream.repaired(0);
        wanted.clear();
        stream.wanted(ms(80), &mut wanted);
        assert_eq!(wanted, [1]);
        stream.wanted(ms(2000), &mut wanted);
        let counts = Counts { received: 4, late: 2, lost: 1, doubled: 1, asked: 4 };
        assert_eq!(stream.end(), counts);
        assert!(!stream.incomplete());
    }

    #[test]
    fn a_new_beginning_is_no_loss_and_a_report_says_the_share() {
        let mut stream = Stream::default();
        for sequence in [10, 11, 13, 14] {
            stream.arrived(sequence, ms(0));
        }
        assert_eq!(stream.report(), Some((14, 51)), "one of five");
        stream.arrived(30_000, ms(1));
        assert_eq!(stream.end().lost, 1);
        assert_eq!(stream.report(), Some((30_000, 0)));
    }

    proptest! {
        #[test]
        fn whatever_order_they_come_in_nothing_is_counted_twice(
            mut order in proptest::collection::vec(0u16..200, 1..300), start: u16
        ) {
            order.insert(0, 0);
            let mut stream = Stream::default();
            for (at, offset) in order.iter().enumerate() {
                stream.arrived(start.wrapping_add(*offset), ms(at as u64));
            }
            let distinct: std::collections::BTreeSet<u16> = order.iter().copied().collect();
            let highest = u64::from(distinct.last().copied().unwrap_or(0)) + 1;
            let counts = stream.end();
            prop_assert_eq!(counts.received, distinct.len() as u64);
            prop_assert_eq!(counts.received + counts.lost, highest);
            prop_assert_eq!(counts.received + counts.doubled, order.len() as u64);
        }
    }
}
