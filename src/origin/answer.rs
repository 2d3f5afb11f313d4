//! The answer to a request below a room: pure, from a snapshot and the request's text.
//!
//! Section numbers are those of draft-pantos-hls-rfc8216bis-22 where no RFC is named.

use super::problem;
use super::query::{Directives, File, Target};
use super::snapshot::{Coding, Snapshot, Text};
use crate::package::window::{Point, Window};
use bytes::Bytes;

/// A request, as far as it matters here. HEAD is answered like GET; the caller leaves the body out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The path below `/hls/{room}/`.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// Range.
    pub range: Option<&'a str>,
    /// If-Range.
    pub if_range: Option<&'a str>,
    /// If-None-Match.
    pub if_none_match: Option<&'a str>,
    /// Accept-Encoding.
    pub accept_encoding: Option<&'a str>,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Answer {
    /// Send this.
    Ready(Response),
    /// Ask again when this point is reached, and after three target durations give up with
    /// [`Response::timed_out`].
    Wait(Point),
}

/// What kind of thing was asked for, for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The multivariant playlist.
    Multivariant,
    /// A media playlist of pictures.
    Video,
    /// A media playlist of sound.
    Sound,
    /// An init segment.
    Init,
    /// A part.
    Part,
    /// A segment.
    Segment,
    /// None of these.
    Other,
}

/// A response without the headers that all have.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// What was asked for.
    pub kind: Kind,
    /// Content-Type; empty where there is no body.
    pub content_type: &'static str,
    /// Seconds for Cache-Control: max-age.
    pub max_age: u64,
    /// Whether the bytes behind this URL never change.
    pub immutable: bool,
    /// Content-Encoding.
    pub coding: Option<Coding>,
    /// Whether the body depends on Accept-Encoding.
    pub varies: bool,
    /// ETag.
    pub etag: Option<String>,
    /// Content-Range.
    pub content_range: Option<String>,
    /// Whether ranges may be asked for.
    pub ranges: bool,
    /// Seconds for Retry-After.
    pub retry_after: Option<u64>,
    /// The body, as the pieces it lies in.
    pub body: Vec<Bytes>,
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const VIDEO: &str = "video/mp4";
const SOUND: &str = "audio/mp4";

/// Seconds an error may be cached. The draft allows four for blocking requests; one serves both.
const ERROR_AGE: u64 = 1;

impl Response {
    fn new(status: u16, kind: Kind, content_type: &'static str, max_age: u64) -> Self {
        Self {
            status,
            kind,
            content_type,
            max_age,
            immutable: false,
            coding: None,
            varies: false,
            etag: None,
            content_range: None,
            ranges: false,
            retry_after: None,
            body: Vec::new(),
        }
    }

    /// An error, explained in a problem document.
    pub fn error(status: u16, kind: Kind, detail: &str) -> Self {
        let mut response = Self::new(status, kind, problem::CONTENT_TYPE, ERROR_AGE);
        response.body.push(Bytes::from(problem::document(status, detail)));
        response.retry_after = (status == 503).then_some(1);
        response
    }

    /// For a request that waited for three target durations (6.2.5.2).
    pub fn timed_out() -> Self {
        Self::error(
            503,
            Kind::Other,
            "nothing new was published in time: the class may be interrupted",
        )
    }

    /// Body length in bytes.
    pub fn len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.body.iter().all(Bytes::is_empty)
    }
}

