//! A publisher of another make (the synthetic teacher, on the `webrtc` crate) through WHIP and real
//! UDP into a ring.
#![allow(clippy::unwrap_used)]

use crate::api::auth::Context;
use crate::api::routes::collect;
use crate::api::whip::routes;
use crate::link::ring::{Record, RingReader, RingWriter};
use crate::rooms::stage::{self, Stages};
use crate::rooms::token::{Grant, Role, Signer, Verifier, unix_now};
use crate::rooms::{Request, RoomConfig, Rooms};
use crate::sfu::{self, Event, LeftWhy};
use crate::teacher::class::Class;
use crate::teacher::lecture::Look;
use crate::teacher::netem::Conditions;
use crate::teacher::publish::{Publish, Publisher};
use crate::time::{HostTime, RoomName, SourceCodec, TrackId};
use crate::units::Span;
use hw::codec::VideoOut;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

struct House {
    endpoint: String,
    token: String,
    sfu: sfu::Handle,
    events: mpsc::Receiver<Event>,
    ring: RingReader,
}

async fn house(config: sfu::Config) -> House {
    let config = sfu::Config { port: 0, ..config };
    let (sfu, events) = sfu::start(&config).unwrap();
    let room = RoomName::parse("bar").unwrap();
    let ring = RingWriter::create(32 << 20).unwrap();
    let reader = ring.reader().unwrap();
    sfu.attach_ring(room.clone(), ring).await.unwrap();
    let (rooms, mut requests) = Rooms::new([RoomConfig { name: room.clone(), title: None }]);
    tokio::spawn(async move {
        while let Some(Request::Open { reply, .. }) = requests.recv().await {
            let _ = reply.send(Ok(()));
        }
    });
    let auth = Arc::new(Verifier::with_secret(SECRET));
    let stages = Stages::new([room], &stage::Config::default(), 16);
    let context = Context { sfu: sfu.clone(), auth, rooms, stages };
    let app = collect(routes::<Context>()).with_state(context);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/whip/bar", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let grant = Grant {
        room: "bar".parse().unwrap(),
        role: Role::Teacher,
        sub: "alice".into(),
        exp: unix_now() + 3600,
        nbf: None,
        name: None,
    };
    let token = Signer::with_secret(SECRET).sign(&grant).unwrap();
    House { endpoint, token, sfu, events, ring: reader }
}

fn class(codec: VideoOut) -> Class {
    let look = Look { width: 320, height: 180, ..Look::default() };
    Class { look, codec, video_bitrate: 400_000, ..Class::default() }
}

impl House {
    async fn publisher(
        &self,
        class: Class,
        network: Option<(Conditions, Conditions)>,
    ) -> Publisher {
        let (endpoint, token) = (self.endpoint.clone(), Some(self.token.clone()));
        Box::pin(Publisher::start(Publish { endpoint, token, class, network })).await.unwrap()
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("something happens").expect("the SFU lives")
    }

