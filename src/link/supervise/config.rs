//! How patient the daemon is with a transcoder, and how much input it keeps for the next one.

use crate::link::ring::capacity_for;
use crate::units::{Rate, Span};
use serde::{Deserialize, Serialize};

/// Section `[transcoder]` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much of a room's input is kept, so that a new transcoder can go on where one died. At
    /// least two segments and the age a key frame may have.
    pub ring: Span,
    /// The bit rate of everything a room's publishers send together that `ring` is meant for. At a
    /// higher one the ring is shorter.
    pub ring_rate: Rate,
    /// How long a transcoder may take from its first input to its first part.
    pub first_part: Span,
    /// How long a transcoder may go without a part after that, before it counts as hung.
    pub next_part: Span,
    /// Whether a second transcoder waits, with its encoders open, to take over when the first dies. It costs the
    /// memory of its encoders and no CPU time.
    pub spare: bool,
    /// Pause before a restart when the one before did not live for `stable`; doubles with each that follows.
    pub backoff: Span,
    /// Longest pause before a restart.
    pub backoff_max: Span,
    /// A transcoder that lived this long, and made parts, is replaced without a pause, and those before it are
    /// forgiven.
    pub stable: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring: Span::secs(20),
            ring_rate: Rate::kbps(10_000),
            first_part: Span::secs(15),
            next_part: Span::secs(4),
            spare: true,
            backoff: Span::millis(100),
            backoff_max: Span::secs(5),
            stable: Span::secs(5),
        }
    }
}

impl Config {
    /// Bytes of the ring.
    pub fn ring_capacity(&self) -> usize {
        let seconds = self.ring.0.as_secs().max(1);
        capacity_for(u32::try_from(seconds).unwrap_or(u32::MAX), self.ring_rate.0)
    }

    /// Holds the section against its rules.
    ///
    /// # Errors
    /// The key that breaks a rule, what is wrong, and the cure.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        let bounds = |key, span: Span, least: Span, most: Span| {
            if (least..=most).contains(&span) {
                return Ok(());
            }
            let cure = format!("choose a length from {least} to {most}");
            Err((key, format!("{span} is outside {least} to {most}"), cure))
        };
        bounds("ring", self.ring, Span::secs(4), Span::secs(300))?;
        bounds("first_part", self.first_part, Span::secs(2), Span::secs(120))?;
        bounds("next_part", self.next_part, Span::secs(1), Span::secs(60))?;
        bounds("backoff", self.backoff, Span::millis(10), Span::secs(10))?;
        bounds("backoff_max", self.backoff_max, self.backoff, Span::secs(60))?;
        bounds("stable", self.stable, Span::secs(1), Span::secs(600))?;
        if !(100_000..=200_000_000).contains(&self.ring_rate.0.0) {
            let what = format!("{} is outside 100 kb/s to 200 Mb/s", self.ring_rate);
            return Err(("ring_rate", what, "use 10 Mb/s".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules_and_take_a_modest_ring() {
        let config = Config::default();
        config.check().unwrap();
        assert!(
            (26_000_000..30_000_000).contains(&config.ring_capacity()),
            "{}",
            config.ring_capacity()
        );
    }

    #[test]
    fn rules_name_the_key() {
        let config = Config { next_part: Span::millis(10), ..Config::default() };
        assert_eq!(config.check().unwrap_err().0, "next_part");
        let config = Config { backoff_max: Span::millis(50), ..Config::default() };
        assert_eq!(config.check().unwrap_err().0, "backoff_max");
        let config = Config { ring_rate: Rate::kbps(1), ..Config::default() };
        assert_eq!(config.check().unwrap_err().0, "ring_rate");
    }
}
