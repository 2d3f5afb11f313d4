//! A class goes in by WebRTC and comes out as Low-Latency HLS.

use crate::support::{TestBox, config, get, small_plan};
use hw::codec::VideoOut;
use proscenium::rooms::board::State;
use proscenium::sfu::Socket;
use proscenium::teacher::check::{Limits, Report, check};
use proscenium::teacher::netem::Conditions;
use std::time::Duration;

/// Test machines are shared: now and then one takes a processor away for a tenth of a second, and
/// the teacher, which captures in real time, skips a frame. What must never happen is not tolerated.
const LIMITS: Limits = Limits { offset_ms: 20.0, uneven: 0.05, fps: 30 };

async fn checked(stage: &TestBox, seconds: f64) -> Report {
    checked_but(stage, seconds, LIMITS, "nothing is excused").await
}

/// Faults that say `excused` are.
async fn checked_but(stage: &TestBox, seconds: f64, limits: Limits, excused: &str) -> Report {
    stage.until("a live room", |status| status.state == State::Live).await;
    let folder = tempfile::tempdir().expect("a folder");
    let report = check(&stage.index(), seconds, folder.path(), limits).await.expect("a report");
    let faults: Vec<_> = report.faults.iter().filter(|what| !what.contains(excused)).collect();
    assert_eq!(faults, Vec::<&String>::new(), "{report:#?}");
    assert_eq!(report.video.len(), small_plan().rungs.len());
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_comes_out_whole_in_every_rendition_and_ends_with_endlist() {
    let stage = TestBox::start().await;
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    let report = checked(&stage, 12.0).await;
    assert!(report.beeps >= 10, "{report:#?}");
    teacher.stop().await.expect("the teacher says goodbye");
    stage.until("the end", |status| status.state == State::Ended).await;
    let index = get(&stage.index()).await;
    let media = index.text().lines().find(|line| line.ends_with("live.m3u8")).map(str::to_owned);
    let playlist = get(&stage.url(&format!("/hls/bar/{}", media.expect("a rendition")))).await;
    assert!(playlist.text().trim_end().ends_with("#EXT-X-ENDLIST"), "{}", playlist.text());
    assert!(!playlist.text().contains("PRELOAD-HINT"));
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_over_the_portable_socket_comes_out_whole() {
    let mut config = config();
    config.sfu.socket = Socket::Portable;
    let stage = TestBox::with(config).await;
    let teacher = stage.publish(|publish| publish.class.codec = VideoOut::Vp8).await;
    checked(&stage, 8.0).await;
    drop(teacher);
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_and_sound_that_start_three_seconds_apart_are_together() {
    let stage = TestBox::start().await;
    let teacher = stage.publish(|publish| publish.class.audio_starts_ms = 3000).await;
    // The first beep is the stream's first sound; its place is exact when the first sender report is in.
    let report = checked_but(&stage, 12.0, LIMITS, "sound is off").await;
    assert!(report.beeps >= 6, "{report:#?}");
    for video in &report.video {
        let offsets = &video.offsets.as_ref().expect("flashes").milliseconds;
        assert!(offsets.iter().skip(1).all(|ms| ms.abs() <= 20.0), "{offsets:?}");
        assert!(offsets.iter().all(|ms| ms.abs() <= 60.0), "{offsets:?}");
    }
    drop(teacher);
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_percent_loss_and_jitter_are_repaired_before_they_are_seen() {
    let stage = TestBox::start().await;
    let bad = Conditions { loss: 0.05, jitter: Duration::from_millis(30), ..Conditions::default() };
    let teacher =
        stage.publish(|publish| publish.network = Some((bad, Conditions::default()))).await;
    // What comes too late in spite of RTX is a frame that repeats, and a flash is found by its first frame: so
    // it may be alone. Everything else holds as without loss.
    let limits = Limits { uneven: 0.2, ..LIMITS };
    checked_but(&stage, 12.0, limits, "beeps or flashes are alone").await;
    let figures = teacher.figures();
    assert!(figures.lost > 20 && figures.retransmitted > 20, "{figures:?}");
    drop(teacher);
    stage.daemon.shutdown().await;
}
