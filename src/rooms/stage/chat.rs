//! What a class writes, on the timeline of its recording.
//!
//! Messages and deletions are changes, numbered in one row. A page of the chat is "what changed after
//! number N", the same for everybody who asks with that N, so a cache can answer it; and whoever asks
//! again with the `last` of the page before misses nothing, deletions of old messages included.

use super::rate::{Rate, seconds};
use super::{Config, MESSAGE_BURST, Refusal, Stage, Who, shown, teachers_only};
use crate::rooms::name::clean_text;
use crate::time::{HostTime, PersonId};
use serde::Serialize;
use std::collections::VecDeque;

/// Longest message, characters.
pub const MAX_TEXT: usize = 500;

/// Changes in one page.
pub const PAGE: usize = 200;

/// Longest slow mode, seconds.
pub const MAX_SLOW_S: u64 = 3600;

/// The chat of a room.
#[derive(Debug)]
pub(super) struct Chat {
    /// Numbered without gaps; the oldest goes when there are too many.
    changes: VecDeque<Change>,
    keep: usize,
    pub last: u64,
    /// Counts up whenever a page could look different.
    revision: u64,
    pub slow_us: i64,
    pub open: bool,
    /// What was written up to here belongs to a class that is over.
    over: u64,
    /// When the recording began, and when it ended.
    zero: Option<HostTime>,
    end: Option<HostTime>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Said(Box<Said>),
    Deleted(u64),
}

#[derive(Debug)]
struct Said {
    at: HostTime,
    at_ms: i64,
    id: PersonId,
    name: String,
    role: &'static str,
    text: String,
    deleted: bool,
}

/// A page of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Ask with this for what comes after the page.
    pub last: u64,
    /// Whether there is more already.
    pub more: bool,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// One change as it goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Message {
    /// Somebody wrote.
    Said {
        /// The message's number.
        seq: u64,
        /// Milliseconds since 1970.
        at_ms: i64,
        /// Milliseconds from the beginning of the class's recording; `null` before it and after its end.
        class_ms: Option<i64>,
        /// Who.
        id: PersonId,
        /// Who, for people; may be empty.
        name: String,
        /// `teacher`, `speaker` or `viewer`, as they were then.
        role: &'static str,
        /// What.
        text: String,
    },
    /// A message that was there is not to be shown any more.
    Deleted {
        /// The message's number.
        seq: u64,
        /// Always true.
        deleted: bool,
    },
}

impl Chat {
    pub fn new(config: &Config) -> Self {
        Self {
            changes: VecDeque::new(),
            keep: config.chat_keep,
            last: 0,
            revision: 0,
            slow_us: config.slow_mode.as_micros(),
            open: true,
            over: 0,
            zero: None,
            end: None,
        }
    }

    pub fn began(&mut self, zero: HostTime) {
        (self.zero, self.end) = (Some(zero), None);
        self.revision += 1;
    }

    pub fn class_opened(&mut self) {
        let over = self.over;
        while self.changes.front().is_some_and(|change| change.number <= over) {
            self.changes.pop_front();
        }
        (self.zero, self.end) = (None, None);
        self.revision += 1;
    }

    pub fn class_ended(&mut self, now: HostTime, config: &Config) {
        self.over = self.last;
        self.end = Some(now);
        self.slow_us = config.slow_mode.as_micros();
        self.open = true;
        self.revision += 1;
    }

    fn add(&mut self, what: What) -> u64 {
        self.last += 1;
        self.revision += 1;
        self.changes.push_back(Change { number: self.last, what });
        while self.changes.len() > self.keep {
            self.changes.pop_front();
        }
        self.last
    }

    fn delete(&mut self, seq: u64) -> Result<(), Refusal> {
        let at = self.changes.partition_point(|change| change.number < seq);
        match self.changes.get_mut(at) {
            Some(Change { number, what: What::Said(said) }) if *number == seq && !said.deleted => {
                said.deleted = true;
                // Nobody's to read any more, in no dump of the memory either.
                said.text.clear();
                self.add(What::Deleted(seq));
                Ok(())
            }
            _ => Err(Refusal::UnknownMessage),
        }
    }

