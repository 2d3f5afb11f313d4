//! `proscenium teacher`: the synthetic teacher by itself, for tests and measurements: publishes its
//! class to any WHIP endpoint, records it without a network, measures an HLS output that carries it.

use crate::observe;
use crate::teacher::check::{self, Limits, Report};
use crate::teacher::class::Class;
use crate::teacher::lecture::Look;
use crate::teacher::netem::Conditions;
use crate::teacher::publish::{Publish, Publisher};
use crate::teacher::record;
use crate::units::{Rate, Span};
use crate::worker::recording::Recorder;
use anyhow::{Context, Result};
use hw::codec::VideoOut;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What to do with the class.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Publish the class by WHIP, in real time.
    Publish(PublishArgs),
    /// Write the class as a recording for `proscenium transcode --replay`.
    Record(RecordArgs),
    /// Write the class as H.264 and Ogg Opus, as other programs' input.
    Streams(StreamsArgs),
    /// Measure an HLS output that carries the class: frames, timestamps, sound against picture.
    Check(CheckArgs),
}

/// The class.
#[derive(Clone, Debug, clap::Args)]
pub struct ClassArgs {
    /// Video codec: h264, vp8, vp9 or av1.
    #[arg(long, default_value = "h264", value_parser = parse_codec)]
    codec: VideoOut,
    /// Picture size.
    #[arg(long, default_value = "1280x720", value_parser = parse_size)]
    size: (u32, u32),
    /// Frames a second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Video bit rate.
    #[arg(long, default_value = "2500kb/s", value_parser = Rate::parse)]
    bitrate: Rate,
    /// Start the picture this long after the class begins.
    #[arg(long, default_value = "0 ms", value_parser = Span::parse)]
    video_starts: Span,
    /// Start the sound this long after the class begins.
    #[arg(long, default_value = "0 ms", value_parser = Span::parse)]
    audio_starts: Span,
    /// Which class: another seed is another one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl ClassArgs {
    /// The class they describe.
    pub fn class(&self) -> Class {
        let (width, height) = self.size;
        Class {
            look: Look { width, height, fps: self.fps, seed: self.seed },
            codec: self.codec,
            video_bitrate: self.bitrate.0.0,
            video_starts_ms: self.video_starts.0.as_millis() as u32,
            audio_starts_ms: self.audio_starts.0.as_millis() as u32,
            ..Class::default()
        }
    }
}

/// `proscenium teacher publish`
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// The WHIP endpoint, `http://HOST:PORT/whip/ROOM`.
    endpoint: String,
    /// Bearer token; `proscenium token` signs one.
    #[arg(long, env = "PROSCENIUM_TEACHER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// End by itself after this many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    #[command(flatten)]
    class: ClassArgs,
    /// Lose this share of the packets on their way up, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = parse_share)]
    loss: f64,
    /// Delay every packet on its way up by this.
    #[arg(long, default_value = "0 ms", value_parser = Span::parse)]
    delay: Span,
    /// Delay each packet on its way up by up to this besides, at random; they may overtake each other.
    #[arg(long, default_value = "0 ms", value_parser = Span::parse)]
    jitter: Span,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// `proscenium teacher record`
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// The recording to write.
    file: PathBuf,
    /// Its length in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    #[command(flatten)]
    class: ClassArgs,
}

/// `proscenium teacher streams`
#[derive(Debug, clap::Args)]
pub struct StreamsArgs {
    /// The H.264 file to write.
    video: PathBuf,
    /// The Ogg Opus file to write.
    audio: PathBuf,
    /// Their length in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    #[command(flatten)]
    class: ClassArgs,
}

/// `proscenium teacher check`
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The multivariant playlist, `http://HOST:PORT/hls/ROOM/index.m3u8`.
    index: String,
    /// How much of the output to look at.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Keep the collected renditions in this folder, which must exist.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Largest distance of sound from picture, in milliseconds.
    #[arg(long, default_value_t = 20.0)]
    offset: f64,
    /// Largest share of frames that may repeat another or be missing: a busy machine's camera skips.
    #[arg(long, default_value_t = 0.01, value_parser = parse_share)]
    uneven: f64,
    /// Frames a second of the class that is measured.
    #[arg(long, default_value_t = 30)]
    fps: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The codec of this name.
