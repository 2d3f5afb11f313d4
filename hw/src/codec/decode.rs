//! Video decoders: access units in, pictures out, without delay.

use super::bitstream;
use super::encode::VideoHeader;
use super::error::{CodecError, OpenError};
use super::ff::{self, Context, Frame, Given};
use super::picture::{MAX_SIDE, Picture};
use super::scale::Normalizer;
use ffmpeg_next::ffi;
use std::ffi::CStr;

/// What can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoIn {
    /// H.264, Annex B.
    H264,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1, OBUs with or without temporal delimiters.
    Av1,
}

impl VideoIn {
    /// Every codec there is.
    pub const ALL: [Self; 4] = [Self::H264, Self::Vp8, Self::Vp9, Self::Av1];

    const fn decoder(self) -> (&'static CStr, &'static str) {
        match self {
            Self::H264 => (c"h264", "h264 decoder"),
            Self::Vp8 => (c"vp8", "vp8 decoder"),
            Self::Vp9 => (c"vp9", "vp9 decoder"),
            // FFmpeg's own "av1" only drives hardware.
            Self::Av1 => (c"libdav1d", "libdav1d"),
        }
    }
}

/// Largest access unit taken, bytes: far above any that a conference sends.
const MAX_ACCESS_UNIT: usize = 16 << 20;

/// A decoder of one stream. The stream's size and format may change at key frames.
pub struct VideoDecoder {
    context: Context,
    name: &'static str,
    normalizer: Normalizer,
}

impl VideoDecoder {
    /// A decoder that uses up to `threads` threads (0 counts as 1). More threads never mean delay:
    /// they share one picture, where the stream's slices or tiles allow it.
    ///
    /// # Errors
    /// [`CodecError::Open`], if FFmpeg lacks the decoder or refuses to open it.
    pub fn new(codec: VideoIn, threads: u32) -> Result<Self, CodecError> {
        Self::open(codec, threads, None)
    }

    /// A decoder of what [`VideoEncoder`](super::VideoEncoder) writes as mp4 samples, without an mp4.
    ///
    /// # Errors
    /// As [`VideoDecoder::new`].
    pub fn of_samples(header: &VideoHeader, threads: u32) -> Result<Self, CodecError> {
        match header {
            VideoHeader::H264 { sps, pps } => {
                let avcc = bitstream::avcc(sps, pps).ok_or(CodecError::BadData {
                    codec: "h264 decoder",
                    said: "the parameter sets are too short or too long".into(),
                })?;
                Self::open(VideoIn::H264, threads, Some(&avcc))
            }
            VideoHeader::Av1 { .. } => Self::open(VideoIn::Av1, threads, None),
            VideoHeader::Vp8 => Self::open(VideoIn::Vp8, threads, None),
            VideoHeader::Vp9 => Self::open(VideoIn::Vp9, threads, None),
        }
    }

    fn open(codec: VideoIn, threads: u32, extradata: Option<&[u8]>) -> Result<Self, CodecError> {
        super::log::install();
        let (id, name) = codec.decoder();
        let mut context = Context::find(id, false)?.ok_or_else(|| OpenError {
            codec: name,
            option: None,
            said: format!("{} was built without it", ff::version()),
            cure: "Use an FFmpeg built with it: Debian 13's libavcodec61 is".into(),
        })?;
        if let Some(data) = extradata {
            context.set_extradata(data)?;
        }
        let fields = context.fields_mut();
        fields.flags |= ffi::AV_CODEC_FLAG_LOW_DELAY as i32;
        fields.thread_count = threads.clamp(1, 16) as i32;
        // Frame threads would hold back a picture each.
        fields.thread_type = ffi::FF_THREAD_SLICE;
        fields.max_pixels = i64::from(MAX_SIDE / 2) * i64::from(MAX_SIDE / 2);
        if codec == VideoIn::Av1 {
            context.set("max_frame_delay", "1").map_err(|code| OpenError {
                codec: name,
                option: Some(("max_frame_delay".into(), "1".into())),
                said: ff::error_text(code),
                cure: "Use Debian 13's FFmpeg 7.1".into(),
            })?;
        }
        context.open().map_err(|(code, said)| OpenError {
            codec: name,
            option: None,
            said: said_or_code(said, code),
            cure: "Install FFmpeg 7.1 with all its decoders: libavcodec61 of Debian 13".into(),
        })?;
        Ok(Self { context, name, normalizer: Normalizer::default() })
    }

    /// Decodes one access unit (one picture's bytes, H.264 with start codes). Adds to `out` the
    /// pictures it completes, usually one, each with the `pts` its access unit came with.
    ///
    /// # Errors
    /// [`CodecError::BadData`] if the bytes make no sense or refer to pictures that are missing:
    /// ask the sender for a key frame and go on. Pictures added to `out` before are good.
    pub fn decode(
        &mut self,
        access_unit: &[u8],
        pts: i64,
        out: &mut Vec<(i64, Picture)>,
    ) -> Result<(), CodecError> {
        // An empty packet would mean the end of the stream to FFmpeg.
        if access_unit.is_empty() || access_unit.len() > MAX_ACCESS_UNIT {
            let said = format!("an access unit of {} bytes", access_unit.len());
            return Err(CodecError::BadData { codec: self.name, said });
        }
        // One damaged picture can make FFmpeg believe that an H.264 stream is reordered, and hold
        // back pictures from then on. Conferences do not reorder (RFC 7742), so it is told again.
        self.context.fields_mut().has_b_frames = 0;
        let mut code = self.context.send_data(access_unit, pts);
        if code == ff::AGAIN {
            self.receive(pts, out)?;
            code = self.context.send_data(access_unit, pts);
        }
        let received = self.receive(pts, out);
        if code < 0 { Err(self.error(code)) } else { received }
    }

    /// Gives back what the decoder still holds and readies it for a new start at a key frame.
    ///
    /// # Errors
    /// As [`VideoDecoder::decode`].
    pub fn flush(&mut self, out: &mut Vec<(i64, Picture)>) -> Result<(), CodecError> {
        self.context.send_data_end();
        let received = self.receive(0, out);
        self.context.flush_buffers();
        received
    }

    fn receive(&mut self, pts: i64, out: &mut Vec<(i64, Picture)>) -> Result<(), CodecError> {
        let mut first_error = None;
        // A packet that carries more frames than this is no real stream.
        for _ in 0..64 {
            let mut frame = Frame::new()?;
            match self.context.receive_frame(&mut frame) {
                Ok(Given::Some) => {
                    let pts = match frame.fields().pts {
                        ffi::AV_NOPTS_VALUE => pts,
                        known => known,
                    };
                    match self.normalizer.picture(frame) {
                        Ok(picture) => out.push((pts, picture)),
                        Err(error) => first_error = first_error.or(Some(error)),
                    }
                }
                Ok(Given::None | Given::End) => break,
                Err(code) => first_error = first_error.or(Some(self.error(code))),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn error(&self, code: i32) -> CodecError {
        match code {
            ff::NO_MEMORY => CodecError::Memory(self.name),
            // Decoders report foreign nonsense by several codes; none of them means broken.
            code => CodecError::BadData { codec: self.name, said: ff::error_text(code) },
        }
    }
}

/// What FFmpeg logged, or its text for the code if it logged nothing.
pub(super) fn said_or_code(said: Vec<String>, code: i32) -> String {
    let text = ff::error_text(code);
    if said.is_empty() { text } else { format!("{} ({text})", said.join("; ")) }
}
