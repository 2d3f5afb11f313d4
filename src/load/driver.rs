//! The thread that carries the media of many connections: one wait, little work a packet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtc::peer_connection::message::RTCMessage;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::RTCRtpSenderId;
use tokio::sync::oneshot;

use super::connection::{Connection, State};
use super::histogram::Histogram;
use super::media::{Due, Source};
use super::net::{Local, Net, NetError};
use super::packet::{self, Kind};
use super::receive::{Counts, Since};
use super::sink::{Measured, Sink};

/// Orders that may wait; whoever gives one more waits.
const ORDERS: usize = 256;
/// The longest wait for packets: how late a timer may be.
const TICK: Duration = Duration::from_millis(1);
/// How often timers are looked at under load.
const TIMERS: Duration = Duration::from_millis(2);
/// After the publishers fell silent, what is on its way may still come.
const STRAGGLERS: Duration = Duration::from_millis(400);

/// A connection handed to the driver, described at both ends.
pub(super) struct Member {
    pub(super) index: usize,
    pub(super) connection: Connection,
    pub(super) role: Role,
    /// Told when it is connected; dropped if that fails.
    pub(super) connected: Option<oneshot::Sender<()>>,
}

/// What a connection does.
pub(super) enum Role {
    Publish { source: Box<Source>, senders: [RTCRtpSenderId; 2], began: Option<Instant> },
    Subscribe(Box<Sink>),
}

/// What a driver is told.
pub(super) enum Order {
    Join(Box<Member>),
    /// From here on it counts.
    Mark,
    /// Publishers fall silent; the driver ends when what is on its way has come.
    End,
}

/// What can be seen while it runs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// RTP packets that arrived.
    pub(super) datagrams: AtomicU64,
    /// Their bytes.
    pub(super) bytes: AtomicU64,
    /// Connections that were up and are gone, without being told to end.
    pub(super) gone: AtomicU64,
}

/// What a driver measured between [`Order::Mark`] and [`Order::End`].
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) seconds: f64,
    pub(super) measured: Measured,
    pub(super) counts: Counts,
    /// Times of STUN checks, microseconds.
    pub(super) round_trips: Histogram,
    /// RTP packets the publishers sent, without repairs.
    pub(super) published: u64,
    /// Key frames the publishers were asked for.
    pub(super) key_frames_asked: u64,
    /// CPU seconds of this thread.
    pub(super) cpu: f64,
    /// The greatest share of packets that one subscriber lost.
    pub(super) worst_loss: f64,
    pub(super) gone: u64,
}

/// The way to tell a driver something.
#[derive(Clone)]
pub(super) struct Orders(SyncSender<Order>);

/// A running driver; it ends when told, or when nobody can tell it anything any more.
pub(super) struct Driver {
    pub(super) orders: Orders,
    pub(super) progress: Arc<Progress>,
    pub(super) addresses: Vec<SocketAddr>,
    thread: JoinHandle<Result<Totals, NetError>>,
}

