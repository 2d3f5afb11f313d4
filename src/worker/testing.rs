//! What the tests of the transcoder share: a synthetic class over a virtual network, and eyes and ears
//! on what comes out.
#![allow(clippy::unwrap_used)]

use super::core::{Core, Event};
use super::encoders::Mode;
use crate::link::ring::{Record, RtpRecord};
use crate::link::wire::{
    OutputFormat, Presentation, Rendition, Resume, Rung, Stage, Start, VideoCodec,
};
use crate::package::segmenter::BuiltPart;
use crate::teacher::burnt::Stamp;
use crate::teacher::class::{Camera, Class, Microphone};
use crate::teacher::lecture::{Look, flash_luma};
use crate::teacher::sound::{Offsets, beep_onsets, flash_onsets};
use crate::time::{Bitrate, HostTime, RoomName, SourceCodec, SourceId, TrackId};
use bytes::Bytes;
use hw::codec::{AacDecoder, Picture, VideoDecoder, VideoHeader, VideoIn, VideoOut};
use mp4_atom::ReadFrom;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rtc_rtp::codec::{
    av1::Av1Payloader, h264::H264Payloader, vp8::Vp8Payloader, vp9::Vp9Payloader,
};
use rtc_rtp::packetizer::Payloader;
use std::collections::{BTreeMap, BTreeSet};

pub const SOURCE: SourceId = SourceId(1);
pub const VIDEO: TrackId = TrackId(1);
pub const AUDIO: TrackId = TrackId(2);
/// When the class begins, on the box's clock.
pub const BEGIN: i64 = 5_000_000_000;

/// A record that owns its payload.
#[derive(Clone, Debug)]
pub enum Owned {
    Rtp { head: RtpRecord<'static>, payload: Bytes },
    Other(Record<'static>),
}

impl Owned {
    pub fn record(&self) -> Record<'_> {
        match self {
            Self::Rtp { head, payload } => Record::Rtp(RtpRecord { payload, ..*head }),
            Self::Other(record) => *record,
        }
    }
}

/// What the network does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub delay_us: i64,
    pub jitter_us: i64,
    pub loss: f64,
    /// What is lost comes once more, this much later.
    pub retransmit_us: Option<i64>,
    pub duplicates: f64,
    pub seed: u64,
}

pub const GOOD: Network = Network {
    delay_us: 20_000,
    jitter_us: 2_000,
    loss: 0.0,
    retransmit_us: None,
    duplicates: 0.0,
    seed: 1,
};

/// A publisher and its network, on a virtual clock.
pub struct World {
    pub class: Class,
    pub network: Network,
    camera: Camera,
    microphone: Microphone,
    payloader: Box<dyn Payloader>,
    rng: StdRng,
    next_frame: u64,
    next_packet: u64,
    next_report: [i64; 2],
    seq: [u64; 2],
    on_the_way: BTreeMap<(i64, u64), Owned>,
    count: u64,
    pub key_wanted: bool,
    /// Everything that arrived, as a ring would keep it.
    pub ring: Vec<Owned>,
}

fn source_codec(codec: VideoOut) -> (SourceCodec, Box<dyn Payloader>) {
    match codec {
        VideoOut::H264 => (SourceCodec::H264, Box::<H264Payloader>::default()),
        VideoOut::Vp8 => (SourceCodec::Vp8, Box::<Vp8Payloader>::default()),
        VideoOut::Vp9 => (SourceCodec::Vp9, Box::<Vp9Payloader>::default()),
        VideoOut::Av1 => (SourceCodec::Av1, Box::<Av1Payloader>::default()),
    }
}

pub fn class() -> Class {
    Class {
        look: Look { width: 320, height: 180, fps: 30, seed: 1 },
        video_bitrate: 500_000,
        ..Class::default()
    }
}

fn ntp(us: i64) -> u64 {
    (((us as u128 + 3_900_000_000_000_000) << 32) / 1_000_000) as u64
}

impl World {
    pub fn new(class: Class, network: Network) -> Self {
        Self {
            camera: Camera::open(&class).unwrap(),
            microphone: Microphone::open(&class).unwrap(),
            payloader: source_codec(class.codec).1,
            rng: StdRng::seed_from_u64(network.seed),
            next_frame: 0,
            next_packet: 0,
            next_report: [500_000, 2_500_000],
            seq: [65_000, 70_000],
            on_the_way: BTreeMap::new(),
            count: 0,
            key_wanted: false,
            ring: Vec::new(),
            class,
            network,
        }
    }

