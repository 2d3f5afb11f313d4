//! A supervisor and real child processes. The child is this test program itself, started again with
//! a script in its environment: see [`fake::transcoder`].

#![allow(clippy::unwrap_used)]

mod fake;

use super::*;
use crate::link::ring::{Record, RtpRecord};
use crate::link::wire::Seat;
use crate::time::{HostTime, PersonId, SourceCodec, SourceId};
use crate::units::Span;
use std::time::Duration;

/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

struct Class {
    transcoder: Transcoder,
    ring: RingWriter,
    events: mpsc::Receiver<Event>,
    // Counts the transcoders started; gone with the class.
    _lives: tempfile::NamedTempFile,
}

impl Class {
    /// A class whose transcoders follow `script`: one line a life, the last line for all that follow.
    fn new(script: &str, config: &Config) -> Self {
        let lives = tempfile::NamedTempFile::new().unwrap();
        let (transcoder, ring, events) =
            Transcoder::spawn(fake::launch(script, lives.path()), fake::start(), config).unwrap();
        Self { transcoder, ring, events, _lives: lives }
    }

    async fn event(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time")
    }

    /// The next event as one word.
    async fn word(&mut self) -> String {
        match self.event().await {
            None => "closed".into(),
            Some(Event::Begin(presentation)) => format!("begin {}", presentation.zero.0),
            Some(Event::Part(part, bytes)) => {
                let text = |f: &crate::link::wire::Fragment| {
                    String::from_utf8_lossy(&bytes[f.offset as usize..][..f.len as usize])
                        .into_owned()
                };
                let texts: Vec<_> = part.fragments.iter().map(text).collect();
                assert!(
                    texts.iter().all(|t| *t == format!("{}.{}", part.msn, part.part)),
                    "{texts:?}"
                );
                format!("{}.{}", part.msn, part.part)
            }
            Some(Event::KeyframeWanted(track)) => format!("key {}", track.0),
            Some(Event::RungDropped { rendition, reason }) => {
                format!("dropped {rendition} {reason}")
            }
            Some(Event::Figures(figures)) => {
                format!("figures {} {}", figures.frames_decoded, figures.packets_lost)
            }
            Some(Event::Died { cause, status, restarting_in }) => {
                let again =
                    restarting_in.map_or("never".into(), |d| format!("{} ms", d.as_millis()));
                format!("died {}: {status}; {again}", cause.as_str())
            }
            Some(Event::Ended) => "ended".into(),
        }
    }

    async fn words(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.word().await);
        }
        all
    }

    /// Tells it to stop and hears the rest.
    async fn rest(&mut self, patience: Duration) -> Vec<String> {
        self.transcoder.stop(patience);
        let mut all = Vec::new();
        loop {
            match self.word().await {
                word if word == "closed" => return all,
                word => all.push(word),
            }
        }
    }
}

fn packet(seq: u64, keyframe: bool, payload: &[u8]) -> Record<'_> {
    Record::Rtp(RtpRecord {
        source: SourceId(1),
        track: TrackId(2),
        codec: SourceCodec::Vp8,
        keyframe,
        marker: false,
        layer: 0,
        seq,
        timestamp: 3000 * seq as u32,
        arrived: HostTime(1000 * seq as i64),
        payload,
    })
}

#[tokio::test]
async fn a_class_runs_and_ends_in_good_order() {
    let mut class = Class::new("begin part part key part stop", &Config::default());
    assert_eq!(class.words(5).await, ["begin 1000", "0.0", "0.1", "key 7", "0.2"]);
    assert!(class.transcoder.counters().pid().is_some());
    // "stop" makes one more part when told to.
    assert_eq!(class.rest(PATIENCE).await, ["1.0", "ended"]);
    assert_eq!(class.transcoder.counters().spawned(), 1);
    assert_eq!(class.transcoder.counters().deaths(), 0);
}

#[tokio::test]
async fn a_crash_costs_no_part_and_repeats_none() {
    let script = "begin part part abort\nbegin part abort\nbegin abort\nbegin part part part stop";
    let mut class = Class::new(script, &Config::default());
    assert_eq!(
        class.words(10).await,
        [
            "begin 1000",
            "0.0",
            "0.1",
            "died exit: killed by SIGABRT; 100 ms",
            "1.0", // the open segment is closed short, a new one begins
            "died exit: killed by SIGABRT; 200 ms",
            "died exit: killed by SIGABRT; 400 ms",
            "2.0",
            "2.1",
            "2.2",
        ]
    );
    assert_eq!(class.transcoder.counters().deaths(), 3);
}

