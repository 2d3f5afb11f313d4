//! Who may be on stage, who is, and how one gets off it.

use super::person::{Invitation, Muted};
use super::{Asker, Phase, Refusal, Stage, Who, teachers_only};
use crate::rooms::token::Role;
use crate::time::{HostTime, MediaKind, PersonId, SourceId};

/// Somebody's connection was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// A teacher: the class lives while they are there.
    pub leads: bool,
}

impl Stage {
    /// Whether `who` may publish, or take part in what those on stage send each other.
    ///
    /// # Errors
    /// The reason, for each role its own.
    pub fn may_publish(&mut self, who: &Who<'_>, now: HostTime) -> Result<PersonId, Refusal> {
        let id = self.known(who, now)?;
        if !who.is_teacher() {
            self.may_come(id, who.role)?;
        }
        Ok(id)
    }

    fn may_come(&self, id: PersonId, role: Role) -> Result<(), Refusal> {
        let person = self.people.get(&id).ok_or(Refusal::UnknownPerson)?;
        if person.admitted {
            return Ok(());
        }
        if role == Role::Viewer {
            return Err(Refusal::NotAdmitted);
        }
        if person.removed {
            return Err(Refusal::Removed);
        }
        if self.phase == (Phase::Over { led: true }) {
            return Err(Refusal::ClassOver);
        }
        if self.locked {
            return Err(Refusal::Locked);
        }
        if self.has_room() { Ok(()) } else { Err(Refusal::StageFull) }
    }

    /// Whether somebody who is not a teacher finds a place. One is kept for a teacher who is not there.
    pub(super) fn has_room(&self) -> bool {
        let teacher = |id| self.people.get(id).is_some_and(|person| person.is_teacher());
        let kept = usize::from(!self.seats.iter().any(teacher));
        self.seats.len() + kept < self.capacity
    }

    /// The SFU took a connection. Between asking and coming the answer may have changed.
    ///
    /// # Errors
    /// They may not be there: send them away.
    pub fn joined(
        &mut self,
        id: PersonId,
        kind: MediaKind,
        source: SourceId,
        now: HostTime,
    ) -> Result<Joined, Refusal> {
        let person = self.person(id)?;
        let (leads, role, admitted) = (person.is_teacher(), person.role, person.admitted);
        if !matches!(self.phase, Phase::Open { .. }) {
            return Err(Refusal::NoClass);
        }
        if !admitted {
            if !leads {
                self.may_come(id, role)?;
            }
            self.admit(id, now);
        }
        if leads {
            self.phase = Phase::Open { led: true };
        }
        let person = self.person(id)?;
        match kind {
            MediaKind::Camera => person.camera = Some(source),
            MediaKind::Screen => person.screen = Some(source),
        }
        person.absent_until = None;
        self.changed();
        Ok(Joined { leads })
    }

    /// The SFU lost a connection. One that was replaced, or whose owner was removed, changes nothing.
    pub fn left(&mut self, source: SourceId, now: HostTime) {
        let until = now.plus_micros(self.config.absence.as_micros());
        for id in &self.seats {
            let Some(person) = self.people.get_mut(id) else { continue };
            let slot = [&mut person.camera, &mut person.screen]
                .into_iter()
                .find(|slot| **slot == Some(source));
            if let Some(slot) = slot {
                *slot = None;
                if !person.is_connected() {
                    person.absent_until = Some(until);
                }
                return self.changed();
            }
        }
    }

    /// Somebody speaks, or the last speaker is not on stage any more.
    pub fn speaks(&mut self, speaker: Option<PersonId>) {
        let speaker = speaker.filter(|id| self.seats.contains(id));
        if self.speaker != speaker {
            self.speaker = speaker;
            self.changed();
        }
    }

    /// Gives a place, for as long as an absence may last until the connection is there. Who has one wants
    /// nothing more: a speaker who was called up may simply have come.
    pub(super) fn admit(&mut self, id: PersonId, now: HostTime) {
        let until = now.plus_micros(self.config.absence.as_micros());
        let Some(person) = self.people.get_mut(&id) else { return };
        if !person.admitted {
            person.admitted = true;
            person.absent_until = Some(until);
            self.hand_down(id);
            self.close_invitation(id, Invitation::Accepted);
            self.seats.push(id);
            self.gone.remove(&id);
            self.changed();
        }
    }

    fn unseat(&mut self, id: PersonId) {
        let Some(person) = self.people.get_mut(&id) else { return };
        if person.admitted {
            person.admitted = false;
            (person.camera, person.screen, person.absent_until) = (None, None, None);
            self.seats.retain(|seat| *seat != id);
            // Who closed it themselves comes back as pages begin: open. A teacher's word holds.
            if self.muted.get(&id) == Some(&Muted::Themselves) {
                self.muted.remove(&id);
            }
            self.gone.insert(id);
            self.pinned = self.pinned.filter(|pinned| *pinned != id);
            self.speaker = self.speaker.filter(|speaker| *speaker != id);
            self.changed();
        }
    }

    /// Steps down, or is taken off the stage by a teacher: hand, invitation and place are gone, and
    /// the connections are to be ended ([`Orders::gone`](super::view::Orders::gone)). Doing it again is
    /// no mistake.
    ///
    /// Who steps down may come back as they came: a speaker by themselves, a viewer when called up. Who
    /// was removed comes back only when called up; a teacher is sent away and may return.
    ///
    /// # Errors
    /// Somebody else, and not a teacher.
    pub fn remove(&mut self, who: &Who<'_>, id: PersonId, now: HostTime) -> Result<(), Refusal> {
        let asker = self.own_or_teacher(who, id, now)?;
        self.wants_nothing(id);
        self.unseat(id);
        let person = self.person(id)?;
        person.removed |= asker == Asker::Teacher && !person.is_teacher();
        Ok(())
    }

    /// Opens or closes a microphone: anybody's as a teacher, one's own otherwise.
    ///
    /// # Errors
    /// Somebody else's; not on stage; closed by a teacher and to be opened by its owner.
    pub fn mute(
        &mut self,
        who: &Who<'_>,
        id: PersonId,
        muted: bool,
        now: HostTime,
    ) -> Result<(), Refusal> {
        let own = self.own_or_teacher(who, id, now)? == Asker::Themselves;
        let by = if who.is_teacher() { Muted::ByTeacher } else { Muted::Themselves };
        if !self.person(id)?.admitted {
            return Err(Refusal::NotOnStage);
        }
        let before = self.muted.get(&id).copied();
        let locked = before == Some(Muted::ByTeacher) && own && !who.is_teacher();
        match (muted, locked) {
            (false, true) => return Err(Refusal::MutedByTeacher),
            (true, true) => {}
            (true, false) => drop(self.muted.insert(id, by)),
            (false, false) => drop(self.muted.remove(&id)),
        }
        if muted != before.is_some() {
            self.changed();
        }
        Ok(())
    }

    pub(super) fn give_up_places(&mut self, now: HostTime) {
        let gone = |id: &PersonId| {
            let until = self.people.get(id).and_then(|person| person.absent_until);
            until.is_some_and(|until| until <= now)
        };
        let gone: Vec<PersonId> = self.seats.iter().copied().filter(gone).collect();
        for id in gone {
            self.unseat(id);
        }
    }

    /// Whether `who` may see the queue of hands.
    ///
    /// # Errors
    /// Not a teacher.
    pub fn may_see_hands(&self, who: &Who<'_>) -> Result<(), Refusal> {
        teachers_only(who)
    }
}
