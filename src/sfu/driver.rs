//! The thread that owns the sockets and runs the core.
//!
//! One turn: commands, due timers, what came out of the core (packets to rings, datagrams to the
//! socket, events to the daemon), one flush, one bell a ring; then wait for datagrams, a wake-up
//! or the next timer. Nothing here blocks but that wait, and it ends within a second.

use super::addresses::Addresses;
use super::core::{Core, Output, RoomKey};
use super::handle::{Command, Handle};
use super::tcp::{self, FromTcp, ToThread};
use super::words::Event;
use super::{Config, ConfigError, Socket};
use crate::link::ring::{Record, RingWriter, RtpRecord};
use crate::time::HostTime;
use hw::udp::{Choice, Transmit, UdpConfig, UdpError};
use rand::TryRngCore;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::net::Protocol;
use tokio::sync::{mpsc, watch};

/// Requests that may wait for the thread; whoever comes then waits outside.
const COMMAND_QUEUE: usize = 256;

/// Commands taken in one turn, so that media gets its own.
const COMMANDS_A_TURN: usize = 64;

/// Events that may wait for the daemon.
const EVENT_QUEUE: usize = 256;

/// Events kept here when that is full; beyond it the oldest are lost, loudly.
const EVENT_BACKLOG: usize = 4096;

/// Longest wait: metrics are told, and a daemon that is gone is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A TCP connection whose first frames belong to nobody is closed.
const STRANGE_FRAMES: u32 = 8;

/// Why the SFU cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("[sfu] {0}")]
    Config(#[from] ConfigError),
    /// The UDP port.
    #[error("media UDP port {address}: {error}")]
    Udp {
        /// What was to be bound.
        address: SocketAddr,
        /// Why it was not.
        error: UdpError,
    },
    /// The TCP port of the same number.
    #[error("ICE-TCP port {address}: {error}: choose another sfu.port, or set sfu.tcp = false")]
    Tcp {
        /// What was to be bound.
        address: SocketAddr,
        /// Why it was not.
        error: std::io::Error,
    },
    /// Threads, randomness, interfaces.
    #[error("{what}: {error}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Binds the sockets and starts the thread. Must be called within a tokio runtime, which carries
/// the TCP connections.
///
/// # Errors
/// [`StartError`]: which setting, which port, and the cure.
pub fn start(config: &Config) -> Result<(Handle, mpsc::Receiver<Event>), StartError> {
    config.check()?;
    let (socket, listener) = bind(config)?;
    let port = socket.local_addr().port();
    let system = |what| move |error| StartError::System { what, error };
    let mut seed = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| system("random numbers")(std::io::Error::other(e)))?;
    let interfaces = hw::interfaces::addresses().map_err(system("network interfaces"))?;

    let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
    let (events, daemon) = mpsc::channel(EVENT_QUEUE);
    let (ended, ended_watch) = watch::channel(false);
    let waker = socket.waker();
    let thread = ToThread { commands: commands.downgrade(), waker: waker.clone() };
    let accepting = match listener {
        Some(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(system("ICE-TCP on the async runtime"))?;
            Some(tokio::spawn(tcp::accept(listener, config.tcp_connections, thread)))
        }
        None => None,
    };
    let now = HostTime(hw::clock::monotonic_us());
    let core = Core::new(config.clone(), (Instant::now(), now), seed);
    tracing::info!(
        address = %socket.local_addr(),
        socket = %socket.backend(),
        why_portable = socket.why_portable(),
        tcp = config.tcp,
        "media port open"
    );
    let mut driver = Driver {
        config: config.clone(),
        core,
        socket,
        port,
        inbox,
        rings: HashMap::new(),
        connections: HashMap::new(),
        events,
        backlog: VecDeque::new(),
        told: now,
        accepting,
        stopping: false,
        addresses: Addresses::default(),
        refused_records: 0,
        dropped_frames: 0,
    };
    driver.announce(&interfaces);
    describe_metrics();
    std::thread::Builder::new()
        .name("sfu".into())
        .spawn(move || {
            driver.run();
            // Nobody may be waiting any more.
            let _ = ended.send(true);
        })
        .map_err(system("the SFU's thread"))?;
    Ok((Handle::new(commands, waker, port, ended_watch), daemon))
}

