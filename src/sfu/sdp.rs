//! What an offer may hold, and ICE fragments (RFC 8840) in and out.
//!
//! str0m reads SDP and writes the answer. Here an offer is first brought into the shape that this
//! server answers: media that is sent (or received, by a subscriber), one video and one audio at
//! most, the video in at most four layers. Candidates
//! are dropped: an ICE-lite agent sends no checks (RFC 8445 §2.5), it learns where a publisher is
//! from the checks that reach it, so a candidate could only be wrong (`.local` names often are).

use super::words::{PatchError, PublishError};
use std::fmt::Write;

/// Most lines of an offer or fragment.
const MAX_LINES: usize = 2000;

/// Most simulcast layers: what a ring's record can tell apart.
pub const MAX_LAYERS: usize = crate::link::ring::MAX_LAYER as usize + 1;

/// Longest simulcast id that str0m keeps whole.
const MAX_RID: usize = 8;

/// What an offer is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Media is sent to the box.
    Publish,
    /// Media is received from the box.
    Subscribe,
}

/// The offer, as it is given to str0m.
///
/// # Errors
/// What is wrong with it.
pub fn clean_offer(offer: &str, purpose: Purpose) -> Result<String, PublishError> {
    let lines = lines(offer).map_err(PublishError::BadSdp)?;
    if lines.first().copied() != Some("v=0") {
        return Err(PublishError::BadSdp("its first line is not v=0".into()));
    }
    let starts: Vec<usize> =
        lines.iter().enumerate().filter(|(_, l)| l.starts_with("m=")).map(|(at, _)| at).collect();
    let Some(first) = starts.first() else {
        return Err(PublishError::Unprocessable("it offers no media".into()));
    };
    let mut clean = String::with_capacity(offer.len() + 64);
    for line in lines.iter().take(*first).filter(|line| !dropped(line) && !is_direction(line)) {
        push(&mut clean, line);
    }
    let (mut videos, mut audios) = (0, 0);
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(lines.len());
        let section = lines.get(*start..end).unwrap_or_default();
        let media = Media::read(section, purpose)?;
        let layered = purpose == Purpose::Publish && !rids(section).is_empty();
        if media.active {
            match media.kind {
                Kind::Video => videos += 1,
                Kind::Audio => audios += 1,
            }
        }
        for line in section.iter().filter(|line| !dropped(line) && !is_direction(line)) {
            if layered || !is_simulcast(line) {
                push(&mut clean, line);
            }
        }
        push(
            &mut clean,
            match purpose {
                Purpose::Publish => "a=sendonly",
                Purpose::Subscribe => "a=recvonly",
            },
        );
    }
    if videos + audios == 0 {
        return Err(PublishError::Unprocessable("all its media are disabled (port 0)".into()));
    }
    if videos > 1 || audios > 1 {
        let cure = match purpose {
            Purpose::Publish => "send one of each at most, camera or screen and one microphone",
            Purpose::Subscribe => "receive one of each at most, a connection for each publisher",
        };
        return Err(PublishError::NotAcceptable(format!(
            "the offer has {videos} video and {audios} audio media: {cure}"
        )));
    }
    Ok(clean)
}

/// The simulcast ids of an offer's video as it lists them; empty without simulcast, or where it is
/// of another form than browsers write, or of more than [`MAX_LAYERS`]: then one encoding is
/// taken, and a publisher whose offer of several is not answered sends one (RFC 8853 §5.3.2).
pub fn simulcast(offer: &str) -> Vec<String> {
    let lines: Vec<&str> = offer.lines().map(str::trim_end).collect();
    let video = lines.iter().skip_while(|line| !line.starts_with("m=video"));
    let section: Vec<&str> = video
        .enumerate()
        .take_while(|(n, line)| *n == 0 || !line.starts_with("m="))
        .map(|(_, line)| *line)
        .collect();
    rids(&section).into_iter().map(str::to_owned).collect()
}

