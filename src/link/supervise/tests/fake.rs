//! A transcoder that does what a script says: makes parts of a few bytes, crashes, lies, hangs.

use crate::link::child::{Child, Task};
use crate::link::ring::Record;
use crate::link::supervise::Launch;
use crate::link::wire::{
    self, Figures, Fragment, FromTranscoder, Part, Presentation, Rendition, Resume, Rung, Start,
    samples,
};
use crate::time::{Bitrate, HostTime, MediaTime, TrackId};
use hw::memory::sealed;
use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SCRIPT: &str = "FAKE_SCRIPT";
const LIVES: &str = "FAKE_LIVES";
const PATIENCE: Duration = Duration::from_secs(20);

/// How to start one.
pub(super) fn launch(script: &str, lives: &Path) -> Launch {
    let args = [
        "fake",
        "--exact",
        "link::supervise::tests::fake::transcoder",
        "--ignored",
        "--nocapture",
        "--quiet",
    ];
    Launch {
        exe: std::env::current_exe().unwrap(),
        args: args.iter().map(Into::into).collect(),
        env: vec![(SCRIPT.into(), script.into()), (LIVES.into(), lives.into())],
    }
}

/// What it is told to make: two rungs.
pub(super) fn start() -> Start {
    let mut start = samples::start();
    let second =
        Rung { name: "h264-240".into(), width: 426, height: 240, ..start.rungs[0].clone() };
    start.rungs.push(second);
    start
}

/// This test program again, to run one ignored test alone.
pub(super) fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command
}

#[test]
#[ignore = "a child process of the tests beside it"]
fn transcoder() {
    let script = std::env::var(SCRIPT).unwrap();
    let mut lives = std::fs::File::options()
        .append(true)
        .read(true)
        .open(std::env::var(LIVES).unwrap())
        .unwrap();
    let life = lives.metadata().unwrap().len() as usize;
    lives.write_all(b"x").unwrap();
    let lines: Vec<_> = script.lines().collect();
    let line = lines[life.min(lines.len() - 1)];
    let (mut child, ring, task) = Child::from_inherited_fds(PATIENCE).unwrap();
    let start = match task {
        Task::Make(start) => *start,
        Task::Prepare(_) if line == "broken-spare" => std::process::abort(),
        Task::Prepare(start) => {
            let told = child.ready().unwrap();
            assert_eq!((&told.rungs, &told.format), (&start.rungs, &start.format));
            told
        }
    };
    let mut fake =
        Fake { child, ring, start, presentation: None, msn: 0, part: 0, seen: 0, lost: 0 };
    fake.msn = fake.start.resume.as_ref().map_or(0, |r| r.next_msn);
    for word in line.split_whitespace() {
        let (verb, argument) = word.split_once(':').unwrap_or((word, ""));
        fake.act(verb, argument.parse().unwrap_or(0));
    }
    std::process::exit(0);
}

struct Fake {
    child: Child,
    ring: crate::link::ring::RingReader,
    start: Start,
    presentation: Option<Presentation>,
    msn: u64,
    part: u32,
    seen: u64,
    lost: u64,
}

impl Fake {
    fn act(&mut self, verb: &str, n: i64) {
        let send = |message: FromTranscoder| self.child.send(&message).unwrap();
        match verb {
            "begin" => self.begin(if n == 0 { 1000 } else { n }),
            "part" => self.part(|_| {}),
            "key" => send(FromTranscoder::KeyframeWanted(TrackId(7))),
            "drop" => {
                send(FromTranscoder::RungDropped { rendition: n as u8, reason: "test".into() })
            }
            "told" => {
                let next = self.start.resume.as_ref().map_or(0, |r| r.next_msn);
                self.figures(next, u64::from(self.start.failures));
            }
            "dropped" => {
                self.figures(self.start.dropped.len() as u64, u64::from(self.start.dropped[0]))
            }
            "seats" => self.figures(self.start.stage.seats.len() as u64, 0),
            "read" => self.read(n as u64),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(n as i32),
            "end" => {
                send(FromTranscoder::Ended);
                std::process::exit(0);
            }
            "stop" => {
                self.until_stop();
                if self.presentation.is_some() {
                    (self.msn, self.part) = (self.msn + u64::from(self.part > 0), 0);
                    self.part(|_| {});
                }
                self.child.send(&FromTranscoder::Ended).unwrap();
                std::process::exit(0);
            }
            "crash-on-stop" => {
                self.until_stop();
                std::process::abort();
            }
            "hang" | "deaf" => loop {
                std::thread::park();
            },
            lie => self.lie(lie),
        }
    }

    fn until_stop(&mut self) {
        while !self.child.wait(Duration::from_secs(3600)).unwrap().stop {}
    }

