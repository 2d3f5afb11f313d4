//! What players ask, and what a transcoder publishes for them.

use super::link::{FORMAT, presentation};
use super::{join, pieces};
use bytes::Bytes;
use proscenium::link::wire::{Fragment, FromTranscoder, Part, Resume, decode, encode};
use proscenium::origin::answer::{Answer, Request, answer};
use proscenium::origin::snapshot::Snapshot;
use proscenium::package::geometry::Geometry;
use proscenium::package::window::Window;
use proscenium::package::{Config, playlist};
use proscenium::time::{HostTime, MediaTime};
use std::sync::OnceLock;

const SESSION: &str = "s1";

/// The class's next parts, one a call.
fn parts(count: usize) -> Vec<Part> {
    let geometry = Geometry::new(&FORMAT).expect("a good format");
    let (per_part, per_segment) = (u64::from(FORMAT.part_frames), u64::from(FORMAT.segment_frames));
    (0..count as u64)
        .map(|n| {
            let (start, end) = (n * per_part, (n + 1) * per_part);
            let (msn, part) = (start / per_segment, (start % per_segment / per_part) as u32);
            let sound = |frame| Geometry::aac_time(geometry.aac_at(frame));
            let fragment = |rendition: u8| Fragment {
                rendition,
                offset: u32::from(rendition) * 100,
                len: 100,
                duration: match rendition {
                    2 => MediaTime(sound(end).0 - sound(start).0),
                    _ => geometry.frame_time(per_part),
                },
                independent: rendition == 2 || start % u64::from(FORMAT.gop_frames) == 0,
            };
            Part {
                msn,
                part,
                last: end % per_segment == 0,
                start: geometry.frame_time(start),
                arrived: HostTime(0),
                fragments: (0..3).map(fragment).collect(),
                resume: Resume {
                    zero: presentation().zero,
                    next_msn: msn + 1,
                    next_frame: end,
                    next_aac: geometry.aac_at(end),
                    next_sequence: n as u32 + 2,
                    clocks: Vec::new(),
                    composed: Default::default(),
                },
            }
        })
        .collect()
}

fn empty_window() -> Window {
    Window::new(presentation(), SESSION, 1_700_000_000_000_000, &Config::default())
        .expect("a good presentation")
}

/// Messages of a transcoder, in a row. Whatever it says, the playlists can be written.
pub fn window(input: &[u8]) {
    let mut window: Option<Window> = None;
    for piece in pieces(input) {
        match (decode::<FromTranscoder>(piece), &mut window) {
            (Ok(FromTranscoder::Begin(presentation)), None) => {
                window = Window::new(*presentation, SESSION, 0, &Config::default()).ok();
            }
            (Ok(FromTranscoder::Part(part)), Some(window)) => {
                // The kernel says how long the memory is; a liar's is another.
                let bytes = Bytes::from(vec![7; 300]);
                let _ = window.publish(&part, &bytes);
            }
            (Ok(FromTranscoder::Ended), Some(window)) => window.end(),
            _ => {}
        }
    }
    let Some(window) = window else { return };
    assert!(playlist::multivariant(&window).starts_with("#EXTM3U\n"));
    for rendition in 0..window.presentation().renditions.len() {
        for skip in [false, true] {
            let text = playlist::media(&window, rendition, skip).expect("it exists");
            assert!(text.starts_with("#EXTM3U\n") && text.ends_with('\n'));
        }
    }
}

pub fn window_seeds() -> Vec<Vec<u8>> {
    let begin = FromTranscoder::Begin(Box::new(presentation()));
    [0, 1, 5, 14]
        .into_iter()
        .map(|count| {
            let parts = parts(count).into_iter().map(|p| FromTranscoder::Part(Box::new(p)));
            let messages = std::iter::once(begin.clone()).chain(parts);
            let messages: Vec<Vec<u8>> = messages
                .chain([FromTranscoder::Ended])
                .map(|message| encode(&message).expect("a good message"))
                .collect();
            join(messages.iter().map(Vec::as_slice))
        })
        .collect()
}

/// A class that has been on for 14 parts of 1/3 s, and one that is over.
fn snapshots() -> &'static [Snapshot; 2] {
    static SNAPSHOTS: OnceLock<[Snapshot; 2]> = OnceLock::new();
    SNAPSHOTS.get_or_init(|| {
        let mut window = empty_window();
        for part in parts(14) {
            window.publish(&part, &Bytes::from(vec![7; 300])).expect("a good part");
        }
        let mut over = window.clone();
        over.end();
        [Snapshot::new(window), Snapshot::new(over)]
    })
}

/// Path, query, Range, If-Range, If-None-Match and Accept-Encoding, a line each.
pub fn origin(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let request = Request {
        path: lines.next().unwrap_or_default(),
        query: lines.next().unwrap_or_default(),
        range: lines.next(),
        if_range: lines.next(),
        if_none_match: lines.next(),
        accept_encoding: lines.next(),
    };
    for snapshot in snapshots() {
        let window = snapshot.window();
        match answer(snapshot, &request) {
            Answer::Wait(point) => {
                assert!(!window.reached(point), "it waits for what is there");
                assert!(!window.ended(), "it waits for what will never come");
            }
            Answer::Ready(response) => {
                assert!(matches!(response.status, 200 | 206 | 304 | 400 | 404 | 416));
                assert_eq!(
                    response.status == 206,
                    response.content_range.is_some() && response.status != 416
                );
                assert_eq!(response.status == 304, response.is_empty());
                assert!(response.max_age <= 60);
            }
        }
    }
}

pub fn origin_seeds() -> Vec<Vec<u8>> {
    let lines: [&[&str]; 10] = [
        &["index.m3u8", ""],
        &["index.m3u8", "", "bytes=0-1", "", "W/\"x\", *", "gzip, br;q=0.5, *;q=0"],
        &["s1/h264-360/live.m3u8", "_HLS_msn=1&_HLS_part=1&_HLS_skip=YES", "", "", "", "br"],
        &["s1/h264-360/live.m3u8", "_HLS_msn=1&_HLS_part=3"],
        &["s1/audio/live.m3u8", "_HLS_msn=3"],
        &["s1/audio/init.mp4", "", "bytes=-5", "\"init\""],
        &["s1/av1-720/0.m4s", "", "bytes=10-299"],
        &["s1/av1-720/1.1.m4s", "", "bytes=0-", "\"1.1\"", "\"1.1\""],
        &["s1/av1-720/1.2.m4s", "token=abc"],
        &["s2/av1-720/1.2.m4s", "_HLS_part=1"],
    ];
    lines.iter().map(|lines| lines.join("\n").into_bytes()).collect()
}
