//! The rooms' live classes, and who waits for them.
//!
//! A publisher swaps a room's snapshot and rings a bell in every shard (one a core, each on its own
//! single-threaded runtime). The shard's relay then wakes those of its own waiting requests whose point is
//! reached: waking within one thread costs a queue push, where waking across threads costs a system call
//! each. Requests for the same point share one gate however many they are; a request that goes away takes
//! its waker along.

use super::Config;
use super::figures;
use super::snapshot::Snapshot;
use crate::link::wire::{Part, Presentation};
use crate::package::window::{Point, Window, WindowError};
use crate::time::RoomName;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::Notify;

/// All live classes of the box. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: RwLock<HashMap<String, Arc<Channel>>>,
    shards: Box<[Arc<Shard>]>,
    max_waiting: usize,
    next_id: AtomicU64,
}

/// One class.
pub struct Channel {
    id: u64,
    current: RwLock<Published>,
    waiting: AtomicUsize,
    polls: AtomicU64,
    viewers: AtomicU64,
}

#[derive(Clone)]
struct Published {
    snapshot: Arc<Snapshot>,
    at: Instant,
}

/// The waiting requests of one runtime.
pub(crate) struct Shard {
    bell: Notify,
    state: Mutex<ShardState>,
}

#[derive(Default)]
struct ShardState {
    /// Classes with something new.
    news: Vec<Arc<Channel>>,
    /// Per class: the points somebody waits for, a handful.
    gates: HashMap<u64, Vec<Gate>>,
    next_waiter: u64,
}

struct Gate {
    point: Point,
    wakers: HashMap<u64, Waker>,
}

