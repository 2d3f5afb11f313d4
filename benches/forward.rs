//! What forwarding costs: packets a second and core from one publisher to its subscribers, through
//! the SFU's core: decryption, routing, rewriting, encryption; without sockets.
//!
//! Real connections, made once by DTLS. Each turn brings one picture of eight packets; only what
//! the core does about it is timed, the clients' own work is not.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proscenium::sfu::addresses::Addresses;
use proscenium::sfu::core::{Core, Output};
use proscenium::sfu::{Config, Publish, Subscribe};
use proscenium::time::{HostTime, MediaKind, PersonId, RoomName};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Rtc, RtcConfig};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8189);
const PACKETS: u64 = 8;
const PAYLOAD: usize = 1150;
/// Eight packets of 1 150 bytes every 29 ms are 2.5 Mb/s.
const TURN_US: i64 = 29_000;
/// Clients are given time to keep their connections alive.
const KEEP_ALIVE_TURNS: u64 = 100;

struct Client {
    rtc: Rtc,
    address: SocketAddr,
    video: Mid,
}

struct Stage {
    core: Core,
    start: (Instant, HostTime),
    now: HostTime,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    payload: Arc<[u8]>,
    seq: u64,
    turn: u64,
}

fn room() -> RoomName {
    RoomName::parse("bench").expect("a room name")
}

impl Stage {
    fn new(subscribers: usize) -> Self {
        let start = (Instant::now(), HostTime(1_000_000));
        let config = Config { max_subscribers: subscribers, ..Config::default() };
        let mut core = Core::new(config, start, [7; 32]);
        core.announce(
            Addresses { announced: vec![SERVER.ip()], local: vec![SERVER.ip()] },
            SERVER.port(),
        );
        core.open_room(&room());
        let payload = vec![0x41; PAYLOAD].into();
        let mut stage = Self {
            core,
            start,
            now: start.1,
            clients: Vec::new(),
            by_address: HashMap::new(),
            payload,
            seq: 0,
            turn: 0,
        };
        stage.join(Direction::SendOnly);
        stage.settle();
        for _ in 0..subscribers {
            stage.join(Direction::RecvOnly);
        }
        stage.settle();
        assert!(stage.clients.iter().all(|client| client.rtc.is_connected()));
        let key = vec![0x65; PAYLOAD].into();
        let delta = std::mem::replace(&mut stage.payload, key);
        stage.picture();
        stage.payload = delta;
        stage
    }

    fn instant(&self) -> Instant {
        self.start.0 + Duration::from_micros(self.now.since(self.start.1) as u64)
    }

    fn join(&mut self, direction: Direction) {
        let n = self.clients.len();
        let ip = Ipv4Addr::new(10, 1, (n / 250) as u8, (n % 250) as u8 + 1);
        let address = SocketAddr::new(ip.into(), 5000);
        let mut rtc = RtcConfig::new().set_rtp_mode(true).build(self.instant());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host candidate"));
        let mut api = rtc.sdp_api();
        let video = api.add_media(str0m::media::MediaKind::Video, direction, None, None, None);
        let (offer, pending) = api.apply().expect("an offer");
        let answer = self.answer(direction, offer.to_sdp_string());
        accept(&mut rtc, pending, &answer);
        self.by_address.insert(address, n);
        self.clients.push(Client { rtc, address, video });
    }

    fn answer(&mut self, direction: Direction, offer: String) -> String {
        let (room, person, kind) = (room(), PersonId::new(1), MediaKind::Camera);
        if direction == Direction::SendOnly {
            let publish = Publish { room, person, kind, offer };
            return self.core.publish(self.now, &publish).expect("a good offer").answer;
        }
        let subscribe = Subscribe { room, viewer: PersonId::new(2), person, kind, offer };
        self.core.subscribe(self.now, &subscribe).expect("a good offer").answer
    }

