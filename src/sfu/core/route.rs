//! From one connection to the ring and to the other connections.
//!
//! A publisher's packets are gathered while datagrams come in. Then each of its subscribers in
//! turn gets the whole batch, so that what goes to one peer leaves in one run (the driver sends it
//! by GSO), and what waits to be sent is one subscriber's share.

use super::{Core, Output, Peer};
use crate::sfu::connection::{Notice, Over};
use crate::sfu::publisher::Forward;
use crate::sfu::words::Event;
use crate::time::{HostTime, SourceId, TrackId};
use std::collections::VecDeque;

/// Who is to be served with what.
#[derive(Default)]
pub(super) struct Fan {
    /// Publishers with packets for their subscribers.
    ready: VecDeque<SourceId>,
    batch: Vec<Forward>,
    /// Those the batch is still to be given to.
    to: Vec<SourceId>,
}

impl Fan {
    pub fn waiting(&self) -> usize {
        self.ready.len() + self.batch.len() + self.to.len()
    }
}

impl Core {
    /// Serves one subscriber; says whether there may be more to do.
    pub(super) fn forward(&mut self) -> bool {
        if let Some(id) = self.fan.to.pop() {
            let now = self.now;
            if let Some(Peer::Subscriber(subscriber)) = self.peers.get_mut(&id) {
                let outcome = subscriber.forward(&mut self.shared, now, &self.fan.batch);
                self.settle(now, id, outcome);
            }
            return true;
        }
        self.fan.batch.clear();
        let Some(id) = self.fan.ready.pop_front() else { return false };
        if let Some(Peer::Publisher(publisher)) = self.peers.get_mut(&id) {
            std::mem::swap(&mut self.fan.batch, &mut publisher.batch);
            self.fan.to.extend_from_slice(&publisher.subscribers);
        }
        true
    }

    /// After something was done with a peer: hears what it has to say, sets its alarm, ends it.
    pub(super) fn settle(&mut self, now: HostTime, id: SourceId, outcome: Result<(), Over>) {
        self.listen(now, id);
        if let Err(Over(why)) = outcome {
            self.end(now, id, why);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Peer::Publisher(publisher) = peer
            && !publisher.batch.is_empty()
            && !self.fan.ready.contains(&id)
        {
            self.fan.ready.push_back(id);
        }
        // Never for now: what rings now would ring for ever.
        let due = peer.due(&self.shared).max(now.plus_micros(1));
        self.timers.arm(id, &mut peer.link_mut().alarm, due);
    }

    /// Takes notice of what a peer said.
    pub(super) fn listen(&mut self, now: HostTime, id: SourceId) {
        let mut at = 0;
        // By index: what is done about one may put more behind it.
        while at < self.shared.notices.len() {
            let notice = std::mem::replace(&mut self.shared.notices[at], Notice::Connected);
            at += 1;
            match notice {
                Notice::Connected => self.connected(now, id),
                Notice::FirstPacket { track, codec } => {
                    self.by_track.insert(track, id);
                    let room = self.peers.get(&id).and_then(|p| self.rooms.get(&p.link().room));
                    if let Some(room) = room {
                        let room = room.name.clone();
                        let event = Event::FirstPacket { room, source: id, track, codec };
                        self.shared.outputs.push_back(Output::Event(event));
                    }
                }
                Notice::Heard(level) => self.heard(now, id, level),
                Notice::Layers => self.layers_changed(now, id),
                Notice::KeyframeWanted(track) => self.want_keyframe(now, track),
                Notice::Budget => self.consider(now, id),
            }
        }
        self.shared.notices.clear();
    }

    fn connected(&mut self, now: HostTime, id: SourceId) {
        match self.peers.get(&id) {
            Some(Peer::Publisher(publisher)) => {
                if let Some(room) = self.rooms.get(&publisher.link.room) {
                    let room = room.name.clone();
                    let event = Event::Connected { room, source: id };
                    self.shared.outputs.push_back(Output::Event(event));
                }
            }
            Some(Peer::Subscriber(_)) => self.consider(now, id),
            None => {}
        }
    }

    fn layers_changed(&mut self, now: HostTime, id: SourceId) {
        let Some(Peer::Publisher(publisher)) = self.peers.get(&id) else { return };
        for subscriber in publisher.subscribers.clone() {
            self.consider(now, subscriber);
        }
    }

    /// Lets a subscriber choose its layer.
    pub(super) fn consider(&mut self, now: HostTime, id: SourceId) {
        let Some(Peer::Subscriber(subscriber)) = self.peers.get(&id) else { return };
        let Some(Peer::Publisher(publisher)) = self.peers.get(&subscriber.source) else { return };
        // At most four of 32 bytes: cheaper than a second lookup's borrow.
        let layers = publisher.layers().to_vec();
        let Some(Peer::Subscriber(subscriber)) = self.peers.get_mut(&id) else { return };
        if let Some(track) = subscriber.consider(now, &layers) {
            self.want_keyframe(now, track);
        }
    }

    /// Somebody needs a key frame of this track: its publisher is asked, as soon as it may be.
    pub(super) fn want_keyframe(&mut self, now: HostTime, track: TrackId) {
        let Some(id) = self.by_track.get(&track).copied() else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Peer::Publisher(publisher) = peer else { return };
        publisher.want_keyframe(track, now);
        let due = peer.due(&self.shared);
        self.timers.arm(id, &mut peer.link_mut().alarm, due);
    }
}
