//! What the tests of packaging and origin share: a format, a presentation, and parts that follow
//! each other by the rules.

#![allow(clippy::unwrap_used)]

use super::geometry::Geometry;
use crate::link::wire::{Fragment, OutputFormat, Part, Presentation, Rendition, Resume};
use crate::time::{Bitrate, HostTime};
use bytes::Bytes;

/// 30 fps, parts of 1/3 s, segments of 4 s, two GOPs each.
pub fn format() -> OutputFormat {
    OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(128_000),
        playout_delay_us: 200_000,
    }
}

/// Two rungs of H.264, one of AV1, and sound.
pub fn presentation() -> Presentation {
    let video = |name: &str, codecs: &str, bitrate, size| Rendition {
        name: name.to_owned(),
        codecs: codecs.to_owned(),
        bitrate: Bitrate(bitrate),
        size: Some(size),
        init: format!("init of {name}").into_bytes(),
    };
    Presentation {
        zero: HostTime(0),
        format: format(),
        renditions: vec![
            video("h264-720", "avc1.64001f", 1_500_000, (1280, 720)),
            video("h264-360", "avc1.64001e", 500_000, (640, 360)),
            video("av1-720", "av01.0.05M.08", 900_000, (1280, 720)),
            Rendition {
                name: "audio".to_owned(),
                codecs: "mp4a.40.2".to_owned(),
                bitrate: Bitrate(128_000),
                size: None,
                init: b"init of audio".to_vec(),
            },
        ],
    }
}

/// Makes parts that follow each other, without samples in them: each fragment's bytes name it.
#[derive(Clone)]
pub struct Parts {
    geometry: Geometry,
    renditions: usize,
    pub msn: u64,
    pub part: u32,
    pub frame: u64,
    in_segment: u64,
    pub dropped: Vec<usize>,
}

impl Parts {
    pub fn new() -> Self {
        let (geometry, renditions) =
            (Geometry::new(&format()).unwrap(), presentation().renditions.len());
        Self { geometry, renditions, msn: 0, part: 0, frame: 0, in_segment: 0, dropped: Vec::new() }
    }

    /// The text that a rendition's fragment consists of.
    pub fn text(msn: u64, part: u32, rendition: usize) -> String {
        format!("[{msn}.{part} of rendition {rendition}]")
    }

    /// What a crash does: the open segment gets no more parts.
    pub fn restart(&mut self) {
        if self.part > 0 {
            self.msn += 1;
            self.part = 0;
            self.in_segment = 0;
        }
    }

    /// The next full part.
    pub fn next(&mut self) -> (Part, Bytes) {
        self.next_of(10)
    }

    /// The next part, `frames` long; the segment's last if it fills it.
    pub fn next_of(&mut self, frames: u64) -> (Part, Bytes) {
        let end = self.frame + frames;
        let last = self.in_segment + frames >= 120;
        let (mut bytes, mut fragments) = (Vec::new(), Vec::new());
        let aac = |frame| Geometry::aac_time(self.geometry.aac_at(frame));
        for rendition in (0..self.renditions).filter(|r| !self.dropped.contains(r)) {
            let sound = rendition == self.renditions - 1;
            let text = Self::text(self.msn, self.part, rendition);
            fragments.push(Fragment {
                rendition: rendition as u8,
                offset: bytes.len() as u32,
                len: text.len() as u32,
                duration: if sound {
                    aac(end) - aac(self.frame)
                } else {
                    self.geometry.frame_time(frames)
                },
                independent: sound || self.in_segment.is_multiple_of(60),
            });
            bytes.extend_from_slice(text.as_bytes());
        }
        let part = Part {
            msn: self.msn,
            part: self.part,
            last,
            start: self.geometry.frame_time(self.frame),
            arrived: HostTime(0),
            fragments,
            resume: Resume {
                zero: HostTime(0),
                next_msn: self.msn + 1,
                next_frame: end,
                next_aac: self.geometry.aac_at(end),
                next_sequence: 1,
                clocks: Vec::new(),
                composed: Default::default(),
            },
        };
        self.frame = end;
        self.part += 1;
        self.in_segment += frames;
        if last {
            (self.msn, self.part, self.in_segment) = (self.msn + 1, 0, 0);
        }
        (part, Bytes::from(bytes))
    }
}