fn bind(config: &Config) -> Result<(hw::udp::Socket, Option<std::net::TcpListener>), StartError> {
    let udp = UdpConfig {
        backend: match config.socket {
            Socket::Auto => Choice::Auto,
            Socket::IoUring => Choice::Uring,
            Socket::Portable => Choice::Portable,
        },
        ..UdpConfig::default()
    };
    let address = SocketAddr::new(config.bind, config.port);
    // Port 0 lets the system choose a UDP port, whose number may be taken for TCP: choose again.
    let mut tries = if config.port == 0 { 16 } else { 1 };
    loop {
        let socket = hw::udp::Socket::bind(address, &udp)
            .map_err(|error| StartError::Udp { address, error })?;
        if !config.tcp {
            return Ok((socket, None));
        }
        let address = socket.local_addr();
        let listener = std::net::TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        tries -= 1;
        match listener {
            Ok(listener) => return Ok((socket, Some(listener))),
            Err(error) if tries == 0 => return Err(StartError::Tcp { address, error }),
            Err(_) => {}
        }
    }
}

struct Connection {
    out: mpsc::Sender<Vec<u8>>,
    known: bool,
    strange: u32,
}

struct Driver {
    config: Config,
    core: Core,
    socket: hw::udp::Socket,
    port: u16,
    inbox: mpsc::Receiver<Command>,
    rings: HashMap<RoomKey, RingWriter>,
    connections: HashMap<SocketAddr, Connection>,
    events: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
    told: HostTime,
    accepting: Option<tokio::task::JoinHandle<()>>,
    stopping: bool,
    addresses: Addresses,
    refused_records: u64,
    dropped_frames: u64,
}

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

impl Driver {
    fn run(&mut self) {
        while !self.stopping {
            let more = self.take_commands();
            self.core.tick(now());
            self.carry_out();
            if !self.stopping && self.wait(more).is_err() {
                self.stopping = true;
            }
        }
        self.core.close_all(now());
        self.carry_out();
        self.tell_metrics();
        self.inbox.close();
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }

    fn wait(&mut self, more: bool) -> Result<(), UdpError> {
        let now_us = now();
        if now_us.since(self.told) >= 1_000_000 {
            self.told = now_us;
            self.tell_metrics();
        }
        let left = match self.core.next_timeout() {
            _ if more => Duration::ZERO,
            Some(at) => Duration::from_micros(u64::try_from(at.since(now_us)).unwrap_or(0)),
            None => LONGEST_WAIT,
        };
        let core = &mut self.core;
        let waited = self.socket.wait(left.min(LONGEST_WAIT), |datagram| {
            core.datagram(now(), Protocol::Udp, datagram.from, datagram.to, datagram.payload);
        });
        waited.map(drop).inspect_err(|error| {
            tracing::error!(%error, "the media socket failed: no publisher can be heard");
        })
    }