/// Answers a request from a snapshot.
pub fn answer(snapshot: &Snapshot, request: &Request<'_>) -> Answer {
    let window = snapshot.window();
    let not_found = |detail: &str| Answer::Ready(Response::error(404, Kind::Other, detail));
    let (session, name, file) = match Target::parse(request.path) {
        None => return not_found("there is no such file; a class is played from its index.m3u8"),
        Some(Target::Multivariant) => {
            let age = window.geometry().target_duration() / 2;
            return Answer::Ready(text(snapshot.multivariant(), Kind::Multivariant, age, request));
        }
        Some(Target::Rendition { session, name, file }) => (session, name, file),
    };
    if session != window.session() {
        return not_found("this class is over; open the room's index.m3u8 again");
    }
    let Some(rendition) = window.rendition(name) else {
        return not_found("this class has no such rendition");
    };
    match file {
        File::Playlist => playlist(snapshot, rendition, request),
        File::Init => {
            let bytes = window.init(rendition).cloned().into_iter().collect();
            Answer::Ready(media(
                window,
                rendition,
                Kind::Init,
                "\"init\"".to_owned(),
                bytes,
                request,
            ))
        }
        File::Segment(msn) => match window.segment(msn) {
            Some(segment) if segment.closed && !segment.has_gap(rendition) => {
                let pieces = segment.pieces(rendition).map(|p| p.bytes.clone()).collect();
                Answer::Ready(media(
                    window,
                    rendition,
                    Kind::Segment,
                    format!("\"{msn}\""),
                    pieces,
                    request,
                ))
            }
            _ => not_found("this segment is not, or no longer, in the playlist"),
        },
        File::Part(msn, part) => {
            let piece = window.segment(msn).and_then(|s| s.piece(rendition, part));
            match piece {
                Some(piece) if !piece.is_gap() => {
                    let bytes = vec![piece.bytes.clone()];
                    let tag = format!("\"{msn}.{part}\"");
                    Answer::Ready(media(window, rendition, Kind::Part, tag, bytes, request))
                }
                // 6.2.6: the hinted part is answered when it is complete.
                None if (msn, part) == window.hinted() && !window.ended() => {
                    Answer::Wait(Point::Part { msn, part })
                }
                _ => not_found("this part is neither in the playlist nor announced"),
            }
        }
    }
}

/// A media playlist with its delivery directives (6.2.5).
fn playlist(snapshot: &Snapshot, rendition: usize, request: &Request<'_>) -> Answer {
    let window = snapshot.window();
    let target = window.geometry().target_duration();
    let kind = match window.presentation().renditions.get(rendition) {
        Some(r) if r.size.is_some() => Kind::Video,
        _ => Kind::Sound,
    };
    // After the end directives have no meaning, however odd they are.
    let directives =
        if window.ended() { Ok(Directives::default()) } else { Directives::parse(request.query) };
    let directives = match directives {
        Ok(directives) => directives,
        Err(detail) => return Answer::Ready(Response::error(400, kind, detail)),
    };
    let (wait, gone) = match directives.msn {
        // A playlist must have something in it, so even a plain request waits for the first part.
        None => (Some(Point::Part { msn: 0, part: 0 }), false),
        Some(msn) => match point(window, msn, directives.part) {
            Ok(point) => (Some(point), msn < window.first_listed()),
            Err(detail) => return Answer::Ready(Response::error(400, kind, detail)),
        },
    };
    if let Some(point) = wait
        && !window.reached(point)
    {
        return Answer::Wait(point);
    }
    let age = if directives.msn.is_some() { 6 * target } else { target / 2 };
    match snapshot.media(rendition, directives.skip && !gone) {
        Some(playlist) => Answer::Ready(text(playlist, kind, age, request)),
        None => Answer::Ready(Response::error(404, kind, "this class has no such rendition")),
    }
}

/// The point that a pair of `_HLS_msn` and `_HLS_part` asks for, unless it lies too far ahead to be meant.
fn point(window: &Window, msn: u64, part: Option<u64>) -> Result<Point, &'static str> {
    // "Greater than the Media Sequence Number of the last Media Segment in the current Playlist plus
    // two": before the first is complete, the last one counts as -1.
    let bound = window.newest_closed().map_or(1, |newest| newest + 2);
    if msn > bound {
        return Err("_HLS_msn is more than two segments ahead");
    }
    let Some(part) = part else { return Ok(Point::Segment { msn }) };
    let (next_msn, next_part) = window.hinted();
    // Parts of the asked segment that exist; whatever comes before it only adds to the distance.
    let known = if msn == next_msn { next_part } else { 0 };
    if msn >= next_msn && part >= known.saturating_add(window.geometry().advance_part_limit()) {
        return Err("_HLS_part is too many parts ahead");
    }
    // A part behind the segment's last one means the next segment's first. Points are ordered, so the next
    // segment's first part reaches this one too.
    Ok(Point::Part { msn, part })
}

