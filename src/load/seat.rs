//! The place of one connection in a run: it is described to the server, and handed to the driver.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::SdpError;
use super::connection::Connection;
use super::driver::{Member, Order, Orders, Role};
use super::media::{Media, Source};
use super::run::LoadError;
use super::sink::Sink;
use super::target::{Feed, Session, Target, TargetError, Who};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(20);

/// What has to be ended when the run is over.
pub(super) type Sessions = Arc<Mutex<Vec<Session>>>;

/// What a connection that is being set up needs of the run.
pub(super) struct Seat {
    pub(super) orders: Orders,
    pub(super) index: usize,
    pub(super) local: SocketAddr,
    pub(super) target: Arc<Target>,
    pub(super) sessions: Sessions,
}

impl Seat {
    pub(super) async fn publish(
        self,
        room: &str,
        who: Who,
        media: Arc<Media>,
    ) -> Result<Feed, LoadError> {
        let made = Connection::to_send(self.local, Instant::now());
        let (mut connection, ssrcs, senders) =
            made.map_err(|error| TargetError::from(SdpError::from(error)))?;
        let (session, feed) = self.target.publish(room, who, &mut connection).await?;
        lock(&self.sessions).push(session);
        let mut types = senders.map(|sender| connection.payload_type(sender).unwrap_or(0));
        let [video, audio] = &mut types;
        let source = Box::new(Source::new(media, (ssrcs.video, *video), (ssrcs.audio, *audio)));
        let role = Role::Publish { source, senders, began: None };
        if self.join(connection, role).await { Ok(feed) } else { Err(LoadError::NotConnected) }
    }

    /// How long it took, or why it failed.
    pub(super) async fn subscribe(
        self,
        room: &str,
        who: Who,
        feed: &Feed,
        decrypt: u32,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let mut connection =
            Connection::to_receive(self.local, began).map_err(|error| error.to_string())?;
        let subscribed = self.target.subscribe(room, who, feed, &mut connection).await;
        let (session, agreed) = subscribed.map_err(|error| error.to_string())?;
        lock(&self.sessions).push(session);
        let role = Role::Subscribe(Box::new(Sink::new(agreed, decrypt, self.index)));
        if self.join(connection, role).await {
            Ok(began.elapsed())
        } else {
            Err("an answer, but no connection within 20 s".to_owned())
        }
    }

    /// Whether it connects.
    pub(super) async fn join(&self, connection: Connection, role: Role) -> bool {
        let (connected, wait) = oneshot::channel();
        let member = Member { index: self.index, connection, role, connected: Some(connected) };
        self.orders.give(Order::Join(Box::new(member))).await
            && matches!(tokio::time::timeout(CONNECTING, wait).await, Ok(Ok(())))
    }
}

pub(super) fn lock(sessions: &Mutex<Vec<Session>>) -> MutexGuard<'_, Vec<Session>> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}
