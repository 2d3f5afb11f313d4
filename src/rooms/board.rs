//! What is going on in every room, for whoever asks: written by the daemon's classes, read by the API.

use crate::time::RoomName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What a room is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No class yet, or one that has not sent anything.
    #[default]
    Waiting,
    /// A class is live.
    Live,
    /// The last class is over; its playlists are still there.
    Ended,
}

/// One rendition of a live class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendition {
    /// As it stands in URLs.
    pub name: String,
    /// Value of the CODECS attribute.
    pub codecs: String,
    /// Width in pixels; `null` for sound.
    pub width: Option<u32>,
    /// Height in pixels; `null` for sound.
    pub height: Option<u32>,
    /// Bits a second.
    pub bitrate: u64,
    /// Why it was given up, if it was.
    pub dropped: Option<String>,
}

/// What a room is doing, in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// The class's session, as it stands in media URLs.
    pub session: Option<String>,
    /// When the class began, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Whether somebody publishes right now.
    pub publisher: bool,
    /// The renditions of the class.
    pub renditions: Vec<Rendition>,
}

/// All rooms' statuses. Cheap to clone; a room never heard of is [`State::Waiting`].
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<BTreeMap<RoomName, Status>>>);

impl Board {
    /// What `room` is doing.
    pub fn get(&self, room: &RoomName) -> Status {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        board.get(room).cloned().unwrap_or_default()
    }

    /// Changes what is written about `room`.
    pub fn update(&self, room: &RoomName, change: impl FnOnce(&mut Status)) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(board.entry(room.clone()).or_default());
    }

    /// Forgets the class of `room`.
    pub fn clear(&self, room: &RoomName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(room);
    }

    /// How many rooms are live.
    pub fn live(&self) -> usize {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        board.values().filter(|status| status.state == State::Live).count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_room_waits_until_something_is_written_about_it() {
        let (board, room) = (Board::default(), RoomName::parse("bar").unwrap());
        assert_eq!(board.get(&room).state, State::Waiting);
        board.clone().update(&room, |status| status.state = State::Live);
        assert_eq!((board.get(&room).state, board.live()), (State::Live, 1));
        board.clear(&room);
        assert_eq!((board.get(&room).state, board.live()), (State::Waiting, 0));
    }
}
