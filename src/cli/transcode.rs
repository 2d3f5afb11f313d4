//! `proscenium transcode`: the transcoder of one room. The daemon starts it as a child process;
//! with `--replay` it transcodes a recorded class into files, as fast as it goes.

use crate::link::wire::{OutputFormat, Rung, Stage, Start, VideoCodec};
use crate::time::{Bitrate, RoomName};
use crate::units::Rate;
use crate::worker::replay::Report;
use crate::{observe, worker};
use anyhow::Context;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `proscenium transcode`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Transcode this recording instead of a room.
    #[arg(long, value_name = "FILE", requires = "out")]
    replay: Option<PathBuf>,
    /// Folder for the renditions of a replay; made if it is not there.
    #[arg(long, value_name = "DIR", requires = "replay")]
    out: Option<PathBuf>,
    /// A rung of a replay's ladder: CODEC:WIDTHxHEIGHT:BITRATE:PRESET[:THREADS], for example
    /// `h264:1280x720:2500kb/s:superfast` or `av1:640x360:400kb/s:12:2`. May be given several times.
    #[arg(long = "rung", value_name = "RUNG", value_parser = parse_rung, requires = "replay")]
    rungs: Vec<Rung>,
    /// Frames a second of a replay's output.
    #[arg(long, default_value_t = 30, requires = "replay")]
    fps: u32,
    /// Print the figures as JSON.
    #[arg(long, requires = "replay")]
    json: bool,
}

fn parse_rung(text: &str) -> Result<Rung, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let (codec, size, bitrate, preset, threads) = match fields.as_slice() {
        [codec, size, bitrate, preset] => (*codec, *size, *bitrate, *preset, "1"),
        [codec, size, bitrate, preset, threads] => (*codec, *size, *bitrate, *preset, *threads),
        _ => return Err("a rung is CODEC:WIDTHxHEIGHT:BITRATE:PRESET[:THREADS]".into()),
    };
    let codec_id = match codec {
        "h264" => VideoCodec::H264,
        "av1" => VideoCodec::Av1,
        other => return Err(format!("'{other}' is no output codec: use h264 or av1")),
    };
    let side = |text: &str| match text.parse::<u32>() {
        Ok(side) if (16..=8192).contains(&side) && side % 2 == 0 => Ok(side),
        _ => Err(format!("'{text}' is no side of a picture: use an even number from 16 to 8192")),
    };
    let (width, height) =
        size.split_once('x').ok_or(format!("'{size}' is no size: write 1280x720"))?;
    let Rate(bitrate) = Rate::parse(bitrate).map_err(|error| error.to_string())?;
    Ok(Rung {
        name: format!("{codec}-{height}"),
        codec: codec_id,
        width: side(width)?,
        height: side(height)?,
        bitrate,
        preset: preset.to_owned(),
        threads: threads.parse().map_err(|_| format!("'{threads}' is no number of threads"))?,
    })
}

fn default_rungs() -> Vec<Rung> {
    let rung = |width, height, kbps: u64| Rung {
        name: format!("h264-{height}"),
        codec: VideoCodec::H264,
        width,
        height,
        bitrate: Bitrate(kbps * 1000),
        preset: "superfast".into(),
        threads: 1,
    };
    vec![rung(1280, 720, 2_500), rung(854, 480, 1_200), rung(640, 360, 600)]
}

/// Runs it.
///
/// # Errors
/// What stopped it, with its causes.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The daemon's own filter does not reach this process; what the environment says does.
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    observe::start_logs(&observe::Config { level, ..Default::default() });
    let (Some(from), Some(to)) = (args.replay, args.out) else {
        worker::live::run().context("the transcoder cannot go on")?;
        return Ok(ExitCode::SUCCESS);
    };
    let format = OutputFormat {
        fps: args.fps,
        part_frames: (args.fps / 3).max(1),
        segment_frames: args.fps * 4,
        gop_frames: args.fps * 2,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    };
    let rungs = if args.rungs.is_empty() { default_rungs() } else { args.rungs };
    let start = Start {
        room: RoomName::parse("replay")?,
        format,
        rungs,
        resume: None,
        failures: 0,
        dropped: vec![],
        stage: Stage::default(),
    };
    let report = worker::replay::run(start, &from, &to)?;
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { words(&report) };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn words(report: &Report) -> String {
    let mut text = format!(
        "{:.3} s of media in {:.3} s, {:.3} CPU-s ({:.3} a second of media)\n\
         {} frames ({} repeated), {} pictures decoded, {} refused, {} packets lost, {} samples silent\n",
        report.media_s,
        report.wall_s,
        report.cpu_s,
        report.cpu_per_media_s,
        report.frames,
        report.repeated,
        report.decoded,
        report.refused,
        report.lost,
        report.silent
    );
    for rendition in &report.renditions {
        text += &format!(
            "{:>10}  {:<20} {:>7.0} kb/s  {} segments\n",
            rendition.name,
            rendition.codecs,
            rendition.bitrate / 1000.0,
            rendition.segments
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rungs_are_read_and_mistakes_explained() {
        let rung = parse_rung("av1:640x360:400kb/s:12:2").unwrap();
        assert_eq!((rung.name.as_str(), rung.codec), ("av1-360", VideoCodec::Av1));
        assert_eq!((rung.width, rung.height, rung.bitrate), (640, 360, Bitrate(400_000)));
        assert_eq!((rung.preset.as_str(), rung.threads), ("12", 2));
        for (text, word) in [
            ("h264:1280x720", "CODEC:WIDTHxHEIGHT"),
            ("vp8:1280x720:1Mb/s:6", "h264 or av1"),
            ("h264:1280:1Mb/s:superfast", "1280x720"),
            ("h264:1281x720:1Mb/s:superfast", "even"),
            ("h264:1280x720:1Mb/s:superfast:x", "threads"),
        ] {
            let error = parse_rung(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
