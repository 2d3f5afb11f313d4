//! Where parts and segments are cut, and the playlist constants that follow from it.
//!
//! Video is cut on its frame grid. Sound is cut at the AAC frame nearest to the video cut, so that
//! the two never differ by more than half an AAC frame (10.7 ms) however long the class lasts, and a
//! successor that resumes at a video frame finds the same cuts.

use crate::link::wire::OutputFormat;
use crate::time::MediaTime;

/// Samples in an AAC-LC frame.
pub const AAC_FRAME: u64 = 1024;
/// The sound's timescale and sample rate, Hz.
pub const AUDIO_HZ: u32 = 48_000;
/// The video's timescale, Hz.
pub const VIDEO_HZ: u32 = 90_000;

/// Ticks of [`MediaTime`] in an AAC frame: exactly 15360.
const AAC_TICKS: u64 = AAC_FRAME * MediaTime::HZ as u64 / AUDIO_HZ as u64;

/// Why an output format cannot be packaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Not on the grid of 1/720000 s, or out of reason.
    #[error("{0} frames a second cannot be packaged; use 24, 25, 30, 50 or 60")]
    Fps(u32),
    /// Empty or too long.
    #[error(
        "a part of {part} frames and a segment of {segment} frames at {fps} fps: parts must last 0.1 to 2 s, segments 1 to 12 s"
    )]
    Length {
        /// Frames a part.
        part: u32,
        /// Frames a segment.
        segment: u32,
        /// Frames a second.
        fps: u32,
    },
    /// A segment would not begin with a key frame.
    #[error(
        "segment_frames ({segment}) must be a multiple of gop_frames ({gop}): each segment begins with a key frame"
    )]
    Gop {
        /// Frames a segment.
        segment: u32,
        /// Frames between key frames.
        gop: u32,
    },
    /// RFC 8216bis 4.4.4.9: parts must be at least 85 % of the part target.
    #[error(
        "a part of {part} frames at {fps} fps is too short beside a part of sound ({aac} AAC frames): \
         players want every part within 85 % of the longest; use a longer part"
    )]
    Uneven {
        /// Frames a part.
        part: u32,
        /// Frames a second.
        fps: u32,
        /// AAC frames in the longest part of sound.
        aac: u64,
    },
}

/// The cuts of one output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    fps: u64,
    part_frames: u64,
    segment_frames: u64,
    gop_frames: u64,
}

impl Geometry {
    /// Checks that `format` can be packaged by the rules of LL-HLS.
    pub fn new(format: &OutputFormat) -> Result<Self, GeometryError> {
        let OutputFormat { fps, part_frames, segment_frames, gop_frames, .. } = *format;
        if !matches!(fps, 24 | 25 | 30 | 50 | 60) {
            return Err(GeometryError::Fps(fps));
        }
        let length = GeometryError::Length { part: part_frames, segment: segment_frames, fps };
        let in_part =
            part_frames.checked_mul(10).is_some_and(|n| n >= fps) && part_frames <= 2 * fps;
        if !in_part || segment_frames < fps.max(part_frames) || segment_frames > 12 * fps {
            return Err(length);
        }
        if gop_frames == 0 || segment_frames % gop_frames != 0 {
            return Err(GeometryError::Gop { segment: segment_frames, gop: gop_frames });
        }
        let geometry = Self {
            fps: fps.into(),
            part_frames: part_frames.into(),
            segment_frames: segment_frames.into(),
            gop_frames: gop_frames.into(),
        };
        // Parts of sound are all independent, which exempts them; parts of video are not.
        let video = geometry.frame_time(geometry.part_frames).0 as u64;
        let aac = geometry.most_aac_in_part();
        if video * 100 < aac * AAC_TICKS * 85 {
            return Err(GeometryError::Uneven { part: part_frames, fps, aac });
        }
        Ok(geometry)
    }

    /// Start of video frame `frame`; the end of time for numbers no class can reach.
    pub fn frame_time(&self, frame: u64) -> MediaTime {
        MediaTime(frame.saturating_mul(MediaTime::HZ as u64 / self.fps).min(i64::MAX as u64) as i64)
    }

    /// Start of AAC frame `aac`.
    pub fn aac_time(aac: u64) -> MediaTime {
        MediaTime((aac * AAC_TICKS) as i64)
    }

    /// The AAC frame whose start is nearest to the start of video frame `frame`; the later one if
    /// both are equally near.
    pub fn aac_at(&self, frame: u64) -> u64 {
        (self.frame_time(frame).0 as u64 + AAC_TICKS / 2) / AAC_TICKS
    }

    /// Length of a video frame in the video's timescale.
    pub fn frame_units(&self) -> u32 {
        VIDEO_HZ / self.fps as u32
    }

    /// Frames a second.
    pub fn fps(&self) -> u32 {
        self.fps as u32
    }

    /// Frames in a full part.
    pub fn part_frames(&self) -> u64 {
        self.part_frames
    }

    /// Frames in a full segment.
    pub fn segment_frames(&self) -> u64 {
        self.segment_frames
    }

