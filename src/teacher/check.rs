//! Measures an HLS output that carries the synthetic class: are all frames there, once each and in
//! order, are timestamps continuous, are the segments the same in all renditions, does sound lie on
//! the picture.
//!
//! Decoding and timestamps are read by the `ffmpeg` and `ffprobe` commands, which share no code with
//! the packager that wrote them.

use std::path::Path;
use std::process::Stdio;

use serde::Serialize;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;

use super::burnt::Stamp;
use super::hls::{Collected, Hls, HlsError};
use super::lecture::flash_luma;
use super::sound::{Offsets, RATE, beep_onsets, flash_onsets};

/// Why an output could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It could not be fetched.
    #[error(transparent)]
    Hls(#[from] HlsError),
    /// A tool is missing or said what it never says.
    #[error("{tool} on {file}: {what}")]
    Tool {
        /// Which command.
        tool: &'static str,
        /// On which file.
        file: String,
        /// What went wrong.
        what: String,
    },
}

/// One video rendition, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Video {
    /// The rendition's name.
    pub name: String,
    /// The decoder's name for its codec.
    pub codec: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames that the segments' durations promise.
    pub expected: u64,
    /// Frames in the file.
    pub packets: u64,
    /// Frames that came out of the decoder.
    pub decoded: u64,
    /// Packets whose timestamp is not where the one before ended.
    pub breaks: u64,
    /// What the decoder complained about.
    pub complaints: String,
    /// Frames whose burnt-in clock could not be read.
    pub unreadable: u64,
    /// Frames that show the same captured frame as the one before.
    pub repeated: u64,
    /// Captured frames that never came.
    pub missing: u64,
    /// Frames that show an earlier captured frame than the one before.
    pub backwards: u64,
    /// Output frames, counted from the first, at which one of these three begins; the first 20.
    pub at: Vec<u64>,
    /// Flashes against the beeps of the sound.
    pub offsets: Option<Offsets>,
}

/// An output, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Seconds of output looked at.
    pub seconds: f64,
    /// The video renditions.
    pub video: Vec<Video>,
    /// Sound packets whose timestamp is not where the one before ended.
    pub sound_breaks: u64,
    /// Beeps heard.
    pub beeps: usize,
    /// Renditions that the server gave up meanwhile.
    pub gone: Vec<String>,
    /// What is wrong, in words; empty when all is well.
    pub faults: Vec<String>,
}

/// How much of something is tolerated.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest |sound - picture|, in milliseconds.
    pub offset_ms: f64,
    /// Largest share of output frames that may repeat one, or stand for one that is missing.
    pub uneven: f64,
    /// Frames a second of the class; a flash begins at every whole second.
    pub fps: u32,
}

impl Default for Limits {
    /// 20 ms; one frame in a hundred: the camera's clock and the output's grid beat against each
    /// other, and a shared machine skips a frame now and then.
    fn default() -> Self {
        Self { offset_ms: 20.0, uneven: 0.01, fps: 30 }
    }
}

/// Collects `seconds` of the output at `index` into `folder` and measures it.
///
/// # Errors
/// It could not be fetched or measured. What is wrong with it is no error, but a fault in the report.
pub async fn check(
    index: &str,
    seconds: f64,
    folder: &Path,
    limits: Limits,
) -> Result<Report, CheckError> {
    let collected = Hls::default().collect(index, seconds, folder).await?;
    measure(&collected, limits).await
}

/// Measures renditions on disk.
///
/// # Errors
/// A tool is missing or its words make no sense.
pub async fn measure(collected: &[Collected], limits: Limits) -> Result<Report, CheckError> {
    let mut report = Report::default();
    let mut beeps = None;
    let (gone, collected): (Vec<Collected>, Vec<Collected>) =
        collected.iter().cloned().partition(|one| one.gone || one.segments.is_empty());
    let collected = collected.as_slice();
    for one in gone {
        report.faults.push(format!("{}: given up by the server", one.rendition.name));
        report.gone.push(one.rendition.name);
    }
    for one in collected.iter().filter(|c| c.rendition.size.is_none()) {
        let stream = probe(&one.file).await?;
        report.sound_breaks += stream.breaks();
        let onsets = beep_onsets(&sound(&one.file).await?);
        report.beeps = onsets.len();
        let start = stream.start();
        beeps = Some(onsets.iter().map(|at| start + at / RATE as f64).collect::<Vec<_>>());
        if stream.breaks() > 0 {
            report.faults.push(format!(
                "{}: {} timestamps break",
                one.rendition.name,
                stream.breaks()
            ));
        }
    }
    if beeps.is_none() {
        report.faults.push("no sound rendition".into());
    }
    for one in collected.iter().filter(|c| c.rendition.size.is_some()) {
        let video = measure_video(one, beeps.as_deref(), limits).await?;
        report.faults.extend(faults(&video, limits));
        report.video.push(video);
    }
    report.faults.extend(segment_faults(collected));
    report.seconds =
        collected.iter().map(|c| c.segments.iter().map(|s| s.1).sum()).fold(0.0, f64::max);
    if report.video.is_empty() {
        report.faults.push("no video rendition".into());
    }
    Ok(report)
}

