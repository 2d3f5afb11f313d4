//! From a raised hand to a place on stage.

use super::person::Invitation;
use super::rate::Rate;
use super::{Asker, HAND_BURST, MAX_INVITED, Phase, Refusal, Stage, Who, teachers_only};
use crate::time::{HostTime, PersonId};

impl Stage {
    /// Raises a hand; says whose, and whether it was down before.
    ///
    /// # Errors
    /// The stage is locked, the queue full, the person too fast, there already, or a teacher.
    pub fn raise(&mut self, who: &Who<'_>, now: HostTime) -> Result<(PersonId, bool), Refusal> {
        if who.is_teacher() {
            return Err(Refusal::NeedsNone);
        }
        let id = self.known(who, now)?;
        let (up, full) = (self.hands.len(), self.config.max_hands);
        let (locked, rate) =
            (self.locked, Rate::new(self.config.hand_every.as_micros(), HAND_BURST));
        let person = self.person(id)?;
        if person.admitted {
            return Err(Refusal::OnStage);
        }
        if person.hand.is_some() {
            return Ok((id, false));
        }
        if locked {
            return Err(Refusal::Locked);
        }
        if up >= full {
            return Err(Refusal::HandsFull);
        }
        person.hands.take(rate, now).map_err(|wait_s| Refusal::TooFast { wait_s })?;
        self.take_from_room(now)?;
        self.person(id)?.hand = Some(now);
        self.hands.push(id);
        self.changed();
        Ok((id, true))
    }

    /// Lowers a hand. One that is down stays down.
    ///
    /// # Errors
    /// Somebody else's, and not a teacher.
    pub fn lower(&mut self, who: &Who<'_>, id: PersonId, now: HostTime) -> Result<(), Refusal> {
        self.own_or_teacher(who, id, now)?;
        self.hand_down(id);
        Ok(())
    }

    pub(super) fn hand_down(&mut self, id: PersonId) {
        if self.people.get_mut(&id).is_some_and(|person| person.hand.take().is_some()) {
            self.hands.retain(|up| *up != id);
            self.changed();
        }
    }

    /// Calls somebody up. Inviting again renews the invitation.
    ///
    /// # Errors
    /// Not a teacher; no class; nobody of that id, or on stage already, or a teacher; no place left.
    pub fn invite(&mut self, who: &Who<'_>, id: PersonId, now: HostTime) -> Result<(), Refusal> {
        teachers_only(who)?;
        if !matches!(self.phase, Phase::Open { .. }) {
            return Err(Refusal::NoClass);
        }
        let until = now.plus_micros(self.config.invitation.as_micros());
        let (has_room, open) = (self.has_room(), self.invited.len());
        let person = self.person(id)?;
        if person.is_teacher() {
            return Err(Refusal::NeedsNone);
        }
        if person.admitted {
            return Err(Refusal::OnStage);
        }
        if !has_room {
            return Err(Refusal::StageFull);
        }
        let fresh = !person.is_invited();
        if fresh && open >= MAX_INVITED {
            return Err(Refusal::InvitationsFull);
        }
        person.invitation = Invitation::Open { until };
        if fresh {
            self.invited.push(id);
            self.changed();
        }
        Ok(())
    }

    /// Takes an invitation back, as a teacher, or declines one's own.
    ///
    /// # Errors
    /// Somebody else's; none is open.
    pub fn withdraw(&mut self, who: &Who<'_>, id: PersonId, now: HostTime) -> Result<(), Refusal> {
        let asker = self.own_or_teacher(who, id, now)?;
        self.open_invitation(id)?;
        match asker {
            Asker::Teacher => self.close_invitation(id, Invitation::Withdrawn),
            Asker::Themselves => {
                self.close_invitation(id, Invitation::Declined);
                self.hand_down(id);
            }
        }
        Ok(())
    }

    /// Accepts one's invitation: from now on there is a place on stage.
    ///
    /// # Errors
    /// Somebody else's; none was made, or it is not open any more (each with its reason); the stage
    /// is full, and the invitation stays open.
    pub fn accept(&mut self, who: &Who<'_>, id: PersonId, now: HostTime) -> Result<(), Refusal> {
        if self.known(who, now)? != id {
            return Err(Refusal::NotYours);
        }
        self.open_invitation(id)?;
        if !self.has_room() {
            return Err(Refusal::StageFull);
        }
        self.person(id)?.removed = false;
        self.muted.remove(&id);
        self.admit(id, now);
        Ok(())
    }

    fn open_invitation(&mut self, id: PersonId) -> Result<(), Refusal> {
        match self.person(id)?.invitation {
            Invitation::Open { .. } => Ok(()),
            Invitation::Never => Err(Refusal::NotInvited),
            Invitation::Accepted => Err(Refusal::AlreadyAccepted),
            Invitation::Withdrawn => Err(Refusal::Withdrawn),
            Invitation::Declined => Err(Refusal::Declined),
            Invitation::RanOut => Err(Refusal::RanOut),
        }
    }

    pub(super) fn close_invitation(&mut self, id: PersonId, outcome: Invitation) {
        let Some(person) = self.people.get_mut(&id) else { return };
        if person.is_invited() {
            person.invitation = outcome;
            self.invited.retain(|invited| *invited != id);
            self.changed();
        }
    }

    pub(super) fn run_out(&mut self, now: HostTime) {
        let over = |id: &PersonId| match self.people.get(id).map(|person| person.invitation) {
            Some(Invitation::Open { until }) => until <= now,
            _ => true,
        };
        let over: Vec<PersonId> = self.invited.iter().copied().filter(over).collect();
        for id in over {
            self.close_invitation(id, Invitation::RanOut);
        }
    }

    /// Lowers the hand and takes back the invitation of somebody who is taken off the stage.
    pub(super) fn wants_nothing(&mut self, id: PersonId) {
        self.hand_down(id);
        self.close_invitation(id, Invitation::Withdrawn);
    }
}
