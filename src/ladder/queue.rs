//! A bounded queue between two threads whose waits all end: full or empty, a wait has a deadline.
//! The standard library's channel cannot wait for room with one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    taken: u64,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

/// Both ends of the queue; clones are the same queue.
pub(super) struct Queue<T>(Arc<Shared<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Why an item was not taken.
#[derive(Debug)]
pub(super) enum Refused<T> {
    /// No room within the time given; when it is full, the item comes back and the caller decides.
    Full(T),
    /// Closed.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), closed: false, taken: 0 };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self(Arc::new(Shared { state, changed, capacity: capacity.max(1) }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        guard: MutexGuard<'a, State<T>>,
        until: Instant,
    ) -> MutexGuard<'a, State<T>> {
        let left = until.saturating_duration_since(Instant::now());
        self.0.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Adds an item, waiting for room at most `patience`.
    pub(super) fn push(&self, item: T, patience: Duration) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if state.items.len() >= self.0.capacity && !state.closed && !patience.is_zero() {
            let until = Instant::now() + patience;
            while state.items.len() >= self.0.capacity && !state.closed && Instant::now() < until {
                state = self.wait(state, until);
            }
        }
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.items.len() >= self.0.capacity {
            return Err(Refused::Full(item));
        }
        state.items.push_back(item);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Takes the oldest item; `None` when the queue is closed and empty, or after `patience`.
    pub(super) fn pop(&self, patience: Duration) -> Option<T> {
        let mut state = self.lock();
        let until = Instant::now() + patience;
        while state.items.is_empty() && !state.closed && Instant::now() < until {
            state = self.wait(state, until);
        }
        let item = state.items.pop_front();
        state.taken += u64::from(item.is_some());
        drop(state);
        if item.is_some() {
            self.0.changed.notify_all();
        }
        item
    }

    /// Nothing more goes in; what is inside can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_all();
    }

    /// Nothing more goes in, and what is inside is thrown away; how much that was.
    pub(super) fn abort(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.items);
        drop(state);
        self.0.changed.notify_all();
        dropped.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Items taken out so far.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_full_queue_gives_the_item_back_and_takes_it_when_there_is_room() {
        let queue = Queue::new(2);
        queue.push(1, SOON).unwrap();
        queue.push(2, SOON).unwrap();
        assert!(matches!(queue.push(3, SOON), Err(Refused::Full(3))));
        let other = queue.clone();
        let taker = std::thread::spawn(move || other.pop(LATE));
        queue.push(3, LATE).unwrap();
        assert_eq!(taker.join().unwrap(), Some(1));
        assert_eq!((queue.len(), queue.taken()), (2, 1));
    }

    #[test]
    fn closing_wakes_both_ends_and_keeps_what_is_inside() {
        let queue = Queue::<u8>::new(1);
        let other = queue.clone();
        let taker = std::thread::spawn(move || other.pop(LATE));
        queue.close();
        assert_eq!(taker.join().unwrap(), None);
        assert!(matches!(queue.push(1, LATE), Err(Refused::Closed)));

        let queue = Queue::new(4);
        queue.push(7, SOON).unwrap();
        queue.close();
        assert_eq!((queue.pop(LATE), queue.pop(LATE)), (Some(7), None));

        let queue = Queue::new(4);
        queue.push(7, SOON).unwrap();
        assert_eq!((queue.abort(), queue.pop(LATE), queue.is_closed()), (1, None, true));
    }
}
