//! Who is on stage and how they are shown. Travels through the ring, between the packets, so that every transcoder
//! of a class learns of a change at the same moment of it.

use super::rules::{Rules, Verdict, distinct, ensure};
use crate::time::{PersonId, SourceId, TrackId};
use serde::{Deserialize, Serialize};

/// Most people on stage, with room for those who are just leaving.
pub const MAX_SEATS: usize = 32;

/// Longest name of a person, bytes of UTF-8.
pub const MAX_NAME: usize = 80;

/// The stage at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How the picture is laid out.
    pub layout: Layout,
    /// Who is there, in the order in which they came.
    pub seats: Vec<Seat>,
    /// Who is speaking, or spoke last.
    pub speaker: Option<PersonId>,
    /// Whom the teacher wants to be seen large, whoever speaks.
    pub pinned: Option<PersonId>,
}

/// How several pictures share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A shared screen if there is one, otherwise the speaker: what most classes want.
    #[default]
    Auto,
    /// Whoever speaks large, the others small.
    Speaker,
    /// All the same size.
    Grid,
    /// The shared screen, with whoever speaks inset.
    Screen,
    /// One picture and nothing else.
    Single,
}

/// One person on stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Who.
    pub person: PersonId,
    /// What is written on the picture; at most [`MAX_NAME`] bytes, no control characters, may be empty.
    pub name: String,
    /// The connection with camera and microphone, while there is one.
    pub camera: Option<SourceId>,
    /// The connection with the shared screen, while there is one.
    pub screen: Option<SourceId>,
    /// The microphone is not to be heard.
    pub muted: bool,
}

/// How the picture was composed at a frame, for a successor to go on in the very same way: which of a publisher's
/// layers was shown depends on all that came before, and most of that is in the ring no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composed {
    /// The stage in force.
    pub stage: Stage,
    /// The video streams decoded for it, one a source.
    pub shown: Vec<Shown>,
    /// Where the tiles last set out from, and when: they may be on their way still.
    pub motion: Option<Motion>,
}

/// A video stream that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which. Each simulcast layer is a track of its own.
    pub track: TrackId,
    /// The frame since which a smaller layer, or none, would have done.
    pub idle_since: Option<u64>,
}

/// Tiles on their way to where they belong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Motion {
    /// The first frame that shows them moved.
    pub since: u64,
    /// Where each was before that; who is not named was not there.
    pub from: Vec<(SourceId, [u16; 4])>,
}

/// Most streams in a [`Composed`]: all that people on stage can have, a camera and a screen each.
const MAX_SHOWN: usize = 2 * MAX_SEATS;

impl Rules for Composed {
    fn check(&self) -> Verdict {
        self.stage.check()?;
        ensure(self.shown.len() <= MAX_SHOWN, "too many streams are shown")?;
        let Some(motion) = &self.motion else { return Ok(()) };
        ensure(motion.from.len() <= MAX_SHOWN, "too many tiles move")?;
        let sides = motion.from.iter().flat_map(|(_, rect)| rect);
        ensure(sides.copied().all(|side| side <= 8192), "a tile lies outside of any picture")
    }
}

impl Rules for Stage {
    fn check(&self) -> Verdict {
        ensure(self.seats.len() <= MAX_SEATS, "too many people on stage")?;
        for seat in &self.seats {
            ensure(seat.name.len() <= MAX_NAME, "the name of a person is too long")?;
            ensure(
                !seat.name.chars().any(char::is_control),
                "the name of a person holds control characters",
            )?;
        }
        ensure(distinct(self.seats.iter().map(|seat| seat.person)), "a person is on stage twice")?;
        let sources = self.seats.iter().flat_map(|seat| [seat.camera, seat.screen]).flatten();
        ensure(distinct(sources), "two people share a connection")
    }
}
