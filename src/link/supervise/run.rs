//! The task that keeps a transcoder running: sockets, processes and timers around the pure parts.

use super::backoff::Backoff;
use super::hear::{Class, Conversation};
use super::process::{Process, next};
use super::spare::{News, Spare};
use super::watch::Watch;
use super::{Cause, Config, Counters, Event, Launch, Order};
use crate::link::ring::{RingReader, RingWriter};
use crate::link::wire::{self, FromTranscoder, Stage, Start, ToTranscoder};
use crate::time::HostTime;
use hw::memory::{MemoryError, sealed};
use hw::process::{Bell, Received};
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch as signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// Most bytes of one part: 16 renditions of a segment's length at more than any sane bit rate.
const MAX_PART: u32 = 256 << 20;

/// How long a killed process may take to be gone. One that a driver holds is left to itself.
const GONE: Duration = Duration::from_secs(2);

/// Everything that outlives one transcoder.
pub(super) struct Supervisor {
    launch: Launch,
    start: Start,
    config: Config,
    ring: OwnedFd,
    bell: Arc<Bell>,
    probe: RingReader,
    events: mpsc::Sender<Event>,
    orders: signal::Receiver<Order>,
    counters: Arc<Counters>,
    stage: Arc<Mutex<Stage>>,
    class: Class,
    backoff: Backoff,
    spare: Spare,
}

/// Why one transcoder is no more.
enum End {
    /// In good order, as it was told.
    Stopped,
    /// Nobody is interested any more.
    Abandoned,
    /// Otherwise.
    Died(Cause, String),
}

/// The transcoder at work.
struct Live {
    process: Process,
    conversation: Conversation,
    watch: Watch,
    started: Instant,
    out: VecDeque<Event>,
}

impl Supervisor {
    #[allow(clippy::too_many_arguments)] // What outlives a transcoder, all of it; called once.
    pub(super) fn new(
        launch: Launch,
        start: Start,
        config: Config,
        ring: &RingWriter,
        events: mpsc::Sender<Event>,
        orders: signal::Receiver<Order>,
        counters: Arc<Counters>,
        stage: Arc<Mutex<Stage>>,
    ) -> Result<Self, MemoryError> {
        let fd = ring.fd().try_clone_to_owned();
        let fd = fd.map_err(|source| MemoryError::System {
            what: "duplicate the ring's descriptor",
            source,
        })?;
        let (probe, backoff) = (ring.reader()?, Backoff::new(&config));
        let (bell, class) = (ring.bell(), Class::new(&start.rungs));
        let spare = Spare::new(&config);
        Ok(Self {
            launch,
            start,
            config,
            ring: fd,
            bell,
            probe,
            events,
            orders,
            counters,
            stage,
            class,
            backoff,
            spare,
        })
    }

    /// Until the class ends.
    pub(super) async fn run(mut self) {
        loop {
            let (end, lived, parts) = self.one().await;
            self.counters.pid.store(0, Relaxed);
            let (cause, status) = match end {
                End::Stopped => break,
                End::Abandoned => return,
                End::Died(cause, status) => (cause, status),
            };
            self.counters.deaths.fetch_add(1, Relaxed);
            match cause {
                Cause::Hang => self.counters.hangs.fetch_add(1, Relaxed),
                Cause::Lie => self.counters.lies.fetch_add(1, Relaxed),
                _ => 0,
            };
            let pause = match self.backoff.died(lived, parts) {
                // One that waits costs no start, and waited until parts were made: no crash loop is that slow.
                _ if parts > 0 && self.spare.is_ready() => Duration::ZERO,
                pause => pause,
            };
            let stopping = matches!(*self.orders.borrow(), Order::Stop { .. });
            let restarting_in = (!stopping).then_some(pause);
            let room = &self.start.room;
            tracing::error!(%room, cause = cause.as_str(), status, lived = ?lived, parts, restarting_in = ?restarting_in, spare = self.spare.is_ready(), "the transcoder died");
            let died = Event::Died { cause, status, restarting_in };
            if self.tell(died).await.is_err() {
                return;
            }
            if stopping {
                break;
            }
            match timeout(pause, self.ordered()).await {
                Err(_) => {}
                Ok(Some(_)) => break,
                Ok(None) => return,
            }
        }
        let _ = self.tell(Event::Ended).await;
    }

    /// Waits for the order to stop; `None` when there is nobody left to give one.
    async fn ordered(&mut self) -> Option<Instant> {
        loop {
            if let Order::Stop { until } = *self.orders.borrow_and_update() {
                return Some(until);
            }
            self.orders.changed().await.ok()?;
        }
    }

