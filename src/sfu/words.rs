//! What is asked of the SFU, what it answers, what it tells.

use crate::time::{MediaKind, PersonId, RoomName, SourceCodec, SourceId, TrackId};
use std::fmt;

/// Names a WHIP or WHEP session in URLs: 128 random bits, in hex. Whoever knows it still needs a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceId(u128);

impl ResourceId {
    /// From 128 random bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// From its text in a URL.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ResourceId {
    /// Logs tell sessions apart by the first digits; the whole is for its owner.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}..", self.0 >> 96)
    }
}

/// Somebody wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub room: RoomName,
    /// Who. Their older connection of the same kind is replaced.
    pub person: PersonId,
    /// What they show.
    pub kind: MediaKind,
    /// The SDP offer.
    pub offer: String,
}

/// Somebody wants to see what a person on stage shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Where.
    pub room: RoomName,
    /// Who wants to see it.
    pub viewer: PersonId,
    /// Whom.
    pub person: PersonId,
    /// Which of their pictures.
    pub kind: MediaKind,
    /// The SDP offer.
    pub offer: String,
}

/// What a publisher got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The SDP answer.
    pub answer: String,
    /// The session's name in URLs.
    pub resource: ResourceId,
    /// The ICE session's entity tag, with its quotes.
    pub etag: String,
    /// The publisher's number in the ring.
    pub source: SourceId,
}

/// What a subscriber got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The SDP answer.
    pub answer: String,
    /// The session's name in URLs.
    pub resource: ResourceId,
    /// The ICE session's entity tag, with its quotes.
    pub etag: String,
}

/// Why an offer to send was not taken. The texts tell the cure and may be shown to the publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The body is no SDP.
    #[error("the offer is no SDP that can be read: {0}")]
    BadSdp(String),
    /// It is SDP, but no WebRTC offer.
    #[error("the offer cannot be answered: {0}")]
    Unprocessable(String),
    /// A good offer of something that is not taken here.
    #[error("{0}")]
    NotAcceptable(String),
    /// [`super::Config::max_on_stage`] people publish to the room.
    #[error("the stage is full: somebody has to step down first")]
    StageFull,
    /// The room has no ring.
    #[error("the room is not open: try again in a few seconds")]
    NotOpen,
    /// [`super::Config::max_publishers`] are connected.
    #[error("the server has as many publishers as it is set up for: try again later")]
    Full,
    /// The SFU's thread did not take or answer the request.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Why an offer to receive was not taken. The texts tell the cure and may be shown to the viewer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The body is no SDP.
    #[error("the offer is no SDP that can be read: {0}")]
    BadSdp(String),
    /// It is SDP, but no WebRTC offer.
    #[error("the offer cannot be answered: {0}")]
    Unprocessable(String),
    /// A good offer that cannot take what the person sends.
    #[error("{0}")]
    NotAcceptable(String),
    /// That person does not publish that kind of media to that room now.
    #[error("this person does not show that now: subscribe again when the stage says they do")]
    NotOnStage,
    /// [`super::Config::max_subscribers`] are connected.
    #[error("the server has as many subscribers as it is set up for: try again later")]
    Full,
    /// The SFU's thread did not take or answer the request.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// What a `PATCH` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were noted.
    Trickled,
    /// ICE was restarted.
    Restarted {
        /// The new credentials and candidates, `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new ICE session's entity tag, with its quotes.
        etag: String,
    },
}

/// Why a `PATCH` was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// No such session, or not in this room.
    #[error("there is no such session: it has ended, or the URL is wrong")]
    NotFound,
    /// No `If-Match`.
    #[error("send If-Match with the session's ETag, or with * to restart ICE")]
    NoPrecondition,
    /// `If-Match` names another ICE session.
    #[error("the ICE session has changed: use the ETag of the latest answer")]
    Stale,
    /// The body is no fragment.
    #[error("the body is no ICE fragment (RFC 8840): {0}")]
    BadFragment(String),
    /// A fragment that does not fit the session.
    #[error("{0}")]
    Unprocessable(String),
    /// The SFU's thread did not take or answer the request.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The SFU's thread did not take or answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It is behind, or stuck.
    #[error("the server is too busy: try again in a few seconds")]
    Busy,
    /// It has ended.
    #[error("the server is shutting down")]
    Stopped,
}

/// What happened, for the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An offer was answered; the connection is still to be made.
    Joined {
        /// Where.
        room: RoomName,
        /// Who, as in the ring.
        source: SourceId,
        /// Who.
        person: PersonId,
        /// What they show.
        kind: MediaKind,
    },
    /// ICE and DTLS are done.
    Connected {
        /// Where.
        room: RoomName,
        /// Who.
        source: SourceId,
    },
    /// The first packet of a track came.
    FirstPacket {
        /// Where.
        room: RoomName,
        /// Who.
        source: SourceId,
        /// Which track.
        track: TrackId,
        /// Of what.
        codec: SourceCodec,
    },
    /// A publisher is gone; follows every [`Event::Joined`], once.
    Left {
        /// Where.
        room: RoomName,
        /// Which connection, as in the ring.
        source: SourceId,
        /// Who.
        person: PersonId,
        /// What they showed.
        kind: MediaKind,
        /// Why.
        why: LeftWhy,
    },
    /// Somebody else is speaking now, or nobody who was is still there.
    Speaking {
        /// Where.
        room: RoomName,
        /// Who speaks, or spoke last; `None` when they left and nobody has spoken since.
        person: Option<PersonId>,
    },
}

/// Why a publisher is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftWhy {
    /// `DELETE`, or DTLS was closed from the other end.
    Ended,
    /// The same person published again.
    Replaced,
    /// Media never connected.
    NeverConnected,
    /// Nothing came for too long.
    Silent,
    /// The room was closed.
    RoomClosed,
    /// Taken off the stage.
    SentAway,
    /// The connection broke a rule of WebRTC, or str0m's patience.
    Failed,
}

impl LeftWhy {
    /// For metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Replaced => "replaced",
            Self::NeverConnected => "never_connected",
            Self::Silent => "silent",
            Self::RoomClosed => "room_closed",
            Self::SentAway => "sent_away",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for LeftWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "stopped publishing",
            Self::Replaced => "published again from elsewhere",
            Self::NeverConnected => {
                "no media connection came about: is the UDP port reachable from there?"
            }
            Self::Silent => "sent nothing for too long",
            Self::RoomClosed => "the room was closed",
            Self::SentAway => "was taken off the stage",
            Self::Failed => "the connection failed",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_resource_id_reads_back_and_nothing_else_does() {
        let id = ResourceId::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string(), "0123456789abcdef0011223344556677");
        assert_eq!(ResourceId::parse(&id.to_string()), Some(id));
        assert_eq!(format!("{id:?}"), "01234567..", "logs do not hold the whole");
        for bad in [
            "",
            "0",
            &"g".repeat(32),
            &"A".repeat(32),
            &"0".repeat(33),
            "+0123456789abcdef001122334455667",
        ] {
            assert_eq!(ResourceId::parse(bad), None, "{bad}");
        }
    }
}
