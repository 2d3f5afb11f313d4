//! From a publisher to its subscribers.

use super::super::*;
use super::world::{Faults, Narrow, World, person, room};
use crate::sfu::words::*;
use crate::time::{MediaKind as Kind, PersonId};
use std::collections::BTreeSet;
use str0m::media::{Direction, MediaKind};
use str0m::rtp::RtpPacket;

const KEY: u8 = 0x65;
const DELTA: u8 = 0x41;

/// A camera in layers: name, bytes a packet, packets a picture.
type Layers = &'static [(&'static str, usize, usize)];

const ONE: Layers = &[("", 900, 3)];
/// 96, 480 and 1 440 kb/s at 30 pictures a second.
const THREE: Layers = &[("l", 400, 1), ("m", 1000, 2), ("h", 1000, 6)];

/// A publisher that sends what was asked for.
struct Camera {
    client: usize,
    layers: Layers,
    frame: u64,
    sound: u64,
    seqs: [u64; 3],
    answered: usize,
    /// Layers that the publisher's own network has no room for.
    off: Vec<&'static str>,
    level: Option<i8>,
}

impl Camera {
    fn new(client: usize, layers: Layers) -> Self {
        let seqs = [65_000, 100, 40_000];
        Self { client, layers, frame: 0, sound: 0, seqs, answered: 0, off: vec![], level: None }
    }

    /// One picture of every layer and the sound that goes with it.
    fn picture(&mut self, world: &mut World) {
        let asked = world.clients[self.client].keyframe_rids[self.answered..].to_vec();
        self.answered += asked.len();
        for (n, (name, bytes, packets)) in self.layers.iter().enumerate() {
            if self.off.contains(name) {
                continue;
            }
            let rid = (!name.is_empty()).then(|| str0m::media::Rid::from(*name));
            let key = self.frame == 0 || asked.contains(&rid);
            for slice in 0..*packets {
                let mut payload = vec![self.frame as u8; *bytes];
                payload[..3].copy_from_slice(&[
                    if key { KEY } else { DELTA },
                    slice as u8,
                    n as u8,
                ]);
                let ts = ((self.frame * 3_000) as u32).wrapping_add(n as u32 * 0x5234_5678);
                let layer = (!name.is_empty()).then_some(*name);
                let seq = self.seqs[n];
                world.send_as(self.client, MediaKind::Video, layer, seq, ts, &payload, None);
                self.seqs[n] += 1;
            }
        }
        while self.sound * 20 < self.frame * 1000 / 30 {
            let ts = (self.sound * 960) as u32;
            let sound = &[0xfc, 1, 2, 3];
            world.send_as(self.client, MediaKind::Audio, None, self.sound, ts, sound, self.level);
            self.sound += 1;
        }
        self.frame += 1;
        world.run(33_333);
    }

    fn film(&mut self, world: &mut World, pictures: u64) {
        for _ in 0..pictures {
            self.picture(world);
        }
    }
}

fn video(world: &World, client: usize) -> Vec<&RtpPacket> {
    world.clients[client].received.iter().filter(|p| p.payload.len() > 100).collect()
}

fn audio(world: &World, client: usize) -> usize {
    world.clients[client].received.iter().filter(|p| p.payload.len() == 4).count()
}

/// What a decoder asks of the stream it gets: no number twice, none missing, time that goes on,
/// and a key frame where the layer changes. Gives the layers, in order, each time it changes.
fn check(packets: &[&RtpPacket], lossless: bool) -> Vec<u8> {
    let mut packets = packets.to_vec();
    packets.sort_by_key(|p| p.seq_no);
    let seqs: BTreeSet<u64> = packets.iter().map(|p| *p.seq_no).collect();
    assert_eq!(seqs.len(), packets.len(), "no number twice");
    let (first, last) = (*seqs.first().unwrap(), *seqs.last().unwrap());
    if lossless {
        assert_eq!(last - first + 1, packets.len() as u64, "no number missing");
    }
    let mut layers = Vec::new();
    for pair in packets.windows(2) {
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
        assert!(step < 90_000 * 5, "time goes on: {step}");
        assert!(pair.iter().all(|p| p.header.ssrc == packets[0].header.ssrc));
    }
    for packet in &packets {
        let layer = packet.payload[2];
        if layers.last() != Some(&layer) {
            assert_eq!(packet.payload[0], KEY, "a layer begins with a key frame");
            assert_eq!(packet.payload[1], 0, "and with its first packet");
            layers.push(layer);
        }
    }
    layers
}

