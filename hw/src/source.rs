//! Encoders as a publisher has them: a camera's video in the codecs WebRTC knows, and Opus.
//!
//! Not the ladder's encoders ([`crate::codec`]): these belong to the other end of the wire, to the
//! synthetic teacher and to tests. They are set for the least CPU and no delay: one coded frame
//! comes out for each frame that goes in. One thread each.

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{self, threading};
use ffmpeg::format::{Pixel, Sample};
use ffmpeg::util::picture;
use ffmpeg::{ChannelLayout, Dictionary, Packet, Rational, encoder, frame};

/// A publisher's video codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceVideo {
    /// H.264 constrained baseline, Annex B, parameter sets before every key frame (x264).
    H264,
    /// VP8 frames (libvpx).
    Vp8,
    /// VP9 profile 0 frames (libvpx).
    Vp9,
    /// AV1 temporal units (SVT-AV1).
    Av1,
}

/// What a publisher's video encoder is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SourceVideoConfig {
    /// The codec.
    pub codec: SourceVideo,
    /// Pixels in a row, even.
    pub width: u32,
    /// Rows, even.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Bits a second.
    pub bitrate: usize,
    /// Most frames from one key frame to the next; more come when asked for.
    pub gop: u32,
}

/// A picture to encode: three planes without padding between their rows.
#[derive(Clone, Copy, Debug)]
pub struct I420<'a> {
    /// Luma, `width * height` bytes.
    pub y: &'a [u8],
    /// Blue difference, `width/2 * height/2` bytes.
    pub u: &'a [u8],
    /// Red difference, likewise.
    pub v: &'a [u8],
}

/// A coded frame.
#[derive(Clone, Debug)]
pub struct Coded {
    /// The number given with the frame.
    pub frame: i64,
    /// Whether decoding can begin here.
    pub key: bool,
    /// The coded frame, whole.
    pub data: Vec<u8>,
}

/// Why a publisher's encoder cannot be had or failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The FFmpeg here was built without it.
    #[error("this FFmpeg has no {0} encoder")]
    NoEncoder(&'static str),
    /// A picture of another size than the encoder was opened for.
    #[error("the planes are not those of a {width}x{height} picture")]
    WrongSize {
        /// Pixels in a row, as opened.
        width: u32,
        /// Rows, as opened.
        height: u32,
    },
    /// FFmpeg said no.
    #[error("{what}: {error}")]
    Ffmpeg {
        /// What was tried.
        what: &'static str,
        /// FFmpeg's answer.
        error: ffmpeg::Error,
    },
}

fn failed(what: &'static str) -> impl Fn(ffmpeg::Error) -> SourceError {
    move |error| SourceError::Ffmpeg { what, error }
}

/// A publisher's video encoder.
pub struct VideoSource {
    encoder: encoder::video::Encoder,
    config: SourceVideoConfig,
    packet: Packet,
}

impl VideoSource {
    /// Opens the encoder.
    pub fn open(config: &SourceVideoConfig) -> Result<Self, SourceError> {
        let name = match config.codec {
            SourceVideo::H264 => "libx264",
            SourceVideo::Vp8 => "libvpx",
            SourceVideo::Vp9 => "libvpx-vp9",
            SourceVideo::Av1 => "libsvtav1",
        };
        let codec = encoder::find_by_name(name).ok_or(SourceError::NoEncoder(name))?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_threading(threading::Config { kind: threading::Type::Slice, count: 1 });
        context.set_time_base(Rational(1, config.fps.max(1) as i32));
        context.set_frame_rate(Some(Rational(config.fps.max(1) as i32, 1)));
        if config.codec == SourceVideo::Av1 {
            // SVT-AV1 honours requests for key frames only with closed groups of pictures.
            context.set_flags(codec::Flags::CLOSED_GOP);
        }
        let mut video = context.encoder().video().map_err(failed("video encoder"))?;
        video.set_width(config.width);
        video.set_height(config.height);
        video.set_format(Pixel::YUV420P);
        video.set_bit_rate(config.bitrate);
        video.set_gop(config.gop.max(1));
        video.set_max_b_frames(0);

        let mut options = Dictionary::new();
        let rate = config.bitrate.to_string();
        match config.codec {
            SourceVideo::H264 => {
                options.set("preset", "ultrafast");
                options.set("tune", "zerolatency");
                options.set("profile", "baseline");
                options.set("forced-idr", "1");
                options.set("maxrate", &rate);
                options.set("bufsize", &rate);
                options.set("x264-params", "scenecut=0:repeat-headers=1:annexb=1:aud=0");
            }
            SourceVideo::Vp8 | SourceVideo::Vp9 => {
                options.set("deadline", "realtime");
                options.set("cpu-used", if config.codec == SourceVideo::Vp8 { "12" } else { "8" });
                options.set("lag-in-frames", "0");
                options.set("auto-alt-ref", "0");
                options.set("error-resilient", "1");
                options.set("minrate", &rate);
                options.set("maxrate", &rate);
            }
            SourceVideo::Av1 => {
                options.set("preset", "13");
                options.set("svtav1-params", "pred-struct=1:rc=2:lp=1");
            }
        }
        let encoder =
            video.open_as_with(codec, options).map_err(failed("opening the video encoder"))?;
        Ok(Self { encoder, config: *config, packet: Packet::empty() })
    }