fn text(text: &Text, kind: Kind, max_age: u64, request: &Request<'_>) -> Response {
    let unchanged = request.if_none_match.is_some_and(|tags| matches_weakly(tags, text.etag()));
    let mut response = Response::new(if unchanged { 304 } else { 200 }, kind, PLAYLIST, max_age);
    response.varies = true;
    response.etag = Some(text.etag().to_owned());
    if !unchanged {
        let (bytes, coding) = text.bytes(Coding::accepted(request.accept_encoding));
        response.coding = coding;
        response.body.push(bytes);
    }
    response
}

/// Bytes that never change, with ranges and conditions (RFC 9110 13 and 14).
fn media(
    window: &Window,
    rendition: usize,
    kind: Kind,
    etag: String,
    pieces: Vec<Bytes>,
    request: &Request<'_>,
) -> Response {
    let pictures =
        window.presentation().renditions.get(rendition).is_some_and(|r| r.size.is_some());
    let age = 6 * window.geometry().target_duration();
    let mut response = Response::new(200, kind, if pictures { VIDEO } else { SOUND }, age);
    response.immutable = true;
    response.ranges = true;
    if request.if_none_match.is_some_and(|tags| matches_weakly(tags, &etag)) {
        response.status = 304;
        response.etag = Some(etag);
        return response;
    }
    let len: usize = pieces.iter().map(Bytes::len).sum();
    // A range under a condition that fails is no range.
    let range = request.range.filter(|_| request.if_range.is_none_or(|tag| tag.trim() == etag));
    match range.map_or(Wanted::Whole, |range| wanted(range, len)) {
        Wanted::Whole => response.body = pieces,
        Wanted::Slice(from, to) => {
            response.status = 206;
            response.content_range = Some(format!("bytes {from}-{to}/{len}"));
            response.body = slice(pieces, from, to);
        }
        Wanted::Nothing => {
            response = Response::error(416, kind, "the range lies behind the end");
            response.content_range = Some(format!("bytes */{len}"));
        }
    }
    response.etag = Some(etag);
    response
}

enum Wanted {
    Whole,
    /// First and last byte.
    Slice(usize, usize),
    Nothing,
}

/// Reads a Range header for a body of `len` bytes. Several ranges, other units and malformed text are
/// answered with the whole, which RFC 9110 14.2 allows.
fn wanted(header: &str, len: usize) -> Wanted {
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // Beyond 64 bits is beyond the end.
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let range = header.trim().strip_prefix("bytes=").and_then(|r| r.trim().split_once('-'));
    let Some((first, last)) = range else { return Wanted::Whole };
    let bounds = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last),
        (Some(first), None) if last.is_empty() => (first, usize::MAX),
        (None, Some(0)) if first.is_empty() => return Wanted::Nothing,
        (None, Some(suffix)) if first.is_empty() => (len.saturating_sub(suffix), usize::MAX),
        _ => return Wanted::Whole,
    };
    if bounds.0 >= len { Wanted::Nothing } else { Wanted::Slice(bounds.0, bounds.1.min(len - 1)) }
}

/// Bytes `from` to `to` inclusive, without copying.
fn slice(pieces: Vec<Bytes>, from: usize, to: usize) -> Vec<Bytes> {
    let mut at = 0;
    let mut out = Vec::new();
    for piece in pieces {
        let (start, end) = (from.max(at), (to + 1).min(at + piece.len()));
        if start < end {
            out.push(piece.slice(start - at..end - at));
        }
        at += piece.len();
    }
    out
}

/// If-None-Match compares weakly (RFC 9110 13.1.2).
fn matches_weakly(header: &str, etag: &str) -> bool {
    fn bare(tag: &str) -> &str {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    header.trim() == "*" || header.split(',').any(|tag| bare(tag) == bare(etag))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
