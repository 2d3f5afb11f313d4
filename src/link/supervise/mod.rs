//! The daemon's side of the boundary: keeps one transcoder a room running.
//!
//! A transcoder is a child process that may crash, hang or lie; none of that is passed on. Its
//! messages are held against the rules ([`hear`]), its silence against the clock ([`watch`]); when
//! it fails either, or dies by itself, the next one starts after a pause ([`backoff`]) and is told
//! where to take up. What the rest of the daemon sees is one stream of [`Event`]s for the whole class.

mod backoff;
mod config;
mod hear;
mod process;
mod run;
mod spare;
#[cfg(test)]
mod tests;
mod watch;

pub use config::Config;

use crate::link::ring::RingWriter;
use crate::link::wire::{Figures, Part, Presentation, Stage, Start};
use crate::time::TrackId;
use bytes::Bytes;
use hw::memory::MemoryError;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Events that may wait for the daemon. When they are full, the transcoder is not read from, and
/// after some seconds its own socket is full and it waits, too: nothing is lost or piled up.
const EVENTS: usize = 64;

/// What a class's transcoders say, as one story.
#[derive(Debug)]
pub enum Event {
    /// The class begins; once, and a part follows at once.
    Begin(Box<Presentation>),
    /// The next part, and its memory: fragments lie within it. No part is repeated or left out,
    /// whatever happens to transcoders.
    Part(Box<Part>, Bytes),
    /// The decoder needs a key frame from this stream.
    KeyframeWanted(TrackId),
    /// A rung was given up.
    RungDropped {
        /// Index into the presentation's renditions.
        rendition: u8,
        /// For people.
        reason: String,
    },
    /// A second's figures; they count from the present transcoder's start.
    Figures(Box<Figures>),
    /// A transcoder is dead.
    Died {
        /// Why, as a kind.
        cause: Cause,
        /// Why, for people: `killed by SIGSEGV`.
        status: String,
        /// When the next one starts; `None` when the class is ending.
        restarting_in: Option<Duration>,
    },
    /// Nothing follows. Preceded by `Died` if the end was not in good order.
    Ended,
}

/// Why a transcoder is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It could not be started.
    Spawn,
    /// It ended by itself: it crashed, or gave up.
    Exit,
    /// It made no parts and was killed.
    Hang,
    /// It broke the rules of the boundary and was killed.
    Lie,
    /// It did not stop in time and was killed.
    Slow,
}

impl Cause {
    /// As a label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Exit => "exit",
            Self::Hang => "hang",
            Self::Lie => "lie",
            Self::Slow => "slow",
        }
    }
}

/// How to start a transcoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub exe: PathBuf,
    /// Its name and arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// This very program, also after its file was replaced by an update, as `proscenium transcode`.
    ///
    /// Of the environment only what concerns logs and the places of libraries goes with it: the
    /// daemon's may hold secrets.
    pub fn this_program() -> Self {
        let passed =
            ["RUST_LOG", "RUST_BACKTRACE", "NO_COLOR", "LD_LIBRARY_PATH", "LIBVA_DRIVERS_PATH"];
        let env =
            passed.iter().filter_map(|&key| Some((key.into(), std::env::var_os(key)?))).collect();
        Self {
            exe: "/proc/self/exe".into(),
            args: vec!["proscenium".into(), "transcode".into()],
            env,
        }
    }
}

/// Counters of one room's transcoders, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    spawned: AtomicU64,
    deaths: AtomicU64,
    hangs: AtomicU64,
    lies: AtomicU64,
    spares: AtomicU64,
    spares_lost: AtomicU64,
    pid: AtomicU32,
}

impl Counters {
    /// Transcoders started.
    pub fn spawned(&self) -> u64 {
        self.spawned.load(Relaxed)
    }

    /// Transcoders that died before the class ended, whatever the cause.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(Relaxed)
    }

    /// Transcoders killed because they made no parts.
    pub fn hangs(&self) -> u64 {
        self.hangs.load(Relaxed)
    }

    /// Transcoders killed because they broke the rules.
    pub fn lies(&self) -> u64 {
        self.lies.load(Relaxed)
    }

    /// Spares that were ready, so far.
    pub fn spares(&self) -> u64 {
        self.spares.load(Relaxed)
    }

    /// Spares that died while they waited, or while they prepared.
    pub fn spares_lost(&self) -> u64 {
        self.spares_lost.load(Relaxed)
    }

    /// Process id of the present one; `None` between two.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Relaxed)).filter(|&pid| pid != 0)
    }
}

/// What the task is told.
#[derive(Clone, Copy, Debug)]
enum Order {
    Run,
    Stop { until: Instant },
}

/// One room's transcoder, and its successors. Dropping it kills the process at once.
#[derive(Debug)]
pub struct Transcoder {
    order: signal::Sender<Order>,
    stage: Arc<Mutex<Stage>>,
    task: JoinHandle<()>,
    counters: Arc<Counters>,
}

impl Transcoder {
    /// Starts the first transcoder of a class, with a ring of its own. To be called on a tokio runtime.
    ///
    /// The ring can be written to at once; the transcoder reads it from the start. `start.resume`,
    /// `start.failures` and `start.dropped` are filled in for the transcoders that follow, `start.stage` by
    /// [`Self::set_stage`]. The events must be read: see
    /// [`Event`]. Dropping their receiver ends the class as dropping this does.
    ///
    /// # Errors
    /// When there is no memory for the ring. That no process can be started is told as
    /// [`Event::Died`], and tried again.
    pub fn spawn(
        launch: Launch,
        start: Start,
        config: &Config,
    ) -> Result<(Self, RingWriter, mpsc::Receiver<Event>), MemoryError> {
        let ring = RingWriter::create(config.ring_capacity())?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (order, orders) = signal::channel(Order::Run);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let stage = Arc::new(Mutex::new(start.stage.clone()));
        let told = Arc::clone(&stage);
        let supervisor = run::Supervisor::new(
            launch,
            start,
            config.clone(),
            &ring,
            events,
            orders,
            counted,
            told,
        )?;
        let task = tokio::spawn(supervisor.run());
        Ok((Self { order, stage, task, counters }, ring, receiver))
    }

    /// Keeps the newest stage for the transcoder that starts next. The present one learns of it through the ring,
    /// between the packets: that is the SFU's to write, see [`Record::Stage`](crate::link::ring::Record::Stage).
    pub fn set_stage(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Tells the transcoder to flush what is open and end, and returns at once; it is killed when it
    /// has not ended within `patience`. The last parts, then [`Event::Ended`], still come.
    pub fn stop(&self, patience: Duration) {
        let until = Instant::now() + patience;
        self.order.send_if_modified(|order| {
            let first = matches!(order, Order::Run);
            if first {
                *order = Order::Stop { until };
            }
            first
        });
    }

    /// As [`Self::stop`], and waits until all is over. The events must be read meanwhile, by another
    /// task; those that nobody reads in time are lost.
    pub async fn stopped(mut self, patience: Duration) {
        self.stop(patience);
        // It cannot fail but by a panic, which is reported where it happens.
        let _ = (&mut self.task).await;
    }

    /// Counters, for metrics.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}
