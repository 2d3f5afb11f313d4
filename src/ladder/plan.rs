//! From what the box can do to the rungs it shall encode, with the reasons in words. Pure.

use super::config::{Config, RungConfig, width_of};
use super::short_name;
use crate::link::wire::{Rung, VideoCodec};
use crate::time::Bitrate;
use crate::units::Rate;
use serde::{Deserialize, Serialize};

/// What a codec at a preset costs at one size, on content that moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Which codec.
    pub codec: VideoCodec,
    /// At which preset.
    pub preset: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// CPU-seconds a second of 30 frames, on one thread.
    pub cpu: f64,
}

/// What was measured on this box. Costs are CPU-seconds a second of media.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What it was measured on; another box or encoder has another.
    pub box_key: String,
    /// Encoders, at the sizes measured.
    pub encode: Vec<Cost>,
    /// Decoding 1280x720 at 30 frames a second.
    pub decode: f64,
    /// Scaling 1280x720 to 854x480 at 30 frames a second.
    pub scale: f64,
    /// Opus to AAC.
    pub sound: f64,
}

const FPS: f64 = 30.0;
const HD: f64 = 1280.0 * 720.0;

fn pixels(width: u32, height: u32) -> f64 {
    f64::from(width) * f64::from(height)
}

impl Calibration {
    /// Cost of a codec and preset at a size, on the line through the two nearest sizes measured;
    /// `None` if it was not measured at all.
    pub fn encode_cost(
        &self,
        codec: VideoCodec,
        preset: &str,
        (width, height): (u32, u32),
        fps: u32,
    ) -> Option<f64> {
        let same = |cost: &&Cost| cost.codec == codec && cost.preset == preset;
        let mut points: Vec<(f64, f64)> =
            self.encode.iter().filter(same).map(|c| (pixels(c.width, c.height), c.cpu)).collect();
        let wanted = pixels(width, height);
        points.sort_by(|a, b| (a.0 - wanted).abs().total_cmp(&(b.0 - wanted).abs()));
        points.dedup_by(|a, b| a.0 == b.0);
        let cpu = match points[..] {
            [] => return None,
            [(size, cpu)] => cpu * wanted / size,
            [(a, cost_a), (b, cost_b), ..] => {
                let line = cost_a + (cost_b - cost_a) * (wanted - a) / (b - a);
                // Noise must not make a small picture free.
                line.max(0.3 * cost_a * wanted / a)
            }
        };
        Some(cpu * f64::from(fps) / FPS)
    }

    /// Cost of all that is not encoding, for a canvas of this size.
    fn base_cost(&self, (width, height): (u32, u32), fps: u32) -> f64 {
        let video = (self.decode + self.scale) * pixels(width, height) / HD;
        self.sound + video * f64::from(fps) / FPS
    }
}

/// A rung that was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    /// Its name.
    pub name: String,
    /// CPU-seconds a second it is expected to take; `None` if it was not measured.
    pub cpu: Option<f64>,
    /// Whether it is in the plan.
    pub chosen: bool,
}

/// The rungs chosen, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The rungs: H.264, then AV1, each best first.
    pub rungs: Vec<Rung>,
    /// Cores counted on.
    pub cores: u32,
    /// CPU-seconds a second that a class may take.
    pub budget: f64,
    /// CPU-seconds a second that the plan is expected to take, decoding and sound included.
    pub expected: f64,
    /// Every rung that was considered.
    pub considered: Vec<Considered>,
    /// The reasons, for people: one sentence each.
    pub words: Vec<String>,
}

/// Sizes offered, as heights; each set is tried as a whole, the richest first.
const H264_SETS: [&[u32]; 6] =
    [&[1080, 720, 480, 360], &[1080, 720, 360], &[720, 480, 360], &[720, 360], &[480, 360], &[360]];

const AV1_SETS: [&[u32]; 8] = [
    &[1080, 720, 480, 360],
    &[1080, 720, 360],
    &[720, 480, 360],
    &[720, 360],
    &[720],
    &[480, 360],
    &[480],
    &[360],
];

/// One encoder thread may be busy this share of the time, so that a picture that is harder than
/// most does not hold up the next.
const BUSY: f64 = 0.6;

