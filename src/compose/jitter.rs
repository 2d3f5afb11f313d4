//! One track's packets, back in order.
//!
//! A reorder buffer by extended sequence number. A packet leaves when all before it have left, or
//! when a hole in front of it has waited as long as a retransmission may take: then the hole is
//! reported as lost and the rest goes on. Holding packets back to smooth out network jitter is
//! *not* done here: pictures and sound wait for their place on the timeline instead, decoded, so
//! the decoder works as early as it can.

use crate::time::HostTime;
use std::collections::BTreeMap;

/// Bounds of one reorder buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a hole may hold up what came after it, microseconds. A retransmission takes one
    /// round trip and a bit; longer than the playout delay makes no sense.
    pub patience_us: i64,
    /// How long the very first packet waits, so that its reordered predecessors can come before it.
    pub settle_us: i64,
    /// Most packets held. When full, the oldest hole is given up at once.
    pub packets: usize,
}

impl Limits {
    /// Limits for a track whose output is composed `playout_delay_us` after its media time.
    pub fn for_delay(playout_delay_us: u32) -> Self {
        // Three fifths leaves the decoder and the composer the rest.
        Self { patience_us: i64::from(playout_delay_us) * 3 / 5, settle_us: 10_000, packets: 4096 }
    }
}

/// What became of a packet that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its turn.
    Held,
    /// It is there already.
    Duplicate,
    /// Its place was given up or has passed.
    Late,
}

/// What leaves the buffer, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released<T> {
    /// The next packet.
    Packet(T),
    /// This many packets never came; what follows comes after them.
    Lost(u64),
}

/// Sequence numbers further apart than this are no reordering: the sender started anew.
const RESTART: u64 = 16_384;

/// The reorder buffer. `T` is whatever travels with the packet.
#[derive(Debug)]
pub struct Jitter<T> {
    limits: Limits,
    /// Sequence number of the packet to release next; `None` before the first release.
    next: Option<u64>,
    held: BTreeMap<u64, (HostTime, T)>,
    /// Since when the hole at the front is known.
    hole_since: Option<HostTime>,
    lost: u64,
}

impl<T> Jitter<T> {
    /// An empty buffer.
    pub fn new(limits: Limits) -> Self {
        Self { limits, next: None, held: BTreeMap::new(), hole_since: None, lost: 0 }
    }

    /// Packets given up so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets held now.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes packet number `seq` in.
    pub fn push(&mut self, seq: u64, arrived: HostTime, packet: T) -> Pushed {
        if let Some(next) = self.next {
            if seq < next && next - seq < RESTART {
                return Pushed::Late;
            }
            if seq.abs_diff(next) >= RESTART {
                // Another numbering: what is still held of the old one is worth nothing.
                self.lost += self.held.len() as u64;
                self.held.clear();
                self.hole_since = None;
                self.next = None;
            }
        }
        if self.held.contains_key(&seq) {
            return Pushed::Duplicate;
        }
        self.held.insert(seq, (arrived, packet));
        Pushed::Held
    }

    /// The next thing that may leave at `now`, if any. Call until `None`.
    pub fn pop(&mut self, now: HostTime) -> Option<Released<T>> {
        let (&first, &(arrived, _)) = self.held.first_key_value()?;
        let full = self.held.len() > self.limits.packets;
        match self.next {
            Some(next) if next == first => {}
            Some(next) => {
                let since = *self.hole_since.get_or_insert(arrived);
                if now.since(since) < self.limits.patience_us && !full {
                    return None;
                }
                let missing = first.saturating_sub(next);
                self.hole_since = None;
                self.next = Some(first);
                self.lost += missing;
                return Some(Released::Lost(missing));
            }
            None if now.since(arrived) < self.limits.settle_us && !full => return None,
            None => {}
        }
        let (_, packet) = self.held.pop_first()?.1;
        self.hole_since = None;
        self.next = Some(first + 1);
        Some(Released::Packet(packet))
    }

