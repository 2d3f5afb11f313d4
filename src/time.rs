//! Time and names that every module shares.
//!
//! Two clocks exist and never mix. [`MediaTime`] is a position on a room's timeline, exact on
//! every grid the output uses. [`HostTime`] is a reading of the box's monotonic clock, the same in
//! the daemon and in its transcoders. Nothing here reads a clock: `hw::clock` does.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A position or length on a room's timeline, in ticks of 1/720000 s.
///
/// 720000 is the least common multiple of the 90 kHz video and 48 kHz audio timescales, so a frame
/// at 24, 25, 30, 50 or 60 fps and an audio sample both land on a whole tick: nothing is ever
/// rounded twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MediaTime(pub i64);

impl MediaTime {
    /// Ticks in a second.
    pub const HZ: i64 = 720_000;
    /// The start of the timeline.
    pub const ZERO: Self = Self(0);

    /// The time of `count` units of a clock at `hz`; exact where `hz` divides 720000.
    pub const fn from_units(count: i64, hz: u32) -> Self {
        Self((count as i128 * Self::HZ as i128 / hz as i128) as i64)
    }

    /// The number of whole units of a clock at `hz`, rounded towards the past.
    pub const fn to_units(self, hz: u32) -> i64 {
        (self.0 as i128 * hz as i128).div_euclid(Self::HZ as i128) as i64
    }

    /// From microseconds, rounded towards the past.
    pub const fn from_micros(us: i64) -> Self {
        Self((us as i128 * Self::HZ as i128).div_euclid(1_000_000) as i64)
    }

    /// In microseconds, rounded towards the past.
    pub const fn as_micros(self) -> i64 {
        self.to_units(1_000_000)
    }

    /// In seconds, for people and playlists; never for arithmetic.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / Self::HZ as f64
    }
}

impl Add for MediaTime {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for MediaTime {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for MediaTime {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Debug for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

/// A reading of `CLOCK_MONOTONIC`, in microseconds. Comparable across processes on one box.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct HostTime(pub i64);

impl HostTime {
    /// Microseconds from `earlier` to `self`; negative if `self` came first.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// `us` microseconds later.
    pub const fn plus_micros(self, us: i64) -> Self {
        Self(self.0 + us)
    }
}

/// A room's name as it stands in URLs: 1 to 64 of `a-z`, `0-9`, `-` and `_`, not starting with `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomName(String);

/// Why a text is no [`RoomName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no room name: use 1 to 64 of a-z, 0-9, '-' and '_', not starting with '-'")]
pub struct BadRoomName(String);

impl RoomName {
    /// Checks `text` against the rules.
    pub fn parse(text: &str) -> Result<Self, BadRoomName> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.bytes().all(good) {
            return Err(BadRoomName(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomName {
    type Error = BadRoomName;
    fn try_from(text: String) -> Result<Self, BadRoomName> {
        Self::parse(&text)
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> Self {
        name.0
    }
}

impl std::str::FromStr for RoomName {
    type Err = BadRoomName;
    fn from_str(text: &str) -> Result<Self, BadRoomName> {
        Self::parse(text)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One publisher's connection, numbered by the SFU; never reused while the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceId(pub u32);

/// One RTP stream (an SSRC) of a source, numbered by the SFU; never reused while the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrackId(pub u32);

/// A person in a class as everybody else may know them: random, so it says nothing about who it is. One person
/// keeps it for as long as the class lasts, over reconnections and from hand to stage and back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonId(u64);

/// Why a text is no [`PersonId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a person: those are 16 hexadecimal digits")]
pub struct BadPersonId;

impl PersonId {
    /// From 64 random bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }
}

impl std::str::FromStr for PersonId {
    type Err = BadPersonId;
    fn from_str(text: &str) -> Result<Self, BadPersonId> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(BadPersonId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadPersonId)
    }
}

impl TryFrom<String> for PersonId {
    type Error = BadPersonId;
    fn try_from(text: String) -> Result<Self, BadPersonId> {
        text.parse()
    }
}

impl From<PersonId> for String {
    fn from(person: PersonId) -> Self {
        person.to_string()
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a person shows; each is a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Camera and microphone.
    Camera,
    /// A screen or window, perhaps with its sound.
    Screen,
}

/// What a publisher may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceCodec {
    /// H.264, RFC 6184, 90 kHz.
    H264,
    /// VP8, RFC 7741, 90 kHz.
    Vp8,
    /// VP9, RFC 9628, 90 kHz.
    Vp9,
    /// AV1, AOM RTP specification, 90 kHz.
    Av1,
    /// Opus, RFC 7587, always 48 kHz and two channels on the wire.
    Opus,
}

impl SourceCodec {
    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        if self.is_audio() { 48_000 } else { 90_000 }
    }

    /// Whether this is sound.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Opus)
    }
}

/// A bit rate in bits a second.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bitrate(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_samples_land_on_whole_ticks() {
        for fps in [24, 25, 30, 50, 60] {
            for n in [0, 1, 7, 12 * 3600 * i64::from(fps)] {
                assert_eq!(MediaTime::from_units(n, fps).to_units(fps), n);
            }
        }
        assert_eq!(MediaTime::from_units(1024, 48_000).0, 15_360);
        assert_eq!(MediaTime::from_units(3_000, 90_000), MediaTime::from_units(1, 30));
    }

    #[test]
    fn times_before_zero_round_towards_the_past() {
        assert_eq!(MediaTime(-1).to_units(90_000), -1);
        assert_eq!(MediaTime::from_micros(-1).0, -1);
    }

    #[test]
    fn a_person_is_sixteen_digits_and_nothing_else() {
        let person = PersonId::new(0xfe);
        assert_eq!(person.to_string(), "00000000000000fe");
        assert_eq!(person.to_string().parse(), Ok(person));
        for bad in ["", "fe", "00000000000000FE", "+0000000000000fe", "000000000000000fe"] {
            assert_eq!(bad.parse::<PersonId>(), Err(BadPersonId), "{bad}");
        }
    }

    #[test]
    fn room_names_are_what_urls_can_carry() {
        for good in ["bar", "class-7b", "a", "_x", &"a".repeat(64)] {
            assert!(RoomName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "Bar", "a/b", "ä", "a b", "..", &"a".repeat(65)] {
            assert!(RoomName::parse(bad).is_err(), "{bad}");
        }
    }
}