impl Plan {
    /// The plan for this box: rungs as configured, or else the richest set within the budget. A 360
    /// line H.264 rung is there even if nothing fits.
    pub fn choose(calibration: &Calibration, cores: u32, config: &Config, fps: u32) -> Self {
        let cores = cores.max(1);
        let chooser =
            Chooser { calibration, cores, config, fps, budget: f64::from(cores) * config.max_cpu };
        match config.rungs.is_empty() {
            true => chooser.automatic(),
            false => chooser.configured(),
        }
    }

    /// The canvas: the size of the largest rung.
    pub fn canvas(&self) -> (u32, u32) {
        let sizes = self.rungs.iter().map(|rung| (rung.width, rung.height));
        sizes.max_by_key(|(width, height)| width * height).unwrap_or((640, 360))
    }
}

struct Chooser<'a> {
    calibration: &'a Calibration,
    cores: u32,
    config: &'a Config,
    fps: u32,
    budget: f64,
}

impl Chooser<'_> {
    fn cost(&self, codec: VideoCodec, height: u32) -> Option<f64> {
        let size = (width_of(height), height);
        self.calibration.encode_cost(codec, self.config.preset(codec), size, self.fps)
    }

    /// Cost of a set of rungs of one codec; infinite if one was not measured.
    fn total(&self, codec: VideoCodec, heights: &[u32]) -> f64 {
        heights.iter().map(|h| self.cost(codec, *h).unwrap_or(f64::INFINITY)).sum()
    }

    /// What is left of the budget beside encoding, with a canvas of this height.
    fn room(&self, top: u32) -> f64 {
        self.budget - self.calibration.base_cost((width_of(top), top), self.fps)
    }

    fn automatic(&self) -> Plan {
        let top = self.config.top_height;
        let fits_top = |set: &&&[u32]| set.iter().all(|height| *height <= top);
        // A top that is none of the usual heights is one of its own.
        let mut sets: Vec<Vec<u32>> = Vec::new();
        if ![1080, 720, 480, 360].contains(&top) {
            let below = |set: &[u32]| [&[top], set].concat();
            sets.extend(H264_SETS.iter().filter(fits_top).map(|set| below(set)));
        }
        sets.extend(H264_SETS.iter().filter(fits_top).map(|set| set.to_vec()));
        let h264 = sets
            .iter()
            .find(|set| self.total(VideoCodec::H264, set) <= self.room(top_of(set)))
            .cloned()
            .unwrap_or_else(|| vec![360]);
        let room = self.room(top_of(&h264));
        let h264_cost = self.total(VideoCodec::H264, &h264);
        let mut words = vec![format!(
            "{} {} at {:.0} % leave {:.2} CPU-seconds a second for a class; decoding, composing and sound take {:.2} of them.",
            self.cores,
            if self.cores == 1 { "core" } else { "cores" },
            100.0 * self.config.max_cpu,
            self.budget,
            self.budget - room,
        )];
        if h264_cost > room {
            words.push(format!(
                "The box is too small for real time even at 360 lines ({:.2} needed): expect lag.",
                h264_cost + self.budget - room
            ));
        }
        let av1 = self.automatic_av1(&h264, room - h264_cost, &mut words);
        let wanted: Vec<RungConfig> = h264
            .iter()
            .map(|height| (VideoCodec::H264, *height))
            .chain(av1.iter().map(|height| (VideoCodec::Av1, *height)))
            .map(|(codec, height)| RungConfig { codec, height, bitrate: None, preset: None })
            .collect();
        let mut plan = self.plan(&wanted, words);
        self.explain_left_out(&mut plan, &h264, &av1, top);
        plan
    }

    fn automatic_av1(&self, h264: &[u32], room: f64, words: &mut Vec<String>) -> Vec<u32> {
        if !self.config.av1 {
            words.push("AV1 is switched off (ladder.av1 = false).".into());
            return Vec::new();
        }
        if self.cost(VideoCodec::Av1, 720).is_none() {
            words.push(
                "AV1 was not measured here: SVT-AV1 does not open. Install libsvtav1enc2 and run `proscenium plan --recalibrate`.".into(),
            );
            return Vec::new();
        }
        // An AV1 rung is there to take the place of an H.264 rung of its size, never beyond it.
        let set = AV1_SETS.iter().find(|set| {
            set.iter().all(|height| h264.contains(height))
                && self.total(VideoCodec::Av1, set) <= room
        });
        set.map_or(Vec::new(), |set| set.to_vec())
    }

    fn explain_left_out(&self, plan: &mut Plan, h264: &[u32], av1: &[u32], top: u32) {
        let free = plan.budget - plan.expected;
        for (codec, chosen) in [(VideoCodec::H264, h264), (VideoCodec::Av1, av1)] {
            if codec == VideoCodec::Av1 && !self.config.av1 {
                continue;
            }
            for height in [1080, 720, 480, 360].iter().filter(|h| **h <= top) {
                if chosen.contains(height) {
                    continue;
                }
                let Some(cpu) = self.cost(codec, *height) else { continue };
                let name = format!("{}-{height}", short_name(codec));
                plan.words.push(match codec == VideoCodec::Av1 && !h264.contains(height) {
                    true => format!("{name} is left out: there is no H.264 rung of that size."),
                    false if cpu > free => format!(
                        "{name} is left out: it would take {cpu:.2}, and {:.2} are free.",
                        free.max(0.0)
                    ),
                    false => format!(
                        "{name} is left out: the rungs chosen serve more viewers for the same {:.2}.",
                        plan.expected
                    ),
                });
                plan.considered.push(Considered { name, cpu: Some(cpu), chosen: false });
            }
        }
    }

    fn configured(&self) -> Plan {
        let words = vec!["The rungs are configured (ladder.rungs), not chosen.".to_owned()];
        let mut plan = self.plan(&self.config.rungs, words);
        if plan.expected > plan.budget {
            plan.words.push(format!(
                "They need {:.2} CPU-seconds a second and {:.2} are allowed: expect the dearest to be dropped in class.",
                plan.expected, plan.budget
            ));
        }
        plan
    }

    fn plan(&self, wanted: &[RungConfig], mut words: Vec<String>) -> Plan {
        let mut considered = Vec::new();
        let mut rungs = Vec::new();
        let mut encoding = 0.0;
        for rung in wanted {
            let size = (width_of(rung.height), rung.height);
            let preset = rung.preset.as_deref().unwrap_or(self.config.preset(rung.codec));
            let cpu = self.calibration.encode_cost(rung.codec, preset, size, self.fps);
            encoding += cpu.unwrap_or(0.0);
            let name = format!("{}-{}", short_name(rung.codec), rung.height);
            let bitrate = rung.bitrate.map_or_else(|| bitrate(rung.codec, size, self.fps), |r| r.0);
            let threads = self.threads(rung.codec, cpu.unwrap_or(0.0));
            words.push(match cpu {
                Some(cpu) => format!("{name}: {}, preset {preset}, takes {cpu:.2}.", Rate(bitrate)),
                None => format!("{name}: {}, preset {preset}, was not measured.", Rate(bitrate)),
            });
            considered.push(Considered { name: name.clone(), cpu, chosen: true });
            rungs.push(Rung {
                name,
                codec: rung.codec,
                width: size.0,
                height: size.1,
                bitrate,
                preset: preset.to_owned(),
                threads,
            });
        }
        let mut plan = Plan {
            rungs,
            cores: self.cores,
            budget: self.budget,
            expected: 0.0,
            considered,
            words,
        };
        plan.expected = encoding + self.calibration.base_cost(plan.canvas(), self.fps);
        plan
    }

    /// As few threads as keep up: several cost efficiency, and in x264 picture quality.
    fn threads(&self, codec: VideoCodec, cpu: f64) -> u32 {
        let busy = match codec {
            VideoCodec::H264 => BUSY,
            // SVT-AV1's stages run beside each other anyway; another level only saves time.
            VideoCodec::Av1 => BUSY / 3.0,
        };
        ((cpu / busy).ceil() as u32).clamp(1, self.cores.min(6))
    }
}

