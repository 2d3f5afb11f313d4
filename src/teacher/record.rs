//! The class without a network: the same capture as fast as the machine can, as the records an SFU
//! would have written into a room's ring, or as elementary streams for other programs' input.
//! Everything is a function of the class: two recordings of it are equal byte for byte.

use std::io::{self, Write};

use hw::codec::{CodecError, Encoded, VideoOut};

use super::class::{Camera, Class, Microphone};
use super::ogg::OggOpus;
use super::peer::{self, RtcError};
use super::rtp::{Stream, ntp};
use crate::link::ring::{Record, RtpRecord};
use crate::time::{HostTime, SourceCodec, SourceId, TrackId};

/// Who publishes in a recording.
const SOURCE: SourceId = SourceId(1);
const VIDEO: TrackId = TrackId(1);
const AUDIO: TrackId = TrackId(2);
/// When a recorded class begins: on the wall (2026-01-01 00:00:00 UTC), and on the ring's clock.
const BEGAN_WALL_US: i64 = 1_767_225_600_000_000;
const BEGAN: HostTime = HostTime(1_000_000_000);
/// A packet arrives this long after it could leave.
const TRAVEL_US: i64 = 2_000;

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// An encoder could not be opened or failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame that cannot be packetized.
    #[error("WebRTC: {0}")]
    Rtc(#[from] RtcError),
    /// The output took no more.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Elementary streams are written of one codec only.
    #[error("streams can be written of H.264, not of {0:?}")]
    NotH264(VideoOut),
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// Video frames.
    pub frames: u64,
    /// Sound packets of 20 ms.
    pub sounds: u64,
}

/// One thing captured: when it could leave, in microseconds after the class began, and what.
enum Captured {
    Video(Encoded),
    Audio { number: u64, data: Vec<u8> },
}

/// Captures `seconds` of the class in the order a network would see it.
fn capture<E: From<CodecError>>(
    class: &Class,
    seconds: u32,
    mut each: impl FnMut(i64, Captured) -> Result<(), E>,
) -> Result<Recorded, E> {
    let (mut camera, mut microphone) = (Camera::open(class)?, Microphone::open(class)?);
    let fps = u64::from(camera.fps());
    let (frames, sounds) = (u64::from(seconds) * fps, u64::from(seconds) * Microphone::PACKETS);
    let (mut frame, mut sound) = (0, 0);
    let mut recorded = Recorded::default();
    let mut coded = Vec::new();
    while frame < frames || sound < sounds {
        // A frame can leave when it was captured, a sound packet when its last sample was heard.
        let frame_us = (frame * 1_000_000 / fps) as i64;
        let sound_us = ((sound + 1) * 1_000_000 / Microphone::PACKETS) as i64;
        if sound >= sounds || (frame < frames && frame_us <= sound_us) {
            camera.take(frame, BEGAN_WALL_US + frame_us, recorded.frames == 0, &mut coded)?;
            for picture in coded.drain(..) {
                recorded.frames += 1;
                each(frame_us, Captured::Video(picture))?;
            }
            frame += 1;
        } else {
            if let Some(data) = microphone.take(sound)? {
                recorded.sounds += 1;
                each(sound_us, Captured::Audio { number: sound, data })?;
            }
            sound += 1;
        }
    }
    Ok(recorded)
}

