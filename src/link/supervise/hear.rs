//! Holding what a transcoder says against what it may say now. Pure.
//!
//! [`wire`](crate::link::wire) has made sure that each message keeps the rules by itself; here it is
//! held against the ones before, against the memory that came with it, and against what an earlier
//! transcoder of the same class promised to the viewers.

use super::Event;
use crate::link::wire::{FromTranscoder, Part, Presentation, Resume, Rung};
use bytes::Bytes;

/// What a class has said to its viewers so far; outlives transcoders.
#[derive(Clone, Debug)]
pub(super) struct Class {
    rungs: Vec<Rung>,
    presentation: Option<Presentation>,
    last: Option<Last>,
    dropped: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Last {
    msn: u64,
    part: u32,
    closed: bool,
    resume: Resume,
}

impl Class {
    /// A class that is to have these rungs.
    pub(super) fn new(rungs: &[Rung]) -> Self {
        Self { rungs: rungs.to_vec(), presentation: None, last: None, dropped: Vec::new() }
    }

    /// Where the next transcoder takes up.
    pub(super) fn resume(&self) -> Option<Resume> {
        self.last.as_ref().map(|last| last.resume.clone())
    }

    /// The renditions that were given up.
    pub(super) fn dropped(&self) -> &[u8] {
        &self.dropped
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lie(pub(super) &'static str);

/// The conversation with one transcoder.
#[derive(Debug)]
pub(super) struct Conversation {
    pid: u32,
    greeted: bool,
    begun: Option<Presentation>,
    /// What is held back until the first part: before it, nothing is certain.
    held: Vec<Event>,
    ended: bool,
}

impl Conversation {
    /// With the process `pid`; one that was a spare has `greeted` already.
    pub(super) fn new(pid: u32, greeted: bool) -> Self {
        Self { pid, greeted, begun: None, held: Vec::new(), ended: false }
    }

    /// Takes in one message with the memory that came with it, and gives what the daemon should hear.
    ///
    /// # Errors
    /// [`Lie`]: the transcoder is not to be believed any more.
    pub(super) fn hear(
        &mut self,
        class: &mut Class,
        message: FromTranscoder,
        memory: Option<Bytes>,
    ) -> Result<Vec<Event>, Lie> {
        if self.ended {
            return Err(Lie("a message after Ended"));
        }
        if let FromTranscoder::Hello { pid } = message {
            if self.greeted || pid != self.pid || memory.is_some() {
                return Err(Lie("a wrong Hello"));
            }
            self.greeted = true;
            return Ok(vec![]);
        }
        if !self.greeted {
            return Err(Lie("something before Hello"));
        }
        match (message, memory) {
            (FromTranscoder::Part(part), Some(bytes)) => self.part(class, part, bytes),
            (FromTranscoder::Part(_), None) => Err(Lie("a part without its memory")),
            (_, Some(_)) => Err(Lie("memory with something that is no part")),
            (FromTranscoder::Begin(presentation), None) => self.begin(class, *presentation),
            (FromTranscoder::RungDropped { rendition, reason }, None) => {
                self.dropped(class, rendition, reason)
            }
            (FromTranscoder::KeyframeWanted(track), None) => Ok(vec![Event::KeyframeWanted(track)]),
            (FromTranscoder::Figures(figures), None) => Ok(vec![Event::Figures(figures)]),
            (FromTranscoder::Ended, None) => {
                self.ended = true;
                Ok(vec![])
            }
            (FromTranscoder::Hello { .. }, None) => Err(Lie("a wrong Hello")),
            (FromTranscoder::Ready, None) => Err(Lie("ready, and is at work")),
        }
    }

    fn begin(&mut self, class: &Class, presentation: Presentation) -> Result<Vec<Event>, Lie> {
        if self.begun.is_some() {
            return Err(Lie("a second Begin"));
        }
        // Renditions are numbered as the rungs are; sound comes last.
        let pictures = presentation.renditions.iter().filter_map(|r| Some((&r.name, r.size?)));
        let asked = class.rungs.iter().map(|r| (&r.name, (r.width, r.height)));
        if !pictures.eq(asked) {
            return Err(Lie("a Begin with other renditions than it was told to make"));
        }
        match &class.presentation {
            // The viewers have its init segments and playlists.
            Some(promised) if *promised != presentation => {
                return Err(Lie("another Begin than its predecessor's"));
            }
            Some(_) => {}
            None => self.held.push(Event::Begin(Box::new(presentation.clone()))),
        }
        self.begun = Some(presentation);
        Ok(vec![])
    }

    fn part(
        &mut self,
        class: &mut Class,
        part: Box<Part>,
        bytes: Bytes,
    ) -> Result<Vec<Event>, Lie> {
        let Some(presentation) = &self.begun else { return Err(Lie("a part before Begin")) };
        let len = bytes.len() as u64;
        for fragment in &part.fragments {
            if usize::from(fragment.rendition) >= presentation.renditions.len() {
                return Err(Lie("a fragment of a rendition that does not exist"));
            }
            if u64::from(fragment.offset) + u64::from(fragment.len) > len {
                return Err(Lie("a fragment beyond the end of its memory"));
            }
        }
        if part.resume.zero != presentation.zero {
            return Err(Lie("a resume point on another timeline"));
        }
        let here = (part.msn, part.part);
        let in_order = match &class.last {
            None => here == (0, 0),
            // A segment may be closed short at any time, by its maker or by a successor.
            Some(last) => {
                here == (last.msn + 1, 0)
                    || (!last.closed && here == (last.msn, last.part.saturating_add(1)))
            }
        };
        if !in_order {
            return Err(Lie("a part out of order"));
        }
        let resume = part.resume.clone();
        class.last = Some(Last { msn: part.msn, part: part.part, closed: part.last, resume });
        if class.presentation.is_none() {
            class.presentation = Some(presentation.clone());
        }
        let mut events = std::mem::take(&mut self.held);
        for event in &events {
            if let Event::RungDropped { rendition, .. } = event {
                class.dropped.push(*rendition);
            }
        }
        events.push(Event::Part(part, bytes));
        Ok(events)
    }

    fn dropped(
        &mut self,
        class: &mut Class,
        rendition: u8,
        reason: String,
    ) -> Result<Vec<Event>, Lie> {
        if self.begun.is_none() {
            return Err(Lie("a rung dropped before Begin"));
        }
        if usize::from(rendition) >= class.rungs.len() {
            return Err(Lie("a rung dropped that does not exist"));
        }
        let held = self.held.iter().filter_map(|e| match e {
            Event::RungDropped { rendition, .. } => Some(*rendition),
            _ => None,
        });
        let gone: Vec<u8> = class.dropped.iter().copied().chain(held).collect();
        if gone.contains(&rendition) {
            return Err(Lie("a rung dropped twice"));
        }
        if gone.len() + 1 >= class.rungs.len() {
            return Err(Lie("the last rung dropped"));
        }
        let event = Event::RungDropped { rendition, reason };
        if class.presentation.is_none() {
            self.held.push(event);
            return Ok(vec![]);
        }
        class.dropped.push(rendition);
        Ok(vec![event])
    }
}
