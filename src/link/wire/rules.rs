//! The rules a message keeps beyond being well-formed. Both ends hold every message against them,
//! before sending and after receiving, so the code behind may rely on them: names fit into URLs,
//! counts fit their arrays, times fit the arithmetic of [`MediaTime`].

use super::{
    Fragment, FromTranscoder, MAX_RENDITIONS, OutputFormat, Part, Presentation, Rendition, Resume,
    Rung, Start, ToTranscoder,
};
use crate::time::{Bitrate, HostTime, MediaTime};

/// What is wrong, for people.
pub(super) type Verdict = Result<(), &'static str>;

/// Holds a value against its rules. Public in name only: the module is not.
pub trait Rules {
    /// The first rule that is broken.
    fn check(&self) -> Verdict;
}

/// Segments, frames, AAC frames: 2^40 video frames at 60 fps last 580 years, and their time in
/// ticks of 1/720000 s still fits 56 bits.
const MAX_COUNT: u64 = 1 << 40;
/// Bound of all times on either clock, ticks or microseconds.
const MAX_TIME: i64 = 1 << 56;
/// Sixteen people with three layers of a camera, a screen and the sound of both, and some who are just leaving.
const MAX_CLOCKS: usize = 192;
const MAX_INIT: usize = 16 * 1024;
const MAX_REASON: usize = 512;
/// A segment of more seconds serves nobody, and bounds what a window may hold.
const MAX_SEGMENT_SECONDS: u32 = 30;

pub(super) fn ensure(good: bool, rule: &'static str) -> Verdict {
    if good { Ok(()) } else { Err(rule) }
}

impl Rules for ToTranscoder {
    fn check(&self) -> Verdict {
        match self {
            Self::Prepare(start) | Self::Start(start) => start.check(),
            Self::Stop => Ok(()),
        }
    }
}

impl Rules for FromTranscoder {
    fn check(&self) -> Verdict {
        match self {
            Self::Hello { pid } => {
                ensure(*pid > 0 && i32::try_from(*pid).is_ok(), "process id out of range")
            }
            Self::Begin(presentation) => presentation.check(),
            Self::Part(part) => part.check(),
            Self::RungDropped { rendition, reason } => {
                ensure(usize::from(*rendition) < MAX_RENDITIONS, "rendition number out of range")?;
                ensure(reason.len() <= MAX_REASON, "reason is too long")?;
                ensure(!reason.chars().any(char::is_control), "reason holds control characters")
            }
            Self::Figures(figures) => {
                ensure(figures.rungs.len() <= MAX_RENDITIONS, "figures of too many renditions")
            }
            Self::Ready | Self::KeyframeWanted(_) | Self::Ended => Ok(()),
        }
    }
}

impl Rules for Start {
    fn check(&self) -> Verdict {
        self.format.check()?;
        // One place among the renditions is for sound.
        ensure((1..MAX_RENDITIONS).contains(&self.rungs.len()), "a ladder has 1 to 15 rungs")?;
        self.rungs.iter().try_for_each(Rung::check)?;
        ensure(distinct(self.rungs.iter().map(|r| r.name.as_str())), "two rungs have one name")?;
        let known = |&r: &u8| usize::from(r) < self.rungs.len();
        ensure(
            self.dropped.len() < self.rungs.len() && self.dropped.iter().all(known),
            "dropped rungs are not some of the rungs",
        )?;
        self.stage.check()?;
        self.resume.as_ref().map_or(Ok(()), Resume::check)
    }
}

impl Rules for OutputFormat {
    fn check(&self) -> Verdict {
        ensure(
            matches!(self.fps, 24 | 25 | 30 | 50 | 60),
            "frame rate is not one of 24, 25, 30, 50, 60",
        )?;
        ensure(
            (1..=self.fps * MAX_SEGMENT_SECONDS).contains(&self.segment_frames),
            "segment is empty or too long",
        )?;
        ensure(
            (1..=self.segment_frames).contains(&self.part_frames),
            "part is empty or longer than a segment",
        )?;
        ensure(
            self.gop_frames > 0 && self.segment_frames.is_multiple_of(self.gop_frames),
            "segment is no whole number of groups of pictures",
        )?;
        ensure(
            (8_000..=512_000).contains(&self.audio_bitrate.0),
            "audio bit rate is not within 8 to 512 kb/s",
        )?;
        ensure(self.playout_delay_us <= 10_000_000, "playout delay is above 10 s")
    }
}

impl Rules for Rung {
    fn check(&self) -> Verdict {
        rendition_name(&self.name)?;
        ensure(self.name != "audio", "a rung is named like the sound")?;
        picture_size(self.width, self.height)?;
        bitrate(self.bitrate)?;
        ensure((1..=64).contains(&self.threads), "encoder threads are not within 1 to 64")?;
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        ensure(
            (1..=32).contains(&self.preset.len()) && self.preset.bytes().all(word),
            "encoder preset is no word",
        )
    }
}

