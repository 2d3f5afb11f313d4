//! The virtual world: a clock, a network with seeded faults, clients.

use super::super::*;
use crate::sfu::words::*;
use crate::time::{PersonId, SourceCodec};
use rand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Receive, TcpType};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Input, Output as RtcOutput, Rtc, RtcConfig};

pub const SERVER: &str = "10.0.0.1";
pub const PORT: u16 = 8189;

pub fn room() -> RoomName {
    RoomName::parse("bar").unwrap()
}

/// The person of that name.
pub fn person(name: &str) -> PersonId {
    PersonId::new(name.bytes().fold(7, |hash, byte| hash << 8 | u64::from(byte)))
}

/// What the network does to datagrams, both ways.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub loss: f64,
    pub delay_us: i64,
    pub jitter_us: i64,
}

/// A narrow way to a client: what does not leave at once waits, and what would wait too long is
/// lost.
#[derive(Clone, Copy)]
pub struct Narrow {
    pub bits_a_second: u64,
    pub longest_us: i64,
}

struct InFlight {
    client: Option<usize>,
    proto: Protocol,
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

pub struct Client {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub video: Mid,
    pub audio: Mid,
    pub layers: Vec<Rid>,
    pub keyframe_requests: Vec<HostTime>,
    pub keyframe_rids: Vec<Option<Rid>>,
    pub connected: bool,
    pub closed: bool,
    /// Unplugged: nothing goes in or out.
    pub unplugged: bool,
    /// Media that came to it.
    pub received: Vec<RtpPacket>,
    pub narrow: Option<Narrow>,
    free_at: HostTime,
    pending: Option<SdpPendingOffer>,
    deadline: HostTime,
}

pub struct World {
    pub core: Core,
    pub now: HostTime,
    pub clients: Vec<Client>,
    pub faults: Faults,
    pub outputs: Vec<Output>,
    pub datagrams_to_server: u64,
    clock: Clock,
    random: StdRng,
    queue: BinaryHeap<Reverse<(HostTime, u64)>>,
    in_flight: HashMap<u64, InFlight>,
    sent: u64,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self::seeded(config, 1)
    }

    pub fn seeded(config: Config, seed: u64) -> Self {
        let origin = (Instant::now(), HostTime(1_000_000));
        let mut core = Core::new(config, origin, [7; 32]);
        let ip: IpAddr = SERVER.parse().unwrap();
        core.announce(Addresses { announced: vec![ip], local: vec![ip] }, PORT);
        core.open_room(&room());
        Self {
            core,
            now: origin.1,
            clients: Vec::new(),
            faults: Faults { delay_us: 5_000, ..Faults::default() },
            outputs: Vec::new(),
            datagrams_to_server: 0,
            clock: Clock::new(origin.0, origin.1),
            random: StdRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            in_flight: HashMap::new(),
            sent: 0,
        }
    }

    /// A client that has made an offer to send one video and one audio.
    pub fn client(&mut self, proto: Protocol) -> (usize, String) {
        self.offerer(proto, Direction::SendOnly, &[])
    }

