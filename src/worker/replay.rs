//! A recorded class through the transcoder as fast as it goes, into files.
//!
//! The clock is the records' own arrival time, so the output is what a live class would have been, and
//! the time it takes is the cost. In the folder: one subfolder a rendition with `init.mp4`, `N.m4s` and
//! `index.m3u8`; and `index.m3u8` above them.

use super::WorkerError;
use super::core::{Core, Event};
use super::encoders::Mode;
use super::recording::Player;
use crate::link::wire::{Presentation, Start};
use crate::time::HostTime;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

/// What a replay made, and what it cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Length of the output, seconds.
    pub media_s: f64,
    /// Wall-clock time, seconds.
    pub wall_s: f64,
    /// CPU time of the process over the replay, seconds; encoders' start included.
    pub cpu_s: f64,
    /// CPU seconds a second of output.
    pub cpu_per_media_s: f64,
    /// Video frames of the output.
    pub frames: u64,
    /// Parts made.
    pub parts: u64,
    /// Pictures decoded.
    pub decoded: u64,
    /// Access units refused by a decoder.
    pub refused: u64,
    /// Packets lost for good.
    pub lost: u64,
    /// Frames that repeat the one before.
    pub repeated: u64,
    /// Samples of silence because there was no sound.
    pub silent: u64,
    /// Key frames asked for.
    pub keyframes_wanted: u64,
    /// One a rendition.
    pub renditions: Vec<RenditionReport>,
}

/// What was made of one rendition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RenditionReport {
    /// As in the folder.
    pub name: String,
    /// RFC 6381.
    pub codecs: String,
    /// Bytes of media.
    pub bytes: u64,
    /// Bits a second.
    pub bitrate: f64,
    /// Segments.
    pub segments: u64,
}

/// Renditions as files.
struct Folder {
    path: PathBuf,
    presentation: Option<Presentation>,
    renditions: Vec<OpenRendition>,
    parts: u64,
    frames: u64,
}

#[derive(Default)]
struct OpenRendition {
    /// (duration in seconds) of every finished or open segment.
    segments: Vec<f64>,
    file: Option<File>,
    bytes: u64,
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> WorkerError {
    let path = path.to_owned();
    move |error| WorkerError::File { path, error }
}

impl Folder {
    fn take(&mut self, event: Event) -> Result<bool, WorkerError> {
        match event {
            Event::Begin(presentation) => {
                for rendition in &presentation.renditions {
                    let folder = self.path.join(&rendition.name);
                    fs::create_dir_all(&folder).map_err(file_error(&folder))?;
                    let init = folder.join("init.mp4");
                    fs::write(&init, &rendition.init).map_err(file_error(&init))?;
                    self.renditions.push(OpenRendition::default());
                }
                self.presentation = Some(*presentation);
            }
            Event::Part(built) => {
                let Some(presentation) = &self.presentation else { return Ok(false) };
                let bytes = built.slices.concat();
                self.parts += 1;
                self.frames = built.part.resume.next_frame;
                for fragment in &built.part.fragments {
                    let index = usize::from(fragment.rendition);
                    let (Some(open), Some(rendition)) =
                        (self.renditions.get_mut(index), presentation.renditions.get(index))
                    else {
                        continue;
                    };
                    let path =
                        self.path.join(&rendition.name).join(format!("{}.m4s", built.part.msn));
                    if built.part.part == 0 || open.file.is_none() {
                        open.segments.push(0.0);
                        open.file = Some(File::create(&path).map_err(file_error(&path))?);
                    }
                    let range =
                        fragment.offset as usize..fragment.offset as usize + fragment.len as usize;
                    let data = bytes.get(range).unwrap_or_default();
                    if let Some(file) = &mut open.file {
                        file.write_all(data).map_err(file_error(&path))?;
                    }
                    open.bytes += data.len() as u64;
                    if let Some(last) = open.segments.last_mut() {
                        *last += fragment.duration.as_secs_f64();
                    }
                }
            }
            Event::KeyframeWanted(_) => return Ok(true),
            Event::RungDropped { rendition, reason } => {
                tracing::warn!(rendition, reason, "rung dropped");
            }
        }
        Ok(false)
    }

