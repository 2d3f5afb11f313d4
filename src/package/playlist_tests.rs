#![allow(clippy::unwrap_used)]

use super::*;
use crate::package::Config;
use crate::package::strict::{self, Playlist};
use crate::package::testing::{Parts, presentation};
use crate::units::Span;

/// 2026-03-01T09:30:00.250Z.
const EPOCH: i64 = 1_772_357_400_250_000;

fn window(parts: usize) -> (Window, Parts) {
    let mut window = Window::new(presentation(), "abc", EPOCH, &Config::default()).unwrap();
    let mut source = Parts::new();
    publish(&mut window, &mut source, parts);
    (window, source)
}

fn publish(window: &mut Window, source: &mut Parts, parts: usize) {
    for _ in 0..parts {
        let (part, bytes) = source.next();
        window.publish(&part, &bytes).unwrap();
    }
}

fn full(window: &Window, rendition: usize) -> Playlist {
    Playlist::parse(&media(window, rendition, false).unwrap())
}

#[test]
fn line_01_parts_keep_to_the_part_target_at_every_length_of_the_class() {
    let (mut window, mut source) = window(0);
    for _ in 0..200 {
        publish(&mut window, &mut source, 1);
        for rendition in 0..4 {
            // The strict reader asserts lines 1 to 5, 7 to 10 on each.
            let list = full(&window, rendition);
            assert_eq!(list.part_target, 0.34134);
            assert!(list.parts().count() > 0);
        }
    }
}

#[test]
fn line_02_and_03_server_control_is_the_same_everywhere() {
    let (window, _) = window(50);
    let control = full(&window, 0).server_control;
    assert_eq!(
        control,
        "CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.02402,HOLD-BACK=12.0,CAN-SKIP-UNTIL=24.0"
    );
    for rendition in 1..4 {
        assert_eq!(full(&window, rendition).server_control, control);
    }
}

#[test]
fn line_04_the_target_duration_is_constant_and_equal() {
    let (mut window, mut source) = window(1);
    for _ in 0..60 {
        publish(&mut window, &mut source, 2);
        assert!((0..4).all(|r| full(&window, r).target == 4.0));
    }
}

#[test]
fn line_05_six_segments_and_the_parts_of_the_last_three_targets_are_listed() {
    let short = Config { window: Span::secs(6), ..Default::default() };
    let mut window = Window::new(presentation(), "abc", EPOCH, &short).unwrap();
    let mut source = Parts::new();
    publish(&mut window, &mut source, 12 * 20 + 5);
    let list = full(&window, 0);
    assert_eq!(list.complete(), 6);
    let oldest_with_parts = list.segments.iter().find(|s| !s.parts.is_empty()).unwrap().msn;
    assert_eq!(oldest_with_parts, 17);
    // Fetchable three targets longer: parts of segments 14 to 16, and more.
    assert!(window.segment(14).unwrap().piece(0, 0).is_some());
    // And a segment that left the list goes on being there for players that saw it listed.
    assert!(window.segment(list.media_sequence - 6).is_some());
    assert!(window.segment(0).is_none(), "the window must not grow for ever");
}

#[test]
fn line_06_the_media_sequence_grows_by_the_segments_removed() {
    let (mut window, mut source) = window(1);
    let (mut sequence, mut uris) = (0, Vec::new());
    for _ in 0..400 {
        publish(&mut window, &mut source, 1);
        let list = full(&window, 1);
        let now: Vec<_> = list.segments.iter().filter_map(|s| s.uri.clone()).collect();
        let removed = list.media_sequence - sequence;
        assert!(now.starts_with(&uris[removed as usize..]), "{uris:?} {now:?}");
        (sequence, uris) = (list.media_sequence, now);
    }
    assert!(sequence > 20);
}

#[test]
fn line_07_all_renditions_map_media_time_to_the_same_wall_clock() {
    let (window, _) = window(200);
    let (video, sound) = (full(&window, 0), full(&window, 3));
    assert_eq!(video.segments.first().unwrap().msn, sound.segments.first().unwrap().msn);
    for (v, s) in video.segments.iter().zip(&sound.segments) {
        // Both clocks are the epoch and the start of the segment in that rendition, to the millisecond.
        let segment = window.segment(v.msn).unwrap();
        for (pdt, rendition) in [(&v.pdt, 0), (&s.pdt, 3)] {
            let exact =
                EPOCH as f64 / 1e3 + window.start_of(segment, rendition).as_secs_f64() * 1e3;
            assert!((strict::millis(pdt) as f64 - exact).abs() <= 0.51, "{pdt}");
        }
    }
}

