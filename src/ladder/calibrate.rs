//! Measures what this box can do, in a few seconds, and remembers it.
//!
//! Cost is CPU time, not time on the wall, so that other work on the box hardly changes it. The
//! content moves everywhere, as a camera's picture does: slides cost about half, and the difference
//! is the plan's margin.

use super::config::{Config, width_of};
use super::plan::{Calibration, Cost};
use super::{encoder_of, short_name};
use crate::link::wire::VideoCodec;
use hw::clock::{process_cpu_us, thread_cpu_us};
use hw::codec::{
    AacEncoder, CodecError, Encoded, OpusDecoder, OpusEncoder, Picture, Scaler, VideoDecoder,
    VideoEncoder, VideoEncoderConfig, VideoHeader,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FPS: u32 = 30;
/// Pictures of the content, shown back and forth.
const SCENE: usize = 24;
/// Pictures encoded before measuring: a key frame, and rate control finding its feet.
const WARM_UP: usize = 8;
/// Pictures measured.
const MEASURED: usize = 40;
/// Heights that encoders are measured at; others lie on the line between.
const HEIGHTS: [u32; 2] = [720, 360];

/// Where a calibration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the file: the same box and encoders as then.
    Remembered,
    /// Measured now, for this reason, in this time.
    Measured(String, Duration),
}

/// Names the box and its encoders: what was measured under another name does not count.
pub fn box_key() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("{}; {} cores; {}", cpu_model(&cpu), cores(), hw::codec::versions())
}

/// Cores this process may use: affinity and cgroup limits count.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// The CPU's name in /proc/cpuinfo: `model name` on x86, implementer and part on Arm.
fn cpu_model(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    field("model name")
        .or_else(|| Some(format!("Arm {} {}", field("CPU implementer")?, field("CPU part")?)))
        .unwrap_or_else(|| "unknown CPU".into())
}

/// Where calibrations are kept: the service's cache directory, else the user's.
pub fn default_file() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = match (variable("CACHE_DIRECTORY"), variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(folder), ..) => PathBuf::from(folder),
        (None, Some(folder), _) => PathBuf::from(folder).join("proscenium"),
        (None, None, Some(home)) => PathBuf::from(home).join(".cache/proscenium"),
        (None, None, None) => PathBuf::from("/var/cache/proscenium"),
    };
    folder.join("calibration.json")
}

/// To the microsecond: what is measured is no finer, and such numbers read back as they were written.
fn rounded(mut calibration: Calibration) -> Calibration {
    let encode = calibration.encode.iter_mut().map(|cost| &mut cost.cpu);
    let rest = [&mut calibration.decode, &mut calibration.scale, &mut calibration.sound];
    for figure in encode.chain(rest) {
        *figure = (*figure * 1e6).round() / 1e6;
    }
    calibration
}

/// The calibration kept in `file`, if it is of this box and these encoders and has all presets that
/// `config` asks for; else measures, and keeps that. `again` measures in any case. A file that cannot
/// be written costs only the next start a few seconds, and a line in the log.
///
/// # Errors
/// No H.264 encoder, or no decoder for it: nothing can be broadcast from here.
pub fn load_or_run(
    file: &Path,
    config: &Config,
    again: bool,
) -> Result<(Calibration, Origin), CodecError> {
    let wanted = wanted(config);
    let reason = match read(file) {
        _ if again => "asked for".to_owned(),
        Err(reason) => reason,
        Ok(kept) if kept.box_key != box_key() => {
            format!("the box or its encoders changed (was: {})", kept.box_key)
        }
        Ok(kept) => match wanted.iter().find(|(codec, preset)| !has(&kept, *codec, preset)) {
            Some((codec, preset)) => format!("{} {preset} was never measured", short_name(*codec)),
            None => return Ok((kept, Origin::Remembered)),
        },
    };
    let started = Instant::now();
    let calibration = rounded(run(config)?);
    if let Err(error) = write(file, &calibration) {
        tracing::warn!(file = %file.display(), %error, "the box's measured speed cannot be kept");
    }
    Ok((calibration, Origin::Measured(reason, started.elapsed())))
}

