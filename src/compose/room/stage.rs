//! Who is on stage, what of them is seen and heard, and how one arrangement becomes the next.
//!
//! While nobody has told who is on stage, the source that came last has the canvas and all are heard.

use super::feed::Feed;
use crate::compose::motion::{Director, Moving};
use crate::compose::scene::{self, Pictures, Scene, cover};
use crate::link::wire::{self, Composed, Shown, Stage};
use crate::time::{HostTime, SourceId, TrackId};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct OnStage {
    canvas: (u32, u32),
    /// In force since the last frame.
    stage: Stage,
    /// In force from the next frame on.
    next: Option<Stage>,
    /// Told last: in force for sound, of which some is mixed again that a predecessor gave out.
    heard: Option<Stage>,
    /// What was told before is in `stage` already.
    since: HostTime,
    /// What a predecessor decoded, until the first frame.
    inherited: Vec<Shown>,
    director: Director,
    /// What the scene was made of; `None` when it must be made anew.
    pictures: Option<Pictures>,
    composed: Arc<Composed>,
}

impl OnStage {
    pub fn new(fps: u32, canvas: (u32, u32), stage: Stage) -> Self {
        Self {
            canvas,
            stage,
            next: None,
            heard: None,
            since: HostTime(i64::MIN),
            inherited: Vec::new(),
            director: Director::new(fps),
            pictures: None,
            composed: Arc::default(),
        }
    }

    /// As a predecessor left it at the frame that was due at `since`.
    pub fn resume(fps: u32, canvas: (u32, u32), composed: &Composed, since: HostTime) -> Self {
        Self {
            since,
            inherited: composed.shown.clone(),
            director: Director::resume(fps, composed.motion.as_ref()),
            composed: Arc::new(composed.clone()),
            ..Self::new(fps, canvas, composed.stage.clone())
        }
    }

    /// The stage is told.
    pub fn on_record(&mut self, arrived: HostTime, payload: &[u8]) {
        let stage = match wire::decode::<Stage>(payload) {
            Ok(stage) => stage,
            Err(error) => {
                tracing::warn!(%error, "what the ring says of the stage cannot be read");
                return;
            }
        };
        // What came before the frame that the stage was handed on with was in force there.
        if arrived >= self.since {
            self.next = Some(stage.clone()).filter(|stage| *stage != self.stage);
        }
        self.heard = Some(stage);
    }

    /// If a predecessor decoded this stream: since when that was more than needed.
    pub fn inherited(&self, track: TrackId) -> Option<Option<u64>> {
        let shown = self.inherited.iter().find(|shown| shown.track == track)?;
        Some(shown.idle_since)
    }

    /// Whether the next frame is the first after a predecessor's.
    pub fn takes_over(&self) -> bool {
        self.since > HostTime(i64::MIN) && self.pictures.is_none()
    }

    /// Whether the sound of `source` is to be heard.
    pub fn hears(&self, source: SourceId) -> bool {
        let stage = self.heard.as_ref().unwrap_or(&self.stage);
        let heard = |seat: &wire::Seat| {
            !seat.muted && (seat.camera == Some(source) || seat.screen == Some(source))
        };
        stage.seats.is_empty() || stage.seats.iter().any(heard)
    }

    /// Who has the canvas while nobody has told who is on stage: the source with the newest stream, one that left
    /// only if there is no other.
    pub fn alone(&self, feeds: &BTreeMap<SourceId, Feed>) -> Option<SourceId> {
        if !self.stage.seats.is_empty() {
            return None;
        }
        let seen = feeds.iter().filter(|(_, feed)| feed.picture().is_some());
        let newest = seen.max_by_key(|(_, feed)| (feed.gone.is_none(), feed.newest()));
        newest.or_else(|| feeds.iter().next_back()).map(|(source, _)| *source)
    }

    /// Decides what frame `number` shows. Whether that is not what the frame before showed; tiles on their way aside.
    pub fn direct(&mut self, number: u64, feeds: &BTreeMap<SourceId, Feed>) -> bool {
        self.director.settle(number);
        self.inherited.clear();
        let size = |feed: &Feed| feed.picture().map(|(picture, _)| picture.size());
        let pictures: Pictures =
            feeds.iter().filter_map(|(source, feed)| Some((*source, size(feed)?))).collect();
        let mut changed = false;
        if self.pictures.as_ref() != Some(&pictures) || self.stage.seats.is_empty() {
            changed |= self.set_scene(number, feeds, &pictures);
        }
        if let Some(next) = self.next.take() {
            self.stage = next;
            changed |= self.set_scene(number, feeds, &pictures);
        }
        self.pictures = Some(pictures);
        changed
    }

    fn set_scene(
        &mut self,
        number: u64,
        feeds: &BTreeMap<SourceId, Feed>,
        pictures: &Pictures,
    ) -> bool {
        let cut = self.stage.seats.is_empty();
        let scene = match cut {
            true => {
                let source = self.alone(feeds);
                let size = source.and_then(|source| pictures.get(&source));
                source.zip(size).map(|(source, size)| scene::alone(source, *size, self.canvas))
            }
            false => Some(scene::of(&self.stage, pictures, self.canvas)),
        };
        // With nobody there, what was seen last stays.
        match scene.filter(|scene: &Scene| !scene.tiles.is_empty()) {
            Some(scene) => self.director.show(number, scene, cut),
            None => false,
        }
    }

    /// With how many rows the pictures of `source` are seen; `None` if not at all.
    pub fn rows(&self, source: SourceId, feed: &Feed) -> Option<u32> {
        if self.stage.seats.is_empty() {
            // All keep up with the time, so that the next one is there at once.
            return Some(self.canvas.1);
        }
        let tile = self.director.scene().tiles.iter().find(|tile| tile.source == source);
        let size = feed.picture().map(|(picture, _)| picture.size());
        let rows = tile.map(|tile| match size {
            Some(size) => cover(size, tile.rect.size()).1,
            None => tile.rect.height,
        });
        // Whoever is on stage and was never seen must be, once, to be considered at all.
        let seats = || self.stage.seats.iter().flat_map(|seat| [seat.camera, seat.screen]);
        rows.or_else(|| (size.is_none() && seats().any(|own| own == Some(source))).then_some(1))
    }

    pub fn tiles(&self, number: u64) -> impl Iterator<Item = Moving<'_>> {
        self.director.tiles(number)
    }

    pub fn moving(&self, number: u64) -> bool {
        self.director.moving(number)
    }

    /// How the present frame is composed, if otherwise than the one before; `shown` is what is decoded.
    pub fn composed(&mut self, shown: impl Iterator<Item = Shown>) -> Option<Arc<Composed>> {
        let (shown, motion): (Vec<Shown>, _) = (shown.collect(), self.director.motion());
        let same = self.composed.shown == shown
            && self.composed.motion == motion
            && self.composed.stage == self.stage;
        if same {
            return None;
        }
        self.composed = Arc::new(Composed { stage: self.stage.clone(), shown, motion });
        Some(Arc::clone(&self.composed))
    }
}
