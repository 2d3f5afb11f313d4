//! Video encoders without delay: one picture in, one access unit out, key frames exactly where asked.
//!
//! libx264 and libsvtav1 make the ladder; libvpx serves the synthetic teacher. No encoder here
//! reorders pictures or looks ahead: a live class cannot wait for either.

use super::bitstream;
use super::error::{CodecError, OpenError};
use super::ff::{self, Context, Frame, Given, Packet};
use super::options::{find_encoder, open_encoder, set_options};
use super::picture::{MAX_SIDE, Picture};
use bytes::Bytes;
use ffmpeg_next::ffi;
use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

/// What can be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoOut {
    /// H.264 by libx264. Presets `ultrafast` to `placebo`.
    H264,
    /// AV1 by SVT-AV1. Presets `0` to `13`.
    Av1,
    /// VP8 by libvpx. Presets `0` to `16` (cpu-used).
    Vp8,
    /// VP9 by libvpx. Presets `0` to `9` (cpu-used).
    Vp9,
}

impl VideoOut {
    /// FFmpeg's name of the encoder.
    pub const fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::Av1 => "libsvtav1",
            Self::Vp8 => "libvpx",
            Self::Vp9 => "libvpx-vp9",
        }
    }

    const fn id(self) -> (&'static CStr, &'static str) {
        match self {
            Self::H264 => (c"libx264", "libx264"),
            Self::Av1 => (c"libsvtav1", "SVT-AV1"),
            Self::Vp8 => (c"libvpx", "libvpx"),
            Self::Vp9 => (c"libvpx-vp9", "libvpx"),
        }
    }

    /// The preset that suits a live class on a small box.
    pub const fn default_preset(self) -> &'static str {
        match self {
            Self::H264 => "superfast",
            // 10 and faster leave ghosts on slides (37 dB where 9 has 51 at the same bit rate).
            Self::Av1 => "9",
            Self::Vp8 => "8",
            Self::Vp9 => "8",
        }
    }

    fn preset_is_good(self, preset: &str) -> bool {
        let number_to = |most| preset.parse().is_ok_and(|n: u32| n <= most);
        match self {
            Self::H264 => X264_PRESETS.contains(&preset),
            Self::Av1 => number_to(13),
            Self::Vp8 => number_to(16),
            Self::Vp9 => number_to(9),
        }
    }

    fn presets(self) -> String {
        match self {
            Self::H264 => format!("one of {}", X264_PRESETS.join(", ")),
            Self::Av1 => "a number from 0 (slow) to 13 (fast)".into(),
            Self::Vp8 => "a number from 0 (slow) to 16 (fast)".into(),
            Self::Vp9 => "a number from 0 (slow) to 9 (fast)".into(),
        }
    }
}

impl fmt::Display for VideoOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoder())
    }
}

const X264_PRESETS: [&str; 10] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];

/// How access units are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// As samples of an mp4 file: H.264 NAL units behind four-byte lengths without parameter sets,
    /// AV1 without temporal delimiters.
    #[default]
    Sample,
    /// As an RTP packetizer takes them: H.264 with start codes, and parameter sets before IDR
    /// pictures. H.264 is then Constrained Baseline, which every WebRTC endpoint must take (RFC 7742).
    Rtp,
}

/// What to encode, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoEncoderConfig {
    /// With what.
    pub codec: VideoOut,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Frames a second; a frame's number is its time in this unit.
    pub fps: u32,
    /// Bits a second, constant over about a second.
    pub bitrate: u64,
    /// In the encoder's own words, see [`VideoOut`].
    pub preset: String,
    /// Key frames are at most this many frames apart without being asked for; 0: only when asked.
    pub gop_frames: u32,
    /// Threads it may use; 0 counts as 1.
    pub threads: u32,
    /// The picture is a screen rather than a camera's: AV1's screen content tools are used.
    pub screen: bool,
    /// How access units are written.
    pub framing: Framing,
}

impl VideoEncoderConfig {
    /// A live encoder with the default preset, one thread, key frames only when asked for.
    pub fn live(codec: VideoOut, width: u32, height: u32, fps: u32, bitrate: u64) -> Self {
        Self {
            codec,
            width,
            height,
            fps,
            bitrate,
            preset: codec.default_preset().into(),
            gop_frames: 0,
            threads: 1,
            screen: false,
            framing: Framing::Sample,
        }
    }

