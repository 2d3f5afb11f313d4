//! How everything else talks to the SFU's thread.

use super::words::{
    CommandError, PatchError, Patched, Publish, PublishError, Published, ResourceId, Subscribe,
    SubscribeError, Subscribed,
};
use crate::link::ring::RingWriter;
use crate::time::{PersonId, RoomName, TrackId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a request may wait for the thread: it answers within microseconds, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request to the SFU's thread.
pub(super) enum Command {
    Publish(Publish, oneshot::Sender<Result<Published, PublishError>>),
    Subscribe(Subscribe, oneshot::Sender<Result<Subscribed, SubscribeError>>),
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
    View {
        room: RoomName,
        resource: ResourceId,
        height: u32,
        reply: oneshot::Sender<bool>,
    },
    SendAway {
        room: RoomName,
        person: PersonId,
        reply: oneshot::Sender<bool>,
    },
    Mute {
        room: RoomName,
        person: PersonId,
        muted: bool,
        reply: oneshot::Sender<bool>,
    },
    SetStage {
        room: RoomName,
        stage: Arc<[u8]>,
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

    /// Answers an offer to send. The room needs a ring: see [`Handle::attach_ring`]. A person has
    /// at most one connection of each kind: the newer replaces the older.
    ///
    /// # Errors
    /// [`PublishError`], within five seconds.
    pub async fn publish(&self, publish: Publish) -> Result<Published, PublishError> {
        self.ask(|reply| Command::Publish(publish, reply)).await?
    }

    /// Answers an offer to receive what a person on stage shows. The session ends when that
    /// connection of theirs does.
    ///
    /// # Errors
    /// [`SubscribeError`], within five seconds.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscribed, SubscribeError> {
        self.ask(|reply| Command::Subscribe(subscribe, reply)).await?
    }

    /// How large a subscriber shows what it receives: `height` pixels, 0 for not at all, which
    /// pauses the picture and not the sound. Says whether there is such a session.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn view(
        &self,
        room: RoomName,
        resource: ResourceId,
        height: u32,
    ) -> Result<bool, CommandError> {
        self.ask(|reply| Command::View { room, resource, height, reply }).await
    }

    /// Ends everything a person sends to and receives from a room; says whether there was anything.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn send_away(&self, room: RoomName, person: PersonId) -> Result<bool, CommandError> {
        self.ask(|reply| Command::SendAway { room, person, reply }).await
    }

    /// Whether a person's sound is neither forwarded nor put into the ring. Holds for connections
    /// they make later too, until the room is closed. Says whether the room is open.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn mute(
        &self,
        room: RoomName,
        person: PersonId,
        muted: bool,
    ) -> Result<bool, CommandError> {
        self.ask(|reply| Command::Mute { room, person, muted, reply }).await
    }

    /// What the room's transcoder is told about the stage: a [`crate::link::wire::Stage`], encoded.
    /// It goes into the ring now, every second, and first of all into a ring that is attached
    /// later. Says whether the room is open: before its first ring there is nobody to tell.
    ///
    /// # Errors
    /// [`CommandError`], within five seconds.
    pub async fn set_stage(&self, room: RoomName, stage: Arc<[u8]>) -> Result<bool, CommandError> {
        self.ask(|reply| Command::SetStage { room, stage, reply }).await
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
