//! The servers that load can be put on, behind one set of verbs. What differs is signalling: who
//! offers, what a session is and how it ends. Media is media.

pub(super) mod janus;
pub(super) mod proscenium;

pub use janus::JanusError;
pub use proscenium::ProsceniumError;

use std::time::Instant;

use janus::Janus;
use proscenium::Proscenium;

use super::SdpError;
use super::connection::Connection;
use super::sdp::Agreed;

/// Why a server did not take a connection.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Proscenium, or another server with WHIP and WHEP.
    #[error(transparent)]
    Proscenium(#[from] ProsceniumError),
    /// Janus.
    #[error(transparent)]
    Janus(#[from] JanusError),
    /// The descriptions do not fit.
    #[error(transparent)]
    Sdp(#[from] SdpError),
}

/// A server.
pub(super) enum Target {
    Proscenium(Proscenium),
    Janus(Janus),
}

/// Somebody who publishes, as the server names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// A person on stage.
    Person(String),
    /// A publisher in a videoroom.
    Videoroom(u64),
}

/// Something to end when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Whose it is.
    pub(super) who: Who,
    /// Its URL, where sessions have one.
    pub(super) url: Option<String>,
}

/// A publisher or a participant, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) room: usize,
    pub(super) publishes: bool,
    pub(super) number: usize,
}

impl Target {
    /// Makes sure of the rooms: their names, as many as `wanted`.
    pub(super) async fn rooms(&mut self, wanted: usize) -> Result<Vec<String>, TargetError> {
        match self {
            Self::Proscenium(server) => Ok(server.rooms(wanted).await?),
            Self::Janus(server) => Ok(server.rooms(wanted).await?),
        }
    }

    /// Publishes by `connection`.
    pub(super) async fn publish(
        &self,
        room: &str,
        who: Who,
        connection: &mut Connection,
    ) -> Result<(Session, Feed), TargetError> {
        let offer = connection.offer(Instant::now()).map_err(SdpError::from)?;
        let (answer, session, feed) = match self {
            Self::Proscenium(server) => server.publish(room, who, offer).await?,
            Self::Janus(server) => server.publish(room, who, offer).await?,
        };
        connection.accept(&answer, Instant::now())?;
        Ok((session, feed))
    }

    /// Subscribes to `feed` by `connection`.
    pub(super) async fn subscribe(
        &self,
        room: &str,
        who: Who,
        feed: &Feed,
        connection: &mut Connection,
    ) -> Result<(Session, Agreed), TargetError> {
        match self {
            Self::Proscenium(server) => {
                let offer = connection.offer(Instant::now()).map_err(SdpError::from)?;
                let (answer, session) = server.subscribe(room, who, feed, offer).await?;
                Ok((session, connection.accept(&answer, Instant::now())?))
            }
            Self::Janus(server) => {
                let (offer, handle) = server.subscribe(room, feed).await?;
                let (answer, agreed) = connection.answer(&offer, Instant::now())?;
                server.start(handle, answer).await?;
                Ok((Session { who, url: None }, agreed))
            }
        }
    }

    /// Ends a session; best effort, the server notices anyhow.
    pub(super) async fn end(&self, session: &Session) -> Result<(), TargetError> {
        match self {
            Self::Proscenium(server) => Ok(server.end(session).await?),
            // They end all at once, with the one session at Janus: see `leave`.
            Self::Janus(_) => Ok(()),
        }
    }

    /// Ends what is not a single connection's.
    pub(super) async fn leave(&self) {
        if let Self::Janus(server) = self {
            server.leave().await;
        }
    }
}
