//! A strict reader of LL-HLS media playlists for tests, written from the draft and sharing nothing
//! with the writer: it takes the text apart line by line and panics at the first broken rule.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub duration: f64,
    pub uri: String,
    pub independent: bool,
    pub gap: bool,
}

#[derive(Debug, Clone)]
pub struct Segment {
    pub msn: u64,
    /// `None` while it is open.
    pub duration: Option<f64>,
    pub uri: Option<String>,
    pub pdt: String,
    pub gap: bool,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub struct Playlist {
    pub target: f64,
    pub part_target: f64,
    pub server_control: String,
    pub media_sequence: u64,
    pub skipped: Option<u64>,
    pub map: Option<String>,
    pub segments: Vec<Segment>,
    pub hint: Option<String>,
    /// URI, LAST-MSN, LAST-PART.
    pub reports: Vec<(String, u64, u64)>,
    pub ended: bool,
}

/// NAME=value or NAME="value" pairs (4.2).
pub fn attributes(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').expect("attribute without a value");
        assert!(
            name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-'),
            "name {name:?}"
        );
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').expect("unclosed quote");
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        assert!(found.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
        rest = after;
    }
    found
}

/// Milliseconds since 1970 of an ISO 8601 date with milliseconds and Z, day by day from 1970.
pub fn millis(date: &str) -> i64 {
    let n = |range: std::ops::Range<usize>| date[range].parse::<i64>().unwrap();
    assert_eq!((date.len(), &date[23..], &date[10..11]), (24, "Z", "T"), "{date}");
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let mut days: i64 = (1970..n(0..4)).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(n(0..4)) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths[..n(5..7) as usize - 1].iter().sum::<i64>() + n(8..10) - 1;
    ((days * 24 + n(11..13)) * 60 + n(14..16)) * 60_000 + n(17..19) * 1000 + n(20..23)
}

impl Playlist {
    pub fn parse(text: &str) -> Self {
        assert!(!text.contains('\r') && text.ends_with('\n'));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut single: HashMap<&str, &str> = HashMap::new();
        let mut list = Self {
            target: 0.0,
            part_target: 0.0,
            server_control: String::new(),
            media_sequence: 0,
            skipped: None,
            map: None,
            segments: Vec::new(),
            hint: None,
            reports: Vec::new(),
            ended: false,
        };
        let (mut pdt, mut gap, mut parts, mut duration) = (None, false, Vec::new(), None);
        for line in lines {
            assert!(!list.ended, "text after EXT-X-ENDLIST");
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-VERSION"
                | "#EXT-X-TARGETDURATION"
                | "#EXT-X-SERVER-CONTROL"
                | "#EXT-X-PART-INF"
                | "#EXT-X-MEDIA-SEQUENCE"
                | "#EXT-X-INDEPENDENT-SEGMENTS" => {
                    assert!(list.segments.is_empty() && parts.is_empty(), "{tag} after media");
                    assert!(single.insert(tag, value).is_none(), "{tag} twice");
                }
                "#EXT-X-SKIP" => {
                    assert!(
                        list.map.is_none() && list.segments.is_empty() && list.skipped.is_none()
                    );
                    list.skipped = Some(attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap());
                }
                "#EXT-X-MAP" => {
                    // Line 8: before the first part it applies to.
                    assert!(parts.is_empty() && list.segments.is_empty() && list.map.is_none());
                    list.map = Some(attributes(value)["URI"].clone());
                }
                "#EXT-X-PROGRAM-DATE-TIME" => {
                    assert!(
                        parts.is_empty() && pdt.is_none(),
                        "EXT-X-PROGRAM-DATE-TIME behind a part"
                    );
                    pdt = Some(value.to_owned());
                }
                "#EXT-X-GAP" => gap = true,
                "#EXT-X-PART" => {
                    assert!(pdt.is_some() && (list.map.is_some() || list.skipped.is_some()));
                    assert!(
                        single.contains_key("#EXT-X-PART-INF"),
                        "EXT-X-PART without EXT-X-PART-INF"
                    );
                    let found = attributes(value);
                    let yes = |name| found.get(name).is_some_and(|v| v == "YES");
                    parts.push(Part {
                        duration: found["DURATION"].parse().unwrap(),
                        uri: found["URI"].clone(),
                        independent: yes("INDEPENDENT"),
                        gap: yes("GAP"),
                    });
                }
                "#EXTINF" => {
                    duration = Some(value.strip_suffix(',').unwrap().parse::<f64>().unwrap())
                }
                "#EXT-X-PRELOAD-HINT" => {
                    let found = attributes(value);
                    assert_eq!(found["TYPE"], "PART");
                    assert!(
                        list.hint.replace(found["URI"].clone()).is_none(),
                        "two hints for parts"
                    );
                }
                "#EXT-X-RENDITION-REPORT" => {
                    let found = attributes(value);
                    let number = |name: &str| found[name].parse().unwrap();
                    list.reports.push((
                        found["URI"].clone(),
                        number("LAST-MSN"),
                        number("LAST-PART"),
                    ));
                }
                "#EXT-X-ENDLIST" => list.ended = true,
                _ if !line.starts_with('#') => {
                    assert!(duration.is_some() && list.hint.is_none());
                    list.segments.push(Segment {
                        msn: 0,
                        duration: duration.take(),
                        uri: Some(line.to_owned()),
                        pdt: pdt.take().unwrap(),
                        gap: std::mem::take(&mut gap),
                        parts: std::mem::take(&mut parts),
                    });
                }
                _ => panic!("unknown line {line:?}"),
            }
        }
        assert!(duration.is_none() && !gap);
        if !parts.is_empty() {
            let pdt = pdt.take().unwrap();
            list.segments.push(Segment {
                msn: 0,
                duration: None,
                uri: None,
                pdt,
                gap: false,
                parts,
            });
        }
        let number = |tag: &str| single[tag].parse::<u64>().unwrap();
        assert!(number("#EXT-X-VERSION") >= if list.skipped.is_some() { 9 } else { 6 });
        list.target = number("#EXT-X-TARGETDURATION") as f64;
        list.media_sequence = number("#EXT-X-MEDIA-SEQUENCE");
        list.server_control = single["#EXT-X-SERVER-CONTROL"].to_owned();
        list.part_target = attributes(single["#EXT-X-PART-INF"])["PART-TARGET"].parse().unwrap();
        let first = list.media_sequence + list.skipped.unwrap_or(0);
        for (segment, msn) in list.segments.iter_mut().zip(first..) {
            segment.msn = msn;
        }
        list.check();
        list
    }

