#![allow(clippy::unwrap_used)]
use super::view::Place;
use super::*;
use crate::link::wire;
use crate::time::{MediaKind, SourceId};
use crate::units::Span;

mod chat;
mod commands;

const TEACHER: Who<'static> = Who { sub: "teacher", role: Role::Teacher, name: Some("Foo") };
const SPEAKER: Who<'static> = Who { sub: "speaker", role: Role::Speaker, name: Some("Bar") };
const VIEWER: Who<'static> = Who { sub: "viewer", role: Role::Viewer, name: Some("Baz") };
const OTHER: Who<'static> = Who { sub: "other", role: Role::Viewer, name: None };

fn at(seconds: i64) -> HostTime {
    HostTime(seconds * 1_000_000)
}

fn stage() -> Stage {
    Stage::new(Arc::new(Config::default()), 4, 1)
}

/// A class that a teacher has opened, at 0 s.
fn class() -> (Stage, PersonId) {
    let mut stage = stage();
    let teacher = stage.may_publish(&TEACHER, at(0)).unwrap();
    stage.opened();
    let joined = stage.joined(teacher, MediaKind::Camera, SourceId(1), at(0)).unwrap();
    assert_eq!(joined, Joined { leads: true });
    (stage, teacher)
}

fn called_up(stage: &mut Stage, who: &Who<'_>, now: HostTime) -> PersonId {
    let (id, _) = stage.raise(who, now).unwrap();
    stage.invite(&TEACHER, id, now).unwrap();
    id
}

fn admitted(stage: &mut Stage, who: &Who<'_>, now: HostTime) -> PersonId {
    let id = called_up(stage, who, now);
    stage.accept(who, id, now).unwrap();
    id
}

#[test]
fn from_the_hand_to_the_stage_and_back() {
    let (mut stage, _) = class();
    assert_eq!(stage.may_publish(&VIEWER, at(1)), Err(Refusal::NotAdmitted));
    let (id, new) = stage.raise(&VIEWER, at(1)).unwrap();
    assert!(new);
    assert_eq!(stage.raise(&VIEWER, at(2)), Ok((id, false)), "it is up already");
    let hands = stage.hands(&TEACHER, at(3), 10_000).unwrap();
    let [hand] = hands.as_slice() else { panic!("one hand: {hands:?}") };
    assert_eq!((hand.id, hand.name.as_str(), hand.since_ms), (id, "Baz", 8_000));
    assert_eq!(stage.me(&VIEWER, at(3)).unwrap().state, Place::Hand);
    assert_eq!(stage.accept(&VIEWER, id, at(3)), Err(Refusal::NotInvited));
    stage.invite(&TEACHER, id, at(4)).unwrap();
    assert_eq!(stage.me(&VIEWER, at(4)).unwrap().state, Place::Invited);
    assert_eq!(stage.public().invited, [id]);
    assert_eq!(stage.may_publish(&VIEWER, at(4)), Err(Refusal::NotAdmitted));
    stage.accept(&VIEWER, id, at(5)).unwrap();
    assert_eq!(stage.accept(&VIEWER, id, at(5)), Err(Refusal::AlreadyAccepted));
    assert_eq!(stage.may_publish(&VIEWER, at(5)), Ok(id));
    assert_eq!(stage.counts(), (2, 0));
    assert_eq!(stage.wire().seats.len(), 1, "no tile before there is a picture");
    let joined = stage.joined(id, MediaKind::Camera, SourceId(2), at(6)).unwrap();
    assert_eq!(joined, Joined { leads: false });
    stage.joined(id, MediaKind::Screen, SourceId(3), at(6)).unwrap();
    let shown = stage.public();
    assert_eq!((shown.people[1].role, shown.people[1].screen), ("speaker", true));
    assert_eq!(stage.wire().seats[1].screen, Some(SourceId(3)));
    stage.remove(&VIEWER, id, at(7)).unwrap();
    assert_eq!(stage.may_publish(&VIEWER, at(7)), Err(Refusal::NotAdmitted));
    assert_eq!(stage.accept(&VIEWER, id, at(7)), Err(Refusal::AlreadyAccepted), "a replay");
    assert_eq!(stage.joined(id, MediaKind::Camera, SourceId(4), at(7)), Err(Refusal::NotAdmitted));
}

