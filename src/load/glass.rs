//! From one speaker's camera to another's screen: a class is published with its burnt-in clock, and
//! somebody else on stage subscribes, decodes and reads the clock.
//!
//! What is measured is everything between capture and a decoded picture: drawing and encoding, both
//! ways through the network, the server, and the decoder. What a real camera's sensor and a real
//! display add is not in it. Publisher and viewer read the same wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hw::codec::{CodecError, VideoDecoder, VideoIn};
use serde::Serialize;
use tokio::sync::oneshot;

use super::SdpError;
use super::connection::Connection;
use super::driver::{Driver, Order, Role};
use super::histogram::Histogram;
use super::net::Local;
use super::report::{self, Percentiles};
use super::run::{LoadError, Tokens, address_towards};
use super::seat::{Seat, Sessions};
use super::sink::Sink;
use super::target::proscenium::{Auth, Proscenium};
use super::target::{Feed, Target, TargetError, Who};
use crate::compose::depacketize::{Assembler, Packet};
use crate::teacher::burnt::{Stamp, resolve};
use crate::teacher::class::Class;
use crate::teacher::publish::{Publish, PublishError, Publisher};
use crate::time::{HostTime, SourceCodec};

/// Packets that may wait for the decoder: a second at 8 Mb/s. A decoder that is further behind loses
/// packets, and says so by missing pictures.
const WAITING: usize = 1024;

