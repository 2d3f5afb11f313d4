//! Random walks: whatever people do in whatever order, the stage keeps its rules.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
enum Command {
    Raise(usize),
    Lower(usize, usize),
    Invite(usize, usize),
    Withdraw(usize, usize),
    Accept(usize, usize),
    Join(usize, bool),
    Leave(u32),
    Remove(usize, usize),
    Mute(usize, usize, bool),
    Change(usize, Option<bool>, Option<Option<usize>>),
    Speaks(Option<usize>),
    Say(usize),
    Wait(i64),
    Opened,
    Ended,
    Forgotten,
}

/// Two teachers, three speakers, five viewers: more than the stage has places.
const SUBS: [&str; 10] = ["t0", "t1", "s0", "s1", "s2", "v0", "v1", "v2", "v3", "v4"];

fn who(n: usize) -> Who<'static> {
    let role = match n {
        0 | 1 => Role::Teacher,
        2..=4 => Role::Speaker,
        _ => Role::Viewer,
    };
    Who { sub: SUBS[n], role, name: Some(SUBS[n]) }
}

fn command() -> impl Strategy<Value = Command> {
    let n = || 0..SUBS.len();
    // Teachers act more often than chance would have it, or nothing would ever happen.
    let decider = || prop_oneof![3 => 0..1usize, 1 => n()];
    prop_oneof![
        4 => n().prop_map(Command::Raise),
        1 => (decider(), n()).prop_map(|(a, b)| Command::Lower(a, b)),
        6 => (decider(), n()).prop_map(|(a, b)| Command::Invite(a, b)),
        1 => (decider(), n()).prop_map(|(a, b)| Command::Withdraw(a, b)),
        6 => n().prop_map(|a| Command::Accept(a, a)),
        1 => (n(), n()).prop_map(|(a, b)| Command::Accept(a, b)),
        8 => (n(), any::<bool>()).prop_map(|(a, b)| Command::Join(a, b)),
        3 => (0..60u32).prop_map(Command::Leave),
        2 => (decider(), n()).prop_map(|(a, b)| Command::Remove(a, b)),
        1 => (decider(), n(), any::<bool>()).prop_map(|(a, b, c)| Command::Mute(a, b, c)),
        1 => (decider(), any::<Option<bool>>(), prop::option::of(prop::option::of(n())))
            .prop_map(|(a, b, c)| Command::Change(a, b, c)),
        1 => prop::option::of(n()).prop_map(Command::Speaks),
        1 => n().prop_map(Command::Say),
        3 => (0..4000i64).prop_map(Command::Wait),
        2 => Just(Command::Opened),
        1 => Just(Command::Ended),
        1 => Just(Command::Forgotten),
    ]
}

/// What must hold is kept here a second time, in the plainest way.
struct Walk {
    stage: Stage,
    now: HostTime,
    ids: Vec<PersonId>,
    /// Who accepted an invitation and has not left the stage since.
    accepted: BTreeSet<PersonId>,
    /// Who was taken off the stage and has not accepted since.
    removed: BTreeSet<PersonId>,
    sources: u32,
    seen: (u64, String),
}

impl Walk {
    fn new() -> Self {
        let stage = Stage::new(Arc::new(hasty()), 4, 7);
        let mut walk = Self {
            stage,
            now: at(1),
            ids: Vec::new(),
            accepted: BTreeSet::new(),
            removed: BTreeSet::new(),
            sources: 0,
            seen: (0, String::new()),
        };
        walk.learn_ids();
        walk
    }

    fn learn_ids(&mut self) {
        let Self { stage, now, .. } = self;
        self.ids = (0..SUBS.len()).map(|n| stage.known(&who(n), *now).unwrap()).collect();
    }

    fn obey(&mut self, command: Command) {
        let (now, ids) = (self.now, self.ids.clone());
        let stage = &mut self.stage;
        stage.tick(now);
        // A refusal is as good an outcome as any: the rules are checked after both.
        match command {
            Command::Raise(a) => drop(stage.raise(&who(a), now)),
            Command::Lower(a, b) => drop(stage.lower(&who(a), ids[b], now)),
            Command::Invite(a, b) => drop(stage.invite(&who(a), ids[b], now)),
            Command::Withdraw(a, b) => drop(stage.withdraw(&who(a), ids[b], now)),
            Command::Accept(a, b) => {
                if stage.accept(&who(a), ids[b], now).is_ok() {
                    assert_eq!(a, b, "nobody accepts for another");
                    self.accepted.insert(ids[b]);
                    self.removed.remove(&ids[b]);
                }
            }
            Command::Join(a, screen) => {
                let kind = if screen { MediaKind::Screen } else { MediaKind::Camera };
                if let Ok(id) = stage.may_publish(&who(a), now) {
                    self.sources += 1;
                    let joined = stage.joined(id, kind, SourceId(self.sources), now);
                    assert_eq!(joined.is_ok(), matches!(stage.phase(), Phase::Open { .. }));
                }
            }
            Command::Leave(source) => stage.left(SourceId(source), now),
            Command::Remove(a, b) => {
                if stage.remove(&who(a), ids[b], now).is_ok() {
                    self.accepted.remove(&ids[b]);
                    if a != b {
                        self.removed.insert(ids[b]);
                    }
                }
            }
            Command::Mute(a, b, muted) => drop(stage.mute(&who(a), ids[b], muted, now)),
            Command::Change(a, locked, pinned) => {
                let pinned = pinned.map(|pinned| pinned.map(|n| ids[n]));
                let _ = stage.change(&who(a), Change { layout: None, pinned, locked });
            }
            Command::Speaks(n) => stage.speaks(n.map(|n| ids[n])),
            Command::Say(a) => drop(stage.say(&who(a), "hello", now, 0)),
            Command::Wait(ms) => self.now = now.plus_micros(ms * 1000),
            Command::Opened => {
                if !matches!(stage.phase(), Phase::Open { .. }) {
                    stage.opened();
                }
            }
            Command::Ended => {
                stage.ended(now);
                self.accepted.clear();
                self.removed.clear();
                self.learn_ids();
            }
            Command::Forgotten => stage.forgotten(),
        }
    }

