//! A class given live: captured on two threads, a camera's and a microphone's, in real time, and
//! published by WHIP over real UDP.
//!
//! Both threads count from one instant, the class's beginning, so RTP timestamps, sender reports
//! and the burnt-in clock agree with each other exactly. A thread that falls behind further
//! than a camera's driver holds skips frames, and says so in the figures; between the threads and the network stands a
//! bounded queue that drops what does not fit, and counts it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hw::codec::{CodecError, Encoded};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use webrtc::media_stream::track_local::TrackLocal;

use super::class::{Camera, Class, Microphone};
use super::http::HttpError;
use super::netem::{self, Conditions, Relay};
use super::peer::{Peer, RtcError, State, Track};
use super::whip::{Whip, WhipError};

/// Coded frames that may wait for the network: about a second of both tracks.
const QUEUE: usize = 80;
/// How long the connection may take.
const CONNECTING: Duration = Duration::from_secs(20);
/// Sender reports are considered this often. All are sent in the class's first second, so that the
/// receiver can place the first frames even if a report or two is lost; then one a second.
const REPORTS: Duration = Duration::from_millis(100);
const REPORTS_A_SECOND: u64 = 10;

/// What to publish, and where.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The WHIP endpoint, `http://host:port/whip/room`.
    pub endpoint: String,
    /// The bearer token to show.
    pub token: Option<String>,
    /// The class.
    pub class: Class,
    /// A bad network between publisher and server: the way up and the way down.
    pub network: Option<(Conditions, Conditions)>,
}

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The server would not have it.
    #[error(transparent)]
    Whip(#[from] WhipError),
    /// The WebRTC library refused something.
    #[error("WebRTC: {0}")]
    Rtc(#[from] RtcError),
    /// An encoder could not be opened or failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The server's answer was fine, but no packets came through.
    #[error(
        "no connection to the server's media port within 20 s: is its UDP port reachable from here?"
    )]
    NotConnected,
    /// The answer offers no address for the bad network to relay to.
    #[error("the server's answer offers no IPv4 UDP candidate")]
    NoCandidate,
    /// A socket or thread could not be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a publisher did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Video frames sent.
    pub frames: u64,
    /// Sound packets sent.
    pub sounds: u64,
    /// Frames that were not captured because the box was busy.
    pub skipped: u64,
    /// Coded frames dropped because the network took none.
    pub dropped: u64,
    /// Key frames the server asked for.
    pub key_frame_requests: u64,
    /// RTP packets sent, retransmissions included.
    pub packets: u64,
    /// Their bytes, headers included, before encryption.
    pub bytes: u64,
    /// Packets sent again because the server missed them.
    pub retransmitted: u64,
    /// Packets the bad network lost.
    pub lost: u64,
}

#[derive(Default)]
struct Counters {
    frames: AtomicU64,
    sounds: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
    key_frame_requests: AtomicU64,
}

/// The beginning of a class, on both clocks.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    instant: Instant,
    wall_us: i64,
}

impl Epoch {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), wall_us: wall.as_micros() as i64 }
    }

    /// Microseconds since the beginning.
    fn elapsed_us(&self) -> i64 {
        self.instant.elapsed().as_micros() as i64
    }
}

/// A live publisher. Dropping it hangs up without saying so to the server; [`Self::stop`] says so.
pub struct Publisher {
    peer: Arc<Peer>,
    whip: Whip,
    session: String,
    counters: Arc<Counters>,
    relay: Option<Relay>,
    epoch: Epoch,
    stopping: Arc<AtomicBool>,
    wake: [SyncSender<()>; 2],
    tasks: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// One coded frame on its way to the network: its time in the stream's clock, and its bytes.
struct Ready {
    ticks: u64,
    data: Bytes,
}

impl Publisher {
    /// Connects, begins the class, and returns once media flows.
    pub async fn start(publish: Publish) -> Result<Self, PublishError> {
        let camera = Camera::open(&publish.class)?;
        let microphone = Microphone::open(&publish.class)?;
        let from = match publish.network {
            Some(_) => IpAddr::from([127, 0, 0, 1]),
            None => address_towards(&publish.endpoint).await?,
        };
        let mut peer = Box::pin(Peer::new(publish.class.codec, from)).await?;
        let whip = Whip::new(publish.token);
        let session = whip.publish(&publish.endpoint, peer.offer().await?).await?;
        match Self::connect(
            peer,
            publish.network,
            session.answer,
            whip.clone(),
            session.url.clone(),
        )
        .await
        {
            Ok(connected) => connected.begin(camera, microphone),
            Err(error) => {
                // The server holds a session that will never be used: end it, best effort.
                let _ = whip.end(&session.url).await;
                Err(error)
            }
        }
    }

