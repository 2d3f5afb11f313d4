//! All sessions behind one port, without sockets or a clock.
//!
//! Every method takes `now`; what is to be done comes out of [`Core::poll`]. A datagram finds its
//! session by the address it came from; a STUN binding request, which alone may come from a new
//! address, by the user name in it. Nobody else's connection is asked, so garbage costs one
//! lookup and is answered by silence.
//!
//! | file | what it does |
//! |---|---|
//! | `sessions` | offers, ICE fragments, coming and going |
//! | `rooms` | who is on stage, who is muted, who speaks |
//! | `route` | from one connection to the ring and the other connections |
//! | `timers` | who is due |
//!
//! Deliberately not known here: rings, HTTP, tokens, which daemon task waits for an answer.

mod negotiate;
mod rooms;
mod route;
mod sessions;
mod timers;

pub use super::connection::{Clock, Counters};
pub use super::publisher::Packet;
pub(in crate::sfu) use timers::NEVER;

use super::addresses::Addresses;
use super::connection::{Connection, Shared};
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use super::words::Event;
use super::{Config, ResourceId};
use crate::time::{HostTime, RoomName, SourceId, TrackId};
use negotiate::Engine;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rooms::Room;
use route::Fan;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use str0m::ice::StunMessage;
use str0m::net::{DatagramSend, Protocol};
use timers::Timers;

/// A room, while it is open. Cheap, for use on every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(pub u32);

/// What the world does with what came out.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit {
        /// UDP or TCP.
        proto: Protocol,
        /// The box's own address to send from; `None` where the routing table knows better.
        from: Option<IpAddr>,
        /// Where to.
        to: SocketAddr,
        /// What.
        payload: DatagramSend,
    },
    /// A media packet for the room's ring.
    Packet {
        /// Which ring.
        room: RoomKey,
        /// From whom.
        source: SourceId,
        /// What.
        packet: Packet,
    },
    /// A sender report for the room's ring.
    Report {
        /// Which ring.
        room: RoomKey,
        /// From whom.
        source: SourceId,
        /// About which track.
        track: TrackId,
        /// The publisher's wall clock, NTP 32.32.
        ntp: u64,
        /// The same moment on the track's RTP clock.
        rtp: u32,
        /// When it came.
        arrived: HostTime,
    },
    /// For the room's ring: nothing more comes from this source.
    Gone {
        /// Which ring.
        room: RoomKey,
        /// Who.
        source: SourceId,
        /// Since when.
        at: HostTime,
    },
    /// For the room's ring: who is on stage.
    Stage {
        /// Which ring.
        room: RoomKey,
        /// A [`crate::link::wire::Stage`], encoded.
        stage: Arc<[u8]>,
        /// When it is told.
        at: HostTime,
    },
    /// For the daemon.
    Event(Event),
}

/// A session of either kind.
// A publisher is much larger than a box around it would cost; there are few of them.
#[allow(clippy::large_enum_variant)]
enum Peer {
    Publisher(Publisher),
    Subscriber(Subscriber),
}

impl Peer {
    fn link(&self) -> &Connection {
        match self {
            Self::Publisher(publisher) => &publisher.link,
            Self::Subscriber(subscriber) => &subscriber.link,
        }
    }

    fn link_mut(&mut self) -> &mut Connection {
        match self {
            Self::Publisher(publisher) => &mut publisher.link,
            Self::Subscriber(subscriber) => &mut subscriber.link,
        }
    }

    fn due(&self, shared: &Shared) -> HostTime {
        match self {
            Self::Publisher(publisher) => publisher.due(shared),
            Self::Subscriber(subscriber) => subscriber.link.due(&shared.config),
        }
    }
}

/// The state of the SFU.
pub struct Core {
    engine: Engine,
    shared: Shared,
    addresses: Addresses,
    port: u16,
    random: StdRng,
    /// Publishers and subscribers, numbered alike.
    peers: HashMap<SourceId, Peer>,
    publishers: usize,
    by_resource: HashMap<ResourceId, SourceId>,
    by_ufrag: HashMap<String, SourceId>,
    by_remote: HashMap<(Protocol, SocketAddr), SourceId>,
    by_track: HashMap<TrackId, SourceId>,
    by_name: HashMap<RoomName, RoomKey>,
    rooms: HashMap<RoomKey, Room>,
    next_id: u32,
    next_room: u32,
    timers: Timers,
    fan: Fan,
    now: HostTime,
}

/// How many of everything there are: after the last session of the last room, all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections that send.
    pub publishers: usize,
    /// Connections that receive.
    pub subscribers: usize,
    /// Entries of the maps by session name, ICE user name, address and track.
    pub names: [usize; 4],
    /// Open rooms.
    pub rooms: usize,
    /// People remembered in rooms: publishing, muted, listened to.
    pub people: usize,
    /// Packets that wait to be forwarded, and whom they wait for.
    pub waiting: usize,
}