#[test]
fn every_end_of_an_invitation_has_its_own_words() {
    let (mut stage, _) = class();
    let id = called_up(&mut stage, &VIEWER, at(0));
    stage.tick(at(59));
    assert_eq!(stage.public().invited, [id]);
    stage.tick(at(60));
    assert_eq!(stage.accept(&VIEWER, id, at(60)), Err(Refusal::RanOut));
    assert_eq!(stage.me(&VIEWER, at(60)).unwrap().state, Place::Hand, "the hand stays up");
    stage.invite(&TEACHER, id, at(61)).unwrap();
    stage.withdraw(&TEACHER, id, at(62)).unwrap();
    assert_eq!(stage.accept(&VIEWER, id, at(62)), Err(Refusal::Withdrawn));
    assert_eq!(stage.withdraw(&TEACHER, id, at(62)), Err(Refusal::Withdrawn));
    stage.invite(&TEACHER, id, at(63)).unwrap();
    stage.withdraw(&VIEWER, id, at(64)).unwrap();
    assert_eq!(stage.accept(&VIEWER, id, at(64)), Err(Refusal::Declined));
    assert_eq!(stage.me(&VIEWER, at(64)).unwrap().state, Place::Audience, "and the hand is down");
    // Inviting again, without a hand, is the teacher's to do; it renews the time.
    stage.invite(&TEACHER, id, at(70)).unwrap();
    stage.invite(&TEACHER, id, at(100)).unwrap();
    stage.tick(at(150));
    stage.accept(&VIEWER, id, at(150)).unwrap();
}

#[test]
fn only_teachers_decide_and_nobody_acts_for_another() {
    let (mut stage, teacher) = class();
    let id = called_up(&mut stage, &VIEWER, at(0));
    for who in [VIEWER, OTHER, SPEAKER] {
        assert_eq!(stage.invite(&who, id, at(0)), Err(Refusal::NotTeacher));
        assert_eq!(stage.change(&who, Change::default()), Err(Refusal::NotTeacher));
        assert_eq!(stage.may_end(&who), Err(Refusal::NotTeacher));
        assert_eq!(stage.hands(&who, at(0), 0), Err(Refusal::NotTeacher));
        assert_eq!(stage.delete_message(&who, 1), Err(Refusal::NotTeacher));
        assert_eq!(stage.set_chat(&who, None, None), Err(Refusal::NotTeacher));
        assert_eq!(stage.remove(&who, teacher, at(0)), Err(Refusal::NotYours));
        assert_eq!(stage.mute(&who, teacher, true, at(0)), Err(Refusal::NotYours));
    }
    for who in [OTHER, TEACHER] {
        assert_eq!(stage.accept(&who, id, at(0)), Err(Refusal::NotYours));
    }
    assert_eq!(stage.lower(&OTHER, id, at(0)), Err(Refusal::NotYours));
    assert_eq!(stage.withdraw(&OTHER, id, at(0)), Err(Refusal::NotYours));
    let nobody = PersonId::new(7);
    assert_eq!(stage.invite(&TEACHER, nobody, at(0)), Err(Refusal::UnknownPerson));
    assert_eq!(stage.remove(&TEACHER, nobody, at(0)), Err(Refusal::UnknownPerson));
    assert_eq!(stage.raise(&TEACHER, at(0)), Err(Refusal::NeedsNone));
    assert_eq!(stage.invite(&TEACHER, teacher, at(0)), Err(Refusal::NeedsNone));
}

#[test]
fn who_was_removed_stays_away_until_called_up_again() {
    let (mut stage, _) = class();
    let id = stage.may_publish(&SPEAKER, at(1)).unwrap();
    stage.joined(id, MediaKind::Camera, SourceId(2), at(1)).unwrap();
    stage.speaks(Some(id));
    stage.change(&TEACHER, Change { pinned: Some(Some(id)), ..Change::default() }).unwrap();
    assert_eq!(stage.orders().unwrap().gone.len(), 0);
    stage.remove(&TEACHER, id, at(2)).unwrap();
    assert_eq!(Vec::from_iter(stage.orders().unwrap().gone), [id]);
    let shown = stage.public();
    assert_eq!((shown.people.len(), shown.speaker, shown.pinned), (1, None, None));
    stage.remove(&TEACHER, id, at(2)).unwrap();
    assert_eq!(stage.orders().unwrap().gone.len(), 0, "said once");
    assert_eq!(stage.may_publish(&SPEAKER, at(3)), Err(Refusal::Removed));
    assert_eq!(stage.joined(id, MediaKind::Camera, SourceId(3), at(3)), Err(Refusal::Removed));
    stage.left(SourceId(2), at(3));
    called_up(&mut stage, &SPEAKER, at(4));
    assert_eq!(stage.may_publish(&SPEAKER, at(4)), Err(Refusal::Removed), "not by being asked");
    stage.accept(&SPEAKER, id, at(5)).unwrap();
    assert_eq!(stage.may_publish(&SPEAKER, at(5)), Ok(id));
    // Stepping down is not being removed.
    stage.remove(&SPEAKER, id, at(6)).unwrap();
    assert_eq!(stage.may_publish(&SPEAKER, at(6)), Ok(id));
}

