//! Coming and going.

use super::super::*;
use super::world::{PORT, SERVER, World, room};
use crate::sfu::sdp::{self, Credentials};
use crate::sfu::words::*;
use crate::units::Span;
use str0m::media::MediaKind;

fn left(world: &World) -> Vec<(SourceId, LeftWhy)> {
    let left = |event| match event {
        &Event::Left { source, why, .. } => Some((source, why)),
        _ => None,
    };
    world.events().into_iter().filter_map(left).collect()
}

fn gone(world: &World) -> Vec<SourceId> {
    let gone = |output: &Output| match output {
        Output::Gone { source, .. } => Some(*source),
        _ => None,
    };
    world.outputs.iter().filter_map(gone).collect()
}

#[test]
fn the_answer_is_ice_lite_and_takes_only() {
    let mut world = World::new(Config::default());
    let (_, offer) = world.client(Protocol::Udp);
    let offer = offer.replace("a=sendonly", "a=sendrecv");
    let published = world.publish("alice", &offer).unwrap();
    let answer = published.answer;
    let has = |line: &str| answer.lines().any(|l| l == line);
    assert!(has("a=ice-lite") && has("a=recvonly") && has("a=rtcp-mux"), "{answer}");
    assert!(!answer.contains("a=sendrecv") && !answer.contains("a=sendonly"), "{answer}");
    assert!(has("a=setup:passive"), "the publisher begins DTLS, and this side chooses the cipher");
    let candidates: Vec<&str> = answer.lines().filter(|l| l.starts_with("a=candidate:")).collect();
    let on = |what: &str| candidates.iter().any(|c| c.contains(what));
    assert!(on(" udp ") && on(&format!("{SERVER} {PORT} typ host")), "{candidates:?}");
    assert!(on("tcptype passive"), "{candidates:?}");
    assert!(answer.contains("transport-cc") && answer.contains("nack pli"), "{answer}");
}

/// What Chromium offers for a camera and a microphone.
const BROWSER: &str = include_str!("browser.sdp");

#[test]
fn a_browsers_offer_is_answered_with_every_codec_that_is_taken_and_no_other() {
    let mut world = World::new(Config::default());
    let published = world.publish("alice", BROWSER).unwrap();
    let answer = published.answer;
    let count = |what: &str| answer.matches(what).count();
    for codec in ["VP8/90000", "VP9/90000", "AV1/90000", "opus/48000/2"] {
        assert_eq!(count(codec), 1, "{codec} in {answer}");
    }
    assert_eq!(count("H264/90000"), 3, "baseline, constrained baseline, main: {answer}");
    assert_eq!(count("packetization-mode=1"), 3, "{answer}");
    assert_eq!(count("rtx/90000"), 6, "each with its repair: {answer}");
    for not in ["packetization-mode=0", "profile-id=2", "red/", "ulpfec", "video-orientation"] {
        assert_eq!(count(not), 0, "{not} in {answer}");
    }
    for needed in ["a=extmap:4 http://www.ietf.org/id/draft-holmer", "nack pli", "transport-cc"] {
        assert!(count(needed) > 0, "{needed} in {answer}");
    }
}

#[test]
fn without_tcp_no_tcp_candidate() {
    let mut world = World::new(Config { tcp: false, ..Config::default() });
    let (_, offer) = world.client(Protocol::Udp);
    let published = world.publish("alice", &offer).unwrap();
    assert!(!published.answer.contains("tcptype"));
}

