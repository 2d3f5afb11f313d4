//! The encoders of all rungs and of the sound, under one interface.
//!
//! [`Encoders::Threads`] is the ladder, a thread a rung: what is live and what has to be fast.
//! [`Encoders::Inline`] is its plain twin, one after the other in the caller's thread: for tests, where
//! the order of things must not depend on the machine.

use super::WorkerError;
use crate::compose::mix::BLOCK;
use crate::ladder::encode::encoder_config;
use crate::ladder::{self, Ladder, LadderError};
use crate::link::wire::{OutputFormat, Rung, RungFigures};
use crate::package::cmaf::VideoConfig;
use crate::package::segmenter::Sample;
use hw::codec::{
    AacEncoder, AacFrame, CodecError, Encoded, Picture, Scaler, VideoEncoder, VideoHeader,
};
use std::time::Duration;

/// How long encoders may take to give out what they hold when a class ends.
const FINISH: Duration = Duration::from_secs(5);

/// How rungs are encoded.
pub enum Mode {
    /// In the caller's thread.
    Inline,
    /// A thread a rung; the function is called from them when something came out.
    Threads(Box<dyn Fn() + Send + Sync>),
}

/// What encoders gave out.
#[derive(Debug, Default)]
pub struct Given {
    /// Samples, each with its rendition's number; those of one rendition in order.
    pub samples: Vec<(usize, Sample)>,
    /// Rungs that died, and how. They are gone already.
    pub failed: Vec<(usize, String)>,
}

/// All encoders of a class. Rungs are numbered as in [`Encoders::rungs`], sound comes after them.
pub struct Encoders {
    rungs: Vec<Rung>,
    engine: Engine,
    aac: Aac,
    figures: Vec<RungFigures>,
}

enum Engine {
    Inline(Vec<OneRung>),
    /// `None` once it was finished.
    Threads(Option<Ladder>),
}

struct OneRung {
    encoder: Option<VideoEncoder>,
    header: VideoHeader,
    scaler: Option<Scaler>,
    size: (u32, u32),
    figures: RungFigures,
}

fn video_config(header: &VideoHeader) -> Result<VideoConfig, WorkerError> {
    match header {
        VideoHeader::H264 { sps, pps } => {
            Ok(VideoConfig::H264 { sps: sps.to_vec(), pps: pps.to_vec() })
        }
        VideoHeader::Av1 { sequence_header } => {
            Ok(VideoConfig::Av1 { sequence_header: sequence_header.to_vec() })
        }
        VideoHeader::Vp8 | VideoHeader::Vp9 => {
            let said = "VP8 and VP9 are no output codecs".into();
            Err(CodecError::Failed { codec: "ladder", said }.into())
        }
    }
}

fn no_rung_left(error: LadderError) -> WorkerError {
    WorkerError::NoRungLeft(error.to_string())
}

impl Encoders {
    /// Opens them, for pictures of the size `canvas`.
    ///
    /// # Errors
    /// The sound's encoder does not open, or no H.264 rung's does. Another rung that does not open is
    /// left out, unless `all` are needed.
    pub fn open(
        rungs: &[Rung],
        format: &OutputFormat,
        canvas: (u32, u32),
        mode: Mode,
        all: bool,
    ) -> Result<Self, WorkerError> {
        let aac = Aac::open(format.audio_bitrate.0)?;
        let (rungs, engine) = match mode {
            Mode::Inline => {
                let open = |rung: &Rung| -> Result<OneRung, CodecError> {
                    let encoder = VideoEncoder::open(&encoder_config(rung, format))?;
                    let (header, size) = (encoder.header().clone(), (rung.width, rung.height));
                    let figures = RungFigures::default();
                    Ok(OneRung { encoder: Some(encoder), header, scaler: None, size, figures })
                };
                let open: Vec<_> = rungs.iter().map(open).collect::<Result<_, _>>()?;
                (rungs.to_vec(), Engine::Inline(open))
            }
            Mode::Threads(notify) => {
                let ladder = Ladder::start(rungs, format, canvas, notify).map_err(no_rung_left)?;
                if let Some(error) = ladder.left_out().first().filter(|_| all) {
                    return Err(no_rung_left(error.clone()));
                }
                for error in ladder.left_out() {
                    tracing::error!(%error, "rung left out");
                }
                (ladder.rungs().cloned().collect(), Engine::Threads(Some(ladder)))
            }
        };
        let figures = vec![RungFigures::default(); rungs.len()];
        Ok(Self { rungs, engine, aac, figures })
    }