    /// Says whether there may be more.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS_A_TURN {
            match self.inbox.try_recv() {
                Ok(command) => self.command(command),
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return false;
                }
            }
        }
        true
    }

    /// Whoever does not wait for a reply any more has no use for it.
    fn command(&mut self, command: Command) {
        match command {
            Command::Publish(publish, reply) => {
                self.look_at_interfaces();
                let _ = reply.send(self.core.publish(now(), &publish));
            }
            Command::Subscribe(subscribe, reply) => {
                self.look_at_interfaces();
                let _ = reply.send(self.core.subscribe(now(), &subscribe));
            }
            Command::View { room, resource, height, reply } => {
                let _ = reply.send(self.core.view(now(), &room, resource, height));
            }
            Command::SendAway { room, person, reply } => {
                let _ = reply.send(self.core.send_away(now(), &room, person));
            }
            Command::Mute { room, person, muted, reply } => {
                let _ = reply.send(self.core.mute(&room, person, muted));
            }
            Command::SetStage { room, stage, reply } => {
                let _ = reply.send(self.core.set_stage(now(), &room, stage));
            }
            Command::Patch { room, resource, if_match, fragment, reply } => {
                let if_match = if_match.as_deref();
                let done = self.core.patch(now(), &room, resource, if_match, &fragment);
                let _ = reply.send(done);
            }
            Command::Delete { room, resource, reply } => {
                let _ = reply.send(self.core.delete(now(), &room, resource));
            }
            Command::AttachRing { room, ring, reply } => {
                let key = self.core.open_room(&room);
                self.rings.insert(key, *ring);
                self.core.tell_stage(now(), key);
                let _ = reply.send(());
            }
            Command::DetachRing { room, reply } => {
                let key = self.core.close_room(now(), &room);
                self.carry_out(); // the ring is to hear that its sources are gone
                key.map(|key| self.rings.remove(&key));
                let _ = reply.send(());
            }
            Command::RequestKeyframe(track) => self.core.request_keyframe(now(), track),
            Command::Tcp(FromTcp::Opened { from, out }) => {
                self.connections.insert(from, Connection { out, known: false, strange: 0 });
            }
            Command::Tcp(FromTcp::Frame { from, to, payload }) => {
                let taken = self.core.datagram(now(), Protocol::Tcp, from, to, &payload);
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.known |= taken;
                    connection.strange += u32::from(!taken && !connection.known);
                    if connection.strange >= STRANGE_FRAMES {
                        self.connections.remove(&from);
                    }
                }
            }
            Command::Tcp(FromTcp::Closed { from }) => {
                self.connections.remove(&from);
            }
            Command::Stop => self.stopping = true,
        }
    }

    fn look_at_interfaces(&mut self) {
        match hw::interfaces::addresses() {
            Ok(interfaces) => self.announce(&interfaces),
            Err(error) => tracing::warn!(%error, "network interfaces cannot be listed"),
        }
    }

    fn announce(&mut self, interfaces: &[std::net::IpAddr]) {
        let mut config = self.config.clone();
        // Where the host has no IPv6 the socket is bound to 0.0.0.0 in place of ::.
        config.bind = self.socket.local_addr().ip();
        let addresses = Addresses::choose(interfaces, &config);
        if addresses != self.addresses {
            tracing::info!(announced = ?addresses.announced, "publishers are told these addresses");
            self.addresses = addresses.clone();
            self.core.announce(addresses, self.port);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Transmit { proto: Protocol::Udp, from, to, payload } => {
                    self.socket.queue(Transmit { to, from, payload: &payload });
                }
                Output::Transmit { to, payload, .. } => self.send_tcp(to, payload.to_vec()),
                Output::Packet { room, source, packet } => {
                    let record = Record::Rtp(RtpRecord {
                        source,
                        track: packet.track,
                        codec: packet.codec,
                        keyframe: packet.keyframe,
                        marker: packet.marker,
                        layer: packet.layer,
                        seq: packet.seq,
                        timestamp: packet.timestamp,
                        arrived: packet.arrived,
                        payload: &packet.payload,
                    });
                    self.push(room, &record);
                }
                Output::Report { room, source, track, ntp, rtp, arrived } => {
                    self.push(room, &Record::SenderReport { source, track, ntp, rtp, arrived });
                }
                Output::Gone { room, source, at } => {
                    self.push(room, &Record::Gone { source, arrived: at });
                }
                Output::Stage { room, stage, at } => {
                    self.push(room, &Record::Stage { arrived: at, payload: &stage });
                }
                Output::Event(event) => self.tell(event),
            }
        }
        if let Err(error) = self.socket.flush() {
            tracing::error!(%error, "the media socket cannot send");
            self.stopping = true;
        }
        for ring in self.rings.values_mut() {
            ring.notify();
        }
        while let Some(event) = self.backlog.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.backlog.push_front(event);
                break;
            }
        }
    }

    fn push(&mut self, room: RoomKey, record: &Record<'_>) {
        let pushed = self.rings.get_mut(&room).map(|ring| ring.push(record));
        if !matches!(pushed, Some(Ok(()))) {
            self.refused_records += 1;
        }
    }

    fn send_tcp(&mut self, to: SocketAddr, payload: Vec<u8>) {
        let sent = self.connections.get(&to).map(|connection| connection.out.try_send(payload));
        if !matches!(sent, Some(Ok(()))) {
            self.dropped_frames += 1;
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Joined { room, source, person, kind } => {
                tracing::info!(%room, source = source.0, %person, ?kind, "a publisher joined");
            }
            Event::Left { room, source, person, why, .. } => {
                tracing::info!(%room, source = source.0, %person, %why, "a publisher left");
                metrics::counter!("proscenium_sfu_left_total", "why" => why.as_str()).increment(1);
            }
            Event::Connected { room, source } => {
                tracing::info!(%room, source = source.0, "media connected");
            }
            Event::FirstPacket { room, source, track, codec } => {
                tracing::info!(%room, source = source.0, track = track.0, ?codec, "media came");
            }
            Event::Speaking { room, person } => {
                let person = person.map(|person| person.to_string());
                tracing::debug!(%room, person, "the speaker changed");
            }
        }
        if self.backlog.len() >= EVENT_BACKLOG {
            tracing::error!("the daemon does not take the SFU's events: the oldest is lost");
            self.backlog.pop_front();
        }
        self.backlog.push_back(event);
    }

    fn tell_metrics(&self) {
        let counters = self.core.counters();
        let stats = self.socket.stats();
        metrics::gauge!("proscenium_sfu_publishers").set(self.core.publishers() as f64);
        metrics::gauge!("proscenium_sfu_subscribers").set(self.core.subscribers() as f64);
        metrics::gauge!("proscenium_sfu_tcp_connections").set(self.connections.len() as f64);
        for (name, value) in [
            ("proscenium_sfu_packets_total", counters.packets),
            ("proscenium_sfu_bytes_total", counters.bytes),
            ("proscenium_sfu_forwarded_total", counters.forwarded),
            ("proscenium_sfu_forwarded_bytes_total", counters.forwarded_bytes),
            ("proscenium_sfu_congested_total", counters.congested),
            ("proscenium_sfu_layer_switches_total", counters.switches),
            ("proscenium_sfu_lost_total", counters.lost),
            ("proscenium_sfu_nacks_total", counters.nacks),
            ("proscenium_sfu_keyframe_requests_total", counters.keyframe_requests),
            ("proscenium_sfu_garbage_total", counters.garbage),
            ("proscenium_sfu_unplaced_total", counters.unplaced),
            ("proscenium_sfu_failures_total", counters.failures),
            ("proscenium_sfu_refused_records_total", self.refused_records),
            ("proscenium_sfu_tcp_dropped_total", self.dropped_frames),
            ("proscenium_udp_received_total", stats.received),
            ("proscenium_udp_sent_total", stats.sent),
            ("proscenium_udp_dropped_total", stats.dropped_send),
            ("proscenium_udp_truncated_total", stats.truncated),
            ("proscenium_udp_syscalls_total", stats.syscalls),
        ] {
            metrics::counter!(name).absolute(value);
        }
    }
}

