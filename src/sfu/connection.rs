//! What every session has, whichever way its media goes: a str0m connection, its names in the
//! world, its patience.

use super::core::{Output, RoomKey};
use super::sdp::Credentials;
use super::words::LeftWhy;
use super::{Config, ResourceId};
use crate::time::{HostTime, PersonId, SourceCodec, SourceId, TrackId};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use str0m::net::{Protocol, Receive};
use str0m::{Event, Input, Output as RtcOutput, Rtc};

/// Addresses a connection is remembered under.
const MAX_REMOTES: usize = 16;

/// How often str0m may say "again at once" before other connections have their turn. A batch of
/// packets over a connection whose bandwidth is estimated needs one such turn a packet.
const MAX_TURNS: u32 = 4096;

/// When a connection has its next turn that says "at once" without having sent anything: time must
/// go on. Microseconds.
const SOON: i64 = 500;

/// Relates the two faces of the monotonic clock: str0m speaks `Instant`, the ring microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    host: HostTime,
}

impl Clock {
    /// With one reading of each, taken together.
    pub const fn new(instant: Instant, host: HostTime) -> Self {
        Self { instant, host }
    }

    pub(super) fn instant(&self, at: HostTime) -> Instant {
        let us = u64::try_from(at.since(self.host)).unwrap_or(0);
        self.instant + Duration::from_micros(us)
    }

    /// Far instants ("never") become a time that is never reached.
    pub(super) fn host(&self, at: Instant) -> HostTime {
        let since = at.saturating_duration_since(self.instant);
        let us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX / 4);
        HostTime(self.host.0.saturating_add(us))
    }
}

/// Totals since the start, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that belong to nobody or are nothing.
    pub garbage: u64,
    /// Media packets that went to a ring.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Media packets handed to subscribers' connections.
    pub forwarded: u64,
    /// Their payload bytes.
    pub forwarded_bytes: u64,
    /// Media packets not forwarded because a subscriber's connection was full.
    pub congested: u64,
    /// Changes of a subscriber's simulcast layer.
    pub switches: u64,
    /// Packets that were missing when their stream was looked at, RTX and all.
    pub lost: u64,
    /// NACKs sent.
    pub nacks: u64,
    /// Key frames asked for.
    pub keyframe_requests: u64,
    /// Media packets that could not be placed: unknown payload type, too many tracks.
    pub unplaced: u64,
    /// Connections given up because the engine failed on what the peer sent.
    pub failures: u64,
}

/// What a connection has to say that is not for the network or the ring.
pub(super) enum Notice {
    Connected,
    FirstPacket {
        track: TrackId,
        codec: SourceCodec,
    },
    /// A publisher's sound, in dBov.
    Heard(i8),
    /// A publisher's layers are not what they were.
    Layers,
    /// A subscriber needs a key frame of this track.
    KeyframeWanted(TrackId),
    /// What a subscriber may be sent has changed.
    Budget,
}

/// What all connections share while one of them is driven.
pub(super) struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub counters: Counters,
    pub next_track: u32,
    pub outputs: VecDeque<Output>,
    pub notices: Vec<Notice>,
    /// The box's own addresses, which may be sent from.
    pub local: Vec<IpAddr>,
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over(pub LeftWhy);

/// What makes a connection one.
pub(super) struct NewConnection {
    pub id: SourceId,
    pub room: RoomKey,
    pub person: PersonId,
    pub resource: ResourceId,
    pub etag: String,
    pub rtc: Rtc,
    pub offer: String,
    pub remote: Credentials,
    pub local_ufrag: String,
    pub candidates: Vec<IpAddr>,
}

pub(super) struct Connection {
    pub id: SourceId,
    pub room: RoomKey,
    /// Whose it is.
    pub person: PersonId,
    pub resource: ResourceId,
    pub etag: String,
    pub rtc: Rtc,
    pub offer: String,
    pub remote: Credentials,
    pub local_ufrag: String,
    candidates: Vec<IpAddr>,
    pub remotes: Vec<(Protocol, SocketAddr)>,
    created: HostTime,
    pub connected: bool,
    pub last_heard: HostTime,
    deadline: HostTime,
    /// The earliest entry in the core's timers.
    pub alarm: HostTime,
}

impl Connection {
    pub fn new(new: NewConnection, now: HostTime) -> Self {
        Self {
            id: new.id,
            room: new.room,
            person: new.person,
            resource: new.resource,
            etag: new.etag,
            rtc: new.rtc,
            offer: new.offer,
            remote: new.remote,
            local_ufrag: new.local_ufrag,
            candidates: new.candidates,
            remotes: Vec::new(),
            created: now,
            connected: false,
            last_heard: now,
            deadline: now,
            alarm: super::core::NEVER,
        }
    }

    /// The candidate that a datagram to `to` stands for. Behind a NAT the box is asked under its
    /// inner address, which may not be a candidate: ICE then sees the announced one.
    fn candidate_for(&self, to: SocketAddr) -> SocketAddr {
        let ip = to.ip();
        if self.candidates.contains(&ip) {
            return to;
        }
        let same_family = |other: &&IpAddr| other.is_ipv4() == ip.is_ipv4() && !other.is_loopback();
        self.candidates.iter().find(same_family).map_or(to, |ip| SocketAddr::new(*ip, to.port()))
    }

