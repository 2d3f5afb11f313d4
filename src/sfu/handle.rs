//! How everything else talks to the SFU's thread.

use crate::link::ring::RingWriter;
use crate::time::{RoomName, SourceCodec, SourceId, TrackId};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a request may wait for the thread: it answers within microseconds, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names a WHIP session in URLs: 128 random bits, in hex. Whoever knows it still needs a token.
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

/// Why an offer was not taken. The texts tell the cure and may be shown to the publisher.
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
    /// Somebody else publishes to the room.
    #[error("somebody else is publishing to this room: wait until they stop, or ask them to")]
    Taken,
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
        /// Who, as in the token.
        identity: String,
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
        /// Who.
        source: SourceId,
        /// Why.
        why: LeftWhy,
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
            Self::Failed => "the connection failed",
        })
    }
}

/// A request to the SFU's thread.
pub(super) enum Command {
    Publish {
        room: RoomName,
        identity: String,
        offer: String,
        reply: oneshot::Sender<Result<Published, PublishError>>,
    },
    Patch {
        room: RoomName,
        resource: ResourceId,
        if_match: Option<String>,
        fragment: String,
        reply: oneshot::Sender<Result<Patched, PatchError>>,
    },
    Delete {
        room: RoomName,
        resource: ResourceId,
        reply: oneshot::Sender<bool>,
    },
    AttachRing {
        room: RoomName,
        ring: Box<RingWriter>,
        reply: oneshot::Sender<()>,
    },
    DetachRing {
        room: RoomName,
        reply: oneshot::Sender<()>,
    },
    RequestKeyframe(TrackId),
    Tcp(super::tcp::FromTcp),
    Stop,
}

/// Talks to the SFU's thread. Cheap to clone; the thread ends when [`Handle::stop`] is called.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    waker: hw::udp::Waker,
    port: u16,
    ended: tokio::sync::watch::Receiver<bool>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        waker: hw::udp::Waker,
        port: u16,
        ended: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self { commands, waker, port, ended }
    }

    /// The UDP port: the configured one, or the one the system chose for 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the thread runs.
    pub fn is_running(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Answers an offer. The room needs a ring: see [`Handle::attach_ring`]. A publisher with the
    /// same identity is replaced.
    ///
    /// # Errors
    /// [`PublishError`], within five seconds.
    pub async fn publish(
        &self,
        room: RoomName,
        identity: String,
        offer: String,
    ) -> Result<Published, PublishError> {
        self.ask(|reply| Command::Publish { room, identity, offer, reply }).await?
    }

    /// Applies an ICE fragment to a session (RFC 9725 §4.3).
    ///
    /// # Errors
    /// [`PatchError`], within five seconds.
    pub async fn patch(
        &self,
        room: RoomName,
        resource: ResourceId,
        if_match: Option<String>,
        fragment: String,
    ) -> Result<Patched, PatchError> {
        self.ask(|reply| Command::Patch { room, resource, if_match, fragment, reply }).await?
    }

    /// Ends a session; says whether there was one.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn delete(&self, room: RoomName, resource: ResourceId) -> Result<bool, CommandError> {
        self.ask(|reply| Command::Delete { room, resource, reply }).await
    }

    /// Opens a room for publishers: what they send goes to `ring`. A ring the room had before is
    /// dropped; publishers stay.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn attach_ring(&self, room: RoomName, ring: RingWriter) -> Result<(), CommandError> {
        let ring = Box::new(ring);
        self.ask(|reply| Command::AttachRing { room, ring, reply }).await
    }

    /// Closes a room: its publishers are sent away, its ring is dropped.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn detach_ring(&self, room: RoomName) -> Result<(), CommandError> {
        self.ask(|reply| Command::DetachRing { room, reply }).await
    }

    /// A decoder needs a key frame of this track. Coalesced, and repeated until one comes.
    pub fn request_keyframe(&self, track: TrackId) {
        // A full queue loses the request; the decoder asks again as long as it has no picture.
        if self.commands.try_send(Command::RequestKeyframe(track)).is_ok() {
            self.waker.wake();
        }
    }

    /// Sends every publisher away and ends the thread; returns when it has ended, or after five
    /// seconds.
    pub async fn stop(&self) {
        if self.send(Command::Stop).await.is_ok() {
            let mut ended = self.ended.clone();
            // An error means that the thread is gone already, which is what is waited for.
            drop(tokio::time::timeout(PATIENCE, ended.wait_for(|ended| *ended)).await);
        }
    }

    async fn send(&self, command: Command) -> Result<(), CommandError> {
        let sent = tokio::time::timeout(PATIENCE, self.commands.send(command)).await;
        sent.map_err(|_| CommandError::Busy)?.map_err(|_| CommandError::Stopped)?;
        self.waker.wake();
        Ok(())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CommandError::Stopped),
            Err(_) => Err(CommandError::Busy),
        }
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