    /// Tells the daemon; when stopping, only as long as there is time for it.
    async fn tell(&mut self, event: Event) -> Result<(), ()> {
        let events = self.events.clone();
        tokio::select! {
            biased;
            sent = events.send(event) => sent.map_err(|_| ()),
            () = async {
                if let Some(until) = self.ordered().await {
                    sleep_until(until + GONE).await;
                }
            } => Err(()),
        }
    }

    /// One transcoder from start to end: why it ended, how long it lived, how many parts it made.
    async fn one(&mut self) -> (End, Duration, u64) {
        let mut live = match self.begin().await {
            Ok(live) => live,
            Err(error) => return (End::Died(Cause::Spawn, error), Duration::ZERO, 0),
        };
        self.counters.spawned.fetch_add(1, Relaxed);
        self.counters.pid.store(live.process.pid(), Relaxed);
        // Beside the rest of what is kept here, so that both can be waited for at once.
        let none = Spare::new(&self.config);
        let mut spare = std::mem::replace(&mut self.spare, none);
        let end = self.attend(&mut live, &mut spare).await;
        self.spare = spare;
        live.process.child.get_ref().kill();
        (end, live.started.elapsed(), live.watch.parts())
    }

    /// What a transcoder that begins now has to make.
    fn order(&self) -> Box<Start> {
        Box::new(Start {
            resume: self.class.resume().or_else(|| self.start.resume.clone()),
            failures: self.backoff.failures(),
            dropped: self.class.dropped().to_vec(),
            stage: self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..self.start.clone()
        })
    }

    /// Puts the spare to work, or starts a process, and tells it what to make.
    async fn begin(&mut self) -> Result<Live, String> {
        let order = ToTranscoder::Start(self.order());
        let (process, greeted) = match self.spare.take() {
            // It may have died at the same moment, of the same cause.
            Some(spare) if spare.tell(&order).is_ok() => (spare, true),
            _ => (self.process(&order).await?, false),
        };
        // What is in the ring may have rung the bell for the one before.
        self.bell.ring();
        let conversation = Conversation::new(process.pid(), greeted);
        let watch = Watch::new(&self.config, self.probe.head(), now());
        let (started, out) = (Instant::now(), VecDeque::new());
        Ok(Live { process, conversation, watch, started, out })
    }

    async fn process(&self, order: &ToTranscoder) -> Result<Process, String> {
        let fds = vec![copy(&self.ring)?, copy(&*self.bell)?];
        Process::start(&self.launch, fds, order).await
    }

    /// Starts a spare, if one is due, or notes what became of the last.
    async fn spare_news(&self, spare: &mut Spare, news: News) {
        let room = &self.start.room;
        match news {
            News::Due => match self.process(&ToTranscoder::Prepare(self.order())).await {
                Ok(process) => spare.started(process),
                Err(error) => {
                    spare.failed();
                    tracing::warn!(%room, error, "no spare transcoder could be started");
                }
            },
            News::Ready => {
                self.counters.spares.fetch_add(1, Relaxed);
                tracing::info!(%room, "a spare transcoder is ready");
            }
            News::Lost(why) => {
                self.counters.spares_lost.fetch_add(1, Relaxed);
                tracing::warn!(%room, why, "the spare transcoder is lost");
            }
        }
    }

