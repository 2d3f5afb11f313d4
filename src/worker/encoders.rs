//! The encoders of all rungs and of the sound, one after the other in the caller's thread.
//!
//! The plain twin of the ladder's threads: for tests, where the order of things must not depend on
//! the machine.

use super::WorkerError;
use crate::compose::mix::BLOCK;
use crate::link::wire::{OutputFormat, Rung, RungFigures, VideoCodec};
use crate::package::cmaf::VideoConfig;
use crate::package::segmenter::Sample;
use hw::codec::{
    AacEncoder, AacFrame, CodecError, Encoded, Framing, Picture, Scaler, VideoEncoder,
    VideoEncoderConfig, VideoHeader, VideoOut,
};

/// What came out of an encoder: a sample of rendition `.0`.
pub type Encoding = (usize, Sample);

struct OneRung {
    encoder: Option<VideoEncoder>,
    config: VideoConfig,
    scaler: Option<Scaler>,
    size: (u32, u32),
    figures: RungFigures,
}

/// See the module.
pub struct Encoders {
    rungs: Vec<OneRung>,
    aac: Aac,
}

/// The configuration a rung is encoded with.
pub fn encoder_config(rung: &Rung, format: &OutputFormat) -> VideoEncoderConfig {
    VideoEncoderConfig {
        codec: match rung.codec {
            VideoCodec::H264 => VideoOut::H264,
            VideoCodec::Av1 => VideoOut::Av1,
        },
        width: rung.width,
        height: rung.height,
        fps: format.fps,
        bitrate: rung.bitrate.0,
        preset: rung.preset.clone(),
        gop_frames: format.gop_frames,
        threads: rung.threads,
        screen: true,
        framing: Framing::Sample,
    }
}

/// What packaging must know of an encoder's header.
///
/// # Errors
/// A header of a codec that has no place in the output.
pub fn video_config(header: &VideoHeader) -> Result<VideoConfig, WorkerError> {
    match header {
        VideoHeader::H264 { sps, pps } => {
            Ok(VideoConfig::H264 { sps: sps.to_vec(), pps: pps.to_vec() })
        }
        VideoHeader::Av1 { sequence_header } => {
            Ok(VideoConfig::Av1 { sequence_header: sequence_header.to_vec() })
        }
        VideoHeader::Vp8 | VideoHeader::Vp9 => Err(CodecError::Failed {
            codec: "ladder",
            said: "VP8 and VP9 are no output codecs".into(),
        }
        .into()),
    }
}

impl Encoders {
    /// Opens all of them.
    ///
    /// # Errors
    /// The first one that does not open.
    pub fn open(rungs: &[Rung], format: &OutputFormat) -> Result<Self, WorkerError> {
        let open = |rung: &Rung| -> Result<OneRung, WorkerError> {
            let encoder = VideoEncoder::open(&encoder_config(rung, format))?;
            let config = video_config(encoder.header())?;
            let size = (rung.width, rung.height);
            let figures = RungFigures::default();
            Ok(OneRung { encoder: Some(encoder), config, scaler: None, size, figures })
        };
        let rungs = rungs.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { rungs, aac: Aac::open(format.audio_bitrate.0)? })
    }

    /// Each rung's decoder configuration, in order.
    pub fn configs(&self) -> Vec<VideoConfig> {
        self.rungs.iter().map(|rung| rung.config.clone()).collect()
    }

    /// The sound's AudioSpecificConfig.
    pub fn asc(&self) -> Vec<u8> {
        self.aac.encoder.asc().to_vec()
    }

    /// Encodes a frame in every rung that is in use.
    ///
    /// # Errors
    /// What an encoder says, with the rung.
    pub fn frame(
        &mut self,
        number: u64,
        picture: &Picture,
        key: bool,
        out: &mut Vec<Encoding>,
    ) -> Result<(), (usize, CodecError)> {
        for (index, rung) in self.rungs.iter_mut().enumerate() {
            rung.frame(index, number, picture, key, out).map_err(|error| (index, error))?;
        }
        Ok(())
    }

    /// Encodes sound block `number`.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn sound(
        &mut self,
        number: u64,
        samples: &[f32],
        out: &mut Vec<Encoding>,
    ) -> Result<(), CodecError> {
        let rendition = self.rungs.len();
        self.aac.encode(number, samples, &mut |sample| out.push((rendition, sample)))
    }

    /// Gives a rung up.
    pub fn drop_rung(&mut self, rung: usize) {
        if let Some(rung) = self.rungs.get_mut(rung) {
            rung.encoder = None;
        }
    }

    /// Ends all streams and takes out what is still inside.
    ///
    /// # Errors
    /// What an encoder says.
    pub fn finish(&mut self, out: &mut Vec<Encoding>) -> Result<(), CodecError> {
        for (index, rung) in self.rungs.iter_mut().enumerate() {
            let mut encoded = Vec::new();
            if let Some(encoder) = &mut rung.encoder {
                encoder.flush(&mut encoded)?;
            }
            rung.take(index, encoded, out);
        }
        let rendition = self.rungs.len();
        self.aac.finish(&mut |sample| out.push((rendition, sample)))
    }

    /// A second's figures, one a rung.
    pub fn figures(&self) -> Vec<RungFigures> {
        self.rungs.iter().map(|rung| rung.figures).collect()
    }
}

impl OneRung {
    fn frame(
        &mut self,
        index: usize,
        number: u64,
        picture: &Picture,
        key: bool,
        out: &mut Vec<Encoding>,
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
        self.take(index, encoded, out);
        self.figures.encode_us += (hw::clock::monotonic_us() - began).unsigned_abs();
        Ok(())
    }

    fn take(&mut self, index: usize, encoded: Vec<Encoded>, out: &mut Vec<Encoding>) {
        for Encoded { frame, key, data } in encoded {
            self.figures.encoded += 1;
            self.figures.bytes += data.len() as u64;
            out.push((index, Sample { index: frame.unsigned_abs(), key, data }));
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
