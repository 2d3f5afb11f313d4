//! `proscenium load`: puts load on a server and measures what it costs.

use crate::load::Network;
use crate::load::glass;
use crate::load::report::Report;
use crate::load::run::{self, Phase, Plan, Tokens, Where};
use crate::observe;
use crate::rooms::token::Signer;
use crate::time::Bitrate;
use anyhow::{Context, Result, bail};
use hw::codec::VideoOut;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// `proscenium load ...`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// People on stage: publishers, and participants who see and hear each of them.
    Stage(Box<Stage>),
    /// Two speakers: from the camera of one to the decoded picture of the other, by the clock in
    /// the picture.
    Glass(Box<GlassArgs>),
}

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// WHIP and WHEP.
    Proscenium,
    /// The videoroom plugin by HTTP; the URL ends in /janus.
    Janus,
}

/// `proscenium load stage`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  proscenium load stage --url http://127.0.0.1:8080 --token-secret /var/lib/proscenium/secret \\
      --rooms 1 --publishers 3 --participants 16 --seconds 30
  proscenium load stage --url http://box:8080 --token \"$TOKEN\" --participants 50 --json
  proscenium load stage --target janus --url http://127.0.0.1:8088/janus --participants 200

A subscription is a connection of its own: rooms x publishers x participants of them. What the
server's process costs is measured when it runs on this machine and --server-pid is given.
Ctrl-C ends every session and reports what was measured until then.")]
pub struct Stage {
    /// Where the server is: http://host:port.
    #[arg(long)]
    url: String,
    /// What kind of server it is.
    #[arg(long, value_enum, default_value = "proscenium")]
    target: Kind,
    /// Rooms to use at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rooms: u16,
    /// Use this room; may be repeated. Without it, the first rooms the server lists.
    #[arg(long = "room", value_name = "NAME")]
    named: Vec<String>,
    /// Publishers in each room.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    publishers: u16,
    /// Participants in each room, who subscribe to every publisher in it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    participants: u16,
    /// How long to measure, once everybody is connected.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Video bits a second of each publisher: 2.5M, 800k.
    #[arg(long, default_value = "2.5M", value_parser = rate)]
    rate: Bitrate,
    /// The server's token secret (tokens.secret_file): everybody gets a token of their own.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_secret: Option<PathBuf>,
    /// The bearer token that everybody shows. The server takes all for one person.
    #[arg(long, env = "PROSCENIUM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The server's process, to read its CPU time and memory.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Decrypt one media packet in N, to measure delay; every packet is counted all the same. By
    /// default all, or one in 16 with more than 32 subscriptions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    decrypt: Option<u32>,
    /// Threads that carry media.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Send from addresses in this IPv4 network, an address a connection and one socket for all. The
    /// whole network must be this machine's (ip route add local NETWORK dev ...). Towards loopback
    /// that is so anyhow; elsewhere, without this, each connection takes a port.
    #[arg(long, value_name = "NETWORK")]
    spread: Option<Network>,
    /// Print the report as JSON (docs/LOAD.md).
    #[arg(long)]
    json: bool,
    /// What to log: warn, info, debug or a tracing filter.
    #[arg(long, default_value = "error,rtc=off,rtc_dtls=off,rtc_ice=off")]
    log: String,
}

/// `proscenium load glass`
#[derive(Debug, clap::Args)]
pub struct GlassArgs {
    /// Where the server is: http://host:port.
    #[arg(long)]
    url: String,
    /// The room; without it, the first the server lists.
    #[arg(long, value_name = "NAME")]
    room: Option<String>,
    /// The server's token secret (tokens.secret_file).
    #[arg(long, value_name = "FILE", required_unless_present = "token")]
    token_secret: Option<PathBuf>,
    /// The bearer token that both show.
    #[arg(long, env = "PROSCENIUM_TOKEN", hide_env_values = true, conflicts_with = "token_secret")]
    token: Option<String>,
    /// How long to measure.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// What to log: warn, info, debug or a tracing filter.
    #[arg(long, default_value = "error,rtc=off,rtc_dtls=off,rtc_ice=off")]
    log: String,
    #[command(flatten)]
    class: super::teacher::ClassArgs,
}

/// Runs the command.
///
/// # Errors
/// What stopped it, with its causes.
pub fn run(command: Command) -> Result<ExitCode> {
    let log = match &command {
        Command::Stage(args) => args.log.clone(),
        Command::Glass(args) => args.log.clone(),
    };
    let logs = observe::Config { level: log, ..Default::default() };
    logs.check().map_err(|what| anyhow::anyhow!("--log: {what}"))?;
    observe::start_logs(&logs);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match command {
        Command::Stage(args) => stage(&args, &runtime),
        Command::Glass(args) => glass(&args, &runtime),
    }
}

/// Told when somebody wants it to end.
fn stop() -> oneshot::Receiver<()> {
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        if super::serve::stop_asked().await.is_ok() {
            let _ = stop.send(());
        } else {
            // Nobody can ask: the run ends by itself.
            std::future::pending::<()>().await;
        }
    });
    stopped
}