    fn check(&mut self) {
        let (stage, now) = (&mut self.stage, self.now);
        stage.tick(now);
        let shown = stage.public();
        let seats: Vec<PersonId> = shown.people.iter().map(|person| person.id).collect();
        // Who gave up a place by absence must be called up again.
        self.accepted.retain(|id| seats.contains(id));

        let distinct: BTreeSet<PersonId> = seats.iter().copied().collect();
        assert_eq!(distinct.len(), seats.len(), "nobody is on stage twice");
        let others = (0..SUBS.len()).filter(|n| !who(*n).is_teacher());
        let others = others.filter(|n| seats.contains(&self.ids[*n])).count();
        assert!(others <= 4, "no more than there are places");
        assert!(shown.hands <= 3 && shown.invited.len() <= MAX_INVITED);
        for n in 0..SUBS.len() {
            let (id, role) = (self.ids[n], who(n).role);
            let there = seats.contains(&id);
            let may = stage.may_publish(&who(n), now);
            if role == Role::Viewer {
                assert_eq!(there, self.accepted.contains(&id), "{n}: by invitation only");
                assert_eq!(may.is_ok(), there);
            }
            if role == Role::Speaker && self.removed.contains(&id) {
                assert!(!there && may == Err(Refusal::Removed), "{n}: removed: {may:?}");
            }
            if may.is_err() {
                assert!(!who(n).is_teacher() && !there);
            }
            let me = stage.me(&who(n), now).unwrap();
            assert_eq!(me.state == Place::Stage, there);
            assert_eq!(me.state == Place::Invited, shown.invited.contains(&id));
        }
        for id in [shown.pinned, shown.speaker].into_iter().flatten() {
            assert!(seats.contains(&id), "pinned and speaking are on stage");
        }
        if !matches!(stage.phase(), Phase::Open { .. }) {
            assert!(shown.invited.is_empty() && seats.is_empty());
        }
        // What goes through the ring keeps the ring's rules.
        let wire = stage.wire();
        assert_eq!(wire::decode::<wire::Stage>(&wire::encode(&wire).unwrap()).unwrap(), wire);
        // Whoever kept what a version looked like need not look again.
        let mut said = serde_json::to_value(&shown).unwrap();
        said["version"] = 0.into();
        let (version, said) = (shown.version, said.to_string());
        assert!(version >= self.seen.0);
        assert!(version != self.seen.0 || said == self.seen.1, "a change that no version tells of");
        self.seen = (version, said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_people_do_the_stage_keeps_its_rules(commands in prop::collection::vec(command(), 1..120)) {
        let mut walk = Walk::new();
        walk.check();
        for command in commands {
            walk.obey(command);
            walk.check();
        }
    }
}

#[test]
fn the_walks_reach_the_places_they_are_for() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..200 {
        let commands = prop::collection::vec(command(), 1..120).new_tree(&mut runner).unwrap();
        let mut walk = Walk::new();
        for command in commands.current() {
            walk.obey(command);
            if !walk.accepted.is_empty() {
                reached.insert("admitted");
            }
            if !walk.removed.is_empty() {
                reached.insert("removed");
            }
            for n in 0..SUBS.len() {
                let id = walk.ids[n];
                let outcomes = [
                    walk.stage.may_publish(&who(n), walk.now).err(),
                    walk.stage.accept(&Who { sub: "stranger", ..who(n) }, id, walk.now).err(),
                ];
                reached.extend(outcomes.into_iter().flatten().map(Refusal::reason));
            }
        }
    }
    let wanted =
        ["admitted", "removed", "not_admitted", "locked", "stage_full", "class_over", "not_yours"];
    for what in wanted {
        assert!(reached.contains(what), "no walk came to: {what}; only to {reached:?}");
    }
}
