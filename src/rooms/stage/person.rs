//! One person in a room.

use super::rate::Bucket;
use crate::rooms::token::{Grant, Role};
use crate::time::{HostTime, PersonId, SourceId};
use std::sync::Arc;

/// Who asks, as the token says it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The token's subject.
    pub sub: &'a str,
    /// What the token allows.
    pub role: Role,
    /// What people see, where the token or the person says it.
    pub name: Option<&'a str>,
}

impl Who<'_> {
    /// Whether they decide about the room.
    pub const fn is_teacher(&self) -> bool {
        matches!(self.role, Role::Teacher | Role::Admin)
    }
}

impl<'a> From<&'a Grant> for Who<'a> {
    fn from(grant: &'a Grant) -> Self {
        Self { sub: &grant.sub, role: grant.role, name: grant.name.as_deref() }
    }
}

/// What became of a person's last invitation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Invitation {
    #[default]
    Never,
    Open {
        until: HostTime,
    },
    Accepted,
    Withdrawn,
    Declined,
    RanOut,
}

/// Who closed a microphone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Muted {
    ByTeacher,
    Themselves,
}

/// One person in a room, for as long as the class lasts.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub id: PersonId,
    pub sub: Arc<str>,
    pub name: String,
    /// The highest that any of the person's tokens said.
    pub role: Role,
    /// When they last did something.
    pub seen: HostTime,
    pub hand: Option<HostTime>,
    pub invitation: Invitation,
    /// Has a place on stage, connected or not.
    pub admitted: bool,
    /// Taken off the stage by a teacher: a speaker's token alone brings nobody back.
    pub removed: bool,
    pub camera: Option<SourceId>,
    pub screen: Option<SourceId>,
    /// Until when the place is kept without a connection.
    pub absent_until: Option<HostTime>,
    pub hands: Bucket,
    pub messages: Bucket,
    pub wrote: Option<HostTime>,
}

impl Person {
    pub fn new(id: PersonId, who: &Who<'_>, now: HostTime) -> Self {
        Self {
            id,
            sub: who.sub.into(),
            name: String::new(),
            role: who.role,
            seen: now,
            hand: None,
            invitation: Invitation::Never,
            admitted: false,
            removed: false,
            camera: None,
            screen: None,
            absent_until: None,
            hands: Bucket::default(),
            messages: Bucket::default(),
            wrote: None,
        }
    }

    pub fn is_teacher(&self) -> bool {
        matches!(self.role, Role::Teacher | Role::Admin)
    }

    pub fn is_connected(&self) -> bool {
        self.camera.is_some() || self.screen.is_some()
    }

    pub fn is_invited(&self) -> bool {
        matches!(self.invitation, Invitation::Open { .. })
    }

    /// Whether nothing is lost when the room forgets them.
    pub fn is_idle(&self) -> bool {
        // A viewer comes back by invitation only, removed or not.
        let banned = self.removed && self.role != Role::Viewer;
        !self.admitted && self.hand.is_none() && !self.is_invited() && !banned
    }
}

/// Which of two roles says more.
pub(super) fn higher(one: Role, other: Role) -> Role {
    let rank = |role| match role {
        Role::Viewer => 0,
        Role::Speaker => 1,
        Role::Teacher => 2,
        Role::Admin => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}