impl Core {
    /// `origin` is one moment on both faces of the monotonic clock; no `now` may be before it.
    /// `seed` must be secret and random: session names and ICE passwords come of it.
    pub fn new(config: Config, origin: (Instant, HostTime), seed: [u8; 32]) -> Self {
        let port = config.port;
        let shared = Shared {
            config,
            clock: Clock::new(origin.0, origin.1),
            counters: Counters::default(),
            next_track: 1,
            outputs: VecDeque::new(),
            notices: Vec::new(),
            local: Vec::new(),
        };
        Self {
            engine: Engine::new(),
            port,
            shared,
            addresses: Addresses::default(),
            random: StdRng::from_seed(seed),
            peers: HashMap::new(),
            publishers: 0,
            by_resource: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_remote: HashMap::new(),
            by_track: HashMap::new(),
            by_name: HashMap::new(),
            rooms: HashMap::new(),
            next_id: 1,
            next_room: 1,
            timers: Timers::default(),
            fan: Fan::default(),
            now: origin.1,
        }
    }

    /// What later answers announce.
    pub fn announce(&mut self, addresses: Addresses, port: u16) {
        self.shared.local.clone_from(&addresses.local);
        self.addresses = addresses;
        self.port = port;
    }

    /// Publishers, connected or connecting.
    pub fn publishers(&self) -> usize {
        self.publishers
    }

    /// Subscribers, connected or connecting.
    pub fn subscribers(&self) -> usize {
        self.peers.len() - self.publishers
    }

    /// Totals since the start.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// How many of everything there are.
    pub fn census(&self) -> Census {
        Census {
            publishers: self.publishers(),
            subscribers: self.subscribers(),
            names: [
                self.by_resource.len(),
                self.by_ufrag.len(),
                self.by_remote.len(),
                self.by_track.len(),
            ],
            rooms: self.rooms.len(),
            people: self.rooms.values().map(Room::remembered).sum(),
            waiting: self.fan.waiting(),
        }
    }

    /// The next thing to do. Packets are forwarded as this is called, a subscriber at a time, so
    /// that what is to be sent to one peer comes out together and never all at once.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.shared.outputs.pop_front() {
                return Some(output);
            }
            if !self.forward() {
                return None;
            }
        }
    }

    /// When [`Core::tick`] is next to be called, at the latest.
    pub fn next_timeout(&self) -> Option<HostTime> {
        let stages = self.rooms.values().filter_map(Room::stage_due);
        self.timers.next().into_iter().chain(stages).min()
    }

    /// A decoder needs a key frame of this track.
    pub fn request_keyframe(&mut self, now: HostTime, track: TrackId) {
        self.now = now;
        self.want_keyframe(now, track);
    }

    /// A datagram came from the network; says whether it was a session's.
    pub fn datagram(
        &mut self,
        now: HostTime,
        proto: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> bool {
        self.now = now;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let known = self.by_remote.get(&(proto, from)).copied();
        let Some(id) = self.user_of(payload).or(known) else {
            self.shared.counters.garbage += 1;
            return false;
        };
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let path = (proto, from, to);
        let outcome = match peer {
            Peer::Publisher(peer) => peer.receive(&mut self.shared, now, path, payload),
            Peer::Subscriber(peer) => peer.receive(&mut self.shared, now, path, payload),
        };
        // What ended the connection was its own.
        let taken = outcome.unwrap_or(true);
        self.settle(now, id, outcome.map(drop));
        if !taken {
            self.shared.counters.garbage += 1;
        } else if known != Some(id)
            && let Some(peer) = self.peers.get_mut(&id)
        {
            self.by_remote.insert((proto, from), id);
            if let Some(surplus) = peer.link_mut().surplus_remote() {
                self.by_remote.remove(&surplus);
            }
        }
        taken
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: HostTime) {
        self.now = now;
        while let Some((at, id)) = self.timers.ring(now) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.link().alarm != at {
                continue; // overtaken
            }
            peer.link_mut().alarm = NEVER;
            let outcome = match peer {
                _ if peer.due(&self.shared) > now => Ok(()),
                Peer::Publisher(peer) => peer.tick(&mut self.shared, now),
                Peer::Subscriber(peer) => peer.tick(&mut self.shared, now),
            };
            self.settle(now, id, outcome);
        }
        self.tell_stages(now);
    }

    /// Whose binding request this is. Only the user name is looked at, its signature is str0m's.
    fn user_of(&self, payload: &[u8]) -> Option<SourceId> {
        if payload.len() < 20 || *payload.first()? >= 2 {
            return None; // RFC 7983: STUN is 0 to 3, and a binding's first byte is 0 or 1
        }
        let message = StunMessage::parse(payload).ok()?;
        let (ufrag, _) = message.split_username().filter(|_| message.is_binding_request())?;
        self.by_ufrag.get(ufrag).copied()
    }
}

#[cfg(test)]
mod tests;