    /// Takes a datagram if it is this connection's; says whether. What comes of it is still to be
    /// drained.
    pub fn receive(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        proto: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<bool, Over> {
        let destination = self.candidate_for(to);
        let Ok(receive) = Receive::new(proto, from, destination, payload) else { return Ok(false) };
        let input = Input::Receive(shared.clock.instant(now), receive);
        let rtc = &mut self.rtc;
        let taken = guarded(|| {
            if !rtc.accepts(&input) {
                return Ok(false);
            }
            rtc.handle_input(input).map(|()| true)
        });
        let taken = self.outcome(shared, taken)?;
        if taken {
            self.last_heard = now;
            if !self.remotes.contains(&(proto, from)) {
                self.remotes.push((proto, from));
            }
        }
        Ok(taken)
    }

    /// The oldest remembered address, when there are too many.
    pub fn surplus_remote(&mut self) -> Option<(Protocol, SocketAddr)> {
        (self.remotes.len() > MAX_REMOTES).then(|| self.remotes.remove(0))
    }

    /// When its patience ends, or str0m wants to be woken.
    pub fn due(&self, config: &Config) -> HostTime {
        let patience = if self.connected {
            self.last_heard.plus_micros(config.silence_timeout.as_micros())
        } else {
            self.created.plus_micros(config.connect_timeout.as_micros())
        };
        patience.min(self.deadline)
    }

    /// Time has come to `now`; says whether there is something to drain.
    pub fn pass(&mut self, shared: &mut Shared, now: HostTime) -> Result<bool, Over> {
        if !self.connected && now.since(self.created) >= shared.config.connect_timeout.as_micros() {
            return Err(Over(LeftWhy::NeverConnected));
        }
        if now.since(self.last_heard) >= shared.config.silence_timeout.as_micros() && self.connected
        {
            return Err(Over(LeftWhy::Silent));
        }
        if self.deadline > now {
            return Ok(false);
        }
        let at = shared.clock.instant(now);
        let rtc = &mut self.rtc;
        let outcome = guarded(|| rtc.handle_input(Input::Timeout(at)));
        self.outcome(shared, outcome).map(|()| true)
    }

    /// Polls until str0m waits for time or input.
    pub fn drain(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        mut on: impl FnMut(&mut Rtc, &mut Shared, Event),
    ) -> Result<(), Over> {
        let (mut turns, mut sent) = (0, true);
        loop {
            let rtc = &mut self.rtc;
            let polled = guarded(|| rtc.poll_output());
            match self.outcome(shared, polled)? {
                RtcOutput::Timeout(at) => {
                    self.deadline = shared.clock.host(at);
                    if !self.rtc.is_alive() {
                        return Err(Over(LeftWhy::Ended));
                    }
                    if self.deadline.since(now) > 1 {
                        return Ok(());
                    }
                    // str0m's pacer lets one packet out a turn and asks for the next a
                    // microsecond later: a wake-up a packet, if it were left to the timers.
                    if !sent || turns >= MAX_TURNS {
                        self.deadline = now.plus_micros(SOON);
                        return Ok(());
                    }
                    (turns, sent) = (turns + 1, false);
                    let at = shared.clock.instant(now);
                    let rtc = &mut self.rtc;
                    let outcome = guarded(|| rtc.handle_input(Input::Timeout(at)));
                    self.outcome(shared, outcome)?;
                }
                RtcOutput::Transmit(t) => {
                    sent = true;
                    let from = Some(t.source.ip()).filter(|ip| shared.local.contains(ip));
                    shared.outputs.push_back(Output::Transmit {
                        proto: t.proto,
                        from,
                        to: t.destination,
                        payload: t.contents,
                    });
                }
                RtcOutput::Event(Event::Connected) => {
                    self.connected = true;
                    self.last_heard = now;
                    shared.notices.push(Notice::Connected);
                }
                RtcOutput::Event(event) => on(&mut self.rtc, shared, event),
            }
        }
    }

    /// Says goodbye: what is to be sent goes out as far as a connection exists.
    pub fn close(&mut self, shared: &mut Shared, now: HostTime) {
        let rtc = &mut self.rtc;
        if guarded(|| rtc.close()).is_ok() {
            // Nothing is left to be done about a goodbye that fails.
            let _ = self.drain(shared, now, |_, _, _| {});
        }
    }

    pub fn outcome<T>(&self, shared: &mut Shared, outcome: Result<T, String>) -> Result<T, Over> {
        outcome.map_err(|error| {
            shared.counters.failures += 1;
            tracing::warn!(source = self.id.0, error, "a connection failed");
            Over(LeftWhy::Failed)
        })
    }
}

/// Runs str0m. It is written not to panic on what peers send, and fuzzed for it; but this thread
/// carries every class of the school, so if it does, only the connection that did it ends.
pub(super) fn guarded<T, E: std::fmt::Display>(
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the WebRTC engine panicked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_both_ways_and_never_overflows() {
        let clock = Clock::new(Instant::now(), HostTime(5_000));
        assert_eq!(clock.host(clock.instant(HostTime(9_000))), HostTime(9_000));
        assert_eq!(clock.instant(HostTime(0)), clock.instant(HostTime(5_000)));
        let never = Instant::now() + Duration::from_secs(3600 * 24 * 365 * 100);
        assert!(clock.host(never).0 > i64::from(u32::MAX) * 1000);
    }
}