#[test]
fn the_same_person_replaces_and_a_full_stage_refuses() {
    let mut world = World::new(Config { max_on_stage: 1, ..Config::default() });
    let (first_client, first) = world.publisher("alice", Protocol::Udp);
    let (_, offer) = world.client(Protocol::Udp);
    let refused = world.publish("bob", &offer);
    assert_eq!(refused, Err(PublishError::StageFull));
    assert_eq!(world.core.publishers(), 1);

    let (second_client, second) = world.publisher("alice", Protocol::Udp);
    assert_eq!(left(&world), [(first.source, LeftWhy::Replaced)]);
    assert_eq!(gone(&world), [first.source]);
    world.run(200_000);
    assert!(world.clients[first_client].closed, "the older one is told by DTLS");
    assert_ne!(first.resource, second.resource);
    world.send(second_client, MediaKind::Video, 1, 0, &[0x65, 0]);
    world.run(100_000);
    assert_eq!(world.packets(false).len(), 1);

    assert!(!world.core.delete(world.now, &room(), first.resource), "its name means nothing now");
    assert!(world.core.delete(world.now, &room(), second.resource));
    world.drain_core();
    assert_eq!(left(&world)[1], (second.source, LeftWhy::Ended));
    let (_, offer) = world.client(Protocol::Udp);
    assert!(world.publish("bob", &offer).is_ok(), "the stage is free");
}

#[test]
fn a_closed_room_and_a_full_server_refuse() {
    let mut world = World::new(Config { max_publishers: 1, ..Config::default() });
    let (_, offer) = world.client(Protocol::Udp);
    let other = RoomName::parse("other").unwrap();
    assert_eq!(world.publish_to(&other, "alice", &offer), Err(PublishError::NotOpen));
    let (_, published) = world.publisher("alice", Protocol::Udp);
    world.core.open_room(&other);
    assert_eq!(world.publish_to(&other, "bob", &offer), Err(PublishError::Full));
    assert!(world.publish("alice", &offer).is_ok(), "replacing needs no room");

    let key = world.core.open_room(&room());
    assert_eq!(world.core.close_room(world.now, &room()), Some(key));
    world.drain_core();
    assert_eq!(left(&world).last().map(|(_, why)| *why), Some(LeftWhy::RoomClosed));
    assert_eq!(world.core.publishers(), 0);
    assert!(!world.core.delete(world.now, &room(), published.resource));
    assert_eq!(world.core.close_room(world.now, &room()), None);
}

#[test]
fn whoever_never_connects_is_forgotten() {
    let config = Config { connect_timeout: Span::secs(20), ..Config::default() };
    let mut world = World::new(config);
    let (client, offer) = world.client(Protocol::Udp);
    world.clients[client].unplugged = true;
    let published = world.publish("alice", &offer).unwrap();
    world.answered(client, &published.answer);
    world.run(19_000_000);
    assert_eq!(left(&world), []);
    world.run(1_500_000);
    assert_eq!(left(&world), [(published.source, LeftWhy::NeverConnected)]);
    assert_eq!(world.core.next_timeout(), None, "no timer is left behind");
}

#[test]
fn whoever_falls_silent_has_left() {
    let mut world = World::new(Config::default());
    let (client, published) = world.publisher("alice", Protocol::Udp);
    world.send(client, MediaKind::Video, 1, 0, &[0x65, 0]);
    world.run(60_000_000);
    assert_eq!(left(&world), [], "ICE keeps a quiet publisher");
    world.clients[client].unplugged = true;
    let unplugged = world.now;
    while left(&world).is_empty() {
        world.run(100_000);
        assert!(world.now.since(unplugged) < 20_000_000);
    }
    assert!(world.now.since(unplugged) > 9_000_000);
    assert_eq!(left(&world), [(published.source, LeftWhy::Silent)]);
    assert_eq!(world.core.next_timeout(), None);
}

#[test]
fn a_publisher_that_closes_has_left_at_once() {
    let mut world = World::new(Config::default());
    let (client, published) = world.publisher("alice", Protocol::Udp);
    world.clients[client].rtc.close().unwrap();
    world.run(1_000_000);
    assert_eq!(left(&world), [(published.source, LeftWhy::Ended)]);
}

fn fragment(ufrag: &str, pwd: &str) -> String {
    format!(
        "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{pwd}\r\na=candidate:1 1 udp 2113937151 a-name.local 51000 typ host\r\n\
         a=end-of-candidates\r\n"
    )
}