    fn page(&self, after: Option<u64>) -> Page {
        let Some(after) = after else { return self.newest() };
        let start = self.changes.partition_point(|change| change.number <= after);
        let (mut messages, mut last, mut more) = (Vec::new(), self.last, false);
        for change in self.changes.range(start..) {
            if messages.len() == PAGE {
                more = true;
                break;
            }
            last = change.number;
            match &change.what {
                What::Said(said) if !said.deleted => messages.push(self.show(change.number, said)),
                // Who asks after a later number has it on the screen.
                What::Deleted(seq) if *seq <= after => {
                    messages.push(Message::Deleted { seq: *seq, deleted: true });
                }
                What::Said(_) | What::Deleted(_) => {}
            }
        }
        Page { last, more, messages }
    }

    /// For somebody who comes in: the end of the conversation.
    fn newest(&self) -> Page {
        let said = self.changes.iter().rev().filter_map(|change| match &change.what {
            What::Said(said) if !said.deleted => Some(self.show(change.number, said)),
            _ => None,
        });
        let mut messages: Vec<Message> = said.take(PAGE).collect();
        messages.reverse();
        Page { last: self.last, more: false, messages }
    }

    fn show(&self, seq: u64, said: &Said) -> Message {
        let recorded =
            |zero: &HostTime| said.at >= *zero && self.end.is_none_or(|end| said.at <= end);
        let class_ms = self.zero.filter(recorded).map(|zero| said.at.since(zero) / 1000);
        let Said { at_ms, id, role, .. } = *said;
        let (name, text) = (said.name.clone(), said.text.clone());
        Message::Said { seq, at_ms, class_ms, id, name, role, text }
    }
}

impl Stage {
    /// Writes a message; returns its number. `wall_ms` is the time in milliseconds since 1970.
    ///
    /// # Errors
    /// Empty or too long; the chat is closed, slow mode, too fast (teachers are bound by none of these).
    pub fn say(
        &mut self,
        who: &Who<'_>,
        text: &str,
        now: HostTime,
        wall_ms: i64,
    ) -> Result<u64, Refusal> {
        // Counted before cleaning: what is cleaned away is no reason to take a megabyte.
        if text.chars().nth(MAX_TEXT).is_some() {
            return Err(Refusal::LongMessage);
        }
        let text = clean_text(text);
        if text.is_empty() {
            return Err(Refusal::EmptyMessage);
        }
        if !self.chat.open && !who.is_teacher() {
            return Err(Refusal::ChatClosed);
        }
        let id = self.known(who, now)?;
        let slow_us = self.chat.slow_us;
        let rate = Rate::new(self.config.message_every.as_micros(), MESSAGE_BURST);
        let person = self.person(id)?;
        if !who.is_teacher() {
            let wait = person.wrote.map_or(0, |wrote| slow_us - now.since(wrote));
            if wait > 0 {
                return Err(Refusal::SlowMode { wait_s: seconds(wait) });
            }
            person.messages.take(rate, now).map_err(|wait_s| Refusal::TooFast { wait_s })?;
            self.take_from_room(now)?;
        }
        let person = self.person(id)?;
        person.wrote = Some(now);
        let (name, role) = (person.name.clone(), shown(person.role, person.admitted));
        let said = Said { at: now, at_ms: wall_ms, id, name, role, text, deleted: false };
        let seq = self.chat.add(What::Said(Box::new(said)));
        self.changed();
        Ok(seq)
    }

    /// Takes a message away from everybody's screen.
    ///
    /// # Errors
    /// Not a teacher; no such message.
    pub fn delete_message(&mut self, who: &Who<'_>, seq: u64) -> Result<(), Refusal> {
        teachers_only(who)?;
        self.chat.delete(seq)?;
        self.changed();
        Ok(())
    }

    /// Sets slow mode (seconds between two messages of one person; at most [`MAX_SLOW_S`] count), opens
    /// or closes the chat. What is `None` stays.
    ///
    /// # Errors
    /// Not a teacher.
    pub fn set_chat(
        &mut self,
        who: &Who<'_>,
        slow_s: Option<u64>,
        open: Option<bool>,
    ) -> Result<(), Refusal> {
        teachers_only(who)?;
        if let Some(slow_s) = slow_s {
            self.chat.slow_us = i64::try_from(slow_s.min(MAX_SLOW_S)).unwrap_or(0) * 1_000_000;
        }
        self.chat.open = open.unwrap_or(self.chat.open);
        self.changed();
        Ok(())
    }

    /// What was written after change `after`, [`PAGE`] changes at most; without one, the newest.
    pub fn chat_page(&self, after: Option<u64>) -> Page {
        self.chat.page(after)
    }

    /// Differs whenever a page of the chat may.
    pub fn chat_tag(&self) -> (u32, u64) {
        (self.tag, self.chat.revision)
    }
}
