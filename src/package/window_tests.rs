#![allow(clippy::unwrap_used)]

use super::*;
use crate::package::playlist;
use crate::package::strict::Playlist;
use crate::package::testing::{Parts, presentation};
use proptest::prelude::*;

fn empty() -> Window {
    Window::new(presentation(), "abc", 0, &Config::default()).unwrap()
}

fn filled(parts: usize) -> (Window, Parts) {
    let (mut window, mut source) = (empty(), Parts::new());
    for _ in 0..parts {
        let (part, bytes) = source.next();
        window.publish(&part, &bytes).unwrap();
    }
    (window, source)
}

#[test]
fn a_part_is_not_copied() {
    let (mut window, mut source) = (empty(), Parts::new());
    let (part, bytes) = source.next();
    window.publish(&part, &bytes).unwrap();
    let memory = bytes.as_ptr_range();
    for rendition in 0..4 {
        let piece = window.segment(0).unwrap().piece(rendition, 0).unwrap();
        assert!(memory.contains(&piece.bytes.as_ptr()));
        assert_eq!(piece.bytes, Parts::text(0, 0, rendition));
    }
}

#[test]
fn a_restart_closes_the_open_segment_short_and_the_timeline_goes_on() {
    let (mut window, mut source) = filled(12 + 5);
    source.restart();
    let (part, bytes) = source.next();
    assert_eq!((part.msn, part.part), (2, 0));
    window.publish(&part, &bytes).unwrap();
    let short = window.segment(1).unwrap();
    assert!(short.closed && short.part_count() == 5);
    assert_eq!(window.newest_closed(), Some(1));
    for rendition in 0..4 {
        let list = Playlist::parse(&playlist::media(&window, rendition, false).unwrap());
        assert!(list.segments[1].duration.unwrap() < 1.7);
    }
}

/// What a test does to a part before it is published.
type Damage = Box<dyn Fn(&mut Part)>;

#[test]
fn what_breaks_a_rule_is_refused_whole() {
    let (window, source) = filled(12 + 3);
    let damages: Vec<(&str, Damage)> = vec![
        ("segment", Box::new(|p| p.msn += 1)),
        ("part", Box::new(|p| p.part += 1)),
        ("repeat", Box::new(|p| p.part -= 1)),
        ("start", Box::new(|p| p.start += MediaTime(1))),
        ("no fragments", Box::new(|p| p.fragments.clear())),
        ("stranger", Box::new(|p| p.fragments[0].rendition = 4)),
        ("twice", Box::new(|p| p.fragments[0].rendition = 1)),
        ("duration", Box::new(|p| p.fragments[1].duration.0 += 1)),
        ("offset", Box::new(|p| p.fragments[1].offset = u32::MAX)),
        ("length", Box::new(|p| p.fragments[3].len += 1)),
        ("nothing", Box::new(|p| p.fragments[0].len = 0)),
        ("frames", Box::new(|p| p.resume.next_frame += 1)),
        ("no frames", Box::new(|p| p.resume.next_frame -= 10)),
        ("far frames", Box::new(|p| p.resume.next_frame = u64::MAX)),
        ("sound", Box::new(|p| p.resume.next_aac += 1)),
        ("successor", Box::new(|p| p.resume.next_msn += 1)),
    ];
    for (name, damage) in damages {
        let (mut window, mut source) = (window.clone(), source.clone());
        let (good, bytes) = source.next();
        let mut bad = good.clone();
        damage(&mut bad);
        assert!(window.publish(&bad, &bytes).is_err(), "{name}");
        // Nothing of it stays: the right part still fits.
        window.publish(&good, &bytes).unwrap();
    }
}

#[test]
fn a_segment_begins_with_a_key_frame() {
    let (mut window, mut source) = filled(12);
    let (mut part, bytes) = source.next();
    part.fragments[2].independent = false;
    let error = window.publish(&part, &bytes).unwrap_err().to_string();
    assert!(error.contains("1.0") && error.contains("key frame"), "{error}");
}

#[test]
fn nothing_follows_the_end() {
    let (mut window, mut source) = filled(3);
    window.end();
    let (part, bytes) = source.next();
    assert_eq!(window.publish(&part, &bytes), Err(WindowError::Ended { msn: 0, part: 3 }));
}

#[test]
fn presentations_that_cannot_be_written_into_urls_are_refused() {
    type Damage = Box<dyn Fn(&mut Presentation)>;
    let damages: Vec<Damage> = vec![
        Box::new(|p| p.renditions[0].name = "../x".into()),
        Box::new(|p| p.renditions[0].name = "audio".into()),
        Box::new(|p| p.renditions[0].codecs = "avc1\"\n#".into()),
        Box::new(|p| p.renditions[0].init.clear()),
        Box::new(|p| p.renditions[0].size = None),
        Box::new(|p| p.renditions[3].size = Some((2, 2))),
        Box::new(|p| p.renditions.clear()),
        Box::new(|p| p.format.fps = 0),
    ];
    for (i, damage) in damages.iter().enumerate() {
        let mut bad = presentation();
        damage(&mut bad);
        assert!(Window::new(bad, "abc", 0, &Config::default()).is_err(), "{i}");
    }
    assert!(Window::new(presentation(), "a/b", 0, &Config::default()).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Part,
    Short(u64),
    Restart,
    Drop(usize),
    Foreign(u64, u32, u64, u64, u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => Just(Step::Part),
        1 => (1u64..10).prop_map(Step::Short),
        1 => Just(Step::Restart),
        1 => (0usize..4).prop_map(Step::Drop),
        4 => (0u64..9, 0u32..14, any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(a, b, c, d, e, f)| Step::Foreign(a, b, c, d, e, f)),
    ];
    prop::collection::vec(step, 1..160)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_classes_keep_every_rule_of_their_playlists(steps in steps()) {
        let (mut window, mut source) = (empty(), Parts::new());
        let mut published = 0;
        for step in steps {
            match step {
                Step::Part => {
                    let (part, bytes) = source.next();
                    window.publish(&part, &bytes).unwrap();
                    published += 1;
                }
                Step::Short(frames) => {
                    // A short part closes its segment, as the end of a transcoder's input does.
                    let mut probe = source.clone();
                    let (mut part, bytes) = probe.next_of(frames);
                    part.last = true;
                    if window.publish(&part, &bytes).is_ok() {
                        source = probe;
                        if !part.resume.next_frame.is_multiple_of(120) || source.part != 0 {
                            source.restart();
                        }
                        published += 1;
                    }
                }
                Step::Restart => source.restart(),
                Step::Drop(rendition) => {
                    if !source.dropped.contains(&rendition) && source.dropped.len() < 3 {
                        source.dropped.push(rendition);
                    }
                }
                Step::Foreign(msn, part, frame, aac, offset, len) => {
                    let mut probe = source.clone();
                    let (mut foreign, bytes) = probe.next();
                    foreign.msn = msn;
                    foreign.part = part;
                    foreign.resume.next_frame = frame;
                    foreign.resume.next_aac = aac;
                    for fragment in &mut foreign.fragments {
                        (fragment.offset, fragment.len) = (offset, len);
                    }
                    prop_assert!(window.publish(&foreign, &bytes).is_err());
                }
            }
            if published > 0 {
                for rendition in 0..4 {
                    for skip in [false, true] {
                        Playlist::parse(&playlist::media(&window, rendition, skip).unwrap());
                    }
                }
            }
        }
        window.end();
        Playlist::parse(&playlist::media(&window, 0, false).unwrap());
    }
}
