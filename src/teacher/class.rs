//! The class as a camera and a microphone would deliver it: pictures and sound, coded, each on its
//! own clock. Pure but for the encoders: what comes out is a function of the configuration, the
//! frame or packet number, and the wall clock given. Who asks, in real time or as fast as it goes,
//! is none of its business.

use hw::codec::{
    CodecError, Encoded, Framing, OpusEncoder, Picture, PicturePool, VideoEncoder,
    VideoEncoderConfig, VideoOut,
};

use super::burnt::Stamp;
use super::lecture::{Frame, Lecture, Look};
use super::sound::Sound;

/// The class to give.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// The picture.
    pub look: Look,
    /// What it is coded with.
    pub codec: VideoOut,
    /// Video bits a second.
    pub video_bitrate: u64,
    /// Sound bits a second.
    pub audio_bitrate: u32,
    /// Most seconds from one key frame to the next. Browsers send key frames only when asked:
    /// long by default.
    pub key_interval_s: u32,
    /// When the picture begins, in milliseconds after the class does.
    pub video_starts_ms: u32,
    /// When the sound begins, likewise.
    pub audio_starts_ms: u32,
    /// What happens in between: seconds after the class began, and what; in order.
    pub acts: Vec<(f64, Act)>,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            look: Look::default(),
            codec: VideoOut::H264,
            video_bitrate: 2_500_000,
            audio_bitrate: 64_000,
            key_interval_s: 60,
            video_starts_ms: 0,
            audio_starts_ms: 0,
            acts: Vec::new(),
        }
    }
}

/// Something that happens to a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The camera sends nothing any more, as when its tab is hidden.
    StopVideo,
    /// The camera sends the picture it sent last, again and again.
    FreezeVideo,
    /// The camera works again.
    ResumeVideo,
    /// The microphone sends nothing any more.
    StopAudio,
    /// The microphone sends silence.
    Mute,
    /// The microphone works again.
    ResumeAudio,
    /// The picture has another size from here on: a window was resized, a phone was turned.
    Resize {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// How a track is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Stopped,
    Held,
    Running,
}

impl Class {
    fn acts_until(&self, seconds: f64) -> impl Iterator<Item = Act> {
        self.acts.iter().take_while(move |(at, _)| *at <= seconds).map(|(_, act)| *act)
    }

    fn video_at(&self, seconds: f64) -> (Flow, u32, u32) {
        let mut state = (Flow::Running, self.look.width, self.look.height);
        if seconds * 1e3 < f64::from(self.video_starts_ms) {
            return (Flow::Stopped, state.1, state.2);
        }
        for act in self.acts_until(seconds) {
            match act {
                Act::StopVideo => state.0 = Flow::Stopped,
                Act::FreezeVideo => state.0 = Flow::Held,
                Act::ResumeVideo => state.0 = Flow::Running,
                Act::Resize { width, height } => (state.1, state.2) = (width, height),
                Act::StopAudio | Act::Mute | Act::ResumeAudio => {}
            }
        }
        state
    }

    fn audio_at(&self, seconds: f64) -> Flow {
        if seconds * 1e3 < f64::from(self.audio_starts_ms) {
            return Flow::Stopped;
        }
        self.acts_until(seconds).fold(Flow::Running, |flow, act| match act {
            Act::StopAudio => Flow::Stopped,
            Act::Mute => Flow::Held,
            Act::ResumeAudio => Flow::Running,
            _ => flow,
        })
    }
}

/// The camera.
pub struct Camera {
    class: Class,
    film: Film,
}

/// What depends on the picture's size.
struct Film {
    lecture: Lecture,
    frame: Frame,
    pool: PicturePool,
    encoder: VideoEncoder,
    /// The picture captured last: a frozen camera sends it again.
    last: Option<Picture>,
}

impl Camera {
    /// Opens the encoder.
    ///
    /// # Errors
    /// The look or the bit rate is beyond what the encoder can do.
    pub fn open(class: &Class) -> Result<Self, CodecError> {
        Ok(Self { class: class.clone(), film: Film::load(class, class.look)? })
    }