    /// Two seconds in which connections are made.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.now = self.now.plus_micros(10_000);
            self.serve_clients(true);
        }
    }

    /// Lets the clients work; media reaches them only as needed.
    fn serve_clients(&mut self, media: bool) {
        let at = self.instant();
        for client in &mut self.clients {
            client.rtc.handle_input(Input::Timeout(at)).expect("a client");
            let mut out = Vec::new();
            drain(&mut client.rtc, &mut out);
            for datagram in out {
                self.core.datagram(self.now, Protocol::Udp, client.address, SERVER, &datagram);
            }
        }
        self.core.tick(self.now);
        while let Some(output) = self.core.poll() {
            let Output::Transmit { to, payload, .. } = output else { continue };
            let is_media = payload.first().is_some_and(|byte| (128..192).contains(byte));
            let Some(client) = self.by_address.get(&to).and_then(|n| self.clients.get_mut(*n))
            else {
                continue;
            };
            if media || !is_media {
                let receive = Receive::new(Protocol::Udp, SERVER, client.address, &payload);
                let receive = receive.expect("what the core sends can be read");
                client.rtc.handle_input(Input::Receive(at, receive)).expect("a client");
                let mut out = Vec::new();
                drain(&mut client.rtc, &mut out);
                for datagram in out {
                    self.core.datagram(self.now, Protocol::Udp, client.address, SERVER, &datagram);
                }
            }
        }
    }

    /// One picture from the publisher to everybody: what the core took for it, and how many
    /// packets it sent.
    fn picture(&mut self) -> (Duration, u64) {
        self.now = self.now.plus_micros(TURN_US);
        self.turn += 1;
        if self.turn.is_multiple_of(KEEP_ALIVE_TURNS) {
            self.serve_clients(false);
        }
        let (at, payload) = (self.instant(), Arc::clone(&self.payload));
        let client = self.clients.first_mut().expect("the publisher");
        let payload_type = {
            let offered = client.rtc.media(client.video).expect("its video").remote_pts().to_vec();
            let params = client.rtc.codec_config().params();
            let h264 =
                params.iter().find(|p| p.spec().codec == Codec::H264 && offered.contains(&p.pt()));
            h264.expect("H.264").pt()
        };
        for n in 0..PACKETS {
            let mut api = client.rtc.direct_api();
            let stream = api.stream_tx_by_mid(client.video, None).expect("its stream");
            let timestamp = (self.turn * 2_610) as u32;
            let write =
                RtpWrite::new(payload_type, self.seq.into(), timestamp, at, Arc::clone(&payload));
            stream.write_rtp(write.marker(n + 1 == PACKETS));
            self.seq += 1;
        }
        client.rtc.handle_input(Input::Timeout(at)).expect("the publisher");
        let mut out = Vec::new();
        drain(&mut client.rtc, &mut out);
        let from = client.address;

        let begun = Instant::now();
        for datagram in &out {
            self.core.datagram(self.now, Protocol::Udp, from, SERVER, datagram);
        }
        self.core.tick(self.now);
        let mut sent = 0;
        while let Some(output) = self.core.poll() {
            sent += u64::from(matches!(black_box(&output), Output::Transmit { .. }));
        }
        (begun.elapsed(), sent)
    }
}

fn accept(rtc: &mut Rtc, pending: SdpPendingOffer, answer: &str) {
    let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
    rtc.sdp_api().accept_answer(pending, answer).expect("an answer to this offer");
}

fn drain(rtc: &mut Rtc, out: &mut Vec<Vec<u8>>) {
    loop {
        match rtc.poll_output().expect("a client") {
            str0m::Output::Timeout(_) => return,
            str0m::Output::Transmit(t) => out.push(t.contents.to_vec()),
            str0m::Output::Event(_) => {}
        }
    }
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    for subscribers in [16_usize, 50, 200, 800] {
        let mut stage = Stage::new(subscribers);
        group.sample_size(20);
        group.throughput(Throughput::Elements(PACKETS * subscribers as u64));
        group.bench_function(format!("{subscribers} subscribers"), |b| {
            b.iter_custom(|turns| {
                let mut total = Duration::ZERO;
                for _ in 0..turns {
                    let (took, sent) = stage.picture();
                    assert!(sent >= PACKETS * subscribers as u64, "all are served: {sent}");
                    total += took;
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