    async fn connect(
        peer: Peer,
        network: Option<(Conditions, Conditions)>,
        answer: String,
        whip: Whip,
        session: String,
    ) -> Result<Connected, PublishError> {
        let (relay, answer) = match network {
            None => (None, answer),
            Some((up, down)) => {
                let server = netem::first_candidate(&answer).ok_or(PublishError::NoCandidate)?;
                let relay = Relay::start(server, up, down).await?;
                let address = relay.address();
                let answer = netem::through_relay(&answer, |_| Some(address))
                    .ok_or(PublishError::NoCandidate)?;
                (Some(relay), answer)
            }
        };
        let (video, audio) = peer.accept(answer).await?;
        let mut state = peer.state();
        let settled =
            tokio::time::timeout(CONNECTING, state.wait_for(|state| *state != State::Connecting))
                .await;
        match settled.map(|state| state.map(|state| *state)) {
            Ok(Ok(State::Connected)) => Ok(Connected { peer, relay, whip, session, video, audio }),
            _ => {
                let _ = peer.close().await;
                Err(PublishError::NotConnected)
            }
        }
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (counters, wire) = (&self.counters, &self.peer.wire);
        Figures {
            frames: read(&counters.frames),
            sounds: read(&counters.sounds),
            skipped: read(&counters.skipped),
            dropped: read(&counters.dropped),
            key_frame_requests: read(&counters.key_frame_requests),
            packets: read(&wire.packets),
            bytes: read(&wire.bytes),
            retransmitted: read(&wire.retransmitted),
            lost: self.relay.as_ref().map_or(0, |relay| read(&relay.figures().lost)),
        }
    }

    /// Microseconds since the Unix epoch at which the class began: frame 0, sample 0.
    pub fn began_wall_us(&self) -> i64 {
        self.epoch.wall_us
    }

    /// Waits until the connection is gone: the server ended it, or the network did.
    pub async fn gone(&self) {
        let _ = self.peer.state().wait_for(|state| *state == State::Gone).await;
    }