    /// Frames a second.
    pub fn fps(&self) -> u32 {
        self.class.look.fps.max(1)
    }

    /// Captures and codes frame `number`, whose moment is `number / fps` after the class began and
    /// `wall_us` in microseconds since the Unix epoch. Appends nothing while the camera is stopped.
    ///
    /// # Errors
    /// The encoder failed, or the class now has a size that it cannot do.
    pub fn take(
        &mut self,
        number: u64,
        wall_us: i64,
        key: bool,
        out: &mut Vec<Encoded>,
    ) -> Result<(), CodecError> {
        let seconds = number as f64 / f64::from(self.fps());
        let (flow, width, height) = self.class.video_at(seconds);
        let look = Look { width, height, ..self.class.look };
        if self.film.lecture.look() != look {
            self.film = Film::load(&self.class, look)?;
        }
        let picture = match (flow, self.film.last.take()) {
            (Flow::Stopped, last) => {
                self.film.last = last;
                return Ok(());
            }
            (Flow::Held, Some(last)) => last,
            (Flow::Held | Flow::Running, _) => self.film.expose(number, wall_us)?,
        };
        let outcome = self.film.encoder.encode(&picture, number as i64, key, out);
        self.film.last = Some(picture);
        outcome
    }
}

impl Film {
    fn load(class: &Class, look: Look) -> Result<Self, CodecError> {
        let frame = Frame::new(look.width, look.height);
        let (width, height) = (frame.width as u32, frame.height as u32);
        let fps = look.fps.max(1);
        // Little CPU, whatever it costs in bits: the transcoder needs the box more than the teacher.
        let preset = match class.codec {
            VideoOut::H264 => "ultrafast",
            // Faster ones leave ghosts on slides that hide the burnt-in clock.
            VideoOut::Av1 => "9",
            VideoOut::Vp8 => "12",
            VideoOut::Vp9 => "8",
        };
        let encoder = VideoEncoder::open(&VideoEncoderConfig {
            preset: preset.to_owned(),
            gop_frames: class.key_interval_s * fps,
            framing: Framing::Rtp,
            ..VideoEncoderConfig::live(class.codec, width, height, fps, class.video_bitrate)
        })?;
        let pool = PicturePool::new(width, height)?;
        Ok(Self { lecture: Lecture::new(look), frame, pool, encoder, last: None })
    }

    fn expose(&mut self, number: u64, wall_us: i64) -> Result<Picture, CodecError> {
        self.lecture.draw(number, Stamp::at(number, wall_us), &mut self.frame);
        let mut picture = self.pool.get()?;
        let planes = [&self.frame.y, &self.frame.u, &self.frame.v];
        for (mut to, from) in picture.to_mut()?.into_iter().zip(planes) {
            let width = to.width;
            for (to, from) in to.rows().zip(from.chunks_exact(width)) {
                to.copy_from_slice(from);
            }
        }
        Ok(picture)
    }
}

/// What libopus looks ahead, in samples: decoded sound lies this much behind what the encoder was
/// given (OPUS_GET_LOOKAHEAD at 48 kHz with OPUS_APPLICATION_AUDIO).
const LOOKAHEAD: i64 = 312;

/// The microphone.
pub struct Microphone {
    class: Class,
    sound: Sound,
    encoder: OpusEncoder,
    samples: Vec<f32>,
}

impl Microphone {
    /// Packets a second.
    pub const PACKETS: u64 = 50;

    /// Opens the encoder.
    pub fn open(class: &Class) -> Result<Self, CodecError> {
        Ok(Self {
            class: class.clone(),
            sound: Sound::new(class.look.seed),
            encoder: OpusEncoder::new(class.audio_bitrate, 10)?,
            samples: vec![0.0; 2 * OpusEncoder::FRAME],
        })
    }

