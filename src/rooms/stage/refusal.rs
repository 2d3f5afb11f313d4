//! Why something on the stage is refused. The texts tell the cure and may be shown to anyone.

/// Why something on the stage is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A teacher's token is needed.
    #[error("only a teacher of this room may do that: use a teacher's token")]
    NotTeacher,
    /// It is somebody else's.
    #[error("that belongs to somebody else: only they or a teacher may do that")]
    NotYours,
    /// No such person in this room.
    #[error("nobody in this room has that id: it may be of an earlier class; read the list again")]
    UnknownPerson,
    /// The stage is locked.
    #[error("the stage is locked: the teacher takes nobody up for now, try again later")]
    Locked,
    /// As many hands as the room keeps.
    #[error("too many hands are up already: try again when some are down")]
    HandsFull,
    /// Teachers come on stage when they want to.
    #[error("a teacher needs no hand and no invitation: just publish")]
    NeedsNone,
    /// That person is there already.
    #[error("that person is on stage already")]
    OnStage,
    /// That person is not there.
    #[error("that person is not on stage")]
    NotOnStage,
    /// As many people on stage as it has places.
    #[error("the stage is full: somebody must step down first")]
    StageFull,
    /// As many open invitations as a room keeps.
    #[error("too many invitations are open: wait until some are answered, or withdraw one")]
    InvitationsFull,
    /// There never was one.
    #[error("there is no invitation for that person: raise a hand and wait to be called up")]
    NotInvited,
    /// A replay.
    #[error("that invitation was accepted already: it holds once, ask for a new one")]
    AlreadyAccepted,
    /// By the teacher.
    #[error("the invitation was withdrawn: raise a hand to be called up again")]
    Withdrawn,
    /// By the person.
    #[error("the invitation was declined: raise a hand to be called up again")]
    Declined,
    /// Nobody answered it.
    #[error("the invitation has run out: raise a hand to be called up again")]
    RanOut,
    /// A viewer wants to publish or to be among those on stage.
    #[error(
        "the token is for watching: raise a hand and be called up, or ask for a token as speaker or teacher"
    )]
    NotAdmitted,
    /// A speaker was taken off the stage.
    #[error("you were taken off the stage: raise a hand, the teacher can invite you again")]
    Removed,
    /// The class that a teacher led is over.
    #[error("the class is over: only a teacher can begin the next one")]
    ClassOver,
    /// No class has begun.
    #[error("no class is open in this room: it begins when a teacher goes live")]
    NoClass,
    /// The teacher muted, only the teacher can undo it.
    #[error("the teacher has muted this microphone: only a teacher can open it again")]
    MutedByTeacher,
    /// The chat is closed.
    #[error("the chat is closed: the teacher can open it again")]
    ChatClosed,
    /// Slow mode.
    #[error("slow mode: write again in {wait_s} s")]
    SlowMode {
        /// Seconds.
        wait_s: u64,
    },
    /// This person is too fast.
    #[error("too fast: try again in {wait_s} s")]
    TooFast {
        /// Seconds.
        wait_s: u64,
    },
    /// The room is talked to too fast.
    #[error("too many people want something at once: try again in {wait_s} s")]
    RoomBusy {
        /// Seconds.
        wait_s: u64,
    },
    /// Too many new guests from one address.
    #[error("too many new guests come from your network at once: try again in {wait_s} s")]
    AddressBusy {
        /// Seconds.
        wait_s: u64,
    },
    /// Nobody without a token.
    #[error("this server takes no guests: open the room with the link that your school gave you")]
    NoGuests,
    /// As many people as the room knows at once, and all of them busy.
    #[error("the room knows as many people as it can: try again later")]
    RoomFull,
    /// Nothing was written.
    #[error("the message is empty: write something")]
    EmptyMessage,
    /// Too much was written.
    #[error("the message is longer than 500 characters: split it")]
    LongMessage,
    /// No such message.
    #[error("there is no message of that number, or it was deleted already")]
    UnknownMessage,
}

impl Refusal {
    /// For metrics: one word each.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotTeacher => "not_teacher",
            Self::NotYours => "not_yours",
            Self::UnknownPerson => "unknown_person",
            Self::Locked => "locked",
            Self::HandsFull => "hands_full",
            Self::NeedsNone => "needs_none",
            Self::OnStage => "on_stage",
            Self::NotOnStage => "not_on_stage",
            Self::StageFull => "stage_full",
            Self::InvitationsFull => "invitations_full",
            Self::NotInvited => "not_invited",
            Self::AlreadyAccepted => "already_accepted",
            Self::Withdrawn => "withdrawn",
            Self::Declined => "declined",
            Self::RanOut => "ran_out",
            Self::NotAdmitted => "not_admitted",
            Self::Removed => "removed",
            Self::ClassOver => "class_over",
            Self::NoClass => "no_class",
            Self::MutedByTeacher => "muted_by_teacher",
            Self::ChatClosed => "chat_closed",
            Self::SlowMode { .. } => "slow_mode",
            Self::TooFast { .. } => "too_fast",
            Self::RoomBusy { .. } => "room_busy",
            Self::AddressBusy { .. } => "address_busy",
            Self::NoGuests => "no_guests",
            Self::RoomFull => "room_full",
            Self::EmptyMessage => "empty_message",
            Self::LongMessage => "long_message",
            Self::UnknownMessage => "unknown_message",
        }
    }

    /// After how many seconds it is worth trying again, where that is known.
    pub const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::SlowMode { wait_s }
            | Self::TooFast { wait_s }
            | Self::RoomBusy { wait_s }
            | Self::AddressBusy { wait_s } => Some(wait_s),
            Self::RoomFull => Some(10),
            _ => None,
        }
    }
}
