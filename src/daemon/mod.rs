//! Wiring of the daemon: the SFU's thread, a class a room, the origin's threads, the API.
//!
//! The director here owns which room has a class. It hands every other decision on: to
//! [`lifecycle`] when a class ends, to [`class`] what its transcoder's words mean, to [`Stages`] who may
//! be on stage; `keeper` tells the SFU what came of that.

pub mod class;
mod keeper;
pub mod lifecycle;

use crate::api;
use crate::config::Config;
use crate::ladder::plan::Plan;
use crate::link::supervise::{Launch, Transcoder};
use crate::link::wire::{self, OutputFormat, Start};
use crate::origin::hub::Hub;
use crate::origin::serve::Server;
use crate::rooms::board::Board;
use crate::rooms::stage::{Joined, Stage, Stages};
use crate::rooms::token::Verifier;
use crate::rooms::{OpenError, Request, Rooms};
use crate::sfu;
use crate::time::{HostTime, RoomName};
use anyhow::{Context, Result};
use class::{Class, Command, Notice};
use lifecycle::Lifecycle;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Commands and notices of one class on their way.
const CLASS_QUEUE: usize = 64;
/// What a daemon is started with, besides its configuration.
pub struct Options {
    /// How transcoders are started.
    pub launch: Launch,
    /// The rungs of every class.
    pub plan: Plan,
    /// Who may publish.
    pub verifier: Verifier,
}

/// A running daemon.
pub struct Daemon {
    server: Server,
    sfu: sfu::Handle,
    stop: Option<oneshot::Sender<()>>,
    director: JoinHandle<()>,
    keeper: JoinHandle<()>,
    board: Board,
    hub: Hub,
}

impl Daemon {
    /// Starts everything; returns when the ports are open.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub async fn start(config: &Config, options: Options) -> Result<Self> {
        crate::observe::metrics();
        let format = config
            .output
            .format()
            .map_err(|(key, what, cure)| anyhow::anyhow!("output.{key}: {what}; {cure}"))?;
        let (sfu, sfu_events) = sfu::start(&config.sfu).context("cannot take media in")?;
        let (rooms, requests) = Rooms::new(config.room.iter().cloned());
        let (board, hub) = (Board::default(), Hub::new(&config.http));
        let names = config.room.iter().map(|room| room.name.clone());
        let stages = Stages::new(names, &config.stage, config.sfu.max_on_stage);
        let state = api::State {
            rooms,
            board: board.clone(),
            stages: stages.clone(),
            hub: hub.clone(),
            auth: Arc::new(options.verifier),
            sfu: sfu.clone(),
        };
        let server = Server::start(&config.http, hub.clone(), api::router(state))
            .context("cannot open the HTTP port")?;
        let (stop, stopped) = oneshot::channel();
        info!(http = %server.local_addr(), media_port = sfu.port(), "ready");
        let (notice_sender, notices) = mpsc::channel(CLASS_QUEUE);
        let director = Director {
            config: config.clone(),
            format,
            launch: options.launch,
            plan: options.plan,
            hub: hub.clone(),
            board: board.clone(),
            stages: stages.clone(),
            sfu: sfu.clone(),
            classes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            notice_sender,
        };
        let director = tokio::spawn(director.run(requests, sfu_events, notices, stopped));
        let keeper = tokio::spawn(keeper::keep(stages, sfu.clone()));
        Ok(Self { server, sfu, stop: Some(stop), director, keeper, board, hub })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The port where media is taken in.
    pub fn media_port(&self) -> u16 {
        self.sfu.port()
    }

    /// What the rooms are doing.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The rooms' live playlists.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Ends every class with ENDLIST, answers the requests in flight, closes the ports.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // The director has ended by itself only if it panicked; the rest still shuts down.
            let _ = stop.send(());
        }
        if self.director.await.is_err() {
            warn!("the director had failed; its classes end without a last part");
        }
        self.keeper.abort();
        self.server.shutdown(Duration::from_secs(3)).await;
        self.sfu.stop().await;
        info!("stopped");
    }
}

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

type Reply = oneshot::Sender<Result<(), OpenError>>;

struct Director {
    config: Config,
    format: OutputFormat,
    launch: Launch,
    plan: Plan,
    hub: Hub,
    board: Board,
    stages: Stages,
    sfu: sfu::Handle,
    classes: BTreeMap<RoomName, mpsc::Sender<Command>>,
    /// Publishers that came while their room's last class was still flushing.
    waiting: BTreeMap<RoomName, Vec<Reply>>,
    notice_sender: mpsc::Sender<Notice>,
}

