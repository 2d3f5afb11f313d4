//! A crash is invisible: the transcoder is killed in the middle of a class, and viewers see nothing
//! but a little latency.

use crate::support::{TestBox, get};
use proscenium::rooms::board::State;
use proscenium::teacher::check::{Limits, check};
use std::collections::HashSet;
use std::time::Duration;

/// The transcoders this process has as children.
fn transcoders() -> HashSet<u32> {
    let own = std::process::id().to_string();
    let children = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut after = status.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (after.next()?, after.next()?);
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (state != "Z" && parent == own && arguments.contains("\0transcode\0")).then_some(pid)
    });
    children.collect()
}

// Not SIGSEGV: Rust's handler takes one that was sent, not raised by a fault, for spurious.
fn kill(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill is installed").success());
}

/// Kills the transcoder and waits until there is another.
async fn crash(signal: &str) {
    let before = transcoders();
    assert_eq!(before.len(), 1, "one room, one transcoder");
    before.iter().for_each(|&pid| kill(pid, signal));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while transcoders().difference(&before).next().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "no new transcoder within 20 s");
        tick.tick().await;
    }
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
            crash(signal).await;
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
