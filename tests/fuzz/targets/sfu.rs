//! What publishers send: offers, ICE fragments, tokens, datagrams, frames on TCP.

use super::{join, pieces};
use proscenium::rooms::token::{Grant, Role, Scope, Signer, Verifier};
use proscenium::sfu::addresses::Addresses;
use proscenium::sfu::core::{Core, Output};
use proscenium::sfu::framing::{Deframer, MAX_FRAME, frame};
use proscenium::sfu::sdp::{Credentials, Fragment, Purpose, clean_offer};
use proscenium::sfu::{Config, Publish, Published, Subscribe, Subscribed};
use proscenium::time::{HostTime, MediaKind, PersonId, RoomName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;
use str0m::ice::{StunMessage, TransId};
use str0m::net::Protocol;

/// What is cut otherwise gives the same frames; little is held back.
pub fn framing(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else { return };
    let read = |chunk: usize| {
        let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
        for bytes in stream.chunks(chunk) {
            if let Err(error) = deframer.push(bytes, |frame| frames.push(frame.to_vec())) {
                return (frames, Some(error));
            }
            assert!(deframer.held() < 2 + MAX_FRAME);
        }
        (frames, None)
    };
    assert_eq!(read(usize::from(*cut) + 1), read(stream.len().max(1)));
}

pub fn framing_seeds() -> Vec<Vec<u8>> {
    [0, 1, 20, 255]
        .into_iter()
        .map(|cut| {
            let mut stream = vec![cut];
            for length in [0, 1, 20, 300, MAX_FRAME] {
                frame(&vec![7; length], &mut stream);
            }
            stream
        })
        .collect()
}

const OFFER: &str = "v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=ice-options:trickle
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendonly
a=msid:- audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=ssrc:1001 cname:teacher
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:1
a=sendonly
a=msid:- video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=ssrc-group:FID 2001 2002
a=ssrc:2001 cname:teacher
a=ssrc:2002 cname:teacher
a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host
";

fn room() -> RoomName {
    RoomName::parse("bar").expect("a room name")
}

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8189);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), 5000);
const START: HostTime = HostTime(1_000_000);

fn core() -> Core {
    let mut core = Core::new(Config::default(), (Instant::now(), START), [7; 32]);
    core.announce(Addresses { announced: vec![SERVER.ip()], local: vec![SERVER.ip()] }, 8189);
    core.open_room(&room());
    core
}

fn publish(offer: &str) -> Publish {
    let (person, kind) = (PersonId::new(1), MediaKind::Camera);
    Publish { room: room(), person, kind, offer: offer.to_owned() }
}

