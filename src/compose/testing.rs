//! People with real cameras and microphones on a virtual clock, as records: for tests of the room and the worker.
//! Every camera is of one colour, a little brighter in each larger layer, with the burnt-in clock in it.
#![allow(clippy::unwrap_used)]

use crate::link::ring::{Record, RtpRecord};
use crate::link::wire::{self, Seat, Stage};
use crate::teacher::burnt::Stamp;
use crate::time::{HostTime, PersonId, SourceCodec, SourceId, TrackId};
use bytes::Bytes;
use hw::codec::{
    Encoded, Framing, OpusEncoder, Picture, PicturePool, VideoEncoder, VideoEncoderConfig, VideoOut,
};
use rtc_rtp::codec::h264::H264Payloader;
use rtc_rtp::packetizer::Payloader;

/// When the class begins, on the box's clock.
pub(crate) const BEGIN: i64 = 5_000_000_000;
const FPS: u64 = 30;
/// Every packet's way.
const DELAY_US: i64 = 20_000;

/// A record that owns its payload.
#[derive(Clone, Debug)]
pub(crate) enum Owned {
    Rtp { head: RtpRecord<'static>, payload: Bytes },
    Stage { arrived: HostTime, payload: Bytes },
    Other(Record<'static>),
}

impl Owned {
    pub fn record(&self) -> Record<'_> {
        match self {
            Self::Rtp { head, payload } => Record::Rtp(RtpRecord { payload, ..*head }),
            Self::Stage { arrived, payload } => Record::Stage { arrived: *arrived, payload },
            Self::Other(record) => *record,
        }
    }
}

/// Blue and red difference of everybody, by number.
const COLOURS: [[u8; 2]; 9] = [
    [90, 200],
    [200, 90],
    [90, 90],
    [200, 200],
    [60, 128],
    [128, 60],
    [128, 200],
    [200, 128],
    [150, 150],
];

/// The colour of `person` in layer `layer`.
pub(crate) fn colour(person: u32, layer: u8) -> [u8; 3] {
    let [cb, cr] = COLOURS[person as usize % COLOURS.len()];
    [70 + 40 * layer, cb, cr]
}

/// The connection with a person's camera and microphone.
pub(crate) fn camera_of(person: u32) -> SourceId {
    SourceId(10 + person)
}

/// The connection with a person's screen. Its colour is that of person `person + 4`.
pub(crate) fn screen_of(person: u32) -> SourceId {
    SourceId(100 + person)
}

/// A layer's stream; screens have only layer 0.
pub(crate) fn track_of(source: SourceId, layer: u8) -> TrackId {
    TrackId(source.0 * 10 + u32::from(layer))
}

/// The seat of a person with a camera.
pub(crate) fn seat(person: u32) -> Seat {
    Seat {
        person: PersonId::new(u64::from(person)),
        name: format!("Person {person}"),
        camera: Some(camera_of(person)),
        screen: None,
        muted: false,
    }
}

struct Film {
    source: SourceId,
    track: TrackId,
    layer: u8,
    pool: PicturePool,
    colour: [u8; 3],
    encoder: VideoEncoder,
    payloader: H264Payloader,
    seq: u64,
    key: bool,
    running: bool,
}

struct Microphone {
    source: SourceId,
    track: TrackId,
    hz: f32,
    level: f32,
    encoder: OpusEncoder,
    seq: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Crowd {
    films: Vec<Film>,
    microphones: Vec<Microphone>,
    stage: Option<(Bytes, bool)>,
    next_frame: u64,
    next_packet: u64,
    next_stage: i64,
    /// Everything that arrived, as a ring would keep it.
    pub ring: Vec<Owned>,
    /// Streams that were asked for a key frame.
    pub asked: Vec<TrackId>,
}

impl Crowd {
    /// Opens a camera with a layer of each of `sizes`, smallest first.
    pub fn camera(&mut self, person: u32, sizes: &[(u32, u32)]) {
        for (layer, size) in (0..).zip(sizes) {
            self.film(camera_of(person), layer, *size, colour(person, layer));
        }
    }

    /// Shares a screen.
    pub fn screen(&mut self, person: u32, size: (u32, u32)) {
        self.film(screen_of(person), 0, size, colour(person + 4, 2));
    }

    fn film(&mut self, source: SourceId, layer: u8, size: (u32, u32), colour: [u8; 3]) {
        let config = VideoEncoderConfig {
            preset: "ultrafast".into(),
            gop_frames: 3600,
            framing: Framing::Rtp,
            ..VideoEncoderConfig::live(VideoOut::H264, size.0, size.1, FPS as u32, 400_000)
        };
        self.films.push(Film {
            source,
            track: track_of(source, layer),
            layer,
            pool: PicturePool::new(size.0, size.1).unwrap(),
            colour,
            encoder: VideoEncoder::open(&config).unwrap(),
            payloader: H264Payloader::default(),
            seq: 60_000,
            key: true,
            running: true,
        });
    }

    /// Opens a person's microphone, which hears a tone.
    pub fn microphone(&mut self, person: u32, hz: f32, level: f32) {
        self.microphones.push(Microphone {
            source: camera_of(person),
            track: track_of(camera_of(person), 9),
            hz,
            level,
            encoder: OpusEncoder::new(64_000, 10).unwrap(),
            seq: 1000,
        });
    }