#[tokio::test]
async fn what_was_said_before_the_first_part_is_unsaid_by_a_crash() {
    let script = "begin key drop:0 abort\nbegin:2000 drop:0 part stop";
    let mut class = Class::new(script, &Config::default());
    let words = class.words(5).await;
    assert_eq!(words[0], "key 7");
    assert_eq!(words[1], "died exit: killed by SIGABRT; 100 ms");
    assert_eq!(words[2..], ["begin 2000", "dropped 0 test", "0.0"]);
    class.rest(PATIENCE).await;
}

#[tokio::test]
async fn a_successor_is_told_what_it_must_know() {
    // "told" says, as figures: next_msn and the number of failures; "dropped" the dropped rungs.
    let script = "begin part drop:0 part abort\nexit:3\nexit:4\nbegin told dropped part stop";
    let mut class = Class::new(script, &Config::default());
    let words = class.words(9).await;
    assert_eq!(
        words,
        [
            "begin 1000",
            "0.0",
            "dropped 0 test",
            "0.1",
            "died exit: killed by SIGABRT; 100 ms",
            "died exit: exit code 3; 200 ms",
            "died exit: exit code 4; 400 ms",
            "figures 1 2",
            "figures 1 0",
        ]
    );
    assert_eq!(class.word().await, "1.0");
    class.rest(PATIENCE).await;
}

#[tokio::test]
async fn a_successor_is_told_the_newest_stage() {
    // The first one crashes when it reads a record, which is written after the stage was set.
    let script = "begin part seats read:1 abort\nbegin seats part stop";
    let mut class = Class::new(script, &Config::default());
    assert_eq!(class.words(3).await, ["begin 1000", "0.0", "figures 0 0"]);
    let seat = Seat {
        person: PersonId::new(1),
        name: "Ada".into(),
        camera: None,
        screen: None,
        muted: false,
    };
    class.transcoder.set_stage(Stage { seats: vec![seat], ..Stage::default() });
    class.ring.push(&packet(1, true, &[1; 1000])).unwrap();
    class.ring.notify();
    let words = class.words(4).await;
    assert_eq!(words[..1], ["figures 1 0"], "what it read");
    assert!(words[1].starts_with("died"), "{words:?}");
    assert_eq!(words[2..], ["figures 1 0", "1.0"], "one seat");
    class.rest(PATIENCE).await;
}

#[tokio::test]
async fn a_hung_transcoder_is_killed() {
    let config = Config { next_part: Span::millis(300), ..Config::default() };
    let mut class = Class::new("begin part hang\nbegin part stop", &config);
    assert_eq!(class.words(2).await, ["begin 1000", "0.0"]);
    let died = class.word().await;
    assert!(died.starts_with("died hang: hung: no part 0."), "{died}");
    assert!(died.ends_with("s after its last part; 100 ms"), "{died}");
    assert_eq!(class.word().await, "1.0");
    assert_eq!(class.transcoder.counters().hangs(), 1);
    class.rest(PATIENCE).await;
}