    /// Every rule that one playlist can be held against.
    fn check(&self) {
        // Lines 2 and 3.
        let control = attributes(&self.server_control);
        let number = |name: &str| control[name].parse::<f64>().unwrap();
        assert_eq!(control["CAN-BLOCK-RELOAD"], "YES");
        assert!(number("PART-HOLD-BACK") >= 3.0 * self.part_target - 1e-9);
        assert!(number("HOLD-BACK") >= 3.0 * self.target);
        assert!(number("CAN-SKIP-UNTIL") >= 6.0 * self.target);
        for segment in &self.segments {
            let open = segment.duration.is_none();
            let last = segment.parts.len().saturating_sub(1);
            for (i, part) in segment.parts.iter().enumerate() {
                // Line 1.
                assert!(
                    part.duration <= self.part_target + 1e-9,
                    "{part:?} > {}",
                    self.part_target
                );
                let before_gap = segment.parts.get(i + 1).is_some_and(|next| next.gap);
                let exempt = part.independent || before_gap || (i == last && !open);
                assert!(exempt || part.duration >= 0.85 * self.part_target, "{part:?} is short");
                assert_eq!(part.uri, format!("{}.{i}.m4s", segment.msn));
            }
            if let Some(duration) = segment.duration {
                // Line 4: the draft's rule is on the rounded duration.
                assert!(duration.round() <= self.target && duration <= self.target + 0.5);
                assert_eq!(segment.uri, Some(format!("{}.m4s", segment.msn)));
                let sum: f64 = segment.parts.iter().map(|p| p.duration).sum();
                let slack = 1e-5 * (segment.parts.len() + 1) as f64;
                assert!(
                    segment.parts.is_empty() || (sum - duration).abs() <= slack,
                    "{sum} {duration}"
                );
                assert!(segment.gap || segment.parts.iter().all(|p| !p.gap));
            }
            // Line 9: at least one a segment.
            let gaps = segment.parts.iter().any(|p| p.gap);
            assert!(
                segment.parts.is_empty() || gaps || segment.parts.iter().any(|p| p.independent)
            );
            millis(&segment.pdt);
        }
        // Line 7, within the playlist: each date is the one before and its duration.
        for pair in self.segments.windows(2) {
            let passed = (millis(&pair[1].pdt) - millis(&pair[0].pdt)) as f64 / 1000.0;
            assert!((passed - pair[0].duration.unwrap()).abs() <= 0.002);
        }
        // Line 5.
        let end: f64 = self.segments.iter().map(Segment::length).sum();
        let mut at = 0.0;
        for segment in &self.segments {
            at += segment.length();
            if end - at < 3.0 * self.target - 1e-3 {
                assert!(!segment.parts.is_empty(), "segment {} lists no parts", segment.msn);
            }
        }
        // Lines 10 and 13.
        assert_eq!(self.hint.is_some(), !self.ended);
        if let Some(hint) = &self.hint {
            let next = match self.segments.last() {
                Some(open) if open.duration.is_none() => {
                    format!("{}.{}.m4s", open.msn, open.parts.len())
                }
                Some(closed) => format!("{}.0.m4s", closed.msn + 1),
                None => "0.0.m4s".to_owned(),
            };
            assert_eq!(*hint, next);
        }
    }

    /// All parts listed, as (uri, part).
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.segments.iter().flat_map(|s| &s.parts)
    }

    /// Complete segments, skipped ones too.
    pub fn complete(&self) -> usize {
        self.segments.iter().filter(|s| s.duration.is_some()).count()
            + self.skipped.unwrap_or(0) as usize
    }
}

impl Segment {
    fn length(&self) -> f64 {
        self.duration.unwrap_or_else(|| self.parts.iter().map(|p| p.duration).sum())
    }
}