/// Of one media section. The packets must say which layer they are of (RFC 8852).
fn rids<'a>(section: &[&'a str]) -> Vec<&'a str> {
    const NAMED: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    let of = |prefix| section.iter().find_map(move |line| line.strip_prefix(prefix));
    let Some(listed) = of("a=simulcast:send ").filter(|_| section.len() > 1) else {
        return Vec::new();
    };
    let ids: Vec<&str> = listed.split(';').collect();
    let good = |id: &&str| {
        (1..=MAX_RID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let declared = |id: &&str| {
        let line = |line: &&str| {
            let rest = line.strip_prefix("a=rid:").and_then(|rest| rest.strip_prefix(*id));
            rest.is_some_and(|rest| rest == " send" || rest.starts_with(" send "))
        };
        section.iter().any(line)
    };
    let once = (1..ids.len()).all(|n| !ids.iter().take(n).any(|id| ids.get(n) == Some(id)));
    let named = section.iter().any(|line| line.starts_with("a=extmap:") && line.ends_with(NAMED));
    let video = section.first().is_some_and(|line| line.starts_with("m=video"));
    let lines = section.iter().filter(|line| line.starts_with("a=rid:")).count();
    if video
        && named
        && once
        && (2..=MAX_LAYERS).contains(&ids.len())
        && lines == ids.len()
        && ids.iter().all(good)
        && ids.iter().all(declared)
    {
        ids
    } else {
        Vec::new()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio,
    Video,
}

struct Media {
    kind: Kind,
    /// Not refused by its own sender: a port, or part of the bundle.
    active: bool,
}

impl Media {
    fn read(section: &[&str], purpose: Purpose) -> Result<Self, PublishError> {
        let line = section.first().copied().unwrap_or_default();
        let mut words = line.trim_start_matches("m=").split_ascii_whitespace();
        let kind = match words.next() {
            Some("audio") => Kind::Audio,
            Some("video") => Kind::Video,
            other => {
                let other: String = other.unwrap_or("nothing").chars().take(20).collect();
                return Err(PublishError::NotAcceptable(format!(
                    "the offer has media of kind '{other}': only audio and video are taken, \
                     data channels are not"
                )));
            }
        };
        let port = words.next().unwrap_or_default();
        let active = port != "0" || section.contains(&"a=bundle-only");
        let (wrong, problem) = match purpose {
            Purpose::Publish => {
                ("a=recvonly", "the offer has media that is not sent: publish with a=sendonly")
            }
            Purpose::Subscribe => {
                ("a=sendonly", "the offer has media that is not received: ask with a=recvonly")
            }
        };
        if active && (section.contains(&wrong) || section.contains(&"a=inactive")) {
            return Err(PublishError::NotAcceptable(problem.into()));
        }
        Ok(Self { kind, active })
    }
}

fn lines(text: &str) -> Result<Vec<&str>, String> {
    let lines: Vec<&str> =
        text.split('\n').map(|l| l.trim_end_matches('\r')).filter(|l| !l.is_empty()).collect();
    if lines.len() > MAX_LINES {
        return Err(format!("it has more than {MAX_LINES} lines"));
    }
    for (n, line) in lines.iter().enumerate() {
        let typed = matches!(line.as_bytes(), [kind, b'=', ..] if kind.is_ascii_lowercase());
        if !typed || line.chars().any(char::is_control) {
            return Err(format!("line {} is not of the form x=value", n + 1));
        }
    }
    Ok(lines)
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

fn is_direction(line: &str) -> bool {
    matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive")
}

/// Candidates, and what other servers' clients put beside the standard.
fn dropped(line: &str) -> bool {
    const PREFIXES: [&str; 4] =
        ["a=candidate:", "a=remote-candidates:", "a=ssrc-group:SIM ", "a=x-google-"];
    line == "a=end-of-candidates" || PREFIXES.iter().any(|prefix| line.starts_with(prefix))
}

fn is_simulcast(line: &str) -> bool {
    line.starts_with("a=simulcast:") || line.starts_with("a=rid:")
}

/// Whether the one who offers says that it sends transport-wide congestion feedback.
pub fn feeds_back(offer: &str) -> bool {
    let has = |prefix: &str, end: &str| {
        offer.lines().map(str::trim_end).any(|l| l.starts_with(prefix) && l.ends_with(end))
    };
    has("a=extmap:", "transport-wide-cc-extensions-01") && has("a=rtcp-fb:", " transport-cc")
}

/// ICE credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
}

impl Credentials {
    /// The first ones in an SDP or a fragment; bundled media all have the same.
    pub fn find(text: &str) -> Option<Self> {
        Some(Self { ufrag: value(text, "a=ice-ufrag:")?, pwd: value(text, "a=ice-pwd:")? })
    }
}

fn value(text: &str, prefix: &str) -> Option<String> {
    text.lines().find_map(|line| line.trim_end().strip_prefix(prefix)).map(|v| v.trim().to_owned())
}

/// A trickled fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The credentials it belongs to; new ones restart ICE.
    pub credentials: Option<Credentials>,
    /// How many candidates it brought.
    pub candidates: usize,
}

impl Fragment {
    /// Reads an `application/trickle-ice-sdpfrag` body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatchError> {
        let bad = |problem: &str| Err(PatchError::BadFragment(problem.to_owned()));
        let lines = lines(text).map_err(PatchError::BadFragment)?;
        if lines.is_empty() {
            return bad("it is empty");
        }
        let mut candidates = 0;
        for line in &lines {
            if !(line.starts_with("a=") || line.starts_with("m=")) {
                return bad("only a= and m= lines belong into it");
            }
            if let Some(candidate) = line.strip_prefix("a=candidate:") {
                let words: Vec<&str> = candidate.split_ascii_whitespace().collect();
                let number = |at: usize, most: u32| {
                    words.get(at).and_then(|w| w.parse().ok()).is_some_and(|n: u32| n <= most)
                };
                let good = number(1, 256) && number(3, u32::MAX) && number(5, 65_535);
                if !good || words.get(6) != Some(&"typ") || words.len() < 8 {
                    return bad("a candidate is malformed");
                }
                candidates += 1;
            }
        }
        let ufrag = value(text, "a=ice-ufrag:");
        let pwd = value(text, "a=ice-pwd:");
        let credentials = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) if is_ice(&ufrag, 4) && is_ice(&pwd, 22) => {
                Some(Credentials { ufrag, pwd })
            }
            (None, None) => None,
            _ => return bad("a=ice-ufrag and a=ice-pwd must both be there, and be ICE's"),
        };
        if credentials.is_none() && candidates == 0 && !lines.contains(&"a=end-of-candidates") {
            return bad("it has neither credentials nor candidates");
        }
        Ok(Self { credentials, candidates })
    }
}

