//! Media through a bad network.

use super::super::*;
use super::world::{Faults, World};
use crate::sfu::words::*;
use crate::time::SourceCodec;
use std::collections::BTreeSet;
use str0m::media::MediaKind;

const KEY: u8 = 0x65;
const DELTA: u8 = 0x41;

/// Publishes `seconds` of 30 fps video, 3 packets a picture, and of sound; a key frame first and
/// where asked for. Gives the sequence numbers sent and the times of key frames.
fn lecture(world: &mut World, client: usize, seconds: u64, answer: bool) -> (u64, Vec<HostTime>) {
    let (mut video, mut audio) = (0_u64, 0_u64);
    let mut keys = Vec::new();
    let mut answered = world.clients[client].keyframe_requests.len();
    for frame in 0..seconds * 30 {
        let asked = world.clients[client].keyframe_requests.len() > answered;
        let key = frame == 0 || answer && asked;
        if key {
            answered = world.clients[client].keyframe_requests.len();
            keys.push(world.now);
        }
        for slice in 0..3_u8 {
            let mut payload = vec![frame as u8; 900];
            payload[0] = if key { KEY } else { DELTA };
            payload[1] = slice;
            world.send(client, MediaKind::Video, 65_000 + video, (frame * 3_000) as u32, &payload);
            video += 1;
        }
        while audio * 20 < frame * 1000 / 30 {
            world.send(client, MediaKind::Audio, audio, (audio * 960) as u32, &[0xfc, 1, 2, 3]);
            audio += 1;
        }
        world.run(33_333);
    }
    (video, keys)
}

#[test]
fn a_clean_network_brings_every_packet_in_order_with_its_header() {
    let mut world = World::new(Config::default());
    let (client, published) = world.publisher("alice", Protocol::Udp);
    let (sent, _) = lecture(&mut world, client, 5, true);
    let packets = world.packets(false);
    assert_eq!(packets.len() as u64, sent);
    let seqs: Vec<u64> = packets.iter().map(|p| p.seq - packets[0].seq).collect();
    assert_eq!(seqs, (0..sent).collect::<Vec<_>>(), "across the 16-bit wrap");
    assert!(packets.iter().all(|p| p.codec == SourceCodec::H264 && p.marker));
    assert_eq!(packets[3].timestamp, 3_000);
    assert_eq!((packets[4].payload[0], packets[4].payload[1]), (DELTA, 1));
    let marked: Vec<u64> = packets.iter().filter(|p| p.keyframe).map(|p| p.seq).collect();
    assert_eq!(marked, [packets[0].seq], "one mark for the three packets of one key frame");
    assert!(!world.packets(true).is_empty());
    let report = world.outputs.iter().any(|o| matches!(o, Output::Report { .. }));
    assert!(report, "sender reports come through");
    assert!(matches!(world.events()[..], [
        Event::Joined { source, .. }, Event::Connected { .. },
        Event::FirstPacket { .. }, Event::FirstPacket { .. },
    ] if *source == published.source));
}

#[test]
fn rtx_repairs_five_percent_loss_with_jitter_and_reordering() {
    for seed in [1, 2, 3] {
        let mut world = World::seeded(Config::default(), seed);
        let (client, _) = world.publisher("alice", Protocol::Udp);
        world.faults = Faults { loss: 0.05, delay_us: 20_000, jitter_us: 30_000 };
        let (sent, _) = lecture(&mut world, client, 20, true);
        world.run(1_000_000);
        let packets = world.packets(false);
        let first = packets.iter().map(|p| p.seq).min().unwrap();
        let came: BTreeSet<u64> = packets.iter().map(|p| p.seq - first).collect();
        assert_eq!(came.len(), packets.len(), "no packet comes twice");
        // The last pictures have nobody after them to tell that something is missing.
        let missing: Vec<u64> = (0..sent - 30).filter(|seq| !came.contains(seq)).collect();
        assert_eq!(missing, [] as [u64; 0], "seed {seed}");
        let reordered = packets.windows(2).filter(|pair| pair[1].seq < pair[0].seq).count();
        assert!(reordered > 50, "the network did reorder: {reordered}");
        assert!(world.core.counters().nacks > 0);
        assert!(packets.iter().all(|p| p.payload.len() == 900 && p.timestamp % 3_000 == 0));
    }
}

#[test]
fn a_key_frame_is_never_much_older_than_the_policy() {
    let mut world = World::new(Config::default());
    let (client, _) = world.publisher("alice", Protocol::Udp);
    let (_, keys) = lecture(&mut world, client, 40, true);
    let gaps: Vec<i64> = keys.windows(2).map(|pair| pair[1].since(pair[0]) / 1000).collect();
    assert_eq!(gaps.len(), 4, "{gaps:?}");
    assert!(gaps.iter().all(|ms| (8_000..8_200).contains(ms)), "{gaps:?}");
    assert_eq!(world.clients[client].keyframe_requests.len(), 4, "one request each");
}

#[test]
fn a_decoder_that_needs_a_key_frame_gets_one_request_through() {
    let mut world = World::new(Config::default());
    let (client, _) = world.publisher("alice", Protocol::Udp);
    lecture(&mut world, client, 2, true);
    let track = world.video_track().unwrap();
    for _ in 0..20 {
        world.core.request_keyframe(world.now, track);
    }
    world.core.request_keyframe(world.now, TrackId(9_999));
    let asked = world.now;
    world.run(100_000);
    let requests = &world.clients[client].keyframe_requests;
    assert_eq!(requests.len(), 1, "coalesced");
    assert!(requests[0].since(asked) < 20_000, "and at once");
}

#[test]
fn a_whole_class_over_tcp_arrives() {
    let mut world = World::new(Config::default());
    let (client, _) = world.publisher("alice", Protocol::Tcp);
    let (sent, _) = lecture(&mut world, client, 3, true);
    assert_eq!(world.packets(false).len() as u64, sent);
}

/// A picture is of use until it is to be shown. With 5 % lost each way and packets that overtake
/// each other, the first repair is asked for within 33 ms and a second one after a round trip more.
#[test]
fn repairs_come_before_their_picture_is_due() {
    let mut world = World::seeded(Config::default(), 5);
    let (client, _) = world.publisher("alice", Protocol::Udp);
    world.faults = Faults { loss: 0.05, delay_us: 5_000, jitter_us: 30_000 };
    let begun = world.now;
    lecture(&mut world, client, 60, true);
    let mut late = BTreeSet::new();
    for packet in world.packets(false) {
        let frame = i64::from(packet.timestamp / 3_000);
        if packet.arrived.since(begun) - frame * 33_333 > 250_000 {
            late.insert(frame);
        }
    }
    assert!(late.len() < 18, "{} of 1800 pictures are later than 250 ms", late.len());
}
