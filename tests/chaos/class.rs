//! The class that is hurt: a `proscenium demo` of its own.

use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a class may take to be live, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Demo {
    process: Child,
    pid: u32,
    lines: Lines<BufReader<ChildStdout>>,
    index: String,
    began: Instant,
}

impl Demo {
    /// Returns when all renditions have media.
    pub async fn start(program: &Path, arguments: &[String]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["demo", "--json", "--port", "0", "--room", "chaos", "--log", "error"]);
        command.args(arguments).stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
        let pid = process.id().ok_or("the demo ended at once")?;
        let stdout = process.stdout.take().ok_or("no output of the demo")?;
        let mut demo = Self {
            process,
            pid,
            lines: BufReader::new(stdout).lines(),
            index: String::new(),
            began: Instant::now(),
        };
        let live = demo.event("live").await?;
        demo.index = live.get("hls").and_then(Value::as_str).unwrap_or_default().to_owned();
        demo.began = Instant::now();
        Ok(demo)
    }

    async fn event(&mut self, name: &str) -> Result<Value, String> {
        let wait = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                let event: Value = serde_json::from_str(&line).map_err(|e| e.to_string())?;
                if event.get("event").and_then(Value::as_str) == Some(name) {
                    return Ok(event);
                }
            }
            Err(format!("the demo ended without '{name}': see its log above"))
        };
        let late = |_| format!("the demo did not say '{name}' within a minute");
        tokio::time::timeout(PATIENCE, wait).await.map_err(late)?
    }

    /// Its multivariant playlist.
    pub fn index(&self) -> &str {
        &self.index
    }

    /// Since it was live.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Sends `signal` to the class's present transcoder; says when.
    pub fn hurt(&self, signal: &str) -> Result<Instant, String> {
        let transcoder = self.transcoder().ok_or("there is no transcoder to hurt")?;
        let at = Instant::now();
        let sent =
            std::process::Command::new("kill").args([signal, &transcoder.to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(at),
            other => Err(format!("kill {signal} {transcoder}: {other:?}")),
        }
    }

    /// The demo's child that transcodes: of several (a spare waits beside) the one that has worked most.
    fn transcoder(&self) -> Option<u32> {
        let children = std::fs::read_dir("/proc").ok()?.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let parent: u32 = fields.get(1)?.parse().ok()?;
            let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let ours = parent == self.pid
                && !matches!(*fields.first()?, "Z" | "T")
                && arguments.contains("\0transcode\0");
            let worked: u64 =
                fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
            ours.then_some((worked, pid))
        });
        children.max().map(|(_, pid)| pid)
    }

    /// Ends the class; frames that the teacher's camera skipped.
    pub async fn stop(mut self) -> Result<u64, String> {
        let ended =
            std::process::Command::new("kill").args(["-TERM", &self.pid.to_string()]).status();
        ended.map_err(|e| e.to_string())?;
        let event = self.event("ended").await?;
        let _ = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        Ok(event.pointer("/teacher/skipped").and_then(Value::as_u64).unwrap_or(0))
    }
}