fn describe_metrics() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("proscenium_sfu_publishers", "Publishers, connected or connecting");
    gauge!("proscenium_sfu_subscribers", "Subscribers, connected or connecting");
    gauge!("proscenium_sfu_tcp_connections", "ICE-TCP connections");
    counter!("proscenium_sfu_packets_total", "Media packets put into rings");
    counter!("proscenium_sfu_bytes_total", "Their payload bytes");
    counter!("proscenium_sfu_forwarded_total", "Media packets sent to subscribers");
    counter!("proscenium_sfu_forwarded_bytes_total", "Their payload bytes");
    counter!("proscenium_sfu_congested_total", "Media packets a full connection did not take");
    counter!("proscenium_sfu_layer_switches_total", "Changes of a subscriber's simulcast layer");
    counter!("proscenium_sfu_lost_total", "Media packets missing when looked at, once a second");
    counter!("proscenium_sfu_nacks_total", "Retransmissions asked for");
    counter!("proscenium_sfu_keyframe_requests_total", "Key frames asked for (PLI, FIR)");
    counter!("proscenium_sfu_garbage_total", "Datagrams that belong to nobody");
    counter!("proscenium_sfu_unplaced_total", "Media packets of no known track or codec");
    counter!("proscenium_sfu_failures_total", "Connections ended by an error of the engine");
    counter!("proscenium_sfu_left_total", "Publishers that left, by reason");
    counter!("proscenium_sfu_refused_records_total", "Records no ring took");
    counter!("proscenium_sfu_tcp_dropped_total", "Frames dropped because a connection was full");
    counter!("proscenium_sfu_tcp_refused_total", "ICE-TCP connections beyond the limit");
    counter!("proscenium_udp_received_total", "Datagrams received on the media port");
    counter!("proscenium_udp_sent_total", "Datagrams sent from the media port");
    counter!("proscenium_udp_dropped_total", "Datagrams the kernel did not take");
    counter!("proscenium_udp_truncated_total", "Datagrams too long to be media");
    counter!("proscenium_udp_syscalls_total", "System calls of the media socket");
}

#[cfg(test)]
mod tests;
