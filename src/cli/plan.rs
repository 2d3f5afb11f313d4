//! `proscenium plan`: which rungs this box would encode, and why.

use super::config::Source;
use crate::config::Config;
use crate::ladder::calibrate::{self, Origin};
use crate::ladder::{Calibration, Plan};
use crate::units::Rate;
use anyhow::{Context, Result};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show which rungs this box would encode, and why. Measures the box first if that was not done yet.
#[derive(Clone, Debug, Default, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    source: Source,
    /// Print the plan and what was measured as JSON.
    #[arg(long)]
    json: bool,
    /// Measure the box again, a few seconds, even if it was measured before.
    #[arg(long)]
    recalibrate: bool,
    /// Where measurements are kept [default: calibration.json in the cache directory]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A configuration that is wrong, or a box without an H.264 encoder.
pub fn run(args: &PlanArgs) -> Result<ExitCode> {
    let config = Config::load(args.source.config.as_deref())?.config;
    let file = args.calibration.clone().unwrap_or_else(calibrate::default_file);
    let (calibration, origin) = calibrate::load_or_run(&file, &config.ladder, args.recalibrate)
        .context("this box cannot encode")?;
    let plan = Plan::choose(&calibration, calibrate::cores(), &config.ladder, config.output.fps);
    if args.json {
        let report = serde_json::json!({
            "plan": plan,
            "calibration": calibration,
            "file": file,
            "measured_now": matches!(origin, Origin::Measured(..)),
        });
        println!("{report:#}");
    } else {
        print!("{}", words(&plan, &calibration, &origin));
    }
    Ok(ExitCode::SUCCESS)
}

fn words(plan: &Plan, calibration: &Calibration, origin: &Origin) -> String {
    let mut text = String::new();
    let source = match origin {
        Origin::Remembered => "measured earlier".to_owned(),
        Origin::Measured(why, took) => format!("measured now, {:.1} s: {why}", took.as_secs_f64()),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}\n({source})\n", calibration.box_key);
    let head = ["rung", "size", "bit rate", "preset", "threads", "CPU"];
    let [name, size, rate, preset, threads, cpu] = head;
    let _ = writeln!(text, "{name:<10} {size:<10} {rate:>10} {preset:>10} {threads:>8} {cpu:>6}");
    for rung in &plan.rungs {
        let size = format!("{}x{}", rung.width, rung.height);
        let rate = Rate(rung.bitrate).to_string();
        let cpu = plan.considered.iter().find(|considered| considered.name == rung.name);
        let cpu = cpu.and_then(|c| c.cpu).map_or_else(|| "?".into(), |cpu| format!("{cpu:.2}"));
        let (name, preset, threads) = (&rung.name, &rung.preset, rung.threads);
        let _ =
            writeln!(text, "{name:<10} {size:<10} {rate:>10} {preset:>10} {threads:>8} {cpu:>6}");
    }
    let _ = writeln!(
        text,
        "\nExpected: {:.2} of {:.2} CPU-seconds a second, with a camera's picture; slides take about half.\n",
        plan.expected, plan.budget
    );
    for sentence in &plan.words {
        let _ = writeln!(text, "- {sentence}");
    }
    text
}
