#![allow(clippy::unwrap_used)]

use super::*;
use crate::package::strict::Playlist;
use crate::package::testing::{Parts, presentation};
use proptest::prelude::*;

fn window(parts: usize) -> (Window, Parts) {
    let mut window = Window::new(presentation(), "abc", 0, &Default::default()).unwrap();
    let mut source = Parts::new();
    for _ in 0..parts {
        let (part, bytes) = source.next();
        window.publish(&part, &bytes).unwrap();
    }
    (window, source)
}

/// Two complete segments and parts 0 to 4 of the third, MSN 2.
fn snapshot() -> Snapshot {
    Snapshot::new(window(12 * 2 + 5).0)
}

fn ask(snapshot: &Snapshot, url: &str) -> Answer {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    answer(snapshot, &Request { path, query, ..Default::default() })
}

#[track_caller]
fn ready(answer: Answer) -> Response {
    match answer {
        Answer::Ready(response) => response,
        Answer::Wait(point) => panic!("waits for {point:?}"),
    }
}

#[track_caller]
fn waits(answer: Answer) -> Point {
    match answer {
        Answer::Ready(response) => panic!("answers {}", response.status),
        Answer::Wait(point) => point,
    }
}

fn status(snapshot: &Snapshot, url: &str) -> u16 {
    ready(ask(snapshot, url)).status
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.concat()).unwrap()
}

const LIST: &str = "abc/h264-720/live.m3u8";

