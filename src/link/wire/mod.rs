//! The messages that cross the process boundary, as pure values and bytes.
//!
//! One message is one datagram on a `SOCK_SEQPACKET` socket: a four-byte preamble (magic, version)
//! and a postcard body. A part message carries exactly one file descriptor, the sealed memfd that
//! holds the fragments of every rendition; no other message carries any. The daemon treats what a
//! transcoder says as foreign: it is decoded within bounds, checked, and never trusted with an index.

mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod stage;
#[cfg(test)]
mod tests;

pub use stage::{Composed, Layout, MAX_NAME, MAX_SEATS, Motion, Seat, Shown, Stage};

use crate::time::{Bitrate, HostTime, MediaTime, RoomName, TrackId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of this protocol; both ends come from one binary, so any other is an error.
pub const VERSION: u16 = 3;

/// Largest message, bytes. A presentation with 16 renditions is under 20 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most renditions a presentation may have.
pub const MAX_RENDITIONS: usize = 16;

const MAGIC: [u8; 2] = *b"PC";
const PREAMBLE: usize = 4;

/// A message of either direction: what [`encode`] takes and [`decode`] gives.
pub trait Message: Serialize + DeserializeOwned + rules::Rules {}

impl Message for ToTranscoder {}
impl Message for FromTranscoder {}
impl Message for Stage {}

/// The datagram for `message`: preamble and body, at most [`MAX_MESSAGE`] bytes.
///
/// # Errors
/// [`WireError::Rule`] for a message that the other end would refuse, [`WireError::TooLarge`].
pub fn encode<T: Message>(message: &T) -> Result<Vec<u8>, WireError> {
    message.check().map_err(WireError::Rule)?;
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let bytes = postcard::to_extend(message, bytes).map_err(WireError::Body)?;
    if bytes.len() > MAX_MESSAGE { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The message in `datagram`, whoever sent it: what comes out keeps every rule of this module.
///
/// Memory is taken for what the datagram really holds (and at most 1 MiB ahead for a list), never
/// for what it merely claims.
///
/// # Errors
/// [`WireError`], by the first thing that is wrong.
pub fn decode<T: Message>(datagram: &[u8]) -> Result<T, WireError> {
    if datagram.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(datagram.len()));
    }
    let (preamble, body) =
        datagram.split_first_chunk::<PREAMBLE>().ok_or(WireError::Truncated(datagram.len()))?;
    let [m0, m1, v0, v1] = *preamble;
    if [m0, m1] != MAGIC {
        return Err(WireError::Magic([m0, m1]));
    }
    match u16::from_le_bytes([v0, v1]) {
        VERSION => {}
        other => return Err(WireError::Version(other)),
    }
    let (message, rest) = postcard::take_from_bytes::<T>(body).map_err(WireError::Body)?;
    if !rest.is_empty() {
        return Err(WireError::Rule("bytes follow the message"));
    }
    message.check().map_err(WireError::Rule)?;
    Ok(message)
}

/// What the daemon tells a transcoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToTranscoder {
    /// First message to a spare: what it will have to make. It opens its encoders, says
    /// [`FromTranscoder::Ready`], and waits for `Start` with the same rungs and format.
    Prepare(Box<Start>),
    /// First message to any other, once: what to make.
    Start(Box<Start>),
    /// Flush what is open as a last short part, say [`FromTranscoder::Ended`], and exit.
    Stop,
}

/// What to make, and from where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// For log lines.
    pub room: RoomName,
    /// The output's shape.
    pub format: OutputFormat,
    /// The rungs to encode, best first.
    pub rungs: Vec<Rung>,
    /// Where a transcoder before this one stopped; `None` for a new class.
    pub resume: Option<Resume>,
    /// How many transcoders in a row, just before this one, died without making a part. From 2 on
    /// it is wise to begin at the newest key frame in the ring rather than at the one before the
    /// resume point: what stands between may be what kills decoders.
    pub failures: u32,
    /// Renditions that an earlier transcoder of this class gave up: not to be encoded again.
    pub dropped: Vec<u8>,
    /// The stage as it was told last; what the ring says of it later counts from there on.
    pub stage: Stage,
}

/// What all renditions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFormat {
    /// Frames a second of the constant output grid; one of 24, 25, 30, 50, 60.
    pub fps: u32,
    /// Video frames in a full part.
    pub part_frames: u32,
    /// Video frames in a full segment; a multiple of `gop_frames`.
    pub segment_frames: u32,
    /// Video frames between two key frames.
    pub gop_frames: u32,
    /// Bit rate of the AAC-LC rendition.
    pub audio_bitrate: Bitrate,
    /// How long after its media time a frame is composed, in microseconds: the jitter buffer.
    pub playout_delay_us: u32,
}

/// A video codec we encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264, always there.
    H264,
    /// AV1, where the box has the speed.
    Av1,
}

/// One rung of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// As it stands in URLs: `h264-720`, `av1-360`.
    pub name: String,
    /// What it is encoded with.
    pub codec: VideoCodec,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Target bit rate, constant.
    pub bitrate: Bitrate,
    /// Encoder preset, in the encoder's own words (`superfast`, `12`).
    pub preset: String,
    /// Threads the encoder may use.
    pub threads: u32,
}