    /// Encodes one picture; `key` asks for a key frame. What comes out is appended to `out`.
    pub fn encode(
        &mut self,
        picture: I420<'_>,
        frame: i64,
        key: bool,
        out: &mut Vec<Coded>,
    ) -> Result<(), SourceError> {
        let (width, height) = (self.config.width, self.config.height);
        let mut input = frame::Video::new(Pixel::YUV420P, width, height);
        let planes = [
            (picture.y, width, height),
            (picture.u, width / 2, height / 2),
            (picture.v, width / 2, height / 2),
        ];
        for (index, (plane, width_of, height_of)) in planes.into_iter().enumerate() {
            let (row, rows) = (width_of as usize, height_of as usize);
            if plane.len() != row * rows || row == 0 {
                return Err(SourceError::WrongSize { width, height });
            }
            let stride = input.stride(index);
            for (to, from) in input.data_mut(index).chunks_mut(stride).zip(plane.chunks_exact(row))
            {
                to[..row].copy_from_slice(from);
            }
        }
        input.set_pts(Some(frame));
        input.set_kind(if key { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&input).map_err(failed("encoding a picture"))?;
        self.drain(out)
    }

    /// Takes what the encoder still holds; nothing can be encoded after this.
    pub fn finish(&mut self, out: &mut Vec<Coded>) -> Result<(), SourceError> {
        self.encoder.send_eof().map_err(failed("ending the video"))?;
        self.drain(out)
    }

    fn drain(&mut self, out: &mut Vec<Coded>) -> Result<(), SourceError> {
        while receive(self.encoder.receive_packet(&mut self.packet))? {
            out.push(Coded {
                frame: self.packet.pts().unwrap_or_default(),
                key: self.packet.is_key(),
                data: self.packet.data().unwrap_or_default().to_vec(),
            });
        }
        Ok(())
    }
}

/// A publisher's Opus encoder: 48 kHz, stereo, packets of 20 ms.
pub struct OpusSource {
    encoder: encoder::audio::Encoder,
    packet: Packet,
    position: i64,
}

impl OpusSource {
    /// Samples per channel in a packet.
    pub const PACKET: usize = 960;
    /// What `libopus` looks ahead, in samples: a decoder's output lies this much behind what the
    /// encoder was given (`OPUS_GET_LOOKAHEAD` for its general mode at 48 kHz).
    pub const LOOKAHEAD: i64 = 312;

    /// Opens the encoder.
    pub fn open(bitrate: usize) -> Result<Self, SourceError> {
        let codec = encoder::find_by_name("libopus").ok_or(SourceError::NoEncoder("libopus"))?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_time_base(Rational(1, 48_000));
        let mut audio = context.encoder().audio().map_err(failed("audio encoder"))?;
        audio.set_rate(48_000);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_format(Sample::F32(ffmpeg::format::sample::Type::Packed));
        audio.set_bit_rate(bitrate);
        let mut options = Dictionary::new();
        options.set("frame_duration", "20");
        options.set("application", "audio");
        options.set("compression_level", "5");
        let encoder =
            audio.open_as_with(codec, options).map_err(failed("opening the Opus encoder"))?;
        Ok(Self { encoder, packet: Packet::empty(), position: 0 })
    }