#[test]
fn a_locked_stage_takes_only_whom_the_teacher_calls() {
    let (mut stage, _) = class();
    let speaker = stage.may_publish(&SPEAKER, at(0)).unwrap();
    stage.joined(speaker, MediaKind::Camera, SourceId(2), at(0)).unwrap();
    let waiting = called_up(&mut stage, &VIEWER, at(0));
    stage.change(&TEACHER, Change { locked: Some(true), ..Change::default() }).unwrap();
    assert_eq!(stage.raise(&OTHER, at(1)), Err(Refusal::Locked));
    let late = Who { sub: "late", ..SPEAKER };
    assert_eq!(stage.may_publish(&late, at(1)), Err(Refusal::Locked));
    stage.accept(&VIEWER, waiting, at(1)).unwrap();
    // Who is there may lose the connection and come back.
    stage.left(SourceId(2), at(1));
    assert_eq!(stage.may_publish(&SPEAKER, at(2)), Ok(speaker));
    stage.change(&TEACHER, Change { locked: Some(false), ..Change::default() }).unwrap();
    assert!(stage.may_publish(&late, at(3)).is_ok());
}

#[test]
fn a_full_stage_keeps_a_place_for_its_teacher() {
    let mut stage = stage();
    stage.opened();
    let speakers: Vec<String> = (0..4).map(|n| format!("speaker {n}")).collect();
    for (n, sub) in speakers.iter().enumerate() {
        let who = Who { sub, ..SPEAKER };
        let outcome = stage.may_publish(&who, at(0)).and_then(|id| {
            stage.joined(id, MediaKind::Camera, SourceId(n as u32), at(0)).map(|_| ())
        });
        assert_eq!(outcome, if n < 3 { Ok(()) } else { Err(Refusal::StageFull) }, "{n}");
    }
    let teacher = stage.may_publish(&TEACHER, at(1)).unwrap();
    assert!(stage.joined(teacher, MediaKind::Camera, SourceId(9), at(1)).is_ok());
    let (id, _) = stage.raise(&VIEWER, at(1)).unwrap();
    assert_eq!(stage.invite(&TEACHER, id, at(1)), Err(Refusal::StageFull));
    stage.left(SourceId(1), at(2));
    stage.tick(at(122));
    stage.invite(&TEACHER, id, at(122)).unwrap();
    stage.accept(&VIEWER, id, at(122)).unwrap();
}

#[test]
fn a_place_without_a_connection_is_kept_for_a_while() {
    let (mut stage, _) = class();
    let id = admitted(&mut stage, &VIEWER, at(0));
    stage.joined(id, MediaKind::Camera, SourceId(2), at(1)).unwrap();
    stage.tick(at(1000));
    assert_eq!(stage.counts().0, 2, "connected is not absent");
    stage.joined(id, MediaKind::Camera, SourceId(3), at(1000)).unwrap();
    stage.left(SourceId(2), at(1001));
    assert!(stage.public().people[1].camera, "the newer connection took its place");
    stage.left(SourceId(3), at(1002));
    assert!(!stage.public().people[1].camera);
    stage.tick(at(1121));
    assert_eq!(stage.may_publish(&VIEWER, at(1121)), Ok(id));
    stage.tick(at(1122));
    assert_eq!(stage.may_publish(&VIEWER, at(1122)), Err(Refusal::NotAdmitted));
    assert_eq!(Vec::from_iter(stage.orders().unwrap().gone), [id], "who only watched the others");
}