impl Director {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut sfu_events: mpsc::Receiver<sfu::Event>,
        mut notices: mpsc::Receiver<Notice>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(request) = requests.recv() => match request {
                    Request::Open { room, reply } => self.open(room, reply).await,
                    Request::End { room } => self.command(&room, Command::End),
                },
                Some(event) = sfu_events.recv() => self.hear(event).await,
                Some(notice) = notices.recv() => self.notice(notice).await,
                else => break,
            }
        }
        self.stop_all(&mut notices).await;
    }

    async fn open(&mut self, room: RoomName, reply: Reply) {
        if let Some(class) = self.classes.get(&room) {
            match class.try_send(Command::Open(reply)) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(Command::Open(reply))) => {
                    drop(reply.send(Err(OpenError::Busy)));
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(Command::Open(reply))) => {
                    self.classes.remove(&room);
                    return self.begin(room, vec![reply]).await;
                }
                Err(_) => return,
            }
        }
        self.begin(room, vec![reply]).await;
    }

    async fn begin(&mut self, room: RoomName, replies: Vec<Reply>) {
        let outcome = self.begin_class(&room).await;
        if let Err(error) = &outcome {
            warn!(%room, %error, "the room could not be made live");
        }
        for reply in replies {
            drop(reply.send(outcome.clone()));
        }
    }

    async fn begin_class(&mut self, room: &RoomName) -> Result<(), OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Failed(error.to_string());
        let start = Start {
            room: room.clone(),
            format: self.format,
            rungs: self.plan.rungs.clone(),
            resume: None,
            failures: 0,
            dropped: Vec::new(),
            stage: wire::Stage::default(),
        };
        let spawned = Transcoder::spawn(self.launch.clone(), start, &self.config.transcoder);
        let (transcoder, writer, events) = spawned.map_err(|error| failed(&error))?;
        self.sfu.attach_ring(room.clone(), writer).await.map_err(|error| failed(&error))?;
        self.stages.with(room, now(), Stage::opened);
        let (sender, commands) = mpsc::channel(CLASS_QUEUE);
        let class = Class {
            room: room.clone(),
            package: self.config.live.clone(),
            lifecycle: Lifecycle::open(self.config.class.clone(), now()),
            flush: self.config.class.flush.0,
            transcoder,
            events,
            commands,
            notices: self.notice_sender.clone(),
            hub: self.hub.clone(),
            board: self.board.clone(),
            stages: self.stages.clone(),
            sfu: self.sfu.clone(),
        };
        tokio::spawn(class.run());
        self.classes.insert(room.clone(), sender);
        info!(%room, rungs = self.plan.rungs.len(), "a class opens");
        Ok(())
    }

    async fn hear(&mut self, event: sfu::Event) {
        match event {
            sfu::Event::Joined { room, source, person, kind } => {
                info!(%room, source = source.0, %person, ?kind, "a publisher joins");
                let join = |stage: &mut Stage| stage.joined(person, kind, source, now());
                match self.stages.with(&room, now(), join) {
                    Some(Ok(Joined { leads })) => {
                        self.command(&room, Command::Joined { source, leads });
                    }
                    // What allowed it has changed while the offer was answered.
                    Some(Err(refusal)) => {
                        info!(%room, source = source.0, %person, %refusal, "sent away");
                        if let Err(error) = self.sfu.send_away(room.clone(), person).await {
                            warn!(%room, %person, %error, "somebody is there who may not be");
                        }
                    }
                    None => {}
                }
            }
            sfu::Event::Connected { room, source } => {
                info!(%room, source = source.0, "media is connected");
            }
            sfu::Event::FirstPacket { room, track, codec, .. } => {
                info!(%room, track = track.0, ?codec, "media arrives");
            }
            sfu::Event::Left { room, source, why, .. } => {
                info!(%room, source = source.0, %why, "a publisher left");
                self.stages.with(&room, now(), |stage| stage.left(source, now()));
                let polite = matches!(why, sfu::LeftWhy::Ended | sfu::LeftWhy::SentAway);
                self.command(&room, Command::Left { source, polite });
            }
            sfu::Event::Speaking { room, person } => {
                self.stages.with(&room, now(), |stage| stage.speaks(person));
            }
        }
    }

    fn command(&mut self, room: &RoomName, command: Command) {
        let Some(class) = self.classes.get(room) else { return };
        if let Err(mpsc::error::TrySendError::Full(command)) = class.try_send(command) {
            warn!(%room, ?command, "a class does not listen; a command is lost");
        }
    }

    async fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Ended(room) => {
                if let Err(error) = self.sfu.detach_ring(room.clone()).await {
                    warn!(%room, %error, "the room's ring stays attached");
                }
                if let Some(replies) = self.waiting.remove(&room) {
                    self.classes.remove(&room);
                    self.begin(room, replies).await;
                }
            }
            Notice::Reopen { room, ended: true, reply } => {
                self.classes.remove(&room);
                self.begin(room, vec![reply]).await;
            }
            Notice::Reopen { room, ended: false, reply } => {
                self.waiting.entry(room).or_default().push(reply);
            }
            Notice::Forgotten(room) => {
                self.classes.remove(&room);
            }
        }
    }

    /// Ends all classes and waits until they are over, for as long as a flush may take.
    async fn stop_all(&mut self, notices: &mut mpsc::Receiver<Notice>) {
        let mut open: std::collections::BTreeSet<RoomName> = self.classes.keys().cloned().collect();
        open.retain(|room| self.board.get(room).state != crate::rooms::board::State::Ended);
        for room in &open {
            self.command(room, Command::End);
        }
        let patience = self.config.class.flush.0 + Duration::from_secs(1);
        let all = async {
            while !open.is_empty() {
                match notices.recv().await {
                    Some(Notice::Ended(room) | Notice::Forgotten(room)) => {
                        open.remove(&room);
                    }
                    Some(Notice::Reopen { reply, .. }) => {
                        drop(reply.send(Err(OpenError::Stopping)))
                    }
                    None => break,
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            warn!("some classes did not flush in time");
        }
    }
}