/// What to play.
pub struct Plan {
    /// `http://host:port`.
    pub url: String,
    /// Tokens, of two people.
    pub tokens: Tokens,
    /// The room; none for the first the server has.
    pub room: Option<String>,
    /// How long to measure.
    pub seconds: Duration,
    /// The class; H.264.
    pub class: Class,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Glass {
    /// Pictures whose clock was read.
    pub pictures: u64,
    /// Pictures between the first and the last read that were never seen.
    pub missing: u64,
    /// From capture to the decoded picture, milliseconds.
    pub glass_to_glass_ms: Percentiles,
    /// Frames the publisher did not capture because the machine was busy.
    pub skipped: u64,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum GlassError {
    /// The publisher could not.
    #[error("the publisher: {0}")]
    Publish(#[from] PublishError),
    /// The viewer could not.
    #[error("the viewer: {0}")]
    View(#[from] LoadError),
    /// No decoder.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A thread could not be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The connection stood, and no picture came.
    #[error("connected, but not one picture with a readable clock came")]
    Dark,
}

/// Plays `plan`, until it is over or `stop` is sent.
///
/// # Errors
/// [`GlassError`]; what was begun is ended all the same.
pub async fn run(plan: Plan, stop: oneshot::Receiver<()>) -> Result<Glass, GlassError> {
    let decoder = VideoDecoder::new(VideoIn::H264, 1)?;
    let viewing = Viewing::open(&plan.url, plan.tokens, plan.room).await?;
    let (endpoint, token) = viewing.publisher()?;
    let network = None;
    let publish = Publish { endpoint, token: token.clone(), class: plan.class, network };
    let publisher = Box::pin(Publisher::start(publish)).await?;
    let watched = async {
        let (watch, screen) = Screen::start(decoder)?;
        let viewed = viewing.view(token, watch, plan.seconds, stop).await;
        // The viewer's end is the screen's: its packets have no sender any more.
        let seen = tokio::task::spawn_blocking(move || screen.join().unwrap_or_default()).await;
        viewed?;
        Ok::<_, GlassError>(seen.unwrap_or_default())
    };
    let seen = watched.await;
    let skipped = publisher.figures().skipped;
    let stopped = publisher.stop().await;
    let seen = seen?;
    if let Err(error) = stopped {
        tracing::debug!(%error, "the publisher did not end as it should");
    }
    let (Some(first), Some(last)) = (seen.first, seen.last) else { return Err(GlassError::Dark) };
    let span = u64::from(last.wrapping_sub(first)) + 1;
    Ok(Glass {
        pictures: seen.delays.count(),
        missing: span.saturating_sub(seen.delays.count()),
        glass_to_glass_ms: report::percentiles(&seen.delays),
        skipped,
    })
}

/// One viewer of one publisher who is somebody else's affair.
struct Viewing {
    target: Arc<Target>,
    driver: Driver,
    room: String,
    url: String,
}

const PUBLISHER: Who = Who { room: 0, publishes: true, number: 0 };
const VIEWER: Who = Who { room: 0, publishes: false, number: 0 };

impl Viewing {
    async fn open(url: &str, tokens: Tokens, room: Option<String>) -> Result<Self, LoadError> {
        let local = address_towards(url).await?;
        let auth = match tokens {
            Tokens::Given(token) => Auth::Token(token),
            Tokens::Signed(signer) => Auth::Signer(signer),
        };
        let server = Proscenium::new(url, auth, room.into_iter().collect());
        let mut target = Target::Proscenium(server);
        let rooms = target.rooms(1).await?;
        let room = rooms.into_iter().next().unwrap_or_default();
        let driver = Driver::start(Local::towards(local), 1)?;
        Ok(Self { target: Arc::new(target), driver, room, url: url.to_owned() })
    }

    /// Where to publish, and with which token.
    fn publisher(&self) -> Result<(String, Option<String>), LoadError> {
        let Target::Proscenium(server) = &*self.target else { return Err(LoadError::NotConnected) };
        let token = server.token(&self.room, PUBLISHER).map_err(TargetError::from)?;
        Ok((format!("{}/whip/{}", self.url.trim_end_matches('/'), self.room), token))
    }

    /// Subscribes to whoever publishes with `token`, and shows it to `watch` for so long.
    async fn view(
        self,
        token: Option<String>,
        watch: Watch,
        seconds: Duration,
        stop: oneshot::Receiver<()>,
    ) -> Result<(), LoadError> {
        let Target::Proscenium(server) = &*self.target else { return Err(LoadError::NotConnected) };
        let person = server.me(&self.room, token.as_deref()).await.map_err(TargetError::from)?;
        let sessions = Sessions::default();
        let local = *self.driver.addresses.first().ok_or(LoadError::ThreadLost)?;
        let target = Arc::clone(&self.target);
        let orders = self.driver.orders.clone();
        let seat = Seat { orders, index: 0, local, target, sessions };
        let made = Connection::to_receive(local, Instant::now());
        let mut connection = made.map_err(|error| TargetError::from(SdpError::from(error)))?;
        let feed = Feed::Person(person);
        let subscribed = self.target.subscribe(&self.room, VIEWER, &feed, &mut connection).await;
        let (session, agreed) = subscribed?;
        let role = Role::Subscribe(Box::new(Sink::watched(agreed, watch)));
        let outcome = if seat.join(connection, role).await {
            let _ = tokio::time::timeout(seconds, stop).await;
            Ok(())
        } else {
            Err(LoadError::NotConnected)
        };
        let ended = self.target.end(&session).await;
        drop(seat);
        self.driver.orders.give(Order::End).await;
        self.driver.totals().await.ok_or(LoadError::ThreadLost)??;
        if let Err(error) = ended {
            tracing::debug!(%error, "a session did not end as it should");
        }
        outcome
    }
}

/// The way from the driver to the screen.
#[derive(Debug)]
pub(super) struct Watch {
    packets: SyncSender<rtc::rtp::Packet>,
    key_wanted: Arc<AtomicBool>,
}

impl Watch {
    /// A packet of the picture, decrypted.
    pub(super) fn show(&self, packet: rtc::rtp::Packet) {
        // Full: the decoder is a second behind. The hole is noticed there.
        let _ = self.packets.try_send(packet);
    }

    /// Whether a key frame is wanted since the last call.
    pub(super) fn key_wanted(&self) -> bool {
        self.key_wanted.swap(false, Ordering::Relaxed)
    }
}

/// What a screen saw.
#[derive(Default)]
struct Seen {
    delays: Histogram,
    first: Option<u32>,
    last: Option<u32>,
}

/// The far end: puts packets together, decodes, reads.
struct Screen {
    decoder: VideoDecoder,
    assembler: Assembler,
    key_wanted: Arc<AtomicBool>,
    sequence: Option<u16>,
    seen: Seen,
}

impl Screen {
    fn start(decoder: VideoDecoder) -> Result<(Watch, JoinHandle<Seen>), GlassError> {
        let (packets, inbox) = sync_channel(WAITING);
        let key_wanted = Arc::new(AtomicBool::new(false));
        let screen = Self {
            decoder,
            assembler: Assembler::new(SourceCodec::H264),
            key_wanted: Arc::clone(&key_wanted),
            sequence: None,
            seen: Seen::default(),
        };
        let thread = std::thread::Builder::new().name("screen".into());
        let thread = thread.spawn(move || screen.run(&inbox))?;
        Ok((Watch { packets, key_wanted }, thread))
    }

    fn run(mut self, inbox: &Receiver<rtc::rtp::Packet>) -> Seen {
        let (mut units, mut pictures) = (Vec::new(), Vec::new());
        while let Ok(packet) = inbox.recv() {
            let arrived = HostTime(hw::clock::monotonic_us());
            let sequence = packet.header.sequence_number;
            match self.sequence.map(|last| sequence.wrapping_sub(last) as i16) {
                // Late or twice: its picture was given up or shown.
                Some(step) if step <= 0 => continue,
                Some(step) if step > 1 => self.assembler.lost(arrived),
                _ => {}
            }
            self.sequence = Some(sequence);
            let packet = Packet {
                // Pictures are told apart by it, no more: it need not be unwrapped.
                rtp: packet.header.timestamp.into(),
                marker: packet.header.marker,
                arrived,
                payload: packet.payload,
            };
            self.assembler.push(&packet, &mut units);
            for unit in units.drain(..) {
                if self.decoder.decode(&unit.data, unit.rtp, &mut pictures).is_err() {
                    self.assembler.refused(arrived);
                }
            }
            if self.assembler.keyframe_wanted(arrived) {
                self.key_wanted.store(true, Ordering::Relaxed);
            }
            for (_, picture) in pictures.drain(..) {
                let now_ms = hw::clock::wall_us() / 1000;
                let (luma, stride) = picture.plane(0);
                let (width, height) = (picture.width() as usize, picture.height() as usize);
                let Ok(stamp) = Stamp::read(luma, stride, width, height) else { continue };
                let delay = now_ms - resolve(stamp.wall_ms, now_ms);
                self.seen.delays.add(delay.max(0) as u64 * 1000);
                self.seen.first.get_or_insert(stamp.frame);
                self.seen.last = Some(stamp.frame);
            }
        }
        self.seen
    }
}
