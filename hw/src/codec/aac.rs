//! AAC-LC, 48 kHz, stereo, by FFmpeg's own encoder and decoder.

use super::error::CodecError;
use super::ff::{self, Context, Frame, Given, Packet};
use super::options::{find_encoder, open_encoder};
use bytes::Bytes;
use ffmpeg_next::ffi;

/// Samples a channel in an AAC frame.
const FRAME: usize = 1024;
const RATE: i32 = 48_000;

/// One encoded AAC frame of 1024 samples a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacFrame {
    /// Number of its first sample, counted from the first one given; the encoder's
    /// [padding](AacEncoder::initial_padding) comes before 0.
    pub first_sample: i64,
    /// raw_data_block, as an mp4 sample holds it.
    pub data: Bytes,
}

/// An AAC-LC encoder, 48 kHz, stereo.
pub struct AacEncoder {
    context: Context,
    frame: Frame,
    packet: Packet,
    given: i64,
}

impl AacEncoder {
    /// Opens it at `bitrate` bits a second.
    ///
    /// # Errors
    /// [`CodecError::Open`].
    pub fn new(bitrate: u64) -> Result<Self, CodecError> {
        let name = "aac";
        let mut context = find_encoder(c"aac", name, "its own AAC encoder")?;
        let fields = context.fields_mut();
        fields.sample_rate = RATE;
        fields.sample_fmt = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        fields.bit_rate = bitrate.clamp(8_000, 512_000) as i64;
        fields.time_base = ffi::AVRational { num: 1, den: RATE };
        fields.profile = ffi::AV_PROFILE_AAC_LOW;
        fields.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        stereo(&mut fields.ch_layout);
        open_encoder(&mut context, name, &format!("b={bitrate}"), "Use 32 to 320 kb/s")?;
        if context.extradata().is_empty() || context.fields().frame_size != FRAME as i32 {
            return Err(CodecError::Failed {
                codec: name,
                said: "no AudioSpecificConfig, or frames that are not 1024 samples".into(),
            });
        }
        let mut frame = Frame::new()?;
        let fields = frame.fields_mut();
        fields.nb_samples = FRAME as i32;
        fields.format = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32;
        fields.sample_rate = RATE;
        stereo(&mut fields.ch_layout);
        Ok(Self { context, frame, packet: Packet::new()?, given: 0 })
    }

    /// The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) for the init segment.
    pub fn asc(&self) -> &[u8] {
        self.context.extradata()
    }

    /// Samples a channel that come out before the first one given: 1024, one frame.
    pub fn initial_padding(&self) -> u32 {
        self.context.fields().initial_padding.max(0) as u32
    }

    /// Encodes 1024 samples a channel, interleaved (left, right, left, ...), full scale at 1.0.
    ///
    /// # Errors
    /// [`CodecError::BadData`] if it is another number of samples; [`CodecError::Failed`].
    pub fn encode(&mut self, samples: &[f32], out: &mut Vec<AacFrame>) -> Result<(), CodecError> {
        let Some((pairs, [])) = Some(samples.as_chunks::<2>()).filter(|(p, _)| p.len() == FRAME)
        else {
            let said = format!("{} interleaved samples instead of {}", samples.len(), 2 * FRAME);
            return Err(CodecError::BadData { codec: "aac", said });
        };
        let [left, right] = ff::stereo_planes(&mut self.frame, FRAME)?;
        for ((l, r), pair) in left.iter_mut().zip(right).zip(pairs) {
            // The encoder refuses what is not a number, for the whole frame.
            [*l, *r] = pair.map(|s| if s.is_finite() { s.clamp(-4.0, 4.0) } else { 0.0 });
        }
        self.frame.fields_mut().pts = self.given;
        self.given += FRAME as i64;
        match self.context.send_frame(Some(&self.frame)) {
            0.. => self.receive(out),
            code => Err(failed(code)),
        }
    }

    /// Ends the stream and gives out what is still inside. Nothing can be encoded afterwards.
    ///
    /// # Errors
    /// [`CodecError::Failed`].
    pub fn flush(&mut self, out: &mut Vec<AacFrame>) -> Result<(), CodecError> {
        match self.context.send_frame(None) {
            0.. | ff::EOF => self.receive(out),
            code => Err(failed(code)),
        }
    }

    fn receive(&mut self, out: &mut Vec<AacFrame>) -> Result<(), CodecError> {
        loop {
            match self.context.receive_packet(&mut self.packet) {
                Ok(Given::Some) => out.push(AacFrame {
                    first_sample: self.packet.pts(),
                    data: Bytes::copy_from_slice(self.packet.data()),
                }),
                Ok(Given::None | Given::End) => return Ok(()),
                Err(code) => return Err(failed(code)),
            }
        }
    }
}

/// An AAC decoder for raw frames as an mp4 holds them.
pub struct AacDecoder {
    context: Context,
    frame: Frame,
}

