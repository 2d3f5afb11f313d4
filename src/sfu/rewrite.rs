//! One stream out of several: what a subscriber's sequence numbers and timestamps become.
//!
//! A subscriber has one stream a medium, whose numbers must run on while it is fed from one layer,
//! then from another, or from none for a while. Each stretch fed from one track is a segment with
//! a shift of its own; it begins at a key frame. Within a segment a hole stays a hole, so that what
//! is repaired later fits into it, also after the next segment has begun.

use crate::time::{HostTime, TrackId};

/// A packet's place in the stream that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What is to be added to a VP8 picture id, modulo 2^15 (RFC 7741 §4.2).
    pub picture_shift: u16,
    /// What is to be added to a VP8 TL0PICIDX, modulo 2^8.
    pub tl0_shift: u8,
}

/// What is looked at of a packet that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its track.
    pub track: TrackId,
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// When it came.
    pub arrived: HostTime,
    /// VP8 picture id and TL0PICIDX, where it has them.
    pub picture: Option<(u16, u8)>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    track: TrackId,
    /// Numbers of the track that belong to it: from its first, to the newest so far.
    first: u64,
    newest: u64,
    /// Modulo 2^64, as are all shifts modulo their width.
    seq_shift: u64,
    timestamp_shift: u32,
    picture_shift: u16,
    tl0_shift: u8,
}

impl Segment {
    fn place(&self, packet: &Incoming) -> Place {
        Place {
            seq: packet.seq.wrapping_add(self.seq_shift),
            timestamp: packet.timestamp.wrapping_add(self.timestamp_shift),
            picture_shift: self.picture_shift,
            tl0_shift: self.tl0_shift,
        }
    }
}

/// The newest that went out.
#[derive(Clone, Copy, Debug)]
struct Newest {
    seq: u64,
    timestamp: u32,
    arrived: HostTime,
    picture: Option<(u16, u8)>,
}

/// The numbers of one outgoing stream.
#[derive(Clone, Debug)]
pub struct Rewriter {
    clock_rate: u32,
    most_missing: u64,
    next: u64,
    now: Option<Segment>,
    before: Option<Segment>,
    newest: Option<Newest>,
}

/// Most packets that may have overtaken the one that begins a segment and still belong to it.
const MOST_OVERTAKEN: u64 = 16;

const PICTURE_IDS: u16 = 0x7fff;

impl Rewriter {
    /// The first sequence number will be `first`, below 2^15 so that it is far from its first wrap
    /// (RFC 3711 §3.3.1: a receiver that misses the first packets guesses the rollover counter).
    ///
    /// More than `most_missing` packets missing at once are no loss but a leap: its distance must
    /// not go out, half the 16-bit numbers would end the peer's decryption.
    pub fn new(clock_rate: u32, first: u16, most_missing: u64) -> Self {
        let next = u64::from(first & 0x7fff).max(MOST_OVERTAKEN);
        Self { clock_rate, most_missing, next, now: None, before: None, newest: None }
    }

    /// The track that feeds the stream now.
    pub fn track(&self) -> Option<TrackId> {
        self.now.map(|segment| segment.track)
    }

    /// Whether the track that feeds the stream has leapt ahead, so that a segment must begin.
    pub fn leaps(&self, packet: &Incoming) -> bool {
        let current = self.now.filter(|segment| segment.track == packet.track);
        current.is_some_and(|s| packet.seq > s.newest.saturating_add(self.most_missing))
    }

    /// Begins a segment with `packet`. What came of the track up to `before` is older than it;
    /// numbers in between may be overtaken packets of the same picture, and get room. So do those
    /// before the very first, where room costs nothing: nobody misses what was never begun.
    pub fn begin(&mut self, packet: &Incoming, before: u64) {
        let oldest = packet.seq.saturating_sub(MOST_OVERTAKEN);
        let after = before.saturating_add(1).clamp(oldest, packet.seq);
        let (first, seq, timestamp, picture) = match &self.newest {
            None => {
                let seq = self.next - (packet.seq - oldest);
                (oldest, seq, packet.timestamp, None)
            }
            Some(newest) => {
                // The time that passed between the two arrivals, at least a tick.
                let us = packet.arrived.since(newest.arrived).clamp(0, 3_600_000_000);
                let ticks = us * i64::from(self.clock_rate) / 1_000_000;
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
                let timestamp = newest.timestamp.wrapping_add(ticks);
                (after, newest.seq + 1, timestamp, newest.picture)
            }
        };
        let (picture_shift, tl0_shift) = match (packet.picture, picture) {
            (Some((id, tl0)), Some((last_id, last_tl0))) => (
                last_id.wrapping_add(1).wrapping_sub(id) & PICTURE_IDS,
                last_tl0.wrapping_add(1).wrapping_sub(tl0),
            ),
            _ => (0, 0),
        };
        self.before = self.now.take();
        self.now = Some(Segment {
            track: packet.track,
            first,
            newest: packet.seq,
            seq_shift: seq.wrapping_sub(first),
            timestamp_shift: timestamp.wrapping_sub(packet.timestamp),
            picture_shift,
            tl0_shift,
        });
    }

