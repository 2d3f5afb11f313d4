#![allow(clippy::unwrap_used)]

use super::*;
use crate::package::Config;
use crate::package::playlist;
use crate::package::strict::Playlist;
use crate::package::testing::{format, presentation};
use crate::package::window::Window;
use crate::time::MediaTime;
use mp4_atom::{Any, DecodeMaybe, Moof};
use proptest::prelude::*;

const SOUND: usize = 3;

fn sample(index: u64, key: bool) -> Sample {
    // Its bytes say which sample it is.
    Sample { index, key, data: Bytes::copy_from_slice(&index.to_be_bytes()) }
}

fn segmenter(resume: Option<&Resume>) -> Segmenter {
    Segmenter::new(&format(), SOUND, HostTime(0), resume).unwrap()
}

/// Pushes video frames `from..to` of all rungs, and the sound that belongs to them.
fn feed(s: &mut Segmenter, from: u64, to: u64) -> Vec<BuiltPart> {
    let mut built = Vec::new();
    for frame in from..to {
        for rung in 0..SOUND {
            s.push(rung, sample(frame, s.key_at(frame))).unwrap();
        }
        for aac in s.geometry().aac_at(frame)..s.geometry().aac_at(frame + 1) {
            s.push(SOUND, sample(aac, true)).unwrap();
        }
        built.extend(s.poll().unwrap());
    }
    built
}

fn memory(part: &BuiltPart) -> Bytes {
    part.slices.concat().into()
}

/// The moof of a fragment and the sample data behind it.
fn open(part: &BuiltPart, rendition: u8) -> (Moof, Vec<u8>) {
    let fragment = part.part.fragments.iter().find(|f| f.rendition == rendition).unwrap();
    let memory = memory(part);
    let mut bytes = &memory[fragment.offset as usize..][..fragment.len as usize];
    let (mut moof, mut before, mut data) = (None, 0, Vec::new());
    while let Some(atom) = Any::decode_maybe(&mut bytes).unwrap() {
        match atom {
            Any::Styp(_) => assert!(part.part.part == 0 && before == 0),
            Any::Moof(m) => moof = Some(m),
            Any::Mdat(m) => data = m.data,
            other => panic!("unexpected {other:?}"),
        }
        before += 1;
    }
    (moof.unwrap(), data)
}

/// First sample's decode time, samples with size and flags as a decoder resolves them.
fn samples(moof: &Moof) -> (u64, u32, Vec<(u32, u32)>) {
    let [traf] = moof.traf.as_slice() else { panic!("one traf") };
    assert!(traf.tfhd.default_base_is_moof && traf.tfhd.base_data_offset.is_none());
    let (unit, flags) =
        (traf.tfhd.default_sample_duration.unwrap(), traf.tfhd.default_sample_flags.unwrap());
    let [trun] = traf.trun.as_slice() else { panic!("one trun") };
    let all = trun.samples.iter().map(|s| (s.size.unwrap(), s.flags.unwrap_or(flags))).collect();
    (traf.tfdt.as_ref().unwrap().base_media_decode_time, unit, all)
}

#[test]
fn line_27_decode_times_are_continuous_across_parts_segments_and_restarts() {
    let mut s = segmenter(None);
    let mut parts = feed(&mut s, 0, 120 + 47);
    let resume = parts.last().unwrap().part.resume.clone();
    assert_eq!((resume.next_frame, resume.next_msn), (160, 2));
    parts.extend(feed(&mut segmenter(Some(&resume)), 160, 160 + 260));
    assert_eq!(parts.iter().map(|p| (p.part.msn, p.part.part)).filter(|p| p.1 == 0).count(), 5);
    for rendition in 0..=SOUND as u8 {
        let (mut next, mut index) = (0, 0u64);
        for part in &parts {
            let (moof, data) = open(part, rendition);
            let (base, unit, samples) = samples(&moof);
            assert_eq!(base, next, "part {}.{}", part.part.msn, part.part.part);
            next += u64::from(unit) * samples.len() as u64;
            let fragment = part.part.fragments.iter().find(|f| f.rendition == rendition).unwrap();
            let hz = if rendition == SOUND as u8 { 48_000 } else { 90_000 };
            assert_eq!(
                fragment.duration,
                MediaTime::from_units(i64::from(unit) * samples.len() as i64, hz)
            );
            // Every sample once, in order, where its size says.
            for (bytes, (size, _)) in data.chunks(8).zip(&samples) {
                assert_eq!((*size, bytes), (8, index.to_be_bytes().as_slice()));
                index += 1;
            }
            assert_eq!(data.len(), samples.len() * 8);
        }
    }
    // moof numbers rise across the restart, too.
    let numbers: Vec<u32> = parts.iter().map(|p| open(p, 0).0.mfhd.sequence_number).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
}

