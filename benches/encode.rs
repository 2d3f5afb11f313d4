//! What a frame costs on its way through the ladder: scaling, encoding, decoding, sound, and all of
//! it at once. Times are a frame's, at 30 frames a second 33 ms are one core's all.
//!
//! `cargo bench --bench encode`

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hw::codec::{
    AacEncoder, Picture, Scaler, VideoDecoder, VideoEncoder, VideoEncoderConfig, VideoOut,
};
use proscenium::ladder::Ladder;
use proscenium::ladder::config::width_of;
use proscenium::link::wire::{OutputFormat, Rung, VideoCodec};
use proscenium::time::Bitrate;
use std::hint::black_box;
use std::time::Duration;

const PICTURES: usize = 30;

/// A second of a slide that scrolls under a moving, noisy inset.
fn scene() -> Vec<Picture> {
    let mut seed = 1_u32;
    (0..PICTURES)
        .map(|n| {
            let mut picture = Picture::black(1280, 720).expect("memory for a picture");
            let [mut y, ..] = picture.to_mut().expect("a picture of our own");
            for (row, line) in y.rows().enumerate() {
                for (column, pixel) in line.iter_mut().enumerate() {
                    let inset = column > 960 && row < 240;
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *pixel = match inset {
                        true => 60 + ((column + 4 * n) / 3 % 90) as u8 + (seed >> 29) as u8,
                        false if (column / 9 + (row + 2 * n) / 14).is_multiple_of(3) => 40,
                        false => 200,
                    };
                }
            }
            picture
        })
        .collect()
}

fn scaled(pictures: &[Picture], height: u32) -> Vec<Picture> {
    let mut scaler = Scaler::new((1280, 720), (width_of(height), height)).expect("a scaler");
    pictures.iter().map(|picture| scaler.scale(picture).expect("a smaller picture")).collect()
}

fn scaling(c: &mut Criterion) {
    let large = scene();
    let mut group = c.benchmark_group("scale");
    for height in [480, 360] {
        let to = (width_of(height), height);
        let mut scaler = Scaler::new((1280, 720), to).expect("a scaler");
        let mut n = 0;
        group.bench_function(format!("720 to {height}"), |b| {
            b.iter(|| {
                n += 1;
                black_box(scaler.scale(&large[n % PICTURES]).expect("a smaller picture"))
            });
        });
    }
}

fn encoding(c: &mut Criterion) {
    let large = scene();
    let mut group = c.benchmark_group("encode");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for (codec, height, rate) in [
        (VideoOut::H264, 720, 2_000_000),
        (VideoOut::H264, 480, 1_000_000),
        (VideoOut::H264, 360, 600_000),
        (VideoOut::Av1, 720, 1_200_000),
        (VideoOut::Av1, 360, 360_000),
    ] {
        let pictures = scaled(&large, height);
        let config = VideoEncoderConfig {
            screen: true,
            ..VideoEncoderConfig::live(codec, width_of(height), height, 30, rate)
        };
        let mut encoder = VideoEncoder::open(&config).expect("an encoder");
        let (mut frame, mut out) = (0_usize, Vec::new());
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{codec} {height}"), |b| {
            b.iter(|| {
                let picture = &pictures[frame % PICTURES];
                encoder.encode(picture, frame as i64, frame % 60 == 0, &mut out).expect("a frame");
                frame += 1;
                out.clear();
            });
        });
    }
    let mut aac = AacEncoder::new(96_000).expect("an encoder");
    let samples: Vec<f32> = (0..2048).map(|n| (n as f32 * 0.03).sin() * 0.4).collect();
    let mut out = Vec::new();
    group.bench_function("aac, 1024 samples", |b| {
        b.iter(|| {
            aac.encode(&samples, &mut out).expect("a frame");
            out.clear();
        });
    });
}

fn decoding(c: &mut Criterion) {
    let pictures = scene();
    for codec in [VideoOut::H264, VideoOut::Vp8, VideoOut::Av1] {
        let config = VideoEncoderConfig::live(codec, 1280, 720, 30, 2_000_000);
        let mut encoder = VideoEncoder::open(&config).expect("an encoder");
        let mut samples = Vec::new();
        for (n, picture) in pictures.iter().enumerate() {
            encoder.encode(picture, n as i64, n == 0, &mut samples).expect("a frame");
        }
        let mut decoder = VideoDecoder::of_samples(encoder.header(), 1).expect("a decoder");
        let (mut n, mut out) = (0, Vec::new());
        c.bench_function(&format!("decode/{codec} 720"), |b| {
            b.iter(|| {
                decoder.decode(&samples[n % PICTURES].data, n as i64, &mut out).expect("a picture");
                n += 1;
                out.clear();
            });
        });
    }
}

fn ladder(c: &mut Criterion) {
    let pictures = scene();
    let format = OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 0,
    };
    let rung = |height, rate| Rung {
        name: format!("h264-{height}"),
        codec: VideoCodec::H264,
        width: width_of(height),
        height,
        bitrate: Bitrate(rate),
        preset: "superfast".into(),
        threads: 1,
    };
    let rungs = [rung(720, 2_000_000), rung(480, 1_000_000), rung(360, 600_000)];
    let mut ladder = Ladder::start(&rungs, &format, (1280, 720), || {}).expect("three encoders");
    let (mut frame, mut out) = (0, Vec::new());
    let mut group = c.benchmark_group("ladder");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.bench_function("h264 720, 480, 360", |b| {
        b.iter(|| {
            let picture = pictures[frame as usize % PICTURES].clone();
            ladder.push(frame, picture, frame % 60 == 0, &mut out).expect("all rungs live");
            frame += 1;
            out.clear();
        });
    });
}

criterion_group!(benches, scaling, encoding, decoding, ladder);
criterion_main!(benches);
