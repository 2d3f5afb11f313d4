//! Lengths of time, sizes and rates as people write them in configuration: `"250 ms"`, `"4 s"`,
//! `"32 MiB"`, `"2.5 Mb/s"`.
//!
//! A bare number is refused: whether `part = 333` means milliseconds or seconds is exactly the
//! mistake that a configuration file should not allow.

use crate::time::Bitrate;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnitError {
    /// A number without a unit, or a unit that is not known.
    #[error("'{text}' has no known unit: write {expected}")]
    Unit {
        /// What was written.
        text: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Not a number, negative, or beyond all sense.
    #[error("'{text}' is no usable number: write {expected}")]
    Number {
        /// What was written.
        text: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// Splits `text` into number and unit and scales it by the unit's factor.
fn quantity(text: &str, units: &[(&str, f64)], expected: &'static str) -> Result<f64, UnitError> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..split], trimmed[split..].trim());
    let shown = || trimmed.chars().take(40).collect::<String>();
    let number: f64 = number.parse().map_err(|_| UnitError::Number { text: shown(), expected })?;
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let value = number * factor.ok_or_else(|| UnitError::Unit { text: shown(), expected })?;
    if !value.is_finite() || value > 9e15 {
        return Err(UnitError::Number { text: shown(), expected });
    }
    Ok(value)
}

/// A length of time, written `"250 ms"`, `"4 s"`, `"10 min"`, `"2 h"` or `"30 d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const EXPECTED: &'static str =
        "a length of time such as \"250 ms\", \"4 s\", \"10 min\" or \"2 h\"";

    /// Of whole milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Of whole seconds.
    pub const fn secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let units =
            [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 60e6), ("h", 3600e6), ("d", 86_400e6)];
        let micros = quantity(text, &units, Self::EXPECTED)?;
        Ok(Self(Duration::from_micros(micros.round() as u64)))
    }

    /// In microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0.as_micros() as i64
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        match us {
            _ if us.is_multiple_of(3_600_000_000) && us > 0 => {
                write!(f, "{} h", us / 3_600_000_000)
            }
            _ if us.is_multiple_of(60_000_000) && us > 0 => write!(f, "{} min", us / 60_000_000),
            _ if us.is_multiple_of(1_000_000) => write!(f, "{} s", us / 1_000_000),
            _ if us.is_multiple_of(1_000) => write!(f, "{} ms", us / 1_000),
            _ => write!(f, "{us} us"),
        }
    }
}

/// A size in bytes, written `"64 KiB"`, `"32 MiB"`, `"10 GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    const EXPECTED: &'static str = "a size such as \"64 KiB\", \"32 MiB\" or \"10 GB\"";

    /// Of whole mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let units = [
            ("B", 1.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("TiB", 1_099_511_627_776.0),
        ];
        Ok(Self(quantity(text, &units, Self::EXPECTED)?.round() as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n.is_multiple_of(1 << 30) => write!(f, "{} GiB", n >> 30),
            n if n > 0 && n.is_multiple_of(1 << 20) => write!(f, "{} MiB", n >> 20),
            n if n > 0 && n.is_multiple_of(1 << 10) => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} B"),
        }
    }
}

/// A bit rate, written `"96 kb/s"` or `"2.5 Mb/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub Bitrate);

impl Rate {
    const EXPECTED: &'static str = "a bit rate such as \"96 kb/s\" or \"2.5 Mb/s\"";

    /// Of whole kilobits a second.
    pub const fn kbps(n: u64) -> Self {
        Self(Bitrate(n * 1000))
    }

    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let units = [
            ("b/s", 1.0),
            ("kb/s", 1e3),
            ("Mb/s", 1e6),
            ("Gb/s", 1e9),
            ("kbps", 1e3),
            ("Mbps", 1e6),
        ];
        Ok(Self(Bitrate(quantity(text, &units, Self::EXPECTED)?.round() as u64)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            n if n > 0 && n.is_multiple_of(1_000_000) => write!(f, "{} Mb/s", n / 1_000_000),
            n if n > 0 && n.is_multiple_of(1000) => write!(f, "{} kb/s", n / 1000),
            n => write!(f, "{n} b/s"),
        }
    }
}

macro_rules! written_as_text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($type::EXPECTED)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

written_as_text!(Span);
written_as_text!(Size);
written_as_text!(Rate);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_read_back_as_they_are_written() {
        for text in ["250 ms", "4 s", "10 min", "2 h", "1500 us", "0 s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for text in ["32 MiB", "3 GiB", "17 B", "64 KiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for text in ["96 kb/s", "2500 kb/s", "3 Mb/s", "12 b/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("1.5s").unwrap(), Span::millis(1500));
        assert_eq!(Rate::parse("2.5 Mb/s").unwrap(), Rate::kbps(2500));
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_the_cure() {
        let error = Span::parse("333").unwrap_err().to_string();
        assert!(error.contains("'333'") && error.contains("250 ms"), "{error}");
        assert!(Span::parse("4 fortnights").is_err());
        assert!(Span::parse("-4 s").is_err());
        assert!(Span::parse("").is_err());
        assert!(Size::parse("1.2.3 MiB").is_err());
        assert!(Size::parse("99999999999999999999 TiB").is_err());
    }
}
