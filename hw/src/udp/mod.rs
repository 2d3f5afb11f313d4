//! One UDP socket, owned by one thread: on io_uring, or on its portable twin.
//!
//! The owner calls [`Socket::wait`], which hands out what arrived as a batch of [`Datagram`]s, then
//! [`Socket::queue`] for every packet it wants sent and [`Socket::flush`] once. Payloads are handed
//! out where the kernel wrote them and may be changed in place (SRTP is decrypted so). Every
//! datagram tells the local address it came to, and every packet may name the local address it
//! leaves from: a box with several addresses answers from the one that was asked.
//!
//! Two engines do the same thing, and the tests hold them against each other:
//!
//! * io_uring: one multishot `recvmsg` fills a ring of provided buffers, so a busy socket
//!   costs a few hundredths of a system call a packet.
//! * portable: `recvmmsg` and `sendmmsg`, for the many hosts and containers that forbid io_uring.
//!   It carries the whole product.
//!
//! Both send a run of equal-sized packets to one peer as one UDP GSO send (`UDP_SEGMENT`).
//!
//! Nothing here knows RTP, ICE or what a room is.

mod address;
mod error;
mod open;
mod portable;
mod send;
mod uring;
mod waker;

#[cfg(test)]
mod tests;

pub use error::UdpError;
pub use uring::uring_available;
pub use waker::Waker;

use portable::Portable;
use send::{Outbox, Queued};
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;
use uring::Uring;

/// At most so many datagrams are handed out by one [`Socket::wait`], so that its owner's timers get
/// their turn under any load.
pub const MAX_BATCH: usize = 256;

/// The engine a socket runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Multishot receive into provided buffers.
    Uring,
    /// `recvmmsg` and `sendmmsg`.
    Portable,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "io_uring",
            Self::Portable => "portable",
        })
    }
}

/// Which engine the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// io_uring where it is allowed and complete, else portable.
    #[default]
    Auto,
    /// io_uring, or no socket.
    Uring,
    /// Portable, even where io_uring would work.
    Portable,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "io_uring",
            Self::Portable => "portable",
        })
    }
}

/// Why a text is no [`Choice`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no UDP backend: use 'auto', 'io_uring' or 'portable'")]
pub struct BadChoice(String);

impl FromStr for Choice {
    type Err = BadChoice;
    fn from_str(text: &str) -> Result<Self, BadChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::Uring),
            "portable" => Ok(Self::Portable),
            other => Err(BadChoice(other.chars().take(40).collect())),
        }
    }
}

/// What a socket is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Receive buffers the kernel may fill before the owner comes back; rounded up to a power of
    /// two, between 8 and 32768. The portable engine takes at most 64 a system call.
    pub recv_buffers: u16,
    /// The longest datagram taken, in bytes; longer ones are counted as truncated and dropped.
    pub buffer_len: usize,
    /// Kernel receive and send buffer to ask for, in bytes. The kernel grants what it allows.
    pub socket_buffer: usize,
    /// The engine.
    pub backend: Choice,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { recv_buffers: 1024, buffer_len: 2048, socket_buffer: 4 << 20, backend: Choice::Auto }
    }
}

/// A packet to send.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The peer.
    pub to: SocketAddr,
    /// The local address to send from, when known; ignored if it is not of the peer's family.
    pub from: Option<IpAddr>,
    /// The packet's bytes.
    pub payload: &'a [u8],
}

/// A packet that arrived.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The peer. IPv4 peers of a dual-stack socket have plain IPv4 addresses here.
    pub from: SocketAddr,
    /// The local address and port it was sent to.
    pub to: SocketAddr,
    /// Its bytes, where the kernel wrote them; the owner may change them in place.
    pub payload: &'a mut [u8],
}

/// Why [`Socket::wait`] returned: all zero is a timeout (or a signal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakeup {
    /// Datagrams handed out.
    pub datagrams: usize,
    /// Whether a [`Waker`] fired since the last call that told so.
    pub woken: bool,
}

/// What one [`Socket::flush`] did, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Packets the kernel took.
    pub sent: usize,
    /// Packets it did not take: full queues, no route, forbidden.
    pub dropped: usize,
}

/// Counters since the socket was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams handed out.
    pub received: u64,
    /// Packets the kernel took.
    pub sent: u64,
    /// GSO sends, each of at least two packets.
    pub gso_runs: u64,
    /// Packets the kernel did not take.
    pub dropped_send: u64,
    /// Datagrams dropped because they were longer than [`UdpConfig::buffer_len`].
    pub truncated: u64,
    /// Times the multishot receive had ended and was armed anew (io_uring).
    pub rearms: u64,
    /// Times the kernel found no free receive buffer (io_uring). Nothing is lost by that as long as
    /// the socket's own buffer has room.
    pub enobufs: u64,
    /// System calls of the receive and send paths.
    pub syscalls: u64,
}

/// A bound UDP socket. See the module's text.
///
/// It may be made on one thread and moved to another, until its first `wait` or `flush`: from then
/// on it belongs to the thread that called.
#[derive(Debug)]
pub struct Socket {
    engine: Engine,
    stats: Stats,
    local: SocketAddr,
    waker: Waker,
    why_portable: Option<String>,
    /// Of a flush that `queue` had to do by itself.
    carried: FlushStats,
    failed: Option<UdpError>,
    // Last: the engine's kernel requests end before the descriptor closes.
    socket: UdpSocket,
}