fn faults(video: &Video, limits: Limits) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |wrong: bool, what: String| {
        if wrong {
            faults.push(format!("{}: {what}", video.name));
        }
    };
    fault(
        video.packets != video.expected,
        format!("{} frames for {}", video.packets, video.expected),
    );
    fault(
        video.decoded != video.packets,
        format!("{} of {} frames decode", video.decoded, video.packets),
    );
    fault(video.breaks > 0, format!("{} timestamps break", video.breaks));
    fault(!video.complaints.is_empty(), format!("the decoder complains: {}", video.complaints));
    // A hard cut at a low bit rate may blur the clock of a frame or two.
    let blurred = video.unreadable as f64 > limits.uneven * video.decoded as f64;
    fault(blurred, format!("{} frames without a readable clock", video.unreadable));
    fault(video.backwards > 0, format!("{} frames go backwards", video.backwards));
    let uneven = (video.repeated.max(video.missing)) as f64 / video.decoded.max(1) as f64;
    let words = format!(
        "{} frames repeated, {} missing of {}",
        video.repeated, video.missing, video.decoded
    );
    fault(uneven > limits.uneven, words);
    match video.offsets.as_ref().map(|offsets| (offsets, offsets.worst())) {
        Some((offsets, Some(worst))) => {
            fault(worst > limits.offset_ms, format!("sound is off the picture by {worst:.1} ms"));
            fault(offsets.unpaired > 0, format!("{} beeps or flashes are alone", offsets.unpaired));
        }
        _ => fault(true, "no flash with a beep to measure sound against picture".into()),
    }
    faults
}

/// Segments must be the same in all video renditions, and the sound's must have the same numbers
/// and lengths within one AAC frame.
fn segment_faults(collected: &[Collected]) -> Vec<String> {
    let Some(first) = collected.iter().find(|c| c.rendition.size.is_some()) else {
        return Vec::new();
    };
    let differs = |one: &&Collected| {
        let slack = if one.rendition.size.is_some() { 1e-6 } else { 1025.0 / RATE as f64 };
        one.segments.len() != first.segments.len()
            || one
                .segments
                .iter()
                .zip(&first.segments)
                .any(|(a, b)| a.0 != b.0 || (a.1 - b.1).abs() > slack)
    };
    let others = collected.iter().filter(differs);
    others
        .map(|one| format!("{}: other segments than {}", one.rendition.name, first.rendition.name))
        .collect()
}

async fn measure_video(
    one: &Collected,
    beeps: Option<&[f64]>,
    limits: Limits,
) -> Result<Video, CheckError> {
    let stream = probe(&one.file).await?;
    let seconds: f64 = one.segments.iter().map(|(_, seconds)| seconds).sum();
    let mut video = Video {
        name: one.rendition.name.clone(),
        codec: stream.codec.clone(),
        width: stream.width,
        height: stream.height,
        expected: (seconds * stream.rate).round() as u64,
        packets: stream.packets.len() as u64,
        breaks: stream.breaks(),
        ..Video::default()
    };
    let mut child = spawn_decoder(
        &one.file,
        &["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray"],
    )?;
    let (mut pictures, errors) = streams(&mut child);
    let mut picture = vec![0; stream.width * stream.height];
    let mut last: Option<u32> = None;
    let mut frames = Vec::new();
    while !picture.is_empty() && pictures.read_exact(&mut picture).await.is_ok() {
        let (width, height) = (stream.width, stream.height);
        let at =
            stream.time(video.decoded as usize).zip(flash_luma(&picture, width, width, height));
        video.decoded += 1;
        let stamp = Stamp::read(&picture, width, width, height).ok();
        frames.extend(at.map(|(at, luma)| (at, luma, stamp)));
        let Some(stamp) = stamp else {
            video.unreadable += 1;
            continue;
        };
        let step = last.map(|last| stamp.frame.wrapping_sub(last) as i32);
        if step.is_some_and(|step| step != 1) && video.at.len() < 20 {
            video.at.push(video.decoded - 1);
        }
        match step {
            None | Some(1) => {}
            Some(0) => video.repeated += 1,
            Some(step @ 2..) => video.missing += step as u64 - 1,
            Some(_) => video.backwards += 1,
        }
        last = Some(stamp.frame);
    }
    video.complaints = errors.await.unwrap_or_default();
    let _ = child.wait().await;
    video.offsets = beeps.map(|beeps| {
        let (flashes, beeps) = whole_flashes(&frames, beeps, limits.fps);
        Offsets::pair(&flashes, &beeps)
    });
    Ok(video)
}