    fn send(&mut self, at: i64, owned: impl Fn(HostTime) -> Owned) {
        let way = |rng: &mut StdRng| {
            self.network.delay_us + (rng.random::<f64>() * self.network.jitter_us as f64) as i64
        };
        let first = way(&mut self.rng);
        let mut arrivals = vec![first];
        if self.rng.random::<f64>() < self.network.loss {
            arrivals = self.network.retransmit_us.map(|later| first + later).into_iter().collect();
        }
        if self.rng.random::<f64>() < self.network.duplicates {
            arrivals.push(way(&mut self.rng));
        }
        for way in arrivals {
            let arrived = BEGIN + at + way;
            self.count += 1;
            self.on_the_way.insert((arrived, self.count), owned(HostTime(arrived)));
        }
    }

    fn packets(&mut self, at: i64, audio: bool, rtp: u32, payloads: Vec<Bytes>, key: bool) {
        let track = if audio { AUDIO } else { VIDEO };
        let codec = if audio { SourceCodec::Opus } else { source_codec(self.class.codec).0 };
        let last = payloads.len() - 1;
        for (index, payload) in payloads.into_iter().enumerate() {
            let seq = self.seq[usize::from(audio)];
            self.seq[usize::from(audio)] += 1;
            self.send(at, |arrived| Owned::Rtp {
                head: RtpRecord {
                    source: SOURCE,
                    track,
                    codec,
                    keyframe: key && index == 0,
                    marker: !audio && index == last,
                    layer: 0,
                    seq,
                    timestamp: rtp,
                    arrived,
                    payload: &[],
                },
                payload: payload.clone(),
            });
        }
    }

    /// What arrives until `until_us` after the class began, one record after the other, each shown to
    /// `on`; it answers whether a key frame is wanted.
    pub fn run(&mut self, until_us: i64, mut on: impl FnMut(&Record<'_>) -> bool) {
        loop {
            let frame_at = self.next_frame as i64 * 1_000_000 / i64::from(self.camera.fps());
            let packet_at = self.next_packet as i64 * 20_000;
            let report_at = self.next_report[0].min(self.next_report[1]);
            let now = frame_at.min(packet_at).min(report_at);
            while let Some(entry) = self.on_the_way.first_entry() {
                if entry.key().0 > BEGIN + now.min(until_us) {
                    break;
                }
                let owned = entry.remove();
                self.key_wanted |= on(&owned.record());
                self.ring.push(owned);
            }
            if now >= until_us {
                return;
            }
            if now == report_at {
                let audio = usize::from(self.next_report[1] == report_at);
                self.next_report[audio] += [1_000_000, 5_000_000][audio];
                let (track, rate) = [(VIDEO, 90), (AUDIO, 48)][audio];
                let rtp = (now as u64 * rate / 1000) as u32;
                self.send(now, |arrived| {
                    Owned::Other(Record::SenderReport {
                        source: SOURCE,
                        track,
                        ntp: ntp(now),
                        rtp,
                        arrived,
                    })
                });
            } else if now == frame_at {
                let mut out = Vec::new();
                let wanted = std::mem::take(&mut self.key_wanted);
                self.camera.take(self.next_frame, now, wanted, &mut out).unwrap();
                if out.is_empty() {
                    self.key_wanted |= wanted;
                }
                for encoded in out {
                    let payloads = self.payloader.payload(1180, &encoded.data).unwrap();
                    let rtp = (self.next_frame * 90_000 / u64::from(self.camera.fps())) as u32;
                    self.packets(now, false, rtp, payloads, encoded.key);
                }
                self.next_frame += 1;
            } else {
                if let Some(packet) = self.microphone.take(self.next_packet).unwrap() {
                    self.packets(
                        now,
                        true,
                        (self.next_packet * 960) as u32,
                        vec![packet.into()],
                        false,
                    );
                }
                self.next_packet += 1;
            }
        }
    }
}

pub fn format() -> OutputFormat {
    OutputFormat {
        fps: 30,
        part_frames: 10,
        segment_frames: 120,
        gop_frames: 60,
        audio_bitrate: Bitrate(96_000),
        playout_delay_us: 150_000,
    }
}

pub fn rung(codec: VideoCodec, width: u32, height: u32) -> Rung {
    let (name, preset) = match codec {
        VideoCodec::H264 => ("h264", "ultrafast"),
        VideoCodec::Av1 => ("av1", "9"),
    };
    Rung {
        name: format!("{name}-{height}"),
        codec,
        width,
        height,
        bitrate: Bitrate(600_000),
        preset: preset.into(),
        threads: 1,
    }
}

pub fn start(rungs: Vec<Rung>, resume: Option<Resume>) -> Start {
    let room = RoomName::parse("test").unwrap();
    let stage = Stage::default();
    Start { room, format: format(), rungs, resume, failures: 0, dropped: Vec::new(), stage }
}

/// What came out, checked as it comes: nothing missing, nothing twice, times without a gap.
#[derive(Default)]
pub struct Watch {
    pub presentation: Option<Presentation>,
    pub parts: Vec<BuiltPart>,
    pub keyframes_wanted: u64,
    /// Streams that key frames were asked of.
    pub asked: Vec<TrackId>,
    pub dropped: Vec<usize>,
    /// Samples of every rendition, in order: (decode time in the track's timescale, duration, data).
    pub samples: Vec<Vec<(u64, u32, Bytes)>>,
}

impl Watch {
    /// Whether a key frame was asked for.
    pub fn take(&mut self, events: &mut Vec<Event>) -> bool {
        let mut wanted = false;
        for event in events.drain(..) {
            match event {
                Event::Begin(presentation) => {
                    assert!(self.presentation.is_none(), "begins once");
                    self.samples = vec![Vec::new(); presentation.renditions.len()];
                    self.presentation = Some(*presentation);
                }
                Event::Part(built) => self.part(*built),
                Event::KeyframeWanted(track) => {
                    self.asked.push(track);
                    self.keyframes_wanted += 1;
                    wanted = true;
                }
                Event::RungDropped { rendition, .. } => self.dropped.push(rendition),
            }
        }
        wanted
    }