    /// Whether the encoder could take this at all, without opening it.
    ///
    /// # Errors
    /// The option at fault and the cure.
    pub fn check(&self) -> Result<(), OpenError> {
        let wrong = |option: &str, value: String, said: &str, cure: String| OpenError {
            codec: self.codec.encoder(),
            option: Some((option.into(), value)),
            said: said.into(),
            cure,
        };
        let side = |side: u32| (16..=MAX_SIDE).contains(&side) && side.is_multiple_of(2);
        if !side(self.width) || !side(self.height) {
            let value = format!("{}x{}", self.width, self.height);
            let cure = format!("Use even sides from 16 to {MAX_SIDE} pixels");
            return Err(wrong("size", value, "this size cannot be encoded", cure));
        }
        if self.codec == VideoOut::Av1 && (self.width < 64 || self.height < 64) {
            let value = format!("{}x{}", self.width, self.height);
            return Err(wrong(
                "size",
                value,
                "SVT-AV1 takes no side below 64 pixels",
                "Use H.264 for a rung this small".into(),
            ));
        }
        if !(1..=240).contains(&self.fps) {
            let cure = "Use 1 to 240 frames a second".into();
            return Err(wrong("fps", self.fps.to_string(), "no usable frame rate", cure));
        }
        if !(10_000..=200_000_000).contains(&self.bitrate) {
            let cure = "Use 10 kb/s to 200 Mb/s".into();
            return Err(wrong("bitrate", self.bitrate.to_string(), "no usable bit rate", cure));
        }
        if !self.codec.preset_is_good(&self.preset) {
            let cure = format!("Use {}", self.codec.presets());
            return Err(wrong("preset", self.preset.clone(), "there is no such preset", cure));
        }
        Ok(())
    }
}

/// What a decoder must know before the first sample: the init segment's share of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoHeader {
    /// H.264 parameter sets: NAL units without start code or length.
    H264 {
        /// Sequence parameter set.
        sps: Vec<u8>,
        /// Picture parameter set.
        pps: Vec<u8>,
    },
    /// AV1.
    Av1 {
        /// The sequence header OBU, with its header and size.
        sequence_header: Vec<u8>,
    },
    /// VP8 needs none.
    Vp8,
    /// VP9 needs none.
    Vp9,
}

/// One encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The number it was given with.
    pub frame: i64,
    /// Whether decoding can start here.
    pub key: bool,
    /// The access unit, in the configured framing.
    pub data: Bytes,
}

/// An open encoder.
pub struct VideoEncoder {
    context: Context,
    scratch: Frame,
    packet: Packet,
    header: VideoHeader,
    config: VideoEncoderConfig,
    last_frame: Option<i64>,
    /// Pictures given and not yet come out.
    inside: u32,
}

impl VideoEncoder {
    /// Opens it. Two encoders opened with equal configurations on one installation have equal
    /// [headers](VideoEncoder::header), byte for byte.
    ///
    /// # Errors
    /// [`CodecError::Open`]: which encoder, which option, what FFmpeg said, what to do.
    pub fn open(config: &VideoEncoderConfig) -> Result<Self, CodecError> {
        config.check()?;
        let name = config.codec.encoder();
        let (id, package) = config.codec.id();
        let mut context = find_encoder(id, name, package)?;
        let gop = match config.gop_frames {
            0 => i32::MAX >> 8, // hours
            frames => frames.min(1 << 20) as i32,
        };
        let bitrate = config.bitrate as i64; // checked: at most 200 Mb/s
        let fields = context.fields_mut();
        fields.width = config.width as i32;
        fields.height = config.height as i32;
        fields.pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P;
        fields.time_base = ffi::AVRational { num: 1, den: config.fps as i32 };
        fields.framerate = ffi::AVRational { num: config.fps as i32, den: 1 };
        fields.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
        fields.color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
        fields.colorspace = ffi::AVColorSpace::AVCOL_SPC_BT709;
        fields.color_primaries = ffi::AVColorPrimaries::AVCOL_PRI_BT709;
        fields.color_trc = ffi::AVColorTransferCharacteristic::AVCOL_TRC_BT709;
        fields.chroma_sample_location = ffi::AVChromaLocation::AVCHROMA_LOC_LEFT;
        fields.bit_rate = bitrate;
        fields.gop_size = gop;
        fields.max_b_frames = 0;
        fields.thread_count = config.threads.clamp(1, 64) as i32;
        // Low delay means that a picture is coded within its own time, by slices if by several
        // threads, and that key frames are closed: a player may start at every one.
        fields.flags |= (ffi::AV_CODEC_FLAG_LOW_DELAY | ffi::AV_CODEC_FLAG_GLOBAL_HEADER) as i32
            | ffi::AV_CODEC_FLAG_CLOSED_GOP as i32;
        let options = options(config);
        match config.codec {
            VideoOut::H264 => {
                fields.rc_max_rate = bitrate;
                fields.rc_buffer_size = bitrate as i32;
            }
            // SVT-AV1 knows constant bit rate as a mode of its own (rc=2) and refuses a maximum.
            VideoOut::Av1 => fields.rc_buffer_size = 0,
            VideoOut::Vp8 | VideoOut::Vp9 => {
                fields.rc_min_rate = bitrate;
                fields.rc_max_rate = bitrate;
                fields.rc_buffer_size = bitrate as i32;
            }
        }
        let pairs: Vec<_> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        set_options(&mut context, name, &pairs)?;
        let words: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        open_encoder(&mut context, name, &words.join(" "), "Try another size, bit rate or preset")?;
        let no_header = || OpenError {
            codec: name,
            option: None,
            said: "it wrote no stream header".into(),
            cure: "Use Debian 13's FFmpeg 7.1".into(),
        };
        let header = header(config.codec, &context).ok_or_else(no_header)?;
        let mut encoder = Self {
            context,
            scratch: Frame::new()?,
            packet: Packet::new()?,
            header,
            config: config.clone(),
            last_frame: None,
            inside: 0,
        };
        if config.codec == VideoOut::Av1 {
            let sequence_header = encoder.prime()?.ok_or_else(no_header)?;
            encoder.header = VideoHeader::Av1 { sequence_header };
        }
        Ok(encoder)
    }

