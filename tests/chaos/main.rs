//! Trouble on purpose, made from a seed, on the real program; judged by what viewers get.
//!
//!     script/chaos list
//!     script/chaos kill --times 20 --seed 1 --json
//!
//! A class of the synthetic teacher runs as `proscenium demo`. Meanwhile its transcoder is hurt again and again; one
//! viewer follows the playlist part by part, another collects every segment of every rendition. At the end each
//! frame's burnt-in counter is read. The moments come from the seed, so a scenario can be run again as it was.

mod class;
mod follow;
mod report;

use clap::Parser;
use class::Demo;
use proscenium::teacher::check::{Limits, check};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Shortest and longest time between two hurts, seconds. A transcoder that is hurt again before it has caught up is
/// part of it.
const BETWEEN: (f64, f64) = (4.0, 26.0);
/// How long the class is watched before the first hurt and after the last, seconds.
const CALM: f64 = 8.0;

#[derive(Debug, clap::Parser)]
#[command(
    name = "script/chaos",
    about = "Hurts a running class on purpose and says what viewers saw of it"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Names the scenarios.
    List,
    /// kill -9 of the transcoder, at random moments.
    Kill(Options),
    /// The transcoder is stopped (SIGSTOP), and never continues by itself.
    Stop(Options),
    /// The transcoder aborts, as when an assertion in a codec fails.
    Abort(Options),
}

#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// How often.
    #[arg(long, default_value_t = 5)]
    times: u32,
    /// Where the random moments come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// The program under test.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_proscenium"))]
    program: PathBuf,
    /// Arguments for `proscenium demo`, for example --no-av1.
    #[arg(last = true)]
    demo: Vec<String>,
}

fn main() -> ExitCode {
    let (name, signal, options) = match Args::parse().command {
        Command::List => {
            println!("kill   kill -9 of the transcoder\nstop   SIGSTOP of the transcoder");
            println!("abort  SIGABRT of the transcoder");
            return ExitCode::SUCCESS;
        }
        Command::Kill(options) => ("kill", "-KILL", options),
        Command::Stop(options) => ("stop", "-STOP", options),
        Command::Abort(options) => ("abort", "-ABRT", options),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(run(name, signal, &options)) {
        Ok(report) => {
            report.say(options.json);
            if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(name: &'static str, signal: &str, options: &Options) -> Result<Report, String> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let pauses: Vec<f64> =
        (0..options.times).map(|_| random.random_range(BETWEEN.0..BETWEEN.1)).collect();
    let seconds = 2.0 * CALM + pauses.iter().sum::<f64>();
    let demo = Demo::start(&options.program, &options.demo).await?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let index = demo.index().to_owned();
    let limits = Limits { uneven: 0.0, ..Limits::default() };
    let collecting = check(&index, seconds, folder.path(), limits);
    let following = follow::follow(&index, Duration::from_secs_f64(seconds));
    let hurting = async {
        let mut hurts = Vec::new();
        tokio::time::sleep(Duration::from_secs_f64(CALM)).await;
        for pause in &pauses {
            tokio::time::sleep(Duration::from_secs_f64(*pause)).await;
            hurts.push(demo.hurt(signal)?);
            if !options.json {
                eprintln!("{name} {} of {} at {:.1} s", hurts.len(), pauses.len(), demo.seconds());
            }
        }
        Ok::<_, String>(hurts)
    };
    let (checked, followed, hurts) = tokio::join!(collecting, following, hurting);
    let skipped = demo.stop().await?;
    let checked = checked.map_err(|e| e.to_string())?;
    Ok(Report::new(name, options.seed, &checked, &followed?, &hurts?, skipped))
}