fn keys(world: &World, client: usize) -> usize {
    world.clients[client].keyframe_requests.len()
}

#[test]
fn every_subscriber_gets_every_packet_with_numbers_of_its_own() {
    let mut world = World::new(Config::default());
    let (alice, published) = world.publisher("alice", Protocol::Udp);
    let mut camera = Camera::new(alice, ONE);
    camera.film(&mut world, 30);
    let viewers: Vec<usize> =
        (0..10).map(|n| world.subscriber(&format!("v{n}"), "alice").0).collect();
    camera.film(&mut world, 150);
    for viewer in &viewers {
        let packets = video(&world, *viewer);
        assert!(packets.len() >= 3 * 145, "{}", packets.len());
        assert_eq!(check(&packets, true), [0]);
        assert!(packets.iter().all(|p| p.payload.len() == 900 && p.header.marker));
        assert!(audio(&world, *viewer) > 240);
    }
    let ssrcs: BTreeSet<_> = viewers.iter().map(|v| *video(&world, *v)[0].header.ssrc).collect();
    assert_eq!(ssrcs.len(), 10);
    let counters = world.core.counters();
    assert!(counters.forwarded > 10 * 3 * 145);
    assert_eq!((counters.congested, counters.failures), (0, 0));
    // The publisher goes, and so do those who watched.
    assert!(world.core.delete(world.now, &room(), published.resource));
    world.run(500_000);
    assert_eq!(world.core.subscribers(), 0);
    assert!(viewers.iter().all(|v| world.clients[*v].closed), "they are told by DTLS");
}

#[test]
fn three_percent_loss_each_way_is_repaired_on_both_ways() {
    for seed in [1, 2] {
        let mut world = World::seeded(Config::default(), seed);
        let (alice, _) = world.publisher("alice", Protocol::Udp);
        let viewers: Vec<usize> =
            (0..4).map(|n| world.subscriber(&format!("v{n}"), "alice").0).collect();
        let mut camera = Camera::new(alice, ONE);
        // Of a stream's very first packet nobody knows that it is missing.
        camera.film(&mut world, 15);
        world.faults = Faults { loss: 0.03, delay_us: 20_000, jitter_us: 10_000 };
        camera.film(&mut world, 600);
        world.faults.loss = 0.0;
        camera.film(&mut world, 60);
        for viewer in &viewers {
            let packets = video(&world, *viewer);
            check(&packets, true);
            assert!(packets.len() > 3 * 640, "seed {seed}: {}", packets.len());
        }
    }
}

#[test]
fn many_viewers_who_come_at_once_are_one_request() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let mut camera = Camera::new(alice, ONE);
    camera.film(&mut world, 60);
    let before = keys(&world, alice);
    let mut viewers = Vec::new();
    for n in 0..20 {
        let (client, offer) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
        let subscribed = world.subscribe(&format!("v{n}"), "alice", &offer).unwrap();
        world.answered(client, &subscribed.answer);
        viewers.push(client);
    }
    camera.film(&mut world, 60);
    assert!(viewers.iter().all(|v| !video(&world, *v).is_empty()), "all see something");
    let asked = keys(&world, alice) - before;
    assert!((1..=3).contains(&asked), "{asked} requests for 20 viewers");
    // And twenty decoders that ask at once.
    let before = keys(&world, alice);
    for viewer in &viewers {
        let ssrc = video(&world, *viewer)[0].header.ssrc;
        let client = &mut world.clients[*viewer];
        let mut api = client.rtc.direct_api();
        let stream = api.stream_rx(&ssrc).unwrap();
        stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    }
    camera.film(&mut world, 15);
    assert_eq!(keys(&world, alice) - before, 1);
}

/// The layer each viewer gets at the end of what came.
fn layer(world: &World, client: usize) -> Option<u8> {
    video(world, client).iter().max_by_key(|p| p.seq_no).map(|p| p.payload[2])
}