    /// A client that has made an offer; its video in layers of these names.
    pub fn offerer(
        &mut self,
        proto: Protocol,
        direction: Direction,
        layers: &[&str],
    ) -> (usize, String) {
        let n = self.clients.len();
        let address = format!("10.0.{}.{}:5000", 1 + n / 250, 1 + n % 250);
        let address: SocketAddr = address.parse().unwrap();
        let mut rtc = RtcConfig::new().set_rtp_mode(true).build(self.clock.instant(self.now));
        let candidate = match proto {
            Protocol::Udp => Candidate::host(address, Protocol::Udp),
            _ => Candidate::builder().tcp().host(address).tcptype(TcpType::Active).build(),
        };
        rtc.add_local_candidate(candidate.unwrap());
        let mut simulcast = Simulcast::new();
        layers.iter().for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        let simulcast = (!layers.is_empty()).then_some(simulcast);
        let mut api = rtc.sdp_api();
        let video = api.add_media(MediaKind::Video, direction, None, None, simulcast);
        let audio = api.add_media(MediaKind::Audio, direction, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        self.clients.push(Client {
            rtc,
            address,
            video,
            audio,
            layers: layers.iter().map(|rid| Rid::from(*rid)).collect(),
            keyframe_requests: Vec::new(),
            keyframe_rids: Vec::new(),
            connected: false,
            closed: false,
            unplugged: false,
            received: Vec::new(),
            narrow: None,
            free_at: self.now,
            pending: Some(pending),
            deadline: self.now,
        });
        (n, offer.to_sdp_string())
    }

    pub fn answered(&mut self, client: usize, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let client_ = &mut self.clients[client];
        let pending = client_.pending.take().unwrap();
        client_.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        // str0m as a sender stops repairing at 15 % of its rate. That is its own care for the
        // network; what is tested here is the receiver's.
        let (video, layers) = (client_.video, client_.layers.clone());
        let rids: Vec<Option<Rid>> = match layers.len() {
            0 => vec![None],
            _ => layers.into_iter().map(Some).collect(),
        };
        let mut api = client_.rtc.direct_api();
        for rid in rids {
            // A receiver has none.
            if let Some(stream) = api.stream_tx_by_mid(video, rid) {
                stream.set_rtx_cache(1000, std::time::Duration::from_secs(3), None);
            }
        }
        self.drain_client(client);
    }

    /// Offers to publish `name`'s camera.
    pub fn publish(&mut self, name: &str, offer: &str) -> Result<Published, PublishError> {
        self.publish_to(&room(), name, offer)
    }

    pub fn publish_to(
        &mut self,
        room: &RoomName,
        name: &str,
        offer: &str,
    ) -> Result<Published, PublishError> {
        let kind = crate::time::MediaKind::Camera;
        let (room, offer) = (room.clone(), offer.to_owned());
        self.core.publish(self.now, &Publish { room, person: person(name), kind, offer })
    }

    /// A client that publishes as `identity` and is connected.
    pub fn publisher(&mut self, identity: &str, proto: Protocol) -> (usize, Published) {
        self.layered(identity, proto, &[])
    }

    /// The same with simulcast.
    pub fn layered(
        &mut self,
        identity: &str,
        proto: Protocol,
        layers: &[&str],
    ) -> (usize, Published) {
        let (n, offer) = self.offerer(proto, Direction::SendOnly, layers);
        let published = self.publish(identity, &offer).unwrap();
        self.answered(n, &published.answer);
        self.connect(n);
        (n, published)
    }

    fn connect(&mut self, n: usize) {
        let limit = self.now.plus_micros(15_000_000);
        while !self.clients[n].connected {
            assert!(self.now < limit, "no connection within 15 s");
            self.run(10_000);
        }
    }

    /// `viewer` offers to receive `name`'s camera.
    pub fn subscribe(
        &mut self,
        viewer: &str,
        name: &str,
        offer: &str,
    ) -> Result<Subscribed, SubscribeError> {
        let subscribe = Subscribe {
            room: room(),
            viewer: person(viewer),
            person: person(name),
            kind: crate::time::MediaKind::Camera,
            offer: offer.to_owned(),
        };
        self.core.subscribe(self.now, &subscribe)
    }

    /// A client that receives `name`'s camera and is connected.
    pub fn subscriber(&mut self, viewer: &str, name: &str) -> (usize, Subscribed) {
        let (n, offer) = self.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
        let subscribed = self.subscribe(viewer, name, &offer).unwrap();
        self.answered(n, &subscribed.answer);
        self.connect(n);
        (n, subscribed)
    }

    /// Sends one packet of `kind`; `seq` is not extended by the client.
    pub fn send(&mut self, client: usize, kind: MediaKind, seq: u64, ts: u32, payload: &[u8]) {
        self.send_as(client, kind, None, seq, ts, payload, None);
    }

    /// The same of one layer; sound with a level in dBov.
    #[allow(clippy::too_many_arguments)] // a packet has that many parts
    pub fn send_as(
        &mut self,
        client: usize,
        kind: MediaKind,
        layer: Option<&str>,
        seq: u64,
        ts: u32,
        payload: &[u8],
        level: Option<i8>,
    ) {
        let at = self.clock.instant(self.now);
        let c = &mut self.clients[client];
        let (mid, codec) = match kind {
            MediaKind::Video => (c.video, Codec::H264),
            _ => (c.audio, Codec::Opus),
        };
        let remote = c.rtc.media(mid).unwrap().remote_pts().to_vec();
        let params = c.rtc.codec_config().params();
        let pt = params.iter().find(|p| p.spec().codec == codec && remote.contains(&p.pt()));
        let pt = pt.unwrap().pt();
        let voice_activity = level.map(|level| level > -60);
        let extensions =
            ExtensionValues { audio_level: level, voice_activity, ..ExtensionValues::default() };
        let write = RtpWrite::new(pt, seq.into(), ts, at, payload.to_vec())
            .marker(true)
            .ext_vals(extensions)
            .nackable(kind == MediaKind::Video);
        let rid = layer.map(Rid::from);
        c.rtc.direct_api().stream_tx_by_mid(mid, rid).unwrap().write_rtp(write);
        c.rtc.handle_input(Input::Timeout(at)).unwrap();
        self.drain_client(client);
    }

    /// Lets `us` microseconds pass.
    pub fn run(&mut self, us: i64) {
        let end = self.now.plus_micros(us);
        loop {
            let mut next = end;
            if let Some(Reverse((at, _))) = self.queue.peek() {
                next = next.min(*at);
            }
            for client in &self.clients {
                next = next.min(client.deadline);
            }
            next = next.min(self.core.next_timeout().unwrap_or(end));
            self.now = next.max(self.now);
            self.deliver();
            for n in 0..self.clients.len() {
                if self.clients[n].deadline <= self.now {
                    let at = self.clock.instant(self.now);
                    self.clients[n].rtc.handle_input(Input::Timeout(at)).unwrap();
                    self.drain_client(n);
                    // str0m may ask for this very moment again; time must go on.
                    let soon = self.now.plus_micros(1_000);
                    self.clients[n].deadline = self.clients[n].deadline.max(soon);
                }
            }
            self.core.tick(self.now);
            self.drain_core();
            if self.now >= end {
                return;
            }
            if next <= self.now {
                self.now = self.now.plus_micros(100);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(Reverse((at, n))) = self.queue.peek().copied() {
            if at > self.now {
                return;
            }
            self.queue.pop();
            let Some(InFlight { client, proto, from, to, payload }) = self.in_flight.remove(&n)
            else {
                continue;
            };
            match client {
                None => {
                    self.datagrams_to_server += 1;
                    self.core.datagram(self.now, proto, from, to, &payload);
                    self.drain_core();
                }
                Some(client) => {
                    let at = self.clock.instant(self.now);
                    let Ok(receive) = Receive::new(proto, from, to, &payload) else { continue };
                    let rtc = &mut self.clients[client].rtc;
                    rtc.handle_input(Input::Receive(at, receive)).unwrap();
                    self.drain_client(client);
                }
            }
        }
    }

    pub fn drain_core(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Transmit { proto, from, to, payload } => {
                    let from = from.unwrap_or(SERVER.parse().unwrap());
                    let client = self.clients.iter().position(|c| c.address == to && !c.unplugged);
                    if let Some(client) = client {
                        let from = SocketAddr::new(from, PORT);
                        self.launch(Some(client), proto, from, to, payload.to_vec());
                    }
                }
                other => self.outputs.push(other),
            }
        }
    }

    fn drain_client(&mut self, n: usize) {
        loop {
            match self.clients[n].rtc.poll_output().unwrap() {
                RtcOutput::Timeout(at) => {
                    self.clients[n].deadline = self.clock.host(at);
                    return;
                }
                RtcOutput::Transmit(t) if !self.clients[n].unplugged => {
                    self.launch(None, t.proto, t.source, t.destination, t.contents.to_vec());
                }
                RtcOutput::Transmit(_) => {}
                RtcOutput::Event(event) => match event {
                    str0m::Event::Connected => self.clients[n].connected = true,
                    str0m::Event::RtpPacket(packet) => self.clients[n].received.push(packet),
                    str0m::Event::Closed => self.clients[n].closed = true,
                    str0m::Event::KeyframeRequest(request) => {
                        self.clients[n].keyframe_requests.push(self.now);
                        self.clients[n].keyframe_rids.push(request.rid);
                    }
                    _ => {}
                },
            }
        }
    }

    fn launch(
        &mut self,
        client: Option<usize>,
        proto: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    ) {
        let reliable = proto != Protocol::Udp;
        if !reliable && self.random.random_bool(self.faults.loss) {
            return;
        }
        let jitter = match self.faults.jitter_us {
            0 => 0,
            _ if reliable => 0,
            most => self.random.random_range(0..most),
        };
        let mut at = self.now.plus_micros(self.faults.delay_us + jitter);
        if let Some(client) = client.and_then(|n| self.clients.get_mut(n))
            && let Some(narrow) = client.narrow
        {
            let starts = client.free_at.max(self.now);
            if starts.since(self.now) > narrow.longest_us {
                return;
            }
            let bits = (payload.len() as u64 + 28) * 8;
            client.free_at = starts.plus_micros((bits * 1_000_000 / narrow.bits_a_second) as i64);
            at = at.plus_micros(client.free_at.since(self.now));
        }
        self.sent += 1;
        self.queue.push(Reverse((at, self.sent)));
        self.in_flight.insert(self.sent, InFlight { client, proto, from, to, payload });
    }

    /// The media packets that came out so far, of one kind.
    pub fn packets(&self, audio: bool) -> Vec<&Packet> {
        let mut packets = Vec::new();
        for output in &self.outputs {
            match output {
                Output::Packet { packet, .. } if packet.codec.is_audio() == audio => {
                    packets.push(packet);
                }
                _ => {}
            }
        }
        packets
    }

    pub fn events(&self) -> Vec<&Event> {
        let mut events = Vec::new();
        for output in &self.outputs {
            if let Output::Event(event) = output {
                events.push(event);
            }
        }
        events
    }

    pub fn video_track(&self) -> Option<TrackId> {
        self.events().into_iter().rev().find_map(|event| match event {
            Event::FirstPacket { track, codec: SourceCodec::H264, .. } => Some(*track),
            _ => None,
        })
    }
}