/// What a transcoder tells the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromTranscoder {
    /// First message, at once.
    Hello {
        /// The sender's process id.
        pid: u32,
    },
    /// From a spare: it is prepared, and can begin at once.
    Ready,
    /// Before the first part, once: the renditions and the start of the timeline. After a resume it
    /// equals what the transcoder before said.
    Begin(Box<Presentation>),
    /// A part of every rendition; carries one file descriptor.
    Part(Box<Part>),
    /// The decoder needs a key frame from this stream.
    KeyframeWanted(TrackId),
    /// A rung was given up so that the others stay live.
    RungDropped {
        /// Index into [`Presentation::renditions`].
        rendition: u8,
        /// For people.
        reason: String,
    },
    /// Once a second.
    Figures(Box<Figures>),
    /// Everything is flushed; nothing follows.
    Ended,
}

/// The renditions of a class. Rendition numbers index `renditions`; sound comes last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presentation {
    /// When media time zero was, on the box's monotonic clock.
    pub zero: HostTime,
    /// The output's shape.
    pub format: OutputFormat,
    /// One a rung, then one for sound.
    pub renditions: Vec<Rendition>,
}

/// One rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// As it stands in URLs: the rung's name, or `audio`.
    pub name: String,
    /// Value for the CODECS attribute: RFC 6381, AV1 fully padded.
    pub codecs: String,
    /// Configured bit rate, without container overhead.
    pub bitrate: Bitrate,
    /// Width, height in pixels; `None` for sound.
    pub size: Option<(u32, u32)>,
    /// The init segment (ftyp, moov), about 800 bytes.
    pub init: Vec<u8>,
}

/// One part of all renditions, published together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Media sequence number of the segment it belongs to; starts at 0.
    pub msn: u64,
    /// Number within the segment; 0 opens a new segment.
    pub part: u32,
    /// Whether this is the segment's last part, so it can be closed without waiting for the next.
    pub last: bool,
    /// Start of its video, on the timeline.
    pub start: MediaTime,
    /// When the last input for it arrived at the box, for the publish delay figure.
    pub arrived: HostTime,
    /// One a rendition that has this part; a rendition that is missing was dropped.
    pub fragments: Vec<Fragment>,
    /// What a successor needs to continue right after this part.
    pub resume: Resume,
}

/// One rendition's bytes within a part's memfd: complete moof + mdat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Index into [`Presentation::renditions`].
    pub rendition: u8,
    /// First byte within the memfd.
    pub offset: u32,
    /// Length in bytes, more than zero.
    pub len: u32,
    /// Exact duration.
    pub duration: MediaTime,
    /// Whether it starts with a key frame (sound always does).
    pub independent: bool,
}

/// Everything a successor must know that is not in the ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// When media time zero was.
    pub zero: HostTime,
    /// Sequence number of the next segment to open.
    pub next_msn: u64,
    /// Number of the next video frame on the grid.
    pub next_frame: u64,
    /// Number of the next AAC frame (1024 samples) on the 48 kHz grid.
    pub next_aac: u64,
    /// moof sequence number to go on from.
    pub next_sequence: u32,
    /// How each stream's RTP time maps to the timeline, as the transcoder had learned it.
    pub clocks: Vec<TrackClock>,
    /// How the last frame before that was composed.
    pub composed: Composed,
}

/// One stream's learned clock: media = base + (rtp - rtp_base) / rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackClock {
    /// Which stream.
    pub track: TrackId,
    /// A position in unwrapped RTP time.
    pub rtp: i64,
    /// Where on the timeline that position is.
    pub media: MediaTime,
    /// RTP clock rate, Hz.
    pub rate: u32,
}

/// A second's figures. Counters count from the transcoder's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Pictures decoded.
    pub frames_decoded: u64,
    /// Access units the decoder refused.
    pub decode_errors: u64,
    /// Packets that never came, after waiting for their retransmission.
    pub packets_lost: u64,
    /// Records the ring overwrote before they were read.
    pub ring_overruns: u64,
    /// Output frames that repeat the one before because no newer picture was there.
    pub frames_repeated: u64,
    /// Output audio samples filled with silence.
    pub samples_silent: u64,
    /// How far composition lags behind its schedule, microseconds.
    pub lag_us: i64,
    /// CPU time of the process so far, microseconds.
    pub cpu_us: u64,
    /// Per rendition, in the presentation's order.
    pub rungs: Vec<RungFigures>,
}

/// One rung's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungFigures {
    /// Frames encoded.
    pub encoded: u64,
    /// Frames skipped to stay live.
    pub dropped: u64,
    /// Time spent encoding, microseconds in all.
    pub encode_us: u64,
    /// Bytes made.
    pub bytes: u64,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not even a preamble.
    #[error("message of {0} bytes is too short to be one")]
    Truncated(usize),
    /// Not ours at all.
    #[error("not a Proscenium link message (first bytes {0:02x?})")]
    Magic([u8; 2]),
    /// From another version.
    #[error(
        "link protocol version {0}, this program speaks {VERSION}: daemon and transcoder must be the same build"
    )]
    Version(u16),
    /// Larger than [`MAX_MESSAGE`].
    #[error("message of {0} bytes, at most {MAX_MESSAGE} allowed")]
    TooLarge(usize),
    /// The body does not decode.
    #[error("malformed message: {0}")]
    Body(postcard::Error),
    /// It decodes, but breaks a rule.
    #[error("message breaks a rule: {0}")]
    Rule(&'static str),
}
