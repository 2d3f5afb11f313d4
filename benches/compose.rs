//! What composing costs: one full-screen source against nine tiles, decoding included, the ladder not.
//!
//! The room is driven through seconds of records as fast as it goes. Everybody sends three simulcast layers and
//! sound; of the nine, only the smallest layer fits and is decoded. Both are measured alternating, and the median of
//! the ratios is printed: the machine's moods hit both alike.

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use hw::codec::VideoOut;
use proscenium::compose::room::{Output, Room, Settings};
use proscenium::compose::text::Fonts;
use proscenium::link::ring::{Record, RtpRecord};
use proscenium::link::wire::{Layout, OutputFormat, Seat, Stage};
use proscenium::teacher::class::{Camera, Class, Microphone};
use proscenium::teacher::lecture::Look;
use proscenium::time::{Bitrate, HostTime, PersonId, SourceCodec, SourceId, TrackId};
use rtc_rtp::codec::{h264::H264Payloader, vp8::Vp8Payloader};
use rtc_rtp::packetizer::Payloader;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const BEGIN: i64 = 1_000_000_000;
/// Until everybody's layer is the one that fits: what is too large is decoded for two seconds more.
const WARM_S: i64 = 5;
const SECONDS: i64 = 4;
const LAYERS: [(u32, u32, u64); 3] =
    [(320, 180, 150_000), (640, 360, 500_000), (1280, 720, 2_000_000)];

#[derive(Clone)]
struct Owned {
    head: RtpRecord<'static>,
    payload: Bytes,
}

/// What one person sends: packets of every layer and of the sound, in the order of their time.
fn person(codec: VideoOut) -> Vec<Owned> {
    let mut all = Vec::new();
    let frames = (WARM_S + SECONDS) as u64 * 30;
    for (layer, (width, height, video_bitrate)) in (0u8..).zip(LAYERS) {
        let look = Look { width, height, fps: 30, seed: 1 };
        let class = Class { look, codec, video_bitrate, key_interval_s: 1, ..Class::default() };
        let mut camera = Camera::open(&class).expect("an encoder");
        let (codec, mut payloader): (_, Box<dyn Payloader>) = match codec {
            VideoOut::Vp8 => (SourceCodec::Vp8, Box::<Vp8Payloader>::default()),
            _ => (SourceCodec::H264, Box::<H264Payloader>::default()),
        };
        let mut seq = 1000;
        for number in 0..frames {
            let mut out = Vec::new();
            camera.take(number, 0, false, &mut out).expect("a picture");
            for encoded in out {
                let payloads = payloader.payload(1180, &encoded.data).expect("packets");
                let last = payloads.len() - 1;
                for (index, payload) in payloads.into_iter().enumerate() {
                    seq += 1;
                    let head = RtpRecord {
                        source: SourceId(0),
                        track: TrackId(u32::from(layer)),
                        codec,
                        keyframe: encoded.key && index == 0,
                        marker: index == last,
                        layer,
                        seq,
                        timestamp: (number * 3000) as u32,
                        arrived: HostTime(BEGIN + (number * 1_000_000 / 30) as i64),
                        payload: &[],
                    };
                    all.push(Owned { head, payload });
                }
            }
        }
    }
    let mut microphone = Microphone::open(&Class::default()).expect("an encoder");
    for number in 0..(WARM_S + SECONDS) as u64 * 50 {
        let Some(packet) = microphone.take(number).expect("a packet") else { continue };
        let head = RtpRecord {
            source: SourceId(0),
            track: TrackId(9),
            codec: SourceCodec::Opus,
            keyframe: false,
            marker: false,
            layer: 0,
            seq: number,
            timestamp: (number * 960) as u32,
            arrived: HostTime(BEGIN + number as i64 * 20_000),
            payload: &[],
        };
        all.push(Owned { head, payload: packet.into() });
    }
    all.sort_by_key(|owned| owned.head.arrived);
    all
}

/// `people` of them.
fn crowd(one: &[Owned], people: u32) -> (Stage, Vec<Owned>) {
    let of = |owned: &Owned, number: u32| {
        let head = RtpRecord {
            source: SourceId(number),
            track: TrackId(number * 10 + owned.head.track.0),
            ..owned.head
        };
        Owned { head, payload: owned.payload.clone() }
    };
    let all = one.iter().flat_map(|owned| (0..people).map(move |number| of(owned, number)));
    let seat = |number: u32| Seat {
        person: PersonId::new(u64::from(number)),
        name: format!("Pérsona {number}"),
        camera: Some(SourceId(number)),
        screen: None,
        muted: false,
    };
    let seats = (0..people).map(seat).collect();
    (Stage { layout: Layout::Grid, seats, ..Stage::default() }, all.collect())
}

/// CPU time for [`SECONDS`] seconds of them.
fn run((stage, records): &(Stage, Vec<Owned>)) -> Duration {
    let format = OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    };
    let settings = Settings { format, canvas: (1280, 720), decode_threads: 1 };
    let fonts = std::fs::read("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").ok();
    let fonts = Arc::new(Fonts::new(fonts));
    let mut room = Room::new(settings, fonts, stage, None).expect("a room");
    let mut out: Vec<Output> = Vec::new();
    let mut began = None;
    for owned in records {
        let record = Record::Rtp(RtpRecord { payload: &owned.payload, ..owned.head });
        if began.is_none() && record.arrived().since(HostTime(BEGIN)) >= WARM_S * 1_000_000 {
            began = Some(hw::clock::process_cpu_us());
        }
        while !room.advance(record.arrived(), 8, &mut out) {
            black_box(&out);
            out.clear();
        }
        out.clear();
        room.push(&record);
    }
    let cpu = hw::clock::process_cpu_us() - began.unwrap_or_default();
    Duration::from_micros(cpu)
}

fn compose(c: &mut Criterion) {
    for codec in [VideoOut::H264, VideoOut::Vp8] {
        let person = person(codec);
        let (one, nine) = (crowd(&person, 1), crowd(&person, 9));
        let mut group = c.benchmark_group(format!("compose, a second, {codec}"));
        group.sample_size(10).measurement_time(Duration::from_secs(8));
        for (name, crowd) in [("one full screen", &one), ("nine tiles", &nine)] {
            group.bench_function(name, |b| {
                b.iter_custom(|times| {
                    (0..times).map(|_| run(crowd)).sum::<Duration>() / SECONDS as u32
                });
            });
        }
        group.finish();
        let mut ratios: Vec<f64> =
            (0..9).map(|_| run(&nine).as_secs_f64() / run(&one).as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{codec}: nine tiles cost {:.2} times one full screen ({:.2} to {:.2})",
            ratios[4], ratios[0], ratios[8]
        );
    }
}

criterion_group!(benches, compose);
criterion_main!(benches);
