//! The publisher against a plain receiver on another WebRTC engine: what arrives is what was
//! captured, at the times it was captured, whatever the network does.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::{Router, http::StatusCode, routing};
use hw::codec::VideoOut;
use str0m::media::{KeyframeRequestKind, MediaData, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, RtcConfig};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::class::Class;
use super::lecture::Look;
use super::netem::Conditions;
use super::publish::{Publish, PublishError, Publisher};

/// A WHIP endpoint with a receiver behind it.
struct Receiver {
    endpoint: String,
    media: mpsc::UnboundedReceiver<(MediaKind, MediaData)>,
    /// Send to have the receiver ask for a key frame.
    ask: mpsc::UnboundedSender<()>,
    ended: watch::Receiver<bool>,
}

impl Receiver {
    async fn start() -> Self {
        str0m::crypto::from_feature_flags().install_process_default();
        let (media_tx, media) = mpsc::unbounded_channel();
        let (ask, asked) = mpsc::unbounded_channel();
        let (ended_tx, ended) = watch::channel(false);
        let asked = Arc::new(Mutex::new(Some(asked)));
        let publish = move |offer: String| {
            let (media, asked) = (media_tx.clone(), asked.lock().unwrap().take().unwrap());
            async move {
                let answer = receive(offer, media, asked).await;
                let headers = [("content-type", "application/sdp"), ("location", "/session")];
                (StatusCode::CREATED, headers, answer)
            }
        };
        let end = move || {
            ended_tx.send_replace(true);
            async { StatusCode::OK }
        };
        let app = Router::new()
            .route("/whip/bar", routing::post(publish))
            .route("/session", routing::delete(end));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/whip/bar", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, media, ask, ended }
    }

    /// The next `count` frames of one kind.
    async fn take(&mut self, kind: MediaKind, count: usize) -> Vec<MediaData> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), self.media.recv()).await;
            let (k, data) = next.expect("media goes on").expect("the receiver lives");
            if k == kind {
                taken.push(data);
            }
        }
        taken
    }
}

async fn receive(
    offer: String,
    media: mpsc::UnboundedSender<(MediaKind, MediaData)>,
    mut asked: mpsc::UnboundedReceiver<()>,
) -> String {
    let mut rtc = RtcConfig::new().set_ice_lite(true).build(Instant::now());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local: SocketAddr = socket.local_addr().unwrap();
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let offer = str0m::change::SdpOffer::from_sdp_string(&offer).unwrap();
    let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
    tokio::spawn(async move {
        let mut kinds = HashMap::new();
        let mut buffer = vec![0; 2048];
        loop {
            let timeout = match rtc.poll_output().unwrap() {
                Output::Timeout(at) => at,
                Output::Transmit(packet) => {
                    let _ = socket.send_to(&packet.contents, packet.destination).await;
                    continue;
                }
                Output::Event(Event::MediaAdded(added)) => {
                    kinds.insert(added.mid, added.kind);
                    continue;
                }
                Output::Event(Event::MediaData(data)) => {
                    let _ = media.send((kinds[&data.mid], data));
                    continue;
                }
                Output::Event(_) => continue,
            };
            tokio::select! {
                () = tokio::time::sleep_until(timeout.into()) => {
                    rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
                }
                received = socket.recv_from(&mut buffer) => {
                    let (length, source) = received.unwrap();
                    let Ok(contents) = buffer[..length].try_into() else { continue };
                    let packet = Receive { proto: Protocol::Udp, source, destination: local, contents };
                    rtc.handle_input(Input::Receive(Instant::now(), packet)).unwrap();
                }
                Some(()) = asked.recv() => {
                    let video = kinds.iter().find(|(_, kind)| **kind == MediaKind::Video).unwrap().0;
                    rtc.writer(*video).unwrap().request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
                    rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
                }
            }
        }
    });
    answer
}

fn small(codec: VideoOut) -> Class {
    let look = Look { width: 320, height: 180, fps: 30, seed: 1 };
    Class { look, codec, video_bitrate: 400_000, ..Class::default() }
}

fn publish(receiver: &Receiver, class: Class) -> Publish {
    Publish { endpoint: receiver.endpoint.clone(), token: None, class, network: None }
}