#[test]
fn simulcast_goes_to_the_ring_in_order_of_size() {
    let mut world = World::new(Config::default());
    // As browsers list them: the largest first.
    let (alice, _) = world.layered("alice", Protocol::Udp, &["h", "m", "l"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 90);
    world.outputs.clear();
    camera.film(&mut world, 30);
    let packets = world.packets(false);
    assert_eq!(packets.len(), 30 * 9);
    assert!(packets.iter().all(|p| p.layer == p.payload[2]), "layer 0 is the smallest");
}

#[test]
fn a_tile_gets_the_layer_that_fills_it_and_changes_are_seamless() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.layered("alice", Protocol::Udp, &["l", "m", "h"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 30);
    let (viewer, session) = world.subscriber("bob", "alice");
    camera.film(&mut world, 600);
    assert_eq!(layer(&world, viewer), Some(2), "with a good network, the best there is");
    let sent = |world: &World| video(world, viewer).len();
    assert!(world.core.view(world.now, &room(), session.resource, 0));
    camera.film(&mut world, 10);
    let (hidden, sound) = (sent(&world), audio(&world, viewer));
    camera.film(&mut world, 60);
    assert_eq!(sent(&world), hidden, "nothing is sent of what nobody sees");
    assert!(audio(&world, viewer) > sound + 90, "it is heard all the same");
    assert!(world.core.view(world.now, &room(), session.resource, 720));
    camera.film(&mut world, 300);
    assert_eq!(layer(&world, viewer), Some(2));
    let layers = check(&video(&world, viewer), true);
    assert!(layers.len() >= 2, "{layers:?}");
    let unknown = ResourceId::new(1);
    assert!(!world.core.view(world.now, &room(), unknown, 720));
}

#[test]
fn a_narrow_way_gets_the_low_layer_and_the_others_are_untouched() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.layered("alice", Protocol::Udp, &["l", "m", "h"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 30);
    let (narrow, _) = world.subscriber("bob", "alice");
    let wide: Vec<usize> = (0..3).map(|n| world.subscriber(&format!("w{n}"), "alice").0).collect();
    world.clients[narrow].narrow = Some(Narrow { bits_a_second: 300_000, longest_us: 300_000 });
    camera.film(&mut world, 900);
    let before: Vec<usize> = wide.iter().map(|w| video(&world, *w).len()).collect();
    world.clients[narrow].received.clear();
    camera.film(&mut world, 600);
    let low = video(&world, narrow);
    let of_low = low.iter().filter(|p| p.payload[2] == 0).count();
    assert!(of_low * 10 >= low.len() * 9, "{of_low} of {}", low.len());
    assert!(of_low > 540, "the low layer comes whole: {of_low}");
    for (viewer, before) in wide.iter().zip(before) {
        assert_eq!(layer(&world, *viewer), Some(2));
        assert_eq!(video(&world, *viewer).len() - before, 600 * 6);
        check(&video(&world, *viewer), true);
    }
}

#[test]
fn a_layer_that_stops_coming_is_left_within_a_second_and_taken_up_again() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.layered("alice", Protocol::Udp, &["l", "m", "h"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 30);
    let (viewer, _) = world.subscriber("bob", "alice");
    camera.film(&mut world, 450);
    assert_eq!(layer(&world, viewer), Some(2));
    camera.off.push("h");
    camera.film(&mut world, 36);
    assert_eq!(layer(&world, viewer), Some(1), "within 1.2 s");
    camera.off.clear();
    camera.film(&mut world, 300);
    assert_eq!(layer(&world, viewer), Some(2));
    check(&video(&world, viewer), true);
}

#[test]
fn a_viewer_without_feedback_is_not_held_down() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.layered("alice", Protocol::Udp, &["l", "m", "h"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 30);
    let (n, offer) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
    let offer = offer.replace("transport-wide-cc-extensions-01", "nothing-of-that-kind");
    let subscribed = world.subscribe("bob", "alice", &offer).unwrap();
    world.answered(n, &subscribed.answer);
    camera.film(&mut world, 240);
    assert_eq!(layer(&world, n), Some(2));
}

#[test]
fn whoever_takes_long_to_connect_sees_something_at_once_then() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.layered("alice", Protocol::Udp, &["l", "m", "h"]);
    let mut camera = Camera::new(alice, THREE);
    camera.film(&mut world, 90);
    let (viewer, offer) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
    let subscribed = world.subscribe("bob", "alice", &offer).unwrap();
    camera.film(&mut world, 45);
    world.answered(viewer, &subscribed.answer);
    let begun = world.now;
    while video(&world, viewer).is_empty() {
        camera.picture(&mut world);
        assert!(world.now.since(begun) < 1_500_000, "handshake, request, key frame");
    }
}