impl AacDecoder {
    /// A decoder for a stream with this AudioSpecificConfig.
    ///
    /// # Errors
    /// [`CodecError::Open`].
    pub fn new(asc: &[u8]) -> Result<Self, CodecError> {
        super::log::install();
        let unusable = |said: String| super::error::OpenError {
            codec: "aac decoder",
            option: Some(("AudioSpecificConfig".into(), format!("{asc:02x?}"))),
            said,
            cure: "Give it the configuration from the stream's init segment".into(),
        };
        let mut context = Context::find(c"aac", false)?
            .ok_or_else(|| unusable(format!("{} was built without it", ff::version())))?;
        context.set_extradata(asc)?;
        context.open().map_err(|(code, said)| unusable(super::decode::said_or_code(said, code)))?;
        Ok(Self { context, frame: Frame::new()? })
    }

    /// Decodes a frame; adds its samples to `out`, interleaved stereo (a single channel twice).
    ///
    /// # Errors
    /// [`CodecError::BadData`]: this frame is lost, the next may work.
    pub fn decode(&mut self, data: &[u8], out: &mut Vec<f32>) -> Result<(), CodecError> {
        let bad = |said: String| CodecError::BadData { codec: "aac decoder", said };
        if data.is_empty() {
            return Err(bad("an empty frame".into()));
        }
        let code = self.context.send_data(data, 0);
        if code < 0 {
            return Err(bad(ff::error_text(code)));
        }
        for _ in 0..16 {
            match self.context.receive_frame(&mut self.frame) {
                Ok(Given::Some) => {
                    let [left, right] = ff::float_planes(&self.frame)
                        .ok_or_else(|| bad("samples of a kind that AAC-LC does not have".into()))?;
                    out.extend(left.iter().zip(right).flat_map(|(l, r)| [*l, *r]));
                }
                Ok(Given::None | Given::End) => return Ok(()),
                Err(code) => return Err(bad(ff::error_text(code))),
            }
        }
        Ok(())
    }
}

fn stereo(layout: &mut ffi::AVChannelLayout) {
    ff::default_layout(layout, 2);
}

fn failed(code: i32) -> CodecError {
    CodecError::Failed { codec: "aac", said: ff::error_text(code) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(first: usize, hz: f32) -> Vec<f32> {
        (first..first + FRAME)
            .flat_map(|n| {
                let s = (n as f32 * hz * std::f32::consts::TAU / RATE as f32).sin() * 0.5;
                [s, -s]
            })
            .collect()
    }

    #[test]
    fn a_tone_comes_back_at_its_place_after_the_padding() {
        let mut encoder = AacEncoder::new(128_000).unwrap();
        assert_eq!(encoder.initial_padding(), 1024);
        assert_eq!(encoder.asc()[..2], [0x11, 0x90]); // AAC-LC, 48 kHz, two channels
        let mut frames = Vec::new();
        for n in 0..40 {
            encoder.encode(&tone(n * FRAME, 440.0), &mut frames).unwrap();
        }
        encoder.flush(&mut frames).unwrap();
        let firsts: Vec<_> = frames.iter().map(|frame| frame.first_sample).collect();
        let expected: Vec<_> = (-1..40).map(|n| n * 1024).collect();
        assert_eq!(firsts, expected);

        let mut decoder = AacDecoder::new(encoder.asc()).unwrap();
        let mut samples = Vec::new();
        for frame in &frames {
            decoder.decode(&frame.data, &mut samples).unwrap();
        }
        assert_eq!(samples.len(), 41 * 2 * FRAME);
        // Past the start, each sample is what was given one padding earlier.
        let original: Vec<f32> = (0..40).flat_map(|n| tone(n * FRAME, 440.0)).collect();
        let (mut signal, mut noise) = (0.0, 0.0);
        for (a, b) in original.iter().zip(&samples[2 * FRAME..]).skip(8 * FRAME) {
            signal += f64::from(a * a);
            noise += f64::from((a - b) * (a - b));
        }
        let snr = 10.0 * (signal / noise).log10();
        assert!(snr > 25.0, "{snr:.1} dB");
    }

    #[test]
    fn two_encoders_agree_on_the_configuration() {
        let [a, b] = [96_000, 96_000].map(|rate| AacEncoder::new(rate).unwrap().asc().to_vec());
        assert_eq!(a, b);
    }

    #[test]
    fn wrong_lengths_and_numbers_that_are_none_do_not_break_it() {
        let mut encoder = AacEncoder::new(96_000).unwrap();
        let mut frames = Vec::new();
        for len in [0, 1, 2, 2 * FRAME - 1, 2 * FRAME + 2] {
            let error = encoder.encode(&vec![0.0; len], &mut frames).unwrap_err();
            assert!(error.is_bad_data(), "{error}");
        }
        for value in [f32::NAN, f32::INFINITY, 1e30, 0.0, 0.25] {
            encoder.encode(&[value; 2 * FRAME], &mut frames).unwrap();
        }
        encoder.flush(&mut frames).unwrap();
        assert_eq!(frames.len(), 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]
        #[test]
        fn garbage_frames_are_errors_or_samples(frames in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 1..6))
        {
            let mut decoder = AacDecoder::new(&[0x11, 0x90]).unwrap();
            let mut samples = Vec::new();
            for frame in &frames {
                let _ = decoder.decode(frame, &mut samples);
            }
            prop_assert!(samples.len() <= frames.len() * 2 * 8 * FRAME);
        }
    }
}
