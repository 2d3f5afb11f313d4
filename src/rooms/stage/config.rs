//! `[stage]` in the configuration file.

use crate::units::Span;
use serde::{Deserialize, Serialize};

/// Who may come on stage, and how fast a room may be talked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// People a room knows at once: who raised a hand, wrote, or came on stage. Whoever has been quiet
    /// longest is forgotten first.
    pub max_people: usize,
    /// Raised hands a room keeps.
    pub max_hands: usize,
    /// Whether somebody without a token may raise a hand and write.
    pub guests: bool,
    /// How long a guest is known by the token that comes back.
    pub guest_token: Span,
    /// How long an invitation holds.
    pub invitation: Span,
    /// How long the place on stage is kept for somebody whose connection is gone.
    pub absence: Span,
    /// Between two messages of one person, unless the teacher sets something else.
    pub slow_mode: Span,
    /// Messages kept of a class.
    pub chat_keep: usize,
    /// Between two hands of one person, on average; three may come at once.
    pub hand_every: Span,
    /// Between two messages of one person without slow mode, on average; five may come at once.
    pub message_every: Span,
    /// Hands, messages and new guests that a room takes in a second; four times as many may come at once.
    pub room_rate: u32,
    /// New guests from one address in a second; twenty times as many may come at once. A school behind
    /// one router is one address.
    pub address_rate: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_people: 5000,
            max_hands: 500,
            guests: true,
            guest_token: Span::secs(4 * 3600),
            invitation: Span::secs(60),
            absence: Span::secs(120),
            slow_mode: Span::secs(0),
            chat_keep: 5000,
            hand_every: Span::secs(5),
            message_every: Span::secs(1),
            room_rate: 50,
            address_rate: 5,
        }
    }
}

impl Config {
    /// # Errors
    /// What cannot work: key, problem, cure.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        let counts = [
            ("max_people", self.max_people, 64, 100_000),
            ("max_hands", self.max_hands, 1, 10_000),
            ("chat_keep", self.chat_keep, 200, 100_000),
            ("room_rate", self.room_rate as usize, 1, 10_000),
            ("address_rate", self.address_rate as usize, 1, 10_000),
        ];
        for (key, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is outside {least} to {most}");
                return Err((key, problem, format!("set it to a number from {least} to {most}")));
            }
        }
        let spans = [
            ("guest_token", self.guest_token, 60, 30 * 86_400),
            ("invitation", self.invitation, 5, 3600),
            ("absence", self.absence, 5, 3600),
            ("slow_mode", self.slow_mode, 0, 3600),
            ("hand_every", self.hand_every, 0, 3600),
            ("message_every", self.message_every, 0, 3600),
        ];
        for (key, value, least, most) in spans {
            let (least, most) = (Span::secs(least), Span::secs(most));
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is outside {least} to {most}");
                return Err((key, problem, format!("set it to a time from {least} to {most}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named_with_its_key() {
        assert_eq!(Config::default().check(), Ok(()));
        let bad = [
            ("max_people", Config { max_people: 3, ..Config::default() }),
            ("invitation", Config { invitation: Span::millis(10), ..Config::default() }),
            ("room_rate", Config { room_rate: 0, ..Config::default() }),
            ("slow_mode", Config { slow_mode: Span::secs(3601), ..Config::default() }),
        ];
        for (key, config) in bad {
            let (named, problem, cure) = config.check().expect_err(key);
            assert_eq!(named, key);
            assert!(problem.contains("outside") && cure.contains(" to "), "{problem}; {cure}");
        }
    }
}
