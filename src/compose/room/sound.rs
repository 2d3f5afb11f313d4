//! One Opus stream: packets to sound in the mixer, gaps concealed.

use super::Counts;
use crate::compose::jitter::{Jitter, Limits, Released};
use crate::compose::mix::Mixer;
use crate::link::ring::RtpRecord;
use crate::time::{HostTime, TrackId};
use bytes::Bytes;
use hw::codec::{CodecError, OpusDecoder};

/// A step in the timestamps up to this many samples is a sender's rounding: 2.5 ms.
const ROUNDING: i64 = 120;
/// A gap up to this long is made up for: 100 ms. Longer ones are silence.
const CONCEALED: i64 = 4_800;
/// What a packet's redundancy covers: one packet of 20 ms.
const RECOVERED: i64 = 960;

#[derive(Debug)]
struct Packet {
    rtp: i64,
    payload: Bytes,
}

pub(super) struct Sound {
    track: TrackId,
    jitter: Jitter<Packet>,
    decoder: OpusDecoder,
    lost: bool,
    samples: Vec<f32>,
}

impl Sound {
    pub fn new(track: TrackId, limits: Limits) -> Result<Self, CodecError> {
        let (jitter, decoder) = (Jitter::new(limits), OpusDecoder::new()?);
        Ok(Self { track, jitter, decoder, lost: false, samples: Vec::new() })
    }

    pub fn push(&mut self, packet: &RtpRecord<'_>, rtp: i64) {
        let held = Packet { rtp, payload: Bytes::copy_from_slice(packet.payload) };
        self.jitter.push(packet.seq, packet.arrived, held);
    }

    pub fn deadline(&self) -> Option<HostTime> {
        self.jitter.deadline()
    }

    /// Decodes everything that may be decoded at `now` into `mixer`. Returns where the first sound of it
    /// begins.
    pub fn work(&mut self, now: HostTime, mixer: &mut Mixer, counts: &mut Counts) -> Option<i64> {
        let mut first = None;
        while let Some(released) = self.jitter.pop(now) {
            match released {
                Released::Lost(count) => {
                    counts.lost += count;
                    self.lost = true;
                }
                Released::Packet(packet) if packet.payload.is_empty() => {}
                Released::Packet(packet) => {
                    if let Some(start) = self.decode(&packet, mixer, counts) {
                        first.get_or_insert(start);
                    }
                }
            }
        }
        first
    }

    fn decode(&mut self, packet: &Packet, mixer: &mut Mixer, counts: &mut Counts) -> Option<i64> {
        let end = mixer.end_of(self.track);
        let gap = end.map_or(0, |end| packet.rtp - end);
        let mut start = packet.rtp;
        let lost = std::mem::take(&mut self.lost);
        if let Some(end) = end {
            if gap.abs() <= ROUNDING {
                start = end;
            } else if (lost && (0..=CONCEALED).contains(&gap)) || (0..=RECOVERED / 2).contains(&gap)
            {
                self.make_up(end, gap, packet, mixer);
            }
        }
        self.samples.clear();
        match self.decoder.decode(&packet.payload, &mut self.samples) {
            Ok(_) => {
                mixer.push(self.track, start, &self.samples);
                Some(start)
            }
            Err(error) => {
                counts.refused += 1;
                tracing::debug!(track = self.track.0, %error, "sound refused");
                self.lost = true;
                None
            }
        }
    }

    /// Fills `[end, end + gap)`: first by concealment, the last packet's worth by what `next` repeats.
    fn make_up(&mut self, end: i64, gap: i64, next: &Packet, mixer: &mut Mixer) {
        self.samples.clear();
        let early = (gap - RECOVERED).max(0);
        let mut left = early;
        while left > 0
            && self.decoder.conceal(left.min(RECOVERED) as usize, &mut self.samples).is_ok()
        {
            left -= RECOVERED;
        }
        self.samples.resize((early * 2) as usize, 0.0);
        let late = (gap - early) as usize;
        let _ = self.decoder.recover(&next.payload, late, &mut self.samples);
        // Made up in steps of 2.5 ms; the rest of the last step would lie on what follows.
        self.samples.resize((gap * 2) as usize, 0.0);
        mixer.push(self.track, end, &self.samples);
    }
}
