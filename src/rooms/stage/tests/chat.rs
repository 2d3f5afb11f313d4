use super::*;
use crate::rooms::stage::chat::{MAX_TEXT, Message, PAGE, Page};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a reader has on the screen.
#[derive(Default)]
struct Screen {
    after: u64,
    lines: BTreeMap<u64, String>,
}

impl Screen {
    fn take(&mut self, page: Page) {
        for message in page.messages {
            match message {
                Message::Said { seq, text, .. } => drop(self.lines.insert(seq, text)),
                Message::Deleted { seq, .. } => drop(self.lines.remove(&seq)),
            }
        }
        self.after = page.last;
    }

    fn read_on(&mut self, stage: &Stage) {
        loop {
            let page = stage.chat_page(Some(self.after));
            let more = page.more;
            self.take(page);
            if !more {
                return;
            }
        }
    }
}

fn class_ms(stage: &Stage) -> Vec<Option<i64>> {
    let messages = stage.chat_page(Some(0)).messages.into_iter();
    messages
        .map(|message| match message {
            Message::Said { class_ms, .. } => class_ms,
            Message::Deleted { .. } => panic!("nothing was deleted"),
        })
        .collect()
}

#[test]
fn what_is_written_lies_on_the_recordings_timeline() {
    let mut stage = stage();
    stage.say(&VIEWER, "when does it begin?", at(0), 1_000).unwrap();
    stage.opened();
    stage.began(at(10));
    stage.say(&VIEWER, "hello", at(12), 13_000).unwrap();
    assert_eq!(class_ms(&stage), [None, Some(2000)]);
    stage.ended(at(20));
    stage.say(&VIEWER, "bye", at(21), 22_000).unwrap();
    assert_eq!(class_ms(&stage), [None, Some(2000), None]);
    stage.opened();
    assert_eq!(class_ms(&stage), [None], "what was said after the end is the next class's");
    stage.began(at(30));
    assert_eq!(class_ms(&stage), [None]);
    assert_eq!(stage.chat_page(None).last, 3, "numbers go on");
    let json = serde_json::to_value(stage.chat_page(None)).unwrap();
    assert_eq!(json["messages"][0]["text"], "bye");
    assert_eq!(json["messages"][0]["role"], "viewer");
}

#[test]
fn slow_mode_and_a_closed_chat_bind_everybody_but_teachers() {
    let (mut stage, _) = class();
    stage.set_chat(&TEACHER, Some(30), None).unwrap();
    stage.say(&VIEWER, "a", at(0), 0).unwrap();
    assert_eq!(stage.say(&VIEWER, "b", at(1), 0), Err(Refusal::SlowMode { wait_s: 29 }));
    for second in 0..20 {
        stage.say(&TEACHER, "c", at(second), 0).unwrap();
    }
    stage.say(&VIEWER, "d", at(30), 0).unwrap();
    stage.set_chat(&TEACHER, Some(0), Some(false)).unwrap();
    assert_eq!(stage.say(&OTHER, "e", at(31), 0), Err(Refusal::ChatClosed));
    stage.say(&TEACHER, "f", at(31), 0).unwrap();
    stage.set_chat(&TEACHER, Some(u64::MAX), Some(true)).unwrap();
    let chat = stage.public().chat;
    assert_eq!((chat.slow_s, chat.open), (3600, true));
    stage.set_chat(&TEACHER, Some(0), None).unwrap();
    for _ in 0..MESSAGE_BURST {
        stage.say(&OTHER, "g", at(40), 0).unwrap();
    }
    assert_eq!(stage.say(&OTHER, "h", at(40), 0), Err(Refusal::TooFast { wait_s: 1 }));
}

#[test]
fn messages_have_a_size_and_no_tricks() {
    let (mut stage, _) = class();
    assert_eq!(stage.say(&VIEWER, " \n\u{7} ", at(0), 0), Err(Refusal::EmptyMessage));
    let long = "ä".repeat(MAX_TEXT);
    stage.say(&VIEWER, &long, at(0), 0).unwrap();
    assert_eq!(stage.say(&VIEWER, &(long + "a"), at(0), 0), Err(Refusal::LongMessage));
}

#[test]
fn a_deleted_message_leaves_every_screen() {
    let (mut stage, _) = class();
    let seq = stage.say(&VIEWER, "rude", at(0), 0).unwrap();
    stage.say(&OTHER, "kind", at(0), 0).unwrap();
    let mut screen = Screen::default();
    screen.read_on(&stage);
    assert_eq!(screen.lines.len(), 2);
    stage.delete_message(&TEACHER, seq).unwrap();
    assert_eq!(stage.delete_message(&TEACHER, seq), Err(Refusal::UnknownMessage));
    assert_eq!(stage.delete_message(&TEACHER, 99), Err(Refusal::UnknownMessage));
    screen.read_on(&stage);
    assert_eq!(screen.lines.values().collect::<Vec<_>>(), ["kind"]);
    let fresh = stage.chat_page(None);
    assert_eq!((fresh.messages.len(), fresh.last), (1, 3));
    assert_eq!(stage.chat_page(Some(3)), Page { last: 3, more: false, messages: Vec::new() });
    let json = serde_json::to_value(stage.chat_page(Some(2))).unwrap();
    assert_eq!(json["messages"], serde_json::json!([{"seq": 1, "deleted": true}]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Readers who ask now and then have what the chat has; those who come late have its end.
    #[test]
    fn every_reader_ends_with_the_same_screen(steps in prop::collection::vec((0..10u8, 0..700u64), 1..700)) {
        let config = Config { chat_keep: 300, room_rate: 10_000, ..Config::default() };
        let mut stage = Stage::new(Arc::new(config), 4, 1);
        let mut reader = Screen::default();
        let mut truth = BTreeMap::new();
        for (what, number) in steps {
            match what {
                0 => reader.read_on(&stage),
                1 => {
                    if stage.delete_message(&TEACHER, number).is_ok() {
                        prop_assert!(truth.remove(&number).is_some());
                    }
                }
                _ => {
                    let text = number.to_string();
                    let before = stage.chat_tag();
                    let seq = stage.say(&TEACHER, &text, at(0), 0).unwrap();
                    prop_assert!(before != stage.chat_tag());
                    truth.insert(seq, text);
                }
            }
            // Whoever reads rarely may miss what is not kept; this one reads in time.
            if stage.public().chat.last - reader.after > 250 {
                reader.read_on(&stage);
            }
        }
        reader.read_on(&stage);
        prop_assert_eq!(&reader.lines, &truth);
        let mut late = Screen::default();
        late.take(stage.chat_page(None));
        let newest: BTreeMap<u64, String> = truth.into_iter().rev().take(PAGE).collect();
        // Deletions are kept in the same row, so a little less may be left of the end.
        prop_assert!(late.lines.iter().all(|line| newest.contains_key(line.0)));
        prop_assert!(late.lines.len() + 1 >= newest.len().min(100));
        prop_assert!(stage.chat_page(Some(0)).messages.len() <= PAGE);
    }
}
