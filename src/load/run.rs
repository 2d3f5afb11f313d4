//! One run: connect everybody, measure, end everything, tell.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::driver::{Driver, Order, Progress};
use super::histogram::Histogram;
use super::media::Media;
use super::net::{Local, Network};
use super::report::Report;
use super::seat::{Seat, Sessions, lock};
use super::target::janus::Janus;
use super::target::proscenium::{Auth, Proscenium};
use super::target::{Feed, Target, TargetError, Who};
use super::usage::{self, Usage};
use super::{MediaError, NetError};
use crate::rooms::token::Signer;

/// Connections being set up at the same time: a server's handshakes queue no longer than that.
const AT_ONCE: usize = 16;
/// What settles after the last connection before it counts.
const SETTLING: Duration = Duration::from_secs(1);
/// How long ending every session may take.
const ENDING: Duration = Duration::from_secs(15);
/// Above so many subscriptions, only one packet in [`SAMPLE`] is decrypted unless told otherwise.
const DECRYPT_ALL: usize = 32;
const SAMPLE: u32 = 16;

/// What to play.
pub struct Plan {
    /// The server.
    pub server: Where,
    /// Rooms to use.
    pub rooms: usize,
    /// Publishers in each.
    pub publishers: usize,
    /// Participants in each, who subscribe to every publisher in it.
    pub participants: usize,
    /// How long to measure.
    pub seconds: Duration,
    /// Video bits a second of a publisher.
    pub rate: u64,
    /// Decrypt one packet in so many.
    pub decrypt: Option<u32>,
    /// The server's process, to read its cost.
    pub server_pid: Option<u32>,
    /// Threads that carry media.
    pub threads: usize,
    /// Send from addresses in this network, all of which is this machine's.
    pub spread: Option<Network>,
}

/// A server, and how to be let in.
pub enum Where {
    /// Proscenium at this URL, in the rooms named or else those it has.
    Proscenium {
        /// `http://host:port`.
        url: String,
        /// Tokens.
        tokens: Tokens,
        /// Rooms to use; none for whatever the server has.
        rooms: Vec<String>,
    },
    /// Janus at this URL, `http://host:8088/janus`.
    Janus {
        /// See above.
        url: String,
    },
}

/// Bearer tokens.
pub enum Tokens {
    /// This one for everybody, or none.
    Given(Option<String>),
    /// Signed here, one for each.
    Signed(Arc<Signer>),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server would not.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Nothing to send.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// No sockets, or they broke.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A publisher did not connect.
    #[error(
        "a publisher got an answer, but no connection within 20 s: is the server's media port \
         reachable from here?"
    )]
    NotConnected,
    /// No subscriber connected.
    #[error("none of {wanted} subscriptions came up; the first failed with: {first}")]
    NobodyConnected {
        /// Subscriptions asked for.
        wanted: usize,
        /// Why the first failed.
        first: String,
    },
    /// The URL has no host that could be found.
    #[error("'{0}' names no host that can be found")]
    NoHost(String),
    /// The process is not there.
    #[error("there is no process {0} to measure (--server-pid)")]
    NoProcess(u32),
    /// A media thread ended before it was told to.
    #[error("a thread that carries media ended by itself")]
    ThreadLost,
    /// It was stopped before there was anything to report.
    #[error("stopped before everybody was connected")]
    Stopped,
}

/// What is going on, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// Connections come up.
    Connecting {
        /// Subscriptions that are up.
        up: usize,
        /// Those that failed.
        failed: usize,
        /// All of them.
        of: usize,
    },
    /// Measuring, since so long, at so many packets and bits a second.
    Measuring {
        /// Since the beginning of it.
        since: Duration,
        /// Packets a second that arrived lately.
        packets: f64,
        /// Bits a second that arrived lately.
        bits: f64,
    },
    /// Sessions are ended.
    Ending,
}