fn has(calibration: &Calibration, codec: VideoCodec, preset: &str) -> bool {
    calibration.encode.iter().any(|cost| cost.codec == codec && cost.preset == preset)
}

fn read(file: &Path) -> Result<Calibration, String> {
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "this box was never measured".to_owned(),
        _ => format!("{} cannot be read: {error}", file.display()),
    })?;
    serde_json::from_str(&text).map_err(|error| format!("{} is damaged: {error}", file.display()))
}

fn write(file: &Path, calibration: &Calibration) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Two processes may write at once; each renames a file of its own.
    let part = file.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&part, serde_json::to_string_pretty(calibration)?)?;
    std::fs::rename(&part, file)
}

/// Every codec and preset that a plan by `config` can use.
fn wanted(config: &Config) -> Vec<(VideoCodec, String)> {
    let mut wanted: Vec<_> = match config.rungs.is_empty() {
        false => config
            .rungs
            .iter()
            .map(|rung| {
                let preset = rung.preset.as_deref().unwrap_or(config.preset(rung.codec));
                (rung.codec, preset.to_owned())
            })
            .collect(),
        true => {
            let mut codecs = vec![VideoCodec::H264];
            codecs.extend(config.av1.then_some(VideoCodec::Av1));
            codecs.into_iter().map(|codec| (codec, config.preset(codec).to_owned())).collect()
        }
    };
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Measures now. Nothing else should be busy in this process meanwhile.
///
/// # Errors
/// As [`load_or_run`]. A missing AV1 encoder is no error: the calibration then has no AV1.
pub fn run(config: &Config) -> Result<Calibration, CodecError> {
    let large: Vec<Picture> = (0..SCENE).map(scene).collect::<Result<_, _>>()?;
    let mut encode = Vec::new();
    let mut stream = None;
    let scaled = |height: u32| -> Result<Vec<Picture>, CodecError> {
        let mut scaler = Scaler::new((1280, 720), (width_of(height), height))?;
        large.iter().map(|picture| scaler.scale(picture)).collect()
    };
    let small = scaled(360)?;
    for (codec, preset) in wanted(config) {
        for (height, pictures) in HEIGHTS.into_iter().zip([&large, &small]) {
            match encoder(codec, &preset, height, pictures) {
                Ok((cpu, header, samples)) => {
                    if codec == VideoCodec::H264 && height == 720 {
                        stream = Some((header, samples));
                    }
                    let (width, preset) = (width_of(height), preset.clone());
                    encode.push(Cost { codec, preset, width, height, cpu });
                }
                Err(error) if codec == VideoCodec::H264 => return Err(error),
                Err(error) => tracing::warn!(%error, "no AV1 rungs: the encoder cannot be used"),
            }
        }
    }
    let (header, samples) = match stream {
        Some(stream) => stream,
        // Only AV1 was asked for; decoding is measured on what publishers send.
        None => {
            let preset = encoder_of(VideoCodec::H264).default_preset();
            let (_, header, samples) = encoder(VideoCodec::H264, preset, 720, &large)?;
            (header, samples)
        }
    };
    Ok(Calibration {
        box_key: box_key(),
        encode,
        decode: decoding(&header, &samples)?,
        scale: scaling(&large)?,
        sound: sound()?,
    })
}

/// CPU-seconds a second of media for `work` that handles `count` frames at [`FPS`], by a clock that
/// counts CPU time: this thread's where the work has no other, as nothing else can then disturb it.
fn cost_of<T>(
    clock: fn() -> u64,
    count: usize,
    work: impl FnOnce() -> Result<T, CodecError>,
) -> Result<(f64, T), CodecError> {
    let before = clock();
    let result = work()?;
    let us = clock().saturating_sub(before) as f64;
    let cost = us / 1e6 * f64::from(FPS) / count.max(1) as f64;
    // Four places: more are noise, and these read back from JSON as the same number.
    Ok(((cost * 1e4).round() / 1e4, result))
}

fn encoder(
    codec: VideoCodec,
    preset: &str,
    height: u32,
    pictures: &[Picture],
) -> Result<(f64, VideoHeader, Vec<Encoded>), CodecError> {
    let rate = 2_000_000 * u64::from(height).pow(2) / 720_u64.pow(2);
    let mut encoder = VideoEncoder::open(&VideoEncoderConfig {
        preset: preset.into(),
        gop_frames: 2 * FPS,
        screen: true,
        ..VideoEncoderConfig::live(encoder_of(codec), width_of(height), height, FPS, rate)
    })?;
    let mut out = Vec::new();
    let mut go = |range: std::ops::Range<usize>| {
        range
            .into_iter()
            .try_for_each(|n| encoder.encode(shown(pictures, n), n as i64, n == 0, &mut out))
    };
    go(0..WARM_UP)?;
    // SVT-AV1 works on threads of its own.
    let clock = match codec {
        VideoCodec::H264 => thread_cpu_us,
        VideoCodec::Av1 => process_cpu_us,
    };
    let (cpu, ()) = cost_of(clock, MEASURED, || go(WARM_UP..WARM_UP + MEASURED))?;
    encoder.flush(&mut out)?;
    Ok((cpu, encoder.header().clone(), out))
}

/// Back and forth through the scene, so that it never jumps.
fn shown(pictures: &[Picture], n: usize) -> &Picture {
    let at = n % (2 * pictures.len() - 2);
    &pictures[if at < pictures.len() { at } else { 2 * pictures.len() - 2 - at }]
}

fn decoding(header: &VideoHeader, samples: &[Encoded]) -> Result<f64, CodecError> {
    let mut decoder = VideoDecoder::of_samples(header, 1)?;
    let mut out = Vec::new();
    let (cpu, ()) = cost_of(thread_cpu_us, samples.len(), || {
        for sample in samples {
            decoder.decode(&sample.data, sample.frame, &mut out)?;
            out.clear();
        }
        Ok(())
    })?;
    Ok(cpu)
}

fn scaling(pictures: &[Picture]) -> Result<f64, CodecError> {
    let mut scaler = Scaler::new((1280, 720), (854, 480))?;
    scaler.scale(&pictures[0])?;
    let (cpu, ()) = cost_of(thread_cpu_us, pictures.len(), || {
        pictures.iter().try_for_each(|picture| scaler.scale(picture).map(|_| ()))
    })?;
    Ok(cpu)
}

/// Opus in, AAC out, over two seconds.
fn sound() -> Result<f64, CodecError> {
    let tone = |n: usize| {
        let t = n as f32;
        [(t * 0.031).sin() * 0.3 + (t * 0.47).sin() * 0.1, (t * 0.029).sin() * 0.3]
    };
    let mut opus = OpusEncoder::new(48_000, 0)?;
    let packets: Vec<_> = (0..100)
        .map(|k| {
            let first = k * OpusEncoder::FRAME;
            let samples: Vec<f32> = (first..first + OpusEncoder::FRAME).flat_map(tone).collect();
            opus.encode(&samples)
        })
        .collect::<Result<_, _>>()?;
    let (mut decoder, mut aac) = (OpusDecoder::new()?, AacEncoder::new(96_000)?);
    let (cpu, ()) = cost_of(thread_cpu_us, 2 * FPS as usize, || {
        let (mut samples, mut out) = (Vec::new(), Vec::new());
        for packet in &packets {
            decoder.decode(packet, &mut samples)?;
            while samples.len() >= 2048 {
                aac.encode(&samples[..2048], &mut out)?;
                samples.drain(..2048);
            }
        }
        Ok(())
    })?;
    Ok(cpu)
}

/// Picture `n` of a second with a camera in it: texture that pans, a large textured object moving
/// across it, sensor noise.
fn scene(n: usize) -> Result<Picture, CodecError> {
    let mut picture = Picture::alloc(1280, 720)?;
    let mut noise = 0x9e37_79b9_u32 ^ n as u32;
    let mut noise = move || {
        // xorshift32; any noise will do, it must only be cheap and the same every time.
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        (noise & 3) as u8
    };
    let [mut y, mut cb, mut cr] = picture.to_mut()?;
    let left = 120 + 9 * n;
    for (row, line) in y.rows().enumerate() {
        for (column, pixel) in line.iter_mut().enumerate() {
            let object = (left..left + 420).contains(&column) && (150..650).contains(&row);
            let (u, v) = match object {
                true => (column + 2000 - left, row + n),
                false => (column + 2 * n, row),
            };
            *pixel = 40 + texture(u, v) + noise();
        }
    }
    for plane in [&mut cb, &mut cr] {
        for (row, line) in plane.rows().enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = 110 + texture(column / 2 + n, row / 2) / 6;
            }
        }
    }
    Ok(picture)
}