    /// Ends the class: stops capturing, tells the server, closes the connection.
    pub async fn stop(mut self) -> Result<Figures, PublishError> {
        self.hang_up();
        for thread in std::mem::take(&mut self.threads) {
            // The threads were told; each ends within one frame's encoding.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let ended = self.whip.end(&self.session).await;
        let figures = self.figures();
        let closed = self.peer.close().await;
        ended?;
        closed?;
        Ok(figures)
    }

    fn hang_up(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for wake in &self.wake {
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.hang_up();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A connection over which no media flows yet.
struct Connected {
    peer: Peer,
    relay: Option<Relay>,
    whip: Whip,
    session: String,
    video: Track,
    audio: Track,
}

impl Connected {
    fn begin(self, camera: Camera, microphone: Microphone) -> Result<Publisher, PublishError> {
        let (peer, counters) = (Arc::new(self.peer), Arc::new(Counters::default()));
        let stopping = Arc::new(AtomicBool::new(false));
        let key_wanted = Arc::new(AtomicBool::new(true));
        let epoch = Epoch::now();
        let (video_tx, video_rx) = mpsc::channel(QUEUE);
        let (audio_tx, audio_rx) = mpsc::channel(QUEUE);
        let (wake_camera, camera_woken) = sync_channel(1);
        let (wake_microphone, microphone_woken) = sync_channel(1);

        let capture = |woken| Capture {
            epoch,
            woken,
            stopping: Arc::clone(&stopping),
            counters: Arc::clone(&counters),
            key_wanted: Arc::clone(&key_wanted),
        };
        let (film, listen) = (capture(camera_woken), capture(microphone_woken));
        let threads = vec![
            std::thread::Builder::new()
                .name("camera".into())
                .spawn(move || film.film(camera, &video_tx))?,
            std::thread::Builder::new()
                .name("microphone".into())
                .spawn(move || listen.listen(microphone, &audio_tx))?,
        ];
        let tasks = vec![
            tokio::spawn(send(self.video, video_rx, epoch, Arc::clone(&counters), |c| &c.frames)),
            tokio::spawn(send(self.audio, audio_rx, epoch, Arc::clone(&counters), |c| &c.sounds)),
            tokio::spawn({
                let (peer, counters) = (Arc::clone(&peer), Arc::clone(&counters));
                async move {
                    while peer.key_frame_requests().await.is_some() {
                        counters.key_frame_requests.fetch_add(1, Ordering::Relaxed);
                        key_wanted.store(true, Ordering::Relaxed);
                    }
                }
            }),
        ];
        Ok(Publisher {
            peer,
            whip: self.whip,
            session: self.session,
            counters,
            relay: self.relay,
            epoch,
            stopping,
            wake: [wake_camera, wake_microphone],
            tasks,
            threads,
        })
    }
}

/// Captured frames that wait for the thread, as a camera's driver holds them: on a busy machine it is late for a
/// moment and catches up.
const HELD_FRAMES: i64 = 4;

/// What both capturing threads know.
struct Capture {
    epoch: Epoch,
    woken: Receiver<()>,
    stopping: Arc<AtomicBool>,
    counters: Arc<Counters>,
    key_wanted: Arc<AtomicBool>,
}

impl Capture {
    /// Waits until `us` microseconds after the class began; false when it is over.
    fn wait_until(&self, us: i64) -> bool {
        while !self.stopping.load(Ordering::Relaxed) {
            let left = us - self.epoch.elapsed_us();
            if left <= 0 {
                return true;
            }
            match self.woken.recv_timeout(Duration::from_micros(left as u64)) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    fn film(self, mut camera: Camera, to: &mpsc::Sender<Ready>) {
        let fps = i64::from(camera.fps());
        let mut coded: Vec<Encoded> = Vec::new();
        let mut number = 0i64;
        while self.wait_until(number * 1_000_000 / fps) {
            // Behind by more than a camera's driver holds: what is older is lost.
            let oldest = self.epoch.elapsed_us() * fps / 1_000_000 - HELD_FRAMES;
            if oldest > number {
                self.counters.skipped.fetch_add((oldest - number) as u64, Ordering::Relaxed);
                number = oldest;
            }
            let wall_us = self.epoch.wall_us + number * 1_000_000 / fps;
            let key = self.key_wanted.swap(false, Ordering::Relaxed);
            if let Err(error) = camera.take(number as u64, wall_us, key, &mut coded) {
                tracing::error!(%error, "the camera failed");
                return;
            }
            if coded.is_empty() && key {
                // Stopped: the request stands until there is a picture again.
                self.key_wanted.store(true, Ordering::Relaxed);
            }
            for frame in coded.drain(..) {
                let ticks = (frame.frame * 90_000 / fps) as u64;
                if to.try_send(Ready { ticks, data: frame.data }).is_err() {
                    self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                    // What follows a hole cannot be decoded.
                    self.key_wanted.store(true, Ordering::Relaxed);
                }
            }
            number += 1;
        }
    }

    fn listen(self, mut microphone: Microphone, to: &mpsc::Sender<Ready>) {
        for number in 0.. {
            // A packet can leave when its last sample was heard.
            if !self.wait_until((number as i64 + 1) * 1_000_000 / Microphone::PACKETS as i64) {
                return;
            }
            match microphone.take(number) {
                Ok(None) => {}
                Ok(Some(data)) => {
                    let ticks = number * 48_000 / Microphone::PACKETS;
                    if to.try_send(Ready { ticks, data: data.into() }).is_err() {
                        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the microphone failed");
                    return;
                }
            }
        }
    }
}

/// Sends one track's frames and reports until the frames end.
async fn send(
    mut track: Track,
    mut frames: mpsc::Receiver<Ready>,
    epoch: Epoch,
    counters: Arc<Counters>,
    counter: fn(&Counters) -> &AtomicU64,
) {
    let mut reports = tokio::time::interval(REPORTS);
    reports.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut considered = 0u64;
    loop {
        // Biased: the first report goes before the first frame, so the receiver can place that one.
        tokio::select! {
            biased;
            _ = reports.tick() => {
                considered += 1;
                if considered > REPORTS_A_SECOND && !considered.is_multiple_of(REPORTS_A_SECOND) {
                    continue;
                }
                let since = epoch.elapsed_us();
                let report = track.stream.report(since, epoch.wall_us + since);
                if let Err(error) = track.track.write_rtcp(vec![Box::new(report)]).await {
                    tracing::debug!(%error, "a sender report was not sent");
                }
            }
            frame = frames.recv() => {
                let Some(frame) = frame else { return };
                match track.stream.packetize(frame.ticks, frame.data) {
                    Ok(packets) => {
                        for packet in packets {
                            if let Err(error) = track.track.write_rtp(packet).await {
                                tracing::debug!(%error, "a packet was not sent");
                            }
                        }
                        counter(&counters).fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => tracing::warn!(%error, "a frame that cannot be packetized"),
                }
            }
        }
    }
}

/// This machine's address on the way to the endpoint's host: connecting a UDP socket chooses it
/// and sends nothing.
async fn address_towards(endpoint: &str) -> Result<IpAddr, PublishError> {
    let bad = || WhipError::Http(HttpError::BadUrl(endpoint.to_owned()));
    let uri: hyper::Uri = endpoint.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let towards: SocketAddr =
        tokio::net::lookup_host((host, port)).await?.next().ok_or_else(bad)?;
    let any: IpAddr = if towards.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(towards)?;
    Ok(socket.local_addr()?.ip())
}