    /// Ends the segment: what is next begins one. Repairs of it still find their place.
    pub fn pause(&mut self) {
        if let Some(segment) = self.now.take() {
            self.before = Some(segment);
        }
    }

    /// Where `packet` goes; `None` if it belongs to no segment.
    pub fn place(&mut self, packet: &Incoming) -> Option<Place> {
        if self.leaps(packet) {
            return None;
        }
        let current = self.now.as_mut().filter(|s| s.track == packet.track);
        if let Some(segment) = current.filter(|s| packet.seq >= s.first) {
            segment.newest = segment.newest.max(packet.seq);
            let place = segment.place(packet);
            if self.newest.is_none_or(|newest| newest.seq < place.seq) {
                let picture = packet.picture.map(|(id, tl0)| {
                    let id = id.wrapping_add(place.picture_shift) & PICTURE_IDS;
                    (id, tl0.wrapping_add(place.tl0_shift))
                });
                self.newest = Some(Newest {
                    seq: place.seq,
                    timestamp: place.timestamp,
                    arrived: packet.arrived,
                    picture,
                });
            }
            return Some(place);
        }
        let before = self.before.filter(|s| s.track == packet.track)?;
        (before.first..=before.newest).contains(&packet.seq).then(|| before.place(packet))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOW: TrackId = TrackId(1);
    const HIGH: TrackId = TrackId(2);

    fn packet(track: TrackId, seq: u64, ms: i64) -> Incoming {
        let offset: u32 = if track == LOW { 7 } else { 0xffff_f000 };
        let timestamp = offset.wrapping_add((ms * 90) as u32);
        Incoming { track, seq, timestamp, arrived: HostTime(ms * 1000), picture: None }
    }

    fn out(rewriter: &mut Rewriter, packet: Incoming) -> (u64, u32) {
        let place = rewriter.place(&packet).unwrap();
        (place.seq, place.timestamp)
    }

    #[test]
    fn numbers_and_time_run_on_over_a_change_of_layers() {
        let mut rewriter = Rewriter::new(90_000, 100, 2_000);
        assert_eq!(rewriter.place(&packet(LOW, 5, 0)), None, "nothing has begun");
        rewriter.begin(&packet(LOW, 5, 0), 4);
        assert_eq!(out(&mut rewriter, packet(LOW, 5, 0)), (100, 7));
        assert_eq!(out(&mut rewriter, packet(LOW, 6, 33)), (101, 7 + 2970));
        assert_eq!(rewriter.place(&packet(HIGH, 70_000, 34)), None, "not yet");
        rewriter.begin(&packet(HIGH, 70_001, 66), 70_000);
        assert_eq!(out(&mut rewriter, packet(HIGH, 70_001, 66)), (102, 7 + 5940));
        assert_eq!(out(&mut rewriter, packet(HIGH, 70_002, 99)), (103, 7 + 8910), "over the wrap");
        assert_eq!(rewriter.place(&packet(LOW, 7, 99)), None, "the old layer's next");
        assert_eq!(rewriter.track(), Some(HIGH));
    }

    #[test]
    fn a_hole_stays_a_hole_and_is_filled_even_after_a_change() {
        let mut rewriter = Rewriter::new(90_000, 100, 2_000);
        rewriter.begin(&packet(LOW, 30, 0), 29);
        out(&mut rewriter, packet(LOW, 30, 0));
        assert_eq!(out(&mut rewriter, packet(LOW, 33, 30)).0, 103);
        assert_eq!(out(&mut rewriter, packet(LOW, 32, 30)).0, 102);
        rewriter.begin(&packet(HIGH, 500, 60), 499);
        assert_eq!(out(&mut rewriter, packet(HIGH, 500, 60)).0, 104);
        assert_eq!(out(&mut rewriter, packet(LOW, 31, 15)), (101, 7 + 1350));
        assert_eq!(rewriter.place(&packet(LOW, 13, 0)), None, "long before the key frame");
        assert_eq!(rewriter.place(&packet(HIGH, 499, 0)), None, "before the key frame");
        assert_eq!(out(&mut rewriter, packet(HIGH, 501, 90)).0, 105);
    }

    #[test]
    fn packets_that_were_overtaken_by_the_first_have_room() {
        let mut rewriter = Rewriter::new(90_000, 0, 2_000);
        rewriter.begin(&packet(LOW, 20, 0), 19);
        assert_eq!(out(&mut rewriter, packet(LOW, 20, 0)).0, 16);
        assert_eq!(out(&mut rewriter, packet(LOW, 4, 0)).0, 0, "of the very first");
        assert_eq!(rewriter.place(&packet(LOW, 3, 0)), None);
        rewriter.begin(&packet(HIGH, 50, 0), 47);
        assert_eq!(out(&mut rewriter, packet(HIGH, 50, 0)).0, 19);
        assert_eq!(out(&mut rewriter, packet(HIGH, 48, 0)).0, 17);
        assert_eq!(rewriter.place(&packet(HIGH, 47, 0)), None);
        rewriter.begin(&packet(LOW, 1_000, 0), 21);
        assert_eq!(out(&mut rewriter, packet(LOW, 1_000, 0)).0, 20 + MOST_OVERTAKEN, "no more");
        rewriter.begin(&packet(HIGH, 51, 0), 900);
        assert_eq!(out(&mut rewriter, packet(HIGH, 51, 0)).0, 37, "nonsense is survived");
        let mut rewriter = Rewriter::new(90_000, 0, 2_000);
        rewriter.begin(&packet(LOW, 2, 0), 1);
        assert_eq!(out(&mut rewriter, packet(LOW, 2, 0)).0, 16);
    }

    #[test]
    fn a_pause_leaves_no_hole_in_the_numbers_and_its_length_in_the_time() {
        let mut rewriter = Rewriter::new(48_000, 900, 2_000);
        rewriter.begin(&packet(LOW, 1, 0), 0);
        out(&mut rewriter, packet(LOW, 1, 0));
        rewriter.pause();
        assert_eq!(rewriter.place(&packet(LOW, 2, 20)), None);
        rewriter.begin(&packet(LOW, 51, 1000), 50);
        assert_eq!(out(&mut rewriter, packet(LOW, 51, 1000)), (901, 7 + 48_000));
    }

    #[test]
    fn a_leap_is_not_forwarded() {
        let mut rewriter = Rewriter::new(90_000, 20, 100);
        rewriter.begin(&packet(LOW, 1, 0), 0);
        out(&mut rewriter, packet(LOW, 1, 0));
        assert_eq!(out(&mut rewriter, packet(LOW, 101, 0)).0, 120);
        let leap = packet(LOW, 60_000, 33);
        assert!(rewriter.leaps(&leap) && rewriter.place(&leap).is_none());
        rewriter.begin(&leap, 101);
        assert_eq!(out(&mut rewriter, leap).0, 121 + MOST_OVERTAKEN);
    }

    #[test]
    fn picture_ids_of_vp8_run_on() {
        let with = |track, seq, ms, id, tl0| Incoming {
            picture: Some((id, tl0)),
            ..packet(track, seq, ms)
        };
        let mut rewriter = Rewriter::new(90_000, 0, 2_000);
        rewriter.begin(&with(LOW, 1, 0, 0x7fff, 255), 0);
        let place = rewriter.place(&with(LOW, 1, 0, 0x7fff, 255)).unwrap();
        assert_eq!((place.picture_shift, place.tl0_shift), (0, 0));
        rewriter.begin(&with(HIGH, 1, 33, 500, 7), 0);
        let place = rewriter.place(&with(HIGH, 1, 33, 500, 7)).unwrap();
        assert_eq!(500_u16.wrapping_add(place.picture_shift) & PICTURE_IDS, 0);
        assert_eq!(7_u8.wrapping_add(place.tl0_shift), 0);
    }
}