impl Rules for Presentation {
    fn check(&self) -> Verdict {
        host_time(self.zero)?;
        self.format.check()?;
        ensure(
            (1..=MAX_RENDITIONS).contains(&self.renditions.len()),
            "a presentation has 1 to 16 renditions",
        )?;
        self.renditions.iter().try_for_each(Rendition::check)?;
        ensure(
            distinct(self.renditions.iter().map(|r| r.name.as_str())),
            "two renditions have one name",
        )?;
        let pictures = self.renditions.iter().filter(|r| r.size.is_some()).count();
        ensure(
            pictures + 1 == self.renditions.len()
                && self.renditions.last().is_some_and(|r| r.size.is_none()),
            "sound is not the last rendition, once",
        )
    }
}

impl Rules for Rendition {
    fn check(&self) -> Verdict {
        rendition_name(&self.name)?;
        bitrate(self.bitrate)?;
        if let Some((width, height)) = self.size {
            picture_size(width, height)?;
        }
        // It is put between quotes in a playlist, RFC 8216 section 4.2.
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
        ensure(
            (1..=64).contains(&self.codecs.len()) && self.codecs.bytes().all(safe),
            "codecs text is not one",
        )?;
        ensure((8..=MAX_INIT).contains(&self.init.len()), "init segment is empty or too long")
    }
}

impl Rules for Part {
    fn check(&self) -> Verdict {
        ensure(self.msn < MAX_COUNT && self.part < 10_000, "part number out of range")?;
        media_time(self.start)?;
        host_time(self.arrived)?;
        fragments(&self.fragments)?;
        self.resume.check()?;
        ensure(self.resume.next_msn > self.msn, "a successor would reopen a published segment")
    }
}

fn fragments(list: &[Fragment]) -> Verdict {
    ensure((1..=MAX_RENDITIONS).contains(&list.len()), "a part has 1 to 16 fragments")?;
    let mut end = 0;
    let mut renditions = 0..MAX_RENDITIONS;
    for fragment in list {
        let rendition = usize::from(fragment.rendition);
        ensure(renditions.contains(&rendition), "fragments are not one a rendition, in order")?;
        renditions.start = rendition + 1;
        ensure(fragment.len > 0, "a fragment is empty")?;
        ensure(fragment.offset >= end, "fragments overlap or are out of order")?;
        end = fragment.offset.checked_add(fragment.len).ok_or("a fragment ends beyond 4 GiB")?;
        let longest = MediaTime::from_units(i64::from(MAX_SEGMENT_SECONDS), 1);
        ensure(
            fragment.duration > MediaTime::ZERO && fragment.duration <= longest,
            "duration of a fragment out of range",
        )?;
    }
    Ok(())
}

impl Rules for Resume {
    fn check(&self) -> Verdict {
        host_time(self.zero)?;
        ensure(
            self.next_msn <= MAX_COUNT
                && self.next_frame <= MAX_COUNT
                && self.next_aac <= MAX_COUNT,
            "resume point out of range",
        )?;
        ensure(self.clocks.len() <= MAX_CLOCKS, "clocks of too many streams")?;
        for clock in &self.clocks {
            ensure((1..=192_000).contains(&clock.rate), "RTP clock rate out of range")?;
            ensure((-MAX_TIME..=MAX_TIME).contains(&clock.rtp), "RTP time out of range")?;
            media_time(clock.media)?;
        }
        self.composed.check()
    }
}

/// A rendition's name stands in URLs and, between quotes, in playlists.
fn rendition_name(name: &str) -> Verdict {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    ensure((1..=32).contains(&name.len()), "a rendition's name has 1 to 32 characters")?;
    ensure(
        name.bytes().all(good) && !name.starts_with('-'),
        "a rendition's name has a-z, 0-9, '-' and '_' only",
    )
}

pub(super) fn distinct<T: PartialEq>(names: impl Iterator<Item = T> + Clone) -> bool {
    // At most a few dozen of them: comparing all pairs takes less than hashing.
    names.clone().enumerate().all(|(i, name)| names.clone().take(i).all(|other| other != name))
}

fn picture_size(width: u32, height: u32) -> Verdict {
    let good = |side: u32| (16..=8192).contains(&side) && side.is_multiple_of(2);
    ensure(good(width) && good(height), "a picture's sides are even and within 16 to 8192")
}

fn bitrate(rate: Bitrate) -> Verdict {
    ensure((1_000..=1_000_000_000).contains(&rate.0), "bit rate is not within 1 kb/s to 1 Gb/s")
}

fn media_time(time: MediaTime) -> Verdict {
    ensure((-MAX_TIME..=MAX_TIME).contains(&time.0), "media time out of range")
}

fn host_time(time: HostTime) -> Verdict {
    ensure((0..=MAX_TIME).contains(&time.0), "monotonic time out of range")
}
