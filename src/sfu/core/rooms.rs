//! Who is on stage, who is muted, who speaks, and how the ring hears of it.

use super::{Core, Output, Peer, RoomKey};
use crate::sfu::speaker::Speakers;
use crate::sfu::words::{Event, LeftWhy};
use crate::time::{HostTime, MediaKind, PersonId, RoomName, SourceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often the stage is told anew, for transcoders that begin to read in the middle.
const STAGE_EVERY_US: i64 = 1_000_000;

pub(super) struct Room {
    pub name: RoomName,
    pub publishers: BTreeMap<(PersonId, MediaKind), SourceId>,
    pub muted: BTreeSet<PersonId>,
    speakers: Speakers,
    stage: Option<(Arc<[u8]>, HostTime)>,
}

impl Room {
    /// How many people publish.
    pub fn people(&self) -> usize {
        let mut people: Vec<PersonId> = self.publishers.keys().map(|(person, _)| *person).collect();
        people.dedup(); // they are in order
        people.len()
    }

    /// Whether this person publishes anything.
    pub fn has(&self, person: PersonId) -> bool {
        self.publishers.keys().any(|(somebody, _)| *somebody == person)
    }

    pub fn stage_due(&self) -> Option<HostTime> {
        self.stage.as_ref().map(|(_, due)| *due)
    }

    pub fn remembered(&self) -> usize {
        self.publishers.len() + self.muted.len() + self.speakers.voices()
    }
}

impl Core {
    /// Opens a room for publishers. Open already, it keeps its key.
    pub fn open_room(&mut self, name: &RoomName) -> RoomKey {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = RoomKey(self.next_room);
        self.next_room = self.next_room.wrapping_add(1);
        self.by_name.insert(name.clone(), key);
        let room = Room {
            name: name.clone(),
            publishers: BTreeMap::new(),
            muted: BTreeSet::new(),
            speakers: Speakers::default(),
            stage: None,
        };
        self.rooms.insert(key, room);
        key
    }

    /// Closes a room and sends everybody in it away. Its key, if it was open.
    pub fn close_room(&mut self, now: HostTime, name: &RoomName) -> Option<RoomKey> {
        let key = self.by_name.remove(name)?;
        for publisher in self.publishers_of(key, |_| true) {
            self.end(now, publisher, LeftWhy::RoomClosed);
        }
        self.rooms.remove(&key);
        Some(key)
    }

    /// Sends everybody away.
    pub fn close_all(&mut self, now: HostTime) {
        let names: Vec<_> = self.by_name.keys().cloned().collect();
        for name in names {
            self.close_room(now, &name);
        }
    }

    /// Ends everything of a person in a room; says whether there was anything.
    pub fn send_away(&mut self, now: HostTime, room: &RoomName, person: PersonId) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let mut theirs = self.publishers_of(key, |somebody| somebody == person);
        // What they watch. Teachers send people away rarely, so there is no list of it.
        theirs.extend(self.peers.values().filter_map(|peer| match peer {
            Peer::Subscriber(viewer) if viewer.link.room == key && viewer.link.person == person => {
                Some(viewer.link.id)
            }
            _ => None,
        }));
        for id in &theirs {
            self.end(now, *id, LeftWhy::SentAway);
        }
        !theirs.is_empty()
    }

    /// Whether a person's sound is to be dropped, from now on and until the room is closed; says
    /// whether the room is open.
    pub fn mute(&mut self, room: &RoomName, person: PersonId, muted: bool) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let Some(room) = self.rooms.get_mut(&key) else { return false };
        if muted {
            room.muted.insert(person);
        } else {
            room.muted.remove(&person);
        }
        for id in self.publishers_of(key, |somebody| somebody == person) {
            if let Some(Peer::Publisher(publisher)) = self.peers.get_mut(&id) {
                publisher.muted = muted;
            }
        }
        true
    }

    /// Who is on stage, encoded: for the ring now and every second; says whether the room is open.
    pub fn set_stage(&mut self, now: HostTime, room: &RoomName, stage: Arc<[u8]>) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let Some(room) = self.rooms.get_mut(&key) else { return false };
        room.stage = Some((stage, now));
        self.tell_stage(now, key);
        true
    }

    /// Tells the ring who is on stage, if that is known.
    pub fn tell_stage(&mut self, now: HostTime, key: RoomKey) {
        let stage = self.rooms.get_mut(&key).and_then(|room| room.stage.as_mut());
        let Some((stage, due)) = stage else { return };
        *due = now.plus_micros(STAGE_EVERY_US);
        let stage = Arc::clone(stage);
        self.shared.outputs.push_back(Output::Stage { room: key, stage, at: now });
    }

    pub(super) fn tell_stages(&mut self, now: HostTime) {
        let due = |(key, room): (&RoomKey, &Room)| {
            room.stage_due().is_some_and(|due| due <= now).then_some(*key)
        };
        // Rooms are few, and this is once a turn, not once a packet.
        let rooms: Vec<RoomKey> = self.rooms.iter().filter_map(due).collect();
        for key in rooms {
            self.tell_stage(now, key);
        }
    }

    pub(super) fn publishers_of(
        &self,
        key: RoomKey,
        whose: impl Fn(PersonId) -> bool,
    ) -> Vec<SourceId> {
        let Some(room) = self.rooms.get(&key) else { return Vec::new() };
        let theirs = room.publishers.iter().filter(|((person, _), _)| whose(*person));
        theirs.map(|(_, id)| *id).collect()
    }

    /// A person's sound was as loud as `level`. A shared screen's sound is nobody's voice.
    pub(super) fn heard(&mut self, now: HostTime, id: SourceId, level: i8) {
        let Some(Peer::Publisher(publisher)) = self.peers.get(&id) else { return };
        if publisher.kind != MediaKind::Camera {
            return;
        }
        let person = publisher.link.person;
        let Some(room) = self.rooms.get_mut(&publisher.link.room) else { return };
        if let Some(speaker) = room.speakers.heard(now, person, level) {
            let event = Event::Speaking { room: room.name.clone(), person: Some(speaker) };
            self.shared.outputs.push_back(Output::Event(event));
        }
    }

    /// Nothing more is heard of a person.
    pub(super) fn silenced(&mut self, key: RoomKey, person: PersonId) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        if room.speakers.left(person) {
            let event = Event::Speaking { room: room.name.clone(), person: None };
            self.shared.outputs.push_back(Output::Event(event));
        }
    }
}
