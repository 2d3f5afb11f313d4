//! Real encoders in, ffprobe out: what players will make of the boxes.

#![allow(clippy::unwrap_used)]

use super::cmaf::{VideoConfig, audio_rendition, video_rendition};
use super::geometry::Geometry;
use super::segmenter::{Sample, Segmenter};
use super::testing::format;
use super::window::Window;
use crate::link::wire::{OutputFormat, Presentation, Resume, Rung, VideoCodec};
use crate::time::{Bitrate, HostTime};
use bytes::Bytes;
use hw::codec::{AacEncoder, Picture, VideoEncoder, VideoEncoderConfig, VideoHeader, VideoOut};
use std::process::Command;

/// Short segments, so that a few seconds hold several.
fn short() -> OutputFormat {
    OutputFormat { segment_frames: 60, gop_frames: 30, ..format() }
}

fn rung(codec: VideoCodec) -> Rung {
    Rung {
        name: if codec == VideoCodec::H264 { "h264-180" } else { "av1-180" }.to_owned(),
        codec,
        width: 320,
        height: 180,
        bitrate: Bitrate(300_000),
        preset: String::new(),
        threads: 1,
    }
}

fn encoder(codec: VideoCodec) -> VideoEncoder {
    let out = if codec == VideoCodec::H264 { VideoOut::H264 } else { VideoOut::Av1 };
    VideoEncoder::open(&VideoEncoderConfig::live(out, 320, 180, 30, 300_000)).unwrap()
}

fn config(encoder: &VideoEncoder) -> VideoConfig {
    match encoder.header().clone() {
        VideoHeader::H264 { sps, pps } => VideoConfig::H264 { sps, pps },
        VideoHeader::Av1 { sequence_header } => VideoConfig::Av1 { sequence_header },
        other => panic!("{other:?}"),
    }
}

const CODECS: [VideoCodec; 2] = [VideoCodec::H264, VideoCodec::Av1];

/// One transcoder's life: frames `from..to` and their sound through fresh encoders, parts into the window.
fn stretch(
    window: &mut Window,
    resume: Option<&Resume>,
    from: u64,
    to: u64,
    finish: bool,
) -> Option<Resume> {
    let mut segmenter = Segmenter::new(&short(), 2, HostTime(0), resume).unwrap();
    let mut encoders = CODECS.map(encoder);
    let mut built = Vec::new();
    let mut out = Vec::new();
    // The priming is dropped: the encoder starts one frame early and its first packet is thrown away.
    let (first, last) = (segmenter.geometry().aac_at(from), segmenter.geometry().aac_at(to));
    let mut aac = AacEncoder::new(128_000).unwrap();
    let mut packets = Vec::new();
    for n in 0..=(last - first) {
        let tone: Vec<f32> =
            (0..2048).map(|i| (((n * 1024 + i / 2) as f32) * 0.05).sin() * 0.3).collect();
        aac.encode(&tone, &mut packets).unwrap();
    }
    aac.flush(&mut packets).unwrap();
    let mut packets = packets.into_iter().skip(1);
    for frame in from..to {
        let mut picture = Picture::alloc(320, 180).unwrap();
        picture.fill(16 + (frame * 3 % 200) as u8, 90 + (frame % 60) as u8, 128);
        for (rendition, encoder) in encoders.iter_mut().enumerate() {
            encoder.encode(&picture, frame as i64, segmenter.key_at(frame), &mut out).unwrap();
            if frame + 1 == to {
                encoder.flush(&mut out).unwrap();
            }
            for e in out.drain(..) {
                segmenter
                    .push(rendition, Sample { index: e.frame as u64, key: e.key, data: e.data })
                    .unwrap();
            }
        }
        for index in segmenter.geometry().aac_at(frame)..segmenter.geometry().aac_at(frame + 1) {
            let data = packets.next().unwrap().data;
            segmenter.push(2, Sample { index, key: true, data }).unwrap();
        }
        built.extend(segmenter.poll().unwrap());
    }
    if finish {
        built.extend(segmenter.finish().unwrap());
    }
    let mut next = None;
    for part in built {
        window.publish(&part.part, &Bytes::from(part.slices.concat())).unwrap();
        next = Some(part.part.resume);
    }
    next
}

fn class() -> Window {
    let mut renditions: Vec<_> =
        CODECS.iter().map(|&c| video_rendition(&rung(c), &config(&encoder(c))).unwrap()).collect();
    renditions
        .push(audio_rendition(Bitrate(128_000), AacEncoder::new(128_000).unwrap().asc()).unwrap());
    let presentation = Presentation { zero: HostTime(0), format: short(), renditions };
    let mut window = Window::new(presentation, "abc", 0, &Default::default()).unwrap();
    // A crash in the middle of a segment; the successor makes the frames that were not published again.
    let resume = stretch(&mut window, None, 0, 107, false).unwrap();
    assert_eq!(resume.next_frame, 100);
    stretch(&mut window, Some(&resume), 100, 215, true);
    window.end();
    window
}

/// ffprobe's lines of `entries` for a file; any warning fails.
fn probe(file: &[u8], entries: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("media.mp4");
    std::fs::write(&path, file).unwrap();
    let out = Command::new("ffprobe")
        .args(["-v", "warning", "-show_entries", entries, "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .expect("ffprobe runs (script/run has it)");
    let complaints = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success() && complaints.is_empty(), "{complaints}");
    String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|l| l.trim_end_matches(',').to_owned())
        .collect()
}