/// RFC 8839 §5.4: 4 (22 for a password) to 256 of letters, digits, `+` and `/`.
fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'='))
}

/// `offer` with other credentials: what the publisher would have sent to restart ICE, had it sent
/// a whole offer.
pub fn with_credentials(offer: &str, new: &Credentials) -> String {
    let mut text = String::with_capacity(offer.len());
    for line in offer.lines() {
        if line.starts_with("a=ice-ufrag:") {
            let _ = write!(text, "a=ice-ufrag:{}\r\n", new.ufrag);
        } else if line.starts_with("a=ice-pwd:") {
            let _ = write!(text, "a=ice-pwd:{}\r\n", new.pwd);
        } else {
            push(&mut text, line);
        }
    }
    text
}

/// The ICE part of `answer` as a fragment (RFC 9725 §4.3.3): of the first bundled media.
pub fn answer_fragment(answer: &str) -> String {
    const SESSION: [&str; 3] = ["a=ice-lite", "a=ice-options:", "a=group:"];
    const MEDIA: [&str; 6] =
        ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"];
    let mut text = String::new();
    let mut media = 0;
    for line in answer.lines() {
        media += usize::from(line.starts_with("m="));
        let ours: &[&str] = match media {
            0 => &SESSION,
            1 => &MEDIA,
            _ => break,
        };
        if ours.iter().any(|prefix| line.starts_with(prefix)) {
            push(&mut text, line);
        }
    }
    text
}

#[cfg(test)]
mod tests;
