//! `proscenium demo`: the appliance with a synthetic teacher, live in one command, on ports of its
//! own and with nothing kept but the box's calibration.

use super::serve;
use super::teacher::ClassArgs;
use crate::config::Config;
use crate::daemon::{Daemon, Options};
use crate::link::supervise::Launch;
use crate::observe;
use crate::rooms::RoomConfig;
use crate::rooms::token::{Grant, Role, Scope, Signer, Verifier, unix_now};
use crate::teacher::hls::Hls;
use crate::teacher::publish::{Figures, Publish, PublishError, Publisher};
use crate::time::RoomName;
use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long it may take until the playlists have media.
const GOING_LIVE: Duration = Duration::from_secs(60);
/// How long ending may take.
const ENDING: Duration = Duration::from_secs(15);
/// Share of the cores that encoders may take: the teacher, and the browsers that look, are on this box too.
const MAX_CPU: f64 = 0.6;
/// The token on the teach link holds this long, in seconds.
const TOKEN_SECONDS: u64 = 24 * 3600;

/// `proscenium demo`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End by itself after being live for this many seconds; without it, Ctrl-C ends it.
    #[arg(long)]
    seconds: Option<u64>,
    /// HTTP port. The media port is chosen by the system, so two demos can run side by side.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The room's name.
    #[arg(long, default_value = "demo")]
    room: RoomName,
    /// Start the room without the teacher, so that somebody else can teach through the link.
    #[arg(long)]
    no_teacher: bool,
    /// Height of the best rung, in pixels.
    #[arg(long, value_name = "PIXELS")]
    top_height: Option<u32>,
    /// Encode no AV1, whatever the box could do.
    #[arg(long)]
    no_av1: bool,
    /// Print events as JSON, one a line.
    #[arg(long)]
    json: bool,
    /// What to log: warn, info, debug or a tracing filter.
    #[arg(long, default_value = "warn,rtc_dtls=error")]
    log: String,
    #[command(flatten)]
    class: ClassArgs,
}

/// Where things are, once the demo runs.
#[derive(Clone, Debug, serde::Serialize)]
struct Links {
    watch: String,
    teach: String,
    hls: String,
    whip: String,
    metrics: String,
    token: String,
}

/// Runs the command.
///
/// # Errors
/// What stopped it, with its causes.
pub fn run(args: Args) -> Result<ExitCode> {
    let logs = observe::Config { level: args.log.clone(), ..Default::default() };
    logs.check().map_err(|what| anyhow::anyhow!("--log: {what}"))?;
    observe::start_logs(&logs);
    let config = configure(&args)?;
    if !args.json {
        println!("Proscenium demo: looking at what this box can encode ...");
    }
    let plan = serve::plan(&config)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let secret: [u8; 32] = rand::random();
        let verifier = Verifier::with_secret(&secret);
        let rungs = plan.rungs.iter().map(|rung| rung.name.clone()).collect::<Vec<_>>();
        let options = Options { launch: Launch::this_program(), plan, verifier };
        let daemon = Daemon::start(&config, options).await?;
        let links = links(&daemon, &args.room, &Signer::with_secret(&secret))?;
        let outcome = tokio::select! {
            outcome = give(&args, &links, &rungs) => outcome,
            stopped = serve::stop_asked() => stopped.map(|()| None),
        };
        let ended = tokio::time::timeout(ENDING, daemon.shutdown()).await;
        let figures = outcome?;
        say_end(&args, figures)?;
        ended.context("the daemon did not end within 15 s")?;
        Ok(ExitCode::SUCCESS)
    })
}

fn configure(args: &Args) -> Result<Config> {
    let mut config = Config::default();
    config.http.listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port));
    // The system chooses: the answer to the offer says which it is.
    config.sfu.port = 0;
    config.sfu.announce_loopback = true;
    config.room =
        vec![RoomConfig { name: args.room.clone(), title: Some("A synthetic class".into()) }];
    config.ladder.av1 = !args.no_av1;
    config.ladder.max_cpu = config.ladder.max_cpu.min(MAX_CPU);
    config.ladder.top_height = args.top_height.unwrap_or(config.ladder.top_height);
    config.paths.state = state_folder();
    std::fs::create_dir_all(&config.paths.state)
        .with_context(|| format!("cannot make {}", config.paths.state.display()))?;
    Ok(config)
}

/// The calibration is kept in the user's cache, or in the temporary folder where there is none.
fn state_folder() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.unwrap_or_else(std::env::temp_dir).join("proscenium-demo")
}

fn links(daemon: &Daemon, room: &RoomName, signer: &Signer) -> Result<Links> {
    let http = format!("http://127.0.0.1:{}", daemon.http_addr().port());
    let token = signer.sign(&Grant {
        room: Scope::Room(room.clone()),
        role: Role::Teacher,
        sub: "demo".into(),
        exp: unix_now() + TOKEN_SECONDS,
        nbf: None,
        name: Some("The teacher".into()),
    })?;
    Ok(Links {
        watch: format!("{http}/watch/{room}"),
        teach: format!("{http}/teach/{room}#token={token}"),
        hls: format!("{http}/hls/{room}/index.m3u8"),
        whip: format!("{http}/whip/{room}"),
        metrics: format!("{http}/metrics"),
        token,
    })
}

