//! Where on the room's timeline each stream's RTP time lies.
//!
//! A stream's RTP clock is tied to the box's clock by one number, the *offset*: host = rtp + offset.
//! Two kinds of evidence speak about it, and neither is trusted blindly:
//!
//! * **Arrivals.** `arrived - rtp` is the offset plus the packet's way through encoder and network.
//!   Its minimum over some seconds ([`estimate::Floor`]) is steady to a few milliseconds and follows
//!   clocks that drift, but it is each stream's own: video needs longer than sound, so two streams
//!   tied to their arrivals alone are out of step by that difference.
//! * **Sender reports** say which RTP time belongs to which NTP time of the sender, for each stream
//!   (RFC 3550, 6.4.1). The sender's wall clock may be wrong, may step, and means nothing here; but it
//!   is the same for all streams of a source, so the *difference* between two streams' reports is
//!   exactly what arrivals do not tell.
//!
//! So one stream of a source leads, sound if there is any, and follows its arrivals; the others follow
//! the leader at the distance their sender reports give, checked against what arrivals say (a report
//! made up by a middlebox at arrival, or of another clock, must not move a picture by seconds). A source
//! has thereby one NTP-to-room offset, without its absolute value ever being used.
//!
//! What is audible moves slowly: the leader's offset changes by at most [`SLEW_PPM`], which the
//! resampler of [`super::mix`] hides, and the followers go with it, so picture and sound stay together while it
//! does. Only where nothing is audible yet, after a pause, or when the source itself jumped, it jumps.
//!
//! This module reads no clock: evidence carries its arrival time. Arithmetic is whole nanoseconds.

pub mod estimate;
#[cfg(test)]
mod tests;

use crate::link::wire::TrackClock;
use crate::time::{HostTime, MediaTime, SourceId, TrackId};
use estimate::{Floor, Reports};
use std::collections::BTreeMap;

/// How fast the offset of something audible may change: 0.3 %, within the resampler's 0.5 %.
pub const SLEW_PPM: i64 = 3_000;
/// How fast a follower may move against its leader: 1 %, no repeated frame to be seen.
const FOLLOW_PPM: i64 = 10_000;
/// Evidence further away than this is a source that jumped: go there at once.
const JUMP_NS: i64 = 500_000_000;
/// A follower further away than this from where it belongs goes there at once.
const FOLLOW_JUMP_NS: i64 = 60_000_000;
/// One sender report each may move streams apart by this much against what arrivals say...
const TRUST_ONE_NS: i64 = 300_000_000;
/// ... and several that agree by this much.
const TRUST_MANY_NS: i64 = 1_500_000_000;
/// A stream silent for longer may jump when it comes back: nothing of it is audible.
const PAUSE_US: i64 = 1_000_000;
/// For how long its packets are listened to before it does.
const REORIENT_US: i64 = 300_000;
/// Most streams known at once; beyond it the one heard of longest ago is forgotten.
const MAX_TRACKS: usize = 64;

/// How the timeline behaves; from [`crate::link::wire::OutputFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long after its media time a frame is composed, microseconds.
    pub playout_delay_us: i64,
}

/// One stream.
#[derive(Debug)]
struct Track {
    source: SourceId,
    rate: u32,
    audio: bool,
    /// Last unwrapped RTP time, and the newest.
    last: i64,
    newest: i64,
    /// Arrival of the first and the latest packet.
    first_arrived: HostTime,
    last_arrived: HostTime,
    /// host - rtp, nanoseconds: the mapping in force.
    offset: i64,
    floor: Floor,
    reports: Reports,
    /// Distance from the leader's offset, as last believed, and which leader that was.
    apart: Option<(TrackId, i64)>,
    /// The mapping came from a predecessor, so it may be audible from the start.
    settled: bool,
    /// Consecutive packets that all say the same other offset: (what they say, since when, how many).
    elsewhere: Option<(i64, HostTime, u32)>,
    /// When it came back after a pause.
    resumed: Option<HostTime>,
}

impl Track {
    fn rtp_ns(&self, rtp: i64) -> i64 {
        (i128::from(rtp) * 1_000_000_000 / i128::from(self.rate)) as i64
    }