/// Unix time, in microseconds, at which a frame was captured, by its stream's newest report; none
/// if no report came before it.
fn captured_us(data: &MediaData) -> Option<i64> {
    let report = data.last_sender_info.as_ref()?;
    let ntp = report.ntp_time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
    let rate = i64::from(data.time.denom());
    // Timestamps are 32 bits on the wire and extended apart from each other: compare modulo 2^32.
    let ticks = (data.time.numer() as u32).wrapping_sub(report.rtp_time.numer() as u32) as i32;
    Some(ntp + i64::from(ticks) * 1_000_000 / rate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_arrives_whole_and_on_time() {
    for codec in [VideoOut::H264, VideoOut::Vp8, VideoOut::Vp9, VideoOut::Av1] {
        let mut receiver = Receiver::start().await;
        let publisher = Publisher::start(publish(&receiver, small(codec))).await.unwrap();
        let began = publisher.began_wall_us();
        let video = receiver.take(MediaKind::Video, 20).await;
        assert!(video[0].is_keyframe(), "{codec:?}");
        assert!(video.iter().skip(1).all(|data| data.contiguous), "{codec:?}");
        let placed: Vec<i64> = video.iter().filter_map(captured_us).collect();
        assert!(placed.len() >= 10, "{codec:?}: reports came early");
        for captured in placed {
            let since = captured - began;
            let frame = (since * 30 + 500_000).div_euclid(1_000_000);
            assert!(
                (since - frame * 1_000_000 / 30).abs() < 300,
                "{codec:?}: {since} us is no frame's time"
            );
        }
        let audio = receiver.take(MediaKind::Audio, 5).await;
        for captured in audio.iter().map(|data| captured_us(data).unwrap()) {
            let since = captured - began;
            let late = (since + 10_000).rem_euclid(20_000) - 10_000;
            assert!(late.abs() < 300, "{codec:?}: {since} us is no sound packet's time");
        }
        let figures = publisher.stop().await.unwrap();
        assert!(figures.frames >= 20 && figures.sounds >= 5, "{figures:?}");
        assert!(*receiver.ended.borrow(), "the server was told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_frame_comes_when_asked() {
    let mut receiver = Receiver::start().await;
    let publisher = Publisher::start(publish(&receiver, small(VideoOut::H264))).await.unwrap();
    let video = receiver.take(MediaKind::Video, 10).await;
    assert_eq!(video.iter().filter(|data| data.is_keyframe()).count(), 1);
    receiver.ask.send(()).unwrap();
    let video = receiver.take(MediaKind::Video, 30).await;
    assert!(video.iter().any(MediaData::is_keyframe));
    assert!(publisher.stop().await.unwrap().key_frame_requests >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_are_repaired_over_a_bad_network() {
    let mut receiver = Receiver::start().await;
    let jitter = Duration::from_millis(30);
    let up = Conditions { loss: 0.05, jitter, reorders: true, seed: 7, ..Conditions::default() };
    let class =
        Class { look: Look { width: 640, height: 360, ..Look::default() }, ..small(VideoOut::Vp8) };
    let network = Some((up, Conditions::default()));
    let publisher =
        Publisher::start(Publish { network, ..publish(&receiver, class) }).await.unwrap();
    let video = receiver.take(MediaKind::Video, 150).await;
    let figures = publisher.figures();
    assert!(figures.lost > 5, "the network was bad: {figures:?}");
    assert!(figures.retransmitted > 0, "and repaired: {figures:?}");
    let mut times: Vec<u64> = video.iter().map(|data| data.time.numer()).collect();
    times.dedup();
    let holes = times.windows(2).filter(|pair| pair[1] - pair[0] != 3000).count() as u64;
    assert!(holes <= figures.skipped + 1, "{holes} holes in 150 frames: {figures:?}");
    publisher.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_without_media_is_told_apart_from_one_that_refuses() {
    let refused = Publish {
        endpoint: "http://127.0.0.1:1/whip/bar".into(),
        token: None,
        class: small(VideoOut::H264),
        network: None,
    };
    assert!(matches!(Publisher::start(refused).await, Err(PublishError::Whip(_))));
}