#[test]
fn sync_samples_are_marked_and_others_not() {
    let mut s = segmenter(None);
    let parts = feed(&mut s, 0, 240);
    for part in &parts {
        for (i, (_, flags)) in samples(&open(part, 0).0).2.into_iter().enumerate() {
            let key = i == 0 && part.part.start.to_units(30) % 60 == 0;
            assert_eq!(flags, if key { 0x0200_0000 } else { 0x0101_0000 });
        }
        assert!(samples(&open(part, 3).0).2.iter().all(|(_, flags)| *flags == 0x0200_0000));
    }
}

#[test]
fn a_key_frame_inside_a_part_is_marked_there() {
    let odd = OutputFormat { gop_frames: 24, ..format() };
    let mut s = Segmenter::new(&odd, 1, HostTime(0), None).unwrap();
    let mut parts = Vec::new();
    for frame in 0..40 {
        s.push(0, sample(frame, s.key_at(frame))).unwrap();
        for aac in s.geometry().aac_at(frame)..s.geometry().aac_at(frame + 1) {
            s.push(1, sample(aac, true)).unwrap();
        }
        parts.extend(s.poll().unwrap());
    }
    let flags: Vec<bool> =
        samples(&open(&parts[2], 0).0).2.iter().map(|s| s.1 == 0x0200_0000).collect();
    assert_eq!(flags.iter().position(|k| *k), Some(4));
    assert!(parts[2].part.fragments[0].independent && !parts[1].part.fragments[0].independent);
}