    /// Encodes a black picture before all others, for the sequence header that comes with it: the
    /// one that SVT-AV1 gives at opening names other coding tools than the stream then uses.
    fn prime(&mut self) -> Result<Option<Vec<u8>>, CodecError> {
        let black = Picture::black(self.config.width, self.config.height)?;
        let mut out = Vec::new();
        self.put(&black, -1, true, &mut out)?;
        let first = out.first().and_then(|unit| bitstream::av1_sequence_header(&unit.data));
        Ok(first.map(<[u8]>::to_vec))
    }

    /// What the init segment needs.
    pub fn header(&self) -> &VideoHeader {
        &self.header
    }

    /// What it was opened with.
    pub fn config(&self) -> &VideoEncoderConfig {
        &self.config
    }

    /// Encodes a picture of the configured size as frame number `frame`, 0 or more, a key frame if
    /// `key` says so; the first always is. Adds what comes out to `out`: this picture's access unit. Frame numbers rise; gaps are
    /// time that passes.
    ///
    /// # Errors
    /// [`CodecError::Size`] and [`CodecError::BadData`] leave the encoder usable;
    /// [`CodecError::Failed`] does not.
    pub fn encode(
        &mut self,
        picture: &Picture,
        frame: i64,
        key: bool,
        out: &mut Vec<Encoded>,
    ) -> Result<(), CodecError> {
        let (width, height) = picture.size();
        if (width, height) != (self.config.width, self.config.height) {
            let rule = format!("it was opened for {}x{}", self.config.width, self.config.height);
            return Err(CodecError::Size {
                what: self.config.codec.encoder(),
                width,
                height,
                rule,
            });
        }
        let last = self.last_frame.unwrap_or(-1);
        if frame <= last {
            let said = format!("frame {frame} where one after {last} is due");
            return Err(CodecError::BadData { codec: self.config.codec.encoder(), said });
        }
        // After a primed encoder's black picture the first real one is not first to the encoder.
        let key = key || self.last_frame.is_none();
        self.last_frame = Some(frame);
        self.put(picture, frame, key, out)
    }

    fn put(
        &mut self,
        picture: &Picture,
        frame: i64,
        key: bool,
        out: &mut Vec<Encoded>,
    ) -> Result<(), CodecError> {
        self.scratch.reference(picture.frame())?;
        let fields = self.scratch.fields_mut();
        fields.pts = frame;
        fields.duration = 1;
        // A decoded picture brings the type it once had; left there, it would force ours.
        fields.pict_type = match key {
            true => ffi::AVPictureType::AV_PICTURE_TYPE_I,
            false => ffi::AVPictureType::AV_PICTURE_TYPE_NONE,
        };
        let code = self.context.send_frame(Some(&self.scratch));
        self.scratch.unref();
        if code < 0 {
            return Err(self.failed(code));
        }
        self.inside += 1;
        self.receive(out)?;
        if self.config.codec == VideoOut::Av1 {
            self.wait_for_output(out)?;
        }
        Ok(())
    }

    /// Ends the stream and gives out what is still inside. Nothing can be encoded afterwards.
    ///
    /// # Errors
    /// [`CodecError::Failed`].
    pub fn flush(&mut self, out: &mut Vec<Encoded>) -> Result<(), CodecError> {
        match self.context.send_frame(None) {
            0.. | ff::EOF => self.receive(out),
            code => Err(self.failed(code)),
        }
    }