#[test]
fn the_muted_are_neither_heard_nor_recorded_until_they_are_unmuted() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let (viewer, _) = world.subscriber("bob", "alice");
    let mut camera = Camera::new(alice, ONE);
    camera.film(&mut world, 60);
    assert!(world.core.mute(&room(), person("alice"), true));
    camera.film(&mut world, 5);
    world.outputs.clear();
    let (heard, seen) = (audio(&world, viewer), video(&world, viewer).len());
    camera.film(&mut world, 90);
    assert_eq!((audio(&world, viewer), world.packets(true).len()), (heard, 0));
    assert_eq!(video(&world, viewer).len(), seen + 270, "but seen");
    assert!(world.core.mute(&room(), person("alice"), false));
    camera.film(&mut world, 60);
    assert!(audio(&world, viewer) > heard + 90);
    let seqs: Vec<u64> = world.clients[viewer]
        .received
        .iter()
        .filter(|p| p.payload.len() == 4)
        .map(|p| *p.seq_no)
        .collect();
    let leaps = seqs.windows(2).filter(|pair| pair[1] > pair[0] + 20).count();
    assert_eq!(leaps, 0, "a pause is no loss");
    // A mute holds for the connection that replaces this one.
    world.core.mute(&room(), person("alice"), true);
    let (again, _) = world.publisher("alice", Protocol::Udp);
    world.outputs.clear();
    Camera::new(again, ONE).film(&mut world, 30);
    assert!(world.packets(true).is_empty() && !world.packets(false).is_empty());
    assert!(!world.core.mute(&RoomName::parse("other").unwrap(), person("alice"), true));
}

#[test]
fn who_speaks_is_told() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let (bob, published) = world.publisher("bob", Protocol::Udp);
    let mut cameras = [Camera::new(alice, ONE), Camera::new(bob, ONE)];
    let mut talk = |world: &mut World, levels: [i8; 2]| {
        for (camera, level) in cameras.iter_mut().zip(levels) {
            camera.level = Some(level);
        }
        for _ in 0..90 {
            for camera in &mut cameras {
                camera.picture(world);
            }
        }
    };
    talk(&mut world, [-30, -90]);
    talk(&mut world, [-90, -30]);
    talk(&mut world, [-90, -90]);
    world.core.delete(world.now, &room(), published.resource);
    world.drain_core();
    let speaking: Vec<Option<PersonId>> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Speaking { person, .. } => Some(*person),
            _ => None,
        })
        .collect();
    assert_eq!(speaking, [Some(person("alice")), Some(person("bob")), None]);
}

#[test]
fn the_stage_is_told_at_once_and_every_second() {
    let mut world = World::new(Config::default());
    let (_, _) = world.publisher("alice", Protocol::Udp);
    let stage: std::sync::Arc<[u8]> = [1, 2, 3].into();
    assert!(world.core.set_stage(world.now, &room(), stage));
    world.run(3_500_000);
    let told = world.outputs.iter().filter(|o| matches!(o, Output::Stage { .. })).count();
    assert_eq!(told, 4);
    let other = RoomName::parse("other").unwrap();
    assert!(!world.core.set_stage(world.now, &other, [1].into()));
}

#[test]
fn whoever_is_sent_away_neither_sends_nor_receives() {
    let mut world = World::new(Config::default());
    world.publisher("alice", Protocol::Udp);
    let (bob, published) = world.publisher("bob", Protocol::Udp);
    let (bobs_view, _) = world.subscriber("bob", "alice");
    let (of_bob, _) = world.subscriber("alice", "bob");
    assert!(world.core.send_away(world.now, &room(), person("bob")));
    world.run(500_000);
    assert_eq!((world.core.publishers(), world.core.subscribers()), (1, 0));
    assert!([bob, bobs_view, of_bob].iter().all(|n| world.clients[*n].closed));
    let left = world.events().into_iter().rev().find_map(|event| match event {
        Event::Left { source, why, person, .. } => Some((*source, *why, *person)),
        _ => None,
    });
    assert_eq!(left, Some((published.source, LeftWhy::SentAway, person("bob"))));
    assert!(!world.core.send_away(world.now, &room(), person("bob")), "nothing is left");
}