/// Soft random patches of several sizes, 0 to about 150.
fn texture(u: usize, v: usize) -> u8 {
    let value = |u: usize, v: usize| {
        let mut h = (u as u32).wrapping_mul(0x85eb_ca6b) ^ (v as u32).wrapping_mul(0xc2b2_ae35);
        h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
        (h >> 24) & 0xff
    };
    let smooth = |cell: usize| {
        let (x, y, fx, fy) = (u / cell, v / cell, u % cell, v % cell);
        let mix = |a: u32, b: u32, f: usize| (a as usize * (cell - f) + b as usize * f) / cell;
        let top = mix(value(x, y), value(x + 1, y), fx);
        let bottom = mix(value(x, y + 1), value(x + 1, y + 1), fx);
        mix(top as u32, bottom as u32, fy)
    };
    ((smooth(64) * 5 + smooth(16) * 3 + smooth(5)) / 16) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_named_by_its_cpu() {
        let x86 = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\n";
        assert_eq!(cpu_model(x86), "AMD EPYC 7B13");
        let arm = "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu_model(arm), "Arm 0x41 0xd0c");
        assert_eq!(cpu_model(""), "unknown CPU");
        assert!(box_key().contains("FFmpeg") && box_key().contains("libopus"));
    }

    #[test]
    fn a_calibration_is_measured_once_and_then_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/calibration.json");
        // The fastest presets, so that the test is short.
        let config = Config { h264_preset: "ultrafast".into(), av1: false, ..Config::default() };
        let (first, origin) = load_or_run(&file, &config, false).unwrap();
        assert!(matches!(&origin, Origin::Measured(why, _) if why.contains("never")), "{origin:?}");
        assert!(first.decode > 0.0 && first.scale > 0.0 && first.sound > 0.0, "{first:?}");
        let at = |height| {
            let size = (width_of(height), height);
            first.encode_cost(VideoCodec::H264, "ultrafast", size, 30).unwrap()
        };
        assert!(at(720) > at(360) && at(360) > 0.0, "{first:?}");
        let (second, origin) = load_or_run(&file, &config, false).unwrap();
        assert_eq!((second, origin), (first.clone(), Origin::Remembered));

        let other = Calibration { box_key: "another box".into(), ..first };
        write(&file, &other).unwrap();
        let (_, origin) = load_or_run(&file, &config, false).unwrap();
        assert!(matches!(&origin, Origin::Measured(why, _) if why.contains("another box")));
        std::fs::write(&file, "{ not json").unwrap();
        assert!(read(&file).unwrap_err().contains("damaged"));
        let slower = Config { h264_preset: "veryfast".into(), ..config };
        write(&file, &Calibration { box_key: box_key(), ..other }).unwrap();
        let kept = read(&file).unwrap();
        assert!(wanted(&slower).iter().any(|(codec, preset)| !has(&kept, *codec, preset)));
    }

    #[test]
    fn the_scene_moves_everywhere_and_is_the_same_every_time() {
        let [a, b] = [3, 4].map(|n| scene(n).unwrap());
        assert_eq!(a.psnr(&scene(3).unwrap()), Some(f64::INFINITY));
        let psnr = a.psnr(&b).unwrap();
        assert!((15.0..38.0).contains(&psnr), "{psnr}");
    }
}
