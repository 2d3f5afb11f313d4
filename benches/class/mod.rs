//! A class for the benches: five rungs and sound, in parts of plausible size.

#![allow(dead_code)]

use bytes::Bytes;
use proscenium::link::wire::{Fragment, OutputFormat, Part, Presentation, Rendition, Resume};
use proscenium::package::geometry::Geometry;
use proscenium::package::window::Window;
use proscenium::time::{Bitrate, HostTime};

const RUNGS: [(&str, &str, u64, (u32, u32)); 5] = [
    ("h264-720", "avc1.64001f", 1_500_000, (1280, 720)),
    ("h264-480", "avc1.64001e", 800_000, (854, 480)),
    ("h264-360", "avc1.64001e", 500_000, (640, 360)),
    ("av1-720", "av01.0.05M.08", 900_000, (1280, 720)),
    ("av1-360", "av01.0.01M.08", 300_000, (640, 360)),
];

/// A window and what is needed to make the next part for it.
#[derive(Clone)]
pub struct Class {
    pub window: Window,
    geometry: Geometry,
    frame: u64,
}

/// The presentation of [`Class`].
pub fn presentation() -> Presentation {
    let rendition = |name: &str, codecs: &str, bitrate, size| Rendition {
        name: name.to_owned(),
        codecs: codecs.to_owned(),
        bitrate: Bitrate(bitrate),
        size,
        init: vec![0; 800],
    };
    let mut renditions: Vec<_> = RUNGS.map(|(n, c, b, s)| rendition(n, c, b, Some(s))).into();
    renditions.push(rendition("audio", "mp4a.40.2", 96_000, None));
    let format = OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    };
    Presentation { zero: HostTime(0), format, renditions }
}

impl Class {
    /// With `parts` published.
    pub fn new(parts: u64) -> Self {
        let presentation = presentation();
        let geometry = Geometry::new(&presentation.format).expect("a good format");
        let window = Window::new(
            presentation,
            "0123456789abcdef0123",
            1_772_357_400_250_000,
            &Default::default(),
        );
        let mut class = Self { window: window.expect("a good presentation"), geometry, frame: 0 };
        for _ in 0..parts {
            let (part, bytes) = class.next();
            class.window.publish(&part, &bytes).expect("parts follow each other");
        }
        class
    }

    /// The next part.
    pub fn next(&mut self) -> (Part, Bytes) {
        let (frame, end) = (self.frame, self.frame + 10);
        self.frame = end;
        let sound = Geometry::aac_time(self.geometry.aac_at(end))
            - Geometry::aac_time(self.geometry.aac_at(frame));
        let rates =
            RUNGS.map(|(_, _, bitrate, _)| (bitrate, self.geometry.frame_time(10))).into_iter();
        let mut offset = 0;
        let fragments =
            rates.chain([(96_000, sound)]).enumerate().map(|(i, (bitrate, duration))| {
                let len = (bitrate / 24) as u32;
                offset += len;
                let independent = i == RUNGS.len() || frame % 60 == 0;
                Fragment { rendition: i as u8, offset: offset - len, len, duration, independent }
            });
        let fragments: Vec<_> = fragments.collect();
        let part = Part {
            msn: frame / 120,
            part: (frame % 120 / 10) as u32,
            last: end % 120 == 0,
            start: self.geometry.frame_time(frame),
            arrived: HostTime(0),
            fragments,
            resume: Resume {
                zero: HostTime(0),
                next_msn: frame / 120 + 1,
                next_frame: end,
                next_aac: self.geometry.aac_at(end),
                next_sequence: 1,
                clocks: Vec::new(),
                composed: Default::default(),
            },
        };
        (part, Bytes::from(vec![0; offset as usize]))
    }
}