impl Driver {
    /// A driver for `count` connections.
    pub(super) fn start(from: Local, count: usize) -> Result<Self, NetError> {
        let (net, addresses) = Net::open(from, count)?;
        let (orders, inbox) = sync_channel(ORDERS);
        let progress = Arc::new(Progress::default());
        let work = Work {
            net,
            members: (0..count).map(|_| None).collect(),
            dirty: Vec::new(),
            inbox,
            began: Instant::now(),
            measured: Measured::default(),
            round_trips: Histogram::default(),
            published: 0,
            key_frames_asked: 0,
            progress: Arc::clone(&progress),
            gone: 0,
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(move || work.run())?;
        Ok(Self { orders: Orders(orders), progress, addresses, thread })
    }

    /// Waits for its end.
    pub(super) async fn totals(self) -> Option<Result<Totals, NetError>> {
        drop(self.orders);
        tokio::task::spawn_blocking(move || self.thread.join().ok()).await.ok().flatten()
    }
}

impl Orders {
    /// Gives an order; false if the driver has ended.
    pub(super) async fn give(&self, order: Order) -> bool {
        let mut order = order;
        loop {
            match self.0.try_send(order) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => {
                    // The driver takes all there is every millisecond.
                    order = back;
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }
}

struct Place {
    member: Member,
    /// The STUN check under way: its transaction and when it left.
    check: Option<([u8; 12], Instant)>,
    /// When timers have something to do for it.
    due: Instant,
}

struct Work {
    net: Net,
    members: Vec<Option<Box<Place>>>,
    /// Members whose library may have something to send.
    dirty: Vec<usize>,
    inbox: Receiver<Order>,
    began: Instant,
    measured: Measured,
    round_trips: Histogram,
    published: u64,
    key_frames_asked: u64,
    progress: Arc<Progress>,
    gone: u64,
}

impl Work {
    fn run(mut self) -> Result<Totals, NetError> {
        let mut marked = (self.began, hw::clock::thread_cpu_us());
        let mut ending: Option<(Instant, Totals)> = None;
        let mut timers = self.began;
        loop {
            loop {
                match self.inbox.try_recv() {
                    Ok(Order::Join(member)) => self.join(*member),
                    Ok(Order::Mark) => {
                        marked = (Instant::now(), hw::clock::thread_cpu_us());
                        self.mark();
                    }
                    Ok(Order::End) | Err(TryRecvError::Disconnected) if ending.is_none() => {
                        ending = Some((Instant::now() + STRAGGLERS, self.window(marked)));
                    }
                    _ => break,
                }
            }
            if let Some((end, _)) = &ending
                && Instant::now() >= *end
            {
                break;
            }
            self.receive()?;
            let now = Instant::now();
            if now >= timers {
                timers = now + TIMERS;
                self.timers(now, ending.is_none());
            }
            self.net.flush()?;
            self.progress.datagrams.store(self.measured.datagrams, Ordering::Relaxed);
            self.progress.bytes.store(self.measured.bytes, Ordering::Relaxed);
        }
        for (index, place) in self.members.iter_mut().enumerate() {
            if let Some(place) = place {
                let net = &mut self.net;
                place.member.connection.close(&mut |to, bytes| net.send(index, to, bytes));
            }
        }
        self.net.flush()?;
        let mut totals = ending.map(|(_, totals)| totals).unwrap_or_default();
        for place in self.members.iter().flatten() {
            if let Role::Subscribe(sink) = &place.member.role {
                let counts = sink.end();
                let all = counts.received + counts.lost;
                totals.worst_loss = totals.worst_loss.max(counts.lost as f64 / all.max(1) as f64);
                totals.counts += counts;
            }
        }
        totals.measured.delays = self.measured.delays;
        totals.round_trips = self.round_trips;
        totals.gone = self.gone;
        Ok(totals)
    }

    fn join(&mut self, member: Member) {
        let index = member.index;
        if let Some(place) = self.members.get_mut(index) {
            *place = Some(Box::new(Place { member, check: None, due: self.began }));
            self.dirty.push(index);
        }
    }

    fn mark(&mut self) {
        self.measured = Measured::default();
        self.round_trips = Histogram::default();
        (self.published, self.key_frames_asked) = (0, 0);
        for place in self.members.iter_mut().flatten() {
            if let Role::Subscribe(sink) = &mut place.member.role {
                sink.mark();
            }
        }
    }

    /// What was measured up to now, but for what stragglers may still change.
    fn window(&self, (marked, cpu): (Instant, u64)) -> Totals {
        let m = &self.measured;
        Totals {
            seconds: marked.elapsed().as_secs_f64(),
            measured: Measured {
                datagrams: m.datagrams,
                bytes: m.bytes,
                repairs: m.repairs,
                decrypted: m.decrypted,
                delays: Histogram::default(),
            },
            published: self.published,
            key_frames_asked: self.key_frames_asked,
            cpu: (hw::clock::thread_cpu_us() - cpu) as f64 * 1e-6,
            ..Totals::default()
        }
    }

    fn receive(&mut self) -> Result<(), NetError> {
        let Self { net, members, dirty, measured, round_trips, began, .. } = self;
        let mut times: Option<(Since, Instant, i64)> = None;
        net.wait(TICK, |index, from, bytes| {
            let Some(Some(place)) = members.get_mut(index) else { return };
            // One reading of the clocks a batch: it is handed out at one moment.
            let times = *times.get_or_insert_with(|| {
                let now = Instant::now();
                (now.duration_since(*began), now, hw::clock::monotonic_us())
            });
            let Place { member: Member { connection, role, .. }, check, .. } = &mut **place;
            let transport_id = match role {
                Role::Subscribe(sink) => sink.transport_id(),
                Role::Publish { .. } => None,
            };
            match (packet::look(bytes, transport_id), role) {
                (Kind::Rtp(header), Role::Subscribe(sink)) => {
                    sink.packet(header, bytes, from, connection, times, measured);
                    return;
                }
                (Kind::Control | Kind::Rtcp, _) => {
                    if let ([1, 1, ..], Some((transaction, left))) = (&*bytes, *check)
                        && bytes.get(8..20) == Some(&transaction)
                    {
                        round_trips.add((times.1 - left).as_micros() as u64);
                        *check = None;
                    }
                    connection.handle(from, bytes, times.1);
                }
                _ => return,
            }
            if dirty.last() != Some(&index) {
                dirty.push(index);
            }
        })?;
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for index in dirty.drain(..) {
            self.settle(index, Instant::now());
        }
        self.dirty = dirty;
        Ok(())
    }

    /// Reads, sends and notes whatever the library has after it was given something.
    fn settle(&mut self, index: usize, now: Instant) {
        let Some(Some(place)) = self.members.get_mut(index) else { return };
        let since = now.duration_since(self.began);
        let Place { member, check, due } = &mut **place;
        match &mut member.role {
            Role::Subscribe(sink) => {
                let now_us = hw::clock::monotonic_us();
                sink.read(&mut member.connection, since, now_us, false, &mut self.measured);
            }
            Role::Publish { source, .. } => {
                while let Some(message) = member.connection.read() {
                    if let RTCMessage::RtcpPacket(_, packets) = message
                        && packets.iter().any(|p| wants_key_frame(p.as_ref()))
                    {
                        self.key_frames_asked += 1;
                        source.key_frame();
                    }
                }
            }
        }
        let before = member.connection.state();
        let net = &mut self.net;
        member.connection.pump(now, &mut |to, bytes| {
            if let [0, 1, ..] = bytes {
                *check = bytes.get(8..20).and_then(|id| id.try_into().ok()).map(|id| (id, now));
            }
            net.send(index, to, bytes);
        });
        *due = member.connection.next;
        match (before, member.connection.state()) {
            (State::Connecting, State::Connected) => {
                if let Some(connected) = member.connected.take() {
                    // Whoever waits may have given up.
                    let _ = connected.send(());
                }
            }
            (State::Connecting, State::Gone) => member.connected = None,
            (State::Connected, State::Gone) => {
                self.gone += 1;
                self.progress.gone.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn timers(&mut self, now: Instant, publishing: bool) {
        let since = now.duration_since(self.began);
        for index in 0..self.members.len() {
            let Some(Some(place)) = self.members.get_mut(index) else { continue };
            let Place { member, due, .. } = &mut **place;
            if member.connection.state() == State::Gone {
                continue;
            }
            let net = &mut self.net;
            let mut send = |to: SocketAddr, bytes: &[u8]| net.send(index, to, bytes);
            let connected = member.connection.state() == State::Connected;
            let wrote = match &mut member.role {
                Role::Subscribe(sink) if connected && sink.next() <= since => {
                    sink.tick(&mut member.connection, since, now)
                }
                Role::Publish { source, senders, began } if connected && publishing => {
                    let began = *began.get_or_insert(now);
                    let sent = publish(source, &mut member.connection, *senders, began, now);
                    self.published += sent;
                    sent > 0
                }
                _ => false,
            };
            if wrote {
                member.connection.flush(&mut send);
            }
            if *due <= now {
                member.connection.expire(now);
                self.settle(index, now);
            }
        }
    }
}

/// Sends what a source has due; the number of media packets.
fn publish(
    source: &mut Source,
    connection: &mut Connection,
    [video, audio]: [RTCRtpSenderId; 2],
    began: Instant,
    now: Instant,
) -> u64 {
    let since_us = now.duration_since(began).as_micros() as u64;
    if source.next_us() > since_us {
        return 0;
    }
    let mut due = Vec::with_capacity(32);
    source.due(since_us, hw::clock::wall_us(), hw::clock::monotonic_us(), &mut due);
    let mut sent = 0;
    for due in due {
        let outcome = match due {
            Due::Video(packet) => connection.write(video, packet, now),
            Due::Audio(packet) => connection.write(audio, packet, now),
            Due::Report(report) => {
                connection.write_rtcp(vec![Box::new(report)], now);
                continue;
            }
        };
        match outcome {
            Ok(()) => sent += 1,
            Err(error) => tracing::debug!(%error, "a packet was not sent"),
        }
    }
    sent
}

fn wants_key_frame(packet: &dyn rtc::rtcp::Packet) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}