    fn receive(&mut self, out: &mut Vec<Encoded>) -> Result<(), CodecError> {
        loop {
            match self.context.receive_packet(&mut self.packet) {
                Ok(Given::Some) => {
                    self.inside = self.inside.saturating_sub(1);
                    let (data, frame) = (self.packet.data(), self.packet.pts());
                    let (data, key) = self.framed(data);
                    out.push(Encoded {
                        frame,
                        key: key || self.packet.is_key(),
                        data: data.into(),
                    });
                }
                Ok(Given::None | Given::End) => return Ok(()),
                Err(code) => return Err(self.failed(code)),
            }
        }
    }

    /// SVT-AV1 encodes on threads of its own and does not wait for them: asked at once, it gives out
    /// each picture only with the next, a frame later. So it is asked until the picture is there.
    fn wait_for_output(&mut self, out: &mut Vec<Encoded>) -> Result<(), CodecError> {
        let started = Instant::now();
        while self.inside > 0 {
            if started.elapsed() > SVT_PATIENCE {
                return Err(CodecError::Failed {
                    codec: self.config.codec.encoder(),
                    said: format!("no output for a picture within {SVT_PATIENCE:?}"),
                });
            }
            std::thread::sleep(SVT_POLL);
            self.receive(out)?;
        }
        Ok(())
    }

    fn framed(&self, data: &[u8]) -> (Vec<u8>, bool) {
        match (&self.header, self.config.framing) {
            (VideoHeader::H264 { .. }, Framing::Sample) => bitstream::h264_sample(data),
            (VideoHeader::H264 { sps, pps }, Framing::Rtp) => {
                bitstream::h264_annex_b(data, sps, pps)
            }
            (VideoHeader::Av1 { .. }, _) => bitstream::av1_sample(data),
            (VideoHeader::Vp8 | VideoHeader::Vp9, _) => (data.to_vec(), false),
        }
    }

    fn failed(&self, code: i32) -> CodecError {
        match code {
            ff::NO_MEMORY => CodecError::Memory(self.config.codec.encoder()),
            code => CodecError::Failed {
                codec: self.config.codec.encoder(),
                said: ff::error_text(code),
            },
        }
    }
}

impl Drop for VideoEncoder {
    fn drop(&mut self) {
        // SVT-AV1 complains on standard error when it is closed in mid-stream.
        if self.config.codec == VideoOut::Av1 {
            let _ = self.flush(&mut Vec::new());
        }
    }
}

/// How long SVT-AV1 may take for one picture before it counts as hung.
const SVT_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two questions to it; short against a frame, long against a wake-up.
const SVT_POLL: Duration = Duration::from_micros(500);

fn options(config: &VideoEncoderConfig) -> Vec<(&'static str, String)> {
    match config.codec {
        VideoOut::H264 => {
            let mut options = vec![
                ("preset", config.preset.clone()),
                ("tune", "zerolatency".into()),
                ("forced-idr", "1".into()),
                ("sc_threshold", "0".into()),
                ("a53cc", "0".into()),
            ];
            if config.framing == Framing::Rtp {
                options.push(("profile", "baseline".into()));
            }
            options
        }
        VideoOut::Av1 => vec![
            ("preset", config.preset.clone()),
            (
                "svtav1-params",
                format!(
                    "pred-struct=1:rc=2:scm={}:lp={}",
                    u32::from(config.screen),
                    config.threads.clamp(1, 6)
                ),
            ),
        ],
        VideoOut::Vp8 | VideoOut::Vp9 => {
            let mut options = vec![
                ("deadline", "realtime".into()),
                ("cpu-used", config.preset.clone()),
                ("lag-in-frames", "0".into()),
                ("auto-alt-ref", "0".into()),
                ("error-resilient", "default".into()),
            ];
            if config.codec == VideoOut::Vp9 {
                options.push(("row-mt", "1".into()));
            }
            options
        }
    }
}

fn header(codec: VideoOut, context: &Context) -> Option<VideoHeader> {
    match codec {
        VideoOut::H264 => {
            let (sps, pps) = bitstream::h264_parameter_sets(context.extradata())?;
            Some(VideoHeader::H264 { sps, pps })
        }
        VideoOut::Av1 => {
            let sequence_header = bitstream::av1_sequence_header(context.extradata())?.to_vec();
            Some(VideoHeader::Av1 { sequence_header })
        }
        VideoOut::Vp8 => Some(VideoHeader::Vp8),
        VideoOut::Vp9 => Some(VideoHeader::Vp9),
    }
}