    /// The rungs that opened.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Each rung's decoder configuration.
    ///
    /// # Errors
    /// A codec that has no place in the output.
    pub fn configs(&self) -> Result<Vec<VideoConfig>, WorkerError> {
        match &self.engine {
            Engine::Inline(rungs) => rungs.iter().map(|rung| video_config(&rung.header)).collect(),
            Engine::Threads(ladder) => {
                ladder.iter().flat_map(Ladder::headers).map(video_config).collect()
            }
        }
    }

    /// The sound's AudioSpecificConfig.
    pub fn asc(&self) -> Vec<u8> {
        self.aac.encoder.asc().to_vec()
    }

    /// Encodes a frame in every rung that is in use. With threads, waits while the slowest one's queue
    /// is full; that is what holds composition back when the box is too slow.
    ///
    /// # Errors
    /// No rung is left.
    pub fn frame(
        &mut self,
        number: u64,
        picture: Picture,
        key: bool,
        given: &mut Given,
    ) -> Result<(), WorkerError> {
        match &mut self.engine {
            Engine::Inline(rungs) => {
                for (index, rung) in rungs.iter_mut().enumerate() {
                    if let Err(error) = rung.frame(index, number, &picture, key, given) {
                        rung.encoder = None;
                        given.failed.push((index, error.to_string()));
                    }
                }
                Ok(())
            }
            Engine::Threads(ladder) => {
                let mut out = Vec::new();
                let pushed = match ladder {
                    Some(ladder) => ladder.push(number, picture, key, &mut out),
                    None => Ok(()),
                };
                given.take(out);
                pushed.map_err(no_rung_left)
            }
        }
    }

    /// Takes what came out meanwhile; does not wait.
    ///
    /// # Errors
    /// No rung is left.
    pub fn poll(&mut self, given: &mut Given) -> Result<(), WorkerError> {
        let Engine::Threads(Some(ladder)) = &mut self.engine else { return Ok(()) };
        let mut out = Vec::new();
        let polled = ladder.poll(&mut out);
        given.take(out);
        polled.map_err(no_rung_left)
    }

    /// Encodes sound block `number`.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn sound(
        &mut self,
        number: u64,
        samples: &[f32],
        given: &mut Given,
    ) -> Result<(), WorkerError> {
        let rendition = self.rungs.len();
        self.aac.encode(number, samples, &mut |sample| given.samples.push((rendition, sample)))?;
        Ok(())
    }

    /// Gives a rung up.
    pub fn drop_rung(&mut self, rung: usize) {
        match &mut self.engine {
            Engine::Inline(rungs) => {
                if let Some(rung) = rungs.get_mut(rung) {
                    rung.encoder = None;
                }
            }
            Engine::Threads(ladder) => {
                if let Some(ladder) = ladder {
                    ladder.drop_rung(rung);
                }
            }
        }
    }

    /// Ends all streams and takes out what is still inside. Nothing can be encoded afterwards.
    ///
    /// # Errors
    /// What an encoder says.
    pub fn finish(&mut self, given: &mut Given) -> Result<(), WorkerError> {
        self.figures = self.figures();
        match &mut self.engine {
            Engine::Inline(rungs) => {
                for (index, rung) in rungs.iter_mut().enumerate() {
                    let mut encoded = Vec::new();
                    if let Some(encoder) = &mut rung.encoder {
                        encoder.flush(&mut encoded)?;
                    }
                    rung.take(index, encoded, given);
                }
            }
            Engine::Threads(ladder) => {
                if let Some(ladder) = ladder.take() {
                    let mut out = Vec::new();
                    let finished = ladder.finish(FINISH, &mut out);
                    given.take(out);
                    if !finished.map_err(no_rung_left)? {
                        tracing::warn!("an encoder did not finish in time");
                    }
                }
            }
        }
        let rendition = self.rungs.len();
        self.aac.finish(&mut |sample| given.samples.push((rendition, sample)))?;
        Ok(())
    }

    /// The figures so far, one a rung.
    pub fn figures(&self) -> Vec<RungFigures> {
        match &self.engine {
            Engine::Inline(rungs) => rungs.iter().map(|rung| rung.figures).collect(),
            Engine::Threads(Some(ladder)) => ladder.figures(),
            Engine::Threads(None) => self.figures.clone(),
        }
    }
}

