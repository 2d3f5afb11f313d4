//! The stage of a room: who is on it, who wants to be, who was called up, what is being written.
//!
//! A class has two kinds of people. The few on stage are connected by WebRTC. All others watch HLS and
//! ask for one small JSON a second, which a cache may answer; they exist here only once they raise a
//! hand or write. Both are known by a [`PersonId`], random and public, that stands for the token's
//! subject, which is nobody's business.
//!
//! | module | what it does |
//! |---|---|
//! | `hands` | raising a hand, being called up, accepting |
//! | `presence` | who may publish, who came and left, mute and removal |
//! | [`chat`] | messages on the recording's timeline, slow mode, deletion |
//! | [`view`] | what goes out: JSON for people, [`wire::Stage`](crate::link::wire::Stage) for the picture |
//! | [`rate`] | how fast is too fast |
//! | [`Refusal`] | every reason to say no, each by its name |
//! | [`registry`] | all rooms' stages, shared |
//!
//! [`Stage`] is pure: time comes in as `now`, chance from a seed, what is to be done goes out as a
//! value. It knows neither HTTP nor WebRTC: that a removed person's connections end is the caller's
//! work. Everything it keeps has a bound in [`Config`].

pub mod chat;
mod config;
mod hands;
mod person;
mod presence;
pub mod rate;
mod refusal;
pub mod registry;
pub mod view;

pub use config::Config;
pub use person::Who;
pub use presence::Joined;
pub use refusal::Refusal;
pub use registry::Stages;

use crate::link::wire::Layout;
use crate::rooms::name;
use crate::rooms::token::Role;
use crate::time::{HostTime, PersonId};
use chat::Chat;
use person::{Muted, Person};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rate::{Addresses, Bucket, Rate};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Invitations that may be open at once: more are nobody's plan, and all of them are shown to everybody.
const MAX_INVITED: usize = 32;

/// Hands that one person may raise at once, before the rate counts.
const HAND_BURST: u32 = 3;

/// Messages that one person may write at once, before the rate counts.
const MESSAGE_BURST: u32 = 5;

/// Where a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No class yet. A speaker may open one, as a teacher may.
    Idle,
    /// A class is open.
    Open {
        /// Whether a teacher has been on stage.
        led: bool,
    },
    /// The class is over.
    Over {
        /// Whether a teacher had led it: then only a teacher begins the next one, or a speaker whose page
        /// connects again by itself would undo the end.
        led: bool,
    },
}

/// A guest, newly made: known by a token of its own from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The subject that the guest's token must have.
    pub sub: String,
    /// The name as it will be seen; may be empty.
    pub name: String,
}

/// What a teacher changes about the stage; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How the picture is laid out.
    pub layout: Option<Layout>,
    /// Who is seen large, whoever speaks; `Some(None)` for nobody.
    pub pinned: Option<Option<PersonId>>,
    /// Whether people may come by themselves.
    pub locked: Option<bool>,
}

/// One room's stage.
#[derive(Debug)]
pub struct Stage {
    config: Arc<Config>,
    /// Places on stage.
    capacity: usize,
    rng: StdRng,
    /// Tells this stage's versions from those of the process before.
    tag: u32,
    version: u64,
    phase: Phase,
    live: bool,
    people: BTreeMap<PersonId, Person>,
    ids: HashMap<Arc<str>, PersonId>,
    /// Who is admitted, in the order in which they came.
    seats: Vec<PersonId>,
    /// Whose hand is up, oldest first.
    hands: Vec<PersonId>,
    /// Whose invitation is open.
    invited: Vec<PersonId>,
    layout: Layout,
    pinned: Option<PersonId>,
    speaker: Option<PersonId>,
    locked: bool,
    chat: Chat,
    /// Counts classes, for whoever follows several.
    class: u64,
    /// Whose microphone is closed, on stage or soon again.
    muted: BTreeMap<PersonId, Muted>,
    /// Whose connections are to be ended.
    gone: BTreeSet<PersonId>,
    room: Bucket,
    addresses: Addresses,
}