// A panic while one of these locks is held leaves nothing half done that the next holder relies on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random session id: 80 bits, as 20 hexadecimal digits.
pub fn new_session() -> String {
    let bytes: [u8; 10] = rand::random();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Hub {
    /// Without rooms. The number of shards is that of the server's threads.
    pub fn new(config: &Config) -> Self {
        let shard = |_| Arc::new(Shard { bell: Notify::new(), state: Mutex::default() });
        Self {
            inner: Arc::new(Inner {
                rooms: RwLock::default(),
                shards: (0..config.worker_count()).map(shard).collect(),
                max_waiting: config.max_waiting,
                next_id: AtomicU64::new(0),
            }),
        }
    }

    /// Opens a class in a room; one that was there before ends. `session` must never have been used,
    /// see [`new_session`]; `epoch_us` is the wall clock at media time zero, microseconds since 1970.
    ///
    /// # Errors
    /// The presentation breaks a rule.
    pub fn open(
        &self,
        room: &RoomName,
        presentation: Presentation,
        session: &str,
        epoch_us: i64,
        config: &crate::package::Config,
    ) -> Result<LivePublisher, WindowError> {
        let window = Window::new(presentation, session, epoch_us, config)?;
        let snapshot = Arc::new(Snapshot::new(window.clone()));
        let channel = Arc::new(Channel {
            id: self.inner.next_id.fetch_add(1, Relaxed),
            current: RwLock::new(Published { snapshot, at: Instant::now() }),
            waiting: AtomicUsize::new(0),
            polls: AtomicU64::new(0),
            viewers: AtomicU64::new(0),
        });
        let mut rooms = self.inner.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let before = rooms.insert(room.as_str().to_owned(), channel.clone());
        drop(rooms);
        if let Some(before) = before {
            self.end_channel(&before);
        }
        Ok(LivePublisher { hub: self.clone(), channel, window, polls: VecDeque::new() })
    }

    /// Takes a room's class off the air: its URLs are not found from now on.
    pub fn close(&self, room: &RoomName) {
        let mut rooms = self.inner.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let channel = rooms.remove(room.as_str());
        drop(rooms);
        if let Some(channel) = channel {
            self.end_channel(&channel);
        }
    }

    fn end_channel(&self, channel: &Arc<Channel>) {
        let mut window = channel.snapshot().window().clone();
        if !window.ended() {
            window.end();
            self.swap(channel, window);
        }
    }

    fn swap(&self, channel: &Arc<Channel>, window: Window) {
        let next = Published { snapshot: Arc::new(Snapshot::new(window)), at: Instant::now() };
        *channel.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        for shard in &self.inner.shards {
            let mut state = lock(&shard.state);
            if state.gates.contains_key(&channel.id)
                && !state.news.iter().any(|c| c.id == channel.id)
            {
                state.news.push(channel.clone());
            }
            drop(state);
            shard.bell.notify_one();
        }
    }

    /// A room's class, live or ended but not closed.
    pub fn channel(&self, room: &str) -> Option<Arc<Channel>> {
        self.inner.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// What is on the air in a room.
    pub fn live(&self, room: &RoomName) -> Option<Live> {
        let channel = self.channel(room.as_str())?;
        Some(Live {
            snapshot: channel.snapshot(),
            viewers: channel.viewers.load(Relaxed),
            waiting: channel.waiting(),
        })
    }

    pub(crate) fn shards(&self) -> &[Arc<Shard>] {
        &self.inner.shards
    }

    /// Waits on a shard's runtime until `point` is published or the class ends.
    ///
    /// # Errors
    /// As many requests as may wait for this class do.
    pub(crate) fn wait(
        &self,
        shard: &Arc<Shard>,
        channel: &Arc<Channel>,
        point: Point,
    ) -> Result<Wait, TooMany> {
        let waiting = channel.waiting.fetch_add(1, Relaxed);
        let wait = Wait { shard: shard.clone(), channel: channel.clone(), point, key: None };
        // Dropping it takes the count back.
        if waiting >= self.inner.max_waiting { Err(TooMany) } else { Ok(wait) }
    }
}

/// Too many requests wait already.
#[derive(Debug)]
pub(crate) struct TooMany;

/// What is on the air in a room.
#[derive(Clone, Debug)]
pub struct Live {
    /// The class as players see it now.
    pub snapshot: Arc<Snapshot>,
    /// Players at the live edge that ask this box itself: each asks once for each part of its pictures.
    pub viewers: u64,
    /// Requests that wait for the next part.
    pub waiting: usize,
}

impl Channel {
    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).snapshot.clone()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Counts a request for a playlist of pictures.
    pub(crate) fn polled(&self) {
        self.polls.fetch_add(1, Relaxed);
    }
}

/// Publishes a class. Dropping it ends the class.
pub struct LivePublisher {
    hub: Hub,
    channel: Arc<Channel>,
    window: Window,
    /// Playlist requests between parts, for the last segment's worth of parts.
    polls: VecDeque<u64>,
}

impl LivePublisher {
    /// Publishes the next part of all renditions, whose bytes are the part's mapped memory.
    ///
    /// # Errors
    /// The part breaks a rule. Nothing of it is published, and the class can go on with the right one.
    pub fn publish(&mut self, part: &Part, bytes: &Bytes) -> Result<(), WindowError> {
        self.window.publish(part, bytes)?;
        self.polls.push_back(self.channel.polls.swap(0, Relaxed));
        let span = self.window.geometry().parts_per_segment() as usize;
        self.polls.drain(..self.polls.len().saturating_sub(span));
        let total: u64 = self.polls.iter().sum();
        self.channel.viewers.store(total.div_ceil(self.polls.len().max(1) as u64), Relaxed);
        self.hub.swap(&self.channel, self.window.clone());
        Ok(())
    }

    /// Ends the class: playlists get their end tag and stay until the room is closed or opened again.
    pub fn end(&mut self) {
        if !self.window.ended() {
            self.window.end();
            self.channel.viewers.store(0, Relaxed);
            self.hub.swap(&self.channel, self.window.clone());
        }
    }

    /// The class as it is.
    pub fn window(&self) -> &Window {
        &self.window
    }
}

impl Drop for LivePublisher {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shard {
    /// Wakes this shard's requests as their points are reached; runs for ever on the shard's runtime.
    pub(crate) async fn relay(self: Arc<Self>) {
        let delay = metrics::histogram!(figures::WAKE_DELAY);
        let mut wakers = Vec::new();
        loop {
            self.bell.notified().await;
            let mut oldest: Option<Instant> = None;
            {
                let mut state = lock(&self.state);
                let state = &mut *state;
                for channel in state.news.drain(..) {
                    let current =
                        channel.current.read().unwrap_or_else(PoisonError::into_inner).clone();
                    let Some(gates) = state.gates.get_mut(&channel.id) else { continue };
                    let window = current.snapshot.window();
                    for gate in gates.extract_if(.., |gate| window.reached(gate.point)) {
                        wakers.extend(gate.wakers.into_values());
                    }
                    if gates.is_empty() {
                        state.gates.remove(&channel.id);
                    }
                    oldest = Some(oldest.map_or(current.at, |at| at.min(current.at)));
                }
            }
            let some = !wakers.is_empty();
            wakers.drain(..).for_each(Waker::wake);
            if let Some(at) = oldest.filter(|_| some) {
                delay.record(at.elapsed().as_secs_f64());
            }
        }
    }

    /// Requests that wait here.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let gates = state.gates.values().flatten();
        (gates.clone().count(), gates.map(|g| g.wakers.len()).sum())
    }
}

/// One request's wait for a point. Ends when the point is reached; dropping it leaves nothing behind.
pub(crate) struct Wait {
    shard: Arc<Shard>,
    channel: Arc<Channel>,
    point: Point,
    key: Option<u64>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.channel.snapshot().window().reached(this.point) {
            return Poll::Ready(());
        }
        {
            let mut state = lock(&this.shard.state);
            let state = &mut *state;
            let key = *this.key.get_or_insert_with(|| {
                state.next_waiter += 1;
                state.next_waiter
            });
            let gates = state.gates.entry(this.channel.id).or_default();
            let waker = cx.waker().clone();
            match gates.iter_mut().find(|gate| gate.point == this.point) {
                Some(gate) => {
                    gate.wakers.insert(key, waker);
                }
                None => {
                    gates.push(Gate { point: this.point, wakers: HashMap::from([(key, waker)]) })
                }
            }
        }
        // Published between the look and the registration: the relay may have run before it.
        if this.channel.snapshot().window().reached(this.point) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.channel.waiting.fetch_sub(1, Relaxed);
        let Some(key) = self.key else { return };
        let mut state = lock(&self.shard.state);
        let Some(gates) = state.gates.get_mut(&self.channel.id) else { return };
        if let Some(at) = gates.iter().position(|gate| gate.point == self.point)
            && let Some(gate) = gates.get_mut(at)
        {
            gate.wakers.remove(&key);
            if gate.wakers.is_empty() {
                gates.swap_remove(at);
            }
        }
        if gates.is_empty() {
            state.gates.remove(&self.channel.id);
        }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
