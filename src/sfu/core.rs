//! All publishers behind one port, without sockets or a clock.
//!
//! Every method takes `now`; what is to be done comes out of [`Core::poll`]. A datagram finds its
//! publisher by the address it came from; a STUN binding request, which alone may come from a new
//! address, by the user name in it. Nobody else's connection is asked, so garbage costs one
//! lookup and is answered by silence.
//!
//! Deliberately not known here: rings, HTTP, tokens, which daemon task waits for an answer.

use super::addresses::Addresses;
use super::peer::{Clock, NewPeer, Over, Peer, PeerOutput, Shared, guarded};
pub use super::peer::{Counters, Packet};
use super::sdp::{self, Credentials, Fragment};
use super::words::{
    CommandError, Event, LeftWhy, PatchError, Patched, Publish, PublishError, Published, Subscribe,
    SubscribeError, Subscribed,
};
use super::{Config, ResourceId};
use crate::time::{HostTime, MediaKind, PersonId, RoomName, SourceId, TrackId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use str0m::change::SdpOffer;
use str0m::format::{Codec, FormatParams};
use str0m::ice::StunMessage;
use str0m::media::Frequency;
use str0m::net::{DatagramSend, Protocol, TcpType};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

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

/// How often the stage is told anew, for transcoders that begin to read in the middle.
const STAGE_EVERY_US: i64 = 1_000_000;

struct Room {
    name: RoomName,
    publishers: BTreeMap<(PersonId, MediaKind), SourceId>,
    muted: BTreeSet<PersonId>,
    stage: Option<Arc<[u8]>>,
    stage_due: HostTime,
}

impl Room {
    fn people(&self) -> usize {
        let mut people: Vec<PersonId> = self.publishers.keys().map(|(person, _)| *person).collect();
        people.dedup(); // they are in order
        people.len()
    }
}

/// The state of the SFU.
pub struct Core {
    rtc: RtcConfig,
    shared: Shared,
    addresses: Addresses,
    port: u16,
    random: StdRng,
    peers: HashMap<SourceId, Peer>,
    by_resource: HashMap<ResourceId, SourceId>,
    by_ufrag: HashMap<String, SourceId>,
    by_remote: HashMap<(Protocol, SocketAddr), SourceId>,
    by_track: HashMap<TrackId, SourceId>,
    by_name: HashMap<RoomName, RoomKey>,
    rooms: HashMap<RoomKey, Room>,
    next_source: u32,
    next_room: u32,
    outputs: VecDeque<Output>,
}

impl Core {
    /// `origin` is one moment on both faces of the monotonic clock; no `now` may be before it.
    /// `seed` must be secret and random: session names and ICE passwords come of it.
    pub fn new(config: Config, origin: (Instant, HostTime), seed: [u8; 32]) -> Self {
        let clock = Clock::new(origin.0, origin.1);
        let shared = Shared {
            config,
            clock,
            counters: Counters::default(),
            next_track: 1,
            produced: VecDeque::new(),
        };
        Self {
            rtc: rtc_config(),
            port: shared.config.port,
            shared,
            addresses: Addresses::default(),
            random: StdRng::from_seed(seed),
            peers: HashMap::new(),
            by_resource: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_remote: HashMap::new(),
            by_track: HashMap::new(),
            by_name: HashMap::new(),
            rooms: HashMap::new(),
            next_source: 1,
            next_room: 1,
            outputs: VecDeque::new(),
        }
    }

    /// What later answers announce.
    pub fn announce(&mut self, addresses: Addresses, port: u16) {
        self.addresses = addresses;
        self.port = port;
    }

    /// Publishers, connected or connecting.
    pub fn publishers(&self) -> usize {
        self.peers.len()
    }

    /// Totals since the start.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Core::tick`] is next to be called, at the latest.
    pub fn next_timeout(&self) -> Option<HostTime> {
        let peers = self.peers.values().map(|peer| peer.due(&self.shared.config));
        let stages = self.rooms.values().filter(|room| room.stage.is_some());
        peers.chain(stages.map(|room| room.stage_due)).min()
    }

    /// Opens a room for publishers. Open already, it keeps its key.
    pub fn open_room(&mut self, name: &RoomName) -> RoomKey {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = RoomKey(self.next_room);
        self.next_room = self.next_room.wrapping_add(1);
        self.by_name.insert(name.clone(), key);
        let room = Room {
            name: name.clone(),
            publishers: BTreeMap::new(),
            muted: BTreeSet::new(),
            stage: None,
            stage_due: HostTime(i64::MAX),
        };
        self.rooms.insert(key, room);
        key
    }

    /// Closes a room and sends everybody in it away. Its key, if it was open.
    pub fn close_room(&mut self, now: HostTime, name: &RoomName) -> Option<RoomKey> {
        let key = self.by_name.remove(name)?;
        for publisher in self.publishers_of(key, |_| true) {
            self.end(now, publisher, LeftWhy::RoomClosed);
        }
        self.rooms.remove(&key);
        Some(key)
    }

    /// Sends every publisher away.
    pub fn close_all(&mut self, now: HostTime) {
        let names: Vec<_> = self.by_name.keys().cloned().collect();
        for name in names {
            self.close_room(now, &name);
        }
    }

    /// Answers an offer to send.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing has changed.
    pub fn publish(&mut self, now: HostTime, publish: &Publish) -> Result<Published, PublishError> {
        let Publish { room, person, kind, offer } = publish;
        let (person, kind) = (*person, *kind);
        let key = *self.by_name.get(room).ok_or(PublishError::NotOpen)?;
        let stage = self.rooms.get(&key).ok_or(PublishError::NotOpen)?;
        let before = stage.publishers.get(&(person, kind)).copied();
        let on_stage = stage.publishers.keys().any(|(somebody, _)| *somebody == person);
        if !on_stage && stage.people() >= self.shared.config.max_on_stage {
            return Err(PublishError::StageFull);
        }
        let muted = stage.muted.contains(&person);
        if before.is_none() && self.peers.len() >= self.shared.config.max_publishers {
            return Err(PublishError::Full);
        }
        let offer = sdp::clean_offer(offer)?;
        let (rtc, answer, remote) = self.negotiate(now, &offer)?;

        if let Some(older) = before {
            self.end(now, older, LeftWhy::Replaced);
        }
        let id = SourceId(self.next_source);
        self.next_source = self.next_source.wrapping_add(1);
        let resource = ResourceId::new(self.random.random());
        let etag = self.etag();
        let local_ufrag = Credentials::find(&answer).map(|c| c.ufrag).unwrap_or_default();
        self.by_resource.insert(resource, id);
        self.by_ufrag.insert(local_ufrag.clone(), id);
        if let Some(room) = self.rooms.get_mut(&key) {
            room.publishers.insert((person, kind), id);
        }
        let peer = NewPeer {
            id,
            room: key,
            person,
            kind,
            muted,
            resource,
            etag: etag.clone(),
            rtc,
            offer,
            remote,
            local_ufrag,
            candidates: self.addresses.announced.clone(),
        };
        self.peers.insert(id, Peer::new(peer, now));
        self.outputs.push_back(Output::Event(Event::Joined {
            room: room.clone(),
            source: id,
            person,
            kind,
        }));
        self.run(now, id, |peer, shared| peer.drain(shared, now));
        Ok(Published { answer, resource, etag, source: id })
    }

    /// Answers an offer to receive.
    ///
    /// # Errors
    /// [`SubscribeError`]; then nothing has changed.
    pub fn subscribe(
        &mut self,
        _now: HostTime,
        subscribe: &Subscribe,
    ) -> Result<Subscribed, SubscribeError> {
        let Subscribe { room, person, kind, .. } = subscribe;
        let key = self.by_name.get(room).ok_or(SubscribeError::NotOnStage)?;
        let room = self.rooms.get(key).ok_or(SubscribeError::NotOnStage)?;
        room.publishers.get(&(*person, *kind)).ok_or(SubscribeError::NotOnStage)?;
        Err(SubscribeError::Command(CommandError::Busy))
    }

    /// How large a subscriber shows what it receives; says whether there is such a session.
    pub fn view(
        &mut self,
        _now: HostTime,
        _room: &RoomName,
        _at: ResourceId,
        _height: u32,
    ) -> bool {
        false
    }

    /// Ends everything of a person in a room; says whether there was anything.
    pub fn send_away(&mut self, now: HostTime, room: &RoomName, person: PersonId) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let theirs = self.publishers_of(key, |somebody| somebody == person);
        for id in &theirs {
            self.end(now, *id, LeftWhy::SentAway);
        }
        !theirs.is_empty()
    }

    /// Whether a person's sound is to be dropped, from now on and until the room is closed; says
    /// whether the room is open.
    pub fn mute(&mut self, room: &RoomName, person: PersonId, muted: bool) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let Some(room) = self.rooms.get_mut(&key) else { return false };
        if muted {
            room.muted.insert(person);
        } else {
            room.muted.remove(&person);
        }
        for id in self.publishers_of(key, |somebody| somebody == person) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.muted = muted;
            }
        }
        true
    }

    /// Who is on stage, encoded: for the ring now and every second; says whether the room is open.
    pub fn set_stage(&mut self, now: HostTime, room: &RoomName, stage: Arc<[u8]>) -> bool {
        let Some(key) = self.by_name.get(room).copied() else { return false };
        let Some(room) = self.rooms.get_mut(&key) else { return false };
        room.stage = Some(stage);
        self.tell_stage(now, key);
        true
    }

    /// Tells the ring who is on stage, if that is known.
    pub fn tell_stage(&mut self, now: HostTime, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        let Some(stage) = room.stage.clone() else { return };
        room.stage_due = now.plus_micros(STAGE_EVERY_US);
        self.outputs.push_back(Output::Stage { room: key, stage, at: now });
    }

    fn publishers_of(&self, key: RoomKey, whose: impl Fn(PersonId) -> bool) -> Vec<SourceId> {
        let Some(room) = self.rooms.get(&key) else { return Vec::new() };
        let theirs = room.publishers.iter().filter(|((person, _), _)| whose(*person));
        theirs.map(|(_, id)| *id).collect()
    }

    /// Applies an ICE fragment (RFC 9725 §4.3).
    ///
    /// # Errors
    /// [`PatchError`]; then nothing has changed.
    pub fn patch(
        &mut self,
        now: HostTime,
        room: &RoomName,
        resource: ResourceId,
        if_match: Option<&str>,
        fragment: &str,
    ) -> Result<Patched, PatchError> {
        let id = self.find(room, resource).ok_or(PatchError::NotFound)?;
        let if_match = if_match.ok_or(PatchError::NoPrecondition)?;
        let peer = self.peers.get(&id).ok_or(PatchError::NotFound)?;
        let names_session = if_match.split(',').any(|tag| tag.trim() == peer.etag);
        if if_match.trim() != "*" && !names_session {
            return Err(PatchError::Stale);
        }
        let fragment = Fragment::parse(fragment)?;
        match fragment.credentials {
            Some(new) if new != peer.remote => self.restart(now, id, new),
            // Candidates of the session as it is: an ICE-lite agent has no use for them.
            _ => Ok(Patched::Trickled),
        }
    }

    /// Ends a session; says whether there was one.
    pub fn delete(&mut self, now: HostTime, room: &RoomName, resource: ResourceId) -> bool {
        let found = self.find(room, resource);
        found.map(|id| self.end(now, id, LeftWhy::Ended)).is_some()
    }

    /// A decoder needs a key frame of this track.
    pub fn request_keyframe(&mut self, now: HostTime, track: TrackId) {
        if let Some(id) = self.by_track.get(&track).copied() {
            self.run(now, id, |peer, shared| {
                peer.want_keyframe(track, now);
                peer.tick(shared, now)
            });
        }
    }

    /// A datagram came from the network; says whether it was a publisher's.
    pub fn datagram(
        &mut self,
        now: HostTime,
        proto: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let known = self.by_remote.get(&(proto, from)).copied();
        let Some(id) = self.user_of(payload).or(known) else {
            self.shared.counters.garbage += 1;
            return false;
        };
        let mut taken = false;
        self.run(now, id, |peer, shared| {
            taken = peer.receive(shared, now, proto, from, to, payload)?;
            Ok(())
        });
        if !taken {
            self.shared.counters.garbage += 1;
        } else if known != Some(id) && self.peers.contains_key(&id) {
            self.by_remote.insert((proto, from), id);
            let surplus = self.peers.get_mut(&id).and_then(Peer::surplus_remote);
            if let Some(surplus) = surplus {
                self.by_remote.remove(&surplus);
            }
        }
        taken
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: HostTime) {
        let due = |peer: &&Peer| peer.due(&self.shared.config) <= now;
        let due: Vec<SourceId> = self.peers.values().filter(due).map(|peer| peer.id).collect();
        for id in due {
            self.run(now, id, |peer, shared| peer.tick(shared, now));
        }
        let due = |(key, room): (&RoomKey, &Room)| {
            (room.stage.is_some() && room.stage_due <= now).then_some(*key)
        };
        let rooms: Vec<RoomKey> = self.rooms.iter().filter_map(due).collect();
        for key in rooms {
            self.tell_stage(now, key);
        }
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

    fn find(&self, room: &RoomName, resource: ResourceId) -> Option<SourceId> {
        let id = self.by_resource.get(&resource)?;
        let key = self.peers.get(id)?.room;
        (self.by_name.get(room) == Some(&key)).then_some(*id)
    }

    fn etag(&mut self) -> String {
        format!("\"{:016x}\"", self.random.random::<u64>())
    }

    /// Runs one publisher's connection and passes on what it produced.
    fn run(
        &mut self,
        now: HostTime,
        id: SourceId,
        work: impl FnOnce(&mut Peer, &mut Shared) -> Result<(), Over>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let outcome = work(peer, &mut self.shared);
        self.pass_on(id);
        if let Err(Over(why)) = outcome {
            self.end(now, id, why);
        }
    }

    fn pass_on(&mut self, id: SourceId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let room = peer.room;
        let name = |rooms: &HashMap<RoomKey, Room>| rooms.get(&room).map(|room| room.name.clone());
        while let Some(produced) = self.shared.produced.pop_front() {
            let output = match produced {
                PeerOutput::Transmit { proto, from, to, payload } => {
                    let from = Some(from.ip()).filter(|ip| self.addresses.local.contains(ip));
                    Output::Transmit { proto, from, to, payload }
                }
                PeerOutput::Packet(packet) => Output::Packet { room, source: id, packet },
                PeerOutput::Report { track, ntp, rtp, arrived } => {
                    Output::Report { room, source: id, track, ntp, rtp, arrived }
                }
                PeerOutput::Connected => match name(&self.rooms) {
                    Some(room) => Output::Event(Event::Connected { room, source: id }),
                    None => continue,
                },
                PeerOutput::FirstPacket { track, codec } => {
                    self.by_track.insert(track, id);
                    match name(&self.rooms) {
                        Some(room) => {
                            Output::Event(Event::FirstPacket { room, source: id, track, codec })
                        }
                        None => continue,
                    }
                }
            };
            self.outputs.push_back(output);
        }
    }

    fn end(&mut self, now: HostTime, id: SourceId, why: LeftWhy) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.close(&mut self.shared, now);
        }
        self.pass_on(id);
        let Some(peer) = self.peers.remove(&id) else { return };
        self.by_resource.remove(&peer.resource);
        self.by_ufrag.remove(&peer.local_ufrag);
        for remote in &peer.remotes {
            if self.by_remote.get(remote) == Some(&id) {
                self.by_remote.remove(remote);
            }
        }
        for track in peer.tracks() {
            self.by_track.remove(&track);
        }
        self.outputs.push_back(Output::Gone { room: peer.room, source: id, at: now });
        if let Some(room) = self.rooms.get_mut(&peer.room) {
            let (person, kind) = (peer.person, peer.kind);
            if room.publishers.get(&(person, kind)) == Some(&id) {
                room.publishers.remove(&(person, kind));
            }
            let room = room.name.clone();
            let left = Event::Left { room, source: id, person, kind, why };
            self.outputs.push_back(Output::Event(left));
        }
    }

    fn negotiate(
        &mut self,
        now: HostTime,
        offer: &str,
    ) -> Result<(Rtc, String, Credentials), PublishError> {
        let unprocessable = PublishError::Unprocessable;
        let parsed = guarded(|| SdpOffer::from_sdp_string(offer)).map_err(PublishError::BadSdp)?;
        let remote = Credentials::find(offer).ok_or_else(|| {
            unprocessable("a=ice-ufrag and a=ice-pwd are missing: it is no WebRTC offer".into())
        })?;
        let ours = self.credentials();
        let config = self.rtc.clone().set_local_ice_credentials(ours);
        let at = self.shared.clock.instant(now);
        let mut rtc = config.build(at);
        self.add_candidates(&mut rtc);
        let answer = guarded(|| rtc.sdp_api().accept_offer(parsed)).map_err(unprocessable)?;
        let answer = answer.to_sdp_string();
        refuse_without_codec(&answer)?;
        Ok((rtc, answer, remote))
    }

    /// ICE's own alphabet (RFC 8839 §5.4), 48 bits of user name and 144 of password.
    fn credentials(&mut self) -> IceCreds {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = |length: usize| -> String {
            let random = &mut self.random;
            (0..length).map(|_| char::from(ALPHABET[random.random_range(0..64)])).collect()
        };
        IceCreds { ufrag: text(8), pass: text(24) }
    }

    fn add_candidates(&self, rtc: &mut Rtc) {
        for ip in &self.addresses.announced {
            let address = SocketAddr::new(*ip, self.port);
            if let Ok(candidate) = Candidate::host(address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
            if self.shared.config.tcp {
                let tcp = Candidate::builder().tcp().host(address).tcptype(TcpType::Passive);
                if let Ok(candidate) = tcp.build() {
                    rtc.add_local_candidate(candidate);
                }
            }
        }
    }

    fn restart(
        &mut self,
        now: HostTime,
        id: SourceId,
        new: Credentials,
    ) -> Result<Patched, PatchError> {
        let etag = self.etag();
        let peer = self.peers.get_mut(&id).ok_or(PatchError::NotFound)?;
        if new.ufrag == peer.remote.ufrag || new.pwd == peer.remote.pwd {
            return Err(PatchError::Unprocessable(
                "to restart ICE, change both ice-ufrag and ice-pwd (RFC 8445 §9)".into(),
            ));
        }
        // str0m restarts ICE by a whole offer; WHIP's fragment stands for one in which nothing
        // else has changed.
        let offer = sdp::with_credentials(&peer.offer, &new);
        let rtc = &mut peer.rtc;
        let answer = guarded(|| SdpOffer::from_sdp_string(&offer))
            .and_then(|parsed| guarded(|| rtc.sdp_api().accept_offer(parsed)))
            .map_err(PatchError::Unprocessable)?
            .to_sdp_string();
        let ufrag = Credentials::find(&answer).map(|c| c.ufrag).unwrap_or_default();
        self.by_ufrag.remove(&peer.local_ufrag);
        self.by_ufrag.insert(ufrag.clone(), id);
        peer.local_ufrag = ufrag;
        peer.remote = new;
        peer.offer = offer;
        peer.etag.clone_from(&etag);
        peer.last_heard = now; // a restart is a sign of life
        self.run(now, id, |peer, shared| peer.drain(shared, now));
        Ok(Patched::Restarted { fragment: sdp::answer_fragment(&answer), etag })
    }
}

