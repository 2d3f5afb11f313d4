//! Real sockets: ICE-TCP, strangers, ports that are taken.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::link::ring::RingReader;
use crate::sfu::Publish;
use crate::sfu::framing::{Deframer, frame};
use crate::time::{PersonId, RoomName};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Receive, TcpType};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Rtc, RtcConfig};

fn config(bind: &str) -> Config {
    Config { bind: bind.parse().unwrap(), port: 0, ..Config::default() }
}

fn room() -> RoomName {
    RoomName::parse("bar").unwrap()
}

async fn stage(config: Config) -> (Handle, mpsc::Receiver<Event>, RingReader) {
    let (handle, events) = start(&config).unwrap();
    let ring = RingWriter::create(4 << 20).unwrap();
    let reader = ring.reader().unwrap();
    handle.attach_ring(room(), ring).await.unwrap();
    (handle, events, reader)
}

/// A str0m client on one blocking TCP connection.
struct TcpClient {
    rtc: Rtc,
    stream: TcpStream,
    deframer: Deframer,
    connected: bool,
}

impl TcpClient {
    fn pump(&mut self) {
        let (local, remote) = (self.stream.local_addr().unwrap(), self.stream.peer_addr().unwrap());
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                let rtc = &mut self.rtc;
                let on = |bytes: &[u8]| {
                    let receive = Receive::new(Protocol::Tcp, remote, local, bytes).unwrap();
                    rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
                    Self::drain(rtc, &mut self.stream, &mut self.connected);
                };
                self.deframer.push(&buffer[..length], on).unwrap();
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        Self::drain(&mut self.rtc, &mut self.stream, &mut self.connected);
    }

    fn drain(rtc: &mut Rtc, stream: &mut TcpStream, connected: &mut bool) {
        loop {
            match rtc.poll_output().unwrap() {
                str0m::Output::Timeout(_) => return,
                str0m::Output::Transmit(t) => {
                    let mut bytes = Vec::new();
                    assert!(frame(&t.contents, &mut bytes));
                    stream.write_all(&bytes).unwrap();
                }
                str0m::Output::Event(event) => {
                    *connected |= matches!(event, str0m::Event::Connected);
                }
            }
        }
    }
}

async fn over_tcp(bind: &str, address: &str) {
    let (handle, _events, mut ring) = stage(config(bind)).await;
    let stream = TcpStream::connect((address, handle.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut rtc = RtcConfig::new().set_rtp_mode(true).build(Instant::now());
    let tcp = Candidate::builder().tcp().host(stream.local_addr().unwrap());
    rtc.add_local_candidate(tcp.tcptype(TcpType::Active).build().unwrap());
    let mut api = rtc.sdp_api();
    let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let offer = offer.to_sdp_string();
    let (person, kind) = (PersonId::new(7), crate::time::MediaKind::Camera);
    let publish = Publish { room: room(), person, kind, offer };
    let published = handle.publish(publish).await.unwrap();
    let answer = SdpAnswer::from_sdp_string(&published.answer).unwrap();
    rtc.sdp_api().accept_answer(pending, answer).unwrap();
    let mut client = TcpClient { rtc, stream, deframer: Deframer::default(), connected: false };
    let came = tokio::task::spawn_blocking(move || {
        let end = Instant::now() + Duration::from_secs(20);
        let mut seq = 0_u64;
        loop {
            assert!(Instant::now() < end, "no packet within 20 s");
            client.pump();
            if client.connected {
                let params = client.rtc.codec_config().params();
                let pt = params.iter().find(|p| p.spec().codec == Codec::Opus).unwrap().pt();
                let write = RtpWrite::new(pt, seq.into(), 960, Instant::now(), vec![0xfc, 1, 2]);
                let mut api = client.rtc.direct_api();
                api.stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
                seq += 1;
            }
            if let Some(Record::Rtp(packet)) = ring.next().unwrap() {
                return packet.payload.to_vec();
            }
        }
    });
    assert_eq!(came.await.unwrap(), [0xfc, 1, 2]);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_comes_over_tcp_by_ipv4() {
    over_tcp("127.0.0.1", "127.0.0.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_comes_over_tcp_to_a_dual_stack_socket() {
    over_tcp("::", "127.0.0.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_comes_over_tcp_by_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // this host has no IPv6
    }
    over_tcp("::", "::1").await;
}

/// Waits until the other end has closed, at most 10 s.
fn closes(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    matches!(stream.read(&mut [0; 64]), Ok(0))
        || stream.read(&mut [0; 64]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_strangers_are_sent_away() {
    let config = Config { tcp_connections: 2, ..config("127.0.0.1") };
    let (handle, _events, _ring) = stage(config).await;
    let connect = || TcpStream::connect(("127.0.0.1", handle.port())).unwrap();
    let closed = tokio::task::spawn_blocking({
        let mut garbage = connect();
        let mut long = connect();
        move || {
            let mut bytes = Vec::new();
            for _ in 0..STRANGE_FRAMES {
                frame(b"GET / HTTP/1.1", &mut bytes);
            }
            garbage.write_all(&bytes).unwrap();
            long.write_all(b"\xff\xff").unwrap();
            closes(garbage) && closes(long)
        }
    });
    assert!(closed.await.unwrap());
    let closed = tokio::task::spawn_blocking({
        let waiting = [connect(), connect()];
        let third = connect();
        move || {
            let closed = closes(third);
            drop(waiting);
            closed
        }
    });
    assert!(closed.await.unwrap(), "one connection too many");
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_by_udp_is_met_with_silence_by_both_engines() {
    for socket in [super::Socket::Auto, super::Socket::Portable] {
        let (handle, mut events, _ring) = stage(Config { socket, ..config("127.0.0.1") }).await;
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for n in 0..2000_u32 {
            let payload: Vec<u8> = (0..n % 1500).map(|i| (i * n) as u8).collect();
            // The loopback's queue may be full; garbage is not sent twice.
            let _ = stranger.send_to(&payload, ("127.0.0.1", handle.port()));
        }
        assert!(stranger.recv(&mut [0; 64]).is_err(), "silence");
        assert!(events.try_recv().is_err());
        handle.stop().await;
        assert!(handle.attach_ring(room(), RingWriter::create(1 << 20).unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_number_and_the_cure() {
    let (handle, _events) = start(&config("127.0.0.1")).unwrap();
    let port = handle.port();
    let again = start(&Config { port, ..config("127.0.0.1") });
    let told = again.err().unwrap().to_string();
    assert!(told.contains(&port.to_string()), "{told}");
    handle.stop().await;

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let told = start(&Config { port, ..config("127.0.0.1") }).err().unwrap().to_string();
    assert!(told.contains("ICE-TCP") && told.contains("sfu.tcp = false"), "{told}");
    let (handle, _events) = start(&Config { port, tcp: false, ..config("127.0.0.1") }).unwrap();
    handle.stop().await;
    let wrong = Config { max_publishers: 0, ..config("127.0.0.1") };
    assert!(start(&wrong).err().unwrap().to_string().contains("max_publishers"));
}

#[tokio::test]
async fn a_stage_whose_handles_are_all_gone_ends() {
    let (handle, mut events) = start(&config("127.0.0.1")).unwrap();
    drop(handle);
    let ended = tokio::time::timeout(Duration::from_secs(5), events.recv()).await;
    assert_eq!(ended, Ok(None), "the thread has let go of its end");
}