    /// When [`pop`](Self::pop) has something at the latest, if nothing more arrives.
    pub fn deadline(&self) -> Option<HostTime> {
        let (&first, &(arrived, _)) = self.held.first_key_value()?;
        Some(match self.next {
            Some(next) if next == first => arrived,
            Some(_) => self.hole_since.unwrap_or(arrived).plus_micros(self.limits.patience_us),
            None => arrived.plus_micros(self.limits.settle_us),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { patience_us: 100_000, settle_us: 10_000, packets: 64 };

    fn at(ms: i64) -> HostTime {
        HostTime(ms * 1000)
    }

    fn drain(jitter: &mut Jitter<u64>, now: HostTime) -> Vec<Released<u64>> {
        std::iter::from_fn(|| jitter.pop(now)).collect()
    }

    #[test]
    fn packets_in_order_leave_at_once() {
        let mut jitter = Jitter::new(LIMITS);
        jitter.push(7, at(0), 7);
        assert_eq!(drain(&mut jitter, at(0)), [], "the first waits for reordered predecessors");
        assert_eq!(drain(&mut jitter, at(10)), [Released::Packet(7)]);
        for seq in 8..20 {
            jitter.push(seq, at(11), seq);
            assert_eq!(drain(&mut jitter, at(11)), [Released::Packet(seq)]);
        }
    }

    #[test]
    fn a_hole_waits_for_its_retransmission() {
        let mut jitter = Jitter::new(LIMITS);
        jitter.push(1, at(0), 1);
        drain(&mut jitter, at(10));
        jitter.push(3, at(20), 3);
        jitter.push(4, at(40), 4);
        assert_eq!(drain(&mut jitter, at(40)), []);
        assert_eq!(jitter.deadline(), Some(at(120)));
        jitter.push(2, at(90), 2);
        assert_eq!(
            drain(&mut jitter, at(90)),
            [Released::Packet(2), Released::Packet(3), Released::Packet(4)]
        );
        assert_eq!(jitter.lost(), 0);
    }

    #[test]
    fn a_hole_is_given_up_in_time_and_counted() {
        let mut jitter = Jitter::new(LIMITS);
        jitter.push(1, at(0), 1);
        drain(&mut jitter, at(10));
        jitter.push(4, at(20), 4);
        assert_eq!(drain(&mut jitter, at(119)), []);
        assert_eq!(drain(&mut jitter, at(120)), [Released::Lost(2), Released::Packet(4)]);
        assert_eq!(jitter.lost(), 2);
        assert_eq!(jitter.push(2, at(121), 2), Pushed::Late);
        assert_eq!(jitter.push(4, at(121), 4), Pushed::Late);
    }

    #[test]
    fn duplicates_are_dropped() {
        let mut jitter = Jitter::new(LIMITS);
        assert_eq!(jitter.push(1, at(0), 1), Pushed::Held);
        assert_eq!(jitter.push(1, at(0), 1), Pushed::Duplicate);
        assert_eq!(drain(&mut jitter, at(10)), [Released::Packet(1)]);
    }

    #[test]
    fn a_restarted_sender_is_followed() {
        let mut jitter = Jitter::new(LIMITS);
        jitter.push(1_000_000, at(0), 1);
        drain(&mut jitter, at(10));
        jitter.push(5, at(20), 2);
        assert_eq!(drain(&mut jitter, at(30)), [Released::Packet(2)]);
    }

    proptest! {
        /// Whatever the network does: order is kept, nothing comes twice, every packet that came in
        /// time leaves, the buffer stays within its bound.
        #[test]
        fn order_holds_under_any_network(
            fate in proptest::collection::vec((0u8..100, 0i64..60), 1..400),
        ) {
            let mut arrivals: Vec<(i64, u64)> = Vec::new();
            for (seq, &(dice, delay)) in fate.iter().enumerate() {
                let sent = seq as i64 * 5;
                if dice < 90 {
                    arrivals.push((sent + delay, seq as u64));
                }
                if dice < 10 {
                    arrivals.push((sent + delay + 3, seq as u64)); // a duplicate
                }
            }
            arrivals.sort();
            let mut jitter = Jitter::new(LIMITS);
            let mut out = Vec::new();
            let mut lost = 0;
            let mut late = 0;
            for &(ms, seq) in &arrivals {
                if jitter.push(seq, at(ms), seq) == Pushed::Late { late += 1; }
                prop_assert!(jitter.len() <= LIMITS.packets + 1);
                for released in drain(&mut jitter, at(ms)) {
                    match released { Released::Packet(seq) => out.push(seq), Released::Lost(n) => lost += n }
                }
            }
            for released in drain(&mut jitter, at(1_000_000)) {
                match released { Released::Packet(seq) => out.push(seq), Released::Lost(n) => lost += n }
            }
            prop_assert!(out.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(jitter.is_empty());
            if let (Some(&first), Some(&last)) = (out.first(), out.last()) {
                prop_assert_eq!(last - first + 1, out.len() as u64 + lost);
            }
            // Delays stay below the patience, so only what came before the first release may be late.
            prop_assert!(out.len() as u64 + late >= fate.iter().filter(|f| f.0 < 90).count() as u64);
        }
    }
}