    /// Takes part in the ring's life until `enough` says so, at most 30 s.
    async fn read(&mut self, seen: &mut Seen, enough: impl Fn(&Seen) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while !enough(seen) {
            assert!(tokio::time::Instant::now() < end, "not enough came: {:?}", seen.kinds());
            while let Some(record) = self.ring.next().unwrap() {
                seen.take(&record);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[derive(Default)]
struct Track {
    codec: Option<SourceCodec>,
    seqs: Vec<u64>,
    keyframes: Vec<HostTime>,
    reports: u32,
    bytes: usize,
}

#[derive(Default)]
struct Seen {
    tracks: BTreeMap<TrackId, Track>,
    gone: usize,
}

impl Seen {
    fn take(&mut self, record: &Record<'_>) {
        match record {
            Record::Rtp(rtp) => {
                let track = self.tracks.entry(rtp.track).or_default();
                track.codec = Some(rtp.codec);
                track.seqs.push(rtp.seq);
                track.bytes += rtp.payload.len();
                if rtp.keyframe {
                    track.keyframes.push(rtp.arrived);
                }
            }
            Record::SenderReport { track, .. } => {
                self.tracks.entry(*track).or_default().reports += 1;
            }
            Record::Gone { .. } => self.gone += 1,
            Record::Stage { .. } => {}
        }
    }

    fn of(&self, codec: SourceCodec) -> Option<&Track> {
        self.tracks.values().find(|track| track.codec == Some(codec))
    }

    fn count(&self, codec: SourceCodec) -> usize {
        self.of(codec).map_or(0, |track| track.seqs.len())
    }

    fn kinds(&self) -> Vec<(Option<SourceCodec>, usize, usize, u32)> {
        let figures = |t: &Track| (t.codec, t.seqs.len(), t.keyframes.len(), t.reports);
        self.tracks.values().map(figures).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_arrives_with_its_key_frame_sound_and_clock() {
    let codecs = [
        (VideoOut::H264, SourceCodec::H264),
        (VideoOut::Vp8, SourceCodec::Vp8),
        (VideoOut::Vp9, SourceCodec::Vp9),
        (VideoOut::Av1, SourceCodec::Av1),
    ];
    let mut house = house(sfu::Config::default()).await;
    for (out, codec) in codecs {
        let mut seen = Seen::default();
        let publisher = house.publisher(class(out), None).await;
        house
            .read(&mut seen, |seen| {
                let reports = |codec| seen.of(codec).is_some_and(|track| track.reports > 0);
                seen.count(codec) > 30
                    && seen.count(SourceCodec::Opus) > 50
                    && reports(codec)
                    && reports(SourceCodec::Opus)
            })
            .await;
        let track = seen.of(codec).unwrap();
        assert_eq!(track.keyframes.len(), 1, "{codec:?} opens with a key frame");
        assert!(track.bytes > 3_000);
        publisher.stop().await.unwrap();
        house.read(&mut seen, |seen| seen.gone == 1).await;
        let mut story = Vec::new();
        while !matches!(story.last(), Some(Event::Left { .. })) {
            story.push(house.event().await);
        }
        assert!(matches!(story[0], Event::Joined { .. }), "{story:?}");
        assert!(matches!(story[1], Event::Connected { .. }), "{story:?}");
        assert!(matches!(story[4], Event::Left { why: LeftWhy::Ended, .. }), "{story:?}");
    }
    house.sfu.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_percent_loss_and_jitter_are_repaired_by_rtx() {
    let mut house = house(sfu::Config::default()).await;
    let up = Conditions {
        loss: 0.05,
        jitter: Duration::from_millis(30),
        reorders: true,
        seed: 7,
        ..Conditions::default()
    };
    let down = Conditions { loss: 0.05, seed: 8, ..Conditions::default() };
    let bigger = Class { video_bitrate: 1_000_000, ..class(VideoOut::H264) };
    let publisher = house.publisher(bigger, Some((up, down))).await;
    let mut seen = Seen::default();
    house.read(&mut seen, |seen| seen.count(SourceCodec::H264) > 400).await;
    let figures = publisher.figures();
    assert!(figures.lost > 10 && figures.retransmitted > 10, "{figures:?}");
    let mut seqs = seen.of(SourceCodec::H264).unwrap().seqs.clone();
    // The newest may still be on their second way.
    seqs.truncate(350);
    let first = *seqs.iter().min().unwrap();
    let came: BTreeSet<u64> = seqs.iter().map(|seq| seq - first).collect();
    assert_eq!(came.len(), seqs.len(), "nothing twice");
    let all: BTreeSet<u64> =
        seen.of(SourceCodec::H264).unwrap().seqs.iter().map(|s| s - first).collect();
    let missing: Vec<u64> = (0..300).filter(|seq| !all.contains(seq)).collect();
    assert_eq!(missing, [] as [u64; 0]);
    publisher.stop().await.unwrap();
    house.sfu.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_frames_come_when_they_are_old_and_when_a_decoder_asks() {
    let config = sfu::Config {
        keyframe_age: Span::secs(2),
        socket: sfu::Socket::Portable,
        ..sfu::Config::default()
    };
    let mut house = house(config).await;
    let publisher = house.publisher(class(VideoOut::H264), None).await;
    let mut seen = Seen::default();
    let keys = |seen: &Seen| seen.of(SourceCodec::H264).map_or(0, |track| track.keyframes.len());
    house.read(&mut seen, |seen| keys(seen) == 2).await;
    let track = seen.of(SourceCodec::H264).unwrap();
    let gap = track.keyframes[1].since(track.keyframes[0]);
    assert!((2_000_000..3_000_000).contains(&gap), "{gap} us");
    let id = *seen.tracks.iter().find(|(_, t)| t.codec == Some(SourceCodec::H264)).unwrap().0;
    house.sfu.request_keyframe(id);
    house.read(&mut seen, |seen| keys(seen) == 3).await;
    let track = seen.of(SourceCodec::H264).unwrap();
    let gap = track.keyframes[2].since(track.keyframes[1]);
    assert!(gap < 1_500_000, "asked for, not aged: {gap} us");
    // The room closes, and the ring hears of it. (The publisher is told by DTLS; the library the
    // teacher is made with passes such news on only when ICE has failed too.)
    house.sfu.detach_ring(RoomName::parse("bar").unwrap()).await.unwrap();
    house.read(&mut seen, |seen| seen.gone == 1).await;
    assert!(publisher.stop().await.is_err(), "its session is gone");
    house.sfu.stop().await;
}