    fn unwrap(&self, rtp: u32) -> i64 {
        self.last + i64::from(rtp.wrapping_sub(self.last as u32) as i32)
    }
}

/// All streams' clocks of one room.
#[derive(Debug)]
pub struct Timeline {
    settings: Settings,
    zero: Option<HostTime>,
    tracks: BTreeMap<TrackId, Track>,
    restored: BTreeMap<TrackId, TrackClock>,
    /// The last report of each stream no packet of which has come: (ntp, rtp, arrival).
    early: BTreeMap<TrackId, (u64, u32, HostTime)>,
    jumps: u64,
}

fn ns(time: HostTime) -> i64 {
    time.0.saturating_mul(1000)
}

/// Moves `value` towards `target` by at most `ppm` of the time that passed.
fn slew(value: i64, target: i64, passed_us: i64, ppm: i64) -> i64 {
    let step = passed_us.max(0).saturating_mul(ppm) / 1000;
    value + (target - value).clamp(-step, step)
}

impl Timeline {
    /// A timeline without streams whose zero is not known yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            zero: None,
            tracks: BTreeMap::new(),
            restored: BTreeMap::new(),
            early: BTreeMap::new(),
            jumps: 0,
        }
    }

    /// A timeline that goes on where another stopped.
    pub fn resume(settings: Settings, zero: HostTime, clocks: &[TrackClock]) -> Self {
        let good = |clock: &&TrackClock| clock.rate > 0;
        let restored = clocks
            .iter()
            .filter(good)
            .take(MAX_TRACKS)
            .map(|clock| (clock.track, *clock))
            .collect();
        Self { zero: Some(zero), restored, ..Self::new(settings) }
    }

    /// When media time zero is on the box's clock.
    pub fn zero(&self) -> Option<HostTime> {
        self.zero
    }

    /// Fixes media time zero, once; later calls change nothing.
    pub fn start(&mut self, zero: HostTime) {
        self.zero.get_or_insert(zero);
    }

    /// How often a source's clock jumped.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// A packet of `track` came; returns its RTP time unwrapped.
    pub fn on_rtp(
        &mut self,
        source: SourceId,
        track: TrackId,
        rate: u32,
        audio: bool,
        rtp: u32,
        arrived: HostTime,
    ) -> i64 {
        let rate = rate.max(1);
        if !self.tracks.contains_key(&track) {
            self.meet(source, track, rate, audio, rtp, arrived);
        }
        let Some(entry) = self.tracks.get_mut(&track) else { return i64::from(rtp) };
        let unwrapped = entry.unwrap(rtp);
        entry.last = unwrapped;
        entry.newest = entry.newest.max(unwrapped);
        let passed = arrived.since(entry.last_arrived);
        let told = ns(arrived) - entry.rtp_ns(unwrapped);
        if passed > PAUSE_US {
            // What arrivals said before the pause is too old to hold against what they say now.
            entry.floor.clear();
            entry.resumed = Some(arrived);
        }
        entry.floor.push(arrived, told);
        entry.last_arrived = entry.last_arrived.max(arrived);
        let jumped = Self::jumped(entry, told, arrived);
        if jumped {
            entry.floor.clear();
            entry.floor.push(arrived, told);
            entry.elsewhere = None;
            // Reports and distances speak of the RTP time from before the jump.
            entry.reports.clear();
            entry.apart = None;
            self.jumps += 1;
            for other in self.tracks.values_mut() {
                other.apart = other.apart.filter(|(leader, _)| *leader != track);
            }
        }
        self.steer(track, arrived, passed, jumped);
        unwrapped
    }

    /// A sender report of `track` came: its RTP time `rtp` is the sender's NTP time `ntp` (32.32).
    pub fn on_report(&mut self, track: TrackId, ntp: u64, rtp: u32, arrived: HostTime) {
        if ntp == 0 {
            return; // RFC 3550: no wall clock known
        }
        let Some(entry) = self.tracks.get_mut(&track) else {
            if self.early.len() < MAX_TRACKS {
                self.early.insert(track, (ntp, rtp, arrived));
            }
            return;
        };
        let ntp_ns = ((u128::from(ntp) * 1_000_000_000) >> 32) as i64;
        let unwrapped = entry.unwrap(rtp);
        entry.reports.push(arrived, ntp_ns - entry.rtp_ns(unwrapped));
    }

    /// The source left: its streams' clocks are forgotten.
    pub fn on_gone(&mut self, source: SourceId) {
        self.tracks.retain(|_, track| track.source != source);
    }

    /// Where on the box's clock a stream's unwrapped RTP time lies.
    pub fn host_of(&self, track: TrackId, rtp: i64) -> Option<HostTime> {
        let entry = self.tracks.get(&track)?;
        Some(HostTime((entry.rtp_ns(rtp) + entry.offset).div_euclid(1000)))
    }

    /// Where on the room's timeline a stream's unwrapped RTP time lies; `None` before the start or for
    /// a stream nothing was heard of.
    pub fn media_of(&self, track: TrackId, rtp: i64) -> Option<MediaTime> {
        let entry = self.tracks.get(&track)?;
        let host = i128::from(entry.rtp_ns(rtp) + entry.offset) - i128::from(ns(self.zero?));
        Some(MediaTime((host * i128::from(MediaTime::HZ)).div_euclid(1_000_000_000) as i64))
    }

    /// The unwrapped RTP time, with its fraction of a unit, that belongs at `media`.
    pub fn rtp_at(&self, track: TrackId, media: MediaTime) -> Option<(i64, f64)> {
        let entry = self.tracks.get(&track)?;
        let zero = i128::from(ns(self.zero?));
        // In 1/720000 of a nanosecond, so that nothing is rounded before the last step.
        let scale = i128::from(MediaTime::HZ);
        let fine = i128::from(media.0) * 1_000_000_000 + (zero - i128::from(entry.offset)) * scale;
        let rtp = fine * i128::from(entry.rate);
        let unit = scale * 1_000_000_000;
        Some((rtp.div_euclid(unit) as i64, rtp.rem_euclid(unit) as f64 / unit as f64))
    }

    /// Every stream's clock, for a successor.
    pub fn clocks(&self) -> Vec<TrackClock> {
        self.tracks
            .iter()
            .filter_map(|(&track, entry)| {
                let (rtp, rate) = (entry.newest, entry.rate);
                Some(TrackClock { track, rtp, media: self.media_of(track, rtp)?, rate })
            })
            .collect()
    }

    fn meet(
        &mut self,
        source: SourceId,
        track: TrackId,
        rate: u32,
        audio: bool,
        rtp: u32,
        arrived: HostTime,
    ) {
        if self.tracks.len() >= MAX_TRACKS {
            let oldest = self.tracks.iter().min_by_key(|(_, t)| t.last_arrived).map(|(&id, _)| id);
            oldest.map(|id| self.tracks.remove(&id));
        }
        let restored = self.restored.remove(&track).filter(|clock| clock.rate == rate);
        let mut entry = Track {
            source,
            rate,
            audio,
            last: restored.map_or(i64::from(rtp), |clock| clock.rtp),
            newest: i64::MIN,
            first_arrived: arrived,
            last_arrived: arrived,
            offset: 0,
            floor: Floor::default(),
            reports: Reports::default(),
            apart: None,
            settled: restored.is_some(),
            elsewhere: None,
            resumed: None,
        };
        let unwrapped = entry.unwrap(rtp);
        entry.offset = match (restored, self.zero) {
            (Some(clock), Some(zero)) => {
                let media = i128::from(clock.media.0) * 1_000_000_000 / i128::from(MediaTime::HZ);
                ns(zero) + media as i64 - entry.rtp_ns(clock.rtp)
            }
            _ => ns(arrived) - entry.rtp_ns(unwrapped),
        };
        self.tracks.insert(track, entry);
        if let Some((ntp, rtp, arrived)) = self.early.remove(&track) {
            self.on_report(track, ntp, rtp, arrived);
        }
    }

    /// Whether packets say, consistently, that the stream's RTP time is somewhere else altogether.
    fn jumped(entry: &mut Track, told: i64, arrived: HostTime) -> bool {
        let late = told - entry.offset;
        // Nothing arrives before it was made. (Clocks that drift do not do half a second in one packet.)
        if late < -JUMP_NS {
            return true;
        }
        if late < 2 * JUMP_NS {
            entry.elsewhere = None;
            return false;
        }
        // Late by a second: a jump, or a stall whose packets come now, each less late than the one before.
        match &mut entry.elsewhere {
            Some((said, since, count)) if (told - *said).abs() < JUMP_NS / 5 => {
                *count += 1;
                *count >= 10 && arrived.since(*since) >= 300_000
            }
            other => {
                *other = Some((told, arrived, 1));
                false
            }
        }
    }

    /// The stream of `source` the others follow: sound before pictures, the longest known first.
    fn leader(&self, source: SourceId) -> Option<TrackId> {
        self.tracks
            .iter()
            .filter(|(_, track)| track.source == source)
            .min_by_key(|(id, track)| (!track.audio, **id))
            .map(|(&id, _)| id)
    }

    /// Moves the offset of `track` to where the evidence wants it, as fast as it may.
    fn steer(&mut self, track: TrackId, now: HostTime, passed_us: i64, jumped: bool) {
        let Some(entry) = self.tracks.get(&track) else { return };
        let Some(floor) = entry.floor.value() else { return };
        let source = entry.source;
        let leader = self.leader(source);
        let believed = leader.filter(|&id| id != track).and_then(|id| {
            let lead = self.tracks.get(&id)?;
            let held = entry.apart.filter(|(of, _)| *of == id).map(|(_, apart)| apart);
            let apart = self.apart(lead, entry, now).or(held)?;
            Some((id, apart, lead.offset + apart))
        });
        let settling =
            !entry.settled && now.since(entry.first_arrived) < self.settings.playout_delay_us;
        // What the playout delay does not cover of a follower's lateness is added to the leader's offset:
        // its pictures would never be in time otherwise.
        let need = if leader == Some(track) { self.follower_excess(track, source, now) } else { 0 };
        let Some(entry) = self.tracks.get_mut(&track) else { return };
        if let Some((leader, apart, target)) = believed {
            let first = entry.apart.replace((leader, apart)).is_none_or(|(of, _)| of != leader);
            let far = (target - entry.offset).abs() > FOLLOW_JUMP_NS;
            entry.offset = if first || jumped || far || settling {
                target
            } else {
                slew(entry.offset, target, passed_us, FOLLOW_PPM)
            };
            return;
        }
        let target = floor + need;
        let far = (target - entry.offset).abs() > JUMP_NS;
        if let Some(resumed) = entry.resumed {
            // What waited in a stalled network comes first, and says nothing.
            if target > entry.offset && now.since(resumed) < REORIENT_US {
                return;
            }
            entry.resumed = None;
            if (target - entry.offset).abs() > JUMP_NS / 25 {
                entry.offset = target;
            }
        }
        if jumped || far || settling {
            entry.offset = target;
        } else {
            entry.offset = slew(entry.offset, target, passed_us, SLEW_PPM);
        }
    }

    /// follower.offset - leader.offset as their sender reports have it, if they can be believed.
    fn apart(&self, leader: &Track, follower: &Track, now: HostTime) -> Option<i64> {
        let apart = estimate::difference(&leader.reports, &follower.reports, now)?;
        let arrivals = follower.floor.value()? - leader.floor.value()?;
        let many = leader.reports.len().min(follower.reports.len()) >= 3;
        let trust = if many { TRUST_MANY_NS } else { TRUST_ONE_NS };
        ((apart - arrivals).abs() <= trust).then_some(apart)
    }

    /// By how much more than the playout delay covers some follower's packets come too late.
    fn follower_excess(&self, leader: TrackId, source: SourceId, now: HostTime) -> i64 {
        let Some(lead) = self.tracks.get(&leader) else { return 0 };
        let Some(floor) = lead.floor.value() else { return 0 };
        let slack = self.settings.playout_delay_us * 1000 * 6 / 10;
        let late = |entry: &Track| {
            let own = entry.floor.value()?;
            Some(own - (floor + self.apart(lead, entry, now)?) - slack)
        };
        let others =
            self.tracks.iter().filter(|(id, entry)| entry.source == source && **id != leader);
        others.filter_map(|(_, entry)| late(entry)).max().unwrap_or(0).max(0)
    }
}