#[test]
fn the_barrier_holds_a_part_until_every_rendition_has_it() {
    let mut s = segmenter(None);
    for frame in 0..10 {
        s.push(0, sample(frame, frame == 0)).unwrap();
        s.push(1, sample(frame, frame == 0)).unwrap();
    }
    (0..16).for_each(|aac| s.push(SOUND, sample(aac, true)).unwrap());
    assert!(s.poll().unwrap().is_none());
    for frame in 0..10 {
        assert!(s.poll().unwrap().is_none(), "{frame}");
        s.push(2, sample(frame, frame == 0)).unwrap();
    }
    let part = s.poll().unwrap().unwrap().part;
    assert_eq!(part.fragments.iter().map(|f| f.rendition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(s.poll().unwrap().is_none());
}

#[test]
fn a_stalled_rendition_is_named_and_can_be_dropped() {
    let mut s = segmenter(None);
    let mut stalled = None;
    for frame in 0..200 {
        for rung in [0, 1] {
            match s.push(rung, sample(frame, s.key_at(frame))) {
                Ok(()) => {}
                Err(SegmenterError::Stalled { rendition, .. }) => {
                    stalled = Some((rendition, frame))
                }
                Err(other) => panic!("{other}"),
            }
        }
        for aac in s.geometry().aac_at(frame)..s.geometry().aac_at(frame + 1) {
            if let Err(SegmenterError::Stalled { rendition, .. }) = s.push(SOUND, sample(aac, true))
            {
                stalled = Some((rendition, frame));
            }
        }
        if let Some((rendition, at)) = stalled {
            assert_eq!((rendition, at / 10), (2, PARTS_AHEAD + 1));
            s.drop_track(rendition);
            break;
        }
    }
    // Nothing was lost: all parts so far come out, without the dropped one.
    for n in 0..9 {
        let part = s.poll().unwrap().unwrap().part;
        assert_eq!((part.part, part.fragments.len()), (n, 3));
    }
    // And what it still delivers is no error.
    s.push(2, sample(77, false)).unwrap();
}

#[test]
fn queues_are_bounded_even_if_nobody_acts() {
    let mut s = segmenter(None);
    let mut taken = 0;
    let refused = (0..10_000).find(|&frame| match s.push(0, sample(frame, s.key_at(frame))) {
        Ok(()) | Err(SegmenterError::Stalled { .. }) => {
            taken += 1;
            false
        }
        Err(SegmenterError::Full { rendition: 0, .. }) => true,
        Err(other) => panic!("{other}"),
    });
    assert!(refused.is_some() && taken <= 10 * (2 * PARTS_AHEAD + 1));
}

#[test]
fn a_frame_left_out_is_an_error_and_so_is_a_segment_without_key_frame() {
    let mut s = segmenter(None);
    s.push(0, sample(0, true)).unwrap();
    let error = s.push(0, sample(2, false)).unwrap_err();
    assert!(
        matches!(error, SegmenterError::Order { rendition: 0, expected: 1, got: 2 }),
        "{error}"
    );
    assert!(matches!(s.push(9, sample(0, true)), Err(SegmenterError::Rendition(9))));

    let mut s = segmenter(None);
    for frame in 0..10 {
        (0..SOUND).for_each(|rung| s.push(rung, sample(frame, rung != 1 && frame == 0)).unwrap());
    }
    (0..16).for_each(|aac| s.push(SOUND, sample(aac, true)).unwrap());
    assert!(matches!(s.poll(), Err(SegmenterError::NoKey { rendition: 1, frame: 0 })));
}

#[test]
fn a_resume_that_does_not_fit_the_format_is_refused() {
    let resume = Resume {
        zero: HostTime(0),
        next_msn: 1,
        next_frame: 10,
        next_aac: 15,
        next_sequence: 2,
        clocks: Vec::new(),
        composed: Default::default(),
    };
    let error = Segmenter::new(&format(), 1, HostTime(0), Some(&resume)).map(|_| ()).unwrap_err();
    assert!(matches!(error, SegmenterError::Resume { expected: 16, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens to a class, the window takes every part and the playlists keep every rule.
    #[test]
    fn what_the_segmenter_makes_the_window_takes(
        stretches in prop::collection::vec((1u64..400, 0u64..9), 1..6), dropped in prop::option::of(0usize..3),
        fps in prop::sample::select(vec![24u32, 25, 30, 50, 60]), tenths in 2u32..11,
    ) {
        let format = OutputFormat { fps, part_frames: fps * tenths / 10, segment_frames: 4 * fps, gop_frames: 2 * fps, ..format() };
        let mut presentation = presentation();
        presentation.format = format;
        let mut window = Window::new(presentation, "abc", 0, &Config::default()).unwrap();
        let (mut resume, stretch_count): (Option<Resume>, _) = (None, stretches.len());
        for (nth, (frames, lost)) in stretches.into_iter().enumerate() {
            let mut s = Segmenter::new(&format, SOUND, HostTime(0), resume.as_ref()).unwrap();
            if nth > 0 && let Some(rendition) = dropped {
                s.drop_track(rendition);
            }
            let start = resume.as_ref().map_or(0, |r| r.next_frame);
            let mut parts = feed(&mut s, start, start + frames);
            if nth + 1 == stretch_count {
                parts.extend(s.finish().unwrap());
                let end = parts.last().map_or(start, |p| p.part.resume.next_frame);
                // What is lost at the very end is less than the shortest thing worth sending.
                prop_assert!(start + frames - end <= 2, "{} of {frames}", start + frames - end);
            } else {
                // A crash loses what was not yet published: the successor makes it again.
                parts.truncate(parts.len().saturating_sub(lost as usize));
            }
            for part in &parts {
                window.publish(&part.part, &memory(part)).unwrap();
                resume = Some(part.part.resume.clone());
            }
            if resume.is_some() {
                for rendition in 0..=SOUND {
                    Playlist::parse(&playlist::media(&window, rendition, false).unwrap());
                }
            }
        }
    }
}