impl Given {
    fn take(&mut self, out: Vec<ladder::Output>) {
        for output in out {
            match output {
                ladder::Output::Encoded(ladder::Encoded { rung, frame, key, data }) => {
                    self.samples.push((rung, Sample { index: frame, key, data }));
                }
                ladder::Output::Failed(error) => {
                    self.failed.extend(error.rung().map(|rung| (rung, error.to_string())));
                }
            }
        }
    }
}

impl OneRung {
    fn frame(
        &mut self,
        index: usize,
        number: u64,
        picture: &Picture,
        key: bool,
        given: &mut Given,
    ) -> Result<(), CodecError> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let began = hw::clock::monotonic_us();
        let sizes = (picture.size(), self.size);
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.sizes() == sizes => scaler,
            other => other.insert(Scaler::new(sizes.0, sizes.1)?),
        };
        let mut encoded = Vec::new();
        encoder.encode(&scaler.scale(picture)?, number as i64, key, &mut encoded)?;
        self.take(index, encoded, given);
        self.figures.encode_us += (hw::clock::monotonic_us() - began).unsigned_abs();
        Ok(())
    }

    fn take(&mut self, index: usize, encoded: Vec<Encoded>, given: &mut Given) {
        for Encoded { frame, key, data } in encoded {
            self.figures.encoded += 1;
            self.figures.bytes += data.len() as u64;
            given.samples.push((index, Sample { index: frame.unsigned_abs(), key, data }));
        }
    }
}

/// The sound's encoder on the block grid: its frames carry the number of the block they hold.
pub struct Aac {
    encoder: AacEncoder,
    /// Number of the first block given.
    first: Option<u64>,
}

impl Aac {
    /// Opens it at `bitrate` bits a second.
    ///
    /// # Errors
    /// [`CodecError::Open`].
    pub fn open(bitrate: u64) -> Result<Self, CodecError> {
        Ok(Self { encoder: AacEncoder::new(bitrate)?, first: None })
    }

    /// The AudioSpecificConfig.
    pub fn asc(&self) -> &[u8] {
        self.encoder.asc()
    }

    /// Encodes block `number`; the blocks after the first must follow one another.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn encode(
        &mut self,
        number: u64,
        samples: &[f32],
        out: &mut impl FnMut(Sample),
    ) -> Result<(), CodecError> {
        self.first.get_or_insert(number);
        let mut frames = Vec::new();
        self.encoder.encode(samples, &mut frames)?;
        self.number(frames, out);
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn finish(&mut self, out: &mut impl FnMut(Sample)) -> Result<(), CodecError> {
        let mut frames = Vec::new();
        self.encoder.flush(&mut frames)?;
        self.number(frames, out);
        Ok(())
    }

    fn number(&self, frames: Vec<AacFrame>, out: &mut impl FnMut(Sample)) {
        let Some(first) = self.first else { return };
        for frame in frames {
            // What comes before sample 0 is the encoder's padding and no block of ours.
            let Ok(start) = u64::try_from(frame.first_sample) else { continue };
            out(Sample { index: first + start / BLOCK as u64, key: true, data: frame.data });
        }
    }
}