#[test]
fn a_microphone_that_the_teacher_closed_opens_by_the_teacher_alone() {
    let (mut stage, teacher) = class();
    let id = admitted(&mut stage, &VIEWER, at(0));
    assert_eq!(stage.mute(&TEACHER, id, true, at(0)), Ok(()));
    stage.joined(id, MediaKind::Camera, SourceId(2), at(0)).unwrap();
    stage.mute(&VIEWER, id, true, at(0)).unwrap();
    assert_eq!(stage.mute(&VIEWER, id, false, at(0)), Err(Refusal::MutedByTeacher));
    assert!(stage.wire().seats[1].muted);
    assert_eq!(Vec::from_iter(stage.orders().unwrap().muted), [id]);
    stage.mute(&TEACHER, id, false, at(0)).unwrap();
    stage.mute(&VIEWER, id, true, at(0)).unwrap();
    stage.mute(&VIEWER, id, false, at(0)).unwrap();
    stage.mute(&TEACHER, teacher, true, at(0)).unwrap();
    stage.mute(&TEACHER, teacher, false, at(0)).unwrap();
    stage.remove(&VIEWER, id, at(0)).unwrap();
    assert_eq!(stage.mute(&TEACHER, id, true, at(0)), Err(Refusal::NotOnStage));
}

#[test]
fn the_end_of_a_class_is_the_end_for_everybody() {
    let (mut stage, _) = class();
    let id = admitted(&mut stage, &VIEWER, at(0));
    stage.raise(&OTHER, at(0)).unwrap();
    assert_eq!(stage.may_end(&TEACHER), Ok(()));
    stage.ended(at(1));
    assert_eq!(stage.may_end(&TEACHER), Err(Refusal::NoClass));
    assert_eq!((stage.counts(), stage.phase()), ((0, 0), Phase::Over { led: true }));
    assert_eq!(stage.may_publish(&VIEWER, at(1)), Err(Refusal::NotAdmitted));
    assert_eq!(
        stage.joined(id, MediaKind::Camera, SourceId(2), at(1)),
        Err(Refusal::UnknownPerson)
    );
    // A speaker's page that connects again by itself does not undo the end; a teacher begins anew.
    assert_eq!(stage.may_publish(&SPEAKER, at(1)), Err(Refusal::ClassOver));
    let teacher = stage.may_publish(&TEACHER, at(1)).unwrap();
    assert_eq!(stage.invite(&TEACHER, teacher, at(1)), Err(Refusal::NoClass));
    stage.opened();
    assert!(stage.may_publish(&SPEAKER, at(1)).is_ok());
    stage.ended(at(2));
    assert!(stage.may_publish(&SPEAKER, at(2)).is_ok(), "nobody had led it");
}

#[test]
fn a_speaker_may_open_a_class_and_reopen_one_that_is_forgotten() {
    let mut stage = stage();
    let id = stage.may_publish(&SPEAKER, at(0)).unwrap();
    assert_eq!(stage.joined(id, MediaKind::Camera, SourceId(1), at(0)), Err(Refusal::NoClass));
    stage.opened();
    let joined = stage.joined(id, MediaKind::Camera, SourceId(1), at(0)).unwrap();
    assert!(!joined.leads);
    let (mut led, _) = class();
    led.ended(at(1));
    led.forgotten();
    assert!(led.may_publish(&SPEAKER, at(600)).is_ok());
}

#[test]
fn hands_and_guests_are_counted() {
    let mut stage = stage();
    for _ in 0..HAND_BURST {
        let (id, _) = stage.raise(&VIEWER, at(0)).unwrap();
        stage.lower(&VIEWER, id, at(0)).unwrap();
    }
    assert_eq!(stage.raise(&VIEWER, at(0)), Err(Refusal::TooFast { wait_s: 5 }));
    let address = "192.0.2.1".parse().unwrap();
    let guests = (0..200).filter(|_| stage.guest("Foo", address, at(0)).is_ok()).count();
    assert_eq!(guests, 100);
    assert_eq!(stage.guest("Foo", address, at(0)), Err(Refusal::AddressBusy { wait_s: 1 }));
    let elsewhere = stage.guest(" Foo\u{202e} ", "192.0.2.2".parse().unwrap(), at(0)).unwrap();
    assert_eq!(elsewhere.name, "Foo");
    let subs: Vec<String> = (0..300).map(|n| format!("guest {n}")).collect();
    let up = subs.iter().map(|sub| stage.raise(&Who { sub, ..OTHER }, at(100)));
    let refused = up.filter_map(Result::err).next();
    assert_eq!(refused, Some(Refusal::RoomBusy { wait_s: 1 }));
    let closed = Config { guests: false, max_hands: 1, ..Config::default() };
    let mut stage = Stage::new(Arc::new(closed), 4, 1);
    assert_eq!(stage.guest("Foo", address, at(0)), Err(Refusal::NoGuests));
    stage.raise(&VIEWER, at(0)).unwrap();
    assert_eq!(stage.raise(&OTHER, at(0)), Err(Refusal::HandsFull));
}

