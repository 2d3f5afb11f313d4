//! One class: its transcoder, its playlists, its life. A task of its own, fed by bounded queues.

use super::lifecycle::{Action, Lifecycle, Phase};
use crate::link::supervise::{self, Transcoder};
use crate::link::wire::{Figures, Part, Presentation};
use crate::origin::hub::{self, Hub, LivePublisher};
use crate::package::{self, window::WindowError};
use crate::rooms::OpenError;
use crate::rooms::board::{self, Board, State};
use crate::rooms::stage::{Stage, Stages};
use crate::sfu;
use crate::time::{HostTime, RoomName, SourceId};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// What a class is told.
#[derive(Debug)]
pub enum Command {
    /// A publisher wants in. A class that is over hands the request back ([`Notice::Reopen`]).
    Open(oneshot::Sender<Result<(), OpenError>>),
    /// A publisher's offer was answered.
    Joined {
        /// Which one.
        source: SourceId,
        /// Whether it is a teacher.
        leads: bool,
    },
    /// A publisher is gone.
    Left {
        /// Which one.
        source: SourceId,
        /// Whether it said goodbye.
        polite: bool,
    },
    /// End now.
    End,
}

/// What a class tells the daemon.
#[derive(Debug)]
pub enum Notice {
    /// Over: playlists are complete, the ring can go.
    Ended(RoomName),
    /// A publisher wants in, and this class takes nobody any more.
    Reopen {
        /// Where.
        room: RoomName,
        /// Whether `Ended` was said already; otherwise it is still to come.
        ended: bool,
        /// Who waits for the next class.
        reply: oneshot::Sender<Result<(), OpenError>>,
    },
    /// Nothing is left of it.
    Forgotten(RoomName),
}

/// What a class works with.
pub struct Class {
    /// Its room.
    pub room: RoomName,
    /// How its playlists look.
    pub package: package::Config,
    /// Its life.
    pub lifecycle: Lifecycle,
    /// How long its transcoder may flush.
    pub flush: Duration,
    /// The transcoder process, supervised.
    pub transcoder: Transcoder,
    /// What the transcoder says.
    pub events: mpsc::Receiver<supervise::Event>,
    /// What the daemon says.
    pub commands: mpsc::Receiver<Command>,
    /// Where the daemon listens.
    pub notices: mpsc::Sender<Notice>,
    /// Where playlists go.
    pub hub: Hub,
    /// Where the room's status is written.
    pub board: Board,
    /// Where it is kept who is on stage.
    pub stages: Stages,
    /// Whom to ask for key frames.
    pub sfu: sfu::Handle,
}

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

/// A class that is live in the origin.
struct Live {
    publisher: LivePublisher,
    names: Vec<String>,
    parts: u64,
}

