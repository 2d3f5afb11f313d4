//! CMAF parts, the live window and its playlists: everything between an encoder's output and the
//! origin's answers, as pure values.
//!
//! | module | where | what |
//! |---|---|---|
//! | [`geometry`] | both | where parts and segments are cut, and the playlist constants that follow |
//! | [`cmaf`], [`av1`] | transcoder | boxes, codec strings |
//! | [`format`] | daemon | the output's shape as configured |
//! | [`segmenter`] | transcoder | encoded samples in, parts of all renditions out |
//! | [`window`] | daemon | the parts of a live class, checked and kept |
//! | [`playlist`] | daemon | the text players read |
//!
//! Nothing here knows HTTP, sockets or encoders, and nothing reads a clock.

pub mod av1;
mod bits;
pub mod cmaf;
pub mod format;
pub mod geometry;
#[cfg(test)]
mod media_tests;
pub mod playlist;
pub mod segmenter;
#[cfg(test)]
pub(crate) mod strict;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

use crate::units::Span;
use serde::{Deserialize, Serialize};

/// How a class looks to players. All renditions share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How far back a live playlist reaches. At least six segments are listed whatever this says.
    pub window: Span,
    /// Language of the sound, a BCP 47 tag; `und` where it is not known.
    pub language: String,
    /// What players show for the sound track.
    pub sound_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: Span::secs(30), language: "und".to_owned(), sound_name: "Class".to_owned() }
    }
}

impl Config {
    /// Says what is wrong with the values, naming the key.
    pub fn check(&self) -> Result<(), String> {
        // Quotes and line breaks cannot be written in a playlist's quoted string.
        let writable = |text: &str| {
            !text.is_empty()
                && text.len() <= 100
                && !text.contains(['"', '\n', '\r'])
                && !text.chars().any(char::is_control)
        };
        if self.window < Span::secs(6) || self.window > Span::secs(86_400) {
            return Err(format!("window is {}; use 6 s to 24 h", self.window));
        }
        let tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if self.language.is_empty() || self.language.len() > 35 || !self.language.bytes().all(tag) {
            return Err(format!(
                "language is '{}'; use a BCP 47 tag such as 'en' or 'de-CH', or 'und'",
                self.language
            ));
        }
        if !writable(&self.sound_name) {
            return Err(
                "sound_name must be 1 to 100 characters without quotes and line breaks".to_owned()
            );
        }
        Ok(())
    }
}