fn stage(args: &Stage, runtime: &Runtime) -> Result<ExitCode> {
    let plan = plan(args)?;
    let report = runtime.block_on(async {
        let stopped = stop();
        let mut progress = Progress::new(args.json);
        let outcome = run::run(plan, stopped, |phase| progress.say(phase)).await;
        progress.wipe();
        outcome
    })?;
    say(args, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn glass(args: &GlassArgs, runtime: &Runtime) -> Result<ExitCode> {
    let class = args.class.class();
    if class.codec != VideoOut::H264 {
        bail!("the viewer decodes H.264 only: leave --codec out");
    }
    let plan = glass::Plan {
        url: args.url.clone(),
        tokens: tokens(args.token_secret.as_deref(), args.token.clone())?,
        room: args.room.clone(),
        seconds: Duration::from_secs(args.seconds.into()),
        class,
    };
    let glass = runtime.block_on(async { Box::pin(glass::run(plan, stop())).await })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&glass)?)?;
    } else {
        let delay = glass.glass_to_glass_ms;
        writeln!(
            out,
            "glass to glass: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; {} pictures, {} never seen, {} not captured",
            delay.p50.unwrap_or_default(),
            delay.p99.unwrap_or_default(),
            delay.max.unwrap_or_default(),
            glass.pictures,
            glass.missing,
            glass.skipped
        )?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn tokens(secret: Option<&Path>, token: Option<String>) -> Result<Tokens> {
    Ok(match secret {
        // The file is made when it is missing; a secret nobody knows helps nobody.
        Some(path) if !path.exists() => {
            bail!("--token-secret {}: there is no such file", path.display())
        }
        Some(path) => {
            Tokens::Signed(Arc::new(Signer::from_secret_file(path).context("--token-secret")?))
        }
        None => Tokens::Given(token),
    })
}

fn plan(args: &Stage) -> Result<Plan> {
    let url = args.url.clone();
    if !url.starts_with("http://") {
        bail!("--url '{url}': http://host:port is needed (put a TLS proxy's inside here)");
    }
    let server = match args.target {
        Kind::Proscenium => {
            let tokens = tokens(args.token_secret.as_deref(), args.token.clone())?;
            if matches!(tokens, Tokens::Given(_)) && args.publishers > 1 {
                bail!(
                    "--publishers {}: with one --token for all they would be one person; give \
                     --token-secret",
                    args.publishers
                );
            }
            Where::Proscenium { url, tokens, rooms: args.named.clone() }
        }
        Kind::Janus => Where::Janus { url },
    };
    Ok(Plan {
        server,
        rooms: usize::from(args.rooms).max(args.named.len()),
        publishers: args.publishers.into(),
        participants: args.participants.into(),
        seconds: Duration::from_secs(args.seconds.into()),
        rate: args.rate.0,
        decrypt: args.decrypt,
        server_pid: args.server_pid,
        threads: args.threads.into(),
        spread: args.spread,
    })
}

/// 2.5M, 800k, 2500000.
fn rate(text: &str) -> Result<Bitrate, String> {
    let (number, unit) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1e6),
        None => text.strip_suffix(['k', 'K']).map_or((text, 1.0), |number| (number, 1e3)),
    };
    let rate = number.parse::<f64>().map_err(|_| "a rate is written 2.5M, 800k or 2500000")? * unit;
    if (100e3..=100e6).contains(&rate) {
        Ok(Bitrate(rate as u64))
    } else {
        Err("a rate from 100k to 100M is possible".to_owned())
    }
}

/// What happens, in a line that is written over on a terminal, and not at all elsewhere.
struct Progress {
    shown: bool,
    on: bool,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self { shown: false, on: !json && std::io::stderr().is_terminal() }
    }

    fn say(&mut self, phase: Phase) {
        if !self.on {
            return;
        }
        let line = match phase {
            Phase::Connecting { up, failed: 0, of } => format!("connecting: {up} of {of}"),
            Phase::Connecting { up, failed, of } => {
                format!("connecting: {up} of {of}, {failed} failed")
            }
            Phase::Measuring { since, packets, bits } => format!(
                "{:>4} s  {packets:.0} packets/s, {:.1} Mb/s forwarded",
                since.as_secs(),
                bits * 1e-6
            ),
            Phase::Ending => "ending sessions".to_owned(),
        };
        self.shown = true;
        // A terminal that is gone shows nothing.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn say(args: &Stage, report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        stage: Stage,
    }

    fn parse(words: &[&str]) -> Result<Stage, clap::Error> {
        let words = ["stage", "--url", "http://h", "--participants", "2"]
            .into_iter()
            .chain(words.iter().copied());
        Cli::try_parse_from(words).map(|cli| cli.stage)
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(rate("2.5M").unwrap().0, 2_500_000);
        assert_eq!(rate("800k").unwrap().0, 800_000);
        assert_eq!(rate("2500000").unwrap().0, 2_500_000);
        assert!(rate("much").is_err() && rate("1").is_err() && rate("9e99M").is_err());
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_is_tried() {
        let error = |words: &[&str]| plan(&parse(words).unwrap()).err().unwrap().to_string();
        assert!(error(&["--publishers", "2"]).contains("--token-secret"));
        assert!(error(&["--token-secret", "/no/such/file"]).contains("no such file"));
        assert!(parse(&["--seconds", "0"]).is_err() && parse(&["--rate", "fast"]).is_err());
        let named = plan(&parse(&["--room", "a", "--room", "b"]).unwrap()).unwrap();
        assert_eq!(named.rooms, 2);
    }
}