#[test]
fn a_room_forgets_whoever_was_quiet_longest_and_never_the_busy() {
    let config = Config { max_people: 64, room_rate: 10_000, ..Config::default() };
    let mut stage = Stage::new(Arc::new(config), 4, 1);
    let subs: Vec<String> = (0..200).map(|n| format!("viewer {n}")).collect();
    let who = |n: usize| Who { sub: &subs[n], role: Role::Viewer, name: None };
    let (hand, _) = stage.raise(&who(0), at(0)).unwrap();
    let early = stage.known(&who(1), at(1)).unwrap();
    for n in 2..100 {
        stage.known(&who(n), at(n as i64)).unwrap();
    }
    assert!(stage.people.len() <= 64 && stage.people.len() == stage.ids.len());
    assert_eq!(stage.known(&who(0), at(100)), Ok(hand));
    assert_ne!(stage.known(&who(1), at(100)), Ok(early), "somebody new by now");
    let mut full = Ok(());
    for n in 0..200 {
        full = full.and(stage.raise(&who(n), at(200)).map(|_| ()));
    }
    assert_eq!(full, Err(Refusal::RoomFull));
}

#[test]
fn names_are_the_newest_that_were_said_and_roles_the_highest() {
    let (mut stage, teacher) = class();
    stage.known(&Who { name: Some(" \n"), ..TEACHER }, at(0)).unwrap();
    stage.known(&Who { name: Some("Dr\tFoo"), role: Role::Viewer, ..TEACHER }, at(0)).unwrap();
    let shown = stage.public();
    assert_eq!((shown.people[0].name.as_str(), shown.people[0].role), ("Dr Foo", "teacher"));
    assert_eq!(shown.people[0].id, teacher);
    let json = serde_json::to_value(&shown).unwrap();
    assert!(!json.to_string().contains("\"teacher\":") && !json.to_string().contains("sub"));
}

#[tokio::test]
async fn the_registry_tells_of_changes_once_and_serves_one_body() {
    let rooms = ["bar", "foo"].map(|name| RoomName::parse(name).unwrap());
    let stages = Stages::new(rooms.clone(), &Config::default(), 4);
    let first = stages.shown(&rooms[0], at(0)).unwrap();
    assert_eq!(stages.shown(&rooms[0], at(1)), Some(first.clone()));
    let id = stages.with(&rooms[0], at(1), |stage| stage.raise(&VIEWER, at(1))).unwrap().unwrap().0;
    assert_eq!(stages.changed().await, [rooms[0].clone()]);
    let second = stages.shown(&rooms[0], at(1)).unwrap();
    assert_ne!((&first.etag, &first.body), (&second.etag, &second.body));
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(1), stages.changed()).await;
    assert!(quiet.is_err(), "asking is no change");
    stages.with(&rooms[0], at(1), Stage::opened);
    stages.with(&rooms[0], at(1), |stage| stage.invite(&TEACHER, id, at(1))).unwrap().unwrap();
    assert_eq!(stages.changed().await, [rooms[0].clone()]);
    let orders = stages.orders(&rooms[0]).unwrap();
    assert_eq!((orders.class, orders.picture), (1, wire::Stage::default()));
    assert_eq!(stages.orders(&rooms[1]), None, "no class, no picture");
    stages.tick(at(100));
    assert_eq!(stages.changed().await, [rooms[0].clone()], "an invitation ran out");
    assert!(stages.shown(&RoomName::parse("nowhere").unwrap(), at(0)).is_none());
    let counts: Vec<_> = stages.counts().map(|(room, counts)| (room.as_str(), counts)).collect();
    assert_eq!(counts, [("bar", (0, 1)), ("foo", (0, 0))]);
}

use crate::time::RoomName;

/// Short spans, so that random walks meet every end of them.
fn hasty() -> Config {
    Config {
        max_people: 64,
        max_hands: 3,
        invitation: Span::secs(5),
        absence: Span::secs(5),
        hand_every: Span::secs(1),
        ..Config::default()
    }
}