#[derive(Debug)]
enum Engine {
    Uring(Box<Uring>),
    Portable(Box<Portable>),
}

impl Engine {
    /// The engine the configuration asks for, its waker, and why it is not io_uring.
    fn choose(
        socket: &UdpSocket,
        cfg: &UdpConfig,
    ) -> Result<(Self, Waker, Option<String>), UdpError> {
        let portable = |why| {
            let engine = Portable::new(cfg, Outbox::new(socket));
            Ok((Self::Portable(Box::new(engine)), Waker::new(true)?, why))
        };
        if cfg.backend == Choice::Portable {
            return portable(None);
        }
        // The probe asks what the host offers; the real ring, larger, may still meet a limit.
        let uring = uring_available().and_then(|()| {
            let waker = Waker::new(false).map_err(|error| error.to_string())?;
            let engine = Uring::new(socket.as_fd(), &waker, cfg, Outbox::new(socket))
                .map_err(|error| uring::explain(&error))?;
            Ok((Self::Uring(Box::new(engine)), waker, None))
        });
        match uring {
            Ok(chosen) => Ok(chosen),
            Err(reason) if cfg.backend == Choice::Uring => Err(UdpError::Uring { reason }),
            Err(reason) => {
                tracing::info!("UDP without io_uring: {reason}");
                portable(Some(reason))
            }
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        match self {
            Self::Uring(engine) => engine.outbox(),
            Self::Portable(engine) => engine.outbox(),
        }
    }
}

impl Socket {
    /// Binds to `addr`. `[::]` takes IPv6 and IPv4; where the host has no IPv6, it becomes
    /// `0.0.0.0`.
    ///
    /// # Errors
    /// [`UdpError::Bind`] if the address cannot be had, [`UdpError::Uring`] if io_uring was asked
    /// for and the host does not offer it, [`UdpError::Io`] for what should not happen.
    pub fn bind(addr: SocketAddr, cfg: &UdpConfig) -> Result<Self, UdpError> {
        let socket = open::open(addr, cfg.socket_buffer)?;
        let local = socket.local_addr().map_err(UdpError::io("getsockname"))?;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let (engine, waker, why_portable) = Engine::choose(&socket, cfg)?;
        Ok(Self {
            engine,
            stats: Stats::default(),
            local,
            waker,
            why_portable,
            carried: FlushStats::default(),
            failed: None,
            socket,
        })
    }

    /// The engine in use.
    pub fn backend(&self) -> Backend {
        match self.engine {
            Engine::Uring(_) => Backend::Uring,
            Engine::Portable(_) => Backend::Portable,
        }
    }

    /// Why [`Choice::Auto`] did not take io_uring; `None` if it did, or if nobody asked for it.
    pub fn why_portable(&self) -> Option<&str> {
        self.why_portable.as_deref()
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A handle other threads use to make [`Socket::wait`] return.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until datagrams arrived, a waker fired or `timeout` passed, and calls `on` for every
    /// datagram, at most [`MAX_BATCH`].
    ///
    /// A lone datagram is handed out within half a millisecond of its arrival.
    ///
    /// # Errors
    /// [`UdpError::WrongThread`] if the socket already belongs to another thread, [`UdpError::Io`]
    /// if the kernel refuses to receive at all. What peers do is never an error.
    pub fn wait(
        &mut self,
        timeout: Duration,
        mut on: impl FnMut(Datagram<'_>),
    ) -> Result<Wakeup, UdpError> {
        let local = self.local;
        match &mut self.engine {
            Engine::Uring(engine) => {
                engine.wait(local, &self.waker, timeout, &mut self.stats, &mut on)
            }
            Engine::Portable(engine) => {
                engine.wait(&self.socket, local, &self.waker, timeout, &mut self.stats, &mut on)
            }
        }
    }

    /// Takes a copy of a packet; it leaves with the next [`Socket::flush`], or earlier if the room
    /// for waiting packets is used up. A packet that cannot be sent (too long, or IPv6 on an IPv4
    /// socket) is counted as dropped.
    pub fn queue(&mut self, transmit: Transmit<'_>) {
        match self.engine.outbox().push(&transmit) {
            Queued::Yes => return,
            Queued::Never => {
                self.carried.dropped += 1;
                self.stats.dropped_send += 1;
                return;
            }
            Queued::Full => {}
        }
        match self.flush_engine() {
            Ok(done) => self.carry(done),
            Err(error) => self.failed = Some(error),
        }
        if self.engine.outbox().push(&transmit) != Queued::Yes {
            self.carried.dropped += 1;
            self.stats.dropped_send += 1;
        }
    }

    /// Sends what is queued. Never waits for room: what the kernel does not take now is dropped and
    /// counted.
    ///
    /// # Errors
    /// [`UdpError::WrongThread`] if the socket already belongs to another thread, [`UdpError::Io`]
    /// if the kernel refuses to send at all.
    pub fn flush(&mut self) -> Result<FlushStats, UdpError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let done = self.flush_engine()?;
        self.carry(done);
        Ok(std::mem::take(&mut self.carried))
    }

    /// Counters since the socket was made.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn flush_engine(&mut self) -> Result<FlushStats, UdpError> {
        match &mut self.engine {
            Engine::Uring(engine) => engine.flush(&self.socket, &mut self.stats),
            Engine::Portable(engine) => Ok(engine.flush(&self.socket, &mut self.stats)),
        }
    }

    fn carry(&mut self, done: FlushStats) {
        self.carried.sent += done.sent;
        self.carried.dropped += done.dropped;
    }
}
