//! What strangers and bad publishers send.

use super::super::*;
use super::world::{PORT, SERVER, World, room};
use crate::sfu::sdp::Credentials;
use crate::sfu::words::*;
use proptest::prelude::*;
use rand::Rng;
use str0m::media::MediaKind;

/// The network has not changed anything, and nothing was answered.
fn silence(world: &mut World, payload: &[u8]) -> bool {
    let from: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let to = SocketAddr::new(SERVER.parse().unwrap(), PORT);
    let before = world.core.counters().garbage;
    world.core.datagram(world.now, Protocol::Udp, from, to, payload);
    world.core.poll().is_none() && world.core.counters().garbage == before + 1
}

#[test]
fn garbage_on_the_port_meets_silence_and_is_counted() {
    let mut world = World::new(Config::default());
    let (client, _) = world.publisher("alice", Protocol::Udp);
    let mut random = StdRng::seed_from_u64(3);
    for first in [0, 1, 20, 22, 64, 80, 128, 200, 255_u8] {
        for length in [0, 1, 2, 11, 12, 19, 20, 21, 60, 1200, 2000] {
            let mut payload = vec![0; length];
            random.fill(&mut payload[..]);
            if let Some(byte) = payload.first_mut() {
                *byte = first;
            }
            assert!(silence(&mut world, &payload), "{first} {length}");
        }
    }
    world.send(client, MediaKind::Video, 1, 0, &[0x65, 0]);
    world.run(100_000);
    assert_eq!(world.packets(false).len(), 1, "and the class goes on");
}

#[test]
fn a_binding_request_with_a_wrong_password_is_not_answered() {
    let mut world = World::new(Config::default());
    let (_, offer) = world.client(Protocol::Udp);
    let published = world.publish("alice", &offer).unwrap();
    let ours = Credentials::find(&offer).unwrap();
    let theirs = Credentials::find(&published.answer).unwrap();
    let id = str0m::ice::TransId::new();
    let user = format!("{}:{}", theirs.ufrag, ours.ufrag);
    let request = StunMessage::binding_request(&user, id, true, 1, 1, true);
    let mut bytes = vec![0; 500];
    let hmac = |key: &[u8], parts: &[&[u8]]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = aws_lc_rs::hmac::sign(&key, &parts.concat());
        <[u8; 20]>::try_from(tag.as_ref()).unwrap()
    };
    let length = request.to_bytes(Some(b"wrong password, long enough"), &mut bytes, hmac).unwrap();
    while world.core.poll().is_some() {}
    assert!(silence(&mut world, &bytes[..length]));
    let length = request.to_bytes(Some(theirs.pwd.as_bytes()), &mut bytes, hmac).unwrap();
    assert!(!silence(&mut world, &bytes[..length]), "the right one is");
}

/// From the publisher's own address, garbage of every kind that passes for RTP, RTCP, DTLS, STUN.
#[test]
fn garbage_from_a_publishers_address_harms_nobody() {
    let mut world = World::new(Config::default());
    let (client, _) = world.publisher("alice", Protocol::Udp);
    world.send(client, MediaKind::Video, 1, 0, &[0x65, 0]);
    world.run(100_000);
    let from = world.clients[client].address;
    let to = SocketAddr::new(SERVER.parse().unwrap(), PORT);
    let mut random = StdRng::seed_from_u64(4);
    for n in 0..20_000_u32 {
        let mut payload = vec![0; random.random_range(0..200)];
        random.fill(&mut payload[..]);
        if let Some(byte) = payload.first_mut() {
            *byte = [0, 1, 22, 23, 128, 144, 176, 191][n as usize % 8];
        }
        world.core.datagram(world.now, Protocol::Udp, from, to, &payload);
        world.drain_core();
    }
    assert_eq!(world.core.counters().failures, 0);
    for seq in 2..10 {
        world.send(client, MediaKind::Video, seq, 3_000, &[0x41, 0]);
        world.run(50_000);
    }
    assert_eq!(world.packets(false).len(), 9, "nothing forged came in, nothing real was lost");
}

/// Decryptable, but senseless: empty payloads, leaps of sequence numbers and timestamps.
#[test]
fn absurd_media_is_survived() {
    let mut world = World::new(Config::default());
    let (client, published) = world.publisher("alice", Protocol::Udp);
    let mut seq = 1;
    for leap in [1, 1, 30_000, 1, 65_000, 1, 5, 40_000, 1] {
        for payload in [&[][..], &[0x78, 0xff, 0xff], &[0x7c], &[0; 1100]] {
            seq += leap;
            let ts = (seq as u32).wrapping_mul(0x8000_0001);
            world.send(client, MediaKind::Video, seq, ts, payload);
            world.send(client, MediaKind::Audio, seq, ts, payload);
            world.run(5_000);
        }
    }
    world.run(2_000_000);
    assert_eq!(world.core.counters().failures, 0);
    assert!(world.core.delete(world.now, &room(), published.resource));
}