    /// Stops or goes on sending a layer.
    pub fn set_running(&mut self, track: TrackId, running: bool) {
        for film in self.films.iter_mut().filter(|film| film.track == track) {
            film.running = running;
        }
    }

    /// Says another layer number of a stream from now on.
    pub fn number(&mut self, track: TrackId, layer: u8) {
        for film in self.films.iter_mut().filter(|film| film.track == track) {
            film.layer = layer;
        }
    }

    /// From now on this is the stage.
    pub fn set_stage(&mut self, stage: &Stage) {
        self.stage = Some((Bytes::from(wire::encode(stage).unwrap()), true));
    }

    /// A source leaves, now.
    pub fn leave(&mut self, source: SourceId, mut on: impl FnMut(&Record<'_>)) {
        self.films.retain(|film| film.source != source);
        self.microphones.retain(|microphone| microphone.source != source);
        let arrived = HostTime(BEGIN + self.now() + DELAY_US);
        let owned = Owned::Other(Record::Gone { source, arrived });
        on(&owned.record());
        self.ring.push(owned);
    }

    /// Microseconds since the class began: what is captured next.
    fn now(&self) -> i64 {
        let frame = (self.next_frame * 1_000_000 / FPS) as i64;
        frame.min(self.next_packet as i64 * 20_000)
    }

    /// What arrives until `seconds` after the class began, each record shown to `on`, which says what streams are
    /// asked for key frames.
    pub fn run(&mut self, seconds: f64, mut on: impl FnMut(&Record<'_>) -> Vec<TrackId>) {
        let until = (seconds * 1e6) as i64;
        while self.now() + DELAY_US < until {
            let mut come = Vec::new();
            let now = self.now();
            let arrived = HostTime(BEGIN + now + DELAY_US);
            if let Some((payload, fresh)) = &mut self.stage
                && (*fresh || now >= self.next_stage)
            {
                (*fresh, self.next_stage) = (false, now + 1_000_000);
                come.push(Owned::Stage { arrived, payload: payload.clone() });
            }
            if now == (self.next_frame * 1_000_000 / FPS) as i64 {
                for film in self.films.iter_mut().filter(|film| film.running) {
                    film.take(self.next_frame, now, arrived, &mut come);
                }
                self.next_frame += 1;
            } else {
                for microphone in &mut self.microphones {
                    come.push(microphone.take(self.next_packet, arrived));
                }
                self.next_packet += 1;
            }
            for owned in come {
                let asked = on(&owned.record());
                for film in self.films.iter_mut().filter(|film| asked.contains(&film.track)) {
                    film.key = true;
                }
                self.asked.extend(asked);
                self.ring.push(owned);
            }
        }
    }
}

impl Film {
    fn take(&mut self, number: u64, now: i64, arrived: HostTime, come: &mut Vec<Owned>) {
        let mut picture = self.pool.get().unwrap();
        picture.fill(self.colour[0], self.colour[1], self.colour[2]);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let [luma, ..] = picture.planes_mut().unwrap();
        Stamp::at(number, now).draw(luma.data, luma.stride, width, height);
        let mut out = Vec::new();
        let key = std::mem::take(&mut self.key);
        self.encoder.encode(&picture, number as i64, key, &mut out).unwrap();
        for Encoded { key, data, .. } in out {
            let payloads = self.payloader.payload(1180, &data).unwrap();
            let last = payloads.len() - 1;
            for (index, payload) in payloads.into_iter().enumerate() {
                let head = RtpRecord {
                    source: self.source,
                    track: self.track,
                    codec: SourceCodec::H264,
                    keyframe: key && index == 0,
                    marker: index == last,
                    layer: self.layer,
                    seq: self.seq,
                    // Each layer has times of its own.
                    timestamp: (number * 90_000 / FPS) as u32 + self.track.0 * 1_000_000,
                    arrived,
                    payload: &[],
                };
                self.seq += 1;
                come.push(Owned::Rtp { head, payload });
            }
        }
    }
}

impl Microphone {
    fn take(&mut self, number: u64, arrived: HostTime) -> Owned {
        let sample = |n: u64| {
            let at = (number * 960 + n) as f64 * f64::from(self.hz) / 48_000.0;
            self.level * (at.fract() * std::f64::consts::TAU).sin() as f32
        };
        let samples: Vec<f32> = (0..960).flat_map(|n| [sample(n); 2]).collect();
        let payload = Bytes::from(self.encoder.encode(&samples).unwrap());
        self.seq += 1;
        let head = RtpRecord {
            source: self.source,
            track: self.track,
            codec: SourceCodec::Opus,
            keyframe: false,
            marker: false,
            layer: 0,
            seq: self.seq,
            timestamp: (number * 960) as u32,
            arrived,
            payload: &[],
        };
        Owned::Rtp { head, payload }
    }
}

/// Luma, blue and red difference at a place of a picture.
pub(crate) fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
    [(0, 0), (1, 1), (2, 1)].map(|(plane, half)| {
        let row = picture.rows(plane).nth((y >> half) as usize).unwrap();
        row[(x >> half) as usize]
    })
}

/// Whether two colours are one, but for what encoders make of them.
pub(crate) fn alike(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 8)
}

/// Whether two colours differ in brightness only.
pub(crate) fn same_hue(a: [u8; 3], b: [u8; 3]) -> bool {
    alike([0, a[1], a[2]], [0, b[1], b[2]])
}