    fn part(&mut self, built: BuiltPart) {
        let bytes = Bytes::from(built.slices.concat());
        if let Some(before) = self.parts.last() {
            let (was, is) = (&before.part, &built.part);
            assert_eq!(
                is.start,
                crate::time::MediaTime::from_units(was.resume.next_frame as i64, 30)
            );
            let follows = if was.last { (was.msn + 1, 0) } else { (was.msn, was.part + 1) };
            assert!((is.msn, is.part) == follows || (is.msn, is.part) == (was.msn + 1, 0));
        }
        for fragment in &built.part.fragments {
            let range = fragment.offset as usize..(fragment.offset + fragment.len) as usize;
            let samples = &mut self.samples[usize::from(fragment.rendition)];
            for sample in samples_of(&bytes.slice(range)) {
                if let Some((at, duration, _)) = samples.last() {
                    assert_eq!(at + u64::from(*duration), sample.0, "times without a gap");
                }
                samples.push(sample);
            }
        }
        self.parts.push(built);
    }

    /// Another transcoder takes over.
    pub fn successor(&mut self, events: &mut Vec<Event>) {
        events.retain(|event| match event {
            Event::Begin(presentation) => {
                assert_eq!(
                    Some(&**presentation),
                    self.presentation.as_ref(),
                    "init segments stand"
                );
                false
            }
            _ => true,
        });
        self.take(events);
    }

    /// Decoded pictures of a rung.
    pub fn pictures(&self, rendition: usize) -> Vec<Picture> {
        let presentation = self.presentation.as_ref().unwrap();
        let header = header_of(&presentation.renditions[rendition]);
        let mut decoder = VideoDecoder::of_samples(&header, 1).unwrap();
        let mut out = Vec::new();
        for (index, (_, _, data)) in self.samples[rendition].iter().enumerate() {
            decoder.decode(data, index as i64, &mut out).unwrap();
        }
        decoder.flush(&mut out).unwrap();
        out.into_iter().map(|(_, picture)| picture).collect()
    }

    /// The burnt-in frame counter of every frame; `None` where there is none to read.
    pub fn counters(&self, rendition: usize) -> Vec<Option<u32>> {
        self.pictures(rendition).iter().map(counter).collect()
    }

    /// The sound, mono, from sample 0.
    pub fn sound(&self) -> Vec<f32> {
        let presentation = self.presentation.as_ref().unwrap();
        let rendition = presentation.renditions.len() - 1;
        let mut decoder = AacDecoder::new(&asc_of(&presentation.renditions[rendition])).unwrap();
        let mut out = Vec::new();
        for (_, _, data) in &self.samples[rendition] {
            decoder.decode(data, &mut out).unwrap();
        }
        out.chunks_exact(2).map(|frame| (frame[0] + frame[1]) / 2.0).collect()
    }

