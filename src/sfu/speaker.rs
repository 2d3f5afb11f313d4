//! Who is speaking, told from the levels that come with sound (RFC 6464). Pure.
//!
//! A voice rises fast and falls slowly; the speaker stays the speaker through pauses, and while
//! others cough. Somebody else takes over when they have been clearly louder for a while.

use crate::time::{HostTime, PersonId};

/// What is as quiet as this, in dBov, is no speech.
const FLOOR: f32 = -55.0;

/// What is as loud as this needs to be no louder.
const CEILING: f32 = -20.0;

/// How fast a voice rises and falls: time constants in microseconds.
const RISE: f32 = 200_000.0;
const FALL: f32 = 600_000.0;

/// A voice below this, of 0 to 1, is silent.
const SILENT: f32 = 0.15;

/// How much louder than the speaker somebody must be.
const MARGIN: f32 = 1.4;

/// For how long, in microseconds.
const INTERRUPTION: i64 = 900_000;

/// For how long when the speaker is silent.
const TURN: i64 = 300_000;

/// Somebody of whom nothing was heard for so long is silent, in microseconds.
const STALE: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Voice {
    person: PersonId,
    loudness: f32,
    heard: HostTime,
    /// Louder than the speaker, since when.
    ahead: Option<HostTime>,
}

/// The voices of one room.
#[derive(Clone, Debug, Default)]
pub struct Speakers {
    voices: Vec<Voice>,
    speaker: Option<PersonId>,
}

impl Speakers {
    /// Who speaks, or spoke last.
    #[cfg(test)]
    pub fn speaker(&self) -> Option<PersonId> {
        self.speaker
    }

    /// A packet of sound of `person` came; `level` in dBov, -127 to 0. Says who the speaker is if
    /// that has changed.
    pub fn heard(&mut self, now: HostTime, person: PersonId, level: i8) -> Option<PersonId> {
        let loud = ((f32::from(level) - FLOOR) / (CEILING - FLOOR)).clamp(0.0, 1.0);
        let at = match self.voices.iter().position(|voice| voice.person == person) {
            Some(at) => at,
            None => {
                let voice = Voice { person, loudness: 0.0, heard: now, ahead: None };
                self.voices.push(voice);
                self.voices.len() - 1
            }
        };
        let speaking = self.speaker.and_then(|id| self.loudness(now, id));
        let is_speaker = self.speaker == Some(person);
        let voice = self.voices.get_mut(at)?;
        let passed = now.since(voice.heard).clamp(0, STALE) as f32;
        voice.heard = now;
        let constant = if loud > voice.loudness { RISE } else { FALL };
        voice.loudness += (loud - voice.loudness) * (1.0 - (-passed / constant).exp());
        if is_speaker {
            return None;
        }
        let to_beat = speaking.unwrap_or(0.0);
        let quiet = to_beat < SILENT;
        if voice.loudness < SILENT || (!quiet && voice.loudness < to_beat * MARGIN) {
            voice.ahead = None;
            return None;
        }
        let since = *voice.ahead.get_or_insert(now);
        if now.since(since) < if quiet { TURN } else { INTERRUPTION } {
            return None;
        }
        for voice in &mut self.voices {
            voice.ahead = None;
        }
        self.speaker = Some(person);
        self.speaker
    }

    /// `person` is not heard any more; says whether they were the speaker.
    pub fn left(&mut self, person: PersonId) -> bool {
        self.voices.retain(|voice| voice.person != person);
        let was = self.speaker == Some(person);
        if was {
            self.speaker = None;
        }
        was
    }

    /// How many are listened to.
    pub fn voices(&self) -> usize {
        self.voices.len()
    }