#[test]
fn trickled_candidates_need_the_right_etag() {
    let mut world = World::new(Config::default());
    let (n, offer) = world.client(Protocol::Udp);
    let published = world.publish("alice", &offer).unwrap();
    let _ = n;
    let ours = Credentials::find(&offer).unwrap();
    let body = fragment(&ours.ufrag, &ours.pwd);
    let mut patch = |if_match: Option<&str>, body: &str| {
        world.core.patch(world.now, &room(), published.resource, if_match, body)
    };
    assert_eq!(patch(Some(&published.etag), &body), Ok(Patched::Trickled));
    assert_eq!(patch(Some("*"), &body), Ok(Patched::Trickled));
    let list = format!("\"other\", {}", published.etag);
    assert_eq!(patch(Some(&list), &body), Ok(Patched::Trickled));
    assert_eq!(patch(None, &body), Err(PatchError::NoPrecondition));
    assert_eq!(patch(Some("\"other\""), &body), Err(PatchError::Stale));
    assert!(matches!(patch(Some("*"), "hello"), Err(PatchError::BadFragment(_))));
    let half = fragment("abcd", &ours.pwd);
    assert!(matches!(patch(Some("*"), &half), Err(PatchError::Unprocessable(_))));
    let other = RoomName::parse("other").unwrap();
    let elsewhere = world.core.patch(world.now, &other, published.resource, Some("*"), &body);
    assert_eq!(elsewhere, Err(PatchError::NotFound));
}

#[test]
fn ice_restarts_by_fragment_and_media_goes_on() {
    let mut world = World::new(Config::default());
    let (client, published) = world.publisher("alice", Protocol::Udp);
    world.send(client, MediaKind::Video, 1, 0, &[0x65, 0]);
    world.run(100_000);
    assert_eq!(world.packets(false).len(), 1);

    // The client restarts by its own means; its new credentials travel as a fragment.
    let c = &mut world.clients[client];
    let mut api = c.rtc.sdp_api();
    let new = api.ice_restart(true);
    let (offer, pending) = api.apply().unwrap();
    assert_eq!(Credentials::find(&offer.to_sdp_string()).unwrap().ufrag, new.ufrag);
    let body = fragment(&new.ufrag, &new.pass);
    let patched = world.core.patch(world.now, &room(), published.resource, Some("*"), &body);
    let Ok(Patched::Restarted { fragment, etag }) = patched else { panic!("{patched:?}") };
    assert_ne!(etag, published.etag);
    let theirs = Credentials::find(&fragment).unwrap();
    assert_ne!(theirs, Credentials::find(&published.answer).unwrap());
    assert!(fragment.contains("a=ice-lite") && fragment.contains("a=candidate:"), "{fragment}");

    let stale =
        world.core.patch(world.now, &room(), published.resource, Some(&published.etag), &body);
    assert_eq!(stale, Err(PatchError::Stale));

    let answer = sdp::with_credentials(&published.answer, &theirs);
    let answer = str0m::change::SdpAnswer::from_sdp_string(&answer).unwrap();
    world.clients[client].rtc.sdp_api().accept_answer(pending, answer).unwrap();
    world.run(2_000_000);
    for seq in 2..30 {
        world.send(client, MediaKind::Video, seq, 3_000, &[0x41, 0]);
        world.run(100_000);
    }
    assert_eq!(world.packets(false).len(), 29);
    world.run(60_000_000);
    assert_eq!(left(&world), [], "the restarted connection lives on its own checks");
}

#[test]
fn behind_a_nat_the_announced_address_stands_for_the_inner_one() {
    let mut world = World::new(Config::default());
    let public: IpAddr = "203.0.113.9".parse().unwrap();
    let inner: IpAddr = SERVER.parse().unwrap();
    world.core.announce(Addresses { announced: vec![public], local: vec![inner] }, PORT);
    let (n, offer) = world.client(Protocol::Udp);
    let published = world.publish("alice", &offer).unwrap();
    assert!(published.answer.contains("203.0.113.9") && !published.answer.contains(SERVER));
    // The NAT: what is sent to the public address arrives at the inner one, and back.
    let answer = published.answer.replace("203.0.113.9", SERVER);
    world.answered(n, &answer);
    world.run(3_000_000);
    assert!(world.clients[n].connected);
}