fn parse_codec(text: &str) -> Result<VideoOut, String> {
    Ok(match text {
        "h264" => VideoOut::H264,
        "vp8" => VideoOut::Vp8,
        "vp9" => VideoOut::Vp9,
        "av1" => VideoOut::Av1,
        other => return Err(format!("'{other}' is no codec: use h264, vp8, vp9 or av1")),
    })
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match sides {
        Some((width @ 80..=4096, height @ 90..=4096)) => Ok((width, height)),
        Some(_) => Err(format!("'{text}': use 80x90 to 4096x4096")),
        None => Err(format!("'{text}' is no size: write 1280x720")),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("'{text}' is no share: use 0 to 1")),
    }
}

/// Runs the command.
///
/// # Errors
/// What stopped it, with its causes.
pub fn run(command: Command) -> Result<ExitCode> {
    observe::start_logs(&observe::Config { level: "warn".into(), ..Default::default() });
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match command {
        Command::Publish(args) => runtime()?.block_on(publish(args)),
        Command::Check(args) => runtime()?.block_on(check(args)),
        Command::Record(args) => {
            let open = || File::create(&args.file).map(BufWriter::new);
            let file = open().with_context(|| format!("cannot write {}", args.file.display()))?;
            let mut recorder = Recorder::new(file)?;
            let recorded = record::record(&args.class.class(), args.seconds, |r| recorder.push(r))?;
            recorder.finish()?;
            println!(
                "{} frames, {} sound packets in {}",
                recorded.frames,
                recorded.sounds,
                args.file.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Streams(args) => {
            let open = |path: &PathBuf| {
                File::create(path).with_context(|| format!("cannot write {}", path.display()))
            };
            let (video, audio) =
                (BufWriter::new(open(&args.video)?), BufWriter::new(open(&args.audio)?));
            let recorded = record::streams(&args.class.class(), args.seconds, video, audio)?;
            println!("{} frames, {} sound packets", recorded.frames, recorded.sounds);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn publish(args: PublishArgs) -> Result<ExitCode> {
    let up = Conditions {
        loss: args.loss,
        delay: args.delay.0,
        jitter: args.jitter.0,
        reorders: true,
        seed: args.class.seed,
        ..Conditions::default()
    };
    let down = Conditions { delay: up.delay, ..Conditions::default() };
    let bad = up.loss > 0.0 || up.delay + up.jitter > Duration::ZERO;
    let publisher = Box::pin(Publisher::start(Publish {
        endpoint: args.endpoint.clone(),
        token: args.token,
        class: args.class.class(),
        network: bad.then_some((up, down)),
    }))
    .await?;
    if !args.json {
        println!("live at {}", args.endpoint);
    }
    let over = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let lost = tokio::select! {
        () = over => false,
        stopped = super::serve::stop_asked() => { stopped?; false }
        () = publisher.gone() => true,
    };
    let figures = publisher.figures();
    let stopped = publisher.stop().await;
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        println!("{figures:?}");
    }
    anyhow::ensure!(!lost, "the server ended the connection");
    stopped.context("the class was given, but the session did not end as it should")?;
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> Result<ExitCode> {
    let folder;
    let keep = match &args.keep {
        Some(keep) => keep.as_path(),
        None => {
            folder = Scratch::new()?;
            folder.0.as_path()
        }
    };
    let limits = Limits { offset_ms: args.offset, uneven: args.uneven, fps: args.fps };
    let report = check::check(&args.index, f64::from(args.seconds), keep, limits).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_report(&report);
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_report(report: &Report) {
    println!("{:.1} s of output", report.seconds);
    for v in &report.video {
        let worst = v.offsets.as_ref().and_then(|o| o.worst());
        let worst = worst.map_or("-".into(), |ms| format!("{ms:.1} ms"));
        println!(
            "{:<12} {:<5} {}x{}: {} of {} frames, {} repeated, {} missing, sound within {worst}",
            v.name, v.codec, v.width, v.height, v.decoded, v.expected, v.repeated, v.missing
        );
    }
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("proscenium-check-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is in the temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