    fn loudness(&self, now: HostTime, person: PersonId) -> Option<f32> {
        let voice = self.voices.iter().find(|voice| voice.person == person)?;
        Some(if now.since(voice.heard) > STALE { 0.0 } else { voice.loudness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEACHER: PersonId = PersonId::new(1);
    const PUPIL: PersonId = PersonId::new(2);
    const SPEECH: i8 = -28;
    const SHOUT: i8 = -10;
    const MURMUR: i8 = -48;
    const SILENCE: i8 = -90;

    struct Room {
        speakers: Speakers,
        now: HostTime,
    }

    impl Room {
        fn new() -> Self {
            Self { speakers: Speakers::default(), now: HostTime(5_000_000) }
        }

        /// Both sound for `ms`, a packet each every 20 ms; who took over, and after how long.
        fn sound(&mut self, ms: i64, teacher: i8, pupil: i8) -> Vec<(PersonId, i64)> {
            let start = self.now;
            let mut changes = Vec::new();
            while self.now.since(start) < ms * 1000 {
                for (person, level) in [(TEACHER, teacher), (PUPIL, pupil)] {
                    if let Some(speaker) = self.speakers.heard(self.now, person, level) {
                        changes.push((speaker, self.now.since(start) / 1000));
                    }
                }
                self.now = self.now.plus_micros(20_000);
            }
            changes
        }
    }

    #[test]
    fn the_first_voice_is_the_speaker_soon_and_silence_changes_nothing() {
        let mut room = Room::new();
        assert_eq!(room.sound(5_000, SILENCE, SILENCE), []);
        assert_eq!(room.speakers.speaker(), None);
        let changes = room.sound(5_000, SPEECH, SILENCE);
        assert!(matches!(changes[..], [(TEACHER, 200..600)]), "{changes:?}");
        assert_eq!(room.sound(60_000, SILENCE, SILENCE), []);
        assert_eq!(room.speakers.speaker(), Some(TEACHER));
    }

    #[test]
    fn a_pause_a_cough_and_a_murmur_do_not_take_over() {
        let mut room = Room::new();
        room.sound(5_000, SPEECH, SILENCE);
        for _ in 0..20 {
            assert_eq!(room.sound(400, SPEECH, SILENCE), []);
            assert_eq!(room.sound(300, SILENCE, SILENCE), [], "between words");
            assert_eq!(room.sound(250, SPEECH, SHOUT), [], "a cough");
            assert_eq!(room.sound(1_000, SPEECH, MURMUR), []);
        }
    }

    #[test]
    fn an_answer_takes_over_and_so_does_the_question_after_it() {
        let mut room = Room::new();
        room.sound(3_000, SPEECH, SILENCE);
        for _ in 0..3 {
            let changes = room.sound(4_000, SILENCE, SPEECH);
            assert!(matches!(changes[..], [(PUPIL, 300..1_500)]), "{changes:?}");
            let changes = room.sound(4_000, SPEECH, SILENCE);
            assert!(matches!(changes[..], [(TEACHER, 300..1_500)]), "{changes:?}");
        }
    }

    #[test]
    fn two_who_speak_at_once_do_not_flicker() {
        let mut room = Room::new();
        room.sound(3_000, SPEECH, SILENCE);
        assert_eq!(room.sound(60_000, SPEECH, SPEECH), []);
        assert_eq!(room.sound(60_000, SPEECH, SPEECH + 3), []);
        let changes = room.sound(5_000, -38, SHOUT);
        assert!(matches!(changes[..], [(PUPIL, 900..2_500)]), "clearly louder: {changes:?}");
    }

    #[test]
    fn whoever_leaves_is_forgotten_and_a_frozen_speaker_yields() {
        let mut room = Room::new();
        room.sound(3_000, SPEECH, SILENCE);
        assert!(!room.speakers.left(PUPIL));
        assert!(room.speakers.left(TEACHER));
        assert_eq!((room.speakers.speaker(), room.speakers.voices()), (None, 0));
        room.sound(3_000, SPEECH, SILENCE);
        room.now = room.now.plus_micros(2_000_000);
        let mut taken = None;
        for _ in 0..50 {
            taken = taken.or(room.speakers.heard(room.now, PUPIL, SPEECH));
            room.now = room.now.plus_micros(20_000);
        }
        assert_eq!(taken, Some(PUPIL), "nothing comes from the speaker any more");
    }
}
