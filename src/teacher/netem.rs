//! A bad network on demand: a UDP relay between a publisher and the server that loses, delays,
//! reorders and doubles packets by a seeded law.
//!
//! [`Path`] is the law, pure; [`Relay`] drives sockets by it. The relay binds one socket for the
//! publisher and one towards the server, so the server sees one remote address.

use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a path does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Share of packets delivered twice, 0 to 1.
    pub duplicates: f64,
    /// What every packet waits.
    pub delay: Duration,
    /// What it waits beyond that: evenly from nothing to this.
    pub jitter: Duration,
    /// Whether a packet may overtake another; otherwise jitter only delays.
    pub reorders: bool,
    /// The law's seed.
    pub seed: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicates: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorders: false,
            seed: 1,
        }
    }
}

/// One direction's law: what happens to each packet, in the order they are given.
#[derive(Debug)]
pub struct Path {
    conditions: Conditions,
    random: StdRng,
    newest: Option<Instant>,
}

impl Path {
    /// A path of these conditions.
    pub fn new(conditions: Conditions) -> Self {
        Self { random: StdRng::seed_from_u64(conditions.seed), conditions, newest: None }
    }

    /// When the packet that comes at `now` is delivered: never, once or twice.
    pub fn deliver(&mut self, now: Instant) -> impl Iterator<Item = Instant> + use<> {
        let c = self.conditions;
        let (lost, doubled): (f64, f64) = (self.random.random(), self.random.random());
        let waits: [f64; 2] = self.random.random();
        let times = waits.map(|share| {
            let due = now + c.delay + c.jitter.mul_f64(share);
            let due =
                if c.reorders { due } else { self.newest.map_or(due, |newest| due.max(newest)) };
            self.newest = Some(self.newest.map_or(due, |newest| due.max(newest)));
            due
        });
        let count = if lost < c.loss {
            0
        } else if doubled < c.duplicates {
            2
        } else {
            1
        };
        times.into_iter().take(count)
    }
}

/// What a relay did, both directions together.
#[derive(Debug, Default)]
pub struct Figures {
    /// Packets delivered.
    pub delivered: AtomicU64,
    /// Packets lost by the law.
    pub lost: AtomicU64,
    /// Packets dropped because too many were waiting.
    pub overflowed: AtomicU64,
}

/// A running relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    figures: Arc<Figures>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

/// Packets that may wait in one direction: two seconds at 4 Mb/s.
const WAITING: usize = 1024;

impl Relay {
    /// Relays between a publisher, whoever sends first to [`Self::address`], and the server at
    /// `server`; `up` is the law towards the server, `down` the law back.
    pub async fn start(
        server: SocketAddr,
        up: Conditions,
        down: Conditions,
    ) -> std::io::Result<Self> {
        let near = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        let any: SocketAddr =
            if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let far = Arc::new(UdpSocket::bind(any).await?);
        far.connect(server).await?;
        let address = near.local_addr()?;
        let figures = Arc::new(Figures::default());
        let (publisher, known) = watch::channel(None);

        let lane = |conditions, from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, side| Lane {
            path: Path::new(conditions),
            figures: Arc::clone(&figures),
            from: Arc::clone(from),
            to: Arc::clone(to),
            side,
        };
        let tasks = [
            tokio::spawn(lane(up, &near, &far, Side::Up(publisher)).run()),
            tokio::spawn(lane(down, &far, &near, Side::Down(known)).run()),
        ];
        Ok(Self { address, figures, tasks })
    }

    /// Where the publisher sends to instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did so far.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Which way a lane leads, and what it knows of the publisher's address.
enum Side {
    Up(watch::Sender<Option<SocketAddr>>),
    Down(watch::Receiver<Option<SocketAddr>>),
}

struct Lane {
    path: Path,
    figures: Arc<Figures>,
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    side: Side,
}

impl Lane {
    /// Receives, waits, delivers. Receive errors (a refused port shows up as one) lose a packet.
    async fn run(mut self) {
        let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
        let mut buffer = vec![0u8; 2048];
        let mut order = 0u64;
        loop {
            let due = waiting.peek().map(|w| w.due);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = wait => {
                    if let Some(next) = waiting.pop() {
                        self.send(&next.packet).await;
                    }
                }
                received = self.from.recv_from(&mut buffer) => {
                    let Ok((length, from)) = received else { continue };
                    if let Side::Up(publisher) = &self.side {
                        publisher.send_if_modified(|known| known.replace(from) != Some(from));
                    }
                    let packet = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                    let mut lost = true;
                    for due in self.path.deliver(Instant::now()) {
                        lost = false;
                        if waiting.len() >= WAITING {
                            self.figures.overflowed.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        order += 1;
                        waiting.push(Waiting { due, order, packet: packet.clone() });
                    }
                    self.figures.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
                }
            }
        }
    }