fn offer() -> String {
    World::new(Config::default()).client(Protocol::Udp).1
}

#[test]
fn offers_that_cannot_be_taken_say_why() {
    let good = offer();
    let foreign = ["H264", "VP8", "VP9", "AV1", "H265"]
        .into_iter()
        .fold(good.clone(), |offer, codec| offer.replace(&format!(" {codec}/"), " THEORA/"));
    let g711 = good.replace(" opus/48000/2", " G726-32/8000");
    type Kind = fn(&PublishError) -> bool;
    let cases: Vec<(String, Kind, &str)> = vec![
        (String::new(), |e| matches!(e, PublishError::BadSdp(_)), "v=0"),
        ("hello".into(), |e| matches!(e, PublishError::BadSdp(_)), "line 1"),
        ("{\"sdp\": 1}".into(), |e| matches!(e, PublishError::BadSdp(_)), "line 1"),
        ("v=0\r\n".into(), |e| matches!(e, PublishError::Unprocessable(_)), "no media"),
        (
            good.replace("a=ice-ufrag", "a=x"),
            |e| matches!(e, PublishError::Unprocessable(_)),
            "ufrag",
        ),
        (
            good.replace("a=fingerprint", "a=x"),
            |e| matches!(e, PublishError::Unprocessable(_)),
            "fingerprint",
        ),
        (
            good.replace("m=audio", "m=application"),
            |e| matches!(e, PublishError::NotAcceptable(_)),
            "data channels",
        ),
        (
            good.replace("a=sendonly", "a=recvonly"),
            |e| matches!(e, PublishError::NotAcceptable(_)),
            "sendonly",
        ),
        (
            good.replace("m=audio", "m=video"),
            |e| matches!(e, PublishError::NotAcceptable(_)),
            "one of each",
        ),
        (foreign, |e| matches!(e, PublishError::NotAcceptable(_)), "video codec"),
        (g711, |e| matches!(e, PublishError::NotAcceptable(_)), "Opus"),
    ];
    for (offer, kind, word) in cases {
        let mut world = World::new(Config::default());
        let error = world.publish("alice", &offer).unwrap_err();
        assert!(kind(&error), "{error:?} for {word}");
        assert!(error.to_string().contains(word), "{error} should tell about {word}");
        assert_eq!(world.core.publishers(), 0);
        assert!(world.core.poll().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Lines dropped, doubled, swapped, cut and flipped: an answer or a refusal, never a panic
    /// (a panic inside the engine would be counted as an `Unprocessable` of that name).
    #[test]
    fn mutated_offers_are_answered_or_refused(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let good = offer();
        let mut lines: Vec<Vec<u8>> = good.lines().map(|l| l.as_bytes().to_vec()).collect();
        for _ in 0..random.random_range(1..12) {
            let at = random.random_range(0..lines.len());
            let other = random.random_range(0..lines.len());
            match random.random_range(0..6) {
                0 if lines.len() > 1 => { lines.remove(at); }
                1 => { let line = lines[at].clone(); lines.insert(other, line); }
                2 => lines.swap(at, other),
                3 => { let keep = random.random_range(0..=lines[at].len()); lines[at].truncate(keep); }
                4 if !lines[at].is_empty() => {
                    let byte = random.random_range(0..lines[at].len());
                    lines[at][byte] = random.random();
                }
                _ => lines[at].extend_from_slice(b" 99999999999999999999"),
            }
        }
        let offer = String::from_utf8_lossy(&lines.join(&b"\r\n"[..])).into_owned();
        let mut world = World::new(Config::default());
        let outcome = world.publish("alice", &offer);
        if let Err(PublishError::Unprocessable(why) | PublishError::BadSdp(why)) = &outcome {
            prop_assert!(!why.contains("panicked"), "{}", offer);
        }
        prop_assert_eq!(world.core.publishers(), usize::from(outcome.is_ok()));
        world.run(100_000);
    }

    #[test]
    fn mutated_fragments_are_taken_or_refused(text in "((a=|m=|x=)?[a-z:]{0,12}[ -~]{0,40}\r?\n){0,8}") {
        let mut world = World::new(Config::default());
        let (_, offer) = world.client(Protocol::Udp);
        let published = world.publish("alice", &offer).unwrap();
        let _ = world.core.patch(world.now, &room(), published.resource, Some("*"), &text);
        prop_assert_eq!(world.core.publishers(), 1);
    }
}
