//! What viewers saw, for people and for machines.

use super::follow::Followed;
use proscenium::teacher::check;
use serde::Serialize;
use std::time::Instant;

/// Times from a hurt to the next part, milliseconds.
#[derive(Debug, Serialize)]
pub struct Recovery {
    p50: f64,
    p95: f64,
    most: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    version: u32,
    scenario: &'static str,
    seed: u64,
    times: usize,
    seconds: f64,
    renditions: usize,
    /// In all renditions together, as the following counts.
    frames_expected: u64,
    frames_missing: u64,
    frames_repeated: u64,
    /// Frames that the teacher's camera itself skipped, and which so are missing everywhere.
    camera_skipped: u64,
    discontinuities: u64,
    gaps: u64,
    offset_ms: f64,
    recovery_ms: Recovery,
    pub faults: Vec<String>,
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

impl Report {
    pub fn new(
        scenario: &'static str,
        seed: u64,
        checked: &check::Report,
        followed: &Followed,
        hurts: &[Instant],
        camera_skipped: u64,
    ) -> Self {
        let sum = |of: fn(&check::Video) -> u64| checked.video.iter().map(of).sum();
        let worst = |video: &check::Video| video.offsets.as_ref().and_then(|o| o.worst());
        let recoveries = followed.recoveries(hurts);
        let mut faults = checked.faults.clone();
        if followed.discontinuities > 0 {
            faults.push(format!("{} EXT-X-DISCONTINUITY", followed.discontinuities));
        }
        if followed.gaps > 0 {
            faults.push(format!("{} EXT-X-GAP", followed.gaps));
        }
        if recoveries.len() < hurts.len() {
            faults.push("after the last hurt no part came any more".into());
        }
        Self {
            version: 1,
            scenario,
            seed,
            times: hurts.len(),
            seconds: checked.seconds,
            renditions: checked.video.len(),
            frames_expected: sum(|v| v.expected),
            frames_missing: sum(|v| v.missing + v.expected.saturating_sub(v.decoded)),
            frames_repeated: sum(|v| v.repeated + v.backwards),
            camera_skipped,
            discontinuities: followed.discontinuities,
            gaps: followed.gaps,
            offset_ms: checked.video.iter().filter_map(worst).fold(0.0, f64::max),
            recovery_ms: Recovery {
                p50: percentile(&recoveries, 0.5),
                p95: percentile(&recoveries, 0.95),
                most: percentile(&recoveries, 1.0),
            },
            faults,
        }
    }

    pub fn say(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("plain values"));
            return;
        }
        println!(
            "{} x {} in {:.0} s of class, {} renditions, seed {}",
            self.times, self.scenario, self.seconds, self.renditions, self.seed
        );
        println!(
            "frames    {} of {} missing, {} repeated ({} skipped by the camera itself)",
            self.frames_missing, self.frames_expected, self.frames_repeated, self.camera_skipped
        );
        println!("playlist  {} discontinuities, {} gaps", self.discontinuities, self.gaps);
        println!("sound     at most {:.1} ms off the picture", self.offset_ms);
        let r = &self.recovery_ms;
        println!(
            "recovery  next part after {:.0} ms (p50), {:.0} ms (p95), {:.0} ms at most",
            r.p50, r.p95, r.most
        );
        for fault in &self.faults {
            println!("FAULT     {fault}");
        }
    }
}