#[test]
fn coming_and_going_leaves_nothing_behind() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let mut camera = Camera::new(alice, ONE);
    camera.film(&mut world, 30);
    let before = world.core.census();
    for n in 0..30 {
        let (viewer, session) = world.subscriber("bob", "alice");
        let (bob, published) = world.publisher("bob", Protocol::Udp);
        let (other, offer) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
        world.subscribe("carol", "bob", &offer).unwrap();
        let mut second = Camera::new(bob, ONE);
        camera.film(&mut world, 3);
        second.film(&mut world, 3);
        match n % 3 {
            0 => {
                assert!(world.core.delete(world.now, &room(), session.resource));
                assert!(world.core.delete(world.now, &room(), published.resource));
            }
            1 => {
                world.core.send_away(world.now, &room(), person("bob"));
            }
            _ => {
                // They vanish without a word.
                for n in [viewer, bob, other] {
                    world.clients[n].unplugged = true;
                }
                for _ in 0..17 {
                    camera.film(&mut world, 30);
                }
            }
        }
        world.clients[other].unplugged = true;
        world.drain_core();
        world.outputs.clear();
        assert_eq!(world.core.census(), before, "round {n}");
    }
    world.core.close_all(world.now);
    world.drain_core();
    assert_eq!(world.core.census(), Census::default());
    world.run(60_000_000);
    assert!(world.core.next_timeout().is_none(), "no alarm is left");
}

#[test]
fn offers_to_receive_that_cannot_be_taken_say_why() {
    let mut world = World::new(Config { max_subscribers: 1, ..Config::default() });
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let (_, good) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
    let refused = |world: &mut World, offer: &str| {
        let before = world.core.census();
        let error = world.subscribe("bob", "alice", offer).unwrap_err();
        assert_eq!(world.core.census(), before, "nothing has changed");
        error
    };
    let nobody = world.subscribe("bob", "carol", &good).unwrap_err();
    assert_eq!(nobody, SubscribeError::NotOnStage);
    let subscribe = Subscribe {
        room: room(),
        viewer: person("bob"),
        person: person("alice"),
        kind: Kind::Screen,
        offer: good.clone(),
    };
    assert_eq!(world.core.subscribe(world.now, &subscribe), Err(SubscribeError::NotOnStage));
    let sending = refused(&mut world, &good.replace("a=recvonly", "a=sendonly"));
    assert!(matches!(&sending, SubscribeError::NotAcceptable(why) if why.contains("recvonly")));
    assert!(matches!(refused(&mut world, "hello"), SubscribeError::BadSdp(_)));
    let bare = good.replace("a=ice-ufrag", "a=x");
    assert!(matches!(refused(&mut world, &bare), SubscribeError::Unprocessable(_)));
    Camera::new(alice, ONE).film(&mut world, 3);
    let without = good.replace(" H264/", " THEORA/");
    let without = refused(&mut world, &without);
    assert!(matches!(&without, SubscribeError::NotAcceptable(why) if why.contains("H.264")));
    assert!(world.subscribe("bob", "alice", &good).is_ok());
    let (_, another) = world.offerer(Protocol::Udp, Direction::RecvOnly, &[]);
    assert_eq!(refused(&mut world, &another), SubscribeError::Full);
}

#[test]
fn what_a_subscriber_sends_is_nobodys_media() {
    let mut world = World::new(Config::default());
    let (alice, _) = world.publisher("alice", Protocol::Udp);
    let (n, offer) = world.offerer(Protocol::Udp, Direction::SendRecv, &[]);
    let subscribed = world.subscribe("bob", "alice", &offer).unwrap();
    assert!(subscribed.answer.contains("a=sendonly") && !subscribed.answer.contains("a=recvonly"));
    world.answered(n, &subscribed.answer);
    Camera::new(alice, ONE).film(&mut world, 60);
    assert!(!video(&world, n).is_empty());
    let packets = world.core.counters().packets;
    world.outputs.clear();
    // Its own media, encrypted rightly, and garbage from its address.
    let address = world.clients[n].address;
    for seq in 0..100_u8 {
        let garbage = [0x80, 96, 0, seq, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let to = SocketAddr::new(super::world::SERVER.parse().unwrap(), super::world::PORT);
        world.core.datagram(world.now, Protocol::Udp, address, to, &garbage);
        world.drain_core();
    }
    assert_eq!(world.core.counters().packets, packets);
    assert!(world.packets(false).is_empty());
    assert_eq!(world.core.counters().failures, 0);
}