/// Gives the class until it is over.
async fn give(args: &Args, links: &Links, rungs: &[String]) -> Result<Option<Figures>> {
    if args.no_teacher {
        say_links(args, links, rungs, None)?;
        wait(args.seconds).await;
        return Ok(None);
    }
    let asked = Instant::now();
    let publisher = Box::pin(Publisher::start(Publish {
        endpoint: links.whip.clone(),
        token: Some(links.token.clone()),
        class: args.class.class(),
        network: None,
    }))
    .await
    .context("the teacher cannot publish")?;
    let watched = async {
        live(&links.hls).await?;
        say_links(args, links, rungs, Some(asked.elapsed()))?;
        tokio::select! {
            () = wait(args.seconds) => Ok(()),
            outcome = say_status(args, &publisher) => outcome,
        }
    };
    let outcome = tokio::select! {
        outcome = watched => outcome,
        () = publisher.gone() => Err(anyhow::anyhow!("the server ended the teacher's connection")),
    };
    let figures = publisher.figures();
    let stopped: Result<Figures, PublishError> = publisher.stop().await;
    outcome?;
    stopped.context("the class was given, but its session did not end as it should")?;
    Ok(Some(figures))
}

async fn wait(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Returns when every rendition has media.
async fn live(index: &str) -> Result<()> {
    let hls = Hls::default();
    let deadline = Instant::now() + GOING_LIVE;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        match has_media(&hls, index).await {
            Ok(true) => return Ok(()),
            // Not found yet, or no parts yet: both are a class that begins.
            Ok(false) | Err(_) if Instant::now() < deadline => {}
            Ok(false) => bail!("the class did not go live within 60 s: no parts in {index}"),
            Err(error) => return Err(error).context("the class did not go live within 60 s"),
        }
    }
}

async fn has_media(hls: &Hls, index: &str) -> Result<bool> {
    let renditions = hls.renditions(index).await?;
    for rendition in &renditions {
        if !hls.has_media(&rendition.url).await? {
            return Ok(false);
        }
    }
    Ok(!renditions.is_empty())
}

fn say_links(args: &Args, links: &Links, rungs: &[String], took: Option<Duration>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut event = serde_json::to_value(links)?;
        if let Some(event) = event.as_object_mut() {
            event.insert("event".into(), if took.is_some() { "live" } else { "ready" }.into());
            event.insert("rungs".into(), rungs.into());
            event.insert("live_after_s".into(), took.map(|took| took.as_secs_f64()).into());
        }
        writeln!(out, "{event}")?;
    } else {
        match took {
            Some(took) => {
                writeln!(out, "Live after {:.1} s: {}", took.as_secs_f64(), rungs.join(", "))?
            }
            None => writeln!(out, "Ready, nobody teaches yet: {}", rungs.join(", "))?,
        }
        writeln!(out, "\n  watch    {}\n  HLS      {}", links.watch, links.hls)?;
        writeln!(out, "  teach    {}\n  metrics  {}\n", links.teach, links.metrics)?;
        match args.seconds {
            Some(seconds) => writeln!(out, "Ends by itself in {seconds} s; Ctrl-C ends it now.")?,
            None => writeln!(out, "Ctrl-C ends it.")?,
        }
    }
    Ok(out.flush()?)
}

/// A line that follows the class: over itself on a terminal, now and then elsewhere.
async fn say_status(args: &Args, publisher: &Publisher) -> Result<()> {
    let terminal = std::io::stdout().is_terminal() && !args.json;
    let mut tick = tokio::time::interval(Duration::from_secs(if terminal { 1 } else { 10 }));
    tick.tick().await;
    let began = Instant::now();
    let (mut before, mut at) = (publisher.figures(), began);
    loop {
        tick.tick().await;
        let (now, span) = (publisher.figures(), at.elapsed().as_secs_f64());
        let fps = (now.frames - before.frames) as f64 / span;
        let rate = (now.bytes - before.bytes) as f64 * 8e-6 / span;
        (before, at) = (now, Instant::now());
        let seconds = began.elapsed().as_secs();
        let mut out = std::io::stdout().lock();
        if args.json {
            let mut event = serde_json::to_value(now)?;
            if let Some(event) = event.as_object_mut() {
                event.insert("event".into(), "status".into());
                event.insert("seconds".into(), seconds.into());
            }
            writeln!(out, "{event}")?;
        } else {
            let line = format!(
                "{:>3}:{:02}  {fps:.1} frames/s, {rate:.2} Mb/s sent, {} skipped, {} sent again",
                seconds / 60,
                seconds % 60,
                now.skipped,
                now.retransmitted
            );
            if terminal { write!(out, "\r{line}\x1b[K")? } else { writeln!(out, "{line}")? }
        }
        out.flush()?;
    }
}

fn say_end(args: &Args, figures: Option<Figures>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "event": "ended", "teacher": figures }))?;
    } else {
        match figures {
            Some(f) => writeln!(
                out,
                "\nEnded: {} frames and {} sound packets were sent.",
                f.frames, f.sounds
            )?,
            None => writeln!(out, "\nEnded.")?,
        }
    }
    Ok(out.flush()?)
}