/// Plays `plan` until it is over, and ends everything it began. Sending `stop` ends it early: while
/// connections come up there is nothing to report, later there is.
///
/// # Errors
/// [`LoadError`]; sessions that were opened are ended all the same.
pub async fn run(
    plan: Plan,
    mut stop: oneshot::Receiver<()>,
    mut watch: impl FnMut(Phase),
) -> Result<Report, LoadError> {
    let usage_of = |pid| usage::of(pid).ok_or(LoadError::NoProcess(pid));
    let before = plan.server_pid.map(usage_of).transpose()?;
    let local = address_towards(plan.server.url()).await?;
    let from = plan.spread.map_or_else(|| Local::towards(local), Local::Spread);
    let media = Media::make(plan.rate)?;
    let mut target = match &plan.server {
        Where::Proscenium { url, tokens, rooms } => {
            let auth = match tokens {
                Tokens::Given(token) => Auth::Token(token.clone()),
                Tokens::Signed(signer) => Auth::Signer(Arc::clone(signer)),
            };
            Target::Proscenium(Proscenium::new(url, auth, rooms.clone()))
        }
        Where::Janus { url } => {
            Target::Janus(Janus::open(url, plan.publishers).await.map_err(TargetError::from)?)
        }
    };
    let rooms = target.rooms(plan.rooms).await?;

    let threads = plan.threads.max(1);
    let each = plan.connections().div_ceil(threads);
    let drivers: Result<Vec<Driver>, NetError> =
        (0..threads).map(|_| Driver::start(from, each)).collect();
    let mut play = Play {
        plan,
        target: Arc::new(target),
        drivers: drivers?,
        media,
        taken: 0,
        sessions: Arc::default(),
        set_up: SetUp::default(),
    };
    let outcome = match play.connect(&rooms, &mut stop, &mut watch).await {
        Ok(()) => play.measure(&mut stop, &mut watch).await,
        Err(error) => Err(error),
    };
    watch(Phase::Ending);
    let _ = tokio::time::timeout(ENDING, play.end()).await;
    let window = outcome?;
    let mut totals = Vec::new();
    for driver in std::mem::take(&mut play.drivers) {
        totals.push(driver.totals().await.ok_or(LoadError::ThreadLost)??);
    }
    Ok(Report::of(&play.plan, &play.set_up, &window, before, totals))
}

impl Where {
    fn url(&self) -> &str {
        match self {
            Self::Proscenium { url, .. } | Self::Janus { url } => url,
        }
    }
}

impl Plan {
    fn connections(&self) -> usize {
        self.rooms * self.publishers * (1 + self.participants)
    }

    fn subscriptions(&self) -> usize {
        self.rooms * self.publishers * self.participants
    }

    pub(super) fn decrypt(&self) -> u32 {
        let few = self.subscriptions() <= DECRYPT_ALL;
        self.decrypt.unwrap_or(if few { 1 } else { SAMPLE }).max(1)
    }
}

/// A run under way.
struct Play {
    plan: Plan,
    target: Arc<Target>,
    drivers: Vec<Driver>,
    media: Arc<Media>,
    /// Connections that have a place.
    taken: usize,
    /// What has to be ended.
    sessions: Sessions,
    set_up: SetUp,
}

/// How connecting went.
#[derive(Default)]
pub(super) struct SetUp {
    /// Set-up times of subscriptions that came up, microseconds.
    pub(super) took: Histogram,
    /// Why others did not.
    pub(super) failures: Vec<String>,
}

/// What the machine said when measuring began and when it was over.
pub(super) struct Window {
    pub(super) server: Option<(Usage, Usage)>,
    pub(super) drops: Option<u64>,
}

impl Play {
    fn seat(&mut self) -> Result<Seat, LoadError> {
        let (thread, index) = (self.taken % self.drivers.len(), self.taken / self.drivers.len());
        self.taken += 1;
        let driver = self.drivers.get(thread).ok_or(LoadError::ThreadLost)?;
        Ok(Seat {
            orders: driver.orders.clone(),
            index,
            local: *driver.addresses.get(index).ok_or(LoadError::ThreadLost)?,
            target: Arc::clone(&self.target),
            sessions: Arc::clone(&self.sessions),
        })
    }