#[test]
fn line_07_dates_are_right_across_centuries_and_leap_days() {
    for (us, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
        (1_772_357_400_250_000, "2026-03-01T09:30:00.250Z"),
        (1_709_251_199_999_499, "2024-02-29T23:59:59.999Z"),
        (1_709_251_199_999_500, "2024-03-01T00:00:00.000Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
        (-1_000, "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(DateTime(us).to_string(), text);
    }
    for day in (0..60_000).step_by(13) {
        let text = DateTime(day * 86_400_000_000 + 45_296_789_000).to_string();
        assert_eq!(strict::millis(&text), day * 86_400_000 + 45_296_789);
    }
}

#[test]
fn line_08_and_09_map_and_date_stand_before_parts_and_key_frames_are_marked() {
    let (window, _) = window(30);
    let (video, sound) = (full(&window, 0), full(&window, 3));
    let independent: Vec<bool> = video.segments[1].parts.iter().map(|p| p.independent).collect();
    assert_eq!(independent.iter().positions(), [0, 6]);
    assert!(sound.parts().all(|p| p.independent));
}

trait Positions {
    fn positions(self) -> Vec<usize>;
}

impl<'a, I: Iterator<Item = &'a bool>> Positions for I {
    fn positions(self) -> Vec<usize> {
        self.enumerate().filter(|(_, b)| **b).map(|(i, _)| i).collect()
    }
}

#[test]
fn line_10_the_hint_is_the_part_that_is_listed_next() {
    let (mut window, mut source) = window(1);
    let mut hint = full(&window, 0).hint.unwrap();
    for _ in 0..40 {
        publish(&mut window, &mut source, 1);
        let list = full(&window, 0);
        assert_eq!(list.parts().last().unwrap().uri, hint);
        hint = list.hint.unwrap();
    }
}

#[test]
fn line_11_every_other_rendition_is_reported() {
    let (window, _) = window(12 * 3 + 5);
    let expected = |name: &str| (format!("../{name}/live.m3u8"), 3, 4);
    assert_eq!(full(&window, 0).reports, ["h264-360", "av1-720", "audio"].map(expected));
    assert_eq!(full(&window, 3).reports, ["h264-720", "h264-360", "av1-720"].map(expected));
}

#[test]
fn line_12_a_dropped_rung_leaves_gaps_of_the_right_length_and_the_multivariant() {
    let (mut window, mut source) = window(12 * 2 + 4);
    source.dropped = vec![2];
    publish(&mut window, &mut source, 12 + 3);
    let list = full(&window, 2);
    let half = &list.segments[2];
    assert!(half.gap && half.duration == Some(4.0));
    assert_eq!(
        half.parts.iter().map(|p| p.gap).collect::<Vec<_>>(),
        [[false; 4].as_slice(), &[true; 8]].concat()
    );
    assert!(list.segments[3].parts.iter().all(|p| p.gap && !p.independent));
    assert!(!full(&window, 0).segments[2].gap);
    assert!(!multivariant(&window).contains("av1-720"));
    // It may come back, with a new segment only.
    source.dropped.clear();
    let (part, bytes) = source.next();
    assert!(window.publish(&part, &bytes).is_err());
}

#[test]
fn line_13_the_end_has_its_tag_and_no_hint() {
    let (mut window, _) = window(40);
    window.end();
    let list = full(&window, 0);
    assert!(list.ended && list.hint.is_none() && list.reports.is_empty());
    assert!(list.segments.iter().all(|s| s.duration.is_some()));
}

#[test]
fn line_14_the_multivariant_playlist_says_what_players_choose_by() {
    let (window, _) = window(40);
    let text = multivariant(&window);
    let (rest, parsed) = m3u8_rs::parse_master_playlist(text.as_bytes()).unwrap();
    assert!(rest.is_empty());
    assert!(parsed.independent_segments);
    let [sound] = parsed.alternatives.as_slice() else { panic!("one sound expected") };
    assert_eq!(
        (sound.language.as_deref(), sound.default, sound.autoselect),
        (Some("und"), true, true)
    );
    assert_eq!(sound.uri.as_deref(), Some("abc/audio/live.m3u8"));
    let codecs: Vec<_> = parsed.variants.iter().map(|v| v.codecs.clone().unwrap()).collect();
    assert_eq!(
        codecs,
        ["avc1.64001f,mp4a.40.2", "avc1.64001e,mp4a.40.2", "av01.0.05M.08,mp4a.40.2"]
    );
    for variant in &parsed.variants {
        assert_eq!(variant.audio.as_deref(), Some(sound.group_id.as_str()));
        assert!(variant.resolution.is_some());
        assert_eq!(variant.frame_rate, Some(30.0));
        let (peak, average) = (variant.bandwidth, variant.average_bandwidth.unwrap());
        assert!(peak > average && peak < average * 5 / 4, "{peak} {average}");
    }
    for line in text.lines().filter(|l| l.starts_with("#EXT-X-STREAM-INF")) {
        assert!(line.contains("FRAME-RATE=30.000") && line.contains("VIDEO-RANGE=SDR"), "{line}");
        strict::attributes(line.split_once(':').unwrap().1);
    }
}

#[test]
fn line_14_a_measured_peak_raises_the_bandwidth() {
    let mut window = Window::new(presentation(), "abc", 0, &Config::default()).unwrap();
    let mut source = Parts::new();
    let before =
        m3u8_rs::parse_master_playlist(multivariant(&window).as_bytes()).unwrap().1.variants[1]
            .bandwidth;
    for _ in 0..12 {
        let (mut part, _) = source.next();
        let fat = bytes::Bytes::from(vec![0; 400_000]);
        part.fragments[1].offset = 0;
        part.fragments[1].len = 400_000;
        window.publish(&part, &fat).unwrap();
    }
    let after =
        m3u8_rs::parse_master_playlist(multivariant(&window).as_bytes()).unwrap().1.variants[1]
            .bandwidth;
    assert!(after > 9_600_000 && before < 1_000_000, "{before} {after}");
}

#[test]
fn line_21_a_delta_update_skips_what_lies_before_the_boundary_and_nothing_else() {
    let long = Config { window: Span::secs(120), ..Default::default() };
    let mut window = Window::new(presentation(), "abc", EPOCH, &long).unwrap();
    let mut source = Parts::new();
    for n in 0..12 * 40 {
        publish(&mut window, &mut source, 1);
        let (whole, delta) = (full(&window, 0), Playlist::parse(&media(&window, 0, true).unwrap()));
        let Some(skipped) = delta.skipped else {
            assert!(n < 12 * 8, "something to skip at {n}");
            assert!(delta.map.is_some());
            continue;
        };
        // What a player makes of it is the whole playlist again.
        assert_eq!(delta.media_sequence, whole.media_sequence);
        assert_eq!(delta.complete(), whole.complete());
        let kept = &whole.segments[skipped as usize..];
        assert_eq!(format!("{kept:?}"), format!("{:?}", delta.segments));
        // And it skips only what is further than 24 s from the end.
        let from = strict::millis(&delta.segments[0].pdt);
        let end = EPOCH as f64 / 1000.0 + window.end_time().as_secs_f64() * 1000.0;
        assert!(end - from as f64 >= 24_000.0 - 1.0);
    }
    window.end();
    assert!(Playlist::parse(&media(&window, 0, true).unwrap()).skipped.is_none());
}

#[test]
fn an_independent_parser_reads_the_segments() {
    let (mut window, _) = window(12 * 9);
    window.end();
    let text = media(&window, 0, false).unwrap();
    let parsed = m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
    assert_eq!(parsed.target_duration, 4);
    assert!(parsed.end_list && parsed.independent_segments);
    assert!(parsed.segments.iter().all(|s| s.duration == 4.0 && s.program_date_time.is_some()));
    assert_eq!(parsed.segments.first().unwrap().map.as_ref().unwrap().uri, "init.mp4");
}
