//! Rooms, and who may do what in them.
//!
//! [`Rooms`] is what the HTTP side knows: which rooms exist, and how to have one made live. The
//! daemon is on the other end of a bounded queue; it makes ring and transcoder and answers.

pub mod board;
pub mod name;
pub mod stage;
pub mod token;

use crate::time::RoomName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a publisher waits for a room to be made live.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// Requests that may wait for the daemon; more get [`OpenError::Busy`].
const OPEN_QUEUE: usize = 32;

/// `[[room]]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomConfig {
    /// As it stands in URLs.
    pub name: RoomName,
    /// For people; the name where it is left out.
    #[serde(default)]
    pub title: Option<String>,
}

impl RoomConfig {
    /// The title people see.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(self.name.as_str())
    }
}

/// Why a room could not be made live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No room of that name is configured.
    #[error("there is no room '{0}'")]
    Unknown(RoomName),
    /// Too many rooms are being opened at once, or it takes too long.
    #[error("the room is still being made ready: try again in a few seconds")]
    Busy,
    /// The transcoder could not be started.
    #[error("the room could not be made live: {0}")]
    Failed(String),
    /// The daemon is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

/// What the daemon is asked about a configured room.
#[derive(Debug)]
pub enum Request {
    /// Make it live (ring, transcoder), or say that it is already.
    Open {
        /// Which.
        room: RoomName,
        /// Where the outcome goes.
        reply: oneshot::Sender<Result<(), OpenError>>,
    },
    /// End its class, if there is one.
    End {
        /// Which.
        room: RoomName,
    },
}

/// The configured rooms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    rooms: Arc<BTreeMap<RoomName, RoomConfig>>,
    requests: mpsc::Sender<Request>,
}

impl Rooms {
    /// The rooms, and the daemon's end: where requests arrive.
    pub fn new(rooms: impl IntoIterator<Item = RoomConfig>) -> (Self, mpsc::Receiver<Request>) {
        let (requests, daemon) = mpsc::channel(OPEN_QUEUE);
        let rooms = rooms.into_iter().map(|room| (room.name.clone(), room)).collect();
        (Self { rooms: Arc::new(rooms), requests }, daemon)
    }

    /// The room of that name.
    pub fn get(&self, name: &RoomName) -> Option<&RoomConfig> {
        self.rooms.get(name)
    }

    /// All rooms by name.
    pub fn iter(&self) -> impl Iterator<Item = &RoomConfig> {
        self.rooms.values()
    }

    /// Has the daemon make `room` live; returns at once where it is. Ends within 15 s.
    pub async fn open_for_publish(&self, room: &RoomName) -> Result<(), OpenError> {
        self.open_within(room, OPEN_PATIENCE).await
    }

    /// Has the daemon end the class of `room`, and does not wait for it.
    ///
    /// # Errors
    /// The daemon does not take the request.
    pub fn end(&self, room: &RoomName) -> Result<(), OpenError> {
        self.request(Request::End { room: room.clone() })
    }

    fn request(&self, request: Request) -> Result<(), OpenError> {
        self.requests.try_send(request).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => OpenError::Busy,
            mpsc::error::TrySendError::Closed(_) => OpenError::Stopping,
        })
    }

    async fn open_within(&self, room: &RoomName, patience: Duration) -> Result<(), OpenError> {
        if self.get(room).is_none() {
            return Err(OpenError::Unknown(room.clone()));
        }
        let (reply, answer) = oneshot::channel();
        self.request(Request::Open { room: room.clone(), reply })?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(OpenError::Stopping),
            Err(_) => Err(OpenError::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn room(name: &str) -> RoomConfig {
        RoomConfig { name: RoomName::parse(name).unwrap(), title: None }
    }

    #[tokio::test]
    async fn opening_asks_the_daemon_and_brings_its_answer() {
        let (rooms, mut daemon) = Rooms::new([room("bar")]);
        let asked = tokio::spawn(async move {
            let Some(Request::Open { room, reply }) = daemon.recv().await else {
                panic!("to open")
            };
            reply.send(Err(OpenError::Failed("no encoder".into()))).unwrap();
            room
        });
        let answer = rooms.open_for_publish(&room("bar").name).await;
        assert_eq!(answer, Err(OpenError::Failed("no encoder".into())));
        assert_eq!(asked.await.unwrap(), room("bar").name);
    }

    #[tokio::test]
    async fn unknown_rooms_never_reach_the_daemon() {
        let (rooms, mut daemon) = Rooms::new([room("bar")]);
        let name = room("foo").name;
        assert_eq!(rooms.open_for_publish(&name).await, Err(OpenError::Unknown(name)));
        assert!(daemon.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_silent_daemon_and_a_dead_one_both_end_the_wait() {
        let (rooms, daemon) = Rooms::new([room("bar")]);
        let short = Duration::from_millis(1);
        assert_eq!(rooms.open_within(&room("bar").name, short).await, Err(OpenError::Busy));
        drop(daemon);
        assert_eq!(rooms.open_for_publish(&room("bar").name).await, Err(OpenError::Stopping));
    }
}