    /// Encodes [`Self::PACKET`] samples of interleaved stereo into one packet.
    pub fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>, SourceError> {
        let mut input = frame::Audio::new(
            Sample::F32(ffmpeg::format::sample::Type::Packed),
            Self::PACKET,
            ChannelLayout::STEREO,
        );
        let bytes = input.data_mut(0);
        for (to, sample) in bytes
            .chunks_exact_mut(4)
            .zip(samples.iter().chain(std::iter::repeat(&0.0)).take(2 * Self::PACKET))
        {
            to.copy_from_slice(&sample.to_ne_bytes());
        }
        input.set_rate(48_000);
        input.set_pts(Some(self.position));
        self.position += Self::PACKET as i64;
        self.encoder.send_frame(&input).map_err(failed("encoding sound"))?;
        let mut data = Vec::new();
        while receive(self.encoder.receive_packet(&mut self.packet))? {
            data.extend_from_slice(self.packet.data().unwrap_or_default());
        }
        Ok(data)
    }
}

/// Whether a packet came; an encoder that wants more input, or has ended, is no error.
fn receive(result: Result<(), ffmpeg::Error>) -> Result<bool, SourceError> {
    match result {
        Ok(()) => Ok(true),
        Err(ffmpeg::Error::Eof) => Ok(false),
        Err(ffmpeg::Error::Other { errno }) if errno == libc::EAGAIN => Ok(false),
        Err(error) => Err(SourceError::Ffmpeg { what: "taking a packet", error }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_codec_gives_a_frame_for_a_frame_and_a_key_frame_when_asked() {
        for codec in [SourceVideo::H264, SourceVideo::Vp8, SourceVideo::Vp9, SourceVideo::Av1] {
            let config = SourceVideoConfig {
                codec,
                width: 320,
                height: 180,
                fps: 30,
                bitrate: 400_000,
                gop: 300,
            };
            let mut source = VideoSource::open(&config).unwrap();
            let chroma = vec![128; 160 * 90];
            let mut out = Vec::new();
            for n in 0..20 {
                let y: Vec<u8> = (0..320 * 180).map(|i| (i + 7 * n) as u8).collect();
                let picture = I420 { y: &y, u: &chroma, v: &chroma };
                source.encode(picture, n as i64, n == 10, &mut out).unwrap();
                assert_eq!(out.len(), n + 1, "{codec:?}: no delay");
            }
            let keys: Vec<i64> = out.iter().filter(|c| c.key).map(|c| c.frame).collect();
            assert_eq!(keys, [0, 10], "{codec:?}");
            assert!(out.iter().all(|c| !c.data.is_empty()), "{codec:?}");
            if codec == SourceVideo::H264 {
                for coded in out.iter().filter(|c| c.key) {
                    let sps =
                        coded.data.windows(5).any(|w| w[..4] == [0, 0, 0, 1] && w[4] & 31 == 7);
                    assert!(sps, "parameter sets come with every key frame");
                }
            }
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let config = SourceVideoConfig {
            codec: SourceVideo::H264,
            width: 320,
            height: 180,
            fps: 30,
            bitrate: 400_000,
            gop: 30,
        };
        let mut source = VideoSource::open(&config).unwrap();
        let picture = I420 { y: &[0; 100], u: &[0; 25], v: &[0; 25] };
        assert!(matches!(
            source.encode(picture, 0, false, &mut Vec::new()),
            Err(SourceError::WrongSize { .. })
        ));
    }

    #[test]
    fn opus_gives_one_packet_for_20_ms() {
        let mut source = OpusSource::open(64_000).unwrap();
        for n in 0..10 {
            let samples: Vec<f32> =
                (0..1920).map(|i| ((i / 2 + 960 * n) as f32 * 0.05).sin() * 0.3).collect();
            let packet = source.encode(&samples).unwrap();
            assert!((10..1200).contains(&packet.len()), "packet {n}: {} bytes", packet.len());
        }
    }
}
