//! A crash is invisible: the transcoder is killed in the middle of a class, and viewers see nothing
//! but a little latency.

use crate::support::{TestBox, get};
use proscenium::rooms::board::State;
use proscenium::teacher::check::{Limits, check};
use std::collections::HashMap;
use std::time::Duration;

/// The transcoders this process has as children, and the CPU time each has used so far: a spare that waits has used
/// less than the one at work.
fn transcoders() -> HashMap<u32, u64> {
    let own = std::process::id().to_string();
    let children = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let [state, parent, ..] = fields[..] else { return None };
        let ours = state != "Z" && parent == own && arguments.contains("\0transcode\0");
        let used = |at: usize| fields.get(at)?.parse::<u64>().ok();
        ours.then_some((pid, used(11)? + used(12)?))
    });
    children.collect()
}

// Not SIGSEGV: Rust's handler takes one that was sent, not raised by a fault, for spurious.
fn kill(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill is installed").success());
}

/// Kills the transcoder at work.
fn crash(signal: &str) {
    let at_work = transcoders().into_iter().max_by_key(|&(_, used)| used);
    let (pid, _) = at_work.expect("a transcoder");
    kill(pid, signal);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_crashes_of_the_transcoder_leave_no_trace_in_the_output() {
    let stage = TestBox::start().await;
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { offset_ms: 20.0, uneven: 0.05, fps: 30 };
    let index = stage.index();
    let collecting = check(&index, 20.0, folder.path(), limits);
    let crashing = async {
        // As a decoder's assertion ends it, and as the kernel does when memory runs out.
        for signal in ["-ABRT", "-KILL"] {
            tokio::time::sleep(Duration::from_secs(5)).await;
            crash(signal);
        }
    };
    let (report, ()) = tokio::join!(collecting, crashing);
    let report = report.expect("a report");
    assert_eq!(report.faults, Vec::<String>::new(), "{report:#?}");
    assert!(report.beeps >= 18, "{report:#?}");
    let index = get(&index).await;
    for media in index.text().lines().filter(|line| line.ends_with("live.m3u8")) {
        let playlist = get(&stage.url(&format!("/hls/bar/{media}"))).await;
        for tag in ["#EXT-X-DISCONTINUITY", "#EXT-X-GAP"] {
            assert!(!playlist.text().contains(tag), "{media}: {}", playlist.text());
        }
    }
    drop(teacher);
    stage.daemon.shutdown().await;
    assert!(transcoders().is_empty(), "the daemon takes its children with it");
}