impl Stage {
    /// An empty stage with places for `capacity` people, its chance from `seed`.
    pub fn new(config: Arc<Config>, capacity: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            capacity,
            tag: rng.random(),
            rng,
            version: 1,
            phase: Phase::Idle,
            live: false,
            people: BTreeMap::new(),
            ids: HashMap::new(),
            seats: Vec::new(),
            hands: Vec::new(),
            invited: Vec::new(),
            layout: Layout::Auto,
            pinned: None,
            speaker: None,
            locked: false,
            chat: Chat::new(&config),
            class: 0,
            muted: BTreeMap::new(),
            gone: BTreeSet::new(),
            room: Bucket::default(),
            addresses: Addresses::default(),
            config,
        }
    }

    /// Where the room is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Counts up with everything that people can see change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Time passes: invitations run out, kept places are given up. Cheap where nothing does.
    pub fn tick(&mut self, now: HostTime) {
        self.run_out(now);
        self.give_up_places(now);
    }

    /// A class opens. Hands that were raised while waiting stay up; what was written since the last class
    /// ended stays, too.
    pub fn opened(&mut self) {
        self.phase = Phase::Open { led: false };
        self.class += 1;
        self.chat.class_opened();
        self.changed();
    }

    /// The class shows something, or no longer does.
    pub fn set_live(&mut self, live: bool) {
        if self.live != live {
            self.live = live;
            self.changed();
        }
    }

    /// The class's media begins at `zero`: the start of its recording.
    pub fn began(&mut self, zero: HostTime) {
        self.chat.began(zero);
    }

    /// The class is over: nobody is on stage, wants to be or is known any more. What was written stays.
    pub fn ended(&mut self, now: HostTime) {
        let Phase::Open { led } = self.phase else { return };
        self.phase = Phase::Over { led };
        self.live = false;
        self.people.clear();
        self.ids.clear();
        self.seats.clear();
        self.hands.clear();
        self.invited.clear();
        self.muted.clear();
        // Their connections end with the room's ring.
        self.gone.clear();
        self.layout = Layout::Auto;
        (self.pinned, self.speaker, self.locked) = (None, None, false);
        self.chat.class_ended(now, &self.config);
        self.changed();
    }

    /// The class that was over is forgotten, and so is what was written in it.
    pub fn forgotten(&mut self) {
        if let Phase::Over { .. } = self.phase {
            self.phase = Phase::Idle;
            self.chat.class_opened();
            self.changed();
        }
    }

    /// Changes layout, pin and lock.
    ///
    /// # Errors
    /// Not a teacher; the pinned person is not on stage.
    pub fn change(&mut self, who: &Who<'_>, change: Change) -> Result<(), Refusal> {
        teachers_only(who)?;
        if let Some(Some(id)) = change.pinned
            && !self.seats.contains(&id)
        {
            return Err(Refusal::NotOnStage);
        }
        self.layout = change.layout.unwrap_or(self.layout);
        self.pinned = change.pinned.unwrap_or(self.pinned);
        self.locked = change.locked.unwrap_or(self.locked);
        self.changed();
        Ok(())
    }

    /// Whether `who` may end the class, and there is one.
    ///
    /// # Errors
    /// Not a teacher; no class.
    pub fn may_end(&self, who: &Who<'_>) -> Result<(), Refusal> {
        teachers_only(who)?;
        if matches!(self.phase, Phase::Open { .. }) { Ok(()) } else { Err(Refusal::NoClass) }
    }

    /// Makes a guest: somebody without a token, called `name`.
    ///
    /// # Errors
    /// Guests are not taken; too many at once come from `address`.
    pub fn guest(&mut self, name: &str, address: IpAddr, now: HostTime) -> Result<Guest, Refusal> {
        if !self.config.guests {
            return Err(Refusal::NoGuests);
        }
        let count = self.config.address_rate;
        let rate = Rate::a_second(count, count.saturating_mul(20));
        let taken = self.addresses.take(address, rate, now);
        taken.map_err(|wait_s| Refusal::AddressBusy { wait_s })?;
        Ok(Guest {
            sub: format!("guest:{:032x}", self.rng.random::<u128>()),
            name: name::clean(name),
        })
    }

    /// How long a guest's token shall be valid.
    pub fn guest_token_valid(&self) -> Duration {
        self.config.guest_token.0
    }

    /// The person behind a token; made known to the room where they are not yet.
    ///
    /// # Errors
    /// The room knows as many people as it can, and all of them are busy.
    pub fn known(&mut self, who: &Who<'_>, now: HostTime) -> Result<PersonId, Refusal> {
        let id = match self.ids.get(who.sub) {
            Some(id) => *id,
            None => self.make_known(who, now)?,
        };
        let Some(person) = self.people.get_mut(&id) else { return Err(Refusal::UnknownPerson) };
        person.seen = now;
        let role = person::higher(person.role, who.role);
        let name = who.name.map(name::clean).filter(|name| !name.is_empty());
        let name = name.filter(|name| *name != person.name);
        if role != person.role || name.is_some() {
            person.role = role;
            person.name = name.unwrap_or_else(|| std::mem::take(&mut person.name));
            if self.seats.contains(&id) {
                self.changed();
            }
        }
        Ok(id)
    }

    fn make_known(&mut self, who: &Who<'_>, now: HostTime) -> Result<PersonId, Refusal> {
        if self.people.len() >= self.config.max_people {
            self.forget_idle();
        }
        if self.people.len() >= self.config.max_people {
            return Err(Refusal::RoomFull);
        }
        let id = loop {
            let id = PersonId::new(self.rng.random());
            if !self.people.contains_key(&id) {
                break id;
            }
        };
        let person = Person::new(id, who, now);
        self.ids.insert(person.sub.clone(), id);
        self.people.insert(id, person);
        Ok(id)
    }

    /// Forgets the eighth that has been quiet longest: so rarely that the search costs nothing.
    fn forget_idle(&mut self) {
        let idle = self.people.values().filter(|person| person.is_idle());
        let mut idle: Vec<(HostTime, PersonId)> = idle.map(|p| (p.seen, p.id)).collect();
        idle.sort_unstable();
        for (_, id) in idle.into_iter().take((self.config.max_people / 8).max(1)) {
            if let Some(person) = self.people.remove(&id) {
                self.ids.remove(&person.sub);
                self.muted.remove(&id);
            }
        }
    }

    fn person(&mut self, id: PersonId) -> Result<&mut Person, Refusal> {
        self.people.get_mut(&id).ok_or(Refusal::UnknownPerson)
    }

    /// Their own matter, or a teacher's.
    fn own_or_teacher(
        &mut self,
        who: &Who<'_>,
        id: PersonId,
        now: HostTime,
    ) -> Result<Asker, Refusal> {
        if self.known(who, now)? == id {
            return Ok(Asker::Themselves);
        }
        if !who.is_teacher() {
            return Err(Refusal::NotYours);
        }
        self.person(id).map(|_| Asker::Teacher)
    }

    fn take_from_room(&mut self, now: HostTime) -> Result<(), Refusal> {
        let count = self.config.room_rate;
        let rate = Rate::a_second(count, count.saturating_mul(4));
        self.room.take(rate, now).map_err(|wait_s| Refusal::RoomBusy { wait_s })
    }

    fn changed(&mut self) {
        self.version += 1;
    }
}

/// Who asks about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Themselves,
    Teacher,
}

fn teachers_only(who: &Who<'_>) -> Result<(), Refusal> {
    if who.is_teacher() { Ok(()) } else { Err(Refusal::NotTeacher) }
}

/// How a role is shown: admins are teachers to everybody else.
fn shown(role: Role, admitted: bool) -> &'static str {
    match role {
        Role::Teacher | Role::Admin => "teacher",
        Role::Speaker => "speaker",
        Role::Viewer if admitted => "speaker",
        Role::Viewer => "viewer",
    }
}

#[cfg(test)]
mod tests;
