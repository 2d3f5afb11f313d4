//! The transcoder's side of the boundary: takes over what the daemon handed down, waits for news in
//! the ring and for orders, and sends parts. Blocking, without a runtime: the transcoder's main
//! thread is a plain loop.

use super::ring::RingReader;
use super::wire::{self, FromTranscoder, MAX_MESSAGE, Part, Start, ToTranscoder, WireError};
use hw::memory::{MemoryError, sealed};
use hw::process::{Bell, InheritError, Received, SeqPacket, inherited, wait};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the daemon may leave a full socket unread before a sender gives up. It reads all the
/// time; when it does not, it is stuck, and its supervisor's successor will start another child.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// Why the transcoder cannot go on. All of these end the process.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Started by hand.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The descriptors are not what the daemon hands down.
    #[error("the daemon handed down something else than a socket, a ring and a bell")]
    Descriptors,
    /// The ring cannot be mapped.
    #[error("ring: {0}")]
    Ring(MemoryError),
    /// A part could not be put into memory.
    #[error("part: {0}")]
    Part(MemoryError),
    /// The daemon sent, or is to be sent, what is no message.
    #[error("message: {0}")]
    Wire(#[from] WireError),
    /// The daemon sent what does not belong here.
    #[error("unexpected message from the daemon: {0}")]
    Unexpected(&'static str),
    /// The daemon is gone.
    #[error("the daemon closed the connection")]
    Gone,
    /// The daemon said nothing, or read nothing, for too long.
    #[error("the daemon does not {0}")]
    Silent(&'static str),
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

/// What [`Child::wait`] ended with; neither is set after a time-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// The ring may have new records.
    pub news: bool,
    /// The daemon wants the transcoder to flush and end. Stays set once it was.
    pub stop: bool,
}

/// What the daemon says first.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Make this, now.
    Make(Box<Start>),
    /// Be ready to make this: see [`Child::ready`].
    Prepare(Box<Start>),
}

/// The connection to the daemon.
pub struct Child {
    sender: Sender,
    bell: Bell,
    buffer: Vec<u8>,
    stop: bool,
}

/// Sends to the daemon, from any thread.
#[derive(Clone)]
pub struct Sender {
    socket: Arc<SeqPacket>,
}

impl Child {
    /// Takes over descriptors 3 (socket), 4 (ring) and 5 (bell), says hello, and waits up to
    /// `patience` to be told what to make. To be called once, first thing in the process.
    ///
    /// # Errors
    /// [`ChildError`], of every kind.
    pub fn from_inherited_fds(patience: Duration) -> Result<(Self, RingReader, Task), ChildError> {
        let fds: [_; 3] = inherited()?.try_into().map_err(|_| ChildError::Descriptors)?;
        let [socket, ring, bell] = fds;
        let socket = SeqPacket::from_fd(socket).map_err(|_| ChildError::Descriptors)?;
        let bell = Bell::from_fd(bell).map_err(|_| ChildError::Descriptors)?;
        let ring = RingReader::open(ring).map_err(ChildError::Ring)?;
        let (child, task) = Self::connect(socket, bell, patience)?;
        Ok((child, ring, task))
    }

    /// As [`Self::from_inherited_fds`], over a given connection: for tests of a transcoder in one process.
    ///
    /// # Errors
    /// [`ChildError`], but for those of inheriting.
    pub fn connect(
        socket: SeqPacket,
        bell: Bell,
        patience: Duration,
    ) -> Result<(Self, Task), ChildError> {
        let sender = Sender { socket: Arc::new(socket) };
        let mut child = Self { sender, bell, buffer: vec![0; MAX_MESSAGE], stop: false };
        child.send(&FromTranscoder::Hello { pid: std::process::id() })?;
        let until = Instant::now() + patience;
        loop {
            match child.receive()? {
                Some(ToTranscoder::Start(start)) => return Ok((child, Task::Make(start))),
                Some(ToTranscoder::Prepare(start)) => return Ok((child, Task::Prepare(start))),
                Some(ToTranscoder::Stop) => {
                    return Err(ChildError::Unexpected("Stop before Start"));
                }
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ChildError::Silent("say what to make"));
            }
            wait([(child.sender.socket.as_fd(), false)], left)?;
        }
    }

    /// A spare is prepared: says so, and waits until it is needed. The bell is not touched meanwhile; it
    /// rings for the transcoder that is at work.
    ///
    /// # Errors
    /// [`ChildError::Gone`] when the class ends without needing it; messages that do not belong here.
    pub fn ready(&mut self) -> Result<Start, ChildError> {
        self.send(&FromTranscoder::Ready)?;
        loop {
            match self.receive()? {
                Some(ToTranscoder::Start(start)) => return Ok(*start),
                Some(ToTranscoder::Prepare(_)) => {
                    return Err(ChildError::Unexpected("a second Prepare"));
                }
                Some(ToTranscoder::Stop) => {
                    return Err(ChildError::Unexpected("Stop before Start"));
                }
                None => {}
            }
            // Ends with the daemon: its end of the socket closes.
            wait([(self.sender.socket.as_fd(), false)], Duration::from_secs(3600))?;
        }
    }

    /// Waits until the ring may have new records or the daemon says stop, at most for `timeout`.
    /// Returns at once when the daemon has said so before.
    ///
    /// # Errors
    /// [`ChildError::Gone`] when the daemon is gone; messages that do not belong here.
    pub fn wait(&mut self, timeout: Duration) -> Result<Wake, ChildError> {
        let timeout = if self.stop { Duration::ZERO } else { timeout };
        let [message, rang] =
            wait([(self.sender.socket.as_fd(), false), (self.bell.as_fd(), false)], timeout)?;
        // Silenced before the ring is read: what comes after rings anew.
        let news = rang && self.bell.silence();
        if message {
            while let Some(order) = self.receive()? {
                match order {
                    ToTranscoder::Stop => self.stop = true,
                    ToTranscoder::Start(_) | ToTranscoder::Prepare(_) => {
                        return Err(ChildError::Unexpected("a second Start"));
                    }
                }
            }
        }
        Ok(Wake { news, stop: self.stop })
    }

    /// The bell that [`Self::wait`] listens to, for other threads to end the wait with.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn bell(&self) -> Result<Bell, ChildError> {
        Ok(Bell::from_fd(self.bell.as_fd().try_clone_to_owned()?)?)
    }

    /// A handle to send with from other threads.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// See [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, message: &FromTranscoder) -> Result<(), ChildError> {
        self.sender.send(message)
    }

    /// See [`Sender::send_part`].
    ///
    /// # Errors
    /// As there.
    pub fn send_part(&self, part: Part, slices: &[IoSlice<'_>]) -> Result<(), ChildError> {
        self.sender.send_part(part, slices)
    }

    fn receive(&mut self) -> Result<Option<ToTranscoder>, ChildError> {
        match self.sender.socket.recv(&mut self.buffer) {
            Ok(Received::Message { fd: Some(_), .. }) => {
                Err(ChildError::Unexpected("a descriptor"))
            }
            Ok(Received::Message { len, fd: None }) => {
                Ok(Some(wire::decode(self.buffer.get(..len).unwrap_or_default())?))
            }
            Ok(Received::Broken(why)) => Err(ChildError::Unexpected(why)),
            Ok(Received::Closed) => Err(ChildError::Gone),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl Sender {
    /// Sends a message without a descriptor: any but a part.
    ///
    /// # Errors
    /// [`ChildError::Gone`], [`ChildError::Silent`] when the daemon does not read for 10 s, and
    /// [`ChildError::Wire`] for a message that breaks a rule.
    pub fn send(&self, message: &FromTranscoder) -> Result<(), ChildError> {
        if matches!(message, FromTranscoder::Part(_)) {
            return Err(ChildError::Unexpected("a part without its memory"));
        }
        self.deliver(&wire::encode(message)?, None)
    }

    /// Puts `slices` into sealed memory, one after the other, and sends `part` with it. The offsets
    /// of its fragments count from the start of the first slice.
    ///
    /// # Errors
    /// As [`Self::send`], and [`ChildError::Part`] when there is no memory.
    pub fn send_part(&self, part: Part, slices: &[IoSlice<'_>]) -> Result<(), ChildError> {
        let message = wire::encode(&FromTranscoder::Part(Box::new(part)))?;
        let memory = sealed::write(slices).map_err(ChildError::Part)?;
        self.deliver(&message, Some(memory.as_fd()))
    }

    pub(super) fn deliver(
        &self,
        message: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChildError> {
        let until = Instant::now() + SEND_PATIENCE;
        loop {
            match self.socket.send(message, fd) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Err(ChildError::Gone);
                }
                Err(e) => return Err(e.into()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ChildError::Silent("read what it is sent"));
            }
            wait([(self.socket.as_fd(), true)], left)?;
        }
    }
}