impl Class {
    /// Runs until the class is forgotten or the daemon lets go of it.
    pub async fn run(mut self) {
        let mut live: Option<Live> = None;
        let mut transcoder_gone = false;
        loop {
            let wait = self
                .lifecycle
                .deadline()
                .map(|until| Duration::from_micros(u64::try_from(until.since(now())).unwrap_or(0)));
            let action = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    // The daemon replaced this class: its playlists go when the next one opens.
                    None => return,
                },
                event = self.events.recv(), if !transcoder_gone => match event {
                    Some(event) => self.hear(event, &mut live),
                    None => {
                        transcoder_gone = true;
                        self.lifecycle.flushed(now())
                    }
                },
                () = sleep(wait), if wait.is_some() => self.lifecycle.tick(now()),
            };
            match action {
                None => {}
                Some(Action::Flush) => {
                    info!(room = %self.room, "the class ends: flushing");
                    self.on_stage(|stage, now| stage.ended(now));
                    self.transcoder.stop(self.flush);
                }
                Some(Action::End) => {
                    // Without effect where it was flushed first.
                    self.on_stage(|stage, now| stage.ended(now));
                    // Dropping its events ends a transcoder that is still there.
                    self.events.close();
                    transcoder_gone = true;
                    match live.take() {
                        Some(mut live) => {
                            live.publisher.end();
                            info!(room = %self.room, parts = live.parts, "the class is over");
                            self.board.update(&self.room, |status| {
                                status.state = State::Ended;
                                status.publisher = false;
                            });
                        }
                        None => self.board.clear(&self.room),
                    }
                    self.tell(Notice::Ended(self.room.clone())).await;
                }
                Some(Action::Forget) => {
                    self.hub.close(&self.room);
                    self.board.clear(&self.room);
                    self.on_stage(|stage, _| stage.forgotten());
                    self.tell(Notice::Forgotten(self.room.clone())).await;
                    return;
                }
            }
        }
    }

    fn on_stage(&self, change: impl FnOnce(&mut Stage, HostTime)) {
        let now = now();
        self.stages.with(&self.room, now, |stage| change(stage, now));
    }

    async fn tell(&self, notice: Notice) {
        // The daemon always drains its notices; when it is gone there is nobody to tell.
        drop(self.notices.send(notice).await);
    }

    async fn obey(&mut self, command: Command) -> Option<Action> {
        match command {
            Command::Open(reply) => {
                if self.lifecycle.is_open() {
                    self.lifecycle.expect(now());
                    drop(reply.send(Ok(())));
                } else {
                    let ended = !matches!(self.lifecycle.phase(), Phase::Ending { .. });
                    self.tell(Notice::Reopen { room: self.room.clone(), ended, reply }).await;
                }
                None
            }
            Command::Joined { source, leads } => {
                self.lifecycle.joined(source, leads);
                self.board.update(&self.room, |status| status.publisher = true);
                None
            }
            Command::Left { source, polite } => {
                self.lifecycle.left(source, polite, now());
                let publisher = self.lifecycle.is_published();
                self.board.update(&self.room, |status| status.publisher = publisher);
                None
            }
            Command::End => self.lifecycle.end(now()),
        }
    }

    fn hear(&mut self, event: supervise::Event, live: &mut Option<Live>) -> Option<Action> {
        match event {
            supervise::Event::Begin(presentation) => {
                // After a crash the successor says the same again; the class goes on as it is.
                if live.is_none() {
                    match self.begin(*presentation) {
                        Ok(begun) => *live = Some(begun),
                        Err(error) => {
                            error!(room = %self.room, %error, "the class cannot be published");
                            return self.lifecycle.flushed(now());
                        }
                    }
                }
                None
            }
            supervise::Event::Part(part, bytes) => {
                self.publish(live, *part, bytes);
                None
            }
            supervise::Event::KeyframeWanted(track) => {
                self.sfu.request_keyframe(track);
                None
            }
            supervise::Event::RungDropped { rendition, reason } => {
                self.rung_dropped(live, rendition, &reason);
                None
            }
            supervise::Event::Figures(figures) => {
                self.figures(live.as_ref(), &figures);
                None
            }
            supervise::Event::Died { cause, status, restarting_in } => {
                let labels = [("room", self.room.to_string()), ("cause", cause.as_str().into())];
                metrics::counter!("proscenium_transcoder_deaths_total", &labels).increment(1);
                match restarting_in {
                    Some(pause) => {
                        let stage = self.stages.with(&self.room, now(), |stage| stage.wire());
                        if let Some(stage) = stage {
                            self.transcoder.set_stage(stage);
                        }
                        warn!(room = %self.room, status, ?pause, "the transcoder died; another takes over");
                    }
                    None => {
                        warn!(room = %self.room, status, "the transcoder did not end in good order")
                    }
                }
                None
            }
            supervise::Event::Ended => self.lifecycle.flushed(now()),
        }
    }

    fn begin(&self, presentation: Presentation) -> Result<Live, WindowError> {
        let session = hub::new_session();
        // Both clocks are read together; what passes between them is far below a millisecond.
        let epoch_us = hw::clock::wall_us() - (hw::clock::monotonic_us() - presentation.zero.0);
        self.on_stage(|stage, _| stage.began(presentation.zero));
        let names: Vec<String> = presentation.renditions.iter().map(|r| r.name.clone()).collect();
        let renditions: Vec<board::Rendition> = presentation
            .renditions
            .iter()
            .map(|r| board::Rendition {
                name: r.name.clone(),
                codecs: r.codecs.clone(),
                width: r.size.map(|(width, _)| width),
                height: r.size.map(|(_, height)| height),
                bitrate: r.bitrate.0,
                dropped: None,
            })
            .collect();
        let publisher =
            self.hub.open(&self.room, presentation, &session, epoch_us, &self.package)?;
        self.board.update(&self.room, |status| {
            status.session = Some(session);
            status.since_ms = Some(epoch_us / 1000);
            status.renditions = renditions;
        });
        Ok(Live { publisher, names, parts: 0 })
    }

    fn publish(&mut self, live: &mut Option<Live>, part: Part, bytes: Bytes) {
        let Some(live) = live else {
            warn!(room = %self.room, "a part came before its presentation; dropped");
            return;
        };
        let (arrived, msn, number) = (part.arrived, part.msn, part.part);
        if let Err(error) = live.publisher.publish(&part, &bytes) {
            error!(room = %self.room, %error, msn, part = number, "a part breaks the playlist's rules; dropped");
            return;
        }
        let delay_us = now().since(arrived).max(0);
        metrics::histogram!("proscenium_part_publish_delay_seconds", "room" => self.room.to_string())
            .record(delay_us as f64 / 1e6);
        live.parts += 1;
        if live.parts == 1 {
            info!(room = %self.room, delay_ms = delay_us / 1000, "live: the first part is out");
            self.board.update(&self.room, |status| status.state = State::Live);
            self.on_stage(|stage, _| stage.set_live(true));
        }
        self.lifecycle.part();
    }

    fn rung_dropped(&self, live: &Option<Live>, rendition: u8, reason: &str) {
        let name = live.as_ref().and_then(|live| live.names.get(usize::from(rendition)));
        let name = name.map_or("?", String::as_str);
        warn!(room = %self.room, rung = name, reason, "a rung was given up so that the others stay live");
        metrics::counter!("proscenium_rungs_dropped_total", "room" => self.room.to_string())
            .increment(1);
        self.board.update(&self.room, |status| {
            if let Some(rung) = status.renditions.get_mut(usize::from(rendition)) {
                rung.dropped = Some(reason.to_owned());
            }
        });
    }

    fn figures(&self, live: Option<&Live>, figures: &Figures) {
        let room = || self.room.to_string();
        let totals = [
            ("proscenium_frames_decoded_total", figures.frames_decoded),
            ("proscenium_decode_errors_total", figures.decode_errors),
            ("proscenium_packets_lost_total", figures.packets_lost),
            ("proscenium_ring_overruns_total", figures.ring_overruns),
            ("proscenium_frames_repeated_total", figures.frames_repeated),
            ("proscenium_samples_silent_total", figures.samples_silent),
        ];
        for (name, value) in totals {
            metrics::counter!(name, "room" => room()).absolute(value);
        }
        metrics::gauge!("proscenium_compose_lag_seconds", "room" => room())
            .set(figures.lag_us as f64 / 1e6);
        metrics::gauge!("proscenium_transcoder_cpu_seconds", "room" => room())
            .set(figures.cpu_us as f64 / 1e6);
        let Some(live) = live else { return };
        for (rung, name) in figures.rungs.iter().zip(&live.names) {
            let labels = [("room", room()), ("rung", name.clone())];
            metrics::counter!("proscenium_frames_encoded_total", &labels).absolute(rung.encoded);
            metrics::counter!("proscenium_frames_dropped_total", &labels).absolute(rung.dropped);
            metrics::counter!("proscenium_encoded_bytes_total", &labels).absolute(rung.bytes);
            metrics::gauge!("proscenium_encode_seconds", &labels).set(rung.encode_us as f64 / 1e6);
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
