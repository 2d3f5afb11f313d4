//! What can be configured about the ladder.

use super::{encoder_of, short_name};
use crate::link::wire::{MAX_RENDITIONS, VideoCodec};
use crate::units::Rate;
use hw::codec::{VideoEncoderConfig, VideoOut};
use serde::{Deserialize, Serialize};

/// Section `[ladder]` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The share of all cores that one class may use, 0.1 to 1: the rest is for packets, players
    /// and surprises.
    pub max_cpu: f64,
    /// Height of the best rung in pixels, at most 1080.
    pub top_height: u32,
    /// Whether AV1 rungs are added where the box has the speed.
    pub av1: bool,
    /// x264's preset, `ultrafast` to `placebo`.
    pub h264_preset: String,
    /// SVT-AV1's preset, `0` (slow) to `13` (fast).
    pub av1_preset: String,
    /// The rungs themselves, best first. Empty: chosen by the planner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<RungConfig>,
}

/// `[[ladder.rungs]]`: one rung as wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RungConfig {
    /// `h264` or `av1`.
    pub codec: VideoCodec,
    /// Height in pixels, even; the width follows at 16:9.
    pub height: u32,
    /// Bit rate; the planner's own choice if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<Rate>,
    /// Preset, in the encoder's words; the section's if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_cpu: 0.8,
            top_height: 720,
            av1: true,
            h264_preset: VideoOut::H264.default_preset().into(),
            av1_preset: VideoOut::Av1.default_preset().into(),
            rungs: Vec::new(),
        }
    }
}

/// Width at 16:9 for a height, rounded up to even.
pub const fn width_of(height: u32) -> u32 {
    (height * 16).div_ceil(9).next_multiple_of(2)
}

impl Config {
    /// The preset for a codec.
    pub fn preset(&self, codec: VideoCodec) -> &str {
        match codec {
            VideoCodec::H264 => &self.h264_preset,
            VideoCodec::Av1 => &self.av1_preset,
        }
    }

    /// The rules that serde cannot see.
    ///
    /// # Errors
    /// The key that breaks one, what is wrong, and the cure.
    pub fn check(&self) -> Result<(), (String, String, String)> {
        let wrong = |key: &str, what: String, cure: &str| Err((key.into(), what, cure.into()));
        if !(0.1..=1.0).contains(&self.max_cpu) {
            let what = format!("{} is no share from 0.1 to 1", self.max_cpu);
            return wrong("max_cpu", what, "0.8 leaves a fifth of the box for everything else");
        }
        if !(360..=1080).contains(&self.top_height) || !self.top_height.is_multiple_of(2) {
            let what = format!("{} is no even height from 360 to 1080", self.top_height);
            return wrong("top_height", what, "use 1080, 720, 480 or 360");
        }
        for codec in [VideoCodec::H264, VideoCodec::Av1] {
            preset(&format!("{}_preset", short_name(codec)), codec, self.preset(codec))?;
        }
        if self.rungs.is_empty() {
            return Ok(());
        }
        if self.rungs.len() >= MAX_RENDITIONS {
            let what = format!("{} rungs, at most {} fit", self.rungs.len(), MAX_RENDITIONS - 1);
            return wrong("rungs", what, "three H.264 and two AV1 rungs serve every network");
        }
        if !self.rungs.iter().any(|rung| rung.codec == VideoCodec::H264) {
            return wrong(
                "rungs",
                "no H.264 rung: devices without AV1 could not watch".into(),
                "add one, for example { codec = \"h264\", height = 360 }",
            );
        }
        for (n, rung) in self.rungs.iter().enumerate() {
            let key = |name: &str| format!("rungs[{n}].{name}");
            if !(144..=1080).contains(&rung.height) || !rung.height.is_multiple_of(2) {
                let what = format!("{} is no even height from 144 to 1080", rung.height);
                return wrong(&key("height"), what, "use 1080, 720, 480, 360 or 240");
            }
            if let Some(rate) = rung.bitrate
                && !(50_000..=50_000_000).contains(&rate.0.0)
            {
                let what = format!("{rate} is outside 50 kb/s to 50 Mb/s");
                return wrong(&key("bitrate"), what, "2 Mb/s is usual for H.264 at 720");
            }
            if let Some(name) = &rung.preset {
                preset(&key("preset"), rung.codec, name)?;
            }
            let same =
                |other: &&RungConfig| (other.codec, other.height) == (rung.codec, rung.height);
            if self.rungs.iter().filter(same).count() > 1 {
                let what = format!("two {} rungs of {} lines", short_name(rung.codec), rung.height);
                return wrong(&key("height"), what, "give each rung a height of its own");
            }
        }
        Ok(())
    }
}

fn preset(key: &str, codec: VideoCodec, preset: &str) -> Result<(), (String, String, String)> {
    let config = VideoEncoderConfig {
        preset: preset.into(),
        ..VideoEncoderConfig::live(encoder_of(codec), 640, 360, 30, 600_000)
    };
    config.check().map_err(|error| (key.into(), format!("'{preset}': {}", error.said), error.cure))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_the_usual_ones() {
        assert_eq!([1080, 720, 480, 360, 240].map(width_of), [1920, 1280, 854, 640, 428]);
    }

    #[test]
    fn mistakes_are_told_with_key_and_cure() {
        assert_eq!(Config::default().check(), Ok(()));
        let of = |text: &str| toml::from_str::<Config>(text).unwrap().check().unwrap_err();
        assert_eq!(of("max_cpu = 80").0, "max_cpu");
        assert_eq!(of("top_height = 2160").0, "top_height");
        let (key, what, cure) = of("h264_preset = \"quick\"");
        assert_eq!(key, "h264_preset");
        assert!(what.contains("quick") && cure.contains("superfast"), "{what} / {cure}");
        assert_eq!(of("av1_preset = \"14\"").0, "av1_preset");
        assert_eq!(of("rungs = [{ codec = \"av1\", height = 720 }]").0, "rungs");
        let (key, ..) = of("rungs = [{ codec = \"h264\", height = 720, bitrate = \"2 kb/s\" }]");
        assert_eq!(key, "rungs[0].bitrate");
        let twice = "{ codec = \"h264\", height = 720 }";
        assert_eq!(of(&format!("rungs = [{twice}, {twice}]")).0, "rungs[0].height");
        let unknown = toml::from_str::<Config>("rungs = [{ codec = \"vp8\", height = 720 }]");
        assert!(unknown.unwrap_err().to_string().contains("h264"));
    }
}