    /// Beeps against flashes.
    pub fn offsets(&self, rendition: usize) -> Offsets {
        let flashes = self
            .pictures(rendition)
            .iter()
            .enumerate()
            .map(|(index, picture)| {
                let (luma, stride) = picture.plane(0);
                let (width, height) = (picture.width() as usize, picture.height() as usize);
                (index as f64 / 30.0, flash_luma(luma, stride, width, height).unwrap())
            })
            .collect::<Vec<_>>();
        let beeps: Vec<f64> = beep_onsets(&self.sound()).iter().map(|at| at / 48_000.0).collect();
        Offsets::pair(&flash_onsets(flashes), &beeps)
    }
}

pub fn counter(picture: &Picture) -> Option<u32> {
    let (luma, stride) = picture.plane(0);
    let stamp = Stamp::read(luma, stride, picture.width() as usize, picture.height() as usize);
    stamp.ok().map(|stamp| stamp.frame)
}

/// Every sample of a fragment: (decode time, duration, data).
fn samples_of(fragment: &Bytes) -> Vec<(u64, u32, Bytes)> {
    let mut rest = fragment.clone();
    let mut at = 0usize;
    while let Some(head) = rest.get(..8) {
        let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if &head[4..8] == b"moof" {
            let moof = mp4_atom::Moof::read_from(&mut std::io::Cursor::new(&rest)).unwrap();
            let traf = &moof.traf[0];
            let mut time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
            let run = &traf.trun[0];
            let mut offset = at + run.data_offset.unwrap() as usize;
            let mut out = Vec::new();
            for entry in run.samples.iter() {
                let size = entry.size.or(traf.tfhd.default_sample_size).unwrap() as usize;
                let duration = entry.duration.or(traf.tfhd.default_sample_duration).unwrap();
                out.push((time, duration, fragment.slice(offset..offset + size)));
                offset += size;
                time += u64::from(duration);
            }
            assert_eq!(offset, fragment.len());
            return out;
        }
        at += size;
        rest = fragment.slice(at..);
    }
    panic!("no moof");
}

fn trak(rendition: &Rendition) -> mp4_atom::Codec {
    let mut cursor = std::io::Cursor::new(&rendition.init);
    let _ = mp4_atom::Ftyp::read_from(&mut cursor).unwrap();
    let moov = mp4_atom::Moov::read_from(&mut cursor).unwrap();
    moov.trak[0].mdia.minf.stbl.stsd.codecs[0].clone()
}

fn header_of(rendition: &Rendition) -> VideoHeader {
    match trak(rendition) {
        mp4_atom::Codec::Avc1(avc1) => VideoHeader::H264 {
            sps: avc1.avcc.sequence_parameter_sets[0].to_vec(),
            pps: avc1.avcc.picture_parameter_sets[0].to_vec(),
        },
        mp4_atom::Codec::Av01(av01) => {
            VideoHeader::Av1 { sequence_header: av01.av1c.config_obus.clone() }
        }
        other => panic!("{other:?}"),
    }
}

fn asc_of(rendition: &Rendition) -> Vec<u8> {
    assert!(matches!(trak(rendition), mp4_atom::Codec::Mp4a(_)));
    vec![0x11, 0x90] // AAC-LC, 48 kHz, stereo
}

/// Brings a class through a transcoder and says what came out.
pub fn transcode(world: &mut World, start: Start, seconds: f64) -> (Watch, Core) {
    let mut core = Core::new(start, Mode::Inline).unwrap();
    let mut watch = Watch::default();
    drive(&mut core, &mut watch, world, seconds);
    (watch, core)
}

/// Goes on with it.
pub fn drive(core: &mut Core, watch: &mut Watch, world: &mut World, seconds: f64) {
    let until = (seconds * 1e6) as i64;
    let mut events = Vec::new();
    let mut failed = None;
    world.run(until, |record| {
        let mut wanted = false;
        loop {
            match core.advance(record.arrived(), &mut events) {
                Ok(done) => {
                    wanted |= watch.take(&mut events);
                    if done {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        core.push(record);
        wanted
    });
    assert!(failed.is_none(), "{failed:?}");
    while !core.advance(HostTime(BEGIN + until), &mut events).unwrap() {}
    world.key_wanted |= watch.take(&mut events);
}

/// Frame counters a run of frames must show: each once, in order.
pub fn assert_in_sequence(counters: &[Option<u32>], from: u32) {
    for (index, counter) in counters.iter().enumerate() {
        assert_eq!(*counter, Some(from + index as u32), "frame {index} of {counters:?}");
    }
}

/// All different values, for tests that only count.
pub fn distinct(counters: &[Option<u32>]) -> usize {
    counters.iter().flatten().collect::<BTreeSet<_>>().len()
}

/// The counters in what the camera of `class` sends, decoded right away: what of them can be read at all.
pub fn sent_counters(class: &Class, frames: u64) -> Vec<Option<u32>> {
    let mut camera = Camera::open(class).unwrap();
    let input = match class.codec {
        VideoOut::H264 => VideoIn::H264,
        VideoOut::Vp8 => VideoIn::Vp8,
        VideoOut::Vp9 => VideoIn::Vp9,
        VideoOut::Av1 => VideoIn::Av1,
    };
    let mut decoder = VideoDecoder::new(input, 1).unwrap();
    let (mut encoded, mut pictures) = (Vec::new(), Vec::new());
    for number in 0..frames {
        camera.take(number, 0, false, &mut encoded).unwrap();
    }
    for frame in encoded {
        decoder.decode(&frame.data, frame.frame, &mut pictures).unwrap();
    }
    pictures.iter().map(|(_, picture)| counter(picture)).collect()
}