#[tokio::test]
async fn a_transcoder_without_input_may_wait_and_with_input_may_not() {
    let config = Config { first_part: Span::millis(300), ..Config::default() };
    let mut class = Class::new("hang", &config);
    let silence = tokio::time::timeout(Duration::from_millis(900), class.events.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    class.ring.push(&packet(1, false, b"sound")).unwrap();
    class.ring.notify();
    let died = class.word().await;
    assert!(died.starts_with("died hang: hung: no part 0."), "{died}");
    assert!(died.ends_with("s after its first input; 100 ms"), "{died}");
}

#[tokio::test]
async fn liars_are_killed_and_counted() {
    let lies = [
        ("noise", "not a Proscenium link message (first bytes [6e, 6f])"),
        (
            "version",
            "link protocol version 9, this program speaks 3: daemon and transcoder must be the same build",
        ),
        ("empty-part", "a part without its memory"),
        ("file", "not plain shared memory: it cannot carry seals"),
        ("fd-with-key", "memory with something that is no part"),
        ("beyond", "a fragment beyond the end of its memory"),
        ("rendition", "a fragment of a rendition that does not exist"),
        ("again", "a part out of order"),
        ("skip", "a part out of order"),
        ("zero", "a resume point on another timeline"),
        ("begin", "a second Begin"),
        ("hello", "a wrong Hello"),
        ("drop:2", "a rung dropped that does not exist"),
        ("drop-all", "the last rung dropped"),
    ];
    for (lie, words) in lies {
        let mut class =
            Class::new(&format!("begin part {lie} hang\nbegin part stop"), &Config::default());
        assert_eq!(class.words(2).await, ["begin 1000", "0.0"], "{lie}");
        let mut died = class.word().await;
        while died.starts_with("dropped") {
            died = class.word().await; // what was right before it went wrong
        }
        assert_eq!(
            died.strip_suffix("; 100 ms"),
            Some(&*format!("died lie: broke the rules of the link: {words}"))
        );
        assert_eq!(class.word().await, "1.0", "{lie}");
        assert_eq!(class.transcoder.counters().lies(), 1);
        assert_eq!(class.rest(PATIENCE).await.last().map(String::as_str), Some("ended"));
    }
}

#[tokio::test]
async fn a_successor_that_promises_something_else_is_a_liar() {
    let mut class =
        Class::new("begin part abort\nbegin:5 hang\nbegin part stop", &Config::default());
    let words = class.words(5).await;
    assert_eq!(
        words[3],
        "died lie: broke the rules of the link: another Begin than its predecessor's; 200 ms"
    );
    assert_eq!(words[4], "1.0");
}

#[tokio::test]
async fn an_end_that_nobody_asked_for_is_a_death() {
    let mut class =
        Class::new("begin part end\nbegin part exit:0\nbegin part stop", &Config::default());
    let words = class.words(6).await;
    assert_eq!(words[2], "died exit: ended without being told to; 100 ms");
    assert_eq!(words[4], "died exit: ended without being told to; 200 ms");
    assert_eq!(words[5], "2.0");
}

#[tokio::test]
async fn one_that_does_not_stop_is_killed() {
    let mut class = Class::new("begin part deaf", &Config::default());
    assert_eq!(class.words(2).await, ["begin 1000", "0.0"]);
    let rest = class.rest(Duration::from_millis(300)).await;
    assert_eq!(rest, ["died slow: did not stop in time and was killed; never", "ended"]);
}

#[tokio::test]
async fn one_that_crashes_while_stopping_is_not_started_again() {
    let mut class = Class::new("begin part crash-on-stop", &Config::default());
    assert_eq!(class.words(2).await, ["begin 1000", "0.0"]);
    assert_eq!(class.rest(PATIENCE).await, ["died exit: killed by SIGABRT; never", "ended"]);
}

#[tokio::test]
async fn a_class_can_end_between_two_transcoders() {
    let config =
        Config { backoff: Span::secs(10), backoff_max: Span::secs(10), ..Config::default() };
    let mut class = Class::new("abort", &config);
    assert_eq!(class.word().await, "died exit: killed by SIGABRT; 10000 ms");
    assert_eq!(class.rest(PATIENCE).await, ["ended"]);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_said_and_tried_again() {
    let launch = Launch { exe: "/nowhere".into(), args: vec!["x".into()], env: vec![] };
    let (transcoder, _ring, mut events) =
        Transcoder::spawn(launch, fake::start(), &Config::default()).unwrap();
    for pause in [100, 200] {
        let Some(Event::Died { cause: Cause::Spawn, status, restarting_in }) = events.recv().await
        else {
            panic!()
        };
        assert_eq!(status, "starting /nowhere: execute it: No such file or directory (os error 2)");
        assert_eq!(restarting_in, Some(Duration::from_millis(pause)));
    }
    assert_eq!(transcoder.counters().spawned(), 0);
}

#[tokio::test]
async fn dropping_the_handle_kills_the_process() {
    let mut class = Class::new("begin part deaf", &Config::default());
    class.words(2).await;
    let pid = class.transcoder.counters().pid().unwrap();
    drop(class.transcoder);
    while class.events.recv().await.is_some() {}
    gone(pid).await;
}

#[tokio::test]
async fn when_nobody_listens_any_more_the_process_is_killed() {
    let mut class = Class::new("begin part deaf", &Config::default());
    class.words(2).await;
    let pid = class.transcoder.counters().pid().unwrap();
    drop(class.events);
    gone(pid).await;
}

/// Waits until there is no process `pid`, or it is no child of ours any more.
async fn gone(pid: u32) {
    let stat = format!("/proc/{pid}");
    let until = Instant::now() + PATIENCE;
    // There is no event for the end of a process that another thread reaps.
    while std::path::Path::new(&stat).exists() {
        assert!(Instant::now() < until, "the process lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_listen_loses_nothing() {
    let script = format!("begin {} stop", "part ".repeat(400));
    let config = Config { next_part: Span::secs(1), ..Config::default() };
    let mut class = Class::new(&script, &config);
    assert_eq!(class.word().await, "begin 1000");
    // The transcoder is stuck on its full socket by now, which is not its fault.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for i in 0..400 {
        assert_eq!(class.word().await, format!("{}.{}", i / 3, i % 3));
    }
    assert_eq!(class.rest(PATIENCE).await, ["134.0", "ended"]);
}

#[tokio::test]
async fn records_reach_the_transcoder_and_outlive_it() {
    // "read:N" waits for records with sequence numbers up to N, and says how many it saw, and lost.
    let mut class = Class::new("read:500 abort\nread:1000 stop", &Config::default());
    for seq in 1..=500 {
        class.ring.push(&packet(seq, seq % 100 == 1, &[seq as u8; 1000])).unwrap();
    }
    class.ring.notify();
    assert_eq!(class.word().await, "figures 500 0");
    assert_eq!(class.word().await, "died exit: killed by SIGABRT; 100 ms");
    for seq in 501..=1000 {
        class.ring.push(&packet(seq, seq % 100 == 1, &[seq as u8; 1000])).unwrap();
        if seq % 50 == 0 {
            class.ring.notify();
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(class.word().await, "figures 1000 0");
    class.rest(PATIENCE).await;
}

/// Descriptors can only be counted in a process where no other test runs: so in another one.
#[test]
fn no_descriptor_is_left_after_many_deaths() {
    let status = fake::again("link::supervise::tests::count_descriptors").status().unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "started by no_descriptor_is_left_after_many_deaths in a process of its own"]
fn count_descriptors() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let config = Config {
            backoff: Span::millis(10),
            backoff_max: Span::millis(10),
            ..Config::default()
        };
        let mut before = 0;
        for round in 0..4 {
            // Parts are let go at once; each life ends in another way.
            let mut class = Class::new(
                "begin part abort\nbegin part beyond\nbegin part file\nbegin part exit:1\nstop",
                &config,
            );
            let mut deaths = 0;
            while deaths < 4 {
                if class.word().await.starts_with("died") {
                    deaths += 1;
                }
            }
            class.rest(PATIENCE).await;
            let Class { transcoder, ring, .. } = class;
            drop(ring);
            transcoder.stopped(PATIENCE).await;
            // The first round makes what a process keeps: the spawner, the reactor's own.
            if round == 0 {
                before = count();
            }
        }
        let until = Instant::now() + PATIENCE;
        // Killed processes are reaped by another thread.
        while count() > before {
            assert!(
                Instant::now() < until,
                "{} descriptors, {before} after the first round",
                count()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Waits until `count` is 1; the counters are written by another task.
async fn until_one(count: impl Fn() -> u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while count() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "still none");
        tick.tick().await;
    }
    assert_eq!(count(), 1);
}

const THIRTEEN: &str = "part part part part part part part part part part part part part";

#[tokio::test]
async fn a_spare_takes_over_at_once() {
    let script = format!("begin {THIRTEEN} stop\ntold begin part part stop");
    let mut class = Class::new(&script, &Config::default());
    assert_eq!(class.words(14).await[13], "4.0");
    let counters = Arc::clone(class.transcoder.counters());
    until_one(|| counters.spares()).await;
    assert_eq!(counters.spawned(), 1, "it is at no work yet");
    let pid = counters.pid().unwrap().to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    assert_eq!(
        class.words(4).await,
        [
            "died exit: killed by SIGKILL; 0 ms",
            "figures 5 0", // told where to go on: in segment 5
            "5.0",
            "5.1",
        ]
    );
    assert_ne!(counters.pid().unwrap().to_string(), pid);
    assert_eq!(class.rest(PATIENCE).await, ["6.0", "ended"]);
}

#[tokio::test]
async fn a_spare_that_dies_is_no_matter() {
    let script = format!("begin {THIRTEEN} stop\nbroken-spare\nbegin part stop");
    let mut class = Class::new(&script, &Config::default());
    class.words(14).await;
    let counters = Arc::clone(class.transcoder.counters());
    until_one(|| counters.spares_lost()).await;
    assert_eq!((counters.spares(), counters.deaths()), (0, 0));
    assert_eq!(class.rest(PATIENCE).await, ["5.0", "ended"]);
}

#[tokio::test]
async fn without_a_spare_none_is_started() {
    let script = format!("begin {THIRTEEN} abort\nbegin part stop");
    let config = Config { spare: false, ..Config::default() };
    let mut class = Class::new(&script, &config);
    class.words(14).await;
    assert_eq!(class.words(2).await, ["died exit: killed by SIGABRT; 100 ms", "5.0"]);
    assert_eq!(class.transcoder.counters().spares(), 0);
}