    /// VOD playlists (RFC 8216), so that any player opens the folder.
    fn playlists(&self) -> Result<(), WorkerError> {
        let Some(presentation) = &self.presentation else { return Ok(()) };
        let mut master = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        let sound = presentation.renditions.iter().find(|rendition| rendition.size.is_none());
        if let Some(sound) = sound {
            let name = &sound.name;
            let _ = writeln!(
                master,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"sound\",NAME=\"{name}\",DEFAULT=YES,AUTOSELECT=YES,URI=\"{name}/index.m3u8\""
            );
        }
        for (rendition, open) in presentation.renditions.iter().zip(&self.renditions) {
            let longest = open.segments.iter().copied().fold(1.0, f64::max);
            let mut text = format!(
                "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init.mp4\"\n",
                longest.round() as u64
            );
            for (number, duration) in open.segments.iter().enumerate() {
                let _ = writeln!(text, "#EXTINF:{duration:.5},\n{number}.m4s");
            }
            text.push_str("#EXT-X-ENDLIST\n");
            let path = self.path.join(&rendition.name).join("index.m3u8");
            fs::write(&path, text).map_err(file_error(&path))?;
            if let Some((width, height)) = rendition.size {
                let sound_codecs = sound.map_or("", |sound| sound.codecs.as_str());
                let bandwidth = rendition.bitrate.0 + sound.map_or(0, |sound| sound.bitrate.0);
                let _ = writeln!(
                    master,
                    "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},CODECS=\"{},{sound_codecs}\",RESOLUTION={width}x{height},AUDIO=\"sound\"\n{}/index.m3u8",
                    rendition.codecs, rendition.name
                );
            }
        }
        let path = self.path.join("index.m3u8");
        fs::write(&path, master).map_err(file_error(&path))
    }
}

/// Transcodes the recording `from` into the folder `to`, which is made.
///
/// # Errors
/// [`WorkerError`].
pub fn run(start: Start, from: &Path, to: &Path) -> Result<Report, WorkerError> {
    let (began, cpu) = (hw::clock::monotonic_us(), hw::clock::process_cpu_us());
    let bad = |error| WorkerError::Recording { path: from.to_owned(), error };
    let file = File::open(from).map_err(file_error(from))?;
    let mut player = Player::new(BufReader::new(file)).map_err(bad)?;
    let fps = start.format.fps;
    let delay = i64::from(start.format.playout_delay_us);
    let mut core = Core::new(start, Mode::Threads(Box::new(|| {})))?;
    let mut folder = Folder {
        path: to.to_owned(),
        presentation: None,
        renditions: Vec::new(),
        parts: 0,
        frames: 0,
    };
    fs::create_dir_all(to).map_err(file_error(to))?;
    let mut report = Report::default();
    let mut events = Vec::new();
    let mut last = HostTime(i64::MIN);
    let mut advance =
        |core: &mut Core, folder: &mut Folder, to: HostTime| -> Result<u64, WorkerError> {
            let mut wanted = 0;
            loop {
                let done = core.advance(to, &mut events)?;
                for event in events.drain(..) {
                    wanted += u64::from(folder.take(event)?);
                }
                if done {
                    return Ok(wanted);
                }
            }
        };
    while let Some(record) = player.next().map_err(bad)? {
        report.records += 1;
        last = last.max(record.arrived());
        report.keyframes_wanted += advance(&mut core, &mut folder, last)?;
        core.push(&record);
    }
    if report.records > 0 {
        report.keyframes_wanted += advance(&mut core, &mut folder, last.plus_micros(delay))?;
    }
    core.finish(&mut events)?;
    for event in events.drain(..) {
        folder.take(event)?;
    }
    folder.playlists()?;

    let figures = core.figures();
    report.frames = folder.frames;
    report.parts = folder.parts;
    report.media_s = folder.frames as f64 / f64::from(fps);
    report.wall_s = (hw::clock::monotonic_us() - began) as f64 / 1e6;
    report.cpu_s = hw::clock::process_cpu_us().saturating_sub(cpu) as f64 / 1e6;
    let length = report.media_s.max(1e-9);
    report.cpu_per_media_s = report.cpu_s / length;
    report.decoded = figures.frames_decoded;
    report.refused = figures.decode_errors;
    report.lost = figures.packets_lost;
    report.repeated = figures.frames_repeated;
    report.silent = figures.samples_silent;
    let presentation = folder.presentation.iter().flat_map(|presentation| &presentation.renditions);
    report.renditions = presentation
        .zip(&folder.renditions)
        .map(|(rendition, open)| RenditionReport {
            name: rendition.name.clone(),
            codecs: rendition.codecs.clone(),
            bytes: open.bytes,
            bitrate: open.bytes as f64 * 8.0 / length,
            segments: open.segments.len() as u64,
        })
        .collect();
    Ok(report)
}