#[test]
fn line_15_msn_and_part_block_until_they_are_listed() {
    let snapshot = snapshot();
    let part = |part| Point::Part { msn: 2, part };
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=4")), 200);
    assert_eq!(waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=5"))), part(5));
    assert_eq!(waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=11"))), part(11));
    // Without a part the segment must be complete.
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=1")), 200);
    assert_eq!(waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=2"))), Point::Segment { msn: 2 });
    assert_eq!(waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=3"))), Point::Segment { msn: 3 });
}

#[test]
fn line_16_part_beyond_last_means_next_segment() {
    let (mut window, mut source) = window(12);
    let beyond = |window: &Window| {
        ask(&Snapshot::new(window.clone()), &format!("{LIST}?_HLS_msn=0&_HLS_part=12"))
    };
    // Segment 0 is complete and has parts 0 to 11: part 12 is part 0 of segment 1.
    let point = waits(beyond(&window));
    assert!(!window.reached(point));
    let (part, bytes) = source.next();
    window.publish(&part, &bytes).unwrap();
    assert!(window.reached(point));
    let list = text(&ready(beyond(&window)));
    assert!(list.contains("\"1.0.m4s\"") && Playlist::parse(&list).hint.unwrap() == "1.1.m4s");
}

#[test]
fn line_16_a_segment_that_closes_short_moves_waiters_to_the_next() {
    let (mut window, mut source) = window(12 + 5);
    let point =
        waits(ask(&Snapshot::new(window.clone()), &format!("{LIST}?_HLS_msn=1&_HLS_part=5")));
    source.restart();
    let (part, bytes) = source.next();
    window.publish(&part, &bytes).unwrap();
    assert!(window.reached(point));
    assert_eq!(status(&Snapshot::new(window), &format!("{LIST}?_HLS_msn=1&_HLS_part=5")), 200);
}

#[test]
fn line_17_part_without_msn_is_400() {
    assert_eq!(status(&snapshot(), &format!("{LIST}?_HLS_part=1")), 400);
}

#[test]
fn line_18_too_far_ahead_is_400() {
    let snapshot = snapshot();
    // Segment 1 is the newest complete one.
    waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=3")));
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=4")), 400);
    assert_eq!(
        status(&snapshot, &format!("{LIST}?_HLS_msn=18446744073709551615&_HLS_part=0")),
        400
    );
    // 3 s of parts are 8; the last one is part 4.
    waits(ask(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=12")));
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=13")), 400);
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=3&_HLS_part=8")), 400);
    assert_eq!(
        status(&snapshot, &format!("{LIST}?_HLS_msn=2&_HLS_part=18446744073709551615")),
        400
    );
}

#[test]
fn line_19_waiting_in_vain_is_503_with_retry_after() {
    let response = Response::timed_out();
    assert_eq!((response.status, response.retry_after), (503, Some(1)));
    assert_eq!(response.content_type, "application/problem+json");
}

#[test]
fn line_20_an_msn_already_gone_is_answered_at_once_with_the_whole_playlist() {
    let snapshot = Snapshot::new(window(12 * 30).0);
    assert!(snapshot.window().first_listed() > 5);
    for query in [
        "_HLS_msn=3",
        "_HLS_msn=3&_HLS_part=7",
        "_HLS_msn=3&_HLS_part=40",
        "_HLS_msn=3&_HLS_skip=YES",
    ] {
        let list = Playlist::parse(&text(&ready(ask(&snapshot, &format!("{LIST}?{query}")))));
        assert_eq!(list.skipped, None, "{query}");
    }
}

#[test]
fn line_21_skip_gives_a_delta_update() {
    let snapshot = Snapshot::new(window(12 * 30).0);
    for query in ["_HLS_skip=YES", "_HLS_skip=v2", "_HLS_msn=29&_HLS_part=11&_HLS_skip=YES"] {
        let list = Playlist::parse(&text(&ready(ask(&snapshot, &format!("{LIST}?{query}")))));
        assert!(list.skipped.is_some_and(|n| n > 0), "{query}");
    }
    for query in ["_HLS_skip=NO", "_HLS_skip=", "_HLS_skip"] {
        let list = Playlist::parse(&text(&ready(ask(&snapshot, &format!("{LIST}?{query}")))));
        assert_eq!(list.skipped, None, "{query}");
    }
}

#[test]
fn line_22_the_hinted_part_waits_and_any_other_unknown_part_is_404() {
    let snapshot = snapshot();
    let part = |name: &str| ask(&snapshot, &format!("abc/h264-720/{name}.m4s"));
    assert_eq!(ready(part("2.4")).body.concat(), Parts::text(2, 4, 0).as_bytes());
    assert_eq!(waits(part("2.5")), Point::Part { msn: 2, part: 5 });
    for unknown in ["2.6", "3.0", "1.12", "9.9", "2", "3"] {
        assert_eq!(ready(part(unknown)).status, 404, "{unknown}");
    }
}

#[test]
fn line_22_a_hinted_part_that_never_comes_is_404() {
    let (mut window, mut source) = window(12 + 5);
    let hinted = "abc/audio/1.5.m4s";
    let point = waits(ask(&Snapshot::new(window.clone()), hinted));
    source.restart();
    let (part, bytes) = source.next();
    window.publish(&part, &bytes).unwrap();
    assert!(window.reached(point));
    assert_eq!(status(&Snapshot::new(window.clone()), hinted), 404);
    window.end();
    assert_eq!(status(&Snapshot::new(window), "abc/audio/2.1.m4s"), 404);
}

#[test]
fn line_12_a_gap_is_not_found_and_its_segment_neither() {
    let (mut window, mut source) = window(12 + 2);
    source.dropped = vec![2];
    for _ in 0..11 {
        let (part, bytes) = source.next();
        window.publish(&part, &bytes).unwrap();
    }
    let snapshot = Snapshot::new(window);
    assert_eq!(status(&snapshot, "abc/av1-720/1.1.m4s"), 200);
    assert_eq!(status(&snapshot, "abc/av1-720/1.2.m4s"), 404);
    assert_eq!(status(&snapshot, "abc/av1-720/1.m4s"), 404);
    assert_eq!(status(&snapshot, "abc/h264-720/1.m4s"), 200);
}

#[test]
fn line_13_after_the_end_directives_are_ignored() {
    let (mut window, _) = window(12 + 5);
    window.end();
    let snapshot = Snapshot::new(window);
    for query in
        ["_HLS_msn=1&_HLS_part=9", "_HLS_msn=99", "_HLS_part=1", "_HLS_msn=x", "_HLS_skip=YES"]
    {
        let list = Playlist::parse(&text(&ready(ask(&snapshot, &format!("{LIST}?{query}")))));
        assert!(list.ended, "{query}");
    }
}

#[test]
fn a_playlist_waits_for_the_first_part_and_the_multivariant_does_not() {
    let snapshot = Snapshot::new(window(0).0);
    assert_eq!(waits(ask(&snapshot, LIST)), Point::Part { msn: 0, part: 0 });
    waits(ask(&snapshot, "abc/audio/0.0.m4s"));
    assert_eq!(status(&snapshot, "index.m3u8"), 200);
    assert_eq!(status(&snapshot, "abc/audio/init.mp4"), 200);
    assert_eq!(status(&snapshot, &format!("{LIST}?_HLS_msn=2")), 400);
}

#[test]
fn a_segment_is_its_parts_in_order() {
    let whole = ready(ask(&snapshot(), "abc/audio/1.m4s"));
    let parts: String = (0..12).map(|n| Parts::text(1, n, 3)).collect();
    assert_eq!((text(&whole), whole.body.len(), whole.len()), (parts.clone(), 12, parts.len()));
    assert_eq!(whole.content_type, "audio/mp4");
}

#[test]
fn line_24_cache_times() {
    let snapshot = snapshot();
    let age = |url: &str| {
        let response = ready(ask(&snapshot, url));
        (response.max_age, response.immutable)
    };
    assert_eq!(age(&format!("{LIST}?_HLS_msn=2&_HLS_part=4")), (24, false));
    assert_eq!(age(LIST), (2, false));
    assert_eq!(age("index.m3u8"), (2, false));
    for media in ["abc/audio/1.m4s", "abc/audio/2.1.m4s", "abc/audio/init.mp4"] {
        assert_eq!(age(media), (24, true), "{media}");
    }
    for error in ["abc/audio/9.m4s", "x", &format!("{LIST}?_HLS_msn=9")] {
        assert!(age(error).0 <= 1, "{error}");
    }
}

#[test]
fn line_26_ranges_cut_across_parts() {
    let snapshot = snapshot();
    let whole = text(&ready(ask(&snapshot, "abc/audio/1.m4s")));
    let len = whole.len();
    let get = |range: &str, if_range: Option<&str>| {
        let request =
            Request { path: "abc/audio/1.m4s", range: Some(range), if_range, ..Default::default() };
        ready(answer(&snapshot, &request))
    };
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=10-69".to_owned(), 10, 69),
        ("bytes=30-".to_owned(), 30, len - 1),
        ("bytes=-7".to_owned(), len - 7, len - 1),
        (format!("bytes=5-{}", u128::MAX), 5, len - 1),
        (format!("bytes=-{}", len * 2), 0, len - 1),
    ] {
        let part = get(&range, None);
        assert_eq!((part.status, text(&part).as_str()), (206, &whole[from..=to]), "{range}");
        assert_eq!(part.content_range.unwrap(), format!("bytes {from}-{to}/{len}"));
    }
    for range in [format!("bytes={len}-"), "bytes=-0".to_owned()] {
        let none = get(&range, None);
        assert_eq!((none.status, none.content_range), (416, Some(format!("bytes */{len}"))));
    }
    for odd in
        ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=", "bytes=a-b", "bytes=-", "bytes=+1-2"]
    {
        assert_eq!(get(odd, None).status, 200, "{odd}");
    }
    assert_eq!(get("bytes=0-1", Some("\"1\"")).status, 206);
    assert_eq!(get("bytes=0-1", Some("\"other\"")).status, 200);
}

#[test]
fn line_26_conditions_are_answered_304() {
    let snapshot = snapshot();
    for path in ["abc/audio/1.m4s", "abc/audio/2.0.m4s", "abc/audio/init.mp4", LIST, "index.m3u8"] {
        let etag = ready(ask(&snapshot, path)).etag.unwrap();
        for (tags, status) in [
            (etag.clone(), 304),
            (format!("\"x\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let request = Request { path, if_none_match: Some(&tags), ..Default::default() };
            let response = ready(answer(&snapshot, &request));
            assert_eq!(response.status, status, "{path} {tags}");
            assert_eq!(response.is_empty(), status == 304);
            assert_eq!(response.etag.as_ref(), Some(&etag));
        }
    }
}

#[test]
fn line_23_only_playlists_vary() {
    let snapshot = snapshot();
    let get = |path| {
        let request = Request { path, accept_encoding: Some("gzip"), ..Default::default() };
        let response = ready(answer(&snapshot, &request));
        (response.varies, response.coding)
    };
    assert_eq!(get(LIST), (true, Some(Coding::Gzip)));
    assert_eq!(get("index.m3u8"), (true, Some(Coding::Gzip)));
    assert_eq!(get("abc/audio/1.m4s"), (false, None));
}

#[test]
fn errors_explain_themselves() {
    let snapshot = snapshot();
    for (url, status, word) in [
        ("old/audio/1.m4s", 404, "over"),
        ("abc/h264-999/live.m3u8", 404, "rendition"),
        ("", 404, "index.m3u8"),
        ("abc/audio/live.m3u8?_HLS_msn=1&_HLS_msn=2", 400, "twice"),
    ] {
        let response = ready(ask(&snapshot, url));
        let document: serde_json::Value = serde_json::from_slice(&response.body.concat()).unwrap();
        assert_eq!(
            (response.status, document["status"].as_u64()),
            (status, Some(status.into())),
            "{url}"
        );
        assert_eq!(response.content_type, "application/problem+json");
        assert!(document["detail"].as_str().unwrap().contains(word), "{document}");
    }
}

fn requests() -> impl Strategy<Value = (String, String)> {
    let rendition = prop::sample::select(vec!["h264-720", "audio", "av1-720", "none"]);
    let file = prop_oneof![
        Just("live.m3u8".to_owned()),
        Just("init.mp4".to_owned()),
        (0u64..9).prop_map(|m| format!("{m}.m4s")),
        (0u64..9, 0u64..14).prop_map(|(m, p)| format!("{m}.{p}.m4s")),
        "\\PC{0,12}",
    ];
    let query = prop_oneof![
        Just(String::new()),
        (0u64..9).prop_map(|m| format!("_HLS_msn={m}")),
        (0u64..9, 0u64..25).prop_map(|(m, p)| format!("_HLS_msn={m}&_HLS_part={p}&_HLS_skip=YES")),
        "\\PC{0,30}",
    ];
    (rendition, file, query).prop_map(|(r, f, q)| (format!("abc/{r}/{f}"), q))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A request that waits is answered exactly when its point is published, never with another wait for
    /// the same point, and what it gets holds what it asked for.
    #[test]
    fn blocked_requests_are_answered_when_their_part_is_published(
        start in 0usize..70, requests in prop::collection::vec(requests(), 1..20), restarts in prop::collection::vec(any::<u8>(), 40),
    ) {
        let (mut window, mut source) = window(start);
        let mut waiting = Vec::new();
        let before = Snapshot::new(window.clone());
        for (path, query) in &requests {
            let request = Request { path, query, ..Default::default() };
            if let Answer::Wait(point) = answer(&before, &request) {
                prop_assert!(!window.reached(point));
                waiting.push((request, point));
            }
        }
        for chance in restarts {
            if chance < 20 {
                source.restart();
            }
            let (part, bytes) = source.next();
            window.publish(&part, &bytes).unwrap();
            let snapshot = Snapshot::new(window.clone());
            waiting.retain(|(request, point)| match answer(&snapshot, request) {
                Answer::Wait(again) => {
                    assert!(!window.reached(*point) && again == *point, "{request:?} waits on for {again:?}");
                    true
                }
                Answer::Ready(response) => {
                    assert!(window.reached(*point), "{request:?} was answered before its time");
                    if response.kind == Kind::Video || response.kind == Kind::Sound {
                        assert_eq!(response.status, 200);
                    }
                    false
                }
            });
        }
        // Everything that could be asked for lies within 40 parts.
        prop_assert!(waiting.is_empty(), "{waiting:?}");
    }

    #[test]
    fn foreign_headers_are_no_panic(range in "\\PC{0,30}", ranges in "bytes=[0-9]{0,22}-[0-9]{0,22}", tags in "\\PC{0,30}") {
        let snapshot = Snapshot::new(window(14).0);
        for range in [&range, &ranges] {
            let request = Request {
                path: "abc/audio/0.m4s",
                range: Some(range),
                if_range: Some(&tags),
                if_none_match: Some(&tags),
                accept_encoding: Some(&tags),
                ..Default::default()
            };
            ready(answer(&snapshot, &request));
            let whole = Request { if_none_match: None, if_range: None, ..request };
            let response = ready(answer(&snapshot, &whole));
            prop_assert!([200, 206, 416].contains(&response.status));
        }
    }
}