/// Answered or refused in words; what is answered has credentials, and the answer names no more
/// media than the offer.
pub fn offer(input: &[u8]) {
    let offer = String::from_utf8_lossy(input);
    let media = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    for purpose in [Purpose::Publish, Purpose::Subscribe] {
        if let Ok(clean) = clean_offer(&offer, purpose) {
            assert_eq!(clean_offer(&clean, purpose).as_ref(), Ok(&clean), "clean stays as it is");
        }
    }
    match core().publish(START, &publish(&offer)) {
        Ok(Published { answer, .. }) => {
            assert!(Credentials::find(&answer).is_some());
            assert_eq!(media(&answer), media(&offer));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut core = core();
    core.publish(START, &publish(OFFER)).expect("a good offer");
    let (viewer, Publish { room, person, kind, .. }) = (PersonId::new(2), publish(""));
    let wish = Subscribe { room, viewer, person, kind, offer: offer.into_owned() };
    match core.subscribe(START, &wish) {
        Ok(Subscribed { answer, .. }) => assert_eq!(media(&answer), media(&wish.offer)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub fn offer_seeds() -> Vec<Vec<u8>> {
    let video_first = OFFER.replace("m=video 9", "m=video 0");
    let layers = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\na=rid:l send\na=rid:h send\n\
                  a=simulcast:send l;h\n";
    let simulcast = OFFER.replace("a=mid:1\n", &format!("a=mid:1\n{layers}"));
    let receiving = OFFER.replace("a=sendonly", "a=recvonly");
    let offers = [OFFER, &OFFER.replace('\n', "\r\n"), &video_first, &simulcast, &receiving];
    offers.into_iter().map(|offer| offer.as_bytes().to_vec()).collect()
}

pub fn fragment(input: &[u8]) {
    if let Ok(fragment) = Fragment::parse(&String::from_utf8_lossy(input)) {
        let length = |text: &str, least| (least..=256).contains(&text.len());
        assert!(fragment.credentials.is_none_or(|c| length(&c.ufrag, 4) && length(&c.pwd, 22)));
    }
}

pub fn fragment_seeds() -> Vec<Vec<u8>> {
    let text = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 RTP/AVP 0\r\n\
                a=mid:0\r\na=candidate:1 1 UDP 2130706431 192.0.2.7 5000 typ host\r\n\
                a=candidate:2 1 TCP 1518280447 2001:db8::7 9 typ host tcptype active\r\n\
                a=end-of-candidates\r\n";
    vec![text.into(), "a=end-of-candidates\n".into(), text.replace("\r\n", "\n").into()]
}

/// Datagrams from a publisher's own address, and from a stranger's, while time goes on. The
/// address was proven by a signed binding request, as ICE does.
pub fn datagrams(input: &[u8]) {
    let mut core = core();
    let published = core.publish(START, &publish(OFFER)).expect("a good offer");
    let now = START.plus_micros(1_000);
    let request = binding_request(&published.answer);
    assert!(core.datagram(now, Protocol::Udp, PEER, SERVER, &request), "the peer is known");
    let stranger = SocketAddr::from(([192, 0, 2, 99], 4000));
    for (n, piece) in pieces(input).take(200).enumerate() {
        let now = now.plus_micros(n as i64 * 5_000);
        let from = if n % 8 == 7 { stranger } else { PEER };
        core.datagram(now, Protocol::Udp, from, SERVER, piece);
        if core.next_timeout().is_some_and(|due| due <= now) {
            core.tick(now);
        }
        while let Some(output) = core.poll() {
            if let Output::Transmit { payload, to, .. } = output {
                assert!(payload.len() <= 2048);
                assert_eq!(to, PEER, "nothing is sent to who proved nothing");
            }
        }
    }
    assert!(core.publishers() <= 1);
}

fn binding_request(answer: &str) -> Vec<u8> {
    let theirs = Credentials::find(answer).expect("an answer has credentials");
    let user = format!("{}:abcd", theirs.ufrag);
    let request = StunMessage::binding_request(&user, TransId::new(), true, 1, 1, true);
    let hmac = |key: &[u8], parts: &[&[u8]]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = aws_lc_rs::hmac::sign(&key, &parts.concat());
        <[u8; 20]>::try_from(tag.as_ref()).expect("SHA-1 has 20 bytes")
    };
    let mut bytes = vec![0; 500];
    let length = request.to_bytes(Some(theirs.pwd.as_bytes()), &mut bytes, hmac);
    bytes.truncate(length.expect("there is room"));
    bytes
}

pub fn datagrams_seeds() -> Vec<Vec<u8>> {
    let stun = b"\0\x01\0\x08\x21\x12\xa4\x42abcdefghijkl\0\x24\0\x04\0\0\0\x01";
    let rtp = b"\x90\x60\0\x01\0\0\0\x01\0\0\x03\xe9\xbe\xde\0\x01\x10\x80\0\0payload and tag....";
    let rtcp = b"\x80\xc8\0\x06\0\0\x03\xe9\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05tag-of-srtcp..";
    // A DTLS 1.2 ClientHello: record and handshake headers, version, random, no session, a cookie
    // of length zero, one cipher suite, one compression method, extensions.
    let hello = b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x3f\
        \x01\0\0\x33\0\0\0\0\0\0\0\x33\xfe\xfd0123456789abcdef0123456789abcdef\0\0\0\x02\xc0\x2b\x01\0\
        \0\x09\0\x0e\0\x05\0\x02\0\x07\0";
    let all: [&[u8]; 4] = [stun, rtp, rtcp, hello];
    vec![join(all), join([hello.as_slice(); 3]), join(all.into_iter().cycle().take(40))]
}

const SECRET: &[u8] = b"a secret of the fuzz target, long enough";
const NOW: u64 = 1_700_000_000;

fn grant() -> Grant {
    Grant {
        room: Scope::Room(room()),
        role: Role::Teacher,
        sub: "teacher".to_owned(),
        exp: NOW + 60,
        nbf: None,
        name: None,
    }
}

/// Only the token that was signed is taken, and for what was signed.
pub fn token(input: &[u8]) {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| Verifier::with_secret(SECRET));
    if let Ok(granted) = verifier.verify(&String::from_utf8_lossy(input), NOW) {
        assert_eq!(granted, grant());
    }
}

pub fn token_seeds() -> Vec<Vec<u8>> {
    let signed = Signer::with_secret(SECRET).sign(&grant()).expect("a token");
    let other = Signer::with_secret(b"another secret, not the box's own")
        .sign(&Grant { sub: "mallory".to_owned(), ..grant() });
    // {"alg":"none"}
    let none = "eyJhbGciOiJub25lIn0.eyJyb29tIjoiYmFyIiwicm9sZSI6InRlYWNoZXIiLCJzdWIiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
    vec![signed.into(), other.expect("a token").into(), none.into()]
}