    /// Captures and codes packet `number`, whose sound begins `number / 50` seconds after the class
    /// did. Nothing while the microphone is stopped.
    ///
    /// What the codec looks ahead is given to it ahead, so that the decoded sound stands exactly
    /// where its timestamp says: the beep's place against the flash is known to the sample.
    pub fn take(&mut self, number: u64) -> Result<Option<Vec<u8>>, CodecError> {
        let flow = self.class.audio_at(number as f64 / Self::PACKETS as f64);
        match flow {
            Flow::Stopped => return Ok(None),
            Flow::Held => self.samples.fill(0.0),
            Flow::Running => {
                let first = number as i64 * OpusEncoder::FRAME as i64 + LOOKAHEAD;
                self.sound.fill(first, &mut self.samples);
            }
        }
        self.encoder.encode(&self.samples).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn small() -> Class {
        Class {
            look: Look { width: 320, height: 180, fps: 30, seed: 1 },
            video_bitrate: 400_000,
            ..Class::default()
        }
    }

    fn frames(class: &Class, count: u64) -> Vec<Encoded> {
        let mut camera = Camera::open(class).unwrap();
        let mut out = Vec::new();
        for n in 0..count {
            camera.take(n, n as i64 * 33_333, false, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn tracks_start_apart_and_keep_one_timeline() {
        let class = Class { video_starts_ms: 500, audio_starts_ms: 200, ..small() };
        let video = frames(&class, 30);
        assert_eq!(video.first().map(|c| (c.frame, c.key)), Some((15, true)));
        assert_eq!(video.len(), 15);
        let mut microphone = Microphone::open(&class).unwrap();
        let packets: Vec<bool> = (0..20).map(|k| microphone.take(k).unwrap().is_some()).collect();
        assert_eq!(packets.iter().position(|there| *there), Some(10));
    }

    #[test]
    fn acts_stop_freeze_resize_and_resume() {
        let acts = vec![
            (0.2, Act::StopVideo),
            (0.4, Act::ResumeVideo),
            (0.6, Act::Resize { width: 180, height: 320 }),
            (0.8, Act::FreezeVideo),
        ];
        let video = frames(&Class { acts, ..small() }, 75);
        let numbers: Vec<i64> = video.iter().map(|c| c.frame).collect();
        assert_eq!(numbers, (0..6).chain(12..75).collect::<Vec<_>>());
        let keys: Vec<i64> = video.iter().filter(|c| c.key).map(|c| c.frame).collect();
        assert_eq!(keys, [0, 18], "a new size begins with a key frame");
        let frozen: usize = video.iter().filter(|c| c.frame >= 72).map(|c| c.data.len()).sum();
        let moving: usize =
            video.iter().filter(|c| (3..6).contains(&c.frame)).map(|c| c.data.len()).sum();
        assert!(frozen < moving / 2, "a still picture costs little: {frozen} against {moving}");
    }

    #[test]
    fn decoded_beeps_stand_where_their_timestamps_say() {
        let mut microphone = Microphone::open(&Class::default()).unwrap();
        let mut decoder = hw::codec::OpusDecoder::new().unwrap();
        let mut sound = Vec::new();
        for k in 0..180 {
            decoder.decode(&microphone.take(k).unwrap().unwrap(), &mut sound).unwrap();
        }
        let mono: Vec<f32> = sound.chunks_exact(2).map(|pair| pair[0]).collect();
        let onsets = super::super::sound::beep_onsets(&mono);
        assert_eq!(onsets.len(), 4, "{onsets:?}");
        for (second, onset) in onsets.iter().enumerate().skip(1) {
            let off = onset - second as f64 * 48_000.0;
            assert!(off.abs() < 24.0, "beep {second} is off by {off} samples");
        }
    }

    #[test]
    fn the_same_class_twice_is_the_same_bytes() {
        let (a, b) = (frames(&small(), 5), frames(&small(), 5));
        assert!(a.iter().zip(&b).all(|(a, b)| a.data == b.data));
    }
}
