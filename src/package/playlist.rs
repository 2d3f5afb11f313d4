//! Playlists as text. The multivariant playlist goes through m3u8-rs; media playlists are written
//! here, because it knows no tag of Low-Latency HLS.
//!
//! Section numbers are those of draft-pantos-hls-rfc8216bis-22.

use super::geometry::Geometry;
use super::window::{Segment, Window};
use crate::link::wire::Rendition;
use crate::time::MediaTime;
use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, MasterPlaylist, QuotedOrUnquoted, Resolution,
    VariantStream,
};
use std::collections::HashMap;
use std::fmt::Write;

/// Group id of the sound.
const SOUND: &str = "sound";

/// Bytes of boxes a part of video or sound carries beside its samples, without their sizes.
const PART_OVERHEAD: u64 = 116;
/// And for each sample, its size.
const SAMPLE_OVERHEAD: u64 = 4;

/// Skip boundary in target durations (4.4.3.8: at least six).
pub const SKIP_TARGETS: u64 = 6;
/// Parts are listed this many target durations back from the end (4.4.4.9).
pub const PART_TARGETS: u64 = 3;

/// The multivariant playlist: a variant for each rung in use, all with the same sound.
pub fn multivariant(window: &Window) -> String {
    let session = window.session();
    let renditions = &window.presentation().renditions;
    let Some((sound, rungs)) = renditions.split_last() else { return String::new() };
    let sound_rate = rates(window, rungs.len(), sound);
    let uri = |r: &Rendition| format!("{session}/{}/live.m3u8", r.name);
    let variants =
        rungs.iter().enumerate().filter(|(i, _)| window.is_present(*i)).map(|(i, rung)| {
            let rate = rates(window, i, rung);
            let (width, height) = rung.size.unwrap_or_default();
            VariantStream {
                uri: uri(rung),
                bandwidth: rate.peak + sound_rate.peak,
                average_bandwidth: Some(rate.average + sound_rate.average),
                codecs: Some(format!("{},{}", rung.codecs, sound.codecs)),
                resolution: Some(Resolution { width: width.into(), height: height.into() }),
                audio: Some(SOUND.to_owned()),
                // As text: players want three decimals, and a float would print as "30".
                other_attributes: Some(HashMap::from([
                    (
                        "FRAME-RATE".to_owned(),
                        QuotedOrUnquoted::Unquoted(format!("{}.000", window.geometry().fps())),
                    ),
                    ("VIDEO-RANGE".to_owned(), QuotedOrUnquoted::Unquoted("SDR".to_owned())),
                ])),
                ..Default::default()
            }
        });
    let playlist = MasterPlaylist {
        version: Some(9),
        independent_segments: true,
        variants: variants.collect(),
        alternatives: vec![AlternativeMedia {
            media_type: AlternativeMediaType::Audio,
            uri: Some(uri(sound)),
            group_id: SOUND.to_owned(),
            language: Some(window.config().language.clone()),
            name: window.config().sound_name.clone(),
            default: true,
            autoselect: true,
            channels: Some("2".to_owned()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = playlist.write_to(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

struct Rates {
    peak: u64,
    average: u64,
}

/// Bits a second of a rendition as a player downloads it: what was measured, and before that what is
/// configured, with a fifth on top for the encoder's rate control (A-1.28 allows it a quarter).
fn rates(window: &Window, index: usize, rendition: &Rendition) -> Rates {
    let geometry = window.geometry();
    let samples = if rendition.size.is_some() { u64::from(geometry.fps()) } else { 47 };
    let parts = u64::from(geometry.fps()).div_ceil(geometry.part_frames());
    let average = rendition.bitrate.0 + 8 * (parts * PART_OVERHEAD + samples * SAMPLE_OVERHEAD);
    Rates { peak: (average * 6 / 5).max(window.peak(index)), average }
}

/// A media playlist. With `skip` a delta update (6.2.5.1) where there is something to skip, the
/// whole playlist otherwise. `None` if there is no such rendition.
pub fn media(window: &Window, rendition: usize, skip: bool) -> Option<String> {
    let geometry = window.geometry();
    let target = geometry.target_duration();
    window.init(rendition)?;
    let mut text = String::with_capacity(4096);
    let out = &mut text;
    // Writing to a String cannot fail.
    let _ = header(out, window, geometry);
    let end = window.end_time();
    let reach = |targets: u64| end - MediaTime((targets * target) as i64 * MediaTime::HZ);
    let ends = |s: &Segment| window.start_of(s, rendition) + s.duration(rendition);

    let skipped = if skip && !window.ended() {
        // A segment may be skipped if it lies before the Skip Boundary as a whole.
        window.listed().take_while(|s| s.closed && ends(s) < reach(SKIP_TARGETS)).count()
    } else {
        0
    };
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    } else {
        out.push_str("#EXT-X-MAP:URI=\"init.mp4\"\n");
    }
    for segment in window.listed().skip(skipped) {
        let with_parts = !segment.closed || ends(segment) > reach(PART_TARGETS);
        let _ = one_segment(out, window, segment, rendition, with_parts);
    }
    if window.ended() {
        out.push_str("#EXT-X-ENDLIST\n");
    } else {
        let _ = trailer(out, window, rendition);
    }
    Some(text)
}

fn header(out: &mut String, window: &Window, geometry: &Geometry) -> std::fmt::Result {
    let (target, part) = (geometry.target_duration(), geometry.part_target());
    writeln!(
        out,
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:{target}"
    )?;
    writeln!(
        out,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={},HOLD-BACK={}.0,CAN-SKIP-UNTIL={}.0",
        Decimal(3 * part),
        3 * target,
        SKIP_TARGETS * target
    )?;
    writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", Decimal(part))?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", window.first_listed())
}

fn one_segment(
    out: &mut String,
    window: &Window,
    segment: &Segment,
    rendition: usize,
    with_parts: bool,
) -> std::fmt::Result {
    let msn = segment.msn;
    let start = window.wall_us(window.start_of(segment, rendition));
    writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", DateTime(start))?;
    if with_parts {
        for (number, piece) in segment.pieces(rendition).enumerate() {
            write!(
                out,
                "#EXT-X-PART:DURATION={},URI=\"{msn}.{number}.m4s\"",
                Decimal::of(piece.duration)
            )?;
            if piece.independent {
                out.push_str(",INDEPENDENT=YES");
            }
            if piece.is_gap() {
                out.push_str(",GAP=YES");
            }
            out.push('\n');
        }
    }
    if segment.closed {
        if segment.has_gap(rendition) {
            out.push_str("#EXT-X-GAP\n");
        }
        writeln!(out, "#EXTINF:{},\n{msn}.m4s", Decimal::of(segment.duration(rendition)))?;
    }
    Ok(())
}

/// Preload hint (4.4.5.3) and rendition reports (4.4.5.4).
fn trailer(out: &mut String, window: &Window, rendition: usize) -> std::fmt::Result {
    let (msn, part) = window.hinted();
    writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{msn}.{part}.m4s\"")?;
    let Some((msn, part)) = window.newest_part() else { return Ok(()) };
    for (index, other) in window.presentation().renditions.iter().enumerate() {
        if index != rendition {
            writeln!(
                out,
                "#EXT-X-RENDITION-REPORT:URI=\"../{}/live.m3u8\",LAST-MSN={msn},LAST-PART={part}",
                other.name
            )?;
        }
    }
    Ok(())
}

/// A number of units of 10 microseconds as seconds with five decimals.
struct Decimal(u64);

impl Decimal {
    /// Rounded to the nearest unit.
    fn of(time: MediaTime) -> Self {
        Self((time.0.max(0) as u64 * 100_000 + MediaTime::HZ as u64 / 2) / MediaTime::HZ as u64)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:05}", self.0 / 100_000, self.0 % 100_000)
    }
}

/// Microseconds since 1970 as ISO 8601 in UTC with milliseconds, rounded to the nearest.
struct DateTime(i64);

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.saturating_add(500).div_euclid(1000);
        let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        // Days to a date in the proleptic Gregorian calendar, counted in eras of 400 years that begin in
        // March, so that the leap day is the last of its year.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let (s, ms) = (ms / 1000, ms % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
            s / 3600,
            s / 60 % 60,
            s % 60
        )
    }
}

#[cfg(test)]
#[path = "playlist_tests.rs"]
mod tests;