    async fn send(&self, packet: &[u8]) {
        let sent = match &self.side {
            Side::Up(_) => self.to.send(packet).await,
            Side::Down(publisher) => {
                let Some(to) = *publisher.borrow() else { return };
                self.to.send_to(packet, to).await
            }
        };
        // What the socket refuses is lost, as on any network.
        self.figures.delivered.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
    }
}

/// A packet on its way; the heap gives the earliest first, and the first come among equals.
struct Waiting {
    due: Instant,
    order: u64,
    packet: Bytes,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

/// The server's answer with its candidates replaced by one at `relay`, and the UDP address the
/// server itself offered first (which the relay is to send to); nothing if it offers none.
pub fn through_relay(
    answer: &str,
    relay: impl FnOnce(SocketAddr) -> Option<SocketAddr>,
) -> Option<String> {
    let candidate = |line: &str| -> Option<SocketAddr> {
        // candidate:foundation component transport priority address port typ host ... (RFC 8839, 5.1)
        let words: Vec<&str> =
            line.strip_prefix("a=candidate:")?.split_ascii_whitespace().collect();
        let [_, _, transport, _, address, port, ..] = words[..] else { return None };
        let address: SocketAddr = SocketAddr::new(address.parse().ok()?, port.parse().ok()?);
        (transport.eq_ignore_ascii_case("udp") && address.is_ipv4()).then_some(address)
    };
    let server = answer.lines().find_map(candidate)?;
    let relay = relay(server)?;
    let mut out = String::with_capacity(answer.len());
    let mut placed = false;
    for line in answer.lines() {
        if !line.starts_with("a=candidate:") {
            out.push_str(line);
            out.push_str("\r\n");
        } else if !placed {
            placed = true;
            out.push_str(&format!(
                "a=candidate:1 1 udp 2130706431 {} {} typ host\r\n",
                relay.ip(),
                relay.port()
            ));
        }
    }
    Some(out)
}

/// The first IPv4 UDP candidate an answer offers.
pub fn first_candidate(answer: &str) -> Option<SocketAddr> {
    let mut found = None;
    through_relay(answer, |server| {
        found = Some(server);
        None
    });
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_law_is_seeded_and_keeps_its_shares() {
        let conditions = Conditions {
            loss: 0.05,
            duplicates: 0.02,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(30),
            reorders: true,
            seed: 42,
        };
        let start = Instant::now();
        let run = || {
            let mut path = Path::new(conditions);
            (0..20_000).map(|_| path.deliver(start).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let fates = run();
        assert_eq!(fates, run(), "the same seed, the same fates");
        let lost = fates.iter().filter(|f| f.is_empty()).count();
        let doubled = fates.iter().filter(|f| f.len() == 2).count();
        assert!((900..1100).contains(&lost), "{lost} lost");
        assert!((300..480).contains(&doubled), "{doubled} doubled");
        let waits: Vec<Duration> = fates.iter().flatten().map(|due| *due - start).collect();
        assert!(waits.iter().all(|w| (10..=40).contains(&w.as_millis())));
        assert!(
            waits.iter().any(|w| w.as_millis() > 38) && waits.iter().any(|w| w.as_millis() < 12)
        );
    }

    #[test]
    fn without_reordering_nobody_overtakes() {
        let mut path =
            Path::new(Conditions { jitter: Duration::from_millis(30), ..Conditions::default() });
        let start = Instant::now();
        let mut last = start;
        for n in 0..1000 {
            for due in path.deliver(start + Duration::from_millis(n)) {
                assert!(due >= last);
                last = due;
            }
        }
    }

    #[tokio::test]
    async fn a_relay_carries_both_ways_and_loses_what_the_law_says() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let up = Conditions { loss: 0.5, ..Conditions::default() };
        let relay =
            Relay::start(server.local_addr().unwrap(), up, Conditions::default()).await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(relay.address()).await.unwrap();

        let mut law = Path::new(up);
        let expected: Vec<u8> =
            (0..60).filter(|_| law.deliver(Instant::now()).next().is_some()).collect();
        for n in 0..60u8 {
            client.send(&[n]).await.unwrap();
        }
        let mut buffer = [0; 8];
        for wanted in &expected {
            let (_, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(buffer[0], *wanted);
            server.send_to(&[buffer[0]], from).await.unwrap();
            assert_eq!(client.recv(&mut buffer).await.unwrap(), 1);
            assert_eq!(buffer[0], *wanted);
        }
        assert_eq!(relay.figures().lost.load(Ordering::Relaxed), 60 - expected.len() as u64);
    }

    #[test]
    fn an_answer_is_pointed_at_the_relay() {
        let answer = "v=0\r\na=ice-lite\r\na=candidate:1 1 tcp 1 10.0.0.1 8189 typ host tcptype passive\r\n\
                      a=candidate:2 1 udp 2 fe80::1 8189 typ host\r\na=candidate:3 1 UDP 2 10.0.0.1 8189 typ host\r\na=mid:0\r\n";
        assert_eq!(first_candidate(answer), Some("10.0.0.1:8189".parse().unwrap()));
        let out = through_relay(answer, |_| Some("127.0.0.1:9".parse().unwrap())).unwrap();
        assert_eq!(out.matches("a=candidate").count(), 1);
        assert!(
            out.contains(" 127.0.0.1 9 typ host")
                && out.contains("a=mid:0\r\n")
                && out.contains("a=ice-lite\r\n")
        );
        assert_eq!(first_candidate("v=0\r\n"), None);
    }
}
