//! What goes out about the stage.

use super::{Phase, Refusal, Stage, Who, shown};
use crate::link::wire::{self, Layout, MAX_SEATS, Seat};
use crate::time::{HostTime, PersonId};
use serde::Serialize;
use std::collections::BTreeSet;

/// What everybody may know, and a cache may keep for a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Public {
    /// Counts up with every change.
    pub version: u64,
    /// Whether a class is being shown.
    pub live: bool,
    /// Whether the teacher takes nobody up for now.
    pub locked: bool,
    /// How the picture is laid out.
    pub layout: Layout,
    /// Who is seen large, whoever speaks.
    pub pinned: Option<PersonId>,
    /// Who speaks.
    pub speaker: Option<PersonId>,
    /// Who has a place on stage, in the order in which they came.
    pub people: Vec<OnStage>,
    /// Who was called up and has not answered.
    pub invited: Vec<PersonId>,
    /// How many hands are up.
    pub hands: usize,
    /// The chat.
    pub chat: ChatState,
}

/// One person on stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnStage {
    /// Who.
    pub id: PersonId,
    /// What people see; may be empty.
    pub name: String,
    /// `teacher` or `speaker`.
    pub role: &'static str,
    /// Whether camera or microphone are connected.
    pub camera: bool,
    /// Whether a screen is shared.
    pub screen: bool,
    /// Whether the microphone is closed.
    pub muted: bool,
}

/// What the chat is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatState {
    /// The newest change.
    pub last: u64,
    /// Seconds between two messages of one person; 0 without slow mode.
    pub slow_s: u64,
    /// Whether others than the teacher may write.
    pub open: bool,
}

/// A raised hand, for teachers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hand {
    /// Whose.
    pub id: PersonId,
    /// What people see; may be empty.
    pub name: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Whether an invitation is open.
    pub invited: bool,
}

/// What somebody is in a room, for themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Me {
    /// Their public id.
    pub id: PersonId,
    /// What the others see; may be empty.
    pub name: String,
    /// `teacher`, `speaker` or `viewer`.
    pub role: &'static str,
    /// Where they are.
    pub state: Place,
    /// Whether their microphone is closed.
    pub muted: bool,
}

/// Where somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Among those who watch.
    Audience,
    /// There with a raised hand.
    Hand,
    /// Called up.
    Invited,
    /// On stage.
    Stage,
}

/// What the SFU must be told about the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Which class of this room, counted from 1: the SFU forgets the one before.
    pub class: u64,
    /// What the picture is made of.
    pub picture: wire::Stage,
    /// Whose microphones are closed.
    pub muted: BTreeSet<PersonId>,
    /// Whose connections are to be ended, once.
    pub gone: BTreeSet<PersonId>,
}

impl Stage {
    /// What the SFU must be told, while a class is open. Whoever asks takes over to end the connections
    /// of [`Orders::gone`]: they are not named again.
    pub fn orders(&mut self) -> Option<Orders> {
        let gone = std::mem::take(&mut self.gone);
        let muted = self.muted.keys().copied().collect();
        let open = matches!(self.phase, Phase::Open { .. });
        open.then(|| Orders { class: self.class, picture: self.wire(), muted, gone })
    }

    /// What everybody may know.
    pub fn public(&self) -> Public {
        let people = self.seats.iter().filter_map(|id| self.people.get(id));
        let people = people.map(|person| OnStage {
            id: person.id,
            name: person.name.clone(),
            role: shown(person.role, true),
            camera: person.camera.is_some(),
            screen: person.screen.is_some(),
            muted: self.muted.contains_key(&person.id),
        });
        Public {
            version: self.version,
            live: self.live,
            locked: self.locked,
            layout: self.layout,
            pinned: self.pinned,
            speaker: self.speaker,
            people: people.collect(),
            invited: self.invited.clone(),
            hands: self.hands.len(),
            chat: ChatState {
                last: self.chat.last,
                slow_s: u64::try_from(self.chat.slow_us).unwrap_or(0).div_ceil(1_000_000),
                open: self.chat.open,
            },
        }
    }

    /// Differs whenever [`Stage::public`] may.
    pub fn tag(&self) -> (u32, u64) {
        (self.tag, self.version)
    }

    /// What the picture is made of: whoever is connected.
    pub fn wire(&self) -> wire::Stage {
        let people = self.seats.iter().filter_map(|id| self.people.get(id));
        let seats = people.filter(|person| person.is_connected()).map(|person| Seat {
            person: person.id,
            name: person.name.clone(),
            camera: person.camera,
            screen: person.screen,
            muted: self.muted.contains_key(&person.id),
        });
        wire::Stage {
            layout: self.layout,
            seats: seats.take(MAX_SEATS).collect(),
            speaker: self.speaker,
            pinned: self.pinned,
        }
    }

    /// Raised hands, oldest first. `wall_ms` is the time in milliseconds since 1970.
    ///
    /// # Errors
    /// Not a teacher.
    pub fn hands(&self, who: &Who<'_>, now: HostTime, wall_ms: i64) -> Result<Vec<Hand>, Refusal> {
        self.may_see_hands(who)?;
        let people = self.hands.iter().filter_map(|id| self.people.get(id));
        let hands = people.map(|person| Hand {
            id: person.id,
            name: person.name.clone(),
            since_ms: wall_ms - person.hand.map_or(0, |since| now.since(since) / 1000),
            invited: person.is_invited(),
        });
        Ok(hands.collect())
    }

    /// What `who` is here.
    ///
    /// # Errors
    /// The room knows as many people as it can.
    pub fn me(&mut self, who: &Who<'_>, now: HostTime) -> Result<Me, Refusal> {
        let id = self.known(who, now)?;
        let muted = self.muted.contains_key(&id);
        let person = self.person(id)?;
        let state = match (person.admitted, person.is_invited(), person.hand) {
            (true, ..) => Place::Stage,
            (false, true, _) => Place::Invited,
            (false, false, Some(_)) => Place::Hand,
            (false, false, None) => Place::Audience,
        };
        Ok(Me {
            id,
            name: person.name.clone(),
            role: shown(who.role, person.admitted),
            state,
            muted,
        })
    }

    /// How many have a place on stage, and how many hands are up.
    pub fn counts(&self) -> (usize, usize) {
        (self.seats.len(), self.hands.len())
    }
}