    /// Listens to a transcoder until it ends or must be ended.
    async fn attend(&mut self, live: &mut Live, spare: &mut Spare) -> End {
        let mut ticks = interval(
            (self.config.next_part.0 / 8)
                .clamp(Duration::from_millis(5), Duration::from_millis(500)),
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping: Option<Instant> = None;
        loop {
            let has_news = !live.out.is_empty();
            let events = self.events.clone();
            let parts = live.watch.parts();
            tokio::select! {
                biased;
                until = self.ordered(), if stopping.is_none() => match until {
                    Some(until) => {
                        stopping = Some(until);
                        // A transcoder that reads nothing finds out by the deadline.
                        let _ = live.process.tell(&ToTranscoder::Stop);
                    }
                    None => return End::Abandoned,
                },
                () = until_or_never(stopping) => return End::Died(Cause::Slow, "did not stop in time and was killed".into()),
                permit = events.reserve(), if has_news => match (permit, live.out.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    (Ok(_), None) => {}
                    (Err(_), _) => return End::Abandoned,
                },
                // Not before everything it said is passed on: that is the backpressure.
                heard = next(&live.process.socket, &mut live.process.buffer), if !has_news => {
                    if let Some(end) = self.heard(live, heard) {
                        return self.last_words(live, end, stopping.is_some()).await;
                    }
                },
                ended = live.process.child.readable(), if !has_news => {
                    drop(ended);
                    let end = End::Died(Cause::Exit, String::new());
                    return self.last_words(live, end, stopping.is_some()).await;
                }
                () = events.closed() => return End::Abandoned,
                news = spare.news(parts), if stopping.is_none() => self.spare_news(spare, news).await,
                _ = ticks.tick() => {
                    if has_news || stopping.is_some() {
                        live.watch.excuse(now());
                    } else if let Some(why) = live.watch.verdict(self.probe.head(), now()) {
                        return End::Died(Cause::Hang, format!("hung: {why}"));
                    }
                }
            }
        }
    }

    /// Takes in one message; the end, if it is one.
    fn heard(&mut self, live: &mut Live, heard: io::Result<Received>) -> Option<End> {
        let lie = |what: &str| {
            Some(End::Died(Cause::Lie, format!("broke the rules of the link: {what}")))
        };
        let (len, fd) = match heard {
            Ok(Received::Message { len, fd }) => (len, fd),
            Ok(Received::Broken(why)) => return lie(why),
            Ok(Received::Closed) => return Some(End::Died(Cause::Exit, String::new())),
            Err(e) => return Some(End::Died(Cause::Exit, format!("socket: {e}"))),
        };
        let message = match wire::decode::<FromTranscoder>(
            live.process.buffer.get(..len).unwrap_or_default(),
        ) {
            Ok(message) => message,
            Err(error) => return lie(&error.to_string()),
        };
        let memory = match fd.map(|fd| sealed::map(fd, MAX_PART)).transpose() {
            Ok(memory) => memory,
            Err(error @ MemoryError::System { .. }) => {
                // Not its fault: this process is out of memory or address space.
                return Some(End::Died(
                    Cause::Exit,
                    format!("a part could not be mapped: {error}"),
                ));
            }
            Err(error) => return lie(&error.to_string()),
        };
        match &message {
            FromTranscoder::Part(_) => live.watch.part(now()),
            FromTranscoder::Ended => live.watch.ended(),
            _ => {}
        }
        match live.conversation.hear(&mut self.class, message, memory) {
            Ok(events) => {
                live.out.extend(events);
                None
            }
            Err(error) => lie(&error.to_string()),
        }
    }

    /// A transcoder is at its end, as it seems: hears what it still said, passes it on, and waits
    /// until the process is gone.
    async fn last_words(&mut self, live: &mut Live, end: End, stopping: bool) -> End {
        let mut end = end;
        // What was said before a crash counts. Bounded by what a socket holds.
        while matches!(end, End::Died(Cause::Exit, _)) {
            let Process { socket, buffer, .. } = &mut live.process;
            match socket.get_ref().recv(buffer) {
                Ok(Received::Closed) => break,
                Err(_) => break,
                heard => {
                    if let Some(worse) = self.heard(live, heard) {
                        end = worse;
                    }
                }
            }
        }
        while let Some(event) = live.out.pop_front() {
            if self.tell(event).await.is_err() {
                return End::Abandoned;
            }
        }
        let End::Died(Cause::Exit, said) = end else { return end };
        // It closed the socket, or ended: in a moment it is gone. If it only closed the socket, it
        // has nothing more to live for.
        let child = &mut live.process.child;
        if timeout(GONE, child.readable()).await.is_err() {
            child.get_ref().kill();
            let _ = timeout(GONE, child.readable()).await;
        }
        match child.get_mut().try_wait() {
            Some(exit) if exit.success() && live.watch.has_ended() && stopping => End::Stopped,
            Some(exit) if exit.success() && said.is_empty() => {
                End::Died(Cause::Exit, "ended without being told to".into())
            }
            Some(exit) if said.is_empty() => End::Died(Cause::Exit, exit.to_string()),
            Some(exit) => End::Died(Cause::Exit, format!("{said}; {exit}")),
            None => End::Died(Cause::Exit, "closed the link and does not end".into()),
        }
    }
}

fn copy(fd: impl AsFd) -> Result<OwnedFd, String> {
    fd.as_fd().try_clone_to_owned().map_err(|e| format!("duplicate a descriptor: {e}"))
}

async fn until_or_never(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}
