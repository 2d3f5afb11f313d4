//! When a class starts, waits for its publisher to come back, and ends. Pure: time comes in as
//! `now`, what to do goes out as a value.

use crate::time::{HostTime, SourceId};
use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Section `[class]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an opened class waits for its first picture or sound.
    pub patience: Span,
    /// How long a class goes on, with the last picture and silence, after its publisher was lost.
    pub linger_lost: Span,
    /// The same after its publisher said goodbye.
    pub linger_stopped: Span,
    /// How long a transcoder may take to flush when a class ends.
    pub flush: Span,
    /// How long the playlists of an ended class stay.
    pub keep_ended: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            patience: Span::secs(30),
            linger_lost: Span::secs(60),
            linger_stopped: Span::secs(5),
            flush: Span::secs(3),
            keep_ended: Span::secs(600),
        }
    }
}

/// Where a class is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opened by a publisher; no part yet.
    Starting {
        /// When it gives up.
        until: HostTime,
    },
    /// Parts are coming.
    Live,
    /// Live, but without the publisher it lives for.
    Lingering {
        /// When it ends.
        until: HostTime,
    },
    /// Told to end; flushing.
    Ending {
        /// When it is ended by force.
        until: HostTime,
    },
    /// Over; playlists say ENDLIST.
    Ended {
        /// When it is forgotten.
        until: HostTime,
    },
    /// Gone.
    Forgotten,
}

/// What the daemon must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the transcoder to flush and stop.
    Flush,
    /// End the playlists; the transcoder is done or out of time.
    End,
    /// Drop everything of this class.
    Forget,
}

/// One class's life.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    config: Config,
    phase: Phase,
    /// Who publishes, and whether it is a teacher.
    sources: BTreeMap<SourceId, bool>,
    /// Whether a teacher ever came: then the class is theirs, and lives while one is there. Without, it
    /// lives while anybody is.
    led: bool,
}

impl Lifecycle {
    /// A class that a publisher has just opened.
    pub fn open(config: Config, now: HostTime) -> Self {
        let until = now.plus_micros(config.patience.as_micros());
        Self { config, phase: Phase::Starting { until }, sources: BTreeMap::new(), led: false }
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a publisher may still join this class, rather than a new one.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Live | Phase::Lingering { .. })
    }

    /// Whether anybody publishes.
    pub fn is_published(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Whether somebody is there for whom the class lives.
    fn is_kept(&self) -> bool {
        if self.led { self.sources.values().any(|leads| *leads) } else { self.is_published() }
    }

    /// A publisher is about to join: do not end under its hands.
    pub fn expect(&mut self, now: HostTime) {
        let grace = now.plus_micros(10_000_000);
        if let Phase::Lingering { until } | Phase::Starting { until } = &mut self.phase {
            *until = grace.max(*until);
        }
    }

    /// A publisher is connected; `leads` when it is a teacher. A class that was lingering for one goes on.
    pub fn joined(&mut self, source: SourceId, leads: bool) {
        self.led |= leads;
        self.sources.insert(source, leads);
        if let Phase::Lingering { .. } = self.phase
            && self.is_kept()
        {
            self.phase = Phase::Live;
        }
    }

    /// A publisher is gone; `polite` when it said so. While somebody else keeps the class it changes
    /// nothing, and neither does one that did not keep it.
    pub fn left(&mut self, source: SourceId, polite: bool, now: HostTime) {
        let kept = self.is_kept();
        self.sources.remove(&source);
        if !kept || self.is_kept() {
            return;
        }
        let wait = if polite { self.config.linger_stopped } else { self.config.linger_lost };
        let until = now.plus_micros(wait.as_micros());
        match self.phase {
            Phase::Live => self.phase = Phase::Lingering { until },
            // Nothing was shown yet: do not wait longer than the first opener would have.
            Phase::Starting { until: patience } => {
                self.phase = Phase::Starting { until: patience.min(until) };
            }
            _ => {}
        }
    }

    /// A part was published.
    pub fn part(&mut self) {
        if let Phase::Starting { .. } = self.phase {
            self.phase = Phase::Live;
        }
    }

    /// Somebody ends the class: its teacher through the API, or the daemon shutting down.
    pub fn end(&mut self, now: HostTime) -> Option<Action> {
        if !self.is_open() {
            return None;
        }
        self.phase = Phase::Ending { until: now.plus_micros(self.config.flush.as_micros()) };
        Some(Action::Flush)
    }

    /// The transcoder is done: it flushed, or it will not come back.
    pub fn flushed(&mut self, now: HostTime) -> Option<Action> {
        match self.phase {
            Phase::Ended { .. } | Phase::Forgotten => None,
            _ => {
                self.phase =
                    Phase::Ended { until: now.plus_micros(self.config.keep_ended.as_micros()) };
                Some(Action::End)
            }
        }
    }

    /// When [`Lifecycle::tick`] has something to do, if nothing else happens.
    pub fn deadline(&self) -> Option<HostTime> {
        match self.phase {
            Phase::Starting { until }
            | Phase::Lingering { until }
            | Phase::Ending { until }
            | Phase::Ended { until } => Some(until),
            Phase::Live | Phase::Forgotten => None,
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: HostTime) -> Option<Action> {
        if self.deadline().is_none_or(|until| now < until) {
            return None;
        }
        match self.phase {
            Phase::Starting { .. } | Phase::Lingering { .. } => self.end(now),
            Phase::Ending { .. } => self.flushed(now),
            Phase::Ended { .. } => {
                self.phase = Phase::Forgotten;
                Some(Action::Forget)
            }
            Phase::Live | Phase::Forgotten => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);

    fn at(seconds: i64) -> HostTime {
        HostTime(seconds * 1_000_000)
    }

    fn live() -> Lifecycle {
        let mut class = Lifecycle::open(Config::default(), at(0));
        class.joined(A, true);
        class.part();
        class
    }

    #[test]
    fn a_class_lives_while_its_publisher_does() {
        let mut class = live();
        assert_eq!(class.deadline(), None);
        assert_eq!(class.tick(at(100_000)), None);
        assert_eq!(class.phase(), Phase::Live);
    }

    #[test]
    fn a_lost_publisher_may_come_back_within_a_minute() {
        let mut class = live();
        class.left(A, false, at(10));
        assert_eq!(class.tick(at(69)), None);
        class.joined(B, true);
        assert_eq!(class.phase(), Phase::Live);
        assert_eq!(class.tick(at(1000)), None);
    }

    #[test]
    fn a_goodbye_ends_the_class_soon() {
        let mut class = live();
        class.left(A, true, at(10));
        assert_eq!(class.tick(at(15)), Some(Action::Flush));
        assert_eq!(class.flushed(at(16)), Some(Action::End));
        assert_eq!(class.flushed(at(16)), None);
        assert_eq!(class.tick(at(16 + 600)), Some(Action::Forget));
        assert_eq!(class.tick(at(9999)), None);
    }

    #[test]
    fn a_transcoder_that_does_not_flush_is_not_waited_for() {
        let mut class = live();
        assert_eq!(class.end(at(10)), Some(Action::Flush));
        assert_eq!(class.end(at(10)), None);
        assert_eq!(class.tick(at(12)), None);
        assert_eq!(class.tick(at(13)), Some(Action::End));
    }

    #[test]
    fn a_class_in_which_nothing_is_ever_sent_gives_up() {
        let mut class = Lifecycle::open(Config::default(), at(0));
        class.joined(A, true);
        assert_eq!(class.tick(at(29)), None);
        assert_eq!(class.tick(at(30)), Some(Action::Flush));
    }

    #[test]
    fn the_leaving_of_a_replaced_publisher_changes_nothing() {
        let mut class = live();
        class.joined(B, true);
        class.left(A, true, at(10));
        class.left(A, true, at(11));
        assert_eq!((class.phase(), class.is_published()), (Phase::Live, true));
    }

    #[test]
    fn a_class_that_a_teacher_led_lives_while_a_teacher_is_there() {
        let mut class = live();
        class.joined(B, false);
        class.left(A, true, at(10));
        assert_eq!(class.phase(), Phase::Lingering { until: at(15) });
        class.left(B, false, at(11));
        assert_eq!(class.phase(), Phase::Lingering { until: at(15) }, "no reason to wait longer");
        class.joined(B, false);
        assert_eq!(class.phase(), Phase::Lingering { until: at(15) }, "nor a reason to go on");
        class.joined(A, true);
        assert_eq!(class.phase(), Phase::Live);
        class.left(B, true, at(12));
        assert_eq!(class.phase(), Phase::Live);
    }

    #[test]
    fn a_class_without_a_teacher_lives_while_anybody_is_there() {
        let mut class = Lifecycle::open(Config::default(), at(0));
        class.joined(A, false);
        class.joined(B, false);
        class.part();
        class.left(A, true, at(10));
        assert_eq!(class.phase(), Phase::Live);
        class.left(B, false, at(20));
        assert_eq!(class.phase(), Phase::Lingering { until: at(80) });
        class.joined(A, false);
        class.joined(B, true);
        class.left(B, true, at(30));
        assert_eq!(class.phase(), Phase::Lingering { until: at(35) }, "a teacher had come");
    }

    #[test]
    fn a_class_does_not_end_while_a_publisher_is_on_its_way() {
        let mut class = live();
        class.left(A, true, at(10));
        class.expect(at(14));
        assert_eq!(class.tick(at(20)), None);
        class.joined(B, true);
        assert_eq!(class.phase(), Phase::Live);
    }

    #[test]
    fn leaving_before_the_first_part_shortens_the_wait_and_never_lengthens_it() {
        let mut class = Lifecycle::open(Config::default(), at(0));
        class.joined(A, true);
        class.left(A, false, at(1));
        assert_eq!(class.deadline(), Some(at(30)));
        class.joined(B, true);
        class.left(B, true, at(2));
        assert_eq!(class.deadline(), Some(at(7)));
    }
}