fn top_of(heights: &[u32]) -> u32 {
    heights.iter().copied().max().unwrap_or(360)
}

/// The planner's bit rate for a size: what slides and a talking head need to be legible, by the
/// measurements behind docs/BENCHMARKS.md; AV1 at three fifths of H.264.
fn bitrate(codec: VideoCodec, (width, height): (u32, u32), fps: u32) -> Bitrate {
    const LADDER: [(f64, f64); 5] = [
        (428.0 * 240.0, 350.0),
        (640.0 * 360.0, 600.0),
        (854.0 * 480.0, 1000.0),
        (HD, 2000.0),
        (1920.0 * 1080.0, 4000.0),
    ];
    let wanted = pixels(width, height);
    let above = LADDER.iter().position(|(size, _)| *size >= wanted).unwrap_or(LADDER.len() - 1);
    let (a, b) = (LADDER[above.saturating_sub(1)], LADDER[above]);
    let kbps = match b.0 > a.0 {
        true => a.1 + (b.1 - a.1) * ((wanted - a.0) / (b.0 - a.0)).clamp(0.0, 1.0),
        false => b.1,
    };
    // Twice the frames are far from twice the bits: the pictures are closer to each other.
    let kbps = kbps * (f64::from(fps) / FPS).max(0.5).powf(0.5);
    let share = match codec {
        VideoCodec::H264 => 1.0,
        VideoCodec::Av1 => 0.6,
    };
    Bitrate(((kbps * share / 10.0).round() as u64).max(5) * 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The box of the first measurements, with content that moves: twice what slides cost.
    fn measured() -> Calibration {
        let cost = |codec, preset: &str, height, cpu| Cost {
            codec,
            preset: preset.into(),
            width: width_of(height),
            height,
            cpu,
        };
        use VideoCodec::{Av1, H264};
        Calibration {
            box_key: "test".into(),
            encode: vec![
                cost(H264, "superfast", 720, 0.23),
                cost(H264, "superfast", 360, 0.068),
                cost(Av1, "9", 720, 0.64),
                cost(Av1, "9", 360, 0.2),
            ],
            decode: 0.04,
            scale: 0.033,
            sound: 0.03,
        }
    }

    fn slowed(by: f64) -> Calibration {
        let mut calibration = measured();
        calibration.encode.iter_mut().for_each(|cost| cost.cpu *= by);
        calibration.decode *= by;
        calibration.scale *= by;
        calibration.sound *= by;
        calibration
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.rungs.iter().map(|rung| rung.name.as_str()).collect()
    }

    #[test]
    fn two_cores_carry_three_h264_rungs_and_two_of_av1() {
        let plan = Plan::choose(&measured(), 2, &Config::default(), 30);
        assert_eq!(names(&plan), ["h264-720", "h264-480", "h264-360", "av1-720", "av1-360"]);
        let rates: Vec<_> = plan.rungs.iter().map(|rung| rung.bitrate.0 / 1000).collect();
        assert_eq!(rates, [2000, 1000, 600, 1200, 360]);
        assert!(plan.expected <= plan.budget && plan.expected > 1.0, "{plan:?}");
        assert_eq!(plan.canvas(), (1280, 720));
        assert!(plan.words.iter().any(|w| w.contains("av1-480 is left out")), "{:?}", plan.words);
        assert_eq!(plan.rungs[0].threads, 1);
    }

    #[test]
    fn a_weaker_box_gives_up_av1_before_h264_and_never_the_last_rung() {
        let mut seen = Vec::new();
        for by in [1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 30.0] {
            let plan = Plan::choose(&slowed(by), 2, &Config::default(), 30);
            seen.push(names(&plan).join(" "));
            assert!(names(&plan).contains(&"h264-360"));
        }
        assert_eq!(seen[0], "h264-720 h264-480 h264-360 av1-720 av1-360");
        assert_eq!(seen[seen.len() - 1], "h264-360");
        let counts: Vec<_> = seen.iter().map(|s| s.split(' ').count()).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b), "{seen:?}");
        let tiny = Plan::choose(&slowed(30.0), 1, &Config::default(), 30);
        assert!(
            tiny.words.iter().any(|w| w.contains("too small for real time")),
            "{:?}",
            tiny.words
        );
    }

    #[test]
    fn a_strong_box_fills_up_to_the_top_that_is_allowed() {
        let plan = Plan::choose(&measured(), 16, &Config::default(), 30);
        assert_eq!(
            names(&plan),
            ["h264-720", "h264-480", "h264-360", "av1-720", "av1-480", "av1-360"]
        );
        let config = Config { top_height: 1080, ..Config::default() };
        let plan = Plan::choose(&measured(), 16, &config, 30);
        assert_eq!(plan.canvas(), (1920, 1080));
        assert_eq!(plan.rungs.len(), 8);
        // 1080 lines of AV1 take more than one core's time.
        assert!(plan.rungs[4].threads > 1, "{:?}", plan.rungs[4]);
        let config = Config { top_height: 540, ..Config::default() };
        assert_eq!(Plan::choose(&measured(), 16, &config, 30).canvas(), (960, 540));
    }

    #[test]
    fn av1_can_be_off_or_missing() {
        let config = Config { av1: false, ..Config::default() };
        let plan = Plan::choose(&measured(), 8, &config, 30);
        assert_eq!(plan.rungs.len(), 3);
        assert!(plan.words.iter().any(|w| w.contains("switched off")));
        let mut calibration = measured();
        calibration.encode.retain(|cost| cost.codec == VideoCodec::H264);
        let plan = Plan::choose(&calibration, 8, &Config::default(), 30);
        assert_eq!(plan.rungs.len(), 3);
        assert!(plan.words.iter().any(|w| w.contains("SVT-AV1 does not open")));
    }

    #[test]
    fn configured_rungs_are_taken_as_they_are_with_a_warning() {
        let rung = |codec, height| RungConfig {
            codec,
            height,
            bitrate: (height == 720).then_some(Rate::kbps(3000)),
            preset: None,
        };
        let rungs = vec![rung(VideoCodec::Av1, 720), rung(VideoCodec::H264, 240)];
        let config = Config { rungs, max_cpu: 0.1, ..Config::default() };
        let plan = Plan::choose(&measured(), 2, &config, 30);
        assert_eq!(names(&plan), ["av1-720", "h264-240"]);
        assert_eq!(plan.rungs[0].bitrate, Bitrate(3_000_000));
        assert!(plan.words.iter().any(|w| w.contains("expect the dearest to be dropped")));
    }

    #[test]
    fn twice_the_frames_cost_twice() {
        let calibration = measured();
        let at = |fps| calibration.encode_cost(VideoCodec::H264, "superfast", (1280, 720), fps);
        assert_eq!(at(60), at(30).map(|cpu| cpu * 2.0));
        let size = (854, 480);
        let between = calibration.encode_cost(VideoCodec::H264, "superfast", size, 30);
        assert!(between.is_some_and(|cpu| (0.09..0.15).contains(&cpu)), "{between:?}");
        assert_eq!(calibration.encode_cost(VideoCodec::H264, "slow", size, 30), None);
    }

    proptest! {
        #[test]
        fn any_box_gets_a_plan_that_the_encoders_would_take(
            factor in 0.01..100.0_f64, cores in 0..256_u32, share in 0.1..1.0_f64,
            top in prop_oneof![Just(360_u32), Just(480), Just(720), Just(1080), 180..540_u32],
            fps in prop_oneof![Just(24_u32), Just(25), Just(30), Just(50), Just(60)])
        {
            let top = if top < 360 { top * 2 } else { top };
            let config = Config { max_cpu: share, top_height: top / 2 * 2, ..Config::default() };
            prop_assert!(config.check().is_ok());
            let plan = Plan::choose(&slowed(factor), cores, &config, fps);
            prop_assert!(plan.rungs.iter().any(|rung| rung.codec == VideoCodec::H264));
            prop_assert!(plan.rungs.len() < crate::link::wire::MAX_RENDITIONS);
            prop_assert!(plan.rungs.iter().all(|rung| rung.height <= config.top_height.max(360)));
            let only_one = plan.rungs.len() == 1;
            prop_assert!(only_one || plan.expected <= plan.budget + 1e-9);
        }
    }
}
