//! When which peer is next due: a heap, so that a turn costs what is due and not what is there.

use crate::time::{HostTime, SourceId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// "Not in the heap."
pub(in crate::sfu) const NEVER: HostTime = HostTime(i64::MAX);

/// Peers by the time they are due.
///
/// A peer remembers the earliest entry it has here (its alarm). An alarm is only ever brought
/// forward; one that rings too early is set again, one that was overtaken is dropped when it comes
/// up. So most changes of a peer's time, which are for later, cost nothing.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(HostTime, SourceId)>>,
}

impl Timers {
    /// Brings the alarm forward to `due`, if it is later.
    pub fn arm(&mut self, id: SourceId, alarm: &mut HostTime, due: HostTime) {
        if due < *alarm {
            *alarm = due;
            self.heap.push(Reverse((due, id)));
        }
    }

    /// The next alarm, which may have been overtaken.
    pub fn next(&self) -> Option<HostTime> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the next entry if it is not after `now`.
    pub fn ring(&mut self, now: HostTime) -> Option<(HostTime, SourceId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
