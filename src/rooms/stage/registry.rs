//! All rooms' stages, for the API and the daemon. A stage is locked for as long as one question takes:
//! microseconds, so a plain mutex does, also on the threads that serve players.

use super::view::Orders;
use super::{Config, Stage};
use crate::time::{HostTime, RoomName};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Every configured room's stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stages {
    slots: Arc<BTreeMap<RoomName, Slot>>,
    change: Arc<Notify>,
}

#[derive(Debug)]
struct Slot {
    kept: Mutex<Kept>,
    dirty: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    stage: Stage,
    /// The public JSON of one version: a thousand viewers ask for the same a second.
    shown: Option<(u64, Shown)>,
}

/// A body and its entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// With its quotes.
    pub etag: String,
    /// JSON.
    pub body: Bytes,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked inside left a stage that is whole: every step of it keeps its rules.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stages {
    /// Empty stages for `rooms`, each with places for `capacity` people.
    pub fn new(
        rooms: impl IntoIterator<Item = RoomName>,
        config: &Config,
        capacity: usize,
    ) -> Self {
        let config = Arc::new(config.clone());
        let slot = |room| {
            let stage = Stage::new(config.clone(), capacity, rand::random());
            let kept = Mutex::new(Kept { stage, shown: None });
            (room, Slot { kept, dirty: AtomicBool::new(false) })
        };
        let slots = rooms.into_iter().map(slot).collect();
        Self { slots: Arc::new(slots), change: Arc::new(Notify::new()) }
    }

    /// Asks or changes the stage of `room`, as it is at `now`; `None` for a room that is not configured.
    pub fn with<T>(
        &self,
        room: &RoomName,
        now: HostTime,
        ask: impl FnOnce(&mut Stage) -> T,
    ) -> Option<T> {
        let slot = self.slots.get(room)?;
        let (answer, changed) = {
            let mut kept = slot.lock();
            let before = kept.stage.version();
            kept.stage.tick(now);
            let answer = ask(&mut kept.stage);
            (answer, kept.stage.version() != before)
        };
        if changed {
            slot.dirty.store(true, Ordering::Release);
            self.change.notify_one();
        }
        Some(answer)
    }

    /// What everybody may know of `room`, as JSON.
    pub fn shown(&self, room: &RoomName, now: HostTime) -> Option<Shown> {
        self.with(room, now, |_| ())?;
        let mut kept = self.slots.get(room)?.lock();
        let (tag, version) = kept.stage.tag();
        if let Some((of, shown)) = &kept.shown
            && *of == version
        {
            return Some(shown.clone());
        }
        // Texts, numbers and lists always serialize.
        let body = serde_json::to_vec(&kept.stage.public()).unwrap_or_default();
        let shown = Shown { etag: format!("\"{tag:08x}-{version}\""), body: body.into() };
        kept.shown = Some((version, shown.clone()));
        Some(shown)
    }

    /// What the SFU must be told about `room`: see [`Stage::orders`].
    pub fn orders(&self, room: &RoomName) -> Option<Orders> {
        self.slots.get(room)?.lock().stage.orders()
    }

    /// Waits until something has changed, and says in which rooms. What changes while nobody waits is
    /// said at the next call; for one listener.
    pub async fn changed(&self) -> Vec<RoomName> {
        loop {
            let dirty =
                self.slots.iter().filter(|(_, slot)| slot.dirty.swap(false, Ordering::AcqRel));
            let dirty: Vec<RoomName> = dirty.map(|(room, _)| room.clone()).collect();
            if !dirty.is_empty() {
                return dirty;
            }
            self.change.notified().await;
        }
    }

    /// Lets time pass in all rooms.
    pub fn tick(&self, now: HostTime) {
        for room in self.slots.keys() {
            self.with(room, now, |_| ());
        }
    }

    /// How many people are on stage in `room`, and how many hands are up.
    pub fn count(&self, room: &RoomName) -> (usize, usize) {
        self.slots.get(room).map_or((0, 0), |slot| slot.lock().stage.counts())
    }

    /// The same for all rooms.
    pub fn counts(&self) -> impl Iterator<Item = (&RoomName, (usize, usize))> {
        self.slots.iter().map(|(room, slot)| (room, slot.lock().stage.counts()))
    }
}