fn segment_file(window: &Window, rendition: usize, msns: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut file = window.init(rendition).unwrap().to_vec();
    for msn in msns {
        let segment = window.segment(msn).unwrap();
        segment.pieces(rendition).for_each(|p| file.extend_from_slice(&p.bytes));
    }
    file
}

#[test]
fn line_27_and_29_a_class_with_a_crash_in_it_decodes_whole_and_by_segment() {
    let window = class();
    let last = window.newest_closed().unwrap();
    let frames = 215;
    for rendition in 0..3 {
        let whole = segment_file(&window, rendition, 0..=last);
        let (step, count) = if rendition == 2 {
            (1024, Geometry::new(&short()).unwrap().aac_at(frames))
        } else {
            (3000, frames)
        };
        let times: Vec<u64> =
            probe(&whole, "frame=pts").iter().map(|l| l.parse().unwrap()).collect();
        assert_eq!(
            times,
            (0..count).map(|n| n * step).collect::<Vec<_>>(),
            "rendition {rendition}"
        );
        for msn in 0..=last {
            let lines = probe(&segment_file(&window, rendition, msn..=msn), "frame=key_frame");
            assert_eq!(
                lines.first().map(String::as_str),
                Some("1"),
                "segment {msn} begins with a key frame"
            );
            let ticks = window.segment(msn).unwrap().duration(rendition).0 as u64;
            assert_eq!(
                lines.len() as u64,
                ticks / (step * if rendition == 2 { 15 } else { 8 }),
                "segment {msn}"
            );
        }
    }
    // The crash closed a segment short, so there is one more than the frames alone would make.
    assert_eq!((last, window.segment(1).unwrap().part_count()), (3, 4));
}

#[test]
fn line_29_an_independent_part_decodes_alone() {
    let window = class();
    for rendition in 0..3 {
        for msn in 0..=window.newest_closed().unwrap() {
            for piece in window.segment(msn).unwrap().pieces(rendition).filter(|p| p.independent) {
                let file =
                    [window.init(rendition).unwrap(), &piece.bytes].map(|b| b.to_vec()).concat();
                let frames = probe(&file, "frame=pts").len();
                assert!((1..=16).contains(&frames), "{frames}");
            }
        }
    }
}

#[test]
fn line_14_codec_strings_are_those_of_the_streams() {
    let window = class();
    let renditions = &window.presentation().renditions;
    for (rendition, expected) in [(0, "h264"), (1, "av1"), (2, "aac")] {
        let file = segment_file(&window, rendition, 0..=0);
        let stream =
            probe(&file, "stream=codec_name,profile,level,width,height,sample_rate,channels")
                .join(",");
        assert!(stream.starts_with(expected), "{stream}");
        let codecs = &renditions[rendition].codecs;
        match expected {
            // avc1.PPCCLL: profile and level in hexadecimal, the level as ffprobe says it in tens.
            "h264" => {
                let level = u32::from_str_radix(&codecs[9..], 16).unwrap();
                assert!(
                    codecs.starts_with("avc1.") && stream.contains(&format!(",320,180,{level}")),
                    "{codecs} {stream}"
                );
            }
            "av1" => {
                let level: u32 = codecs[7..9].parse().unwrap();
                assert!(
                    codecs.starts_with("av01.0.") && codecs[9..].starts_with("M.08"),
                    "{codecs}"
                );
                // SVT-AV1 says where its chroma samples lie, which only the long form can.
                assert!(codecs.len() == 13 || codecs.ends_with(".0.111.01.01.01.0"), "{codecs}");
                assert!(stream.contains(&format!(",320,180,{level}")), "{codecs} {stream}");
            }
            _ => assert!(
                codecs == "mp4a.40.2" && stream.contains("LC") && stream.contains("48000"),
                "{stream}"
            ),
        }
    }
}

#[test]
fn extradata_in_any_form_gives_the_same_config() {
    let (sps, pps) = (vec![0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40], vec![0x68, 0xeb, 0xe3, 0xcb]);
    let expected = VideoConfig::H264 { sps: sps.clone(), pps: pps.clone() };
    let annex_b = [&[0, 0, 0, 1][..], &sps, &[0, 0, 0, 1], &pps].concat();
    let avcc = [&[1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 7][..], &sps, &[1, 0, 4], &pps].concat();
    for extradata in [annex_b, avcc] {
        assert_eq!(VideoConfig::from_extradata(VideoCodec::H264, &extradata).unwrap(), expected);
    }
    let VideoConfig::Av1 { sequence_header } = config(&encoder(VideoCodec::Av1)) else {
        panic!("AV1")
    };
    let av1c = [&[0x81, 0, 0x0c, 0][..], &sequence_header].concat();
    for extradata in [sequence_header.clone(), av1c] {
        let found = VideoConfig::from_extradata(VideoCodec::Av1, &extradata).unwrap();
        assert_eq!(found, VideoConfig::Av1 { sequence_header: sequence_header.clone() });
    }
    for codec in CODECS {
        for bad in [&[][..], &[1], &[0x81], &[0, 0, 1], &[1, 0, 0, 0, 0, 0xe1, 0xff, 0xff]] {
            assert!(VideoConfig::from_extradata(codec, bad).is_err());
        }
    }
    assert!(audio_rendition(Bitrate(128_000), &[0x12, 0x10]).is_err(), "44.1 kHz");
}
