//! Logs and metrics: set up once a process.
//!
//! Modules name and describe their own metrics where they count; this file only owns the recorder,
//! so it knows none of their types.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// Section `[log]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to log, in `tracing`'s filter language: `info`, `debug`, `info,proscenium::sfu=debug`.
    pub level: String,
    /// How a line looks.
    pub format: Format,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

impl Config {
    /// # Errors
    /// What is wrong with the filter.
    pub fn check(&self) -> Result<(), String> {
        EnvFilter::try_new(&self.level).map(|_| ()).map_err(|error| {
            format!(
                "level: '{}' is no log filter ({error}); use info, debug, warn or error",
                self.level
            )
        })
    }
}

/// Sends logs to standard error. Later calls in one process change nothing.
pub fn start_logs(config: &Config) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let outcome = match config.format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second daemon in one process, as in tests, keeps the first one's subscriber.
    drop(outcome);
}

/// The process's metrics, created at the first call.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        // Seconds. The fine end is for parts and wake-ups, the coarse end for whole requests.
        let seconds =
            [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
            .map(PrometheusBuilder::build_recorder);
        let recorder = match recorder {
            Ok(recorder) => recorder,
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let handle = recorder.handle();
        // Only the first recorder of a process is installed; the OnceLock makes this the only one.
        drop(metrics::set_global_recorder(recorder));
        handle
    })
}