/// The flashes whose first frame is there, and the beeps without those whose flash lost its first
/// frame: a camera that skipped it, on a busy machine, lights late, and that is no fault of sound
/// against picture. It is counted as a missing frame.
fn whole_flashes(
    frames: &[(f64, u8, Option<Stamp>)],
    beeps: &[f64],
    fps: u32,
) -> (Vec<f64>, Vec<f64>) {
    let onsets = flash_onsets(frames.iter().map(|(at, luma, _)| (*at, *luma)));
    let begins = |onset: f64| {
        let stamp = frames.iter().find(|(at, _, _)| *at == onset).and_then(|(_, _, stamp)| *stamp);
        stamp.is_none_or(|stamp| stamp.frame.is_multiple_of(fps.max(1)))
    };
    let (whole, torn): (Vec<f64>, Vec<f64>) = onsets.into_iter().partition(|onset| begins(*onset));
    let excused = |beep: &f64| torn.iter().any(|onset| (onset - beep).abs() < 0.5);
    (whole, beeps.iter().copied().filter(|beep| !excused(beep)).collect())
}

/// The sound of a file, mono at 48 kHz, from its first timestamp on.
async fn sound(file: &Path) -> Result<Vec<f32>, CheckError> {
    let mut child = spawn_decoder(file, &["-f", "f32le", "-ac", "1", "-ar", "48000"])?;
    let (mut samples, errors) = streams(&mut child);
    let mut bytes = Vec::new();
    samples.read_to_end(&mut bytes).await.map_err(|error| tool("ffmpeg", file, error))?;
    let complaints = errors.await.unwrap_or_default();
    let _ = child.wait().await;
    if !complaints.is_empty() {
        return Err(tool("ffmpeg", file, complaints));
    }
    let (samples, _) = bytes.as_chunks::<4>();
    Ok(samples.iter().map(|s| f32::from_le_bytes(*s)).collect())
}

fn spawn_decoder(file: &Path, output: &[&str]) -> Result<tokio::process::Child, CheckError> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(file).args(output).arg("pipe:1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().map_err(|error| tool("ffmpeg", file, error))
}

/// The child's output, and a task that gathers the beginning of what it complains about.
fn streams(
    child: &mut tokio::process::Child,
) -> (BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>, tokio::task::JoinHandle<String>) {
    let output: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match child.stdout.take() {
        Some(output) => Box::new(output),
        None => Box::new(tokio::io::empty()),
    };
    let errors = child.stderr.take();
    let gather = tokio::spawn(async move {
        let mut text = Vec::new();
        if let Some(mut errors) = errors {
            // All of it is read, so that the child never blocks; the beginning is kept.
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                let room = 400usize.saturating_sub(text.len()).min(length);
                text.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    (BufReader::with_capacity(1 << 20, output), gather)
}

fn tool(tool: &'static str, file: &Path, what: impl std::fmt::Display) -> CheckError {
    CheckError::Tool { tool, file: file.display().to_string(), what: what.to_string() }
}

/// What ffprobe says about a file's only stream.
#[derive(Debug, Default)]
struct Stream {
    codec: String,
    width: usize,
    height: usize,
    /// Frames a second.
    rate: f64,
    /// Seconds of a tick.
    tick: f64,
    /// Presentation time and duration of each packet, in ticks.
    packets: Vec<(i64, i64)>,
}

impl Stream {
    fn start(&self) -> f64 {
        self.time(0).unwrap_or_default()
    }

    fn time(&self, packet: usize) -> Option<f64> {
        self.packets.get(packet).map(|(at, _)| *at as f64 * self.tick)
    }

    fn breaks(&self) -> u64 {
        self.packets.windows(2).filter(|pair| pair[0].0 + pair[0].1 != pair[1].0).count() as u64
    }
}

async fn probe(file: &Path) -> Result<Stream, CheckError> {
    let entries = "stream=codec_name,width,height,r_frame_rate,time_base:packet=pts,duration";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", entries, "-of", "json"]).arg(file);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| tool("ffprobe", file, error))?;
    if !output.status.success() {
        return Err(tool("ffprobe", file, String::from_utf8_lossy(&output.stderr)));
    }
    parse_probe(&output.stdout).ok_or_else(|| tool("ffprobe", file, "no stream it can describe"))
}

fn parse_probe(json: &[u8]) -> Option<Stream> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let stream = json.get("streams")?.get(0)?;
    let fraction = |key: &str| {
        let (above, below) = stream.get(key)?.as_str()?.split_once('/')?;
        let below: f64 = below.parse().ok()?;
        above.parse::<f64>().ok().filter(|_| below != 0.0).map(|above| above / below)
    };
    let side =
        |key: &str| stream.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0) as usize;
    let packets = json.get("packets")?.as_array()?;
    let number = |packet: &serde_json::Value, key: &str| packet.get(key)?.as_i64();
    let mut timed = Vec::with_capacity(packets.len());
    for packet in packets.iter().rev() {
        // A packet that ffmpeg trims at its beginning is described without a duration.
        let after = timed.last().map_or(0, |(_, duration)| *duration);
        timed.push((number(packet, "pts")?, number(packet, "duration").unwrap_or(after)));
    }
    timed.reverse();
    Some(Stream {
        codec: stream.get("codec_name")?.as_str()?.to_owned(),
        width: side("width"),
        height: side("height"),
        rate: fraction("r_frame_rate").unwrap_or(0.0),
        tick: fraction("time_base")?,
        packets: timed,
    })
}
