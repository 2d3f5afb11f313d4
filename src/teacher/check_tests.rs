//! The checker against files whose faults are known.
#![allow(clippy::unwrap_used)]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::burnt::Stamp;
use super::check::{Limits, Report, measure};
use super::hls::{Collected, Rendition};
use super::lecture::{Frame, Lecture, Look};
use super::sound::Sound;

const SECONDS: u32 = 6;

fn ffmpeg(arguments: &[&str], folder: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).current_dir(folder);
    assert!(command.status().unwrap().success(), "ffmpeg {arguments:?}");
}

/// The class as a video and a sound file, as if collected; the sound comes `late` samples late.
/// Both are coded without priming or delay, so that a timestamp is what it says.
fn class(folder: &Path, video_filter: &str, late: i64) -> Vec<Collected> {
    let look = Look { width: 640, height: 360, fps: 30, seed: 1 };
    let mut lecture = Lecture::new(look);
    let mut frame = Frame::new(look.width, look.height);
    let mut video = BufWriter::new(std::fs::File::create(folder.join("v.yuv")).unwrap());
    for n in 0..u64::from(SECONDS * look.fps) {
        lecture.draw(n, Stamp::at(n, n as i64 * 33_333), &mut frame);
        for plane in [&frame.y, &frame.u, &frame.v] {
            video.write_all(plane).unwrap();
        }
    }
    video.flush().unwrap();
    let mut samples = vec![0.0; 2 * 48_000 * SECONDS as usize];
    Sound::new(1).fill(-late, &mut samples);
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    std::fs::write(folder.join("a.raw"), bytes).unwrap();

    let fragments = ["-movflags", "frag_keyframe+empty_moov"];
    let input =
        ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "640x360", "-r", "30", "-i", "v.yuv"];
    let code = [
        "-vf",
        video_filter,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "600k",
        "-bf",
        "0",
    ];
    ffmpeg(&[&input[..], &code, &fragments, &["v.mp4"]].concat(), folder);
    let input = ["-f", "f32le", "-ar", "48000", "-ac", "2", "-i", "a.raw"];
    ffmpeg(&[&input[..], &["a.wav"]].concat(), folder);
    let rendition = |name: &str, size| Rendition {
        name: name.into(),
        url: String::new(),
        size,
        codecs: String::new(),
    };
    let collected = |name: &str, size, file: PathBuf| Collected {
        rendition: rendition(name, size),
        file,
        segments: vec![(0, 2.0), (1, 2.0), (2, 2.0)],
        gone: false,
    };
    vec![
        collected("video", Some((640, 360)), folder.join("v.mp4")),
        collected("audio", None, folder.join("a.wav")),
    ]
}

async fn measured(video_filter: &str, late: i64) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let collected = class(folder.path(), video_filter, late);
    measure(&collected, Limits::default()).await.unwrap()
}

#[tokio::test]
async fn a_faultless_class_has_no_faults() {
    let report = measured("null", 0).await;
    assert_eq!(report.faults, Vec::<String>::new(), "{report:?}");
    let video = &report.video[0];
    assert_eq!((video.decoded, video.expected, video.unreadable), (180, 180, 0));
    let offsets = video.offsets.as_ref().unwrap();
    assert!(offsets.milliseconds.len() >= 4, "{offsets:?}");
    assert!(offsets.worst().unwrap() < 3.0, "{offsets:?}");
}

#[tokio::test]
async fn sound_that_is_late_is_found_by_how_much() {
    let report = measured("null", 60 * 48).await;
    let mean = report.video[0].offsets.as_ref().unwrap().mean().unwrap();
    assert!((mean - 60.0).abs() < 3.0, "{mean}");
    assert!(report.faults.iter().any(|fault| fault.contains("off the picture")), "{report:?}");
}

#[tokio::test]
async fn frames_that_are_lost_or_stand_still_are_found() {
    // Every tenth frame shows its predecessor.
    let report = measured("select='mod(n,10)',fps=30:round=up,trim=end_frame=180", 0).await;
    let video = &report.video[0];
    assert!(video.repeated >= 10 && video.missing >= 10, "{video:?}");
    assert!(report.faults.iter().any(|fault| fault.contains("repeated")), "{report:?}");

    let report = measured("trim=end_frame=170", 0).await;
    assert!(report.faults.iter().any(|fault| fault.contains("170 frames for 180")), "{report:?}");
}

#[tokio::test]
async fn a_small_picture_without_contrast_is_unreadable_not_wrong() {
    let report = measured("eq=contrast=0.05", 0).await;
    assert_eq!(report.video[0].unreadable, 180);
    assert!(report.faults.iter().any(|fault| fault.contains("without a readable clock")));
}

#[tokio::test]
async fn segments_that_differ_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut collected = class(folder.path(), "null", 0);
    collected[1].segments[1].1 = 2.1;
    let report = measure(&collected, Limits::default()).await.unwrap();
    assert_eq!(report.faults, ["audio: other segments than video"]);

    collected[1].segments[1].1 = 2.0;
    collected.push(Collected { gone: true, ..collected[0].clone() });
    let report = measure(&collected, Limits::default()).await.unwrap();
    assert_eq!(report.faults, ["video: given up by the server"]);
    assert_eq!(report.video.len(), 1, "and the others are measured all the same");
}