    /// Publishers first, one after the other; then their subscribers, some at a time.
    async fn connect(
        &mut self,
        rooms: &[String],
        stop: &mut oneshot::Receiver<()>,
        watch: &mut impl FnMut(Phase),
    ) -> Result<(), LoadError> {
        let mut feeds: Vec<(usize, Feed)> = Vec::new();
        for (room, name) in rooms.iter().enumerate() {
            for number in 0..self.plan.publishers {
                let who = Who { room, publishes: true, number };
                let (seat, media) = (self.seat()?, Arc::clone(&self.media));
                let feed = tokio::select! {
                    feed = seat.publish(name, who, media) => feed?,
                    _ = &mut *stop => return Err(LoadError::Stopped),
                };
                feeds.push((room, feed));
            }
        }

        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let decrypt = self.plan.decrypt();
        let of = self.plan.subscriptions();
        let mut coming = JoinSet::new();
        for number in 0..self.plan.participants {
            for (room, feed) in &feeds {
                let who = Who { room: *room, publishes: false, number };
                let name = rooms.get(*room).cloned().unwrap_or_default();
                let (seat, gate, feed) = (self.seat()?, Arc::clone(&gate), feed.clone());
                coming.spawn(async move {
                    // The gate is never closed.
                    let _permit = gate.acquire_owned().await;
                    seat.subscribe(&name, who, &feed, decrypt).await
                });
            }
        }
        let (mut up, mut failed) = (0, 0);
        loop {
            watch(Phase::Connecting { up, failed, of });
            let next = tokio::select! {
                next = coming.join_next() => next,
                _ = &mut *stop => return Err(LoadError::Stopped),
            };
            match next {
                None => break,
                Some(Ok(Ok(took))) => {
                    up += 1;
                    self.set_up.took.add(took.as_micros() as u64);
                }
                Some(Ok(Err(why))) => {
                    failed += 1;
                    self.set_up.failures.push(why);
                }
                Some(Err(lost)) => {
                    failed += 1;
                    self.set_up.failures.push(lost.to_string());
                }
            }
        }
        match self.set_up.failures.first() {
            Some(first) if up == 0 => {
                Err(LoadError::NobodyConnected { wanted: of, first: first.clone() })
            }
            _ => Ok(()),
        }
    }

    async fn measure(
        &mut self,
        stop: &mut oneshot::Receiver<()>,
        watch: &mut impl FnMut(Phase),
    ) -> Result<Window, LoadError> {
        tokio::select! {
            () = tokio::time::sleep(SETTLING) => {}
            _ = &mut *stop => return Err(LoadError::Stopped),
        }
        self.order(|| Order::Mark).await?;
        let server = || self.plan.server_pid.and_then(usage::of);
        let (server_before, drops_before) = (server(), self.drops());
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.tick().await;
        let (mut packets, mut bytes, mut at) = (0, 0, began);
        loop {
            let left = self.plan.seconds.saturating_sub(began.elapsed());
            tokio::select! {
                () = tokio::time::sleep(left) => break,
                _ = &mut *stop => break,
                _ = tick.tick() => {}
            }
            let sum = |of: fn(&Progress) -> &AtomicU64| -> u64 {
                self.drivers.iter().map(|d| of(&d.progress).load(Ordering::Relaxed)).sum()
            };
            let (packets_now, bytes_now) = (sum(|p| &p.datagrams), sum(|p| &p.bytes));
            let span = at.elapsed().as_secs_f64().max(1e-3);
            watch(Phase::Measuring {
                since: began.elapsed(),
                packets: packets_now.saturating_sub(packets) as f64 / span,
                bits: bytes_now.saturating_sub(bytes) as f64 * 8.0 / span,
            });
            (packets, bytes, at) = (packets_now, bytes_now, Instant::now());
        }
        self.order(|| Order::End).await?;
        let server = server_before.zip(server());
        let drops = drops_before.zip(self.drops()).map(|(a, b)| b.saturating_sub(a));
        Ok(Window { server, drops })
    }

    async fn order(&self, order: impl Fn() -> Order) -> Result<(), LoadError> {
        for driver in &self.drivers {
            if !driver.orders.give(order()).await {
                return Err(LoadError::ThreadLost);
            }
        }
        Ok(())
    }

    /// Packets for which the generator's own sockets had no room.
    fn drops(&self) -> Option<u64> {
        let addresses = self.drivers.iter().flat_map(|driver| &driver.addresses);
        usage::udp_drops(&addresses.map(SocketAddr::port).collect())
    }

    /// Ends every session, some at a time.
    async fn end(&self) {
        let sessions = std::mem::take(&mut *lock(&self.sessions));
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut ending = JoinSet::new();
        for session in sessions {
            let (target, gate) = (Arc::clone(&self.target), Arc::clone(&gate));
            ending.spawn(async move {
                let _permit = gate.acquire_owned().await;
                if let Err(error) = target.end(&session).await {
                    tracing::debug!(%error, "a session did not end as it should");
                }
            });
        }
        while ending.join_next().await.is_some() {}
        self.target.leave().await;
    }
}

/// This machine's address on the way to the server: connecting a UDP socket sends nothing.
pub(super) async fn address_towards(url: &str) -> Result<IpAddr, LoadError> {
    let none = || LoadError::NoHost(url.to_owned());
    let uri: hyper::Uri = url.parse().map_err(|_| none())?;
    let host = uri.host().ok_or_else(none)?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| none())?;
    // IPv4 first: on loopback it lets all connections share a socket.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let towards = *found.first().ok_or_else(none)?;
    let any: IpAddr = if towards.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(towards)?;
        socket.local_addr()
    });
    Ok(local.map_err(NetError::Wait)?.ip())
}