/// Records `seconds` of the class as ring records, each given to `each` in the order of arrival:
/// packets as an SFU passes them on, a sender report of each stream every second, and the
/// publisher's leaving at the end.
///
/// # Errors
/// Of the encoders, and of `each`.
pub fn record(
    class: &Class,
    seconds: u32,
    mut each: impl FnMut(&Record<'_>) -> io::Result<()>,
) -> Result<Recorded, RecordError> {
    let codec = peer::video_codec(class.codec);
    // RFC 3550 wants random beginnings; a recording wants the same ones every time.
    let mut video = Stream::new(1, 96, 90_000, codec.payloader()?, (1000, 0x1234_5678));
    let mut audio =
        Stream::new(2, 111, 48_000, peer::opus_codec().payloader()?, (2000, 0xFFFF_0000));
    let (mut video_seq, mut audio_seq) = (1000, 2000);
    let source_codec = match class.codec {
        VideoOut::H264 => SourceCodec::H264,
        VideoOut::Vp8 => SourceCodec::Vp8,
        VideoOut::Vp9 => SourceCodec::Vp9,
        VideoOut::Av1 => SourceCodec::Av1,
    };
    let fps = u64::from(class.look.fps.max(1));
    let mut reports = 0;
    let recorded = capture::<RecordError>(class, seconds, |us, captured| {
        while reports * 1_000_000 <= us {
            let (since, wall_us) = (reports * 1_000_000, BEGAN_WALL_US + reports * 1_000_000);
            for (track, stream) in [(VIDEO, &video), (AUDIO, &audio)] {
                let report = stream.report(since, wall_us);
                each(&Record::SenderReport {
                    source: SOURCE,
                    track,
                    ntp: ntp(wall_us),
                    rtp: report.rtp_time,
                    arrived: BEGAN.plus_micros(since + TRAVEL_US),
                })?;
            }
            reports += 1;
        }
        let (track, codec, key, packets, seq) = match captured {
            Captured::Video(frame) => {
                let ticks = frame.frame as u64 * 90_000 / fps;
                (
                    VIDEO,
                    source_codec,
                    frame.key,
                    video.packetize(ticks, frame.data)?,
                    &mut video_seq,
                )
            }
            Captured::Audio { number, data } => {
                let ticks = number * 48_000 / Microphone::PACKETS;
                (
                    AUDIO,
                    SourceCodec::Opus,
                    false,
                    audio.packetize(ticks, data.into())?,
                    &mut audio_seq,
                )
            }
        };
        for (i, packet) in packets.iter().enumerate() {
            each(&Record::Rtp(RtpRecord {
                source: SOURCE,
                track,
                codec,
                keyframe: key && i == 0,
                marker: packet.header.marker,
                layer: 0,
                seq: *seq,
                timestamp: packet.header.timestamp,
                arrived: BEGAN.plus_micros(us + TRAVEL_US),
                payload: &packet.payload,
            }))?;
            *seq += 1;
        }
        Ok(())
    })?;
    let end = BEGAN.plus_micros(i64::from(seconds) * 1_000_000 + TRAVEL_US);
    each(&Record::Gone { source: SOURCE, arrived: end })?;
    Ok(recorded)
}

/// Writes `seconds` of the class as elementary streams: H.264 with start codes, and Ogg Opus. Both
/// begin with the class and run on without gaps, so `ffmpeg -r FPS -i VIDEO -i SOUND -c copy
/// -max_interleave_delta 0 FILE` joins them in time. The coded frames are those of [`record`].
///
/// # Errors
/// Of the encoders and the outputs; a class that is not H.264.
pub fn streams(
    class: &Class,
    seconds: u32,
    mut video: impl Write,
    audio: impl Write,
) -> Result<Recorded, RecordError> {
    if class.codec != VideoOut::H264 {
        return Err(RecordError::NotH264(class.codec));
    }
    let mut ogg = OggOpus::new(audio)?;
    let recorded = capture::<RecordError>(class, seconds, |_, captured| {
        match captured {
            Captured::Video(frame) => video.write_all(&frame.data)?,
            Captured::Audio { number, data } => {
                ogg.push(&data, (number + 1) * 48_000 / Microphone::PACKETS)?;
            }
        }
        Ok(())
    })?;
    ogg.finish()?;
    video.flush()?;
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::lecture::Look;
    use super::*;

    fn small() -> Class {
        let look = Look { width: 320, height: 180, fps: 30, seed: 1 };
        Class { look, video_bitrate: 400_000, audio_starts_ms: 500, ..Class::default() }
    }

    fn bytes(class: &Class) -> (Recorded, Vec<u8>) {
        let mut all = Vec::new();
        let recorded = record(class, 2, |r| {
            let (head, payload) = r.to_bytes();
            all.extend_from_slice(&head);
            all.extend_from_slice(payload);
            Ok(())
        });
        (recorded.unwrap(), all)
    }

    #[test]
    fn a_recording_is_what_a_room_sees_and_the_same_every_time() {
        let (recorded, first) = bytes(&small());
        assert_eq!(recorded, Recorded { frames: 60, sounds: 75 });
        assert_eq!((recorded, first), bytes(&small()));

        let (mut last_arrival, mut keys, mut reports, mut gone) = (i64::MIN, 0, 0, 0);
        let mut next = [1000, 2000];
        record(&small(), 2, |r| {
            assert!(r.arrived().0 >= last_arrival, "records arrive in order");
            last_arrival = r.arrived().0;
            match r {
                Record::Rtp(p) => {
                    keys += u32::from(p.keyframe);
                    let expected = &mut next[usize::from(p.codec.is_audio())];
                    assert_eq!(p.seq, *expected);
                    *expected += 1;
                    assert!(p.payload.len() < 1200);
                }
                Record::SenderReport { .. } => reports += 1,
                Record::Gone { .. } => gone += 1,
                Record::Stage { .. } => panic!("a recording has no stage"),
            }
            Ok(())
        })
        .unwrap();
        assert_eq!((keys, reports, gone), (1, 6, 1));
    }

    #[test]
    fn another_program_finds_the_beeps_in_the_ogg_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (ogg, raw) = (folder.path().join("a.ogg"), folder.path().join("a.raw"));
        let class = Class { audio_starts_ms: 0, ..small() };
        streams(&class, 3, std::io::sink(), std::fs::File::create(&ogg).unwrap()).unwrap();
        let mut decode = std::process::Command::new("ffmpeg");
        decode.args(["-v", "error", "-nostdin", "-i"]).arg(&ogg);
        let output = decode.args(["-f", "f32le", "-ac", "1"]).arg(&raw).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let bytes = std::fs::read(&raw).unwrap();
        let mono: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|s| f32::from_le_bytes(*s)).collect();
        let onsets = super::super::sound::beep_onsets(&mono);
        assert_eq!(onsets.len(), 3, "{onsets:?}");
        assert!(
            (onsets[1] - 48_000.0).abs() < 24.0 && (onsets[2] - 96_000.0).abs() < 24.0,
            "{onsets:?}"
        );
    }

    #[test]
    fn streams_carry_every_frame() {
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        let class = Class { audio_starts_ms: 0, ..small() };
        let recorded = streams(&class, 1, &mut video, &mut audio).unwrap();
        assert_eq!(recorded, Recorded { frames: 30, sounds: 50 });
        let slices =
            hw::codec::bitstream::nal_units(&video).filter(|nal| matches!(nal[0] & 31, 1 | 5));
        assert_eq!(slices.count(), 30);
        assert!(audio.starts_with(b"OggS"));
        let vp8 = Class { codec: VideoOut::Vp8, ..small() };
        assert!(matches!(streams(&vp8, 1, Vec::new(), Vec::new()), Err(RecordError::NotH264(_))));
    }
}