/// What every connection has in common. The certificate too: it is made once a process, and its
/// fingerprint in each answer binds it to the session.
fn rtc_config() -> RtcConfig {
    let provider = std::sync::Arc::new(str0m::crypto::from_feature_flags());
    let certificate = provider.dtls_provider.generate_certificate();
    let mut config = RtcConfig::new()
        .set_crypto_provider(provider)
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_av1(true)
        .set_stats_interval(Some(std::time::Duration::from_secs(1)))
        .set_extension_map(extensions());
    if let Some(certificate) = certificate {
        config = config.set_dtls_cert(certificate);
    }
    let codecs = config.codec_config();
    // Packetization mode 1 only: mode 0 has no FU-A, so an encoder that does not slice cannot use
    // it. Baseline, constrained baseline, main, constrained high and high; a level is a wish, not
    // a limit. The numbers are only names: an answer uses the offer's.
    let profiles = [
        (127, 121, 0x42001f),
        (108, 109, 0x42e01f),
        (123, 119, 0x4d001f),
        (37, 38, 0x640c1f),
        (114, 115, 0x64001f),
    ];
    for (payload_type, repair, profile) in profiles {
        codecs.add_h264(payload_type.into(), Some(u8::into(repair)), true, profile);
    }
    let profile_0 = FormatParams { profile_id: Some(0), ..FormatParams::default() };
    codecs.add_config(
        98.into(),
        Some(99.into()),
        Codec::Vp9,
        Frequency::NINETY_KHZ,
        None,
        profile_0,
    );
    config
}

/// Congestion feedback and stream identity. Left out with purpose: video orientation (a publisher
/// that cannot signal it turns its picture upright before it encodes).
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map
}

/// str0m answers media of which it knows no codec with port 0, and goes on. A class without a
/// picture is not what the publisher wanted, so it is told.
fn refuse_without_codec(answer: &str) -> Result<(), PublishError> {
    for line in answer.lines() {
        if line.starts_with("m=video 0 ") {
            return Err(PublishError::NotAcceptable(
                "no video codec in common: offer H.264 (packetization-mode=1; baseline, main or \
                 high profile), VP8, VP9 (profile 0) or AV1"
                    .into(),
            ));
        }
        if line.starts_with("m=audio 0 ") {
            return Err(PublishError::NotAcceptable(
                "no audio codec in common: offer Opus (opus/48000/2)".into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