    fn begin(&mut self, zero: i64) {
        let rendition = |name: &str, size| Rendition {
            name: name.into(),
            codecs: "avc1.64001f".into(),
            bitrate: Bitrate(96_000),
            size,
            init: vec![1; 800],
        };
        let presentation = Presentation {
            zero: HostTime(zero),
            format: samples::FORMAT,
            renditions: vec![
                rendition("h264-360", Some((640, 360))),
                rendition("h264-240", Some((426, 240))),
                rendition("audio", None),
            ],
        };
        self.child.send(&FromTranscoder::Begin(Box::new(presentation.clone()))).unwrap();
        self.presentation = Some(presentation);
    }

    /// The next part, changed by `change`; three make a segment.
    fn part(&mut self, change: impl FnOnce(&mut Part)) {
        let (part, text) = self.next(change);
        self.child
            .send_part(part, &[IoSlice::new(text.as_bytes()), IoSlice::new(text.as_bytes())])
            .unwrap();
    }

    fn next(&mut self, change: impl FnOnce(&mut Part)) -> (Part, String) {
        let text = format!("{}.{}", self.msn, self.part);
        let len = text.len() as u32;
        let fragment = |rendition: u8| Fragment {
            rendition,
            offset: len * u32::from(rendition),
            len,
            duration: MediaTime::from_units(1, 3),
            independent: true,
        };
        let presentation = self.presentation.as_ref().expect("begin comes first");
        let mut part = Part {
            msn: self.msn,
            part: self.part,
            last: self.part == 2,
            start: MediaTime::ZERO,
            arrived: HostTime(1),
            fragments: vec![fragment(0), fragment(1)],
            resume: Resume {
                zero: presentation.zero,
                next_msn: self.msn + 1,
                next_frame: 0,
                next_aac: 0,
                next_sequence: 0,
                clocks: vec![],
                composed: Default::default(),
            },
        };
        change(&mut part);
        (self.msn, self.part) =
            if part.last { (self.msn + 1, 0) } else { (self.msn, self.part + 1) };
        (part, text)
    }

    fn figures(&self, frames_decoded: u64, packets_lost: u64) {
        let figures = Figures { frames_decoded, packets_lost, ..Figures::default() };
        self.child.send(&FromTranscoder::Figures(Box::new(figures))).unwrap();
    }

    /// Reads records until the one with sequence number `last`, and checks each.
    fn read(&mut self, last: u64) {
        let mut newest = 0;
        while newest < last {
            match self.ring.next() {
                Ok(Some(Record::Rtp(packet))) => {
                    assert_eq!(packet.seq, newest + 1);
                    assert!(
                        packet.payload.len() == 1000
                            && packet.payload.iter().all(|&b| b == packet.seq as u8)
                    );
                    newest = packet.seq;
                    self.seen += 1;
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => {
                    self.child.wait(PATIENCE).unwrap();
                }
                Err(_) => self.lost += 1,
            }
        }
        self.figures(self.seen, self.lost);
    }

    fn lie(&mut self, lie: &str) {
        let raw = |child: &Child, bytes: &[u8]| child.sender().deliver(bytes, None).unwrap();
        match lie {
            "noise" => raw(&self.child, b"noise"),
            "version" => raw(&self.child, b"PC\x09\x00\x06"),
            "empty-part" => {
                let (part, _) = self.next(|_| {});
                raw(&self.child, &wire::encode(&FromTranscoder::Part(Box::new(part))).unwrap());
            }
            "file" => {
                let (part, _) = self.next(|_| {});
                let message = wire::encode(&FromTranscoder::Part(Box::new(part))).unwrap();
                let file = std::fs::File::open("/dev/null").unwrap();
                self.child.sender().deliver(&message, Some(file.as_fd())).unwrap();
            }
            "fd-with-key" => {
                let message = wire::encode(&FromTranscoder::KeyframeWanted(TrackId(7))).unwrap();
                let memory = sealed::write(&[IoSlice::new(b"x")]).unwrap();
                self.child.sender().deliver(&message, Some(memory.as_fd())).unwrap();
            }
            "beyond" => self.part(|p| p.fragments[1].len += 1),
            "rendition" => self.part(|p| p.fragments[1].rendition = 3),
            "again" => self.part(|p| p.part -= 1),
            "skip" => self.part(|p| p.part += 1),
            "zero" => self.part(|p| p.resume.zero = HostTime(9)),
            "drop-all" => (0..2).for_each(|n| self.act("drop", n)),
            "hello" => self.child.send(&FromTranscoder::Hello { pid: std::process::id() }).unwrap(),
            other => panic!("no such verb: {other}"),
        }
    }
}
