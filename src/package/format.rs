//! The output's shape as configured: frame rate, and how long a GOP, a segment and a part are.

use crate::link::wire::OutputFormat;
use crate::units::{Rate, Span};
use serde::{Deserialize, Serialize};

/// Section `[output]` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Frames a second: 24, 25, 30, 50 or 60.
    pub fps: u32,
    /// Length of a segment, a whole number of GOPs.
    pub segment: Span,
    /// Time between two key frames.
    pub gop: Span,
    /// Length of a part; rounded to whole frames.
    pub part: Span,
    /// Bit rate of the sound.
    pub audio: Rate,
    /// How long after its media time a frame is composed: the time that late packets have to arrive.
    pub playout_delay: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fps: 30,
            segment: Span::secs(4),
            gop: Span::secs(2),
            part: Span::millis(333),
            audio: Rate::kbps(96),
            playout_delay: Span::millis(250),
        }
    }
}

impl Config {
    /// The format in frames.
    ///
    /// # Errors
    /// The key that breaks a rule, what is wrong, and the cure.
    pub fn format(&self) -> Result<OutputFormat, (&'static str, String, String)> {
        if ![24, 25, 30, 50, 60].contains(&self.fps) {
            return Err((
                "fps",
                format!("{} frames a second is not offered", self.fps),
                "use 24, 25, 30, 50 or 60".into(),
            ));
        }
        let frames = |span: Span| -> u32 {
            let us = span.as_micros().clamp(0, 60_000_000) as u64;
            ((us * u64::from(self.fps) + 500_000) / 1_000_000) as u32
        };
        let bounds = |key: &'static str, span: Span, least: Span, most: Span| {
            if span < least || span > most {
                return Err((
                    key,
                    format!("{span} is outside {least} to {most}"),
                    format!("choose a length from {least} to {most}"),
                ));
            }
            Ok(())
        };
        bounds("gop", self.gop, Span::millis(500), Span::secs(6))?;
        bounds("segment", self.segment, Span::secs(1), Span::secs(10))?;
        bounds("part", self.part, Span::millis(150), Span::secs(2))?;
        bounds("playout_delay", self.playout_delay, Span::millis(20), Span::secs(2))?;
        let (gop, segment, part) = (frames(self.gop), frames(self.segment), frames(self.part));
        if !segment.is_multiple_of(gop) {
            return Err((
                "segment",
                format!("{} is no whole number of GOPs of {}", self.segment, self.gop),
                format!("use {}", Span(self.gop.0 * (segment / gop).max(1))),
            ));
        }
        if part > gop {
            return Err((
                "part",
                format!("{} is longer than a GOP ({})", self.part, self.gop),
                "make the part shorter: 333 ms is usual".into(),
            ));
        }
        let audio = self.audio.0;
        if !(32_000..=320_000).contains(&audio.0) {
            return Err((
                "audio",
                format!("{} is outside 32 to 320 kb/s", self.audio),
                "use 96 kb/s".into(),
            ));
        }
        Ok(OutputFormat {
            fps: self.fps,
            part_frames: part,
            segment_frames: segment,
            gop_frames: gop,
            audio_bitrate: audio,
            playout_delay_us: self.playout_delay.as_micros() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_default_is_a_third_of_a_second_a_part_and_four_seconds_a_segment() {
        let format = Config::default().format().unwrap();
        assert_eq!((format.part_frames, format.gop_frames, format.segment_frames), (10, 60, 120));
    }

    #[test]
    fn rules_name_the_key_and_the_cure() {
        let config = Config { gop: Span::secs(3), ..Config::default() };
        let (key, what, cure) = config.format().unwrap_err();
        assert_eq!(key, "segment");
        assert!(what.contains("3 s") && cure.contains("3 s"), "{what} / {cure}");
        assert_eq!(Config { fps: 29, ..Config::default() }.format().unwrap_err().0, "fps");
        let part = Config { part: Span::millis(20), ..Config::default() };
        assert_eq!(part.format().unwrap_err().0, "part");
    }
}
