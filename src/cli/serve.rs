//! `proscenium serve`: the appliance, until SIGTERM.

use super::config::Source;
use crate::config::Config;
use crate::daemon::{Daemon, Options};
use crate::ladder::calibrate;
use crate::ladder::plan::Plan;
use crate::link::supervise::Launch;
use crate::observe;
use crate::rooms::token::Verifier;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// `proscenium serve`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    source: Source,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let loaded = Config::load(args.source.config.as_deref())?;
    observe::start_logs(&loaded.config.log);
    info!(version = env!("CARGO_PKG_VERSION"), configuration = loaded.file, "proscenium starts");
    let config = loaded.config;
    std::fs::create_dir_all(&config.paths.state)
        .with_context(|| format!("cannot make paths.state, {}", config.paths.state.display()))?;
    let verifier = Verifier::open(&config.tokens.clone().rooted(&config.paths.state))?;
    let plan = plan(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let options = Options { launch: Launch::this_program(), plan, verifier };
        let daemon = Daemon::start(&config, options).await?;
        stop_asked().await?;
        info!("stopping: classes end, requests in flight are answered");
        daemon.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The rungs for this box, with every reason in the log.
///
/// # Errors
/// The box cannot encode at all.
pub fn plan(config: &Config) -> Result<Plan> {
    let file = calibrate::default_file();
    let (calibration, _) =
        calibrate::load_or_run(&file, &config.ladder, false).context("this box cannot encode")?;
    let plan = Plan::choose(&calibration, calibrate::cores(), &config.ladder, config.output.fps);
    for words in &plan.words {
        info!("plan: {words}");
    }
    Ok(plan)
}

/// Returns when SIGTERM or SIGINT comes.
///
/// # Errors
/// The handlers cannot be set.
pub async fn stop_asked() -> Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