    /// Frames from one key frame to the next.
    pub fn gop_frames(&self) -> u64 {
        self.gop_frames
    }

    /// Parts in a full segment; the last may be shorter.
    pub fn parts_per_segment(&self) -> u64 {
        self.segment_frames.div_ceil(self.part_frames)
    }

    fn most_aac_in_part(&self) -> u64 {
        (self.frame_time(self.part_frames).0 as u64).div_ceil(AAC_TICKS)
    }

    /// Longest part of any rendition.
    pub fn longest_part(&self) -> MediaTime {
        self.frame_time(self.part_frames).max(Self::aac_time(self.most_aac_in_part()))
    }

    /// PART-TARGET in units of 10 microseconds, the playlist's precision, rounded up: the same for
    /// every rendition.
    pub fn part_target(&self) -> u64 {
        (self.longest_part().0 as u64 * 100_000).div_ceil(MediaTime::HZ as u64)
    }

    /// EXT-X-TARGETDURATION in seconds: the longest segment of any rendition, rounded to the
    /// nearest second.
    pub fn target_duration(&self) -> u64 {
        let video = self.frame_time(self.segment_frames).0 as u64;
        let sound = video.div_ceil(AAC_TICKS) * AAC_TICKS;
        ((sound + MediaTime::HZ as u64 / 2) / MediaTime::HZ as u64).max(1)
    }

    /// Parts a request may ask ahead (RFC 8216bis 6.2.5.2): 3 where the part target is a second or
    /// more, otherwise three seconds' worth.
    pub fn advance_part_limit(&self) -> u64 {
        let target = self.part_target();
        if target >= 100_000 { 3 } else { 300_000 / target }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::package::testing::format;
    use proptest::prelude::*;

    #[test]
    fn a_third_of_a_second_is_15_or_16_aac_frames() {
        let g = Geometry::new(&format()).unwrap();
        let lengths: Vec<u64> =
            (0..48).map(|k| g.aac_at((k + 1) * 10) - g.aac_at(k * 10)).collect();
        assert!(lengths.iter().all(|n| (15..=16).contains(n)), "{lengths:?}");
        assert!(lengths.contains(&15) && lengths.contains(&16));
        assert_eq!(g.part_target(), 34_134);
        assert_eq!(g.target_duration(), 4);
        assert_eq!(g.parts_per_segment(), 12);
        assert_eq!(g.advance_part_limit(), 8);
    }

    #[test]
    fn settings_that_break_the_85_percent_rule_are_refused_in_words() {
        let thin = OutputFormat {
            fps: 25,
            part_frames: 3,
            segment_frames: 100,
            gop_frames: 50,
            ..format()
        };
        // 0.12 s beside 6 AAC frames (0.128 s): 93 %, fine.
        assert!(Geometry::new(&thin).is_ok());
        let uneven = OutputFormat {
            fps: 60,
            part_frames: 7,
            segment_frames: 240,
            gop_frames: 120,
            ..format()
        };
        // 0.1167 s beside 6 AAC frames (0.128 s): 91 %.
        assert!(Geometry::new(&uneven).is_ok());
        for (bad, word) in [
            (OutputFormat { fps: 29, ..format() }, "29 frames"),
            (OutputFormat { part_frames: 0, ..format() }, "0.1 to 2 s"),
            (OutputFormat { part_frames: u32::MAX, ..format() }, "0.1 to 2 s"),
            (OutputFormat { segment_frames: 5, ..format() }, "segments 1 to 12 s"),
            (OutputFormat { gop_frames: 0, ..format() }, "multiple of gop_frames"),
            (OutputFormat { gop_frames: 70, ..format() }, "multiple of gop_frames"),
        ] {
            let error = Geometry::new(&bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_keeps_the_rules(
            fps in prop::sample::select(vec![24u32, 25, 30, 50, 60]),
            part in 1u32..130, segment in 1u32..12, start in 0u64..10_000_000,
        ) {
            let format = OutputFormat { fps, part_frames: part, segment_frames: segment * fps, gop_frames: fps, ..format() };
            let Ok(g) = Geometry::new(&format) else { return Ok(()) };
            let (from, to) = (g.aac_at(start), g.aac_at(start + u64::from(part)));
            let sound = Geometry::aac_time(to) - Geometry::aac_time(from);
            let video = g.frame_time(u64::from(part));
            let target = g.part_target() as f64 / 1e5;
            prop_assert!(video.as_secs_f64() <= target && sound.as_secs_f64() <= target);
            prop_assert!(video.as_secs_f64() >= 0.85 * target);
            let apart = (Geometry::aac_time(from) - g.frame_time(start)).0.unsigned_abs();
            prop_assert!(apart <= AAC_TICKS / 2);
            let last = g.aac_at(start + g.segment_frames());
            let longest = (Geometry::aac_time(last) - Geometry::aac_time(from)).as_secs_f64();
            prop_assert!(longest.round() as u64 <= g.target_duration());
        }
    }
}
